"""Splits that are given, by the data or by a former run: kept, unless asked otherwise, and cleared of what leaks.

Each function changes the column `split` of the rows in place, and returns what it did as notes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medcls.data.manifest import read_rows
from medcls.errors import MedclsError
from medcls.wording import enumerated

FEW = 30  # images of a class, under which what is chosen by them is chosen by chance


def free_val(rows: pd.DataFrame, setting: str) -> list[str]:
    """Let a validation split that came with the data join training, to be cut anew."""
    came = rows["split"] == "val"
    rows.loc[came, "split"] = "train"
    return [
        f"the validation split that came with the data ({int(came.sum())} images) is cut anew, together with training "
        f"({setting})"
    ]


def lock_test(rows: pd.DataFrame, manifest: str | Path, units: np.ndarray) -> list[str]:
    """Make test what was test in a former run, and leave out what belongs together with it.

    Parameters
    ----------
    manifest : path
        The former run's `manifest.csv`. Its images are known again by their content, wherever they now lie.
    units : ndarray
        As `together` gives them.

    Raises
    ------
    MedclsError
        It cannot be read, has no test images, or none that are here.
    """
    path = Path(manifest).expanduser()
    former = read_rows(path)
    locked = set(former.loc[former["split"] == "test", "content"]) - {""}
    if not locked:
        raise MedclsError(
            f"data.locked_test={path} has no test images: name the manifest.csv of a run that had some.",
            kind="empty_split",
        )
    here = locked & set(rows["content"])
    if not here:
        raise MedclsError(
            f"None of the {len(locked)} test images of data.locked_test={path} is among the images: is it a run on the "
            "same data?",
            kind="no_common_images",
        )
    # Copies of what is given as test come under data.copies, as without a lock.
    given = rows["split"] == "test"
    back = rows["content"].isin(here - set(rows.loc[given, "content"])).to_numpy()
    rows.loc[back, "split"] = "test"
    grouped_with_test = np.isin(units, units[back]) & (rows["split"] != "test").to_numpy()
    rows.loc[grouped_with_test, "split"] = "left_out"
    notes = [f"test is what was test in {path}: {len(here)} of its {len(locked)} images (data.locked_test)"]
    if gone := len(locked) - len(here):
        notes.append(f"{gone} of the locked test's {len(locked)} images are no longer in the data")
    if grouped_with_test.any():
        notes.append(
            f"{int(grouped_with_test.sum())} image(s) of the same groups as the locked test's, or copies of them, "
            "are left out: "
            f"{enumerated(rows.loc[grouped_with_test, 'path'].tolist())}"
        )
    return notes


def leave_out_duplicates(rows: pd.DataFrame, copies: str, near: np.ndarray | None = None) -> list[str]:
    """Take out of the given splits what a later one also holds; test outranks val, val outranks train.

    Parameters
    ----------
    copies : str
        What to do about the same pixels: `drop_from_train` or `error`. Near copies are always left out.
    near : ndarray, optional
        As `near_sets` gives them; without, near copies stay.

    Raises
    ------
    MedclsError
        There are exact copies, and `copies` is `error`.
    """
    notes = []
    for keeper, losers in (("test", ("train", "val")), ("val", ("train",))):
        duplicates = _shared(rows["content"], rows["split"], keeper, losers)
        if duplicates.any():
            found = _found(rows, rows["content"], duplicates, keeper, "pixel-identical to")
            if copies == "error":
                raise MedclsError(
                    f"{found}, such as {rows.loc[duplicates, 'path'].iloc[0]}. With data.copies=drop_from_train they "
                    "are left out of training.",
                    kind="duplicates_across_splits",
                )
            rows.loc[duplicates, "split"] = "left_out"
            notes.append(f"{found}: the latter are left out (data.copies=drop_from_train)")
        if near is None:
            continue
        alike = pd.Series(near, index=rows.index)
        duplicates = _shared(alike, rows["split"], keeper, losers)
        if duplicates.any():
            found = _found(rows, alike, duplicates, keeper, "almost the same as")
            rows.loc[duplicates, "split"] = "left_out"
            notes.append(f"{found}: the latter are left out (data.keep_near_copies_together)")
    return notes


def small_val(rows: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """Say so where a validation split that came with the data has too few images to choose by."""
    labels = rows.loc[rows["split"] == "val", "label"]
    few = [f"{label} {count}" for label in classes if (count := int((labels == label).sum())) < FEW]
    if not few:
        return []
    return [
        f"the validation split that came with the data has fewer than {FEW} images of a class ({', '.join(few)}): the "
        "checkpoint and the threshold are chosen by little more than chance. data.recut_val=true cuts a larger one "
        "from training and validation together"
    ]


def _shared(values: pd.Series, split: pd.Series, keeper: str, losers: Sequence[str]) -> pd.Series:
    """Which rows of the losing splits have a value that the keeping split also has; an empty one is shared by none."""
    return values.isin(set(values[split == keeper]) - {""}) & split.isin(losers)


def _found(rows: pd.DataFrame, values: pd.Series, duplicates: pd.Series, keeper: str, how: str) -> str:
    judging = rows["split"] == keeper
    judged = int(values.isin(set(values[duplicates]))[judging].sum())
    return (
        f"{judged} of {int(judging.sum())} {keeper} images are {how} {int(duplicates.sum())} image(s) of "
        f"{' and '.join(sorted(set(rows.loc[duplicates, 'split'])))}"
    )
