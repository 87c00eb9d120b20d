import pytest
from audited import manifest_of, near_of, only

from medcls.auditing import duplicates
from medcls.auditing.checks import check
from medcls.data.sources.folders import from_folders
from medcls.data.splits.near_duplicates import PHASH_DISTANCE
from medcls.data.splits.split import split

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
