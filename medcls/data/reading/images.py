"""Image files become pixels here and nowhere else: the same for training, evaluation and export.

Only Pillow, pydicom and NumPy are used, so that an exported model needs no torch to read images.

Rules of decoding, for every format:

- Colour is red, green, blue in that order; grey is Pillow's `L`, ITU-R 601-2 luma (0.299 R + 0.587 G + 0.114 B). A grey
  image in three channels has three equal ones.
- The EXIF orientation is applied.
- Transparency is composited on black (`BACKGROUND`), the colour of no signal.
- Stored values of more than 8 bits, and a DICOM's of any number, are windowed (`Decoding.window`): by the window asked
  for, the file's own (DICOM), or the image's percentiles 0.5 and 99.5. A note states which. Values that are not finite
  are refused.
- Of several frames or pages one is read, the first by default. Colour profiles are not applied.

`Decoded.notes` states which of these applied to an image.
"""

import dataclasses
import errno
import stat
from functools import cache
from importlib import metadata
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from medcls.data.reading import dicom, raster
from medcls.data.reading.decoded import MOST_BYTES, Decoded, UnreadableImage
from medcls.errors import MedclsError
from medcls.preprocessing import INTERPOLATIONS, RESIZE_POLICIES, Decoding

EXTENSIONS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".bmp": "BMP", ".dib": "BMP",
    ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP", ".gif": "GIF",
    ".pbm": "PPM", ".pgm": "PPM", ".ppm": "PPM", ".pnm": "PPM", ".dcm": "DICOM", ".dicom": "DICOM",
}  # fmt: skip
"""File name extensions, in lower case, and the format of each."""

SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}

DECODING_VERSION = 4
"""Raise this when decoding or `image_statistics.py` gives other values for the same file."""

DECODERS = ("pillow", "pydicom", "python-gdcm", "pylibjpeg-openjpeg", "imagehash")
"""Packages whose versions may decode the same file to other pixels."""

JUNK_NAMES = frozenset({".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini"})
JUNK_FOLDERS = frozenset({"__macosx"})

FILTERS = {name: Image.Resampling[name.upper()] for name in INTERPOLATIONS}


def decode(data: bytes, decoding: Decoding) -> Decoded:
    """Decode the bytes of an image file, by the rules at the top of this file.

    Raises
    ------
    UnreadableImage
        Not an image, truncated, too large, without this frame, or with values that are not finite.
    """
    if not data:
        raise UnreadableImage("the file is empty (0 bytes)", kind="not_an_image")
    # First, because a DICOM file may begin as a TIFF: its first 128 bytes are arbitrary.
    return dicom.decode(data, decoding) if dicom.begins_as_dicom(data[: dicom.HEAD]) else raster.decode(data, decoding)


def read(path: Path, decoding: Decoding) -> Decoded:
    """Open and decode one file; see `decode`. Errors name the path."""
    path = Path(path)
    if "\0" in str(path):
        raise UnreadableImage("its name holds a null byte", path, "no_such_file")
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableImage("it is a folder", path, "not_a_file")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
            raise UnreadableImage("it is not a regular file", path, "not_a_file")
        if status.st_size > MOST_BYTES:
            raise UnreadableImage(
                f"the file has {status.st_size:,} bytes, more than {MOST_BYTES:,}", path, "file_too_large"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        reason = "it is a broken link" if path.is_symlink() else "there is no such file"
        raise UnreadableImage(reason, path, "no_such_file") from None
    except PermissionError:
        raise UnreadableImage("no permission to read it", path, "unreadable_file") from None
    except OSError as error:
        reason = "it is a link to itself" if error.errno == errno.ELOOP else f"{error.strerror or error}"
        raise UnreadableImage(reason, path, "unreadable_file") from error
    try:
        decoded = decode(data, decoding)
    except UnreadableImage as error:
        raise UnreadableImage(error.reason, path, error.kind) from error
    named = EXTENSIONS.get(path.suffix.lower())
    if named is not None and named != SAME_FORMAT.get(decoded.format, decoded.format):
        note = f"named {path.suffix}, but a {decoded.format} file"
        decoded = dataclasses.replace(decoded, notes=(*decoded.notes, note))
    return decoded


def resize(pixels: np.ndarray, size: tuple[int, int], policy: str, interpolation: str) -> np.ndarray:
    """Resize an image with Pillow, whose filters average when they shrink.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8 or uint16, `(H, W, 3)` or `(H, W, 1)`.
    size : tuple of int
        Height and width, in pixels.
    policy : str
        `squash` fits both sides and changes the aspect ratio; `letterbox` keeps it and centres the image on black;
        `crop` keeps it and crops the longer side at both ends.
    interpolation : str
        `nearest`, `bilinear`, `bicubic` or `lanczos`.

    Returns
    -------
    numpy.ndarray
        `(*size, C)`, of the type of `pixels`.
    """
    if policy not in RESIZE_POLICIES:
        raise MedclsError(
            f"The resize policy is {policy!r}: choose one of {', '.join(RESIZE_POLICIES)}.", kind="bad_value"
        )
    if interpolation not in FILTERS:
        raise MedclsError(
            f"The interpolation is {interpolation!r}: choose one of {', '.join(INTERPOLATIONS)}.", kind="bad_value"
        )
    if pixels.dtype == np.uint8:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        return np.array(_resized(image, size, policy, FILTERS[interpolation])).reshape(*size, -1)
    # Pillow has no 16-bit colour: each channel is resized in floating point, which represents 65535 exactly.
    channels = [
        np.asarray(_resized(Image.fromarray(channel.astype(np.float32)), size, policy, FILTERS[interpolation]))
        for channel in np.moveaxis(pixels, 2, 0)
    ]
    rounded: np.ndarray = np.rint(np.stack(channels, axis=2)).clip(0, 65535).astype(np.uint16)
    return rounded


def _resized(image: Image.Image, size: tuple[int, int], policy: str, resample: Image.Resampling) -> Image.Image:
    """An image of any Pillow mode, resized to height and width."""
    height, width = size
    if policy == "squash":
        return image.resize((width, height), resample)
    if policy == "crop":
        return ImageOps.fit(image, (width, height), resample)
    scale = min(width / image.width, height / image.height)
    # Not ImageOps.pad: it fails if the short side would round to 0.
    inner = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), resample)
    padded = Image.new(image.mode, (width, height))
    padded.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return padded


def resize_back(
    values: NDArray[np.float32], size: tuple[int, int], original: tuple[int, int], policy: str
) -> NDArray[np.float32]:
    """Bring a map of a resized image back onto the original one.

    Parameters
    ----------
    values : ndarray
        float32 `(H, W)`, one value for each pixel of the resized image.
    size : tuple of int
        Height and width of the result, with the original's aspect ratio.
    original : tuple of int
        Height and width of the original image.
    policy : str
        That of `resize`.

    Returns
    -------
    ndarray
        float32 `size`. NaN where `crop` cut the image off; what lies on the black margins of `letterbox` is lost.
    """
    height, width = values.shape
    if policy == "squash":
        return _stretched(values, size)
    ratios = width / original[1], height / original[0]
    if policy == "letterbox":
        scale = min(ratios)
        inner_width, inner_height = (max(1, round(side * scale)) for side in (original[1], original[0]))
        left, top = (width - inner_width) // 2, (height - inner_height) // 2
        return _stretched(values[top : top + inner_height, left : left + inner_width], size)
    scale = max(ratios)
    rows, columns = (
        max(1, round(side * share / scale / total))
        for side, share, total in ((size[0], height, original[0]), (size[1], width, original[1]))
    )
    back = np.full(size, np.nan, np.float32)
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    back[top : top + rows, left : left + columns] = _stretched(values, (rows, columns))
    return back


def _stretched(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def is_image_name(path: PurePath) -> bool:
    """Whether the name has the extension of an image file, in any case; the file is not read."""
    return path.suffix.lower() in EXTENSIONS


def is_unnamed_image(path: Path) -> bool:
    """Whether a file without extension is DICOM, by its first bytes.

    Scanners name files so, or by a number with dots (1.2.840.10008.5.1). No other file is opened.
    """
    ending = path.suffix.removeprefix(".")
    return (ending == "" or ending.isdigit()) and dicom.is_dicom(path)


def is_junk(path: PurePath) -> bool:
    """Whether this is a system file: `.DS_Store`, `Thumbs.db`, `._x.png`, all in `__MACOSX`.

    The path is relative to the root, so that folders above it do not count.
    """
    name = path.name.lower()
    return name in JUNK_NAMES or name.startswith("._") or any(part.lower() in JUNK_FOLDERS for part in path.parts)


@cache
def reading_version() -> str:
    """All that the pixels of a file depend on but the file: the version of decoding, and of the libraries."""
    return ", ".join([f"decoding {DECODING_VERSION}", *(f"{name} {_version(name)}" for name in DECODERS)])


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
