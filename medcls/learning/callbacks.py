"""What happens around epochs: dropout reseeded, batch-norm statistics made exact."""

from collections.abc import Iterable

import lightning
import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medcls.learning.classifier import Batch
from medcls.randomness import seeds_of

FEW_STEPS = 500
"""Trainings of fewer optimizer steps get exact batch-norm statistics, unless told otherwise (`exact_batch_norm`)."""


class SeedEachEpoch(lightning.Callback):
    """Seeds torch from (seed, epoch, rank) as each training epoch starts.

    Dropout then draws the same in a run resumed at an epoch as in one that was never stopped.
    Augmentation has its own draws and is not touched.

    Parameters
    ----------
    seed : int
        The run's.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Seed the CPU's and each GPU's generator."""
        words = seeds_of("dropout", self.seed, trainer.current_epoch, trainer.global_rank)
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0] >> 1))


def statistics_lag(network: nn.Module, steps: int) -> bool:
    """Whether a training of so many steps leaves a network's running statistics behind its weights."""
    return steps < FEW_STEPS and any(
        isinstance(module, _BatchNorm) and module.track_running_stats for module in network.modules()
    )


class ExactBatchNorm(lightning.Callback):
    """Before each validation, sets batch-norm statistics to those of the training images.

    A pass over un-augmented training batches, as `torch.optim.swa_utils.update_bn` does it, with two
    differences: only the batch norms that trained in this epoch move, so that frozen ones stand still;
    all else, dropout above all, is in eval mode, as it will be in the evaluation that follows. The
    statistics are the mean over batches, which weighs a short last batch like the others.

    With an exponential moving average the statistics are those of the averaged network. In a
    distributed run each process makes the whole pass, and all come to the same.

    Parameters
    ----------
    batches : iterable of batches
        A loader of training images, not augmented, in a fixed shuffled order: sorted by class, each
        batch would have the statistics of one class.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self._training: list[_BatchNorm] = []

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Remember which batch norms train: those in train mode while training."""
        if batch_idx == 0:
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
        """Before the first batch: by then an averaging callback, wherever it stands, has put its weights in."""
        if batch_idx or dataloader_idx or trainer.sanity_checking or not self._training:
            return
        momenta = [norm.momentum for norm in self._training]
        for norm in self._training:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches to come
            norm.train()
        try:
            with torch.no_grad():
                for own in self._batches:
                    moved = trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(own))
                    with trainer.precision_plugin.forward_context():
                        pl_module(moved[0])
        finally:
            for norm, momentum in zip(self._training, momenta, strict=True):
                norm.momentum = momentum
                norm.eval()
