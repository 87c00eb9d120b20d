"""What a picture gives away at a glance: perceptual hashes, brightness, border; the audit's raw material.

All are computed from the decoded pixels, before any resizing for a network.
"""

import dataclasses
from functools import reduce

import imagehash
import numpy as np
from PIL import Image

LARGEST = 256  # pictures of twice this and more are first shrunk by a whole number: the hashes look at 64 x 64 at most
BORDER = 0.05  # of each side
EDGE = 0.25  # of each side: letters on X-rays stand well within the border
STROKE = 5  # pixels of the shrunk picture: letters, rulers and callipers are drawn with thinner lines
MARKED = 0.4  # how much brighter than what surrounds it, of 1: tissue and ribs seldom are


@dataclasses.dataclass(frozen=True, slots=True)
class Traits:
    """Measured on one picture; brightness runs from 0 (black) to 1 (white).

    Attributes
    ----------
    phash, dhash : int
        64-bit perceptual hashes (imagehash: discrete cosine transform; differences along rows).
    detail : str
        256-bit perceptual hash, which sees finer detail (imagehash: the transform's 16 x 16 lowest frequencies), as
        64 hexadecimal digits.
    brightness, contrast : float
        Mean and standard deviation of grey.
    border_red, border_green, border_blue : float
        Mean colour of the outermost twentieth on each side.
    edge_marks : float
        Share of the outer quarters' pixels that belong to thin bright strokes (white top-hat): burned-in letters,
        rulers, tags.
    """

    phash: int
    dhash: int
    detail: str
    brightness: float
    contrast: float
    border_red: float
    border_green: float
    border_blue: float
    edge_marks: float


def traits(pixels: np.ndarray) -> Traits:
    """Look at one picture.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8 `(H, W, 3)`, as `Decoding()` gives them.
    """
    image = Image.fromarray(pixels)
    if (factor := max(image.size) // LARGEST) > 1:
        image = image.reduce(factor)
    grey_image = image.convert("L")
    grey = np.asarray(grey_image)
    red, green, blue = (float(value) / 255 for value in _frame(np.asarray(image), BORDER).mean(axis=0))
    strokes = grey - _without_strokes(grey)
    return Traits(
        int(str(imagehash.phash(grey_image)), 16),
        int(str(imagehash.dhash(grey_image)), 16),
        str(imagehash.phash(grey_image, hash_size=16)),
        float(grey.mean()) / 255,
        float(grey.std()) / 255,
        red,
        green,
        blue,
        float((_frame(strokes[..., None], EDGE) > MARKED * 255).mean()),
    )


def _frame(pixels: np.ndarray, share: float) -> np.ndarray:
    """The pixels of `(H, W, C)` that lie within a share of a side, as `(n, C)`; at least one line on each side."""
    height, width, channels = pixels.shape
    down, across = max(1, round(height * share)), max(1, round(width * share))
    middle = pixels[down : height - down]
    strips = (pixels[:down], pixels[height - down :], middle[:, :across], middle[:, width - across :])
    return np.concatenate([strip.reshape(-1, channels) for strip in strips])


def _without_strokes(grey: np.ndarray) -> np.ndarray:
    """Morphological opening by a square: what is bright and thinner than it sinks to its surroundings."""
    opened = np.pad(grey, STROKE - 1, mode="edge")
    for smallest_or_largest in (np.minimum, np.maximum):
        for _ in range(2):  # down the columns, then along the rows
            length = len(opened) - STROKE + 1
            opened = reduce(smallest_or_largest, [opened[k : k + length] for k in range(STROKE)]).T
    return opened
