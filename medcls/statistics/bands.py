"""What a classifier does at every threshold, and how far each value may lie off: the numbers that `curves` draws."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from medcls.statistics import causes
from medcls.statistics.analytic import LEVEL, wilson_limits
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.metrics import check_classes, check_labels, check_probabilities
from medcls.statistics.resampling import any_repeated, bootstrap, group_numbers

GRID: Floats = np.linspace(0, 1, 201)
"""Where a band is found: false positive rates, or sensitivities."""

FEW_FOR_BAND = 10
"""Fewest independent cases, and others, of a band.

In 300 simulations each (normal scores, AUROC 0.85) the band of the sensitivity held the truth in 0.96 or more with 10
cases against 100, but at a false positive rate of 0.1 in 0.82 with 100 against 10 and in 0.61 with 100 against 5; that
of the precision in 0.73 to 0.86 with 2 against 100.
"""

_STEPS = 500  # thresholds looked at in a resample: a step is then a five-hundredth of the cases, or of the others
_WEIGHTS = 2 * 10**7  # weights drawn for one band, about half a second of work

_Reading = Callable[[Floats, Floats], Floats]
"""From cases and others called at falling thresholds, both `(m + 1,)`, to a value at each point of the grid."""


@dataclasses.dataclass(frozen=True)
class Reached:
    """Counts at one threshold, where both the class and the others have rows.

    Parameters
    ----------
    tp : int
        Cases called.
    calls : int
        Rows called.
    cases, others : int
        Rows of the class, and of all others.
    """

    tp: int
    calls: int
    cases: int
    others: int

    @property
    def sensitivity(self) -> float:
        """Share of the cases that are called."""
        return self.tp / self.cases

    @property
    def specificity(self) -> float:
        """Share of the others that are not called."""
        return 1 - (self.calls - self.tp) / self.others

    @property
    def precision(self) -> float:
        """Share of the called that are cases; NaN where nothing is called."""
        return self.tp / self.calls if self.calls else float("nan")


@dataclasses.dataclass(frozen=True)
class OneClass:
    """One class against all others.

    Parameters
    ----------
    name : str
    positives : int64 array (n,)
        1 for the class.
    scores : float64 array (n,)
        Its probability.
    groups : int64 array (n,)
        As of `resampling.group_numbers`.
    """

    name: str
    positives: Integers
    scores: Floats
    groups: Integers

    @property
    def cases(self) -> int:
        """Rows of the class."""
        return int(self.positives.sum())

    @property
    def has_both(self) -> bool:
        """Whether there are cases and others: without both there is no curve."""
        return 0 < self.cases < len(self.positives)

    @property
    def group_count(self) -> int:
        """From how many groups the rows come."""
        return len(np.unique(self.groups))

    @property
    def is_grouped(self) -> bool:
        """Whether any group has more than one row."""
        return any_repeated(self.groups)

    def counts(self) -> tuple[Floats, Floats]:
        """Cases and others called at each distinct threshold, from none called downwards: both `(m + 1,)`."""
        order, ends = self._descending()
        tp = np.cumsum(self.positives[order])[ends]
        return np.append(0.0, tp), np.append(0.0, ends + 1 - tp)

    def at(self, threshold: float) -> Reached:
        """What calling from this threshold on reaches."""
        predicted_positive = self.scores >= threshold
        return Reached(
            tp=int(self.positives[predicted_positive].sum()),
            calls=int(predicted_positive.sum()),
            cases=self.cases,
            others=len(self.positives) - self.cases,
        )

    def independent_cases(self) -> int:
        """How many groups the cases come from."""
        return len(np.unique(self.groups[self.positives == 1]))

    def independent_others(self) -> int:
        """How many groups the others come from."""
        return len(np.unique(self.groups[self.positives == 0]))

    def independent_calls(self) -> Integers:
        """From how many groups the rows called come, at each threshold of `counts`: `(m + 1,)`."""
        order, ends = self._descending()
        firsts = ~pd.Series(self.groups[order]).duplicated().to_numpy()
        return np.append(0, np.cumsum(firsts)[ends]).astype(np.int64)

    def _descending(self) -> tuple[Integers, Integers]:
        """The rows from the highest score down, and where each run of equal scores ends."""
        order = np.argsort(-self.scores, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(self.scores[order]) != 0, True))
        return order, ends


def against_the_others(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    positive: str | None,
    groups: Sequence[str] | None = None,
) -> list[OneClass]:
    """Set the positive class against the others, or each class in turn where none is positive.

    Parameters
    ----------
    labels : integer array (n,)
        True class indices.
    probabilities : float array (n, K)
        One column a class.
    classes, positive
        As in `metrics.classification_metrics`.
    groups : sequence of str, optional
        As in `resampling.group_numbers`.

    Raises
    ------
    MedclsError
        Whatever `metrics.classification_metrics` refuses.
    """
    index = check_classes(classes, positive)
    scores = check_probabilities(probabilities, len(classes))
    truth = check_labels(labels, len(classes), len(scores))
    numbers = group_numbers(groups, len(scores))
    return [
        OneClass(classes[k], (truth == k).astype(np.int64), scores[:, k], numbers)
        for k in (range(len(classes)) if index is None else (index,))
    ]


def precision_steps(one: OneClass) -> tuple[Floats, Floats]:
    """Corners of the line that holds, up to each sensitivity, the precision at which it is reached.

    Returns
    -------
    recall, precision : float64 array
        Of a class that has both cases and others.
    """
    tp, fp = one.counts()
    rises = np.flatnonzero(np.diff(tp) > 0) + 1
    recall = np.append(0.0, tp[rises] / tp[-1])
    return np.repeat(recall, 2)[1:-1], np.repeat(tp[rises] / (tp + fp)[rises], 2)


def why_no_band(one: OneClass) -> str:
    """Say why a curve has no band, because too few rows stand behind it; empty where it has one."""
    if one.group_count == 1:
        return causes.ONE_GROUP
    counts = {"of the class": one.independent_cases(), "of the others": one.independent_others()}
    few = [f"{number} {which}" for which, number in counts.items() if number < FEW_FOR_BAND]
    unit = "groups" if one.is_grouped else "images"
    return f"fewer than {FEW_FOR_BAND} {unit}: {' and '.join(few)}" if few else ""


def sensitivity_band(one: OneClass, resamples: int = 1000, seed: int = 0) -> tuple[Floats, Floats] | None:
    """Find a 95% band of the sensitivity at each false positive rate of `GRID`.

    Percentiles over resamples of whole groups, point by point and not for the curve as a whole. The band is nowhere
    narrower than Wilson's limits of the sensitivity at a fixed threshold, which percentiles near 1 would be; where
    all resamples agree, as at a sensitivity of 1, these count each group once.

    Parameters
    ----------
    one : OneClass
        With cases and others.
    resamples, seed : int
        Above 20,000 rows fewer are drawn, and never under 200: so many rows leave a narrow band.

    Returns
    -------
    low, high : float64 array (201,)
        Or None where too few rows stand behind the curve, for the reason that `why_no_band` gives.
    """
    rows, groups = (np.full(len(GRID), behind) for behind in (one.cases, one.independent_cases()))
    return _band(one, _sensitivity_at, rows, groups, resamples, seed)


def precision_band(one: OneClass, resamples: int = 1000, seed: int = 0) -> tuple[Floats, Floats] | None:
    """Find a 95% band of the precision at each sensitivity of `GRID`, as `sensitivity_band` does."""
    tp, fp = one.counts()
    first = _first_at(tp)
    return _band(one, _precision_at, (tp + fp)[first], one.independent_calls()[first], resamples, seed)


def _sensitivity_at(tp: Floats, fp: Floats) -> Floats:
    """Sensitivity at each false positive rate of the grid, a `_Reading`."""
    return np.interp(GRID, fp / fp[-1], tp / tp[-1])


def _precision_at(tp: Floats, fp: Floats) -> Floats:
    """Precision at each sensitivity of the grid, a `_Reading`."""
    first = _first_at(tp)
    return tp[first] / (tp[first] + fp[first])


def _first_at(tp: Floats) -> Integers:
    """The first threshold that reaches each sensitivity of the grid; for 0 the first that finds any case."""
    wanted = np.maximum(GRID * tp[-1] - 1e-9, 1e-9)  # 0.3 of 10 cases is a little more than 3 in floating point
    return np.searchsorted(tp, wanted, side="left").astype(np.int64)


def _band(
    one: OneClass, read: _Reading, rows: Floats | Integers, groups: Integers, resamples: int, seed: int
) -> tuple[Floats, Floats] | None:
    """Limits at each point of the grid, where so many rows of so many groups stand behind its value."""
    if why_no_band(one):
        return None
    steps = _steps(one.scores, one.positives)
    number = int(steps.max()) + 1
    n = len(steps)
    cells = csr_array((np.ones(n), (one.positives * number + steps, np.arange(n))), shape=(2 * number, n))

    def statistic(weights: Floats) -> Floats:
        counts = (cells @ weights.T).T.reshape(len(weights), 2, number)
        predicted_positive = np.concatenate([np.zeros((len(weights), 2, 1)), np.cumsum(counts, axis=2)], axis=2)
        return np.stack([read(tp, fp) for fp, tp in predicted_positive])

    resamples = min(resamples, max(200, _WEIGHTS // n))
    values = bootstrap(statistic, one.positives, one.groups, resamples, seed).values
    values = values[~np.isnan(values).any(axis=1)]
    estimate = read(*one.counts())
    low, high = np.quantile(values if len(values) else estimate[None], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    counted = np.where(high - low < 1e-12, groups, rows)
    least = np.array([wilson_limits(value, n) for value, n in zip(estimate.tolist(), counted.tolist(), strict=True)])
    return np.minimum(low, least[:, 0]), np.maximum(high, least[:, 1])


def _steps(scores: Floats, positives: Integers) -> Integers:
    """Number the thresholds from the highest down, and give each row the first that calls it: `(n,)`.

    Each score that occurs is a threshold, as far as there are few. Of more, as many quantiles of the cases' scores
    and of the others', so that a step is small on either axis.
    """
    edges = np.unique(scores)
    if len(edges) > 2 * _STEPS:
        shares = np.arange(1, _STEPS + 1) / _STEPS
        halves = [np.quantile(scores[positives == which], shares, method="higher") for which in (0, 1)]
        edges = np.unique(np.concatenate([*halves, scores.max(keepdims=True)]))
    below = np.searchsorted(edges, scores, side="left")  # the lowest edge that a score does not exceed
    return (len(edges) - 1 - below).astype(np.int64)
