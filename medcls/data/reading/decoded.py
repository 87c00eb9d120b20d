"""What a file becomes: its pixels and where they come from, or the reason why there are none."""

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np

from medcls.errors import MedclsError
from medcls.wording import printable

MOST_PIXELS = 89_478_485
"""A larger picture is taken for a decompression bomb, unless told otherwise: Pillow's own limit, 256 MiB as RGB."""

LIMIT = "MEDCLS_MOST_PIXELS"
"""The environment variable that sets another limit: it belongs to the machine's memory, and not to the experiment."""

MOST_BYTES = 2**29
"""A larger file is not read into memory."""


class UnreadableImage(MedclsError):
    """A file that does not become a picture.

    Attributes
    ----------
    path : Path or None
        The file; None where there were only bytes.
    reason : str
        What is wrong with it, without the path and without a full stop.
    kind : str
        As of every `MedclsError`: `damaged_image`, `not_an_image`, `unsupported_image`.
    """

    # One text argument suffices, so that a data loader's worker can raise it again in the main process.
    def __init__(self, reason: str, path: Path | None = None, kind: str = "unreadable_image") -> None:
        super().__init__(reason if path is None else f"{printable(path)} cannot be read as an image: {reason}.", kind)
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
        The values before any window was laid over them, `(H, W, C)`: what `content` is a hash of. Of up to
        8 bits uint8 and, but for DICOM, RGB; of more in their own type, a DICOM's after its modality LUT.
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


def content_hash(values: np.ndarray) -> str:
    """Name a picture by what it shows: equal for equal decoded values, whatever file they came from.

    Parameters
    ----------
    values : numpy.ndarray
        `Decoded.stored`: `(H, W, 3)` or `(H, W, 1)` of integers or floating-point numbers. Grey uint8 has the name
        of the RGB picture that looks the same; of any other type, only what is equal in type, too, has one name.

    Returns
    -------
    str
        BLAKE2b of type, shape and values in little-endian order: 16 bytes as 32 hexadecimal digits.
    """
    if values.ndim != 3 or values.shape[2] not in (1, 3) or values.dtype.kind not in "uif":
        raise ValueError(f"content_hash takes numbers (H, W, 3) or (H, W, 1), not {values.dtype} {values.shape}")
    height, width, channels = values.shape
    kind = "RGB"
    if values.dtype == np.uint8:
        values = np.broadcast_to(values, (height, width, 3))
    else:
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        kind = f"{values.dtype.str}x{channels}"
    digest = hashlib.blake2b(f"{height}x{width} {kind} ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def check_size(width: int, height: int) -> None:
    """Refuse a picture that claims more pixels than memory should hold, before any is decoded.

    Raises
    ------
    UnreadableImage
        More than `most_pixels()`, or none at all.
    """
    if width < 1 or height < 1:
        raise UnreadableImage(f"it claims {width:,} x {height:,} pixels: none at all", kind="damaged_image")
    if width * height > (most := most_pixels()):
        raise UnreadableImage(f"it claims {width:,} x {height:,} pixels, {too_many(most)}", kind="too_many_pixels")


def too_many(most: int) -> str:
    """That there are more pixels than may be, and what to do where the picture is meant to be so large."""
    return f"more than {most:,} (a decompression bomb? If not: {LIMIT}=N in the environment allows N pixels)"


def most_pixels() -> int:
    """How many pixels a picture may have.

    Raises
    ------
    MedclsError
        The environment variable is no whole number above 0.
    """
    text = os.environ.get(LIMIT) or str(MOST_PIXELS)
    if not text.isdecimal() or not int(text):
        raise MedclsError(
            f"{LIMIT} is {text!r}: give a whole number of pixels, such as {MOST_PIXELS}.", kind="bad_value"
        )
    return int(text)


def check_frame(frame: int, frames: int) -> tuple[str, ...]:
    """Note which frame of several is shown.

    Raises
    ------
    UnreadableImage
        There are not so many.
    """
    if frame >= frames:
        raise UnreadableImage(f"frame {frame} was asked for, counted from 0, but it has {frames}", kind="no_such_frame")
    if frames == 1:
        return ()
    return (f"first of {frames} frames" if frame == 0 else f"frame {frame} of {frames}, counted from 0",)


def damaged(data: bytes, library: str, error: Exception) -> UnreadableImage:
    """What to say of bytes on which a library gave up."""
    said = " ".join(str(error).split()) or type(error).__name__
    return UnreadableImage(
        f"damaged or cut short ({len(data):,} bytes; {library} says: {said[:300]})", kind="damaged_image"
    )
