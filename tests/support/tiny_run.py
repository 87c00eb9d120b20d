"""A run small enough to do over and over: every image a function of (seed, epoch, row). Also run as a program."""

import functools
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import distributed, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from medcls.data.training_loader import NoLonelyBatch, TrainingLoader
from medcls.learning import losses, schedulers
from medcls.learning.callbacks import ExactBatchNorm, SeedEachEpoch
from medcls.learning.checkpoints import AtomicCheckpointIO, checkpoints
from medcls.learning.classifier import Classifier
from medcls.learning.freezing import FreezeSchedule
from medcls.learning.interruption import SaveWithinEpoch

CLASSES = ("benign", "malignant")
TRAIN_ROWS, VAL_ROWS, BATCH, SIZE = 22, 11, 4, 8

NO_PHASES = [{"epochs": None, "freeze": []}]
THAW_AFTER_2 = [{"epochs": 2, "freeze": ["backbone"]}, {"epochs": None, "freeze": []}]
FREEZE_AFTER_2 = [{"epochs": 2, "freeze": []}, {"epochs": None, "freeze": ["stem.*", "blocks.0.*"]}]

SCHEDULERS = {
    "none": schedulers.constant,
    "cosine": functools.partial(schedulers.cosine, warmup=0.2),
    "exponential": functools.partial(schedulers.exponential, gamma=0.5),
    "plateau": functools.partial(schedulers.plateau, monitor="val/loss", mode="min", factor=0.5, patience=0, floor=0.0),
    "one_cycle": schedulers.one_cycle,
}


class TinyNet(nn.Module):
    """Children named as in a real network, batch norm and dropout in the parts that get frozen."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()

        def block(before: int, after: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.Dropout(0.2)
            )

        self.stem = block(3, 4)
        self.blocks = nn.Sequential(block(4, 6), block(6, 6))
        self.classifier = nn.Sequential(nn.Dropout(0.3), nn.Linear(6, outputs))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.blocks(self.stem(images)).mean((2, 3)))


class Rows(Dataset):
    def __init__(self, seed: int, augmented: bool) -> None:
        self.seed, self.augmented = seed, augmented

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int, int]:
        epoch, row = key
        label = row % 2
        image = np.random.default_rng([self.seed, row]).normal(0.4 * label, 1, (3, SIZE, SIZE))
        if self.augmented:
            image += np.random.default_rng([self.seed, epoch, row]).normal(0, 0.5, image.shape)
        return torch.tensor(image, dtype=torch.float32), label, row


class Keys(Sampler):
    def __init__(self, rows: range, shuffled: bool, seed: int) -> None:
        self.rows, self.shuffled, self.seed, self.epoch = rows, shuffled, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / world())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rows = np.array(self.rows)
        if self.shuffled:
            rows = np.random.default_rng([self.seed, self.epoch]).permutation(rows)
        # Each process its share; the first rows again, so that all have as many.
        own = np.resize(rows, len(self) * world())[rank() :: world()]
        return ((self.epoch, int(row)) for row in own)


def world() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


class TinyData(lightning.LightningDataModule):
    def __init__(self, seed: int = 3, workers: int = 0, persistent: bool = False) -> None:
        super().__init__()
        self.seed, self.workers, self.persistent = seed, workers, persistent

    def loader(self, rows: range, shuffled: bool, augmented: bool) -> DataLoader:
        keys = Keys(rows, shuffled, self.seed)
        # As `sampler`, not inside a batch sampler: predicting, Lightning would put its own in the place of that one.
        return DataLoader(
            Rows(self.seed, augmented),
            BATCH,
            sampler=keys,
            num_workers=self.workers,
            persistent_workers=self.persistent,
            generator=torch.Generator().manual_seed(self.seed),
        )

    def train_dataloader(self) -> DataLoader:
        batches = NoLonelyBatch(Keys(range(TRAIN_ROWS), True, self.seed), BATCH, drop_last=False)
        return TrainingLoader(
            Rows(self.seed, augmented=True),
            batch_sampler=batches,
            num_workers=self.workers,
            persistent_workers=self.persistent,
            generator=torch.Generator().manual_seed(self.seed),
        )

    def val_dataloader(self) -> DataLoader:
        return self.loader(range(TRAIN_ROWS, TRAIN_ROWS + VAL_ROWS), shuffled=False, augmented=False)

    def unaugmented(self) -> DataLoader:
        return self.loader(range(TRAIN_ROWS), shuffled=True, augmented=False)


def metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    return {"accuracy": float((probabilities.argmax(1) == labels).mean()), "n": float(len(labels))}


def classifier(
    optimizer: Callable = functools.partial(torch.optim.AdamW, lr=0.02),  # noqa: B008 - a constant
    scheduler: schedulers.Scheduler = schedulers.constant,
    multipliers: Mapping[str, float] | None = None,
    **changed: Any,
) -> Classifier:
    torch.manual_seed(0)
    settings = {
        "network": TinyNet(),
        "classes": CLASSES,
        "loss": losses.cross_entropy([TRAIN_ROWS // 2] * 2),
        "optimization": schedulers.Optimization(optimizer, scheduler, multipliers or {}),
        "metrics": metrics,
        "positive": 1,
        "head": "classifier",
        "description": {
            "classes": list(CLASSES),
            "positive_class": "malignant",
            "preprocessing": {"size": [SIZE, SIZE]},
        },
    }
    return Classifier(**(settings | changed))


class StopAt(lightning.Callback):
    """Ends the run in the middle of an epoch: by an exception, or by the kill that no program can catch."""

    def __init__(self, epoch: int, kill: bool = False) -> None:
        self.epoch, self.kill = epoch, kill

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, 2):
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise InterruptedError


class SignalAt(lightning.Callback):
    """Sends Ctrl-C to a process in the middle of an epoch."""

    def __init__(self, epoch: int, batch: int, where: Callable[[lightning.Trainer], bool]) -> None:
        self.at, self.where = (epoch, batch), where

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.at and self.where(trainer):
            os.kill(os.getpid(), signal.SIGINT)


class Count(lightning.Callback):
    """Puts the number of validated rows into the checkpoint."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict) -> None:
        checkpoint["seen"] = int(trainer.callback_metrics["val/n"])


def trainer(folder: Path, epochs: int, callbacks: list, **settings: Any) -> lightning.Trainer:
    return lightning.Trainer(
        **{
            "max_epochs": epochs,
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "deterministic": True,
            "use_distributed_sampler": False,
            "plugins": [AtomicCheckpointIO()],
            "default_root_dir": folder,
            "callbacks": callbacks,
        }
        | settings
    )


def run(
    folder: Path,
    *,
    epochs: int = 4,
    resume: bool = False,
    stop: StopAt | None = None,
    phases: list = NO_PHASES,
    scheduler: str = "none",
    ema: bool = False,
    exact: bool = False,
    workers: int = 0,
    persistent: bool = False,
    more: tuple = (),
    minutes: float | None = None,
    multipliers: dict | None = None,
    **settings: Any,
) -> Classifier:
    """Train, from the start or from last.ckpt; checkpoints go to `folder/checkpoints`."""
    data = TinyData(workers=workers, persistent=persistent)
    module = classifier(scheduler=SCHEDULERS[scheduler], multipliers=multipliers)
    schedule = FreezeSchedule(phases, head="classifier")
    last = folder / "checkpoints" / "last.ckpt"
    callbacks = [SeedEachEpoch(5), schedule, *more, *checkpoints(folder / "checkpoints", "val/loss", "min")]
    callbacks += [SaveWithinEpoch(last, minutes)]
    callbacks += [ExactBatchNorm(data.unaugmented())] if exact else []
    callbacks += [EMAWeightAveraging(decay=0.9)] if ema else []
    callbacks += [stop] if stop else []
    trainer(folder, epochs, callbacks, **settings).fit(module, datamodule=data, ckpt_path=last if resume else None)
    return module


if __name__ == "__main__":
    target, kind = Path(sys.argv[1]), sys.argv[2]
    if kind == "killed":
        run(target, phases=THAW_AFTER_2, scheduler="cosine", ema=True, stop=StopAt(2, kill=True))
    if kind in ("ddp whole", "ddp stopped", "ddp resumed"):
        # Signals reach only the second process; nothing thaws, so that plain "ddp" will do.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sender = (SignalAt(1, 1, lambda trainer: trainer.global_rank == 1),) if kind == "ddp stopped" else ()
        run(target, epochs=3, ema=True, devices=2, strategy="ddp", more=sender, resume=kind == "ddp resumed")
    if kind == "ddp":
        run(
            target,
            epochs=2,
            phases=[{"epochs": 1, "freeze": ["backbone"]}, {"epochs": None, "freeze": []}],
            devices=2,
            more=(Count(),),
            strategy=sys.argv[3],
        )
