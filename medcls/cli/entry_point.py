"""Run a command under Hydra, and turn what ends it into an exit code and a message."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from medcls import cpu
from medcls.cli import lack_of_memory, launching, standard_streams, sweeps
from medcls.cli.experiments import register_experiments
from medcls.cli.overrides import check_groups, check_no_password, multirun_first, quote_for_hydra
from medcls.cli.resume import resume_in_same_folder
from medcls.cli.shipped import configurations, shipped_settings
from medcls.cli.termination import (
    PROGRAM_ERROR,
    USER_ERROR,
    exit_code_and_message,
    exit_with,
    sigterm_interrupts,
)


def run_command(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run a command's task under Hydra, and end the process with an exit code.

    What the user, the disk or a signal caused is printed as a message (`termination.exit_code_and_message`), with exit
    code 2, 130, 141 or 143. A programming error keeps its stack trace, with exit code 1.

    A sweep runs every job: a failure is printed at once, and all failures are listed at the end.

    Parameters
    ----------
    task : callable
        Receives the composed configuration.
    config_name : str
        The file in `conf/` to start from.
    """

    def explained(cfg: DictConfig) -> Any:  # noqa: ANN401 - Hydra passes the task's result on to a sweeper
        with lack_of_memory.explained(cfg):
            return task(cfg)

    _prepare_process()
    if launching.is_started():
        with sigterm_interrupts():
            launching.take_part(explained)
    jobs = 0
    starter = os.getpid()

    def guarded(cfg: DictConfig) -> Any:  # noqa: ANN401
        nonlocal jobs
        jobs += 1
        if os.getpid() != starter:  # a launcher's
            _prepare_process()
            sys.argv[1:] = arguments
        if sweeps.is_sweep():
            return sweeps.run_job(explained, cfg, _exit_code_and_message)
        try:
            return explained(cfg)
        except BaseException as error:
            exit_with(*_exit_code_and_message(error))
            raise

    sweep = sweeps.Sweep()
    with sigterm_interrupts():
        try:
            register_experiments()
            sweeps.prefer_shipped_launchers()
            sys.argv[1:] = arguments = prepared_arguments(sys.argv[1:], config_name)
            with _hydra_raises(), sweeps.recorded(sweep):
                hydra.main(version_base="1.3", config_path=str(configurations() / "conf"), config_name=config_name)(
                    guarded
                )()
            if (failures := sweep.failures()) is not None:
                exit_with(*failures)
            sweep.show_end()
        except SystemExit as error:
            if exit_code_and_message(error) is None:  # printed already
                raise
            exit_with(*_exit_code_and_message(error))
        except BaseException as error:
            if isinstance(error, OSError) and error.filename is not None and not jobs:  # Hydra makes the folder
                reason = f"The folder {error.filename} cannot be made: {error.strerror}"
                exit_with(USER_ERROR, f"{reason}. Give hydra.run.dir a path where a folder can be made.")
            if isinstance(error, Exception) and (failures := sweep.failures()) is not None:
                exit_with(*failures)
            exit_with(*_exit_code_and_message(error))
            raise


def _prepare_process() -> None:
    """Prepare the process of a command, or of a job, before torch is imported."""
    cpu.shorten_spinning()
    standard_streams.prepare()


def prepared_arguments(arguments: Sequence[str], config_name: str) -> list[str]:
    """Prepare arguments for Hydra: quoted, checked, and with the folder of a run that is resumed.

    Raises
    ------
    MedclsError
        Values that Hydra would misread, a removed group, a password, a run that cannot be resumed.
    """
    check_no_password(arguments)
    prepared = check_groups(quote_for_hydra(multirun_first(arguments)), config_name)
    resume_in_same_folder(prepared)
    return prepared


def settings_error(error: HydraException | OmegaConfBaseException) -> str | None:
    """The message of an error in the settings; None for a programming error."""
    if isinstance(error, HydraException):
        # OmegaConf's reason, where there is one, follows Hydra's message.
        reason = f"\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        return f"{error}{reason}"
    return str(error) if _is_user_error(error) else None


def _exit_code_and_message(error: BaseException) -> tuple[int, str]:
    """Exit code and message; for a programming error, print the stack trace and return no message."""
    if isinstance(error, HydraException | OmegaConfBaseException) and (message := settings_error(error)) is not None:
        return USER_ERROR, message
    known = exit_code_and_message(error)
    if known is not None:
        return known
    if isinstance(error, SystemExit):
        raise error  # its message is printed already
    # Without the frames above the command: they are Hydra's.
    frames = error.__traceback__
    traceback.print_exception(error.with_traceback(frames.tb_next if frames is not None else None))
    return PROGRAM_ERROR, ""


def _is_user_error(error: OmegaConfBaseException) -> bool:
    """Whether the settings are at fault, rather than code that asks for a setting that does not exist."""
    if not isinstance(error, ConfigKeyError | ConfigAttributeError):
        return True
    # A shipped setting that is missing was removed: on the command line (`~data.cache`), or in a run folder's file.
    return str(error.full_key or error.key) in shipped_settings()


@contextlib.contextmanager
def _hydra_raises() -> Iterator[None]:
    """Let Hydra raise errors instead of printing them, so that they are all handled in one place."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before
