"""Two trainings at the same time on the same cores: `python -m benchmarks.shared_cores`.

Idle threads look for work before they sleep. How long they do (`GOMP_SPINCOUNT`) matters little to a single training,
and very much to two that share the cores. Each value is measured on training steps in separate processes: one alone,
then two at a time, with OpenMP's default, with medcls's value, and with one thread each.
"""

import os
import statistics
import subprocess
import sys

from benchmarks.pieces import arguments
from benchmarks.results import ratio, report
from medcls import cpu

WAYS = {
    "as OpenMP comes": {"GOMP_SPINCOUNT": "300000"},
    f"GOMP_SPINCOUNT={cpu.SPINS}, as medcls sets it": {"GOMP_SPINCOUNT": str(cpu.SPINS)},
    "one thread each (OMP_NUM_THREADS=1)": {"GOMP_SPINCOUNT": str(cpu.SPINS), "OMP_NUM_THREADS": "1"},
}


def start(environment: dict[str, str], batch: int, size: int, count: int) -> subprocess.Popen[str]:
    """Start a process with so many steps, which prints the median seconds of one."""
    program = (
        "import statistics; from medcls import hardware; from benchmarks.pieces import bare_step; "
        "from benchmarks.results import seconds; hardware.choose(); "
        f"step = bare_step({batch}, {size}); [step() for _ in range(2)]; "
        f"print(statistics.median(seconds(step) for _ in range({count})))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=os.environ | environment
    )


def seconds_of(processes: list[subprocess.Popen[str]]) -> float:
    """Mean of the seconds that they print."""
    outputs = [process.communicate()[0] for process in processes]
    return statistics.mean(map(float, outputs))


def main() -> None:
    """Time every way alone and two at once, in turn; print and write images/s of each process."""
    parser = arguments(__doc__, "shared_cores")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(given.turns):
        for way, environment in WAYS.items():
            alone, both = (
                seconds_of([start(environment, given.batch, given.size, given.steps) for _ in range(n)]) for n in (1, 2)
            )
            found[way].append((alone, both))
    first = next(iter(WAYS))
    rows = []
    for place, what in enumerate(("alone", "each of two")):
        for way, pairs in found.items():
            times = [pair[place] for pair in pairs]
            row = {"what": f"{what}, {way}", "figure": given.batch / statistics.median(times), "unit": "images/s"}
            if way != first:
                reference = [pair[place] for pair in found[first]]
                row |= {"against": f"{what}, {first}"} | ratio(list(zip(reference, times, strict=True)))
            rows.append(row)
    conditions = {"batch": given.batch, "size": given.size, "cores": cpu.available_cores(), "turns": given.turns}
    report("Two trainings on the same cores", conditions, rows, given.out)


if __name__ == "__main__":
    main()
