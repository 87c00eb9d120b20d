"""Tables of new predictions as people have them: what is read, left out with a count, and refused."""

import numpy as np
import pandas as pd
import pytest
from refusals import refused

from medcls.evaluation.predictions import Predictions
from medcls.workflow.new_predictions import by_date, check_labels, image_statistics, read_new, tables_of, with_labels


@pytest.fixture
def reference() -> Predictions:
    rows = pd.DataFrame({"path": ["a", "b"], "label": ["ill", "well"], "group": "", "split": "val", "checkpoint": "c"})
    return Predictions(rows.assign(prob_ill=[0.9, 0.2], prob_well=[0.1, 0.8]), ("ill", "well"), "ill")


def write(path, columns, **more):
    pd.DataFrame(
        {"path": ["x.png", "y.png"], "prob_ill": [0.3, 0.6], "prob_well": [0.7, 0.4], **columns}, **more
    ).to_csv(path, index=False)
    return path


def test_a_folder_gives_a_period_for_each_table(tmp_path, reference):
    write(tmp_path / "week1.csv", {"ood": [1.0, 2.0]})
    write(tmp_path / "week2.csv", {"path": ["z.png", "x.png"], "ood": [0.0, 0.5]})
    rows, notes = read_new(tables_of(tmp_path), reference)
    assert rows["period"].tolist() == ["week1", "week1", "week2"]  # x.png once
    assert rows["ood"].tolist() == [1.0, 2.0, 0.0] and len(notes) == 1 and "1 row" in notes[0]


def test_unreadable_images_are_counted_and_left_out(tmp_path, reference):
    path = write(tmp_path / "new.csv", {"prob_ill": ["", 0.6], "prob_well": ["", 0.4], "error": ["damaged", ""]})
    rows, notes = read_new([path], reference)
    assert rows["path"].tolist() == ["y.png"] and "1 row" in notes[0] and "ood" not in rows


@pytest.mark.parametrize(
    ("columns", "kind", "named"),
    [
        ({"checkpoint": "other"}, "different_checkpoints", "other"),
        ({"prob_ill": ["much", 0.6]}, "not_a_number", "x.png"),
        ({"prob_ill": [0.9, 0.6]}, "not_summing_to_one", "x.png"),
        ({"prob_ill": ["", ""], "prob_well": ["", ""]}, "no_rows", "new.csv"),
    ],
)
def test_what_is_no_table_of_this_run_is_refused(tmp_path, reference, columns, kind, named):
    with refused(kind, named):
        read_new([write(tmp_path / "new.csv", columns)], reference)


def test_a_table_of_other_classes_is_refused(tmp_path, reference):
    (tmp_path / "new.csv").write_text("path,prob_cat,prob_dog\nx.png,0.5,0.5\n", encoding="utf-8")
    with refused("missing_column", "prob_ill"):
        read_new([tmp_path / "new.csv"], reference)
    (tmp_path / "new.csv").write_bytes(b"\xff\xfe\x00")
    with refused("unreadable_table", "new.csv"):
        read_new([tmp_path / "new.csv"], reference)


def test_nothing_there_is_refused(tmp_path):
    with refused("no_such_file", "weeks"):
        tables_of(tmp_path / "weeks")


def test_labels_are_matched_by_path(tmp_path, reference):
    rows, _ = read_new([write(tmp_path / "new.csv", {})], reference)
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\nx.png,ill\nelsewhere.png,well\n", encoding="utf-8")
    found, notes = with_labels(rows, labels)
    assert found["label"].tolist() == ["ill", ""] and "1 label" in notes[0]
    labels.write_text("path,label\nx.png,ill\nx.png,well\n", encoding="utf-8")
    with refused("conflicting_labels", "x.png"):
        with_labels(rows, labels)
    labels.write_text("path,label\n/else/x.png,ill\n", encoding="utf-8")
    with refused("no_such_path", "/else/x.png", "x.png"):
        with_labels(rows, labels)
    labels.write_text("file,label\nx.png,ill\n", encoding="utf-8")
    with refused("missing_column", "path"):
        with_labels(rows, labels)
    with refused("unknown_label", "Ill"):
        check_labels(rows.assign(label=["Ill", ""]), reference.classes)


@pytest.mark.parametrize(
    ("period", "expected"),
    [("day", ["2026-11-29", "2026-11-30"]), ("week", ["2026-11-23", "2026-11-30"]), ("month", ["2026-11", "2026-11"])],
)
def test_periods_by_date(tmp_path, reference, period, expected):
    rows, _ = read_new([write(tmp_path / "new.csv", {"date": ["2026-11-30", "2026-11-29T08:00:00Z"]})], reference)
    found = by_date(rows, "date", period)
    assert found["period"].tolist() == expected
    with refused("not_a_date", "x.png", "30.11.2026"):
        by_date(rows.assign(date="30.11.2026"), "date", period)
    with refused("missing_column", "dates"):
        by_date(rows, "dates", period)


def test_statistics_are_read_from_the_files(tmp_path, reference):
    from made_sets import noise

    for name in ("a", "b", "x.png", "y.png"):
        noise(tmp_path / (name if name.endswith("png") else f"{name}.png"), 1, 60 if name in "ab" else 200)
    rows = pd.DataFrame({"path": ["x.png", "y.png", "gone.png"]})
    val = Predictions(reference.rows.assign(path=["a.png", "b.png"]), reference.classes, reference.positive)
    found, notes = image_statistics(rows, tmp_path, val, tmp_path)
    here, there = found["brightness"]
    assert np.isfinite(here).tolist() == [True, True, False] and len(notes) == 1
    assert np.mean(here[:2]) > np.mean(there) + 0.2
    with refused("no_such_file", "x.png"):
        image_statistics(rows, tmp_path / "elsewhere", val, tmp_path)
