"""Splits that came with the data or from an earlier run are kept, and cleared of leaks."""

import numpy as np
import pytest
from made_manifests import manifest_of
from refusals import noted, refused

from medcls.data.manifest import check_one_label_per_image
from medcls.data.splits.given_splits import FEW, free_val, leave_out_duplicates, small_val
from medcls.data.splits.split import (
    SplitSettings,
    check_splits,
    split,
)


def test_p02_training_copies_of_test_images_are_left_out_aloud():
    contents = [f"c{i}" for i in range(100)]
    contents[3], contents[4] = contents[90], contents[90]
    manifest = manifest_of(["a", "b"] * 50, contents=contents, given_split=["train"] * 80 + ["test"] * 20)
    result = split(manifest)
    assert result.indices("left_out").tolist() == [3, 4]
    assert len(result.indices("test")) == 20
    assert noted(result.notes, "1", "20", "test", "2", "train", "data.copies=drop_from_train")
    with refused("duplicates_across_splits", manifest.rows["path"][3], "data.copies=drop_from_train"):
        split(manifest, SplitSettings(copies="error"))


def test_validation_copies_of_test_images_are_left_out_too():
    contents = [f"c{i}" for i in range(60)]
    contents[30] = contents[50]
    given_split = ["train"] * 20 + ["val"] * 20 + ["test"] * 20
    result = split(manifest_of(["a", "b"] * 30, contents=contents, given_split=given_split))
    assert result.indices("left_out").tolist() == [30]


def test_p01_near_copies_of_given_test_images_are_left_out_aloud():
    alike = list(range(100))
    alike[3], alike[4], alike[5] = alike[90], alike[90], alike[85]
    manifest = manifest_of(["a", "b"] * 50, given_split=["train"] * 80 + ["test"] * 20, alike=alike)
    assert len(split(manifest).indices("left_out")) == 0
    result = split(manifest, SplitSettings(keep_near_copies_together=True))
    assert result.indices("left_out").tolist() == [3, 4, 5]
    assert result.indices("test").tolist() == list(range(80, 100))
    assert noted(result.notes, "2", "20", "test", "3", "train", "data.keep_near_copies_together")


def test_what_looks_like_a_copy_of_a_given_test_image_is_left_out_with_the_copy():
    # 3 looks like 10, which has the pixels of test image 90: of two files with the same pixels only 10 is compared.
    contents, alike = [f"c{k}" for k in range(100)], list(range(100))
    contents[10] = contents[90]
    alike[90], alike[3] = alike[10], alike[10]
    manifest = manifest_of(["a", "b"] * 50, contents=contents, given_split=["train"] * 80 + ["test"] * 20, alike=alike)
    assert split(manifest, SplitSettings(keep_near_copies_together=True)).indices("left_out").tolist() == [3, 10]


def test_a_val_split_that_came_with_the_data_is_cut_anew_where_asked():
    given_split = ["train"] * 150 + ["val"] * 10 + ["test"] * 40
    groups = [f"p{k // 2}" for k in range(200)]
    manifest = manifest_of(["a", "b"] * 100, groups, given_split=given_split)
    kept, recut = split(manifest), split(manifest, SplitSettings(recut_val=True))
    assert kept.indices("val").tolist() == list(range(150, 160))
    assert noted(kept.notes, "30", "(a 5, b 5)", "data.recut_val=true")
    assert len(recut.indices("val")) == pytest.approx(32, abs=2)
    assert recut.indices("test").tolist() == list(range(160, 200))
    assert noted(recut.notes, "10 images", "data.recut_val") and not noted(recut.notes, "30")
    without = manifest_of(["a", "b"] * 50)
    assert split(without, SplitSettings(recut_val=True)).rows.equals(split(without).rows)
    assert not noted(split(without, SplitSettings(recut_val=True)).notes, "data.recut_val")


def test_recut_val_of_data_without_a_test_split():
    manifest = manifest_of(["a", "b"] * 50, given_split=["train"] * 90 + ["val"] * 10)
    result = split(manifest, SplitSettings(recut_val=True))
    assert [len(result.indices(name)) for name in ("train", "val", "test")] == pytest.approx([64, 16, 20], abs=2)


@pytest.fixture
def former(tmp_path):
    """A run on 100 images, its manifest saved."""
    manifest = split(manifest_of(["a", "b"] * 50), SplitSettings(seed=5))
    path = tmp_path / "manifest.csv"
    path.write_text(manifest.to_csv(), encoding="utf-8")
    return manifest, path


def test_p14_a_locked_test_stays_test_whatever_comes(former):
    before, path = former
    test = before.indices("test")
    # Thirty images are new, one test image is gone, and all have other names.
    contents = [f"c{k}" for k in range(100) if k != test[0]] + [f"new{k}" for k in range(30)]
    labels = ["ab"[k % 2] for k in range(100) if k != test[0]] + ["a", "b"] * 15
    for folds in ({}, {"folds": 3, "fold": 1}):
        now = split(manifest_of(labels, contents=contents), SplitSettings(seed=9, locked_test=path, **folds))
        rows = now.rows
        assert set(rows.loc[rows["split"] == "test", "content"]) == {f"c{k}" for k in test[1:]}
        assert set(rows["split"]) == {"train", "val", "test"} | ({"held_out"} if folds else set())
    count = len(test)
    assert noted(now.notes, f"{count - 1}", f"{count}", "data.locked_test")
    assert noted(now.notes, "1", f"{count}", "locked")


def test_p14_relatives_of_a_locked_test_are_never_trained_on(former):
    before, path = former
    first, second = before.indices("test")[:2]
    outside = [k for k in range(100) if k not in set(before.indices("test"))][:3]
    groups, alike = [""] * 100, list(range(100))
    groups[first] = groups[outside[0]] = groups[outside[1]] = "patient"
    alike[second] = alike[outside[2]]
    manifest = manifest_of(["a", "b"] * 50, groups, alike=alike)
    result = split(manifest, SplitSettings(locked_test=path))
    assert result.indices("left_out").tolist() == outside[:2]
    assert noted(result.notes, "2", "groups", "locked")
    result = split(manifest, SplitSettings(locked_test=path, keep_near_copies_together=True))
    assert result.indices("left_out").tolist() == outside
    assert result.indices("test").tolist() == before.indices("test").tolist()


def test_a_locked_test_joins_the_given_one(former):
    before, path = former
    locked = before.indices("test")[0]
    contents = [f"other{k}" for k in range(100)]
    contents[3], contents[4], contents[90] = f"c{locked}", "twin", "twin"
    contents[5] = contents[91] = f"c{before.indices('test')[1]}"  # locked, and already test: its copy stays a copy
    manifest = manifest_of(["a", "b"] * 50, contents=contents, given_split=["train"] * 80 + ["test"] * 20)
    result = split(manifest, SplitSettings(locked_test=path))
    assert result.indices("test").tolist() == [3, *range(80, 100)]
    assert result.indices("left_out").tolist() == [4, 5]


def test_locked_tests_that_cannot_be_followed(former, tmp_path):
    before, path = former
    with refused("no_common_images", " 20 ", f"data.locked_test={path}"):
        split(manifest_of(["a", "b"] * 50, contents=[f"x{k}" for k in range(100)]), SplitSettings(locked_test=path))
    untested = tmp_path / "untested.csv"
    untested.write_text(before.to_csv().replace(",test,", ",val,"), encoding="utf-8")
    with refused("empty_split", f"data.locked_test={untested}", "manifest.csv"):
        split(before, SplitSettings(locked_test=untested))


def test_a_locked_test_is_not_calibrated_on(former):
    before, path = former
    cut = split(before, SplitSettings(seed=9, locked_test=path, calibration_fraction=0.3))
    assert cut.indices("test").tolist() == before.indices("test").tolist()
    assert len(cut.indices("calibration")) == pytest.approx(24, abs=2)


def test_images_whose_pixels_nobody_knows_are_no_copies_of_each_other():
    unknown = [""] * 100
    assert len(split(manifest_of(["a", "b"] * 50, contents=unknown)).indices("train")) == 64
    came = ["train"] * 60 + ["val"] * 20 + ["test"] * 20
    result = split(manifest_of(["a", "b"] * 50, contents=unknown, given_split=came))
    assert [len(result.indices(name)) for name in ("train", "val", "test", "left_out")] == [60, 20, 20, 0]
    assert not noted(result.notes, "data.copies=drop_from_train")
    check_one_label_per_image(result.root, result.rows)
    # Those that are known are held against each other all the same.
    contents = ["same", *[""] * 98, "same"]
    result = split(manifest_of(["a", "b"] * 50, contents=contents, given_split=came))
    assert result.indices("left_out").tolist() == [0]
    broken = result.rows.copy()
    broken.loc[0, "split"] = "train"
    with refused("duplicates_across_splits", broken["path"][0], broken["path"][99]):
        check_splits(result.with_rows(broken))


def rows_in(splits, contents=None):
    """One row a name of a split."""
    rows = manifest_of(["ab"[k % 2] for k in range(len(splits))], contents=contents).rows
    return rows.assign(split=splits)


def test_a_given_val_split_joins_training_and_is_counted():
    rows = rows_in(["train", "val", "test", "val"])
    notes = free_val(rows, "data.folds")
    assert rows["split"].tolist() == ["train", "train", "test", "train"]
    assert len(notes) == 1 and noted(notes, "2", "data.folds")


def test_test_ranks_above_val_and_val_above_training():
    splits = ["train", "val", "test", "train", "val", "train", "held_out", "unused"]
    contents = ["x", "x", "x", "y", "y", "z", "x", "x"]
    rows = rows_in(splits, contents)
    notes = leave_out_duplicates(rows, "drop_from_train")
    assert rows["split"].tolist() == ["left_out", "left_out", "test", "left_out", "val", "train", "held_out", "unused"]
    assert len(notes) == 2 and noted(notes[:1], "1", "test", "2") and noted(notes[1:], "1", "val")
    assert leave_out_duplicates(rows, "error") == []
    with refused("duplicates_across_splits", "test", "00000.png", "data.copies=drop_from_train"):
        leave_out_duplicates(rows_in(splits, contents), "error")
    with refused("duplicates_across_splits", "val", "00001.png", "data.copies=drop_from_train"):
        leave_out_duplicates(rows_in(["val", "train"], ["y", "y"]), "error")


def test_near_duplicates_are_left_out_even_where_duplicates_are_an_error():
    rows = rows_in(["train", "test", "val", "train"])
    notes = leave_out_duplicates(rows, "error", np.array([5, 5, 6, 6]))
    assert rows["split"].tolist() == ["left_out", "test", "val", "left_out"]
    assert len(notes) == 2


def test_a_given_val_split_with_few_images_of_a_class_is_reported():
    enough = rows_in(["val"] * (2 * FEW) + ["train"] * 10)
    assert small_val(enough, ["a", "b"]) == []
    fewer = enough.assign(split=["train", *enough["split"][1:]])
    (note,) = small_val(fewer, ["a", "b"])
    assert f"(a {FEW - 1})" in note and "data.recut_val=true" in note
    (note,) = small_val(enough, ["c", "a"])
    assert "(c 0)" in note
