"""DICOM files: pixels through pydicom, harmless header elements, and patients as salted hashes.

Decoded values pass the modality LUT or rescale (Hounsfield units in CT), then a window: the one asked for, else the
file's VOI LUT or window, else that of `windows.choose`. MONOCHROME1 is then inverted, and padding is black. Colour is
RGB, through the palette if there is one.
"""

import dataclasses
import hashlib
import hmac
import io
import os
import secrets
import zlib
from pathlib import Path

import numpy as np
import pydicom
from filelock import FileLock
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, get_decoder, pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medcls.data.reading import windows
from medcls.data.reading.decoded import MOST_BYTES, Decoded, UnreadableImage, check_frame, check_size, damaged
from medcls.data.reading.windows import Window
from medcls.errors import MedclsError
from medcls.preprocessing import Decoding
from medcls.user_folders import state_folder
from medcls.writing import atomic_write

HEAD = 132
"""Bytes at the beginning of a file that identify DICOM."""

SAFE_COLUMNS = (
    "Modality", "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality", "PatientPosition",
    "Manufacturer", "ManufacturerModelName", "PhotometricInterpretation", "Rows", "Columns", "NumberOfFrames",
    "BitsStored", "PixelSpacing", "SliceThickness", "KVP", "MagneticFieldStrength", "LossyImageCompression",
)  # fmt: skip
"""Elements of a header allowed in a table: none identifies a person, a place, a date or an examination."""

PIXEL_ELEMENTS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# Where enhanced multi-frame objects have elements that others have at the top level, for all frames or for each.
FRAME_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")

SALT_BYTES = 32


def begins_as_dicom(head: bytes) -> bool:
    """Whether a file of which these are at least the first `HEAD` bytes is DICOM, with a preamble or without."""
    if head[128:HEAD] == b"DICM":
        return True
    # Old files have no preamble: the first tag, (0002,00xx) or (0008,00xx), then its type or length.
    little, big = head[:2] in (b"\x02\0", b"\x08\0"), head[:2] in (b"\0\x02", b"\0\x08")
    element, filler = (head[2:3], head[3:4]) if little else (head[3:4], head[2:3])
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    implicit = little and len(head) >= 8 and int.from_bytes(head[4:8], "little") <= 256
    return (little or big) and element <= b"\x70" and filler == b"\0" and (explicit or implicit)


def is_dicom(path: Path) -> bool:
    """Whether a file, whatever its name, begins as DICOM; False if it cannot be read."""
    try:
        if not path.is_file():  # opening a pipe would block
            return False
        with path.open("rb") as file:
            return begins_as_dicom(file.read(HEAD))
    except OSError:
        return False


def decode(data: bytes, decoding: Decoding) -> Decoded:
    """Decode the bytes of a DICOM file, by the rules at the top of this file.

    Raises
    ------
    UnreadableImage
        Truncated, damaged, without pixels (the reason says what it is), without the frame, or compressed by a method
        whose decoder is not installed.
    """
    try:
        _check_deflated(data)
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        return _decode(dataset, decoding)
    except UnreadableImage:
        raise
    except Exception as error:  # on damaged bytes pydicom and the decoders raise nearly every type
        raise damaged(data, "pydicom", error) from error


def headers(path: Path) -> dict[str, str]:
    """Read the `SAFE_COLUMNS` of a DICOM header as text; empty if missing, several values joined by a backslash."""
    dataset = _header(path, SAFE_COLUMNS)
    values = ((name, dataset.get(name)) for name in SAFE_COLUMNS)
    return {name: "" if value is None else _text(value) for name, value in values}


def patient_group(path: Path, salt: bytes) -> str:
    """A pseudonym of the patient of a DICOM file.

    HMAC-SHA256 of the patient id, 16 hexadecimal digits; empty without an id.

    Raises
    ------
    UnreadableImage
        Not a DICOM file, or a damaged header.
    """
    patient = _text(_header(path, ("PatientID",)).get("PatientID") or "").strip()
    return hmac.new(salt, patient.encode(), hashlib.sha256).hexdigest()[:16] if patient else ""


def installation_salt() -> bytes:
    """The secret of this installation's patient hashes, made at the first call and then kept.

    It is `dicom-salt` in medcls's state folder, readable by its owner alone. Without it, a patient could be found by
    hashing all possible ids; another installation has other hashes.

    Raises
    ------
    MedclsError
        The file is not a salt.
    """
    path = state_folder() / "dicom-salt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        if not path.exists():
            with atomic_write(path) as temporary:
                file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(file, "wb") as stream:
                    stream.write(secrets.token_bytes(SALT_BYTES))
        salt = path.read_bytes()
    if len(salt) != SALT_BYTES:
        raise MedclsError(
            f"{path} has {len(salt)} bytes and not the {SALT_BYTES} of a salt: restore it, or remove it (patients then "
            "get new hashes, and groups of earlier manifests no longer match).",
            kind="damaged_salt",
        )
    return salt


def _header(path: Path, keywords: tuple[str, ...]) -> Dataset:
    """Some elements of a file's header."""
    if not is_dicom(path):
        raise UnreadableImage("it is not a DICOM file, or cannot be read", path, "not_an_image")
    try:
        return pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(keywords))
    except Exception as error:
        raise UnreadableImage(f"its DICOM header is damaged (pydicom: {error})", path, "damaged_image") from error


def _text(value: object) -> str:
    """An element's value as DICOM writes it."""
    if isinstance(value, pydicom.multival.MultiValue):
        return "\\".join(str(part) for part in value)
    return str(value)


def _check_deflated(data: bytes) -> None:
    """Refuse a deflated file too large for memory: pydicom inflates it at once."""
    # The length of the file's meta information comes first in it, as (0002,0000) UL.
    start = HEAD + 12 + int.from_bytes(data[HEAD + 8 : HEAD + 12], "little")
    if data[128:HEAD] != b"DICM" or DeflatedExplicitVRLittleEndian.encode() not in data[HEAD:start]:
        return
    inflater, rest, size = zlib.decompressobj(-zlib.MAX_WBITS), data[start:], 0
    while rest and not inflater.eof and size <= MOST_BYTES:
        size += len(inflater.decompress(rest, 2**20))
        rest = inflater.unconsumed_tail
    if size > MOST_BYTES:
        raise UnreadableImage(
            f"inflated, it has more than {MOST_BYTES:,} bytes (a decompression bomb?)", kind="file_too_large"
        )


def _decode(dataset: Dataset, decoding: Decoding) -> Decoded:
    """Decode one frame of a parsed data set."""
    _check_pixels(dataset)
    notes = _set_transfer_syntax(dataset)
    kind = str(dataset.get("PhotometricInterpretation", ""))
    if kind not in (*GREY, *COLOUR, "PALETTE COLOR"):
        raise UnreadableImage(
            f"its photometric interpretation is {kind!r}, which medcls does not know", kind="unsupported_image"
        )
    check_size(int(dataset.Columns), int(dataset.Rows))
    frames = int(dataset.get("NumberOfFrames") or 1)
    notes += check_frame(decoding.frame, frames)
    if frames > 1:
        _use_frame_settings(dataset, decoding.frame)
    raw = pixel_array(dataset, index=decoding.frame)
    raw = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    if kind in GREY:
        stored, pixels, more = _grey(raw, dataset, bits, decoding)
    else:
        stored, pixels, more = _colour(raw, dataset, bits, decoding)
    if kind == "MONOCHROME1":
        more = ("MONOCHROME1: turned round, so that high values are dark", *more)
    shown = np.ascontiguousarray(windows.in_channels(pixels, decoding))
    return Decoded(shown, stored, "DICOM", kind, bits, frames, (*notes, *more))


def _grey(
    raw: np.ndarray, dataset: Dataset, bits: int, decoding: Decoding
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Stored values `(H, W, 1)`, pixels in the same shape, and notes."""
    levels = apply_modality_lut(raw, dataset)
    windows.check_finite(levels)
    full = None if raw.dtype.kind == "f" else _range_of_levels(dataset, bits)
    padding = _padding(raw, dataset)
    pixels: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    if decoding.window is None and full is not None:
        pixels, notes = _by_own_window(levels, dataset, bits, full, decoding.bits)
    if pixels is None:
        requested = "full" if decoding.window is None and bits <= 8 and full is not None else decoding.window
        ascending = None if full is None else (min(full), max(full))
        window = windows.choose(levels, requested, full=ascending, padding=padding)
        pixels = windows.spread(levels, window.black, window.white, decoding.bits)
        # Eight bits shown as they are need no note.
        notes += () if requested == "full" and bits <= 8 else (window.note(bits, decoding.bits),)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = (2**decoding.bits - 1) - pixels
    if padding is not None:
        pixels[padding] = 0
        notes += (f"{int(padding.sum()):,} padding pixels shown as black",)
    return levels[..., None], pixels[..., None], notes


def _by_own_window(
    levels: np.ndarray, dataset: Dataset, stored_bits: int, full: tuple[float, float], bits: int
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Pixels by the file's VOI LUT or window, the first of several, and a note; no pixels if it has none."""
    tables = dataset.get("VOILUTSequence")
    if tables and "LUTData" in tables[0] and "LUTDescriptor" in tables[0]:
        entries, first, depth = tables[0].LUTDescriptor
        # pydicom indexes 8-bit tables by 8-bit numbers, which wrap after 256 entries.
        tables[0].LUTDescriptor = [entries, first, 16]
        values = apply_voi_lut(levels, dataset)
        pixels = windows.spread(values, 0, 2**depth - 1, bits)
        return pixels, (f"{stored_bits} bits to {bits} by the file's own VOI LUT of {depth} bits",)
    if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
        return None, ()
    centre, width = (float(np.atleast_1d(dataset[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
    shape = str(dataset.get("VOILUTFunction") or "LINEAR")
    if width <= 0 or (shape == "LINEAR" and width < 1):
        return None, (f"the file's own window has a width of {width:g} and was not used",)
    black, white = full
    if white < black:  # a negative slope: pydicom counts from the largest value, which is black, to the smallest
        values = black + white - apply_voi_lut(levels, dataset)
        black, white = white, black
    else:
        values = apply_voi_lut(levels, dataset)
    # PS3.3 C.11.2.1.2: in a LINEAR window centre and width count pixel values, not the steps between them.
    top = centre + width / 2 - (1 if shape == "LINEAR" else 0)
    window = Window(centre - width / 2, top, f"the file's own window ({shape})")
    return windows.spread(values, black, white, bits), (window.note(stored_bits, bits),)


def _colour(
    raw: np.ndarray, dataset: Dataset, bits: int, decoding: Decoding
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Stored values `(H, W, 3)`, pixels in the same shape, and notes."""
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        # Colours of a palette are shown as they are.
        raw = apply_color_lut(raw, dataset)
        bits, decoding = 8 * raw.dtype.itemsize, dataclasses.replace(decoding, window="full")
    if bits <= 8 and not isinstance(decoding.window, tuple):
        return raw, windows.in_bits(raw, decoding.bits), ()
    window = windows.choose(raw, decoding.window, full=(0, 2**bits - 1))
    pixels = windows.spread(raw, window.black, window.white, decoding.bits)
    return raw, pixels, (window.note(bits, decoding.bits),)


def _check_pixels(dataset: Dataset) -> None:
    """Refuse a DICOM file without an image, and report what it is."""
    if any(name in dataset for name in PIXEL_ELEMENTS):
        return
    uid = UID(str(dataset.get("SOPClassUID") or ""))
    what = uid.name
    modality = f" (modality {dataset.Modality})" if dataset.get("Modality") else ""
    # pydicom drops all pixels of a file truncated within compressed ones.
    if what == str(uid):
        raise UnreadableImage(
            f"it is a DICOM file of no known class{modality} and without pixel data: truncated?", kind="damaged_image"
        )
    if "Image Storage" in what:
        raise UnreadableImage(f"it is a DICOM {what}{modality} without its pixel data: truncated", kind="damaged_image")
    raise UnreadableImage(f"it is a DICOM file without an image: {what}{modality}", kind="not_an_image")


def _set_transfer_syntax(dataset: Dataset) -> tuple[str, ...]:
    """State how pixels are stored, if the file does not, with a note; refuse compression without a decoder."""
    notes: tuple[str, ...] = ()
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        implicit, little = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        if dataset.get("PixelData", b"")[:4] == b"\xfe\xff\x00\xe0":
            raise UnreadableImage(
                "its pixels are compressed in an unspecified way (no transfer syntax)", kind="unsupported_image"
            )
        dataset.file_meta.TransferSyntaxUID = syntax
        notes = (f"without a transfer syntax, taken for {syntax.name}",)
    if syntax.is_encapsulated:
        _check_decoder(syntax)
    return notes


def _check_decoder(syntax: UID) -> None:
    """Refuse a compression without a decoder."""
    named = f"its pixels are compressed by {syntax.name} ({syntax})"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnreadableImage(f"{named}, which medcls does not read", kind="unsupported_image") from None
    if not decoder.is_available:
        raise UnreadableImage(
            f"{named}, and no decoder for it is installed: pip install 'medcls[dicom]'", kind="missing_extra"
        )


def _use_frame_settings(dataset: Dataset, frame: int) -> None:
    """Copy one frame's rescale and window, as enhanced objects have them, to the top level."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for group in (*shared[:1], *each[frame : frame + 1]):
        for name in FRAME_GROUPS:
            for item in (group.get(name) or [])[:1]:
                dataset.update(item)


def _range_of_levels(dataset: Dataset, bits: int) -> tuple[float, float]:
    """The smallest and largest storable value after the modality LUT or rescale, in that order."""
    if tables := dataset.get("ModalityLUTSequence"):
        return 0, 2 ** int(tables[0].LUTDescriptor[2]) - 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        return low, high
    return low * float(slope) + float(intercept), high * float(slope) + float(intercept)


def _padding(raw: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Which values of a frame are padding, bool; None if none or all are."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    padding = (raw >= low) & (raw <= high)
    return padding if padding.any() and not padding.all() else None
