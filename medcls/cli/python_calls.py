"""Run a command from Python: the same settings, checks and folder; exceptions instead of exit codes."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from medcls import cpu
from medcls.cli import lack_of_memory, standard_streams
from medcls.cli.entry_point import prepared_arguments, settings_error
from medcls.cli.experiments import register_experiments
from medcls.cli.invocation import given_from_python
from medcls.cli.shipped import configurations
from medcls.cli.termination import sigterm_interrupts
from medcls.errors import MedclsError
from medcls.workflow import tracking_store

Result = TypeVar("Result")

# Hydra's state, the log, the seeds and the signal handlers are those of the process.
_ONE_AT_A_TIME = threading.RLock()

_LOGGERS = ("medcls", "py.warnings", "lightning.pytorch.utilities.rank_zero")
_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "GOMP_SPINCOUNT",
    "PL_GLOBAL_SEED",
    "PL_SEED_WORKERS",
    *tracking_store.VARIABLES,
)


def run_from_python(
    task: Callable[[DictConfig], Result], config_name: str, arguments: Sequence[str]
) -> tuple[Result, Path]:
    """Run a command's task with these arguments, as `entry_point.run_command` does with those of the command line.

    What the command changes in the process (random numbers, log, signal handlers, warnings, threads) is restored. Calls
    from several threads run one after another.

    Parameters
    ----------
    task : callable
        Receives the composed configuration.
    config_name : str
        The file in `conf/` to start from.
    arguments : sequence of str
        In Hydra's grammar: `trainer.max_epochs=20`.

    Returns
    -------
    result, folder
        What the task returns, and the folder that Hydra chose for it.

    Raises
    ------
    MedclsError
        As the command would print it.
    KeyboardInterrupt
        Ctrl-C, or SIGTERM where the program has no handler of its own.
    """
    with _ONE_AT_A_TIME, _process_restored():
        try:
            register_experiments()
            typed = prepared_arguments(list(arguments), config_name)
            with (
                given_from_python(typed),
                _hydra_initialized(config_name),
                _hydra_config(compose(config_name, typed, return_hydra_config=True)) as (cfg, folder),
                lack_of_memory.explained(cfg),
            ):
                return task(cfg), folder
        except (HydraException, OmegaConfBaseException) as error:
            message = settings_error(error)
            if message is None:
                raise
            raise MedclsError(message, kind="bad_setting") from error


@contextlib.contextmanager
def _hydra_initialized(config_name: str) -> Iterator[None]:
    """Initialize Hydra for `compose`, also in a program that uses Hydra itself, to which its own is given back."""
    own, version_base = GlobalHydra.instance().hydra, version.getbase()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(configurations() / "conf"), job_name=config_name, version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = own
        if own is not None and version_base is not None:
            version.VersionBase.instance().setbase(version_base)


@contextlib.contextmanager
def _hydra_config(composed: DictConfig) -> Iterator[tuple[DictConfig, Path]]:
    """Make the run folder and tell `HydraConfig`, as Hydra does for a job; yield the command's own configuration."""
    if composed.hydra.mode == RunMode.MULTIRUN:
        raise MedclsError("hydra.mode=MULTIRUN: from Python, write a loop around single runs.", kind="sweep_in_python")
    known = HydraConfig.instance()
    before = known.cfg
    known.set_config(composed)
    try:
        folder = Path(str(composed.hydra.run.dir)).absolute()
        with read_write(composed.hydra.runtime), open_dict(composed.hydra.runtime):
            composed.hydra.runtime.output_dir = str(folder)
        known.set_config(composed)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MedclsError(
                f"The folder {error.filename} cannot be made: {error.strerror}. Give run_dir a path where a folder can "
                "be made.",
                kind="folder_not_made",
            ) from error
        cfg = composed.copy()
        with read_write(cfg), open_dict(cfg):
            del cfg["hydra"]
        OmegaConf.set_struct(cfg, True)
        yield cfg, folder
    finally:
        known.cfg = before


@contextlib.contextmanager
def _process_restored() -> Iterator[None]:
    """Undo at the end what a command does to a process that is not its own."""
    variables = {name: os.environ.get(name) for name in _VARIABLES}
    frozen = gc.get_freeze_count()
    cpu.shorten_spinning()
    with (
        standard_streams.replacing_what_cannot_be_encoded(),
        _log_restored(),
        _signals_restored(),
        _random_numbers_restored(),
        _torch_restored(),
    ):
        try:
            yield
        finally:
            if not frozen:
                gc.unfreeze()
            for name, value in variables.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextlib.contextmanager
def _log_restored() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    captures = warnings.showwarning.__module__ == "logging"
    with warnings.catch_warnings():
        try:
            yield
        finally:
            if not captures:
                logging.captureWarnings(False)
            for logger, level, propagate, handlers in before:
                logger.setLevel(level)
                logger.propagate, logger.handlers = propagate, handlers


@contextlib.contextmanager
def _signals_restored() -> Iterator[None]:
    """Restore Ctrl-C, which Lightning ignores once it was interrupted; let SIGTERM interrupt, unless it is handled."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    unhandled = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    try:
        with sigterm_interrupts() if unhandled else contextlib.nullcontext():
            yield
    finally:
        if before is not None:  # of a handler that was not set from Python
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _random_numbers_restored() -> Iterator[None]:
    """Restore the global generators; those that were not loaded before are seeded as in a new process."""
    state = random.getstate()
    before = {name: sys.modules.get(name) for name in ("numpy", "torch")}
    numpy_state = before["numpy"].random.get_state() if before["numpy"] else None
    torch_state = _torch_state() if before["torch"] else None
    try:
        yield
    finally:
        random.setstate(state)
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed() if numpy_state is None else numpy.random.set_state(numpy_state)
        if (torch := sys.modules.get("torch")) is not None:
            if torch_state is None:
                torch.seed()
            else:
                torch.set_rng_state(torch_state[0])
                torch.cuda.set_rng_state_all(torch_state[1])


def _torch_state() -> tuple[Any, list[Any]]:
    import torch

    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


@contextlib.contextmanager
def _torch_restored() -> Iterator[None]:
    """Restore torch's number of threads, and whether it insists on deterministic operations."""
    threads, deterministic, warns = None, False, False
    if (torch := sys.modules.get("torch")) is not None:
        threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        warns = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        if (torch := sys.modules.get("torch")) is not None:
            torch.use_deterministic_algorithms(deterministic, warn_only=warns)
            if threads is not None:
                torch.set_num_threads(threads)
