"""Callbacks of a training: seed each epoch, compute exact batch-norm statistics, show progress in a notebook."""

from collections.abc import Iterable

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medcls.learning.classifier import Batch
from medcls.randomness import seeds_of

FEW_STEPS = 500
"""Trainings with fewer optimizer steps get exact batch-norm statistics by default (`exact_batch_norm`)."""


class SeedEachEpoch(lightning.Callback):
    """Seed torch from (seed, epoch, rank) at the start of each training epoch.

    Dropout then draws the same numbers in a resumed run as in one that was not interrupted. Augmentation has its own
    random numbers.

    Parameters
    ----------
    seed : int
        The run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Seed the generators of the CPU and of each GPU."""
        sequence = seeds_of("dropout", self.seed, trainer.current_epoch, trainer.global_rank)
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))


def statistics_lag(network: nn.Module, steps: int) -> bool:
    """Whether running batch-norm statistics lag behind the weights in a training of so many steps."""
    return steps < FEW_STEPS and has_batch_norm(network)


def has_batch_norm(network: nn.Module) -> bool:
    """Whether any layer is a batch norm with running statistics."""
    return any(isinstance(module, _BatchNorm) and module.track_running_stats for module in network.modules())


class ExactBatchNorm(lightning.Callback):
    """Set batch-norm statistics to those of the training images before each validation.

    Runs over un-augmented training batches like `torch.optim.swa_utils.update_bn`, with two differences: only batch
    norms that trained in this epoch are updated, not frozen ones; and all other modules, dropout in particular, are in
    eval mode, as in the evaluation that follows. Statistics are averaged over batches; a short last batch has the same
    weight as the others.

    With an exponential moving average the statistics are those of the averaged network. In a distributed run each
    process runs over all batches, and all get the same result.

    Parameters
    ----------
    batches : iterable of batches
        A loader of un-augmented training images, in a fixed shuffled order: if they were sorted by class, each batch
        would have the statistics of one class.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self._training: list[_BatchNorm] = []
        self._epoch = -1

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Find the batch norms that train: those in train mode during training."""
        if self._epoch != trainer.current_epoch:  # a run that continues within an epoch has no batch 0
            self._epoch = trainer.current_epoch
            self._training = [
                module
                for module in pl_module.modules()
                if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
            ]

    def on_validation_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Update before the first batch, when an averaging callback has set its weights, in whatever order they are."""
        if batch_idx or dataloader_idx or trainer.sanity_checking or not self._training:
            return
        momenta = [norm.momentum for norm in self._training]
        for norm in self._training:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        try:
            with torch.no_grad():
                for training_batch in self._batches:
                    moved = trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(training_batch))
                    with trainer.precision_plugin.forward_context():
                        pl_module(moved[0])
        finally:
            for norm, momentum in zip(self._training, momenta, strict=True):
                norm.momentum = momentum
                norm.eval()


class NotebookProgressBar(TQDMProgressBar):
    """Lightning's bar for notebooks, without the second bar of each validation, which would leave an empty line."""

    def init_validation_tqdm(self) -> Tqdm:
        """Return a bar that shows nothing."""
        return Tqdm(disable=True)
