"""A stratified, grouped share or fold, whatever the sizes of groups and classes."""

import numpy as np
import pytest
from made_manifests import manifest_of
from refusals import refused

from medcls.data.splits.cutting import assign, assign_fold, choose, fold_numbers
from medcls.data.splits.split import (
    SplitSettings,
    split,
    split_table,
)


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


def test_a_class_too_small_to_split_is_named():
    with refused("too_few_images", "'b'", " 1 "):
        split(manifest_of(["a"] * 50 + ["b"]))
    with refused("too_few_images", "'b'", " 1 "):
        split(manifest_of(["a"] * 50 + ["b"] * 5, contents=[f"c{i}" for i in range(50)] + ["same"] * 5))


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


LABELS = ["a", "b", "b"] * 20
CLUSTERS = np.arange(60) // 2


def test_a_share_is_drawn_from_the_free_rows_alone_and_no_cluster_is_cut():
    rows = manifest_of(LABELS).rows.assign(split="val")
    free = np.arange(60) >= 20
    rows.loc[free, "split"] = ""
    chosen = assign(rows, free, "test", 0.25, CLUSTERS, seed=3)
    assert chosen.dtype == bool and not (chosen & ~free).any()
    assert rows["split"].tolist() == np.where(chosen, "test", np.where(free, "", "val")).tolist()
    assert chosen.sum() == pytest.approx(10, abs=2)
    assert not set(CLUSTERS[chosen]) & set(CLUSTERS[free & ~chosen])
    before = rows.copy()
    assert (choose(rows, free, 0.25, CLUSTERS, 3, "test") == chosen).all() and rows.equals(before)


def test_folds_hold_each_free_row_once_and_no_cluster_is_cut():
    free = np.arange(60) < 48
    numbers = fold_numbers(manifest_of(LABELS).rows, free, 4, CLUSTERS, seed=0)
    assert numbers.shape == (48,) and set(numbers) == {0, 1, 2, 3}
    assert all(len(set(numbers[CLUSTERS[free] == cluster])) == 1 for cluster in set(CLUSTERS[free]))
    held = np.zeros(60, int)
    for number in range(4):
        rows = manifest_of(LABELS).rows
        chosen = assign_fold(rows, free, "held_out", (number, 4), CLUSTERS, seed=0)
        assert (rows["split"] == "held_out").tolist() == chosen.tolist()
        assert (chosen[free] == (numbers == number)).all()
        held += chosen
    assert (held == free).all()


def test_a_class_with_fewer_clusters_than_folds_is_named():
    labels, clusters = ["a"] * 20 + ["b"] * 6, np.concatenate([np.arange(20), [20, 20, 20, 21, 22, 22]])
    rows, free = manifest_of(labels).rows, np.ones(26, bool)
    assert set(fold_numbers(rows, free, 3, clusters, seed=0)) == {0, 1, 2}
    with refused("too_few_images", "data.folds=4", "'b'", " 3 "):
        fold_numbers(rows, free, 4, clusters, seed=0)
    with refused("too_few_images", "'b'", " 1 ", "calibration"):
        choose(rows, free & (clusters != 20) & (clusters != 21), 0.5, clusters, 0, "calibration")


def test_of_two_clusters_of_a_class_one_is_drawn_whatever_the_fraction():
    rows, free = manifest_of(["a", "a", "b", "b"]).rows, np.ones(4, bool)
    for fraction in (1e-9, 0.5, 0.99):
        chosen = choose(rows, free, fraction, np.arange(4), 0, "test")
        assert sorted(rows["label"][chosen]) == ["a", "b"]
