"""Sweeps (`-m`): which jobs are launched, and how each of them ended.

Hydra's launchers (one after another, joblib, submitit) run the jobs, possibly in other processes and on other machines.
Each job records its end in the folder of the sweep, and the command reads there how all of them ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict, read_write

from medcls import cpu
from medcls.cli.shipped import configurations
from medcls.cli.termination import PROGRAM_ERROR, USER_ERROR, exit_with, print_error
from medcls.errors import MedclsError, hydra_override, typed
from medcls.runs.sweep_folder import NO_END, Job, SweepFolder
from medcls.wording import counted, enumerated

NUMBER = "MEDCLS_JOB"
"""Environment variable of a job with its number in the sweep, where Hydra's counts launched jobs only."""

PACKAGES = {
    "hydra_plugins.hydra_joblib_launcher": "hydra-joblib-launcher",
    "hydra_plugins.hydra_submitit_launcher": "hydra-submitit-launcher",
}
"""Packages of launchers, by module."""

LOCAL_LAUNCHER = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"
"""It starts all jobs at once, on this machine."""


def is_sweep() -> bool:
    """Whether the command is a sweep."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def is_search(sweeper: DictConfig) -> bool:
    """Whether a sweeper is not Hydra's own: it chooses settings by the results of jobs."""
    return not str(sweeper["_target_"]).startswith("hydra._internal.")


def concurrent_jobs() -> int:
    """How many runs of this sweep run at the same time on this machine: `n_jobs` of its launcher, else 1."""
    return _at_once(HydraConfig.get().launcher) if is_sweep() else 1


def _at_once(launcher: DictConfig) -> int:
    jobs = launcher.get("n_jobs") or 1
    if not isinstance(jobs, int):
        raise MedclsError(
            f"hydra.launcher.n_jobs is {jobs!r}: give a whole number, or -1 for one run each core.", kind="bad_value"
        )
    return int(jobs) if jobs > 0 else max(1, cpu.available_cores() + 1 + int(jobs))  # -1: one for each core


class Sweep:
    """The jobs that a command has launched."""

    def __init__(self) -> None:
        self._folder: SweepFolder | None = None
        self._launched: set[int] = set()
        # A search (cli.searching) goes on without its failed jobs, and reports them.
        self.is_search = False

    def begin(self, folder: SweepFolder, jobs: Sequence[Job], skipped: Sequence[Job]) -> None:
        """Record jobs that will be launched, and report those that are skipped."""
        self._folder = folder
        self._launched |= {job.number for job in jobs}
        folder.record(*jobs)
        if skipped:
            numbers = enumerated([str(job.number) for job in skipped])
            _show(f"{counted(len(skipped), 'job')} of {folder.path} skipped, already done: {numbers}")

    def failures(self) -> tuple[int, str] | None:
        """Exit code and message of the jobs that failed; None if none has."""
        if self._folder is None or self.is_search:
            return None
        failed = [job for job in self._folder.jobs() if job.number in self._launched and job.state == "failed"]
        if not failed:
            return None
        lines = [f"  {_name(job)}: {job.reason.splitlines()[0]}" for job in failed]
        head = f"{len(failed)} of {counted(len(self._launched), 'job')} failed. {self.how_to_continue()}"
        # A programming error is the more serious one.
        return min(job.exit_code for job in failed), "\n".join([head, *lines])

    def show_end(self) -> None:
        """Print where the jobs are listed."""
        if self._folder is not None:
            _show(f"the jobs are listed in {self._folder.table}")

    def how_to_continue(self) -> str:
        """Describe where all jobs are listed, and how to run those that are not done; empty if none was launched."""
        if self._folder is None:
            return ""
        again = typed("hydra.sweep.dir", str(self._folder.path))
        return f"The jobs are listed in {self._folder.table}; the same command with {again} runs those not done."


def run_job(
    task: Callable[[DictConfig], Any],
    cfg: DictConfig,
    judge: Callable[[BaseException], tuple[int, str]],
) -> Any:  # noqa: ANN401 - Hydra passes the task's result on to a sweeper
    """Run a job of a sweep, in the process that its launcher chose, and record how it ended.

    Parameters
    ----------
    judge : callable
        Exit code and message of an error.

    Returns
    -------
    object
        What the task returns; None if it failed and the jobs are Hydra's own sweeper's.

    Raises
    ------
    Exception
        The job failed, and its sweeper chooses settings by results.
    SystemExit
        The command was ended from outside, as by Ctrl-C: there will be no other job.
    """
    hydra = HydraConfig.get()
    root, place = Path(str(hydra.sweep.dir)).absolute(), Path(hydra.runtime.output_dir)
    folder = SweepFolder(root)
    job = Job(
        number=int(hydra.job.env_set.get(NUMBER, hydra.job.num)),
        overrides=list(hydra.overrides.task),
        reason=NO_END,
        metric=str(cfg.get("monitor") or ""),
        run=Path(os.path.relpath(place, root)).as_posix(),
        settings=_hash(cfg),
    )
    folder.record(job)
    try:
        result = task(cfg)
    except BaseException as error:
        code, message = judge(error)
        if code not in (PROGRAM_ERROR, USER_ERROR):
            exit_with(code, message)
        reason = message or f"{type(error).__name__}: {error}"
        run = job.run if folder.has_results(job) else ""
        folder.record(dataclasses.replace(job, state="failed", reason=reason, exit_code=code, run=run))
        print_error(f"{_name(job)} failed. {message}")
        if not is_search(hydra.sweeper):
            return None  # an exception would end the sweep after a batch of jobs
        raise
    value = float(result) if isinstance(result, int | float) else None
    folder.record(dataclasses.replace(job, state="done", reason="", value=value))
    return result


class _RecordedLauncher(Launcher):
    """Launches the jobs that are not done by the launcher of the configuration.

    Parameters
    ----------
    launcher : callable
        Makes the launcher of a configuration, set up.
    sweep : Sweep
    """

    def __init__(self, launcher: Callable[[DictConfig], Launcher], sweep: Sweep) -> None:
        self._launcher, self._sweep = launcher, sweep

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what jobs are composed with."""
        self._loader, self._config = hydra_context.config_loader, config
        self._most_at_once = _at_once(config.hydra.launcher)
        self._sweep.is_search = is_search(config.hydra.sweeper)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Launch the jobs that are not done; return the results of all."""
        folder = SweepFolder(Path(str(self._config.hydra.sweep.dir)).absolute())
        jobs = [Job(number, list(own)) for number, own in enumerate(job_overrides, initial_job_idx)]
        done = {job.number: known for job in jobs if (known := self._done(job, folder)) is not None}
        left = [job for job in jobs if job.number not in done]
        self._sweep.begin(folder, left, list(done.values()))
        returns = {number: _skipped(job) for number, job in done.items()}
        if left:
            at_once = self._share_out(len(left))
            if (logs := self._config.hydra.launcher.get("submitit_folder")) is not None:
                _show(f"the logs of the jobs are in {Path(str(logs)).parent}")
            with _end_explained(self._sweep):
                launcher = self._launcher(self._config)
                new = launcher.launch([self._overrides(job, at_once) for job in left], left[0].number)
            returns |= {job.number: result for job, result in zip(left, new, strict=True)}
        return [returns[job.number] for job in jobs]

    def _done(self, job: Job, folder: SweepFolder) -> Job | None:
        """The record of a job that is done, with the configuration that it has now."""
        known = folder.job(job.number)
        if known is None or known.state != "done" or not folder.has_results(known):
            return None
        cfg = self._loader.load_sweep_config(self._config, list(job.overrides))
        with read_write(cfg), open_dict(cfg):
            del cfg["hydra"]
        return known if _hash(cfg) == known.settings else None

    def _share_out(self, jobs: int) -> int:
        """Set how many jobs run at the same time; no more than there are, so that none of the cores is left out."""
        launcher = self._config.hydra.launcher
        if launcher["_target_"] == LOCAL_LAUNCHER:
            return jobs
        if "n_jobs" not in launcher:
            return 1
        at_once = min(self._most_at_once, jobs)
        with flag_override(self._config, ["readonly", "struct"], False):
            launcher.n_jobs = at_once
        return at_once

    def _overrides(self, job: Job, at_once: int) -> list[str]:
        """The overrides of a job: its own, its number and folder, and with how many others it shares the machine."""
        # Unresolved: Hydra's numbers count the launched jobs only.
        subdir: Any = OmegaConf.to_container(self._config.hydra.sweep, resolve=False)
        numbered = str(subdir["subdir"]).replace("${hydra.job.num}", str(job.number))
        own = [f"++hydra.job.env_set.{NUMBER}='{job.number}'", hydra_override("hydra.sweep.subdir", numbered)]
        if at_once > 1 or "n_jobs" in self._config.hydra.launcher:
            own.append(f"++hydra.launcher.n_jobs={at_once}")
        return [*job.overrides, *own]


def prefer_shipped_launchers() -> None:
    """Let `conf/hydra/launcher/` replace what the packages of launchers store under the same names.

    Hydra takes a stored configuration for the schema of the file, and warns in each process that it should not.
    """
    Plugins.instance()  # imports the packages
    stored: Any = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for path in (configurations() / "conf" / "hydra" / "launcher").glob("*.yaml"):
        stored.pop(path.name, None)


@contextlib.contextmanager
def recorded(sweep: Sweep) -> Iterator[None]:
    """Let any launcher of Hydra record its jobs, and leave out those that are done."""
    make = Plugins.instantiate_launcher

    def instantiate(
        self: Plugins, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> Launcher:
        check_installed(config.hydra.launcher)
        launcher = _RecordedLauncher(lambda changed: make(self, hydra_context, task_function, changed), sweep)
        launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        return launcher

    # Hydra makes no launcher of a class from elsewhere, and reports no jobs before they begin.
    Plugins.instantiate_launcher = instantiate  # type: ignore[method-assign]
    try:
        yield
    finally:
        Plugins.instantiate_launcher = make  # type: ignore[method-assign]


def check_installed(launcher: DictConfig) -> None:
    """Refuse a launcher whose package is not installed."""
    module = str(launcher.get("_target_")).rpartition(".")[0].rpartition(".")[0]
    if module in PACKAGES and importlib.util.find_spec(module) is None:
        raise MedclsError(
            f"This launcher needs {PACKAGES[module]}: pip install 'medcls[sweep]'. Without it, runs of a sweep are "
            "trained one after another: leave out hydra/launcher.",
            kind="missing_extra",
        )


@contextlib.contextmanager
def _end_explained(sweep: Sweep) -> Iterator[None]:
    """Where a sweep ends before its time, add how to continue it.

    Raises
    ------
    MedclsError
        The process of a job is gone without a result: killed, out of memory, or ended by its scheduler.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note(sweep.how_to_continue())
        raise
    except SystemExit:  # an interrupted job in this process, whose message is printed
        print_error(sweep.how_to_continue())
        raise
    except Exception as error:
        if not isinstance(error, BrokenExecutor) and not type(error).__module__.startswith("submitit."):
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise MedclsError(
            "The process of a job has ended without a result: it was killed, by lack of memory for example, or "
            f"stopped by its scheduler. {reason}\n{sweep.how_to_continue()}",
            kind="job_lost",
        ) from error


def _show(text: str) -> None:
    """Print a line, if standard output can be written to."""
    with contextlib.suppress(OSError):
        print(f"medcls: {text}", flush=True)  # noqa: T201 - a command prints


def _skipped(job: Job) -> JobReturn:
    """What a job that is done returned."""
    result = JobReturn(overrides=list(job.overrides), status=JobStatus.COMPLETED)
    result.return_value = job.value
    return result


def _hash(cfg: DictConfig) -> str:
    """Hash of a configuration, before a command resolves it."""
    return hashlib.sha256(OmegaConf.to_yaml(cfg).encode()).hexdigest()[:16]


def _name(job: Job) -> str:
    """Name a job by its number and the settings that the sweep varies; by all of them where the sweeper chose."""
    typed_settings = [argument for argument in sys.argv[1:] if "=" in argument and argument[:1] != "-"]
    overrides = OverridesParser.create().parse_overrides(typed_settings)
    swept = {override.key_or_group for override in overrides if override.is_sweep_override()}
    own = [text for text in job.overrides if text.partition("=")[0].lstrip("+~") in swept]
    return f"job {job.number} ({', '.join(own or job.overrides)})"
