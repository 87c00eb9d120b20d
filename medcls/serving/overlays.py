"""Images for the page: the image as it was read, and the network's input under a heat map."""

import matplotlib
import numpy as np
from numpy.typing import NDArray

from medcls.data.reading import images
from medcls.inference.model import Pixels

LONGEST_SIDE = 448
"""Pixels of an image on the page."""

COLOURS = "inferno"
MOST_COLOUR = 0.65
"""How much of the image the strongest colour covers; where a heat map is 0 the image is clear."""


def shown(pixels: Pixels) -> NDArray[np.uint8]:
    """An image in 8 bits and colour `(H, W, 3)`, its longer side at most `LONGEST_SIDE`."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    scale = min(1.0, LONGEST_SIDE / max(pixels.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    small = images.resize(pixels, (height, width), "squash", "lanczos")
    return np.repeat(small, 3, axis=2) if small.shape[2] == 1 else small


def overlay(pixels: Pixels, heat_map: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The network's input under a heat map.

    Parameters
    ----------
    pixels : ndarray
        `(H, W, C)`, of which no side is longer than `LONGEST_SIDE`, or it is made smaller.
    heat_map : ndarray
        `(H, W)`, from 0 to 1.

    Returns
    -------
    ndarray
        uint8 `(h, w, 3)`.
    """
    small = shown(pixels)
    levels = (heat_map.clip(0, 1) * 255).astype(np.uint8)[..., None]
    share = images.resize(levels, small.shape[:2], "squash", "bilinear")[..., 0] / 255
    colour = 255 * matplotlib.colormaps[COLOURS](share)[..., :3]
    weight = MOST_COLOUR * share[..., None]
    return np.rint((1 - weight) * small + weight * colour).astype(np.uint8)
