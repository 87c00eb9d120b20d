"""Sweeps of trainings: a job that was interrupted continues, and gives what it would have given."""

import json
from pathlib import Path

import pandas as pd
import pytest
from entry_points import FAST, run_main
from refusals import noted
from test_endings import ended, failing

from medcls import train
from medcls.runs.sweep_folder import SweepFolder


@pytest.mark.slow
def test_a_job_that_was_interrupted_is_resumed_and_equals_one_that_was_not(folder, tmp_path, monkeypatch, capsys):
    root = folder({"a": 12, "b": 12})
    base = [
        "-m", *FAST, f"data.root={root}", "positive_class=a", "trainer.max_epochs=3", "resamples=100", "seed=0,1",
    ]  # fmt: skip
    run_main(train.main, *base, f"hydra.sweep.dir={tmp_path}/whole")
    cut = SweepFolder(tmp_path / "cut")
    with monkeypatch.context() as patch:
        # The second job is killed in its second epoch: two of the first job's, one of its own.
        stop = failing(KeyboardInterrupt(), 4, train_epoch_start())
        patch.setattr("medcls.learning.callbacks.SeedEachEpoch.on_train_epoch_start", stop)
        code, err = ended(train.main, monkeypatch, capsys, *base, f"hydra.sweep.dir={cut.path}")
    assert code == 130 and noted([err], f"hydra.sweep.dir='{cut.path}'")
    assert [job.state for job in cut.jobs()] == ["done", "missing"]
    first = (cut.path / "0" / "report.html").stat().st_mtime_ns
    run_main(train.main, *base, f"hydra.sweep.dir={cut.path}")
    assert [job.state for job in cut.jobs()] == ["done", "done"]
    assert (cut.path / "0" / "report.html").stat().st_mtime_ns == first
    assert (cut.path / "1" / "train.log").read_text(encoding="utf-8").count("device: ") == 2
    for job, whole in zip(cut.jobs(), SweepFolder(tmp_path / "whole").jobs(), strict=True):
        assert (job.metric, job.value, job.run) == (whole.metric, whole.value, whole.run)
        assert predictions(cut.path / job.run).equals(predictions(tmp_path / "whole" / whole.run))
    # What resumes has this process's settings only where they cannot change the result.
    settings = [one for one in base if one != "seed=0,1"]
    code, err = ended(train.main, monkeypatch, capsys, *settings, "seed=0,2", f"hydra.sweep.dir={cut.path}")
    assert code == 2 and noted(err.splitlines(), "1", "seed=2", "seed=1")
    assert [job.state for job in cut.jobs()] == ["done", "failed"]


def train_epoch_start():
    from medcls.learning.callbacks import SeedEachEpoch

    return SeedEachEpoch.on_train_epoch_start


def predictions(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "predictions" / "val.csv").drop(columns="checkpoint")


@pytest.mark.slow
def test_a_job_that_lost_its_report_only_is_not_trained_again(folder, tmp_path, monkeypatch):
    root = folder({"a": 12, "b": 12})
    base = [
        "-m", *FAST, f"data.root={root}", "positive_class=a", "trainer.max_epochs=1", "resamples=100", "seed=0,1",
        f"hydra.sweep.dir={tmp_path}/sweep",
    ]  # fmt: skip
    run_main(train.main, *base)
    sweep = SweepFolder(tmp_path / "sweep")
    before = sweep.job(1)
    (tmp_path / "sweep" / "1" / "report.html").unlink()
    # As a job that was killed between its report and its record.
    record = tmp_path / "sweep" / ".jobs" / "1.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"state": "missing", "value": None}))
    monkeypatch.setattr("lightning.Trainer.fit", failing(AssertionError("it trains")))
    run_main(train.main, *base)
    assert (tmp_path / "sweep" / "1" / "report.html").exists()
    assert sweep.job(1) == before
