"""Which image trains, which selects, which judges: fixed rows, disjoint by group and by content."""

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
from medcls.data.splits.near_duplicates import near_sets
from medcls.errors import MedclsError

# Each must hold images of every class.
REQUIRED = ("train", "val", "test")
SEEDS = 2**32  # how many NumPy's older generator, which scikit-learn draws from, takes


def split(
    manifest: Manifest,
    *,
    seed: int = 0,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    train_fraction: float = 1.0,
    calibration_fraction: float | None = None,
    folds: int | None = None,
    fold: int | None = None,
    copies: Literal["drop_from_train", "error"] = "drop_from_train",
    pool_splits: bool = False,
    recut_val: bool = False,
    keep_near_copies_together: bool = False,
    locked_test: str | Path | None = None,
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
    calibration_fraction : float, optional
        Share of the images that are not test (of training, where a validation split that came with the data stays)
        set aside as `calibration`, on which temperature and thresholds are fitted: it selects nothing. Training pays
        for it: test keeps its images, and val its size. With folds it is cut before them, from all that did not come
        as test, by the seed alone: so it is the same in all folds, and new to each one's network.
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
    recut_val : bool
        Let a validation split that came with the data join training, and cut val anew, grouped.
    keep_near_copies_together : bool
        Images that look almost the same (see `near_pairs`) fall on one side, as exact copies do; of those that stand
        in two splits that came with the data, the ones in training are left out.
    locked_test : path, optional
        A former run's `manifest.csv`: what was test there is test here, known again by its content, and nothing else
        becomes test but what came as test; images of the same groups are left out, and the rest is cut into train
        and val.

    Returns
    -------
    Manifest
        With the column `split` filled with one of `train`, `val`, `calibration`, `test`, `held_out`,
        `unused`, `left_out`, and asserted disjoint; and with the column `kept_together`.

    Raises
    ------
    MedclsError
        A fraction or fold that makes no sense, a class too small to stand in every split, a former run that cannot
        be followed, or near copies asked for of a manifest that was not made by reading images.
    """
    check_split_settings(val_fraction, test_fraction, train_fraction, calibration_fraction, folds, fold, copies)
    free_val_by = "data.folds" if folds is not None else "data.recut_val" if recut_val else None
    rows, units, near, given, notes, watermarks = _as_given(
        manifest, free_val_by, copies, pool_splits, keep_near_copies_together, locked_test
    )
    if "val" in given:
        notes += small_val(rows, manifest.classes)
    # What may still be cut: all of it, or the training part that was given.
    free = (rows["split"] == ("train" if given else "")).to_numpy()
    wanted: dict[str, float] = {}  # images, by split
    left = float(free.sum())
    if folds is None and "test" not in given:
        free = free & ~assign(rows, free, "test", test_fraction, units, seed % SEEDS)
        left -= wanted.setdefault("test", test_fraction * left)
    before_val = left
    if calibration_fraction is not None:
        # Before the folds, so that no network of a cross-validation has seen it.
        free = free & ~assign(rows, free, "calibration", calibration_fraction, units, (seed + 3) % SEEDS)
        left -= wanted.setdefault("calibration", calibration_fraction * left)
    if folds is not None:
        aside = "held_out" if "test" in given else "test"
        free = free & ~assign_fold(rows, free, aside, folds, fold or 0, units, seed % SEEDS)
        left -= wanted.setdefault(aside, left / folds)
        before_val = left / (1 - (calibration_fraction or 0))
    if "val" not in given:
        share = _val_share(val_fraction, calibration_fraction or 0)
        free = free & ~assign(rows, free, "val", share, units, (seed + 1) % SEEDS)
        left -= wanted.setdefault("val", val_fraction * before_val)
    wanted["train"] = left * train_fraction
    rows.loc[free, "split"] = "train"
    if train_fraction < 1:
        keep = choose(rows, free, train_fraction, units, (seed + 2) % SEEDS, "train")
        rows.loc[free & ~keep, "split"] = "unused"
        notes.append(f"training on {int(keep.sum())} of {int(free.sum())} training images (data.train_fraction)")
    notes += group_notes(rows)
    result = manifest.with_rows(rows.assign(**{KEPT_TOGETHER: _kept_together(rows, units)}), *notes)
    # Of a set that came with its test or val, only the parts that were cut were asked for.
    here = int((rows["split"] != "left_out").sum())
    result = dataclasses.replace(result, watermarks=watermarks, asked={name: n / here for name, n in wanted.items()})
    check_splits(result, near, REQUIRED if calibration_fraction is None else (*REQUIRED, "calibration"))
    return result


def set_test_apart(
    manifest: Manifest,
    *,
    copies: Literal["drop_from_train", "error"] = "drop_from_train",
    pool_splits: bool = False,
    keep_near_copies_together: bool = False,
    locked_test: str | Path | None = None,
) -> Manifest:
    """Take a test split that is given (by the data, or by a former run) for test, and all other images for training.

    For a cross-validation within the training images, whose folds select and judge in turn: nothing is cut here.

    Parameters
    ----------
    copies, pool_splits, keep_near_copies_together, locked_test
        As of `split`.

    Returns
    -------
    Manifest
        With the column `split` filled with `train`, `test` where one is given, and `left_out`, and asserted disjoint;
        and with the column `kept_together`.

    Raises
    ------
    MedclsError
        As `split`.
    """
    check_copies(copies)
    rows, units, near, _, notes, watermarks = _as_given(
        manifest, "the folds select and judge in turn", copies, pool_splits, keep_near_copies_together, locked_test
    )
    rows.loc[~rows["split"].isin(("test", "left_out")), "split"] = "train"
    result = manifest.with_rows(rows.assign(**{KEPT_TOGETHER: _kept_together(rows, units)}), *notes, *group_notes(rows))
    result = dataclasses.replace(result, watermarks=watermarks)
    check_splits(result, near, ("train", "test") if (rows["split"] == "test").any() else ("train",))
    return result


def _as_given(
    manifest: Manifest,
    free_val_by: str | None,
    copies: str,
    pool_splits: bool,
    keep_near_copies_together: bool,
    locked_test: str | Path | None,
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray | None, set[str], list[str], tuple[str, ...]]:
    """The rows with their given splits, cleared of what leaks; nothing is cut yet.

    Parameters
    ----------
    free_val_by : str or None
        What a validation split that came with the data joins training for; None keeps it.

    Returns
    -------
    rows, units, near, given, notes, stamps
        `given`: the splits that are not cut any more.
    """
    rows, notes, watermarks = manifest.rows.drop(columns=KEPT_TOGETHER, errors="ignore"), [], manifest.watermarks
    near = near_sets(rows, manifest.facts) if keep_near_copies_together else None
    units = together(rows, near)
    if near is not None:
        notes += _near_note(near)
    given = set(rows["given_split"]) - {""}
    if pool_splits and given:
        notes.append(
            f"pooled the splits that came with the data ({', '.join(sorted(given))}) and cut them anew, as asked"
        )
        watermarks = (*watermarks, "POOLED: the test split that came with the data was cut anew")
        given = set()
    rows["split"] = rows["given_split"] if given else ""
    if "val" in given and free_val_by is not None:
        notes += free_val(rows, free_val_by)
        given = given - {"val"} | {"train"}
    if locked_test is not None:
        notes += lock_test(rows, locked_test, units)
        rows.loc[rows["split"] == "", "split"] = "train"
        given = given | {"train", "test"}
    notes += leave_out_duplicates(rows, copies, near)
    return rows, units, near, given, notes, watermarks


def together(rows: pd.DataFrame, near: np.ndarray | None = None) -> np.ndarray:
    """Number the sets of images that must fall on one side: the same group, the same pixels, or near copies.

    Parameters
    ----------
    rows : DataFrame
        A manifest's; what its splits kept together (the column `kept_together`) belongs together too.
    near : ndarray, optional
        As `near_sets` gives them; without, near copies may be parted.

    Returns
    -------
    ndarray
        int64 `(n,)`: connected components over whatever is shared.
    """
    n = len(rows)
    own = "image " + rows["path"]
    named = [column for column in ("group", "content", KEPT_TOGETHER) if column in rows]
    # An empty cell is shared with nobody.
    sharing = [(f"{column} " + rows[column]).where(rows[column] != "", own) for column in named]
    # A graph of images and of what they share: whatever hangs together has one component.
    ends, size = [], n
    for shared in (*sharing, *(() if near is None else (pd.Series(near),))):
        numbers = pd.factorize(shared)[0]
        ends.append(size + numbers)
        size += int(numbers.max()) + 1
    image = np.tile(np.arange(n), len(ends))
    graph = coo_array((np.ones(len(image), dtype=bool), (image, np.concatenate(ends))), shape=(size, size))
    return connected_components(graph, directed=False)[1][:n].astype(np.int64)


def with_kept_together(manifest: Manifest, *, near_duplicates: bool) -> Manifest:
    """The same images, not cut, with the column `kept_together` as `split` would fill it.

    Raises
    ------
    MedclsError
        Near copies asked for of a manifest that was not made by reading images.
    """
    rows = manifest.rows.drop(columns=KEPT_TOGETHER, errors="ignore")
    units = together(rows, near_sets(rows, manifest.facts) if near_duplicates else None)
    return manifest.with_rows(rows.assign(**{KEPT_TOGETHER: _kept_together(rows, units)}))


def _kept_together(rows: pd.DataFrame, units: np.ndarray) -> pd.Series:
    """Name each unit of more than one group by its first path; empty where the group says the same."""
    own = rows["group"].where(rows["group"] != "", rows["path"])
    lone = rows["group"] == ""
    parts = pd.DataFrame({"own": own, "lone": lone, "unit": units})
    joins = parts.drop_duplicates()["unit"].value_counts().gt(1)
    return rows["path"].groupby(units).transform("first").where(parts["unit"].map(joins), "")


def split_table(manifest: Manifest) -> pd.DataFrame:
    """Count by split: images, groups, each class, and each class's share of the split.

    Returns
    -------
    DataFrame
        One row a split that has images; columns `split`, `images`, `share` (of all images but those left
        out), `asked` (what that was to be; missing where nobody asked), `groups` (images without a group
        count as one each), `without_group` (how many these are), `independent` (groups, where duplicates
        and what else was kept together count once), and for each class `<class>: images` and
        `<class>: share` (0 to 1): a class may itself be called `images`.
    """
    rows = manifest.rows
    units, in_play = together(rows), max(1, int((rows["split"] != "left_out").sum()))
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
        sizes |= {"groups": groups, "without_group": lone, "independent": len(np.unique(units[here]))}
        table.append({"split": name, **sizes, **by_class, **shares})
    return pd.DataFrame(table)


def check_splits(manifest: Manifest, near: np.ndarray | None = None, required: Sequence[str] = REQUIRED) -> None:
    """Hold the finished split against what it promises.

    Parameters
    ----------
    near : ndarray, optional
        As `near_sets` gives them, where near copies were to be kept together.
    required : sequence of str
        The splits that must hold images of every class.

    Raises
    ------
    MedclsError
        A class missing from a split, a row in no split, or a group, a picture or near copies in two splits.
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
    known = scored[scored["content"] != ""]  # of images whose pixels nobody knows, none is another's
    by_content = known.groupby("content")["split"].nunique()
    # A copy within the splits that came with the data (val against test) is dealt with before; here it is a fault.
    if (by_content > 1).any():
        shared = known[known["content"] == by_content.idxmax()]
        raise MedclsError(
            f"The same picture stands in two splits: {', '.join(shared['path'] + ' (' + shared['split'] + ')')}.",
            kind="duplicates_across_splits",
        )
    if near is not None:
        sets = pd.Series(near, index=rows.index)[scored.index]
        by_set = scored.groupby(sets)["split"].nunique()
        if (by_set > 1).any():
            alike = scored[sets == by_set.idxmax()]
            raise MedclsError(
                f"Pictures that look almost the same stand in two splits: "
                f"{', '.join(alike['path'] + ' (' + alike['split'] + ')')}.",
                kind="near_duplicates_across_splits",
            )
    grouped = scored[scored["group"] != ""]
    by_group = grouped.groupby("group")["split"].nunique()
    if (by_group > 1).any():
        names = list(by_group.index[by_group > 1])
        raise MedclsError(
            f"{len(names)} group(s) stand in more than one split, such as {names[0]!r}: the splits that came with the "
            "data part the images of one patient. Check data.group_pattern; to cut the data anew, "
            "data.pool_splits=true.",
            kind="group_across_splits",
        )


def _remedy(rows: pd.DataFrame, name: str, missing: Sequence[str]) -> str:
    """What gives a split images of the classes that it lacks: of one that came with the data no share and no seed."""
    came = rows.loc[rows["split"] == name, "given_split"]
    if not (rows["given_split"] == name).any() or not (came == name).all():
        return "Give it one, or change data.val_fraction, data.test_fraction, data.calibration_fraction or seed."
    recut = "; data.recut_val=true cuts val anew from training" if name == "val" else ""
    return (
        "It came with the data, so that no share and no seed can give it one (was the last one left out by "
        f"data.exclude or data.exclude_file?). Merge {' and '.join(map(repr, missing))} with another class by "
        "data.label_map, or leave it out of the map with data.leave_out_unmapped=true; data.pool_splits=true cuts all "
        f"splits anew, and every figure then says so{recut}."
    )


def _val_share(val_fraction: float, calibration_fraction: float) -> float:
    """The share, of what calibration has left, that makes val as large as it would be without calibration."""
    if val_fraction + calibration_fraction >= 1:
        raise MedclsError(
            f"data.val_fraction={val_fraction} and data.calibration_fraction={calibration_fraction} leave nothing to "
            "train on: both are shares of the images that are not test, so together they must stay below 1.",
            kind="bad_value",
        )
    return val_fraction / (1 - calibration_fraction)


def _near_note(near: np.ndarray) -> list[str]:
    sizes = np.unique(near, return_counts=True)[1]
    if not (sizes > 1).any():
        return []
    return [
        f"near copies fall on one side: {int((sizes > 1).sum())} sets of {int(sizes[sizes > 1].sum())} images that "
        "look almost the same or are the same (data.keep_near_copies_together)"
    ]


def check_split_settings(
    val_fraction: float,
    test_fraction: float,
    train_fraction: float,
    calibration_fraction: float | None,
    folds: int | None,
    fold: int | None,
    copies: str,
) -> None:
    """Refuse shares and folds that make no sense whatever the images are; see `split`.

    Raises
    ------
    MedclsError
        Names the setting.
    """
    shares = {"val_fraction": val_fraction, "test_fraction": test_fraction, "train_fraction": train_fraction}
    if calibration_fraction is not None:
        shares["calibration_fraction"] = calibration_fraction
    for name, value in shares.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise MedclsError(f"data.{name} is {value!r}: give a number.", kind="bad_value")
    for name, count in (("folds", folds), ("fold", fold)):
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise MedclsError(f"data.{name} is {count!r}: give a whole number, or null.", kind="bad_value")
    for name, value in shares.items():
        if name != "train_fraction" and not 0 < value < 1:
            raise MedclsError(
                f"data.{name} is {value}: give a share above 0 and below 1, such as 0.2.", kind="bad_value"
            )
    if not 0 < train_fraction <= 1:
        raise MedclsError(
            f"data.train_fraction is {train_fraction}: give a share above 0, at most 1.", kind="bad_value"
        )
    check_copies(copies)
    if folds is None:
        if fold is not None:
            raise MedclsError(
                f"data.fold is {fold} but data.folds is not set: say how many folds there are.", kind="missing_setting"
            )
    elif folds < 2:
        raise MedclsError(f"data.folds is {folds}: cross-validation needs at least 2.", kind="bad_value")
    elif fold is None:
        raise MedclsError(
            f"data.folds is {folds} but data.fold is not set: say which one, 0 to {folds - 1}.", kind="missing_setting"
        )
    elif not 0 <= fold < folds:
        raise MedclsError(
            f"data.fold is {fold}: with data.folds={folds} it runs from 0 to {folds - 1}.", kind="bad_value"
        )


def check_copies(copies: str) -> None:
    """Refuse another way with copies than those there are.

    Raises
    ------
    MedclsError
        Names them.
    """
    if copies not in ("drop_from_train", "error"):
        raise MedclsError(f"data.copies is {copies!r}: choose drop_from_train or error.", kind="bad_value")
