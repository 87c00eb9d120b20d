"""State dicts are found in the files of other programs; what is no file of weights is named."""

import pytest
import torch
from refusals import noted, refused

from medcls.models.mobilenetv3 import mobilenetv3_small
from medcls.models.unwrapping import no_weights, state_dict_in, without_prefixes
from medcls.models.weights import load_weights
from medcls.models.zoo import (
    torchvision_network,
)


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


# How training scripts save: what stands around the state dict, and what the log names of it.
SAVED = {
    "DataParallel": (lambda s: prefixed(s, "module."), ["module."]),
    "torch.compile": (lambda s: prefixed(s, "_orig_mod."), ["_orig_mod."]),
    "both": (lambda s: prefixed(s, "module._orig_mod."), ["module._orig_mod."]),
    "model": (lambda s: {"model": s, "epoch": 3}, ["model"]),
    "model_state_dict": (lambda s: {"model_state_dict": s, "optimizer": {"state": {}}}, ["model_state_dict"]),
    "Lightning": (lambda s: {"state_dict": prefixed(s, "model."), "epoch": 3}, ["state_dict", "model."]),
    "timm, averaged": (
        lambda s: {"state_dict": {n: t * 0 for n, t in s.items()}, "state_dict_ema": s},
        ["state_dict_ema"],
    ),
    "AveragedModel": (lambda s: prefixed(s, "module.") | {"n_averaged": torch.tensor(9)}, ["module."]),
    "within": (lambda s: {"model": {"state_dict": prefixed(s, "module.")}}, ["model.state_dict", "module."]),
    "ema within": (lambda s: {"ema": {"module": s, "decay": 0.9}}, ["ema.module"]),
}


@pytest.mark.parametrize("how", SAVED)
def test_wrappers_of_other_programs_are_removed_and_logged(tmp_path, caplog, how):
    wrap, names = SAVED[how]
    source, path = torchvision_network("shufflenet_v2_x0_5", 2), tmp_path / "saved.pth"
    torch.save(wrap(source.state_dict()), path)
    network = torchvision_network("shufflenet_v2_x0_5", 2)
    account = load_weights(network, path)
    assert len(account.loaded) == len(account.names)
    expected = source.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    assert all(noted([message], path.name, name) for message, name in zip(caplog.messages, names, strict=True))


def test_a_prefix_hides_no_tensor_that_is_left_over(tmp_path):
    state = torchvision_network("shufflenet_v2_x0_5", 2).state_dict()
    torch.save({"state_dict": prefixed(state, "model.") | {"criterion.weight": torch.ones(2)}}, tmp_path / "x.ckpt")
    with refused("weights_of_another_network", "x.ckpt", "criterion.weight"):
        load_weights(torchvision_network("shufflenet_v2_x0_5", 2), tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"", "0 bytes"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.h5"])
def test_what_is_no_weights_is_named_for_what_it_is(tmp_path, content, what, name):
    (tmp_path / name).write_bytes(content)
    with refused("not_weights", name, what):
        load_weights(mobilenetv3_small(2), tmp_path / name)


def test_what_may_be_weights_is_not_named(tmp_path):
    for content in (b"PK\x03\x04", b"\x80\x02", b"x"):
        (tmp_path / "w").write_bytes(content)
        assert no_weights(tmp_path / "w") is None
    (tmp_path / "w").write_bytes(b"<HTML>")
    assert "web page" in no_weights(tmp_path / "w")


def test_the_innermost_known_wrapper_is_opened_and_averages_come_first():
    state = {"a": torch.ones(1)}
    assert state_dict_in(state) == (state, ())
    assert state_dict_in({"model": {"ema": state, "state_dict": {}}}) == (state, ("model", "ema"))
    assert state_dict_in({"model": torch.ones(1)})[1] == (), "a tensor of that name is a weight"
    assert state_dict_in([state]) == ([state], ())
    assert state_dict_in({}) == ({}, ())


def test_a_prefix_that_the_network_has_itself_is_kept():
    state = {"model.a": torch.zeros(1), "model.b": torch.ones(1)}
    assert without_prefixes(state, ["model.a"]) == (state, ())
    assert without_prefixes(state, ["model.c"]) == (state, ()), "others of the network have that prefix too"
    assert without_prefixes(state, ["c"]) == ({"a": state["model.a"], "b": state["model.b"]}, ("model.",))
    assert without_prefixes({}, ["a"]) == ({}, ())


def test_only_with_a_prefix_a_counter_is_dropped():
    """A network may have a buffer of that name."""
    one = torch.ones(1)
    assert without_prefixes({"step": one, "a": one}, ["a"]) == ({"step": one, "a": one}, ())
    assert without_prefixes({"step": one, "module.net.a": one}, ["a"]) == ({"a": one}, ("module.", "net."))
