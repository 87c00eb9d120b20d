"""Cutting a stratified, grouped share or fold from the images that are still free."""

import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from medcls.errors import MedclsError


def assign(
    rows: pd.DataFrame, free: np.ndarray, name: str, fraction: float, units: np.ndarray, seed: int
) -> np.ndarray:
    """Name a share of the free rows in the column `split`, and say which, bool `(n,)`.

    A unit of more images than the share stays free, to be trained on, and the share is taken of the others: one
    patient's images alone are no test. Where all units of a class are so large, or the others together do not hold as
    many images as the share, they are cut like any other.

    Parameters
    ----------
    rows : DataFrame
        A manifest's; the column `split` is changed in place.
    free : ndarray
        Rows that may still be cut, bool `(n,)`.
    name : str
        The split.
    fraction : float
        Share of the free rows wanted.
    units : ndarray
        What must stay together, int64 `(n,)`; see `medcls.data.splits.split.together`.
    seed : int
        Of scikit-learn's splitter.

    Raises
    ------
    MedclsError
        A class has fewer than two independent images left.
    """
    small = free & ~_larger_than(fraction * free.sum(), free, units)
    enough = small.sum() >= fraction * free.sum() and _smallest_class(rows, small, units)[0] >= 2
    enough &= set(rows.loc[small, "label"]) == set(rows.loc[free, "label"])
    chosen = choose(rows, small if enough else free, fraction, units, seed, name)
    rows.loc[chosen, "split"] = name
    return chosen


def assign_fold(
    rows: pd.DataFrame, free: np.ndarray, name: str, folds: int, fold: int, units: np.ndarray, seed: int
) -> np.ndarray:
    """Name one fold, from 0, of the free rows in the column `split`, and say which, bool `(n,)`; see `assign`.

    Raises
    ------
    MedclsError
        A class has fewer independent images than there are folds.
    """
    _check_enough(rows, free, folds, units)
    chosen = np.zeros(len(rows), dtype=bool)
    chosen[np.flatnonzero(free)[_folds(rows, free, folds, units, seed) == fold]] = True
    rows.loc[chosen, "split"] = name
    return chosen


def fold_numbers(rows: pd.DataFrame, free: np.ndarray, folds: int, units: np.ndarray, seed: int) -> np.ndarray:
    """The fold, from 0, of each free row, int64: those that `assign_fold` names one by one.

    Raises
    ------
    MedclsError
        A class has fewer independent images than there are folds.
    """
    _check_enough(rows, free, folds, units)
    return _folds(rows, free, folds, units, seed)


def _check_enough(rows: pd.DataFrame, free: np.ndarray, folds: int, units: np.ndarray) -> None:
    smallest, label = _smallest_class(rows, free, units)
    if smallest < folds:
        raise MedclsError(
            f"data.folds={folds} needs {folds} independent images (or groups) of each class; {label!r} has {smallest} "
            "left to cut them from. Copies of one picture and images of one patient count once. Take fewer folds, or "
            "merge classes with data.label_map.",
            kind="too_few_images",
        )


def choose(
    rows: pd.DataFrame, free: np.ndarray, fraction: float, units: np.ndarray, seed: int, name: str
) -> np.ndarray:
    """A stratified, grouped share of the free rows: some of n folds, n as fine as the smallest class allows.

    Returns
    -------
    ndarray
        bool `(n,)`: which rows were chosen; nothing is named yet. See `assign`.

    Raises
    ------
    MedclsError
        A class has fewer than two independent images left.
    """
    smallest, label = _smallest_class(rows, free, units)
    if smallest < 2:
        raise MedclsError(
            f"Class {label!r} has {smallest} independent image(s) (or groups) left to cut the {name} split from: it "
            "needs at least 2. Copies of one picture and images of one patient count once. Add images, leave the class "
            "out, or merge it with another with data.label_map.",
            kind="too_few_images",
        )
    share = Fraction(fraction).limit_denominator(100)
    if 2 <= share.denominator <= smallest and share.numerator > 0:
        folds, take = share.denominator, share.numerator
    else:
        folds = min(smallest, 100)
        take = min(max(1, round(fraction * folds)), folds - 1)
    chosen = np.zeros(len(rows), dtype=bool)
    chosen[np.flatnonzero(free)[_folds(rows, free, folds, units, seed) < take]] = True
    return chosen


def _larger_than(images: float, free: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Which rows are of a unit with more free images than so many, bool `(n,)`."""
    sizes = np.bincount(units[free], minlength=int(units.max()) + 1)
    larger: np.ndarray = sizes[units] > images
    return larger


def _smallest_class(rows: pd.DataFrame, free: np.ndarray, units: np.ndarray) -> tuple[int, str]:
    counts = pd.Series(units[free]).groupby(rows.loc[free, "label"].to_numpy()).nunique()
    return int(counts.min()), str(counts.idxmin())


def _folds(rows: pd.DataFrame, free: np.ndarray, folds: int, units: np.ndarray, seed: int) -> np.ndarray:
    """The fold of each free row, int64."""
    labels, groups = rows.loc[free, "label"].to_numpy(), units[free]
    number = np.zeros(len(labels), dtype=np.int64)
    # The grouped splitter weighs each group against each fold, in Python: needless where every image is its own.
    alone = len(np.unique(groups)) == len(groups)
    splitter = (StratifiedKFold if alone else StratifiedGroupKFold)(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # It counts a class's images, we count its groups, and have made sure there are enough.
        warnings.filterwarnings("ignore", message="The least populated class")
        for index, (_, held) in enumerate(splitter.split(np.zeros(len(labels)), labels, None if alone else groups)):
            number[held] = index
    return number
