"""Resampling whole groups: bootstrap of many figures at once, from weights; permutation for paired tests.

A resample is a weight for every row, the number of times that its group was drawn, so that sorting is
done once for all resamples, and rows of one patient come and go together.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from medcls.errors import MedclsError
from medcls.evaluation.metrics import Floats, Integers

Statistic = Callable[[Floats], Floats]
"""From weights `(resamples, n)` to figures `(resamples, figures)`."""

_CELLS = 2**18  # weights held at once: 2 MiB of float64, which a processor's cache holds
_LAST_DIGITS = 1e-9
_PATIENCE = 20  # draws for each resample that is wanted, before giving up on classes that hang on a single group each


def group_numbers(groups: Sequence[str] | None, n: int) -> Integers:
    """Number the groups of n rows from 0; a row with an empty group stands alone, as all do without groups.

    Raises
    ------
    MedclsError
        As many groups as rows are wanted.
    """
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise MedclsError(f"{n} rows need {n} groups (empty text where unknown); there are {len(groups)}.")
    names = pd.Series(list(groups), dtype=object)
    # A tuple is no text, so that no name of a group can be taken for a row that stands alone.
    names = pd.Series([name if name else (row,) for row, name in enumerate(names)], dtype=object)
    return pd.factorize(names)[0].astype(np.int64)


def any_repeated(groups: Integers) -> bool:
    """Whether any group has two rows, which rules out every method that takes rows as independent."""
    return len(np.unique(groups)) < len(groups)


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """Figures of many resamples.

    Parameters
    ----------
    values : float64 array (resamples, figures)
        NaN where a figure is undefined in a resample, and where no resample was found that has every class.
    redrawn : int
        How many further resamples had lost a class, and were drawn anew.
    """

    values: Floats
    redrawn: int


def bootstrap(statistic: Statistic, labels: Integers, groups: Integers, resamples: int, seed: int) -> Bootstrap:
    """Resample whole groups with replacement, as many as there are.

    Parameters
    ----------
    statistic : Statistic
        Is called with the weights of some resamples at a time.
    labels : int64 array (n,)
        True classes. A resample without any one of those that occur is redrawn.
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
        raise MedclsError(f"{resamples} resamples of {len(labels)} rows are no bootstrap: ask for 1000 or more.")
    redrawn = 0
    parts = []
    for weights, lost in _resamples(labels, groups, resamples, np.random.default_rng(seed)):
        redrawn += lost
        parts.append(statistic(weights))
    values = np.concatenate(parts)
    never_found = np.full((resamples - len(values), values.shape[1]), np.nan)
    return Bootstrap(np.concatenate([values, never_found]), redrawn)


def _resamples(
    labels: Integers, groups: Integers, resamples: int, draw: np.random.Generator
) -> Iterator[tuple[Floats, int]]:
    """Weights `(some, n)` in turn, each with the number of draws thrown away for them."""
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

    Parameters
    ----------
    order : int64 array (n,)
    positives : int64 array (n,)
        In this order, 1 for a case and 0 for the others.
    starts : int64 array (m,)
        Where each of the m distinct scores begins in this order.
    """

    order: Integers
    positives: Integers
    starts: Integers

    @classmethod
    def of(cls, positives: Integers, scores: Floats) -> "Ranking":
        """Rank rows by their scores, both `(n,)`."""
        order = np.argsort(-scores, kind="stable")
        starts = np.flatnonzero(np.diff(-scores[order], prepend=-np.inf) > 0)
        return cls(order, positives[order], starts)

    def count(self, weights: Floats) -> "Counts":
        """Count cases and others above each score, for each row of weights `(r, n)`."""
        others = weights[:, self.order]
        cases = others * self.positives
        others -= cases
        if len(self.starts) < len(self.order):
            cases, others = np.add.reduceat(cases, self.starts, axis=1), np.add.reduceat(others, self.starts, axis=1)
        return Counts(cases, others, np.cumsum(cases, axis=1), np.cumsum(others, axis=1))


@dataclasses.dataclass(frozen=True)
class Counts:
    """How many cases and others stand at each threshold and above, under each row of weights.

    Every distinct score is a threshold, from the highest down. Weights are whole: how often a row was drawn.

    Parameters
    ----------
    cases, others : float64 array (r, m)
        With exactly this score.
    hits, alarms : float64 array (r, m)
        With at least this score.
    """

    cases: Floats
    others: Floats
    hits: Floats
    alarms: Floats

    def areas(self) -> Floats:
        """AUROC for each row of weights, `(r,)`; NaN where a class has no weight.

        The weighted share of pairs in the right order, a tie counting half.
        """
        # Pairs in the wrong order: for each case the others above it, and half of those beside it.
        wrong = np.einsum("rn,rn->r", self.cases, self.alarms) - np.einsum("rn,rn->r", self.cases, self.others) / 2
        return 1 - ratio(wrong, self.hits[:, -1] * self.alarms[:, -1])

    def average_precisions(self) -> Floats:
        """Average precision, `(r,)`: the sum of the precision times the step in sensitivity, as in scikit-learn.

        NaN where a class has no weight.
        """
        called = self.hits + self.alarms
        np.maximum(called, 1, out=called)  # 0 of 0, above the first row that was drawn, adds nothing
        np.divide(self.hits, called, out=called)
        found = np.einsum("rn,rn->r", self.cases, called)
        return ratio(found * self.alarms[:, -1], self.hits[:, -1] * self.alarms[:, -1])

    def sensitivities_at(self, specificity: float) -> Floats:
        """Highest sensitivity among the thresholds with at least this specificity, `(r,)`.

        As `metrics.sensitivity_at_specificity`. NaN where a class has no weight.
        """
        all_cases, all_others = self.hits[:, -1], self.alarms[:, -1]
        # Counted: the product of a share and a number may miss a whole number by its last digit.
        allowed = np.floor(all_others * (1 - specificity) + _LAST_DIGITS)
        found = [
            hits[end - 1] if (end := np.searchsorted(alarms, most, side="right")) else 0.0
            for hits, alarms, most in zip(self.hits, self.alarms, allowed, strict=True)
        ]
        return ratio(np.array(found) * all_others, all_cases * all_others)

    def specificities_at(self, sensitivity: float) -> Floats:
        """Highest specificity among the thresholds with at least this sensitivity, above 0: `(r,)`.

        As `metrics.specificity_at_sensitivity`. NaN where a class has no weight.
        """
        all_cases, all_others = self.hits[:, -1], self.alarms[:, -1]
        wanted = np.ceil(all_cases * sensitivity - _LAST_DIGITS)
        raised = [
            alarms[np.searchsorted(hits, least)]
            for hits, alarms, least in zip(self.hits, self.alarms, wanted, strict=True)
        ]
        return ratio((all_others - np.array(raised)) * all_cases, all_cases * all_others)


def weighted_areas(weights: Floats, positives: Integers, scores: Floats) -> tuple[Floats, Floats]:
    """AUROC and average precision for each row of weights `(r, n)`, of rows that are ranked this once."""
    counts = Ranking.of(positives, scores).count(weights)
    return counts.areas(), counts.average_precisions()


def ratio(above: Floats, below: Floats) -> Floats:
    """Divide, with NaN for a share of nothing."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def weighted_confusion(weights: Floats, labels: Integers, predicted: Integers, num_classes: int) -> Floats:
    """Confusion matrix for each row of weights: `(resamples, K, K)`, rows are the true classes."""
    n = len(labels)
    cells = csr_array((np.ones(n), (labels * num_classes + predicted, np.arange(n))), shape=(num_classes**2, n))
    return (cells @ weights.T).T.reshape(len(weights), num_classes, num_classes)
