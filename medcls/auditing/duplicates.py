"""One picture in several files, or almost: within a class, under two labels, in two splits."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medcls.auditing.findings import MOST_SHOWN, Finding, Pair
from medcls.auditing.leaks import leaks
from medcls.data.manifest import SCORED_SPLITS, Manifest
from medcls.data.splits.near_duplicates import DETAIL_DISTANCE, DHASH_DISTANCE, PHASH_DISTANCE, near_pairs
from medcls.wording import counted

# What judges outranks what is learned from: of two copies the one further left is kept.
RANKS = (("test", "train"), ("test", "val"), ("val", "train"))


def label_conflicts(manifest: Manifest) -> list[Finding]:
    """One picture under two labels: at least one of them is wrong."""
    rows = manifest.rows
    torn = rows[rows.groupby("content")["label"].transform("nunique") > 1].sort_values(["content", "path"])
    pictures = torn["content"].nunique()
    values = {"images": len(rows), "pictures": pictures, "files": len(torn)}
    if torn.empty:
        title = f"None of {len(rows):,} images stands under two labels with the same pixels"
        return [Finding("label_conflicts", "good", title, values=values)]
    return [
        Finding(
            "label_conflicts",
            "error",
            f"{counted(pictures, 'picture')} under more than one label ({len(torn):,} files)",
            "The same pixels cannot be both: a training stops on them. Correct the labels where the source tells which "
            "is right; else leave all of them out: audit.fix=exclude lists them for data.exclude_file.",
            values,
            torn[["path", "label"]].reset_index(drop=True),
            tuple(_first_pairs(torn, "the same pixels, another label")),
            exclude=tuple(torn["path"]),
        )
    ]


def exact_duplicates(manifest: Manifest) -> list[Finding]:
    """Files whose decoded pixels are those of another file of the set."""
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
            f"{len(rows):,} images, {distinct:,} distinct: {counted(surplus, 'surplus copy', 'surplus copies')}",
            f"{int(again.sum()):,} images have a twin with the same pixels. Cut at random, a test fifth would have "
            f"{values['random_split_leak']:.1%} of its images in training as well. medcls keeps copies on one side of "
            "every split; in a count of cases they count once.",
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
    for judge, learner in ((j, t) for j, t in RANKS if {j, t} <= given):
        judged, learned = rows[rows["given_split"] == judge], rows[rows["given_split"] == learner]
        seen = judged["content"].isin(learned["content"])
        if not seen.any():
            continue
        duplicates = learned[learned["content"].isin(judged["content"])]
        by_class = seen.groupby(judged["label"]).agg(["size", "sum"]).reset_index()
        by_class.columns = pd.Index(["class", f"{judge} images", f"also in {learner}"])
        again = pd.concat([judged[seen], duplicates]).sort_values("content", kind="stable")
        findings.append(
            Finding(
                f"copies_{judge}_{learner}",
                "error",
                f"{int(seen.sum()):,} of {len(judged):,} {judge} images are pixel-identical to a {learner} image",
                f"A network that has learned the {learner} images by heart gets these right: figures on all of {judge} "
                f"are too good. medcls leaves the {counted(len(duplicates), f'{learner} image')} out and keeps {judge} "
                "whole (data.copies=drop_from_train); audit.fix=exclude does the same for good. Figures that others "
                "publish on these splits may count them.",
                {f"{judge}_images": len(judged), "identical": int(seen.sum()), f"{learner}_copies": len(duplicates)}
                | {f"identical_{label}": int(found) for label, found in seen.groupby(judged["label"]).sum().items()},
                by_class,
                tuple(_first_pairs(again, f"the same pixels in {judge} and {learner}")),
                exclude=tuple(sorted(duplicates["path"])),
            )
        )
    if findings:
        return findings
    names = " and ".join(sorted(given))
    return [Finding("copies_across_splits", "good", f"No picture stands in two of the given splits ({names})")]


def near_duplicates(manifest: Manifest, divided: Manifest | None, scan: pd.DataFrame) -> list[Finding]:
    """Images that look almost the same but differ in their pixels: saved again, resized, cropped, or neighbours."""
    threshold = (
        f"Two images count as near copies where their 64-bit perceptual hashes differ in at most {PHASH_DISTANCE} bits "
        f"(phash) and {DHASH_DISTANCE} bits (dhash), and their 256-bit ones in at most {DETAIL_DISTANCE}, "
        "and where what they show within a dark frame, without its shade, agrees."
    )
    near = near_pairs(scan)
    pairs = _described(near, manifest, divided)
    if pairs.empty:
        title = f"No near copies among {len(manifest):,} images"
        values = {"images": len(manifest), "pairs": 0}
        return [*leaks(divided, near), Finding("near_copies", "good", title, threshold, values)]
    return [
        *leaks(divided, near),
        *_near_within(manifest, divided, pairs, threshold),
        *_near_conflicts(pairs, threshold),
        *_near_across_given(manifest, pairs, threshold),
    ]


def _described(pairs: pd.DataFrame, manifest: Manifest, divided: Manifest | None) -> pd.DataFrame:
    """Every pair of files whose pictures are near, closest first, and what the manifest says of the two sides."""
    rows = manifest.rows[["path", "content", "label", "group", "given_split"]].assign(split="")
    if divided is not None:
        split = divided.rows.set_index("path")["split"]
        rows["split"] = rows["path"].map(split.where(split.isin(SCORED_SPLITS))).fillna("")
    # A pair names one file of each picture; its copies may stand in other splits.
    content = rows.set_index("path")["content"]
    pictures = pairs.drop(columns=["first", "second"]).assign(
        content_1=pairs["first"].map(content), content_2=pairs["second"].map(content)
    )
    files = pictures.merge(rows.add_suffix("_1"), on="content_1").merge(rows.add_suffix("_2"), on="content_2")

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
        f"{threshold} {counted(len(pairs), 'pair')}, {grouped:,} of them within one group. They are one photograph "
        "saved twice, or neighbouring slices of one examination: look at them. "
    )
    if divided is not None:
        values["pairs_across_our_splits"] = crossing
        text += (
            f"medcls's own splits part {counted(crossing, 'pair')}; data.keep_near_copies_together=true keeps both on "
            "one side."
            if crossing
            else "None of them crosses the splits that medcls makes."
        )
    order = pairs.sort_values("crosses", ascending=False, kind="stable")
    return [
        Finding(
            "near_copies",
            "warning" if crossing else "information",
            f"{images:,} of {len(manifest):,} images look almost the same as another",
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
            f"{counted(len(torn), 'pair')} of images that look almost the same under different labels",
            f"{threshold} Perhaps one label is wrong, perhaps the difference is a small finding: look at each pair, "
            "and leave out by data.exclude what cannot be settled.",
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
            f"{int(by_split[judge]):,} of {images:,} {judge} images look almost the same as an image of another split",
            f"{threshold} Exact copies are not counted here. The splits are those that the data came with: "
            "data.keep_near_copies_together=true leaves the near copies out of training and keeps what judges whole; "
            "with data.pool_splits=true as well, all is cut anew. Without, figures on "
            f"{judge} are too good.",
            {"pairs": len(leaks), f"{judge}_images": images}
            | {f"near_copies_in_{name}": int(count) for name, count in by_split.items()},
            by_split.rename_axis("split").rename("images with a near copy in another").reset_index(),
            _near_shown(leaks, "given"),
        )
    ]


def expected_leak(units: pd.Series, test_fraction: float = 0.2) -> float:
    """The share of test images that have a sibling among the others, in the mean over all random splits by image.

    Of an image's n - 1 fellows a random n - t train: none of its g - 1 siblings does with the hypergeometric
    probability of drawing none of g - 1 among n - 1.

    Parameters
    ----------
    units : Series
        What each image belongs to, `(n,)`; equal for siblings.
    test_fraction : float
        Share of the images drawn for test; all others train.
    """
    from scipy.stats import hypergeom

    n = len(units)
    training = n - round(n * test_fraction)
    size, units_of_size = np.unique(units.value_counts(), return_counts=True)
    beside_a_sibling = 1 - hypergeom.pmf(0, n - 1, size - 1, training)
    return float((units_of_size * size * beside_a_sibling).sum() / n)


def _first_pairs(copies: pd.DataFrame, caption: str) -> Sequence[Pair]:
    """The first two files of each picture, in rows sorted by content."""
    shown = []
    for _, same in copies.groupby("content", sort=False):
        # The two sides that differ say more than two that agree.
        first, second = same.iloc[0], same.iloc[-1]
        shown.append(Pair(first["path"], second["path"], f"{caption}: {first['label']} | {second['label']}"))
        if len(shown) == MOST_SHOWN:
            break
    return shown


def _near_shown(pairs: pd.DataFrame, says: str) -> tuple[Pair, ...]:
    return tuple(
        Pair(row["first"], row["second"], f"{row[says]}; {row['bits']} of 384 bits apart")
        for _, row in pairs.head(MOST_SHOWN).iterrows()
    )
