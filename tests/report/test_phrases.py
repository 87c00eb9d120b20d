import dataclasses
import functools
import re

import numpy as np
import pandas as pd
import pytest
from html_pages import read
from interval_tables import intervals
from made_study import EMPTY, assessment, decision_rules, predictions
from refusals import rules
from rich.console import Console

from medcls.evaluation.assessment import assess
from medcls.evaluation.calibration import Calibration
from medcls.evaluation.decision_rules import DecisionRules
from medcls.evaluation.thresholds import OperatingPoint, fit_operating_point, parse_criterion
from medcls.report.pages.names import Names
from medcls.report.phrases import BY_CHANCE, missed_target, operating_point, unsure_target, worse_than_chance
from medcls.report.report import look_at, metric_sections, notices
from medcls.statistics.metrics import classification_metrics
from medcls.workflow import reporting, terminal
from medcls.workflow.terminal import show_table


@functools.cache
def rules_for(policy, n):
    return fit_operating_point(predictions("calibration", n), policy, resamples=2)


def judged_at(policy, moved, seed=1, n=1000, fitted_on=1000):
    """A threshold fitted on images like these, which then come a little paler (`moved` below 0)."""
    table = predictions(seed=seed, n=n, moved=moved)
    return assess(table, DecisionRules(None, rules_for(policy, fitted_on), None, {}), resamples=2)


def test_a_target_that_was_missed_stands_in_the_first_lines(caplog):
    one = judged_at("sensitivity>=0.95", -1.0)
    reached = one.metrics.values["sensitivity"]
    missed = missed_target(one)
    assert missed.rule == "target_missed"
    assert f"sensitivity {reached:.3f} (0." in missed.title and "0.95" in missed.title
    assert "sensitivity>=0.95@90%" in missed.text
    assert notices(one)[0] == missed
    reporting.show(reporting.Results((one,), ()), None)
    assert rules(caplog)[0] == "target_missed" and f"{reached:.3f}" in caplog.messages[0]


def test_a_target_missed_by_no_more_than_chance_is_not_called_missed():
    missed = missed_target(judged_at("sensitivity>=0.95@60%", -0.2))
    assert missed.rule == "target_not_reached" and "sensitivity 0.9" in missed.title
    assert "@90%" not in missed.text


@pytest.mark.parametrize("policy", ["sensitivity>=0.9", "sensitivity>=0.95@90%"])
@pytest.mark.parametrize(("fitted_on", "judged_by"), [(8, 50), (20, 100), (40, 200), (40, 30)])
def test_chance_on_val_is_seldom_taken_for_more_than_chance(policy, fitted_on, judged_by):
    """Both drawn from one population. The share of the test cases alone was called beyond chance in up to 42%."""
    target, draw, found = parse_criterion(policy), np.random.default_rng([fitted_on, judged_by]), []
    for _ in range(1000):
        threshold = np.sort(draw.normal(size=fitted_on))[target.allowed_errors(fitted_on)]
        found.append(target.chance_of((draw.normal(size=judged_by) < threshold).mean(), judged_by, fitted_on))
    assert (np.array(found) < BY_CHANCE).mean() < 0.04
    assert target.chance_of(0.9, judged_by, fitted_on) < 1e-4 and target.chance_of(0.9, judged_by, 0) == 1


def test_a_confidence_that_cannot_be_had_stands_in_the_first_lines():
    one = judged_at("sensitivity>=0.95@90%", 0.0, fitted_on=30)
    unsure = unsure_target(one)
    assert unsure.rule == "unsure_target" and "sensitivity>=0.95@90%" in unsure.title
    assert all(number in unsure.text for number in ("9 independent cases of ill", "37%", "45 independent cases"))
    assert unsure in notices(one)
    assert unsure_target(judged_at("sensitivity>=0.95@90%", 0.0)) is None
    assert unsure_target(judged_at("sensitivity>=0.95", 0.0)) is None


def test_few_cases_on_val_may_explain_a_target_that_was_missed():
    """The interval of test lies under the target, but the threshold stood on nine cases."""
    missed = missed_target(judged_at("sensitivity>=0.9", -0.5, fitted_on=30))
    assert missed.rule == "target_missed_by_few_cases"
    assert "sensitivity 0." in missed.title and "9 independent cases" in missed.text


def anew(one, table):
    """The same assessment with the metrics and intervals of another table: quick, for many."""
    judged = (table.labels(), table.probabilities(), table.classes, table.positive)
    return dataclasses.replace(
        one,
        table=table,
        metrics=classification_metrics(*judged, one.decision_rules.threshold),
        intervals=intervals(*judged, table.clusters, one.decision_rules.threshold, resamples=2),
    )


@pytest.mark.slow
def test_no_table_of_chance_is_called_worse_than_chance():
    one = judged_at("youden", 0.0)
    for seed in range(60):
        assert worse_than_chance(anew(one, predictions(seed=seed, n=60, signal=1e-9))) is None, seed


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["sensitivity>=0.9", "specificity>=0.9", "sensitivity>=0.9@90%"])
def test_where_nothing_has_changed_no_target_is_called_missed(policy):
    """With so many rows to fit on that the threshold meets the target: of 40 tables one or two may miss by chance."""
    one = judged_at(policy, 0.0, fitted_on=20_000)
    said = [missed_target(anew(one, predictions(seed=seed, n=400))) for seed in range(40)]
    missed = [one.title for one in said if one is not None and one.rule != "target_not_reached"]
    assert len(missed) <= 2, missed


@pytest.mark.parametrize("policy", ["youden", "fixed=0.99", "cost=5"])
def test_what_states_no_target_misses_none(policy):
    one = judged_at(policy, -3.0)
    assert missed_target(one) is None and not one.decision_rules.operating_point.promise


def test_the_plain_form_says_what_it_promises():
    said = operating_point(judged_at("specificity>=0.9", 0.0))
    assert "specificity>=0.9@90%" in said
    sure = operating_point(judged_at("specificity>=0.9@90%", 0.0))
    assert "specificity of 0.9" in sure and "90% " in sure and sure.count("@") == 1


def test_probabilities_near_each_other_are_told_apart_and_a_temperature_at_its_bound_is_said():
    """A network that answers nearly the same for every image: 0.49996 was told as 0.500, 100 as a temperature."""
    table = predictions(seed=1, n=200)
    calibration = Calibration(100.0, "val", "c0ffee", 200, 0.7, 0.69)
    flat = dataclasses.replace(calibration, temperature=1e5).apply(table)
    flat = dataclasses.replace(flat, rows=flat.rows.drop(columns=["logit_other", "logit_ill"]))
    point = OperatingPoint("youden", 0.499962, "ill", "val", n=200, decimals=6)
    one = assess(flat, DecisionRules(None, point, None, {}), resamples=2)
    sections = read(
        metric_sections(dataclasses.replace(one, decision_rules=DecisionRules(calibration, point, None, {})))
    ).text
    assert "0.499962" in operating_point(one) and "At 0.499962" in sections
    assert "0.1 to 100" in sections, "the temperature is at the end of the range searched"
    assert re.search(r"0\.49\d{4} to 0\.[45]\d{5}", sections), "the bins of the reliability table"
    (shown, *_), _ = look_at(one, EMPTY, Names({}), images=False)
    assert re.search(r"ill 0\.[45]\d{5}$", shown.caption)


def test_what_is_undefined_is_not_printed_as_nan(capsys):
    show_table(pd.DataFrame({"metric": ["precision"], "1": [float("nan")], "2": [0.5]}), "Out of fold")
    said = capsys.readouterr().out
    assert "undefined" in said and "0.500" in said and "nan" not in said


def test_a_table_cuts_no_word_on_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "console", Console(width=80))
    names = [f"pigmented_benign_keratosis_{k} (share)" for k in range(9)]
    show_table(pd.DataFrame([["12 (0.33)"] * 9], columns=names), "Images by split")
    said = capsys.readouterr().out
    assert "\N{HORIZONTAL ELLIPSIS}" not in said
    letters = "".join(
        line.split("\N{BOX DRAWINGS HEAVY VERTICAL}")[1].strip() for line in said.splitlines() if "┃" in line
    )
    assert letters.replace(" ", "") == "pigmented_benign_keratosis_0(share)"


def test_without_a_threshold_no_target_is_missed():
    one = assessment(predictions(seed=1), dataclasses.replace(decision_rules(), operating_point=None))
    assert missed_target(one) is None
    assert np.isfinite(one.metrics.values["sensitivity"])
