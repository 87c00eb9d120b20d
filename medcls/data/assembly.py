"""From a list of labelled files, wherever it came from, to a checked manifest: the part that all sources share."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from medcls.data.manifest import (
    COLUMNS,
    Manifest,
    check_label_map,
    check_one_label_per_image,
    check_positive,
    check_task,
    exclude,
    groups_from_paths,
    read_exclusions,
)
from medcls.data.survey import survey
from medcls.errors import MedclsError


def assemble(
    root: Path,
    rows: pd.DataFrame,
    *,
    positive: str | None = None,
    label_map: Mapping[str, Sequence[str]] | None = None,
    group_pattern: str | None = None,
    exclude_paths: str | Sequence[str] = (),
    exclude_file: str | Path | None = None,
    frame: int = 0,
    remember: bool = True,
    stamps: tuple[str, ...] = (),
    notes: Sequence[str] = (),
    strict: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Map labels, leave out what is named, read every image once, and check what comes out.

    Parameters
    ----------
    root : Path
        The folder that the paths are relative to.
    rows : DataFrame
        `path` (relative, unique), `label` and `given_split`; `group` where the source knows it; any further columns
        are carried along. All text.
    positive : str, optional
        The class a binary task looks for.
    label_map : mapping, optional
        `{new class: [labels]}`, to merge or rename classes.
    group_pattern : str, optional
        A regular expression that finds the patient (lesion, exam) in an image's relative path.
    exclude_paths : str or sequence of str
        Relative paths of images to leave out.
    exclude_file : path, optional
        A text file of such paths, one a line, as `medcls.audit` writes it.
    frame : int
        Which frame or page, where a file holds several.
    remember : bool
        Keep what is found out about each file for the next run, and take from there what is known.
    stamps, notes
        What every figure must say; what the source has done so far.
    strict : bool
        False, for the audit, which reports what would stop a training: unreadable images are left out and listed
        in `Manifest.unreadable`, one picture may stand under two labels, and no positive class need be named.
    progress : callable, optional
        Called with images read and images in all.

    Raises
    ------
    MedclsError
        Anything that would make a classifier lie: each message says what, where, and what to do. Unreadable images
        are all listed.
    """
    if label_map is not None and label_map != {}:
        rows = rows.assign(label=rows["label"].map(check_label_map(label_map, sorted(set(rows["label"])))))
    check_task(list(rows["label"]))
    rows, excluded = exclude(rows, exclude_paths, read_exclusions(exclude_file))
    classes = tuple(sorted(set(rows["label"])))
    if strict or positive is not None:
        check_positive(classes, positive)
    if "group" not in rows:
        rows = rows.assign(group=groups_from_paths(list(rows["path"]), group_pattern) if group_pattern else "")
    facts, failures = survey(root, rows["path"].tolist(), frame=frame, remember=remember, progress=progress)
    if failures and strict:
        raise MedclsError(
            f"{len(failures)} of {len(rows)} images cannot be read:\n"
            + "\n".join(f"  {failure}" for failure in failures)
            + "\nMend or remove them, or leave them out by data.exclude."
        )
    rows = rows[rows["path"].isin(facts.index)]
    rows = rows.assign(split="", content=facts["content"].to_numpy(), stamp="".join(stamps))
    if strict:
        check_one_label_per_image(rows)
    others = [column for column in rows.columns if column not in COLUMNS]
    rows = rows[[*COLUMNS, *others]].reset_index(drop=True)
    return Manifest(root, classes, rows, positive, stamps, (*notes, *excluded), facts, tuple(failures))
