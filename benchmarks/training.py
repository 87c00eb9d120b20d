"""End-to-end training against the bare step, in turn: how much of the machine reaches the network.

    python -m benchmarks.training --images data/breast_cancer

One training by Lightning as the door does it, from cached images; after each epoch as many bare steps are timed on a
batch that is there already. The first epoch, which decodes and allocates, is left out.
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
from medcls.data.transforms import Augmentation
from medcls.learning.callbacks import SeedEachEpoch
from medcls.learning.classifier import Classifier
from medcls.learning.losses import cross_entropy
from medcls.learning.schedulers import constant
from medcls.models.mobilenetv3 import mobilenetv3_large
from medcls.preprocessing import Preprocessing

# Made there where there are none yet, and nowhere else.
PHANTOMS = Path("data/breast_cancer")


class InTurn(lightning.Callback):
    """Times each epoch's training, then as many bare steps of the same network on the same machine."""

    def __init__(self, batch: int, size: int) -> None:
        torch.manual_seed(0)
        self._network = mobilenetv3_large(2).to(memory_format=torch.channels_last)
        self._optimizer = torch.optim.AdamW(self._network.parameters())
        self._images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        self._labels = torch.randint(0, 2, (batch,))
        self._batch, self._start, self._seen = batch, 0.0, 0
        self.pairs: list[tuple[float, float]] = []

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock."""
        self._start, self._seen = time.perf_counter(), 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:  # noqa: ANN001
        """After the last batch, stop it; then the bare steps."""
        self._seen += len(batch[1])
        if batch_idx + 1 == trainer.num_training_batches:
            whole = (time.perf_counter() - self._start) / self._seen
            steps = max(3, trainer.num_training_batches)
            start = time.perf_counter()
            for _ in range(steps):
                self._step()
            alone = (time.perf_counter() - start) / (steps * self._batch)
            if trainer.current_epoch:
                self.pairs.append((whole, alone))

    def _step(self) -> None:
        self._optimizer.zero_grad()
        torch.nn.functional.cross_entropy(self._network(self._images), self._labels).backward()
        self._optimizer.step()


def main() -> None:
    """Train for some epochs; print and write images/s of both, and the share that reaches the network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=PHANTOMS)
    parser.add_argument("--positive", help="the positive class, where there are two")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--most", type=int, default=320, help="training images at most")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/training.json"))
    given = parser.parse_args()
    machine = hardware.choose()
    whole = from_folders(given.images, positive=given.positive, phantoms_at=PHANTOMS)
    manifest = split(whole, train_fraction=min(1.0, given.most / (0.64 * len(whole))))
    preprocessing = Preprocessing(given.size, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    data = ImageDataModule(
        manifest, preprocessing, augmentation=Augmentation(), batch_size=given.batch, workers=machine.workers,
        memory_for_images=machine.memory_for_images, cache=True,
    )  # fmt: skip
    k = len(manifest.classes)
    classifier = Classifier(
        mobilenetv3_large(k), manifest.classes, cross_entropy(manifest.class_counts("train")),
        torch.optim.AdamW, constant, lambda labels, probabilities: {"n": float(len(labels))},
        positive=None if k > 2 else 0, learning_rate_multipliers={}, head="classifier", description={},
    )  # fmt: skip
    timed = InTurn(given.batch, given.size)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=given.epochs, accelerator="cpu", callbacks=[SeedEachEpoch(0), timed], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
            num_sanity_val_steps=0, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(classifier, datamodule=data)
    ratios = spread(timed.pairs)
    result = {
        "network": "mobilenetv3_large",
        "images": len(manifest.indices("train")),
        "batch": given.batch,
        "size": given.size,
        "threads": torch.get_num_threads(),
        "end to end, images/s": 1 / statistics.median(whole for whole, _ in timed.pairs),
        "step alone, images/s": 1 / statistics.median(alone for _, alone in timed.pairs),
        "share of the step alone, median": 1 / ratios["ratio, median"],
        "share of the step alone, smallest": 1 / ratios["ratio, largest"],
        "share of the step alone, largest": 1 / ratios["ratio, smallest"],
    }
    report(result, given.out)


if __name__ == "__main__":
    main()
