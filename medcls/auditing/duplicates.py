"""Duplicates and near duplicates: within a class, with two labels, in two splits."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medcls.auditing.findings import MOST_SHOWN, Finding, Pair
from medcls.auditing.leaks import leaks
from medcls.data.manifest import SCORED_SPLITS, Manifest
from medcls.data.splits.near_duplicates import DETAIL_DISTANCE, DHASH_DISTANCE, PHASH_DISTANCE, near_pairs
from medcls.wording import counted

# Test ranks above val, val above train: of duplicates in two splits, the one in the first is kept.
RANKS = (("test", "train"), ("test", "val"), ("val", "train"))


def label_conflicts(manifest: Manifest) -> list[Finding]:
    """Duplicates with more than one label: at least one of them is wrong."""
    rows = manifest.rows
    torn = rows[rows.groupby("content")["label"].transform("nunique") > 1].sort_values(["content", "path"])
    images = torn["content"].nunique()
    values = {"images": len(rows), "pictures": images, "files": len(torn)}
    if torn.empty:
        title = f"None of {len(rows):,} images has duplicates with another label"
        return [Finding("label_conflicts", "good", title, values=values)]
    return [
        Finding(
            "label_conflicts",
            "error",
            f"{counted(images, 'image')} with more than one label ({len(torn):,} files)",
            "At least one label is wrong, and a training stops. Correct the labels if the source says which is right; "
            "else leave all of them out: audit.fix=exclude lists them for data.exclude_file.",
            values,
            torn[["path", "label"]].reset_index(drop=True),
            tuple(_first_pairs(torn, "the same pixels, another label")),
            exclude=tuple(torn["path"]),
        )
    ]


def exact_duplicates(manifest: Manifest) -> list[Finding]:
    """Files with the same decoded pixels as another file of the set."""
    rows = manifest.rows
    distinct = rows["content"].nunique()
    surplus = len(rows) - distinct
    values: dict[str, float | int | str | None] = {"images": len(rows), "distinct": distinct, "surplus": surplus}
    if not surplus:
        return [Finding("exact_copies", "good", f"All {len(rows):,} images are distinct", values=values)]
    by_class = rows.groupby("label")["content"].agg(["size", "nunique"]).reset_index()
    by_class.columns = pd.Index(["class", "images", "distinct"])
    again = rows.duplicated("content", keep=False)
    values |= {"with_a_twin": int(again.sum()), "random_split_leak": expected_leak(rows["content"])}
    return [
        Finding(
            "exact_copies",
            "warning",
            f"{len(rows):,} images, {distinct:,} distinct: {counted(surplus, 'surplus duplicate')}",
            f"{int(again.sum()):,} images have a duplicate. In a random split, {values['random_split_leak']:.1%} of a "
            "test fifth would be in training too. medcls keeps duplicates in one split, and counts them as one case.",
            values,
            by_class.assign(surplus=by_class["images"] - by_class["distinct"]),
            tuple(_first_pairs(rows[again].sort_values(["content", "path"]), "the same pixels")),
        )
    ]


def duplicates_across_splits(manifest: Manifest) -> list[Finding]:
    """Pictures in more than one of the splits that the data came with."""
    rows = manifest.rows
    given = set(rows["given_split"]) - {""}
    if len(given) < 2:
        return []
    findings = []
    for judge, learner in (pair for pair in RANKS if set(pair) <= given):
        kept, lower = rows[rows["given_split"] == judge], rows[rows["given_split"] == learner]
        leaked = kept["content"].isin(lower["content"])
        if not leaked.any():
            continue
        duplicates = lower[lower["content"].isin(kept["content"])]
        by_class = leaked.groupby(kept["label"]).agg(["size", "sum"]).reset_index()
        by_class.columns = pd.Index(["class", f"{judge} images", f"also in {learner}"])
        again = pd.concat([kept[leaked], duplicates]).sort_values("content", kind="stable")
        findings.append(
            Finding(
                f"copies_{judge}_{learner}",
                "error",
                f"{int(leaked.sum()):,} of {len(kept):,} {judge} images are pixel-identical to a {learner} image",
                f"A network that memorises the {learner} images predicts these correctly, so metrics on all of {judge} "
                f"are too high. medcls leaves out the {counted(len(duplicates), f'{learner} image')} and keeps {judge} "
                "complete (data.copies=drop_from_train); audit.fix=exclude lists them for data.exclude_file. Published "
                "results on these splits may include them.",
                {f"{judge}_images": len(kept), "identical": int(leaked.sum()), f"{learner}_copies": len(duplicates)}
                | {f"identical_{label}": int(found) for label, found in leaked.groupby(kept["label"]).sum().items()},
                by_class,
                tuple(_first_pairs(again, f"the same pixels in {judge} and {learner}")),
                exclude=tuple(sorted(duplicates["path"])),
            )
        )
    if findings:
        return findings
    names = " and ".join(sorted(given))
    return [Finding("copies_across_splits", "good", f"No duplicates in two of the given splits ({names})")]


def near_duplicates(manifest: Manifest, divided: Manifest | None, scan: pd.DataFrame) -> list[Finding]:
    """Images that look almost the same: saved again, resized, cropped, or neighbouring slices."""
    threshold = (
        f"Near duplicates differ in at most {PHASH_DISTANCE} bits (phash) and {DHASH_DISTANCE} bits (dhash) of their "
        f"64-bit perceptual hashes and {DETAIL_DISTANCE} of their 256-bit ones, and agree in texture within any frame."
    )
    near = near_pairs(scan)
    pairs = _described(near, manifest, divided)
    if pairs.empty:
        title = f"No near duplicates among {len(manifest):,} images"
        values = {"images": len(manifest), "pairs": 0}
        return [*leaks(divided, near), Finding("near_copies", "good", title, threshold, values)]
    return [
        *leaks(divided, near),
        *_near_within(manifest, divided, pairs, threshold),
        *_near_conflicts(pairs, threshold),
        *_near_across_given(manifest, pairs, threshold),
    ]


def _described(pairs: pd.DataFrame, manifest: Manifest, divided: Manifest | None) -> pd.DataFrame:
    """All pairs of near-duplicate files, closest first, with labels, splits and groups compared."""
    rows = manifest.rows[["path", "content", "label", "group", "given_split"]].assign(split="")
    if divided is not None:
        split = divided.rows.set_index("path")["split"]
        rows["split"] = rows["path"].map(split.where(split.isin(SCORED_SPLITS))).fillna("")
    # A pair names one file of each image; its duplicates may be in other splits.
    content = rows.set_index("path")["content"]
    by_content = pairs.drop(columns=["first", "second"]).assign(
        content_1=pairs["first"].map(content), content_2=pairs["second"].map(content)
    )
    files = by_content.merge(rows.add_suffix("_1"), on="content_1").merge(rows.add_suffix("_2"), on="content_2")

    def differ(column: str) -> pd.Series:
        first, second = files[f"{column}_1"], files[f"{column}_2"]
        return (first != second) & (first != "") & (second != "")

    return pd.DataFrame(
        {
            "first": files["path_1"],
            "second": files["path_2"],
            "labels": files["label_1"] + " | " + files["label_2"],
            "given": files["given_split_1"] + " | " + files["given_split_2"],
            "bits": files["phash_distance"] + files["dhash_distance"] + files["detail_distance"],
            "one_group": (files["group_1"] != "") & (files["group_1"] == files["group_2"]),
            "other_label": differ("label"),
            "other_given": differ("given_split"),
            "crosses": differ("split"),
        }
    ).sort_values("bits", kind="stable", ignore_index=True)


def _near_within(manifest: Manifest, divided: Manifest | None, pairs: pd.DataFrame, threshold: str) -> list[Finding]:
    images = len(set(pairs["first"]) | set(pairs["second"]))
    crossing, grouped = int(pairs["crosses"].sum()), int(pairs["one_group"].sum())
    values = {"images": len(manifest), "pairs": len(pairs), "in_near_copies": images, "in_one_group": grouped}
    text = (
        f"{threshold} {counted(len(pairs), 'pair')}, {grouped:,} of them within one group. They may be one photograph "
        "saved twice, or neighbouring slices of one examination. "
    )
    if divided is not None:
        values["pairs_across_our_splits"] = crossing
        text += (
            f"The splits that medcls makes separate {counted(crossing, 'pair')}; data.keep_near_copies_together=true "
            "keeps near duplicates in one split."
            if crossing
            else "The splits that medcls makes separate none of them."
        )
    order = pairs.sort_values("crosses", ascending=False, kind="stable")
    return [
        Finding(
            "near_copies",
            "warning" if crossing else "information",
            f"{images:,} of {len(manifest):,} images have a near duplicate",
            text,
            values,
            pairs=_near_shown(order, "labels"),
        )
    ]


def _near_conflicts(pairs: pd.DataFrame, threshold: str) -> list[Finding]:
    torn = pairs[pairs["other_label"]]
    if torn.empty:
        return []
    return [
        Finding(
            "near_copies_other_label",
            "warning",
            f"{counted(len(torn), 'pair')} of near duplicates with different labels",
            f"{threshold} One label may be wrong, or the difference may be a small finding: look at each pair, and "
            "leave out unclear ones with data.exclude.",
            {"pairs": len(torn)},
            torn[["first", "second", "labels", "bits"]],
            _near_shown(torn, "labels"),
        )
    ]


def _near_across_given(manifest: Manifest, pairs: pd.DataFrame, threshold: str) -> list[Finding]:
    leaks = pairs[pairs["other_given"]]
    if leaks.empty:
        return []
    given = manifest.rows.set_index("path")["given_split"]
    touched = pd.Series(sorted(set(leaks["first"]) | set(leaks["second"])))
    by_split = touched.groupby(touched.map(given)).size()
    judge = "test" if "test" in by_split else "val"
    images = int((given == judge).sum())
    return [
        Finding(
            "near_copies_across_splits",
            "warning",
            f"{int(by_split[judge]):,} of {images:,} {judge} images have a near duplicate in another split",
            f"{threshold} Duplicates are not counted here. These are the splits that came with the data: "
            "data.keep_near_copies_together=true leaves the near duplicates out of training; with "
            f"data.pool_splits=true as well, all images are re-split. Without, metrics on {judge} are too high.",
            {"pairs": len(leaks), f"{judge}_images": images}
            | {f"near_copies_in_{name}": int(count) for name, count in by_split.items()},
            by_split.rename_axis("split").rename("images with a near duplicate in another").reset_index(),
            _near_shown(leaks, "given"),
        )
    ]


def expected_leak(groups: pd.Series, test_fraction: float = 0.2) -> float:
    """The expected share of test images with a sibling in training, over random splits by image.

    Of an image's n - 1 others a random n - t are in training: by the hypergeometric distribution, none of its g - 1
    siblings is. `groups` has the group of each image.
    """
    from scipy.stats import hypergeom

    n = len(groups)
    training = n - round(n * test_fraction)
    size, count = np.unique(groups.value_counts(), return_counts=True)
    beside_a_sibling = 1 - hypergeom.pmf(0, n - 1, size - 1, training)
    return float((count * size * beside_a_sibling).sum() / n)


def _first_pairs(duplicates: pd.DataFrame, caption: str) -> Sequence[Pair]:
    """Two files of each image, in rows sorted by content."""
    shown = []
    for _, same in duplicates.groupby("content", sort=False):
        # The first and the last: labels or splits that differ are more informative.
        first, second = same.iloc[0], same.iloc[-1]
        shown.append(Pair(first["path"], second["path"], f"{caption}: {first['label']} | {second['label']}"))
        if len(shown) == MOST_SHOWN:
            break
    return shown


def _near_shown(pairs: pd.DataFrame, column: str) -> tuple[Pair, ...]:
    return tuple(
        Pair(row["first"], row["second"], f"{row[column]}; {row['bits']} of 384 bits apart")
        for _, row in pairs.head(MOST_SHOWN).iterrows()
    )
