"""Features are the inputs of the last layer, one row an image, and computed once."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medcls.data.module import ImageDataModule, ImageStore, Loading
from medcls.data.sources.folders import from_folders
from medcls.data.transforms import normalise
from medcls.inference.frozen_features import frozen_features
from medcls.preprocessing import Preprocessing

PREPROCESSING = Preprocessing((12, 10), (0.5,) * 3, (0.25,) * 3)
CPU = torch.device("cpu")


class Small(nn.Module):
    """Five features, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.norm, self.head = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Linear(5, 2)

    def features(self, images: Tensor) -> Tensor:
        return self.norm(self.convolution(images)).relu().mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def load(manifest) -> ImageDataModule:
    return ImageDataModule(manifest, PREPROCESSING, None, Loading(batch_size=4))


@pytest.fixture
def manifest(folder):
    return from_folders(folder({"a": 7, "b": 4}), positive="a", remember=False)


def test_features_are_those_of_each_image_in_the_order_of_the_rows(manifest, own_cache):
    network = Small().train()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    calls = []
    turned = manifest.with_rows(manifest.rows[::-1])
    features, computed = frozen_features(
        network, {"name": "small"}, load, turned, CPU, cache=False, progress=lambda *at: calls.append(at)
    )
    assert (features.shape, features.dtype, computed) == ((11, 5), np.float32, 11)
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    assert not own_cache.exists() or not list(own_cache.rglob("*.npz"))
    assert calls and calls[-1][0] == calls[-1][1]
    store = ImageStore(turned, PREPROCESSING, cache=False)
    images = torch.from_numpy(np.stack([store.read(row) for row in range(11)])).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = network.eval().features(normalise(images, PREPROCESSING))
    assert features == pytest.approx(expected.numpy(), abs=1e-5)


def test_only_images_that_are_not_cached_are_computed(manifest, own_cache):
    def features_of(which, network=None, **described):
        given = {"name": "small"} | described
        return frozen_features(network or Small(), given, load, which, CPU, cache=True)

    part = manifest.with_rows(manifest.rows[2:5])
    first, computed = features_of(part)
    assert computed == 3
    features, computed = features_of(manifest)
    assert computed == 8 and np.array_equal(features[2:5], first)
    again, computed = features_of(manifest)
    assert computed == 0 and np.array_equal(again, features)
    other = Small()
    with torch.no_grad():
        other.convolution.weight.mul_(2)
    assert features_of(part, other)[1] == features_of(part, image_size=9)[1] == 3, "of other weights or settings"
    with torch.no_grad():
        other.convolution.weight.div_(2)
        other.head.weight.mul_(2)
    assert features_of(part, other)[1] == 0, "the last layer has no part in them"
