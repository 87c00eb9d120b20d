"""The rows of one split, and what is counted of them under weights: all that a metric is computed from.

A weight says how often a row counts: once for the value itself, as often as it was drawn for a resample of the
bootstrap. Weights are a matrix `(r, n)`, and each count has one value, or one row, for each of the r.
"""

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.resampling import RankedCounts, Ranking, any_repeated, ratio, weighted_confusion


@dataclasses.dataclass(frozen=True)
class Split:
    """Labels, probabilities and decisions of one split.

    Parameters
    ----------
    labels, predicted : int64 array (n,)
        True and predicted classes.
    scores : float64 array (n, K)
        Probabilities.
    groups : int64 array (n,)
        As of `group_numbers`.
    classes : tuple of str
    positive : int or None
        Index of the positive class; None with more than two classes.
    threshold : float or None
        The fitted threshold of a binary task; None for 0.5, and where each fold has its own.
    ordered : bool
        The classes are grades in their order, so metrics of ordered classes exist too.
    """

    labels: Integers
    predicted: Integers
    scores: Floats
    groups: Integers
    classes: tuple[str, ...]
    positive: int | None
    threshold: float | None = None
    ordered: bool = False

    def count(self, weights: Floats | None = None) -> "AllClasses":
        """Count the rows under weights `(r, n)`; without weights each row once, and r is 1."""
        return AllClasses(self, np.ones((1, len(self.labels))) if weights is None else weights)

    @functools.cached_property
    def is_grouped(self) -> bool:
        """Whether any group has two rows."""
        return any_repeated(self.groups)

    @property
    def binary(self) -> bool:
        """Whether there is a positive class."""
        return self.positive is not None

    @property
    def unit(self) -> str:
        """What is drawn in resampling: groups or rows."""
        return "groups" if self.is_grouped else "rows"

    @property
    def rated_classes(self) -> tuple[int, ...]:
        """The classes with metrics of their own: all, or the positive one of a binary task."""
        return tuple(range(len(self.classes))) if self.positive is None else (self.positive,)

    @functools.cached_property
    def rankings(self) -> dict[int, Ranking]:
        """The order of the rows by their probability of each of the `rated_classes`."""
        return {k: Ranking.by_score((self.labels == k).astype(np.int64), self.scores[:, k]) for k in self.rated_classes}

    @functools.cached_property
    def squared_errors(self) -> Floats:
        """Squared distance of each row's probabilities from the truth, `(n,)`; see `metric_table.brier`."""
        # sum_k (p_k - y_k)^2 = sum_k p_k^2 - 2 p_true + 1, but the latter loses the digits of a small distance.
        squares: Floats = (self.scores - np.eye(len(self.classes))[self.labels]) ** 2
        summed: Floats = squares.sum(axis=1)
        return summed if self.positive is None else squares[:, self.positive]

    @functools.cached_property
    def log_losses(self) -> Floats:
        """Log loss of each row, `(n,)`; see `metric_table.log_loss`."""
        return log_losses(self.scores[np.arange(len(self.labels)), self.labels])

    def group_count(self, rows: NDArray[np.bool_] | None = None) -> int:
        """Number of groups among some rows, or all: the rows themselves, where each stands alone."""
        return int(np.count_nonzero(np.bincount(self.groups if rows is None else self.groups[rows])))


@dataclasses.dataclass(frozen=True)
class AllClasses:
    """Counts of all classes of a split at once, under weights `(r, n)`."""

    split: Split
    weights: Floats

    @functools.cached_property
    def n(self) -> Floats:
        """Sum of the weights, `(r,)`."""
        total: Floats = self.weights.sum(axis=1)
        return total

    @functools.cached_property
    def matrix(self) -> Floats:
        """Confusion matrices `(r, K, K)`; rows are the true classes."""
        return weighted_confusion(self.weights, self.split.labels, self.split.predicted, len(self.split.classes))

    @functools.cached_property
    def support(self) -> Floats:
        """Of each class, `(r, K)`."""
        support: Floats = self.matrix.sum(axis=2)
        return support

    @functools.cached_property
    def shares(self) -> Floats:
        """Of each class among the rows, `(r, K)`."""
        return ratio(self.support, np.broadcast_to(self.n[:, None], self.support.shape))

    @functools.cached_property
    def one_vs_rest(self) -> tuple["OneVsRest", ...]:
        """Each of the `rated_classes` against all others."""
        return tuple(OneVsRest(self, k) for k in self.split.rated_classes)

    @property
    def squared_errors(self) -> Floats:
        """As of `Split`."""
        return self.split.squared_errors

    @property
    def log_losses(self) -> Floats:
        """As of `Split`."""
        return self.split.log_losses

    def mean(self, values: Floats) -> Floats:
        """Weighted mean of a value of each row `(n,)`: `(r,)`."""
        return ratio(self.weights @ values, self.n)


@dataclasses.dataclass(frozen=True)
class OneVsRest:
    """Counts of one class of a split against all others, under the weights of `all_classes`."""

    all_classes: AllClasses
    k: int

    @property
    def split(self) -> Split:
        """Whose rows are counted."""
        return self.all_classes.split

    @property
    def name(self) -> str:
        """Of the class."""
        return self.split.classes[self.k]

    @property
    def is_case(self) -> NDArray[np.bool_]:
        """Which rows are of the class, `(n,)`."""
        is_case: NDArray[np.bool_] = self.split.labels == self.k
        return is_case

    @property
    def scores(self) -> Floats:
        """Probability of the class, `(n,)`."""
        return self.split.scores[:, self.k]

    @property
    def n(self) -> Floats:
        """Sum of the weights, `(r,)`."""
        return self.all_classes.n

    @functools.cached_property
    def tp(self) -> Floats:
        """True positives, `(r,)`."""
        return self.all_classes.matrix[:, self.k, self.k]

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
        cases: Floats = self.all_classes.matrix[:, self.k].sum(axis=1)
        return cases

    @functools.cached_property
    def positives(self) -> Floats:
        """Rows predicted as the class, `(r,)`."""
        positives: Floats = self.all_classes.matrix[:, :, self.k].sum(axis=1)
        return positives

    @property
    def others(self) -> Floats:
        """Rows of any other class, `(r,)`."""
        return self.n - self.cases

    @property
    def negatives(self) -> Floats:
        """Rows predicted as any other class, `(r,)`."""
        return self.n - self.positives

    @property
    def has_both(self) -> NDArray[np.bool_]:
        """Whether there are rows of the class and of another, `(r,)`."""
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
    def ranking(self) -> RankedCounts:
        """Cases and others in the descending order of the scores."""
        return self.split.rankings[self.k].count(self.all_classes.weights)

    @property
    def squared_errors(self) -> Floats:
        """Squared distance of the probability of the class from whether the row is of it, `(n,)`."""
        return (self.scores - self.is_case) ** 2

    @property
    def log_losses(self) -> Floats:
        """Log loss of each row for this class, `(n,)`."""
        return log_losses(np.where(self.is_case, self.scores, 1 - self.scores))

    def mean(self, values: Floats) -> Floats:
        """As of `AllClasses`."""
        return self.all_classes.mean(values)


def log_losses(probabilities: Floats) -> Floats:
    """Minus the logarithm of the probability of the truth, clipped as scikit-learn does: at most 36, not infinity."""
    smallest = np.finfo(np.float64).eps
    return -np.log(np.clip(probabilities, smallest, 1 - smallest))
