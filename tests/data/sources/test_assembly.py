"""What all sources share: names and order of classes, merged classes, patients and headers of DICOM files."""

import shlex

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from made_files import dicom_bytes, dicom_slice
from PIL import Image
from refusals import noted, refused

from medcls.auditing.shortcuts import metadata
from medcls.data.sources.folders import from_folders
from medcls.data.sources.tables import from_csv
from medcls.data.splits.split import split


@pytest.fixture
def scans(tmp_path):
    """Two classes of CT slices, four of each patient, named as scanners do; and one PNG."""
    root = tmp_path / "scans"
    draw = np.random.default_rng(0)
    names = ("{n}.dcm", "IM{n:04d}", "1.2.840.{n}")
    for label, first in (("ill", 0), ("well", 10)):
        (root / label).mkdir(parents=True)
        for n in range(40):
            values = draw.integers(-1000, 1000, (16, 16)).astype(np.int16)
            patient = f"Doe^{first + n // 4}"
            data = dicom_bytes(dicom_slice(values, PatientID=patient, PatientName="Jane", ViewPosition="AP"))
            (root / label / names[n % 3].format(n=n)).write_bytes(data)
        (root / label / "README").write_text("no image")
    Image.fromarray(draw.integers(0, 256, (16, 16)).astype(np.uint8)).save(root / "ill" / "seen.png")
    return root


def test_p03_dicom_files_are_grouped_by_patient_without_naming_one(scans):
    manifest = from_folders(scans, positive="ill", dicom_patients=True, dicom_columns=True)
    rows = manifest.rows
    assert len(rows) == 81
    assert noted(manifest.notes, "2", "README")
    sizes = rows[rows["group"] != ""].groupby("group").size()
    assert len(sizes) == 20
    assert set(sizes) == {4}
    assert rows.loc[rows["path"] == "ill/seen.png", "group"].item() == ""
    assert "Doe" not in manifest.to_csv()
    assert "Jane" not in manifest.to_csv()
    assert set(rows["dicom_Modality"]) == {"CT", ""}
    assert set(rows["dicom_ViewPosition"]) == {"AP", ""}
    assert "dicom_Laterality" not in rows, "what no file says is no column"
    divided = split(manifest).rows
    assert divided[divided["group"] != ""].groupby("group")["split"].nunique().eq(1).all()


def test_patients_are_asked_for_once_and_must_be_there(scans, folder):
    with refused("conflicting_settings", "data.dicom_patients", "data.group_pattern"):
        from_folders(scans, positive="ill", dicom_patients=True, group_pattern=r"(\d)")
    with refused("no_patient_ids", "data.dicom_patients"):
        from_folders(folder({"a": 3, "b": 3}, name="pngs"), positive="a", dicom_patients=True)
    nameless = [path for path in sorted(scans.rglob("*")) if path.is_file() and path.name not in ("README", "seen.png")]
    for seed, path in enumerate(nameless):
        values = np.random.default_rng(seed).integers(0, 999, (8, 8)).astype(np.uint16)
        path.write_bytes(dicom_bytes(dicom_slice(values)))
    with refused("no_patient_ids", "data.dicom_patients", "data.group_pattern"):
        from_folders(scans, positive="ill", dicom_patients=True)


def test_s10_merged_classes_keep_what_the_data_called_them(folder):
    root = folder({"bcc": 4, "mel": 4, "nv": 4, "left": 2})
    plain = from_folders(root)
    assert "source_label" not in plain.rows
    merged = from_folders(
        root, positive="malignant", label_map={"malignant": ["bcc", "mel"], "nv": ["nv"]}, leave_out_unmapped=True
    )
    assert merged.rows["source_label"].tolist() == ["bcc"] * 4 + ["mel"] * 4 + ["nv"] * 4
    assert merged.rows["label"].tolist() == ["malignant"] * 8 + ["nv"] * 4
    # The names alone decide nothing: the fingerprint is that of runs from before there was this column.
    assert merged.fingerprint() == merged.with_rows(merged.rows.drop(columns="source_label")).fingerprint()
    same = from_folders(root, label_map={name: [name] for name in plain.classes})
    assert "source_label" not in same.rows
    # It tells the label by nature, and is no shortcut.
    assert metadata(merged.rows) == ([], [])


def test_s10_another_sites_classes_keep_their_own_names_too(folder):
    root = folder({"Mel": 3, "nevus": 3})

    def match(labels):
        return {"Mel": "malignant", "nevus": "other"}, []

    manifest = from_folders(root, judged_by=match, strict=False)
    assert manifest.rows["source_label"].tolist() == ["Mel"] * 3 + ["nevus"] * 3


def test_s10_a_tables_own_column_of_that_name_is_kept_under_another(folder):
    root = folder({"a": 2, "b": 2})
    table = root.parent / "table.csv"
    lines = [f"{label}/00{n}.png,{label},x\n" for label in "ab" for n in range(2)]
    table.write_text("path,label,source_label\n" + "".join(lines))
    manifest = from_csv(table, root, positive="c", label_map={"c": ["a"], "b": ["b"]})
    assert manifest.rows["source_label"].tolist() == ["a", "a", "b", "b"]
    assert manifest.rows["csv_source_label"].eq("x").all()


@pytest.mark.parametrize(
    "names",
    [
        ("Benign", "benign"),
        ("b", "b "),
        ("left lung", "Left  Lung"),
        ("n\u200bormal", "normal"),
        ("ﬁbrosis", "fibrosis"),
    ],
)
def test_classes_that_differ_in_case_or_blanks_alone_stop_and_the_line_joins_them(folder, picture, names):
    root = folder({names[0]: 3, "other": 3})
    for number in range(2):
        picture(root / names[1] / f"x{number}.png", 900 + number)
    with refused("class_names_alike", f"{names[0]!r} (3)", f"{names[1]!r} (2)") as caught:
        from_folders(root)
    (line,) = [line for line in str(caught.value).split("\n") if line.startswith("  ")]
    joined = OverridesParser.create().parse_override(shlex.split(line)[0]).value()
    manifest = from_folders(root, positive="other", label_map=joined)
    assert len(manifest.classes) == 2 and len(manifest) == 8
    assert set(manifest.rows["source_label"]) == {*names, "other"}


def test_splits_whose_classes_differ_in_case_alone_say_so(folder):
    root = folder({"train/Benign": 2, "train/x": 2, "test/benign": 2, "test/x": 2})
    with refused("missing_class", "'Benign' and 'benign'"):
        from_folders(root)
