"""Statistics of one image: perceptual hashes, brightness, border; what the audit and the splits compare.

They are computed from the decoded pixels, before any resizing for a network.
"""

import dataclasses
from functools import reduce

import imagehash
import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

LARGEST = 256  # images of twice this and more are first reduced by a whole number: hashes use 64 x 64 at most
BORDER = 0.05  # of each side
EDGE = 0.25  # of each side: letters on X-rays lie well within the border
STROKE = 5  # pixels of the reduced image: letters, rulers and callipers have thinner lines
CELLS = 16  # on each side of the texture grid
DARK = 10  # of 255: frame or background up to this
FAINT = 0.25  # of the standard deviation: cells closer to the smooth surface do not differ
MARKED = 0.4  # of 1, brighter than the surroundings: tissue and ribs seldom are
ALIKE = 16  # grey levels of 256: the noise that JPEG adds to a mask


_DOWN, _ACROSS = (axis.ravel() for axis in np.meshgrid(*2 * [np.linspace(-1, 1, CELLS)], indexing="ij"))
# The surface's terms at each cell: shading and vignetting are of second order.
_QUADRATIC = np.stack([np.ones(CELLS**2), _DOWN, _ACROSS, _DOWN**2, _DOWN * _ACROSS, _ACROSS**2], axis=1)


@dataclasses.dataclass(frozen=True, slots=True)
class ImageStatistics:
    """Statistics of one image; brightness runs from 0 (black) to 1 (white).

    Attributes
    ----------
    phash, dhash : int
        64-bit perceptual hashes (imagehash: discrete cosine transform; differences along rows).
    detail : str
        256-bit perceptual hash of finer detail (imagehash: the transform's 16 x 16 lowest frequencies), as 64
        hexadecimal digits.
    texture : str
        Which cells of a 16 x 16 grid are brighter than a smooth surface fitted to the foreground, which are darker, and
        which do not differ from it: two 256-bit masks (cells that differ, cells that are brighter) as 128 hexadecimal
        digits. It leaves out frame and shading, which make the hashes of different fundus photographs alike.
    brightness, contrast : float
        Mean and standard deviation of grey.
    border_red, border_green, border_blue : float
        Mean colour of the outermost twentieth on each side.
    edge_marks : float
        Share of the outer quarters' pixels in thin bright strokes (white top-hat): burned-in letters, rulers, tags.
    extremes : float
        Share of pixels within 1/16 of the scale from the darkest or the brightest: 1 for a segmentation mask. 0 if more
        pixels lie between them than at either, as in a nearly black image.
    """

    phash: int
    dhash: int
    detail: str
    texture: str
    brightness: float
    contrast: float
    border_red: float
    border_green: float
    border_blue: float
    edge_marks: float
    extremes: float


def image_statistics(pixels: np.ndarray) -> ImageStatistics:
    """Compute the statistics of one image, uint8 `(H, W, 3)`, as `Decoding()` gives it."""
    image = Image.fromarray(pixels)
    if (factor := max(image.size) // LARGEST) > 1:
        image = image.reduce(factor)
    grey_image = image.convert("L")
    grey = np.asarray(grey_image)
    red, green, blue = (float(value) / 255 for value in _frame(np.asarray(image), BORDER).mean(axis=0))
    strokes = grey - _opening(grey)
    return ImageStatistics(
        int(str(imagehash.phash(grey_image)), 16),
        int(str(imagehash.dhash(grey_image)), 16),
        str(imagehash.phash(grey_image, hash_size=16)),
        _texture(grey_image),
        float(grey.mean()) / 255,
        float(grey.std()) / 255,
        red,
        green,
        blue,
        float((_frame(strokes[..., None], EDGE) > MARKED * 255).mean()),
        _extremes(pixels),
    )


def _texture(grey: Image.Image) -> str:
    parts = np.asarray(grey.resize((4 * CELLS, 4 * CELLS), Image.Resampling.BOX), np.float64)
    cells = parts.reshape(CELLS, 4, CELLS, 4).mean(axis=(1, 3)).ravel()
    # Cells that touch a frame or the border show its shape: they are left out.
    dark = binary_dilation(parts <= DARK, np.ones((5, 5)), border_value=1)
    inside = ~dark.reshape(CELLS, 4, CELLS, 4).any(axis=(1, 3)).ravel()
    surface = _QUADRATIC[inside]
    left = np.zeros(CELLS**2)
    if inside.any():
        left[inside] = cells[inside] - surface @ np.linalg.lstsq(surface, cells[inside], rcond=None)[0]
    is_visible = np.abs(left) > FAINT * (left[inside].std() if inside.any() else 0)
    return np.packbits(is_visible).tobytes().hex() + np.packbits(left > 0).tobytes().hex()


def _extremes(pixels: np.ndarray) -> float:
    """See `ImageStatistics.extremes`; from the full-size pixels, since shrinking makes grey of black and white."""
    step = max(1, max(pixels.shape[:2]) // LARGEST)
    grey = np.asarray(Image.fromarray(np.ascontiguousarray(pixels[::step, ::step])).convert("L")).astype(np.int16)
    if len(np.unique(grey)) <= 2:  # 0 and 1, say
        return 1.0
    darkest, brightest = grey - grey.min() < ALIKE, grey.max() - grey < ALIKE
    if np.ptp(grey) < 4 * ALIKE:
        return 0.0
    between = 1 - float((darkest | brightest).mean())
    return 1 - between if between <= min(darkest.mean(), brightest.mean()) else 0.0


def _frame(pixels: np.ndarray, share: float) -> np.ndarray:
    """The pixels `(n, C)` of `(H, W, C)` within a share of a side from the border; at least one line on each side."""
    height, width, channels = pixels.shape
    down, across = max(1, round(height * share)), max(1, round(width * share))
    middle = pixels[down : height - down]
    strips = (pixels[:down], pixels[height - down :], middle[:, :across], middle[:, width - across :])
    return np.concatenate([strip.reshape(-1, channels) for strip in strips])


def _opening(grey: np.ndarray) -> np.ndarray:
    """Morphological opening by a square, in a twentieth of the time of `scipy.ndimage.grey_opening`."""
    opened = np.pad(grey, STROKE - 1, mode="edge")
    for smallest_or_largest in (np.minimum, np.maximum):
        for _ in range(2):  # down the columns, then along the rows
            length = len(opened) - STROKE + 1
            opened = reduce(smallest_or_largest, [opened[k : k + length] for k in range(STROKE)]).T
    return opened
