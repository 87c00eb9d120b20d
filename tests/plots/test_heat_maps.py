import re

import numpy as np
import pytest
from matplotlib.text import Text

from medcls.plots.heat_maps import colour_scale, described, overlay, plot_heat_map


def lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours."""
    linear = np.where(colours <= 10.31475, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


def peak(row: int, column: int, side: int = 90) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 200).astype(np.float32)


def test_zero_leaves_the_image_grey_and_more_is_lighter_and_coloured():
    grey = np.full((20, 256, 3), 64, np.uint8)
    values = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (20, 1))
    shown = overlay(grey, values)
    assert shown.dtype == np.uint8 and shown.shape == grey.shape
    assert (shown[:, 0] == 64).all()
    outside_the_line = np.r_[0:126, 132:256]
    np.testing.assert_array_equal(shown[10, outside_the_line], colour_scale(256, 20)[10, outside_the_line])
    light = lightness(colour_scale(256)[0].astype(float))
    assert (np.diff(light[60:]) > -0.2).all() and light[-1] - light[:60].max() > 40


def test_a_line_surrounds_what_exceeds_half_of_the_maximum():
    shown = overlay(np.zeros((90, 90, 1), np.uint8), peak(30, 60))
    white = (shown == 255).all(axis=2)
    rows, columns = np.nonzero(white)
    radius = np.sqrt(200 * np.log(2))
    assert len(rows) > 40
    assert np.abs(np.hypot(rows - 30, columns - 60) - radius).max() < 1.5


def test_what_the_network_does_not_see_is_dark():
    values = np.zeros((10, 10), np.float32)
    values[:, :3] = np.nan
    shown = overlay(np.full((10, 10, 3), 100, np.uint8), values)
    assert (shown[:, :3] == 40).all() and (shown[:, 3:] == 100).all()


@pytest.mark.parametrize(
    ("row", "column", "place"),
    [(10, 10, "upper left"), (45, 45, "centre"), (80, 45, "lower centre"), (45, 80, "middle right")],
)
def test_the_description_says_where_it_is_highest_and_on_how_much(row, column, place):
    values = peak(row, column)
    text = described(values)
    assert place in text
    assert re.search(rf"\b{(values >= 0.5).mean():.0%}", text)


def test_nothing_is_described_as_nothing():
    assert "%" not in described(np.zeros((4, 4), np.float32))
    values = np.full((4, 4), np.nan, np.float32)
    assert described(values) == described(np.zeros((4, 4), np.float32))


@pytest.mark.wording
@pytest.mark.usefixtures("drawn_figures")
def test_the_plot_has_the_image_the_heat_map_and_its_scale():
    image = np.full((90, 140, 3), 90, np.uint8)
    values = np.zeros((90, 140), np.float32)
    values[:, :90] = peak(20, 20)
    figure = plot_heat_map(image, values, "Grad-CAM for $x_y$", "share of the maximum", "a.png", "SYNTHETIC")
    figure.canvas.draw()
    left, right, bar = figure.axes
    assert (left.images[0].get_array() == image).all()
    assert (right.images[0].get_array() == overlay(image, values)).all()
    assert [float(tick.get_text()) for tick in bar.get_yticklabels()][::5] == [0, 1]
    texts = {text.get_text().replace("\\", "") for text in figure.findobj(Text)}
    assert {"Grad-CAM for $x_y$", "share of the maximum", "a.png", "SYNTHETIC"} <= texts
