"""The memory of a training, and that it does not grow: `python -m benchmarks.memory`.

Each value is the resident memory of a separate process that trains through the command:

- its peak, in turn with that of a process with only training steps on one synthetic batch, of the same size; the
  difference is Lightning, the tables, and the mapped pages of the cache;
- after two epochs, in the middle and at the end: memory kept from each epoch would show here, most clearly in the
  second half, because allocators still settle in the first;
- its peak with few images and with many, which are hard links to a few, with the same number of steps per epoch. Only
  the manifest may grow, and what is made from it: its splits, checks and text.

The bounds are in the column `most`. If one is exceeded, the benchmark says so and exits with 1.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.linked_images import CLASSES, link_images
from benchmarks.pieces import arguments, bare_step
from benchmarks.results import ratio, report
from benchmarks.start_up import settings_for
from benchmarks.watched import peak, watch
from medcls import hardware

# MiB. In 60 epochs without a leak, allocators took 22 more after the second epoch, in two leaps (a checkpoint is put
# together in memory that is free or is not), and under 2 after the tenth. One batch of images kept each epoch would be
# 1.5 MiB an epoch at 64 pixels, with what the network makes of it a hundred.
MOST_FROM_THE_SECOND = 48.0
MOST_FROM_HALF_TIME = 8.0

# Times the table of images: what is added while it is made, split and written is given back in part. Measured: 1.0 to
# 1.2, with 5,000 and 50,000 images.
MOST_OVER_IMAGES = 2.0
SCATTERED = 24.0  # MiB that differ between two processes of the same work


def bare_peak(batch: int, size: int, steps: int) -> float:
    """MiB at most of a process that takes some bare steps."""
    command = [sys.executable, "-m", "benchmarks.memory", "--bare", str(steps)]
    command += ["--batch", str(batch), "--size", str(size)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def step_barely(batch: int, size: int, steps: int) -> None:
    """Run in that process; like the command, it keeps its memory."""
    hardware.choose()
    step = bare_step(batch, size)
    for _ in range(steps):
        step()
    print(peak())


def few_steps(steps: int, epochs: int) -> list[str]:
    """Settings that bound a training for any number of images; validation is always complete."""
    return [f"trainer.max_epochs={epochs}", f"+trainer.limit_train_batches={steps}"]


def against_bare_step(given: argparse.Namespace, place: Path) -> list[dict[str, Any]]:
    """The peak of a training, in turn with that of bare steps."""
    settings = [*settings_for(given.images, given.positive, given.size, given.batch), *few_steps(given.steps, 2)]
    watch(settings, place, until="end of fit", environment={})  # fills the cache
    pairs = [
        (watch(settings, place, until="end of fit", environment={})["peak"], bare_peak(given.batch, given.size, 3))
        for _ in range(given.turns)
    ]
    what = "bare step, peak"
    return [
        {"what": what, "figure": statistics.median(bare for _, bare in pairs), "unit": "MiB"},
        {
            "what": "training, peak",
            "figure": statistics.median(training for training, _ in pairs),
            "unit": "MiB",
            "against": what,
            **ratio(pairs),
        },
    ]


def over_epochs(given: argparse.Namespace, place: Path) -> list[dict[str, Any]]:
    """The memory of a training after two epochs, and after all."""
    settings = settings_for(given.images, given.positive, given.small, given.batch)
    settings += few_steps(given.steps, given.epochs)
    resident = watch(settings, place, until="end of fit", environment={})["resident"]
    half = given.epochs // 2
    after_two, at_half, last = resident[2], resident[half], resident[-1]
    what = "training, after 2 epochs"
    return [
        {"what": what, "figure": after_two, "unit": "MiB"},
        {
            "what": f"training, after {given.epochs} epochs",
            "figure": last,
            "unit": "MiB",
            "against": what,
            **ratio([(last, after_two)]),
        },
        {
            "what": f"growth from epoch 2 to {given.epochs}",
            "figure": last - after_two,
            "unit": "MiB",
            "most": MOST_FROM_THE_SECOND,
        },
        {
            "what": f"growth from epoch {half} to {given.epochs}",
            "figure": last - at_half,
            "unit": "MiB",
            "most": MOST_FROM_HALF_TIME,
        },
    ]


def over_images(given: argparse.Namespace, place: Path) -> list[dict[str, Any]]:
    """The peak with few images and with many."""
    seen = []
    for images in (given.few, given.many):
        here = place / str(images)
        link_images(here / "images", images, given.tiny)
        settings = settings_for(here / "images", CLASSES[-1], given.tiny, given.batch)
        settings += few_steps(given.steps, 1)
        watch(settings, here, until="first step", environment={})  # fills the caches
        seen.append(watch(settings, here, until="end of fit", environment={}))
    few, many = seen
    manifest = many["manifest"] - few["manifest"]
    what = f"training, peak with {given.few:,} images"
    return [
        {"what": what, "figure": few["peak"], "unit": "MiB"},
        {
            "what": f"training, peak with {given.many:,} images",
            "figure": many["peak"],
            "unit": "MiB",
            "against": what,
            **ratio([(many["peak"], few["peak"])]),
        },
        {"what": "the table of images, growth", "figure": manifest, "unit": "MiB"},
        {
            "what": "growth over images",
            "figure": many["peak"] - few["peak"],
            "unit": "MiB",
            "most": MOST_OVER_IMAGES * manifest + SCATTERED,
        },
    ]


def too_much(rows: list[dict[str, Any]]) -> list[str]:
    """One sentence for each bound that was exceeded."""
    return [
        f"{row['what']}: {row['figure']:.1f} MiB, and {row['most']:.1f} MiB are allowed"
        for row in rows
        if "most" in row and row["figure"] > row["most"]
    ]


def main() -> None:
    """Measure, print and write the results, and check the bounds."""
    parser = arguments(__doc__, "memory")
    parser.add_argument("--turns", type=int, default=3, help="of training and bare step")
    parser.add_argument("--steps", type=int, default=4, help="an epoch, at most")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--small", type=int, default=64, help="pixels of a side, for the epochs")
    parser.add_argument("--few", type=int, default=1_000, help="images")
    parser.add_argument("--many", type=int, default=100_000, help="images")
    parser.add_argument("--tiny", type=int, default=32, help="pixels of a side, for the number of images")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--bare", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        step_barely(given.batch, given.size, given.bare)
        return
    rows: list[dict[str, Any]] = []
    for part in given.parts:
        with tempfile.TemporaryDirectory() as folder:
            rows += PARTS[part](given, Path(folder))
    conditions = {name: getattr(given, name) for name in ("batch", "size", "small", "tiny", "steps", "turns")}
    report("Memory of a training", conditions, rows, given.out)
    if complaints := too_much(rows):
        sys.exit("\n".join(["Training takes more memory than it may.", *complaints]))


PARTS = {"peak": against_bare_step, "epochs": over_epochs, "images": over_images}


if __name__ == "__main__":
    main()
