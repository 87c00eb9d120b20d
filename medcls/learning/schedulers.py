"""How the learning rate moves, each from torch's own class; every group keeps its own multiple throughout.

All take `(optimizer, steps, steps_per_epoch)` and return Lightning's scheduler configuration, so that
one configuration fits any length of run.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer, lr_scheduler

from medcls.errors import MedclsError
from medcls.signatures import misfits

Scheduler = Callable[[Optimizer, int, int], LRSchedulerConfigType]
"""`(optimizer, steps of the whole run, steps of one epoch)`."""


def constant(optimizer: Optimizer, steps: int, steps_per_epoch: int) -> LRSchedulerConfigType:
    """Keep the learning rate as set."""
    return {"scheduler": lr_scheduler.LambdaLR(optimizer, lambda step: 1.0), "interval": "step"}


def cosine(
    optimizer: Optimizer, steps: int, steps_per_epoch: int, warmup: float = 0.05, floor: float = 0.01
) -> LRSchedulerConfigType:
    """Rise linearly over the first part of the run, then fall along half a cosine to the floor.

    Loshchilov and Hutter 2017 (arXiv 1608.03983), equation 5 with a single period.

    Parameters
    ----------
    warmup : float
        Share of all steps over which the rate rises, in [0, 1). The first step has a rate above zero;
        the last step of the rise has the full one.
    floor : float
        Where the cosine ends, as a fraction of each group's own rate.
    """
    _check_share("warmup", warmup)
    _check_share("floor", floor)
    rise = round(warmup * steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / max(1, steps - 1 - rise))
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    # A plain function, not an object: torch then keeps none of it in the checkpoint, so a run resumed
    # with another number of epochs follows the curve of its new length.
    return {"scheduler": lr_scheduler.LambdaLR(optimizer, factor), "interval": "step"}


def exponential(optimizer: Optimizer, steps: int, steps_per_epoch: int, gamma: float = 0.95) -> LRSchedulerConfigType:
    """Multiply the rate by `gamma` after each epoch.

    Raises
    ------
    MedclsError
        A gamma that is no number in (0, 1].
    """
    if not isinstance(gamma, int | float) or not 0 < gamma <= 1:
        raise MedclsError(f"scheduler.gamma is {gamma!r}: give a factor above 0 and up to 1.", kind="bad_value")
    return {"scheduler": lr_scheduler.ExponentialLR(optimizer, gamma), "interval": "epoch"}


def plateau(
    optimizer: Optimizer,
    steps: int,
    steps_per_epoch: int,
    monitor: str,
    mode: Literal["min", "max"],
    factor: float = 0.1,
    patience: int = 5,
    floor: float = 0.01,
) -> LRSchedulerConfigType:
    """Multiply the rate by `factor` when the monitored metric has not improved for more than `patience` epochs.

    Parameters
    ----------
    monitor, mode : str
        The validation metric, and whether `min` or `max` is better.
    floor : float
        Below which no group falls, as a fraction of its own rate.
    """
    _check_share("factor", factor)
    _check_share("floor", floor)
    if mode not in ("min", "max"):
        raise MedclsError(f"scheduler.mode is {mode!r}: choose min or max.", kind="bad_value")
    if not isinstance(patience, int) or patience < 0:
        raise MedclsError(
            f"scheduler.patience is {patience!r}: give a whole number of epochs, at least 0.", kind="bad_value"
        )
    scheduler = lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode=mode,
        factor=factor,
        patience=patience,
        min_lr=[floor * group["lr"] for group in optimizer.param_groups],
    )
    # By the step, once an epoch: Lightning then moves it right after validation. By the epoch it would move
    # after the checkpoint is written, and a resumed run would have lost that move.
    return {"scheduler": scheduler, "monitor": monitor, "interval": "step", "frequency": steps_per_epoch}


def one_cycle(
    optimizer: Optimizer,
    steps: int,
    steps_per_epoch: int,
    warmup: float = 0.3,
    start: float = 0.04,
    floor: float = 4e-6,
) -> LRSchedulerConfigType:
    """One rise to the set learning rate and one fall far below it, the momentum moving against it.

    Smith and Topin 2018 (arXiv 1708.07120).

    Parameters
    ----------
    warmup : float
        Share of all steps over which the rate rises, in [0, 1).
    start, floor : float
        First and last rate, as fractions of each group's own.
    """
    _check_share("warmup", warmup)
    for name, value in (("start", start), ("floor", floor)):
        if not isinstance(value, int | float) or not 0 < value <= 1:
            raise MedclsError(
                f"scheduler.{name} is {value!r}: give a fraction of the learning rate, above 0 and up to 1.",
                kind="bad_value",
            )
    scheduler = lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        # One to spare: torch moves the rate once more after the last step, and refuses to pass the end.
        total_steps=steps + 1,
        pct_start=warmup,
        div_factor=1 / start,
        final_div_factor=start / floor,
        # RMSprop's and SGD's momentum may be off, and the adaptive ones carry betas: torch tells them apart.
        cycle_momentum=bool(optimizer.defaults.get("momentum") or "betas" in optimizer.defaults),
    )
    return {"scheduler": scheduler, "interval": "step"}


def drop_length(state: dict[str, Any]) -> None:
    """Take out of a saved scheduler what fixes it to the length of the run that saved it.

    A resumed run then follows the schedule of its own length; with the same length nothing changes.
    """
    for key in ("total_steps", "_schedule_phases"):
        state.pop(key, None)


def learning_rates(
    optimizer: Callable[[list[dict[str, Any]]], Optimizer],
    scheduler: Scheduler,
    *,
    steps: int,
    steps_per_epoch: int,
    multipliers: Sequence[float] = (1.0,),
) -> np.ndarray:
    """Walk through a schedule without training, to draw it and to log its first value.

    `plateau` depends on what validation will say: its rate is drawn as if each epoch improved.

    Parameters
    ----------
    optimizer, scheduler : Callable
        As the classifier receives them.
    steps, steps_per_epoch : int
        Of the run to come.
    multipliers : sequence of float
        Of the optimizer's groups.

    Returns
    -------
    ndarray
        `(steps, groups)`, float64: the rate with which each step is taken.
    """
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))], "name": str(number)} for number in range(len(multipliers))
    ]
    dummy = build_optimizer(optimizer, groups, multipliers)
    config = scheduler(dummy, steps, steps_per_epoch)
    moved = config["scheduler"]
    every = steps_per_epoch if config["interval"] == "epoch" else config.get("frequency", 1)
    # Once, which torch wants before a scheduler moves: steps of the optimizer take most of the time in a long run,
    # and no schedule depends on them.
    dummy.step()
    improving = 0.0
    rates = np.empty((steps, len(multipliers)))
    for first in range(0, steps, every):
        rates[first : first + every] = [group["lr"] for group in dummy.param_groups]
        if isinstance(moved, lr_scheduler.ReduceLROnPlateau):
            improving += 1.0 if moved.mode == "max" else -1.0
            moved.step(improving)
        else:
            moved.step()
    return rates


def build_optimizer(
    optimizer: Callable[[list[dict[str, Any]]], Optimizer],
    groups: list[dict[str, Any]],
    multipliers: Sequence[float],
) -> Optimizer:
    """Build an optimizer over named groups, each with its multiple of the rate that the optimizer was set to.

    Raises
    ------
    MedclsError
        The optimizer refuses its settings; with its own reason.
    """
    try:
        built = optimizer(groups)
    except (TypeError, ValueError) as error:
        keywords = getattr(optimizer, "keywords", {})
        if isinstance(error, TypeError) and not misfits(
            getattr(optimizer, "func", optimizer), keywords, "optimizer", ("params",)
        ):
            raise  # they are of the types that it takes: the fault is within it
        settings = " ".join(f"optimizer.{name}={value}" for name, value in keywords.items())
        raise MedclsError(
            f"The optimizer does not take its settings, {settings}: {error}.", kind="bad_value"
        ) from error
    for group, multiplier in zip(built.param_groups, multipliers, strict=True):
        group["lr"] *= multiplier
    return built


def _check_share(name: str, value: float) -> None:
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise MedclsError(
            f"scheduler.{name} is {value!r}: give a share from 0 up to, not including, 1.", kind="bad_value"
        )
