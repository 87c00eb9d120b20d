"""Learning-rate schedules from torch's classes; each parameter group keeps its multiplier.

All take `(optimizer, steps, steps_per_epoch)` and return Lightning's scheduler configuration, so that one
configuration fits runs of any length.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer, lr_scheduler

from medcls.errors import MedclsError
from medcls.signatures import misfits

Scheduler = Callable[[Optimizer, int, int], LRSchedulerConfigType]
"""`(optimizer, steps of the whole run, steps of one epoch)`."""


@dataclasses.dataclass(frozen=True)
class Optimization:
    """How a network is optimised.

    Parameters
    ----------
    optimizer : Callable
        From parameter groups to an optimizer; a partial of one of torch's classes.
    scheduler : Callable
        One of this module's schedules, with its settings bound.
    learning_rate_multipliers : mapping of str to float
        Patterns (see `freezing.names_matching`) and factors on the learning rate. The first match of a parameter
        counts; parameters without a match have the factor 1.
    """

    optimizer: Callable[[list[dict[str, Any]]], Optimizer]
    scheduler: Scheduler
    learning_rate_multipliers: Mapping[str, float] = dataclasses.field(default_factory=dict)


def constant(optimizer: Optimizer, steps: int, steps_per_epoch: int) -> LRSchedulerConfigType:
    """Constant learning rate."""
    return {"scheduler": lr_scheduler.LambdaLR(optimizer, lambda step: 1.0), "interval": "step"}


def cosine(
    optimizer: Optimizer, steps: int, steps_per_epoch: int, warmup: float = 0.05, floor: float = 0.01
) -> LRSchedulerConfigType:
    """Linear warm-up, then a fall along half a cosine to the floor.

    Loshchilov and Hutter 2017 (arXiv 1608.03983), equation 5 with a single period.

    Parameters
    ----------
    warmup : float
        Share of all steps in which the rate rises, in [0, 1). The first step has a rate above zero; the last step of
        the warm-up has the full rate.
    floor : float
        The final rate, as a fraction of each group's rate.
    """
    _check_share("warmup", warmup)
    _check_share("floor", floor)
    rise = round(warmup * steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / max(1, steps - 1 - rise))
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    # A function, not an object: torch does not store it in the checkpoint, so a run resumed with another number of
    # epochs follows the schedule of its new length.
    return {"scheduler": lr_scheduler.LambdaLR(optimizer, factor), "interval": "step"}


def exponential(optimizer: Optimizer, steps: int, steps_per_epoch: int, gamma: float = 0.95) -> LRSchedulerConfigType:
    """Multiply the rate by `gamma` after each epoch.

    Raises
    ------
    MedclsError
        `gamma` is not in (0, 1].
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
        The smallest rate of a group, as a fraction of its initial rate.
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
    # By the step, once an epoch: Lightning then updates it right after validation. By the epoch it would be updated
    # after the checkpoint is written, and a resumed run would lose that update.
    return {"scheduler": scheduler, "monitor": monitor, "interval": "step", "frequency": steps_per_epoch}


def one_cycle(
    optimizer: Optimizer,
    steps: int,
    steps_per_epoch: int,
    warmup: float = 0.3,
    start: float = 0.04,
    floor: float = 4e-6,
) -> LRSchedulerConfigType:
    """One rise to the learning rate and one fall far below it, with the momentum moving in the opposite direction.

    Smith and Topin 2018 (arXiv 1708.07120).

    Parameters
    ----------
    warmup : float
        Share of all steps in which the rate rises, in [0, 1).
    start, floor : float
        First and last rate, as fractions of each group's rate.
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
        # One more: torch updates the rate once after the last step, and raises past the end.
        total_steps=steps + 1,
        pct_start=warmup,
        div_factor=1 / start,
        final_div_factor=start / floor,
        # RMSprop and SGD may have no momentum; adaptive optimizers have betas.
        cycle_momentum=bool(optimizer.defaults.get("momentum") or "betas" in optimizer.defaults),
    )
    return {"scheduler": scheduler, "interval": "step"}


def drop_length(state: dict[str, Any]) -> None:
    """Remove the length of the run from a saved scheduler, so that a resumed run follows the schedule of its length."""
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
    """Compute a schedule without training, to plot and log it.

    `plateau` depends on validation: its rate is computed as if each epoch improved.

    Parameters
    ----------
    optimizer, scheduler : Callable
        As in `Classifier`.
    steps, steps_per_epoch : int
        Of the run.
    multipliers : sequence of float
        Of the parameter groups.

    Returns
    -------
    ndarray
        `(steps, groups)`, float64: the rate of each step.
    """
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))], "name": str(number)} for number in range(len(multipliers))
    ]
    dummy = build_optimizer(optimizer, groups, multipliers)
    config = scheduler(dummy, steps, steps_per_epoch)
    schedule = config["scheduler"]
    every = steps_per_epoch if config["interval"] == "epoch" else config.get("frequency", 1)
    # Once only, because torch expects it before a scheduler's first step: no schedule depends on the optimizer's steps,
    # which would take most of the time.
    dummy.step()
    improving = 0.0
    rates = np.empty((steps, len(multipliers)))
    for first in range(0, steps, every):
        rates[first : first + every] = [group["lr"] for group in dummy.param_groups]
        if isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
            improving += 1.0 if schedule.mode == "max" else -1.0
            schedule.step(improving)
        else:
            schedule.step()
    return rates


def build_optimizer(
    optimizer: Callable[[list[dict[str, Any]]], Optimizer],
    groups: list[dict[str, Any]],
    multipliers: Sequence[float],
) -> Optimizer:
    """Build an optimizer over named groups, each with its multiple of the learning rate.

    Raises
    ------
    MedclsError
        The optimizer rejects its settings; includes its reason.
    """
    try:
        built = optimizer(groups)
    except (TypeError, ValueError) as error:
        keywords = getattr(optimizer, "keywords", {})
        if isinstance(error, TypeError) and not misfits(
            getattr(optimizer, "func", optimizer), keywords, "optimizer", ("params",)
        ):
            raise  # the types are right: a programming error
        settings = " ".join(f"optimizer.{name}={value}" for name, value in keywords.items())
        raise MedclsError(f"The optimizer rejects its settings, {settings}: {error}.", kind="bad_value") from error
    for group, multiplier in zip(built.param_groups, multipliers, strict=True):
        group["lr"] *= multiplier
    return built


def _check_share(name: str, value: float) -> None:
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise MedclsError(
            f"scheduler.{name} is {value!r}: give a share from 0 up to, not including, 1.", kind="bad_value"
        )
