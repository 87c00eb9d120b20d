"""From a list of labelled files to a checked manifest: the part that all sources share."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from medcls.data import manifest
from medcls.data.manifest import Manifest
from medcls.data.reading import dicom
from medcls.data.sources.masks import masks_beside_images, note_on_masks
from medcls.data.sources.options import SourceOptions
from medcls.data.sources.scan import rescan, scan_images
from medcls.errors import MedclsError
from medcls.wording import listed, tallied

T = TypeVar("T")


def assemble(
    root: Path,
    rows: pd.DataFrame,
    options: SourceOptions,
    *,
    watermarks: tuple[str, ...] = (),
    notes: Sequence[str] = (),
) -> Manifest:
    """Map labels, leave out what is excluded, scan every image, and check the result.

    Parameters
    ----------
    root : Path
        The folder that the paths are relative to.
    rows : DataFrame
        `path` (relative, unique), `label` and `given_split`; `group` if the source knows it; any further columns are
        kept. All text.
    watermarks, notes
        Of the manifest, see `Manifest`; the notes of the source come first.

    Raises
    ------
    MedclsError
        Any fault that would invalidate the results: what, where, and what to do. All unreadable images are listed.
    """
    rows, label_map, positive, number_notes = manifest.whole_numbers(rows, options.label_map, options.positive)
    before = rows["label"]
    rows, class_notes = map_labels(rows, label_map, leave_out_unmapped=options.leave_out_unmapped)
    if options.judged_by is None:
        manifest.check_distinct(list(rows["label"]))
        manifest.check_task(list(rows["label"]))
    else:
        mapping, match_notes = options.judged_by(sorted(set(rows["label"])))
        rows = rows.assign(label=rows["label"].map(mapping)).dropna(subset="label")
        class_notes = [*class_notes, *match_notes]
    if (rows["label"] != before[rows.index]).any():
        rows = rows.assign(**{manifest.SOURCE_LABEL: before[rows.index]})
    rows, exclusion_notes = manifest.exclude(
        rows, manifest.named_exclusions(options.exclude_paths, options.exclude_file, root)
    )
    classes = manifest.in_order(rows["label"])
    if options.strict or positive is not None:
        manifest.check_positive(classes, positive)
    if "group" not in rows:
        pattern = options.group_pattern
        rows = rows.assign(group=manifest.groups_from_paths(list(rows["path"]), pattern) if pattern else "")
    scan, failures = scan_images(root, rows["path"].tolist(), options.scan)
    if failures and options.strict:
        raise MedclsError(
            f"{len(failures):,} of {len(rows):,} images cannot be read:\n{listed([str(one) for one in failures])}\n"
            f"Repair or remove them, or leave them out with data.exclude. {manifest.audit_lists_all(root)}",
            kind="unreadable_image",
        )
    rows = rows[rows["path"].isin(scan.index)]
    masks = masks_beside_images(rows, scan) if options.masks is None else {}
    if masks:
        rows = rows[~rows["path"].isin(masks)]
        scan = scan.loc[rows["path"]]
    is_dicom = scan["format"].to_numpy() == "DICOM"
    if options.dicom_patients:
        rows = group_by_patient(root, rows, is_dicom)
    if options.dicom_columns:
        rows = rows.assign(**header_columns(root, rows["path"].tolist(), is_dicom))
    rows = rows.assign(split="", content=scan["content"].to_numpy(), stamp="".join(watermarks))
    if options.strict:
        if conflicts := manifest.label_conflicts(rows):
            scan = rescan(root, scan, conflicts, options.scan)
            rows["content"] = scan["content"].to_numpy()
        manifest.check_one_label_per_image(root, rows)
    others = [column for column in rows.columns if column not in manifest.COLUMNS]
    return Manifest(
        root,
        classes,
        rows[[*manifest.COLUMNS, *others]].reset_index(drop=True),
        positive,
        watermarks,
        (*notes, *number_notes, *class_notes, *exclusion_notes, *note_on_masks(masks)),
        scan,
        tuple(failures),
    )


def group_by_patient(root: Path, rows: pd.DataFrame, is_dicom: np.ndarray) -> pd.DataFrame:
    """Set the group of each DICOM file to a hash of its patient id; other files get no group."""
    if rows["group"].any():
        raise MedclsError(
            "data.dicom_patients=true groups images by patient, and so does data.group_pattern, data.groups or "
            "data.group_column: keep one of them.",
            kind="conflicting_settings",
        )
    if not is_dicom.any():
        raise MedclsError(
            "data.dicom_patients=true, but none of the images is a DICOM file: set it to false.",
            kind="no_patient_ids",
        )
    salt = dicom.installation_salt()
    groups = from_dicom(root, rows["path"].tolist(), is_dicom, lambda path: dicom.patient_group(path, salt), "")
    if not any(groups):
        raise MedclsError(
            "data.dicom_patients=true, but no DICOM file has a patient id (was it removed to anonymise them?): name "
            "the patient with data.group_pattern, or set it to false.",
            kind="no_patient_ids",
        )
    return rows.assign(group=groups)


def header_columns(root: Path, paths: Sequence[str], is_dicom: np.ndarray) -> dict[str, list[str]]:
    """Elements of DICOM headers as columns `dicom_<keyword>`, without those that are empty in every file."""
    headers = from_dicom(root, paths, is_dicom, dicom.headers, dict.fromkeys(dicom.SAFE_COLUMNS, ""))
    columns = {f"dicom_{name}": [header[name] for header in headers] for name in dicom.SAFE_COLUMNS}
    return {name: values for name, values in columns.items() if any(values)}


def from_dicom(
    root: Path, paths: Sequence[str], is_dicom: np.ndarray, read: Callable[[Path], T], default: T
) -> list[T]:
    """Read each DICOM file's header, in the order of `paths`; `default` for other files."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda path, dicom_file: read(root / path) if dicom_file else default, paths, is_dicom))


def map_labels(
    rows: pd.DataFrame, label_map: Mapping[str, Sequence[str]] | None, *, leave_out_unmapped: bool
) -> tuple[pd.DataFrame, list[str]]:
    """Give the rows their new labels, and leave out and count those without one if asked to."""
    if label_map is None or label_map == {}:
        if leave_out_unmapped:
            raise MedclsError(
                "data.leave_out_unmapped=true leaves out the classes that data.label_map does not name, and there is "
                "no data.label_map.",
                kind="missing_setting",
            )
        return rows, []
    mapping = manifest.check_label_map(label_map, sorted(set(rows["label"])), leave_out_unmapped=leave_out_unmapped)
    is_mapped = rows["label"].isin(mapping.keys())
    unmapped, rows = rows.loc[~is_mapped, "label"], rows[is_mapped]
    counts = tallied([repr(name) for name in unmapped])
    notes = [f"left out {len(unmapped):,} image(s) of classes that data.label_map does not name: {counts}"]
    return rows.assign(label=rows["label"].map(mapping)), notes if len(unmapped) else []
