"""Which image trains, which selects, which judges: fixed rows, disjoint by group and by content."""

import dataclasses
import warnings
from fractions import Fraction
from typing import Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from medcls.data.manifest import SCORED_SPLITS, SPLITS, Manifest
from medcls.errors import MedclsError

SEEDS = 2**32  # how many NumPy's older generator, which scikit-learn draws from, takes


def split(
    manifest: Manifest,
    *,
    seed: int = 0,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    train_fraction: float = 1.0,
    folds: int | None = None,
    fold: int | None = None,
    copies: Literal["drop_from_train", "error"] = "drop_from_train",
    pool_splits: bool = False,
) -> Manifest:
    """Put each image into one split; stratified, and never through a group or between two copies.

    Parameters
    ----------
    seed : int
        The same seed on the same images gives the same split, on any machine.
    val_fraction : float
        Share of the images that are not test which selects the checkpoint; not used where the data
        came with a validation split.
    test_fraction : float
        Share of all images kept for test; not used where the data came with a test split, or with folds.
    train_fraction : float
        Share of the training images used, for learning curves; the rest becomes `unused`.
    folds, fold : int, optional
        Cross-validation: the number of folds, and which one (from 0) is set aside. Without a test
        split of its own the fold is `test`; with one it is `held_out`, and test stays as it came. A
        validation split that came with the data is cut anew together with training.
    copies : str
        What happens to training images whose pixels also stand in a split that came with the data
        for selecting or judging: `drop_from_train` leaves them out and says how many; `error` stops.
    pool_splits : bool
        Throw a test split that came with the data together with the rest and cut anew. Every figure
        is then stamped.

    Returns
    -------
    Manifest
        With the column `split` filled with one of `train`, `val`, `test`, `held_out`, `unused`,
        `left_out`, and asserted disjoint.

    Raises
    ------
    MedclsError
        A fraction or fold that makes no sense, or a class too small to stand in every split.
    """
    _check_settings(val_fraction, test_fraction, train_fraction, folds, fold, copies)
    rows, notes, stamps = manifest.rows.copy(), [], manifest.stamps
    given = set(rows["given_split"]) - {""}
    if pool_splits and given:
        notes.append(
            f"pooled the splits that came with the data ({', '.join(sorted(given))}) and cut them anew, as asked"
        )
        stamps = (*stamps, "POOLED: the test split that came with the data was cut anew")
        given = set()
        rows["split"] = ""
    else:
        rows["split"] = rows["given_split"]
        if folds is not None and "val" in given:
            rows.loc[rows["split"] == "val", "split"] = "train"
            notes.append(
                "the validation split that came with the data is cut anew, together with training (data.folds)"
            )
        notes += _leave_out_copies(rows, copies)
    units = together(rows)
    # What may still be cut: all of it, or the training part that the data came with.
    free = (rows["split"] == ("train" if given else "")).to_numpy()
    if folds is None:
        if "test" not in given:
            free = free & ~_assign(rows, free, "test", test_fraction, units, seed % SEEDS)
    else:
        aside = "held_out" if "test" in given else "test"
        free = free & ~_assign_fold(rows, free, aside, folds, fold or 0, units, seed % SEEDS)
    if "val" not in given or folds is not None:
        free = free & ~_assign(rows, free, "val", val_fraction, units, (seed + 1) % SEEDS)
    rows.loc[free, "split"] = "train"
    if train_fraction < 1:
        keep = _choose(rows, free, train_fraction, units, (seed + 2) % SEEDS, "train")
        rows.loc[free & ~keep, "split"] = "unused"
        notes.append(f"training on {int(keep.sum())} of {int(free.sum())} training images (data.train_fraction)")
    if not rows["group"].astype(bool).any():
        notes.append(
            "no grouping key: each image stands for itself. Where patients have several images, name the patient with "
            "data.group_pattern, or the figures will be too good"
        )
    elif (lone := int((rows["group"] == "").sum())) > 0:
        notes.append(f"{lone} image(s) have no group: each stands for itself")
    result = manifest.with_rows(rows, *notes)
    result = dataclasses.replace(result, stamps=stamps)
    check_splits(result)
    return result


def together(rows: pd.DataFrame) -> np.ndarray:
    """Number the sets of images that must fall on one side: the same group, or the same pixels.

    Returns
    -------
    ndarray
        int64 `(n,)`: connected components over shared groups and shared content.
    """
    n = len(rows)
    own = "image " + rows["path"]
    group = np.unique(("group " + rows["group"]).where(rows["group"] != "", own), return_inverse=True)[1]
    content = np.unique(rows["content"].where(rows["content"] != "", own), return_inverse=True)[1]
    # A graph of images, groups and contents: whatever hangs together has one component.
    image = np.arange(n)
    ends = np.concatenate([n + group, n + group.max() + 1 + content])
    size = int(ends.max()) + 1
    graph = coo_array((np.ones(2 * n, dtype=bool), (np.tile(image, 2), ends)), shape=(size, size))
    return connected_components(graph, directed=False)[1][:n].astype(np.int64)


def split_table(manifest: Manifest) -> pd.DataFrame:
    """Count by split: images, groups, each class, and each class's share of the split.

    Returns
    -------
    DataFrame
        One row a split that has images; columns `split`, `images`, `groups` (images without a group
        count as one each), and for each class `<class>: images` and `<class>: share` (0 to 1): a
        class may itself be called `images`.
    """
    rows = manifest.rows
    table = []
    for name in SPLITS:
        part = rows[rows["split"] == name]
        if part.empty:
            continue
        counts = {label: int((part["label"] == label).sum()) for label in manifest.classes}
        groups = part.loc[part["group"] != "", "group"].nunique() + int((part["group"] == "").sum())
        by_class = {f"{label}: images": count for label, count in counts.items()}
        shares = {f"{label}: share": count / len(part) for label, count in counts.items()}
        table.append({"split": name, "images": len(part), "groups": groups, **by_class, **shares})
    return pd.DataFrame(table)


def check_splits(manifest: Manifest) -> None:
    """Hold the finished split against what it promises.

    Raises
    ------
    MedclsError
        A class missing from a split, a row in no split, or a group or a picture in two splits.
    """
    rows = manifest.rows
    strays = sorted(set(rows["split"]) - set(SPLITS))
    if strays:
        raise MedclsError(f"The manifest has rows in unknown splits {strays}: known are {', '.join(SPLITS)}.")
    scored = rows[rows["split"].isin(SCORED_SPLITS)]
    for name in ("train", "val", "test"):
        missing = [
            label for label in manifest.classes if not ((rows["split"] == name) & (rows["label"] == label)).any()
        ]
        if missing:
            raise MedclsError(
                f"The {name} split has no image of {', '.join(map(repr, missing))}. Give it one, or change "
                "data.val_fraction, data.test_fraction or seed."
            )
    by_content = scored.groupby("content")["split"].nunique()
    # A copy within the splits that came with the data (val against test) is dealt with before; here it is a fault.
    if (by_content > 1).any():
        shared = scored[scored["content"] == by_content.idxmax()]
        raise MedclsError(
            f"The same picture stands in two splits: {', '.join(shared['path'] + ' (' + shared['split'] + ')')}."
        )
    grouped = scored[scored["group"] != ""]
    by_group = grouped.groupby("group")["split"].nunique()
    if (by_group > 1).any():
        names = list(by_group.index[by_group > 1])
        raise MedclsError(
            f"{len(names)} group(s) stand in more than one split, such as {names[0]!r}: the splits that came with the "
            "data part the images of one patient. Check data.group_pattern; to cut the data anew, "
            "data.pool_splits=true."
        )


def _check_settings(
    val_fraction: float, test_fraction: float, train_fraction: float, folds: int | None, fold: int | None, copies: str
) -> None:
    shares = {"val_fraction": val_fraction, "test_fraction": test_fraction, "train_fraction": train_fraction}
    for name, value in shares.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise MedclsError(f"data.{name} is {value!r}: give a number.")
    for name, count in (("folds", folds), ("fold", fold)):
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise MedclsError(f"data.{name} is {count!r}: give a whole number, or null.")
    for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 < value < 1:
            raise MedclsError(f"data.{name} is {value}: give a share above 0 and below 1, such as 0.2.")
    if not 0 < train_fraction <= 1:
        raise MedclsError(f"data.train_fraction is {train_fraction}: give a share above 0, at most 1.")
    if copies not in ("drop_from_train", "error"):
        raise MedclsError(f"data.copies is {copies!r}: choose drop_from_train or error.")
    if folds is None:
        if fold is not None:
            raise MedclsError(f"data.fold is {fold} but data.folds is not set: say how many folds there are.")
    elif folds < 2:
        raise MedclsError(f"data.folds is {folds}: cross-validation needs at least 2.")
    elif fold is None:
        raise MedclsError(f"data.folds is {folds} but data.fold is not set: say which one, 0 to {folds - 1}.")
    elif not 0 <= fold < folds:
        raise MedclsError(f"data.fold is {fold}: with data.folds={folds} it runs from 0 to {folds - 1}.")


def _leave_out_copies(rows: pd.DataFrame, copies: str) -> list[str]:
    """Take out of the given splits what a later one also holds; test outranks val, val outranks train."""
    notes = []
    for keeper, losers in (("test", ("train", "val")), ("val", ("train",))):
        kept = set(rows.loc[rows["split"] == keeper, "content"])
        twins = rows["content"].isin(kept) & rows["split"].isin(losers)
        if not twins.any():
            continue
        judged = int(rows["content"].isin(set(rows.loc[twins, "content"]))[rows["split"] == keeper].sum())
        found = (
            f"{judged} of {int((rows['split'] == keeper).sum())} {keeper} images are pixel-identical to "
            f"{int(twins.sum())} image(s) of {' and '.join(sorted(set(rows.loc[twins, 'split'])))}"
        )
        if copies == "error":
            raise MedclsError(
                f"{found}, such as {rows.loc[twins, 'path'].iloc[0]}. With data.copies=drop_from_train they are left "
                "out of training."
            )
        rows.loc[twins, "split"] = "left_out"
        notes.append(f"{found}: the latter are left out (data.copies=drop_from_train)")
    return notes


def _assign(
    rows: pd.DataFrame, free: np.ndarray, name: str, fraction: float, units: np.ndarray, seed: int
) -> np.ndarray:
    chosen = _choose(rows, free, fraction, units, seed, name)
    rows.loc[chosen, "split"] = name
    return chosen


def _assign_fold(
    rows: pd.DataFrame, free: np.ndarray, name: str, folds: int, fold: int, units: np.ndarray, seed: int
) -> np.ndarray:
    smallest, label = _smallest_class(rows, free, units)
    if smallest < folds:
        raise MedclsError(
            f"data.folds={folds} needs {folds} independent images (or groups) of each class; {label!r} has {smallest}."
        )
    chosen = np.zeros(len(rows), dtype=bool)
    chosen[np.flatnonzero(free)[_folds(rows, free, folds, units, seed) == fold]] = True
    rows.loc[chosen, "split"] = name
    return chosen


def _choose(
    rows: pd.DataFrame, free: np.ndarray, fraction: float, units: np.ndarray, seed: int, name: str
) -> np.ndarray:
    """A stratified, grouped share of the free rows: some of n folds, n as fine as the smallest class allows."""
    smallest, label = _smallest_class(rows, free, units)
    if smallest < 2:
        raise MedclsError(
            f"Class {label!r} has {smallest} independent image(s) (or groups) left to cut the {name} split from: it "
            "needs at least 2. Copies of one picture and images of one patient count once."
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
