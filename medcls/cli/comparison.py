"""What a comparison is asked for: which runs and tables, by which metrics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from medcls.cli.building import plain
from medcls.errors import MedclsError, nearest

if TYPE_CHECKING:
    # Everything heavy is imported where it is used, so that a typo is answered before anything is loaded.
    from medcls.evaluation.comparing import Question
    from medcls.evaluation.model_comparison import ComparedModel


def question(cfg: DictConfig, classes: Sequence[str]) -> Question:
    """By what is compared, of a task with these classes.

    Raises
    ------
    MedclsError
        A margin or a threshold probability that is none.
    """
    from medcls.evaluation.comparing import Question, metrics_of
    from medcls.evaluation.decision_curve import acting_from
    from medcls.evaluation.non_inferiority import check_margin

    asked = plain(cfg.metric)
    acted_at = None if cfg.threshold_probability is None else acting_from(plain(cfg.threshold_probability))
    if asked is None:  # a net benefit takes a threshold that nobody else can state
        asked = [metric for metric in metrics_of(classes) if metric != "net_benefit" or acted_at is not None]
    metrics = dict.fromkeys(asked if isinstance(asked, list) else [asked])
    if not metrics:
        raise MedclsError("metric is []: name at least one, as metric=auroc, or leave it out.", kind="bad_value")
    return Question(tuple(metrics), acted_at, check_margin(plain(cfg.margin)), cfg.resamples, cfg.seed)


def check_settings(cfg: DictConfig) -> None:
    """Refuse settings that mean nothing before anything is read.

    Raises
    ------
    MedclsError
        Names the setting and what it can be.
    """
    for name, least in (("resamples", 100), ("seed", 0)):
        if isinstance(cfg[name], bool) or not isinstance(cfg[name], int) or cfg[name] < least:
            raise MedclsError(f"{name} is {cfg[name]!r}: give a whole number, at least {least}.", kind="bad_value")
    if not isinstance(cfg.split, str) or not re.fullmatch(r"\w+", cfg.split):
        raise MedclsError(f"split is {cfg.split!r}: give the name of a split, such as test or val.", kind="bad_value")


def entries(cfg: DictConfig) -> list[Path]:
    """What was named to be compared.

    Raises
    ------
    MedclsError
        Nothing, or what is not there.
    """
    if cfg.runs is not None and cfg.cross_validations is not None:
        raise MedclsError(
            "runs=... and cross_validations=... were both given: compare one or the other.", kind="conflicting_settings"
        )
    named = plain(cfg.runs if cfg.cross_validations is None else cfg.cross_validations)
    named = [named] if isinstance(named, str) else named
    if not isinstance(named, list) or not named:
        raise MedclsError(
            'Name what to compare, two runs or more: "runs=[runs/A,runs/B]", or a sweep: runs=runs/SWEEP.',
            kind="nothing_to_compare",
        )
    found = [Path(str(entry)).expanduser() for entry in named]
    for path in found:
        if not path.exists():
            there = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
            raise MedclsError(
                f"There is no run folder, and no file, {path}.{nearest(path.name, there)}", kind="no_such_file"
            )
    return found


def read(places: Sequence[Path], split: str, positive: str | None) -> list[ComparedModel]:
    """Each run's predictions with its own operating point; other tools' tables learn groups and split from a run's.

    Raises
    ------
    MedclsError
        A table, a configuration or a threshold that cannot be used.
    """
    from medcls.evaluation.model_comparison import ComparedModel, known_from
    from medcls.runs.records import Configuration
    from medcls.workflow import finished_runs

    configurations = [Configuration.read(place) for place in places]
    own = [
        finished_runs.positive_of(config, place, positive) for config, place in zip(configurations, places, strict=True)
    ]
    # A table has the positive class of the runs beside it.
    shared = positive if positive is not None else next((name for name in own if name is not None), None)
    tables = [
        finished_runs.read_table(place, split, shared if config is None else own_class)
        for place, config, own_class in zip(places, configurations, own, strict=True)
    ]
    known = next((table for place, table in zip(places, tables, strict=True) if place.is_dir()), None)
    if known is not None:
        tables = [
            table if place.is_dir() else known_from(table, known) for place, table in zip(places, tables, strict=True)
        ]
    told = (finished_runs.names(places), finished_runs.differences(configurations))
    return [
        ComparedModel(
            name,
            str(place),
            table,
            finished_runs.operating_point(place, table),
            settings,
            finished_runs.leak(place, split),
        )
        for place, table, name, settings in zip(places, tables, *told, strict=True)
    ]
