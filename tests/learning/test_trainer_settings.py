"""Every argument of Lightning's trainer: the run completes, or it is refused at the start."""

import inspect

import lightning
import pandas as pd
import pytest
import torch
import yaml
from entry_points import FAST, run_main
from refusals import refused, refused_command

from medcls import train
from medcls.cli.shipped import configurations
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

# What does not.
REFUSED = {
    "accelerator": ["gpux", "tpu"],
    "strategy": ["ddp", "nonsense"],
    "devices": ["auto", "[0,1]", 0, "null"],
    "num_nodes": [0],
    "precision": ["foo", "transformer-engine"],
    "logger": ["false"],
    "callbacks": ["[]"],
    "plugins": ["[]"],
    "default_root_dir": ["/tmp"],
    "fast_dev_run": ["true", 3],
    "max_epochs": [0, -1, "true"],
    "min_epochs": ["abc"],
    "max_steps": [1],
    "min_steps": [-5],
    "max_time": ["soon"],
    "limit_train_batches": [0, 0.0, 0.01, -1],
    "limit_val_batches": [0, 1, 0.5],
    "limit_test_batches": [3],
    "limit_predict_batches": [3],
    "overfit_batches": [1],
    "val_check_interval": [0.5, 2],
    "check_val_every_n_epoch": [5],
    "num_sanity_val_steps": [-2],
    "log_every_n_steps": [0],
    "enable_checkpointing": ["false"],
    "accumulate_grad_batches": ["null", 0, "many"],
    "gradient_clip_val": [-1, "abc"],
    "gradient_clip_algorithm": ["both"],
    "deterministic": ["maybe"],
    "profiler": ["watch"],
    "barebones": ["true"],
    "reload_dataloaders_every_n_epochs": [-1],
    "model_registry": ["me/mine"],
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
BY_LIGHTNING = {"accelerator", "max_time", "gradient_clip_algorithm", "profiler"}


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
    run_main(
        train.main, *FAST[:3], "data.batch_size=4", "data.workers=0", f"data.root={root}", "positive_class=a",
        "resamples=100", *given, f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert (tmp_path / "run" / "report.html").exists()
    history = pd.read_csv(tmp_path / "run" / "logs" / "version_0" / "metrics.csv")
    assert history["val/auroc"].notna().sum() == (settings.get("max_epochs", 1))


# What is known to be wrong only where the trainer is built, or the batches are counted.
BUILT = FROM_THE_RUN | BY_LIGHTNING | {"limit_train_batches"}
TRIED = [(name, value) for name, values in REFUSED.items() for value in values]
THROUGH = [one for one in TRIED if one[0] in BUILT or one in {("precision", "transformer-engine"), ("devices", 0)}]


@pytest.mark.parametrize(("name", "value"), THROUGH)
def test_what_does_not_work_is_refused_at_start(folder, tmp_path, monkeypatch, name, value):
    monkeypatch.chdir(tmp_path)
    root = folder({"a": 8, "b": 8})
    given = (*FAST, f"data.root={root}", "positive_class=a", f"++trainer.{name}={value}")
    if name in FROM_THE_RUN:
        refused_command("setting_of_the_run", (f"trainer.{name}",), train.main, *given)
    elif name in BY_LIGHTNING or value == "transformer-engine":  # which names no setting
        refused_command("bad_value", ("lightning.Trainer",), train.main, *given)
    else:
        refused_command("bad_value", (f"trainer.{name}", str(value)), train.main, *given)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("name", "value"), [one for one in TRIED if one not in THROUGH])
def test_settings_that_are_wrong_by_themselves_are_refused(name, value):
    shipped = yaml.safe_load((configurations() / "conf" / "trainer" / "default.yaml").read_text(encoding="utf-8"))
    given = yaml.safe_load(str(value))
    with refused("bad_value", f"trainer.{name}", repr(given)):
        check_trainer(shipped | {name: given})


def test_batch_norm_over_processes_needs_gpus(monkeypatch):
    settings = {"max_epochs": 1, "devices": 2, "num_nodes": 1, "sync_batchnorm": True}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with refused("needs_gpu", "trainer.sync_batchnorm"):
        check_trainer(settings)
    check_trainer(settings | {"devices": 1})
    check_trainer(settings | {"sync_batchnorm": False})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_trainer(settings)
    with refused("needs_gpu", "trainer.sync_batchnorm"):
        check_trainer(settings | {"accelerator": "cpu"})


def test_lightnings_defaults_can_be_given():
    defaults = {name: p.default for name, p in inspect.signature(lightning.Trainer).parameters.items()}
    check_trainer(defaults | {"max_epochs": 3, "devices": 1})
    with refused("bad_value", "trainer.devices", "'auto'"):
        check_trainer(defaults | {"max_epochs": 3})


def test_an_epoch_of_some_batches():
    assert [batches_an_epoch(9, limit) for limit in (None, 1, 20, 1.0, 0.5)] == [9, 1, 9, 9, 4]
