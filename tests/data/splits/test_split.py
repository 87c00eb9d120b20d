"""Splits: stratified, grouped, disjoint, seeded; and what happens to copies."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import noted, refused

from medcls.data.manifest import Manifest, check_one_label_per_image
from medcls.data.splits.split import (
    SplitSettings,
    check_splits,
    cluster_numbers,
    split,
    split_table,
    with_kept_together,
)
from medcls.errors import MedclsError


def manifest_of(labels, groups=None, contents=None, given_split=None, alike=None) -> Manifest:
    """`alike` numbers the sets of images that look almost the same; without it there are no hashes."""
    n = len(labels)
    rows = pd.DataFrame(
        {
            "path": [f"{i:05d}.png" for i in range(n)],
            "label": list(labels),
            "group": list(groups) if groups is not None else "",
            "split": "",
            "given_split": list(given_split) if given_split is not None else "",
            "content": list(contents) if contents is not None else [f"c{i}" for i in range(n)],
            "stamp": "",
        }
    )
    classes = tuple(sorted(set(labels)))
    scan = pd.DataFrame() if alike is None else scan_of(rows, alike)
    return Manifest(Path("root"), classes, rows, classes[0] if len(classes) == 2 else None, scan=scan)


def scan_of(rows, alike) -> pd.DataFrame:
    """Hashes that are one bit apart within a set, and far apart between sets."""
    draw = np.random.default_rng(0)
    words = {number: [int(word) for word in draw.integers(0, 2**62, 6)] for number in sorted(set(alike))}
    scan = {
        "content": rows["content"].to_numpy(),
        "contrast": 0.2,
        "phash": np.array([words[number][0] ^ 1 << k % 2 for k, number in enumerate(alike)], dtype=np.uint64),
        "dhash": np.array([words[number][1] for number in alike], dtype=np.uint64),
        "detail": ["".join(f"{word:016x}" for word in words[number][2:]) for number in alike],
    }
    return pd.DataFrame(scan, index=pd.Index(rows["path"], name="path"))


def test_p04_stratified_by_default():
    result = split(manifest_of(["a"] * 155 + ["b"] * 98), SplitSettings(seed=3))
    table = split_table(result).set_index("split")
    assert table["a: share"].between(155 / 253 - 0.02, 155 / 253 + 0.02).all()
    assert table["images"].sum() == 253
    assert list(table.index) == ["train", "val", "test"]
    assert table.loc["test", "images"] == pytest.approx(253 * 0.2, abs=2)


def test_p03_no_group_on_two_sides():
    groups = [f"p{i // 5}" for i in range(300)]
    result = split(manifest_of(["a", "b", "b"] * 100, groups))
    assert (result.rows.groupby("group")["split"].nunique() == 1).all()


def test_p01_exact_copies_fall_on_one_side():
    contents = [f"c{i // 2}" for i in range(200)]
    result = split(manifest_of(["a"] * 100 + ["b"] * 100, contents=contents))
    assert (result.rows.groupby("content")["split"].nunique() == 1).all()


def test_copies_tie_their_groups_together():
    # p0 and p1 share a picture, p1 and p2 another: all three are one unit.
    rows = manifest_of(["a"] * 6, ["p0", "p0", "p1", "p1", "p2", ""], ["x", "1", "x", "y", "y", "z"]).rows
    units = cluster_numbers(rows)
    assert len(set(units[:5])) == 1
    assert units[5] not in units[:5]


def test_p06_splits_are_fixed_rows_and_disjoint():
    manifest = manifest_of(["a", "b"] * 100)
    first, second, other = (
        split(manifest, SplitSettings(seed=1)),
        split(manifest, SplitSettings(seed=1)),
        split(manifest, SplitSettings(seed=2)),
    )
    assert first.rows.equals(second.rows)
    assert not first.rows["split"].equals(other.rows["split"])
    broken = first.rows.copy()
    train, test = first.indices("train")[0], first.indices("test")[0]
    broken.loc[train, "content"] = broken.loc[test, "content"]
    with refused("duplicates_across_splits", f"{broken['path'][train]} (train)", f"{broken['path'][test]} (test)"):
        check_splits(first.with_rows(broken))


def test_group_in_two_given_splits_is_refused():
    manifest = manifest_of(["a", "b"] * 10, [f"p{i % 5}" for i in range(20)], given_split=["train"] * 12 + ["test"] * 8)
    with refused("group_across_splits", "'p0'", "data.group_pattern", "data.pool_splits=true"):
        split(manifest)


def test_p02_a_test_split_that_came_with_the_data_is_kept():
    given_split = ["train"] * 80 + ["test"] * 20
    manifest = manifest_of(["a", "b"] * 50, given_split=given_split)
    result = split(manifest)
    assert result.indices("test").tolist() == list(range(80, 100))
    assert result.watermark is None
    pooled = split(manifest, SplitSettings(pool_splits=True))
    assert set(pooled.indices("test")) != set(range(80, 100))
    assert "POOLED" in pooled.watermark


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


def test_p07_every_row_is_in_exactly_one_split():
    result = split(manifest_of(["a"] * 66 + ["b"] * 17), SplitSettings(train_fraction=0.5))
    assert sum(len(result.indices(name)) for name in ("train", "val", "test", "unused", "left_out")) == 83
    table = split_table(result)
    assert int(table["images"].sum()) == 83
    assert set(table["split"]) == {"train", "val", "test", "unused"}


def test_p17_images_and_groups_are_counted_apart():
    groups = [f"p{i // 4}" for i in range(200)]
    table = split_table(split(manifest_of(["a"] * 100 + ["b"] * 100, groups)))
    assert int(table["images"].sum()) == 200
    assert int(table["groups"].sum()) == 50


def test_train_fraction_is_stratified_and_grouped():
    groups = [f"p{i // 2}" for i in range(400)]
    result = split(manifest_of(["a"] * 300 + ["b"] * 100, groups), SplitSettings(train_fraction=0.25))
    train, unused = result.rows.iloc[result.indices("train")], result.rows.iloc[result.indices("unused")]
    assert len(train) / (len(train) + len(unused)) == pytest.approx(0.25, abs=0.03)
    assert (train["label"] == "a").mean() == pytest.approx(0.75, abs=0.05)
    assert not set(train["group"]) & set(unused["group"])


def test_folds_without_a_test_split_cover_everything_once():
    manifest = manifest_of(["a", "b", "b"] * 40)
    tests = [split(manifest, SplitSettings(folds=4, fold=k)).indices("test") for k in range(4)]
    assert sorted(np.concatenate(tests)) == list(range(120))
    for k in range(4):
        assert len(split(manifest, SplitSettings(folds=4, fold=k)).indices("val")) > 0


def test_folds_with_a_test_split_leave_it_alone():
    manifest = manifest_of(["a", "b"] * 50, given_split=["train"] * 60 + ["val"] * 20 + ["test"] * 20)
    held = [split(manifest, SplitSettings(folds=4, fold=k)) for k in range(4)]
    assert sorted(np.concatenate([m.indices("held_out") for m in held])) == list(range(80))
    assert all(m.indices("test").tolist() == list(range(80, 100)) for m in held)


def test_folds_free_a_val_split_that_came_without_test():
    contents = [f"c{i}" for i in range(100)]
    contents[4] = contents[90]  # a copy across the given splits is kept, on one side
    manifest = manifest_of(["a", "b"] * 50, contents=contents, given_split=["train"] * 80 + ["val"] * 20)
    held = [split(manifest, SplitSettings(folds=4, fold=k)) for k in range(4)]
    assert sorted(np.concatenate([m.indices("test") for m in held])) == list(range(100))
    for m in held:
        assert len(m.indices("val")) == pytest.approx(15, abs=3)
        assert set(m.indices("val")) != set(range(80, 100))
        assert noted(m.notes, "20 images", "data.folds")


@pytest.mark.parametrize("fraction", [0.999, 0.9999999, 0.001, 1e-9])
def test_fractions_near_the_ends_leave_something_on_both_sides(fraction):
    for name in ("val", "train"):
        result = split(
            manifest_of(["a", "b"] * 400), SplitSettings(**{"test_fraction": 0.5, f"{name}_fraction": fraction})
        )
        other = "train" if name == "val" else "unused"
        chosen, rest = len(result.indices(name)), len(result.indices(other))
        assert chosen > 0 and rest > 0
        assert (chosen > 10 * rest) == (fraction > 0.5)


def test_any_seed_will_do():
    manifest = manifest_of(["a", "b"] * 50)
    for seed in (2**32 - 1, 2**32 - 2, 2**40, -1):
        split(manifest, SplitSettings(seed=seed, train_fraction=0.5))
        split(manifest, SplitSettings(seed=seed, folds=2, fold=0))


def test_classes_may_be_called_as_the_table_calls_its_columns():
    names = ["split", "images", "groups", "images: share"]
    table = split_table(split(manifest_of([name for name in names for _ in range(20)])))
    assert table["split"].tolist() == ["train", "val", "test"]
    assert int(table["images"].sum()) == int(table["groups"].sum()) == 80
    assert [int(table[f"{name}: images"].sum()) for name in names] == [20, 20, 20, 20]
    assert table["split: share"].between(0.2, 0.35).all()


@pytest.mark.parametrize(
    ("wrong", "kind", "names"),
    [
        ({"val_fraction": 1.5}, "bad_value", ("data.val_fraction", "1.5")),
        ({"test_fraction": 0.0}, "bad_value", ("data.test_fraction", "0.0")),
        ({"train_fraction": 0.0}, "bad_value", ("data.train_fraction", "0.0")),
        ({"val_fraction": "abc"}, "bad_value", ("data.val_fraction", "'abc'")),
        ({"test_fraction": None}, "bad_value", ("data.test_fraction", "None")),
        ({"train_fraction": None}, "bad_value", ("data.train_fraction", "None")),
        ({"train_fraction": True}, "bad_value", ("data.train_fraction", "True")),
        ({"calibration_fraction": 0}, "bad_value", ("data.calibration_fraction", "0")),
        ({"calibration_fraction": 1.0}, "bad_value", ("data.calibration_fraction", "1.0")),
        ({"calibration_fraction": "abc"}, "bad_value", ("data.calibration_fraction", "'abc'")),
        ({"calibration_fraction": True}, "bad_value", ("data.calibration_fraction", "True")),
        (
            {"calibration_fraction": 0.5, "val_fraction": 0.5},
            "bad_value",
            ("data.val_fraction=0.5", "data.calibration_fraction=0.5"),
        ),
        ({"folds": "abc", "fold": 0}, "bad_value", ("data.folds", "'abc'")),
        ({"folds": 2.5, "fold": 0}, "bad_value", ("data.folds", "2.5")),
        ({"folds": 5, "fold": "x"}, "bad_value", ("data.fold", "'x'")),
        ({"folds": 5}, "missing_setting", ("data.fold ", "4")),
        ({"fold": 1}, "missing_setting", ("data.folds ",)),
        ({"folds": 5, "fold": 5}, "bad_value", ("data.fold", "5", "data.folds=5", "0 to 4")),
        ({"folds": 1, "fold": 0}, "bad_value", ("data.folds", "1", "2")),
        ({"folds": 60, "fold": 0}, "too_few_images", ("data.folds=60", "'a'", " 50 ")),
        ({"keep_near_copies_together": True}, "no_image_hashes", ("data.keep_near_copies_together=true",)),
        ({"locked_test": "gone.csv"}, "unreadable_table", ("gone.csv",)),
        ({"copies": "keep"}, "bad_value", ("data.copies", "'keep'", "drop_from_train")),
    ],
)
def test_settings_that_make_no_sense(wrong, kind, names):
    with refused(kind, *names):
        split(manifest_of(["a", "b"] * 50), SplitSettings(**wrong))


def test_a_class_too_small_to_split_is_named():
    with refused("too_few_images", "'b'", " 1 "):
        split(manifest_of(["a"] * 50 + ["b"]))
    with refused("too_few_images", "'b'", " 1 "):
        split(manifest_of(["a"] * 50 + ["b"] * 5, contents=[f"c{i}" for i in range(50)] + ["same"] * 5))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_split_keeps_its_promises(data):
    n = data.draw(st.integers(20, 120))
    labels = data.draw(st.lists(st.sampled_from("abc"), min_size=n, max_size=n))
    groups = data.draw(st.lists(st.sampled_from(["", *[f"p{i}" for i in range(40)]]), min_size=n, max_size=n))
    # A picture has one label: copies are drawn within a class.
    contents = [f"{label}{data.draw(st.integers(0, 60))}" for label in labels]
    if len(set(labels)) < 2:
        return
    manifest = manifest_of(labels, groups, contents)
    share = data.draw(st.sampled_from([None, 0.1, 0.25]))
    folds = data.draw(st.sampled_from([{}, {"folds": 3, "fold": 1}]))
    try:
        result = split(manifest, SplitSettings(seed=data.draw(st.integers(0, 5)), calibration_fraction=share, **folds))
    except MedclsError:
        return  # too small to split: said, not done
    rows = result.rows
    names = {"train", "val", "test"} | ({"calibration"} if share else set())
    assert set(rows["split"]) == names
    assert (rows.groupby("split")["label"].nunique() == len(set(labels))).all()
    assert (rows.groupby("content")["split"].nunique() == 1).all()
    assert (rows[rows["group"] != ""].groupby("group")["split"].nunique() == 1).all()
    assert rows["path"].tolist() == manifest.rows["path"].tolist()


def test_p01_near_copies_fall_on_one_side_where_asked():
    alike = [k // 2 for k in range(200)]
    manifest = manifest_of(["a"] * 100 + ["b"] * 100, alike=alike)
    parted = split(manifest, SplitSettings(seed=1)).rows["split"].groupby(alike).nunique()
    assert (parted > 1).any()
    result = split(manifest, SplitSettings(seed=1, keep_near_copies_together=True))
    assert (result.rows["split"].groupby(alike).nunique() == 1).all()
    assert noted(result.notes, "100", "200")
    broken = result.rows.copy()
    broken.loc[broken.index[result.indices("test")[0]], "split"] = "train"
    moved = result.rows["path"][result.indices("test")[0]]
    with refused("near_duplicates_across_splits", f"{moved} (train)"):
        check_splits(result.with_rows(broken), np.array(alike))


def test_near_copies_tie_groups_and_exact_copies_together():
    # 0 looks like 1; 1 is of the group of 2; 2 is the same as 3, of which only the first is compared.
    manifest = manifest_of(
        ["a", "b"] * 30,
        ["", "p", "p"] + [""] * 57,
        ["c0", "c1", "same", "same"] + [f"c{k}" for k in range(4, 60)],
        alike=[0, 0, 1, 1, *range(2, 58)],
    )
    for seed in range(5):
        result = split(manifest, SplitSettings(seed=seed, keep_near_copies_together=True))
        assert result.rows["split"][:4].nunique() == 1


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


def test_p08_repeats_by_seed_hold_each_row_out_exactly_once():
    groups = [f"p{k // 2}" for k in range(120)]
    manifest = manifest_of(["a", "b", "b"] * 40, groups)
    repeats = []
    for seed in range(3):
        cut = [split(manifest, SplitSettings(seed=seed, folds=4, fold=k)) for k in range(4)]
        held = [m.indices("test") for m in cut]
        assert sorted(np.concatenate(held)) == list(range(120))
        assert all(len(m.rows) == 120 and set(m.rows["split"]) == {"train", "val", "test"} for m in cut)
        repeats.append(frozenset(frozenset(rows.tolist()) for rows in held))
    assert len(set(repeats)) == 3


def test_p05_the_seed_decides_and_nothing_else():
    # Written down once: whatever moves images, a library's new version or our own, must be noticed.
    assert split(manifest_of(["a", "b", "b"] * 40)).indices("test")[:8].tolist() == [
        7,
        9,
        14,
        17,
        25,
        37,
        39,
        46,
    ]


PATIENTS = [f"p{k // 3}" for k in range(240)]
CAME = ["train"] * 150 + ["val"] * 30 + ["test"] * 60


@pytest.mark.parametrize(
    ("given_split", "how", "fingerprint"),
    [
        (None, {}, "f155c84e70d06c7c"),
        (None, {"seed": 7, "train_fraction": 0.5}, "ed2f166bfb0a4820"),
        (None, {"folds": 4, "fold": 1}, "d9179e62050b7266"),
        (CAME, {}, "26a740ca796a8fe8"),
        (CAME, {"folds": 3, "fold": 2}, "ac363fb58b57545d"),
        (CAME, {"recut_val": True, "val_fraction": 0.3}, "46679b04036652f3"),
    ],
)
def test_p05_without_a_calibration_part_every_image_stands_where_it_stood_before_there_was_one(
    given_split, how, fingerprint
):
    manifest = manifest_of(["a", "b", "b"] * 80, PATIENTS, given_split=given_split)
    assert split(manifest, SplitSettings(**how)).fingerprint() == fingerprint


def test_p09_a_calibration_part_is_paid_for_by_training_alone():
    manifest = manifest_of(["a", "b", "b"] * 80, PATIENTS)
    without, cut = split(manifest), split(manifest, SplitSettings(calibration_fraction=0.25))
    assert cut.indices("test").tolist() == without.indices("test").tolist()
    assert len(cut.indices("val")) == pytest.approx(len(without.indices("val")), abs=3)
    rest = 240 - len(cut.indices("test"))
    assert len(cut.indices("calibration")) == pytest.approx(0.25 * rest, abs=3)
    assert (cut.rows.groupby("group")["split"].nunique() == 1).all()
    share = (cut.rows.loc[cut.indices("calibration"), "label"] == "a").mean()
    assert share == pytest.approx(1 / 3, abs=0.03)
    assert split_table(cut)["split"].tolist() == ["train", "val", "calibration", "test"]


@pytest.mark.parametrize("given_split", [None, CAME], ids=["fold is test", "fold is held out"])
def test_p09_all_folds_share_a_calibration_part_that_none_of_their_networks_saw(given_split):
    manifest = manifest_of(["a", "b", "b"] * 80, PATIENTS, given_split=given_split)
    aside = "held_out" if given_split else "test"
    cut = [split(manifest, SplitSettings(folds=k, fold=f, calibration_fraction=0.2)) for k in (3, 4) for f in range(k)]
    (part,) = {tuple(m.indices("calibration")) for m in cut}
    rest = set(range(240 if given_split is None else 180)) - set(part)
    for folds in (cut[:3], cut[3:]):
        assert sorted(np.concatenate([m.indices(aside) for m in folds])) == sorted(rest)
    if given_split:
        assert all(m.indices("test").tolist() == list(range(180, 240)) for m in cut)
    assert (
        tuple(split(manifest, SplitSettings(seed=1, folds=3, fold=0, calibration_fraction=0.2)).indices("calibration"))
        != part
    )


def test_a_calibration_part_is_cut_from_training_where_val_came_with_the_data():
    manifest = manifest_of(["a", "b", "b"] * 80, PATIENTS, given_split=CAME)
    cut = split(manifest, SplitSettings(calibration_fraction=0.9))  # val_fraction is 0.2, and not used
    assert cut.indices("val").tolist() == list(range(150, 180))
    assert cut.indices("test").tolist() == list(range(180, 240))
    assert len(cut.indices("calibration")) == pytest.approx(135, abs=3)
    assert set(cut.rows["split"]) == {"train", "val", "calibration", "test"}


def test_a_learning_curve_leaves_the_calibration_part_alone():
    manifest = manifest_of(["a", "b", "b"] * 80, PATIENTS)
    parts = [
        split(manifest, SplitSettings(calibration_fraction=0.2, train_fraction=share)) for share in (1.0, 0.5, 0.1)
    ]
    assert len({tuple(part.indices("calibration")) for part in parts}) == 1


def test_p01_copies_and_near_copies_do_not_stand_in_calibration_and_elsewhere():
    contents, alike = [f"c{k}" for k in range(240)], [k // 4 for k in range(240)]
    contents[10] = contents[200]
    contents[20], contents[23] = "same", "same"
    manifest = manifest_of(["a", "b"] * 120, contents=contents, given_split=CAME, alike=alike)
    result = split(manifest, SplitSettings(calibration_fraction=0.5, recut_val=True, keep_near_copies_together=True))
    rows = result.rows[result.rows["split"] != "left_out"]
    assert (rows["split"].groupby([alike[k] for k in rows.index]).nunique() == 1).all()
    assert result.rows["split"][10] == "left_out"
    broken = result.rows.copy()
    broken.loc[result.indices("calibration")[0], "content"] = broken.loc[result.indices("train")[0], "content"]
    with refused("duplicates_across_splits", "(calibration)", "(train)"):
        check_splits(result.with_rows(broken))


def test_a_locked_test_is_not_calibrated_on(former):
    before, path = former
    cut = split(before, SplitSettings(seed=9, locked_test=path, calibration_fraction=0.3))
    assert cut.indices("test").tolist() == before.indices("test").tolist()
    assert len(cut.indices("calibration")) == pytest.approx(24, abs=2)


def test_a_calibration_part_without_a_class_is_refused():
    manifest = split(manifest_of(["a", "b"] * 50), SplitSettings(calibration_fraction=0.2))
    rows = manifest.rows.copy()
    rows.loc[(rows["split"] == "calibration") & (rows["label"] == "b"), "split"] = "train"
    with refused("class_without_images", "calibration ", "'b'", "data.calibration_fraction"):
        check_splits(manifest.with_rows(rows), required=("calibration",))
    with refused("too_few_images", "'b'", " 1 ", " calibration "):
        split(manifest_of(["a"] * 50 + ["b"] * 2), SplitSettings(calibration_fraction=0.2))


def test_p17_what_was_kept_together_is_named_and_counted_once():
    # 0 and 1 look alike, 2 and 3 have the same pixels, 4 and 5 are one patient, 6 to 8 hang together by two of these.
    alike = [0, 0, *range(1, 99)]
    alike[7], alike[8] = 200, 200
    groups = [""] * 4 + ["p", "p", "q", "q"] + [""] * 92
    contents = ["c0", "c1", "same", "same", *(f"c{k}" for k in range(4, 100))]
    manifest = manifest_of(["a", "b"] * 50, groups, contents, alike=alike)
    result = split(manifest, SplitSettings(keep_near_copies_together=True))
    named = result.rows["kept_together"]
    assert named[:9].tolist() == ["00000.png"] * 2 + ["00002.png"] * 2 + ["", ""] + ["00006.png"] * 3
    assert (named[9:] == "").all()
    table = split_table(result)
    assert int(table["images"].sum()) == 100
    assert int(table["groups"].sum()) == 98
    assert int(table["independent"].sum()) == 95
    assert (cluster_numbers(result.rows) == cluster_numbers(manifest.rows, np.array(alike))).all()
    apart = split(manifest).rows["kept_together"]
    assert apart[apart != ""].index.tolist() == [2, 3]
    uncut = with_kept_together(manifest, near_duplicates=True).rows
    assert uncut["kept_together"].tolist() == named.tolist()
    assert split(split(manifest), SplitSettings(seed=1)).rows.equals(split(manifest, SplitSettings(seed=1)).rows)


def test_nothing_was_kept_together_where_nothing_is_shared():
    groups = [f"p{k // 2}" for k in range(100)]
    result = split(
        manifest_of(["a", "b"] * 50, groups, alike=range(100)), SplitSettings(keep_near_copies_together=True)
    )
    assert (result.rows["kept_together"] == "").all()
    assert split_table(result)["independent"].tolist() == split_table(result)["groups"].tolist()


GIANT = ["giant"] * 60 + [f"p{k}" for k in range(40)]


@pytest.mark.parametrize("seed", range(20))
def test_a_group_larger_than_a_share_is_trained_on(seed):
    result = split(manifest_of(["a", "b"] * 50, GIANT), SplitSettings(seed=seed))
    assert set(result.rows.loc[:59, "split"]) == {"train"}
    table = split_table(result).set_index("split")
    assert [table.loc[name, "images"] for name in ("test", "val")] == pytest.approx([8, 6], abs=2)
    assert table["share"].sum() == pytest.approx(1)
    assert table["asked"].tolist() == pytest.approx([0.64, 0.16, 0.2])
    others = result.rows.loc[60:]
    assert (others["split"] == "train").sum() == pytest.approx(26, abs=3)


def test_near_copies_larger_than_a_share_are_trained_on():
    alike = [0] * 60 + list(range(1, 41))
    result = split(manifest_of(["a", "b"] * 50, alike=alike), SplitSettings(keep_near_copies_together=True))
    assert set(result.rows.loc[:59, "split"]) == {"train"}


def test_where_all_groups_are_larger_than_the_share_they_are_cut_like_any():
    groups = [f"p{k // 25}" for k in range(100)]
    result = split(manifest_of(["a", "b"] * 50, groups), SplitSettings(val_fraction=0.3))
    assert split_table(result)["groups"].tolist() == [2, 1, 1]


def test_shares_that_were_asked_for_stand_beside_those_that_came_out():
    came = split(manifest_of(["a", "b", "b"] * 80, PATIENTS, given_split=CAME))
    assert came.asked == {"train": 150 / 240}
    folds = split(manifest_of(["a", "b"] * 50), SplitSettings(folds=5, fold=0, calibration_fraction=0.2))
    assert folds.asked == pytest.approx({"calibration": 0.2, "test": 0.16, "val": 0.16, "train": 0.48})
    table = split_table(folds).set_index("split")
    assert table["share"].to_dict() == pytest.approx(folds.asked, abs=0.01)
    part = split(manifest_of(["a", "b"] * 50), SplitSettings(train_fraction=0.5)).asked
    assert part == pytest.approx({"test": 0.2, "val": 0.16, "train": 0.32})
    # A table that nobody has cut knows of no share.
    assert "asked" not in split_table(manifest_of(["a", "b"]))


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


def test_of_a_given_split_without_a_class_the_advice_can_be_followed():
    labels = ["a", "b"] * 40 + ["a"] * 20
    came = ["train"] * 60 + ["val"] * 20 + ["test"] * 20
    settings_that_help = ("data.label_map", "data.leave_out_unmapped=true", "data.pool_splits=true")
    with refused("class_without_images", " test ", "'b'", *settings_that_help) as found:
        split(manifest_of(labels, given_split=came))
    for useless in ("test_fraction", "seed.", "recut_val"):
        assert useless not in str(found.value)
    assert split(manifest_of(labels, given_split=came), SplitSettings(pool_splits=True)).indices("test").size
    came = ["train"] * 60 + ["test"] * 20 + ["val"] * 20
    with refused("class_without_images", " val ", "'b'", "data.recut_val=true"):
        split(manifest_of(labels, given_split=came))
    assert split(manifest_of(labels, given_split=came), SplitSettings(recut_val=True)).indices("val").size
