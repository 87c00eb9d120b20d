"""Image files become pixels here and nowhere else: training, evaluation and export see the same ones.

Pillow and NumPy alone, so that an exported model needs no torch to look at a picture.

Rules of decoding, the same for every format:

- Colour is red, green, blue in that order; grey is Pillow's `L`, ITU-R 601-2 luma
  (0.299 R + 0.587 G + 0.114 B). A grey picture in three channels has three equal ones.
- The EXIF orientation is applied: the picture stands as its maker meant it to.
- What is transparent is composited on black (`BACKGROUND`), the colour of no signal.
- Of 16 bits the high byte is kept: the full range 0..65535 becomes 0..255, the same for each picture,
  so that brightness stays comparable between them. A picture which would lose all but 16 greys that
  way (12-bit values in a 16-bit file) is refused, not shown as black.
- Of several frames or pages the first is taken. Colour profiles are not applied.

What of this befell a picture stands in `Decoded.notes`.
"""

import dataclasses
import errno
import hashlib
import io
import stat
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from medcls.errors import MedclsError
from medcls.preprocessing import INTERPOLATIONS, RESIZE_POLICIES, Decoding

BACKGROUND = (0, 0, 0)
"""What stands behind transparent pixels, red, green, blue."""

MOST_PIXELS = 89_478_485
"""A larger picture is taken for a decompression bomb: Pillow's own limit, 256 MiB as RGB."""

MOST_BYTES = 2**29
"""A larger file is not read into memory."""

ENDINGS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".bmp": "BMP", ".dib": "BMP",
    ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP", ".gif": "GIF",
    ".pbm": "PPM", ".pgm": "PPM", ".ppm": "PPM", ".pnm": "PPM",
}  # fmt: skip
"""File name endings, in lower case, and the format that each promises."""

# Named one by one: Pillow's other readers hand files to outside programs (EPS) or are little tried.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")
SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}

EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"})
SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B"})

# EXIF orientation: how the stored picture must be turned to stand upright (EXIF 2.3, tag 0x0112).
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

JUNK_NAMES = frozenset({".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini"})
JUNK_FOLDERS = frozenset({"__macosx"})

FILTERS = {name: Image.Resampling[name.upper()] for name in INTERPOLATIONS}


class UnreadableImage(MedclsError):
    """A file that does not become a picture.

    Attributes
    ----------
    path : Path or None
        The file; None where there were only bytes.
    reason : str
        What is wrong with it, without the path and without a full stop.
    """

    # One text argument suffices, so that a data loader's worker can raise it again in the main process.
    def __init__(self, reason: str, path: Path | None = None) -> None:
        super().__init__(reason if path is None else f"{shown(path)} cannot be read as an image: {reason}.")
        self.reason = reason
        self.path = path


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """A picture and where its pixels come from.

    Attributes
    ----------
    pixels : numpy.ndarray
        uint8 or uint16, `(H, W, 3)` red, green, blue, or `(H, W, 1)` grey.
    stored : numpy.ndarray
        The values before any window was laid over them, in the type they were stored in, `(H, W, C)`: what
        `content` is a hash of. The same array as `pixels` where no window was needed.
    format, mode : str
        As stored, in Pillow's words: `JPEG`, `CMYK`; of a DICOM, its photometric interpretation.
    bits : int
        Bits of one stored value: 1, 8, 12, 16, 32.
    frames : int
        How many frames or pages the file holds.
    notes : tuple of str
        What was done on the way that not every picture needs.
    """

    pixels: np.ndarray
    stored: np.ndarray
    format: str
    mode: str
    bits: int
    frames: int
    notes: tuple[str, ...]

    @property
    def content(self) -> str:
        """Names the picture by its stored values: equal for equal decoded pixels, whatever file they came from."""
        return content_hash(self.stored)


def decode(data: bytes, decoding: Decoding) -> Decoded:
    """Turn the bytes of an image file into pixels, by the rules at the top of this file.

    Parameters
    ----------
    data : bytes
        A whole file: JPEG, PNG, BMP, TIFF, WebP, GIF or PNM.
    decoding : Decoding
        Channels, bits, window and frame wanted.

    Raises
    ------
    UnreadableImage
        Not an image, cut short, too large, or of a kind that has no certain meaning in 8 bits.
    """
    if not data:
        raise UnreadableImage("the file is empty (0 bytes)")
    # Set by a library elsewhere, this flag would fill the missing part of a cut file with grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _decode(image, decoding)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(_looks_like(data)) from None
    except Image.DecompressionBombError:
        raise UnreadableImage(f"it claims more than {MOST_PIXELS:,} pixels (a decompression bomb?)") from None
    except Exception as error:  # on damaged bytes Pillow's readers raise nearly every type there is
        said = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"damaged or cut short ({len(data):,} bytes; Pillow says: {said})") from error


def read(path: Path, decoding: Decoding) -> Decoded:
    """Open and decode one file; see `decode`.

    Raises
    ------
    UnreadableImage
        With the path and the reason: missing, a folder, no permission, empty, not an image, cut short, too large.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableImage("it is a folder", path)
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for ever
            raise UnreadableImage("it is not a regular file", path)
        if status.st_size > MOST_BYTES:
            raise UnreadableImage(f"the file has {status.st_size:,} bytes, more than {MOST_BYTES:,}", path)
        data = path.read_bytes()
    except FileNotFoundError:
        reason = "it is a link that leads nowhere" if path.is_symlink() else "there is no such file"
        raise UnreadableImage(reason, path) from None
    except PermissionError:
        raise UnreadableImage("no permission to read it", path) from None
    except OSError as error:
        reason = "it is a link that leads to itself" if error.errno == errno.ELOOP else f"{error.strerror or error}"
        raise UnreadableImage(reason, path) from error
    try:
        decoded = decode(data, decoding)
    except UnreadableImage as error:
        raise UnreadableImage(error.reason, path) from error
    promised = ENDINGS.get(path.suffix.lower())
    if promised is not None and promised != SAME_FORMAT.get(decoded.format, decoded.format):
        note = f"named {path.suffix}, but a {decoded.format} file"
        decoded = dataclasses.replace(decoded, notes=(*decoded.notes, note))
    return decoded


def content_hash(pixels: np.ndarray) -> str:
    """Name a picture by what it shows: equal for equal decoded pixels, whatever file they came from.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8 `(H, W, 3)`, as `decode(data, 3)` gives them.

    Returns
    -------
    str
        BLAKE2b of shape and pixels: 16 bytes as 32 hexadecimal digits.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"content_hash takes uint8 (H, W, 3), not {pixels.dtype} {pixels.shape}")
    digest = hashlib.blake2b(f"{pixels.shape[0]}x{pixels.shape[1]} RGB ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def resize(pixels: np.ndarray, size: tuple[int, int], policy: str, interpolation: str) -> np.ndarray:
    """Bring a picture to one size through Pillow, whose filters average when they shrink.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8 `(H, W, 3)` or `(H, W, 1)`.
    size : tuple of int
        Height and width wanted, in pixels.
    policy : str
        `squash` fits both sides and changes the aspect ratio; `letterbox` keeps it and centres the
        picture on black; `crop` keeps it and cuts what stands over, equally at both ends.
    interpolation : str
        `nearest`, `bilinear`, `bicubic` or `lanczos`.

    Returns
    -------
    numpy.ndarray
        uint8 `(*size, C)`.

    Raises
    ------
    MedclsError
        A policy or interpolation that does not exist.
    """
    if policy not in RESIZE_POLICIES:
        raise MedclsError(f"The resize policy is {policy!r}: choose one of {', '.join(RESIZE_POLICIES)}.")
    if interpolation not in FILTERS:
        raise MedclsError(f"The interpolation is {interpolation!r}: choose one of {', '.join(INTERPOLATIONS)}.")
    height, width = size
    resample = FILTERS[interpolation]
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if policy == "squash":
        image = image.resize((width, height), resample)
    elif policy == "crop":
        image = ImageOps.fit(image, (width, height), resample)
    else:
        scale = min(width / image.width, height / image.height)
        # Not ImageOps.pad: it fails on a picture so long that its short side would round to 0.
        inner = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), resample)
        image = Image.new(image.mode, (width, height))
        image.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return np.array(image).reshape(height, width, -1)


def is_image_name(path: PurePath) -> bool:
    """Whether the name ends as those of image files do, in any case; the file is not looked at."""
    return path.suffix.lower() in ENDINGS


def is_junk(path: PurePath) -> bool:
    """Whether a system left this file behind: `.DS_Store`, `Thumbs.db`, `._x.png`, all in `__MACOSX`.

    Give the path relative to the root, so that folders above it do not count.
    """
    name = path.name.lower()
    return name in JUNK_NAMES or name.startswith("._") or any(part.lower() in JUNK_FOLDERS for part in path.parts)


def _decode(image: Image.Image, decoding: Decoding) -> Decoded:
    """Decode an opened picture, none of whose pixels have been read yet."""
    if image.width * image.height > MOST_PIXELS:
        raise UnreadableImage(
            f"it claims {image.width:,} x {image.height:,} pixels, more than {MOST_PIXELS:,} (a decompression bomb?)"
        )
    notes = []
    stored_format, stored_mode = image.format or "", image.mode
    # Asked before loading, which forgets it: Pillow itself reduces 16-bit colour to its high byte.
    sixteen_bit = ";16" in str([tile[3] for tile in getattr(image, "tile", [])])
    # TIFF may count from white to black; Pillow turns that round in 8 bits, but not in 16.
    white_is_zero = stored_format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0
    transparent_level = image.info.get("transparency")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"first of {frames} frames")
    orientation, broken = _orientation(image)
    notes += broken
    image.load()
    if orientation in TURNS:
        notes.append(f"turned by its EXIF orientation {orientation}")
        if stored_format != "TIFF":  # which Pillow turns by itself while loading
            image = image.transpose(TURNS[orientation])

    # A PGM of more than 8 bits comes as 32-bit integers, brought to 0..65535 by Pillow.
    if stored_mode in SIXTEEN_BIT_MODES or (stored_mode == "I" and stored_format == "PPM"):
        sixteen_bit = True
        levels = np.asarray(image).astype(np.uint16)
        if white_is_zero and stored_mode in SIXTEEN_BIT_MODES:
            levels = 65535 - levels
        if isinstance(transparent_level, int):
            levels = np.where(levels == transparent_level, np.uint16(0), levels)
        blank = not levels.any()
        image = Image.fromarray((levels >> 8).astype(np.uint8))
    elif stored_mode in EIGHT_BIT_MODES:
        blank = False
    else:
        kind = {"I": "32-bit or signed integers", "F": "floating-point numbers"}.get(stored_mode, stored_mode)
        raise UnreadableImage(
            f"its pixels are {kind}, of which nobody can know what is black and what is white: save it in 8 or 16 bits"
        )

    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            notes.append("transparent parts composited on black")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), image)
    elif stored_mode == "CMYK":
        notes.append("CMYK turned to RGB without its colour profile")
    image = image.convert("RGB")
    if sixteen_bit:
        notes.append("16 bits to 8: high byte kept, 0..65535 to 0..255")
        if np.asarray(image).max() < 16 and not blank:
            raise UnreadableImage(
                "its 16-bit values all lie below 4096 of 65536, so that in 8 bits it would be all but black: "
                "scale it to the full range, by one rule for the whole data set"
            )
    if decoding.channels == 1:
        image = image.convert("L")
    # A copy: what Pillow hands out cannot be written to, and torch warns of that.
    pixels = np.array(image).reshape(image.height, image.width, decoding.channels)
    return Decoded(pixels, pixels, stored_format, stored_mode, 16 if sixteen_bit else 8, frames, tuple(notes))


def _orientation(image: Image.Image) -> tuple[int, list[str]]:
    """Read the EXIF orientation, 1 to 8, and a note where the EXIF block is damaged: the pixels may still be good."""
    try:
        return image.getexif().get(0x0112, 1), []
    except Exception:  # noqa: BLE001  Pillow raises nearly every type there is on a damaged block
        return 1, ["its EXIF block is damaged: orientation unknown, taken as upright"]


def _looks_like(data: bytes) -> str:
    """Say what bytes are that no image reader knows."""
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data.strip(b"\0"):
        return f"it holds {len(data):,} zero bytes and nothing else"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "it is a web page (HTML), not an image: the download failed"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the image itself: run git lfs pull"
    if data[128:132] == b"DICM":
        return "it is a DICOM file, which this version of medcls does not read"
    for magic, what in (
        (b"%pdf", "a PDF document"),
        (b"pk\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"<svg", "an SVG drawing"),
        (b"<?xml", "an XML document"),
        (b"\x00\x00\x00\x0cjp  ", "a JPEG 2000 image, which medcls does not read"),
    ):
        if start.startswith(magic):
            return f"it is {what}"
    if data[4:8] == b"ftyp":
        return "it is a HEIC, AVIF or video file, which medcls does not read"
    if data.startswith((b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")):
        return f"it begins as an image, but its header is damaged or cut short ({len(data):,} bytes)"
    try:
        text = data[:200].decode()
    except UnicodeDecodeError:
        return f"it is of no image format that medcls reads (begins {data[:8].hex(' ')})"
    return f"it is text, not an image: {text.strip()[:40]!r}"


def shown(path: PurePath | str) -> str:
    """Write a path for a message: with escapes where it has newlines or a broken encoding."""
    return str(path) if str(path).isprintable() else ascii(str(path))
