"""Odd values of settings are quoted for Hydra's grammar or explained; groups that a command needs stay."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from refusals import refused

from medcls.cli import overrides
from medcls.errors import MedclsError

ODD = [
    "/images/乳腺癌/数据",
    "/my images/set one",
    "/a=b/c",
    "/a,b",
    "/a[1]/b",
    "/a{1}/b",
    "/a(1)/b",
    "/it's/here",
    "C:\\Users\\me",
    "/100%/#1",
    "/ends/with\\",
    "/two  spaces/here",
    "/$HOME/x,y",
    '/a"b,c',
    "/a\\'b",
]


def read_as(argument: str) -> object:
    """What Hydra makes of an argument that the door has been given."""
    (readable,) = overrides.quote_for_hydra([argument])
    return OverridesParser.create().parse_override(readable).value()


@pytest.mark.parametrize("value", ODD)
def test_a_value_with_odd_characters_works_or_the_exact_form_is_shown(value):
    try:
        overrides.quote_for_hydra([f"data.name={value}"])
    except MedclsError as error:
        # What the message tells to type, taken through a shell's eyes, gives the value back.
        shown = str(error).splitlines()[-1].strip()
        (argument,) = shlex.split(shown)
        assert read_as(argument) == value
    else:
        assert read_as(f"data.name={value}") == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("/images/乳腺癌", "needs_quotes"), ("/a=b", "needs_quotes"), ("/a,b", "several_values"),
        ("/a[1]/b", "needs_quotes"),
    ],
)  # fmt: skip
def test_the_form_is_shown_where_hydra_would_balk(value, kind):
    with refused(kind, f"data.name='{value}'"):
        overrides.quote_for_hydra([f"data.name={value}"])


TEMPLATES = ["{image_id}.jpg", "{folder}/{image_id}.png", "{a:b}", "{image_id}"]


PATTERNS = [r"(person\d+_(?:bacteria|virus)|IM-\d+)", r"IM-\(\d+\)", "1e3", "true", "[0-9]{4}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("data.root", value) for value in ODD]
    + [("data.path_template", value) for value in TEMPLATES]
    + [("data.group_pattern", value) for value in PATTERNS]
    + [("positive_class", "1"), ("resume", "/a=b,c"), ("++data.root", "/a[1]/b")],
)
def test_a_setting_that_is_always_text_is_taken_as_typed(key, value):
    assert read_as(f"{key}={value}") == value


@pytest.mark.parametrize(
    "argument",
    ["data.root=null", "data.root='/a b'", 'data.root="/a,b"', "data.root=${oc.env:HOME}/x", "data.csv=[a.csv,b.csv]"],
)
def test_what_hydra_reads_as_it_was_meant_is_left_to_it(argument):
    assert overrides.quote_for_hydra([argument]) == [argument]


def test_several_values_of_a_text_setting_are_a_sweep_with_m_alone():
    assert overrides.quote_for_hydra(["-m", "data.root=/a,/b"]) == ["-m", "data.root=/a,/b"]
    assert read_as("data.root=/a,/b") == "/a,/b"
    with refused("needs_quotes", "data.path_template='{a}.jpg,{b}.jpg'"):
        overrides.quote_for_hydra(["-m", "data.path_template={a}.jpg,{b}.jpg"])


def test_a_sweep_needs_no_help():
    overrides.quote_for_hydra(["-m", "model=mobilenetv3,mobilenetv2", "seed=0,1"])
    with refused("several_values", "model=mobilenetv3,mobilenetv2", " -m"):
        overrides.quote_for_hydra(["model=mobilenetv3,mobilenetv2"])


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("logger=null", ("logger=csv",)),
        ("model=null", ("model=efficientnet_b0, model=efficientnet_lite0, ",)),
        ("data=null", ("data=folder",)),
        ("~logger", ("logger=csv",)),
        ("~data", ("data=folder",)),
        ("trainer=null", ("trainer=default",)),
        ("data/augmentation=null", ("data/augmentation=",)),
        ("model=mobilenetv3,null", ("model=efficientnet_b0",)),
        ("hydra/sweeper=optuna", ("hydra/sweeper=search",)),
    ],
)
def test_removing_a_group_or_a_sweeper_that_is_not_ours_is_refused(argument, names):
    with refused("no_such_choice", f"{argument}:", *names):
        overrides.check_groups(["-m", "data.root=/a", argument, "seed=null"], "train")


def test_a_group_that_is_none_by_default_may_be_null():
    typed = ["experiments=null", "model=mobilenetv2", "~data.name", "resume=null"]
    assert overrides.check_groups(typed, "train") == typed[1:]
    assert overrides.check_groups(["data=null"], "compare") == ["data=null"]  # which has no such group


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -3, 1e-05, 0.1, float("inf"), "", "5", "null", "true", "efficientnet_lite0", "a,b", "[a]",
        r"patient\d+", "${a", "it's", "sensitivity>=0.95", "two\nlines", *ODD, [1, "a b", None], [], {},
        {"malignant": ["mel", "b c"], "other": [], 3: None}, [["a"], {"b": "1"}],
    ],
)  # fmt: skip
def test_a_value_given_in_python_is_read_as_it_is(value):
    assert read_as(overrides.override_of("data.value", value)) == value


def test_numpy_paths_and_tuples_are_given_as_what_they_stand_for():
    given = {"seed": np.int64(3), "lr": np.float32(0.5), "on": np.bool_(True), "root": Path("/a b"), "size": (3, 4)}
    read = {key: read_as(overrides.override_of(key, value)) for key, value in given.items()}
    assert read == {"seed": 3, "lr": 0.5, "on": True, "root": "/a b", "size": [3, 4]}
    assert read_as(overrides.override_of("runs", [Path("/a,b"), Path("c")])) == ["/a,b", "c"]


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", {"a b=": 1}, np.zeros(2), [print]])
def test_a_value_that_cannot_be_typed_is_refused(value):
    with refused("bad_value", "data.value"):
        overrides.override_of("data.value", value)


def test_multirun_comes_before_the_settings_which_keep_their_order():
    typed = ["b=1", "-m", "a=2", "--cfg", "--multirun", "c=3"]
    assert overrides.multirun_first(typed) == ["-m", "--multirun", "b=1", "a=2", "--cfg", "c=3"]
    assert overrides.multirun_first([]) == []


@pytest.mark.parametrize(
    ("value", "runs"),
    [
        ("runs/a b", ["runs/a b"]),
        ("[runs/a, 乳腺/x]", ["runs/a", "乳腺/x"]),
        ("['a,b',c]", ["a,b", "c"]),
        ("[]", []),
        ("null", None),
    ],
)
def test_a_list_of_text_may_be_typed_without_brackets(value, runs):
    assert read_as(f"runs={value}") == runs


def test_what_is_no_setting_is_left_as_it_is():
    typed = ["--cfg", "job", "--config-dir=/a[b]", "~data.name"]
    assert overrides.quote_for_hydra(typed) == typed == overrides.check_groups(typed, "train")
