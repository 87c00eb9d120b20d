"""The graph of an export: any input that reading gives, in batches of any size."""

import numpy as np
import pytest
import torch
from refusals import refused
from torch import Tensor, nn

from medcls.inference import onnx_file
from medcls.inference.export import write_onnx
from medcls.inference.load import ClassLogits, Loaded
from medcls.inference.model import Model, ModelDescription
from medcls.inference.network_scores import NetworkScores
from medcls.inference.verification import Agreement, agreement
from medcls.preprocessing import Preprocessing

CLASSES = ("well", "ill")


class OneLogit(nn.Module):
    """A network of a single output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(channels, 4, 3, stride=2), nn.Linear(4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.convolution(images).relu().mean((2, 3)))


class OfTheBatch(OneLogit):
    """A network whose graph depends on what the images show."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if images.mean() > 0 else -images)


def made(network: nn.Module, preprocessing: Preprocessing) -> tuple[Loaded, Model]:
    torch.manual_seed(0)
    wrapped = ClassLogits(network, 2, 1).eval()
    description = ModelDescription("made", CLASSES, "ill", preprocessing, None, ("SYNTHETIC",), "0123")
    loaded = Loaded(wrapped, CLASSES, "ill", preprocessing, "0123", None, ("SYNTHETIC",))
    return loaded, Model(description, NetworkScores(wrapped, preprocessing, torch.device("cpu")))


INPUTS = [
    Preprocessing((16, 24), (0.5,), (0.25,), bits=16, standardise=True),
    Preprocessing((16, 24), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), range=(-1, 1)),
    Preprocessing((16, 24), (0.5,), (0.25,)),
    Preprocessing((16, 24), (0.5,) * 3, (0.25,) * 3, bits=16),
    Preprocessing((16, 24), (0.5,) * 3, (0.25,) * 3, standardise=True),
]


@pytest.mark.parametrize(
    "preprocessing", [INPUTS[0], *(pytest.param(one, marks=pytest.mark.slow) for one in INPUTS[1:])]
)
def test_scaling_normalisation_and_standardisation_are_in_the_graph(tmp_path, preprocessing):
    loaded, model = made(OneLogit(preprocessing.channels), preprocessing)
    write_onnx(loaded, model.described(), tmp_path / "model.onnx")
    exported = onnx_file.load(tmp_path / "model.onnx")
    dtype, most = (np.uint8, 255) if preprocessing.bits == 8 else (np.uint16, 65535)
    draw = np.random.default_rng(0)
    shape = (*preprocessing.size, preprocessing.channels)
    pixels = [draw.integers(0, high, shape).astype(dtype) for high in (most, most // 9, most)]
    pixels.append(np.zeros(shape, dtype))  # of no contrast
    found = agreement(model, exported, pixels)
    assert found.is_within(1e-6) and found.images == 4
    assert exported.watermarks == ("SYNTHETIC",)
    # A batch of another size, and the same image in it, gives the same.
    assert exported.score(np.stack(pixels * 3))[:4] == pytest.approx(exported.score(np.stack(pixels)), abs=1e-6)


def test_a_network_that_cannot_be_exported_is_reported_and_nothing_is_written(tmp_path):
    loaded, model = made(OfTheBatch(1), INPUTS[2])
    with refused("not_exportable", "format=onnx"):
        write_onnx(loaded, model.described(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_agreement_counts_decisions_that_rounding_cannot_explain():
    base = {"images": 10, "largest_logit": 3.0, "logit_difference": 1e-6, "probability_difference": 1e-7}
    assert Agreement(**base, same_decisions=10, at_the_threshold=0).is_within(1e-5)
    assert Agreement(**base, same_decisions=9, at_the_threshold=1).is_within(1e-5)
    assert not Agreement(**base, same_decisions=9, at_the_threshold=0).is_within(1e-5)
    assert not Agreement(**base | {"probability_difference": 2e-5}, same_decisions=10, at_the_threshold=0).is_within(
        1e-5
    )
