"""The last step before the network: pixels of 8 bits as uint8, of 16 bits as float32 from 0 to 1."""

import torch

from medcls.data.transforms import normalise
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
