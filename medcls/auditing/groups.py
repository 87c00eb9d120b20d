"""Groups (patients, lesions, examinations): their number, and whether splits respect them."""

import numpy as np
import pandas as pd

from medcls.auditing.duplicates import RANKS, expected_leak
from medcls.auditing.findings import Finding
from medcls.data.manifest import Manifest
from medcls.data.sources.grouping import classes_without_group, parts_without_group, suggest_pattern
from medcls.data.splits.split import cluster_numbers, split_table
from medcls.wording import at_start, counted

MISSED = 1 / 3
"""Relative deviation from the share asked for that is reported."""

MANY_ALONE = 0.1  # share of images without a group from which the pattern is doubtful


def groups(manifest: Manifest, divided: Manifest | None) -> list[Finding]:
    """The number of groups, and the leak of a split that ignores them."""
    rows = manifest.rows
    named = rows[rows["group"] != ""]
    if named.empty:
        suggestion = suggest_pattern(rows)
        suggested = f" {at_start(suggestion.sentence(example=False))}." if suggestion else ""
        return [
            Finding(
                "groups",
                "warning",
                f"Patients of the {len(rows):,} images are unknown",
                "If a patient, lesion or examination has several images, these may be in two splits, and metrics are "
                "too high. Name the patient with data.group_pattern if file names contain it, such as "
                r"data.group_pattern='(patient\d+)'; with data.group_column or data.groups if a table does. If each "
                f"image is of another patient, nothing needs to be done.{suggested}",
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
    ungrouped = classes_without_group(rows)
    values["classes_without_group"] = rows["label"].nunique() - named["label"].nunique()
    alone = [f"{parts_without_group(rows)}: each is a group of its own.", *map(at_start, ungrouped)] if lone else []
    text = "".join(f" {sentence}" for sentence in alone)
    doubtful = bool(ungrouped) or lone > MANY_ALONE * len(rows)
    if not several and not doubtful:
        return [Finding("groups", "good", f"Each of {len(sizes):,} groups has one image", text.strip(), values)]
    if divided is not None:
        split = divided.rows["split"]
        test = split.isin(["test"]) & (divided.rows["group"] != "")
        leaked = int(divided.rows.loc[test, "group"].isin(divided.rows.loc[split == "train", "group"]).sum())
        values |= {"test_images": int((split == "test").sum()), "test_images_with_a_sibling_in_training": leaked}
        text = f" In this run's splits it is {leaked} of {values['test_images']:,} test images.{text}"
    return [
        Finding(
            "groups",
            "warning" if doubtful else "information",
            f"{len(named):,} images of {len(sizes):,} groups"
            + (f", and {counted(lone, 'image')} without a group" if lone else "")
            + f"; {several:,} groups have more than one image",
            f"In random splits by image, {leak:.1%} of a test fifth would on average have a sibling in training, a "
            f"leak. medcls splits by group, without one.{text} Report the number of groups, not of images, as cases.",
            values,
            sizes.value_counts().sort_index().rename_axis("images in a group").rename("groups").reset_index(),
        )
    ]


def shares(divided: Manifest | None) -> list[Finding]:
    """Whether the splits have the sizes asked for, which large clusters may prevent."""
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
    # One image more or less is not a deviation.
    missed = [part for part in parts if abs(part["share"] - part["asked"]) > max(part["asked"] * MISSED, 1 / len(rows))]
    if not missed:
        parts_listed = [f"{part['split']} {part['share']:.1%} ({part['asked']:.1%})" for part in parts]
        title = f"The splits have the sizes asked for: {', '.join(parts_listed)}"
        return [Finding("shares", "good", title, of_largest, values, table.round(3))]
    worst = [
        f"{part['split'].replace('_', '-')} has {part['images']:,} of {len(rows):,} images, {part['share']:.1%}, where "
        f"{part['asked']:.1%} were asked for"
        for part in missed
    ]
    text = (
        f"{of_largest} A cluster larger than a split is used for training, and the split is drawn from the others. Set "
        "another fraction (data.test_fraction, data.val_fraction), or folds, and look at the independent cases of each "
        "split, not at its images."
    )
    title = f"Sizes of splits differ from those asked for: {'; '.join(worst)}"
    return [Finding("shares", "warning", title, text.strip(), values, table.round(3))]


def _of_largest(largest: pd.DataFrame, images: int) -> str:
    """Describe the largest cluster, and the split that it is in."""
    if len(largest) == 1:
        return ""
    where = ", ".join(dict.fromkeys(largest["split"]))
    return (
        f"The largest cluster of images has {len(largest):,}, {len(largest) / images:.1%} of all: "
        f"{_cluster_name(largest)}, in {where}."
    )


def _cluster_name(cluster: pd.DataFrame) -> str:
    """A cluster by its only group, or by the number of its groups and its first image."""
    named = cluster.loc[cluster["group"] != "", "group"]
    if named.nunique() == 1 and len(named) == len(cluster):
        return f"the group {named.iloc[0]!r}"
    others = f"{named.nunique():,} groups and their duplicates" if named.nunique() else "duplicates of one another"
    return f"{others}, such as {cluster['path'].iloc[0]}"


def groups_across_splits(manifest: Manifest) -> list[Finding]:
    """Groups in more than one of the splits that came with the data."""
    rows = manifest.rows[(manifest.rows["group"] != "") & (manifest.rows["given_split"] != "")]
    given = set(rows["given_split"])
    if len(given) < 2:
        return []
    separated = rows[rows.groupby("group")["given_split"].transform("nunique") > 1]
    names = separated["group"].nunique()
    values = {"groups": rows["group"].nunique(), "groups_in_several_splits": names, "images": len(separated)}
    if separated.empty:
        title = f"None of {values['groups']:,} groups is in more than one of the given splits"
        return [Finding("groups_across_splits", "good", title, values=values)]
    losers = {
        path
        for judge, learner in RANKS
        for path in separated.loc[
            (separated["given_split"] == learner)
            & separated["group"].isin(separated.loc[separated["given_split"] == judge, "group"]),
            "path",
        ]
    }
    return [
        Finding(
            "groups_across_splits",
            "error",
            f"{names:,} of {values['groups']:,} groups in more than one of the given splits",
            "The splits that came with the data separate images of one patient, and a training stops. First check that "
            "data.group_pattern distinguishes all patients: ids often start again in each folder, and then the folder "
            "or prefix is part of the group. If it does, data.pool_splits=true re-splits by group; audit.fix=exclude "
            "lists the images in training for data.exclude_file.",
            values,
            _images_by(separated, "given_split"),
            exclude=tuple(sorted(losers)),
        )
    ]


def mixed_groups(manifest: Manifest) -> list[Finding]:
    """Groups whose images have more than one label."""
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
            "This is right if a group is a patient (two breasts, two visits); if it is a lesion or an examination, one "
            "label is wrong.",
            values,
            _images_by(mixed, "label"),
        )
    ]


def _images_by(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Images of each group for each value of a column: one row a group."""
    return pd.crosstab(rows["group"], rows[column]).reset_index().rename_axis(columns=None)
