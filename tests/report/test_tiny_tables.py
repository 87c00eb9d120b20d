"""A table of very few rows is judged to the end, whatever it holds: with a figure, or the reason why there is none."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
import yaml
from made_study import BINARY, EMPTY

from medcls.cli.shipped import configurations
from medcls.errors import MedclsError
from medcls.evaluation.predictions import Predictions
from medcls.runs.run_folder import RunFolder
from medcls.workflow import evaluating, printed_results, report_settings, result_files

pytestmark = pytest.mark.usefixtures("drawn_figures")

THREE = ("a", "b", "c")
POLICIES = ("youden", "f1", "cost=5", "sensitivity>=0.95", "specificity>=0.95")
# The issue's own: ten rows, of which the first alone is positive.
ONE_CASE = np.array([0.9, 0.8, 0.6, 0.5, 0.4, 0.4, 0.3, 0.2, 0.2, 0.1])


def telling(**settings):
    path = configurations() / "conf" / "evaluation" / "default.yaml"
    default = yaml.safe_load(path.read_text(encoding="utf-8")) | {"seed": 0} | settings
    return dataclasses.replace(report_settings.ReportSettings.read(default), resamples=20)


def table(split, labels, scores, groups, classes=BINARY):
    n = len(labels)
    rows = {"path": [f"{split}/{row}.png" for row in range(n)], "label": np.array(classes)[labels], "group": groups}
    rows |= {"split": split, "sex": ["f" if row % 3 else "m" for row in range(n)], "checkpoint": "c0ffee"}
    scores = np.column_stack([1 - scores, scores]) if len(classes) == 2 else scores
    rows |= {f"prob_{name}": scores[:, k] for k, name in enumerate(classes)}
    return Predictions(pd.DataFrame(rows), classes, "ill" if classes == BINARY else None)


def judged(labels, scores, groups, settings, classes=BINARY):
    """As an evaluation of a table beside val ends; with both classes in val, else nothing is fitted."""
    val, test = (table(split, labels, scores, groups, classes) for split in ("val", "test"))
    try:
        fitted = evaluating.fit(val, settings)
    except MedclsError:
        fitted = evaluating.not_fitted(test, settings)
    return evaluating.evaluate([val, test], fitted, settings)


def write(folder, results, settings):
    """All that an evaluation writes."""
    run = RunFolder(folder)
    result_files.write_results(run, results, evaluating.Fitted(results.headline.decision_rules), ())
    result_files.write_report(run, results, EMPTY, settings)


def cases():
    """Seeded: numbers of rows and of cases, kinds of scores, groups and policies."""
    draw = np.random.default_rng(0)
    kinds = ("distinct", "ties", "constant", "separated", "saturated")
    sizes = [(n, positives) for n in (2, 3, 5, 10) for positives in (1, 2, 3) if positives <= n]
    for number, (n, positives) in enumerate(sizes):
        labels = np.r_[np.ones(positives, int), np.zeros(n - positives, int)]
        kind, grouping = kinds[number % 5], ("alone", "pairs", "one")[number // 2 % 3]
        scores = {
            "distinct": draw.uniform(0.01, 0.99, n),
            "ties": np.round(draw.uniform(0.1, 0.9, n), 1),
            "constant": np.full(n, 0.5),
            "separated": 0.1 + 0.8 * labels,
            "saturated": np.where(draw.random(n) < 0.5, 1e-17, 1 - 1e-12),
        }[kind]
        groups = {"alone": [""] * n, "pairs": [f"p{row // 2}" for row in range(n)], "one": ["p"] * n}[grouping]
        how = {"operating_point": POLICIES[number % 5], "aggregate": (None, "mean")[number % 2]}
        yield pytest.param(labels, scores, groups, how, id=f"{n}-{positives}-{kind}-{grouping}")


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "scores", "groups", "how"), list(cases()))
def test_a_tiny_table_is_judged_and_told(labels, scores, groups, how, tmp_path, monkeypatch):
    monkeypatch.setattr(result_files, "draw", lambda *_, **__: [])  # figures have a test of their own
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = judged(labels, scores, groups, telling(**how))
        write(tmp_path, results, telling(**how))
        printed_results.show(results, None)
    for row in results.headline.intervals.itertuples():
        assert not np.isnan(row.low) or row.note, row.metric
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert " nan" not in report and ">nan" not in report


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 6, 12])
@pytest.mark.parametrize("groups", ["alone", "pairs"])
def test_classes_of_one_row_are_judged_and_told(n, groups, tmp_path, monkeypatch):
    monkeypatch.setattr(result_files, "draw", lambda *_, **__: [])
    draw = np.random.default_rng(n)
    labels = np.r_[1, 2, np.zeros(n - 2, int)]
    named = [""] * n if groups == "alone" else [f"p{row // 2}" for row in range(n)]
    scores = np.tile([0.5, 0.25, 0.25], (n, 1)) if n == 6 else draw.dirichlet([1, 1, 1], n)
    settings = telling(subgroups={"sex": None})
    results = judged(labels, scores, named, settings, THREE)
    write(tmp_path, results, settings)
    assert "nan" not in (tmp_path / "report.md").read_text(encoding="utf-8").split()


@pytest.mark.slow
def test_one_case_of_ten_has_every_figure_and_no_band(tmp_path):
    """`need at least one array to stack` once ended it."""
    results = judged(np.r_[1, np.zeros(9, int)], ONE_CASE, [""] * 10, telling())
    write(tmp_path, results, telling())
    for name in ("roc", "precision_recall"):
        drawn = (tmp_path / "figures" / f"{name}_test.svg").read_text(encoding="utf-8")
        assert "no band" in drawn
