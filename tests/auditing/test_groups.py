import numpy as np
import pandas as pd
import pytest
from audited import manifest_of, only

from medcls.auditing import groups
from medcls.auditing.duplicates import expected_leak
from medcls.data.splits.split import split

# Groups


def test_p17_images_and_groups_are_counted_apart():
    manifest = manifest_of(["a"] * 6 + ["b"] * 4, group=["p1", "p1", "p1", "p2", "p3", "p3", "p4", "p5", "p6", ""])
    finding = only(groups.groups(manifest, None))
    assert (finding.values["images"], finding.values["groups"]) == (10, 6)
    assert "'b' 1 of 4" in finding.text
    assert finding.level == "information"
    assert (finding.values["images_without_group"], finding.values["most_images_in_a_group"]) == (1, 3)
    assert finding.table.to_numpy().tolist() == [[1, 4], [2, 1], [3, 1]]
    # Images without a group are nobody's siblings.
    unnamed = manifest_of(["a", "b"] * 5, group=["p1", "p1"] + [""] * 8)
    leak = expected_leak(pd.Series([0, 0, *range(1, 9)]))
    assert only(groups.groups(unnamed, None)).values["random_split_leak"] == leak
    # A class of which no group is known, or many images: does the pattern fit?
    for half in (["a"] * 2 + ["b"] * 18, ["a"] * 18 + ["b"] * 2):
        doubtful = only(groups.groups(manifest_of(half, group=["p1", *(f"p{k}" for k in range(1, 18)), "", ""]), None))
        assert doubtful.level == ("warning" if half[-3] == "a" else "information")
        assert (doubtful.values["classes_without_group"] == 1) == (half[-3] == "a")
    many = manifest_of(["a", "b"] * 10, group=["p1", "p1", "p2", *[""] * 17])
    assert only(groups.groups(many, None)).level == "warning"
    lone = manifest_of(["a", "b"], group=["p1", "p2"])
    assert only(groups.groups(lone, None)).level == "good"


def test_p03_no_grouping_key_is_a_warning():
    finding = only(groups.groups(manifest_of(["a", "b"]), None))
    assert finding.level == "warning"
    assert "data.group_pattern" in finding.text
    assert finding.values["suggested_pattern"] is None
    named = manifest_of(["a", "b"] * 30)
    named.rows["path"] = [
        f"{row.label}/p{number // 2}_{number % 2}.png"
        for number, row in named.rows.sort_values("label").reset_index(drop=True).iterrows()
    ]
    named.rows["label"] = named.rows["path"].str[0]
    suggested = only(groups.groups(named, None))
    assert suggested.values["suggested_pattern"] in suggested.text
    assert groups.mixed_groups(manifest_of(["a", "b"])) == []


def test_p03_expected_leak_of_a_random_split_is_exact():
    units = pd.Series([0] * 7 + [1] * 4 + [2] * 2 + list(range(3, 30)))
    n, test = len(units), 8
    draw, shares = np.random.default_rng(0), []
    for _ in range(1000):
        chosen = np.zeros(n, dtype=bool)
        chosen[draw.permutation(n)[:test]] = True
        shares.append(units[chosen].isin(units[~chosen]).mean())
    assert expected_leak(units) == pytest.approx(np.mean(shares), abs=4 * np.std(shares) / np.sqrt(1000))
    # Of pairs, 32 of an image's 39 fellows train, and its sibling is any of them.
    assert expected_leak(pd.Series(np.arange(40) // 2)) == pytest.approx(32 / 39)
    assert expected_leak(pd.Series(range(30))) == 0
    assert expected_leak(pd.Series([0] * 30)) == 1


def test_p03_a_grouped_split_leaks_nothing_and_a_split_by_image_is_caught():
    manifest = manifest_of(["a", "a", "b", "b"] * 30, group=[f"p{i // 2}" for i in range(120)])
    divided = split(manifest)
    assert only(groups.groups(manifest, divided)).values["test_images_with_a_sibling_in_training"] == 0
    divided.rows.loc[divided.indices("test")[0], "split"] = "train"
    assert only(groups.groups(manifest, divided)).values["test_images_with_a_sibling_in_training"] == 1


def test_groups_in_two_given_splits_are_an_error():
    manifest = manifest_of(
        ["a", "b"] * 3,
        group=["p", "q", "p", "r", "", ""],
        given_split=["train", "train", "test", "test", "train", "test"],
    )
    finding = only(groups.groups_across_splits(manifest))
    assert finding.level == "error"
    assert (finding.values["groups_in_several_splits"], finding.values["groups"]) == (1, 3)
    assert finding.exclude == ("a/00000.png",)
    left = manifest.rows[~manifest.rows["path"].isin(finding.exclude)]
    assert only(groups.groups_across_splits(manifest.with_rows(left))).level == "good"
    assert groups.groups_across_splits(manifest_of(["a", "b"], group=["p", "p"])) == []


def test_groups_with_two_labels_are_information():
    finding = only(groups.mixed_groups(manifest_of(["a", "b", "b"], group=["p", "p", "q"])))
    assert (finding.level, finding.values["mixed_groups"]) == ("information", 1)
    assert only(groups.mixed_groups(manifest_of(["a", "b"], group=["p", "q"]))).level == "good"
