"""Heat maps over their images, with their colour scale and a description in words."""

import functools

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medcls.plots.drawing import new_figure, styled

Image = NDArray[np.uint8]
Values = NDArray[np.float32]

COLOUR_MAP = "inferno"  # perceptually uniform: lightness alone orders the values

# How much of the image the colour hides: nothing at 0, three quarters at 1.
_MOST_OPAQUE = 0.75

_HALF = 0.5  # of the maximum: the line that is drawn, and the area that is described

_UNDER_SCALE = 64.0  # the grey on which lightness orders the blended colours too

_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


def overlay(image: Image, values: Values) -> Image:
    """Lay a heat map over an image.

    The image is grey, so that all colour is the map's; a white line with a black edge surrounds what exceeds half of
    the maximum.

    Parameters
    ----------
    image : ndarray
        uint8 `(H, W, 3)`, or `(H, W, 1)`.
    values : ndarray
        float32 `(H, W)` from 0 to 1; NaN for parts that the network does not see, which become darker.

    Returns
    -------
    ndarray
        uint8 `(H, W, 3)`.
    """
    grey = image.astype(np.float32) @ ((0.299, 0.587, 0.114) if image.shape[2] == 3 else (1.0,))
    seen = np.isfinite(values)
    shown = np.where(seen, values, 0)
    blended = _blended(grey, shown)
    blended[~seen] *= 0.4
    high = shown >= _HALF
    inside = high & _shrunk(high)
    blended[high & ~inside] = 255
    blended[inside & ~_shrunk(inside)] = 0
    return blended.round().astype(np.uint8)


def colour_scale(width: int = 256, height: int = 12) -> Image:
    """The colours of `overlay` on dark grey, from 0 at the left to 1 at the right: uint8 `(height, width, 3)`."""
    values = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
    return _blended(np.full((height, width), _UNDER_SCALE, np.float32), values).round().astype(np.uint8)


def described(values: Values) -> str:
    """Describe in words where a heat map is high: the text for those who do not see it."""
    shown = np.nan_to_num(values)
    if not shown.any():
        return "no part of the image speaks for the class"
    rows, columns = np.nonzero(shown >= shown.max())
    place = tuple(
        names[min(2, int(3 * (numbers.mean() + 0.5) / side))]
        for names, numbers, side in ((_ROWS, rows, shown.shape[0]), (_COLUMNS, columns, shown.shape[1]))
    )
    where = "the centre" if place == ("middle", "centre") else f"the {' '.join(place)}"
    return f"highest at {where}; above half of the maximum on {(shown >= _HALF).mean():.0%} of the image"


def plot_heat_map(
    image: Image, values: Values, title: str, unit: str, caption: str, watermark: str | None = None
) -> Figure:
    """Plot an image beside its heat map, with the colour scale.

    Parameters
    ----------
    image : ndarray
        uint8 `(H, W, 3)`, or `(H, W, 1)`.
    values : ndarray
        As of `overlay`.
    title : str
        Above the heat map.
    unit : str
        What the colour scale shows.
    caption, watermark
        As in `plots.plot_confusion`.
    """
    height, width = values.shape
    side = 3.4
    wide, high = side * min(1.0, width / height), side * min(1.0, height / width)
    with styled([title, unit, caption], watermark) as draw:
        figure = new_figure(max(2 * wide + 1.3, 5.0), high + 1.0)
        left, right = figure.subplots(1, 2)
        left.imshow(np.broadcast_to(image, (height, width, 3)))
        left.set_title("image")
        right.imshow(overlay(image, values))
        right.set_title(draw.fit(title, max(20, int(wide * 11))))
        for axes in (left, right):
            axes.set_axis_off()
        bar = figure.colorbar(
            matplotlib.cm.ScalarMappable(cmap=_blended_map()), ax=[left, right], fraction=0.05, pad=0.02, shrink=0.9
        )
        bar.set_label(draw.fit(unit, 40))
        bar.outline.set_visible(False)
        bar.ax.grid(False)
        bar.ax.axhline(_HALF, color="white", linewidth=1.5)
        draw.finish(figure, caption)
    return figure


def _blended(grey: NDArray[np.floating], values: NDArray[np.floating]) -> NDArray[np.float64]:
    colours = matplotlib.colormaps[COLOUR_MAP](values)[..., :3] * 255
    opacity = (_MOST_OPAQUE * values)[..., None]
    blended: np.ndarray = grey[..., None] * (1 - opacity) + colours * opacity
    return blended


@functools.cache
def _blended_map() -> matplotlib.colors.ListedColormap:
    return matplotlib.colors.ListedColormap(colour_scale(256, 1)[0] / 255)


def _shrunk(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask without the pixels that touch its outside; the edge of the image is inside."""
    padded = np.pad(mask, 1, constant_values=True)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
