"""A plain LightningModule over the same files. `python -m benchmarks.peer_programs.lightning_loop`."""

import lightning
import torch
from torch import Tensor, nn

from benchmarks.frozen import EpochTimes
from benchmarks.peer_programs import arguments, print_result
from benchmarks.peer_programs.files import loader
from benchmarks.pieces import trainer_with
from medcls.models.mobilenetv3 import mobilenetv3_large


class Plain(lightning.LightningModule):
    """The network and its loss, with nothing set but the learning rate."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.network = mobilenetv3_large(classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch, logged."""
        images, labels = batch
        loss = nn.functional.cross_entropy(self.network(images), labels)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main() -> None:
    """Train; print the seconds of each epoch."""
    given = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    batches = loader(given.images, given.batch, given.size, given.workers)
    times = EpochTimes()
    with trainer_with([times], given.epochs, validate=False) as trainer:
        trainer.fit(Plain(len(batches.dataset.classes)), batches)
    print_result(times.seconds, len(batches.dataset))


if __name__ == "__main__":
    main()
