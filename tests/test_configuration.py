"""The command line and the configuration files: every file composes, every odd value is helped along."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from medcls import configuration
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


@pytest.mark.parametrize("value", ODD)
def test_a_value_with_odd_characters_works_or_the_exact_form_is_shown(value):
    try:
        configuration._check_overrides([f"data.root={value}"])
    except MedclsError as error:
        # What the message tells to type, taken through a shell's eyes, gives the value back.
        shown = str(error).splitlines()[-1].strip()
        (argument,) = shlex.split(shown)
        configuration._check_overrides([argument])
        assert OverridesParser.create().parse_override(argument).value() == value
    else:
        assert OverridesParser.create().parse_override(f"data.root={value}").value() == value


@pytest.mark.parametrize("value", ["/images/乳腺癌", "/a=b", "/a,b", "/a[1]/b"])
def test_the_form_is_shown_where_hydra_would_balk(value):
    with pytest.raises(MedclsError, match="data.root"):
        configuration._check_overrides([f"data.root={value}"])


def test_a_sweep_needs_no_help():
    configuration._check_overrides(["-m", "model=mobilenetv3,mobilenetv2", "seed=0,1"])
    with pytest.raises(MedclsError, match="add -m"):
        configuration._check_overrides(["model=mobilenetv3,mobilenetv2"])
