"""Checks of a training's settings that need no image, made before any is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcls.cli.building import build, plain
from medcls.cli.distilling import check_teacher
from medcls.data.module import Loading
from medcls.data.splits.split import SplitSettings
from medcls.errors import MedclsError
from medcls.hardware import Hardware, check_compiler
from medcls.learning.freezing import FreezeSchedule
from medcls.learning.interruption import SaveWithinEpoch
from medcls.learning.precision import check_half_precision
from medcls.learning.schedulers import learning_rates
from medcls.learning.trainer_settings import batches_an_epoch
from medcls.models.weights import find_weights
from medcls.preprocessing import Preprocessing
from medcls.runs.stored import refuse_passwords, refuse_ways_out

MANY_BATCHES = 10**9  # while their number is not known
FEW_BATCHES = 10


def check_settings(
    cfg: Any,  # noqa: ANN401 - a configuration
    split: Mapping[str, Any],
    preprocessing: Preprocessing,
    machine: Hardware,
) -> None:
    """Build what can be built without images, and check the other settings.

    Parameters
    ----------
    cfg : configuration
        As `conf/train.yaml` describes it.
    split : mapping
        As `data_source.split_settings` gives it.
    """
    SplitSettings(**split)
    data = cfg.data
    Loading(
        batch_size=data.batch_size, sampler=data.sampler, workers=machine.workers, cache=data.cache, views=data.views
    )
    if (augmentation := build(cfg.data.augmentation)) is not None:
        augmentation.check_size(preprocessing.size)
    _check_switches(cfg)
    check_half_precision(str(cfg.trainer.precision), build(cfg.optimizer))
    batches_an_epoch(MANY_BATCHES, cfg.trainer.get("limit_train_batches"))
    build(cfg.trainer, callbacks=[], logger=False, plugins=[], default_root_dir=".")
    loggers = plain(cfg.logger)
    refuse_passwords(loggers)
    refuse_ways_out(loggers)
    for logger in cfg.logger.values():
        build(logger, save_dir=".")
    epochs = cfg.trainer.max_epochs
    learning_rates(build(cfg.optimizer), build(cfg.scheduler), steps=FEW_BATCHES * epochs, steps_per_epoch=FEW_BATCHES)
    loss = cfg.loss.copy()
    if "class_weights" in loss and not isinstance(plain(loss.class_weights), str):
        loss.class_weights = None  # checked later, when the number of classes is known
    build(loss, class_counts=(1, 1))
    check_teacher(cfg)
    FreezeSchedule(plain(cfg.schedule.phases), head="head")
    if cfg.model.weights not in (None, "default") and not cfg.resume:
        find_weights(cfg.model.weights)


def _check_switches(cfg: Any) -> None:  # noqa: ANN401
    if cfg.ema is not None and not (isinstance(cfg.ema, float) and 0 < cfg.ema < 1):
        raise MedclsError(
            f"ema is {cfg.ema}: give a decay above 0 and below 1, such as 0.99, or null for none.", kind="bad_value"
        )
    if cfg.early_stopping is not None and not (isinstance(cfg.early_stopping, int) and cfg.early_stopping > 0):
        raise MedclsError(
            f"early_stopping is {cfg.early_stopping}: give a number of epochs, or null for none.", kind="bad_value"
        )
    SaveWithinEpoch(Path(), plain(cfg.get("checkpoint_minutes")))
    if cfg.exact_batch_norm not in (None, True, False):
        raise MedclsError(f"exact_batch_norm is {cfg.exact_batch_norm!r}: give true, false or null.", kind="bad_value")
    for name in ("compile", "freeze_random_weights"):  # runs of earlier versions lack them
        if not isinstance(switch := cfg.get(name, False), bool):
            raise MedclsError(f"{name} is {switch!r}: give true or false.", kind="bad_value")
    if cfg.get("compile", False):
        check_compiler()
    if cfg.optimizer.get("fused") and cfg.trainer.gradient_clip_val and "mixed" in str(cfg.trainer.precision):
        raise MedclsError(
            f"trainer.gradient_clip_val does not work with trainer.precision={cfg.trainer.precision} and a fused "
            "optimizer: add optimizer.fused=false.",
            kind="conflicting_settings",
        )
