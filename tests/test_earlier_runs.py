"""Run folders as earlier versions wrote them are evaluated, compared, resumed and started from; and what they trained
is trained today to the same tables.

Each folder in `earlier_runs/` holds a small run (`run/`) and its images (`images/`, phantoms made small), with `@HERE@`
where a path of the machine stood. `@HERE@/run` is where the checkpoints say that they lie.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from entry_points import run_main

from medcls import compare, evaluate, train

KEPT = sorted(path.parent for path in (Path(__file__).parent / "earlier_runs").glob("*/run"))

# Keys of metrics.json, and columns of predictions, that have another name today.
RENAMED: dict[str, str] = {}


@pytest.fixture(params=KEPT, ids=lambda path: path.name)
def here(request, tmp_path):
    """A copy of a kept run and its images, as if it had been trained here."""
    here = tmp_path / "here"
    shutil.copytree(request.param, here)
    config = here / "run" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("@HERE@", str(here)), encoding="utf-8")
    return here


def today(kept: object) -> object:
    """What an earlier version wrote, under the names of today."""
    if isinstance(kept, dict):
        return {RENAMED.get(key, key): today(value) for key, value in kept.items()}
    return [today(value) for value in kept] if isinstance(kept, list) else kept


def by_metric(rows: list[dict[str, object]]) -> dict[tuple[object, ...], dict[str, object]]:
    """The rows of a table by what they are of, whatever their order."""
    return {tuple(row.get(name) for name in ("column", "group", "metric", "class")): row for row in rows}


# Sentences, which may be reworded; whether there is one stays.
WORDED = ("caption", "note", "reason", "reasons", "warnings")


def same(found: object, expected: object, rel: float, where: str = "") -> None:
    """All that was there before is there, and equal to a relative difference; there may be more."""
    if isinstance(expected, dict):
        assert isinstance(found, dict) and set(expected) <= set(found), where
        for key, value in expected.items():
            if key in WORDED:
                assert bool(found[key]) == bool(value), where
            else:
                same(found[key], value, rel, f"{where}.{key}")
    elif isinstance(expected, list) and expected and isinstance(expected[0], dict) and "metric" in expected[0]:
        assert isinstance(found, list), where
        same(by_metric(found), by_metric(expected), rel, where)
    elif isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected), where
        for number, value in enumerate(expected):
            same(found[number], value, rel, f"{where}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=rel, abs=rel, nan_ok=True), where
    else:
        assert found == expected, where


def same_tables(found: Path, expected: Path, rel: float, checkpoint: bool) -> None:
    """The predictions of val and test, row by row."""
    for split in ("val", "test"):
        one, other = (pd.read_csv(run / "predictions" / f"{split}.csv") for run in (found, expected))
        other = other.rename(columns=RENAMED)
        assert list(other.columns) == list(one.columns)
        for column in other.columns:
            if column == "checkpoint" and not checkpoint:
                continue
            if other[column].dtype == np.float64:
                assert np.allclose(one[column], other[column], rtol=rel, atol=rel, equal_nan=True), column
            else:
                assert one[column].tolist() == other[column].tolist(), column


def metrics_of(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def test_there_is_one():
    assert KEPT


def test_it_is_evaluated_to_the_same_numbers(here):
    kept = shutil.copytree(here / "run", here / "kept")
    shutil.rmtree(here / "run" / "predictions")
    run_main(evaluate.main, f"run={here}/run", "resamples=100")
    same_tables(here / "run", kept, rel=1e-5, checkpoint=True)
    same(metrics_of(here / "run"), today(metrics_of(kept)), rel=1e-5)


def test_it_is_compared_and_started_from(here, tmp_path):
    settings = yaml.safe_load((here / "made_by.yaml").read_text(encoding="utf-8"))
    run_main(
        train.main, *settings, f"data.root={here}/images", f"data.locked_test={here}/run/manifest.csv",
        f"model.weights={here}/run", f"hydra.run.dir={tmp_path}/next",
    )  # fmt: skip
    account = json.loads((tmp_path / "next" / "weights.json").read_text(encoding="utf-8"))
    assert account["source"] == f"{here}/run"
    run_main(compare.main, f"runs=[{here}/run,{tmp_path}/next]", "resamples=100", f"hydra.run.dir={tmp_path}/compared")
    assert (tmp_path / "compared" / "comparison.md").is_file()


def test_it_is_trained_on(here):
    before = yaml.safe_load((here / "run" / "config.yaml").read_text(encoding="utf-8"))["trainer"]["max_epochs"]
    run_main(train.main, f"resume={here}/run", f"trainer.max_epochs={before + 1}")
    log = pd.read_csv(sorted((here / "run" / "logs").glob("version_*/metrics.csv"))[-1])
    assert log["epoch"].max() == before


def test_the_same_training_gives_the_same_tables(here, tmp_path):
    settings = yaml.safe_load((here / "made_by.yaml").read_text(encoding="utf-8"))
    run_main(train.main, *settings, f"data.root={here}/images", f"hydra.run.dir={tmp_path}/again")
    again, kept = tmp_path / "again", here / "run"
    assert (again / "manifest.csv").read_text(encoding="utf-8") == (kept / "manifest.csv").read_text(encoding="utf-8")
    assert (again / "splits.csv").read_text(encoding="utf-8") == (kept / "splits.csv").read_text(encoding="utf-8")
    # Another processor's last digits grow a little with each step.
    same_tables(again, kept, rel=1e-3, checkpoint=False)
