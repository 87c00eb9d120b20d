import json

import numpy as np
import pandas as pd
import pytest
from interval_tables import intervals
from made_study import BINARY, FOUR, decision_rules, predictions
from refusals import refused

from medcls.evaluation.assessment import RESAMPLES_OF_A_GROUP, assess, read_bands
from medcls.evaluation.decision_curve import say_benefit
from medcls.evaluation.decision_rules import not_fitted
from medcls.evaluation.estimates import estimate
from medcls.evaluation.predictions import uncalibrated
from medcls.report.report import metric_sections
from medcls.runs.run_folder import without_nan
from medcls.statistics.metrics import classification_metrics


def test_p45_p51_figures_are_of_calibrated_probabilities_at_the_operating_point():
    table, fitted = predictions(n=300, seed=3), decision_rules()
    one = assess(table, fitted, resamples=100)
    calibrated = fitted.calibrate(table)
    judged = (calibrated.labels(), calibrated.probabilities(), BINARY, "ill")
    assert one.metrics.values == classification_metrics(*judged, fitted.threshold).values
    assert one.at_half.values == classification_metrics(*judged).values
    expected = intervals(*judged, calibrated.rows["group"].tolist(), fitted.threshold, 100)
    pd.testing.assert_frame_equal(one.intervals, expected)
    assert estimate(one, "auroc").value == pytest.approx(one.metrics.values["auroc"])
    assert not np.allclose(one.reliability["predicted"], one.reliability_before["predicted"])
    assert one.sets.n == 300 and one.decisions is not None


def test_calibrated_twice_is_calibrated_once():
    # Logits stay what the network put out, so a table that was written calibrated gives the same again.
    table, fitted = predictions(n=120, seed=3), decision_rules()
    again = assess(fitted.calibrate(table), fitted, resamples=100)
    assert without_nan(again.to_plain()) == without_nan(assess(table, fitted, resamples=100).to_plain())


def test_a_table_without_policies_has_a_threshold_of_half_and_nothing_before():
    table = predictions(n=100)
    one = assess(table, not_fitted(table), resamples=100)
    assert one.at_half is None and one.reliability_before is None and one.sets is None
    assert one.metrics.threshold == 0.5 and not one.metrics.threshold_fitted


def test_several_classes_have_no_decision_curve():
    one = assess(predictions(n=200, classes=FOUR), decision_rules(FOUR), resamples=100)
    assert one.decisions is None and one.at_half is None
    assert set(one.metrics.per_class) == set(FOUR)


def test_ordered_classes_are_told_from_mild_to_severe():
    table = predictions(n=200, classes=FOUR)
    one = assess(table.in_order(("d", "b", "a", "c")), decision_rules(FOUR), ordered=True, resamples=100)
    plain = assess(table, decision_rules(FOUR), ordered=True, resamples=100)
    assert one.metrics.values["quadratic_kappa"] != pytest.approx(plain.metrics.values["quadratic_kappa"])
    assert one.metrics.values["auroc"] == pytest.approx(plain.metrics.values["auroc"])
    assert one.metrics.values["accuracy"] == plain.metrics.values["accuracy"]
    with refused("different_classes", "a, b, c, d"):
        table.in_order(("a", "b", "c"))


def test_subgroups_and_their_intervals():
    rng = np.random.default_rng(0)
    table = predictions(n=300, sex=rng.choice(["f", "m"], 300), age=rng.integers(20, 90, 300).astype(str))
    one = assess(table, decision_rules(), bands=read_bands({"sex": None, "age": [40, 60]}), resamples=100)
    assert [of.column for of in one.subgroups] == ["sex", "age"]
    assert [group.name for group in one.subgroups[1].groups] == ["under 40", "40 to under 60", "60 and over"]
    assert one.subgroups[0].table().query("metric == 'auroc'")["low"].notna().all()
    assert RESAMPLES_OF_A_GROUP < 2000


@pytest.mark.parametrize(
    "asked", [{"age": "old"}, {"age": {"every": 10, "quantiles": 3}}, {"age": {"some": 3}}, {"age": [True]}]
)
def test_bands_that_mean_nothing_are_refused(asked):
    with refused("bad_value", "subgroups", "'age'", str(asked["age"])):
        read_bands(asked)


def test_a_stated_prevalence_shifts_precision_and_probabilities():
    table, fitted = predictions(n=400), decision_rules()
    one = assess(table, fitted, prevalence=0.05, resamples=100)
    sensitivity, specificity = (one.metrics.values[name] for name in ("sensitivity", "specificity"))
    expected = 0.05 * sensitivity / (0.05 * sensitivity + 0.95 * (1 - specificity))
    assert one.deployment.precision == pytest.approx(expected)
    assert one.deployment.prevalence == pytest.approx({"ill": 0.05, "other": 0.95})
    shifted = one.deployment.table.probabilities()[:, BINARY.index("ill")]
    assert (shifted < one.table.probabilities()[:, BINARY.index("ill")]).all()
    with refused("prevalence_without_calibration"):
        assess(table, not_fitted(table), prevalence=0.05)
    with refused("bad_value", "prevalence=0.05", "prevalence='{a: 0.7, ...}'"):
        assess(predictions(classes=FOUR), decision_rules(FOUR), prevalence=0.05)


def test_how_many_cases_a_stated_precision_takes():
    table = predictions(n=200)
    one = assess(table, decision_rules(), precision_of_sensitivity=0.02, resamples=100)
    assert one.cases_needed.asked == 0.02 and one.to_plain()["cases_needed"]["more"] == one.cases_needed.more > 0
    assert one.cases_needed.sentence() in metric_sections(one)


def test_net_benefit_and_predictive_values_are_told_with_intervals():
    one = assess(predictions(n=400), decision_rules(), prevalence=0.05, resamples=100)
    plain, page = one.to_plain(), metric_sections(one)
    benefit = plain["net_benefit"]
    assert benefit["threshold"] == one.metrics.threshold and benefit["low"] < benefit["model"] < benefit["high"]
    assert say_benefit(one.benefit) in page and f"{benefit['low']:.3f}" in page
    there = plain["deployment"]["intervals"]
    for name in ("precision", "npv"):
        assert there[name]["low"] < plain["deployment"][name] == there[name]["estimate"] < there[name]["high"]
        assert f"{there[name]['low']:.3f}\N{NO-BREAK SPACE}to" in page


def test_it_is_plain_data_that_json_takes():
    one = assess(predictions(n=100), decision_rules(), resamples=100, prevalence=0.1, bands={"split": None})
    assert json.loads(json.dumps(without_nan(one.to_plain())))["caption"] == one.table.caption()


def test_a_table_without_rows_is_refused():
    table = predictions(n=20)
    empty = type(table)(table.rows.iloc[:0], table.classes, table.positive)
    with refused("no_rows"):
        assess(empty, not_fitted(table))


def test_the_networks_own_probabilities_are_the_softmax_of_its_logits():
    table = decision_rules().calibrate(predictions(n=50))
    assert not np.allclose(uncalibrated(table).probabilities(), table.probabilities())
    odds = table.logits()[:, 1] - table.logits()[:, 0]
    assert uncalibrated(table).probabilities()[:, 1] == pytest.approx(1 / (1 + np.exp(-odds)))
