"""ImageStatistics: hashes as imagehash makes them, marks where there are marks, and any shape of picture."""

import io
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from medcls.data.sources.image_statistics import _opening, image_statistics


def smooth(side: int = 200, seed: int = 0) -> Image.Image:
    """Soft shapes, such as tissue, with no thin bright line."""
    noise = np.random.default_rng(seed).normal(size=(side, side, 3))
    soft = ndimage.gaussian_filter(noise, (8, 8, 0))
    return Image.fromarray(np.clip(110 + 60 * soft / soft.std(), 0, 255).astype(np.uint8))


def test_hashes_are_those_of_imagehash():
    image = smooth()
    seen = image_statistics(np.asarray(image))
    grey = image.convert("L")
    assert f"{seen.phash:016x}" == str(imagehash.phash(grey))
    assert f"{seen.dhash:016x}" == str(imagehash.dhash(grey))
    assert seen.detail == str(imagehash.phash(grey, hash_size=16))


def test_texture_sees_neither_frame_nor_shade():
    down, across = np.mgrid[:256, :256] - 127.5
    soft = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(256, 256)), 12)
    soft *= 30 / soft.std()

    def seen(shade: np.ndarray, radius: int) -> np.ndarray:
        grey = np.where(down**2 + across**2 < radius**2, 120 + shade + soft, 0).clip(0, 255).astype(np.uint8)
        bits = bytes.fromhex(image_statistics(np.repeat(grey[..., None], 3, axis=2)).texture)
        return np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(2, 256).astype(bool)

    flat, steep = seen(np.zeros((256, 256)), 126), seen((down - across) / 4, 110)
    both = flat[0] & steep[0]
    assert both.sum() > 60
    assert (flat[1] == steep[1])[both].mean() > 0.9
    corners = np.zeros((16, 16), bool)
    corners[:2, :2] = corners[-2:, -2:] = True
    assert not flat[0][corners.ravel()].any()
    for size in ((1, 1), (3, 300), (16, 16)):  # nothing is too small to be looked at
        assert len(image_statistics(np.zeros((*size, 3), np.uint8)).texture) == 128


def test_brightness_border_and_contrast():
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[5:95, 10:190] = 255
    pixels[:5], pixels[95:], pixels[:, :10], pixels[:, 190:] = ([255, 51, 0] for _ in range(4))
    seen = image_statistics(pixels)
    assert (seen.border_red, seen.border_green, seen.border_blue) == (1.0, pytest.approx(0.2), 0.0)
    grey = np.asarray(Image.fromarray(pixels).convert("L")) / 255
    assert seen.brightness == pytest.approx(grey.mean(), abs=1e-6)
    assert seen.contrast == pytest.approx(grey.std(), abs=1e-6)


def test_a_letter_near_the_edge_is_a_mark_and_tissue_is_none():
    plain, lettered, within = smooth(), smooth(), smooth()
    ImageDraw.Draw(lettered).text((12, 14), "R", fill="white")
    ImageDraw.Draw(within).text((96, 96), "R", fill="white")
    bright = plain.copy()
    ImageDraw.Draw(bright).rectangle((0, 0, 200, 30), fill="white")
    assert image_statistics(np.asarray(plain)).edge_marks == 0
    assert image_statistics(np.asarray(bright)).edge_marks == 0
    assert image_statistics(np.asarray(within)).edge_marks == 0
    assert image_statistics(np.asarray(lettered)).edge_marks > 5e-4


def test_extremes_tell_a_mask_from_a_picture():
    y, x = np.ogrid[:120, :100]
    disc = (y - 60) ** 2 + (x - 40) ** 2 < 15**2
    mask = np.repeat(disc[..., None], 3, axis=2).astype(np.uint8)
    draw = np.random.default_rng(0)
    assert (
        image_statistics(mask * 255).extremes
        == image_statistics(mask).extremes
        == image_statistics(mask * 0).extremes
        == 1
    )
    buffer = io.BytesIO()
    Image.fromarray(mask * 255).save(buffer, "JPEG", quality=75)
    assert image_statistics(np.asarray(Image.open(buffer))).extremes > 0.99
    large = np.asarray(Image.fromarray(mask * 255).resize((3000, 3600), Image.Resampling.NEAREST))
    assert image_statistics(large).extremes == 1
    noise = draw.normal(0, 40, (120, 100, 3))
    for level in (128, 270, 300, -30, -60):  # grey, and nearly white or black with some noise left
        assert image_statistics(np.clip(level + noise, 0, 255).astype(np.uint8)).extremes < 0.9, level
    faint = np.clip(8 + noise / 20, 0, 255).astype(np.uint8)
    assert image_statistics(faint).extremes == 0
    dark = np.where(mask > 0, np.clip(128 + noise, 0, 255), 0).astype(np.uint8)  # a picture in a black frame
    assert image_statistics(dark).extremes < 0.99


def test_opening_is_a_morphological_opening():
    grey = np.random.default_rng(0).integers(0, 256, (60, 41)).astype(np.uint8)
    inner = np.s_[8:-8, 8:-8]
    assert np.array_equal(_opening(grey)[inner], ndimage.grey_opening(grey, 5)[inner])


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3), (7, 2000), (1024, 1024)])
def test_any_shape_and_blank_pictures(shape):
    seen = image_statistics(np.full((*shape, 3), 51, np.uint8))
    assert (seen.brightness, seen.contrast, seen.edge_marks) == (pytest.approx(0.2), pytest.approx(0, abs=1e-9), 0)
    assert seen.border_red == pytest.approx(0.2)


@pytest.mark.real
def test_marks_on_real_pictures(real_data: Path):
    def marks(name: str) -> float:
        return image_statistics(np.asarray(Image.open(real_data / name).convert("RGB"))).edge_marks

    # Text is burned into the first two; the others are bare, as one sees.
    lettered = [marks(f"breast_cancer/benign/benign ({number}).png") for number in (205, 298)]
    bare = [marks(f"breast_cancer/benign/benign ({number}).png") for number in (100, 412, 62)]
    assert min(lettered) > 10 * max(bare)
