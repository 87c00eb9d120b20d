"""8 bits: weights and activations are quantized, and the file is described as every export."""

import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from medcls.inference import onnx_file
from medcls.inference.export import describe_graph
from medcls.inference.model import ModelDescription
from medcls.inference.quantization import BATCH, write_int8
from medcls.preprocessing import Preprocessing

PREPROCESSING = Preprocessing((16, 16), (0.5,), (0.25,))


@pytest.fixture
def exact(tmp_path_factory):
    """A convolution, the mean of each of its channels, and a linear layer."""
    draw = np.random.default_rng(0)
    stored = {
        "kernels": draw.normal(0, 0.02, (4, 1, 3, 3)).astype(np.float32),
        "sides": np.array([2, 3]),
        "matrix": draw.normal(0, 0.1, (4, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["values"], ["images"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["images", "kernels"], ["maps"]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("ReduceMean", ["positive", "sides"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "matrix"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 16, 16, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    described = ModelDescription("made", ("a", "b"), "b", PREPROCESSING, None, ("SYNTHETIC",), "0123")
    describe_graph(model, described.to_plain())
    path = tmp_path_factory.mktemp("exact") / "model.onnx"
    path.write_bytes(model.SerializeToString())
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
