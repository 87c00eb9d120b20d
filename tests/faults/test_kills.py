"""Trainings killed at any moment, then resumed or started over: the same run in the end, to the last bit.

`MEDCLS_KILLS=25 make test-faults` kills the two configurations with a frozen phase 25 times each, and prints where.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from command_process import SETTINGS, differing, end, output, result, start

from medcls import train

KILLS = int(os.environ.get("MEDCLS_KILLS", "3"))

FROZEN = (
    "schedule.phases=[{epochs: 2, freeze: [backbone]}, {epochs: null, freeze: []}]", "freeze_random_weights=true",
    "scheduler=plateau", "scheduler.patience=0", "ema=0.9", "early_stopping=4", "trainer.max_epochs=10",
    "data.batch_size=2",
)  # fmt: skip
CONFIGURATIONS = {
    "a frozen phase, plateau, averaged weights, early stopping": FROZEN,
    "the same, saved within epochs": (*FROZEN, "checkpoint_minutes=0.00001"),
    "one-cycle, exact batch norm": ("scheduler=one_cycle", "exact_batch_norm=true", "trainer.max_epochs=4"),
    "fixed views, balanced sampling, no cache, saved within epochs": (
        "data.views=3", "data.sampler=balanced", "data.cache=false", "trainer.max_epochs=4",
        "checkpoint_minutes=0.00001",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="processor time is read from /proc")
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_p32_killed_at_any_moment_a_run_comes_to_the_same_end(folder, tmp_path, name):
    root = folder({"a": 24, "b": 24})

    def settings(place: Path) -> tuple[str, ...]:
        return (*SETTINGS, *CONFIGURATIONS[name], f"data.root={root}", f"hydra.run.dir={place}/run")

    whole = tmp_path / "whole"
    process = start(train.main, settings(whole), whole)
    _, code, used = os.wait4(process, 0)
    assert code == 0, output(whole)
    expected, draw = result(whole / "run"), random.Random(name)
    for number in range(KILLS):
        place = tmp_path / f"killed{number}"
        moment = draw.uniform(0, 1)
        process = start(train.main, settings(place), place)
        while (at := seconds(process)) is not None and at < moment * (used.ru_utime + used.ru_stime):
            time.sleep(0.005)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        run = place / "run"
        where = stage(run)
        again = (f"resume={run}",) if (run / "checkpoints" / "last.ckpt").is_file() else settings(place)
        assert end(start(train.main, again, place)) == 0, output(place)
        differ = differing(expected, result(run), (str(whole), str(place)))
        print(f"{name}: killed {where} ({moment:.2f} of its life): {differ or 'equal'}", flush=True)  # noqa: T201
        assert not differ


def stage(run: Path) -> str:
    """Where in its life a run was killed."""
    import torch

    if (run / "report.html").is_file():
        return "after its report"
    if (run / "predictions").is_dir():
        return "evaluating"
    last = run / "checkpoints" / "last.ckpt"
    if not last.is_file():
        return "before a checkpoint"
    within = "within_epoch" in torch.load(last, weights_only=True)
    return "training, with a checkpoint within an epoch" if within else "training, with a checkpoint after an epoch"


def seconds(process: int) -> float | None:
    """Processor time that a process has had; None once it is over."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return None if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
