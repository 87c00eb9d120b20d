"""From a list of labelled files, wherever it came from, to a checked manifest: the part that all sources share."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from medcls.data.manifest import (
    COLUMNS,
    SOURCE_LABEL,
    Manifest,
    audit_lists_all,
    check_distinct,
    check_label_map,
    check_one_label_per_image,
    check_positive,
    check_task,
    exclude,
    groups_from_paths,
    in_order,
    label_conflicts,
    named_exclusions,
    whole_numbers,
)
from medcls.data.reading import dicom
from medcls.data.sources.masks import check_masks, masks_beside_images, note_on_masks
from medcls.data.sources.scan import looked_at_again, scan_images
from medcls.errors import MedclsError
from medcls.wording import listed, tallied

Said = TypeVar("Said")

MatchClasses = Callable[[Sequence[str]], tuple[Mapping[str, str], list[str]]]


def assemble(
    root: Path,
    rows: pd.DataFrame,
    *,
    positive: str | None = None,
    label_map: Mapping[str, Sequence[str]] | None = None,
    leave_out_unmapped: bool = False,
    group_pattern: str | None = None,
    masks: str | None = None,
    exclude_paths: str | Sequence[str] = (),
    exclude_file: str | Path | None = None,
    dicom_patients: bool = False,
    dicom_columns: bool = False,
    frame: int = 0,
    remember: bool = True,
    watermarks: tuple[str, ...] = (),
    notes: Sequence[str] = (),
    strict: bool = True,
    judged_by: MatchClasses | None = None,
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
    masks : str, optional
        `keep` takes segmentation masks for images. Without, they are left out where they lie beside the images that
        they belong to; see `masks.masks_beside_images`.
    exclude_paths : str or sequence of str
        Relative paths of images to leave out.
    exclude_file : path, optional
        A text file of such paths, one a line, as `medcls.audit` writes it.
    dicom_patients : bool
        Group DICOM files by patient: a salted hash of the patient id, see `medcls.data.reading.dicom.patient_group`.
    dicom_columns : bool
        Carry along what a DICOM file's header says of modality, view and scanner: nothing that names a person.
    frame : int
        Which frame or page, where a file holds several.
    remember : bool
        Keep what is found out about each file for the next run, and take from there what is known.
    stamps, notes
        What every figure must say; what the source has done so far.
    strict : bool
        False, for the audit, which reports what would stop a training: unreadable images are left out and listed
        in `Manifest.unreadable`, one picture may stand under two labels, and no positive class need be named.
    judged_by : callable, optional
        For images that a trained network is to judge: given their labels, the class of each among that network's, and
        what was done, in words. Labels without a class are left out; one class is then enough.
    progress : callable, optional
        Called with images read and images in all.

    Raises
    ------
    MedclsError
        Anything that would make a classifier lie: each message says what, where, and what to do. Unreadable images
        are all listed.
    """
    rows, label_map, positive, whole = whole_numbers(rows, label_map, positive)
    before = rows["label"]
    rows, unmapped = map_labels(rows, label_map, leave_out_unmapped=leave_out_unmapped)
    if judged_by is None:
        check_distinct(list(rows["label"]))
        check_task(list(rows["label"]))
    else:
        mapping, matched = judged_by(sorted(set(rows["label"])))
        rows = rows.assign(label=rows["label"].map(mapping)).dropna(subset="label")
        unmapped = [*unmapped, *matched]
    if (rows["label"] != before[rows.index]).any():
        rows = rows.assign(**{SOURCE_LABEL: before[rows.index]})
    rows, excluded = exclude(rows, named_exclusions(exclude_paths, exclude_file, root))
    classes = in_order(rows["label"])
    if strict or positive is not None:
        check_positive(classes, positive)
    if "group" not in rows:
        rows = rows.assign(group=groups_from_paths(list(rows["path"]), group_pattern) if group_pattern else "")
    facts, failures = scan_images(root, rows["path"].tolist(), frame=frame, remember=remember, progress=progress)
    if failures and strict:
        raise MedclsError(
            f"{len(failures):,} of {len(rows):,} images cannot be read:\n{listed([str(one) for one in failures])}\n"
            f"Mend or remove them, or leave them out by data.exclude. {audit_lists_all(root)}",
            kind="unreadable_image",
        )
    rows = rows[rows["path"].isin(facts.index)]
    check_masks(masks)
    found = masks_beside_images(rows, facts) if masks is None else {}
    if found:
        rows = rows[~rows["path"].isin(found)]
        facts = facts.loc[rows["path"]]
    is_dicom = facts["format"].to_numpy() == "DICOM"
    if dicom_patients:
        rows = group_by_patient(root, rows, is_dicom, asked_otherwise=bool(rows["group"].any()))
    if dicom_columns:
        rows = rows.assign(**header_columns(root, rows["path"].tolist(), is_dicom))
    rows = rows.assign(split="", content=facts["content"].to_numpy(), stamp="".join(watermarks))
    if strict:
        if conflicts := label_conflicts(rows):
            facts = looked_at_again(root, facts, conflicts, frame=frame, remember=remember)
            rows["content"] = facts["content"].to_numpy()
        check_one_label_per_image(root, rows)
    others = [column for column in rows.columns if column not in COLUMNS]
    rows = rows[[*COLUMNS, *others]].reset_index(drop=True)
    return Manifest(
        root,
        classes,
        rows,
        positive,
        watermarks,
        (*notes, *whole, *unmapped, *excluded, *note_on_masks(found)),
        facts,
        tuple(failures),
    )


def group_by_patient(root: Path, rows: pd.DataFrame, is_dicom: np.ndarray, *, asked_otherwise: bool) -> pd.DataFrame:
    """Name each DICOM file's patient, by a hash, as its group; other files stand for themselves.

    Raises
    ------
    MedclsError
        There are groups already, no DICOM files, or not one of them names a patient.
    """
    if asked_otherwise:
        raise MedclsError(
            "data.dicom_patients=true groups images by patient, and data.group_pattern, data.groups or "
            "data.group_column does so too: keep one of them.",
            kind="conflicting_settings",
        )
    if not is_dicom.any():
        raise MedclsError(
            "data.dicom_patients=true, but not one of the images is a DICOM file: set it to false.",
            kind="no_patient_ids",
        )
    salt = dicom.installation_salt()
    groups = of_dicom(root, rows["path"].tolist(), is_dicom, lambda path: dicom.patient_group(path, salt), "")
    if not any(groups):
        raise MedclsError(
            "data.dicom_patients=true, but no DICOM file here holds a patient id (was it removed to make them "
            "anonymous?): name the patient by data.group_pattern, or set it to false.",
            kind="no_patient_ids",
        )
    return rows.assign(group=groups)


def header_columns(root: Path, paths: Sequence[str], is_dicom: np.ndarray) -> dict[str, list[str]]:
    """What the headers of DICOM files say, as columns `dicom_<keyword>`; what none of them says is left out."""
    nothing = dict.fromkeys(dicom.SAFE_COLUMNS, "")
    found = of_dicom(root, paths, is_dicom, dicom.headers, nothing)
    columns = {f"dicom_{name}": [header[name] for header in found] for name in dicom.SAFE_COLUMNS}
    return {name: values for name, values in columns.items() if any(values)}


def of_dicom(
    root: Path, paths: Sequence[str], is_dicom: np.ndarray, read: Callable[[Path], Said], otherwise: Said
) -> list[Said]:
    """What the header of each DICOM file says, in the order of `paths`; `otherwise` for files of another kind."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda path, asked: read(root / path) if asked else otherwise, paths, is_dicom))


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
                "no data.label_map.",
                kind="missing_setting",
            )
        return rows, []
    mapping = check_label_map(label_map, sorted(set(rows["label"])), leave_out_unmapped=leave_out_unmapped)
    unmapped = rows.loc[~rows["label"].isin(mapping.keys()), "label"]
    rows = rows[rows["label"].isin(mapping.keys())]
    counts = tallied([repr(name) for name in unmapped])
    notes = [f"left out {len(unmapped):,} image(s) of classes that data.label_map does not name: {counts}"]
    return rows.assign(label=rows["label"].map(mapping)), notes if len(unmapped) else []
