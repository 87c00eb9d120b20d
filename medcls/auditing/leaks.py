"""Leaks: images of val and test with a duplicate, near duplicate or sibling in training, in the final splits."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medcls.auditing.findings import MOST_SHOWN, Finding, Level, Pair
from medcls.data.manifest import Manifest

RESULTS = ("test", "held_out")
"""Splits whose metrics are the result."""

CHOOSERS = ("val", "calibration")
"""Splits that select the checkpoint, the temperature and the threshold."""

SLIGHT = 0.01
"""Share of leaked images up to which a rate cannot change by more than this."""

OF_NEAR_DUPLICATES = ("near_copies", "near_copies_across_splits")


def leaks(divided: Manifest | None, near: pd.DataFrame) -> list[Finding]:
    """Images of each split with a duplicate, a near duplicate or an image of their group in training.

    `near` is as `near_pairs` returns it. Without splits there are no findings.
    """
    if divided is None:
        return []
    trained, chosen = _beside(divided, near, ("train",)), _beside(divided, near, CHOOSERS)
    found = [
        one
        for split in (*RESULTS, *CHOOSERS)
        if (one := _leak(divided, split, trained, chosen if split in RESULTS else None)) is not None
    ]
    if found:
        return found
    there = [name for name in (*RESULTS, *CHOOSERS) if (divided.rows["split"] == name).any()]
    title = f"No image of {' or '.join(there)} has a near duplicate in training"
    text = "Nor does one have a duplicate there, or an image of its group. Counted in this run's splits."
    return [Finding("leaks", "good", title, text, {f"{name}_images": len(divided.indices(name)) for name in there})]


def settled(finding: Finding, found: Sequence[Finding]) -> bool:
    """Whether a finding about the data has no effect in the splits of the run, whose `leaks` are `found`."""
    leaking = [one for one in found if one.level != "good"]
    if finding.check in OF_NEAR_DUPLICATES:
        return not leaking
    of_duplicates = finding.check == "exact_copies" or finding.check.startswith("copies_")
    return of_duplicates and not any(one.values["identical"] for one in leaking)


def _leak(divided: Manifest, split: str, trained: pd.Series, chosen: pd.Series | None) -> Finding | None:
    """The leak of one split from training; if there is none, that of a result from the selecting splits."""
    rows = divided.rows
    train, judge = (rows["split"] == "train").to_numpy(), (rows["split"] == split).to_numpy()
    same = judge & np.isin(_contents(rows), _contents(rows)[train])
    siblings = judge & (rows["group"] != "").to_numpy() & rows["group"].isin(rows.loc[train, "group"]).to_numpy()
    leaked = judge & trained.notna().to_numpy() | same | siblings
    further = np.zeros(len(rows), dtype=bool) if chosen is None else judge & chosen.notna().to_numpy() & ~leaked
    where = "training" if leaked.any() else "val"
    if not leaked.any():
        leaked, further, trained = further, leaked, trained if chosen is None else chosen
    if not leaked.any():
        return None
    labels = rows.loc[judge, "label"]
    by_class = pd.DataFrame({"images": labels.value_counts(), "leaked": rows.loc[leaked, "label"].value_counts()})
    by_class = by_class.reindex([name for name in divided.classes if name in set(labels)]).fillna(0).astype(int)
    share = float((by_class["leaked"] / by_class["images"]).max())
    level: Level = "error" if split in RESULTS and share > SLIGHT and where == "training" else "warning"
    n, m, name = int(leaked.sum()), int(judge.sum()), split.replace("_", "-")
    how = "near duplicate, a duplicate or an image of their group" if (same | siblings).any() else "near duplicate"
    more = f" {int(further.sum()):,} more have one in val, which selects the checkpoint." if further.any() else ""
    return Finding(
        f"leak_{split}",
        level,
        f"{n:,} of {m:,} {name} images {'has' if n == 1 else 'have'} a {how} in {where}",
        f"{_meaning(split, where)}{more} Counted in this run's splits, without the images that it leaves out. "
        "data.keep_near_copies_together=true keeps near duplicates in one split, and leaves them out of training if "
        f"the data's own splits separate them; until then, metrics of {name} are too high.",
        {f"{split}_images": m, "leaked": n, "identical": int(same.sum())}
        | {"of_a_group_in_training": int(siblings.sum()), "further_in_val": int(further.sum())}
        | {f"leaked_{label}": int(count) for label, count in by_class["leaked"].items()},
        by_class.rename_axis("class")
        .rename(columns={"images": f"{name} images", "leaked": f"with a near duplicate in {where}"})
        .reset_index(),
        _shown(rows[leaked], trained[leaked]),
    )


def _meaning(split: str, where: str) -> str:
    if where == "val":
        return "The checkpoint, and what was fitted, was selected on near duplicates of images in this split."
    if split in RESULTS:
        return "A network that memorises its training images predicts these correctly."
    return (
        f"The checkpoint, temperature or threshold that {split} selects is selected on images that the network knows."
    )


def _contents(rows: pd.DataFrame) -> np.ndarray:
    """The content hash of each image; for one without, a name of its own."""
    return rows["content"].where(rows["content"] != "", "image " + rows["path"]).to_numpy(object)


def _beside(divided: Manifest, near: pd.DataFrame, splits: Sequence[str]) -> pd.Series:
    """For each image the path of a duplicate or near duplicate in these splits; else missing."""
    rows = divided.rows
    codes = pd.factorize(_contents(rows))[0]
    at = pd.Index(rows["path"])
    first, second = codes[at.get_indexer(near["first"])], codes[at.get_indexer(near["second"])]
    # Of images with equal hashes only the first was compared with others: its near duplicates are those of all.
    equal = (near[["phash_distance", "dhash_distance", "detail_distance"]] == 0).all(axis=1).to_numpy()
    leader = np.arange(len(rows) + 1)
    leader[second[equal]] = first[equal]
    kinds, first, second = leader[codes], leader[first], leader[second]
    held = rows["split"].isin(splits).to_numpy()
    of_kind = pd.Series(rows["path"].to_numpy(object)[held], index=kinds[held]).groupby(level=0).first()
    beside = pd.Series(np.concatenate([second, first]), index=np.concatenate([first, second])).map(of_kind).dropna()
    found = of_kind.combine_first(beside.groupby(level=0).first())
    return pd.Series(kinds, index=rows.index).map(found)


def _shown(leaked: pd.DataFrame, partner: pd.Series) -> tuple[Pair, ...]:
    """The first leaked images beside their partner; those that only share a group are not shown."""
    beside = leaked.assign(partner=partner).dropna(subset="partner").head(MOST_SHOWN)
    return tuple(
        Pair(row["path"], row["partner"], f"{row['label']}: {row['split']} | train") for _, row in beside.iterrows()
    )
