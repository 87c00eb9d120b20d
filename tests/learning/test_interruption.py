"""A training that is stopped within an epoch, and resumed at that step, is bit-identical to one that was not."""

import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import lightning
import pytest
import tiny_run
import torch
from refusals import refused
from test_resume import differences, saved
from tiny_run import FREEZE_AFTER_2, THAW_AFTER_2

from medcls.learning.checkpoints import AtomicCheckpointIO
from medcls.learning.interruption import SaveWithinEpoch


class Signal(lightning.Callback):
    """Sends signals to this process within a step, or in validation."""

    def __init__(self, epoch: int, batch: int, *numbers: int, validating: bool = False, wait: float = 0) -> None:
        self.at, self.numbers, self.validating, self.wait = (epoch, batch), numbers, validating, wait

    def _send(self, trainer: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.at:
            for number in self.numbers:
                os.kill(os.getpid(), number)
                time.sleep(self.wait)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if not self.validating:
            self._send(trainer, batch_idx)

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, _: int = 0) -> None:
        if self.validating:
            self._send(trainer, batch_idx)


class Logged(lightning.Callback):
    """What each epoch logged, whichever process trained it."""

    def __init__(self) -> None:
        self.losses: dict[int, list[float]] = {}

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        names = ("train/loss", "train/accuracy", "val/loss")
        self.losses[trainer.current_epoch] = [float(trainer.callback_metrics[name]) for name in names]


class LoggedAfter(Logged, lightning.pytorch.callbacks.Checkpoint):
    """After the module has logged its own: checkpoint callbacks come last."""


@pytest.fixture(autouse=True)
def _own_handler():
    """Python's own handler of Ctrl-C: a job in the background ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "as before the training"
    signal.signal(signal.SIGINT, before)


def stopped(folder: Path, *, at: tuple[int, int], validating: bool = False, **settings: Any) -> None:
    sender = Signal(*at, signal.SIGINT, validating=validating)
    with pytest.raises(SystemExit) as ended:
        tiny_run.run(folder, more=(*settings.pop("more", ()), sender), **settings)
    assert isinstance(ended.value.__context__, KeyboardInterrupt)


def compare(tmp_path: Path, at: tuple[int, int], **settings: Any) -> None:
    whole, parts = LoggedAfter(), LoggedAfter()
    through = tiny_run.run(tmp_path / "through", more=(whole,), **settings)
    stopped(tmp_path / "stopped", at=at, more=(parts,), **settings)
    resumed = tiny_run.run(tmp_path / "stopped", resume=True, more=(parts,), **settings)
    assert differences(through.state_dict(), resumed.state_dict()) == []
    for name in ("best", "last"):
        assert differences(saved(tmp_path / "through", name), saved(tmp_path / "stopped", name)) == []
    assert parts.losses == whole.losses and len(whole.losses) == 4


@pytest.mark.parametrize("at", [(0, 0), (2, 3)])
@pytest.mark.parametrize("scheduler", ["plateau", "one_cycle"])
def test_with_phases_averaged_weights_and_exact_statistics(tmp_path: Path, scheduler: str, at: tuple[int, int]) -> None:
    compare(tmp_path, at, scheduler=scheduler, phases=THAW_AFTER_2, ema=True, exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("at", [(0, 2), (1, 0), (2, 4), (3, 1)])
@pytest.mark.parametrize("scheduler", tiny_run.SCHEDULERS)
@pytest.mark.parametrize(
    "settings", [{"phases": FREEZE_AFTER_2, "exact": True}, {"workers": 1, "persistent": True}, {"ema": True}],
    ids=["freeze", "workers", "ema"],
)  # fmt: skip
def test_in_any_epoch_with_each_scheduler(tmp_path: Path, scheduler: str, at: tuple[int, int], settings: dict) -> None:
    compare(tmp_path, at, scheduler=scheduler, **settings)


def test_the_step_is_finished_and_with_accumulation_all_its_batches(tmp_path: Path) -> None:
    stopped(tmp_path, at=(1, 2), accumulate_grad_batches=2)
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (1, 5)
    assert checkpoint["within_epoch"]["loader"] == {"epoch": 1, "batches": 4}
    compare(tmp_path / "and on", (1, 2), accumulate_grad_batches=2)


@pytest.mark.parametrize(("at", "validating"), [((1, 5), False), ((1, 0), True)])
def test_with_the_last_batch_or_in_validation_the_epoch_is_finished(tmp_path: Path, at, validating) -> None:
    stopped(tmp_path, at=at, validating=validating)
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (1, 12)
    assert "within_epoch" not in checkpoint and "running_metrics" not in checkpoint


def test_an_interval_saves_within_epochs_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = []

    def watch(self: AtomicCheckpointIO, checkpoint: dict, path: Path, storage_options: None = None) -> None:
        places.append((checkpoint["epoch"], checkpoint.get("within_epoch", {}).get("loader", {}).get("batches")))

    clock = iter(range(0, 10_000, 20))  # 20 seconds pass between two looks at it
    monkeypatch.setattr(
        "medcls.learning.interruption.time", types.SimpleNamespace(monotonic=lambda: float(next(clock)))
    )
    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", watch)
    interval = tiny_run.run(tmp_path / "interval", epochs=2, minutes=1)
    within = [place for place in places if place[1] is not None]
    assert within and {epoch for epoch, _ in within} == {0, 1} and all(1 <= batches <= 5 for _, batches in within)
    monkeypatch.undo()
    assert differences(tiny_run.run(tmp_path / "none", epochs=2).state_dict(), interval.state_dict()) == []


@pytest.mark.parametrize("minutes", [0, -1, True, "soon"])
def test_an_interval_is_a_number_above_0(minutes) -> None:
    with refused("bad_value", "checkpoint_minutes", repr(minutes)):
        SaveWithinEpoch(Path("last.ckpt"), minutes)


def test_a_second_interrupt_stops_at_once_unless_it_is_the_first_one_again(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        tiny_run.run(tmp_path / "one", more=(Signal(1, 2, signal.SIGINT, signal.SIGINT),))
    assert torch.load(tmp_path / "one" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 9
    with pytest.raises(SystemExit):
        tiny_run.run(tmp_path / "two", more=(Signal(1, 2, signal.SIGINT, signal.SIGINT, wait=0.6),))
    assert torch.load(tmp_path / "two" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6


def test_the_training_goes_on_where_the_handler_returns(tmp_path: Path) -> None:
    received = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: received.append((number, last.exists())))
    last = tmp_path / "checkpoints" / "last.ckpt"
    try:
        tiny_run.run(tmp_path, epochs=1, more=(Signal(0, 1, signal.SIGUSR2),))
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert received == [(signal.SIGUSR2, True)], "saved before the handler is called"
    assert torch.load(last, weights_only=True)["global_step"] == 6


def test_in_another_thread_no_signal_is_held_back(tmp_path: Path) -> None:
    errors = []

    def train() -> None:
        try:
            tiny_run.run(tmp_path, epochs=1)
        except BaseException as error:  # noqa: BLE001 - asserted below
            errors.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert not errors


@pytest.mark.slow
def test_two_processes_stop_after_the_same_step_and_resume_with_their_own_random_numbers(tmp_path: Path) -> None:
    def run(folder: str, kind: str) -> subprocess.CompletedProcess:
        program = [sys.executable, tiny_run.__file__, str(tmp_path / folder), kind]
        return subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)

    ended = run("through", "ddp whole")
    assert ended.returncode == 0, ended.stderr
    ended = run("stopped", "ddp stopped")
    assert ended.returncode != 0 and "SIGINT" in ended.stderr, ended.stderr
    within = torch.load(tmp_path / "stopped" / "checkpoints" / "last.ckpt", weights_only=True)["within_epoch"]
    assert within["loader"] == {"epoch": 1, "batches": 2}
    first, second = (state["cpu"] for state in within["generators"])
    assert not torch.equal(first, second)
    ended = run("stopped", "ddp resumed")
    assert ended.returncode == 0, ended.stderr
    for name in ("best", "last"):
        assert differences(saved(tmp_path / "through", name), saved(tmp_path / "stopped", name)) == []
