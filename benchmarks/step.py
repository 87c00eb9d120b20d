"""The training step of MobileNetV3-Large alone, on synthetic images: `python -m benchmarks.step`.

In the two memory formats; then, in separate processes, with and without returning freed memory.
"""

import statistics
import subprocess
import sys
from typing import Any

import torch

from benchmarks.pieces import arguments, bare_step
from benchmarks.results import ratio, report, seconds
from medcls import hardware


def steps(given_back: bool, batch: int, size: int, count: int) -> float:
    """Median seconds of a step in a separate process, whose C library returns freed memory or keeps it."""
    program = (
        "import statistics; from benchmarks.pieces import bare_step; from benchmarks.results import seconds; "
        f"from medcls import hardware; hardware.choose(keep_memory={not given_back}); "
        f"step = bare_step({batch}, {size}); [step() for _ in range(3)]; "
        f"print(statistics.median(seconds(step) for _ in range({count})))"
    )
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Time the two formats in turn, then memory given back and kept; print and write the medians and the spread."""
    parser = arguments(__doc__, "step")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--turns", type=int, default=3, help="of processes")
    given = parser.parse_args()
    # Separate processes first: this one keeps its memory from here on.
    memory = [
        (steps(True, given.batch, given.size, 8), steps(False, given.batch, given.size, 8)) for _ in range(given.turns)
    ]
    hardware.choose()
    contiguous = bare_step(given.batch, given.size, torch.contiguous_format)
    channels_last = bare_step(given.batch, given.size)
    for step in (contiguous, channels_last) * 2:  # the first steps allocate
        step()
    formats = [(seconds(contiguous), seconds(channels_last)) for _ in range(given.pairs)]

    def rows(slow: str, fast: str, pairs: list[tuple[float, float]]) -> list[dict[str, Any]]:
        before, after = (given.batch / statistics.median(times) for times in zip(*pairs, strict=True))
        return [
            {"what": slow, "figure": before, "unit": "images/s"},
            {"what": fast, "figure": after, "unit": "images/s", "against": slow, **ratio(pairs)},
        ]

    report(
        "The training step alone",
        {
            "network": "mobilenetv3_large",
            "batch": given.batch,
            "size": given.size,
            "threads": torch.get_num_threads(),
            "pairs": given.pairs,
        },
        rows("contiguous, memory kept", "channels_last, memory kept", formats)
        + rows("channels_last, memory given back", "channels_last, memory kept, in a process of its own", memory),
        given.out,
    )


if __name__ == "__main__":
    main()
