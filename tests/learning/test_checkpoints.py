import os
import pickle
from pathlib import Path

import pytest
import tiny_run
import torch
from refusals import refused

from medcls.learning.checkpoints import AtomicCheckpointIO, checkpoints

FULL = Path("/dev/full")  # every write to it fails for want of space, as on a full disk
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def folder_with(path: Path) -> Path:
    AtomicCheckpointIO().save_checkpoint({"epoch": 1, "weights": torch.ones(3)}, path)
    return path


@needs_full
def test_a_full_disk_leaves_the_previous_checkpoint_intact(tmp_path: Path) -> None:
    best = folder_with(tmp_path / "checkpoints" / "best.ckpt")
    before = best.read_bytes()
    best.with_name("best.ckpt.tmp").symlink_to(FULL)
    with refused("cannot_write", "No space left", str(best), f"resume={best.parent.parent}"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2, "weights": torch.zeros(3)}, best)
    assert best.read_bytes() == before
    assert os.listdir(best.parent) == ["best.ckpt"]


@needs_full
def test_a_full_disk_stops_a_training_with_a_message(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"

    class FillUp(tiny_run.lightning.Callback):
        def on_train_epoch_start(self, trainer, pl_module) -> None:
            if trainer.current_epoch == 1:
                (folder / "last.ckpt.tmp").symlink_to(FULL)

    with refused("cannot_write", "No space left", "last.ckpt"):
        tiny_run.run(tmp_path, epochs=3, more=(FillUp(),))
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 0
    assert sorted(os.listdir(folder)) == ["best.ckpt", "last.ckpt"]
    tiny_run.run(tmp_path, epochs=3, resume=True)
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 2


def test_a_disk_that_is_full_when_the_file_is_flushed(tmp_path: Path, monkeypatch) -> None:
    best = folder_with(tmp_path / "best.ckpt")
    before = best.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with refused("cannot_write", "No space left", str(best)):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, best)
    assert best.read_bytes() == before
    assert os.listdir(tmp_path) == ["best.ckpt"]


def test_what_cannot_be_saved_touches_nothing(tmp_path: Path) -> None:
    best = folder_with(tmp_path / "best.ckpt")
    before = best.read_bytes()
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(3), "broken": lambda: None}, best)
    assert best.read_bytes() == before
    assert os.listdir(tmp_path) == ["best.ckpt"]


def test_a_checkpoint_with_code_in_it_is_not_read(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"state_dict": Code()}, tmp_path / "best.ckpt")
    with refused("unsafe_file", "best.ckpt"):
        # Lightning may ask for more; it does not get it.
        AtomicCheckpointIO().load_checkpoint(tmp_path / "best.ckpt", weights_only=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"<html>", None])
def test_damaged_and_missing_checkpoints_are_reported(tmp_path: Path, content: bytes | None) -> None:
    best = folder_with(tmp_path / "best.ckpt")
    best.write_bytes(best.read_bytes()[:-200] if content is None else content)
    with refused("damaged_checkpoint", str(best)):
        AtomicCheckpointIO().load_checkpoint(best)
    best.unlink()
    with refused("no_such_file", str(best)):
        AtomicCheckpointIO().load_checkpoint(best)


def test_p34_the_files_are_best_and_last_and_no_other(tmp_path: Path) -> None:
    """The tutorial searches its folder for the smallest loss in a file name."""
    tiny_run.run(tmp_path, epochs=3)
    tiny_run.run(tmp_path, epochs=5, resume=True)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize("value", [1e9, float("nan"), 0.0])
def test_p35_best_is_always_saved(tmp_path: Path, value: float) -> None:
    """The tutorial saves nothing when the loss never falls under 2.0."""
    module = tiny_run.classifier(metrics=lambda labels, probabilities: {"odd": value})
    callbacks = checkpoints(tmp_path / "checkpoints", "val/odd", "max")
    tiny_run.trainer(tmp_path, 2, callbacks).fit(module, datamodule=tiny_run.TinyData())
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 0


def test_a_nan_in_the_first_epoch_gives_way_to_a_number(tmp_path: Path) -> None:
    values = iter([0.0, float("nan"), 0.3, 0.2])  # the first answers metric_names' question
    module = tiny_run.classifier(metrics=lambda labels, probabilities: {"odd": next(values)})
    module.check_monitor("val/odd", "max", {})
    callbacks = checkpoints(tmp_path / "checkpoints", "val/odd", "max")
    tiny_run.trainer(tmp_path, 3, callbacks).fit(module, datamodule=tiny_run.TinyData())
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 1


def test_a_mode_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with refused("bad_value", "monitor_mode", "'lowest'"):
        checkpoints(tmp_path, "val/loss", "lowest")


def test_an_empty_and_a_truncated_checkpoint_are_damaged(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    last.touch()
    with refused("damaged_checkpoint", str(last)):
        AtomicCheckpointIO().load_checkpoint(last)
    last.write_bytes(folder_with(tmp_path / "whole.ckpt").read_bytes()[:200])
    with refused("damaged_checkpoint", str(last)):
        AtomicCheckpointIO().load_checkpoint(last)
