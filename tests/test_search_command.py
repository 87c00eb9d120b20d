"""A search from the command line: trained trials, an interruption, the page, and the command of the best."""

import re
import shlex
from pathlib import Path

import optuna
import pandas as pd
import pytest
from entry_points import FAST, run_main
from made_sets import class_folders
from refusals import refused_command

from medcls import train

# A decay of 2 fails: with seed 3 in the second trial.
RANGES = ("optimizer.lr=tag(log, interval(1e-4, 1e-2))", "ema=null,2.0")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("search") / "images", {"well": 16, "ill": 16})


def arguments(images: Path, sweep: Path, trials: int) -> list[str]:
    settings = [*FAST, f"data.root={images}", "positive_class=ill", "trainer.max_epochs=1", "resamples=100"]
    search = [
        "hydra/sweeper=search",
        "hydra.sweeper.seed=3",
        f"hydra.sweeper.n_trials={trials}",
        f"hydra.sweep.dir={sweep}",
    ]
    return ["-m", *search, *RANGES, *settings]


@pytest.mark.slow
def test_a_search_fails_in_part_goes_on_and_prints_a_command_that_evaluates_test(images, tmp_path, capsys, monkeypatch):
    sweep = tmp_path / "sweep"
    run_main(train.main, *arguments(images, sweep, 2))
    run_main(train.main, *arguments(images, sweep, 3))
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{sweep}/study.db")
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    failed = {trial.number for trial in study.trials if trial.params["ema"] == 2.0}
    assert {trial.number for trial in study.trials if trial.state.name == "FAIL"} == failed == {1}
    for trial in study.trials:
        run = sweep / str(trial.number)
        assert (run / "report.html").is_file() is (trial.number not in failed)
        assert not (run / "predictions" / "test.csv").exists()
    jobs = pd.read_csv(sweep / "jobs.csv")
    assert set(jobs.loc[jobs["state"] == "failed", "job"]) == failed
    assert study.best_value == pytest.approx(jobs["value"].max())
    page = (sweep / "search.html").read_text(encoding="utf-8")
    assert all(f"Trial {number}</dt>" in page for number in failed)

    command = re.findall(r"^ +python -m medcls\.train (.*)$", capsys.readouterr().out, re.MULTILINE)[-1]
    assert f"optimizer.lr={study.best_params['optimizer.lr']}" in command and "sweeper" not in command
    run_main(train.main, *shlex.split(command), f"hydra.run.dir={tmp_path}/best")
    assert (tmp_path / "best" / "predictions" / "test.csv").is_file()
    val = [
        pd.read_csv(run / "predictions" / "val.csv")
        for run in (tmp_path / "best", sweep / f"{study.best_trial.number}")
    ]
    pd.testing.assert_frame_equal(*val)


def test_settings_that_cannot_be_searched_leave_no_folder(images, tmp_path):
    sweep = tmp_path / "sweep"
    typed = arguments(images, sweep, 2)
    refused_command("test_in_a_search", ("evaluate_test",), train.main, *typed, "evaluate_test=true")
    refused_command("test_in_a_search", ("test/auroc",), train.main, *typed, "monitor=test/auroc")
    refused_command("not_searchable", ("seed",), train.main, *typed, "seed=0,1")
    refused_command("bad_value", ("n_trials",), train.main, *typed, "hydra.sweeper.n_trials=0")
    refused_command("missing_extra", ("psycopg2",), train.main, *typed, "hydra.sweeper.storage=postgresql://a:b@c/d")
    run_main(train.main, *typed, "optimizer.no_such=interval(0, 1)", exit_code=2)
    assert not sweep.exists()
