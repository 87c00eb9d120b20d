"""Labels of another site: paired with a run's classes by name, by the run's own map, by case; or refused."""

import shlex

import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from refusals import noted, refused

from medcls.data.manifest import check_label_map
from medcls.data.sources.other_sites import leave_out_again, match_classes

BUSI = {"malignant": ["malignant"], "other": ["benign", "normal"]}


def test_raw_names_go_through_the_runs_own_map_and_merged_ones_stay():
    mapping, notes = match_classes(["benign", "malignant", "normal"], ["malignant", "other"], BUSI)
    assert mapping == {"benign": "other", "malignant": "malignant", "normal": "other"}
    assert len(notes) == 1 and noted(notes, "data.label_map", "benign to other, normal to other")
    assert match_classes(["malignant", "other"], ["malignant", "other"], BUSI) == (
        {"malignant": "malignant", "other": "other"},
        [],
    )


def test_names_that_differ_in_case_alone_are_the_same_and_that_is_told():
    mapping, notes = match_classes(["BENIGN", "Malignant"], ["malignant", "other"], BUSI)
    assert mapping == {"BENIGN": "other", "Malignant": "malignant"}
    assert noted(notes, "Malignant as malignant")
    # An exact name comes before one of another case.
    assert match_classes(["a"], ["A", "a"])[0] == {"a": "a"}


@pytest.mark.parametrize(
    ("found", "classes", "label_map", "kind", "names"),
    [
        (["tumor"], ["normal", "tumour"], None, "unknown_class", ("tumor", "normal, tumour")),
        (["x", "y"], ["a", "b"], None, "unknown_class", ("x, y", '"data.label_map={b: [x, y]}"')),
        (["cyst"], ["malignant", "other"], BUSI, "unknown_class", ("cyst", "data.label_map malignant, benign, normal")),
        (["AB"], ["Ab", "aB"], None, "ambiguous_class", ("'AB'", "'Ab' or 'aB'")),
        # A map that swaps names: nothing tells which of the two is meant.
        (["a", "b"], ["a", "b"], {"a": ["b"], "b": ["a"]}, "ambiguous_class", ("'a' or 'b'",)),
    ],
)
def test_what_no_name_decides_is_asked(found, classes, label_map, kind, names):
    with refused(kind, *names):
        match_classes(found, classes, label_map)


@pytest.mark.parametrize(
    "found", [["MELANOMA", "nevus", "keratosis", "wart"], ["MELANOMA", "keratosis", "one, \"two'"]]
)
def test_every_setting_that_is_offered_gives_each_label_a_class_when_it_is_typed(found):
    own = {"malignant": ["melanoma"], "other": ["nevus", "keratosis"]}
    with refused("unknown_class") as caught:
        match_classes(found, ["malignant", "other"], own)
    offered = [line.partition("    ")[0].strip() for line in str(caught.value).splitlines()[1:]]
    assert len(offered) == 3
    for command, of_the_unknown in zip(offered, (None, "malignant", "other"), strict=True):
        given = dict(
            (one.key_or_group, one.value()) for one in OverridesParser.create().parse_overrides(shlex.split(command))
        )
        mapping = check_label_map(
            given["data.label_map"], found, leave_out_unmapped=given.get("data.leave_out_unmapped", False)
        )
        expected = {"MELANOMA": "malignant", "nevus": "other", "keratosis": "other"} | {found[-1]: of_the_unknown}
        assert mapping == {old: new for old, new in expected.items() if old in found and new}
        assert match_classes(set(mapping.values()), ["malignant", "other"])[1] == []


def test_classes_that_cannot_be_typed_are_offered_no_setting():
    with refused("unknown_class", "x;", "得病, b") as caught:
        match_classes(["x"], ["得病", "b"])
    assert "data.label_map=" not in str(caught.value)


def test_a_name_that_is_both_is_what_all_the_others_are():
    swapped = {"benign": ["normal"], "normal": ["healthy"]}
    assert match_classes(["healthy", "normal"], ["benign", "normal"], swapped)[0] == {
        "healthy": "normal",
        "normal": "benign",
    }
    assert match_classes(["benign", "normal"], ["benign", "normal"], swapped)[0] == {
        "benign": "benign",
        "normal": "normal",
    }


def test_what_the_run_left_out_is_left_out_again_and_only_then():
    some = {"malignant": ["mel"], "benign": ["nv"]}
    mapping, notes = match_classes(["mel", "nv", "vasc"], ["benign", "malignant"], some, leave_out_unmapped=True)
    assert mapping == {"mel": "malignant", "nv": "benign"}
    assert noted(notes[-1:], "data.leave_out_unmapped", "vasc")
    with refused("unknown_class", "vasc"):
        match_classes(["mel", "vasc"], ["benign", "malignant"], some)
    with refused("unknown_class", "vasc"):
        match_classes(["vasc"], ["benign", "malignant"], some, leave_out_unmapped=True)


def test_exclusions_by_path_hold_only_where_the_runs_images_lie():
    known = pd.DataFrame({"path": ["a/1.png", "a/2.png"], "content": ["one", "two"]})
    same = pd.DataFrame({"path": ["a/1.png", "a/2.png", "a/3.png"], "content": ["one", "two", "three"]})
    rows, notes = leave_out_again(same, {"a/3.png"}, known)
    assert rows["path"].tolist() == ["a/1.png", "a/2.png"] and noted(notes, "1", "data.exclude", "a/3.png")
    elsewhere = same.assign(content=["four", "five", "six"])
    rows, notes = leave_out_again(elsewhere, {"a/3.png"}, known)
    assert len(rows) == 3 and noted(notes, "1", "data.exclude", "a/3.png")
    assert leave_out_again(same, {"b/9.png"}, known)[1] == []
