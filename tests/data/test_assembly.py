"""What all sources share: patients and headers of DICOM files."""

import numpy as np
import pytest
from made_files import dicom_bytes, dicom_slice
from PIL import Image

from medcls.data.folders import from_folders
from medcls.data.splits import split
from medcls.errors import MedclsError


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
    assert any("2 file(s) that are no images" in note for note in manifest.notes)
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
    with pytest.raises(MedclsError, match="keep one of them"):
        from_folders(scans, positive="ill", dicom_patients=True, group_pattern=r"(\d)")
    with pytest.raises(MedclsError, match="not one of the images is a DICOM file"):
        from_folders(folder({"a": 3, "b": 3}, name="pngs"), positive="a", dicom_patients=True)
    nameless = [path for path in sorted(scans.rglob("*")) if path.is_file() and path.name not in ("README", "seen.png")]
    for seed, path in enumerate(nameless):
        values = np.random.default_rng(seed).integers(0, 999, (8, 8)).astype(np.uint16)
        path.write_bytes(dicom_bytes(dicom_slice(values)))
    with pytest.raises(MedclsError, match="holds a patient id"):
        from_folders(scans, positive="ill", dicom_patients=True)
