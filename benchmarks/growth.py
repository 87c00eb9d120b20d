"""How time grows with the number and the size of images: `python -m benchmarks.growth`.

More images: the time of a second run from its imports to its first step, with the scan cached by the first run, and the
part of it that reads and splits the manifest. The images are hard links to a few small ones
(`benchmarks.linked_images`), so near duplicates cost little (see `benchmarks.duplicates`). Each number of images is
measured in turn with the smallest. 100,000 take two or three more minutes, most of them in the first run:
`--images 1000 10000 100000`.

Larger images: images per second of the step alone on synthetic batches, in turn with a training from cached images, as
in `benchmarks.training`.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.linked_images import CLASSES, link_images
from benchmarks.pieces import PHANTOMS, classifier_of, loaders, read, trainer_with
from benchmarks.results import ratio, report
from benchmarks.start_up import settings_for
from benchmarks.training import InTurn
from benchmarks.watched import watch
from medcls import hardware
from medcls.data.transforms import Augmentation
from medcls.learning.callbacks import SeedEachEpoch


def more_images(numbers: list[int], size: int, batch: int, turns: int) -> list[dict[str, Any]]:
    """Rows: the start of a second run, for each number of images."""
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / str(images) for images in numbers]
        settings = [settings_for(place / "images", CLASSES[-1], size, batch) for place in places]
        for place, images, options in zip(places, numbers, settings, strict=True):
            link_images(place / "images", images, size)
            watch(options, place, until="first step", environment={})  # the first run, which fills the caches
        turns_measured = [
            [
                watch(options, place, until="first step", environment={})
                for place, options in zip(places, settings, strict=True)
            ]
            for _ in range(turns)
        ]
    names = [f"{images:,} images: to the first step" for images in numbers]
    rows: list[dict[str, Any]] = []
    for column, (images, name) in enumerate(zip(numbers, names, strict=True)):
        runs = [turn[column] for turn in turns_measured]
        started = statistics.median(run["start"] for run in runs)
        against = {}
        if column:
            against = {
                "against": names[0],
                **ratio([(turn[column]["start"], turn[0]["start"]) for turn in turns_measured]),
            }
        rows += [
            {"what": name, "figure": started, "unit": "s", **against},
            {"what": f"{images:,} images: of it an image", "figure": 1e6 * started / images, "unit": "us"},
            *(
                {
                    "what": f"{images:,} images: of it {stage}",
                    "figure": statistics.median(run["stages"][stage] for run in runs),
                    "unit": "s",
                }
                for stage in ("reading the manifest", "splitting", "rehearsing the report", "the audit")
            ),
        ]
    return rows


def larger_images(sizes: list[int], given: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows: the bare step and what a training reaches of it, for each number of pixels."""
    machine = hardware.choose()
    manifest = read(given.folder, given.positive, given.most)
    rows: list[dict[str, Any]] = []
    for size in sizes:
        timed = InTurn(given.batch, size)
        with trainer_with([SeedEachEpoch(0), timed], given.epochs, validate=False) as trainer:
            data = loaders(manifest, machine, size, given.batch, Augmentation())
            trainer.fit(classifier_of(manifest), datamodule=data)
        bare = f"{size} pixels: bare step"
        rows += [
            {"what": bare, "figure": 1 / statistics.median(alone for alone, _ in timed.pairs), "unit": "images/s"},
            {
                "what": f"{size} pixels: end to end",
                "figure": 1 / statistics.median(end_to_end for _, end_to_end in timed.pairs),
                "unit": "images/s",
                "against": bare,
                **ratio(timed.pairs),
            },
        ]
    return rows


def main() -> None:
    """Measure both; print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[1_000, 10_000], help="numbers of images")
    parser.add_argument("--tiny", type=int, default=32, help="pixels of a side, for the numbers of images")
    parser.add_argument("--turns", type=int, default=3, help="of starts")
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 128, 224, 448], help="pixels of a side")
    parser.add_argument(
        "--folder", type=Path, default=PHANTOMS, help="of images, with one folder a class, for the sizes"
    )
    parser.add_argument("--positive", help="the positive class, where there are two")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=4, help="of each size; the first is left out")
    parser.add_argument("--most", type=int, default=128, help="training images at most, for the sizes")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/growth.json"))
    given = parser.parse_args()
    rows = more_images(sorted(given.images), given.tiny, given.batch, given.turns) if given.images else []
    rows += larger_images(given.sizes, given) if given.sizes else []
    report(
        "What more images and larger ones cost",
        {
            "network": "mobilenetv3_large",
            "batch": given.batch,
            "threads": torch.get_num_threads(),
            "turns": given.turns,
            "epochs": given.epochs,
            "training images of the sizes, at most": given.most,
        },
        rows,
        given.out,
    )


if __name__ == "__main__":
    main()
