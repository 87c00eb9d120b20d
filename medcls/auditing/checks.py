"""All checks of an audit, in the order of the report."""

from collections.abc import Callable, Sequence
from functools import partial

from medcls.auditing import classes, groups, images
from medcls.auditing import duplicates as duplicates
from medcls.auditing.findings import Finding
from medcls.auditing.locked import locked_test
from medcls.auditing.shortcuts import shortcuts
from medcls.data.manifest import Manifest
from medcls.runs.registry import Meeting

Check = Callable[[Manifest], list[Finding]]
"""A user's check: from the manifest, split if possible, to findings; that nothing was found is a finding too."""


def check(
    manifest: Manifest,
    divided: Manifest | None,
    *,
    resize: str = "squash",
    met: Sequence[Meeting] | None = None,
    half_width: float = 0.05,
    others: Sequence[Check] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Run all checks on the scan of a data set; no image is opened.

    Parameters
    ----------
    manifest, divided : Manifest
        Not split, with `scan`, made with `strict=False` so that faults are reported; and split, or None if it cannot
        be.
    resize : str
        The resize policy: it decides whether a network sees the aspect ratio.
    met : sequence of Meeting, optional
        Earlier runs' test images that are in training now; None if this was not looked up.
    half_width : float
        Half the width of the interval of sensitivity that is asked for.
    others : sequence of Check
        User's checks, run last.
    """
    if manifest.rows.empty:
        return images.unreadable(manifest)
    scan = manifest.scan.loc[manifest.rows["path"]]
    checks: list[Callable[[], list[Finding]]] = [
        partial(images.unreadable, manifest),
        partial(duplicates.label_conflicts, manifest),
        partial(duplicates.duplicates_across_splits, manifest),
        partial(groups.groups_across_splits, manifest),
        partial(locked_test, met),
        partial(duplicates.exact_duplicates, manifest),
        partial(duplicates.near_duplicates, manifest, divided, scan),
        partial(groups.groups, manifest, divided),
        partial(groups.shares, divided),
        partial(groups.mixed_groups, manifest),
        partial(classes.counts, manifest),
        partial(classes.prevalence, manifest),
        partial(classes.small_test, manifest, divided, half_width),
        partial(shortcuts, manifest, scan, resize),
        partial(images.blank, scan),
        partial(images.outliers, scan),
        partial(images.endings, scan),
        partial(images.reading, scan),
        *(partial(other, manifest if divided is None else divided) for other in others),
    ]
    findings = []
    for done, run_check in enumerate(checks):
        findings += run_check()
        if progress is not None:
            progress(done + 1, len(checks))
    return findings
