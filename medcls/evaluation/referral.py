"""Conformal label sets with a stated coverage, and the rejection curve of referring the least certain images."""

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
    """A rule that gives each image a set of labels, and its origin.

    A set holds every class whose probability is at least `least`. A set of one label is an answer; several labels, or
    none, mean "I don't know". Empty sets are kept: adding the most probable label would make the least certain images
    look like the most certain ones.

    Parameters
    ----------
    coverage : float
        The least share of sets that hold the true label, on average over draws of the fitted rows, for new images from
        the same distribution.
    least : float
        0 with too few rows for the coverage: every set then holds every class.
    split, checkpoint : str
        What it was fitted on.
    n : int
        Rows used: one of each group.
    warnings : tuple of str
        Caveats about the coverage, in sentences.
    """

    coverage: float
    least: float
    split: str
    checkpoint: str
    n: int
    warnings: tuple[str, ...] = ()

    def sets(self, table: Predictions) -> NDArray[np.bool_]:
        """Return which labels each row's set holds: `(n, K)`, in the order of the classes.

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
        """Reverse `to_plain`."""
        return cls(**(plain | {"warnings": tuple(plain["warnings"])}))


@dataclasses.dataclass(frozen=True)
class SetCounts:
    """Counts of the sets of a table.

    Parameters
    ----------
    n, covered : int
        All rows, and those whose set holds the true label.
    single, single_right : int
        Sets of one label, and those of the true one.
    several, empty : int
        Sets of several labels, and of none.
    by_class : dict of str to (int, int)
        For each true class its covered rows and all its rows. The coverage holds over all classes together, and may be
        lower for a rare one.
    """

    n: int
    covered: int
    single: int
    single_right: int
    several: int
    empty: int
    by_class: dict[str, tuple[int, int]]


def fit_conformal_sets(val: Predictions, coverage: float = 0.9, *, seed: int = 0) -> ConformalSets:
    """Fit the least probability of a label in a set, so that sets hold the true label at a stated rate.

    Split-conformal sets with the threshold score (LAC: least ambiguous set-valued classifier, Sadinle, Lei and
    Wasserman 2019). The score of a row is 1 - p(true label); the rule is its quantile at
    `ceil((n + 1) * coverage) / n`: Angelopoulos and Bates 2021, "A Gentle Introduction to Conformal Prediction and
    Distribution-Free Uncertainty Quantification", section 1. With it the coverage of new images lies between
    `coverage` and `coverage + 1 / (n + 1)` (the latter without ties), averaged over draws of the n rows.

    Several rows of a group are not exchangeable with a new group's, so one row of each is drawn at random, and n is the
    number of groups: "subsampling once" in Dunn, Wasserman and Ramdas 2022, "Distribution-Free Prediction Sets for
    Two-Layer Hierarchical Models". The coverage is then that of an image of a new group.

    Parameters
    ----------
    val : Predictions
        With calibrated probabilities, if there is a calibration. The coverage needs rows that selected nothing, from
        the distribution of the new images.
    coverage : float
        Above 0 and below 1.
    seed : int
        For drawing one row a group.

    Raises
    ------
    MedclsError
        The test split, no rows, or an invalid coverage.
    """
    if not 0 < coverage < 1:
        raise MedclsError(
            f"The coverage of the label sets is {coverage}: give a share between 0 and 1, as 0.9.", kind="bad_value"
        )
    warnings = check_may_fit(val, "a conformal rule")
    of_label = val.probabilities()[np.arange(len(val)), val.labels()][one_row_a_group(val, seed)]
    n = len(of_label)
    # Fractions, because 0.55 * 100 is a little more than 55 in floating point.
    rank = math.ceil(Fraction(repr(float(coverage))) * (n + 1))
    if rank > n:
        warnings += (
            f"{n} independent rows are too few for a coverage of {coverage:g}: that takes "
            f"{_fewest_rows(coverage)}. Every set holds every class.",
        )
        least = 0.0
    else:  # the rank-th smallest score is the rank-th largest probability
        least = float(np.sort(of_label)[n - rank])
    return ConformalSets(float(coverage), least, val.split, val.checkpoint, n, warnings)


def one_row_a_group(table: Predictions, seed: int) -> Integers:
    """Draw one row of each cluster of dependent rows; all rows if they are independent."""
    groups = group_numbers(table.clusters, len(table))
    if not any_repeated(groups):
        return np.arange(len(table))
    mixed = np.random.default_rng(seed).permutation(len(table))
    drawn: Integers = mixed[np.unique(groups[mixed], return_index=True)[1]]
    return drawn


def _fewest_rows(coverage: float) -> int:
    """The least n with `ceil((n + 1) * coverage) <= n`."""
    share = Fraction(repr(float(coverage)))
    return math.ceil(share / (1 - share))


def count_sets(table: Predictions, sets: NDArray[np.bool_]) -> SetCounts:
    """Count the sets `(n, K)` of a table's rows."""
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
    """Metrics of the rows that are kept while the least certain ones are referred to a person.

    Geifman and El-Yaniv 2017, "Selective Classification for Deep Neural Networks". The certainty of a row is the
    distance of its probability from the threshold, or with more classes its largest probability. Rows of equal
    certainty are referred together, so there is one line for each distinct certainty; at least one row is kept.

    Parameters
    ----------
    table : Predictions
    threshold : float, optional
        Of the operating point; 0.5 without one. Only for a binary task.

    Returns
    -------
    DataFrame
        By the number referred, from 0: `referred` (rows), `share` (of all rows), `kept`, `right`, `accuracy`; in a
        binary task also `cases, hits, sensitivity` and `others, cleared, specificity` among the rows kept, NaN if no
        such row is left. Empty without rows.

    Raises
    ------
    MedclsError
        An invalid threshold, or one for more than two classes.
    """
    probabilities, labels = table.probabilities(), table.labels()
    predicted = predicted_classes(probabilities, table.classes, table.positive, threshold)
    right = (predicted == labels).astype(np.int64)
    if table.positive is None:
        certainty, index = probabilities.max(axis=1), None
    else:
        index = table.classes.index(table.positive)
        certainty = np.abs(probabilities[:, index] - (UNFITTED_THRESHOLD if threshold is None else threshold))
    order = np.argsort(certainty, kind="stable")
    first = np.flatnonzero(np.diff(certainty[order], prepend=-1.0) > 0)  # where each certainty begins

    def kept(values: Integers) -> Integers:
        """Sum over the rows that are left at each line."""
        return np.cumsum(values[order][::-1])[::-1][first]

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
    shares: Floats = above.to_numpy(np.float64) / below.where(below > 0).to_numpy(np.float64)
    return shares
