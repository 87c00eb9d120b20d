"""Windows: which stored values become black and white, if a file stores more values than a pixel has.

A window is linear: values up to `black` become 0, values from `white` on the largest value of the pixel's type, and
those between are rounded to the nearest.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from medcls.data.reading.decoded import UnreadableImage
from medcls.preprocessing import Decoding

PERCENTILES = (0.5, 99.5)
"""Of an image's values, if neither the user nor the file states a window."""

CHUNK = 2**20  # values converted to float64 at a time: bounds the memory

# Integers within a range this narrow are counted and looked up: there are more pixels than values.
NARROW = 2**16

# ITU-R 601-2 luma in 65536ths, as Pillow counts it: 0.299 red, 0.587 green, 0.114 blue.
LUMA = np.array([19595, 38470, 7471], np.uint32)


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """The stored values that become black and white, and how they were chosen, in words."""

    black: float
    white: float
    chosen: str

    def note(self, stored_bits: int, bits: int) -> str:
        """The note for `Decoded.notes`."""
        return f"{stored_bits} bits to {bits} by {self.chosen}: {self.black:.7g} to {self.white:.7g}"


def choose(
    values: np.ndarray,
    window: Literal["full"] | tuple[float, float] | None,
    *,
    full: tuple[float, float] | None,
    padding: np.ndarray | None = None,
) -> Window:
    """Choose the window of an image whose file states none.

    Parameters
    ----------
    values : numpy.ndarray
        Stored values `(H, W, C)`.
    window : None, "full" or pair of float
        As `Decoding.window`; None uses the percentiles.
    full : tuple of float or None
        The range of the stored type; None for floating-point numbers, which have none.
    padding : numpy.ndarray, optional
        bool `(H, W, C)`: values outside the image, which are ignored.
    """
    check_finite(values)
    if isinstance(window, tuple):
        return Window(*window, "the stated window")
    if window == "full":
        if full is None:
            raise UnreadableImage(
                "its values are floating-point numbers, which have no full range: give data.window=[black, white]",
                kind="bad_value",
            )
        return Window(*full, "the full range")
    counted = values if padding is None or padding.all() else values[~padding]
    low, high = percentiles(counted, PERCENTILES)
    if low < high:
        return Window(low, high, f"the image's own percentiles {PERCENTILES[0]} and {PERCENTILES[1]}")
    low, high = float(counted.min()), float(counted.max())
    if low < high:
        return Window(low, high, "the image's own smallest and largest value, its percentiles being equal")
    return Window(low, high, "nothing, all values being equal and shown as black")


def percentiles(values: np.ndarray, shares: Sequence[float]) -> tuple[float, ...]:
    """The smallest values that these percentages of all values do not exceed.

    Equal to `numpy.percentile` with the method `inverted_cdf`; for integers in a narrow range several times as fast, by
    counting instead of sorting.
    """
    flat = values.reshape(-1)
    if flat.size <= NARROW or (lowest := _lowest_of_few(flat)) is None:
        return tuple(float(value) for value in np.percentile(flat, shares, method="inverted_cdf"))
    counts = np.zeros(int(flat.max()) - lowest + 1, dtype=np.int64)
    for start in range(0, flat.size, CHUNK):
        counts += np.bincount(flat[start : start + CHUNK].astype(np.int64) - lowest, minlength=len(counts))
    places = np.ceil(flat.size * (np.asarray(shares) / 100) - 1).clip(0)  # in the sorted values, from 0
    return tuple(float(lowest + value) for value in np.searchsorted(counts.cumsum(), places, side="right"))


def _lowest_of_few(values: np.ndarray) -> int | None:
    """The smallest of integers within a range of `NARROW`; None for other values."""
    if values.dtype.kind not in "ui":
        return None
    lowest, highest = int(values.min()), int(values.max())
    return lowest if highest - lowest < NARROW and abs(lowest) < 2**62 else None


def check_finite(values: np.ndarray) -> None:
    """Refuse values that are NaN or infinite."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        missing, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        raise UnreadableImage(
            f"{missing:,} of its values are not a number (NaN) and {infinite:,} are infinite", kind="not_finite"
        )


def spread(values: np.ndarray, black: float, white: float, bits: int) -> np.ndarray:
    """Apply a window to stored values: uint8 or uint16, depending on `bits`, in their shape.

    All pixels are 0 if `white` is not above `black`.
    """
    most = 2**bits - 1
    pixels = np.zeros(values.shape, np.uint8 if bits == 8 else np.uint16)
    if not black < white:
        return pixels
    flat, out = np.ascontiguousarray(values).reshape(-1), pixels.reshape(-1)
    if flat.size > NARROW and (lowest := _lowest_of_few(flat)) is not None:
        values_in_range = np.arange(lowest, int(flat.max()) + 1).astype(flat.dtype)
        table = spread(values_in_range, black, white, bits)
        for start in range(0, flat.size, CHUNK):
            out[start : start + CHUNK] = table[flat[start : start + CHUNK].astype(np.int64) - lowest]
        return pixels
    for start in range(0, flat.size, CHUNK):
        # Halved, so that differences of the largest floating-point numbers do not overflow.
        share = (flat[start : start + CHUNK].astype(np.float64) / 2 - black / 2) / (white / 2 - black / 2)
        out[start : start + CHUNK] = np.rint(share.clip(0, 1) * most)
    return pixels


def in_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Scale uint8 to 16 bits if asked for: 255 becomes 65535."""
    return pixels if bits == 8 else pixels.astype(np.uint16) * np.uint16(257)


def in_channels(pixels: np.ndarray, decoding: Decoding) -> np.ndarray:
    """Convert uint8 or uint16 `(H, W, 1 or 3)` to the channels asked for: grey repeated, or luma of colour."""
    if pixels.shape[2] == decoding.channels:
        return pixels
    if decoding.channels == 3:
        return np.repeat(pixels, 3, axis=2)
    flat = pixels.reshape(-1, 3)
    luma = np.empty(len(flat), pixels.dtype)
    for start in range(0, len(flat), CHUNK):
        # 65535 x 65536 + 32768 still fits 32 unsigned bits.
        luma[start : start + CHUNK] = (flat[start : start + CHUNK].astype(np.uint32) @ LUMA + 0x8000) >> 16
    return luma.reshape(*pixels.shape[:2], 1)
