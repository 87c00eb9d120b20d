"""Logistic recalibration: slope and intercepts fitted on logits."""

import dataclasses

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from medcls.evaluation.calibration import COLDEST, HOTTEST, Calibration, at_its_bound, fit_temperature, scores_of
from medcls.evaluation.predictions import Predictions, check_may_fit
from medcls.statistics.arrays import Floats, Integers

METHODS = ("temperature", "logistic", "none")
"""How probabilities may be calibrated, see `fit_calibration`."""


def fit_calibration(val: Predictions, method: str) -> Calibration | None:
    """Fit a calibration; None for the method `none`.

    Parameters
    ----------
    val : Predictions
        As of `calibration.fit_temperature`.
    method : {"temperature", "logistic", "none"}
        A divisor of all logits, which changes no ranking; a divisor and an intercept for each class but the first
        (`fit_logistic`); or the network's own probabilities.

    Raises
    ------
    MedclsError
        As `calibration.fit_temperature`.
    """
    fits = {"temperature": fit_temperature, "logistic": fit_logistic}
    return None if method == "none" else fits[method](val)


def fit_logistic(val: Predictions) -> Calibration:
    """Fit one slope and the intercepts of all logits by the least log loss of these rows.

    With two classes Cox 1958, "Two further applications of a model for binary regression": a slope and an intercept of
    the log odds. With more, one slope and an intercept for each class but the first, as in "bias-corrected
    temperature scaling" (Alexandari, Kundaje and Shrikumar 2020, "Maximum likelihood with bias-corrected calibration
    is hard-to-beat at label shift adaptation"). At the minimum the mean probability of each class equals its share of
    the rows. The slope is 1 over the temperature, and kept in the same range.

    If some slope and intercepts predict every row correctly, no slope is best, and without rows of a class no intercept
    is: the slope then stays 1, or the intercepts 0, and a warning says so.

    Raises
    ------
    MedclsError
        As `calibration.fit_temperature`.
    """
    tempered = fit_temperature(val)
    scores, labels, rows = scores_of(val), val.labels(), val.split or "this table"
    absent = [name for k, name in enumerate(val.classes) if not (labels == k).any()]
    if absent:
        warning = f"No row of {rows} is of {absent[0]}: a temperature was fitted, and no intercept."
        return dataclasses.replace(tempered, warnings=(*tempered.warnings, warning))
    warnings = check_may_fit(val, "a slope with intercepts")
    slope = _slope(scores, labels, 1 / tempered.temperature)
    shifts = intercepts(scores * slope, labels)
    if (np.argmax(scores * slope + shifts, axis=1) == labels).all():
        slope, shifts = 1.0, intercepts(scores, labels)
        warnings += (
            f"Some slope and intercepts predict every row of {rows} correctly: no slope is best, and it stays 1.",
        )
    elif at_its_bound(1 / slope):
        warnings += (
            f"The slope {slope:.3g} is at the end of its range, {1 / HOTTEST:g} to {1 / COLDEST:g}: the logits hardly "
            "relate to the labels of these rows, or are on an unusual scale.",
        )
    return dataclasses.replace(
        tempered,
        temperature=1 / slope,
        intercepts=dict(zip(val.classes, shifts.tolist(), strict=True)),
        after=_loss(scores * slope + shifts, labels),
        warnings=warnings,
    )


def intercepts(scores: Floats, labels: Integers) -> Floats:
    """Return the intercepts `(K,)`, the first 0, with the least log loss of the softmax of `scores + intercepts`.

    There the mean probability of each class equals its share of the labels.

    Parameters
    ----------
    scores : float64 array (n, K)
        Logits, or logarithms of probabilities.
    labels : integer array (n,)
        With at least one row of each class.
    """
    classes = scores.shape[1]
    shares = np.bincount(labels, minlength=classes) / len(labels)

    def surplus(free: Floats) -> Floats:
        excess: Floats = _probabilities(scores, free).mean(axis=0)[1:] - shares[1:]
        return excess

    def loss(free: Floats) -> float:
        return _loss(scores + np.append(0.0, free), labels)

    def curvature(free: Floats) -> Floats:
        p = _probabilities(scores, free)[:, 1:]
        return np.diag(p.mean(axis=0)) - p.T @ p / len(p)

    start = np.log(shares) - np.log(np.maximum(_probabilities(scores, np.zeros(classes - 1)).mean(axis=0), 1e-300))
    result = minimize(
        loss, start[1:] - start[0], jac=surplus, hess=curvature, method="trust-exact", options={"gtol": 1e-9}
    )
    return np.append(0.0, result.x)


def _slope(scores: Floats, labels: Integers, start: float) -> float:
    """Return the best slope within the range of a temperature, with the best intercepts; the loss has one minimum."""
    classes, row = scores.shape[1], np.arange(len(labels))

    def loss(free: Floats) -> tuple[float, Floats]:
        logs = log_softmax(scores * (start * free[0]) + np.append(0.0, free[1:]), axis=1)
        excess = np.exp(logs)
        excess[row, labels] -= 1
        tilt = start * float((excess * scores).sum(axis=1).mean())
        return float(-logs[row, labels].mean()), np.append(tilt, excess[:, 1:].mean(axis=0))

    bounds = [(1 / HOTTEST / start, 1 / COLDEST / start), *[(None, None)] * (classes - 1)]
    initial = np.append(1.0, np.zeros(classes - 1))
    options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000}
    return start * float(minimize(loss, initial, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x[0])


def _probabilities(scores: Floats, free: Floats) -> Floats:
    probabilities: Floats = np.exp(log_softmax(scores + np.append(0.0, free), axis=1))
    return probabilities


def _loss(scores: Floats, labels: Integers) -> float:
    return float(-log_softmax(scores, axis=1)[np.arange(len(labels)), labels].mean())
