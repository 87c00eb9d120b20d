"""All checks of an audit, in the order in which they are reported."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd

from medcls.auditing import classes, copies, groups, images
from medcls.auditing.findings import LEVELS, Finding, Level
from medcls.auditing.images import MOST_SHOWN, counted
from medcls.auditing.shortcuts import shortcuts
from medcls.data.manifest import Manifest


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
    locked : sequence of Met, optional
        What was met of earlier runs' test images; None where nobody looked.
    progress : callable, optional
        Called with checks done and checks in all.

    Returns
    -------
    list of Finding
        At least one a check that applies: what is in order is said too.
    """
    if manifest.rows.empty:
        return images.unreadable(manifest)
    facts = manifest.facts.loc[manifest.rows["path"]]
    checks: list[Callable[[], list[Finding]]] = [
        partial(images.unreadable, manifest),
        partial(copies.label_conflicts, manifest),
        partial(copies.copies_across_splits, manifest),
        partial(groups.groups_across_splits, manifest),
        partial(locked_test, locked),
        partial(copies.exact_copies, manifest),
        partial(copies.near_copies, manifest, divided, facts),
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
    # Every earlier split by another seed shares images with this training: one finding a level, not one a run.
    return [
        _met([met for met in locked if met.level == level]) for level in LEVELS if level in {m.level for m in locked}
    ]


def _met(locked: Sequence[Met]) -> Finding:
    paths = sorted({path for met in locked for path in met.paths})
    runs = f"the run {locked[0].run} ({locked[0].date})" if len(locked) == 1 else f"{len(locked)} earlier runs"
    return Finding(
        "locked_test",
        locked[0].level,
        f"{counted(len(paths), 'test image')} of {runs} coming into training",
        "What judged there is learned from here: figures of the two cannot be held against each other, and a network "
        "or a setting carried over from there is not judged fairly. data.locked_test=<that run's manifest.csv> keeps "
        "its test split; or leave the images out (audit.fix=exclude lists them for data.exclude_file where this is an "
        "error).",
        {"images": len(paths), "runs": len(locked)},
        pd.DataFrame([{"run": met.run, "date": met.date, "images": met.images} for met in locked]),
        images=tuple(paths[:MOST_SHOWN]),
        exclude=tuple(paths) if locked[0].level == "error" else (),
    )
