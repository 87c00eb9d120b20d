"""The network in training: loss, optimizer and metrics around it, and what goes into its checkpoints."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import CatMetric, MeanMetric, SumMetric

from medcls.errors import MedclsError, nearest
from medcls.learning.freezing import names_matching
from medcls.learning.losses import Loss
from medcls.learning.schedulers import Scheduler, build_optimizer, drop_length

Batch = tuple[Tensor, Tensor, Tensor]
"""Images float32 `(B, C, H, W)`, normalised; class indices int64 `(B,)`; manifest rows int64 `(B,)`."""

Metrics = Callable[[np.ndarray, np.ndarray], dict[str, float]]
"""`(labels (n,), probabilities (n, K)) -> name to value`, of a whole split."""


class Classifier(lightning.LightningModule):
    """Trains a network to tell classes apart.

    Logged: `train/loss` and `train/accuracy` as the epoch went, in train mode; `val/loss` and
    `val/<metric>` computed once from the whole split. Nothing is the mean of batch means (P41, P49).

    Parameters
    ----------
    network : nn.Module
        From images to `loss.outputs(K)` logits.
    classes : sequence of str
        The K class names, in the manifest's order.
    loss : Loss
        What is minimised.
    optimizer : Callable
        From parameter groups to an optimizer; a partial of one of torch's.
    scheduler : Callable
        One of `medcls.learning.schedulers`, its own settings bound.
    metrics : Callable
        Of the validation split.
    positive : int or None
        Index of the positive class in a binary task: whose logit a network with one logit gives.
    learning_rate_multipliers : mapping of str to float
        Pattern (as in `freezing.names_matching`) to a factor on the learning rate. The first that
        matches a parameter counts; the others train at the rate as set.
    head : str
        Dotted prefix of the network's head.
    description : mapping
        Plain data that travels in each checkpoint under `medcls`: what is needed to build the network
        again and to prepare its input.

    Raises
    ------
    MedclsError
        A multiplier that is no positive number, or whose pattern matches nothing that another has not taken.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: Sequence[str],
        loss: Loss,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        scheduler: Scheduler,
        metrics: Metrics,
        *,
        positive: int | None,
        learning_rate_multipliers: Mapping[str, float],
        head: str,
        description: Mapping[str, Any],
    ) -> None:
        super().__init__()
        if loss.outputs(len(classes)) == 1 and positive is None:
            raise MedclsError(
                "A network with one logit needs to know whose: name the positive_class.", kind="missing_setting"
            )
        self.network = network.to(memory_format=torch.channels_last)
        self.classes = tuple(classes)
        self.loss = loss
        self.positive = positive
        self.multipliers = dict(learning_rate_multipliers)
        self.head = head
        self._optimizer, self._scheduler, self._metrics = optimizer, scheduler, metrics
        self._description = _plain(description)
        # What enters the head, by `place[row]`, while nothing else trains; and what is done to it before, a dropout or
        # nothing (`medcls.learning.features`).
        self.features: tuple[Tensor, Tensor, nn.Module] | None = None
        self._groups()  # a pattern that matches nothing is found out now, not after the data has been decoded

        # No metric looks for NaN itself, for which a GPU would be waited for: `on_after_backward` does. A MeanMetric
        # that does not look drops its weights (torchmetrics 1.9), so the mean loss is made of two sums.
        self._train_loss, self._train_weight = SumMetric(nan_strategy="disable"), SumMetric(nan_strategy="disable")
        self._train_accuracy = MeanMetric(nan_strategy="disable")
        # The last loss, and whether it is finite: on the CPU, or on its way there until the event.
        self._unchecked: tuple[Tensor, Tensor, torch.cuda.Event | None] | None = None
        # Rows as floats are exact up to 2**24, and NaN logits must come through to be told of.
        self._val_logits, self._val_labels, self._val_rows = (CatMetric(nan_strategy="disable") for _ in range(3))

    # ------------------------------------------------------------------ names that can be monitored

    def metric_names(self) -> tuple[str, ...]:
        """Every name that training logs."""
        labels = np.tile(np.arange(len(self.classes)), 2)
        probe = np.full((len(labels), len(self.classes)), 1 / len(self.classes))
        return ("train/loss", "train/accuracy", "val/loss", *(f"val/{name}" for name in self._metrics(labels, probe)))

    def check_monitor(self, monitor: str, mode: Literal["min", "max"], better: Mapping[str, str]) -> None:
        """Refuse to select by what cannot select: a metric that nothing logs (P31), a constant, the wrong end.

        Parameters
        ----------
        monitor, mode
            As of `ModelCheckpoint`.
        better : mapping of str to str
            Of each metric that is not better the higher it is: `lower`, or `neither` for what is of the images alone,
            whatever is predicted. Losses are better the lower they are.

        Raises
        ------
        MedclsError
            Lists the names there are, or shows the mode that belongs to the metric.
        """
        names = self.metric_names()
        if monitor not in names:
            raise MedclsError(
                f"monitor={monitor} is not logged.{nearest(monitor, names)} The names there are: {', '.join(names)}.",
                kind="unknown_metric",
            )
        ends = {f"val/{name}": end for name, end in better.items()} | {"train/loss": "lower", "val/loss": "lower"}
        if ends.get(monitor) == "neither":
            raise MedclsError(
                f"monitor={monitor} is the same after each epoch, so no epoch would be the best by it. Give one that "
                f"training moves: {', '.join(name for name in names if ends.get(name) != 'neither')}.",
                kind="constant_metric",
            )
        if mode not in ("min", "max"):
            raise MedclsError(f"monitor_mode is {mode!r}: choose min or max.", kind="bad_value")
        right, end = ("min", "lower") if ends.get(monitor) == "lower" else ("max", "higher")
        if mode != right:
            raise MedclsError(
                f"monitor={monitor} is better the {end} it is, and monitor_mode={mode} would keep the worst epoch as "
                f"the best. Give monitor_mode={right}.",
                kind="conflicting_settings",
            )

    # ------------------------------------------------------------------ the network

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(B, K)` of images `(B, C, H, W)`."""
        # Of the weights' type, which `trainer.precision=bf16-true` and its like change.
        images = images.to(next(self.network.parameters()).dtype)
        outputs = self.network(images.contiguous(memory_format=torch.channels_last))
        return logits_of_classes(outputs, len(self.classes), self.positive)

    def compile_network(self) -> None:
        """Let torch compile the network when it first sees a batch, anew for each size of batch, mode and phase.

        On a GPU by CUDA graphs, as far as torch can make them: small networks wait for each kernel to be started.
        """
        # Each is a program of its own, of which torch would make eight and then, without a word, no more.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
        self.network.compile(dynamic=False, mode="reduce-overhead" if torch.cuda.is_available() else "default")

    def _logits(self, images: Tensor, rows: Tensor) -> Tensor:
        """The long way, or from features where there are some; then the images may be absent."""
        if self.features is None:
            return self(images)
        features, place, before = self.features
        outputs = self.network.get_submodule(self.head)(before(features[place[rows]]))
        return logits_of_classes(outputs, len(self.classes), self.positive)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Give all parameters, frozen or not, to the optimizer in named groups; then lay out the schedule."""
        groups, multipliers = self._groups()
        optimizer = build_optimizer(self._optimizer, groups, multipliers)
        steps = int(self.trainer.estimated_stepping_batches)
        batches = int(self.trainer.num_training_batches)
        config = self._scheduler(optimizer, steps, math.ceil(batches / self.trainer.accumulate_grad_batches))
        if "frequency" in config:
            config["frequency"] = batches  # once an epoch, and Lightning counts batches here, not steps
        return {"optimizer": optimizer, "lr_scheduler": config}

    def _groups(self) -> tuple[list[dict[str, Any]], list[float]]:
        """Parameter groups named by their pattern (`rest`: no pattern), and the multiplier of each."""
        waiting = dict(self.network.named_parameters())
        groups: list[dict[str, Any]] = []
        for pattern, multiplier in self.multipliers.items():
            if not isinstance(multiplier, int | float) or not 0 < multiplier < math.inf:
                raise MedclsError(
                    f"schedule.learning_rate_multipliers: {pattern} has {multiplier!r}; give a number above 0. What "
                    "must not train at all is frozen by schedule.phases.",
                    kind="bad_value",
                )
            matched = names_matching(self.network, pattern, self.head)
            taken = {name: waiting.pop(name) for name in list(waiting) if name in matched}
            if not taken:
                raise MedclsError(
                    f"learning_rate_multipliers: all that {pattern!r} matches is taken by a pattern before it. "
                    "The first match counts: put the narrower pattern first.",
                    kind="pattern_matches_nothing",
                )
            groups.append({"params": list(taken.values()), "name": pattern})
        if waiting:
            groups.append({"params": list(waiting.values()), "name": "rest"})
        return groups, [*self.multipliers.values(), 1.0][: len(groups)]

    # ------------------------------------------------------------------ training

    def on_train_epoch_start(self) -> None:
        """Start the loader again in the first epoch after a resume.

        Lightning starts it before it tells the sampler its epoch, and goes on with it in that one epoch:
        loader processes would already have fetched the images of epoch 0.
        """
        loop = self.trainer.fit_loop
        if loop.is_resuming and loop._data_fetcher is not None:
            iter(loop._data_fetcher)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        images, labels, rows = batch
        logits = self._logits(images, rows)
        loss = self.loss(logits, labels)
        finite, arrived = torch.isfinite(loss.detach()), None
        if finite.is_cuda:
            finite = finite.to("cpu", non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._unchecked = (loss.detach(), finite, arrived)
        weight = self.loss.total_weight(labels)
        self._train_loss.update(loss.detach() * weight)
        self._train_weight.update(weight)
        self._train_accuracy.update((logits.detach().argmax(1) == labels).float())
        return loss

    def on_after_backward(self) -> None:
        """Stop where the loss is NaN or infinite, before anything of it reaches the weights or a checkpoint.

        By now a GPU has its backward pass to work on, and is not kept waiting by this question.
        """
        if self._unchecked is None:
            return
        loss, finite, arrived = self._unchecked
        self._unchecked = None
        if arrived is not None:
            arrived.synchronize()
        self._stop_unless(bool(finite), loss, f"epoch {self.current_epoch}, step {self.global_step}")

    def on_train_epoch_end(self) -> None:
        """Log the epoch's own loss and accuracy."""
        self.log("train/loss", self._train_loss.compute() / self._train_weight.compute(), prog_bar=True)
        self.log("train/accuracy", self._train_accuracy.compute())
        for metric in (self._train_loss, self._train_weight, self._train_accuracy):
            metric.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Gather; nothing is computed by the batch."""
        images, labels, rows = batch
        # A copy: where the network was compiled to a CUDA graph, its next run writes over what this one gave.
        self._val_logits.update(self._logits(images, rows).float().clone())
        self._val_labels.update(labels)
        self._val_rows.update(rows)

    def on_validation_epoch_end(self) -> None:
        """Loss and metrics of the whole split, each row once."""
        gathered = (self._val_logits, self._val_labels, self._val_rows)
        logits, labels, rows = (metric.compute() for metric in gathered)
        for metric in gathered:
            metric.reset()
        if self.trainer.sanity_checking:
            return
        # A distributed sampler repeats rows so that all processes have as many; each counts once.
        first = np.unique(rows.long().cpu().numpy(), return_index=True)[1]
        kept = torch.as_tensor(first, device=logits.device)
        logits, labels = logits[kept], labels[kept].long()
        loss = self.loss(logits, labels)
        self._stop_unless(bool(torch.isfinite(loss)), loss, f"epoch {self.current_epoch}, in validation")
        self.log("val/loss", loss, prog_bar=True)
        # A network that diverges for an epoch may round every score to 0 or 1; they are no hard labels for that, and
        # it may come back. So nothing becomes exactly 0.
        smallest = torch.finfo(torch.float64).tiny
        # On the CPU: Apple's GPUs have no float64.
        probabilities = logits.cpu().double().softmax(1).clamp_min(smallest).numpy()
        for name, value in self._metrics(labels.cpu().numpy(), probabilities).items():
            self.log(f"val/{name}", float(value))

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Logits float32 `(B, K)` and manifest rows `(B,)`, on the CPU."""
        images, _, rows = batch
        return self(images).float().cpu(), rows.cpu()

    def _stop_unless(self, finite: bool, loss: Tensor, when: str) -> None:
        """Stop where the loss is NaN or infinite."""
        if self.trainer.world_size > 1:
            finite = self.trainer.strategy.reduce_boolean_decision(finite)  # all stop, or none: no process waits
        if finite:
            return
        rates = ", ".join(f"{group['lr']:.3g}" for group in self.trainer.optimizers[0].param_groups)
        saved = [
            callback.best_model_path
            for callback in self.trainer.checkpoint_callbacks
            if isinstance(callback, ModelCheckpoint) and callback.best_model_path
        ]
        raise MedclsError(
            f"The loss is {loss.item()} at {when}, with learning rate {rates}: training stopped. "
            + (f"What was saved before is kept: {', '.join(saved)}. " if saved else "No checkpoint had been written. ")
            + "Lower the learning rate (optimizer.lr), lengthen its warm-up, or set trainer.gradient_clip_val.",
            kind="loss_not_finite",
        )

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint tell what it is."""
        checkpoint["medcls"] = self._description

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on from a checkpoint of other classes; let a schedule follow this run's length.

        Raises
        ------
        MedclsError
            The classes differ, in name or order.
        """
        saved = checkpoint.get("medcls", {}).get("classes")
        if saved is not None and tuple(saved) != self.classes:
            raise MedclsError(
                f"The checkpoint knows the classes {', '.join(saved)}; the data has {', '.join(self.classes)}. "
                "Go on with the data it was trained on, or train anew.",
                kind="different_classes",
            )
        for state in checkpoint.get("lr_schedulers", []):
            drop_length(state)


def logits_of_classes(outputs: Tensor, num_classes: int, positive: int | None) -> Tensor:
    """Bring a network's outputs to `(B, K)`.

    A network with one logit gives the positive class's; the other class gets 0, so that the softmax over the two is
    the sigmoid of the one.
    """
    if outputs.shape[1] == num_classes:
        return outputs
    columns = [torch.zeros_like(outputs), outputs]
    return torch.cat(columns if positive == 1 else columns[::-1], dim=1)


def _plain(value: Any) -> Any:  # noqa: ANN401 - any plain data
    """Copy into dicts, lists, numbers and strings alone, so that a checkpoint loads with `weights_only=True`."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(f"A checkpoint's description holds plain data only, and this is {type(value).__name__}: {value!r}")
