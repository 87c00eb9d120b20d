"""What a picture gives away at a glance: perceptual hashes, brightness, border; the audit's raw material.

All are computed from the decoded pixels, before any resizing for a network.
"""

import dataclasses

import imagehash
import numpy as np
from PIL import Image

LARGEST = 256  # sides above twice this are first halved, and halved again: the hashes look at 32 x 32
BORDER = 0.05  # of each side


@dataclasses.dataclass(frozen=True, slots=True)
class Traits:
    """Measured on one picture; brightness runs from 0 (black) to 1 (white).

    Attributes
    ----------
    phash, dhash : int
        64-bit perceptual hashes (imagehash: discrete cosine transform; differences along rows).
    brightness, contrast : float
        Mean and standard deviation of grey.
    border_red, border_green, border_blue : float
        Mean colour of the outermost twentieth on each side.
    edge_marks : float
        Share of the border's pixels that are much brighter than the border's median: burned-in text, rulers, tags.
    """

    phash: int
    dhash: int
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
    grey = np.asarray(grey_image, dtype=np.float32) / 255
    small = np.asarray(image)
    height, width = grey.shape
    down, across = max(1, round(height * BORDER)), max(1, round(width * BORDER))
    frame = np.ones((height, width), dtype=bool)
    frame[down : height - down, across : width - across] = False
    red, green, blue = (float(value) / 255 for value in small[frame].mean(axis=0))
    edge = grey[frame]
    return Traits(
        _number(imagehash.phash(grey_image)),
        _number(imagehash.dhash(grey_image)),
        float(grey.mean()),
        float(grey.std()),
        red,
        green,
        blue,
        float((edge > np.median(edge) + 0.4).mean()),
    )


def _number(hashed: imagehash.ImageHash) -> int:
    """A hash's 64 bits as one number."""
    return int.from_bytes(np.packbits(hashed.hash).tobytes(), "big")
