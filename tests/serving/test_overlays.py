"""The images of the page."""

import numpy as np

from medcls.serving.overlays import LONGEST_SIDE, overlay, shown


def test_an_image_is_made_small_and_coloured_and_keeps_its_shape():
    assert shown(np.full((2000, 1000, 1), 7, np.uint8)).shape == (LONGEST_SIDE, LONGEST_SIDE // 2, 3)
    assert shown(np.full((1, 5000, 3), 7, np.uint8)).shape == (1, LONGEST_SIDE, 3)
    assert (shown(np.full((20, 10, 1), 7 << 8, np.uint16)) == 7).all()


def test_where_a_heat_map_is_zero_the_image_is_unchanged_and_elsewhere_brighter_is_more():
    pixels = np.full((32, 32, 1), 40, np.uint8)
    heat_map = np.zeros((32, 32), np.float32)
    heat_map[:, 16:24], heat_map[:, 24:] = 0.5, 1
    drawn = overlay(pixels, heat_map)
    assert (drawn[:, :15] == 40).all()
    brightness = drawn[16].mean(1)
    assert 40 < brightness[20] < brightness[30]


def test_a_heat_map_of_a_large_input_fits_its_smaller_image():
    assert overlay(np.zeros((1000, 500, 3), np.uint16), np.ones((1000, 500), np.float32)).shape == (448, 224, 3)
