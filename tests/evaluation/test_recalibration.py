import json

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from scipy.special import logit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from medcls.evaluation.assessment import assess
from medcls.evaluation.calibration import COLDEST, HOTTEST, Calibration, calibration_line, fit_temperature
from medcls.evaluation.decision_rules import fit_decision_rules
from medcls.evaluation.predictions import Predictions, from_logits
from medcls.evaluation.recalibration import fit_calibration, fit_logistic

BINARY = ("benign", "malignant")
FOUR = ("glioma", "meningioma", "none", "pituitary")


def measured(split, prevalence, n=2000, classes=BINARY, seed=0, believed=None):
    """One measurement a row, normal about its class: posteriors are exact at the shares that are `believed`."""
    rng = np.random.default_rng([seed, len(split)])
    k = len(classes)
    counts = np.round(np.asarray(prevalence) * n).astype(int)
    labels = np.repeat(np.arange(k), counts)
    seen = rng.normal(1.2 * labels, 1.0)
    believed = np.full(k, 1 / k) if believed is None else np.asarray(believed)
    logits = np.log(believed) - (seen[:, None] - 1.2 * np.arange(k)) ** 2 / 2
    rows = pd.DataFrame({"path": np.arange(len(labels)).astype(str), "label": np.array(classes)[labels], "group": ""})
    positive = classes[-1] if k == 2 else None
    return from_logits(rows.assign(split=split), np.arange(len(labels)), logits, classes, positive, "abc")


@pytest.mark.slow
@pytest.mark.parametrize("calibrate", ["temperature", "logistic", "none"])
@pytest.mark.parametrize(
    ("classes", "shares"), [(BINARY, (0.9, 0.1)), (BINARY, (0.97, 0.03)), (FOUR, (0.7, 0.15, 0.1, 0.05))]
)
def test_a_prevalence_is_shifted_from_that_of_val_and_not_from_what_the_scores_believe(calibrate, classes, shares):
    """Posteriors exact at equal shares, val and test of 10%: `prevalence=0.1` gave a mean of 0.149."""
    val, test = measured("val", shares, classes=classes), measured("test", shares, classes=classes, seed=1)
    assert test.probabilities()[:, -1].mean() > 1.4 * shares[-1]
    fitted = fit_decision_rules(val, "fixed=0.5", calibrate=calibrate)
    stated = dict(zip(classes, shares, strict=True))
    shifted = assess(test, fitted, prevalence=stated, resamples=20).deployment.table
    np.testing.assert_allclose(shifted.probabilities().mean(axis=0), shares, atol=0.015)
    on_val = assess(val, fitted, prevalence=stated, resamples=20).deployment.table
    np.testing.assert_allclose(on_val.probabilities().mean(axis=0), shares, atol=1e-6)


@pytest.mark.parametrize(("classes", "shares"), [(BINARY, (0.9, 0.1)), (FOUR, (0.7, 0.15, 0.1, 0.05))])
def test_at_another_prevalence_than_vals_the_posteriors_are_the_exact_ones(classes, shares):
    k = len(classes)
    there = np.arange(1.0, k + 1) / np.arange(1, k + 1).sum()
    fitted = fit_decision_rules(measured("val", shares, 8000, classes), "fixed=0.5", calibrate="temperature")
    test = measured("test", there, 2000, classes, seed=1)
    exact = measured("test", there, 2000, classes, seed=1, believed=there)
    stated = dict(zip(classes, there, strict=True))
    shifted = assess(test, fitted, prevalence=stated, resamples=20).deployment.table
    np.testing.assert_allclose(shifted.probabilities(), exact.probabilities(), atol=0.05)


@pytest.mark.parametrize("classes", [BINARY, FOUR])
def test_the_logistic_recalibration_has_the_least_loss_and_the_shares_of_its_rows(classes):
    k = len(classes)
    val = measured("val", np.full(k, 1 / k), 400, classes, believed=np.arange(1, k + 1) / 10)
    fitted = fit_logistic(val)
    after = fitted.apply(val)
    shares = [(val.rows["label"] == name).mean() for name in classes]
    np.testing.assert_allclose(after.probabilities().mean(axis=0), shares, atol=1e-7)
    assert fitted.after == pytest.approx(log_loss(val.labels(), after.probabilities()), rel=1e-9)
    assert fitted.after < fit_temperature(val).after <= fitted.before
    added = np.array([fitted.intercepts[name] for name in classes])
    assert added[0] == 0
    for slope in (0.97, 1.03):
        for moved in np.vstack([np.zeros(k), 0.03 * np.eye(k), -0.03 * np.eye(k)]):
            other = softmax(slope * val.logits() / fitted.temperature + added + moved, axis=1)
            assert log_loss(val.labels(), other) >= fitted.after - 1e-9


def test_with_two_classes_it_is_coxs_line():
    val = measured("val", (0.8, 0.2), 600)
    fitted = fit_logistic(val)
    line = calibration_line(val.probabilities()[:, 1], val.labels())
    assert 1 / fitted.temperature == pytest.approx(line.slope, rel=1e-4)
    assert fitted.intercepts["malignant"] == pytest.approx(line.intercept, abs=1e-4)
    again = LogisticRegression(C=np.inf).fit(logit(val.probabilities()[:, 1:]), val.labels())
    np.testing.assert_allclose(
        fitted.apply(val).probabilities(), again.predict_proba(logit(val.probabilities()[:, 1:])), atol=1e-3
    )


def test_it_is_applied_whatever_the_order_of_the_classes_and_comes_back_from_json():
    val = measured("val", (0.7, 0.15, 0.1, 0.05), 300, FOUR)
    fitted = fit_logistic(val)
    assert Calibration.from_plain(json.loads(json.dumps(fitted.to_plain()))) == fitted
    other = fitted.apply(val.in_order(FOUR[::-1])).probabilities()
    np.testing.assert_allclose(other[:, ::-1], fitted.apply(val).probabilities(), rtol=1e-12)
    assert fitted.label().startswith(f"{fitted.name} (slope ") and "pituitary" in fitted.label()
    with refused("different_checkpoints", "logistic recalibration", "abc"):
        fitted.apply(Predictions(val.rows.assign(checkpoint="def"), FOUR, None))


def test_rows_that_show_no_slope_keep_a_slope_of_1_and_get_an_intercept():
    """All scores lie above 0.5, and some threshold parts the classes: no finite slope is the best."""
    logits = np.column_stack([np.zeros(60), np.r_[np.full(40, 1.0), np.full(20, 2.0)]])
    rows = pd.DataFrame({"path": np.arange(60).astype(str), "label": np.repeat(BINARY, [40, 20]), "group": ""})
    val = from_logits(rows.assign(split="val"), np.arange(60), logits, BINARY, "malignant", "abc")
    fitted = fit_logistic(val)
    assert fitted.temperature == 1 and "slope" in fitted.warnings[-1] and "1." in fitted.warnings[-1]
    assert fitted.apply(val).probabilities()[:, 1].mean() == pytest.approx(1 / 3, abs=1e-7)


def test_a_class_without_a_row_has_no_intercept():
    val = measured("val", (1.0, 0.0), 60)
    fitted = fit_logistic(val)
    assert not fitted.intercepts and "intercept" in fitted.warnings[-1] and "malignant" in fitted.warnings[-1]
    with refused("class_without_images", "'malignant'"):
        assess(measured("test", (0.5, 0.5), 60), fit_decision_rules(val, "fixed=0.5"), prevalence=0.1, resamples=20)


def test_scores_that_say_nothing_end_at_the_end_of_the_range():
    val = measured("val", (0.5, 0.5), 200)
    wrong = val.rows.assign(label=val.rows["label"].map(dict(zip(BINARY, BINARY[::-1], strict=True))))
    fitted = fit_logistic(Predictions(wrong, BINARY, "malignant"))
    assert (
        fitted.temperature == pytest.approx(100, rel=0.01)
        and f"{1 / HOTTEST:g} to {1 / COLDEST:g}" in fitted.warnings[-1]
    )


def test_none_is_none():
    assert fit_calibration(measured("val", (0.9, 0.1), 200), "none") is None


def test_p44_it_is_not_fitted_on_test():
    with refused("fitted_on_the_result", "'test'"):
        fit_logistic(measured("test", (0.5, 0.5), 60))
