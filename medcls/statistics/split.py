"""The rows of one split, and what is counted of them under weights: all that a metric is computed from.

A weight says how often a row counts: once for the value itself, as often as it was drawn for a resample of the
bootstrap. Weights are a matrix `(r, n)`, and whatever is counted of them has one number, or one row, for each of the r.
"""

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.resampling import Counts, Ranking, any_repeated, ratio, weighted_confusion


@dataclasses.dataclass(frozen=True)
class Split:
    """Labels, probabilities and decisions of one split.

    Parameters
    ----------
    labels, predicted : int64 array (n,)
        True and predicted classes. Predicted by whoever makes this, so that each fold can have its threshold.
    scores : float64 array (n, K)
        Probabilities.
    groups : int64 array (n,)
        As of `group_numbers`.
    classes : tuple of str
    positive : int or None
        Index of the class that a binary task looks for.
    ordered : bool
        The classes are grades in their order: metrics of ordered classes are wanted too.
    """

    labels: Integers
    predicted: Integers
    scores: Floats
    groups: Integers
    classes: tuple[str, ...]
    positive: int | None
    ordered: bool = False

    def under(self, weights: Floats) -> "AllClasses":
        """What is counted of these rows with weights `(r, n)`."""
        return AllClasses(self, weights)

    def once(self) -> "AllClasses":
        """What is counted where each row counts once: r is 1."""
        return self.under(np.ones((1, len(self.labels))))

    @functools.cached_property
    def clustered(self) -> bool:
        """Whether any group has two rows."""
        return any_repeated(self.groups)

    @property
    def binary(self) -> bool:
        """Whether one class is looked for."""
        return self.positive is not None

    @property
    def unit(self) -> str:
        """What is drawn in resampling, in words."""
        return "groups" if self.clustered else "rows"

    @property
    def judged(self) -> tuple[int, ...]:
        """The classes with metrics of their own: all, or in a binary task the positive one."""
        return tuple(range(len(self.classes))) if self.positive is None else (self.positive,)

    @functools.cached_property
    def rankings(self) -> dict[int, Ranking]:
        """The order of the rows by their probability of each class that is judged."""
        return {k: Ranking.of((self.labels == k).astype(np.int64), self.scores[:, k]) for k in self.judged}

    @functools.cached_property
    def squared_errors(self) -> Floats:
        """Squared distance of each row's probabilities from what came true, `(n,)`; see `metric_table.brier`."""
        if self.positive is not None:
            return (self.scores[:, self.positive] - (self.labels == self.positive)) ** 2
        # sum_k (p_k - y_k)^2 = sum_k p_k^2 - 2 p_true + 1, but the latter loses the digits of a small distance.
        return ((self.scores - np.eye(len(self.classes))[self.labels]) ** 2).sum(axis=1)

    @functools.cached_property
    def surprises(self) -> Floats:
        """Minus the logarithm of each row's probability of its true class, `(n,)`; see `metric_table.log_loss`."""
        return surprise(self.scores[np.arange(len(self.labels)), self.labels])

    def count_groups(self, rows: NDArray[np.bool_]) -> int:
        """How many groups the rows are of: the rows themselves, where all stand alone."""
        return int(np.count_nonzero(np.bincount(self.groups[rows])))


@dataclasses.dataclass(frozen=True)
class AllClasses:
    """All classes of a split at once, under weights `(r, n)`."""

    split: Split
    weights: Floats

    @functools.cached_property
    def n(self) -> Floats:
        """Sum of the weights, `(r,)`."""
        return self.weights.sum(axis=1)

    @functools.cached_property
    def matrix(self) -> Floats:
        """Confusion matrices `(r, K, K)`; rows are the true classes."""
        of = self.split
        return weighted_confusion(self.weights, of.labels, of.predicted, len(of.classes))

    @functools.cached_property
    def support(self) -> Floats:
        """Of each class, `(r, K)`."""
        return self.matrix.sum(axis=2)

    @functools.cached_property
    def shares(self) -> Floats:
        """Of each class among the rows, `(r, K)`."""
        return ratio(self.support, np.broadcast_to(self.n[:, None], self.support.shape))

    @functools.cached_property
    def judged(self) -> tuple["OneClass", ...]:
        """Each class with metrics of its own, against all others."""
        return tuple(OneClass(self, k) for k in self.split.judged)

    @property
    def squared_errors(self) -> Floats:
        """As of `Split`."""
        return self.split.squared_errors

    @property
    def surprises(self) -> Floats:
        """As of `Split`."""
        return self.split.surprises

    def mean(self, of_rows: Floats) -> Floats:
        """Weighted mean of a value of each row `(n,)`: `(r,)`."""
        return ratio(self.weights @ of_rows, self.n)


@dataclasses.dataclass(frozen=True)
class OneClass:
    """One class of a split against all others, under the weights of `whole`."""

    whole: AllClasses
    k: int

    @property
    def name(self) -> str:
        """Of the class."""
        return self.whole.split.classes[self.k]

    @property
    def n(self) -> Floats:
        """As of `AllClasses`."""
        return self.whole.n

    @functools.cached_property
    def tp(self) -> Floats:
        """True positives, `(r,)`."""
        return self.whole.matrix[:, self.k, self.k]

    @functools.cached_property
    def fn(self) -> Floats:
        """False negatives, `(r,)`."""
        return self.cases - self.tp

    @functools.cached_property
    def fp(self) -> Floats:
        """False positives, `(r,)`."""
        return self.positives - self.tp

    @functools.cached_property
    def tn(self) -> Floats:
        """True negatives, `(r,)`."""
        return self.others - self.fp

    @functools.cached_property
    def cases(self) -> Floats:
        """Rows of the class, `(r,)`."""
        return self.whole.matrix[:, self.k].sum(axis=1)

    @functools.cached_property
    def positives(self) -> Floats:
        """Rows predicted as the class, `(r,)`."""
        return self.whole.matrix[:, :, self.k].sum(axis=1)

    @property
    def others(self) -> Floats:
        """Rows of any other class, `(r,)`."""
        return self.n - self.cases

    @property
    def negatives(self) -> Floats:
        """Rows predicted as any other class, `(r,)`."""
        return self.n - self.positives

    @property
    def both_there(self) -> NDArray[np.bool_]:
        """Whether there are rows of the class, and of another, `(r,)`."""
        return (self.cases > 0) & (self.others > 0)

    @property
    def matrix(self) -> Floats:
        """Confusion matrices of the class, first, against all others: `(r, 2, 2)`."""
        return np.stack([self.tp, self.fn, self.fp, self.tn], axis=1).reshape(-1, 2, 2)

    @property
    def shares(self) -> Floats:
        """Of the class and of all others among the rows, `(r, 2)`."""
        return np.stack([ratio(self.cases, self.n), ratio(self.others, self.n)], axis=1)

    @functools.cached_property
    def ranking(self) -> Counts:
        """Cases and others counted down the order of the scores."""
        return self.whole.split.rankings[self.k].count(self.whole.weights)

    @property
    def squared_errors(self) -> Floats:
        """Squared distance of the probability of the class from whether the row is of it, `(n,)`."""
        return (self._scores - self._case) ** 2

    @property
    def surprises(self) -> Floats:
        """Minus the logarithm of the probability of what came true of this class, `(n,)`."""
        return surprise(np.where(self._case, self._scores, 1 - self._scores))

    @property
    def _case(self) -> NDArray[np.bool_]:
        return self.whole.split.labels == self.k

    @property
    def _scores(self) -> Floats:
        return self.whole.split.scores[:, self.k]

    def mean(self, of_rows: Floats) -> Floats:
        """As of `AllClasses`."""
        return self.whole.mean(of_rows)


def surprise(of_truth: Floats) -> Floats:
    """Minus the logarithm of the true class's probability, clipped as scikit-learn does: at most 36, not infinity."""
    smallest = np.finfo(np.float64).eps
    return -np.log(np.clip(of_truth, smallest, 1 - smallest))
