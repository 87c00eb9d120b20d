"""The audit's checks: each seen to fire and not to fire, on tables, and on the real sets whose faults are known."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcls.auditing import classes, duplicates, groups, images
from medcls.auditing.checks import check
from medcls.auditing.duplicates import expected_leak
from medcls.auditing.exclusions import emptied_classes
from medcls.auditing.findings import LEVELS, Finding
from medcls.auditing.leaks import leaks, settled
from medcls.auditing.locked import locked_test
from medcls.data.manifest import Manifest
from medcls.data.reading.decoded import UnreadableImage
from medcls.data.sources.folders import from_folders
from medcls.data.splits.near_duplicates import PHASH_DISTANCE
from medcls.data.splits.split import split
from medcls.runs.registry import Meeting


def manifest_of(labels, *, unreadable=(), scan=None, **columns) -> Manifest:
    """A manifest of so many distinct, unremarkable images; columns of rows and of scan replace the defaults."""
    n = len(labels)
    draw = np.random.default_rng(0)
    paths = [f"{label}/{i:05d}.png" for i, label in enumerate(labels)]
    rows = pd.DataFrame(
        {"path": paths, "label": list(labels), "group": "", "split": "", "given_split": ""}
        | {"content": [f"c{i}" for i in range(n)], "stamp": ""}
        | {name: list(values) for name, values in columns.items()}
    )
    known = pd.DataFrame(
        {"content": rows["content"].to_numpy(), "width": 200, "height": 150, "format": "PNG", "mode": "L", "bits": 8}
        | {"frames": 1, "bytes": 9000, "notes": ""}
        | {
            "phash": draw.integers(2**63, size=n).astype("uint64"),
            "dhash": draw.integers(2**63, size=n).astype("uint64"),
        }
        | {"detail": [draw.bytes(32).hex() for _ in range(n)]}
        | {"brightness": draw.normal(0.5, 0.05, n), "contrast": draw.normal(0.2, 0.02, n)}
        | {f"border_{colour}": draw.normal(0.1, 0.01, n) for colour in ("red", "green", "blue")}
        | {"edge_marks": 0.0},
        index=pd.Index(paths, name="path"),
    ).assign(**(scan or {}))
    names = tuple(sorted(set(labels)))
    return Manifest(Path("root"), names, rows, names[0] if len(names) == 2 else None, scan=known, unreadable=unreadable)


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1
    return findings[0]


# A set without a fault


def test_every_check_reports_in_its_order_and_counts_progress():
    manifest = manifest_of(["a", "b"] * 100, group=[f"p{i}" for i in range(200)])
    steps = []
    findings = check(manifest, split(manifest), met=[], progress=lambda done, total: steps.append((done, total)))
    assert [finding.check for finding in findings] == [
        "unreadable", "label_conflicts", "locked_test", "exact_copies", "leaks", "near_copies", "groups",
        "shares", "mixed_groups", "classes", "small_test", "shortcuts_seen", "shortcuts_unseen", "blank", "outliers",
        "endings", "reading",
    ]  # fmt: skip
    assert {finding.level for finding in findings} <= {"good", "information", "warning"}
    assert [f.check for f in findings if f.level == "warning"] == ["small_test"]
    assert steps == [(number, 18) for number in range(1, 19)]


def test_every_finding_can_be_written_as_json_and_names_only_known_paths():
    labels = ["a"] * 60 + ["b"] * 60
    manifest = manifest_of(
        labels,
        content=[f"c{i // 2}" for i in range(118)] + ["c0", "c60"],
        given_split=["train", "test", "val"] * 40,
        group=["", *(f"p{i // 3}" for i in range(119))],
        hospital=["x", "y"] * 60,
        scan={
            "contrast": [0.0, 0.1] * 60,
            "notes": ["turned by its EXIF orientation 6", "named .jpg, but a PNG file"] * 60,
        },
        unreadable=(UnreadableImage("the file is empty (0 bytes)", Path("root/a/gone.png")),),
    )
    findings = check(manifest, None, met=[Meeting("r1", "2026-11-01", True, ("a/00000.png",))])
    assert {finding.level for finding in findings} == set(LEVELS)
    known = {*manifest.rows["path"], "a/gone.png"}
    for finding in findings:
        json.dumps(dict(finding.values), allow_nan=False)
        assert finding.title
        assert "  " not in finding.title + finding.text
        assert {
            *finding.images,
            *finding.exclude,
            *(p.first for p in finding.pairs),
            *(p.second for p in finding.pairs),
        } <= known
    assert len({finding.check for finding in findings}) == len(findings)


def test_where_no_image_can_be_read_that_is_all_there_is_to_say():
    failure = UnreadableImage("it is a Git LFS pointer", Path("root/a/00000.png"))
    manifest = manifest_of(["a", "b"], unreadable=(failure,) * 2)
    manifest = manifest.with_rows(manifest.rows[:0])
    found = only(check(manifest, None))
    assert (found.check, found.values) == ("unreadable", {"files": 2, "unreadable": 2})


def test_a_class_of_which_no_image_can_be_read_is_counted_as_none():
    manifest = manifest_of(["a"] * 50 + ["b"] * 50)
    findings = check(manifest.with_rows(manifest.rows[:50]), None)
    counted = {finding.check: finding.values for finding in findings}["classes"]
    assert (counted["images_a"], counted["images_b"]) == (50, 0)
    for finding in findings:
        json.dumps(dict(finding.values), allow_nan=False)


# Files and pictures


def test_unreadable_files_are_all_listed():
    failures = tuple(UnreadableImage("it is text", Path(f"root/a/{i}.png")) for i in range(300))
    finding = only(images.unreadable(manifest_of(["a", "b"], unreadable=failures)))
    assert finding.level == "error"
    assert finding.values == {"files": 302, "unreadable": 300}
    assert len(finding.table) == 300
    assert finding.exclude[7] == "a/7.png"
    assert only(images.unreadable(manifest_of(["a", "b"]))).level == "good"


def test_wrong_endings_are_told_from_other_notes():
    notes = [
        "named .jpg, but a PNG file",
        "named .png, but a JPEG file; CMYK turned to RGB without its colour profile",
        "",
    ]
    scan = manifest_of(["a", "b", "b"], scan={"notes": notes}).scan
    finding = only(images.endings(scan))
    assert finding.level == "information"
    assert finding.table["note"].tolist() == [notes[0], notes[1].partition(";")[0]]
    reading = only(images.reading(scan))
    assert reading.values["with_notes"] == 1
    assert reading.table["done"].tolist() == [notes[1].partition("; ")[2]]
    plain = manifest_of(["a", "b"]).scan
    assert only(images.endings(plain)).level == only(images.reading(plain)).level == "good"


def test_notes_that_differ_in_numbers_are_one_kind():
    scan = manifest_of(
        ["a", "b", "b"], scan={"notes": ["window -12.5 to 80", "window 3 to 91.25", "frame 1 of 3"]}
    ).scan
    assert only(images.reading(scan)).table["images"].tolist() == [2, 1]


def test_blank_pictures_are_shown_and_may_be_left_out():
    scan = manifest_of(["a", "b"] * 10, scan={"contrast": [0.2] * 19 + [0.001]}).scan
    finding = only(images.blank(scan))
    assert (finding.level, finding.values["blank"]) == ("warning", 1)
    assert finding.images == finding.exclude == (scan.index[19],)
    assert only(images.blank(manifest_of(["a", "b"]).scan)).level == "good"


@pytest.mark.parametrize(
    ("column", "odd"), [("width", 2000), ("height", 40), ("mode", "RGBA"), ("bits", 16), ("brightness", 0.99)]
)
def test_an_outlier_is_found_in_each_trait(column, odd):
    scan = manifest_of(["a", "b"] * 50).scan
    assert only(images.outliers(scan)).level == "good"
    scan[column] = [odd, *scan[column][1:]]
    finding = only(images.outliers(scan))
    assert finding.level == "information"
    assert finding.images[0] == scan.index[0]
    assert finding.values["outliers"] == 1


def test_a_set_of_many_sizes_has_no_outlying_size():
    # As brain_tumor: 184 sizes among 253 images.
    scan = manifest_of(["a", "b"] * 100, scan={"width": np.random.default_rng(1).integers(180, 620, 200)}).scan
    assert only(images.outliers(scan)).level == "good"
    # One pixel more than all others is nothing to look at.
    scan = manifest_of(["a", "b"] * 100, scan={"width": [201] + [200] * 199}).scan
    assert only(images.outliers(scan)).level == "good"


def test_what_many_images_share_is_another_kind_and_no_outlier():
    # As brain_tumor_mri: most of one size, a fifth of others.
    scan = manifest_of(["a", "b"] * 50, scan={"width": [200] * 80 + [400] * 20}).scan
    finding = only(images.outliers(scan))
    assert finding.level == "information"
    assert (finding.values["outliers"], finding.values["unlike_in_size"]) == (0, 20)
    assert finding.images == ()


# Copies


def test_p01_surplus_copies_are_counted():
    finding = only(
        duplicates.exact_duplicates(manifest_of(["a"] * 5 + ["b"] * 5, content=list("xxxyy") + list("pqrst")))
    )
    assert finding.level == "warning"
    assert (finding.values["images"], finding.values["distinct"], finding.values["surplus"]) == (10, 7, 3)
    assert finding.values["with_a_twin"] == 5
    assert finding.table["surplus"].tolist() == [3, 0]
    assert [(pair.first, pair.second) for pair in finding.pairs] == [
        ("a/00000.png", "a/00002.png"),
        ("a/00003.png", "a/00004.png"),
    ]
    assert only(duplicates.exact_duplicates(manifest_of(["a", "b"]))).level == "good"


def test_one_picture_under_two_labels_is_an_error_and_all_of_it_may_be_left_out():
    manifest = manifest_of(["a", "a", "b", "b"], content=["x", "y", "x", "z"])
    finding = only(duplicates.label_conflicts(manifest))
    assert finding.level == "error"
    assert finding.exclude == ("a/00000.png", "b/00002.png")
    assert "a | b" in finding.pairs[0].caption
    within = manifest_of(["a", "a", "b", "b"], content=["x", "x", "y", "z"])
    assert only(duplicates.label_conflicts(within)).level == "good"


def test_p02_copies_across_given_splits_are_errors_by_class():
    manifest = manifest_of(
        ["a", "a", "b", "b", "a", "a", "b", "b"],
        content=["1", "1", "2", "3", "1", "4", "2", "5"],
        given_split=["train"] * 4 + ["test"] * 4,
    )
    finding = only(duplicates.duplicates_across_splits(manifest))
    assert (finding.check, finding.level) == ("copies_test_train", "error")
    assert (finding.values["identical"], finding.values["test_images"]) == (2, 4)
    assert finding.table.to_numpy().tolist() == [["a", 2, 1], ["b", 2, 1]]
    assert finding.exclude == ("a/00000.png", "a/00001.png", "b/00002.png")
    # What is left after leaving those out no longer leaks.
    left = manifest.rows[~manifest.rows["path"].isin(finding.exclude)]
    assert only(duplicates.duplicates_across_splits(manifest.with_rows(left))).level == "good"


def test_of_copies_in_val_and_test_the_test_image_stays():
    manifest = manifest_of(
        ["a", "b"] * 3, content=list("xyxyzw"), given_split=["val", "val", "test", "test", "train", "train"]
    )
    finding = only(duplicates.duplicates_across_splits(manifest))
    assert finding.check == "copies_test_val"
    assert finding.exclude == ("a/00000.png", "b/00001.png")
    assert duplicates.duplicates_across_splits(manifest_of(["a", "b"])) == []


def near_of(*pairs):
    """A stand-in for `near_pairs` that finds these."""
    found = pd.DataFrame(pairs, columns=["first", "second", "phash_distance", "dhash_distance", "detail_distance"])
    return lambda scan: found


def test_near_copies_within_a_class_are_information(monkeypatch):
    manifest = manifest_of(["a", "a", "b", "b"], group=["p", "p", "", ""])
    monkeypatch.setattr(duplicates, "near_pairs", near_of(("a/00000.png", "a/00001.png", 4, 3, 2)))
    finding = only(duplicates.near_duplicates(manifest, None, manifest.scan))
    assert finding.level == "information"
    assert (finding.values["in_near_copies"], finding.values["images"]) == (2, 4)
    assert (finding.values["pairs"], finding.values["in_one_group"]) == (1, 1)
    assert f"{PHASH_DISTANCE} bits" in finding.text


def test_near_copies_across_classes_and_given_splits_are_warnings(monkeypatch):
    manifest = manifest_of(["a", "a", "b", "b"], given_split=["train", "test", "train", "test"])
    pairs = near_of(("a/00000.png", "b/00002.png", 8, 8, 30), ("a/00000.png", "a/00001.png", 1, 1, 3))
    monkeypatch.setattr(duplicates, "near_pairs", pairs)
    within, conflict, leak = duplicates.near_duplicates(manifest, None, manifest.scan)
    assert [finding.level for finding in (within, conflict, leak)] == ["information", "warning", "warning"]
    assert within.pairs[0].second == "a/00001.png"  # the closest first
    assert conflict.pairs[0].caption.startswith("a | b; 46 of 384")
    assert (leak.check, leak.values["near_copies_in_test"]) == ("near_copies_across_splits", 1)
    assert leak.values["test_images"] == 2
    assert leak.values["near_copies_in_train"] == 1


def test_near_copies_count_for_every_file_of_a_picture(monkeypatch):
    # The search pairs the first file of each picture; here its copy stands in test.
    manifest = manifest_of(["a", "a", "a", "b"], content=list("xxyz"), given_split=["train", "test", "train", "test"])
    monkeypatch.setattr(duplicates, "near_pairs", near_of(("a/00000.png", "a/00002.png", 1, 1, 1)))
    findings = duplicates.near_duplicates(manifest, None, manifest.scan)
    assert findings[0].values["pairs"] == 2
    assert findings[1].check == "near_copies_across_splits"


def test_p01_near_copies_that_our_own_split_parts_name_the_setting(monkeypatch):
    manifest = manifest_of(["a"] * 20 + ["b"] * 20)
    divided = split(manifest)
    train, test = (divided.rows.loc[divided.indices(name)[0], "path"] for name in ("train", "test"))
    monkeypatch.setattr(duplicates, "near_pairs", near_of((train, test, 2, 2, 2)))
    leak, finding = duplicates.near_duplicates(manifest, divided, manifest.scan)
    assert (leak.check, leak.level) == ("leak_test", "error")
    assert (finding.level, finding.values["pairs_across_our_splits"]) == ("warning", 1)
    assert "data.keep_near_copies_together=true" in finding.text
    # A training image that is left out, or held back, parts nothing.
    divided.rows.loc[divided.rows["path"] == train, "split"] = "left_out"
    leak, finding = duplicates.near_duplicates(manifest, divided, manifest.scan)
    assert (leak.level, finding.level) == ("good", "information")


def test_no_near_copies_is_good():
    manifest = manifest_of(["a", "b"] * 50)
    assert only(duplicates.near_duplicates(manifest, None, manifest.scan)).level == "good"


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


# Classes


def test_p38_imbalance_names_the_settings_that_make_up_for_it():
    finding = only(classes.counts(manifest_of(["benign"] * 805 + ["malignant"] * 195)))
    assert finding.level == "warning"
    assert (finding.values["images_benign"], finding.values["images_malignant"]) == (805, 195)
    assert "loss.class_weights=balanced" in finding.text
    assert "data.sampler=balanced" in finding.text
    assert finding.values["majority_baseline"] == 0.805
    assert only(classes.counts(manifest_of(["a"] * 60 + ["b"] * 40))).level == "information"


def test_p04_a_shifted_test_split_is_a_warning():
    # As chest_xray: 74% pneumonia in training, 62.5% in test.
    labels = ["n"] * 1341 + ["p"] * 3875 + ["n"] * 234 + ["p"] * 390
    given = ["train"] * 5216 + ["test"] * 624
    finding = only(classes.prevalence(manifest_of(labels, given_split=given)))
    assert (finding.check, finding.level) == ("prevalence_test", "warning")
    assert finding.values["cohens_w"] == pytest.approx(0.27, abs=0.005)
    even = manifest_of(["n", "p"] * 100, given_split=["train"] * 160 + ["test"] * 40)
    assert only(classes.prevalence(even)).level == "good"
    assert classes.prevalence(manifest_of(["n", "p"])) == []


def test_shares_that_lie_far_apart_are_not_called_about_the_same_because_images_are_few():
    """50.0% of training against 70.4% of 27 test images was "in about the shares of train"."""
    labels = ["a", "b"] * 30 + ["a"] * 19 + ["b"] * 8
    finding = only(classes.prevalence(manifest_of(labels, given_split=["train"] * 60 + ["test"] * 27)))
    assert finding.values["p"] > 0.01 and finding.level == "information"
    assert "50.0%" in finding.title and "70.4%" in finding.title
    numeric = manifest_of(["0", "1"] * 100, given_split=["train"] * 160 + ["test"] * 40)
    assert '"0"' in only(classes.prevalence(numeric)).title


def test_a_large_sample_does_not_turn_a_tiny_shift_into_a_warning():
    labels = ["n"] * 10_000 + ["p"] * 10_000 + ["n"] * 9_700 + ["p"] * 10_300
    finding = only(classes.prevalence(manifest_of(labels, given_split=["train"] * 20_000 + ["test"] * 20_000)))
    assert finding.values["p"] < 0.01
    assert finding.level == "good"


def test_a_class_that_one_given_split_lacks_has_a_finite_effect():
    manifest = manifest_of(["a"] * 50 + ["a", "b"] * 20, given_split=["train"] * 50 + ["test"] * 40)
    assert np.isfinite(only(classes.prevalence(manifest)).values["cohens_w"])


def test_many_classes_are_told_in_one_line():
    labels = [f"class{k:02d}" for k in range(50) for _ in range(k + 1)]
    finding = only(classes.counts(manifest_of(labels)))
    assert finding.values["classes"] == 50 and "class00" in finding.title and "class49" in finding.title
    assert "class25" not in finding.title
    assert len(finding.table) == 50


@pytest.mark.wording
def test_one_case_is_one_case():
    finding = only(classes.small_test(manifest_of(["a", "b", "b"], given_split=["test"] * 3), None))
    assert "with 1 case of class a, " in finding.title


def test_p52_few_test_cases_are_a_warning_with_the_width_of_the_interval():
    given = ["test"] * 42 + ["test"] * 114 + ["train"] * 100
    manifest = manifest_of(["malignant"] * 42 + ["other"] * 114 + ["malignant", "other"] * 50, given_split=given)
    finding = only(classes.small_test(manifest, None))
    assert finding.level == "information"
    assert (finding.values["cases_malignant"], finding.values["cases_needed"]) == (42, 141)
    assert (finding.values["low_malignant"], finding.values["high_malignant"]) == pytest.approx((0.78, 0.96), abs=5e-3)
    assert all(said in finding.title for said in ("42 cases of class malignant", "0.90", "0.78 to 0.96", "141"))
    assert only(classes.small_test(manifest, None, 0.2)).title.endswith("0.96")  # more cases than that takes
    few = manifest_of(["a"] * 29 + ["b"] * 60, given_split=["test"] * 89)
    finding = only(classes.small_test(few, None))
    assert finding.level == "warning"
    assert re.search(r"\b30 cases: a\.", finding.text)
    assert classes.small_test(manifest_of(["a", "b"]), None) == []


def test_p17_copies_and_siblings_do_not_make_test_cases():
    manifest = manifest_of(
        ["a"] * 60 + ["b"] * 60, group=[f"p{i // 3}" for i in range(120)], given_split=["test"] * 120
    )
    assert only(classes.small_test(manifest, None)).values["cases_a"] == 20


# Earlier test images


def test_p14_earlier_test_images_in_training():
    met = Meeting("runs/1", "2026-11-01", True, ("a/1.png", "a/2.png", "b/3.png"))
    finding = only(locked_test([met]))
    assert (finding.level, finding.exclude) == ("error", ("a/1.png", "a/2.png", "b/3.png"))
    assert finding.values == {"images": 3, "runs": 1}
    assert "runs/1" in finding.title and "2026-11-01" in finding.title
    assert only(locked_test([dataclasses.replace(met, same_settings=False)])).exclude == ()
    assert only(locked_test([])).level == "good"
    assert locked_test(None) == []


def test_p14_twenty_earlier_seeds_are_one_finding():
    seeds = [Meeting(f"runs/{i}", "2026-11-01", False, (f"a/{i}.png", "b/0.png")) for i in range(20)]
    error = Meeting("runs/x", "2026-11-02", True, ("a/1.png",))
    first, second = locked_test([*seeds, error])
    assert (first.level, second.level) == ("error", "information")
    assert second.values == {"images": 21, "runs": 20}
    assert len(second.table) == 20


# Real sets


@pytest.mark.slow
@pytest.mark.real
def test_p01_brain_tumor_has_228_distinct_images_of_253(real_data):
    manifest = from_folders(real_data / "brain_tumor", strict=False)
    findings = {finding.check: finding for finding in check(manifest, None)}
    found = findings["exact_copies"].values
    assert (found["images"], found["distinct"], found["surplus"]) == (253, 228, 25)
    assert findings["label_conflicts"].level == "good"
    assert findings["endings"].values["wrong_endings"] == 6
    assert findings["near_copies"].values["in_near_copies"] > 20


@pytest.mark.slow
@pytest.mark.real
def test_breast_cancer_has_one_picture_under_two_labels(real_data):
    manifest = from_folders(real_data / "breast_cancer", strict=False)
    finding = {finding.check: finding for finding in check(manifest, None)}["label_conflicts"]
    assert finding.exclude == ("benign/benign (433).png", "malignant/malignant (145).png")


# What is left in the splits of a run


def divided_of(splits, **columns):
    manifest = manifest_of(["a", "b"] * (len(splits) // 2), **columns)
    return manifest.with_rows(manifest.rows.assign(split=splits))


def paths_of(divided, *numbers):
    return [divided.rows["path"][number] for number in numbers]


def leaks_of(divided, *pairs):
    found = [(*sorted(paths_of(divided, *pair[:2])), *(pair[2:] or (1, 1, 1))) for pair in pairs]
    return leaks(divided, near_of(*found)(None))


SPLITS = ["train"] * 6 + ["val"] * 2 + ["test"] * 4 + ["left_out"] * 2 + ["unused"] * 2


def test_p01_near_copies_left_in_training_are_an_error_and_counted_by_class():
    divided = divided_of(SPLITS)
    found = only(leaks_of(divided, (0, 8), (2, 8), (1, 9), (12, 10), (14, 11), (8, 9)))
    assert (found.check, found.level) == ("leak_test", "error")
    assert (found.values["leaked"], found.values["test_images"]) == (2, 4)
    assert found.values["leaked_a"] == found.values["leaked_b"] == 1
    assert {pair.first for pair in found.pairs} == set(paths_of(divided, 8, 9))
    assert only(leaks_of(divided, (0, 8))).values["leaked"] == 1


def test_nothing_is_said_of_what_was_left_out_or_is_within_one_split():
    divided = divided_of(SPLITS)
    found = only(leaks_of(divided, (12, 8), (14, 9), (0, 1), (8, 9)))
    assert (found.check, found.level) == ("leaks", "good")
    assert "test or val" in found.title
    assert leaks(None, near_of()(None)) == []


def test_of_images_with_equal_hashes_all_are_near_to_what_one_is_near_to():
    # 10 and 12 have the hashes of 8, which alone was compared with 0; 12 is left out.
    divided = divided_of(SPLITS)
    found = only(leaks_of(divided, (8, 10, 0, 0, 0), (8, 12, 0, 0, 0), (0, 8)))
    assert found.values["leaked"] == 2
    # 4 trains, and has the hashes of 0, which is left out and stands for both.
    divided = divided_of(["left_out", *SPLITS[1:]])
    assert only(leaks_of(divided, (0, 4, 0, 0, 0), (0, 8))).values["leaked"] == 1


def test_near_copies_that_choose_are_a_warning():
    divided = divided_of(SPLITS)
    of_val = only(leaks_of(divided, (0, 6)))
    assert (of_val.check, of_val.level) == ("leak_val", "warning")
    assert (of_val.values["leaked"], of_val.values["val_images"]) == (1, 2)
    of_test = only(leaks_of(divided, (6, 8)))
    assert (of_test.check, of_test.level) == ("leak_test", "warning")
    assert (of_test.values["leaked"], of_test.values["further_in_val"]) == (1, 0)
    assert of_test.title.endswith(" in val")
    both = only(leaks_of(divided, (0, 8), (6, 9)))
    assert (both.values["leaked"], both.values["further_in_val"]) == (1, 1)
    assert both.title.endswith(" in training")


def test_a_leak_too_slight_to_move_a_figure_is_a_warning():
    divided = divided_of(["train"] * 10 + ["val"] * 10 + ["test"] * 400)
    assert only(leaks_of(divided, (0, 30), (1, 31))).level == "warning"
    assert only(leaks_of(divided, (0, 30), (1, 31), (2, 32), (4, 34))).level == "error"


def test_p03_duplicates_and_groups_that_a_split_parts_count_too():
    content = [f"c{k}" for k in range(16)]
    content[0] = content[8]
    found = only(leaks_of(divided_of(SPLITS, content=content)))
    assert (found.values["identical"], found.level) == (1, "error")
    assert "duplicate" in found.title
    group = [f"p{k}" for k in range(16)]
    group[1] = group[9]
    found = only(leaks_of(divided_of(SPLITS, group=group)))
    assert found.values["of_a_group_in_training"] == 1
    # Of images whose pixels nobody knows, none is another's.
    assert only(leaks_of(divided_of(SPLITS, content=[""] * 16))).level == "good"


def test_what_the_split_has_settled_is_known():
    error, warning = Finding("copies_test_train", "error", "x"), Finding("near_copies_across_splits", "warning", "x")
    other = Finding("shortcuts_seen", "warning", "x")
    divided = divided_of(SPLITS)
    none, near = leaks_of(divided), leaks_of(divided, (0, 8))
    assert [settled(one, none) for one in (error, warning, other)] == [True, True, False]
    assert [settled(one, near) for one in (error, warning, other)] == [True, False, False]
    content = [f"c{k}" for k in range(16)]
    content[0] = content[8]
    assert not settled(error, leaks_of(divided_of(SPLITS, content=content)))


def test_a_giant_group_that_breaks_the_shares_is_named_with_its_size():
    manifest = manifest_of(["a", "b"] * 50, group=["giant"] * 60 + [f"p{k}" for k in range(40)])
    found = only(groups.shares(split(manifest)))
    assert found.level == "warning"
    assert re.search(r"test has \d+ of 100 images, \d+\.0%.* 20\.0%", found.title)
    assert re.search(r"60, 60\.0%.* 'giant', in train\.", found.text)
    assert found.table["split"].tolist() == ["train", "val", "test"]


def test_shares_as_asked_for_are_told_and_the_largest_set_with_them():
    manifest = manifest_of(["a", "b"] * 100, group=[f"p{k // 4}" for k in range(200)])
    found = only(groups.shares(split(manifest)))
    assert (found.check, found.level) == ("shares", "good")
    assert re.search(r"4, 2\.0%.* 'p\d+'", found.text)
    alone = only(groups.shares(split(manifest_of(["a", "b"] * 100))))
    assert (alone.level, alone.text) == ("good", "")
    tiny = only(groups.shares(split(manifest_of(["a", "b"] * 4))))  # a case more or less is no other share
    assert tiny.level == "good"
    copies_of = manifest_of(["a", "b"] * 100, content=["same"] * 90 + [f"c{k}" for k in range(110)])
    assert "90, 45.0%" in only(groups.shares(split(copies_of))).text
    assert groups.shares(None) == groups.shares(manifest) == []
    came = manifest_of(["a", "b"] * 50, given_split=["train"] * 60 + ["val"] * 20 + ["test"] * 20)
    assert only(groups.shares(split(came))).level == "good"


def test_the_audit_foretells_a_class_that_exclusion_takes_out_of_a_split():
    manifest = manifest_of(["a", "b"] * 10, given_split=["train"] * 16 + ["test"] * 4)
    last = [path for path, label in zip(manifest.rows["path"], manifest.rows["label"], strict=True) if label == "b"][
        -2:
    ]
    error = Finding("label_conflicts", "error", "x", exclude=tuple(last))
    found = only(emptied_classes(manifest, [error]))
    assert found.level == "warning"
    assert found.check == "after_exclusion" and found.table[["split", "class"]].to_numpy().tolist() == [["test", "b"]]
    assert "data.leave_out_unmapped=true" in found.text and "seed" in found.text
    assert emptied_classes(manifest, [dataclasses.replace(error, exclude=tuple(last[:1]))]) == []
    assert emptied_classes(manifest, []) == []
