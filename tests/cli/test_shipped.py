"""The shipped configurations, what they build, and every setting that they have."""

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from refusals import refused

from medcls.cli import shipped
from medcls.cli.experiments import register_experiments
from medcls.runs import stored


def test_the_configurations_are_those_of_the_checkout():
    top = shipped.configurations()
    assert (top / "conf" / "train.yaml").is_file() and any((top / "experiments").glob("*.yaml"))


def test_settings_are_those_of_all_files_with_their_group():
    settings = shipped.shipped_settings()
    assert {
        "data",
        "data.root",
        "trainer.max_epochs",
        "positive_class",
        "calibrate",
        "report.images",
        "model.network",
        "data.source.root",
    } <= settings
    assert (
        not {"root", "max_epochs", "conf", "data.no_such", "trainer.max_epoch", "evaluation.calibrate", ""} & settings
    )
    assert set(composed()) <= settings


def test_a_target_is_shipped_for_its_place_alone():
    targets = shipped.shipped_targets()
    assert "medcls.data.sources.download.fetch" in targets["data.published"]
    assert not any(
        "medcls.data.sources.download.fetch" in names for place, names in targets.items() if place != "data.published"
    )
    assert {"logger.*", "model.network", "model.preprocessing", "loss"} <= targets.keys()


def composed(*overrides: str) -> DictConfig:
    register_experiments()
    with initialize_config_dir(str(shipped.configurations() / "conf"), version_base="1.3"):
        return compose("train", [*overrides])


def test_shipped_targets_are_what_the_files_name():
    targets = shipped.shipped_targets()
    assert targets["trainer"] == {"lightning.Trainer"}
    assert "medcls.models.mobilenetv3.mobilenetv3_large" in targets["model.network"]
    with refused("foreign_target", "os.system", "optimizer", "trust=true"):
        stored.check_targets({"optimizer": {"_target_": "os.system"}}, targets, "The configuration")
    stored.check_targets(OmegaConf.to_container(composed(), resolve=False), targets, "The configuration")
