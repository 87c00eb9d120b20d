"""While all below the head is frozen, that part of the network gives the same for an image each epoch: run it once."""

import logging
from collections.abc import Callable, Iterable

import lightning
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medcls.learning.classifier import Batch, Classifier
from medcls.learning.freezing import FreezeSchedule

log = logging.getLogger(__name__)


class FrozenFeatures(lightning.Callback):
    """Lets epochs in which the head alone trains run on what enters the head, computed once.

    It applies where it gives what the long way gives: every parameter outside the head is frozen, with its
    statistics; nothing there draws at random, but for a dropout right before the head; the images of an epoch are
    those of an earlier one; and what the head is given is one tensor, from which it alone makes the logits. Where
    weights are averaged, what is frozen must never have trained either: validation sees the average, which would go on
    moving towards what was frozen. Else training goes the long way.

    Put it behind `FreezeSchedule` in the list of callbacks.

    Parameters
    ----------
    rows_of : callable
        From `train` or `val`, the number of a view and a device to that split's rows in that view on that device, each
        once, as the network is given them: `(images, labels, rows)`. Validation rows are only asked for in view 0.
    views : int or None
        Into how many fixed views the training images are put, in turn by the epoch; None where each epoch has its own.
    without_images : callable
        Told whether the loaders are to leave images out of their batches; says whether they can.
    rows : int
        How many the manifest has.
    memory : int
        Bytes that features may take.
    """

    def __init__(
        self,
        rows_of: Callable[[str, int, torch.device], Iterable[Batch]],
        views: int | None,
        without_images: Callable[[bool], bool],
        rows: int,
        memory: int,
    ) -> None:
        self._rows_of, self._views, self._without_images = rows_of, views, without_images
        self._rows, self._memory = rows, memory
        self._of_view: dict[int, Tensor] = {}
        self._of_validation: tuple[Tensor, Tensor] | None = None
        self._before: nn.Module = nn.Identity()
        self._place = torch.full((rows,), -1)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Give the classifier this epoch's features, or take them away."""
        if not isinstance(pl_module, Classifier):
            return
        if self._views is None or not only_the_head_trains(pl_module.network, pl_module.head):
            self._forget(pl_module)
            return
        view = trainer.current_epoch % self._views
        if view not in self._of_view and not self._compute(trainer, pl_module, view):
            self._forget(pl_module)
            self._views = None  # what hindered it will not change
            return
        pl_module.features = (self._of_view[view], self._place, self._before)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Let the loaders give images again."""
        if isinstance(pl_module, Classifier):
            self._forget(pl_module)

    def _forget(self, module: Classifier) -> None:
        module.features = None
        self._of_view.clear()
        self._of_validation = None
        self._without_images(False)

    @torch.no_grad()
    def _compute(self, trainer: lightning.Trainer, module: Classifier, view: int) -> bool:
        """Run the frozen part over a view; False where it cannot stand in for the long way, with the reason logged."""
        self._without_images(False)
        if averages_trained_weights(trainer, module):
            log.debug(
                "the frozen part runs anew each epoch: weights are averaged, and it trained before it was frozen",
                extra={"rule": "weights_averaged"},
            )
            return False
        device = trainer.strategy.root_device
        training = self._run(trainer, module, self._rows_of("train", view, device))
        if training is not None and self._of_validation is None:
            self._of_validation = self._run(trainer, module, self._rows_of("val", 0, device))
        if training is None or self._of_validation is None:
            return False
        of_training, of_validation = training[0].nbytes, self._of_validation[0].nbytes
        # Validation stands behind the training images of each view, and is kept for the views to come.
        if self._too_large((self._views or 1) * (of_training + of_validation) + of_validation):
            return False
        if not self._without_images(True):
            log.debug(
                "loader processes go on bringing images that are not needed: they cannot be told",
                extra={"rule": "loaders_go_on"},
            )
        features, rows = (torch.cat(parts) for parts in zip(training, self._of_validation, strict=True))
        self._place = self._place.to(rows.device)
        self._place[rows] = torch.arange(len(rows), device=rows.device)
        self._of_view[view] = features
        log.debug(
            "only the head trains: what enters it is computed once (view %d of %d, %.1f MiB), and epochs run on that",
            view + 1, self._views, features.nbytes / 2**20, extra={"rule": "features_computed"},
        )  # fmt: skip
        return True

    def _run(
        self, trainer: lightning.Trainer, module: Classifier, batches: Iterable[Batch]
    ) -> tuple[Tensor, Tensor] | None:
        """What enters the head, `(n, ...)`, and the rows `(n,)` it is of; None as `_compute` says False."""
        found: list[Tensor] = []
        rows: list[Tensor] = []
        size = 0
        for batch in batches:
            images, numbers = batch[0].to(next(module.network.parameters()).dtype), batch[2]
            with trainer.precision_plugin.forward_context():
                if not found:
                    few = images[:4]
                    self._before = dropout_before_head(module, few)
                    if (reason := reason_not_reusable(module, few, self._before)) is not None:
                        log.debug(
                            "the frozen part runs anew each epoch: %s",
                            reason,
                            extra={"rule": "features_cannot_stand_in"},
                        )
                        return None
                found.append(enters(module.network, module.head, images, self._before)[0])
            rows.append(numbers)
            size += found[-1].nbytes
            if self._too_large(size * (self._views or 1)):
                return None
        return torch.cat(found), torch.cat(rows)

    def _too_large(self, size: int) -> bool:
        if size > self._memory:
            log.debug(
                "the frozen part runs anew each epoch: its features would take more than %d MiB",
                self._memory // 2**20,
                extra={"rule": "features_too_large"},
            )
        return size > self._memory


def only_the_head_trains(network: nn.Module, head: str) -> bool:
    """Whether every parameter outside the head is frozen, and every statistic stands still."""
    own = {id(module) for module in network.get_submodule(head).modules()}
    outside = [module for module in network.modules() if id(module) not in own]
    in_head = {id(parameter) for parameter in network.get_submodule(head).parameters()}
    return not any(p.requires_grad and id(p) not in in_head for p in network.parameters()) and not any(
        isinstance(module, _BatchNorm) and module.training for module in outside
    )


def averages_trained_weights(trainer: lightning.Trainer, module: Classifier) -> bool:
    """Whether weights are averaged, and a phase up to now trained more than the head.

    The average of what never trained is that itself.
    """
    callbacks: list[lightning.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if not any(isinstance(callback, WeightAveraging) for callback in callbacks):
        return False
    network, epoch = module.network, trainer.current_epoch
    for schedule in (callback for callback in callbacks if isinstance(callback, FreezeSchedule)):
        try:
            for start in schedule.starts()[: schedule.phase_at(epoch) + 1]:
                schedule.apply(network, start)
                if not only_the_head_trains(network, module.head):
                    return True
        finally:
            schedule.apply(network, epoch)
    return False


def enters(network: nn.Module, head: str, images: Tensor, before: nn.Module) -> tuple[Tensor, Tensor]:
    """What enters the head, and what leaves the network; the head, and what stands before it, in eval mode.

    Their dropout then draws nothing.
    """
    caught: list[Tensor] = []
    module = network.get_submodule(head)
    handle = module.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    training = [(part, part.training) for part in (module, before)]
    module.eval()
    before.eval()
    try:
        # Not by calling the network, which may be compiled: nothing could be caught within it.
        outputs = network.forward(images.contiguous(memory_format=torch.channels_last))
    finally:
        handle.remove()
        for part, mode in training:
            part.train(mode)
    return caught[0], outputs


def dropout_before_head(module: Classifier, images: Tensor) -> nn.Module:
    """Find the dropout whose output, whatever its shape, is what enters the head (torchvision's Inception has one).

    Returns
    -------
    Module
        An `nn.Identity` where there is none. Nothing is drawn for good.
    """
    network, head = module.network, module.network.get_submodule(module.head)
    given: list[Tensor] = []
    left: list[tuple[nn.Module, Tensor]] = []
    own = set(head.modules())
    handles = [head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))]
    for part in network.modules():
        if isinstance(part, nn.Dropout) and part.training and part.p > 0 and part not in own:
            handles.append(part.register_forward_hook(lambda dropout, _, output: left.append((dropout, output))))
    try:
        with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
            network.forward(images.contiguous(memory_format=torch.channels_last))
    finally:
        for handle in handles:
            handle.remove()
    if left and torch.equal(left[-1][1].flatten(1), given[0].flatten(1)):
        return left[-1][0]
    return nn.Identity()


def reason_not_reusable(module: Classifier, images: Tensor, before: nn.Module) -> str | None:
    """Why features cannot stand in for the network below the head; None where they can. Draws nothing for good."""
    network, head = module.network, module.network.get_submodule(module.head)
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(0)
        first, outputs = enters(network, module.head, images, before)
        torch.manual_seed(1)
        second, _ = enters(network, module.head, images, before)
    if not torch.equal(first, second):
        return "it draws at random (dropout or the like)"
    training = head.training
    head.eval()
    alone = head(first)
    head.train(training)
    return None if torch.equal(alone, outputs) else "the network does more than its head after it"
