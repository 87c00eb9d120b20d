"""Processes that are interrupted, whose output is closed, or whose terminal has a small encoding."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from entry_points import FAST
from omegaconf import OmegaConf


def started(command: str, *arguments: str, **settings: object) -> subprocess.Popen:
    """Start a command of medcls with its own signals, as a shell in a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", f"medcls.{command}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **settings,
    )


def interrupted(process: subprocess.Popen, when, how: int) -> tuple[int, str]:
    """Send a signal to the whole group, as a terminal does; exit code and what was said on the error stream."""
    end = time.monotonic() + 120
    while not when() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert process.poll() is None, process.stderr.read().decode()
    os.killpg(process.pid, how)
    _, said = process.communicate(timeout=120)
    return process.returncode, said.decode()


def first_line(process: subprocess.Popen):
    """A condition that is met once the command has said anything."""
    return lambda: bool(process.stdout.readline())


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_prints_how_to_resume_and_is_not_evaluated(folder, tmp_path, how, code):
    root = folder({"a": 30, "b": 30})
    run = tmp_path / "run"
    process = started(
        "train", *FAST[:4], "data.workers=1", f"data.root={root}", "positive_class=a", "trainer.max_epochs=5000",
        f"hydra.run.dir={run}",
    )  # fmt: skip
    code, said = interrupted(process, (run / "checkpoints" / "last.ckpt").exists, how)
    assert code == 128 + how, said
    assert "Traceback" not in said
    assert f"python -m medcls.train resume='{run}'" in said.replace('"', "")
    assert not (run / "predictions").exists()
    assert not list(run.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_at_the_start_nothing_is_left(folder, tmp_path, how):
    root = folder({"a": 300, "b": 300})
    process = started("train", *FAST, f"data.root={root}", "positive_class=a", cwd=tmp_path)
    code, said = interrupted(process, first_line(process), how)
    assert code == 128 + how, said
    assert "Traceback" not in said
    assert not list((tmp_path / "runs").rglob("*.*")) if (tmp_path / "runs").exists() else True


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_evaluation_leaves_the_run_as_it_was(finished, tmp_path, how):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    process = started("evaluate", f"run={run}", "resamples=20000", cwd=tmp_path)
    code, said = interrupted(process, first_line(process), how)
    assert code == 128 + how, said
    assert "Traceback" not in said
    now = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert set(before) <= set(now)
    assert all(now[path] for path in now)


@pytest.mark.slow
def test_a_terminal_that_knows_few_characters_ends_no_training(finished, tmp_path):
    root = OmegaConf.load(finished / "config.yaml").data.root
    arguments = [
        *FAST, f"data.root={root}", "positive_class='得病'", "trainer.max_epochs=1", "resamples=100",
        f"hydra.run.dir={tmp_path}/run",
    ]  # fmt: skip
    # A terminal, as far as rich can tell: with the bar that moves.
    few = os.environ | {"PYTHONIOENCODING": "latin-1", "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "PYTHONUTF8": "0"}
    process = started("train", *arguments, env=few)
    shown, said = process.communicate(timeout=300)
    assert process.returncode == 0, said.decode("latin-1")
    assert "Traceback" not in said.decode("latin-1") and "Logging error" not in said.decode("latin-1")
    shown = shown.decode("latin-1")
    assert "Epoch 0/0" in shown and "\\u5f97\\u75c5" in shown and "?" not in shown.split("Epoch 0/0")[1][:200]
    assert (tmp_path / "run" / "report.html").exists()
    # The file is UTF-8 whatever the terminal is.
    assert "得病" in (tmp_path / "run" / "train.log").read_text(encoding="utf-8")


@pytest.mark.slow
def test_nobody_who_listens_ends_a_command_quietly(finished, tmp_path):
    process = started("evaluate", f"run={finished}", "views=2", "resamples=100", cwd=tmp_path)
    assert process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(timeout=120) == 141
    assert said == ""


@pytest.mark.slow
def test_a_closed_standard_output_is_no_error(tmp_path):
    answer = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m medcls.cache >&-"], stderr=subprocess.PIPE, cwd=tmp_path, check=False
    )
    assert (answer.returncode, answer.stderr) == (0, b"")
