"""Settings of a monitoring, and what they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from medcls.cli.building import plain
from medcls.cli.typed_values import check_integers
from medcls.errors import MedclsError, nearest
from medcls.wording import enumerated

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before anything is loaded.
    from collections.abc import Callable

    from medcls.evaluation.monitoring import Watched
    from medcls.statistics.arrays import Floats
    from medcls.workflow.new_predictions import Run

PERIODS = ("file", "day", "week", "month")


def check_settings(cfg: DictConfig) -> None:
    """Check the settings before anything is read."""
    for name, what in (("run", "a run folder"), ("predictions", "the predictions of new images")):
        if plain(cfg[name]) is None:
            raise MedclsError(
                f"{name} is not given: name {what}, as python -m medcls.monitor run=runs/NAME predictions=new.csv",
                kind="missing_setting",
            )
    if cfg.period not in PERIODS:
        raise MedclsError(
            f"period is {cfg.period!r}: choose {enumerated(PERIODS)}.{nearest(str(cfg.period), PERIODS)}",
            kind="bad_value",
        )
    check_integers(cfg, {"resamples": 100, "seed": 0})
    if cfg.reference_images is not None and cfg.images is None:
        raise MedclsError(
            "reference_images is given without images: both are needed to compare images.", kind="ignored_setting"
        )


def read(cfg: DictConfig, progress: Callable[[int, int], None]) -> tuple[Run, Watched, list[str]]:
    """Read the run, the new predictions and what else the settings name.

    Returns
    -------
    run : Run
    watched : Watched
    notes : list of str
        What was left out.
    """
    from medcls.evaluation.monitoring import Watched
    from medcls.workflow import new_predictions

    run = new_predictions.read_run(_path(cfg.run))
    rows, notes = new_predictions.read_new(new_predictions.tables_of(_path(cfg.predictions)), run.reference)
    if cfg.labels is not None:
        rows, left_out = new_predictions.with_labels(rows, _path(cfg.labels))
        notes += left_out
    new_predictions.check_labels(rows, run.reference.classes)
    if cfg.period != "file":
        rows = new_predictions.by_date(rows, str(cfg.date_column), cfg.period)
    statistics: dict[str, tuple[Floats, Floats]] = {}
    if cfg.images is not None:
        folder = run.images if cfg.reference_images is None else _path(cfg.reference_images)
        statistics, left_out = new_predictions.image_statistics(
            rows, _path(cfg.images), run.reference, folder, progress
        )
        notes += left_out
    return run, Watched(run.reference, rows, run.rules, run.rates_from, statistics), notes


def _path(value: object) -> Path:
    return Path(str(value)).expanduser()
