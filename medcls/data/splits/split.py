"""Which images train, which select the checkpoint, which test: splits disjoint by group and by content."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medcls.data.manifest import KEPT_TOGETHER, SCORED_SPLITS, SPLITS, Manifest
from medcls.data.sources.grouping import group_notes
from medcls.data.splits.cutting import assign, assign_fold, choose
from medcls.data.splits.given_splits import free_val, leave_out_duplicates, lock_test, small_val
from medcls.data.splits.near_duplicates import near_duplicate_sets
from medcls.errors import MedclsError

REQUIRED = ("train", "val", "test")  # each must have images of every class
SEEDS = 2**32  # NumPy's older generator, which scikit-learn uses, takes seeds below this


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How images are divided into splits.

    Parameters
    ----------
    seed : int
        The same seed on the same images gives the same split, on any machine.
    val_fraction : float
        Share of the non-test images for selecting the checkpoint; ignored if the data came with a validation split.
    test_fraction : float
        Share of all images for test; ignored if the data came with a test split, and with folds.
    train_fraction : float
        Share of the training images used, for learning curves; the rest becomes `unused`.
    calibration_fraction : float, optional
        Share of the non-test images (of training, if the data came with a validation split) set aside as `calibration`,
        to fit temperature and thresholds; it selects nothing. It comes out of training: test keeps its images, val its
        size. With folds it is drawn before them, by the seed alone, and so is the same in all folds and new to every
        network.
    folds, fold : int, optional
        Cross-validation: the number of folds, and which one (from 0) is set aside. The fold is `test`; if the data came
        with a test split, it is `held_out`. A validation split that came with the data joins training.
    copies : str
        Training images that duplicate an image of a val or test split that came with the data: `drop_from_train` leaves
        them out and reports how many; `error` stops.
    pool_splits : bool
        Re-split all images, including a test split that came with the data. Every report then has a watermark.
    recut_val : bool
        Let a validation split that came with the data join training, and draw a new one.
    keep_near_copies_together : bool
        Treat near duplicates (see `near_pairs`) as duplicates: they fall in one split; of near duplicates in two splits
        that came with the data, those in training are left out.
    locked_test : path, optional
        An earlier run's `manifest.csv`: its test images, recognised by content, are this test split, together with a
        test split that came with the data. Images of the same groups are left out, the rest becomes train and val.

    Raises
    ------
    MedclsError
        A value that is invalid for any images; names the setting.
    """

    seed: int = 0
    val_fraction: float = 0.2
    test_fraction: float = 0.2
    train_fraction: float = 1.0
    calibration_fraction: float | None = None
    folds: int | None = None
    fold: int | None = None
    copies: Literal["drop_from_train", "error"] = "drop_from_train"
    pool_splits: bool = False
    recut_val: bool = False
    keep_near_copies_together: bool = False
    locked_test: str | Path | None = None

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("val_fraction", "test_fraction", "train_fraction")}
        if self.calibration_fraction is not None:
            shares["calibration_fraction"] = self.calibration_fraction
        for name, value in shares.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise MedclsError(f"data.{name} is {value!r}: give a number.", kind="bad_value")
            if name == "train_fraction" and not 0 < value <= 1:
                raise MedclsError(f"data.{name} is {value}: give a share above 0, at most 1.", kind="bad_value")
            if name != "train_fraction" and not 0 < value < 1:
                raise MedclsError(
                    f"data.{name} is {value}: give a share above 0 and below 1, such as 0.2.", kind="bad_value"
                )
        for name, count in (("folds", self.folds), ("fold", self.fold)):
            if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
                raise MedclsError(f"data.{name} is {count!r}: give a whole number, or null.", kind="bad_value")
        if self.copies not in ("drop_from_train", "error"):
            raise MedclsError(f"data.copies is {self.copies!r}: choose drop_from_train or error.", kind="bad_value")
        if self.folds is None:
            if self.fold is not None:
                raise MedclsError(
                    f"data.fold is {self.fold} but data.folds is not set: give the number of folds.",
                    kind="missing_setting",
                )
        elif self.folds < 2:
            raise MedclsError(f"data.folds is {self.folds}: cross-validation needs at least 2.", kind="bad_value")
        elif self.fold is None:
            raise MedclsError(
                f"data.folds is {self.folds} but data.fold is not set: give one of 0 to {self.folds - 1}.",
                kind="missing_setting",
            )
        elif not 0 <= self.fold < self.folds:
            raise MedclsError(
                f"data.fold is {self.fold}: with data.folds={self.folds} it runs from 0 to {self.folds - 1}.",
                kind="bad_value",
            )


def split(manifest: Manifest, settings: SplitSettings = SplitSettings()) -> Manifest:
    """Put each image into one split, stratified by class; groups and duplicates fall in one split.

    Returns
    -------
    Manifest
        With the column `split` set to one of `SPLITS`, checked to be disjoint; and with the column `kept_together`.

    Raises
    ------
    MedclsError
        A class too small to be in every split, an earlier run that cannot be followed, or near duplicates asked for of
        a manifest without a scan.
    """
    seed, folds = settings.seed, settings.folds
    calibration_fraction = settings.calibration_fraction
    val_joins = "data.folds" if folds is not None else "data.recut_val" if settings.recut_val else None
    rows, clusters, near, given, notes, watermarks = _as_given(manifest, settings, val_joins)
    if "val" in given:
        notes += small_val(rows, manifest.classes)
    # The rows to divide: all of them, or the training part that was given.
    free = (rows["split"] == ("train" if given else "")).to_numpy()
    sizes: dict[str, float] = {}  # images asked for, by split
    left = float(free.sum())
    if folds is None and "test" not in given:
        free = free & ~assign(rows, free, "test", settings.test_fraction, clusters, seed % SEEDS)
        left -= sizes.setdefault("test", settings.test_fraction * left)
    before_val = left
    if calibration_fraction is not None:
        # Before the folds, so that no network of a cross-validation has seen it.
        free = free & ~assign(rows, free, "calibration", calibration_fraction, clusters, (seed + 3) % SEEDS)
        left -= sizes.setdefault("calibration", calibration_fraction * left)
    if folds is not None:
        aside = "held_out" if "test" in given else "test"
        free = free & ~assign_fold(rows, free, aside, (settings.fold or 0, folds), clusters, seed % SEEDS)
        left -= sizes.setdefault(aside, left / folds)
        before_val = left / (1 - (calibration_fraction or 0))
    if "val" not in given:
        share = _val_share(settings.val_fraction, calibration_fraction or 0)
        free = free & ~assign(rows, free, "val", share, clusters, (seed + 1) % SEEDS)
        left -= sizes.setdefault("val", settings.val_fraction * before_val)
    sizes["train"] = left * settings.train_fraction
    rows.loc[free, "split"] = "train"
    if settings.train_fraction < 1:
        keep = choose(rows, free, settings.train_fraction, clusters, (seed + 2) % SEEDS, "train")
        rows.loc[free & ~keep, "split"] = "unused"
        notes.append(f"training on {int(keep.sum())} of {int(free.sum())} training images (data.train_fraction)")
    notes += group_notes(rows)
    result = manifest.with_rows(rows.assign(**{KEPT_TOGETHER: _kept_together(rows, clusters)}), *notes)
    # Splits that came with the data have no size that was asked for.
    in_play = int((rows["split"] != "left_out").sum())
    asked = {name: size / in_play for name, size in sizes.items()}
    result = dataclasses.replace(result, watermarks=watermarks, asked=asked)
    check_splits(result, near, REQUIRED if calibration_fraction is None else (*REQUIRED, "calibration"))
    return result


def set_test_apart(manifest: Manifest, settings: SplitSettings = SplitSettings()) -> Manifest:
    """Use a given test split, of the data or of an earlier run, as test, and all other images for training.

    For a cross-validation within training, whose folds select and test in turn. The settings of sizes and folds are
    ignored.
    """
    rows, clusters, near, _, notes, watermarks = _as_given(manifest, settings, "the folds select and test in turn")
    rows.loc[~rows["split"].isin(("test", "left_out")), "split"] = "train"
    rows = rows.assign(**{KEPT_TOGETHER: _kept_together(rows, clusters)})
    result = dataclasses.replace(manifest.with_rows(rows, *notes, *group_notes(rows)), watermarks=watermarks)
    check_splits(result, near, ("train", "test") if (rows["split"] == "test").any() else ("train",))
    return result


def _as_given(
    manifest: Manifest, settings: SplitSettings, val_joins: str | None
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray | None, set[str], list[str], tuple[str, ...]]:
    """The rows in their given splits, without leaks; a given val joins training if a reason is stated.

    Returns
    -------
    rows, clusters, near, given, notes, watermarks
        `given`: the splits that are not drawn.
    """
    rows, notes, watermarks = manifest.rows.drop(columns=KEPT_TOGETHER, errors="ignore"), [], manifest.watermarks
    near = near_duplicate_sets(rows, manifest.scan) if settings.keep_near_copies_together else None
    clusters = cluster_numbers(rows, near)
    if near is not None:
        notes += _near_note(near)
    given = set(rows["given_split"]) - {""}
    if settings.pool_splits and given:
        notes.append(f"pooled and re-split the splits that came with the data ({', '.join(sorted(given))})")
        watermarks = (*watermarks, "POOLED: the test split that came with the data was re-split")
        given = set()
    rows["split"] = rows["given_split"] if given else ""
    if "val" in given and val_joins is not None:
        notes += free_val(rows, val_joins)
        given = given - {"val"} | {"train"}
    if settings.locked_test is not None:
        notes += lock_test(rows, settings.locked_test, clusters)
        rows.loc[rows["split"] == "", "split"] = "train"
        given = given | {"train", "test"}
    notes += leave_out_duplicates(rows, settings.copies, near)
    return rows, clusters, near, given, notes, watermarks


def cluster_numbers(rows: pd.DataFrame, near: np.ndarray | None = None) -> np.ndarray:
    """Number the clusters of images that must fall in one split: the same group, duplicates, or near duplicates.

    Parameters
    ----------
    rows : DataFrame
        Of a manifest. Images that its splits kept together (the column `kept_together`) are one cluster too.
    near : ndarray, optional
        As `near_duplicate_sets` returns it; without it, near duplicates may be separated.

    Returns
    -------
    ndarray
        int64 `(n,)`: connected components over all that is shared.
    """
    n = len(rows)
    own = "image " + rows["path"]
    columns = [column for column in ("group", "content", KEPT_TOGETHER) if column in rows]
    # An empty cell is shared with no other row.
    sharing = [(f"{column} " + rows[column]).where(rows[column] != "", own) for column in columns]
    # A graph of images and of what they share.
    ends, size = [], n
    for shared in (*sharing, *(() if near is None else (pd.Series(near),))):
        numbers = pd.factorize(shared)[0]
        ends.append(size + numbers)
        size += int(numbers.max()) + 1
    image = np.tile(np.arange(n), len(ends))
    graph = coo_array((np.ones(len(image), dtype=bool), (image, np.concatenate(ends))), shape=(size, size))
    clusters: np.ndarray = connected_components(graph, directed=False)[1][:n].astype(np.int64)
    return clusters


def with_kept_together(manifest: Manifest, *, near_duplicates: bool) -> Manifest:
    """The same images, not split, with the column `kept_together` as `split` would fill it."""
    rows = manifest.rows.drop(columns=KEPT_TOGETHER, errors="ignore")
    clusters = cluster_numbers(rows, near_duplicate_sets(rows, manifest.scan) if near_duplicates else None)
    return manifest.with_rows(rows.assign(**{KEPT_TOGETHER: _kept_together(rows, clusters)}))


def _kept_together(rows: pd.DataFrame, clusters: np.ndarray) -> pd.Series:
    """Name each cluster of more than one group by its first path; empty for a cluster that is one group."""
    own = rows["group"].where(rows["group"] != "", rows["path"])
    parts = pd.DataFrame({"own": own, "lone": rows["group"] == "", "cluster": clusters})
    joins = parts.drop_duplicates()["cluster"].value_counts().gt(1)
    return rows["path"].groupby(clusters).transform("first").where(parts["cluster"].map(joins), "")


def split_table(manifest: Manifest) -> pd.DataFrame:
    """Count images, groups and classes of each split.

    Returns
    -------
    DataFrame
        One row for each split with images; columns `split`, `images`, `share` (of all images not left out), `asked`
        (the share asked for; missing for splits that came with the data), `groups` (images without a group count as one
        each), `without_group`, `independent` (clusters, see `cluster_numbers`), and for each class `<class>: images`
        and `<class>: share` (0 to 1), since a class may itself be named `images`.
    """
    rows = manifest.rows
    clusters, in_play = cluster_numbers(rows), max(1, int((rows["split"] != "left_out").sum()))
    table = []
    for name in SPLITS:
        here = (rows["split"] == name).to_numpy()
        part = rows[here]
        if part.empty:
            continue
        counts = {label: int((part["label"] == label).sum()) for label in manifest.classes}
        lone = int((part["group"] == "").sum())
        groups = part.loc[part["group"] != "", "group"].nunique() + lone
        by_class = {f"{label}: images": count for label, count in counts.items()}
        shares = {f"{label}: share": count / len(part) for label, count in counts.items()}
        sizes: dict[str, float] = {"images": len(part)}
        if manifest.asked:
            sizes |= {"share": len(part) / in_play if name != "left_out" else np.nan}
            sizes |= {"asked": manifest.asked.get(name, np.nan)}
        sizes |= {"groups": groups, "without_group": lone, "independent": len(np.unique(clusters[here]))}
        table.append({"split": name, **sizes, **by_class, **shares})
    return pd.DataFrame(table)


def check_splits(manifest: Manifest, near: np.ndarray | None = None, required: Sequence[str] = REQUIRED) -> None:
    """Check that the splits are disjoint, and that the `required` ones have images of every class.

    Near duplicates are checked if `near`, as `near_duplicate_sets` returns it, is given.
    """
    rows = manifest.rows
    strays = sorted(set(rows["split"]) - set(SPLITS))
    if strays:
        raise MedclsError(
            f"The manifest has rows in unknown splits {strays}: known are {', '.join(SPLITS)}.", kind="unknown_split"
        )
    scored = rows[rows["split"].isin(SCORED_SPLITS)]
    for name in required:
        missing = [
            label for label in manifest.classes if not ((rows["split"] == name) & (rows["label"] == label)).any()
        ]
        if missing:
            raise MedclsError(
                f"The {name} split has no image of {', '.join(map(repr, missing))}. {_remedy(rows, name, missing)}",
                kind="class_without_images",
            )
    known = scored[scored["content"] != ""]
    by_content = known.groupby("content")["split"].nunique()
    if (by_content > 1).any():
        shared = known[known["content"] == by_content.idxmax()]
        raise MedclsError(
            f"Duplicates are in two splits: {', '.join(shared['path'] + ' (' + shared['split'] + ')')}.",
            kind="duplicates_across_splits",
        )
    if near is not None:
        sets = pd.Series(near, index=rows.index)[scored.index]
        by_set = scored.groupby(sets)["split"].nunique()
        if (by_set > 1).any():
            alike = scored[sets == by_set.idxmax()]
            raise MedclsError(
                f"Near duplicates are in two splits: {', '.join(alike['path'] + ' (' + alike['split'] + ')')}.",
                kind="near_duplicates_across_splits",
            )
    grouped = scored[scored["group"] != ""]
    by_group = grouped.groupby("group")["split"].nunique()
    if (by_group > 1).any():
        names = list(by_group.index[by_group > 1])
        raise MedclsError(
            f"{len(names)} group(s) are in more than one split, such as {names[0]!r}: the splits that came with the "
            "data separate images of one patient. Check data.group_pattern, or re-split with data.pool_splits=true.",
            kind="group_across_splits",
        )


def _remedy(rows: pd.DataFrame, name: str, missing: Sequence[str]) -> str:
    """How to give a split images of the classes that it lacks."""
    came = rows.loc[rows["split"] == name, "given_split"]
    if not (rows["given_split"] == name).any() or not (came == name).all():
        return "Give it one, or change data.val_fraction, data.test_fraction, data.calibration_fraction or seed."
    recut = "; data.recut_val=true re-splits train and val" if name == "val" else ""
    return (
        "It came with the data, so that no fraction or seed can change it (did data.exclude or data.exclude_file leave "
        f"the last one out?). Merge {' and '.join(map(repr, missing))} with another class in data.label_map, or leave "
        "it out of the map with data.leave_out_unmapped=true; data.pool_splits=true re-splits all images, which every "
        f"report then states{recut}."
    )


def _val_share(val_fraction: float, calibration_fraction: float) -> float:
    """The share of what calibration leaves that makes val as large as without calibration."""
    if val_fraction + calibration_fraction >= 1:
        raise MedclsError(
            f"data.val_fraction={val_fraction} and data.calibration_fraction={calibration_fraction} leave nothing to "
            "train on: both are shares of the images that are not test, and must add up to less than 1.",
            kind="bad_value",
        )
    return val_fraction / (1 - calibration_fraction)


def _near_note(near: np.ndarray) -> list[str]:
    sizes = np.unique(near, return_counts=True)[1]
    if not (sizes > 1).any():
        return []
    return [
        f"near duplicates fall in one split: {int((sizes > 1).sum())} sets of {int(sizes[sizes > 1].sum())} duplicates "
        "and near duplicates (data.keep_near_copies_together)"
    ]
