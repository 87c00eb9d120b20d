"""What is wrong with a setting whatever the images are is said before any image is read."""

import pytest
import torch
from doors import FAST
from hydra import compose, initialize_config_dir

from medcls import train
from medcls.cli.data_source import split_settings
from medcls.cli.foreseen import check_settings
from medcls.cli.shipped import configurations
from medcls.cli.training import choose_preprocessing
from medcls.errors import MedclsError
from medcls.hardware import Hardware

WRONG = {
    "trainer.accelerator=gpu": "lightning.Trainer does not take its settings",
    "+trainer.profiler=watch": "lightning.Trainer does not take its settings",
    "+trainer.max_time=soon": "lightning.Trainer does not take its settings",
    "+trainer.limit_train_batches=0": "trainer.limit_train_batches is 0",
    "trainer.precision=16-true": "optimizer.eps",
    "data.batch_size=0": "data.batch_size is 0",
    "data.batch_size=true": "data.batch_size is True",
    "data.sampler=random": "data.sampler is 'random'",
    "data.cache=maybe": "data.cache is 'maybe'",
    "data.views=0": "data.views is 0",
    "data.val_fraction=1.5": "data.val_fraction is 1.5",
    "data.folds=1": "data.folds is 1",
    "data.copies=keep": "data.copies is 'keep'",
    "data.augmentation.left_right=3": "left_right",
    "ema=1.0": "ema is 1.0",
    "early_stopping=0": "early_stopping is 0",
    "exact_batch_norm=yes please": "exact_batch_norm is 'yes please'",
    "compile=maybe": "compile is 'maybe'",
    "optimizer.lr=-1": "Invalid learning rate: -1",
    "+optimizer.speed=1": "takes no 'speed'",
    "scheduler.warmup=7": "warmup",
    "loss.label_smoothing=2": "loss.label_smoothing is 2",
    "loss.class_weights=balance": "loss.class_weights is 'balance'",
    "schedule.phases=[{epochs: 3}]": "freeze",
    "model.weights=/no/such/file": "model.weights=/no/such/file: there is no such file or folder",
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


@pytest.mark.parametrize("setting", WRONG)
def test_a_setting_that_is_wrong_whatever_the_images_are(composed, setting):
    if "gpu" in setting and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(MedclsError) as refused:
        check(composed(setting))
    assert WRONG[setting] in str(refused.value)


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


@pytest.mark.parametrize(
    ("setting", "says"),
    [("trainer.max_epochs=0", "max_epochs is 0"), ("data.workers=-3", "data.workers is -3"), ("ema=2.0", "ema is 2.0")],
)
def test_no_image_is_read_for_it(folder, tmp_path, monkeypatch, capsys, setting, says):
    root = folder({"a": 3, "b": 3})

    def read(*_: object) -> None:
        raise AssertionError("images are read")

    monkeypatch.setattr("medcls.cli.training.read_images", read)
    monkeypatch.setattr(
        "sys.argv", ["medcls", *FAST, f"data.root={root}", "positive_class=a", f"hydra.run.dir={tmp_path}/run", setting]
    )
    with pytest.raises(SystemExit) as end:
        train.main()
    said = capsys.readouterr().err
    assert end.value.code == 2 and says in said
    assert not (tmp_path / "run").exists()
