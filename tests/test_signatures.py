"""Errors of building an object: of the settings, or of the program."""

import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf
from refusals import refused

from medcls.cli.building import build
from medcls.errors import MedclsError
from medcls.signatures import check_fits, is_a


def target(
    rate: float,
    steps: int = 1,
    mode: Literal["min", "max"] = "min",
    names: Sequence[str] | None = None,
    table: Mapping[str, float] | None = None,
    place: str | Path = ".",
    on: bool = False,
) -> str:
    """Stands for whatever can be named in a configuration."""
    if rate < 0:
        raise ValueError(f"rate is {rate}")
    if rate == 13:
        return {}["thirteen"]
    if rate == 14:
        return None.lower()
    if rate == 15:
        return len(5)
    if rate == 17:
        OmegaConf.create("a: [")
    return "built"


@pytest.fixture(autouse=True)
def library(monkeypatch):
    """The function above, as a library of its own and as a part of medcls."""
    for name in ("outside", "medcls.inside"):
        module = types.ModuleType(name)
        function = types.FunctionType(
            target.__code__, {**globals(), "__name__": name}, "target", target.__defaults__, target.__closure__
        )
        function.__annotations__, function.__module__ = target.__annotations__, name
        module.target, module.value = function, 5
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("medcls.inside", sys.modules["medcls.inside"], raising=False)
    broken = types.ModuleType("breaking")
    monkeypatch.setitem(sys.modules, "breaking", broken)


def node(_target_: str = "outside.target", **settings: Any):
    return OmegaConf.create({"optimizer": {"_target_": _target_, **settings}}).optimizer


@pytest.mark.parametrize("of", ["outside.target", "medcls.inside.target"])
@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"rate": 1, "stepps": 2}, ("optimizer.stepps", "target", " steps")),
        ({}, ("optimizer.rate", "target")),
        ({"rate": "abc"}, ("optimizer.rate", "'abc'", "target", "float")),
        ({"rate": None}, ("optimizer.rate", "None")),
        ({"rate": [1.0]}, ("optimizer.rate", "[1.0]")),
    ],
)
def test_values_that_do_not_fit_the_signature_are_wrong_settings(of, settings, names):
    with refused("bad_value", of, *names):
        build(node(of, **settings))


def test_settings_of_partials_are_checked_at_once():
    for settings, names in (
        ({"mode": "most"}, ("optimizer.mode", "'most'")),
        ({"names": "a"}, ("optimizer.names", "'a'")),
        ({"table": {"a": "b"}, "nmes": []}, ("optimizer.nmes",)),
        ({"steps": 1.5}, ("optimizer.steps", "1.5", " int")),
        ({"on": 1}, ("optimizer.on", "1")),
    ):
        with refused("bad_value", *names):
            build(node(_partial_=True, **settings))
    later = build(node(_partial_=True, names=["a"], place="/x", table={"a": 1.0}, steps=2, on=True, mode="max"))
    assert later(rate=1) == "built"


def test_a_value_that_a_library_rejects_is_a_wrong_setting():
    with refused("bad_value", "outside.target", "rate is -1"):
        build(node(rate=-1))


def test_another_exception_of_medcls_is_a_programming_error():
    with pytest.raises(ValueError, match="rate is -1") as caught:
        build(node("medcls.inside.target", rate=-1))
    assert not isinstance(caught.value, MedclsError)


@pytest.mark.parametrize("of", ["outside.target", "medcls.inside.target"])
@pytest.mark.parametrize(("rate", "kind"), [(13, KeyError), (14, AttributeError), (15, TypeError), (17, Exception)])
def test_a_programming_error_within_keeps_its_kind_and_its_stack_trace(of, rate, kind):
    with pytest.raises(kind) as caught:
        build(node(of, rate=rate))
    assert not isinstance(caught.value, MedclsError)
    assert any(frame.name == "target" for frame in caught.traceback)


@pytest.mark.parametrize("name", ["outside.targt", "no_such_package.thing", "outside.value", "no_dots", ""])
def test_a_missing_target_is_a_wrong_setting(name):
    with refused("unknown_target", f"optimizer._target_={name}"):
        build(node(name))


def test_a_module_that_fails_to_import_is_a_programming_error(tmp_path, monkeypatch):
    (tmp_path / "module_that_breaks.py").write_text("{}['key']\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyError):
        build(node("module_that_breaks.thing"))


def test_what_comes_from_the_run_cannot_be_set():
    with refused("setting_of_the_run", "optimizer.rate"):
        build(node(rate=1), rate=2)
    with refused("bad_value", "optimizer", "_target_"):
        build(OmegaConf.create({"optimizer": {"lr": 1}}).optimizer)
    with refused("bad_value", "head.poolin", "target"):
        check_fits(target, {"rate": 1.0, "poolin": 3}, "head")


def test_types_are_read_as_a_person_types_values():
    assert is_a(3, float) and is_a([1, 2], tuple[int, int]) and is_a("x", Path) and is_a({}, Mapping[str, int])
    assert not is_a(True, int) and not is_a("ab", Sequence[str]) and not is_a(["a"], Sequence[int])
    assert is_a(object(), int), "what is built is not looked into"
