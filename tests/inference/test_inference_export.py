"""The graph of an export: any input that reading gives, in batches of any size; what cannot be exported is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused
from torch import Tensor, nn

from medcls.inference import onnx_file
from medcls.inference.export import PROGRAM_DESCRIPTION, PixelsToLogits, check_installed, write_onnx, write_program
from medcls.inference.load import ClassLogits, Loaded
from medcls.inference.model import Model, ModelDescription
from medcls.inference.network_scores import NetworkScores
from medcls.inference.verification import agreement
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


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    check_installed("onnx", "onnxscript")
    check_installed()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else object())
    with refused("missing_extra", "onnxscript", "medcls[onnx]"):
        check_installed("onnx", "onnxscript")
    loaded, model = made(OneLogit(1), INPUTS[2])
    with refused("missing_extra", "onnxscript"):
        write_onnx(loaded, model.described(), tmp_path / "model.onnx")


def test_a_network_too_large_for_one_file_is_refused_before_it_is_exported(tmp_path, monkeypatch):
    monkeypatch.setattr("medcls.inference.export.LARGEST", 150)
    loaded, model = made(OneLogit(1), INPUTS[2])  # 45 numbers of 4 bytes
    with refused("too_large", "format=torch_export"):
        write_onnx(loaded, model.described(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("preprocessing", INPUTS[:2])
def test_pixels_become_the_logits_of_the_model(preprocessing):
    loaded, model = made(OneLogit(preprocessing.channels), preprocessing)
    dtype = np.uint8 if preprocessing.bits == 8 else np.uint16
    shape = (3, *preprocessing.size, preprocessing.channels)
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    with torch.no_grad():
        logits = PixelsToLogits(loaded.network, preprocessing)(torch.from_numpy(pixels))
    assert logits.numpy() == pytest.approx(model.score(pixels), abs=1e-6)


def test_a_program_of_torch_takes_any_batch_and_has_its_description(tmp_path):
    loaded, model = made(OneLogit(3), INPUTS[1])
    write_program(loaded, model.described(), tmp_path / "model.pt2")
    extra = {PROGRAM_DESCRIPTION: ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=extra).module()
    assert json.loads(extra[PROGRAM_DESCRIPTION]) == model.described()
    pixels = np.random.default_rng(0).integers(0, 256, (5, *INPUTS[1].size, 3)).astype(np.uint8)
    for count in (1, 5):
        logits = program(torch.from_numpy(pixels[:count])).detach().numpy()
        assert logits == pytest.approx(model.score(pixels[:count]), abs=1e-6)
    assert str(Path(__file__).parent).encode() not in (tmp_path / "model.pt2").read_bytes()


def test_a_program_that_cannot_be_made_or_written_is_reported(tmp_path):
    loaded, model = made(OfTheBatch(1), INPUTS[2])
    with refused("not_exportable", "format=torch_export"):
        write_program(loaded, model.described(), tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())
