"""Which settings of Lightning's trainer a run can bear: the others are refused before anything is made."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import lightning

from medcls.errors import MedclsError
from medcls.signatures import check_fits

_EPOCHS = "a run counts in epochs, and its checkpoint is chosen by the validation after each"
_EVERY_IMAGE = "every validation image is scored after every epoch, for by that the checkpoint is chosen"
_ONE_DEVICE = "medcls trains on one device so far"
_QUICK = "For a quick try give trainer.max_epochs=1 and +trainer.limit_train_batches=5"

# What else than these cannot be, why, and what to do instead. Null is always Lightning's own default.
ONLY: dict[str, tuple[tuple[Any, ...], str, str]] = {
    "devices": ((1,), _ONE_DEVICE, "Give 1; which GPU it is, CUDA_VISIBLE_DEVICES says"),
    "num_nodes": ((1,), _ONE_DEVICE, "Give 1"),
    "strategy": (("auto",), _ONE_DEVICE, "Give auto"),
    "max_steps": ((-1,), _EPOCHS, "Give trainer.max_epochs"),
    "fast_dev_run": ((False, 0), "it writes no checkpoint, and a run is nothing without", _QUICK),
    "overfit_batches": ((0.0, 0), _EVERY_IMAGE, _QUICK),
    "limit_val_batches": ((1.0,), _EVERY_IMAGE, "Leave it out"),
    "val_check_interval": ((1.0,), _EPOCHS, "Leave it out"),
    "check_val_every_n_epoch": ((1,), _EPOCHS, "Leave it out"),
    "limit_test_batches": ((1.0,), "it would change nothing: every test image is predicted", "Leave it out"),
    "limit_predict_batches": ((1.0,), "it would change nothing: every image is predicted", "Leave it out"),
    "enable_checkpointing": ((True,), "a run is nothing without its checkpoint", "Leave it out"),
    "barebones": ((False,), "it writes neither checkpoint nor log", "Leave it out"),
    "model_registry": ((), "nothing of a run is sent anywhere", "Leave it out"),
}

# Whole numbers, and the least that each can be.
LEAST = {
    "accumulate_grad_batches": 1,
    "log_every_n_steps": 1,
    "min_epochs": 0,
    "min_steps": 0,
    "num_sanity_val_steps": -1,
    "reload_dataloaders_every_n_epochs": 0,
}


def check_trainer(settings: Mapping[str, Any]) -> None:
    """Refuse what Lightning would take and a run could not be brought to its end with.

    Parameters
    ----------
    settings : mapping
        Of `lightning.Trainer`, plain values.

    Raises
    ------
    MedclsError
        Names the setting, why not, and what to do.
    """
    for name, (possible, why, instead) in ONLY.items():
        value = settings.get(name)
        # True is 1, and 1 is 1.0 but not the same to Lightning: one batch, or all of them.
        if value is not None and not any(value == one and type(value) is type(one) for one in possible):
            raise MedclsError(f"trainer.{name} is {value!r}: {why}. {instead}.", kind="bad_value")
    epochs = settings.get("max_epochs")
    if not _whole(epochs) or epochs < 1:
        raise MedclsError(f"trainer.max_epochs is {epochs!r}: give a number of epochs, at least 1.", kind="bad_value")
    for name, least in LEAST.items():
        value = settings.get(name)
        null = value is None and (name not in settings or name != "accumulate_grad_batches")
        if not null and (not _whole(value) or value < least):
            raise MedclsError(f"trainer.{name} is {value!r}: give a whole number, at least {least}.", kind="bad_value")
    clip = settings.get("gradient_clip_val")
    if clip is not None and (isinstance(clip, bool) or not isinstance(clip, int | float) or clip < 0):
        raise MedclsError(f"trainer.gradient_clip_val is {clip!r}: give a number, at least 0.", kind="bad_value")
    # Lightning does not look at all of them: it takes `deterministic=maybe` for a yes.
    if settings.get("_target_", "lightning.Trainer") == "lightning.Trainer":
        own = {name: value for name, value in settings.items() if not name.startswith("_")}
        check_fits(lightning.Trainer, own, "trainer")


def batches_an_epoch(batches: int, limit: float | None) -> int:
    """How many training batches make an epoch under `trainer.limit_train_batches`.

    Parameters
    ----------
    batches : int
        All that there are.
    limit : int, float or None
        A number of batches, or a share of them.

    Raises
    ------
    MedclsError
        None would be left.
    """
    if limit is None:
        return batches
    sensible = isinstance(limit, int | float) and not isinstance(limit, bool)
    if sensible:
        left = min(batches, limit) if isinstance(limit, int) else int(batches * limit) if limit <= 1 else 0
        if left >= 1:
            return left
    raise MedclsError(
        f"trainer.limit_train_batches is {limit!r}, which leaves nothing of the {batches} batch(es) of an epoch: give "
        "a whole number from 1 on, or a share of at least one batch.",
        kind="bad_value",
    )


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
