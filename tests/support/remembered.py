"""What is measured on an image is found out once: most tests make the same small images of noise."""

import functools
from collections.abc import Callable

import numpy as np
from medcls.data.sources.traits import Traits

from medcls.data.sources import scan

SMALL = 10_000  # bytes; images of noise have 1,440


def remember_traits() -> None:
    """Have the scan of images measure no pixels twice, for the rest of the process."""
    scan.traits = _remembered(scan.traits)


def _remembered(real: Callable[[np.ndarray], Traits]) -> Callable[[np.ndarray], Traits]:
    known: dict[tuple[tuple[int, ...], bytes], Traits] = {}

    @functools.wraps(real)
    def traits(pixels: np.ndarray) -> Traits:
        if pixels.nbytes > SMALL:
            return real(pixels)
        key = pixels.shape, pixels.tobytes()
        if key not in known:
            known[key] = real(pixels)
        return known[key]

    return traits
