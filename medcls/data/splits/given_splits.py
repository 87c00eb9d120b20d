"""Splits that are given, by the data or by an earlier run: kept unless asked otherwise, and cleared of leaks.

Each function changes the column `split` of the rows in place, and returns notes on what it did.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medcls.data.manifest import read_rows
from medcls.errors import MedclsError
from medcls.wording import enumerated

FEW = 30  # images of a class, below which a selection by them is little better than chance


def free_val(rows: pd.DataFrame, setting: str) -> list[str]:
    """Let a validation split that came with the data join training."""
    came = rows["split"] == "val"
    rows.loc[came, "split"] = "train"
    return [
        f"the validation split that came with the data ({int(came.sum())} images) and training are re-split ({setting})"
    ]


def lock_test(rows: pd.DataFrame, manifest: str | Path, clusters: np.ndarray) -> list[str]:
    """Take the test images of an earlier run's `manifest.csv` as test, and leave out other images of their clusters.

    They are recognised by content, wherever they are now.
    """
    path = Path(manifest).expanduser()
    former = read_rows(path)
    locked = set(former.loc[former["split"] == "test", "content"]) - {""}
    if not locked:
        raise MedclsError(
            f"data.locked_test={path} has no test images: give the manifest.csv of a run with a test split.",
            kind="empty_split",
        )
    here = locked & set(rows["content"])
    if not here:
        raise MedclsError(
            f"None of the {len(locked)} test images of data.locked_test={path} is among the images: was it a run on "
            "other data?",
            kind="no_common_images",
        )
    # Duplicates of given test images are handled by data.copies, as without a lock.
    given = rows["split"] == "test"
    back = rows["content"].isin(here - set(rows.loc[given, "content"])).to_numpy()
    rows.loc[back, "split"] = "test"
    grouped_with_test = np.isin(clusters, clusters[back]) & (rows["split"] != "test").to_numpy()
    rows.loc[grouped_with_test, "split"] = "left_out"
    notes = [f"test is the test split of {path}: {len(here)} of its {len(locked)} images (data.locked_test)"]
    if gone := len(locked) - len(here):
        notes.append(f"{gone} of the locked test's {len(locked)} images are no longer in the data")
    if grouped_with_test.any():
        notes.append(
            f"left out {int(grouped_with_test.sum())} image(s) of the same groups as the locked test's, or duplicates "
            f"of these: {enumerated(rows.loc[grouped_with_test, 'path'].tolist())}"
        )
    return notes


def leave_out_duplicates(rows: pd.DataFrame, copies: str, near: np.ndarray | None = None) -> list[str]:
    """Leave out images that a higher-ranking given split also has; test ranks above val, val above train.

    Duplicates are handled as `copies` says: `drop_from_train` or `error`. Near duplicates are left out if `near`, as
    `near_duplicate_sets` returns it, is given.
    """
    notes = []
    for keeper, losers in (("test", ("train", "val")), ("val", ("train",))):
        duplicates = _shared(rows["content"], rows["split"], keeper, losers)
        if duplicates.any():
            text = _described(rows, rows["content"], duplicates, keeper, "pixel-identical to")
            if copies == "error":
                raise MedclsError(
                    f"{text}, such as {rows.loc[duplicates, 'path'].iloc[0]}. data.copies=drop_from_train leaves "
                    "them out of training.",
                    kind="duplicates_across_splits",
                )
            rows.loc[duplicates, "split"] = "left_out"
            notes.append(f"{text}: the latter are left out (data.copies=drop_from_train)")
        if near is None:
            continue
        alike = pd.Series(near, index=rows.index)
        duplicates = _shared(alike, rows["split"], keeper, losers)
        if duplicates.any():
            text = _described(rows, alike, duplicates, keeper, "near duplicates of")
            rows.loc[duplicates, "split"] = "left_out"
            notes.append(f"{text}: the latter are left out (data.keep_near_copies_together)")
    return notes


def small_val(rows: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """Report a validation split that came with the data and has too few images to select by."""
    labels = rows.loc[rows["split"] == "val", "label"]
    few = [f"{label} {count}" for label in classes if (count := int((labels == label).sum())) < FEW]
    if not few:
        return []
    return [
        f"the validation split that came with the data has fewer than {FEW} images of a class ({', '.join(few)}): "
        "checkpoint and threshold are selected by little more than chance. data.recut_val=true draws a larger one from "
        "training and validation together"
    ]


def _shared(values: pd.Series, split: pd.Series, keeper: str, losers: Sequence[str]) -> pd.Series:
    """Rows of the lower-ranking splits with a value that the higher-ranking one has too; empty values do not count."""
    return values.isin(set(values[split == keeper]) - {""}) & split.isin(losers)


def _described(rows: pd.DataFrame, values: pd.Series, duplicates: pd.Series, keeper: str, how: str) -> str:
    kept = rows["split"] == keeper
    matched = int(values.isin(set(values[duplicates]))[kept].sum())
    return (
        f"{matched} of {int(kept.sum())} {keeper} images are {how} {int(duplicates.sum())} image(s) of "
        f"{' and '.join(sorted(set(rows.loc[duplicates, 'split'])))}"
    )
