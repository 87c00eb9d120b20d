"""A frozen phase from cached features against the long way, in turn: `python -m benchmarks.frozen --images FOLDER`.

Everything but the head is frozen, and images are not augmented. Counted is an epoch's training from the second on: the
first one computes the features.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import lightning
import torch

from benchmarks.results import report, spread
from medcls import hardware
from medcls.data.folders import from_folders
from medcls.data.module import ImageDataModule
from medcls.data.splits import split
from medcls.learning.callbacks import SeedEachEpoch
from medcls.learning.classifier import Classifier
from medcls.learning.features import FrozenFeatures
from medcls.learning.freezing import FreezeSchedule
from medcls.learning.losses import cross_entropy
from medcls.learning.schedulers import constant
from medcls.models.mobilenetv3 import mobilenetv3_large
from medcls.preprocessing import Preprocessing

# Made there where there are none yet, and nowhere else.
PHANTOMS = Path("data/breast_cancer")


class EpochTimes(lightning.Callback):
    """Seconds of each epoch's training, without validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock: before features are computed, being first in the list."""
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:  # noqa: ANN001
        """Stop it after the last batch."""
        if batch_idx + 1 == trainer.num_training_batches:
            self.seconds.append(time.perf_counter() - self._start)


def main() -> None:
    """Train by either way, in turn; print and write the seconds of an epoch and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=PHANTOMS)
    parser.add_argument("--positive", help="the positive class, where there are two")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/frozen.json"))
    given = parser.parse_args()
    machine = hardware.choose()
    manifest = split(from_folders(given.images, positive=given.positive, phantoms_at=PHANTOMS))
    preprocessing = Preprocessing(given.size, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    def epochs(fast: bool) -> list[float]:
        data = ImageDataModule(
            manifest, preprocessing, augmentation=None, workers=machine.workers,
            memory_for_images=machine.memory_for_images, cache=True,
        )  # fmt: skip
        k = len(manifest.classes)
        torch.manual_seed(0)
        classifier = Classifier(
            mobilenetv3_large(k), manifest.classes, cross_entropy(manifest.class_counts("train")), torch.optim.AdamW,
            constant, lambda labels, probabilities: {"n": float(len(labels))}, positive=None if k > 2 else 0,
            learning_rate_multipliers={}, head="classifier", description={},
        )  # fmt: skip
        times = EpochTimes()
        features = FrozenFeatures(data.in_view, data.views, data.without_images, len(manifest), 10**9)
        freezing = FreezeSchedule([{"epochs": None, "freeze": ["backbone"]}], "classifier")
        with tempfile.TemporaryDirectory() as folder:
            trainer = lightning.Trainer(
                max_epochs=given.epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
                callbacks=[times, SeedEachEpoch(0), freezing, *([features] if fast else [])],
                enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
                default_root_dir=folder,
            )  # fmt: skip
            trainer.fit(classifier, datamodule=data)
        return times.seconds

    pairs, first = [], []
    for _ in range(given.turns):
        long, short = epochs(fast=False), epochs(fast=True)
        pairs.append((statistics.median(long[1:]), statistics.median(short[1:])))
        first.append(short[0])
    result = {
        "network": "mobilenetv3_large",
        "training images": len(manifest.indices("train")),
        "size": given.size,
        "threads": torch.get_num_threads(),
        "an epoch the long way, s": statistics.median(long for long, _ in pairs),
        "an epoch from features, s": statistics.median(short for _, short in pairs),
        "the first epoch, which computes them, s": statistics.median(first),
        **spread(pairs),
    }
    report(result, given.out)


if __name__ == "__main__":
    main()
