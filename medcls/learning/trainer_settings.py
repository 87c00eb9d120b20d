"""Check the settings of Lightning's trainer: those that a run does not support are refused."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import lightning
import torch

from medcls.errors import MedclsError
from medcls.signatures import check_fits

_EPOCHS = "a run counts in epochs, and validation after each epoch selects the checkpoint"
_EVERY_IMAGE = "all validation images are needed after each epoch to select the checkpoint"
_ONE_STRATEGY = "several processes each have the network and average their gradients (DDP), which is all that is needed"
FIND_UNUSED = "ddp_find_unused_parameters_true"
_QUICK = "For a quick try give trainer.max_epochs=1 and +trainer.limit_train_batches=5"

# The only allowed values, why, and what to do instead. Null, Lightning's default, is always allowed.
ALLOWED: dict[str, tuple[tuple[Any, ...], str, str]] = {
    "strategy": (
        ("auto", FIND_UNUSED),
        _ONE_STRATEGY,
        f"Give auto, or {FIND_UNUSED} for a network with layers without use",
    ),
    "max_steps": ((-1,), _EPOCHS, "Give trainer.max_epochs"),
    "fast_dev_run": ((False, 0), "it writes no checkpoint, which a run needs", _QUICK),
    "overfit_batches": ((0.0, 0), _EVERY_IMAGE, _QUICK),
    "limit_val_batches": ((1.0,), _EVERY_IMAGE, "Leave it out"),
    "val_check_interval": ((1.0,), _EPOCHS, "Leave it out"),
    "check_val_every_n_epoch": ((1,), _EPOCHS, "Leave it out"),
    "limit_test_batches": ((1.0,), "it has no effect: all test images are predicted", "Leave it out"),
    "limit_predict_batches": ((1.0,), "it has no effect: all images are predicted", "Leave it out"),
    "enable_checkpointing": ((True,), "a run needs its checkpoint", "Leave it out"),
    "barebones": ((False,), "it writes neither checkpoint nor log", "Leave it out"),
    "model_registry": ((), "a run is not uploaded anywhere", "Leave it out"),
}

# Whole numbers and their smallest allowed value.
SMALLEST = {
    "accumulate_grad_batches": 1,
    "devices": 1,
    "num_nodes": 1,
    "log_every_n_steps": 1,
    "min_epochs": 0,
    "min_steps": 0,
    "num_sanity_val_steps": -1,
    "reload_dataloaders_every_n_epochs": 0,
}


# Those that Lightning does not take null for, or takes for all devices of the machine.
NOT_NULL = ("accumulate_grad_batches", "devices", "num_nodes")


def check_trainer(settings: Mapping[str, Any]) -> None:
    """Refuse settings that Lightning accepts but a run does not support.

    Parameters
    ----------
    settings : mapping
        Plain values of the arguments of `lightning.Trainer`.
    """
    for name, (allowed, reason, instead) in ALLOWED.items():
        value = settings.get(name)
        # By type too: Lightning reads 1 as one batch and 1.0 as all of them, and True equals 1.
        if value is not None and not any(value == other and type(value) is type(other) for other in allowed):
            raise MedclsError(f"trainer.{name} is {value!r}: {reason}. {instead}.", kind="bad_value")
    epochs = settings.get("max_epochs")
    if not _is_int(epochs) or epochs < 1:
        raise MedclsError(f"trainer.max_epochs is {epochs!r}: give a number of epochs, at least 1.", kind="bad_value")
    for name, smallest in SMALLEST.items():
        value = settings.get(name)
        null = value is None and (name not in settings or name not in NOT_NULL)
        if not null and (not _is_int(value) or value < smallest):
            raise MedclsError(
                f"trainer.{name} is {value!r}: give a whole number, at least {smallest}.", kind="bad_value"
            )
    clip = settings.get("gradient_clip_val")
    if clip is not None and (isinstance(clip, bool) or not isinstance(clip, int | float) or clip < 0):
        raise MedclsError(f"trainer.gradient_clip_val is {clip!r}: give a number, at least 0.", kind="bad_value")
    several = settings.get("devices", 1) * settings.get("num_nodes", 1) > 1
    if (
        several
        and settings.get("sync_batchnorm")
        and not (torch.cuda.is_available() and settings.get("accelerator", "auto") in ("auto", "gpu", "cuda"))
    ):
        raise MedclsError(
            "trainer.sync_batchnorm=true needs GPUs: torch has no batch norm over several processes on a CPU. Leave it "
            "out, or train in one process (trainer.devices=1).",
            kind="needs_gpu",
        )
    # Lightning does not check all of them: it reads `deterministic=maybe` as true.
    if settings.get("_target_", "lightning.Trainer") == "lightning.Trainer":
        own = {name: value for name, value in settings.items() if not name.startswith("_")}
        check_fits(lightning.Trainer, own, "trainer")


def batches_an_epoch(batches: int, limit: float | None) -> int:
    """Number of training batches in an epoch under `trainer.limit_train_batches`.

    Parameters
    ----------
    batches : int
        Number of all batches.
    limit : int, float or None
        A number of batches, or a share of them.

    Raises
    ------
    MedclsError
        No batch would be left.
    """
    if limit is None:
        return batches
    if isinstance(limit, int | float) and not isinstance(limit, bool):
        left = min(batches, limit) if isinstance(limit, int) else int(batches * limit) if limit <= 1 else 0
        if left >= 1:
            return left
    raise MedclsError(
        f"trainer.limit_train_batches is {limit!r}, which leaves none of the {batches} batch(es) of an epoch: give a "
        "whole number of at least 1, or a share of at least one batch.",
        kind="bad_value",
    )


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
