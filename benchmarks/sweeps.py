"""The folds of a cross-validation at the same time, against one after another: `python -m benchmarks.sweeps`.

Both are timed in turn as typed, from start to end, with a warm cache. What the cores can give is how many times as fast
as one after another the jobs would be if those at the same time did not slow each other down: with one thread each they
lose what more threads give to one job. So one job is timed too, with one thread and with all.

`--epochs 1 --folds 2` with few images measures a sweep that start-up dominates.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.pieces import arguments
from benchmarks.results import ratio, report, seconds
from benchmarks.start_up import settings_for
from medcls import cpu
from medcls.runs.sweep_folder import SweepFolder

LAUNCHERS = {"one after another": "basic", "at the same time": "joblib"}


def sweep(settings: list[str], launcher: str, folds: int, place: Path) -> float:
    """Seconds of a sweep over folds.

    Raises
    ------
    RuntimeError
        A job is not done.
    """
    numbers = ",".join(map(str, range(folds)))
    command = [
        sys.executable, "-m", "medcls.train", "-m", f"hydra/launcher={launcher}", *settings, f"data.folds={folds}",
        f"data.fold={numbers}", f"hydra.sweep.dir={place}",
    ]  # fmt: skip
    taken = seconds(lambda: subprocess.run(command, capture_output=True, check=False))
    states = [job.state for job in SweepFolder(place).jobs()]
    if states != ["done"] * folds:
        raise RuntimeError(f"{' '.join(command)} left jobs that are {states}")
    return taken


def one_job(settings: list[str], folds: int, threads: int, place: Path) -> float:
    """Seconds of one fold with so many threads."""
    command = [
        sys.executable, "-m", "medcls.train", *settings, f"data.folds={folds}", "data.fold=0", "evaluate_test=false",
        f"hydra.run.dir={place}",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return seconds(lambda: subprocess.run(command, capture_output=True, check=True, env=environment))


def main() -> None:
    """Time both ways, and one job with one thread and with all, in turn; print and write seconds and ratios."""
    parser = arguments(__doc__, "sweeps")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folds", type=int, default=4, help="a multiple of the cores, so that none is idle at the end")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--more", nargs="*", default=[], help="further settings of the training")
    given = parser.parse_args()
    cores = cpu.available_cores()
    settings = settings_for(given.images, given.positive, given.size, given.batch)
    settings += [f"trainer.max_epochs={given.epochs}", *given.more]
    ways, threads = [], []
    with tempfile.TemporaryDirectory() as place:
        one_job(settings, given.folds, cores, Path(place, "warm"))  # reads and decodes
        for turn in range(given.turns):
            # Each way is the first every other time.
            order = list(LAUNCHERS.values())[:: 1 if turn % 2 == 0 else -1]
            taken = {way: sweep(settings, way, given.folds, Path(place, f"{way}{turn}")) for way in order}
            ways.append((taken["basic"], taken["joblib"]))
            one, all_of_them = (one_job(settings, given.folds, n, Path(place, f"{n}-{turn}")) for n in (1, cores))
            threads.append((one, all_of_them))
    speed_up = ratio(threads)["ratio"]
    first, second = LAUNCHERS
    rows = [
        {"what": first, "figure": statistics.median(pair[0] for pair in ways), "unit": "s"},
        {
            "what": second,
            "figure": statistics.median(pair[1] for pair in ways),
            "unit": "s",
            "against": first,
            **ratio(ways),
        },
        {"what": "one job, one thread", "figure": statistics.median(pair[0] for pair in threads), "unit": "s"},
        {
            "what": f"one job, {cores} threads",
            "figure": statistics.median(pair[1] for pair in threads),
            "unit": "s",
            "against": "one job, one thread",
            **ratio(threads),
        },
        {"what": f"what the cores can give, against {first}", "figure": cores / speed_up, "unit": "times"},
    ]
    conditions = {
        "folds": given.folds,
        "epochs": given.epochs,
        "batch": given.batch,
        "size": given.size,
        "cores": cores,
        "turns": given.turns,
    }
    report("Folds at the same time against one after another", conditions, rows, given.out)


if __name__ == "__main__":
    main()
