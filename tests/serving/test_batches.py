"""Images that wait together are one batch, and each prediction is of its image."""

import threading

import numpy as np
import pytest
from served_model import SIZE, MeanColour, served_model

from medcls.errors import MedclsError
from medcls.serving.batches import Batches


def image(red: int, blue: int = 0) -> np.ndarray:
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[..., 0], pixels[..., 2] = red, blue
    return pixels


class Held(MeanColour):
    """Waits in its first batch until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.released = threading.Event(), threading.Event()
        self.change = lambda pixels, logits: logits

    def __call__(self, pixels):
        self.entered.set()
        assert self.released.wait(60)
        return self.change(pixels, super().__call__(pixels))


@pytest.fixture
def held():
    score = Held()
    batches = Batches(served_model(score))
    first = batches.predict(image(1))
    assert score.entered.wait(60)
    yield score, batches, first
    score.released.set()
    batches.close()


def test_what_waits_while_the_network_runs_is_one_batch_of_at_most_its_size(held):
    score, batches, first = held
    futures = [batches.predict(image(red, 255 - red)) for red in range(10, 30)]
    score.released.set()
    predictions = [future.result(60) for future in futures]
    assert first.result(60) == served_model().predict(image(1))
    assert score.batches == [1, 8, 8, 4]
    assert predictions == served_model().predict([image(red, 255 - red) for red in range(10, 30)])


def test_a_request_that_gave_up_costs_no_network(held):
    score, batches, _ = held
    futures = [batches.predict(image(red)) for red in range(6)]
    assert all(future.cancel() for future in futures[:4])
    score.released.set()
    assert [future.result(60).logits[1] for future in futures[4:]] == pytest.approx([1 + 3 * k / 255 for k in (4, 5)])
    assert score.batches == [1, 2]


def test_an_image_that_fails_takes_no_other_along(held):
    score, batches, _ = held
    score.change = lambda pixels, logits: np.where(pixels[:, 0, 0, :1] == 13, np.nan, logits)
    futures = {red: batches.predict(image(red)) for red in (12, 13, 14)}
    score.released.set()
    assert futures[12].result(60).logits[1] == pytest.approx(1 + 36 / 255)
    assert futures[14].result(60).logits[1] == pytest.approx(1 + 42 / 255)
    with pytest.raises(MedclsError) as raised:
        futures[13].result(60)
    assert raised.value.kind == "not_finite"


def test_a_fault_reaches_those_that_wait_and_the_thread_lives_on(held):
    score, batches, _ = held
    score.change = lambda pixels, logits: 1 / 0
    score.released.set()
    with pytest.raises(ZeroDivisionError):
        batches.predict(image(1)).result(60)
    score.change = lambda pixels, logits: logits
    assert batches.predict(image(2)).result(60) == served_model().predict(image(2))
