"""What a study says, and the files of a search."""

import json

import pandas as pd
import pytest
from made_search import made_study

from medcls.runs.run_folder import RunFolder
from medcls.workflow.search_report import (
    FEWEST_FOR_IMPORTANCE,
    Commands,
    as_typed,
    read_search,
    standard_error,
    write_search,
)

COMMANDS = Commands("typed <script>", "python -m medcls.train optimizer.lr=0.001", "python -m medcls.evaluate run=1")


def written(folder, trials, failed=None, interrupted=()):
    found = read_search(made_study(trials, failed, interrupted), "val/auroc", folder)
    run = RunFolder(folder)
    run.begin("search.log")
    page = write_search(found, run, COMMANDS)
    run.close()
    return found, page.read_text(encoding="utf-8")


def metrics(run, stamps=()):
    run.mkdir()
    interval = {"metric": "auroc", "low": 0.8, "high": 0.9}
    content = {"stamps": list(stamps), "checkpoint": "a", "val": {"intervals": [interval]}}
    (run / "metrics.json").write_text(json.dumps(content), encoding="utf-8")


def test_trials_are_complete_failed_or_interrupted(tmp_path):
    found = read_search(made_study(6, {1: "full.csv"}, (4,)), "val/auroc", tmp_path)
    assert [one.state for one in found.trials] == [
        "complete",
        "failed",
        "complete",
        "complete",
        "interrupted",
        "complete",
    ]
    assert found.trials[1].reason == "full.csv" and found.trials[1].value is None
    assert found.trials[0].settings.keys() == {"optimizer.lr", "optimizer.weight_decay", "ema"}


def test_importance_finds_the_setting_that_matters_and_waits_for_enough_trials(tmp_path):
    found = read_search(made_study(30), "val/auroc", tmp_path)
    assert max(found.importance, key=found.importance.get) == "optimizer.lr"
    assert found.importance["optimizer.lr"] > 0.6 and sum(found.importance.values()) == pytest.approx(1)
    assert read_search(made_study(FEWEST_FOR_IMPORTANCE - 1), "val/auroc", tmp_path).importance is None


def test_the_standard_error_is_from_the_interval_of_the_best_run(tmp_path):
    metrics(tmp_path / "0")
    assert standard_error(tmp_path / "0", "val/auroc") == pytest.approx(0.1 / 3.92, rel=1e-3)
    assert standard_error(tmp_path / "0", "val/loss") is None
    assert standard_error(tmp_path / "1", "val/auroc") is None


def test_the_page_has_the_best_trial_the_commands_the_plots_and_every_failure(tmp_path):
    best = read_search(made_study(12, {2: "<b>full</b>"}), "val/auroc", tmp_path).best.number
    metrics(tmp_path / str(best), ["SYNTHETIC"])
    found, page = written(tmp_path, 12, {2: "<b>full</b>"})
    assert found.warning() in page and "11" in found.warning()
    assert COMMANDS.train in page and COMMANDS.evaluate in page and "SYNTHETIC" in page
    assert "&lt;b&gt;full&lt;/b&gt;" in page and "<script" not in page
    for name in ("search_history", "search_importance"):
        assert f'id="plot.{name}"' in page and (tmp_path / "figures" / f"{name}.png").is_file()
    rows = pd.read_csv(tmp_path / "trials.csv")
    assert len(rows) == 12 and rows.loc[2, "state"] == "failed"
    summary = json.loads((tmp_path / "search.json").read_text(encoding="utf-8"))
    assert summary["best"]["number"] == best and summary["excess"] > 0


def test_few_trials_have_a_page_without_importance(tmp_path):
    _, page = written(tmp_path, 1)
    assert 'id="plot.search_history"' in page and "search_importance" not in page
    assert str(FEWEST_FOR_IMPORTANCE) in page


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (True, "true"), (0.001, "0.001"), ("none", "none"), (3, "3")]
)
def test_a_value_is_typed_in_hydras_grammar(value, text):
    assert as_typed(value) == text
