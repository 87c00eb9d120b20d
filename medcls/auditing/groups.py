"""Patients, lesions, examinations: how many there are, and whether the splits respect them."""

import numpy as np
import pandas as pd

from medcls.auditing.duplicates import RANKS, expected_leak
from medcls.auditing.findings import Finding
from medcls.data.manifest import Manifest
from medcls.data.sources.grouping import classes_without_group, parts_without_group, suggest_pattern
from medcls.data.splits.split import cluster_numbers, split_table
from medcls.wording import at_start, counted

MISSED = 1 / 3
"""By so much of the share asked for a split is called another than was asked for."""

MANY_ALONE = 0.1  # of the images without a group: does the pattern fit the names?


def groups(manifest: Manifest, divided: Manifest | None) -> list[Finding]:
    """Images and groups counted apart, and what a split that knows nothing of groups would leak."""
    rows = manifest.rows
    named = rows[rows["group"] != ""]
    if named.empty:
        suggestion = suggest_pattern(rows)
        suggested = f" {at_start(suggestion.sentence(example=False))}." if suggestion else ""
        return [
            Finding(
                "groups",
                "warning",
                f"Nothing says which of the {len(rows):,} images belong to one patient",
                "Where a patient, lesion or examination has several images, a split parts them, and the figures come "
                "out too good. If the file names tell the patient, name the part by data.group_pattern, such as "
                r"data.group_pattern='(patient\d+)'; if a table does, by data.group_column or data.groups. "
                f"If each image is of another patient, all is well.{suggested}",
                {"images": len(rows), "groups": None, "suggested_pattern": suggestion.pattern if suggestion else None},
            )
        ]
    sizes = named["group"].value_counts()
    several = int((sizes > 1).sum())
    lone = len(rows) - len(named)
    own = rows["group"].where(rows["group"] != "", "image " + rows["path"])
    leak = expected_leak(own)
    values: dict[str, float | int | str | None] = {
        "images": len(rows),
        "groups": len(sizes),
        "images_without_group": lone,
        "groups_with_several_images": several,
        "images_in_those": int(sizes[sizes > 1].sum()),
        "most_images_in_a_group": int(sizes.max()),
        "random_split_leak": leak,
    }
    unnamed = classes_without_group(rows)
    values["classes_without_group"] = rows["label"].nunique() - named["label"].nunique()
    alone = [f"{parts_without_group(rows)}: each stands for itself.", *map(at_start, unnamed)] if lone else []
    text = "".join(f" {sentence}" for sentence in alone)
    doubtful = bool(unnamed) or lone > MANY_ALONE * len(rows)
    if not several and not doubtful:
        return [Finding("groups", "good", f"Each of {len(sizes):,} groups has one image", text.strip(), values)]
    if divided is not None:
        # Each image's split, and whether its group also has a training image.
        split = divided.rows["split"]
        test = split.isin(["test"]) & (divided.rows["group"] != "")
        leaked = int(divided.rows.loc[test, "group"].isin(divided.rows.loc[split == "train", "group"]).sum())
        values |= {"test_images": int((split == "test").sum()), "test_images_with_a_sibling_in_training": leaked}
        text = f" In the splits that this run uses it is {leaked} of {values['test_images']:,} test images.{text}"
    return [
        Finding(
            "groups",
            "warning" if doubtful else "information",
            f"{len(named):,} images of {len(sizes):,} groups"
            + (f", and {counted(lone, 'image')} of which no group is known" if lone else "")
            + f"; {several:,} groups have more than one image",
            f"Cut at random by image, a test fifth would have {leak:.1%} of its images beside a sibling in training, "
            f"in the mean over all such splits: a leak. medcls cuts by group, which leaves none.{text} Count groups, "
            "not images, when you report how many cases there are.",
            values,
            sizes.value_counts().sort_index().rename_axis("images in a group").rename("groups").reset_index(),
        )
    ]


def shares(divided: Manifest | None) -> list[Finding]:
    """Whether the splits are as large as was asked, which images that must stay together may prevent."""
    if divided is None or not divided.asked:
        return []
    rows = divided.rows[divided.rows["split"] != "left_out"]
    table = split_table(divided)
    table = table.loc[table["asked"].notna(), ["split", "images", "share", "asked"]]
    parts = table.to_dict("records")
    clusters = cluster_numbers(rows)
    n = int(np.bincount(clusters).max())
    values: dict[str, float | int | str | None] = {"images": len(rows), "most_images_together": n}
    values |= {f"share_{part['split']}": float(part["share"]) for part in parts}
    values |= {f"asked_{part['split']}": float(part["asked"]) for part in parts}
    of_largest = _of_largest(rows[clusters == np.bincount(clusters).argmax()], len(rows))
    # A case more or less is no other share.
    missed = [part for part in parts if abs(part["share"] - part["asked"]) > max(part["asked"] * MISSED, 1 / len(rows))]
    if not missed:
        told = [f"{part['split']} {part['share']:.1%} ({part['asked']:.1%})" for part in parts]
        title = f"The splits are as large as was asked: {', '.join(told)}"
        return [Finding("shares", "good", title, of_largest, values, table.round(3))]
    worst = [
        f"{part['split'].replace('_', '-')} has {part['images']:,} of {len(rows):,} images, {part['share']:.1%}, where "
        f"{part['asked']:.1%} were asked for"
        for part in missed
    ]
    text = (
        f"{of_largest} A set of more images than a split is to have is trained on, and the split is cut from the "
        "others. Ask for another share (data.test_fraction, data.val_fraction), or for folds, and read how many "
        "independent cases each split has, not how many images."
    )
    title = f"Other shares than asked for: {'; '.join(worst)}"
    return [Finding("shares", "warning", title, text.strip(), values, table.round(3))]


def _of_largest(largest: pd.DataFrame, images: int) -> str:
    """Name the largest set of images that a split must not part, and say where it went."""
    if len(largest) == 1:
        return ""
    where = ", ".join(dict.fromkeys(largest["split"]))
    return (
        f"The largest set of images that must stay together has {len(largest):,}, {len(largest) / images:.1%} of all: "
        f"{_called(largest)}, in {where}."
    )


def _called(together_rows: pd.DataFrame) -> str:
    """What holds a set of images together, with the name of its largest group or of its first image."""
    named = together_rows.loc[together_rows["group"] != "", "group"]
    if named.nunique() == 1 and len(named) == len(together_rows):
        return f"the group {named.iloc[0]!r}"
    others = f"{named.nunique():,} groups and their copies" if named.nunique() else "copies of one another"
    return f"{others}, as {together_rows['path'].iloc[0]}"


def groups_across_splits(manifest: Manifest) -> list[Finding]:
    """Groups in more than one of the splits that the data came with."""
    rows = manifest.rows[(manifest.rows["group"] != "") & (manifest.rows["given_split"] != "")]
    given = set(rows["given_split"])
    if len(given) < 2:
        return []
    parted = rows[rows.groupby("group")["given_split"].transform("nunique") > 1]
    names = parted["group"].nunique()
    values = {"groups": rows["group"].nunique(), "groups_in_several_splits": names, "images": len(parted)}
    if parted.empty:
        title = f"None of {values['groups']:,} groups stands in more than one of the given splits"
        return [Finding("groups_across_splits", "good", title, values=values)]
    losers = {
        path
        for judge, learner in RANKS
        for path in parted.loc[
            (parted["given_split"] == learner)
            & parted["group"].isin(parted.loc[parted["given_split"] == judge, "group"]),
            "path",
        ]
    }
    return [
        Finding(
            "groups_across_splits",
            "error",
            f"{names:,} of {values['groups']:,} groups in more than one of the given splits",
            "The splits that came with the data part the images of one patient: a training stops on them. Check first "
            "that data.group_pattern tells every patient from every other: ids often begin anew in each folder, and "
            "then the folder or prefix is part of the group. If it does: data.pool_splits=true cuts the data anew, by "
            "group; audit.fix=exclude lists the training side for data.exclude_file.",
            values,
            _images_by(parted, "given_split"),
            exclude=tuple(sorted(losers)),
        )
    ]


def mixed_groups(manifest: Manifest) -> list[Finding]:
    """Groups whose images stand under more than one label."""
    named = manifest.rows[manifest.rows["group"] != ""]
    if named.empty:
        return []
    mixed = named[named.groupby("group")["label"].transform("nunique") > 1]
    total, count = named["group"].nunique(), mixed["group"].nunique()
    values = {"groups": total, "mixed_groups": count, "images": len(mixed)}
    if mixed.empty:
        return [Finding("mixed_groups", "good", f"Each of {total:,} groups has one label", values=values)]
    return [
        Finding(
            "mixed_groups",
            "information",
            f"{counted(count, 'group')} of {total:,} with more than one label",
            "Rightly so where a group is a patient (two breasts, two visits); where it is one lesion or one "
            "examination, one of the labels is wrong.",
            values,
            _images_by(mixed, "label"),
        )
    ]


def _images_by(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """How many images of each group have each value of a column: one row a group."""
    return pd.crosstab(rows["group"], rows[column]).reset_index().rename_axis(columns=None)
