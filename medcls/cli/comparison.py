"""Settings of a comparison: which runs and tables to compare, and by which metrics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from medcls.cli.building import plain
from medcls.cli.typed_values import check_integers
from medcls.errors import MedclsError, nearest
from medcls.runs.sweep_folder import Job, SweepFolder

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before anything is loaded.
    from medcls.evaluation.comparing import Question
    from medcls.evaluation.model_comparison import ComparedModel


def question(cfg: DictConfig, classes: Sequence[str]) -> Question:
    """Which metrics to compare, in a task with these classes.

    Raises
    ------
    MedclsError
        The margin, the threshold probability or the list of metrics is not valid.
    """
    from medcls.evaluation.comparing import Question, metrics_of
    from medcls.evaluation.decision_curve import acting_from
    from medcls.evaluation.non_inferiority import check_margin

    asked = plain(cfg.metric)
    acted_at = None if cfg.threshold_probability is None else acting_from(plain(cfg.threshold_probability))
    if asked is None:  # net benefit needs a threshold probability, which only the user can choose
        asked = [metric for metric in metrics_of(classes) if metric != "net_benefit" or acted_at is not None]
    metrics = dict.fromkeys(asked if isinstance(asked, list) else [asked])
    if not metrics:
        raise MedclsError("metric is []: name at least one, as metric=auroc, or leave it out.", kind="bad_value")
    return Question(tuple(metrics), acted_at, check_margin(plain(cfg.margin)), cfg.resamples, cfg.seed)


def check_settings(cfg: DictConfig) -> None:
    """Check the settings before anything is read; choose the split if none is named."""
    check_integers(cfg, {"resamples": 100, "seed": 0})
    given = [name for name in ("runs", "cross_validations", "sweep") if cfg[name] is not None]
    if len(given) > 1:
        raise MedclsError(
            f"{' and '.join(f'{name}=...' for name in given)} were given: compare one or the other.",
            kind="conflicting_settings",
        )
    if cfg.split is None:
        cfg.split = "test" if cfg.sweep is None else "val"
    if not isinstance(cfg.split, str) or not re.fullmatch(r"\w+", cfg.split):
        raise MedclsError(f"split is {cfg.split!r}: give the name of a split, such as test or val.", kind="bad_value")


def named_paths(cfg: DictConfig) -> list[Path]:
    """The run folders and tables that the command names.

    Raises
    ------
    MedclsError
        None is named, or one does not exist.
    """
    named = plain(cfg.runs if cfg.cross_validations is None else cfg.cross_validations)
    named = [named] if isinstance(named, str) else named
    if not isinstance(named, list) or not named:
        raise MedclsError(
            'Name what to compare, two runs or more: "runs=[runs/A,runs/B]", or a sweep: sweep=runs/SWEEP.',
            kind="nothing_to_compare",
        )
    paths = [Path(str(entry)).expanduser() for entry in named]
    for path in paths:
        if not path.exists():
            siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
            raise MedclsError(
                f"There is no run folder or file {path}.{nearest(path.name, siblings)}", kind="no_such_file"
            )
    return paths


def read_sweep(cfg: DictConfig) -> list[Job]:
    """The jobs of the sweep that the command names. Sets `runs`, or `cross_validations` if the runs differ in fold.

    Raises
    ------
    MedclsError
        The folder has no record of a sweep, or no run that is done.
    """
    from medcls.runs.records import Configuration

    folder = SweepFolder(Path(str(cfg.sweep)).expanduser())
    jobs = folder.jobs()
    if not jobs:
        raise MedclsError(
            f"sweep={cfg.sweep}: this folder has no record of jobs. Name the folder of a sweep (-m); the runs in any "
            "other folder are compared by runs=FOLDER.",
            kind="no_sweep",
        )
    done = [folder.path / job.run for job in jobs if job.state == "done" and folder.has_results(job)]
    if not done:
        raise MedclsError(f"No job of {cfg.sweep} is done. {folder.table} has the reasons.", kind="nothing_to_compare")
    configurations = [Configuration.read(run) for run in done]
    folds = {None if one is None else one.setting("data.fold") for one in configurations}
    if len(folds) > 1:
        cfg.cross_validations, cfg.split = str(folder.path), None  # each fold has its own held-out images
    else:
        cfg.runs = [str(run) for run in done]
    return jobs


def read_models(paths: Sequence[Path], split: str, positive: str | None) -> list[ComparedModel]:
    """Each run's predictions with its own operating point; another tool's table takes groups and split from a run's.

    Raises
    ------
    MedclsError
        A table, a configuration or a threshold cannot be used.
    """
    from medcls.evaluation.model_comparison import ComparedModel, known_from
    from medcls.runs.records import Configuration
    from medcls.workflow import finished_runs

    configurations = [Configuration.read(path) for path in paths]
    own_positives = [
        finished_runs.positive_of(config, path, positive) for config, path in zip(configurations, paths, strict=True)
    ]
    # A table has the positive class of the runs beside it.
    shared = positive if positive is not None else next((name for name in own_positives if name is not None), None)
    tables = [
        finished_runs.read_table(path, split, shared if config is None else own)
        for path, config, own in zip(paths, configurations, own_positives, strict=True)
    ]
    of_a_run = next((table for path, table in zip(paths, tables, strict=True) if path.is_dir()), None)
    if of_a_run is not None:
        tables = [
            table if path.is_dir() else known_from(table, of_a_run) for path, table in zip(paths, tables, strict=True)
        ]
    names, differences = finished_runs.names(paths), finished_runs.differences(configurations)
    return [
        ComparedModel(
            name,
            str(path),
            table,
            finished_runs.operating_point(path, table),
            difference,
            finished_runs.leak(path, split),
        )
        for path, table, name, difference in zip(paths, tables, names, differences, strict=True)
    ]
