import base64
import dataclasses
import io
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from medcls.cli.building import build_network
from medcls.inference import explain as explaining
from medcls.inference.load import ClassLogits, load
from medcls.workflow.heat_maps import heat_maps_of
from medcls.workflow.report_settings import PageSettings

PAGE = PageSettings(None, images=True, paths=True)


@pytest.fixture
def loaded(finished):
    return load(finished / "checkpoints" / "best.ckpt", partial(build_network, trust=False))


@pytest.fixture
def folder(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (200, 320, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    return tmp_path


def test_a_heat_map_has_the_shape_of_its_image(loaded, folder):
    for path in ("wide.png", "deep.png"):
        found = heat_maps_of(loaded, folder, PAGE)(path, loaded.classes[0])
        assert (found.width, found.height, found.reason) == (160, 100, "")
        shown = Image.open(io.BytesIO(base64.b64decode(found.source.split(",")[1])))
        assert shown.size == (160, 100)
        assert loaded.classes[0] in found.text


def test_there_are_none_without_images(loaded, folder):
    assert heat_maps_of(loaded, None, PAGE) is None
    assert heat_maps_of(loaded, folder, dataclasses.replace(PAGE, images=False)) is None


def test_whatever_goes_wrong_is_a_reason_and_no_error(loaded, folder, monkeypatch):
    name = loaded.classes[0]
    assert heat_maps_of(loaded, folder, PAGE)("broken.png", name).reason
    assert heat_maps_of(loaded, folder, PAGE)("missing.png", name).reason

    def flat(outputs: int) -> ClassLogits:
        size = loaded.preprocessing.size
        return ClassLogits(nn.Sequential(nn.Flatten(), nn.Linear(3 * size[0] * size[1], outputs)), 2, 0).eval()

    without_map = dataclasses.replace(loaded, network=flat(2))
    assert "Sequential" in heat_maps_of(without_map, folder, PAGE)("wide.png", name).reason

    def fails(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(explaining, "last_maps", fails)
    assert "OutOfMemoryError" in heat_maps_of(loaded, folder, PAGE)("wide.png", name).reason


def test_predictions_are_the_same_after_heat_maps(loaded, folder):
    images = torch.randn(2, 3, *loaded.preprocessing.size)
    with torch.inference_mode():
        before = loaded.network(images)
        heat_maps_of(loaded, folder, PAGE)("wide.png", loaded.classes[0])
        assert torch.equal(loaded.network(images), before)
