"""Every look at the test images is counted, whoever looks and whatever becomes of the registry."""

import dataclasses
import datetime
import json
import logging
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from refusals import rules

from medcls import user_folders
from medcls.evaluation.predictions import Predictions, aggregate
from medcls.runs import registry
from medcls.runs.registry import record_reading


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCLS_STATE", str(tmp_path / "state"))


def predictions(numbers=range(40), split="test", checkpoint="abc", content=True, score=0.2) -> Predictions:
    """Of the images with these numbers, in this order."""
    numbers = list(numbers)
    rows = pd.DataFrame(
        {
            "path": [f"ann_{k:03d}.png" for k in numbers],
            "label": ["ab"[k % 2] for k in numbers],
            "group": [f"ann{k // 2}" for k in numbers],
            "split": split,
        }
    )
    if content:
        rows["content"] = [f"{k:032x}" for k in numbers]
    scores = [round((score + k / 97) % 1, 3) for k in numbers]
    rows = rows.assign(prob_a=[1 - p for p in scores], prob_b=scores, checkpoint=checkpoint)
    return Predictions(rows, ("a", "b"), "b")


def records() -> list[Path]:
    return sorted((user_folders.state_folder() / "test_readings").rglob("*.json"))


def test_p53_a_test_consulted_after_each_of_three_trainings_says_so():
    first = record_reading(predictions(checkpoint="one"), "runs/1", "train")
    assert (first.total, first.ordinal, first.checkpoints, first.n, first.written) == (1, 1, 1, 40, True)
    record_reading(predictions(checkpoint="two"), "runs/2", "train")
    third = record_reading(predictions(checkpoint="three"), "runs/3", "train")
    assert (third.total, third.ordinal, third.checkpoints, third.key) == (3, 3, 3, first.key)
    today = pd.Timestamp.now("UTC").date().isoformat()
    assert first.first <= third.first <= third.last <= today
    assert "40" in first.sentence()
    assert all(said in third.sentence() for said in ("40", "3 times", "3 checkpoints", third.first))


def test_p53_the_same_images_are_known_again_however_they_are_told():
    first = record_reading(predictions(), "a")
    # In another order, from another place, under other labels, of another split's name, with a copy of one image.
    other = predictions([*range(39, -1, -1)], split="external")
    moved = other.rows.assign(path="elsewhere/" + other.rows["path"], label=["ab"[k % 3 == 0] for k in range(40)])
    moved = pd.concat([moved, moved[:1].assign(path="copy.png")])
    again = record_reading(Predictions(moved, ("a", "b"), "b"), "b")
    assert (again.key, again.total) == (first.key, 2)
    assert again.n == 41
    fewer = record_reading(predictions(range(39)), "c")
    assert fewer.key != first.key
    assert fewer.total == 1


def test_one_checkpoint_read_again_is_no_improvement():
    record_reading(predictions(), "a")
    again = record_reading(predictions(), "a")
    assert (again.total, again.checkpoints) == (2, 1) and "2 times" in again.sentence()
    improved = record_reading(predictions(checkpoint="other"), "b").sentence()
    assert improved.rpartition(":")[2] not in again.sentence(), "an answer to what was seen is no test"


def test_p53_tables_of_other_tools_are_counted_by_path_and_label_and_told_apart_by_their_scores():
    def theirs(numbers=range(40), **of):
        return predictions(numbers, split="", checkpoint="", content=False, **of)

    first = record_reading(theirs(), "table.csv")
    assert record_reading(theirs(range(39, -1, -1)), "table.csv").checkpoints == 1
    better = record_reading(theirs(score=0.3), "better.csv")
    assert (better.key, better.total, better.checkpoints) == (first.key, 3, 2)
    assert all(said in better.sentence() for said in ("40 images", "3 times", "2 checkpoints"))
    relabelled = theirs()
    relabelled = Predictions(relabelled.rows.assign(label="a"), ("a", "b"), "b")
    assert record_reading(relabelled, "other.csv").total == 1


@pytest.mark.parametrize("cell", ["", "xray"])
def test_a_column_content_that_holds_no_hashes_names_no_images(cell):
    keys = set()
    for numbers in (range(40), range(40, 80)):
        table = predictions(numbers)
        keys.add(record_reading(Predictions(table.rows.assign(content=cell), ("a", "b"), "b"), "a").key)
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("test", "40 test images"),
        ("Test ", "40 test images"),
        ("held_out", "40 held-out images"),
        ("external", "40 images of another site"),
        ("", "These 40 images"),
    ],
)
def test_what_judges_is_counted(split, words):
    assert words in record_reading(predictions(split=split), "a").sentence()


@pytest.mark.wording
def test_one_image_is_told_in_the_singular():
    assert record_reading(predictions([3]), "a").sentence().startswith("This 1 test image has been evaluated once")


@pytest.mark.parametrize("table", [*(predictions(split=s) for s in ("train", "val", "calibration")), predictions([])])
def test_what_does_not_judge_is_not_counted(table):
    assert record_reading(table, "a") is None
    assert not user_folders.state_folder().exists()


def test_the_ledger_holds_no_path_no_patient_and_no_score():
    record_reading(predictions(), "runs/mine", "evaluate")
    record_reading(predictions(checkpoint="", content=False), "runs/mine", "compare")
    texts = [path.read_text(encoding="utf-8") for path in records()]
    assert len(texts) == 2
    assert not any("ann" in text + str(path) for text, path in zip(texts, records(), strict=True))
    record = json.loads(next(text for text in texts if '"evaluate"' in text))
    assert set(record) == {"time", "run", "purpose", "split", "n", "checkpoint"}
    assert (record["run"], record["checkpoint"], record["split"], record["n"]) == ("runs/mine", "abc", "test", 40)
    assert pd.Timestamp(record["time"]).utcoffset() == pd.Timedelta(0)
    assert len(record["time"]) == len("2026-11-21T12:00:00+00:00")


def read(number: int) -> int:
    return record_reading(predictions(checkpoint=f"c{number % 3}"), f"runs/{number}").ordinal


def test_readings_of_several_processes_are_all_counted():
    with ProcessPoolExecutor(4) as pool:
        ordinals = list(pool.map(read, range(20)))
    assert len(records()) == 20
    last = record_reading(predictions(), "after")
    assert (last.total, last.ordinal, last.checkpoints) == (21, 21, 4)
    # Of readings at the same time one may not see the three others: then it counts itself earlier, and none is lost.
    assert 17 <= max(ordinals) <= 20


def test_two_readings_of_the_same_microsecond_are_two(monkeypatch):
    class Still(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 11, 21, 12, 0, 0, 5, tz)

    monkeypatch.setattr(registry.datetime, "datetime", Still)
    assert [record_reading(predictions(), "a").total for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "7", '{"time": "yesterday", "checkpoint": "c"}', '{"time": 3, "checkpoint": "c"}', "{}", "\udcff"],
)
def test_a_damaged_record_is_said_and_passed_over(damage, caplog):
    record_reading(predictions(), "a")
    records()[0].with_name("20000101.json").write_bytes(damage.encode(errors="surrogateescape"))
    records()[0].with_name(".20000101.1.json").write_text("{")  # what another process is just writing
    with caplog.at_level(logging.WARNING):
        readings = record_reading(predictions(), "b")
    assert (readings.total, readings.first) == (2, readings.last)
    assert rules(caplog) == ["damaged_record"] and "20000101.json" in caplog.text


def test_a_place_that_cannot_be_written_is_said_and_the_evaluation_goes_on(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MEDCLS_STATE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        readings = record_reading(predictions(), "a")
    assert rules(caplog) == ["reading_not_recorded"]
    assert (readings.total, readings.written) == (1, False)
    assert readings.sentence() != dataclasses.replace(readings, written=True).sentence()


def test_a_full_disk_still_tells_of_earlier_readings(monkeypatch):
    record_reading(predictions(checkpoint="one"), "a")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    readings = record_reading(predictions(checkpoint="two"), "b")
    assert (readings.total, readings.ordinal, readings.checkpoints, readings.written) == (2, 2, 2, False)
    assert len([path for path in (user_folders.state_folder() / "test_readings").rglob("*") if path.is_file()]) == 1


def test_an_aggregated_table_has_another_key_than_its_images():
    # So the docstring says to record the images.
    table = predictions()
    assert record_reading(aggregate(table, "mean"), "a").key != record_reading(table, "a").key
