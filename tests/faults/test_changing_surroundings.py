"""Images that change, a run that moves, a clock that goes back, a folder that cannot be written."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_process import differing, result, run_command, training
from PIL import Image

from medcls import evaluate, train

pytestmark = pytest.mark.slow


def send(number: int, step: int = 7) -> None:
    """Have the training receive a signal in one of its steps."""
    from medcls.learning.classifier import Classifier

    real, calls = Classifier.training_step, []

    def run(self: Classifier, batch: Any, batch_idx: int) -> Any:
        calls.append(1)
        if len(calls) == step:
            os.kill(os.getpid(), number)
        return real(self, batch, batch_idx)

    pytest.MonkeyPatch().setattr(Classifier, "training_step", run)


def stopped(place: Path, images: Path, *more: str) -> Path:
    """A run that a signal stopped within its second epoch."""
    code, printed = run_command(train.main, training(place, images, *more), place, lambda: send(signal.SIGTERM))
    assert code == 143 and f"resume='{place}/run'" in printed, printed
    return place / "run"


def an_image(run: Path, split: str) -> str:
    rows = pd.read_csv(run / "manifest.csv")
    return str(rows.loc[rows["split"] == split, "path"].iloc[0])


@pytest.mark.parametrize("how", ["gone", "altered"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_images_that_change_between_a_stop_and_its_resume_are_named(images, undisturbed, tmp_path, how, split):
    whole, expected = undisturbed
    own = Path(shutil.copytree(images, tmp_path / "images"))
    run = stopped(tmp_path, own)
    name = an_image(run, split)
    content = (own / name).read_bytes()
    (own / name).unlink()
    if how == "altered":
        Image.effect_noise((20, 24), 50).convert("RGB").save(own / name)
    code, printed = run_command(train.main, (f"resume={run}",), tmp_path)
    assert code == 2 and name in printed and "Traceback" not in printed, printed
    (own / name).write_bytes(content)
    code, printed = run_command(train.main, (f"resume={run}",), tmp_path)
    assert code == 0, printed
    assert not differing(expected, result(run), (str(images), str(own)), (str(whole), str(tmp_path)))


@pytest.mark.parametrize("how", ["gone", "altered"])
def test_a_test_image_that_changes_during_the_training_is_named(images, undisturbed, tmp_path, how):
    whole, expected = undisturbed
    own = Path(shutil.copytree(images, tmp_path / "images"))
    name = an_image(whole / "run", "test")
    content = (own / name).read_bytes()

    def change() -> None:
        import lightning

        real = lightning.Trainer.fit

        def fit(*arguments: Any, **settings: Any) -> None:
            real(*arguments, **settings)
            (own / name).unlink()
            if how == "altered":
                Image.effect_noise((20, 24), 50).convert("RGB").save(own / name)

        pytest.MonkeyPatch().setattr(lightning.Trainer, "fit", fit)

    code, printed = run_command(train.main, training(tmp_path, own), tmp_path, change)
    assert code == 2 and name in printed and "Traceback" not in printed, printed
    (own / name).write_bytes(content)
    code, printed = run_command(train.main, (f"resume={tmp_path}/run",), tmp_path)
    assert code == 0, printed
    differ = differing(expected, result(tmp_path / "run"), (str(images), str(own)), (str(whole), str(tmp_path)))
    assert not differ


def test_a_stopped_run_resumes_on_another_machine(images, undisturbed, tmp_path):
    whole, expected = undisturbed
    here, there = tmp_path / "here", tmp_path / "there"
    own = Path(shutil.copytree(images, tmp_path / "images"))
    stopped(here, own)
    # Nothing is left where it was, and there are neither cache nor records of the first machine.
    (there / "data").mkdir(parents=True)
    own.rename(there / "data" / "images")
    (here / "run").rename(there / "my-run")
    shutil.rmtree(here)
    command = (f"resume={there}/my-run", f"data.root={there}/data/images")
    code, printed = run_command(train.main, command, there)
    assert code == 0, printed
    moved = ((str(images), f"{there}/data/images"), (f"{whole}/run", f"{there}/my-run"), (str(whole), str(there)))
    assert not differing(expected, result(there / "my-run"), *moved)


def test_a_clock_that_goes_back_changes_nothing(images, undisturbed, tmp_path):
    whole, expected = undisturbed
    run = stopped(tmp_path, images, "checkpoint_minutes=60")

    def backwards() -> None:
        real, patch = time.time, pytest.MonkeyPatch()
        start = real()
        patch.setattr("time.time", lambda: start - 86_400 - 10 * (real() - start))

    # What was written is of tomorrow; and while the run goes on, the clock runs backwards.
    for path in run.rglob("*"):
        os.utime(path, (time.time() + 86_400,) * 2)
    code, printed = run_command(train.main, (f"resume={run}",), tmp_path, backwards)
    assert code == 0, printed
    differ = differing(expected, result(run), (str(whole), str(tmp_path)))
    assert differ <= {"config.yaml"}, "which has the interval"
    # A report that seems older than its metrics is made again.
    os.utime(run / "report.html", (1, 1))
    code, printed = run_command(train.main, (f"resume={run}",), tmp_path)
    assert code == 0, printed
    assert differing(expected, result(run), (str(whole), str(tmp_path))) <= {"config.yaml", "metrics.json"}
    assert (run / "report.html").stat().st_mtime > 1


def test_a_folder_that_cannot_be_written_is_named_and_can_be_evaluated_elsewhere(undisturbed, small_disk, tmp_path):
    run = Path(shutil.copytree(undisturbed[0] / "run", small_disk / "run"))
    (run / "report.html").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for command in ((train.main, (f"resume={run}",)), (evaluate.main, (f"run={run}",))):
        code, printed = run_command(*command, tmp_path)
        assert code == 2 and str(run) in printed and "Traceback" not in printed, printed
    elsewhere = tmp_path / "elsewhere"
    code, printed = run_command(evaluate.main, (f"run={run}", f"hydra.run.dir={elsewhere}", "views=2"), tmp_path)
    assert code == 0 and (elsewhere / "report.html").exists(), printed


def in_slurm(place: Path, restarts: int) -> None:
    """The variables of a job, and a `scontrol` that notes what it was asked."""
    (place / "bin").mkdir(exist_ok=True)
    tool = place / "bin" / "scontrol"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {place}/asked.txt\n', encoding="utf-8")
    tool.chmod(0o755)
    job = {"JOB_ID": "77", "JOB_NAME": "study", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    os.environ |= {f"SLURM_{name}": value for name, value in job.items()}
    os.environ |= {"SLURM_RESTART_COUNT": str(restarts), "PATH": f"{place}/bin:{os.environ['PATH']}"}
    os.chdir(place)


def test_a_preempted_job_is_queued_again_and_resumes_by_itself(images, undisturbed, tmp_path):
    whole, expected = undisturbed
    command = [one for one in training(tmp_path, images) if not one.startswith("hydra.run.dir")]
    tmp_path.mkdir(exist_ok=True)

    def first() -> None:
        in_slurm(tmp_path, 0)
        send(signal.SIGUSR1)

    code, printed = run_command(train.main, tuple(command), tmp_path, first)
    assert code == 138 and "Traceback" not in printed, printed
    assert (tmp_path / "asked.txt").read_text(encoding="utf-8") == "requeue 77\n"
    assert not list(tmp_path.rglob("hpc_ckpt*"))

    def second() -> None:  # and the time limit comes as SIGTERM
        in_slurm(tmp_path, 1)
        send(signal.SIGTERM, step=3)

    code, printed = run_command(train.main, tuple(command), tmp_path, second)
    assert code == 143, printed
    code, printed = run_command(train.main, tuple(command), tmp_path, lambda: in_slurm(tmp_path, 2))
    assert code == 0, printed
    (run,) = (tmp_path / "runs").iterdir()
    assert not differing(expected, result(run), (f"{whole}/run", str(run)))
    code, printed = run_command(train.main, tuple(command), tmp_path, lambda: in_slurm(tmp_path, 3))
    assert code == 0 and list((tmp_path / "runs").iterdir()) == [run], "a finished training is left alone"
    # Another job does not take it up.
    other = (*command, "trainer.max_epochs=1", "preview=true")
    code, printed = run_command(train.main, other, tmp_path, lambda: in_slurm(tmp_path, 3))
    assert code == 0 and len(list((tmp_path / "runs").iterdir())) == 2, printed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_processes_of_a_run_waits_for_the_step(images, undisturbed, tmp_path, number, code):
    whole, expected = undisturbed

    def to_the_group() -> None:
        pytest.MonkeyPatch().setattr("medcls.data.module.ImageStore.keep", lambda *_: None)
        pytest.MonkeyPatch().setattr("os.kill", lambda _, sent: os.killpg(0, sent))
        send(number)

    more = ("data.cache=false", "data.workers=2")
    ended, printed = run_command(train.main, training(tmp_path, images, *more), tmp_path, to_the_group)
    assert ended == code and "Traceback" not in printed, printed
    assert "1 epoch and 3 steps" in printed, "the seventh step, of four an epoch"
    ended, printed = run_command(train.main, (f"resume={tmp_path}/run", "data.workers=0"), tmp_path)
    assert ended == 0, printed
    assert differing(expected, result(tmp_path / "run"), (str(whole), str(tmp_path))) <= {"config.yaml"}
