"""Logits of decoded images are those of the network on normalised ones, in batches and threads of any number."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medcls.data.transforms import Augmentation
from medcls.inference.load import ClassLogits
from medcls.inference.network_scores import NetworkScores
from medcls.inference.predict import batch_size
from medcls.preprocessing import Preprocessing

CPU = torch.device("cpu")


class Means(nn.Module):
    """The mean of each channel, left and right; in training something else."""

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        half = images.shape[-1] // 2
        return torch.cat([images[..., :half].mean((2, 3)), images[..., half:].mean((2, 3))], dim=1)


def pixels_of(count: int, dtype: type = np.uint8, size: tuple[int, int] = (6, 8), channels: int = 3) -> np.ndarray:
    most = np.iinfo(dtype).max
    return np.random.default_rng(count).integers(0, most + 1, (count, *size, channels)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_are_scaled_and_normalised_in_their_channel(dtype):
    preprocessing = Preprocessing((6, 8), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), bits=8 * np.dtype(dtype).itemsize)
    scores = NetworkScores(ClassLogits(Means().train(), 6, None), preprocessing, CPU)
    pixels = pixels_of(3, dtype)
    expected = (pixels / np.iinfo(dtype).max - preprocessing.mean) / preprocessing.std
    halves = np.concatenate([expected[:, :, :4].mean((1, 2)), expected[:, :, 4:].mean((1, 2))], axis=1)
    logits = scores(pixels)
    assert logits.dtype == np.float32 and logits == pytest.approx(halves, abs=1e-5)
    assert scores.batch_size == batch_size(CPU, (6, 8))


@pytest.fixture
def scores() -> NetworkScores:
    preprocessing = Preprocessing((6, 8), (0.5,) * 3, (0.25,) * 3)
    return NetworkScores(ClassLogits(Means(), 6, None), preprocessing, CPU)


def test_an_image_has_its_logits_in_a_batch_of_any_size(scores):
    scores.batch_size = 4
    pixels = pixels_of(11)
    alone = np.concatenate([scores(pixels[number : number + 1]) for number in range(11)])
    assert scores(pixels) == pytest.approx(alone, abs=1e-6)


def test_several_threads_get_what_one_gets(scores):
    batches = [pixels_of(count) for count in range(1, 9)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(scores, batches))
    assert all(np.array_equal(one, scores(batch)) for one, batch in zip(together, batches, strict=True))


def test_the_first_view_is_the_image_and_another_changes_each_image_in_the_same_way(scores):
    flips = Augmentation(0.5, rotation_degrees=0, smallest_area=1, aspect=0, brightness=0, contrast=0)
    assert scores.view(flips, 0) is scores
    pixels = pixels_of(3)
    plain = scores(pixels)
    turned = plain[:, [3, 4, 5, 0, 1, 2]]
    views = [scores.view(flips, number)(pixels) for number in range(1, 9)]
    flipped = [np.allclose(view, turned, atol=1e-4) for view in views]
    assert all(one or np.allclose(view, plain, atol=1e-4) for one, view in zip(flipped, views, strict=True))
    assert set(flipped) == {True, False}
    third = scores.view(flips, 3)
    assert np.array_equal(third(pixels)[:1], third(pixels[:1])), "whatever images are beside it"
