"""A run that was stopped and resumed is bit-identical to one that was not."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch
from tiny_run import FREEZE_AFTER_2, THAW_AFTER_2, StopAt

KEPT = ("state_dict", "optimizer_states", "lr_schedulers", "current_model_state", "averaging_state", "medcls", "epoch")


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two checkpoints differ by as much as a bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return [f"{place}: keys {one.keys() ^ other.keys()}"]
        return [found for key in one for found in differences(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [f for i, (a, b) in enumerate(zip(one, other, strict=True)) for f in differences(a, b, f"{place}/{i}")]
    same = (
        torch.equal(one, other) if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor) else one == other
    )
    return [] if same else [place]


def saved(folder: Path, name: str) -> dict[str, Any]:
    checkpoint = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    kept = {key: checkpoint[key] for key in KEPT if key in checkpoint}
    scores = [state["best_model_score"] for key, state in checkpoint["callbacks"].items() if "Checkpoint" in key]
    return kept | {"scores": [score for score in scores if score is not None]}


def compare(tmp_path: Path, **settings: Any) -> None:
    through = tiny_run.run(tmp_path / "through", **settings)
    with pytest.raises(InterruptedError):
        tiny_run.run(tmp_path / "stopped", stop=StopAt(2), **settings)
    half_way = saved(tmp_path / "stopped", "last")
    resumed = tiny_run.run(tmp_path / "stopped", resume=True, **settings)
    assert half_way["epoch"] == 1
    assert differences(through.state_dict(), resumed.state_dict()) == []
    for name in ("best", "last"):
        assert differences(saved(tmp_path / "through", name), saved(tmp_path / "stopped", name)) == []
    assert differences(half_way["state_dict"], saved(tmp_path / "stopped", "last")["state_dict"]) != []


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", tiny_run.SCHEDULERS)
def test_with_each_scheduler(tmp_path: Path, scheduler: str) -> None:
    compare(tmp_path, scheduler=scheduler, multipliers={"backbone": 0.1})


@pytest.mark.parametrize("phases", [THAW_AFTER_2, FREEZE_AFTER_2], ids=["thaw", "freeze"])
def test_across_a_boundary_between_phases(tmp_path: Path, phases: list) -> None:
    compare(tmp_path, phases=phases, scheduler="cosine")


@pytest.mark.slow
@pytest.mark.parametrize("exact", [False, True], ids=["running", "exact"])
@pytest.mark.parametrize("ema", [False, True], ids=["raw", "ema"])
def test_with_averaged_weights_and_exact_statistics(tmp_path: Path, ema: bool, exact: bool) -> None:
    compare(tmp_path, ema=ema, exact=exact, phases=THAW_AFTER_2)


@pytest.mark.parametrize("persistent", [pytest.param(False, marks=pytest.mark.slow), True])
def test_with_loader_processes_that_fetch_ahead(tmp_path: Path, persistent: bool) -> None:
    # Lightning starts its loader before a resumed run's sampler knows its epoch (see Classifier.on_train_epoch_start).
    compare(tmp_path, workers=1, persistent=persistent)


@pytest.mark.slow
def test_after_kill_9(tmp_path: Path) -> None:
    program = [sys.executable, tiny_run.__file__, str(tmp_path / "killed"), "killed"]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert ended.returncode == -9, ended.stderr
    settings: dict[str, Any] = {"phases": THAW_AFTER_2, "scheduler": "cosine", "ema": True}
    tiny_run.run(tmp_path / "through", **settings)
    tiny_run.run(tmp_path / "killed", resume=True, **settings)
    assert differences(saved(tmp_path / "through", "last"), saved(tmp_path / "killed", "last")) == []


@pytest.mark.parametrize("scheduler", tiny_run.SCHEDULERS)
def test_a_resumed_run_may_be_longer(tmp_path: Path, scheduler: str) -> None:
    tiny_run.run(tmp_path, epochs=2, scheduler=scheduler)
    tiny_run.run(tmp_path, epochs=3, scheduler=scheduler, resume=True)
    assert saved(tmp_path, "last")["epoch"] == 2


def test_a_moved_run_keeps_its_best(tmp_path: Path) -> None:
    tiny_run.run(tmp_path / "here", epochs=3)
    (tmp_path / "here").rename(tmp_path / "there")
    best = tmp_path / "there" / "checkpoints" / "best.ckpt"
    # A score that no epoch to come can reach: best.ckpt must stay as it is.
    last = tmp_path / "there" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    state = next(value for key, value in checkpoint["callbacks"].items() if "val/loss" in key)
    state["best_k_models"] = {path: torch.tensor(-1.0) for path in state["best_k_models"]}
    torch.save(checkpoint, last)
    before = best.read_bytes()
    tiny_run.run(tmp_path / "there", epochs=4, resume=True)
    assert best.read_bytes() == before
    assert not (tmp_path / "here").exists()
