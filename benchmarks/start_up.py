"""The time until a command answers, and until the first step of a training: `python -m benchmarks.start_up`.

Each command runs with `--help`, `--cfg job` and a mistyped setting in a separate process, in turn with a Python that
does nothing. A training with a warm cache is timed from the end of its necessary imports
(`benchmarks.watched.LIBRARIES`) to its first step; the imports are timed too, and the stages are medians of the same
runs.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.pieces import PHANTOMS, arguments
from benchmarks.results import ratio, report, seconds
from benchmarks.watched import STAGES, watch

NOTHING = "python -c pass"
ANSWER_AIM, STEP_AIM = 2.0, 3.0  # seconds

# What is typed, and the exit code that it must end with.
TYPED = {"--help": 0, "--cfg job": 0}
TYPOS = {
    "train": "model=mobilnetv3",
    "evaluate": "splt=test",
    "compare": "splt=test",
    "audit": "audit.fx=exclude",
    "cache": "cleer=true",
}


def answer(command: str, typed: str, code: int) -> float:
    """Seconds that a command takes.

    Raises
    ------
    RuntimeError
        Its exit code is not the expected one.
    """
    command = [sys.executable, "-m", f"medcls.{command}", *typed.split()]

    def ask() -> None:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode != code:
            raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}, not {code}:\n{ended.stderr}")

    return seconds(ask)


def nothing() -> float:
    """Seconds of a Python that does nothing."""
    return seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))


def settings_for(images: Path, positive: str | None, size: int, batch: int) -> list[str]:
    """The settings of a training on these images; for phantoms, those of the shipped configuration."""
    source = ["data=breast_cancer"] if images == PHANTOMS else [f"data.root={images}", f"positive_class={positive}"]
    return [*source, "model=mobilenetv3", f"data.image_size={size}", f"data.batch_size={batch}"]


def main() -> None:
    """Time the commands, then the first step; print and write the medians and the spread."""
    parser = arguments(__doc__, "start_up")
    parser.add_argument("--turns", type=int, default=5, help="of each command")
    parser.add_argument("--starts", type=int, default=5, help="of a training; 0 for none")
    parser.add_argument("--commands", nargs="+", choices=TYPOS, default=list(TYPOS))
    given = parser.parse_args()
    nothing()  # loads files into the page cache
    rows = []
    for command in given.commands:
        for typed, code in {**TYPED, TYPOS[command]: 2}.items():
            answer(command, typed, code)
            pairs = [(answer(command, typed, code), nothing()) for _ in range(given.turns)]
            rows.append(
                {
                    "what": f"{command} {typed}",
                    "figure": statistics.median(slow for slow, _ in pairs),
                    "unit": "s",
                    "against": NOTHING,
                    **ratio(pairs),
                    "aim": ANSWER_AIM,
                }
            )
    if given.starts:
        rows += first_steps(settings_for(given.images, given.positive, given.size, given.batch), given.starts)
    report(
        "Start-up",
        {
            "images": str(given.images),
            "batch": given.batch,
            "size": given.size,
            "turns": given.turns,
            "starts": given.starts,
        },
        rows,
        given.out,
    )


def first_steps(settings: list[str], starts: int) -> list[dict[str, object]]:
    """Rows of the table: imports, the first step after them, and where the time between went."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        watch(settings, place, until="first step", environment={})  # fills the cache
        seen = [watch(settings, place, until="first step", environment={}) for _ in range(starts)]
    stages = [name for name in ("medcls's own modules", *STAGES, "the rest") if name in seen[0]["stages"]]
    imports = "imports that a training cannot do without"
    return [
        {"what": imports, "figure": statistics.median(one["imports"] for one in seen), "unit": "s"},
        {
            "what": "from there to the first step",
            "figure": statistics.median(one["start"] for one in seen),
            "unit": "s",
            "against": imports,
            **ratio([(one["start"], one["imports"]) for one in seen]),
            "aim": STEP_AIM,
        },
        *(
            {"what": f"of it {name}", "figure": statistics.median(one["stages"][name] for one in seen), "unit": "s"}
            for name in stages
        ),
    ]


if __name__ == "__main__":
    main()
