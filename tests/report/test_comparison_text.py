import dataclasses

import pandas as pd
import pytest

from medcls.evaluation.comparing import ModelComparison, Question
from medcls.evaluation.thresholds import OperatingPoint
from medcls.report.comparison_text import markdown, pairs_table, runs_table, shown_note, tables

NAMES = ("a_1", "b*2")


def compared(metrics=("auroc", "accuracy"), names=NAMES, **changes):
    point = OperatingPoint("youden", 0.4, "ill", "val", n=90).to_plain()
    described = tuple(
        {"name": name, "place": f"runs/{name}", "settings": "", "checkpoint": "c", "operating_point": point}
        for name in names
    )
    value = {"estimate": 0.8125, "low": 0.7, "high": 0.9, "n": 40, "method": "DeLong", "note": ""}
    estimates = pd.DataFrame([{"name": name, "metric": metric, **value} for name in names for metric in metrics])
    pair = {"difference": 0.1, "low": -0.1, "high": 0.3, "p": 0.2, "p_holm": 0.4, "rows": "40 images", "method": "t"}
    rows = [
        {"metric": metric, "a": a, "b": b, **pair}
        for metric in metrics
        for k, a in enumerate(names)
        for b in names[k + 1 :]
    ]
    found = ModelComparison(
        "classifiers", described, "test, n = 40 images", "test", ("SYNTHETIC",), ("Warning: a leak.",),
        Question(tuple(metrics)), estimates, pd.DataFrame(rows), None, ("They cannot be told apart.",), ("A note.",),
    )  # fmt: skip
    return dataclasses.replace(found, **changes)


def test_the_page_has_everything_in_order():
    page = markdown(compared(), "Made now", "python -m medcls.compare runs=[A,B]")
    parts = ("SYNTHETIC", "Warning: a leak", "cannot be told apart", "A note", "## Metrics", "## Comparisons", "runs=")
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    assert r"b\*2" in page, "names of runs are no markup"


def test_a_single_metric_stands_in_the_heading_and_needs_no_correction():
    one, two = pairs_table(compared(("auroc",))), pairs_table(compared())
    assert "metric" not in one and "p (Holm)" not in one and {"metric", "p (Holm)"} <= set(two)
    assert any("AUROC" in column for column in one)


def test_the_origin_of_a_threshold_stands_beside_metrics_of_decisions_alone():
    assert "threshold" not in runs_table(compared(("auroc",)))
    (threshold, _) = runs_table(compared(("accuracy",)))["threshold"]
    assert all(part in threshold for part in ("0.400", "Youden", "val", "90"))


@pytest.mark.parametrize(("number", "is_noted"), [(10, False), (11, True)])
def test_of_many_the_pairs_that_are_left_out_are_counted(number, is_noted):
    found = compared(("auroc",), [f"m{k}" for k in range(number)])
    assert ("comparison.csv" in shown_note(found)) is is_noted
    assert len(tables(found)["Comparisons"]) == len(found.shown)
