"""A frozen phase with and without precomputed features, in turn: `python -m benchmarks.frozen --images FOLDER`.

All layers except the head are frozen, and images are not augmented. Epochs are timed from the second on: the first one
computes the features.
"""

import statistics
import time

import lightning
import torch

from benchmarks.pieces import arguments, classifier_of, loaders, read, trainer_with
from benchmarks.results import ratio, report
from medcls import hardware
from medcls.learning.callbacks import SeedEachEpoch
from medcls.learning.features import FrozenFeatures
from medcls.learning.freezing import FreezeSchedule
from medcls.models.mobilenetv3 import mobilenetv3_large
from medcls.models.zoo import torchvision_network

NETWORKS = {
    "mobilenetv3_large": (mobilenetv3_large, "classifier"),
    "inception_v3": (lambda k: torchvision_network("inception_v3", num_classes=k), "fc"),
}


class EpochTimes(lightning.Callback):
    """Seconds of each epoch's training, without validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock, before features are computed: this callback is the first."""
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:  # noqa: ANN001
        """Stop it after the last batch."""
        if batch_idx + 1 == trainer.num_training_batches:
            self.seconds.append(time.perf_counter() - self._start)


def main() -> None:
    """Train by either way, in turn; print and write the seconds of an epoch and their ratio."""
    parser = arguments(__doc__, "frozen")
    parser.add_argument("--network", choices=NETWORKS, default="mobilenetv3_large")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10, help="from features; the long way takes three")
    parser.add_argument("--most", type=int, help="training images at most")
    given = parser.parse_args()
    machine = hardware.choose()
    manifest = read(given.images, given.positive, given.most)
    network, head = NETWORKS[given.network]

    def epochs(fast: bool) -> list[float]:
        data = loaders(manifest, machine, given.size, given.batch, None)
        times = EpochTimes()
        features = FrozenFeatures(data.rows_of, data.views, data.without_images, len(manifest), 10**9)
        freezing = FreezeSchedule([{"epochs": None, "freeze": ["backbone"]}], head)
        callbacks = [times, SeedEachEpoch(0), freezing, *([features] if fast else [])]
        with trainer_with(callbacks, given.epochs if fast else 3, validate=True) as trainer:
            trainer.fit(classifier_of(manifest, network, head), datamodule=data)
        return times.seconds

    pairs, first = [], []
    for _ in range(given.turns):
        long, short = epochs(fast=False), epochs(fast=True)
        pairs.append((statistics.median(long[1:]), statistics.median(short[1:])))
        first.append(short[0])
    report(
        "An epoch's training while all below the head is frozen",
        {
            "network": given.network,
            "images": len(manifest.indices("train")),
            "batch": given.batch,
            "size": given.size,
            "threads": torch.get_num_threads(),
            "turns": given.turns,
        },
        [
            {"what": "the long way", "figure": statistics.median(long for long, _ in pairs), "unit": "s"},
            {
                "what": "from features, from the second epoch on",
                "figure": statistics.median(short for _, short in pairs),
                "unit": "s",
                "against": "the long way",
                **ratio(pairs),
            },
            {"what": "from features, the first, which computes them", "figure": statistics.median(first), "unit": "s"},
        ],
        given.out,
    )


if __name__ == "__main__":
    main()
