import logging
import subprocess
import sys
from pathlib import Path

import lightning
import pytest
import tiny_run
import torch
from refusals import noted, refused, rules
from torch import nn

from medcls.learning.freezing import FreezeSchedule, describe, names_matching

REST = {"epochs": None, "freeze": []}


def schedule(*phases: dict) -> FreezeSchedule:
    return FreezeSchedule(phases, head="classifier")


# ---------------------------------------------------------------------- patterns


def test_reserved_words_split_the_network() -> None:
    network = tiny_run.TinyNet()
    head, backbone = (names_matching(network, word, "classifier") for word in ("head", "backbone"))
    assert head == {"classifier.1.weight", "classifier.1.bias"}
    everything = {name for name, _ in [*network.named_parameters(), *network.named_buffers()]}
    assert head | backbone == everything
    assert not head & backbone


def test_shares_of_the_backbone() -> None:
    network = tiny_run.TinyNet()  # the backbone owns 6 modules with weights: convolution and norm, three times
    half = names_matching(network, "backbone[:0.5]", "classifier")
    assert {name.rpartition(".")[0] for name in half} == {"stem.0", "stem.1", "blocks.0.0"}
    assert "stem.1.running_mean" in half
    assert names_matching(network, "backbone[:1]", "classifier") == names_matching(network, "backbone", "classifier")


def test_names_are_of_what_is_saved() -> None:
    """A buffer that no checkpoint holds cannot be loaded: named, it would pass for one that stayed random."""
    network = tiny_run.TinyNet()
    network.blocks.register_buffer("mask", torch.ones(3), persistent=False)
    for pattern in ("backbone", "backbone[:1]", "blocks.*"):
        matched = names_matching(network, pattern, "classifier")
        assert matched <= network.state_dict().keys()
        assert "blocks.0.1.running_mean" in matched


def test_globs() -> None:
    network = tiny_run.TinyNet()
    assert {name.rpartition(".")[0] for name in names_matching(network, "blocks.0.*", "classifier")} == {
        "blocks.0.0",
        "blocks.0.1",
    }
    assert "blocks.1.1.running_var" in names_matching(network, "blocks.*", "classifier")


@pytest.mark.parametrize(("pattern", "near"), [("block.*", "blocks"), ("backbon", "backbone"), ("stem.5.*", "stem")])
def test_p28_a_pattern_that_matches_nothing_is_an_error(pattern: str, near: str) -> None:
    with refused("pattern_matches_nothing", repr(pattern), f" {near}"):
        names_matching(tiny_run.TinyNet(), pattern, "classifier")


def test_an_empty_share_and_an_unknown_head_are_errors() -> None:
    with refused("pattern_matches_nothing", "'backbone[:0.0]'"):
        names_matching(tiny_run.TinyNet(), "backbone[:0.0]", "classifier")
    with refused("unknown_head", "'clasifier'", " classifier,"):
        names_matching(tiny_run.TinyNet(), "backbone", "clasifier")


# ---------------------------------------------------------------------- phases


def test_phases_are_a_function_of_the_epoch() -> None:
    plan = schedule({"epochs": 3, "freeze": ["backbone"]}, {"epochs": 1, "freeze": ["stem.*"]}, REST)
    assert [plan.phase_at(epoch) for epoch in (0, 2, 3, 4, 99)] == [0, 0, 1, 2, 2]
    assert plan.starts() == (0, 3, 4)


def test_p26_a_phase_that_is_never_reached_is_warned_of_before_training(tmp_path: Path, caplog) -> None:
    """Freeze for 10 epochs, then unfreeze, in a run of 10 epochs (the tutorial's)."""
    plan = [{"epochs": 10, "freeze": ["blocks.*"]}, REST]
    assert schedule(*plan).unreached(10) == [1]
    assert schedule(*plan).unreached(11) == []
    steps = []

    class Watch(lightning.Callback):
        def on_train_batch_start(self, *rest) -> None:
            steps.append("phase_never_reached" in rules(caplog))

    with caplog.at_level(logging.INFO, logger="medcls"):
        tiny_run.run(tmp_path, epochs=1, phases=plan, more=(Watch(),))
    assert steps
    assert all(steps)


@pytest.mark.parametrize(
    "phases",
    [
        [],
        [{"epochs": 3, "freeze": []}],
        [{"epochs": None, "freeze": []}, REST],
        [{"epochs": 0, "freeze": []}, REST],
        [{"epochs": None, "freeze": "backbone"}],
        [{"epochs": None, "frozen": []}],
        [{"epochs": "abc", "freeze": []}, REST],
        [{"epochs": "2", "freeze": []}, REST],
        [{"epochs": 1.5, "freeze": []}, REST],
        [{"epochs": None, "freeze": None}],
        [{"epochs": None, "freeze": [3]}],
        "abc",
        None,
    ],
)
def test_phases_that_leave_doubts_are_refused(phases: list) -> None:
    with refused("bad_value", "schedule.phases"):
        FreezeSchedule(phases, head="classifier")


def test_a_phase_in_which_nothing_trains_is_refused() -> None:
    with refused("nothing_trains", "schedule.phases", "phase 1"):
        schedule({"epochs": None, "freeze": ["*"]}).table(tiny_run.TinyNet())


def test_a_wrong_pattern_of_a_late_phase_stops_the_run_before_its_first_step(tmp_path: Path) -> None:
    class Never(lightning.Callback):
        def on_train_batch_start(self, *rest) -> None:
            raise AssertionError("trained")

    with refused("pattern_matches_nothing", "'nothing'"):
        tiny_run.run(
            tmp_path, phases=[{"epochs": 3, "freeze": []}, {"epochs": None, "freeze": ["nothing"]}], more=(Never(),)
        )


def test_p28_the_table_counts_what_trains_in_each_phase() -> None:
    """The tutorial says input and head train; its last convolution trains too. The table shows each part."""
    network = tiny_run.TinyNet()
    rows = schedule({"epochs": 10, "freeze": ["blocks.*"]}, REST).table(network)
    first = {row.child: row for row in rows if row.phase == 0}
    assert first["blocks"].tensors_trained == first["blocks"].parameters_trained == 0
    assert first["blocks"].parameters_frozen == sum(p.numel() for p in network.blocks.parameters())
    assert first["stem"].tensors_trained == 4
    assert first["classifier"].parameters_trained == 14
    total = sum(p.numel() for p in network.parameters())
    for phase in (0, 1):
        assert sum(r.parameters_trained + r.parameters_frozen for r in rows if r.phase == phase) == total
    lines = describe(rows)
    assert len(lines) == len(rows)
    assert noted(lines, "phase 1", "0 to 9", "blocks", "0 tensors", "8")
    assert noted(lines, "phase 2", "10", "blocks", "8 tensors")


# ---------------------------------------------------------------------- in training


def bits(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


class Record(lightning.Callback):
    def __init__(self) -> None:
        self.states: list[dict] = []

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        self.states.append(bits(pl_module.network))

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.states.append(bits(pl_module.network))


@pytest.mark.parametrize("exact", [False, True], ids=["running", "exact"])
def test_p27_frozen_tensors_and_buffers_are_bit_equal_after_an_epoch(tmp_path: Path, exact: bool) -> None:
    record = Record()
    plan = [{"epochs": 1, "freeze": ["blocks.*"]}, REST]
    tiny_run.run(tmp_path, epochs=2, phases=plan, exact=exact, more=(record,))
    before, frozen, _, thawed = record.states
    for name in before:
        if name.startswith("blocks."):
            assert torch.equal(before[name], frozen[name]), name
            assert not torch.equal(frozen[name], thawed[name]), name
        else:
            assert not torch.equal(before[name], frozen[name]), name


def test_p27_the_mistake_itself_moves_the_statistics(tmp_path: Path) -> None:
    """Without the eval mode, frozen batch norms go on counting: what the schedule prevents."""

    class OnlyGradients(lightning.Callback):
        def on_train_epoch_start(self, trainer, pl_module) -> None:
            for module in pl_module.network.blocks.modules():
                module.train()

    record = Record()
    tiny_run.run(tmp_path, epochs=1, phases=[{"epochs": None, "freeze": ["blocks.*"]}], more=(record, OnlyGradients()))
    before, after = record.states
    assert torch.equal(before["blocks.0.0.weight"], after["blocks.0.0.weight"])
    assert not torch.equal(before["blocks.0.1.running_mean"], after["blocks.0.1.running_mean"])


def test_modes_and_gradients_in_force() -> None:
    network = tiny_run.TinyNet().eval()
    plan = schedule({"epochs": 1, "freeze": ["backbone"]}, REST)
    plan.apply(network, epoch=0)
    assert not network.stem[1].training
    assert network.stem[3].training, "dropout stays on in frozen parts"
    assert network.classifier[0].training
    assert [name for name, p in network.named_parameters() if p.requires_grad] == [
        "classifier.1.weight",
        "classifier.1.bias",
    ]
    plan.apply(network, epoch=1)
    assert all(module.training for module in network.modules())
    assert all(p.requires_grad for p in network.parameters())


def test_a_batch_norm_of_which_only_part_is_frozen_goes_on_counting() -> None:
    network = tiny_run.TinyNet()
    schedule({"epochs": None, "freeze": ["*.weight"]}).apply(network, 0)
    assert network.stem[1].training


def test_a_batch_norm_without_parameters_is_frozen_by_its_statistics() -> None:
    network = nn.ModuleDict(
        {"norm": nn.BatchNorm2d(3, affine=False), "conv": nn.Conv2d(3, 3, 1), "classifier": nn.Linear(3, 2)}
    )
    schedule({"epochs": None, "freeze": ["norm.*"]}).apply(network, 0)
    assert not network["norm"].training
    schedule({"epochs": None, "freeze": ["conv.*"]}).apply(network, 0)
    assert network["norm"].training


def test_validation_between_epochs_does_not_wake_frozen_norms(tmp_path: Path) -> None:
    modes = []

    class Watch(lightning.Callback):
        def on_train_batch_end(self, trainer, pl_module, *rest) -> None:
            modes.append((pl_module.network.stem[1].training, pl_module.network.classifier[0].training))

    tiny_run.run(
        tmp_path, epochs=2, phases=[{"epochs": None, "freeze": ["backbone"]}], more=(Watch(),), val_check_interval=2
    )
    assert set(modes) == {(False, True)}


# ---------------------------------------------------------------------- several processes


def test_all_parameters_require_grad_when_wrapped(tmp_path: Path) -> None:
    seen = []

    class Watch(lightning.Callback):
        def setup(self, trainer, pl_module, stage) -> None:
            seen.append(all(p.requires_grad for p in pl_module.parameters()))

    module = tiny_run.classifier()
    module.network.requires_grad_(False)
    freeze = schedule({"epochs": 1, "freeze": ["backbone"]}, REST)
    trainer = tiny_run.trainer(tmp_path, 1, [freeze, Watch()], enable_checkpointing=False)
    trainer.fit(module, datamodule=tiny_run.TinyData())
    assert seen == [True]
    assert not module.network.stem[0].weight.requires_grad


@pytest.mark.slow
def test_two_processes_freeze_and_thaw(tmp_path: Path) -> None:
    program = [sys.executable, tiny_run.__file__, str(tmp_path), "ddp", "ddp_find_unused_parameters_true"]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=180)
    assert ended.returncode == 0, ended.stderr
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 1
    # 11 validation rows are 12 in two processes: each counts once.
    assert last["seen"] == tiny_run.VAL_ROWS
    # Thawed in the second epoch: the backbone has taken steps, the head twice as many.
    states = last["optimizer_states"][0]["state"]
    steps = [int(states[index]["step"]) for index in sorted(states)]
    assert steps[-1] == 2 * steps[0] > 0
