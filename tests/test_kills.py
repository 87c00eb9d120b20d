"""Trainings killed at any moment of their life, then resumed or begun again: the same run in the end, to the last bit.

`MEDCLS_KILLS=16 pytest -m slow tests/test_kills.py -s` kills each configuration 16 times and prints where.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from entry_points import FAST, run_main

from medcls import train

KILLS = int(os.environ.get("MEDCLS_KILLS", "3"))

CONFIGURATIONS = {
    "plateau, averaged weights, early stopping": (
        "scheduler=plateau", "ema=0.9", "early_stopping=2", "trainer.max_epochs=6",
    ),
    "one-cycle, exact batch norm": ("scheduler=one_cycle", "exact_batch_norm=true", "trainer.max_epochs=4"),
    "fixed views, balanced sampling, no cache": (
        "data.views=3", "data.sampler=balanced", "data.cache=false", "trainer.max_epochs=4",
    ),
}  # fmt: skip


def child(arguments: tuple[str, ...], place: Path) -> int:
    """Train in a process of its own, which has what takes long to import already; gives its number."""
    number = os.fork()
    if number:
        return number
    os.environ |= {"MEDCLS_CACHE": str(place / "cache"), "MEDCLS_STATE": str(place / "state")}
    quiet = os.open(place / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    code = 1
    try:
        sys.stdout = sys.stderr = os.fdopen(quiet, "w")
        run_main(train.main, *arguments)
        code = 0
    finally:
        os._exit(code)


def result(run: Path) -> dict[str, object]:
    """What a run comes to."""
    from medcls.inference.load import weights_hash
    from medcls.models.weights import read_state

    found: dict[str, object] = {
        name: weights_hash(read_state(run / "checkpoints" / name)[0]) for name in ("best.ckpt", "last.ckpt")
    }
    names = ("predictions/val.csv", "predictions/test.csv", "policies.json", "manifest.csv", "config.yaml")
    for name in names:
        text = (run / name).read_text(encoding="utf-8")
        found[name] = "\n".join(line for line in text.splitlines() if not line.startswith("resume:"))
    left = [str(path) for path in run.rglob("*") if path.name.startswith(".") or path.name.endswith(".tmp")]
    return found | {"half-written": left, "report": (run / "report.html").exists()}


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="processor time is read from /proc")
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_p32_killed_at_any_moment_a_run_comes_to_the_same_end(folder, tmp_path, name):
    import lightning  # noqa: F401 - loaded once, before the processes part

    import medcls.workflow.result_files  # noqa: F401

    root = folder({"a": 24, "b": 24})

    def settings(place: Path) -> tuple[str, ...]:
        place.mkdir(exist_ok=True)
        own = (f"data.root={root}", "positive_class=a", "resamples=100", f"hydra.run.dir={place}/run")
        return (*FAST, *CONFIGURATIONS[name], *own)

    whole = tmp_path / "whole"
    _, code, used = os.wait4(child(settings(whole), whole), 0)
    assert code == 0, (whole / "said.txt").read_text()
    wanted, draw = result(whole / "run"), random.Random(name)
    for number in range(KILLS):
        place = tmp_path / f"killed{number}"
        moment = draw.uniform(0, 1)
        process = child(settings(place), place)
        while (at := seconds(process)) is not None and at < moment * (used.ru_utime + used.ru_stime):
            time.sleep(0.005)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        run = place / "run"
        epochs = (run / "checkpoints" / "last.ckpt").is_file()
        scored, over = (run / "predictions").is_dir(), (run / "report.html").is_file()
        where = "after its report" if over else "evaluating" if scored else "training" if epochs else "before an epoch"
        again = (f"resume={run}",) if epochs else settings(place)
        assert os.waitpid(child(again, place), 0)[1] == 0, (place / "said.txt").read_text()
        found = result(run)
        differ = {key for key in wanted if str(found[key]).replace(str(place), str(whole)) != str(wanted[key])}
        print(f"{name}: killed {where} ({moment:.2f} of its life): {differ or 'equal'}", flush=True)  # noqa: T201
        assert not differ


def seconds(process: int) -> float | None:
    """Processor time that a process has had; None once it is over."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return None if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
