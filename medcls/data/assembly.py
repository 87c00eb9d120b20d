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
    count_words,
    exclude,
    groups_from_paths,
    named_exclusions,
)
from medcls.data.survey import survey
from medcls.errors import MedclsError


def assemble(
    root: Path,
    rows: pd.DataFrame,
    *,
    positive: str | None = None,
    label_map: Mapping[str, Sequence[str]] | None = None,
    leave_out_unmapped: bool = False,
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
    leave_out_unmapped : bool
        Leave out the images of classes that `label_map` does not name, rather than ask for a name.
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
    rows, unmapped = map_labels(rows, label_map, leave_out_unmapped=leave_out_unmapped)
    check_task(list(rows["label"]))
    rows, excluded = exclude(rows, named_exclusions(exclude_paths, exclude_file))
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
    return Manifest(root, classes, rows, positive, stamps, (*notes, *unmapped, *excluded), facts, tuple(failures))


def map_labels(
    rows: pd.DataFrame, label_map: Mapping[str, Sequence[str]] | None, *, leave_out_unmapped: bool
) -> tuple[pd.DataFrame, list[str]]:
    """Give the rows their new labels; those of classes without one are left out where asked, and counted.

    Raises
    ------
    MedclsError
        As `check_label_map`; or there is no map to leave anything out by.
    """
    if label_map is None or label_map == {}:
        if leave_out_unmapped:
            raise MedclsError(
                "data.leave_out_unmapped=true leaves out the classes that data.label_map does not name, and there is "
                "no data.label_map."
            )
        return rows, []
    mapping = check_label_map(label_map, sorted(set(rows["label"])), leave_out_unmapped=leave_out_unmapped)
    unmapped = rows.loc[~rows["label"].isin(mapping.keys()), "label"]
    rows = rows[rows["label"].isin(mapping.keys())]
    counts = count_words(list(unmapped))
    notes = [f"left out {len(unmapped):,} image(s) of classes that data.label_map does not name: {counts}"]
    return rows.assign(label=rows["label"].map(mapping)), notes if len(unmapped) else []
