"""Scaling efficiency of a training in several processes: `python -m benchmarks.ddp --processes 1 2`.

The command itself trains with the same images a step in each number of processes, in turn. An epoch is timed from one
`last.ckpt` to the next: training, validation and checkpoint. The first epochs, which decode and allocate, are left out.
On a CPU each process has one thread, and one process with as many threads is timed too.
"""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from benchmarks.pieces import PHANTOMS, arguments
from benchmarks.results import ratio, report

LEFT_OUT = 2
"""Epochs at the start that are not timed."""

POLL_S = 0.005


def epoch_seconds(settings: list[str], processes: int, threads: int, folder: Path) -> tuple[float, int]:
    """Median time of an epoch after the first ones, and the number of training images."""
    command = [
        sys.executable, "-m", "medcls.train", *settings, "trainer=ddp", f"trainer.devices={processes}",
        f"hydra.run.dir={folder}",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    times: list[int] = []
    last = folder / "checkpoints" / "last.ckpt"
    while process.poll() is None:
        if last.exists() and (changed := last.stat().st_mtime_ns) not in times:
            times.append(changed)
        time.sleep(POLL_S)
    if process.returncode:
        raise SystemExit(process.returncode)  # the command has printed why
    between = [(after - before) / 1e9 for before, after in itertools.pairwise(times)]
    images = int((pd.read_csv(folder / "manifest.csv")["split"] == "train").sum())
    return statistics.median(between[LEFT_OUT - 1 :]), images


def main() -> None:
    """Time each number of processes in turn; print and write images/s, and what each process adds."""
    parser = arguments(__doc__, "ddp")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="numbers of processes; the first is 1")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--setting", action="append", default=[], help="a further setting of the command")
    given = parser.parse_args()
    of_images = [f"data.root={given.images.absolute()}", f"positive_class={given.positive or 'null'}"]
    settings = [
        *(["data=breast_cancer"] if given.images == PHANTOMS else of_images), f"data.batch_size={given.batch}",
        f"data.image_size={given.size}", f"trainer.max_epochs={given.epochs}", "exact_batch_norm=false",
        "evaluate_test=false", "resamples=100", *given.setting,
    ]  # fmt: skip
    ways = {f"{number} process(es)": (number, 1) for number in given.processes}
    if not torch.cuda.is_available():
        most = max(given.processes)
        ways[f"1 process with {most} threads"] = (1, most)
    found: dict[str, list[float]] = {way: [] for way in ways}
    images = 0
    for _ in range(given.turns):
        for way, (processes, threads) in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                seconds, images = epoch_seconds(settings, processes, threads, Path(folder) / "run")
            found[way].append(seconds)
    first, *others = ways
    rows = [{"what": first, "figure": images / statistics.median(found[first]), "unit": "images/s"}]
    for way in others:
        against = ratio(list(zip(found[first], found[way], strict=True)))
        efficiency = against["ratio"] / max(ways[way])
        rows.append(
            {"what": way, "figure": images / statistics.median(found[way]), "unit": "images/s", "against": first}
            | against
            | {"efficiency": efficiency}
        )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    conditions = {"images": images, "batch": given.batch, "size": given.size, "device": device, "turns": given.turns}
    report("Training in several processes", conditions, rows, given.out)


if __name__ == "__main__":
    main()
