"""Settings that are wrong for any images are refused before an image is read."""

import pytest
import torch
from entry_points import FAST
from hydra import compose, initialize_config_dir
from refusals import refused, refused_command

from medcls import train
from medcls.cli.data_source import split_settings
from medcls.cli.early_checks import check_settings
from medcls.cli.shipped import configurations
from medcls.cli.training import choose_preprocessing
from medcls.hardware import Hardware

BAD = [
    "+trainer.limit_train_batches=0",
    "data.batch_size=0",
    "data.batch_size=true",
    "data.sampler=random",
    "data.cache=maybe",
    "data.views=0",
    "data.val_fraction=1.5",
    "data.folds=1",
    "data.copies=keep",
    "data.augmentation.left_right=3",
    "ema=1.0",
    "early_stopping=0",
    "exact_batch_norm=yes please",
    "compile=maybe",
    "freeze_random_weights=perhaps",
    "+optimizer.speed=1",
    "scheduler.warmup=7",
    "loss.label_smoothing=2",
    "loss.class_weights=balance",
    "schedule.phases=[{epochs: 3}]",
]
OTHERWISE_WRONG = {
    "trainer.accelerator=gpu": ("bad_value", "lightning.Trainer", "gpu"),
    "+trainer.profiler=watch": ("bad_value", "lightning.Trainer", "profiler"),
    "+trainer.max_time=soon": ("bad_value", "lightning.Trainer", "'soon'"),
    "trainer.precision=16-true": ("conflicting_settings", "trainer.precision=16-true", "optimizer.eps"),
    "optimizer.lr=-1": ("bad_value", "optimizer.lr=-1"),
    "model.weights=/no/such/file": ("no_such_file", "model.weights=/no/such/file"),
}


@pytest.fixture(scope="module")
def composed():
    def make(*overrides: str):
        with initialize_config_dir(str(configurations() / "conf"), version_base="1.3"):
            return compose("train", ["data.root=/images", *FAST, *overrides])

    return make


def check(cfg) -> None:
    machine = Hardware(1, cfg.data.workers, 0, ())
    check_settings(cfg, split_settings(cfg), choose_preprocessing(cfg), machine)


@pytest.mark.parametrize("setting", BAD)
def test_a_value_that_is_wrong_whatever_the_images_are(composed, setting):
    with refused("bad_value", setting.removeprefix("+").split("=")[0]):
        check(composed(setting))


@pytest.mark.parametrize("setting", OTHERWISE_WRONG)
def test_a_setting_that_is_wrong_whatever_the_images_are(composed, setting):
    if "gpu" in setting and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with refused(*OTHERWISE_WRONG[setting]):
        check(composed(setting))


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("loss=focal", "loss.class_weights={a: 1, b: 2, c: 3}", "optimizer=sgd", "scheduler=plateau", "ema=0.9"),
        ("loss.class_weights=[1, 2, 3, 4]", "trainer.max_epochs=1", "scheduler=one_cycle"),
        ("loss=binary_cross_entropy", "loss.class_weights=balanced", "data.folds=3", "data.fold=0", "scheduler=none"),
    ],
)
def test_what_may_be_right_is_let_through(composed, settings):
    check(composed(*settings))


@pytest.mark.parametrize("setting", ["trainer.max_epochs=0", "data.workers=-3", "ema=2.0"])
def test_no_image_is_read_for_it(folder, tmp_path, monkeypatch, setting):
    root = folder({"a": 3, "b": 3})

    def read(*_: object) -> None:
        raise AssertionError("images are read")

    monkeypatch.setattr("medcls.cli.training.read_images", read)
    arguments = (*FAST, f"data.root={root}", "positive_class=a", f"hydra.run.dir={tmp_path}/run", setting)
    refused_command("bad_value", tuple(setting.split("=")), train.main, *arguments)
    assert not (tmp_path / "run").exists()
