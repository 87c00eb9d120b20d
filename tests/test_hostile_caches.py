"""Caches, records and models that somebody else filled with pickled calls: none is followed.

The harm is a marker: a folder that would be made.
"""

import io
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused, rules

import medcls
from medcls.data.cache import PixelCache
from medcls.data.feature_cache import FeatureCache
from medcls.data.sources.scan import scan_images
from medcls.errors import MedclsError
from medcls.models.weights import read_state
from medcls.preprocessing import Preprocessing
from medcls.runs.records import Configuration
from medcls.workflow.seen_images import FILE, SeenImages

SEEN = Preprocessing(8, (0.5,) * 3, (0.5,) * 3)


class Harm:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (self.marker,)


@pytest.fixture
def marker(tmp_path) -> Path:
    """What must not be there at the end. First it is shown that loading the pickle would make it."""
    path = tmp_path / "marker"
    pickle.loads(pickle.dumps(Harm(path)))
    path.rmdir()
    return path


def objects(marker: Path) -> np.ndarray:
    """An array that NumPy stores as a pickle."""
    made = np.empty(1, dtype=object)
    made[0] = Harm(marker)
    return made


def archived(content: object) -> bytes:
    """As torch stores it, in a zip archive."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_arrays_of_objects_in_the_feature_cache_are_not_read(own_cache, marker, caplog):
    name = np.array([f"{1:032x}".encode()])
    for member in ("names", "features"):
        kept = FeatureCache({"name": member}, SEEN)
        kept.path.parent.mkdir(parents=True, exist_ok=True)
        plain = {"names": name, "features": np.zeros((1, 2), np.float32)}
        np.savez(kept.path, key=np.array("{}"), **plain | {member: objects(marker)})
        assert (kept.find(name)[1] == -1).all()
        kept.add(name, np.ones((1, 2), np.float32))
        assert kept.find(name)[1].tolist() == [0]
    assert set(rules(caplog)) == {"cache_damaged"}
    assert not marker.exists()


def test_pickles_in_place_of_cached_images_and_scans_are_not_read(own_cache, tmp_path, marker, caplog):
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(tmp_path / "a.png")
    os.utime(tmp_path / "a.png", (1, 1))
    before, _ = scan_images(tmp_path, ["a.png"])
    content = f"{1:032x}"
    pixels = np.full((8, 8, 3), 7, np.uint8)
    PixelCache(SEEN).fill([content], lambda place: pixels)
    files = [path for path in own_cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert {path.suffix for path in files} >= {".json", ".contents"} and len(files) >= 4
    for path in files:
        path.write_bytes(pickle.dumps(Harm(marker)))
    assert scan_images(tmp_path, ["a.png"])[0].equals(before)
    cache = PixelCache(SEEN)
    assert cache.find([content])[1].tolist() == [-1]
    cache.fill([content], lambda place: pixels)
    images, slots = cache.find([content])
    np.testing.assert_array_equal(images[slots[0]], pixels)
    assert not marker.exists()


def test_arrays_of_objects_in_the_record_of_seen_images_are_refused(finished, tmp_path, marker):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    with np.load(run / FILE, allow_pickle=False) as file:
        arrays = dict(file)
    for member in arrays:
        np.savez(run / FILE, **arrays | {member: objects(marker)})
        with refused("damaged_file", FILE):
            SeenImages.read(run)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["a.ckpt", "a.pt", "a.pth", "a.pt2", "a.pkl", "a.joblib", "a.onnx", "a.safetensors"])
@pytest.mark.parametrize("form", ["pickle", "archive", "checkpoint"])
def test_a_pickle_is_no_model_and_no_weights_whatever_its_name(tmp_path, marker, name, form):
    harm = {"state_dict": {"network.a": torch.zeros(1)}, "medcls": {"network": Harm(marker)}, "epoch": 1}
    data = {
        "pickle": lambda: pickle.dumps(Harm(marker), protocol=2),
        "archive": lambda: archived(Harm(marker)),
        "checkpoint": lambda: archived(harm),
    }
    path = tmp_path / name
    path.write_bytes(data[form]())
    with pytest.raises(MedclsError) as raised:
        medcls.load(path)
    assert raised.value.kind in {"unsafe_file", "damaged_weights", "damaged_onnx"}
    with pytest.raises(MedclsError) as raised:
        read_state(path)
    assert raised.value.kind in {"unsafe_file", "damaged_weights"}
    assert not marker.exists()


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir", "!!python/name:os.mkdir"]
)
def test_a_configuration_with_python_in_its_tags_is_refused(tmp_path, marker, tag):
    (tmp_path / "config.yaml").write_text(f"data: !!python/{tag} [{marker}]\n", encoding="utf-8")
    with refused("damaged_configuration", "config.yaml"):
        Configuration.read(tmp_path)
    assert not marker.exists()
