"""Formats that Pillow reads (JPEG, PNG, BMP, TIFF, WebP, GIF and PNM): stored values and pixels.

Pillow reads 16-bit colour as its high byte and rescales PNM of unusual ranges: here such values are read in full.
"""

import dataclasses
import io
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from medcls.data.reading import tiff, windows
from medcls.data.reading.decoded import (
    Decoded,
    UnreadableImage,
    check_frame,
    check_size,
    damaged,
    most_pixels,
    too_many,
)
from medcls.preprocessing import Decoding

BACKGROUND = (0, 0, 0)
"""The colour behind transparent pixels, red, green, blue."""

# Pillow's other readers start outside programs (EPS) or are little tested.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")

EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"})
SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B"})

# The raw mode for the byte that Pillow drops: the same bytes in the other order. It has none for the low bytes of grey
# with alpha, but these are four bytes a pixel, as in RGBA.
_TURNED_NATIVE = "B" if sys.byteorder == "little" else "L"
OTHER_BYTE = {
    "RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGB;16N": f"RGB;16{_TURNED_NATIVE}",
    "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B", "RGBA;16N": f"RGBA;16{_TURNED_NATIVE}",
    "LA;16B": "RGBA",
}  # fmt: skip

# libtiff decompresses into the machine's byte order, and Pillow reads these modes in the file's.
IN_NATIVE_ORDER = {
    "I;16S": "I;16NS", "I;16BS": "I;16NS", "I;32S": "I;32NS", "I;32BS": "I;32NS", "F;32F": "F;32NF", "F;32BF": "F;32NF",
}  # fmt: skip

# EXIF orientation: how a stored image is turned upright (EXIF 2.3, tag 0x0112).
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}

TRANSPARENT = "transparent parts composited on black"


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """How Pillow will read a file: raw mode and codec, offset of the values, and the largest allowed value."""

    raw_mode: str
    codec: str
    offset: int
    most: int

    @property
    def is_wide(self) -> bool:
        """Whether a value takes 16 bits."""
        return ";16" in self.raw_mode or self.most > 255


@dataclasses.dataclass(frozen=True, slots=True)
class Deep:
    """Values of more than 8 bits `(H, W, 1 or 3)`, the range of their type, and whether 0 is white."""

    values: np.ndarray
    bits: int
    full: tuple[float, float] | None
    white_is_zero: bool = False
    notes: tuple[str, ...] = ()


def decode(data: bytes, decoding: Decoding) -> Decoded:
    """Decode the bytes of a file that Pillow reads, by the rules of `medcls.data.reading.images`.

    Raises
    ------
    UnreadableImage
        Not an image, truncated, too large, without this frame, or with values that are not finite.
    """
    # If another library has set this flag, the missing part of a truncated file would be grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    Image.MAX_IMAGE_PIXELS = most_pixels()
    try:
        _check_sums(data)
        return _decode(data, decoding)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        unknown = tiff.refusal(data, decoding.frame)
        raise (UnreadableImage(unknown, kind="unsupported_image") if unknown else _no_image(data)) from None
    except Image.DecompressionBombError:
        raise UnreadableImage(f"its pixels are {too_many(most_pixels())}", kind="too_many_pixels") from None
    except Exception as error:  # on damaged bytes Pillow's readers raise nearly every type
        unknown = tiff.refusal(data, decoding.frame) if isinstance(error, KeyError | SyntaxError) else None
        refusal = UnreadableImage(unknown, kind="unsupported_image") if unknown else damaged(data, "Pillow", error)
        raise refusal from error


def _check_sums(data: bytes) -> None:
    """Check the checksums of a PNG; Pillow ignores those of the pixels."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.format == "PNG":
            image.verify()


def _decode(data: bytes, decoding: Decoding) -> Decoded:
    """Decode one frame."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        check_size(image.width, image.height)
        frames = getattr(image, "n_frames", 1)
        notes = [*check_frame(decoding.frame, frames)]
        if decoding.frame:
            image.seek(decoding.frame)
            check_size(image.width, image.height)  # the pages of a TIFF differ
        stored_format, stored_mode = image.format or "", image.mode
        if stored_format == "TIFF":
            notes += _checked_tiff(image)
            image.tile = _in_native_order(image)
        layout = _layout(image)  # before the pixels are read
        if stored_format == "PNG":  # with its EXIF block, errors of its pixels would be taken for that block's
            image.load()
        orientation, broken = _orientation(image)
        deep = _deep(image, layout, data, decoding.frame)
        stored, more = _eight_bits(image, layout) if deep is None else (deep.values, deep.notes)
    notes += (*broken, *more)
    if orientation in TURNS:
        notes.append(f"turned by its EXIF orientation {orientation}")
        if stored_format != "TIFF":  # which Pillow turns while loading
            stored = np.ascontiguousarray(TURNS[orientation](stored))
    pixels, bits, windowed = _in_pixels(stored, deep, decoding)
    if deep is None and stored_mode == "1":
        bits = 1
    return Decoded(pixels, stored, stored_format, stored_mode, bits, frames, (*notes, *windowed))


def _in_pixels(stored: np.ndarray, deep: Deep | None, decoding: Decoding) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """Pixels of stored values, upright already; bits of a stored value; notes."""
    if deep is None:
        return windows.in_channels(windows.in_bits(stored, decoding.bits), decoding), 8, ()
    window = windows.choose(stored, decoding.window, full=deep.full)
    pixels = windows.spread(stored, window.black, window.white, decoding.bits)
    if deep.white_is_zero and window.black < window.white:
        pixels = (2**decoding.bits - 1) - pixels
    return windows.in_channels(pixels, decoding), deep.bits, (window.note(deep.bits, decoding.bits),)


def from_pillow(image: Image.Image, decoding: Decoding) -> Decoded:
    """Convert a Pillow image by the rules of `medcls.data.reading.images`.

    One whose file was opened and not read yet is decoded from that file, so that its 16-bit colour is read in full.
    Any other is taken as it stands, its current frame; Pillow has reduced 16-bit colour to 8 bits by then.

    Raises
    ------
    UnreadableImage
        As `decode`.
    """
    file = getattr(image, "fp", None)
    if file is not None and getattr(image, "tile", None):
        position = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(position)
        return decode(data, decoding)
    check_size(image.width, image.height)
    layout = Layout("", "", 0, 255)
    image.load()
    orientation, broken = _orientation(image)
    deep = _deep(image, layout, b"", 0)
    stored, more = _eight_bits(image, layout) if deep is None else (deep.values, deep.notes)
    if orientation in TURNS:
        broken = [*broken, f"turned by its EXIF orientation {orientation}"]
        stored = np.ascontiguousarray(TURNS[orientation](stored))
    pixels, bits, windowed = _in_pixels(stored, deep, decoding)
    return Decoded(pixels, stored, image.format or "", image.mode, bits, 1, (*broken, *more, *windowed))


def from_array(values: np.ndarray, decoding: Decoding) -> Decoded:
    """Convert an array, upright, by the rules of `medcls.data.reading.images`.

    Parameters
    ----------
    values : numpy.ndarray
        uint8 or uint16, `(H, W)`, `(H, W, 1)` grey or `(H, W, 3)` red, green, blue. Of uint16 a window is shown, as of
        a file with 16 bits.

    Raises
    ------
    UnreadableImage
        Another shape or type; too many pixels.
    """
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 3) or values.dtype not in (np.uint8, np.uint16):
        raise UnreadableImage(
            f"an array of {values.dtype} and shape {values.shape}: give uint8 or uint16, (H, W) grey or (H, W, 3) red, "
            "green, blue",
            kind="unsupported_image",
        )
    check_size(values.shape[1], values.shape[0])
    stored = np.ascontiguousarray(values)
    deep = Deep(stored, 16, (0, 65535)) if stored.dtype == np.uint16 else None
    pixels, bits, windowed = _in_pixels(stored, deep, decoding)
    return Decoded(pixels, stored, "", "array", bits, 1, windowed)


def _checked_tiff(image: Image.Image) -> tuple[str, ...]:
    """Refuse a TIFF page that Pillow would misread; note what is not shown."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    if (reason := tiff.misread(tags)) is not None:
        raise UnreadableImage(reason, kind="unsupported_image")
    claimed = tags[tiff.WIDTH], tags[tiff.LENGTH]
    if sorted(image.size) != sorted(claimed):
        raise UnreadableImage(
            f"it claims {claimed[0]} x {claimed[1]} pixels, and Pillow reads {image.size}", kind="damaged_image"
        )
    return tiff.left_out(tags)


def _in_native_order(image: Image.Image) -> list[ImageFile._Tile]:
    """The tiles of an opened TIFF, those that libtiff decompresses in native byte order."""
    tiles: list[ImageFile._Tile] = getattr(image, "tile", [])
    return [
        _with_raw_mode(tile, IN_NATIVE_ORDER[tile.args[0]])
        if tile.codec_name == "libtiff" and tile.args and tile.args[0] in IN_NATIVE_ORDER
        else tile
        for tile in tiles
    ]


def _eight_bits(image: Image.Image, layout: Layout) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels of an image of up to 8 bits, uint8 `(H, W, 3)`, and notes."""
    notes: tuple[str, ...] = ("16 bits to 8: Pillow kept the high byte",) if layout.is_wide else ()
    image.load()
    if image.mode not in EIGHT_BIT_MODES:
        raise UnreadableImage(
            f"its pixels are of a kind that medcls does not know ({image.mode})", kind="unsupported_image"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            notes += (TRANSPARENT,)
            image = Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), image)
    elif image.mode == "CMYK":
        notes += ("CMYK turned to RGB without its colour profile",)
    # A copy: Pillow's array is read-only, of which torch warns.
    return np.array(image.convert("RGB")), notes


def _deep(image: Image.Image, layout: Layout, data: bytes, frame: int) -> Deep | None:
    """Read an image with more than 8 bits a value; None for others."""
    animated = image.format == "PNG" and frame > 0  # composed of earlier frames, of which there are only high bytes
    if layout.raw_mode in OTHER_BYTE and not animated:
        return _deep_colour(image, layout.raw_mode, data, frame)
    if image.format == "PPM" and layout.most > 255:
        return _deep_pnm(image, layout, data)
    if image.mode in SIXTEEN_BIT_MODES:
        return _deep_grey(image, 12 if layout.raw_mode == "I;12" else 16)
    tags = getattr(image, "tag_v2", {})
    bits, white_is_zero = tags.get(tiff.BITS_PER_SAMPLE, (32,))[0], tags.get(tiff.PHOTOMETRIC) == 0
    signed = tiff.SIGNED in tags.get(tiff.SAMPLE_FORMAT, ())
    if image.mode == "L" and signed:  # Pillow reads signed values as unsigned: reinterpret the bytes
        return Deep(np.array(image).view(np.int8)[..., None], 8, (-128, 127), white_is_zero)
    if image.mode == "I" and signed:
        return Deep(np.array(image)[..., None], bits, (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), white_is_zero)
    if image.mode == "I":  # Pillow reads unsigned values as signed: reinterpret the bytes
        return Deep(np.array(image).view(np.uint32)[..., None], bits, (0, 2**bits - 1), white_is_zero)
    if image.mode == "F":
        return Deep(np.array(image)[..., None], bits, None, white_is_zero)
    return None


def _deep_grey(image: Image.Image, bits: int) -> Deep:
    """The values of unsigned grey; black for the transparent value of a PNG."""
    white_is_zero = getattr(image, "tag_v2", {}).get(tiff.PHOTOMETRIC) == 0
    key = image.info.get("transparency")
    values = np.asarray(image).astype(np.uint16)[..., None]
    notes: tuple[str, ...] = ()
    if isinstance(key, int) and (clear := values == key).any():
        values[clear] = 0
        notes = (TRANSPARENT,)
    return Deep(values, bits, (0, 2**bits - 1), white_is_zero, notes)


def _deep_colour(image: Image.Image, raw_mode: str, data: bytes, frame: int) -> Deep:
    """The values of 16-bit colour or grey with alpha: read as Pillow does, and again for the other byte."""
    key = image.info.get("transparency")
    with Image.open(io.BytesIO(data), formats=FORMATS) as again:
        again.seek(frame)
        again.tile = [_with_raw_mode(tile, OTHER_BYTE[raw_mode]) for tile in again.tile]
        other = np.asarray(again)
    if raw_mode == "LA;16B":  # as four channels: the bytes of grey, the bytes of alpha
        high, low = other[..., [0, 2]], other[..., [1, 3]]
    else:
        high, low = np.asarray(image), other
    values = high.astype(np.uint16) << 8 | low
    clear: np.ndarray | None = None
    if values.shape[2] in (2, 4):
        alpha, values = values[..., -1:], values[..., :-1]
        clear = alpha < 65535
        values = np.rint(values * (alpha / 65535)).astype(np.uint16)
    elif isinstance(key, tuple):
        clear = (values == key).all(axis=2)
        values[clear] = 0
    notes = (TRANSPARENT,) if clear is not None and clear.any() else ()
    return Deep(np.ascontiguousarray(values), 16, (0, 65535), notes=notes)


def _deep_pnm(image: Image.Image, layout: Layout, data: bytes) -> Deep | None:
    """The samples of a PGM or PPM as stored, which Pillow would rescale; None for colour in plain text."""
    most = layout.most
    channels = 3 if image.mode == "RGB" else 1
    if layout.codec != "ppm_plain":
        count = image.width * image.height * channels
        values = np.frombuffer(data, ">u2", count, layout.offset).astype(np.uint16)
        if values.max() > most:
            raise UnreadableImage(
                f"it has the value {values.max()}, and its header states {most} as the largest", kind="damaged_image"
            )
    elif channels == 1:
        values = np.rint(np.asarray(image) * (most / 65535)).astype(np.uint16)  # exactly undone
    else:
        return None
    return Deep(values.reshape(image.height, image.width, channels), most.bit_length(), (0, most))


def _layout(image: Image.Image) -> Layout:
    """How the values of an opened image are stored; before any pixels are read."""
    tiles: list[ImageFile._Tile] = getattr(image, "tile", [])
    if not tiles:
        return Layout("", "", 0, 255)
    codec, _, offset, args = tiles[0]
    parts = args if isinstance(args, tuple) else (args or "",)
    most = 255
    if codec in ("ppm", "ppm_plain"):
        most = int(parts[1]) if len(parts) > 1 else 1
    elif image.format == "PPM" and image.mode == "I":
        most = 65535
    return Layout(str(parts[0]), codec, offset, most)


def _with_raw_mode(tile: ImageFile._Tile, raw_mode: str) -> ImageFile._Tile:
    """A tile's reading planned with another raw mode, which stands first among its arguments or alone."""
    return tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)


def _orientation(image: Image.Image) -> tuple[int, list[str]]:
    """The EXIF orientation, 1 to 8, and a note if the EXIF block is damaged: the pixels may still be good."""
    try:
        return image.getexif().get(0x0112, 1), []
    except Exception:  # noqa: BLE001  Pillow raises nearly every type on a damaged block
        return 1, ["its EXIF block is damaged: assumed upright"]


def _no_image(data: bytes) -> UnreadableImage:
    """The error for bytes that no image reader knows."""
    if data.startswith((b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", *tiff.BEGINNINGS, b"RIFF")):
        return UnreadableImage(
            f"it begins as an image, but its header is damaged, truncated ({len(data):,} bytes) or of an unknown kind",
            kind="damaged_image",
        )
    return UnreadableImage(_looks_like(data), kind="not_an_image")


def _looks_like(data: bytes) -> str:
    """What bytes are that do not begin as an image."""
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data.strip(b"\0"):
        return f"it has {len(data):,} zero bytes and nothing else"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "it is a web page (HTML), not an image: the download failed"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the image itself: run git lfs pull"
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
    try:
        text = data[:200].decode()
    except UnicodeDecodeError:
        return f"it is not an image format that medcls reads (begins {data[:8].hex(' ')})"
    return f"it is text, not an image: {text.strip()[:40]!r}"
