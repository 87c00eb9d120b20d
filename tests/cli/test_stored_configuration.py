"""The configuration of a run folder is read as the version that wrote it meant it, or refused."""

import pytest
from composed_settings import typed_settings
from omegaconf import OmegaConf
from refusals import refused

from medcls.cli.stored_configuration import check_trust, read_run_configuration
from medcls.workflow import report_settings


def test_a_run_of_an_earlier_version_is_read_with_the_settings_it_went_by(finished, tmp_path):
    cfg = OmegaConf.load(finished / "config.yaml")
    # As three earlier versions of medcls wrote it.
    for name in ("report", "calibrate", "coverage", "prevalence", "resamples", "compile", "exact_batch_norm"):
        del cfg[name]
    for name in ("cache", "bits", "window", "frame", "views", "exclude_file", "masks", "download"):
        del cfg.data[name]
    del cfg.schedule["learning_rate_multipliers"]
    OmegaConf.save(cfg, tmp_path / "config.yaml")
    own = read_run_configuration(tmp_path, trust=False)
    assert own.report.paths == "shown" and own.resamples == 2000 and own.data.cache is True
    assert own.exact_batch_norm is False, "there was none"
    assert own.data.frame == 0 and own.data.views is None and own.schedule.learning_rate_multipliers == {}
    assert own.data.augmentation == cfg.data.augmentation and own.data.source == cfg.data.source
    report_settings.ReportSettings.read(OmegaConf.to_container(own))


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.mkdir [x]", "- 1", "a: ${", "\xff"])
def test_a_file_that_is_no_configuration_is_an_error(tmp_path, text):
    (tmp_path / "config.yaml").write_bytes(text.encode("latin-1"))
    with refused("damaged_configuration", "config.yaml"):
        read_run_configuration(tmp_path, trust=False)


def stored(folder, **changes):
    """The configuration of a training on images that are not there."""
    with typed_settings("train", "data.root=/images", "model.name=mobilenetv3_small") as cfg:
        own = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    for place, value in changes.items():
        OmegaConf.update(own, place.replace("__", "."), value, force_add=True)
    OmegaConf.save(own, folder / "config.yaml")
    return own


def test_a_configuration_of_this_version_is_read_as_it_is(tmp_path):
    own = stored(tmp_path)
    assert read_run_configuration(tmp_path, trust=False) == own


def test_targets_of_earlier_versions_are_read_by_their_present_names(tmp_path):
    stored(tmp_path, data__source___target_="medcls.data.folders.from_folders")
    own = read_run_configuration(tmp_path, trust=False)
    assert own.data.source._target_ == "medcls.data.sources.folders.from_folders"


def test_another_target_is_read_with_trust_alone(tmp_path):
    stored(tmp_path, optimizer={"_target_": "mine.Optimizer"})
    with refused("foreign_target", f"{tmp_path}/config.yaml", "mine.Optimizer (optimizer)", "trust=true"):
        read_run_configuration(tmp_path, trust=False)
    assert read_run_configuration(tmp_path, trust=True).optimizer._target_ == "mine.Optimizer"


def test_a_probe_gets_no_settings_of_a_training(tmp_path):
    with typed_settings("probe", "data.root=/images") as cfg:
        own = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    del own["calibrate"], own.data["frame"]
    OmegaConf.save(own, tmp_path / "config.yaml")
    read = read_run_configuration(tmp_path, trust=False)
    assert read.calibrate == "temperature" and read.data.frame == 0
    assert "trainer" not in read and "schedule" not in read


def test_a_configuration_of_something_else_is_given_no_settings(tmp_path):
    """Who asked for it reports what is missing."""
    (tmp_path / "config.yaml").write_text("data: {root: /images}\n")
    assert read_run_configuration(tmp_path, trust=False) == {"data": {"root": "/images"}}
    (tmp_path / "config.yaml").unlink()
    with refused("damaged_configuration", "config.yaml"):
        read_run_configuration(tmp_path, trust=False)


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_trust_is_true_or_false(value):
    with refused("bad_value", "trust", repr(value)):
        check_trust(OmegaConf.create({"trust": value}))
    assert check_trust(OmegaConf.create({"trust": True})) is True
    assert check_trust(OmegaConf.create({})) is False
