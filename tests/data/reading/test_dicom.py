"""DICOM: the arrays that pydicom itself gives for the files it brings along, and what a scanner may throw at us."""

import io
import multiprocessing
import shutil
import stat
import struct
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_files import dicom_bytes, dicom_slice
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, get_decoder, pixel_array
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
)
from refusals import noted, refused

from medcls.data.reading import dicom, images
from medcls.data.reading.decoded import UnreadableImage
from medcls.data.reading.images import decode, is_image_name, is_unnamed_image, read
from medcls.preprocessing import Decoding
from medcls.user_folders import state_folder

# Some of pydicom's files break rules on purpose, of which it warns.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"  # never get_testdata_file, which may download


def bundled(name: str) -> Path:
    path = BUNDLED / name
    if not path.is_file():
        pytest.skip(f"this pydicom does not bring {name}")
    return path


def needs_decoder(dataset: Dataset) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and not get_decoder(syntax).is_available:
        pytest.skip(f"no decoder for {syntax.name} is installed")


GREY_FILES = [
    "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm",
    "MR_small_implicit.dcm", "MR_small_padded.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
    "JPEG2000.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm", "examples_overlay.dcm", "image_dfl.dcm", "liver_1frame.dcm", "liver_expb_1frame.dcm",
    "rtdose_1frame.dcm", "rtdose_expb_1frame.dcm", "rtdose_rle_1frame.dcm",
]  # fmt: skip
COLOUR_FILES = [
    "ExplVR_BigEnd.dcm", "GDCMJ2K_TextGBR.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm", "SC_rgb_gdcm_KY.dcm", "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit.dcm", "SC_rgb_small_odd.dcm",
    "SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd_jpeg.dcm", "SC_ybr_full_422_uncompressed.dcm",
    "examples_jpeg2k.dcm", "examples_rgb_color.dcm",
]  # fmt: skip


@pytest.mark.parametrize("name", GREY_FILES)
def test_grey_is_what_pydicom_says(name: str) -> None:
    path = bundled(name)
    dataset = pydicom.dcmread(path)
    needs_decoder(dataset)
    levels = apply_modality_lut(dataset.pixel_array, dataset)
    got = read(path, Decoding(1))
    assert np.array_equal(got.stored[..., 0], levels)
    assert got.stored.dtype == levels.dtype.newbyteorder("=")
    assert (got.format, got.mode, got.bits) == ("DICOM", "MONOCHROME2", dataset.BitsStored)
    if "WindowCenter" in dataset:
        shown = apply_voi_lut(levels, dataset)
        low, high = np.iinfo("int16").min, np.iinfo("int16").max
        if dataset.BitsStored < 16:
            span = 2**dataset.BitsStored
            low, high = (-span // 2, span // 2 - 1) if dataset.PixelRepresentation else (0, span - 1)
        if "RescaleSlope" in dataset:
            low, high = (end * dataset.RescaleSlope + dataset.RescaleIntercept for end in (low, high))
        want = np.rint((shown - float(low)) / (float(high) - float(low)) * 255)
        if "PixelPaddingValue" in dataset:
            want[dataset.pixel_array == dataset.PixelPaddingValue] = 0
        assert np.array_equal(got.pixels[..., 0], want)
        assert noted(got.notes, "(LINEAR)")
    elif dataset.BitsStored == 8:
        assert np.array_equal(got.pixels[..., 0], levels)
        assert got.notes == ()
    elif dataset.BitsStored == 1:
        assert np.array_equal(got.pixels[..., 0], levels * 255)
    else:
        assert noted(got.notes, "0.5", "99.5")


@pytest.mark.parametrize("name", COLOUR_FILES)
def test_p18_colour_is_what_pydicom_says(name: str) -> None:
    path = bundled(name)
    needs_decoder(pydicom.dcmread(path))
    want = pixel_array(path)
    got = read(path, Decoding(3, window="full"))
    assert np.array_equal(got.stored, want)
    assert got.pixels.shape == want.shape
    most = np.iinfo(want.dtype).max
    assert np.array_equal(got.pixels, np.rint(want.astype(float) / most * 255))


def test_p18_the_ybr_files_are_the_rgb_ones() -> None:
    """Against a file that never was YBR: the bars of colour must not come out as YBR read as RGB."""
    rgb = read(bundled("SC_rgb_rle.dcm"), Decoding()).pixels.astype(int)
    for name in ("SC_ybr_full_422_uncompressed.dcm", "SC_rgb_jpeg_dcmtk.dcm"):
        assert np.abs(read(bundled(name), Decoding()).pixels - rgb).mean() < 8


def test_palette_colour() -> None:
    path = bundled("examples_palette.dcm")
    dataset = pydicom.dcmread(path)
    want = apply_color_lut(dataset.pixel_array, dataset)
    got = read(path, Decoding(3, bits=16))
    assert np.array_equal(got.stored, want)
    assert np.array_equal(got.pixels, want)
    assert got.mode == "PALETTE COLOR"
    assert np.array_equal(read(path, Decoding(3, window=(3, 9))).pixels, np.rint(want / 257))


@pytest.mark.parametrize(
    "name", ["SC_rgb_rle_2frame.dcm", "SC_rgb_rle_16bit_2frame.dcm", "rtdose.dcm", "rtdose_rle.dcm"]
)
def test_frames(name: str) -> None:
    path = bundled(name)
    every = pixel_array(path)
    for frame in (0, 1):
        got = read(path, Decoding(3, frame=frame))
        assert np.array_equal(got.stored.squeeze(), every[frame])
        assert got.frames == len(every)
        assert noted(got.notes[:1], "first" if frame == 0 else "frame 1", str(len(every)))
    with refused("no_such_frame", "99", str(len(every))):
        read(path, Decoding(3, frame=99))


def test_ybr_frames() -> None:
    path = bundled("examples_ybr_color.dcm")
    needs_decoder(pydicom.dcmread(path))
    assert np.array_equal(read(path, Decoding(frame=29)).stored, pixel_array(path, index=29))


def test_a_truncated_file_is_an_error_with_its_name() -> None:
    with refused("damaged_image", "MR_truncated.dcm", "8130", "8192"):
        read(bundled("MR_truncated.dcm"), Decoding())


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("rtplan.dcm", "RT Plan Storage (modality RTPLAN)"),
        ("rtstruct.dcm", "RT Structure Set Storage (modality RTSTRUCT)"),
        ("ExplVR_BigEndNoMeta.dcm", "RT Ion Plan Storage (modality RTPLAN)"),
        ("reportsi.dcm", "Basic Text SR Storage (modality SR)"),
        ("test-SR.dcm", "Comprehensive SR Storage (modality SR)"),
        ("waveform_ecg.dcm", "12-lead ECG Waveform Storage (modality ECG)"),
    ],
)
def test_what_is_no_picture_is_named(name: str, what: str) -> None:
    with refused("not_an_image", name, what):
        read(bundled(name), Decoding())


def test_every_bundled_file_is_read_or_refused_with_a_reason() -> None:
    outcomes = {"read": 0, "refused": 0}
    for path in sorted(BUNDLED.glob("*.dcm")):
        try:
            got = read(path, Decoding())
        except UnreadableImage as error:
            outcomes["refused"] += 1
            assert len(error.reason) > 20
        else:
            outcomes["read"] += 1
            assert got.pixels.dtype == np.uint8 and got.pixels.shape[2] == 3
    assert min(outcomes.values()) >= 10, outcomes


def test_a_stated_window_is_in_hounsfield_units() -> None:
    stored = np.arange(-1000, 1000, 10, dtype=np.int16).reshape(10, 20)
    data = dicom_bytes(
        dicom_slice(stored + 1024, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=0, WindowWidth=10)
    )
    got = decode(data, Decoding(1, window=(-160, 240)))
    assert np.array_equal(got.stored[..., 0], stored)
    assert np.array_equal(got.pixels[..., 0], np.rint((stored.astype(float) + 160).clip(0, 400) / 400 * 255))
    assert len(got.notes) == 1 and noted(got.notes, "16", "8", "-160 to 240")


def test_monochrome1_is_turned_round() -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for options in ({}, {"WindowCenter": 2048, "WindowWidth": 4096}):
        for window in (None, "full", (100, 3000)):
            way, both = Decoding(1, window=window), {"BitsStored": 12, "HighBit": 11, **options}
            upright, turned = (
                decode(dicom_bytes(dicom_slice(values, PhotometricInterpretation=kind, **both)), way)
                for kind in ("MONOCHROME2", "MONOCHROME1")
            )
            assert np.array_equal(turned.pixels, 255 - upright.pixels)
            assert turned.pixels[0, 0, 0] == 255
            assert any("MONOCHROME1" in note for note in turned.notes)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_counts_for_no_percentile_and_is_black(kind: str) -> None:
    values = np.random.default_rng(0).integers(500, 1500, (40, 40)).astype(np.int16)
    values[:, :10] = -2000
    got = decode(dicom_bytes(dicom_slice(values, PhotometricInterpretation=kind, PixelPaddingValue=-2000)), Decoding(1))
    low, high = np.percentile(values[:, 10:], (0.5, 99.5), method="inverted_cdf")
    assert noted(got.notes, "16", "8", "0.5", "99.5", f"{low} to {high}")
    assert noted(got.notes, "400", "padding")
    assert got.pixels[:, :10].max() == 0
    ranged = dicom_slice(values, PhotometricInterpretation=kind, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-100)
    values[:, :10] = -700
    ranged.PixelData = values.tobytes()
    assert np.array_equal(decode(dicom_bytes(ranged), Decoding(1)).pixels, got.pixels)


@pytest.mark.parametrize("shape", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("slope", [1, 2.5, -1])
def test_the_files_own_window(shape: str, slope: float) -> None:
    values = np.arange(-500, 500, dtype=np.int16).reshape(20, 50)
    dataset = dicom_slice(
        values, RescaleSlope=slope, RescaleIntercept=7, WindowCenter=[40, 9], WindowWidth=[400, 3], VOILUTFunction=shape
    )
    levels = values * slope + 7.0
    if shape == "SIGMOID":
        share = 1 / (1 + np.exp(-4 * (levels - 40) / 400))
    else:
        less = 1 if shape == "LINEAR" else 0  # PS3.3 C.11.2.1.2.1, C.11.2.1.3.2
        share = ((levels - (40 - less / 2)) / (400 - less) + 0.5).clip(0, 1)
    got = decode(dicom_bytes(dataset), Decoding(1))
    assert np.array_equal(got.stored[..., 0], levels)
    assert np.abs(got.pixels[..., 0] - share * 255).max() <= 0.5 + 1e-6
    assert len(got.notes) == 1 and noted(got.notes, "16", "8", f"({shape})", f"-160 to {240 - (shape == 'LINEAR')}")


@pytest.mark.parametrize("width", [0, -5])
def test_a_window_without_width_is_not_used_and_said(width: float) -> None:
    values = np.arange(1000, dtype=np.uint16).reshape(20, 50)
    got = decode(dicom_bytes(dicom_slice(values, WindowCenter=40, WindowWidth=width)), Decoding(1))
    assert noted(got.notes[:1], f"{width:g}") and noted(got.notes[1:], "0.5", "99.5")


@pytest.mark.parametrize("depth", [8, 12, 16])
def test_the_files_own_table(depth: int) -> None:
    """A VOI LUT of more than 256 entries, which pydicom looks up wrongly where they have 8 bits."""
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    table = np.rint(np.linspace(1, 0, 4096) ** 2 * (2**depth - 1)).astype(np.uint16)
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [4096, 0, depth], table.tolist()
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    got = decode(
        dicom_bytes(dicom_slice(values, BitsStored=12, HighBit=11, VOILUTSequence=[item])), Decoding(1, bits=16)
    )
    assert np.array_equal(got.pixels[..., 0], np.rint(table[values] / (2**depth - 1) * 65535))
    assert len(got.notes) == 1 and noted(got.notes, "12", "16", "VOI LUT", str(depth))


def test_enhanced_objects_keep_rescale_and_window_by_frame() -> None:
    values = np.stack([np.arange(100, dtype=np.int16).reshape(10, 10)] * 2)
    each = []
    for intercept in (0, 1000):
        rescale, window, group = Dataset(), Dataset(), Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept = 1, intercept
        window.WindowCenter, window.WindowWidth, window.VOILUTFunction = intercept + 50, 100, "LINEAR_EXACT"
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [rescale], [window]
        each.append(group)
    data = dicom_bytes(dicom_slice(values, PerFrameFunctionalGroupsSequence=each))
    first, second = (decode(data, Decoding(1, frame=frame)) for frame in (0, 1))
    assert np.array_equal(second.stored, first.stored + 1000)
    assert np.array_equal(second.pixels, first.pixels)
    assert second.notes[-1].endswith("1000 to 1100")


def test_eight_bits_are_shown_as_they_are() -> None:
    values = np.arange(40, 140, dtype=np.uint8).reshape(10, 10)
    got = decode(dicom_bytes(dicom_slice(values)), Decoding(3))
    assert np.array_equal(got.pixels, np.repeat(values[..., None], 3, axis=2))
    assert got.notes == ()
    assert decode(dicom_bytes(dicom_slice(values)), Decoding(3, bits=16)).pixels.max() == 139 * 257
    assert decode(dicom_bytes(dicom_slice(values)), Decoding(1, window=(40, 139))).pixels.max() == 255


def test_floating_point_pixels() -> None:
    values = np.linspace(-1, 1, 100, dtype=np.float32).reshape(10, 10)
    dataset = dicom_slice(np.zeros((10, 10), np.int32))
    del dataset.PixelData
    for name in ("BitsStored", "HighBit", "PixelRepresentation"):
        del dataset[name]
    dataset.FloatPixelData = values.tobytes()
    got = decode(dicom_bytes(dataset), Decoding(1, window=(-1, 1)))
    assert np.array_equal(got.stored[..., 0], values)
    assert np.array_equal(got.pixels[..., 0], np.rint((values.astype(float) + 1) / 2 * 255))
    values[3, 3] = np.nan
    dataset.FloatPixelData = values.tobytes()
    with refused("not_finite", "1 ", "NaN"):
        decode(dicom_bytes(dataset), Decoding())


def test_a_missing_decoder_is_named_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dicom_slice(np.zeros((4, 4), np.uint8))
    dataset.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
    for syntax in (JPEGLSLossless, JPEG2000Lossless):
        dataset.file_meta.TransferSyntaxUID = syntax
        monkeypatch.setattr(type(get_decoder(syntax)), "is_available", property(lambda self: False))
        with refused("missing_extra", syntax.name, "pip install 'medcls[dicom]'"):
            decode(dicom_bytes(dataset), Decoding())
    dataset.file_meta.TransferSyntaxUID = MPEG2MPML
    with refused("unsupported_image", MPEG2MPML.name):
        decode(dicom_bytes(dataset), Decoding())


def test_a_deflated_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dicom_slice(np.zeros((2000, 2000), np.uint16))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = dicom_bytes(dataset)
    assert len(data) < 20_000
    assert decode(data, Decoding(1)).pixels.shape == (2000, 2000, 1)
    monkeypatch.setattr(dicom, "MOST_BYTES", 7_000_000)
    with refused("file_too_large", "7,000,000"):
        decode(data, Decoding(1))


def without_preamble(data: bytes) -> bytes:
    """The data set alone, as old devices write it."""
    return data[132 + 12 + struct.unpack_from("<I", data, 140)[0] :]


def test_a_file_without_preamble_is_known_by_its_first_element(tmp_path: Path) -> None:
    values = np.arange(100, dtype=np.uint8).reshape(10, 10)
    data = without_preamble(dicom_bytes(dicom_slice(values)))
    for name in ("old.dcm", "old.DICOM", "IM000001"):
        (tmp_path / name).write_bytes(data)
        got = read(tmp_path / name, Decoding(1))
        assert np.array_equal(got.pixels[..., 0], values)
        assert len(got.notes) == 1 and noted(got.notes, "Explicit VR Little Endian")
    compressed = dicom_slice(values)
    compressed.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
    compressed["PixelData"].VR = "OB"
    compressed["PixelData"].is_undefined_length = True
    compressed.file_meta.TransferSyntaxUID = JPEGLSLossless
    with refused("unsupported_image", "transfer syntax"):
        decode(without_preamble(dicom_bytes(compressed)), Decoding(1))


def test_names_and_files_without_an_ending(tmp_path: Path) -> None:
    assert is_image_name(Path("a.dcm")) and is_image_name(Path("b.DICOM"))
    data = dicom_bytes(dicom_slice(np.zeros((4, 4), np.uint8)))
    contents = {"IM0001": data, "README": b"text", "Makefile": b"all:\n", "empty": b"", "short": b"\x08\0"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir() if is_unnamed_image(path)) == ["IM0001"]
    (tmp_path / "lies.png").write_bytes(data)
    notes = read(tmp_path / "lies.png", Decoding()).notes
    assert len(notes) == 1 and noted(notes, ".png", "DICOM")
    assert not is_unnamed_image(tmp_path / "lies.png")


def test_headers_hold_nothing_that_identifies(tmp_path: Path) -> None:
    secret = {
        "PatientName": "Doe^Jane", "PatientID": "MRN-4711", "PatientBirthDate": "19700101", "StudyDate": "20240229",
        "InstitutionName": "St. Elsewhere", "AccessionNumber": "ACC-99", "StudyInstanceUID": "1.2.3.4.5",
        "DeviceSerialNumber": "SN-123", "ReferringPhysicianName": "House^G", "StudyDescription": "Jane, knee",
    }  # fmt: skip
    path = tmp_path / "a.dcm"
    extra = {"ViewPosition": "AP", "PixelSpacing": [0.5, 0.25], "Manufacturer": "ACME"}
    path.write_bytes(dicom_bytes(dicom_slice(np.zeros((4, 6), np.uint16), **secret, **extra)))
    columns = dicom.headers(path)
    assert tuple(columns) == dicom.SAFE_COLUMNS
    found = {name: value for name, value in columns.items() if value}
    assert found == {
        "Modality": "CT", "ViewPosition": "AP", "Manufacturer": "ACME", "PhotometricInterpretation": "MONOCHROME2",
        "Rows": "4", "Columns": "6", "BitsStored": "16", "PixelSpacing": "0.5\\0.25",
    }  # fmt: skip
    assert not any(value in " ".join(columns.values()) for value in secret.values())


def test_headers_read_no_pixels(tmp_path: Path) -> None:
    data = dicom_bytes(dicom_slice(np.zeros((400, 600), np.uint16)))
    path = tmp_path / "cut.dcm"
    path.write_bytes(data[:1000])
    assert dicom.headers(path)["Rows"] == "400"
    assert dicom.patient_group(path, b"salt") == ""
    (tmp_path / "no.dcm").write_bytes(b"<html>")
    for read_header in (dicom.headers, lambda path: dicom.patient_group(path, b"salt")):
        for name in ("no.dcm", "missing.dcm"):
            with refused("not_an_image", name):
                read_header(tmp_path / name)


def test_p03_patients_are_groups_without_their_names(tmp_path: Path) -> None:
    def group(patient: str | None, salt: bytes = b"a") -> str:
        elements = {} if patient is None else {"PatientID": patient}
        (tmp_path / "x.dcm").write_bytes(dicom_bytes(dicom_slice(np.zeros((4, 4), np.uint8), **elements)))
        return dicom.patient_group(tmp_path / "x.dcm", salt)

    first = group("MRN-4711")
    assert len(first) == 16 and int(first, 16) >= 0
    assert group("MRN-4711 ") == first, "DICOM pads to an even length"
    assert len({first, group("MRN-4712"), group("MRN-4711", b"b")}) == 3
    assert group(None) == group("") == ""


def salt_of_a_process(_: int) -> bytes:
    return dicom.installation_salt()


def test_the_salt_is_made_once_and_is_the_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCLS_STATE", str(tmp_path / "state"))
    with multiprocessing.get_context("fork").Pool(4) as pool:
        salts = set(pool.map(salt_of_a_process, range(8), chunksize=1))
    assert len(salts) == 1
    assert len(salts.pop()) == 32
    path = state_folder() / "dicom-salt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shutil.copy(path, tmp_path / "kept")
    path.write_bytes(b"short")
    with refused("damaged_salt", str(path), "5 bytes", "32"):
        dicom.installation_salt()
    path.unlink()
    assert dicom.installation_salt() != (tmp_path / "kept").read_bytes()


COMPRESSED = ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm"]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "image_dfl.dcm", *COMPRESSED])
def test_cut_short_is_refused_or_lost_nothing(name: str) -> None:
    data = bundled(name).read_bytes()
    needs_decoder(pydicom.dcmread(io.BytesIO(data)))
    whole = decode(data, Decoding())
    refused = 0
    cuts = sorted({*np.linspace(1, len(data) - 1, 60, dtype=int), *range(len(data) - 12, len(data))})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for cut in cuts:
            try:
                got = decode(data[:cut], Decoding())
            except UnreadableImage as error:
                refused += 1
                assert error.reason
            else:
                assert np.array_equal(got.stored, whole.stored), f"cut at {cut}: a wrong picture in silence"
    assert refused >= 45


def test_a_lying_header_asks_for_no_memory() -> None:
    for rows, columns, kind, name in (
        (65535, 65535, "too_many_pixels", "65,535 x 65,535"),
        (0, 5, "damaged_image", "5 x 0"),
        (4000, 4000, "damaged_image", "pydicom"),
    ):
        dataset = dicom_slice(np.zeros((4, 4), np.uint8), Rows=rows, Columns=columns)
        with refused(kind, name):
            decode(dicom_bytes(dataset), Decoding())
    many = dicom_slice(np.zeros((4, 4), np.uint8), NumberOfFrames=2_000_000_000)
    with refused("damaged_image", "pydicom"):
        decode(dicom_bytes(many), Decoding())


def test_unknown_photometric_interpretation() -> None:
    with refused("unsupported_image", "'CMYK'"):
        decode(dicom_bytes(dicom_slice(np.zeros((4, 4), np.uint8), PhotometricInterpretation="CMYK")), Decoding())


def test_the_preamble_may_be_a_tiff(tmp_path: Path) -> None:
    data = bundled("CT_small.dcm").read_bytes()
    assert data[:4] == b"II*\0"
    assert images.decode(data, Decoding()).format == "DICOM"
