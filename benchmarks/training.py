"""Training end to end compared with the step alone, in turn.

    python -m benchmarks.training --images data/breast_cancer

A training with Lightning as in the command, from cached images; after each epoch as many steps are timed on one batch.
The first epoch, which decodes and allocates, is left out.
"""

import statistics
import time

import lightning
import torch

from benchmarks.pieces import arguments, bare_step, classifier_of, loaders, read, trainer_with
from benchmarks.results import ratio, report, seconds
from medcls import hardware
from medcls.data.transforms import Augmentation
from medcls.learning.callbacks import SeedEachEpoch


class InTurn(lightning.Callback):
    """Time the training of each epoch, then as many steps of the same network alone."""

    def __init__(self, batch: int, size: int) -> None:
        self._step, self._batch = bare_step(batch, size), batch
        self._start, self._seen = 0.0, 0
        self.pairs: list[tuple[float, float]] = []

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock."""
        self._start, self._seen = time.perf_counter(), 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:  # noqa: ANN001
        """After the last batch, stop the clock; then time the steps alone. Both in seconds per image."""
        self._seen += len(batch[1])
        if batch_idx + 1 == trainer.num_training_batches:
            end_to_end = (time.perf_counter() - self._start) / self._seen
            steps = max(3, trainer.num_training_batches)
            alone = sum(seconds(self._step) for _ in range(steps)) / (steps * self._batch)
            if trainer.current_epoch:
                self.pairs.append((alone, end_to_end))


def main() -> None:
    """Train for some epochs; print and write images/s of both and their ratio."""
    parser = arguments(__doc__, "training")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--most", type=int, default=320, help="training images at most")
    given = parser.parse_args()
    machine = hardware.choose()
    manifest = read(given.images, given.positive, given.most)
    timed = InTurn(given.batch, given.size)
    with trainer_with([SeedEachEpoch(0), timed], given.epochs, validate=False) as trainer:
        data = loaders(manifest, machine, given.size, given.batch, Augmentation())
        trainer.fit(classifier_of(manifest), datamodule=data)
    report(
        "Training end to end against the step alone",
        {
            "network": "mobilenetv3_large",
            "images": len(manifest.indices("train")),
            "batch": given.batch,
            "size": given.size,
            "threads": torch.get_num_threads(),
            "epochs": len(timed.pairs),
        },
        [
            {
                "what": "step alone",
                "figure": 1 / statistics.median(alone for alone, _ in timed.pairs),
                "unit": "images/s",
            },
            {
                "what": "end to end",
                "figure": 1 / statistics.median(end_to_end for _, end_to_end in timed.pairs),
                "unit": "images/s",
                "against": "step alone",
                **ratio(timed.pairs),
            },
        ],
        given.out,
    )


if __name__ == "__main__":
    main()
