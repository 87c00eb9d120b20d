"""ONNX files read without torch: what medcls wrote, and what it must not trust."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from refusals import refused

from medcls.inference import onnx_file
from medcls.inference.export import describe_graph
from medcls.inference.model import ModelDescription
from medcls.preprocessing import Preprocessing

SIZE = (6, 4)
WEIGHTS = np.array([[0.02, -0.01], [0.0, 0.03], [-0.01, 0.0]], np.float32)


def described(**changes: object) -> dict:
    preprocessing = Preprocessing(SIZE, (0.5,) * 3, (0.25,) * 3)
    plain = ModelDescription("made", ("well", "ill"), "ill", preprocessing, None, (), "0123").to_plain()
    return plain | changes


def graph_of(weights: TensorProto, size: tuple = SIZE, batch: object = "batch") -> onnx.ModelProto:
    """The mean of each channel, times a matrix."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "sides"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
    ]
    shapes = ([batch, *size, 3], [batch, 2])
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, shapes[0])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shapes[1])],
        [weights, numpy_helper.from_array(np.array([1, 2]), "sides")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def made(path: Path, model: onnx.ModelProto | None = None, **changes: object) -> Path:
    """Write a model and its description."""
    model = graph_of(numpy_helper.from_array(WEIGHTS, "weights")) if model is None else model
    describe_graph(model, described(**changes))
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def test_a_file_predicts_images_in_batches_of_any_size(tmp_path, picture):
    model = onnx_file.load(made(tmp_path / "model.onnx"))
    pixels = model.read(picture)
    assert pixels.shape == (*SIZE, 3)
    expected = pixels.mean((0, 1), dtype=np.float64) @ WEIGHTS
    for count in (1, 2, 7):
        assert model.score(np.stack([pixels] * count)) == pytest.approx(np.tile(expected, (count, 1)), rel=1e-5)
    prediction = model.predict(picture)
    assert prediction.logits == pytest.approx(tuple(expected), rel=1e-5)
    assert prediction.probabilities["ill"] == pytest.approx(1 / (1 + np.exp(expected[0] - expected[1])), rel=1e-5)


def test_onnxruntime_is_enough(tmp_path, picture):
    """A process in which neither torch nor what writes ONNX files can be imported."""
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('torch', 'torchvision', 'lightning', 'timm', 'onnx', 'onnxscript'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import medcls\n"
        f"print(medcls.load({str(made(tmp_path / 'model.onnx'))!r}).predict({str(picture)!r}).logits)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split(",")) == 2


# What a file may be instead: its kind of error, and how it is made.
def junk(path: Path) -> None:
    path.write_bytes(b"\x89PNG, or anything else")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder(path: Path) -> None:
    path.mkdir()


def cut(path: Path) -> None:
    path.write_bytes(made(path).read_bytes()[:-40])


def without_description(path: Path) -> None:
    path.write_bytes(graph_of(numpy_helper.from_array(WEIGHTS, "weights")).SerializeToString())


def of_another_tool(path: Path) -> None:
    model = graph_of(numpy_helper.from_array(WEIGHTS, "weights"))
    helper.set_model_props(model, {"names": "{0: 'person'}", "stride": "32"})
    path.write_bytes(model.SerializeToString())


def with_the_description_of_another(path: Path) -> None:
    model = onnx.load(made(path))
    other = graph_of(numpy_helper.from_array(WEIGHTS[:, ::-1].copy(), "weights"))
    other.metadata_props.extend(model.metadata_props)
    path.write_bytes(other.SerializeToString())


def with_one_bit_flipped(path: Path) -> None:
    data = bytearray(made(path).read_bytes())
    data[data.index(WEIGHTS.tobytes()) + 2] ^= 1
    path.write_bytes(data)


def with_metadata_that_is_no_text(path: Path) -> None:
    data = bytearray(made(path).read_bytes())
    data[data.index(b"classes")] = 0xFF
    path.write_bytes(data)


def with_two_graphs(path: Path) -> None:
    more = onnx.ModelProto()
    more.graph.CopyFrom(graph_of(numpy_helper.from_array(WEIGHTS, "weights")).graph)
    del more.graph.node[:], more.graph.input[:], more.graph.output[:], more.graph.initializer[:]
    path.write_bytes(made(path).read_bytes() + more.SerializeToString())


def with_text(text: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        model = onnx.load(made(path))
        (entry,) = (one for one in model.metadata_props if one.key == onnx_file.DESCRIPTION)
        entry.value = text
        path.write_bytes(model.SerializeToString())

    return write


def described_as(**changes: object) -> Callable[[Path], None]:
    return lambda path: made(path, **changes) and None


def preprocessed(**changes: object) -> Callable[[Path], None]:
    return described_as(preprocessing=described()["preprocessing"] | changes)


def weights_elsewhere(place: str) -> Callable[[Path], None]:
    """Weights in another file, which is there."""

    def write(path: Path) -> None:
        weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=WEIGHTS.shape)
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=place)
        (path.parent / "weights.bin").write_bytes(WEIGHTS.tobytes())
        made(path, graph_of(weights))

    return write


def with_a_fixed_batch(path: Path) -> None:
    made(path, graph_of(numpy_helper.from_array(WEIGHTS, "weights"), batch=1))


def huge(path: Path) -> None:
    size = (10**6, 10**6)
    model = graph_of(numpy_helper.from_array(WEIGHTS, "weights"), size)
    made(path, model, preprocessing=described()["preprocessing"] | {"size": list(size)})


RULES = {"operating_point": None, "conformal": None, "stands_for": {}}
FITTED = {"split": "val", "checkpoint": "0123", "n": 9, "before": 1.0, "after": 1.0, "warnings": [], "intercepts": {}}


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (junk, "damaged_onnx"),
        (empty, "damaged_onnx"),
        (folder, "unreadable_file"),
        (cut, "damaged_onnx"),
        (lambda _: None, "no_such_file"),
        (without_description, "not_an_export"),
        (of_another_tool, "not_an_export"),
        (with_the_description_of_another, "damaged_onnx"),
        (with_one_bit_flipped, "damaged_onnx"),
        (with_two_graphs, "damaged_onnx"),
        (with_metadata_that_is_no_text, "damaged_onnx"),
        (with_text("{"), "damaged_onnx"),
        (with_text("[]"), "damaged_onnx"),
        (with_text("[" * 100_000), "damaged_onnx"),
        (with_text(json.dumps({"format": 99})), "newer_format"),
        (described_as(classes=["a", "b", "c"], positive=None), "damaged_onnx"),
        (described_as(classes=["well", "well"], positive="well"), "damaged_onnx"),
        (described_as(classes=[1, 2], positive=1), "damaged_onnx"),
        (described_as(positive="healthy"), "damaged_onnx"),
        (described_as(classes=None), "damaged_onnx"),
        (described_as(decision_rules={}), "damaged_onnx"),
        (described_as(decision_rules=RULES | {"calibration": FITTED | {"temperature": 0.0}}), "damaged_onnx"),
        (described_as(decision_rules=RULES | {"calibration": FITTED | {"temperature": "1"}}), "damaged_onnx"),
        (preprocessed(size=[7, 7]), "damaged_onnx"),
        (preprocessed(size="large"), "damaged_onnx"),
        (preprocessed(bits=16), "damaged_onnx"),
        (preprocessed(resize="__import__"), "damaged_onnx"),
        (preprocessed(mean=["x"] * 3), "damaged_onnx"),
        (weights_elsewhere("weights.bin"), "damaged_onnx"),
        (weights_elsewhere("../../weights.bin"), "damaged_onnx"),
        (weights_elsewhere("/etc/hostname"), "damaged_onnx"),
        (with_a_fixed_batch, "damaged_onnx"),
        (huge, "damaged_onnx"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused_with_its_name(tmp_path, monkeypatch, make, kind):
    path = tmp_path / "inner" / "model.onnx"
    path.parent.mkdir()
    monkeypatch.chdir(path.parent)  # where onnxruntime would look for further files
    make(path)
    with refused(kind, str(path)):
        onnx_file.load(path)


def test_a_graph_that_cannot_be_computed_is_an_error_of_the_file(tmp_path):
    """It would make a tensor of 10^12 times the number of images."""
    constants = {"first": np.array([0]), "huge": np.array([10**12]), "two": np.array([2])}
    nodes = [
        helper.make_node("Shape", ["pixels"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["images"]),
        helper.make_node("Mul", ["images", "huge"], ["rows"]),
        helper.make_node("Concat", ["rows", "two"], ["size"], axis=0),
        helper.make_node("ConstantOfShape", ["size"], ["logits"]),
    ]
    shapes = (["batch", *SIZE, 3], ["batch", 2])
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, shapes[0])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shapes[1])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    loaded = onnx_file.load(made(tmp_path / "model.onnx", model))
    with refused("onnx_failed", "model.onnx"):
        loaded.score(np.zeros((1, *SIZE, 3), np.uint8))
