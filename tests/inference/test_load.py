import dataclasses
import shutil
from functools import partial

import pytest
import torch
from refusals import refused
from torch import nn

from medcls.cli.building import build_network as build
from medcls.inference.load import ClassLogits, add_decision_rules, load, weights_hash

build_network = partial(build, trust=False)


@pytest.fixture
def checkpoint(finished, tmp_path):
    return shutil.copy(finished / "checkpoints" / "best.ckpt", tmp_path / "best.ckpt")


def test_a_checkpoint_comes_back_as_what_was_trained(finished):
    loaded = load(finished / "checkpoints" / "best.ckpt", build_network)
    assert loaded.classes == ("得病", "正常") and loaded.positive == "得病"
    assert loaded.preprocessing.size == (32, 32)
    assert not loaded.network.training
    state = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    ours = loaded.network.network.state_dict()
    assert ours.keys() == {name.removeprefix("network.") for name in state if name.startswith("network.")}
    assert all(torch.equal(tensor, state[f"network.{name}"]) for name, tensor in ours.items())


def test_policies_join_a_checkpoint_and_leave_its_weights_alone(checkpoint):
    before = load(checkpoint, build_network)
    add_decision_rules(checkpoint, {"calibration": None, "units": {"a": 1}})
    after = load(checkpoint, build_network)
    assert after.decision_rules == {"calibration": None, "units": {"a": 1}}
    assert after.checkpoint == before.checkpoint
    assert dataclasses.replace(after, network=None, decision_rules=None) == dataclasses.replace(
        before, network=None, decision_rules=None
    )


def test_the_hash_is_of_names_shapes_types_and_values():
    state = {"a": torch.arange(4.0), "b": torch.tensor(3)}
    found = weights_hash(state)
    assert found == weights_hash(dict(reversed(state.items())))
    others = [
        state | {"b": torch.tensor(4)},
        state | {"a": torch.arange(4.0).reshape(2, 2)},
        state | {"a": torch.arange(4.0, dtype=torch.float64)},
        {"a": state["a"], "c": state["b"]},
        state | {"a": torch.arange(4.0).bfloat16()},
    ]
    assert len({found, *map(weights_hash, others)}) == 6


@pytest.mark.parametrize("positive", [0, 1])
def test_one_logit_becomes_two_columns(positive):
    network = ClassLogits(nn.Sequential(nn.Flatten(), nn.Linear(12, 1)), 2, positive)
    images = torch.randn(5, 3, 2, 2)
    logits = network(images)
    assert logits.shape == (5, 2)
    assert (logits[:, 1 - positive] == 0).all()
    assert torch.equal(logits[:, positive], network.network(images)[:, 0])


def test_p60_what_is_no_checkpoint_of_ours_is_answered(tmp_path, checkpoint):
    with refused("no_such_file", "none.ckpt"):
        load(tmp_path / "none.ckpt", build_network)
    torch.save({"state_dict": {"a": torch.zeros(2)}}, tmp_path / "other.ckpt")
    with refused("damaged_checkpoint", "other.ckpt", "network, classes, preprocessing"):
        load(tmp_path / "other.ckpt", build_network)
    content = torch.load(checkpoint, weights_only=True)
    name = next(name for name in content["state_dict"] if name.startswith("network."))
    del content["state_dict"][name]
    torch.save(content, checkpoint)
    with refused("damaged_checkpoint", str(checkpoint), name.removeprefix("network.")):
        load(checkpoint, build_network)


def test_p60_a_checkpoint_builds_nothing_that_medcls_does_not_ship(checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    content["medcls"]["network"]["_target_"] = "os.system"
    torch.save(content, checkpoint)
    with refused("foreign_target", "os.system (model.network)", "trust=true"):
        load(checkpoint, build_network)
