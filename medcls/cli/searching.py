"""A search for settings: `python -m medcls.train -m hydra/sweeper=search`.

Hydra's plugin for Optuna reads the ranges; the loop is here. The plugin's own counts its trials from 0 in a study that
goes on, draws the same numbers again, and ends where a metric is NaN.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import logging
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from medcls.cli.building import build
from medcls.cli.invocation import command_line
from medcls.errors import MedclsError, typed
from medcls.runs.run_folder import RunFolder
from medcls.wording import counted, enumerated, listed

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before anything is loaded.
    import optuna
    from optuna.distributions import BaseDistribution

log = logging.getLogger(__name__)

# Settings of data that may be searched. The others decide which images val has, by which trials are compared.
OF_DATA = (
    "data.augmentation", "data/augmentation", "data.batch_size", "data.bits", "data.image_size", "data.resize",
    "data.sampler", "data.train_fraction", "data.views", "data.window",
)  # fmt: skip
# Others that change what is compared, or are no part of a training.
NOT_SEARCHED = (
    "evaluate_test",
    "experiments",
    "monitor",
    "monitor_mode",
    "positive_class",
    "preview",
    "resume",
    "seed",
)

FIRST_FAILURES = 3
"""After so many failures without a complete trial the search ends: all trials would fail."""

Batch = list[tuple[int, dict[str, object]]]
"""Trials that are trained together: the number of each, which is that of its job and run folder, and its settings."""

LONGEST_ATTRIBUTE = 1000
"""Characters of an attribute of a study: databases take 2,048, with what JSON adds."""


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """The settings of a search, `hydra.sweeper`.

    Parameters
    ----------
    params : mapping
        Ranges in Hydra's grammar, by setting.
    n_trials : int
        In all, with those of earlier commands.
    n_jobs : int
        Trials that are chosen together.
    sampler : DictConfig
        A class of `optuna.samplers`.
    storage : str, optional
        The address of a database; default: `study.db` in the sweep folder.
    study_name : str, optional
        Default: the name of the sweep folder.

    Raises
    ------
    MedclsError
        A number is wrong.
    """

    params: Mapping[str, object]
    n_trials: int
    n_jobs: int
    sampler: DictConfig
    seed: int
    storage: str | None
    study_name: str | None

    def __post_init__(self) -> None:
        for name, least in (("n_trials", 1), ("n_jobs", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise MedclsError(
                    f"hydra.sweeper.{name} is {value!r}: give a whole number, at least {least}.", kind="bad_value"
                )
        for name in ("storage", "study_name"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise MedclsError(f"hydra.sweeper.{name} is {value!r}: give a text, or null.", kind="bad_value")


def check_installed() -> None:
    """Refuse a search without Optuna.

    Raises
    ------
    MedclsError
    """
    if not (_is_installed("optuna") and _is_installed("hydra_plugins.hydra_optuna_sweeper")):
        raise MedclsError("A search needs Optuna: pip install 'medcls[hpo]'", kind="missing_extra")


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def search(
    settings: SearchSettings, config: DictConfig, loader: ConfigLoader, launcher: Launcher, arguments: Sequence[str]
) -> None:
    """Train trials until there are enough in the study, write the page, and print the best trial's command.

    The objective is what `medcls.train` returns: the best value of the monitored metric of val.

    Parameters
    ----------
    config : DictConfig
        Hydra's, of the sweep.
    arguments : sequence of str
        As typed, without those of Hydra.

    Raises
    ------
    MedclsError
        The settings cannot be searched, the study is of another search, or every trial failed.
    """
    space, fixed = read_space(settings.params, arguments)
    check_space(space)
    first = [f"{name}={_first(distribution)}" for name, distribution in space.items()]
    monitor, mode = check_objective(loader.load_sweep_config(config, [*fixed, *first]))

    from medcls.workflow import terminal
    from medcls.workflow.search_report import as_typed

    terminal.start_log()
    path = Path(str(config.hydra.sweep.dir)).absolute()
    path.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(path)
    try:
        folder.claim()
        address = settings.storage or f"sqlite:///{path / 'study.db'}"
        study = open_study(address, settings.study_name or path.name, mode)
        check_same_search(study, {"monitor": monitor, "monitor_mode": mode} | _recorded(space, fixed))
        folder.begin("search.log")
        log.info(
            "%s of %s, judged by %s, in %s",
            counted(settings.n_trials, "trial"),
            enumerated(list(space)),
            monitor,
            path,
        )

        def train(batch: Batch) -> Sequence[JobReturn]:
            overrides = [[*fixed, *(f"{name}={as_typed(own[name])}" for name in space)] for _, own in batch]
            return launcher.launch(overrides, initial_job_idx=batch[0][0])

        _train(settings, study, space, train, monitor)
        _report(study, fixed, monitor, folder)
    finally:
        folder.close()


def read_space(params: Mapping[str, object], arguments: Sequence[str]) -> tuple[dict[str, BaseDistribution], list[str]]:
    """Read the ranges to search, and the arguments that are the same in all trials.

    Parameters
    ----------
    params : mapping
        Ranges in Hydra's grammar, by setting.
    arguments : sequence of str
        As typed; these replace a range of the same name.
    """
    from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override

    space: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    given = [*(f"{name}={value}" for name, value in params.items()), *arguments]
    for override in OverridesParser.create().parse_overrides(given):
        name = override.get_key_element()
        space.pop(name, None)
        fixed.pop(name, None)
        if override.is_sweep_override():
            space[name] = create_optuna_distribution_from_override(override)
        else:
            fixed[name] = str(override.input_line)
    return space, list(fixed.values())


def check_space(space: Mapping[str, BaseDistribution]) -> None:
    """Refuse to search nothing, or what would make trials incomparable.

    Raises
    ------
    MedclsError
    """
    if not space:
        raise MedclsError(
            "There is nothing to search: type a range, such as 'optimizer.lr=tag(log, interval(1e-4, 1e-2))'.",
            kind="nothing_to_search",
        )
    for typed_name in space:
        name = typed_name.lstrip("+")
        of_data = name == "data" or name.startswith(("data.", "data/"))
        if name in NOT_SEARCHED or (of_data and not any(f"{name}.".startswith(f"{one}.") for one in OF_DATA)):
            raise MedclsError(
                f"{name} cannot be searched: trials that differ in it would not be compared by the same metric on the "
                "same val images. For one run each, sweep over it without hydra/sweeper=search.",
                kind="not_searchable",
            )


def check_objective(cfg: DictConfig) -> tuple[str, str]:
    """The monitored metric of a trial's configuration, and whether it is to be `max` or `min`.

    Raises
    ------
    MedclsError
        It is not of val, or trials would read test.
    """
    if cfg.get("evaluate_test"):
        raise MedclsError(
            "evaluate_test=true in a search would read test in each trial: leave it out, and evaluate the best trial "
            "at the end.",
            kind="test_in_a_search",
        )
    monitor, mode = str(cfg.get("monitor")), str(cfg.get("monitor_mode"))
    if not monitor.startswith("val/"):
        raise MedclsError(
            f"monitor is {monitor}: a search compares trials by a metric of val, such as monitor=val/auroc.",
            kind="test_in_a_search" if monitor.startswith("test") else "bad_value",
        )
    if mode not in ("max", "min"):
        raise MedclsError(f"monitor_mode is {mode!r}: give max or min.", kind="bad_value")
    return monitor, mode


def open_study(address: str, name: str, mode: str) -> optuna.Study:
    """Open a study, or make it.

    Parameters
    ----------
    address : str
        Of a database, as SQLAlchemy reads it.
    mode : str
        `max` or `min`.

    Raises
    ------
    MedclsError
        The database, or its driver, is not there.
    """
    import optuna
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(logging.WARNING)
    direction = {"max": "maximize", "min": "minimize"}[mode]
    try:
        return optuna.create_study(study_name=name, storage=address, direction=direction, load_if_exists=True)
    except ImportError as error:
        raise MedclsError(
            "The driver of the database in hydra.sweeper.storage is not installed. For PostgreSQL: pip install "
            "psycopg2-binary",
            kind="missing_extra",
        ) from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        shown = "hydra.sweeper.storage"
        with contextlib.suppress(SQLAlchemyError):
            shown = repr(make_url(address))  # without the password
        reason = next(iter(str(error.__cause__ or error).splitlines()), "")
        raise MedclsError(f"The study cannot be opened in {shown}: {reason}", kind="no_storage") from error


def check_same_search(study: optuna.Study, settings: Mapping[str, str]) -> None:
    """Record the settings of a search in its study; refuse a study of another.

    Raises
    ------
    MedclsError
    """
    from medcls.workflow.search_report import FAILURE

    cut = {name: text[:LONGEST_ATTRIBUTE] for name, text in settings.items()}
    recorded = {name: text for name, text in study.user_attrs.items() if not name.startswith(FAILURE)}
    if not recorded and not study.get_trials(deepcopy=False):
        for name, text in cut.items():
            study.set_user_attr(name, text)
    elif changed := sorted(name for name in {*recorded, *cut} if recorded.get(name) != cut.get(name)):
        raise MedclsError(
            f"The study {study.study_name} is of a search with other settings ({enumerated(changed)}). Type what it "
            "was started with, or give another hydra.sweep.dir.",
            kind="of_another_search",
        )


def interrupted_trials(study: optuna.Study, names: Iterable[str]) -> list[tuple[int, dict[str, object]]]:
    """Number and settings of the trials that an earlier command did not end. Only one command may work on a study."""
    from optuna.trial import TrialState

    found = []
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if set(trial.params) == set(names):
            found.append((trial.number, trial.params))
        else:  # it ended while its settings were chosen
            study.tell(trial.number, state=TrialState.FAIL)
    return found


def _train(
    settings: SearchSettings,
    study: optuna.Study,
    space: Mapping[str, BaseDistribution],
    train: Callable[[Batch], Sequence[JobReturn]],
    monitor: str,
) -> None:
    """Train trials until there are enough in the study, those first that were interrupted.

    Raises
    ------
    MedclsError
        The first trials all failed.
    """
    failures: list[str] = []
    interrupted = interrupted_trials(study, space)
    while interrupted or (left := settings.n_trials - _finished(study)) > 0:
        if interrupted:
            batch = [interrupted.pop(0)]
            log.info("trial %d was interrupted: it is trained again", batch[0][0])
        else:
            # By the number of trials, so that a study that goes on does not draw the same again.
            drawn = int(np.random.SeedSequence([settings.seed, len(study.trials)]).generate_state(1)[0])
            study.sampler = build(settings.sampler, seed=drawn)
            asked = [study.ask(dict(space)) for _ in range(min(left, settings.n_jobs))]
            batch = [(trial.number, trial.params) for trial in asked]
        for (number, _), returned in zip(batch, train(batch), strict=True):
            value, reason = outcome(returned, monitor)
            if reason:
                failures.append(f"trial {number}: {reason}")
            _record(study, number, value, reason, monitor)
        if _finished(study) == len(failures) >= FIRST_FAILURES:
            raise MedclsError(f"The first trials all failed:\n{listed(failures)}", kind="every_trial_failed")


def _record(study: optuna.Study, number: int, value: float | None, reason: str, monitor: str) -> None:
    """Record how a trial ended."""
    from optuna.trial import TrialState

    from medcls.workflow.search_report import FAILURE

    if value is None:
        # Of the study: attributes of a trial can be set by what has asked for it only.
        study.set_user_attr(f"{FAILURE}{number}", reason[:LONGEST_ATTRIBUTE])
        study.tell(number, state=TrialState.FAIL)
        log.debug("trial %d failed: %s", number, reason)  # the terminal has it from the job
        return
    study.tell(number, value)
    best = study.best_trial
    log.info("trial %d: %s %.4f; best %.4f (trial %d)", number, monitor, value, best.value, best.number)


def outcome(returned: JobReturn, monitor: str) -> tuple[float | None, str]:
    """The metric that a trial returned, or why there is none."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the error is printed already
            value = returned.return_value
    except Exception as error:  # noqa: BLE001 - whatever ended the trial
        first = next(iter(str(error).splitlines()), "")
        return None, first if isinstance(error, MedclsError) else f"{type(error).__name__}: {first}"
    if value is None:
        return None, "nothing was trained"
    return (float(value), "") if math.isfinite(value) else (None, f"{monitor} is {value}")


def _report(study: optuna.Study, fixed: Sequence[str], monitor: str, folder: RunFolder) -> None:
    """Write the page; print the best trial, and the command that trains it.

    Raises
    ------
    MedclsError
        No trial is complete.
    """
    from medcls.workflow import search_report, terminal

    found = search_report.read_search(study, monitor, folder.path)
    if found.best is None:
        reasons = [f"trial {trial.number}: {trial.reason}" for trial in found.trials if trial.reason]
        raise MedclsError(f"No trial is complete:\n{listed(reasons)}", kind="every_trial_failed")
    chosen = [f"{name}={text}" for name, text in found.best.settings.items()]
    commands = search_report.Commands(
        command_line("train"),
        f"python -m medcls.train {shlex.join([*fixed, *chosen])}",
        f"python -m medcls.evaluate {typed('run', str(folder.path / str(found.best.number)))} split=test",
    )
    page = search_report.write_search(found, folder, commands)
    log.info("%s; the best is trial %d, %s %.4f", found.counts(), found.best.number, monitor, found.best.value)
    log.warning("%s", found.warning(), extra={"rule": "best_of_several"})
    log.info("the page: %s", page)
    terminal.show_line(f"To train the best trial again and evaluate it on test:\n  {commands.train}")


def _finished(study: optuna.Study) -> int:
    """The number of trials that count: complete, or failed for a reason of their own."""
    from optuna.trial import TrialState

    from medcls.workflow.search_report import FAILURE

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return len(complete) + sum(name.startswith(FAILURE) for name in study.user_attrs)


def _first(distribution: BaseDistribution) -> str:
    """A value of a range, to compose a trial's configuration with."""
    from medcls.workflow.search_report import as_typed

    choices = getattr(distribution, "choices", None)
    return as_typed(choices[0] if choices else getattr(distribution, "low", None))


def _recorded(space: Mapping[str, BaseDistribution], fixed: Sequence[str]) -> dict[str, str]:
    """The settings by which a search is recognised."""
    from optuna.distributions import distribution_to_json

    ranges = {f"range of {name}": distribution_to_json(distribution) for name, distribution in space.items()}
    return {f"setting {text.split('=')[0]}": text for text in fixed} | ranges
