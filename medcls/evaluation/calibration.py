"""Probabilities that mean what they say: temperature scaling, reliability, and another prevalence."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, log_softmax, logit
from sklearn.linear_model import LogisticRegression

from medcls.errors import MedclsError, nearest
from medcls.evaluation.analytic import Interval, undefined, wilson_limits
from medcls.evaluation.intervals import bootstrap_limits
from medcls.evaluation.metrics import Floats, Integers
from medcls.evaluation.predictions import Predictions, check_fitted_with, check_may_fit, probabilities_of
from medcls.evaluation.resampling import any_repeated, bootstrap, group_numbers, ratio

Binning = Literal["equal_mass", "equal_width"]

ERROR = "calibration_error"
LINE = ("calibration_slope", "calibration_intercept", "calibration_in_the_large")
ERROR_BINS = 15

# Beyond these a temperature is no correction any more. Sharpening more than tenfold would round distinct scores to
# the same 0 and 1.
COLDEST, HOTTEST = 0.1, 100.0

# Nearer to 0 and 1 a probability's logarithm is that of a rounding error; scikit-learn's log loss clips here too.
_EDGE = float(np.finfo(np.float64).eps)

# Shares that a person typed may miss a sum of one by their rounding.
_ROUNDED = 0.01


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A temperature and where it comes from.

    Parameters
    ----------
    temperature : float
        Logits are divided by it; above 1 the network was too sure of itself. It changes no ranking in a binary
        task, and no most probable class in any.
    split, checkpoint : str
        The rows it was fitted on, and the weights behind them.
    n : int
        How many rows.
    before, after : float
        Their mean log loss (nats a row) at temperature 1 and at this one.
    warnings : tuple of str
        What makes the temperature weaker than it looks, in sentences.
    """

    temperature: float
    split: str
    checkpoint: str
    n: int
    before: float
    after: float
    warnings: tuple[str, ...] = ()

    def apply(self, table: Predictions) -> Predictions:
        """Give a table of the same checkpoint calibrated probabilities; its logits stay as they are.

        Raises
        ------
        MedclsError
            The table is of another checkpoint.
        """
        check_fitted_with(table, self.checkpoint, "temperature")
        return table.with_probabilities(probabilities_of(_logits(table) / self.temperature))

    def to_plain(self) -> dict[str, Any]:
        """For the checkpoint: numbers, strings and a list."""
        return dataclasses.asdict(self) | {"warnings": list(self.warnings)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Calibration":
        """Read back what `to_plain` gave."""
        return cls(**(plain | {"warnings": tuple(plain["warnings"])}))


def fit_temperature(val: Predictions) -> Calibration:
    """Find the one number by which to divide all logits so that the log loss of these rows is least.

    Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks", section 4.2; two classes or
    more. The log loss has one minimum in the temperature, found by Brent's bounded search over its logarithm,
    between 0.1 and 100. Rows that are all called rightly have no such minimum (the colder the better), and show
    nothing about calibration: the temperature then stays 1, and a warning says so.

    Parameters
    ----------
    val : Predictions
        Where it has no logits (another tool's table, an ensemble's mean), the logarithms of its probabilities stand
        in, which differ from a softmax's logits by a constant a row, and so give the same.

    Raises
    ------
    MedclsError
        The test split, or no rows.
    """
    warnings = check_may_fit(val, "a temperature")
    labels, logits = val.labels(), _logits(val)
    row = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / np.exp(log_temperature), axis=1)[row, labels].mean())

    margins = logits[row, labels][:, None] - logits
    if (margins >= 0).all():
        warnings += (
            f"No row of {val.split or 'this table'} is called wrongly: nothing shows how sure the network should be, "
            "and the temperature stays 1.",
        )
        temperature = 1.0
    else:
        bounds = (float(np.log(COLDEST)), float(np.log(HOTTEST)))
        temperature = float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x))
        if not COLDEST * 1.001 < temperature < HOTTEST / 1.001:
            warnings += (
                f"The temperature {temperature:.3g} stands at the end of the range searched, {COLDEST:g} to "
                f"{HOTTEST:g}: the logits say next to nothing about these rows, or are on a strange scale.",
            )
    return Calibration(
        temperature, val.split, val.checkpoint, len(val), loss(0.0), loss(float(np.log(temperature))), warnings
    )


def _logits(table: Predictions) -> Floats:
    return table.logits() if table.has_logits else np.log(np.maximum(table.probabilities(), _EDGE))


def reliability_table(table: Predictions, bins: int = 10, binning: Binning = "equal_mass") -> pd.DataFrame:
    """Hold what was predicted against what came true, in bins of the predicted probability.

    In a binary task the probability of the positive class against how often it was the label; with more classes
    the confidence (the largest probability) against how often the called class was right.

    Parameters
    ----------
    table : Predictions
    bins : int
        How many are wanted. `equal_mass` makes fewer where many rows have the same probability, because these are
        never parted.
    binning : {"equal_mass", "equal_width"}
        Bins with the same number of rows (as nearly as ties allow), or bins of the same width from 0 to 1, of which
        some may be empty. A bin holds its lower edge; the last one of equal width holds 1 too.

    Returns
    -------
    DataFrame
        One row a bin: `lower, upper` (the edges; of `equal_mass` the least and greatest probability within), `n`,
        `groups`, `events`, `predicted` (the mean), `observed` (`events / n`), `low, high` (Wilson's 95% limits of
        `observed`, with the number of groups in the place of n: as if images of one group said all the same, so
        never too narrow). An empty bin has n of 0 and NaN.

    Raises
    ------
    MedclsError
        Fewer than one bin, or another binning.
    """
    predicted, events = scores_and_events(table)
    _check_bins(bins, binning)
    groups = group_numbers(table.clusters, len(table))
    bin_of, edges = _bins(predicted, bins, binning)
    rows = []
    for k, (lower, upper) in enumerate(edges):
        inside = bin_of == k
        n, hits, independent = int(inside.sum()), int(events[inside].sum()), len(np.unique(groups[inside]))
        share = hits / n if n else np.nan
        low, high = wilson_limits(share, independent) if n else (np.nan, np.nan)
        mean = float(predicted[inside].mean()) if n else np.nan
        rows.append((lower, upper, n, independent, hits, mean, share, low, high))
    columns = ["lower", "upper", "n", "groups", "events", "predicted", "observed", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def expected_calibration_error(
    predicted: Floats, events: Integers, bins: int = ERROR_BINS, binning: Binning = "equal_width"
) -> float:
    """Mean distance between predicted and observed shares over bins, weighted by their rows; NaN of no rows.

    Equation 3 of Guo et al. 2017 (after Naeini, Cooper and Hauskrecht 2015), with 15 bins of equal width as there.
    It shrinks with fewer bins and grows with fewer rows, also for a perfect model: compare it only at the same n.

    Parameters
    ----------
    predicted : float64 array (n,)
        Of the positive class in a binary task; with more classes the largest probability of each row.
    events : integer array (n,)
        1 where the row is positive; with more classes, where the called class is right.
    """
    _check_bins(bins, binning)
    if len(predicted) == 0:
        return float("nan")
    bin_of, edges = _bins(predicted, bins, binning)
    # Per bin: n |observed - predicted| = |sum of events - sum of probabilities|.
    gaps = np.bincount(bin_of, weights=events - predicted, minlength=len(edges))
    return float(np.abs(gaps).sum() / len(predicted))


def scores_and_events(table: Predictions) -> tuple[Floats, Integers]:
    """Give what a reliability diagram shows, and whether it came true: both `(n,)`.

    In a binary task the positive class's probability; with more classes the largest one of each row, and whether the
    called class was right.
    """
    probabilities, labels = table.probabilities(), table.labels()
    if table.positive is not None:
        index = table.classes.index(table.positive)
        return probabilities[:, index], (labels == index).astype(np.int64)
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(np.int64)


def _check_bins(bins: int, binning: str) -> None:
    if bins < 1:
        raise MedclsError(f"{bins} bins: give at least one.")
    if binning not in ("equal_mass", "equal_width"):
        raise MedclsError(f"Bins are equal_mass or equal_width, not {binning!r}.")


def _bins(predicted: Floats, bins: int, binning: Binning) -> tuple[Integers, list[tuple[float, float]]]:
    """The bin of each row, and the edges of each bin."""
    if binning == "equal_width":
        edges = np.linspace(0, 1, bins + 1)
        found = np.searchsorted(edges[1:-1], predicted, side="right")
        return found.astype(np.int64), list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    if len(predicted) == 0:
        return np.zeros(0, np.int64), []
    inner = np.quantile(predicted, np.arange(1, bins) / bins, method="higher")
    found = np.unique(np.searchsorted(inner, predicted, side="right"), return_inverse=True)[1]
    within = [predicted[found == k] for k in range(int(found.max()) + 1)]
    return found.astype(np.int64), [(float(some.min()), float(some.max())) for some in within]


@dataclasses.dataclass(frozen=True)
class CalibrationLine:
    """How observed log odds follow predicted ones: `logit(observed) = intercept + slope * logit(predicted)`.

    Parameters
    ----------
    slope, intercept : float
        Fitted together. A perfect model has 1 and 0; a slope under 1 says that predictions are too extreme.
    in_the_large : float
        The intercept where the slope is held at 1: above 0 the predictions are too low on the whole.
    reason : str
        Why `slope` and `intercept` are NaN, or all three; empty where none is.
    """

    slope: float
    intercept: float
    in_the_large: float
    reason: str

    @property
    def figures(self) -> tuple[float, float, float]:
        """In the order of `LINE`."""
        return self.slope, self.intercept, self.in_the_large


def calibration_line(predicted: Floats, events: Integers) -> CalibrationLine:
    """Logistic recalibration: Cox 1958, "Two further applications of a model for binary regression".

    Slope and calibration-in-the-large as in Van Calster et al. 2016, "A calibration hierarchy for risk models was
    defined". Maximum likelihood without a penalty. Probabilities are held 2.2e-16 away from 0 and 1.

    Parameters
    ----------
    predicted : float64 array (n,)
        Probability of the class in question.
    events : integer array (n,)
        1 where the row is of that class.
    """
    nan = float("nan")
    if not 0 < events.sum() < len(events):
        return CalibrationLine(nan, nan, nan, "only one class has rows" if len(events) else "there are no rows")
    odds = logit(np.clip(predicted, _EDGE, 1 - _EDGE))
    large = _in_the_large(odds, events)
    cases, others = odds[events == 1], odds[events == 0]
    if odds.min() == odds.max():
        return CalibrationLine(nan, nan, large, "every row has the same probability")
    if cases.min() >= others.max() or others.min() >= cases.max():
        return CalibrationLine(nan, nan, large, "the classes are separated, and the slope has no finite value")
    # On the scale of the scores' own spread the search ends equally sharp for any logits.
    scale = odds.std()
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=200)
    model.fit(((odds - odds.mean()) / scale)[:, None], events)
    slope = float(model.coef_[0, 0] / scale)
    return CalibrationLine(slope, float(model.intercept_[0] - slope * odds.mean()), large, "")


def _in_the_large(odds: Floats, events: Integers) -> float:
    """The shift of all log odds at which the mean probability is the share of events."""

    def surplus(shift: float) -> float:
        return float(expit(odds + shift).mean() - events.mean())

    middle = float(logit(events.mean()))  # beyond these every row's probability is on one side of the share
    return float(brentq(surplus, middle - odds.max() - 1, middle - odds.min() + 1, xtol=1e-12))


def calibration_figures(table: Predictions, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Calibration error, slope, intercept and calibration-in-the-large, each with its 95% interval.

    In a binary task all are of the positive class. With more classes the calibration error is of the confidence, as
    in `reliability_table`, and the line is of each class's probability against whether the row is of that class.

    The intervals are from the standard error over resamples of whole groups, on the logit scale for the calibration
    error. In each resample the line makes one Newton step away from the line of all rows instead of being fitted
    anew (Moulton and Zeger 1991, "Bootstrapping generalized linear models"), which costs a few sums of the weights.
    With 100 and 300 rows, slopes of 0.5 to 1, and groups of one and three rows, these intervals held the truth in 0.93
    to 0.97 of 300 simulations each.
    The calibration error is no less than noise makes it: its note says what a perfect model would show.

    Parameters
    ----------
    table : Predictions
    resamples, seed : int
        Of the bootstrap. The same seed gives the same table.

    Returns
    -------
    DataFrame
        The columns of `intervals.intervals`, with the metrics `calibration_error`, `calibration_slope`,
        `calibration_intercept` and `calibration_in_the_large`.

    Raises
    ------
    MedclsError
        Fewer than two resamples.
    """
    predicted, events = scores_and_events(table)
    probabilities, labels = table.probabilities(), table.labels()
    of_error = (ERROR, table.positive or "")
    if not len(table):
        names = [of_error, *((metric, name) for name in _judged(table) for metric in LINE)]
        return _frame({name: undefined("the split has no images") for name in names})
    lines = {}
    for name in _judged(table):
        k = table.classes.index(name)
        lines[name] = _ResampledLine.of(probabilities[:, k], (labels == k).astype(np.int64))
    bin_of, _ = _bins(predicted, ERROR_BINS, "equal_width")
    gaps = (bin_of[:, None] == np.arange(ERROR_BINS)) * (events - predicted)[:, None]

    def figures(weights: Floats) -> Floats:
        error = np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)
        return np.column_stack([error, *(line.figures(weights) for line in lines.values())])

    groups = group_numbers(table.clusters, len(table))
    drawn = bootstrap(figures, labels, groups, resamples, seed).values
    clustered = any_repeated(groups)
    method = f"bootstrap over {'groups' if clustered else 'rows'}"
    perfect = _error_of_a_perfect_model(predicted, bin_of)
    note = f"a perfectly calibrated model would show {'at least' if clustered else 'about'} {perfect:.3f} on such rows"
    error = expected_calibration_error(predicted, events)
    found = {of_error: _resampled(error, drawn[:, 0], (0, 1), f"{method}, logit scale", note)}
    for place, (name, one) in enumerate(lines.items()):
        for column, (metric, value) in enumerate(zip(LINE, one.line.figures, strict=True)):
            values = drawn[:, 1 + len(LINE) * place + column]
            note = one.line.reason if np.isnan(value) else ""
            found[metric, name] = _resampled(value, values, (-np.inf, np.inf), f"{method}, one Newton step", note)
    return _frame({name: dataclasses.replace(interval, n=len(table)) for name, interval in found.items()})


def _judged(table: Predictions) -> tuple[str, ...]:
    return table.classes if table.positive is None else (table.positive,)


def _resampled(estimate: float, values: Floats, bounds: tuple[float, float], method: str, note: str) -> Interval:
    """Interval of one figure from its values over resamples; `n` is left to whoever calls."""
    if np.isnan(estimate):
        return undefined(note)
    limits = bootstrap_limits(estimate, values, bounds)
    if limits is None:
        return Interval(estimate, np.nan, np.nan, "none", 0, "its uncertainty cannot be told from these rows")
    return Interval(estimate, *limits, method, 0, note)


def _frame(found: Mapping[tuple[str, str], Interval]) -> pd.DataFrame:
    columns = ["metric", "class", *(field.name for field in dataclasses.fields(Interval))]
    return pd.DataFrame([(*key, *dataclasses.astuple(interval)) for key, interval in found.items()], columns=columns)


def _error_of_a_perfect_model(predicted: Floats, bin_of: Integers) -> float:
    """Calibration error to expect where every probability is true and rows are independent.

    The gap of a bin is then nearly normal with the variance `sum p (1 - p) / n^2`, whose mean distance from 0 is
    `sqrt(2 / pi)` standard errors.
    """
    variances = np.bincount(bin_of, weights=predicted * (1 - predicted))
    return float(np.sqrt(2 / np.pi * variances).sum() / len(predicted))


@dataclasses.dataclass(frozen=True)
class _ResampledLine:
    """A calibration line, and what each row adds to the Newton step away from it.

    Parameters
    ----------
    line : CalibrationLine
        Of all rows.
    centre : float
        Mean log odds: about it the two parameters are nearly independent.
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
    def of(cls, predicted: Floats, events: Integers) -> "_ResampledLine":
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

    def figures(self, weights: Floats) -> Floats:
        """Slope, intercept and calibration-in-the-large for each row of weights `(r, n)`: `(r, 3)`."""
        up, tilt, level, cross, square = (weights @ self.of_line).T
        surplus, spread = (weights @ self.of_large).T
        determinant = level * square - cross**2
        slope = self.line.slope + ratio(level * tilt - cross * up, determinant)
        middle = ratio(square * up - cross * tilt, determinant)
        intercept = self.line.intercept + middle - (slope - self.line.slope) * self.centre
        return np.column_stack([slope, intercept, self.line.in_the_large + ratio(surplus, spread)])


def shift_prior(table: Predictions, trained: Mapping[str, float], deployed: Mapping[str, float]) -> Predictions:
    """Re-weight probabilities to a prevalence that the user states.

    `p'(k|x)` is `p(k|x) * deployed_k / trained_k`, divided by its sum over k: Saerens, Latinne and Decaestecker
    2002, "Adjusting the outputs of a classifier to new a priori probabilities", equation 2.4. It holds where the
    images of each class look the same in both places, and only how frequent the classes are differs. A threshold
    that was fitted on the former probabilities does not carry over.

    Parameters
    ----------
    table : Predictions
        With calibrated probabilities.
    trained : mapping of str to float
        The share of each class that the probabilities stand for: of the training rows, or equal shares where the
        loss or the sampler weighted the classes evenly.
    deployed : mapping of str to float
        The share of each class where the classifier is to be used. In either mapping one class may be left out:
        it has the rest.

    Raises
    ------
    MedclsError
        Unknown or missing classes, shares that are none or do not sum to one, a trained share of 0.
    """
    before, after = (
        _shares(table.classes, given, what) for given, what in ((trained, "trained"), (deployed, "deployed"))
    )
    if (before == 0).any():
        name = table.classes[int(np.argmin(before))]
        raise MedclsError(f"The trained share of {name!r} is 0: a class that was never seen cannot be re-weighted.")
    weighted = table.probabilities() * (after / before)
    total = weighted.sum(axis=1, keepdims=True)
    if (total == 0).any():
        raise MedclsError("A row gives all its probability to classes that are said not to occur where it is deployed.")
    return table.with_probabilities(weighted / total)


def _shares(classes: tuple[str, ...], given: Mapping[str, float], what: str) -> NDArray[np.float64]:
    unknown = [name for name in given if name not in classes]
    missing = [name for name in classes if name not in given]
    if unknown or len(missing) > 1:
        wrong = f"names {unknown[0]!r}" if unknown else f"says nothing of {', '.join(missing)}"
        raise MedclsError(
            f"The {what} prevalence {wrong}; the classes are {', '.join(classes)}, of which one may be left out."
            f"{nearest(unknown[0], classes) if unknown else ''}"
        )
    rest = 1 - sum(given.values())
    shares = np.array([given.get(name, rest) for name in classes], np.float64)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and abs(shares.sum() - 1) <= _ROUNDED):
        listed = ", ".join(f"{name} {share:g}" for name, share in zip(classes, shares, strict=True))
        raise MedclsError(f"The {what} prevalence is {listed}: shares from 0 to 1 that sum to one are wanted.")
    return shares / shares.sum()
