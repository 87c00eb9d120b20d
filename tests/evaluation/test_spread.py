"""A network that answers the same for every image is found out, and nothing is fitted on it."""

import dataclasses

import numpy as np
import pytest
from made_study import BINARY, FOUR, assessment, predictions, sources
from refusals import refused
from scipy.special import logit

from medcls.evaluation.decision_rules import fit_decision_rules
from medcls.evaluation.predictions import Predictions, probabilities_of
from medcls.evaluation.spread import NEARLY_SAME, log_odds, spread, too_alike
from medcls.evaluation.thresholds import NOT_FITTED
from medcls.report.limitations import limitations


def shrunk(table: Predictions, factor: float) -> Predictions:
    """The same order of images, so many times less far apart, about a constant."""
    rows = table.rows.copy()
    logits = table.logits() * factor + np.linspace(0.4, 0, len(table.classes))
    for k, name in enumerate(table.classes):
        rows[f"logit_{name}"], rows[f"prob_{name}"] = logits[:, k], probabilities_of(logits)[:, k]
    return dataclasses.replace(table, rows=rows)


@pytest.mark.parametrize("classes", [BINARY, FOUR])
def test_log_odds_are_those_of_each_class_against_the_rest(classes):
    table = predictions("val", 50, classes=classes)
    assert log_odds(table) == pytest.approx(logit(table.probabilities()), rel=1e-6)
    without = dataclasses.replace(table, rows=table.rows.drop(columns=[f"logit_{name}" for name in classes]))
    assert spread(without) == pytest.approx(spread(table), rel=1e-6)
    assert too_alike(table) is None


@pytest.mark.parametrize("split", ["val", "calibration"])
def test_no_threshold_and_no_temperature_of_one_answer_for_every_image(split):
    table = shrunk(predictions(split, 200), 1e-6)
    fitted = fit_decision_rules(table, "youden")
    point = fitted.operating_point
    assert (fitted.calibration, fitted.threshold, point.threshold) == (None, None, 0.5)
    assert point.label() == f"0.5 ({NOT_FITTED})"
    (warning,) = [line for line in fitted.warnings if too_alike(table) in line]
    assert split in warning and f"{spread(table):.2g}" in warning
    assert fitted.conformal is not None
    assert fit_decision_rules(shrunk(predictions(split, 200), 0.1)).threshold is not None


def test_a_threshold_fixed_beforehand_stays():
    table = shrunk(predictions("val", 200), 1e-6)
    fitted = fit_decision_rules(table, "fixed=0.3")
    assert fitted.threshold == 0.3
    assert any(too_alike(table) in line for line in fitted.warnings)


def test_with_more_classes_it_is_said_too():
    table = shrunk(predictions("val", 200, classes=FOUR), 1e-6)
    fitted = fit_decision_rules(table)
    assert fitted.calibration is None
    assert any(too_alike(table) in line for line in fitted.warnings)


def test_no_threshold_of_what_a_temperature_at_its_end_leaves():
    """Scores the wrong way round: the best temperature is the hottest, and all probabilities come out as 0.5."""
    table = predictions("val", 200)
    rows = table.rows.copy()
    logits = -table.logits()
    for k, name in enumerate(table.classes):
        rows[f"logit_{name}"], rows[f"prob_{name}"] = logits[:, k], probabilities_of(logits)[:, k]
    turned = dataclasses.replace(table, rows=rows)
    assert too_alike(turned) is None
    fitted = fit_decision_rules(turned)
    assert (fitted.calibration, fitted.threshold) == (None, None)
    assert any("temperature 100" in line for line in fitted.warnings)


def test_p44_test_may_not_fit_it_either():
    with refused("fitted_on_the_result"):
        fit_decision_rules(shrunk(predictions("test", 100), 1e-6))


@pytest.mark.parametrize("factor", [1e-6, 1.0])
def test_it_is_the_first_limitation(factor):
    fitted = fit_decision_rules(shrunk(predictions("val", 200), factor))
    headline = assessment(shrunk(predictions("test", 300), factor), fitted)
    rules = [one.rule for one in limitations(headline, (), sources())]
    assert (rules[0] == "one_answer") if factor < 1 else ("one_answer" not in rules)


def test_the_bound_and_tables_that_have_no_spread():
    table = predictions("val", 400)
    assert too_alike(shrunk(table, 0.99 * NEARLY_SAME / spread(table))) is not None
    assert too_alike(shrunk(table, 1.01 * NEARLY_SAME / spread(table))) is None
    assert too_alike(dataclasses.replace(table, rows=table.rows.head(1))) is None
