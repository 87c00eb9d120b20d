"""Every configuration of these groups builds what it names, and trains."""

from pathlib import Path

import lightning
import pytest
import tiny_run
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig

from medcls.learning.freezing import FreezeSchedule
from medcls.learning.losses import Loss
from medcls.learning.schedulers import learning_rates

CONF = Path(__file__).parents[2] / "conf"


def names(group: str) -> list[str]:
    found = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    assert found
    return found


def node(group: str, name: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose(overrides=[f"+{group}={name}", "+monitor=val/auroc", "+monitor_mode=max"])
    return composed[group]


def test_the_names_that_others_rely_on() -> None:
    assert names("loss") == ["binary_cross_entropy", "cross_entropy", "focal"]
    assert names("optimizer") == ["adam", "adamw", "rmsprop", "sgd"]
    assert names("scheduler") == ["cosine", "exponential", "none", "one_cycle", "plateau"]
    assert names("schedule") == ["freeze_then_unfreeze", "gradual", "head_only", "none", "tutorial_004"]


@pytest.mark.parametrize("name", names("loss"))
def test_losses(name: str) -> None:
    loss = instantiate(node("loss", name), class_counts=[30, 10], _convert_="all")
    assert isinstance(loss, Loss)
    assert loss(torch.zeros(4, 2), torch.tensor([0, 1, 1, 0])).isfinite()


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", names("scheduler"))
@pytest.mark.parametrize("optimizer", names("optimizer"))
def test_each_optimizer_with_each_scheduler(optimizer: str, scheduler: str) -> None:
    factory = instantiate(node("optimizer", optimizer))
    rates = learning_rates(factory, instantiate(node("scheduler", scheduler)), steps=40, steps_per_epoch=10)
    assert rates.max() == pytest.approx(factory.keywords["lr"], rel=0.01)  # one-cycle peaks between two steps
    assert rates.min() > 0


@pytest.mark.parametrize("name", names("schedule"))
def test_schedules_fit_a_network_and_its_optimizer(name: str) -> None:
    settings = node("schedule", name)
    plain = instantiate(settings, _convert_="all")
    plan = FreezeSchedule(plain["phases"], head="classifier")
    module = tiny_run.classifier(multipliers=plain["learning_rate_multipliers"])
    assert plan.table(module.network)
    assert any(phase.freeze for phase in plan.phases) == (name != "none")


def test_schedule_tutorial_004_freezes_the_blocks_of_our_network() -> None:
    models = pytest.importorskip("medcls.models.mobilenetv3")
    network = models.mobilenetv3_small(num_classes=2)
    plan = FreezeSchedule(instantiate(node("schedule", "tutorial_004"), _convert_="all")["phases"], head="classifier")
    trained = {row.child: row.tensors_trained for row in plan.table(network) if row.phase == 0}
    assert trained.pop("blocks") == 0
    assert set(trained) == {"stem", "last_conv", "classifier"}
    assert all(trained.values())


def test_loggers_write_into_the_run_folder_and_count_up_on_resume(tmp_path: Path) -> None:
    loggers = node("logger", "default")
    assert set(loggers) == {"csv", "tensorboard"}
    for version in (0, 1):
        made = [instantiate(logger, save_dir=str(tmp_path)) for logger in loggers.values()]
        assert isinstance(made[0], CSVLogger)
        trainer = tiny_run.trainer(tmp_path, 1, [], logger=made, enable_checkpointing=False)
        trainer.fit(tiny_run.classifier(), datamodule=tiny_run.TinyData())
        for number in range(version + 1):  # the older one is still there
            assert "val/loss" in (tmp_path / "logs" / f"version_{number}" / "metrics.csv").read_text()
            assert list((tmp_path / "tensorboard" / f"version_{number}").glob("events*"))


def test_the_trainer_keeps_the_samplers_and_chooses_no_precision(tmp_path: Path) -> None:
    trainer = instantiate(node("trainer", "default"), logger=False, default_root_dir=str(tmp_path), accelerator="cpu")
    assert isinstance(trainer, lightning.Trainer)
    assert trainer.max_epochs == 30
    assert trainer.precision == "32-true"
    assert trainer._accelerator_connector.use_distributed_sampler is False
    torch.use_deterministic_algorithms(False)
