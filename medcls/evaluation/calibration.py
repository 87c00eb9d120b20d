"""Calibration: temperature scaling, reliability, calibration metrics, and shifts to another prevalence."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, log_softmax, logit
from scipy.stats import chi2
from scipy.stats import f as f_distribution
from sklearn.linear_model import LogisticRegression

from medcls.errors import MedclsError, nearest
from medcls.evaluation.interval_table import interval_table
from medcls.evaluation.predictions import Predictions, check_fitted_with, check_may_fit, probabilities_of
from medcls.evaluation.spread import NEARLY_SAME
from medcls.statistics import causes
from medcls.statistics.analytic import BOOTSTRAP_OVER, Interval, undefined, wilson_limits
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.calibration_curve import CalibrationCurve, calibration_curve
from medcls.statistics.digits import rounded
from medcls.statistics.intervals import bootstrap_limits
from medcls.statistics.resampling import bootstrap, group_numbers, ratio
from medcls.statistics.split import Split

ERROR, TEST = "calibration_error", "calibration_test"
DISTANCES = ("ici", "e50", "e90")
LINE = ("calibration_slope", "calibration_intercept", "calibration_in_the_large")
ERROR_BINS = 15
ERROR_GROUPS = 20  # fewer make less than four bins of five, whose corrected error is noise
_GROUPS_A_BIN = 5
_ROWS_COUNTED = 0.8  # the least share of rows in the bins that count

# The range of temperatures. Below, distinct scores would be rounded to the same 0 and 1.
COLDEST, HOTTEST = 0.1, 100.0

# Nearer to 0 and 1 a probability is a rounding error; scikit-learn's log loss clips here too.
_EDGE = float(np.finfo(np.float64).eps)

# Rounded shares in a setting may miss a sum of one by this.
_ROUNDED = 0.01


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A temperature, with or without intercepts, and its origin.

    Parameters
    ----------
    temperature : float
        Logits are divided by it; above 1 the network was overconfident. It changes no ranking in a binary task, and
        without intercepts no predicted class.
    split, checkpoint : str
        What it was fitted on.
    n : int
        Rows it was fitted on.
    before, after : float
        Their mean log loss (nats a row) at temperature 1 and at this one.
    warnings : tuple of str
        Caveats, in sentences.
    intercepts : dict of str to float
        Added for each class after the division; empty for a temperature alone (`recalibration.fit_logistic`).
    """

    temperature: float
    split: str
    checkpoint: str
    n: int
    before: float
    after: float
    warnings: tuple[str, ...] = ()
    intercepts: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name within a sentence."""
        return "logistic recalibration" if self.intercepts else "temperature"

    @property
    def is_at_its_bound(self) -> bool:
        """Whether the temperature is at an end of its range, and so is no correction."""
        return at_its_bound(self.temperature)

    def label(self) -> str:
        """Return it with its values: `temperature 1.210`, `logistic recalibration (slope 0.826, intercept -0.310)`."""
        if not self.intercepts:
            return f"temperature {rounded(self.temperature)}"
        first, *others = self.intercepts.items()
        shown = [f"intercept of {name} {value - first[1]:.3f}" for name, value in others]
        shown = [f"intercept {others[0][1] - first[1]:.3f}"] if len(others) == 1 else shown
        return f"{self.name} (slope {1 / self.temperature:.3f}, {', '.join(shown)})".replace(" -", " \N{MINUS SIGN}")

    def apply(self, table: Predictions) -> Predictions:
        """Calibrate the probabilities of a table of the same checkpoint; its logits remain.

        Raises
        ------
        MedclsError
            The table is of another checkpoint.
        """
        check_fitted_with(table, self.checkpoint, self.name)
        return table.with_probabilities(self.probabilities(scores_of(table), table.classes))

    def probabilities(self, logits: Floats, classes: Sequence[str]) -> Floats:
        """Return calibrated probabilities of logits `(n, K)`, in the order of `classes`."""
        scores = logits / self.temperature
        if self.intercepts:
            scores = scores + [self.intercepts[name] for name in classes]
        return probabilities_of(scores)

    def to_plain(self) -> dict[str, Any]:
        """For the checkpoint: numbers, strings and a list."""
        return dataclasses.asdict(self) | {"warnings": list(self.warnings)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Calibration":
        """Reverse `to_plain`."""
        return cls(**(plain | {"warnings": tuple(plain["warnings"])}))


def at_its_bound(temperature: float) -> bool:
    """Whether a temperature is at an end of its range."""
    return not COLDEST * 1.001 < temperature < HOTTEST / 1.001


def fit_temperature(val: Predictions) -> Calibration:
    """Fit the temperature, the divisor of all logits with the least log loss of these rows.

    Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks", section 4.2; two classes or more.
    The log loss has one minimum in the temperature, found by Brent's bounded search over its logarithm, between 0.1
    and 100. If all rows are predicted correctly there is no minimum (the colder the better): the temperature then stays
    1, and a warning says so.

    Parameters
    ----------
    val : Predictions
        Without logits (another tool's table, an ensemble's mean) the logarithms of its probabilities are used, which
        differ from logits by a constant a row, and give the same temperature.

    Raises
    ------
    MedclsError
        The test split, or no rows.
    """
    warnings = check_may_fit(val, "a temperature")
    labels, logits = val.labels(), scores_of(val)
    row = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / np.exp(log_temperature), axis=1)[row, labels].mean())

    margins = logits[row, labels][:, None] - logits
    if (margins >= 0).all():
        warnings += (
            f"Every row of {val.split or 'this table'} is predicted correctly: no temperature is best, and it stays 1.",
        )
        temperature = 1.0
    else:
        bounds = (float(np.log(COLDEST)), float(np.log(HOTTEST)))
        temperature = float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x))
        if at_its_bound(temperature):
            warnings += (
                f"The temperature {temperature:.3g} is at the end of its range, {COLDEST:g} to {HOTTEST:g}: the logits "
                "hardly relate to the labels of these rows, or are on an unusual scale.",
            )
    return Calibration(
        temperature, val.split, val.checkpoint, len(val), loss(0.0), loss(float(np.log(temperature))), warnings
    )


def scores_of(table: Predictions) -> Floats:
    """Return the logits `(n, K)`; without them, the logarithms of the probabilities."""
    return table.logits() if table.has_logits else log_scores(table.probabilities())


def log_scores(probabilities: Floats) -> Floats:
    """Return the logarithms of probabilities, which differ from logits by a constant a row."""
    return np.log(np.maximum(probabilities, _EDGE))


def reliability_table(table: Predictions, bins: int = 10) -> pd.DataFrame:
    """Compare predicted with observed shares, in bins of equal mass of what `scores_and_events` returns.

    Parameters
    ----------
    table : Predictions
    bins : int
        Rows with the same probability share a bin, so there may be fewer bins.

    Returns
    -------
    DataFrame
        One row a bin: `lower, upper` (the smallest and largest probability within), `n`, `groups`, `events`,
        `predicted` (the mean), `observed` (`events / n`), `low, high` (Wilson's 95% limits of `observed`, with the
        number of groups in the place of n: as if all images of a group were one, so never too narrow).

    Raises
    ------
    MedclsError
        Fewer than one bin.
    """
    predicted, events = scores_and_events(table)
    groups = group_numbers(table.clusters, len(table))
    bin_of = _bins(predicted, bins)
    rows = []
    for k in np.unique(bin_of):
        inside = bin_of == k
        n, tp, independent = int(inside.sum()), int(events[inside].sum()), len(np.unique(groups[inside]))
        edges = float(predicted[inside].min()), float(predicted[inside].max())
        mean = float(predicted[inside].mean())
        rows.append((*edges, n, independent, tp, mean, tp / n, *wilson_limits(tp / n, independent)))
    columns = ["lower", "upper", "n", "groups", "events", "predicted", "observed", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def calibration_error(predicted: Floats, events: Integers, groups: Integers, bins: int = ERROR_BINS) -> float:
    """Root mean square distance between predicted and observed shares over bins, corrected for noise.

    The variance of each bin's distance is subtracted from its square (Kumar, Liang and Ma 2019, "Verified Uncertainty
    Calibration", section 4.2; Ferro and Fricker 2012, "A bias-corrected decomposition of the Brier score"), estimated
    from the sums of groups, so that the mean of squares is unbiased at any number of rows. If it falls below 0 the
    error is 0. Without the correction a perfect model of 100 rows shows an error of about 0.1.

    Parameters
    ----------
    predicted, events : array (n,)
        As of `scores_and_events`.
    groups : int64 array (n,)
        As of `resampling.group_numbers`. A bin with rows of only one group does not count.
    bins : int
        At most so many, of equal mass, with five groups each on average.

    Returns
    -------
    float
        NaN with fewer than 20 groups, and if bins of only one group hold more than a fifth of the rows.
    """
    independent = len(np.unique(groups))
    if independent < ERROR_GROUPS:
        return float("nan")
    bins = min(bins, independent // _GROUPS_A_BIN)
    bin_of = _bins(predicted, bins)
    n, residual = np.bincount(bin_of), events - predicted
    gap = np.bincount(bin_of, weights=residual) / n
    pair, place = np.unique(np.column_stack([bin_of, groups]), axis=0, return_inverse=True)
    sums = np.bincount(place.ravel(), weights=residual - gap[bin_of])
    count = np.bincount(pair[:, 0])
    many = count > 1
    if n[many].sum() < _ROWS_COUNTED * len(predicted):
        return float("nan")
    variance = np.bincount(pair[:, 0], weights=sums**2)[many] * (count / np.maximum(count - 1, 1))[many] / n[many] ** 2
    squared = float((n[many] * (gap[many] ** 2 - variance)).sum() / n[many].sum())
    return float(np.sqrt(max(squared, 0.0)))


def scores_and_events(table: Predictions) -> tuple[Floats, Integers]:
    """Return the predicted probabilities and the events of a reliability diagram: both `(n,)`.

    In a binary task the probability of the positive class, and whether the row is positive; with more classes the
    confidence (the largest probability), and whether the prediction is correct.
    """
    probabilities, labels = table.probabilities(), table.labels()
    if table.positive is not None:
        index = table.classes.index(table.positive)
        return probabilities[:, index], (labels == index).astype(np.int64)
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(np.int64)


def _bins(predicted: Floats, bins: int) -> Integers:
    """Return the bin of each row, numbered without gaps."""
    if bins < 1:
        raise MedclsError(f"{bins} bins: give at least one.", kind="bad_value")
    if not len(predicted):
        return np.zeros(0, np.int64)
    inner = np.quantile(predicted, np.arange(1, bins) / bins, method="higher")
    return np.unique(np.searchsorted(inner, predicted, side="right"), return_inverse=True)[1].astype(np.int64)


@dataclasses.dataclass(frozen=True)
class CalibrationLine:
    """Observed against predicted log odds: `logit(observed) = intercept + slope * logit(predicted)`.

    Parameters
    ----------
    slope, intercept : float
        Fitted together. A perfect model has 1 and 0; with a slope below 1 predictions are too extreme.
    in_the_large : float
        The intercept at a slope of 1: above 0 the predictions are too low on average.
    reason : str
        Why `slope` and `intercept` are NaN, or all three; empty if none is.
    """

    slope: float
    intercept: float
    in_the_large: float
    reason: str

    @property
    def values(self) -> tuple[float, float, float]:
        """In the order of `LINE`."""
        return self.slope, self.intercept, self.in_the_large


def calibration_line(predicted: Floats, events: Integers) -> CalibrationLine:
    """Logistic recalibration: Cox 1958, "Two further applications of a model for binary regression".

    Slope and calibration-in-the-large as in Van Calster et al. 2016, "A calibration hierarchy for risk models was
    defined". Maximum likelihood without a penalty. Probabilities are kept 2.2e-16 away from 0 and 1.

    Parameters
    ----------
    predicted : float64 array (n,)
        Probability of the class.
    events : integer array (n,)
        1 where the row is of that class.
    """
    nan = float("nan")
    if not 0 < events.sum() < len(events):
        return CalibrationLine(nan, nan, nan, causes.ONE_CLASS if len(events) else causes.NO_ROWS)
    odds = logit(np.clip(predicted, _EDGE, 1 - _EDGE))
    large = _in_the_large(odds, events)
    cases, others = odds[events == 1], odds[events == 0]
    if odds.min() == odds.max():
        return CalibrationLine(nan, nan, large, causes.SAME_PROBABILITY)
    if odds.std() < NEARLY_SAME:
        return CalibrationLine(nan, nan, large, "every row has nearly the same probability")
    if cases.min() >= others.max() or others.min() >= cases.max():
        return CalibrationLine(nan, nan, large, "the classes are separated, and the slope has no finite value")
    # Standardised, so that the tolerance does not depend on the scale of the logits.
    scale = odds.std()
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=200)
    model.fit(((odds - odds.mean()) / scale)[:, None], events)
    slope = float(model.coef_[0, 0] / scale)
    return CalibrationLine(slope, float(model.intercept_[0] - slope * odds.mean()), large, "")


def _in_the_large(odds: Floats, events: Integers) -> float:
    """Return the shift of all log odds at which the mean probability is the share of events."""

    def surplus(shift: float) -> float:
        return float(expit(odds + shift).mean() - events.mean())

    middle = float(logit(events.mean()))  # beyond these every row's probability is on one side of the share
    return float(brentq(surplus, middle - odds.max() - 1, middle - odds.min() + 1, xtol=1e-12))


@dataclasses.dataclass(frozen=True)
class CalibrationTest:
    """A test of whether a table is calibrated.

    Parameters
    ----------
    statistic : float
        Chi-squared, or F where groups have several rows.
    p : float
        NaN where there is no test.
    method : str
        With the statistic and its degrees of freedom; without a test, why.
    df : int
        Degrees of freedom of the statistic.
    rest : int or None
        Denominator degrees of freedom of F.
    """

    statistic: float
    p: float
    method: str
    df: int = 0
    rest: int | None = None

    def allowing_for(self, share: float) -> float:
        """Return the p-value if the calibration was fitted on 1 / `share` as many rows as these.

        The fit varies with those rows as the test does with these: a share of 1 doubles the variance.
        """
        if np.isnan(self.p):
            return self.p
        statistic = self.statistic / (1 + share)
        if self.rest is None:
            return float(chi2.sf(statistic, self.df))
        return float(f_distribution.sf(statistic, self.df, self.rest))


def calibration_test(table: Predictions) -> CalibrationTest:
    """Test whether logistic recalibration would change nothing: the intercept 0 and the slope 1 (Cox 1958).

    Rao's score test, which needs no fit. With two classes of intercept and slope; with more, of an intercept for each
    class but the first and of one slope, as `recalibration.fit_logistic` fits them. The variance is that of labels
    drawn from the probabilities, row by row. Once a group has two rows the statistic is divided by the design effect,
    the mean ratio of the variance over groups to it, and compared with F (Rao and Scott 1984, "On
    chi-squared tests for multiway contingency tables with cell proportions estimated from survey data").
    """
    split, nan = table.to_split(), float("nan")
    probabilities, labels, count = split.scores, split.labels, split.group_count()
    if not len(table):
        return CalibrationTest(nan, nan, causes.NO_IMAGES)
    logs = np.log(np.maximum(probabilities, _EDGE))
    residual = -probabilities
    residual[np.arange(len(labels)), labels] += 1
    scores = np.column_stack([residual[:, 1:], (residual * logs).sum(axis=1)])
    away = logs - (probabilities * logs).sum(axis=1, keepdims=True)
    across = (probabilities * away)[:, 1:].sum(axis=0)  # covariance of the classes' scores with the slope's
    between = np.diag(probabilities[:, 1:].sum(axis=0)) - probabilities[:, 1:].T @ probabilities[:, 1:]
    variance = np.block([[between, across[:, None]], [across[None, :], (probabilities * away**2).sum()]])
    spread = np.sqrt(np.maximum(np.diag(variance), np.finfo(np.float64).tiny))
    correlation, scaled = variance / np.outer(spread, spread), scores / spread
    df = int(np.linalg.matrix_rank(correlation, tol=1e-8, hermitian=True))
    inverse = np.linalg.pinv(correlation, rcond=1e-8, hermitian=True)
    total = scaled.sum(axis=0)
    statistic = float(total @ inverse @ total)
    name = f"score test of slope 1 and intercept{'' if table.positive else 's'} 0"
    if not split.is_grouped:
        p = float(chi2.sf(statistic, df))
        return CalibrationTest(statistic, p, f"{name}: chi-squared {statistic:.2f}, df {df}", df)
    if count < 2:
        return CalibrationTest(nan, nan, "all rows are of one group")
    sums = np.column_stack([np.bincount(split.groups, weights=column) for column in scaled.T])
    effect = max(1.0, float(np.trace(inverse @ (sums.T @ sums))) / df)
    statistic /= df * effect
    p = float(f_distribution.sf(statistic, df, count - 1))
    method = f"{name} over {count:,} groups: F {statistic:.2f}, df {df} and {count - 1}"
    return CalibrationTest(statistic, p, method, df, count - 1)


def mean_test(table: Predictions, share: float) -> float:
    """Return the p-value of calibration in the large, the score test of a shift of all log odds (Cox 1958).

    With more than two classes, of the class that is furthest off, corrected for their number (Bonferroni). Sums over
    groups take the place of rows, if they vary more. `share` as of `CalibrationTest.allowing_for`; NaN without rows.
    """
    split, most = table.to_split(), 0.0
    if not len(table):
        return float("nan")
    for k in split.rated_classes:
        residual = (split.labels == k) - split.scores[:, k]
        by_row = (split.scores[:, k] * (1 - split.scores[:, k])).sum()
        by_group = (np.bincount(split.groups, weights=residual) ** 2).sum() if split.is_grouped else 0.0
        most = max(most, float(residual.sum() ** 2 / max(by_row, by_group, np.finfo(np.float64).tiny)))
    return min(1.0, float(chi2.sf(most / (1 + share), 1)) * len(split.rated_classes))


def calibration_estimates(table: Predictions, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Calibration slope, intercept and calibration in the large with 95% intervals; distances and a test without any.

    In a binary task all are of the positive class. With more classes slope and intercepts are of each class against
    the rest, the distances (ICI, E50, E90, calibration error) of the confidence, as in `reliability_table`, and the
    test of all classes together.

    The intervals are from the standard error over resamples of whole groups. In each resample the line makes one Newton
    step from the line of all rows instead of being fitted again (Moulton and Zeger 1991, "Bootstrapping generalized
    linear models"). With 100 and 300 rows, slopes of 0.5 to 1, and groups of one and three rows, they covered the truth
    in 0.93 to 0.97 of 300 simulations each.

    The distances of a perfect model are 0, the least possible, which an interval around a noisy estimate would never
    cover: they have none, and the test says whether chance explains them. The notes of ICI, E50 and E90 give the value
    of a perfect model; the calibration error is corrected for noise (`calibration_error`).

    Parameters
    ----------
    table : Predictions
    resamples, seed : int
        Of the bootstrap. The same seed gives the same table.

    Returns
    -------
    DataFrame
        As `interval_table`, with the metrics `calibration_slope`, `calibration_intercept`, `calibration_in_the_large`,
        `ici`, `e50`, `e90`, `calibration_error` and `calibration_test`, whose estimate is the p-value.

    Raises
    ------
    MedclsError
        Fewer than two resamples.
    """
    split, of_table = table.to_split(), table.positive or ""
    names = [table.classes[k] for k in split.rated_classes]
    if not len(table):
        keys = [(metric, name) for name in names for metric in LINE]
        keys += [(metric, of_table) for metric in (*DISTANCES, ERROR, TEST)]
        return interval_table({key: undefined(causes.NO_IMAGES) for key in keys})
    lines = [_ResampledLine.fit(split.scores[:, k], (split.labels == k).astype(np.int64)) for k in split.rated_classes]

    def values(weights: Floats) -> Floats:
        return np.column_stack([line.values(weights) for line in lines])

    drawn = iter(bootstrap(values, split.labels, split.groups, resamples, seed).values.T)
    found = {}
    for name, resampled in zip(names, lines, strict=True):
        for metric, value in zip(LINE, resampled.line.values, strict=True):
            found[metric, name] = _interval(value, next(drawn), split, resampled.line.reason)
    found |= {(metric, of_table): interval for metric, interval in _without_interval(table, split.groups).items()}
    return interval_table({key: dataclasses.replace(interval, n=len(table)) for key, interval in found.items()})


def curve_of(table: Predictions) -> CalibrationCurve:
    """Return the calibration curve of what `scores_and_events` returns."""
    predicted, events = scores_and_events(table)
    return calibration_curve(predicted, events, group_numbers(table.clusters, len(table)))


def _without_interval(table: Predictions, groups: Integers) -> dict[str, Interval]:
    """The distances, the calibration error and the test."""
    curve, test, nan = curve_of(table), calibration_test(table), float("nan")
    found = {}
    for metric, value, perfect in zip(DISTANCES, (curve.ici, curve.e50, curve.e90), curve.perfect, strict=True):
        note = curve.reason or f"a perfectly calibrated model would have about {rounded(perfect)} on such rows"
        found[metric] = undefined(note) if curve.reason else Interval(value, nan, nan, "none", 0, note)
    error = calibration_error(*scores_and_events(table), groups)
    if np.isnan(error):
        few = len(np.unique(groups)) < ERROR_GROUPS
        found[ERROR] = undefined(
            f"with fewer than {ERROR_GROUPS} independent cases it would be noise"
            if few
            else "too many images of one group have nearly the same probability"
        )
    else:
        note = "corrected for noise; 0 if the bins differ no more than by chance"
        found[ERROR] = Interval(error, nan, nan, "none", 0, note)
    found[TEST] = undefined(test.method) if np.isnan(test.p) else Interval(test.p, nan, nan, test.method, 0, "")
    return found


def _interval(estimate: float, values: Floats, split: Split, reason: str) -> Interval:
    """Interval of an estimate from its values over resamples, or undefined for the reason; n is 0."""
    if np.isnan(estimate):
        return undefined(reason)
    groups = split.group_count() if split.is_grouped else None
    limits = bootstrap_limits(estimate, values, (-np.inf, np.inf), groups)
    if limits is None:
        return Interval(estimate, np.nan, np.nan, "none", 0, "its uncertainty cannot be estimated from these rows")
    return Interval(estimate, *limits, f"{BOOTSTRAP_OVER} {split.unit}, one Newton step", 0)


@dataclasses.dataclass(frozen=True)
class _ResampledLine:
    """A calibration line, and what each row contributes to the Newton step from it.

    Parameters
    ----------
    line : CalibrationLine
        Of all rows.
    centre : float
        Mean log odds, about which the two parameters are nearly independent.
    of_line : float64 array (n, 5)
        Gradient (2) and information (3) of the log likelihood at the line.
    of_large : float64 array (n, 2)
        The same of the shift at a slope of 1.
    """

    line: CalibrationLine
    centre: float
    of_line: Floats
    of_large: Floats

    @classmethod
    def fit(cls, predicted: Floats, events: Integers) -> "_ResampledLine":
        line = calibration_line(predicted, events)
        odds = logit(np.clip(predicted, _EDGE, 1 - _EDGE))
        centre = float(odds.mean())
        x, fitted = odds - centre, expit(line.intercept + line.slope * odds)
        residual, spread = events - fitted, fitted * (1 - fitted)
        shifted = expit(line.in_the_large + odds)
        return cls(
            line,
            centre,
            np.column_stack([residual, residual * x, spread, spread * x, spread * x**2]),
            np.column_stack([events - shifted, shifted * (1 - shifted)]),
        )

    def values(self, weights: Floats) -> Floats:
        """Return slope, intercept and calibration in the large for each row of weights `(r, n)`: `(r, 3)`."""
        up, tilt, level, cross, square = (weights @ self.of_line).T
        surplus, spread = (weights @ self.of_large).T
        determinant = level * square - cross**2
        slope = self.line.slope + ratio(level * tilt - cross * up, determinant)
        middle = ratio(square * up - cross * tilt, determinant)
        intercept = self.line.intercept + middle - (slope - self.line.slope) * self.centre
        return np.column_stack([slope, intercept, self.line.in_the_large + ratio(surplus, spread)])


def shift_prior(table: Predictions, trained: Mapping[str, float], deployed: Mapping[str, float]) -> Predictions:
    """Shift probabilities to a stated prevalence.

    `p'(k|x)` is `p(k|x) * deployed_k / trained_k`, divided by its sum over k: Saerens, Latinne and Decaestecker
    2002, "Adjusting the outputs of a classifier to new a priori probabilities", equation 2.4. It holds if
    only the frequency of the classes differs, not the images of each. A threshold fitted before does not carry over.

    Parameters
    ----------
    table : Predictions
        With calibrated probabilities.
    trained : mapping of str to float
        The share of each class for which the probabilities are calibrated.
    deployed : mapping of str to float
        The share of each class where the classifier is to be used. In either mapping one class may be left out and gets
        the rest.

    Raises
    ------
    MedclsError
        Unknown or missing classes, invalid shares, shares that do not sum to one, a trained share of 0.
    """
    before, after = (
        _shares(table.classes, given, what) for given, what in ((trained, "trained"), (deployed, "deployed"))
    )
    if (before == 0).any():
        name = table.classes[int(np.argmin(before))]
        raise MedclsError(
            f"The trained share of {name!r} is 0: such a class cannot be re-weighted.",
            kind="class_without_images",
        )
    weighted = table.probabilities() * (after / before)
    total = weighted.sum(axis=1, keepdims=True)
    if (total == 0).any():
        raise MedclsError(
            "A row has all its probability on classes whose deployed prevalence is 0.",
            kind="class_without_images",
        )
    return table.with_probabilities(weighted / total)


def _shares(classes: tuple[str, ...], given: Mapping[str, float], what: str) -> NDArray[np.float64]:
    unknown = [name for name in given if name not in classes]
    missing = [name for name in classes if name not in given]
    if unknown or len(missing) > 1:
        wrong = f"names {unknown[0]!r}" if unknown else f"lacks {', '.join(missing)}"
        raise MedclsError(
            f"The {what} prevalence {wrong}; the classes are {', '.join(classes)}, of which one may be left out."
            f"{nearest(unknown[0], classes) if unknown else ''}",
            kind="unknown_class" if unknown else "missing_class",
        )
    rest = 1 - sum(given.values())
    shares = np.array([given.get(name, rest) for name in classes], np.float64)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and abs(shares.sum() - 1) <= _ROUNDED):
        listed = ", ".join(f"{name} {share:g}" for name, share in zip(classes, shares, strict=True))
        raise MedclsError(
            f"The {what} prevalence is {listed}: give shares from 0 to 1 that sum to one.", kind="bad_value"
        )
    normalised: NDArray[np.float64] = shares / shares.sum()
    return normalised
