import json
from pathlib import Path

from audited import manifest_of, only

from medcls.auditing.checks import check
from medcls.data.reading.decoded import UnreadableImage
from medcls.data.splits.split import split

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
