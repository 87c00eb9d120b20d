"""Observed against predicted probability, as a smooth curve with its band."""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from medcls.statistics import causes
from medcls.statistics.analytic import Z
from medcls.statistics.arrays import Floats, Integers

# Quantiles of the log odds for the knots, by their number: Harrell 2015, "Regression Modeling Strategies", table 2.3.
_KNOTS = {3: (0.1, 0.5, 0.9), 4: (0.05, 0.35, 0.65, 0.95), 5: (0.05, 0.275, 0.5, 0.725, 0.95)}
_ENOUGH = ((100, 5), (30, 4), (10, 3))
"""Fewest groups of the rarer outcome for a number of knots: a curve bends no more than its rows support."""

# About a thousandth of one row's weight, so that separated rows have a finite fit.
_PENALTY = 1e-3

_GRID = 201
_DRAWS = 400
_THINNED = 2000

# Nearer to 0 and 1 a probability is a rounding error.
_EDGE = float(np.finfo(np.float64).eps)


@dataclasses.dataclass(frozen=True)
class CalibrationCurve:
    """The observed share of events at each predicted probability.

    Parameters
    ----------
    predicted, observed, low, high : float64 array (201,)
        The curve and its pointwise 95% band, from the smallest to the largest predicted probability; empty if there is
        no curve.
    ici, e50, e90 : float
        Mean, median and 90th percentile over the rows of the distance between predicted probability and curve; above 0
        even for a perfect model.
    perfect : tuple of float
        Expected values of the three on such rows for a perfect model.
    reason : str
        Why there is no curve; empty if there is one.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    ici: float
    e50: float
    e90: float
    perfect: tuple[float, float, float]
    reason: str = ""


def calibration_curve(predicted: Floats, events: Integers, groups: Integers) -> CalibrationCurve:
    """Fit a smooth calibration curve: logistic regression on restricted cubic splines of the predicted log odds.

    One of the two flexible curves of Van Calster et al. 2016 ("A calibration hierarchy for risk models was defined"),
    beside loess; the curve stays between 0 and 1, includes the line of a perfect model, and a hundred thousand rows
    take about a second. ICI, E50 and E90
    as in Austin and Steyerberg 2019, "The Integrated Calibration Index (ICI) and related metrics for quantifying the
    calibration of logistic regression models".

    The band is from the sandwich variance over groups (Liang and Zeger 1986), with the factor G / (G - 1).

    Parameters
    ----------
    predicted : float64 array (n,)
        Probabilities.
    events : integer array (n,)
        1 for an event.
    groups : int64 array (n,)
        As of `resampling.group_numbers`.
    """
    if not 0 < events.sum() < len(events):
        return _none(causes.ONE_CLASS if len(events) else causes.NO_ROWS)
    odds = logit(np.clip(predicted, _EDGE, 1 - _EDGE))
    if np.ptp(odds) == 0:
        return _none(causes.SAME_PROBABILITY)
    if len(np.unique(groups)) < 2:
        return _none("all rows are of one group")
    rarer = min(len(np.unique(groups[events == which])) for which in (0, 1))
    spline = _Spline.over(odds, next((knots for least, knots in _ENOUGH if rarer >= least), 0))
    columns = spline.columns(odds)
    model = LogisticRegression(C=1 / _PENALTY, solver="newton-cholesky", tol=1e-8, max_iter=200)
    model.fit(columns[:, 1:], events)
    weights = np.append(model.intercept_, model.coef_[0])
    fitted = expit(columns @ weights)
    variance = _sandwich(columns, fitted, events, groups)
    at = np.linspace(predicted.min(), predicted.max(), _GRID)
    lines = spline.columns(logit(np.clip(at, _EDGE, 1 - _EDGE)))
    middle, error = lines @ weights, np.sqrt(np.maximum(np.einsum("gi,ij,gj->g", lines, variance, lines), 0))
    distance = np.abs(fitted - predicted)
    return CalibrationCurve(
        predicted=at,
        observed=expit(middle),
        low=expit(middle - Z * error),
        high=expit(middle + Z * error),
        ici=float(distance.mean()),
        e50=float(np.median(distance)),
        e90=float(np.quantile(distance, 0.9)),
        perfect=_of_a_perfect_model(columns, predicted, variance),
    )


@dataclasses.dataclass(frozen=True)
class _Spline:
    """A restricted cubic spline: linear beyond the outer knots, equation 2.25 of Harrell 2015."""

    knots: tuple[float, ...]
    mean: Floats
    spread: Floats

    @classmethod
    def over(cls, values: Floats, number: int) -> "_Spline":
        """Place a number of knots; fewer if many values are equal, and a line with fewer than three."""
        places = np.unique(np.quantile(values, _KNOTS[number])) if number else np.zeros(0)
        knots = tuple(places.tolist()) if len(places) > 2 else ()
        raw = _restricted(values, knots)
        spread = raw.std(axis=0)
        return cls(knots, raw.mean(axis=0), np.where(spread > 0, spread, 1.0))

    def columns(self, values: Floats) -> Floats:
        """Ones, then the terms, each standardised over the values that placed the knots: `(n, q)`."""
        return np.column_stack([np.ones(len(values)), (_restricted(values, self.knots) - self.mean) / self.spread])


def _restricted(values: Floats, knots: tuple[float, ...]) -> Floats:
    terms = [values]
    if knots:
        *inner, before, last = knots

        def above(knot: float) -> Floats:
            return np.maximum(values - knot, 0) ** 3

        terms += [
            above(knot)
            - above(before) * (last - knot) / (last - before)
            + above(last) * (before - knot) / (last - before)
            for knot in inner
        ]
    return np.column_stack(terms)


def _sandwich(columns: Floats, fitted: Floats, events: Integers, groups: Integers) -> NDArray[np.float64]:
    """Variance of the coefficients: `(q, q)`."""
    spread = fitted * (1 - fitted)
    penalised = np.diag(np.append(0.0, np.full(columns.shape[1] - 1, _PENALTY)))
    bread = np.linalg.pinv((columns * spread[:, None]).T @ columns + penalised, hermitian=True)
    scores = columns * (events - fitted)[:, None]
    numbers, count = np.unique(groups, return_inverse=True)[1], len(np.unique(groups))
    sums = np.column_stack([np.bincount(numbers, weights=column, minlength=count) for column in scores.T])
    covariance: Floats = bread @ (sums.T @ sums) @ bread * (count / (count - 1))
    return covariance


def _of_a_perfect_model(columns: Floats, predicted: Floats, variance: Floats) -> tuple[float, float, float]:
    """Expected ICI, E50 and E90 of a perfect model whose curve varies as the fitted one does."""
    rows = np.argsort(predicted, kind="stable")[:: max(1, len(predicted) // _THINNED)]
    drawn = np.random.default_rng(0).multivariate_normal(np.zeros(len(variance)), variance, _DRAWS, method="svd")
    share = predicted[rows]
    distance = np.abs(drawn @ columns[rows].T) * (share * (1 - share))
    means = distance.mean(axis=1), np.median(distance, axis=1), np.quantile(distance, 0.9, axis=1)
    ici, e50, e90 = (float(values.mean()) for values in means)
    return ici, e50, e90


def _none(reason: str) -> CalibrationCurve:
    nothing, nan = np.zeros(0), float("nan")
    return CalibrationCurve(nothing, nothing, nothing, nothing, nan, nan, nan, (nan, nan, nan), reason)
