"""How a command begins and ends: under Hydra, with exit codes and sentences."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from medcls import cpu
from medcls.cli import standard_streams, termination
from medcls.cli.overrides import check_groups, multirun_first, quote_for_hydra
from medcls.cli.resume import resume_in_same_folder
from medcls.cli.shipped import configurations, register_experiments, shipped_settings
from medcls.wording import counted


def run_command(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run a door's task under Hydra, and end the process as it deserves.

    What the user, the disk or a signal caused is told in a sentence (`ending.verdict`), with exit code 2, 130, 141 or
    143. A programming error keeps its stack trace, and exit code 1.

    Of a sweep every job has its turn: one that fails is said at once, and those that did stand in a list at the end.

    Parameters
    ----------
    task : callable
        Receives the composed configuration.
    config_name : str
        The file in `conf/` to start from.
    """
    cpu.shorten_spinning()
    standard_streams.prepare()
    jobs = 0
    failed: dict[str, tuple[int, str]] = {}

    def guarded(cfg: DictConfig) -> Any:  # noqa: ANN401 - what Hydra returns to a sweeper is the task's business
        nonlocal jobs
        jobs += 1
        try:
            return task(cfg)
        except BaseException as error:
            code, sentence = _judged(error)
            if HydraConfig.get().mode != RunMode.MULTIRUN or code not in (
                termination.PROGRAM_ERROR,
                termination.USER_ERROR,
            ):
                termination.exit_with(code, sentence)
            name = f"job {HydraConfig.get().job.num} ({_what_differs()})"
            failed[name] = (code, sentence or f"{type(error).__name__}: {error}")
            termination.print_error(f"{name} failed. {sentence}")
            raise  # Hydra goes on with the next job, and raises this after the last

    with termination.sigterm_interrupts():
        try:
            register_experiments()
            sys.argv[1:] = check_groups(quote_for_hydra(multirun_first(sys.argv[1:])), config_name)
            resume_in_same_folder(sys.argv)
            with _hydra_raises():
                hydra.main(version_base="1.3", config_path=str(configurations() / "conf"), config_name=config_name)(
                    guarded
                )()
        except SystemExit as error:
            if termination.exit_code_and_message(error) is None:  # said already
                raise
            termination.exit_with(*_judged(error))
        except BaseException as error:
            if isinstance(error, OSError) and error.filename is not None and not jobs:  # Hydra makes the folder
                reason = f"The folder {error.filename} cannot be made: {error.strerror}"
                termination.exit_with(
                    termination.USER_ERROR, f"{reason}. Give hydra.run.dir a place where a folder can be made."
                )
            if failed and isinstance(error, Exception):
                lines = [f"  {name}: {sentence.splitlines()[0]}" for name, (_, sentence) in failed.items()]
                code = min(code for code, _ in failed.values())  # a fault of the program is the graver one
                termination.exit_with(code, "\n".join([f"{len(failed)} of {counted(jobs, 'job')} failed:", *lines]))
            termination.exit_with(*_judged(error))
            raise


def _judged(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence; of a programming error the stack trace is printed instead."""
    if isinstance(error, HydraException):
        # Of what Hydra did not understand; OmegaConf's reason stands behind it.
        reason = f"\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        return termination.USER_ERROR, f"{error}{reason}"
    if isinstance(error, OmegaConfBaseException) and _is_of_the_settings(error):
        return termination.USER_ERROR, str(error)
    found = termination.exit_code_and_message(error)
    if found is not None:
        return found
    if isinstance(error, SystemExit):
        raise error  # an end that has been said already
    # From the door on: the frames above it are Hydra's.
    frames = error.__traceback__
    traceback.print_exception(error.with_traceback(frames.tb_next if frames is not None else None))
    return termination.PROGRAM_ERROR, ""


def _what_differs() -> str:
    """The settings of a job that the sweep varies, as typed; all that were typed where its sweeper chose them."""
    typed_here = OverridesParser.create().parse_overrides([a for a in sys.argv[1:] if "=" in a and a[:1] != "-"])
    swept = {override.key_or_group for override in typed_here if override.is_sweep_override()}
    own = list(HydraConfig.get().overrides.task)
    return ", ".join([one for one in own if one.partition("=")[0].lstrip("+~") in swept] or own)


def _is_of_the_settings(error: OmegaConfBaseException) -> bool:
    """Whether the settings are to blame, and not a program that asks for one that there never was."""
    if not isinstance(error, ConfigKeyError | ConfigAttributeError):
        return True
    # One that is shipped was taken away: on the command line (`~data.cache`), or in a run folder's file.
    return str(error.full_key or error.key) in shipped_settings()


@contextlib.contextmanager
def _hydra_raises() -> Iterator[None]:
    """Let Hydra raise what it meets instead of printing it: how a command ends is said in one place."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


def concurrent_jobs() -> int:
    """How many runs of this sweep go on at a time on this machine: what its launcher says (`n_jobs`), else 1."""
    config = HydraConfig.get()
    if config.mode != RunMode.MULTIRUN:
        return 1
    jobs = config.launcher.get("n_jobs") or 1
    return int(jobs) if jobs > 0 else max(1, cpu.available_cores() + 1 + int(jobs))  # -1: as many as there are cores
