"""The last step before the network: pixels of 8 bits as uint8, of 16 bits as float32 from 0 to 1."""

import numpy as np
import pytest
import torch
from refusals import refused

from medcls.data.transforms import normalise, pixels_back
from medcls.preprocessing import Preprocessing

IMAGENET = Preprocessing(size=8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def test_p24_16_bit_pixels_are_scaled_as_8_bit_ones() -> None:
    pixels = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    fine = pixels.float() / 255
    for preprocessing in (IMAGENET, Preprocessing(size=8, mean=(0.5,) * 3, std=(0.5,) * 3, range=(-1, 1))):
        got = normalise(fine, preprocessing)
        assert got.dtype == torch.float32
        assert torch.allclose(got, normalise(pixels, preprocessing), atol=1e-6)


def test_p24_16_bit_ends() -> None:
    half = Preprocessing(size=2, mean=(0.0,), std=(1.0,), range=(-1, 1))
    assert normalise(torch.zeros(1, 1, 2, 2), half).unique().tolist() == [-1.0]
    assert normalise(torch.ones(1, 1, 2, 2), half).unique().tolist() == [1.0]


def standardising(channels: int = 3) -> Preprocessing:
    return Preprocessing(size=8, mean=(0.4,) * channels, std=(0.2,) * channels, standardise=True)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fine", [False, True])
def test_each_image_is_standardised_by_itself(channels: int, fine: bool) -> None:
    """As `tf.image.per_image_standardization`: (x - mean) / max(deviation, 1 / sqrt(N)), over pixels and channels."""
    pixels = torch.randint(0, 256, (5, channels, 8, 6), dtype=torch.uint8)
    pixels[3] = pixels[3] // 9 + 100
    got = normalise(pixels.float() / 255 if fine else pixels, standardising(channels))
    images = pixels.double().numpy().reshape(5, -1)
    spread = np.maximum(images.std(1), images.shape[1] ** -0.5)
    expected = (images - images.mean(1)[:, None]) / spread[:, None]
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.reshape(5, -1), expected, atol=2e-5)


def test_p23_an_image_is_standardised_as_it_is_alone() -> None:
    pixels = torch.randint(0, 256, (7, 1, 16, 20), dtype=torch.uint8)
    pixels[2] = pixels[2] // 4
    alone = torch.cat([normalise(image[None], standardising(1)) for image in pixels])
    torch.testing.assert_close(normalise(pixels, standardising(1)), alone, atol=1e-6, rtol=0)


def test_an_image_without_contrast_is_standardised_to_zeros() -> None:
    flat = torch.full((2, 1, 8, 8), 77, dtype=torch.uint8)
    flat[1, 0, 0, 0] = 78
    got = normalise(flat, standardising(1))
    assert torch.isfinite(got).all() and got[0].abs().max() < 1e-2 and got[1, 0, 0, 0] > 7
    assert pixels_back(got, standardising(1))[1].unique().tolist() == [0, 255]


def test_of_a_standardised_image_black_and_white_come_back() -> None:
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    pixels[:, 0, 0, 0], pixels[:, 1, 0, 0] = 0, 255
    given = pixels.clone()
    assert torch.equal(pixels_back(normalise(pixels, standardising()), standardising()), given)
    assert torch.equal(pixels, given)


def test_standardising_replaces_mean_and_deviation_and_travels_as_plain_data() -> None:
    one = standardising()
    assert (one.mean, one.std, one.grey().mean, one.channels) == ((0.0,) * 3, (1.0,) * 3, (0.0,), 3)
    assert Preprocessing.from_plain(one.to_plain()) == one
    # A checkpoint of an earlier version does not say it.
    before = {name: value for name, value in IMAGENET.to_plain().items() if name != "standardise"}
    assert Preprocessing.from_plain(before) == IMAGENET
    with refused("bad_value", "standardise", "'yes'"):
        Preprocessing(size=8, mean=(0.5,), std=(0.5,), standardise="yes")
