"""Drawing a stratified, grouped share or fold from the images that are still free."""

import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from medcls.errors import MedclsError


def assign(
    rows: pd.DataFrame, free: np.ndarray, name: str, fraction: float, clusters: np.ndarray, seed: int
) -> np.ndarray:
    """Set the column `split` of a share of the free rows, and return which, bool `(n,)`.

    Clusters of more images than the share stay free, for training: a test split of one patient's images would be
    useless. If all clusters of a class are so large, or the others hold fewer images than the share, they are drawn
    like any other.

    Parameters
    ----------
    rows : DataFrame
        Of a manifest; the column `split` is changed in place.
    free : ndarray
        Rows without a split so far, bool `(n,)`.
    name : str
        The split.
    fraction : float
        Of the free rows.
    clusters : ndarray
        int64 `(n,)`, see `medcls.data.splits.split.cluster_numbers`.
    seed : int
        Of scikit-learn's splitter.
    """
    small = free & ~_larger_than(fraction * free.sum(), free, clusters)
    enough = small.sum() >= fraction * free.sum() and _smallest_class(rows, small, clusters)[0] >= 2
    enough &= set(rows.loc[small, "label"]) == set(rows.loc[free, "label"])
    chosen = choose(rows, small if enough else free, fraction, clusters, seed, name)
    rows.loc[chosen, "split"] = name
    return chosen


def assign_fold(
    rows: pd.DataFrame, free: np.ndarray, name: str, fold: tuple[int, int], clusters: np.ndarray, seed: int
) -> np.ndarray:
    """Set the column `split` of one fold (its number from 0, how many) of the free rows; see `assign`."""
    number, folds = fold
    chosen = np.zeros(len(rows), dtype=bool)
    chosen[np.flatnonzero(free)[fold_numbers(rows, free, folds, clusters, seed) == number]] = True
    rows.loc[chosen, "split"] = name
    return chosen


def fold_numbers(rows: pd.DataFrame, free: np.ndarray, folds: int, clusters: np.ndarray, seed: int) -> np.ndarray:
    """The fold, from 0, of each free row, int64; refuse more folds than a class has independent images."""
    smallest, label = _smallest_class(rows, free, clusters)
    if smallest < folds:
        raise MedclsError(
            f"data.folds={folds} needs {folds} independent images (or groups) of each class; {label!r} has {smallest} "
            "left. Duplicates and images of one patient count once. Use fewer folds, or merge classes with "
            "data.label_map.",
            kind="too_few_images",
        )
    return _folds(rows, free, folds, clusters, seed)


def choose(
    rows: pd.DataFrame, free: np.ndarray, fraction: float, clusters: np.ndarray, seed: int, name: str
) -> np.ndarray:
    """Draw a stratified, grouped share of the free rows, bool `(n,)`; the column `split` stays. See `assign`.

    The share is some of n folds, n as fine as the smallest class allows.
    """
    smallest, label = _smallest_class(rows, free, clusters)
    if smallest < 2:
        raise MedclsError(
            f"Class {label!r} has {smallest} independent image(s) (or groups) left for the {name} split, which needs "
            "at least 2. Duplicates and images of one patient count once. Add images, leave the class out, or merge it "
            "with another in data.label_map.",
            kind="too_few_images",
        )
    share = Fraction(fraction).limit_denominator(100)
    if 2 <= share.denominator <= smallest and share.numerator > 0:
        folds, take = share.denominator, share.numerator
    else:
        folds = min(smallest, 100)
        take = min(max(1, round(fraction * folds)), folds - 1)
    chosen = np.zeros(len(rows), dtype=bool)
    chosen[np.flatnonzero(free)[_folds(rows, free, folds, clusters, seed) < take]] = True
    return chosen


def _larger_than(images: float, free: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Rows of clusters with more free images than this, bool `(n,)`."""
    sizes = np.bincount(clusters[free], minlength=int(clusters.max()) + 1)
    larger: np.ndarray = sizes[clusters] > images
    return larger


def _smallest_class(rows: pd.DataFrame, free: np.ndarray, clusters: np.ndarray) -> tuple[int, str]:
    counts = pd.Series(clusters[free]).groupby(rows.loc[free, "label"].to_numpy()).nunique()
    return int(counts.min()), str(counts.idxmin())


def _folds(rows: pd.DataFrame, free: np.ndarray, folds: int, clusters: np.ndarray, seed: int) -> np.ndarray:
    """The fold of each free row, int64."""
    labels, groups = rows.loc[free, "label"].to_numpy(), clusters[free]
    number = np.zeros(len(labels), dtype=np.int64)
    # The grouped splitter compares each group with each fold, in Python: needless if every image is its own.
    alone = len(np.unique(groups)) == len(groups)
    splitter = (StratifiedKFold if alone else StratifiedGroupKFold)(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # It counts images of a class; that there are enough clusters has been checked.
        warnings.filterwarnings("ignore", message="The least populated class")
        for index, (_, held) in enumerate(splitter.split(np.zeros(len(labels)), labels, None if alone else groups)):
            number[held] = index
    return number
