"""Images are predicted in their order, by several threads, a few batches ahead at most."""

import threading
import time

import numpy as np
import pytest

from medcls.inference.model import Model, ModelDescription
from medcls.inference.stream import AHEAD, predict_files
from medcls.preprocessing import Preprocessing


@pytest.fixture
def model() -> Model:
    description = ModelDescription("made", ("a", "b"), "b", Preprocessing(8, (0.5,), (0.2,)), None, (), "0")
    return Model(description, lambda pixels: np.stack([pixels.mean(axis=(1, 2, 3)), -np.ones(len(pixels))], axis=1))


@pytest.fixture
def files(tmp_path, picture) -> list[tuple[str, str]]:
    return [(f"{number}", str(picture(tmp_path / f"{number}.png", number))) for number in range(23)]


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 5), (3, 4), (4, 100), (8, 1)])
def test_rows_are_in_the_order_of_the_images(model, files, workers, batch_size, monkeypatch):
    real = Model.judge_pixels
    delays = iter(np.random.default_rng(0).uniform(0, 0.01, 1000))
    monkeypatch.setattr(Model, "judge_pixels", lambda self, pixels: time.sleep(next(delays)) or real(self, pixels))
    batches = list(predict_files(model, files, workers, {}, batch_size))
    rows = [row for batch in batches for row in batch]
    assert [row.path for row in rows] == [shown for shown, _ in files]
    assert max(map(len, batches)) <= batch_size
    for row, (_, file) in zip(rows, files, strict=True):
        assert row.prediction.logits == pytest.approx(model.predict(file).logits)


def test_unreadable_files_do_not_shift_the_others(model, files, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    mixed = [files[0], ("bad", str(tmp_path / "bad.png")), files[1], ("gone", "nowhere.png"), files[2]]
    (rows,) = predict_files(model, mixed, 2, {}, 10)
    assert [row.error.kind if row.error else "" for row in rows] == ["", "not_an_image", "", "no_such_file", ""]
    for row, (_, file) in zip(rows[::2], files[:3], strict=True):
        assert row.prediction == model.predict([file])[0]
    (rows,) = predict_files(model, mixed[1:2], 2, {}, 10)
    assert rows[0].prediction is None and rows[0].error.kind == "not_an_image"


def test_images_of_the_run_are_recognised_by_their_content(model, files):
    content = bytes.fromhex(model.decode(files[4][1]).content)
    (rows,) = predict_files(model, files, 1, {content: "val"}, 100)
    assert [row.seen for row in rows] == ["val" if number == 4 else "" for number in range(23)]


def test_files_are_listed_only_a_few_batches_ahead(model, files):
    listed = 0

    def counted():
        nonlocal listed
        for one in files:
            listed += 1
            yield one

    predicted = predict_files(model, counted(), 2, {}, 2)
    for number, _ in enumerate(predicted, start=1):
        assert listed <= 2 * (number + 2 * AHEAD)


def test_an_error_of_the_program_ends_it_and_its_threads(model, files, monkeypatch):
    def fail(self, pixels):
        raise ZeroDivisionError

    monkeypatch.setattr(Model, "judge_pixels", fail)
    with pytest.raises(ZeroDivisionError):
        list(predict_files(model, files, 4, {}, 2))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("medcls-predict")]
