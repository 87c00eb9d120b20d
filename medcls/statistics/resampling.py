"""Bootstrap of whole groups, for many statistics at once.

A resample is a weight for every row, the number of times its group was drawn, so rows are sorted once for all
resamples, and rows of one patient stay together.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from medcls.errors import MedclsError
from medcls.statistics.arrays import Floats, Integers

Statistic = Callable[[Floats], Floats]
"""From weights `(resamples, n)` to values `(resamples, values)`."""

_CELLS = 2**18  # weights held at once: 2 MiB of float64, which fits a processor's cache
_LAST_DIGITS = 1e-9
_PATIENCE = 20  # draws for each resample, before giving up on classes of a single group each


def group_numbers(groups: Sequence[str] | None, n: int) -> Integers:
    """Number the groups of n rows from 0; a row with an empty group stands alone, as all rows do without groups.

    Raises
    ------
    MedclsError
        There are not as many groups as rows.
    """
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise MedclsError(
            f"{n} rows need {n} groups (empty text where unknown); there are {len(groups)}.", kind="wrong_shape"
        )
    numbers: dict[object, int] = {}
    # A tuple, which no name of a group can equal, stands for a row without a group.
    return np.array([numbers.setdefault(name or (row,), len(numbers)) for row, name in enumerate(groups)], np.int64)


def any_repeated(groups: Integers) -> bool:
    """Whether any group has two rows, which rules out every method that takes rows as independent."""
    return len(np.unique(groups)) < len(groups)


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """Values of many resamples.

    Parameters
    ----------
    values : float64 array (resamples, values)
        NaN where undefined in a resample, and where no resample with every class was found.
    redrawn : int
        How many further resamples had lost a class, and were redrawn.
    """

    values: Floats
    redrawn: int


def bootstrap(statistic: Statistic, labels: Integers, groups: Integers, resamples: int, seed: int) -> Bootstrap:
    """Resample whole groups with replacement, as many as there are.

    Parameters
    ----------
    statistic : Statistic
        Gets the weights of some resamples at a time.
    labels : int64 array (n,)
        True classes. A resample that lacks one of them is redrawn.
    groups : int64 array (n,)
        As of `group_numbers`.
    resamples, seed : int
        The same seed gives the same resamples.

    Raises
    ------
    MedclsError
        No rows, or no resamples.
    """
    if resamples < 2 or not len(labels):
        raise MedclsError(
            f"{resamples} resamples of {len(labels)} rows are no bootstrap: use 1000 or more.", kind="bad_value"
        )
    redrawn = 0
    parts = [statistic(np.ones((1, len(labels))))[:0]]  # the width, in case every draw loses a class
    for weights, lost in _resamples(labels, groups, resamples, np.random.default_rng(seed)):
        redrawn += lost
        if len(weights):
            parts.append(statistic(weights))
    values = np.concatenate(parts)
    missing = np.full((resamples - len(values), values.shape[1]), np.nan)
    return Bootstrap(np.concatenate([values, missing]), redrawn)


def _resamples(
    labels: Integers, groups: Integers, resamples: int, draw: np.random.Generator
) -> Iterator[tuple[Floats, int]]:
    """Yield weights `(some, n)`, each with the number of draws discarded for them."""
    count = int(groups.max()) + 1
    alone = bool((groups == np.arange(len(groups))).all())
    present, numbers = np.unique(labels, return_inverse=True)
    holds = np.zeros((count, len(present)))
    holds[groups, numbers] = 1
    at_once = max(1, _CELLS // len(groups))
    left, drawn = resamples, 0
    while left and drawn < _PATIENCE * resamples:
        size = min(left, at_once)
        picks = draw.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
        times = np.bincount(picks.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
        times = times[(times @ holds > 0).all(axis=1)]
        drawn += size
        left -= len(times)
        yield (times if alone else times[:, groups]), size - len(times)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Rows in the descending order of one score: sorted once, counted under any weights.

    Counts change at the scores of cases alone, so the order is cut into one part for each of these: the score itself,
    at the part's end, and the other scores since the last one. The rows after the last case are a part too.

    Parameters
    ----------
    order : int64 array (n,)
    starts : int64 array (m,)
        Where each part begins in this order.
    cases, case_starts : int64 arrays
        The cases in this order, and where each distinct score of theirs begins among them.
    tied, tied_with : int64 arrays (t,)
        The others that have the score of a case, and of which part.
    """

    order: Integers
    starts: Integers
    cases: Integers
    case_starts: Integers
    tied: Integers
    tied_with: Integers

    @classmethod
    def by_score(cls, positives: Integers, scores: Floats) -> "Ranking":
        """Rank rows by their scores, both `(n,)`; `positives` are 1 for a case."""
        order = np.argsort(-scores, kind="stable")
        case = positives[order] == 1
        level = np.cumsum(np.diff(-scores[order], prepend=-np.inf) > 0) - 1  # of equal scores
        levels, case_starts = np.unique(level[case], return_index=True)
        ends = np.searchsorted(level, levels, side="right")
        tied = ~case & np.isin(level, levels)
        return cls(
            order=order,
            starts=np.concatenate([[0], ends[ends < len(order)]]).astype(np.int64),
            cases=order[case],
            case_starts=case_starts.astype(np.int64),
            tied=order[tied],
            tied_with=np.searchsorted(levels, level[tied]).astype(np.int64),
        )

    def count(self, weights: Floats) -> "RankedCounts":
        """Count cases and others down to each part's end, for each row of weights `(r, n)`."""
        rows = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        cases = np.zeros_like(rows)
        if len(self.cases):
            cases[:, : len(self.case_starts)] = np.add.reduceat(weights[:, self.cases], self.case_starts, axis=1)
        tp = np.cumsum(cases, axis=1)
        return RankedCounts(cases, tp, np.cumsum(rows, axis=1) - tp, weights[:, self.tied], self.tied_with)


@dataclasses.dataclass(frozen=True)
class RankedCounts:
    """How many rows have the scores of cases or higher ones, under each row of (whole) weights.

    Parameters
    ----------
    cases : float64 array (r, m)
        With exactly this score; 0 in the part after the last case.
    tp, fp : float64 array (r, m)
        Cases and others with at least this score.
    tied : float64 array (r, t)
        Weights of the others that have the score of a case.
    tied_with : int64 array (t,)
        Of which part, ascending.
    """

    cases: Floats
    tp: Floats
    fp: Floats
    tied: Floats
    tied_with: Integers

    @property
    def all_cases(self) -> Floats:
        """Of each row of weights, `(r,)`."""
        return self.tp[:, -1]

    @property
    def all_others(self) -> Floats:
        """Of each row of weights, `(r,)`."""
        return self.fp[:, -1]

    def areas(self) -> Floats:
        """AUROC, `(r,)`: the share of pairs in the right order, a tie counting half; NaN without weight of a class."""
        # Pairs in the wrong order: for each case the others above it, and half of those tied with it.
        ties = np.einsum("rt,rt->r", self.tied, self.cases[:, self.tied_with])
        wrong = np.einsum("rm,rm->r", self.cases, self.fp) - ties / 2
        return 1 - ratio(wrong, self.all_cases * self.all_others)

    def areas_up_to(self, share: float) -> Floats:
        """Area under the ROC curve up to a false-positive rate, `(r,)`; NaN where a class has no weight.

        Each case adds the number of false positives still allowed at its score; those with the same score, which the
        curve passes in a straight line, count half.
        """
        tied = np.zeros_like(self.cases)
        parts, starts = np.unique(self.tied_with, return_index=True)
        if len(parts):
            tied[:, parts] = np.add.reduceat(self.tied, starts, axis=1)
        above, allowed = self.fp - tied, (share * self.all_others)[:, None]
        within = np.clip(allowed - above, 0, tied)
        triangles = np.divide(within**2, 2 * tied, out=np.zeros_like(within), where=tied > 0)
        reached = np.einsum("rm,rm->r", self.cases, triangles + np.maximum(allowed - self.fp, 0))
        return ratio(reached, self.all_cases * self.all_others)

    def average_precisions(self) -> Floats:
        """Average precision as in scikit-learn, `(r,)`: the sum of precision times step in recall; NaN as `areas`."""
        # 0 of 0, above the first row drawn, adds nothing.
        precision = np.divide(self.tp, np.maximum(self.tp + self.fp, 1))
        total = np.einsum("rm,rm->r", self.cases, precision)
        return ratio(total * self.all_others, self.all_cases * self.all_others)

    def sensitivities_at(self, specificity: float) -> Floats:
        """Highest sensitivity among the thresholds with at least this specificity, `(r,)`.

        Every distinct score is a threshold, and so is one above all scores; nothing is interpolated. NaN where a class
        has no weight.
        """
        # Rounded: the product of a share and a number may miss a whole number by its last digit.
        allowed = np.floor(self.all_others * (1 - specificity) + _LAST_DIGITS)
        within = _places(self.fp, allowed, "right")
        tp = np.where(within > 0, self.tp[np.arange(len(within)), within - 1], 0)
        return ratio(tp * self.all_others, self.all_cases * self.all_others)

    def specificities_at(self, sensitivity: float) -> Floats:
        """Highest specificity among the thresholds with at least this sensitivity, above 0: `(r,)`.

        As `sensitivities_at`.
        """
        needed = np.ceil(self.all_cases * sensitivity - _LAST_DIGITS)
        first = _places(self.tp, needed, "left")
        fp = self.fp[np.arange(len(first)), first]
        return ratio((self.all_others - fp) * self.all_cases, self.all_cases * self.all_others)


def _places(ascending: Floats, values: Floats, side: Literal["left", "right"]) -> Integers:
    """Return where in each row of `(r, m)` its value of `(r,)` belongs."""
    return np.array([np.searchsorted(row, value, side) for row, value in zip(ascending, values, strict=True)], np.int64)


def ratio(above: Floats, below: Floats) -> Floats:
    """Divide; NaN where the denominator is 0."""
    quotient = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def weighted_confusion(weights: Floats, labels: Integers, predicted: Integers, num_classes: int) -> Floats:
    """Confusion matrix for each row of weights: `(resamples, K, K)`, rows are the true classes."""
    n = len(labels)
    cells = csr_array((np.ones(n), (labels * num_classes + predicted, np.arange(n))), shape=(num_classes**2, n))
    matrices: Floats = (cells @ weights.T).T.reshape(len(weights), num_classes, num_classes)
    return matrices
