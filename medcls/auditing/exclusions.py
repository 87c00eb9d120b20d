"""The list of images to leave out, as `medcls.data.manifest.read_exclusions` reads it."""

from collections.abc import Sequence

import pandas as pd

from medcls.auditing.findings import Finding
from medcls.data.manifest import Manifest


def emptied_classes(manifest: Manifest, findings: Sequence[Finding]) -> list[Finding]:
    """Classes that would have no image in a split without the images that findings exclude."""
    listed = {path for finding in findings for path in finding.exclude}
    rows = manifest.rows
    before = rows.groupby(["given_split", "label"]).size()
    after = rows[~rows["path"].isin(listed)].groupby(["given_split", "label"]).size()
    gone = before[~before.index.isin(after.index)]
    emptied = [(str(split), str(label)) for split, label in gone.index]
    if not emptied:
        return []
    where = "; ".join(f"{split or 'the set'} no image of {label}" for split, label in emptied)
    return [
        Finding(
            "after_exclusion",
            "warning",
            f"The list of audit.fix=exclude would leave {where}",
            "A training stops if a split that came with the data lacks a class, whatever fractions and seed. Correct "
            "the labels or the files instead; or merge the class with another (data.label_map), leave it out of the "
            "map (data.leave_out_unmapped=true), or re-split all images (data.pool_splits=true).",
            {"classes": len({label for _, label in emptied})},
            pd.DataFrame(emptied, columns=["split", "class"]).assign(images=gone.to_numpy()),
        )
    ]


def exclusions(findings: Sequence[Finding], before: Sequence[str] = ()) -> tuple[str, int, list[str]]:
    """Format a list of relative paths, one a line, each below the first reason to leave it out.

    Returns
    -------
    text : str
        For a file; empty if nothing is listed. Paths of an earlier list, `before`, stay.
    listed : int
        Number of paths.
    unlisted : list of str
        Paths that no line can hold: with a line break, or read as a comment.
    """
    reasons = [("left out before", before)]
    reasons += [(f"{finding.check}: {finding.title}", finding.exclude) for finding in findings]
    lines: list[str] = []
    named: set[str] = set()
    unlisted: list[str] = []
    for reason, paths in reasons:
        new = [path for path in dict.fromkeys(paths) if path not in named]
        named.update(new)
        fit = [path for path in new if path.splitlines() == [path] and path.strip() and not path.startswith("# ")]
        unlisted += [path for path in new if path not in fit]
        if fit:
            lines += [f"# {' '.join(reason.split())}", *fit]
    return "".join(f"{line}\n" for line in lines), len(named) - len(unlisted), unlisted
