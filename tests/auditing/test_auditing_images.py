from pathlib import Path

import numpy as np
import pytest
from audited import manifest_of, only

from medcls.auditing import images
from medcls.data.reading.decoded import UnreadableImage

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
