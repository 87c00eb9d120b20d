"""Uploaded files become answers, in their order, within the limits."""

import asyncio
import dataclasses
import io

import numpy as np
import pytest
from asked_server import AskedServer, png
from refusals import refused
from served_model import MeanColour, served_model

from medcls.inference.model import Model
from medcls.preprocessing import Preprocessing
from medcls.serving.limits import Limits


def classify(server: AskedServer, *files: tuple[str | None, bytes], shown: bool = False):
    return asyncio.run(server.service.classify([(name, io.BytesIO(data)) for name, data in files], shown=shown))


@pytest.fixture
def server():
    made = []

    def make(**settings) -> AskedServer:
        made.append(AskedServer(**settings))
        return made[-1]

    yield make
    for one in made:
        one.service.close()


def test_each_file_has_its_answer_in_order(server):
    asked = server()
    answers = classify(asked, ("a.png", png(200)), ("b.png", b"text"), ("a.png", png(20, 90)))
    assert [answer.file for answer in answers] == ["a.png", "b.png", "a.png"]
    assert [answer.prediction for answer in answers] == [
        asked.model.predict(png(200)),
        None,
        asked.model.predict(png(20, 90)),
    ]
    assert answers[1].error.kind == "not_an_image"


def test_images_and_heat_maps_are_made_only_where_asked_for(server):
    asked = server(explain=lambda pixels, index: np.full(pixels.shape[:2], index, np.float32))
    (plain,) = classify(asked, ("a.png", png(250)))
    assert plain.image is None and plain.explained is None
    certain, other = classify(asked, ("a.png", png(250, size=900)), ("b.png", png(0, 255)), shown=True)
    assert certain.image.shape == certain.explained.heat_map.shape == (448, 448, 3)
    # For the class that was decided for. The second one's map is 0 everywhere.
    assert (certain.explained.name, other.explained.name) == ("malignant", "benign")
    assert certain.explained.text != other.explained.text
    assert (certain.explained.heat_map != certain.image).any()


def test_a_grey_model_shows_its_images_too(server):
    grey = dataclasses.replace(served_model().description, preprocessing=Preprocessing(16, (0.5,), (0.5,), bits=16))
    asked = server(
        model=Model(grey, lambda pixels: np.zeros((len(pixels), 2), np.float32)),
        explain=lambda pixels, index: np.zeros(pixels.shape[:2], np.float32),
    )
    (answer,) = classify(asked, ("a.png", png(128)), shown=True)
    assert answer.image.shape == (16, 16, 3) and answer.image.dtype == np.uint8
    assert answer.explained.heat_map.shape == (16, 16, 3)


def test_a_file_is_read_no_further_than_its_limit(server):
    asked = server(limits=Limits(file_mib=0.001))

    class Endless(io.RawIOBase):
        read_bytes = 0

        def read(self, size: int = -1) -> bytes:
            assert size >= 0
            Endless.read_bytes += size
            return b"\x89PNG" + bytes(size - 4)

    (answer,) = asyncio.run(asked.service.classify([("a.png", Endless())]))
    assert answer.error.kind == "file_too_large"
    assert Endless.read_bytes <= asked.limits.file_bytes + 1


@pytest.mark.parametrize(
    ("count", "kind", "status"), [(0, "no_files", 422), (4, "too_many_files", 413), (3, "server_busy", 429)]
)
def test_requests_of_the_wrong_size_are_refused(server, count, kind, status):
    asked = server(limits=Limits(files=3, waiting=2))
    with refused(kind) as raised:
        classify(asked, *[("a.png", png())] * count)
    assert raised.value.status == status
    assert classify(asked, ("a.png", png()))[0].prediction is not None  # and nothing of it is left waiting


def test_a_request_whose_time_is_over_is_answered_and_the_next_one_works(server):
    asked = server(limits=Limits(seconds=0.2), model=served_model(score := MeanColour(seconds=0.6)))
    with refused("out_of_time") as raised:
        classify(asked, ("a.png", png()))
    assert raised.value.status == 503
    score.seconds = 0
    asyncio.run(asyncio.sleep(0.6))
    assert classify(asked, ("a.png", png()))[0].prediction is not None


def test_too_many_pixels_are_refused_with_the_limit_of_the_server(server, monkeypatch):
    monkeypatch.setenv("MEDCLS_MOST_PIXELS", "100")
    (answer,) = classify(server(limits=Limits(megapixels=0.0001)), ("a.png", png()))
    assert answer.error.kind == "too_many_pixels"
    assert "MEDCLS" not in str(answer.error) and "0.0001" in str(answer.error)
