"""Every argument of Lightning's trainer: a run with it comes to its report, or it is refused in a sentence at start."""

import inspect

import lightning
import pandas as pd
import pytest
import torch
import yaml
from doors import FAST, run_door

from medcls import train
from medcls.cli.shipped import configurations
from medcls.errors import MedclsError
from medcls.learning.trainer_settings import batches_an_epoch, check_trainer

# What works, in few runs: a run, the values that are tried in it.
WORKS = [
    {
        "accelerator": "cpu",
        "strategy": "auto",
        "devices": 1,
        "num_nodes": 1,
        "max_epochs": 2,
        "min_epochs": 1,
        "min_steps": 1,
        "max_steps": -1,
        "max_time": "00:01:00:00",
        "limit_train_batches": 2,
        "num_sanity_val_steps": 1,
        "log_every_n_steps": 50,
        "enable_checkpointing": "true",
        "enable_progress_bar": "false",
        "accumulate_grad_batches": 2,
        "gradient_clip_val": 1,
        "gradient_clip_algorithm": "value",
        "deterministic": "true",
        "inference_mode": "false",
        "profiler": "simple",
        "reload_dataloaders_every_n_epochs": 1,
    },
    {
        "precision": "bf16-mixed",
        "limit_train_batches": 0.5,
        "limit_val_batches": 1.0,
        "limit_test_batches": 1.0,
        "limit_predict_batches": 1.0,
        "overfit_batches": 0.0,
        "val_check_interval": 1.0,
        "check_val_every_n_epoch": 1,
        "fast_dev_run": "false",
        "num_sanity_val_steps": -1,
        "enable_model_summary": "true",
        "enable_progress_bar": "true",
        "benchmark": "true",
        "use_distributed_sampler": "true",
        "detect_anomaly": "true",
        "sync_batchnorm": "true",
        "barebones": "false",
        "enable_autolog_hparams": "false",
        "log_every_n_steps": "null",
    },
]

# What does not: the value, and what is said.
REFUSED = {
    "accelerator": [("gpux", "gpux"), ("tpu", "lightning.Trainer does not take its settings")],
    "strategy": [("ddp", "one device"), ("nonsense", "one device")],
    "devices": [(2, "one device"), ("auto", "one device"), ("[0,1]", "one device")],
    "num_nodes": [(2, "one device")],
    "precision": [("foo", "'foo'"), ("transformer-engine", "does not take its settings")],
    "logger": [("false", "comes from the run itself")],
    "callbacks": [("[]", "comes from the run itself")],
    "plugins": [("[]", "comes from the run itself")],
    "default_root_dir": [("/tmp", "comes from the run itself")],
    "fast_dev_run": [("true", "writes no checkpoint"), (3, "writes no checkpoint")],
    "max_epochs": [(0, "number of epochs"), (-1, "number of epochs"), ("true", "number of epochs")],
    "min_epochs": [("abc", "whole number")],
    "max_steps": [(1, "counts in epochs")],
    "min_steps": [(-5, "whole number")],
    "max_time": [("soon", "does not take its settings")],
    "limit_train_batches": [(0, "leaves nothing"), (0.0, "leaves nothing"), (0.01, "leaves nothing"), (-1, "leaves")],
    "limit_val_batches": [(0, "every validation image"), (1, "every validation image"), (0.5, "every validation")],
    "limit_test_batches": [(3, "change nothing")],
    "limit_predict_batches": [(3, "change nothing")],
    "overfit_batches": [(1, "every validation image")],
    "val_check_interval": [(0.5, "counts in epochs"), (2, "counts in epochs")],
    "check_val_every_n_epoch": [(5, "counts in epochs")],
    "num_sanity_val_steps": [(-2, "whole number")],
    "log_every_n_steps": [(0, "whole number")],
    "enable_checkpointing": [("false", "nothing without its checkpoint")],
    "accumulate_grad_batches": [("null", "whole number"), (0, "whole number"), ("many", "whole number")],
    "gradient_clip_val": [(-1, "at least 0"), ("abc", "at least 0")],
    "gradient_clip_algorithm": [("both", "both")],
    "deterministic": [("maybe", "maybe")],
    "profiler": [("watch", "does not take its settings")],
    "barebones": [("true", "neither checkpoint nor log")],
    "reload_dataloaders_every_n_epochs": [(-1, "whole number")],
    "model_registry": [("me/mine", "nothing of a run is sent anywhere")],
    "enable_progress_bar": [],
    "enable_model_summary": [],
    "benchmark": [],
    "inference_mode": [],
    "use_distributed_sampler": [],
    "detect_anomaly": [],
    "sync_batchnorm": [],
    "enable_autolog_hparams": [],
}
FROM_THE_RUN = {"logger", "callbacks", "plugins", "default_root_dir"}


def test_the_tables_know_every_argument_that_lightning_has():
    arguments = set(inspect.signature(lightning.Trainer).parameters)
    assert set(REFUSED) == arguments
    works = {name for run in WORKS for name in run}
    assert works == arguments - FROM_THE_RUN - {"model_registry"}, "what may be set is tried; the rest is refused"


@pytest.fixture(autouse=True)
def _settings_of_the_process_stay(monkeypatch):
    """`deterministic=true` and `benchmark=true` hold for a process."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False


@pytest.mark.slow
@pytest.mark.parametrize("settings", WORKS, ids=["one", "other"])
def test_what_works_works_to_the_report(folder, tmp_path, settings):
    root = folder({"a": 24, "b": 24})
    given = [f"++trainer.{name}={value}" for name, value in ({"max_epochs": 1} | settings).items()]
    run_door(
        train.main, *FAST[:2], "data.batch_size=4", "data.workers=0", f"data.root={root}", "positive_class=a",
        "resamples=100", *given, f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert (tmp_path / "run" / "report.html").exists()
    history = pd.read_csv(tmp_path / "run" / "logs" / "version_0" / "metrics.csv")
    assert history["val/auroc"].notna().sum() == (settings.get("max_epochs", 1))


# What is known to be wrong only where the trainer is built, or the batches are counted.
BUILT = {
    "accelerator", "logger", "callbacks", "plugins", "default_root_dir", "max_time", "limit_train_batches",
    "gradient_clip_algorithm", "profiler",
}  # fmt: skip
TRIED = [(name, value, says) for name, tried in REFUSED.items() for value, says in tried]
THROUGH = [one for one in TRIED if one[0] in BUILT or one[:2] in {("precision", "transformer-engine"), ("devices", 2)}]


@pytest.mark.parametrize(("name", "value", "says"), THROUGH)
def test_what_does_not_work_is_refused_at_start(folder, tmp_path, monkeypatch, capsys, name, value, says):
    monkeypatch.chdir(tmp_path)
    root = folder({"a": 8, "b": 8})
    monkeypatch.setattr(
        "sys.argv",
        ["medcls.train", *FAST, f"data.root={root}", "positive_class=a", f"++trainer.{name}={value}"],
    )
    with pytest.raises(SystemExit) as stop:
        train.main()
    said = capsys.readouterr().err
    assert stop.value.code == 2, said
    assert says in said and "Traceback" not in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("name", "value", "says"), [one for one in TRIED if one not in THROUGH])
def test_what_can_be_told_from_the_setting_alone_is_refused(name, value, says):
    shipped = yaml.safe_load((configurations() / "conf" / "trainer" / "default.yaml").read_text(encoding="utf-8"))
    with pytest.raises(MedclsError) as refused:
        check_trainer(shipped | {name: yaml.safe_load(str(value))})
    assert says in str(refused.value) and f"trainer.{name}" in str(refused.value)


def test_lightnings_own_defaults_can_be_given():
    defaults = {name: p.default for name, p in inspect.signature(lightning.Trainer).parameters.items()}
    check_trainer(defaults | {"max_epochs": 3, "devices": 1})
    with pytest.raises(MedclsError, match=r"trainer\.devices is 'auto'"):
        check_trainer(defaults | {"max_epochs": 3})


def test_an_epoch_of_some_batches():
    assert [batches_an_epoch(9, limit) for limit in (None, 1, 20, 1.0, 0.5)] == [9, 1, 9, 9, 4]
