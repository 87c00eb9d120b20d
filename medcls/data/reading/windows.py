"""Which stored values become black and white, where a file stores more of them than a pixel can tell apart.

A window is linear: what lies at or below `black` comes out 0, what lies at or above `white` comes out as the
largest value of the pixel's type, and what lies between is rounded to the nearest.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from medcls.data.reading.decoded import UnreadableImage
from medcls.preprocessing import Decoding

PERCENTILES = (0.5, 99.5)
"""Of an image's own values, where neither the user nor the file names a window."""

CHUNK = 2**20  # values brought to float64 at a time: bounds the memory, whatever the size of the picture

# Whole numbers within so narrow a range are counted, and looked up, value by value: there are more pixels than values.
NARROW = 2**16

# ITU-R 601-2 luma in 65536ths, as Pillow counts it: 0.299 red, 0.587 green, 0.114 blue.
LUMA = np.array([19595, 38470, 7471], np.uint32)


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """The stored values that become black and white, and in words, whose choice they are."""

    black: float
    white: float
    chosen: str

    def note(self, stored_bits: int, bits: int) -> str:
        """What a `Decoded` says of it."""
        return f"{stored_bits} bits to {bits} by {self.chosen}: {self.black:.7g} to {self.white:.7g}"


def choose(
    values: np.ndarray,
    window: Literal["full"] | tuple[float, float] | None,
    *,
    full: tuple[float, float] | None,
    padding: np.ndarray | None = None,
) -> Window:
    """Settle the window of one picture that names none itself.

    Parameters
    ----------
    values : numpy.ndarray
        Stored values `(H, W, C)`.
    window : None, "full" or pair of float
        As `Decoding.window`; None takes the percentiles.
    full : tuple of float or None
        The whole range of the stored type; None for floating-point numbers, which have none.
    padding : numpy.ndarray, optional
        bool `(H, W, C)`: values that belong to no picture and do not count.

    Raises
    ------
    UnreadableImage
        The full range of floating-point numbers; values that are not finite.
    """
    check_finite(values)
    if isinstance(window, tuple):
        return Window(*window, "the stated window")
    if window == "full":
        if full is None:
            raise UnreadableImage(
                "its values are floating-point numbers, which have no full range: state data.window=[black, white]",
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
    """The smallest values that so many per cent of all do not exceed.

    As `numpy.percentile` by the method `inverted_cdf` gives them; of whole numbers within a narrow range several times
    as fast, by counting instead of sorting.
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
    """The smallest of whole numbers that lie within `NARROW` of one another; None of others."""
    if values.dtype.kind not in "ui":
        return None
    lowest, highest = int(values.min()), int(values.max())
    return lowest if highest - lowest < NARROW and abs(lowest) < 2**62 else None


def check_finite(values: np.ndarray) -> None:
    """Refuse values that are neither black nor white nor anything between.

    Raises
    ------
    UnreadableImage
        Says how many are NaN and how many infinite.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        missing, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        raise UnreadableImage(
            f"{missing:,} of its values are not a number (NaN) and {infinite:,} are infinite", kind="not_finite"
        )


def spread(values: np.ndarray, black: float, white: float, bits: int) -> np.ndarray:
    """Lay a window over stored values.

    Returns
    -------
    numpy.ndarray
        uint8 or uint16, as `bits` says, in the shape of `values`: 0 up to `black`, the type's largest from `white`
        on. All 0 where `white` is not above `black`.
    """
    most = 2**bits - 1
    pixels = np.zeros(values.shape, np.uint8 if bits == 8 else np.uint16)
    if not black < white:
        return pixels
    flat, out = np.ascontiguousarray(values).reshape(-1), pixels.reshape(-1)
    if flat.size > NARROW and (lowest := _lowest_of_few(flat)) is not None:
        every = np.arange(lowest, int(flat.max()) + 1).astype(flat.dtype)
        table = spread(every, black, white, bits)
        for start in range(0, flat.size, CHUNK):
            out[start : start + CHUNK] = table[flat[start : start + CHUNK].astype(np.int64) - lowest]
        return pixels
    for start in range(0, flat.size, CHUNK):
        # Halved, so that the range between the largest floating-point numbers does not overflow.
        share = (flat[start : start + CHUNK].astype(np.float64) / 2 - black / 2) / (white / 2 - black / 2)
        out[start : start + CHUNK] = np.rint(share.clip(0, 1) * most)
    return pixels


def in_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Spread uint8 over 16 bits where 16 are asked for: 255 becomes 65535."""
    return pixels if bits == 8 else pixels.astype(np.uint16) * np.uint16(257)


def in_channels(pixels: np.ndarray, decoding: Decoding) -> np.ndarray:
    """From uint8 or uint16 `(H, W, 1 or 3)` to the channels asked for: grey three times, or colour's luma."""
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
