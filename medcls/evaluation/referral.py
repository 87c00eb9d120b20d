"""Saying "I don't know": label sets that hold the truth at a stated rate, and what referring the least sure brings."""

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcls.errors import MedclsError
from medcls.evaluation.predictions import Predictions, check_fitted_with, check_may_fit
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.metrics import UNFITTED_THRESHOLD, predicted_classes
from medcls.statistics.resampling import any_repeated, group_numbers


@dataclasses.dataclass(frozen=True)
class ConformalSets:
    """A rule that gives each image a set of labels, and where it comes from.

    A set holds every class whose probability is at least `least`. A set of one label is an answer. One of several
    says that the image could be any of these; an empty one that it is none of them for sure: both are "I don't
    know". Empty sets are allowed on purpose: giving them the most probable label would make the least certain images
    look like the surest.

    Parameters
    ----------
    coverage : float
        The share of sets that hold the true label, at least and on average over draws of the fitted rows, of new
        images that come as these rows did.
    least : float
        0 where there were too few rows for the coverage: every set then holds every class.
    split, checkpoint : str
        The rows it was fitted on, and the weights behind them.
    n : int
        Rows that were used: one of each group.
    warnings : tuple of str
        What makes the coverage weaker than it looks, in sentences.
    """

    coverage: float
    least: float
    split: str
    checkpoint: str
    n: int
    warnings: tuple[str, ...] = ()

    def sets(self, table: Predictions) -> NDArray[np.bool_]:
        """Which labels each row's set holds: `(n, K)`, in the order of the classes.

        Raises
        ------
        MedclsError
            The table is of another checkpoint.
        """
        check_fitted_with(table, self.checkpoint, "conformal rule")
        return table.probabilities() >= self.least

    def to_plain(self) -> dict[str, Any]:
        """For the checkpoint: numbers, strings and a list."""
        return dataclasses.asdict(self) | {"warnings": list(self.warnings)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "ConformalSets":
        """Read back what `to_plain` gave."""
        return cls(**(plain | {"warnings": tuple(plain["warnings"])}))


@dataclasses.dataclass(frozen=True)
class SetCounts:
    """What the sets of a table say, in rows.

    Parameters
    ----------
    n, covered : int
        All rows, and those whose set holds the true label.
    single, single_right : int
        Sets of one label, and those among them that hold the true one.
    several, empty : int
        The two ways not to know.
    by_class : dict of str to (int, int)
        For each true class its covered rows and all its rows: the coverage is promised over all classes together,
        and a rare one may get less.
    """

    n: int
    covered: int
    single: int
    single_right: int
    several: int
    empty: int
    by_class: dict[str, tuple[int, int]]


def fit_conformal_sets(val: Predictions, coverage: float = 0.9, *, seed: int = 0) -> ConformalSets:
    """Find how improbable a label may be and still belong to a set, so that sets hold the truth at a stated rate.

    Split-conformal sets with the threshold score (LAC: least ambiguous set-valued classifier, Sadinle, Lei and
    Wasserman 2019). The score of a row is 1 - p(true label); the rule is its quantile at
    `ceil((n + 1) * coverage) / n`: Angelopoulos and Bates 2021, "A Gentle Introduction to Conformal Prediction and
    Distribution-Free Uncertainty Quantification", section 1. With it the coverage of new images lies between
    `coverage` and `coverage + 1 / (n + 1)` (the latter without ties), averaged over draws of the n rows.

    Where a group has several rows these are not exchangeable with a new group's, so one row of each is drawn by
    chance, and n is the number of groups: "subsampling once" in Dunn, Wasserman and Ramdas 2022, "Distribution-Free
    Prediction Sets for Two-Layer Hierarchical Models". The promise is then for an image of a new group.

    Parameters
    ----------
    val : Predictions
        With the probabilities that the rule will be held against: calibrated ones, where there is a calibration.
        The promise needs rows that selected nothing, and rows that came as the new images will.
    coverage : float
        Above 0 and below 1.
    seed : int
        For the draw of one row a group.

    Raises
    ------
    MedclsError
        The test split, no rows, or a coverage that is none.
    """
    if not 0 < coverage < 1:
        raise MedclsError(
            f"The coverage of the label sets is {coverage}: give a share between 0 and 1, as 0.9.", kind="bad_value"
        )
    warnings = check_may_fit(val, "a conformal rule")
    of_truth = val.probabilities()[np.arange(len(val)), val.labels()]
    groups = group_numbers(val.clusters, len(val))
    if any_repeated(groups):
        mixed = np.random.default_rng(seed).permutation(len(val))
        of_truth = of_truth[mixed[np.unique(groups[mixed], return_index=True)[1]]]
    n = len(of_truth)
    # In whole fractions: 0.55 * 100 is a little more than 55 in floating point.
    rank = math.ceil(Fraction(repr(float(coverage))) * (n + 1))
    if rank > n:
        warnings += (
            f"{n} independent rows are too few to promise a coverage of {coverage:g}: that takes "
            f"{_fewest_rows(coverage)}. Every set holds every class.",
        )
        least = 0.0
    else:  # the rank-th smallest score is the rank-th largest probability
        least = float(np.sort(of_truth)[n - rank])
    return ConformalSets(float(coverage), least, val.split, val.checkpoint, n, warnings)


def _fewest_rows(coverage: float) -> int:
    """The least n with `ceil((n + 1) * coverage) <= n`."""
    share = Fraction(repr(float(coverage)))
    return math.ceil(share / (1 - share))


def count_sets(table: Predictions, sets: NDArray[np.bool_]) -> SetCounts:
    """Count what the sets `(n, K)` of a table's rows say."""
    labels = table.labels()
    held, size = sets[np.arange(len(labels)), labels], sets.sum(axis=1)
    return SetCounts(
        n=len(labels),
        covered=int(held.sum()),
        single=int((size == 1).sum()),
        single_right=int((held & (size == 1)).sum()),
        several=int((size > 1).sum()),
        empty=int((size == 0).sum()),
        by_class={
            name: (int(held[labels == k].sum()), int((labels == k).sum())) for k, name in enumerate(table.classes)
        },
    )


def rejection_curve(table: Predictions, threshold: float | None = None) -> pd.DataFrame:
    """How the rows that are kept fare, as more and more of the least sure are referred to a person.

    Geifman and El-Yaniv 2017, "Selective Classification for Deep Neural Networks". In a binary task a row is the
    less sure the nearer its probability lies to the threshold; with more classes, the smaller its largest
    probability is. Rows that are equally sure are referred together, so there is one line for every degree that
    occurs; at least one row is kept.

    Parameters
    ----------
    table : Predictions
    threshold : float, optional
        Of the operating point; 0.5 where none was fitted. Only for a binary task.

    Returns
    -------
    DataFrame
        From nobody referred upwards: `referred` (rows), `share` (of all rows), `kept`, `right`, `accuracy`; in a
        binary task also `cases, hits, sensitivity` and `others, cleared, specificity` among the rows kept, NaN where
        no such row is left. Empty without rows.

    Raises
    ------
    MedclsError
        A threshold that is none, or one for more than two classes.
    """
    probabilities, labels = table.probabilities(), table.labels()
    predicted = predicted_classes(probabilities, table.classes, table.positive, threshold)
    right = (predicted == labels).astype(np.int64)
    if table.positive is None:
        sureness, index = probabilities.max(axis=1), None
    else:
        index = table.classes.index(table.positive)
        sureness = np.abs(probabilities[:, index] - (UNFITTED_THRESHOLD if threshold is None else threshold))
    order = np.argsort(sureness, kind="stable")
    first = np.flatnonzero(np.diff(sureness[order], prepend=-1.0) > 0)  # where each degree begins

    def kept(counted: Integers) -> Integers:
        """The sum over the rows that are left at each line."""
        return np.cumsum(counted[order][::-1])[::-1][first]

    n = len(labels)
    curve = pd.DataFrame({"referred": first, "share": first / max(n, 1), "kept": n - first, "right": kept(right)})
    curve["accuracy"] = curve["right"] / curve["kept"]
    if index is not None:
        case = (labels == index).astype(np.int64)
        curve["cases"], curve["hits"] = kept(case), kept(case * right)
        curve["sensitivity"] = _share(curve["hits"], curve["cases"])
        curve["others"], curve["cleared"] = kept(1 - case), kept((1 - case) * right)
        curve["specificity"] = _share(curve["cleared"], curve["others"])
    return curve


def _share(above: pd.Series, below: pd.Series) -> Floats:
    return above.to_numpy(np.float64) / below.where(below > 0).to_numpy(np.float64)
