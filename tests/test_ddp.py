"""`trainer=ddp` through the command: the files, predictions and endings of a training in one process."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from made_sets import class_folders

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")]

# Without batch norm and dropout one process and two compute the same, but for the order of sums.
SETTINGS = (
    "model=timm", "model.name=test_vit", "data.image_size=32", "data.batch_size=8", "data.workers=0",
    "positive_class=a", "resamples=100", "trainer.max_epochs=2",
)  # fmt: skip
TWO = "trainer=ddp"


def command(*arguments: object, program: tuple[str, ...] = (sys.executable, "-m", "medcls.train")) -> tuple[int, str]:
    """Exit code and all output of a training."""
    ended = subprocess.run(
        [*program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An odd number of images in each split."""
    return class_folders(
        tmp_path_factory.mktemp("ddp") / "images",
        {"train/a": 17, "train/b": 16, "val/a": 6, "val/b": 5, "test/a": 8, "test/b": 7},
    )


@pytest.fixture(scope="module")
def runs(images: Path) -> dict[str, tuple[Path, str]]:
    """The same training in one process and in two, and what each printed."""
    made = {}
    for name, further in (("one", ()), ("two", (TWO,))):
        run = images.parent / name
        code, output = command(*SETTINGS, f"data.root={images}", f"hydra.run.dir={run}", *further)
        assert code == 0, output
        made[name] = (run, output)
    return made


def losses(run: Path, version: int = 0) -> pd.DataFrame:
    return pd.read_csv(run / "logs" / f"version_{version}" / "metrics.csv")[["train/loss", "val/loss", "val/n"]]


def test_predictions_and_losses_are_those_of_one_process(runs):
    one, two = runs["one"][0], runs["two"][0]
    for split, images in (("val", 11), ("test", 15)):
        alone, together = (pd.read_csv(run / "predictions" / f"{split}.csv") for run in (one, two))
        assert len(together) == images
        assert together["path"].tolist() == alone["path"].tolist()
        assert together["prob_a"].to_numpy() == pytest.approx(alone["prob_a"].to_numpy(), abs=1e-5)
    assert losses(two)["val/n"].dropna().unique().tolist() == [11]
    for name in ("train/loss", "val/loss"):
        assert losses(two)[name].dropna().to_numpy() == pytest.approx(losses(one)[name].dropna().to_numpy(), rel=1e-4)


def test_the_first_process_alone_writes_and_prints(runs):
    (one, printed_by_one), (two, printed_by_two) = runs["one"], runs["two"]
    names = [{path.relative_to(run).as_posix() for path in run.rglob("*") if "events" not in path.name}
             for run in (one, two)]  # fmt: skip
    assert names[0] == names[1]
    assert len(list((two / "tensorboard").rglob("events*"))) == 1
    for line in ("report: ", "run folder: ", "WARNING  weights: "):
        assert printed_by_two.count(line) == printed_by_one.count(line) == 1
    assert len(printed_by_two.splitlines()) <= len(printed_by_one.splitlines()) + 2
    records = [(run / "train.log").read_text(encoding="utf-8").splitlines() for run in (one, two)]
    assert abs(len(records[0]) - len(records[1])) <= 2
    assert f"python -m medcls.train {' '.join(SETTINGS[:2])}" in (two / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("begun", "devices"), [("two", 1), ("one", 2)])
def test_a_training_goes_on_in_another_number_of_processes(runs, tmp_path, begun, devices):
    run = Path(shutil.copytree(runs[begun][0], tmp_path / "run"))
    code, output = command(f"resume={run}", "trainer.max_epochs=3", f"trainer.devices={devices}")
    assert code == 0, output
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    # 33 images in batches of 8, the last of them with the image that would stand alone, are 4 steps.
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (2, 12)
    assert len(pd.read_csv(run / "predictions" / "test.csv")) == 15
    assert len(losses(run, version=1).dropna(subset="val/loss")) == 1


def test_what_a_training_may_have_works_in_two_processes(runs, images, tmp_path):
    given = (
        f"teacher={runs['one'][0]}", "data.views=2", "ema=0.9", "early_stopping=1", "scheduler=plateau",
        "schedule.phases=[{epochs: 1, freeze: [backbone]}, {epochs: null, freeze: []}]", "freeze_random_weights=true",
        "data/augmentation=general", "loss.class_weights=balanced", "trainer.accumulate_grad_batches=2",
    )  # fmt: skip
    found = []
    for name, further in (("one", ()), ("two", (TWO,))):
        code, output = command(
            *SETTINGS,
            f"data.root={images}",
            *given,
            *further,
            "evaluate_test=false",
            f"hydra.run.dir={tmp_path}/{name}",
        )
        assert code == 0, output
        found.append(losses(tmp_path / name))
    for name in ("train/loss", "val/loss"):
        assert found[1][name].dropna().to_numpy() == pytest.approx(found[0][name].dropna().to_numpy(), rel=1e-4)


def test_torchrun_starts_it_too(images, tmp_path):
    launcher = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "medcls.train",
    )
    arguments = (*SETTINGS, f"data.root={images}", TWO, "trainer.max_epochs=1", f"hydra.sweep.dir={tmp_path}")
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        code, output = command(*arguments, program=launcher)
    finally:
        os.chdir(before)
    assert code == 0, output
    (run,) = (tmp_path / "runs").iterdir()
    assert len(pd.read_csv(run / "predictions" / "test.csv")) == 15
    assert output.count("run folder: ") == 1


def test_a_refused_setting_leaves_no_folder_and_is_said_once(images, tmp_path):
    code, output = command(*SETTINGS, f"data.root={images}", TWO, "optimizer.lr=fast", f"hydra.run.dir={tmp_path}/run")
    assert code == 2
    assert output.count("optimizer.lr") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_can_be_resumed(images, tmp_path, how):
    run = tmp_path / "run"
    process = begun(images, run)
    os.killpg(process.pid, how)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + how, output
    assert "Traceback" not in output
    assert f"resume='{run}'" in output
    assert not (run / "predictions").exists()


def test_a_lost_process_ends_the_command(images, tmp_path):
    run = tmp_path / "run"
    process = begun(images, run)
    others = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    )
    os.kill(max(map(int, others.stdout.split())), signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "SIGKILL" in output and f"resume='{run}'" in output and "Traceback" not in output


def begun(images: Path, run: Path) -> subprocess.Popen:
    """A long training in two processes that has finished an epoch."""
    arguments = (*SETTINGS[:-1], "trainer.max_epochs=5000", f"data.root={images}", TWO, f"hydra.run.dir={run}")
    process = subprocess.Popen(
        [sys.executable, "-m", "medcls.train", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not (run / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.05)
    return process
