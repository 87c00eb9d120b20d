"""Image files for tests, of kinds that Pillow reads but does not write, and DICOM."""

import io
import struct
import zlib

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

# Which rows and columns each of PNG's seven interlaced passes holds.
ADAM7 = tuple(
    np.s_[top::down, left::across]
    for top, left, down, across in (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
    )
)  # fmt: skip


RED, GREEN, BLUE = (200, 30, 10), (20, 180, 40), (15, 25, 220)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(
    depth: int,
    colour_type: int,
    rows: np.ndarray,
    chunks: tuple[tuple[bytes, bytes], ...] = (),
    *,
    claims: tuple[int, int] | None = None,
    interlaced: bool = False,
) -> bytes:
    """A PNG of kinds that Pillow reads but does not write (16-bit colour, interlaced, lying about its size).

    `rows` is uint8 (H, bytes a row); `claims` is the width and height to write into the header.
    """
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    size = claims or (rows.shape[1] * 8 // depth // channels, rows.shape[0])
    passes = [rows]
    if interlaced:
        pixels = rows.reshape(len(rows), -1, depth * channels // 8)
        passes = [part.reshape(len(part), -1) for part in (pixels[s] for s in ADAM7) if part.size]

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, int(interlaced))
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for part in passes for row in part))
    parts = [chunk(b"IHDR", header), *(chunk(*c) for c in chunks), chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deep_file(values: np.ndarray, kind: str) -> bytes:
    """uint16 `(H, W, C)` in a format that holds it; PNM with 4095 as the largest value."""
    height, width, channels = values.shape
    big = values.astype(">u2").reshape(height, -1)
    header = f"{width} {height} 4095\n".encode()
    if kind == "text PGM":
        return b"P2\n" + header + " ".join(str(value) for value in values.reshape(-1)).encode()
    if kind in ("PGM", "PPM"):
        return (b"P6\n" if channels == 3 else b"P5\n") + header + big.tobytes()
    if kind == "RGB PNG":
        return png(16, 2, big.view(np.uint8))
    if kind in ("RGB TIFF", "RGB LZW TIFF"):
        return tiff(values, 8 if "LZW" in kind else 1)
    return saved(Image.fromarray(values[..., 0]), kind)


def tiff(
    values: np.ndarray,
    compression: int = 1,
    photometric: int | None = None,
    *,
    planar: bool = False,
    extra: tuple[int, ...] = (),
    order: str = "<",
) -> bytes:
    """A TIFF of one strip (a plane), of any number type and any channels; compression 8 is zlib's.

    `extra` says what each channel beyond those of the photometric interpretation stands for (0: nothing that is said).
    """
    height, width, channels = values.shape
    bits, kind = values.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3, "c": 6}[values.dtype.kind]
    planes = np.moveaxis(values, 2, 0) if planar else values[None]
    strips = [plane.astype(values.dtype.newbyteorder(order)).tobytes() for plane in planes]
    strips = [zlib.compress(strip) if compression == 8 else strip for strip in strips]
    photometric = (2 if channels >= 3 else 1) if photometric is None else photometric
    entries = [
        (256, "I", [width]), (257, "I", [height]), (258, "H", [bits] * channels), (259, "I", [compression]),
        (262, "I", [photometric]), (273, "I", [0] * len(strips)), (277, "I", [channels]), (278, "I", [height]),
        (279, "I", [len(strip) for strip in strips]), (284, "I", [2 if planar else 1]),
        *([(338, "H", list(extra))] if extra else []), (339, "H", [kind] * channels),
    ]  # fmt: skip
    begin = 8 + 2 + 12 * len(entries) + 4
    size = begin + sum(len(cells) * struct.calcsize(form) for _, form, cells in entries if len(cells) > 1)
    starts = list(np.cumsum([size, *(len(strip) for strip in strips[:-1])]))
    directory, lists = b"", b""
    for tag, form, cells in entries:
        packed = struct.pack(f"{order}{len(cells)}{form}", *(starts if tag == 273 else cells))
        if len(packed) > 4:
            packed, lists = struct.pack(f"{order}I", begin + len(lists)), lists + packed
        directory += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[form], len(cells)) + packed.ljust(4, b"\0")
    head = (
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(f"{order}IH", 8, len(entries))
        + directory
        + bytes(4)
        + lists
    )
    return head.ljust(size, b"\0") + b"".join(strips)


def dicom_bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom_slice(values: np.ndarray, **elements: object) -> Dataset:
    """A CT slice, or several, of integers `(H, W)` or `(N, H, W)`, with elements of one's own."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "CT", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = values.shape[-2:]
    if values.ndim == 3:
        dataset.NumberOfFrames = len(values)
    dataset.BitsAllocated = dataset.BitsStored = 8 * values.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(values.dtype.kind == "i")
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.PixelData = values.tobytes()
    return dataset


def thirds(height: int = 48, width: int = 96) -> np.ndarray:
    """Red, green and blue from left to right, each brighter below, so that no turn or flip leaves it equal."""
    pixels = np.empty((height, width, 3), np.uint8)
    for k, colour in enumerate((RED, GREEN, BLUE)):
        pixels[:, k * width // 3 : (k + 1) * width // 3] = colour
    pixels[: height // 2] //= 2
    return pixels


def random_values(channels: int, kind: str = "uint8") -> np.ndarray:
    """Values `(H, W, C)` over the whole range of their type, or of 0 to 1."""
    draws = np.random.default_rng([channels, len(kind)]).random((11, 13, channels))
    if np.dtype(kind).kind not in "ui":
        return draws.astype(kind)
    info = np.iinfo(kind)
    return (info.min + draws * (float(info.max) - info.min)).astype(kind)


def noise(height: int = 40, width: int = 60) -> Image.Image:
    """Colour noise, the same for one size."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
