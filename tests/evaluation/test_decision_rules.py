import json

import numpy as np
import pytest
from made_study import BINARY, FOUR, predictions
from refusals import refused

from medcls.evaluation.assessment import assess
from medcls.evaluation.decision_rules import DecisionRules, fit_decision_rules, not_fitted
from medcls.evaluation.recalibration import fit_logistic
from medcls.evaluation.referral import fit_conformal_sets
from medcls.evaluation.thresholds import NOT_FITTED, fit_operating_point


def test_each_is_fitted_on_what_the_one_before_gives():
    val = predictions("calibration", 400)
    fitted = fit_decision_rules(val, "youden", coverage=0.8)
    calibrated = fitted.calibration.apply(val)
    assert fitted.calibration.temperature != pytest.approx(1, abs=1e-3)
    assert fitted.operating_point == fit_operating_point(calibrated, "youden")
    assert fitted.conformal == fit_conformal_sets(calibrated, 0.8)
    assert fitted.operating_point.threshold != fit_operating_point(val, "youden").threshold
    assert fitted.stands_for == {name: (val.rows["label"] == name).mean() for name in BINARY}
    assert fitted.prior == fit_logistic(val)
    assert fit_decision_rules(val, calibrate="logistic").calibration == fitted.prior


def test_without_calibration_the_probabilities_stay():
    val = predictions("calibration", 200)
    fitted = fit_decision_rules(val, calibrate="none")
    assert fitted.calibration is None
    assert np.array_equal(fitted.calibrate(val).probabilities(), val.probabilities())


def test_more_than_two_classes_have_no_threshold():
    fitted = fit_decision_rules(predictions("calibration", 200, classes=FOUR), "sensitivity>=0.9")
    assert fitted.operating_point is None and fitted.threshold is None
    assert fitted.conformal is not None


@pytest.mark.parametrize("classes", [BINARY, FOUR])
def test_they_come_back_from_json_as_they_were(classes):
    fitted = fit_decision_rules(predictions("val", 60, classes=classes))
    assert fitted.warnings and len(set(fitted.warnings)) == len(fitted.warnings)
    assert DecisionRules.from_plain(json.loads(json.dumps(fitted.to_plain()))) == fitted


def test_p44_no_split_that_is_the_result_fits_them():
    for split in ("test", "held_out", "external"):
        with refused("fitted_on_the_result", "temperature", f"'{split}'"):
            fit_decision_rules(predictions(split, 100))


def test_what_was_not_fitted_says_so():
    table = predictions("test", 50)
    none = not_fitted(table)
    assert none.threshold is None and none.operating_point.threshold == 0.5
    assert NOT_FITTED in none.operating_point.label()
    assert none.calibrate(table) is table and none.checkpoint == "" and none.warnings == ()


def test_another_checkpoints_table_is_refused():
    fitted = fit_decision_rules(predictions("calibration", 100))
    other = predictions("test", 50)
    other = type(other)(other.rows.assign(checkpoint="beef"), other.classes, other.positive)
    with refused("different_checkpoints", "c0ffee"):
        fitted.calibrate(other)


def test_what_an_earlier_medcls_stored_is_read_and_says_that_it_knows_no_intercept():
    fitted = fit_decision_rules(predictions("calibration", 100))
    plain = json.loads(json.dumps(fitted.to_plain()))
    plain.pop("prior")
    plain["calibration"].pop("intercepts")
    old = DecisionRules.from_plain(plain)
    assert old.calibration == fitted.calibration and old.operating_point == fitted.operating_point
    table = predictions("test", 100)
    assert old.calibrate(table).rows.equals(fitted.calibrate(table).rows)
    assert assess(table, old, resamples=20).deployment is None
    with refused("fitted_by_earlier_version", "calibrate=temperature"):
        assess(table, old, prevalence=0.1, resamples=20)
