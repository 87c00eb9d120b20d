"""8 bits: weights and activations are quantized, and the file is described as every export."""

import logging

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from medcls.inference import onnx_file
from medcls.inference.export import write_onnx
from medcls.inference.load import ClassLogits, Loaded
from medcls.inference.model import Model, ModelDescription
from medcls.inference.quantization import BATCH, write_int8
from medcls.preprocessing import Preprocessing

PREPROCESSING = Preprocessing((16, 16), (0.5,), (0.25,))


class Small(nn.Module):
    """A convolution with its batch norm, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.convolution(images)).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """An exact export."""
    torch.manual_seed(0)
    loaded = Loaded(ClassLogits(Small(), 2, 1).eval(), ("a", "b"), "b", PREPROCESSING, "0123", None, ("SYNTHETIC",))
    described = ModelDescription("made", ("a", "b"), "b", PREPROCESSING, None, ("SYNTHETIC",), "0123")
    path = tmp_path_factory.mktemp("exact") / "model.onnx"
    write_onnx(loaded, Model(described, lambda pixels: pixels).described(), path)
    return path


@pytest.mark.parametrize("count", [1, BATCH + 1])
def test_a_quantized_file_is_near_the_exact_one_and_described_as_asked(exact, tmp_path, count):
    draw = np.random.default_rng(0)
    training = [draw.integers(0, 256, (16, 16, 1)).astype(np.uint8) for _ in range(count)]
    before = exact.read_bytes()
    first = onnx_file.load(exact)
    described = first.described() | {"watermarks": ["SYNTHETIC", "8 BITS"]}
    logger, level = logging.getLogger(), logging.getLogger().level
    write_int8(exact, described, training, tmp_path / "int8.onnx")
    assert logger.level == level and exact.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"int8.onnx"}

    model = onnx_file.load(tmp_path / "int8.onnx")
    assert model.watermarks == ("SYNTHETIC", "8 BITS") and model.classes == ("a", "b")
    pixels = np.stack(training[:1] * 3)
    exact_logits, logits = first.score(pixels), model.score(pixels)
    assert 0 < np.abs(logits - exact_logits).max() < 0.1 * max(1, np.abs(exact_logits).max())

    stored = [numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "int8.onnx").graph.initializer]
    (weights,) = [values for values in stored if values.shape == (4, 1, 3, 3)]
    assert weights.dtype == np.int8 and np.abs(weights.astype(int)).max() <= 64, "7 bits"
