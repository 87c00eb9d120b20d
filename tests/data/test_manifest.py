"""The table of images: its classes, groups and labels are checked, and it comes back from its file."""

import dataclasses
import shutil

import numpy as np
import pytest
from made_manifests import manifest_of
from refusals import noted, refused

from medcls.data import manifest as manifests
from medcls.data.manifest import COLUMNS, in_order
from medcls.data.sources.folders import from_folders


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ([str(number) for number in range(12)], [str(number) for number in range(12)]),
        (["10", "9", "-1"], ["-1", "9", "10"]),
        (["01", "1", "10", "2"], ["01", "1", "2", "10"]),
        (["10", "9", "none"], ["10", "9", "none"]),
        (["II", "I", "10"], ["10", "I", "II"]),
        (["1e1", "9"], ["1e1", "9"]),
    ],
)
def test_class_names_that_are_all_numbers_sort_as_numbers(names, order):
    assert in_order([*names, *names]) == tuple(order)


def test_rows_say_their_stamp_outside_the_fingerprint(folder):
    manifest = from_folders(folder({"a": 2, "b": 2}), positive="a")
    assert tuple(manifest.rows.columns) == COLUMNS
    assert manifest.rows["stamp"].eq("").all()
    assert manifest.to_csv().startswith("path,label,group,split,given_split,content,stamp\n")
    other = manifest.with_rows(manifest.rows.assign(stamp="SYNTHETIC"))
    assert other.fingerprint() == manifest.fingerprint()


def test_p61_fingerprint_does_not_depend_on_where_the_folder_lies(folder, tmp_path):
    root = folder({"a": 3, "b": 3})
    moved = shutil.copytree(root, tmp_path / "elsewhere" / "数据 = [1]")
    assert from_folders(root, positive="a").fingerprint() == from_folders(moved, positive="a").fingerprint()


def test_labels_and_counts_are_in_the_order_of_the_classes():
    manifest = manifest_of(["b", "a", "b"])
    manifest = manifest.with_rows(manifest.rows.assign(split=["train", "train", "test"]), "a note")
    assert (manifest.labels.tolist(), manifest.labels.dtype) == ([1, 0, 1], np.int64)
    assert [manifest.class_counts(name) for name in ("train", "test", "val")] == [(1, 1), (0, 1), (0, 0)]
    assert manifest.indices("test").tolist() == [2] and manifest.notes == ("a note",) and len(manifest) == 3
    turned = manifest.in_class_order(["b", "a"])
    assert turned.labels.tolist() == [0, 1, 0] and turned.class_counts("test") == (1, 0)
    assert manifest.in_class_order(["b", "c"]) is manifest


def test_the_watermarks_are_one_line_or_none():
    manifest = manifest_of(["a", "b"])
    assert manifest.watermark is None
    marked = dataclasses.replace(manifest, watermarks=("SYNTHETIC", "POOLED"))
    assert marked.watermark.startswith("SYNTHETIC") and marked.watermark.endswith("POOLED")


def test_rows_come_back_from_their_file_whatever_their_text(tmp_path):
    odd = ["NA", "", "007", "=1+1", 'say "x"', "two\nlines", "a,b", "得病"]
    rows = manifest_of(["a", "b"] * 4, groups=odd).rows.assign(note=odd)
    manifest = manifest_of(["a", "b"] * 4).with_rows(rows)
    (tmp_path / "manifest.csv").write_text(manifest.to_csv(), encoding="utf-8", newline="")
    again = manifests.read_rows(tmp_path / "manifest.csv")
    assert again.equals(rows) and manifests.fingerprint(again) == manifest.fingerprint()


@pytest.mark.parametrize(
    ("column", "counts"),
    [("path", True), ("label", True), ("group", True), ("split", True), ("content", True), ("given_split", False)],
)
def test_the_fingerprint_is_that_of_images_labels_groups_and_splits(column, counts):
    rows = manifest_of(["a", "b"]).rows
    other = rows.copy()
    other.loc[1, column] = "changed"
    assert (manifests.fingerprint(other) != manifests.fingerprint(rows)) is counts
    assert manifests.fingerprint(rows.assign(age="3")[rows.columns[::-1]]) == manifests.fingerprint(rows)


@pytest.mark.parametrize(
    ("content", "kind", "name"),
    [
        (b"", "unreadable_table", ""),
        (b"\xff\xfe\x00", "unreadable_table", ""),
        (b'path,"label', "unreadable_table", ""),
        (b"path,label,group\na,b,\n", "missing_column", "split, given_split, content"),
    ],
)
def test_what_is_no_manifest_is_named(tmp_path, content, kind, name):
    (tmp_path / "manifest.csv").write_bytes(content)
    with refused(kind, str(tmp_path / "manifest.csv"), name):
        manifests.read_rows(tmp_path / "manifest.csv")
    with refused("unreadable_table", "gone.csv"):
        manifests.read_rows(tmp_path / "gone.csv")


def test_a_manifest_of_a_version_without_watermarks_is_read(tmp_path):
    (tmp_path / "manifest.csv").write_text("path,label,group,split,given_split,content\nx.png,a,,train,,c\n")
    assert manifests.read_rows(tmp_path / "manifest.csv")["stamp"].tolist() == [""]


def test_names_alike_but_for_case_and_blanks_are_grouped_and_refused():
    assert manifests.group_by_spelling(["A b", "c", "ab", "AB "]) == [["A b", "ab", "AB "], ["c"]]
    assert manifests.group_by_spelling([]) == []
    manifests.check_distinct(["a", "a", "b"])
    with refused("class_names_alike", "'ill' (2) and 'Ill' (1)", "data.label_map="):
        manifests.check_distinct(["Ill", "ill", "ill", "well"])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["0.0", "1.0"], ["0", "1"]),
        (["1,0", "2."], ["1", "2"]),
        (["-1.0", "+2"], ["-1", "+2"]),
        (["0", "1"], ["0", "1"]),
        (["0.0", "1.5"], ["0.0", "1.5"]),
        (["0.0", "none"], ["0.0", "none"]),
    ],
)
def test_labels_that_are_all_whole_numbers_are_written_as_such(labels, expected):
    rows, label_map, positive, notes = manifests.whole_numbers(manifest_of(labels).rows, None, labels[1])
    assert rows["label"].tolist() == expected and positive == expected[1] and label_map is None
    assert len(notes) == (labels != expected)
    _, label_map, positive, _ = manifests.whole_numbers(manifest_of(labels).rows, {"x": labels[0], 3: labels[1:]}, "x")
    assert positive == "x", "a name of the map, which is no label"
    if labels != expected:
        assert label_map == {"x": expected[:1], "3": expected[1:]}


@pytest.mark.parametrize(
    ("labels", "kind", "names"),
    [
        ([], "no_images", ()),
        (["a", "a"], "one_class", ("'a'",)),
        (["a", "b", "a;b"], "out_of_scope", ("1 image", "'a;b'", "multi-label", "data.leave_out_unmapped=true")),
        (["0.5", "1.5e-3", "x"], "out_of_scope", ("regression",)),
        ([str(age) for age in range(51)], "out_of_scope", ("regression",)),
    ],
)
def test_other_tasks_are_refused(labels, kind, names):
    with refused(kind, *names):
        manifests.check_task(labels)


@pytest.mark.parametrize("labels", [["a", "b"], ["a|b", "c|d"], ["0", "1"], [str(grade) for grade in range(50)]])
def test_labels_of_one_class_each_pass(labels):
    manifests.check_task(labels)


def test_a_label_map_is_turned_round():
    found = ["a", "b", "0"]
    assert manifests.check_label_map({"x": ["a", 0], "y": "b"}, found) == {"a": "x", "0": "x", "b": "y"}
    assert manifests.check_label_map({"x": "a"}, found, leave_out_unmapped=True) == {"a": "x"}
    assert manifests.check_label_map({}, []) == {}
    for wrong, kind, names in (
        ([["a"]], "bad_value", ("[['a']]",)),
        ({"x": ["aa"]}, "unknown_class", ("'aa'", "'x'", "a?")),
        ({"x": ["a"], "y": ["a"]}, "bad_value", ("'a'", "'x'", "'y'")),
        ({"x": ["a"]}, "unmapped_class", ("'b', '0'", "data.leave_out_unmapped=true")),
    ):
        with refused(kind, "data.label_map", *names):
            manifests.check_label_map(wrong, found)


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"p\d+", ["p1", "p12", ""]),
        (r"p(\d+)", ["1", "12", ""]),
        (r"(p\d+)_(\w)", ["p1-l", "p12-r", ""]),
        (r"^(?:p(\d+)|x(.))", ["1", "12", "y"]),  # of two parentheses one matches
        (r"_r()", ["", "", ""]),
        ("z", ["", "", ""]),
    ],
)
def test_groups_are_what_the_parentheses_match(pattern, groups):
    paths = ["p1_l.png", "p12_r.png", "xy.png"]
    if any(groups):
        assert manifests.groups_from_paths(paths, pattern) == groups
    else:
        with refused("pattern_matches_nothing", "data.group_pattern", repr(pattern), " 3 ", "'p1_l.png'"):
            manifests.groups_from_paths(paths, pattern)
    with refused("bad_value", "data.group_pattern", "(p"):
        manifests.groups_from_paths(paths, "(p")


def test_a_binary_task_and_no_other_has_a_positive_class():
    manifests.check_positive(["a", "b"], "b")
    manifests.check_positive(["a", "b", "c"], None)
    for classes, positive, kind, names in (
        (["ill", "well"], "il", "unknown_class", ("'il'", "ill?")),
        (["it's", "b"], None, "missing_setting", ("positive_class=b",)),
        (["a", "b", "c"], "a", "not_binary", ("positive_class=a",)),
    ):
        with refused(kind, *names):
            manifests.check_positive(classes, positive)


def test_one_image_has_one_label(tmp_path):
    rows = manifest_of(["a", "b", "b", "a", "b"], contents=["x", "x", "y", "", ""]).rows
    assert manifests.label_conflicts(rows) == ["00000.png", "00001.png"], "what nobody has read is no duplicate"
    with refused("image_under_two_labels", "1 image", 'data.exclude=\'["00000.png", "00001.png"]\''):
        manifests.check_one_label_per_image(tmp_path, rows)
    manifests.check_one_label_per_image(tmp_path, rows[1:])
    many = manifest_of(["a"] + ["b"] * 12, contents=["x"] * 13).rows
    with refused("image_under_two_labels", "python -m medcls.audit", "00004.png"):
        manifests.check_one_label_per_image(tmp_path, many)


def test_paths_get_the_form_of_the_manifest(tmp_path):
    (tmp_path / "back\\slash.png").touch()
    spelt = [
        "./a/b.png",
        "a//b.png",
        "a\\b.png",
        f"{tmp_path}/a/b.png",
        "a/x/../b.png",
        "back\\slash.png",
        "/other/b.png",
    ]
    assert manifests.relative_paths(spelt, tmp_path) == ["a/b.png"] * 5 + ["back\\slash.png", "/other/b.png"]
    assert manifests.relative_paths([], tmp_path) == []


def test_named_images_are_left_out_and_those_that_are_not_there_are_counted(tmp_path):
    (tmp_path / "list.txt").write_text("\ufeff# why\n#1.png\n\n00001.png\n", encoding="utf-8")
    names = manifests.named_exclusions("./00000.png", tmp_path / "list.txt", tmp_path)
    assert names == {"00000.png", "#1.png", "00001.png"}
    rows, notes = manifests.exclude(manifest_of(["a", "b", "b"]).rows, names)
    assert rows["path"].tolist() == ["00002.png"]
    assert len(notes) == 2 and noted(notes[:1], "2", "00000.png") and noted(notes[1:], "1", "1.png")
    kept, notes = manifests.exclude(rows, manifests.named_exclusions([], None, tmp_path))
    assert kept is rows and notes == []


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_list_of_exclusions_that_cannot_be_read_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with refused("unreadable_file", f"data.exclude_file={tmp_path / 'list.txt'}"):
        manifests.read_exclusions(tmp_path / "list.txt")
