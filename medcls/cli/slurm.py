"""Jobs of a Slurm cluster that end before their training: they are queued again, and resume it when they restart."""

import contextlib
import functools
import hashlib
import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict, read_write

from medcls import user_folders
from medcls.cli.launching import is_started
from medcls.cli.sweeps import is_sweep
from medcls.cli.termination import Preempted
from medcls.writing import atomic_write

log = logging.getLogger(__name__)

Result = TypeVar("Result")


def job() -> str | None:
    """The id of this job, as `scontrol` takes it; None outside of jobs, and in an interactive shell of one."""
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    if "SLURM_ARRAY_JOB_ID" in os.environ and "SLURM_ARRAY_TASK_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def is_restarted() -> bool:
    """Whether this job was queued again after it had begun."""
    return job() is not None and os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def requeued(task: Callable[[DictConfig], Result]) -> Callable[[DictConfig], Result]:
    """Let a training in a job be queued again if it is preempted, and resumed when the job restarts."""

    @functools.wraps(task)
    def run(cfg: DictConfig) -> Result:
        take_up_earlier(cfg)
        with requeue_if_preempted():
            return task(cfg)

    return run


def take_up_earlier(cfg: DictConfig) -> None:
    """Let a restarted job resume the run of its first start, in its folder.

    The default name of a run folder has the time, so a restarted job would have another. Jobs of a sweep have the
    folders of the sweep.
    """
    hydra = HydraConfig.get()
    if job() is None or cfg.resume or is_sweep():
        return
    folder = Path(hydra.runtime.output_dir)
    earlier = _begun_before(folder, hydra.overrides.task)
    if earlier is not None and earlier != folder:
        with contextlib.suppress(OSError):  # Hydra has just made it
            folder.rmdir()
        runtime: Any = hydra.runtime
        with read_write(runtime), open_dict(runtime):
            runtime.output_dir = str(earlier)
        folder = earlier
    if is_restarted() and (folder / "checkpoints" / "last.ckpt").is_file():
        log.warning("job %s was queued again: it resumes %s", job(), folder, extra={"rule": "requeued"})
        cfg.resume = str(folder)


def _begun_before(folder: Path, overrides: Sequence[str]) -> Path | None:
    """Where this job began this training before; on its first start, note the run folder.

    Parameters
    ----------
    folder : Path
        The run folder that Hydra chose.
    overrides : sequence of str
        The settings of this training, which tell it from others of the same job.
    """
    key = hashlib.sha256(json.dumps([job(), *overrides]).encode()).hexdigest()[:16]
    noted = user_folders.state_folder() / "slurm" / f"{key}.txt"
    if is_restarted() and noted.is_file():
        earlier = Path(noted.read_text(encoding="utf-8"))
        return earlier if earlier.is_dir() else None
    if os.environ.get("SLURM_PROCID", "0") == "0":
        user_folders.private(noted.parent)
        with atomic_write(noted) as temporary:
            temporary.write_text(str(folder.absolute()), encoding="utf-8")
    return None


@contextlib.contextmanager
def requeue_if_preempted() -> Iterator[None]:
    """Let SIGUSR1 end the block, and queue this job again.

    Slurm sends it before the time limit with `--signal=USR1@120`. Outside of jobs it keeps its meaning, and where
    another program waits for it, as submitit does.
    """
    main = threading.current_thread() is threading.main_thread()
    if job() is not None and is_started():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the command that started this process passes it on
        yield
        return
    if job() is None or not main or signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise Preempted

    signal.signal(signal.SIGUSR1, end)
    try:
        yield
    except Preempted as error:
        error.add_note(_requeue())
        raise
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def _requeue() -> str:
    """Queue this job again; return what came of it."""
    if os.environ.get("SLURM_PROCID", "0") != "0":
        return "The first process of the job queues it again."
    command = ["scontrol", "requeue", str(job())]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - see above
    except OSError as error:
        return f"The job could not be queued again: {error}."
    if answer.returncode:
        return f"The job could not be queued again ({' '.join(command)}): {answer.stderr.strip()}"
    return f"Job {job()} is queued again, and resumes by itself."
