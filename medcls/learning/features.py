"""While only the head trains, compute its inputs once instead of in each epoch."""

import logging
from collections.abc import Callable, Iterable

import lightning
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medcls.learning.classifier import Batch, Classifier
from medcls.learning.freezing import FreezeSchedule
from medcls.learning.processes import all_agree, gathered

log = logging.getLogger(__name__)


class FrozenFeatures(lightning.Callback):
    """Train on precomputed inputs of the head in epochs in which only the head trains.

    Used only if the result is the same as without it: all parameters and statistics outside the head are frozen;
    nothing there is random, except a dropout directly before the head; training images have fixed views; and the head
    takes one tensor, from which it alone computes the logits. If weights are averaged, the frozen part must never have
    trained: the average used in validation would still be moving towards the frozen weights. Otherwise each epoch runs
    the whole network.

    Must come after `FreezeSchedule` in the list of callbacks.

    Parameters
    ----------
    rows_of : callable
        From a split (`train` or `val`), a view and a device to batches `(images, labels, rows)` with each row once; of
        several processes each gets its share. Validation rows are only requested in view 0.
    views : int or None
        Number of fixed views of the training images, used in turn by the epoch; None if each epoch augments
        differently.
    without_images : callable
        Takes whether the loaders should leave out the images; returns whether they can.
    rows : int
        Number of rows in the manifest.
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
        self._positions = torch.full((rows,), -1)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Set or remove the classifier's features for this epoch."""
        if not isinstance(pl_module, Classifier):
            return
        if self._views is None or not only_the_head_trains(pl_module.network, pl_module.head):
            self._forget(pl_module)
            return
        view = trainer.current_epoch % self._views
        if view not in self._of_view and not self._compute(trainer, pl_module, view):
            self._forget(pl_module)
            self._views = None  # the reason will not change
            return
        pl_module.features = (self._of_view[view], self._positions, self._before)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Let the loaders load images again."""
        if isinstance(pl_module, Classifier):
            self._forget(pl_module)

    def _forget(self, module: Classifier) -> None:
        module.features = None
        self._of_view.clear()
        self._of_validation = None
        self._without_images(False)

    @torch.no_grad()
    def _compute(self, trainer: lightning.Trainer, module: Classifier, view: int) -> bool:
        """Run the frozen part over a view; if features cannot be used, log the reason and return False."""
        self._without_images(False)
        if averages_trained_weights(trainer, module):
            log.debug(
                "the frozen part runs in each epoch: weights are averaged, and it trained before it was frozen",
                extra={"rule": "weights_averaged"},
            )
            return False
        device = trainer.strategy.root_device
        training, validation = self._run(trainer, module, self._rows_of("train", view, device)), self._of_validation
        if training is not None and validation is None:
            validation = self._run(trainer, module, self._rows_of("val", 0, device))
        if not all_agree(training is not None and validation is not None, device) or not (training and validation):
            return False
        training = (gathered(training[0]), gathered(training[1]))
        if self._of_validation is None:
            self._of_validation = (gathered(validation[0]), gathered(validation[1]))
        of_training, of_validation = training[0].nbytes, self._of_validation[0].nbytes
        # Features of validation follow those of each training view, and are kept separately for further views.
        too_large = self._too_large((self._views or 1) * (of_training + of_validation) + of_validation)
        if not all_agree(not too_large, device):
            return False
        if not self._without_images(True):
            log.debug(
                "worker processes go on loading images that are not needed",
                extra={"rule": "loaders_go_on"},
            )
        features, rows = (torch.cat(parts) for parts in zip(training, self._of_validation, strict=True))
        self._positions = self._positions.to(rows.device)
        self._positions[rows] = torch.arange(len(rows), device=rows.device)
        self._of_view[view] = features
        log.debug(
            "only the head trains: its inputs are computed once (view %d of %d, %.1f MiB)",
            view + 1, self._views, features.nbytes / 2**20, extra={"rule": "features_computed"},
        )  # fmt: skip
        return True

    def _run(
        self, trainer: lightning.Trainer, module: Classifier, batches: Iterable[Batch]
    ) -> tuple[Tensor, Tensor] | None:
        """The inputs of the head `(n, ...)` and their rows `(n,)`; None if features cannot be used."""
        features: list[Tensor] = []
        rows: list[Tensor] = []
        size = 0
        for batch in batches:
            images, numbers = batch[0].to(next(module.network.parameters()).dtype), batch[2]
            with trainer.precision_plugin.forward_context():
                if not features:
                    sample = images[:4]
                    self._before = dropout_before_head(module, sample)
                    if (reason := reason_not_reusable(module, sample, self._before)) is not None:
                        log.debug(
                            "the frozen part runs in each epoch: %s",
                            reason,
                            extra={"rule": "features_cannot_stand_in"},
                        )
                        return None
                features.append(head_inputs(module.network, module.head, images, self._before)[0])
            rows.append(numbers)
            size += features[-1].nbytes
            if self._too_large(size * (self._views or 1)):
                return None
        return torch.cat(features), torch.cat(rows)

    def _too_large(self, size: int) -> bool:
        if size > self._memory:
            log.debug(
                "the frozen part runs in each epoch: its features would take more than %d MiB",
                self._memory // 2**20,
                extra={"rule": "features_too_large"},
            )
        return size > self._memory


def only_the_head_trains(network: nn.Module, head: str) -> bool:
    """Whether all parameters and batch-norm statistics outside the head are frozen."""
    own = {id(module) for module in network.get_submodule(head).modules()}
    outside = [module for module in network.modules() if id(module) not in own]
    in_head = {id(parameter) for parameter in network.get_submodule(head).parameters()}
    return not any(p.requires_grad and id(p) not in in_head for p in network.parameters()) and not any(
        isinstance(module, _BatchNorm) and module.training for module in outside
    )


def averages_trained_weights(trainer: lightning.Trainer, module: Classifier) -> bool:
    """Whether weights are averaged, and a phase so far trained more than the head."""
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


def head_inputs(network: nn.Module, head: str, images: Tensor, before: nn.Module) -> tuple[Tensor, Tensor]:
    """The inputs of the head and the outputs of the network, with the head and the module before it in eval mode."""
    inputs_of_head: list[Tensor] = []
    module = network.get_submodule(head)
    handle = module.register_forward_pre_hook(lambda _, inputs: inputs_of_head.append(inputs[0]))
    training = [(part, part.training) for part in (module, before)]
    module.eval()
    before.eval()
    try:
        # `forward` rather than a call: hooks within a compiled network would not run.
        outputs = network.forward(images.contiguous(memory_format=torch.channels_last))
    finally:
        handle.remove()
        for part, mode in training:
            part.train(mode)
    return inputs_of_head[0], outputs


def dropout_before_head(module: Classifier, images: Tensor) -> nn.Module:
    """Find the dropout whose output, in any shape, is the input of the head (torchvision's Inception has one).

    Leaves the state of the random generator unchanged.

    Returns
    -------
    Module
        The dropout, or an `nn.Identity`.
    """
    network, head = module.network, module.network.get_submodule(module.head)
    inputs_of_head: list[Tensor] = []
    dropped: list[tuple[nn.Module, Tensor]] = []
    in_head = set(head.modules())
    handles = [head.register_forward_pre_hook(lambda _, inputs: inputs_of_head.append(inputs[0]))]
    for part in network.modules():
        if isinstance(part, nn.Dropout) and part.training and part.p > 0 and part not in in_head:
            handles.append(part.register_forward_hook(lambda dropout, _, output: dropped.append((dropout, output))))
    try:
        with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
            network.forward(images.contiguous(memory_format=torch.channels_last))
    finally:
        for handle in handles:
            handle.remove()
    if dropped and torch.equal(dropped[-1][1].flatten(1), inputs_of_head[0].flatten(1)):
        return dropped[-1][0]
    return nn.Identity()


def reason_not_reusable(module: Classifier, images: Tensor, before: nn.Module) -> str | None:
    """Why features cannot replace the network below the head; None if they can. Leaves the random state unchanged."""
    network, head = module.network, module.network.get_submodule(module.head)
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(0)
        first, outputs = head_inputs(network, module.head, images, before)
        torch.manual_seed(1)
        second, _ = head_inputs(network, module.head, images, before)
    if not torch.equal(first, second):
        return "it draws random numbers (dropout or the like)"
    training = head.training
    head.eval()
    outputs_of_head = head(first)
    head.train(training)
    return None if torch.equal(outputs_of_head, outputs) else "the network has more layers after its head"
