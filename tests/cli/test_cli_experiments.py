"""`experiments=` as a group of Hydra: listed, read and merged at the top, and nothing else of the checkout."""

from pathlib import Path

import pytest
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError
from omegaconf import OmegaConf

from medcls.cli.experiments import ExperimentSource

SHIPPED = sorted(path.stem for path in (Path(__file__).parents[2] / "experiments").glob("*.yaml"))


@pytest.fixture
def source() -> ExperimentSource:
    return ExperimentSource(provider="medcls", path="experiments://")


def test_every_experiment_is_listed_and_no_folder_beside_them(source):
    assert source.list("experiments", ObjectType.CONFIG) == SHIPPED
    assert len(SHIPPED) >= 10
    assert source.list("", None) == ["experiments"]
    assert source.list("", ObjectType.CONFIG) == source.list("experiments", ObjectType.GROUP) == []
    assert source.available() and source.is_group("experiments")
    assert not any(source.is_group(name) for name in ("conf", "medcls", "tests", "experiments/deeper"))


@pytest.mark.parametrize("path", ["experiments/brain_tumor", "experiments/brain_tumor.yaml"])
def test_its_settings_are_those_of_the_file_at_the_top(source, path):
    found = source.load_config(path)
    assert found.header == {"package": "_global_"}
    assert found.config == OmegaConf.load(Path(__file__).parents[2] / "experiments" / "brain_tumor.yaml")


@pytest.mark.parametrize("path", ["experiments/none_such", "experiments", "conf/train", "brain_tumor", "train"])
def test_what_is_no_experiment_is_none(source, path):
    assert not source.is_config(path)
    with pytest.raises(ConfigLoadError):
        source.load_config(path)
