"""What judged once is remembered, and met again where it comes into training."""

import json
import logging
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from refusals import rules

from medcls import user_folders
from medcls.data.manifest import Manifest
from medcls.data.splits.split import SplitSettings, split
from medcls.runs.registry import met_in_training, remember_images, remember_test

SETTINGS = {"seed": 0, "test_fraction": 0.2, "folds": None}


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCLS_STATE", str(tmp_path / "state"))


def manifest_of(contents: list[str], root: str = "root") -> Manifest:
    rows = pd.DataFrame({"path": [f"{content}.png" for content in contents], "content": contents})
    rows = rows.assign(label=["ab"[k % 2] for k in range(len(rows))], group="", split="", given_split="", stamp="")
    return Manifest(Path(root), ("a", "b"), rows.sort_values("path", ignore_index=True), "a")


def pictures(count: int) -> list[str]:
    return [f"c{k:03d}" for k in range(count)]


def test_p14_new_images_that_push_locked_test_images_into_training_are_noticed():
    first = split(manifest_of(pictures(100)))
    remember_test(first, "runs/first", SETTINGS)
    assert met_in_training(first, SETTINGS) == []
    grown = split(manifest_of([*pictures(100), *(f"b{k:03d}" for k in range(40))]))
    (meeting,) = met_in_training(grown, SETTINGS)
    tested = set(first.rows.loc[first.rows["split"] == "test", "path"])
    learning = set(grown.rows.loc[grown.rows["split"].isin(["train", "val"]), "path"])
    assert set(meeting.paths) == tested & learning
    assert 0 < len(meeting.paths) <= 20
    assert (meeting.run, meeting.same_settings) == ("runs/first", True)
    assert pd.Timestamp(meeting.date) <= pd.Timestamp.today()


def test_p14_another_seed_is_told_apart_and_comes_after():
    manifest = manifest_of(pictures(100))
    remember_test(split(manifest, SplitSettings(seed=1)), "runs/seed1", SETTINGS | {"seed": 1})
    remember_test(split(manifest_of(pictures(90))), "runs/fewer", SETTINGS)
    meetings = met_in_training(split(manifest), SETTINGS)
    assert [(meeting.run, meeting.same_settings) for meeting in meetings] == [
        ("runs/fewer", True),
        ("runs/seed1", False),
    ]


def test_p14_a_locked_test_is_not_met_again(tmp_path: Path):
    first = split(manifest_of(pictures(100)))
    remember_test(first, "runs/first", SETTINGS)
    saved = tmp_path / "manifest.csv"
    saved.write_text(first.to_csv(), encoding="utf-8")
    grown = split(manifest_of([*pictures(100), *(f"b{k:03d}" for k in range(40))]), SplitSettings(locked_test=saved))
    assert met_in_training(grown, SETTINGS) == []


def test_p14_calibrating_on_what_was_test_is_noticed():
    first = split(manifest_of(pictures(100)))
    remember_test(first, "runs/first", SETTINGS)
    other = split(manifest_of(pictures(100)), SplitSettings(seed=1, calibration_fraction=0.5))
    (meeting,) = met_in_training(other, SETTINGS | {"calibration_fraction": 0.5})
    tested = set(first.rows.loc[first.rows["split"] == "test", "path"])
    assert tested & set(other.rows.loc[other.rows["split"] == "calibration", "path"])
    assert set(meeting.paths) == tested - set(other.rows.loc[other.rows["split"] == "test", "path"])


def test_p14_a_setting_that_did_not_exist_when_the_test_was_remembered_makes_no_other_split():
    remember_test(split(manifest_of(pictures(90))), "runs/old", SETTINGS)
    (meeting,) = met_in_training(split(manifest_of(pictures(100))), SETTINGS | {"calibration_fraction": None})
    assert meeting.same_settings


def test_another_data_set_is_another_matter():
    remember_test(split(manifest_of(pictures(100)), SplitSettings(seed=1)), "runs/first", SETTINGS)
    assert met_in_training(split(manifest_of(pictures(100), root="elsewhere")), SETTINGS) == []


def test_p14_images_judged_elsewhere_are_met_wherever_they_come_from():
    remember_images(pictures(3), "other.csv", {}, None)
    (meeting,) = met_in_training(split(manifest_of(pictures(100), root="one")), SETTINGS)
    assert (meeting.run, meeting.same_settings) == ("other.csv", False)
    assert len(meeting.paths) <= 3
    assert met_in_training(split(manifest_of(pictures(100)[3:], root="two")), SETTINGS) == []


def test_one_test_is_remembered_once_whoever_reads_it():
    first = split(manifest_of(pictures(60)))
    remember_test(first, "runs/first", SETTINGS)
    remember_images(first.rows.loc[first.rows["split"] == "test", "content"], "compared", {}, first.root)
    assert len(list((user_folders.state_folder() / "locked_tests").rglob("*.json"))) == 1
    remember_images(["another"], "compared", {}, first.root)
    assert len(list((user_folders.state_folder() / "locked_tests").rglob("*.json"))) == 2


def remember(number: int) -> None:
    # Half of them the same record, half another.
    seed = number % 2
    remember_test(
        split(manifest_of(pictures(60)), SplitSettings(seed=seed)), f"runs/{number}", SETTINGS | {"seed": seed}
    )


def test_a_record_is_written_once_and_whole_whoever_writes():
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(remember, range(8)))
    files = [path for path in (user_folders.state_folder() / "locked_tests").rglob("*") if path.is_file()]
    assert len(files) == 2
    assert all(len(json.loads(path.read_text())["test"]) == 12 for path in files)
    assert "c000.png" not in "".join(path.read_text() for path in files)


def test_nothing_is_remembered_where_nothing_was_tested():
    remember_test(manifest_of(pictures(10)), "runs/none", SETTINGS)
    assert not user_folders.state_folder().exists()


def test_a_damaged_record_and_an_unwritable_place_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    manifest = split(manifest_of(pictures(100)), SplitSettings(seed=1))
    remember_test(manifest, "runs/first", SETTINGS)
    (record,) = user_folders.state_folder().rglob("*.json")
    (record.parent / "damaged.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert len(met_in_training(split(manifest_of(pictures(100))), SETTINGS)) == 1
    assert rules(caplog) == ["damaged_record"] and "damaged.json" in caplog.text
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MEDCLS_STATE", str(tmp_path / "file"))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        remember_test(manifest, "runs/first", SETTINGS)
    assert rules(caplog) == ["test_not_recorded"]
