"""What a configuration names is built; errors are of the settings, or of the program."""

import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf
from refusals import refused

from medcls.cli.building import build, build_network, build_own_network, plain
from medcls.errors import MedclsError


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


def test_a_setting_that_is_no_configuration_has_nothing_to_build():
    for wrong in (None, 5, "outside.target", {"_target_": "outside.target"}):
        with refused("bad_value", repr(wrong)):
            build(wrong)


def test_inner_nodes_are_built_and_their_settings_checked_with_their_place():
    assert build(OmegaConf.create({"_target_": "builtins.dict", "rate": node(rate=1)})) == {"rate": "built"}
    with refused("bad_value", "optimizer.mode.stepps"):
        build(node(rate=1, mode={"_target_": "outside.target", "rate": 1, "stepps": 2}))


SMALL = {"_target_": "medcls.models.mobilenetv3.mobilenetv3_small", "width": 0.35}


def test_a_network_is_built_from_its_description_if_medcls_ships_it():
    network = build_network(SMALL | {"num_classes": 3}, trust=False)
    assert type(network).__name__ == "MobileNetV3"
    with refused("foreign_target", "outside.target", "trust=true"):
        build_network({"_target_": "outside.target", "rate": 1}, trust=False)
    assert build_network({"_target_": "outside.target", "rate": 1}, trust=True) == "built"
    with refused("reference_in_configuration"):
        build_network({"_target_": "outside.target", "rate": "${oc.env:HOME}"}, trust=True)


def test_the_network_of_a_run_is_built_by_the_runs_settings():
    own = OmegaConf.create({"network": SMALL}).network
    assert build_own_network(SMALL | {"num_classes": 2}, own).state_dict().keys()
    for other in (SMALL | {"width": 0.5, "num_classes": 2}, SMALL | {"in_chans": 1}, {}):
        with refused("of_another_run", "checkpoints/best.ckpt"):
            build_own_network(other, own)


def test_only_configurations_are_made_plain():
    cfg = OmegaConf.create({"a": {"b": [1, "${a.c}"], "c": "x"}})
    assert plain(cfg) == {"a": {"b": [1, "x"], "c": "x"}} and type(plain(cfg.a.b)) is list
    assert plain(cfg.a.c) == "x" and plain(None) is None
