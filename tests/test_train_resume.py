"""A training killed and resumed through the command has the same weights, bit by bit."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

COMMON = [
    sys.executable, "-m", "medcls.train", "model=mobilenetv3_small", "data.image_size=32", "data.batch_size=8",
    "data.workers=1", "positive_class=a", "trainer.max_epochs=4", "evaluate_test=false",
]  # fmt: skip
THAW = "schedule.phases=[{epochs: 2, freeze: ['blocks.0.*', stem.*]}, {epochs: null, freeze: []}]"


def weights(run) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def epochs_logged(run) -> int:
    """How many epochs have been validated, as the log on disk says."""
    return sum(
        "val/loss" in (lines := path.read_text().splitlines() or [""])[0]
        and sum(bool(line.split(",")[lines[0].split(",").index("val/loss")]) for line in lines[1:])
        for path in run.glob("logs/version_*/metrics.csv")
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [["scheduler=cosine"], ["scheduler=plateau", "ema=0.9"], ["scheduler=one_cycle", "exact_batch_norm=true"]],
)
def test_killed_in_epoch_2_of_4_and_resumed(folder, tmp_path, settings):
    root = folder({"a": 40, "b": 40})
    # A run that starts from loaded weights, so that the first phase may freeze them.
    first = [*COMMON[:8], f"data.root={root}", "positive_class=a", "trainer.max_epochs=1", "evaluate_test=false"]
    subprocess.run([*first, f"hydra.run.dir={tmp_path}/source"], check=True, capture_output=True)
    command = [*COMMON, f"data.root={root}", f"model.weights={tmp_path}/source", THAW, *settings]
    subprocess.run([*command, f"hydra.run.dir={tmp_path}/whole"], check=True, capture_output=True)

    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [*command, f"hydra.run.dir={killed}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while epochs_logged(killed) < 2 and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reached = torch.load(killed / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]
    assert reached in (0, 1, 2), "the run was over before it could be killed"

    subprocess.run([*COMMON[:3], f"resume={killed}"], check=True, capture_output=True)
    whole, resumed = weights(tmp_path / "whole"), weights(killed)
    assert whole.keys() == resumed.keys()
    different = [name for name in whole if not torch.equal(whole[name], resumed[name])]
    assert not different
    assert (killed / "metrics.json").exists()
    assert not (killed / "train.log.tmp").exists()
