"""Splits: stratified, grouped, disjoint, seeded; and what happens to copies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_manifests import manifest_of
from refusals import noted, refused

from medcls.data.splits.split import (
    SplitSettings,
    check_splits,
    cluster_numbers,
    split,
    split_table,
    with_kept_together,
)
from medcls.errors import MedclsError


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
