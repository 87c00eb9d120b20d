"""All checks of an audit, in the order in which they are reported."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from medcls.auditing import classes, copies, groups, images
from medcls.auditing.findings import Finding, Level
from medcls.auditing.images import MOST_SHOWN, counted
from medcls.auditing.shortcuts import shortcuts
from medcls.data.manifest import Manifest, enumerated


class Met(NamedTuple):
    """Images of an earlier run's locked test that are now to be trained on."""

    run: str
    date: str
    images: int
    paths: Sequence[str]
    level: Level


def check(
    manifest: Manifest,
    divided: Manifest | None,
    *,
    resize: str = "squash",
    quick: bool = False,
    locked: Sequence[Met] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Look at a data set in every way that a table of its files allows; no image is opened.

    Parameters
    ----------
    manifest : Manifest
        Unsplit, with `facts`; made with `strict=False`, so that what would stop a training is reported.
    divided : Manifest or None
        The same after `medcls.data.splits.split`; None where it cannot be split.
    resize : str
        The policy by which images come to one size: decides whether a network sees the aspect ratio.
    quick : bool
        Leave out the search for near copies, and say so.
    locked : sequence of Met, optional
        What was met of earlier runs' test images; None where nobody looked.
    progress : callable, optional
        Called with checks done and checks in all.

    Returns
    -------
    list of Finding
        At least one a check that applies: what is in order is said too.
    """
    facts = manifest.facts.loc[manifest.rows["path"]]
    checks: list[Callable[[], list[Finding]]] = [
        partial(images.unreadable, manifest),
        partial(copies.label_conflicts, manifest),
        partial(copies.copies_across_splits, manifest),
        partial(groups.groups_across_splits, manifest),
        partial(locked_test, locked),
        partial(copies.exact_copies, manifest),
        partial(near_copies_left_out, len(manifest))
        if quick
        else partial(copies.near_copies, manifest, divided, facts),
        partial(groups.groups, manifest, divided),
        partial(groups.mixed_groups, manifest),
        partial(classes.counts, manifest),
        partial(classes.prevalence, manifest),
        partial(classes.small_test, manifest, divided),
        partial(shortcuts, manifest, facts, resize),
        partial(images.blank, facts),
        partial(images.outliers, facts),
        partial(images.endings, facts),
        partial(images.reading, facts),
    ]
    findings = []
    for done, look in enumerate(checks):
        findings += look()
        if progress is not None:
            progress(done + 1, len(checks))
    return findings


def locked_test(locked: Sequence[Met] | None) -> list[Finding]:
    """Whether test images of an earlier run are coming into training."""
    if locked is None:
        return []
    if not locked:
        return [Finding("locked_test", "good", "No test image of an earlier run is coming into training")]
    return [
        Finding(
            "locked_test",
            met.level,
            f"{counted(met.images, 'test image')} of the run {met.run} ({met.date}) coming into training",
            f"Figures of the two runs could not be held against each other: {enumerated(list(met.paths))}. Leave them "
            "out (audit.fix=exclude lists them for data.exclude_file), or keep that run's test split: "
            "data.locked_test=<its manifest.csv>.",
            {"run": met.run, "date": met.date, "images": met.images},
            images=tuple(met.paths[:MOST_SHOWN]),
            exclude=tuple(met.paths) if met.level == "error" else (),
        )
        for met in locked
    ]


def near_copies_left_out(count: int) -> list[Finding]:
    """Say that a quick audit has not searched for near copies."""
    text = "python -m medcls.audit with the same data settings does."
    title = "Near copies were not searched for in this quick audit"
    return [Finding("near_copies", "information", title, text, {"images": count, "pairs": None})]
