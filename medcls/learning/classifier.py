"""The LightningModule: a network with its loss, optimizer and metrics, and the description in its checkpoints."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import CatMetric, MeanMetric, Metric, SumMetric

from medcls.errors import MedclsError, nearest
from medcls.learning.freezing import names_matching
from medcls.learning.losses import Loss
from medcls.learning.processes import over_processes
from medcls.learning.schedulers import Optimization, build_optimizer, drop_length

Batch = tuple[Tensor, Tensor, Tensor]
"""Images float32 `(B, C, H, W)`, normalised; class indices int64 `(B,)`; manifest rows int64 `(B,)`."""

Metrics = Callable[[np.ndarray, np.ndarray], dict[str, float]]
"""`(labels (n,), probabilities (n, K)) -> {name: value}`, on a whole split."""

LossWithTeacher = Callable[[Loss, Tensor, Tensor, Tensor], Tensor]
"""`(loss of the labels, logits (B, K), labels (B,), teacher's logits (B, K)) -> scalar`."""


class Classifier(lightning.LightningModule):
    """A classification network in training.

    Logs `train/loss` and `train/accuracy` of each epoch, in train mode, and `val/loss` and `val/<metric>`, computed
    once from the whole split. No value is a mean of batch means (P41, P49).

    Parameters
    ----------
    network : nn.Module
        From images to `loss.outputs(K)` logits.
    classes : sequence of str
        The K class names, in the manifest's order.
    loss : Loss
        The loss to minimise.
    optimization : Optimization
        Optimizer, scheduler and learning-rate multipliers.
    metrics : Callable
        Metrics of the validation split.
    positive : int or None
        Index of the positive class in a binary task, to which a single logit belongs.
    head : str
        Dotted prefix of the network's head.
    description : mapping
        Plain data stored in each checkpoint under `medcls`: what is needed to rebuild the network and its
        preprocessing.

    Raises
    ------
    MedclsError
        A multiplier is not a positive number, or its pattern matches no parameter that is left.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: Sequence[str],
        loss: Loss,
        optimization: Optimization,
        metrics: Metrics,
        *,
        positive: int | None,
        head: str,
        description: Mapping[str, Any],
    ) -> None:
        super().__init__()
        if loss.outputs(len(classes)) == 1 and positive is None:
            raise MedclsError(
                "A network with one logit needs a positive class: set positive_class.", kind="missing_setting"
            )
        self.network = network.to(memory_format=torch.channels_last)
        self.classes = tuple(classes)
        self.loss = loss
        self.positive = positive
        self.head = head
        self._optimization, self._metrics = optimization, metrics
        self._description = _plain(description)
        # The inputs of the head, indexed by `positions[row]`, while only the head trains; and the module before the
        # head, a dropout or an identity (`medcls.learning.features`).
        self.features: tuple[Tensor, Tensor, nn.Module] | None = None
        # A teacher's logits `(rows, K)`, by manifest row, and how they join the loss (`medcls.learning.distillation`).
        self.taught: tuple[Tensor, LossWithTeacher] | None = None
        self._groups()  # raises here, before the data is decoded, if a pattern matches nothing

        # Metrics do not check for NaN, which would wait for the GPU; `on_after_backward` does. A MeanMetric without
        # that check drops its weights (torchmetrics 1.9), so the mean loss is computed from two sums.
        self._train_loss, self._train_weight = SumMetric(nan_strategy="disable"), SumMetric(nan_strategy="disable")
        self._train_accuracy = MeanMetric(nan_strategy="disable")
        # The last loss, and whether it is finite: on the CPU, or being copied there until the event.
        self._unchecked: tuple[Tensor, Tensor, torch.cuda.Event | None] | None = None
        # Rows as floats are exact up to 2**24. NaN logits must pass, so that they are reported.
        self._val_logits, self._val_labels, self._val_rows = (CatMetric(nan_strategy="disable") for _ in range(3))

    # ------------------------------------------------------------------ names to monitor

    def metric_names(self) -> tuple[str, ...]:
        """All names that a training logs."""
        labels = np.tile(np.arange(len(self.classes)), 2)
        probe = np.full((len(labels), len(self.classes)), 1 / len(self.classes))
        return ("train/loss", "train/accuracy", "val/loss", *(f"val/{name}" for name in self._metrics(labels, probe)))

    def check_monitor(self, monitor: str, mode: Literal["min", "max"], better: Mapping[str, str]) -> None:
        """Refuse a monitor that cannot select a checkpoint: not logged (P31), constant, or with the wrong mode.

        Parameters
        ----------
        monitor, mode
            As in `ModelCheckpoint`.
        better : mapping of str to str
            For each metric for which higher is not better: `lower`, or `neither` if it does not depend on the
            predictions. For losses, lower is better.
        """
        names = self.metric_names()
        if monitor not in names:
            raise MedclsError(
                f"monitor={monitor} is not logged.{nearest(monitor, names)} Choose one of {', '.join(names)}.",
                kind="unknown_metric",
            )
        directions = {f"val/{name}": end for name, end in better.items()} | {"train/loss": "lower", "val/loss": "lower"}
        if directions.get(monitor) == "neither":
            raise MedclsError(
                f"monitor={monitor} is the same after each epoch, so it cannot select one. Choose one of "
                f"{', '.join(name for name in names if directions.get(name) != 'neither')}.",
                kind="constant_metric",
            )
        if mode not in ("min", "max"):
            raise MedclsError(f"monitor_mode is {mode!r}: choose min or max.", kind="bad_value")
        right_mode, direction = ("min", "lower") if directions.get(monitor) == "lower" else ("max", "higher")
        if mode != right_mode:
            raise MedclsError(
                f"For monitor={monitor}, {direction} is better, so monitor_mode={mode} would select the worst epoch. "
                f"Give monitor_mode={right_mode}.",
                kind="conflicting_settings",
            )

    # ------------------------------------------------------------------ the network

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(B, K)` of images `(B, C, H, W)`."""
        # Cast to the dtype of the weights, which `trainer.precision=bf16-true` and similar settings change.
        images = images.to(next(self.network.parameters()).dtype)
        outputs = self.network(images.contiguous(memory_format=torch.channels_last))
        return logits_of_classes(outputs, len(self.classes), self.positive)

    def compile_network(self) -> None:
        """Let torch compile the network at the first batch, and again for each batch size, mode and phase.

        On a GPU with CUDA graphs where possible, because small networks are limited by kernel launches.
        """
        # Each counts as a recompilation; by default torch silently stops compiling after eight.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
        self.network.compile(dynamic=False, mode="reduce-overhead" if torch.cuda.is_available() else "default")

    def _logits(self, images: Tensor, rows: Tensor) -> Tensor:
        """Logits from the images or, if there are features, from those alone; then images may be absent."""
        if self.features is None:
            logits: Tensor = self(images)
            return logits
        features, positions, before_head = self.features
        outputs = self.network.get_submodule(self.head)(before_head(features[positions[rows]]))
        return logits_of_classes(outputs, len(self.classes), self.positive)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer over all parameters, frozen or not, in named groups, and the scheduler."""
        groups, multipliers = self._groups()
        optimizer = build_optimizer(self._optimization.optimizer, groups, multipliers)
        steps = int(self.trainer.estimated_stepping_batches)
        batches = int(self.trainer.num_training_batches)
        steps_per_epoch = math.ceil(batches / self.trainer.accumulate_grad_batches)
        config = self._optimization.scheduler(optimizer, steps, steps_per_epoch)
        if "frequency" in config:
            config["frequency"] = batches  # once an epoch: Lightning counts batches here, not steps
        return {"optimizer": optimizer, "lr_scheduler": config}

    def _groups(self) -> tuple[list[dict[str, Any]], list[float]]:
        """Parameter groups named by their pattern (`rest` without one), and their multipliers."""
        remaining = dict(self.network.named_parameters())
        groups: list[dict[str, Any]] = []
        multipliers = self._optimization.learning_rate_multipliers
        for pattern, multiplier in multipliers.items():
            if not isinstance(multiplier, int | float) or not 0 < multiplier < math.inf:
                raise MedclsError(
                    f"schedule.learning_rate_multipliers: {pattern} has {multiplier!r}; give a number above 0. To "
                    "freeze parameters, use schedule.phases.",
                    kind="bad_value",
                )
            matched = names_matching(self.network, pattern, self.head)
            group = {name: remaining.pop(name) for name in list(remaining) if name in matched}
            if not group:
                raise MedclsError(
                    f"learning_rate_multipliers: all parameters that {pattern!r} matches also match an earlier "
                    "pattern. The first match counts: put the narrower pattern first.",
                    kind="pattern_matches_nothing",
                )
            groups.append({"params": list(group.values()), "name": pattern})
        if remaining:
            groups.append({"params": list(remaining.values()), "name": "rest"})
        return groups, [*multipliers.values(), 1.0][: len(groups)]

    # ------------------------------------------------------------------ training

    def on_train_epoch_start(self) -> None:
        """Restart the loader in the first epoch after a resume.

        Lightning starts it before it sets the sampler's epoch: in this epoch, the worker processes have already fetched
        images of epoch 0.
        """
        loop = self.trainer.fit_loop
        if loop.is_resuming and loop._data_fetcher is not None:
            iter(loop._data_fetcher)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        images, labels, rows = batch
        logits = self._logits(images, rows)
        if self.taught is None:
            loss = self.loss(logits, labels)
        else:
            of_teacher, with_teacher = self.taught
            loss = with_teacher(self.loss, logits, labels, of_teacher[rows])
        weight = self.loss.total_weight(labels)
        of_all, part = over_processes(loss.detach(), weight)
        finite, arrived = torch.isfinite(of_all), None
        if finite.is_cuda:
            finite = finite.to("cpu", non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._unchecked = (of_all, finite, arrived)
        self._train_loss.update(loss.detach() * weight)
        self._train_weight.update(weight)
        self._train_accuracy.update((logits.detach().argmax(1) == labels).float())
        return loss if part is None else loss * part

    def on_after_backward(self) -> None:
        """Stop if the loss is NaN or infinite, before it reaches the weights or a checkpoint.

        Checked here because the GPU is busy with the backward pass, so waiting for the loss costs nothing.
        """
        if self._unchecked is None:
            return
        loss, finite, arrived = self._unchecked
        self._unchecked = None
        if arrived is not None:
            arrived.synchronize()
        self._stop_unless(bool(finite), loss, f"epoch {self.current_epoch}, step {self.global_step}")

    def on_train_epoch_end(self) -> None:
        """Log loss and accuracy of the epoch."""
        self.log("train/loss", self._train_loss.compute() / self._train_weight.compute(), prog_bar=True)
        self.log("train/accuracy", self._train_accuracy.compute())
        for metric in self._running_metrics().values():
            metric.reset()

    def _running_metrics(self) -> dict[str, Metric]:
        """What is summed up over a training epoch."""
        return {"loss": self._train_loss, "weight": self._train_weight, "accuracy": self._train_accuracy}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect logits; metrics are computed once, from the whole split."""
        images, labels, rows = batch
        # Cloned, because the next run of a CUDA graph overwrites its output.
        self._val_logits.update(self._logits(images, rows).float().clone())
        self._val_labels.update(labels)
        self._val_rows.update(rows)

    def on_validation_epoch_end(self) -> None:
        """Log loss and metrics of the whole split, each row counted once."""
        gathered = (self._val_logits, self._val_labels, self._val_rows)
        logits, labels, rows = (metric.compute() for metric in gathered)
        for metric in gathered:
            metric.reset()
        if self.trainer.sanity_checking:
            return
        # Processes may share a row, where there are fewer in a batch than processes.
        first = np.unique(rows.long().cpu().numpy(), return_index=True)[1]
        kept = torch.as_tensor(first, device=logits.device)
        logits, labels = logits[kept], labels[kept].long()
        loss = self.loss(logits, labels)
        self._stop_unless(bool(torch.isfinite(loss)), loss, f"epoch {self.current_epoch}, in validation")
        self.log("val/loss", loss, prog_bar=True)
        # A network that diverges for an epoch may round all probabilities to 0 or 1, which the metrics would refuse as
        # hard labels; it may recover, so no probability is exactly 0.
        smallest = torch.finfo(torch.float64).tiny
        # On the CPU, because Apple's GPUs have no float64.
        probabilities = logits.cpu().double().softmax(1).clamp_min(smallest).numpy()
        for name, value in self._metrics(labels.cpu().numpy(), probabilities).items():
            self.log(f"val/{name}", float(value))

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Logits float32 `(B, K)` and manifest rows `(B,)`, on the CPU."""
        images, _, rows = batch
        return self(images).float().cpu(), rows.cpu()

    def _stop_unless(self, finite: bool, loss: Tensor, when: str) -> None:
        """Stop if the loss is NaN or infinite; it is that of all processes, which stop together."""
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
            + (f"The last checkpoint is kept: {', '.join(saved)}. " if saved else "No checkpoint had been written. ")
            + "Lower the learning rate (optimizer.lr), lengthen its warm-up, or set trainer.gradient_clip_val.",
            kind="loss_not_finite",
        )

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description to the checkpoint and, within an epoch, the running metrics."""
        checkpoint["medcls"] = self._description
        if not self._train_weight.update_count:
            return
        running = {}
        for name, metric in self._running_metrics().items():
            with metric.sync_context():  # over all processes of a run
                parts = metric.metric_state.items()
                running[name] = {part: value.detach().clone() for part, value in parts if isinstance(value, Tensor)}
        checkpoint["running_metrics"] = running

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check the classes of a checkpoint, let its scheduler follow this run's length, restore running metrics."""
        saved = checkpoint.get("medcls", {}).get("classes")
        if saved is not None and tuple(saved) != self.classes:
            raise MedclsError(
                f"The checkpoint has the classes {', '.join(saved)}; the data has {', '.join(self.classes)}. "
                "Resume with the data it was trained on, or start a new run.",
                kind="different_classes",
            )
        for state in checkpoint.get("lr_schedulers", []):
            drop_length(state)
        if self.trainer.is_global_zero:  # which has the sums of all processes
            for name, parts in checkpoint.get("running_metrics", {}).items():
                for part, value in parts.items():
                    setattr(self._running_metrics()[name], part, value.to(self.device))


def logits_of_classes(outputs: Tensor, num_classes: int, positive: int | None) -> Tensor:
    """Convert a network's outputs to `(B, K)`.

    A single logit is that of the positive class; the other class gets 0, so that the softmax over the two equals the
    sigmoid of the one.
    """
    if outputs.shape[1] == num_classes:
        return outputs
    columns = [torch.zeros_like(outputs), outputs]
    return torch.cat(columns if positive == 1 else columns[::-1], dim=1)


def _plain(value: Any) -> Any:  # noqa: ANN401 - any plain data
    """Copy into plain dicts, lists, numbers and strings, so that a checkpoint loads with `weights_only=True`."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(f"A checkpoint's description holds plain data only, not {type(value).__name__}: {value!r}")
