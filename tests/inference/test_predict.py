"""Predictions of a split: each image once, for any batches, in parts that fit into memory."""

import numpy as np
import pytest
import torch
from refusals import noted, refused, rules

from medcls.data.module import ImageDataModule, Loading
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split
from medcls.data.transforms import normalise
from medcls.inference import predict as module_under_test
from medcls.inference.load import ClassLogits
from medcls.inference.predict import InParts, Predictor, batch_size
from medcls.models.mobilenetv3 import mobilenetv3_small
from medcls.preprocessing import Preprocessing

CPU = torch.device("cpu")


@pytest.fixture
def data(folder):
    manifest = split(from_folders(folder({"a": 20, "b": 20}), positive="a"))
    preprocessing = Preprocessing(size=32, mean=(0.4,) * 3, std=(0.3,) * 3)
    return ImageDataModule(manifest, preprocessing, None, Loading(batch_size=8, cache=True))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ClassLogits(mobilenetv3_small(2), 2, None).eval()


def test_logits_are_those_of_each_image_by_itself(data, network):
    rows = data.manifest.indices("train")
    logits, numbers = Predictor(network, CPU)(data.rows_of("train"))
    assert numbers.tolist() == rows.tolist()
    with torch.inference_mode():
        for row, found in zip(rows.tolist(), logits, strict=True):
            pixels = torch.from_numpy(data._store.read(row).copy()).permute(2, 0, 1)[None]
            assert np.allclose(network(normalise(pixels, data.preprocessing)).numpy()[0], found, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_batches_do_not_matter(data, network, batch):
    asked, _ = Predictor(network, CPU)(data.rows_of("train", batch_size=batch))
    usual, _ = Predictor(network, CPU)(data.rows_of("train"))
    assert np.allclose(asked, usual, atol=1e-5)
    assert len(next(iter(data.rows_of("train", batch_size=batch)))[0]) == min(batch, len(asked))


def test_a_network_in_training_is_put_into_eval_mode(data, network):
    expected, _ = Predictor(network, CPU)(data.rows_of("val"))
    network.train()
    assert np.array_equal(Predictor(network, CPU)(data.rows_of("val"))[0], expected)


def test_it_is_made_ready_once(data, network, monkeypatch):
    asked = []
    real = module_under_test.ready
    monkeypatch.setattr(module_under_test, "ready", lambda *given: asked.append(given) or real(*given))
    predictor = Predictor(network, CPU)
    for split_name in ("train", "val", "train"):
        predictor(data.rows_of(split_name))
    assert len(asked) == 1


def test_progress_is_reported_by_the_batch(data, network):
    told = []
    Predictor(network, CPU)(data.rows_of("train"), lambda done, total: told.append((done, total)))
    batches = -(-len(data.manifest.indices("train")) // 8)
    assert told == [(n, batches) for n in range(1, batches + 1)]


@pytest.mark.parametrize(
    ("device", "size", "expected"),
    [("cpu", (224, 224), 32), ("cpu", (448, 448), 8), ("cpu", (4000, 4000), 1), ("cuda", (224, 224), 256),
     ("cpu", (32, 32), 512), ("cuda", (448, 448), 64)],
)  # fmt: skip
def test_larger_images_come_in_smaller_batches(device, size, expected):
    assert batch_size(torch.device(device), size) == expected


class Small:
    """A device that holds so many images."""

    def __init__(self, room):
        self.room, self.seen = room, []

    def __call__(self, images):
        self.seen.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("full")
        return images.mean((1, 2, 3), keepdim=False)[:, None]


def test_where_memory_runs_out_batches_are_halved_and_stay_so(caplog):
    network = Small(5)
    in_parts = InParts(network, 16, same_size=False)
    images = torch.randn(16, 3, 4, 4)
    assert torch.equal(in_parts(images), images.mean((1, 2, 3))[:, None])
    assert network.seen == [16, 8, 4, 4, 4, 4]
    network.seen.clear()
    in_parts(images[:6])
    assert network.seen == [4, 2]
    assert rules(caplog)[-1] == "memory_ran_out" and noted(caplog.messages[-1:], "4")


def test_no_memory_for_one_image_is_an_error():
    with refused("out_of_memory", "cpu", "4 x 4"):
        InParts(Small(0), 4, same_size=False)(torch.randn(4, 3, 4, 4))


def test_a_compiled_network_sees_batches_of_one_size():
    network = Small(100)
    in_parts = InParts(network, 8, same_size=True)
    images = torch.randn(11, 3, 4, 4)
    assert torch.allclose(in_parts(images), images.mean((1, 2, 3))[:, None])
    assert network.seen == [8, 8]
