"""A decoded image and its origin, or the reason why a file cannot be read."""

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np

from medcls.errors import MedclsError
from medcls.wording import printable

MOST_PIXELS = 89_478_485
"""A larger image is taken for a decompression bomb; Pillow's limit, 256 MiB as RGB."""

LIMIT = "MEDCLS_MOST_PIXELS"
"""The environment variable for another limit, which depends on the machine, not the experiment."""

MOST_BYTES = 2**29
"""A larger file is not read into memory."""


class UnreadableImage(MedclsError):
    """A file that cannot be decoded.

    Attributes
    ----------
    path : Path or None
        The file; None if there were only bytes.
    reason : str
        What is wrong, without the path and a full stop.
    kind : str
        As of every `MedclsError`: `damaged_image`, `not_an_image`, `unsupported_image`.
    """

    # One text argument suffices, so that a loader's worker can re-raise it in the main process.
    def __init__(self, reason: str, path: Path | None = None, kind: str = "unreadable_image") -> None:
        super().__init__(reason if path is None else f"{printable(path)} cannot be read as an image: {reason}.", kind)
        self.reason = reason
        self.path = path


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """An image and how its file stores it.

    Attributes
    ----------
    pixels : numpy.ndarray
        uint8 or uint16, `(H, W, 3)` red, green, blue, or `(H, W, 1)` grey.
    stored : numpy.ndarray
        The values before windowing, `(H, W, C)`, of which `content` is a hash. Of up to 8 bits uint8 and, except for
        DICOM, RGB; of more in their own type, a DICOM's after its modality LUT.
    format, mode : str
        As Pillow names them: `JPEG`, `CMYK`; of a DICOM, its photometric interpretation.
    bits : int
        Bits of one stored value: 1, 8, 12, 16, 32.
    frames : int
        Number of frames or pages in the file.
    notes : tuple of str
        Processing steps that not every image needs.
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
        """The content hash: equal for equal stored values, whatever the file."""
        return content_hash(self.stored)


def content_hash(values: np.ndarray) -> str:
    """Hash `Decoded.stored`: equal for equal values, whatever the file; 32 hexadecimal digits.

    BLAKE2b of type, shape and values in little-endian order. Grey uint8 has the hash of the equal RGB image; other
    types must be equal in type too.
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
    """Refuse an image that claims more than `most_pixels()`, or none, before it is decoded."""
    if width < 1 or height < 1:
        raise UnreadableImage(f"it claims {width:,} x {height:,} pixels", kind="damaged_image")
    if width * height > (most := most_pixels()):
        raise UnreadableImage(f"it claims {width:,} x {height:,} pixels, {too_many(most)}", kind="too_many_pixels")


def too_many(most: int) -> str:
    """That an image has more pixels than allowed, and how to allow them."""
    return f"more than {most:,} (a decompression bomb? If not, set {LIMIT}=N in the environment to allow N pixels)"


def most_pixels() -> int:
    """The largest number of pixels of an image."""
    text = os.environ.get(LIMIT) or str(MOST_PIXELS)
    if not text.isdecimal() or not int(text):
        raise MedclsError(
            f"{LIMIT} is {text!r}: give a whole number of pixels, such as {MOST_PIXELS}.", kind="bad_value"
        )
    return int(text)


def check_frame(frame: int, frames: int) -> tuple[str, ...]:
    """Refuse a frame that does not exist; note which of several frames is shown."""
    if frame >= frames:
        raise UnreadableImage(f"frame {frame}, counted from 0, does not exist: it has {frames}", kind="no_such_frame")
    if frames == 1:
        return ()
    return (f"first of {frames} frames" if frame == 0 else f"frame {frame} of {frames}, counted from 0",)


def damaged(data: bytes, library: str, error: Exception) -> UnreadableImage:
    """The error for bytes that a library cannot decode."""
    text = " ".join(str(error).split()) or type(error).__name__
    return UnreadableImage(f"damaged or truncated ({len(data):,} bytes; {library}: {text[:300]})", kind="damaged_image")
