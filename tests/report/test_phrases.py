import dataclasses
import functools
import re

import made_study
import numpy as np
import pandas as pd
import pytest
from html_pages import read
from interval_tables import intervals
from made_report import NASTY
from made_study import EMPTY, assessment, decision_rules, predictions
from refusals import rules
from rich.console import Console

from medcls.evaluation.assessment import assess
from medcls.evaluation.calibration import Calibration
from medcls.evaluation.decision_rules import DecisionRules, not_fitted
from medcls.evaluation.predictions import Predictions
from medcls.evaluation.thresholds import OperatingPoint, fit_operating_point, parse_criterion
from medcls.report import phrases
from medcls.report.example_images import examples
from medcls.report.pages.names import Names
from medcls.report.phrases import (
    BY_CHANCE,
    formatted,
    isolated,
    missed_target,
    operating_point,
    plain_words,
    unsure_target,
    worse_than_chance,
)
from medcls.report.report import metric_sections, notices
from medcls.statistics.digits import rounded
from medcls.statistics.metrics import classification_metrics
from medcls.workflow import evaluating, printed_results, terminal
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
    printed_results.show(evaluating.Results((one,), ()), None)
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
    assert all(number in unsure.text for number in ("9 independent cases of class ill", "37%", "45 independent cases"))
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
    (shown, *_), _ = examples(one, EMPTY, Names({}), images=False)
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


def test_a_name_from_the_right_is_kept_apart():
    assert isolated("malignant") == "malignant"
    assert isolated(NASTY[2]) == f"\N{FIRST STRONG ISOLATE}{NASTY[2]}\N{POP DIRECTIONAL ISOLATE}"


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("auroc", 0.91049, "0.910"),
        ("auroc", 1.0, "1.000"),
        ("sensitivity", 0.8125, "0.813"),  # 13 of 16
        ("auroc", 0.0005, "0.001"),
        ("auroc", 0.9995, ">0.999"),
        ("auroc", 0.99999, ">0.999"),
        ("brier", 1e-9, "<0.001"),
        ("auroc", 0.0, "0.000"),
        ("mcc", -0.25, "−0.250"),
        ("log_loss", 3.3, "3.300"),
        ("positive_likelihood_ratio", 32.26, "32.3"),
        ("positive_likelihood_ratio", 5.5, "5.50"),
        ("positive_likelihood_ratio", 100.0, "100"),
        ("auroc", float("nan"), "undefined"),
    ],
)
def test_figures_are_rounded_without_lying(metric, value, text):
    assert formatted(metric, value, 3) == text


@pytest.mark.wording
def test_words_and_figures_say_the_same(headline, several):
    values = headline.metrics.values
    said = " ".join(plain_words(headline))
    assert f"about {rounded(100 * values['sensitivity'], 0)} are detected (95% interval" in said
    assert f"about {rounded(100 * values['specificity'], 0)} are recognised as such" in said
    assert f"correct about {rounded(100 * values['precision'], 0)} times in 100" in said
    assert "50% of the images are of that class" in said
    said = " ".join(plain_words(several))
    assert f"about {rounded(100 * several.metrics.values['balanced_accuracy'], 0)} of 100" in said
    best = max(several.metrics.per_class, key=lambda name: several.metrics.per_class[name]["sensitivity"])
    assert f"Class {isolated(best)} is detected most often" in said


@pytest.mark.wording
def test_of_100_images_as_many_are_found_as_are_not_missed():
    """7 of 8 are 87.5 in 100: 88 are detected and 12 missed, not 13."""
    assert (phrases._are(7 / 8), phrases._rest_are(7 / 8)) == ("about 88 are", "12 are")
    assert (phrases._rest_are(0.9999), phrases._rest_are(1.0)) == ("fewer than 1 is", "0 are")


@pytest.mark.wording
def test_class_names_that_are_numbers_are_quoted_in_sentences():
    table = made_study.predictions(n=100, seed=1)
    names = dict(zip(made_study.BINARY, ("0", "1"), strict=True))
    rows = table.rows.assign(label=table.rows["label"].map(names))
    rows = rows.rename(
        columns={f"{kind}_{old}": f"{kind}_{new}" for kind in ("prob", "logit") for old, new in names.items()}
    )
    numeric = Predictions(rows, ("0", "1"), "1")
    assert numeric.caption().startswith('test, n = 100 images (70 "0", 30 "1")')
    said = " ".join(plain_words(assess(numeric, not_fitted(numeric), resamples=50)))
    assert '100 "1" images like these' in said and 'class "1" is correct' in said and " 1 images" not in said
