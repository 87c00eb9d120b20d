"""A training in several processes: start them, watch them, and end them together.

On one machine the command starts one process for each rank, which receives the composed configuration and runs the same
task. `torchrun` and SLURM start the command once for each rank themselves.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import Pipe, connection
from multiprocessing.connection import Connection
from typing import IO

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from medcls.cli import lack_of_memory
from medcls.cli.invocation import arguments, given_from_python
from medcls.cli.termination import (
    CLOSED_PIPE,
    INTERRUPTED,
    PROGRAM_ERROR,
    TERMINATED,
    Terminated,
    exit_code_and_message,
)
from medcls.errors import MedclsError

CHANNEL = "MEDCLS_CHANNEL"
"""Environment variable with the file descriptor by which a process and the command that started it talk."""

PROGRAM = ("-m", "medcls.train")
"""What each process runs."""

POLL_S = 0.1
"""How often the command looks whether its processes run."""

AFTER_AN_END_S = 10
"""How long the other processes may go on when one has ended, before they are killed."""

AFTER_A_SIGNAL_S = 600
"""The same when the training was interrupted, which may finish a step or the validation; a second signal ends it."""

LAST_LINES = 20
"""Lines of a process's output that are shown when it ended without a message."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Which process of a training this is.

    Parameters
    ----------
    rank : int
        Its number; that of the first, which writes all files, is 0.
    processes : int
        Of the training, on all machines.
    """

    rank: int = 0
    processes: int = 1


def place(trainer: DictConfig) -> Place:
    """The place of this process, started by the command itself, by `torchrun` or by SLURM.

    Raises
    ------
    MedclsError
        There are more or fewer processes than the settings of the trainer say.
    """
    expected = _expected(trainer)
    if CHANNEL in os.environ or "TORCHELASTIC_RUN_ID" in os.environ:
        here = Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    elif expected > 1 and _by_slurm():
        here = Place(int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"]))
    else:
        here = Place()
    if here.processes != expected:
        raise MedclsError(
            f"trainer.devices={trainer.devices} on trainer.num_nodes={trainer.get('num_nodes', 1)} machine(s) are "
            f"{expected} process(es), and {here.processes} were started. Start one for each device on each machine, "
            "by torchrun or srun.",
            kind="processes_do_not_fit",
        )
    return here


def starts_processes(trainer: DictConfig) -> bool:
    """Whether this command has to start the processes of its training."""
    started = CHANNEL in os.environ or "TORCHELASTIC_RUN_ID" in os.environ or _by_slurm()
    return _expected(trainer) > 1 and trainer.get("num_nodes", 1) == 1 and not started


def _expected(trainer: DictConfig) -> int:
    """The number of processes that the settings ask for; 1 where they are wrong, which is reported later."""
    counts = [trainer.get(name, 1) for name in ("devices", "num_nodes")]
    if any(isinstance(count, bool) or not isinstance(count, int) or count < 1 for count in counts):
        return 1
    return int(counts[0]) * int(counts[1])


def _by_slurm() -> bool:
    """Whether SLURM started several processes; in an interactive job it has not."""
    several = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ
    return several and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def check_shares(batch_size: object, processes: int) -> None:
    """Check that the images of a step can be shared out evenly."""
    if processes > 1 and isinstance(batch_size, int) and batch_size % processes:
        raise MedclsError(
            f"data.batch_size={batch_size} is that of a step over all processes, and cannot be shared out among "
            f"{processes}: give a multiple of {processes}.",
            kind="bad_value",
        )


# ---------------------------------------------------------------------- in a process that was started


@dataclasses.dataclass(frozen=True)
class End:
    """How a process ended.

    Parameters
    ----------
    code : int
        Exit code.
    text, kind, notes : str, str, tuple of str
        Message (of a programming error, the stack trace), kind of a MedclsError, and what is left on disk.
    result : float or None
        What the task returned.
    time : float
        In seconds since 1970.
    """

    code: int = 0
    text: str = ""
    kind: str = ""
    notes: tuple[str, ...] = ()
    result: float | None = None
    time: float = dataclasses.field(default_factory=time.time)


def is_started() -> bool:
    """Whether this process was started by a command, as one of those of its training."""
    return CHANNEL in os.environ


def take_part(task: Callable[[DictConfig], float | None]) -> None:
    """Run a command's task as one of the processes of a training, and report how it ended.

    Raises
    ------
    SystemExit
        Always.
    """
    descriptor = int(os.environ[CHANNEL])
    os.set_inheritable(descriptor, False)
    channel = Connection(descriptor)
    given, hydra_config, cfg = channel.recv()
    threading.Thread(target=_end_with_command, args=(channel,), daemon=True).start()
    HydraConfig.instance().cfg = hydra_config
    try:
        with given_from_python(given), lack_of_memory.explained(cfg):
            end = End(result=task(cfg))
    except BaseException as error:  # noqa: BLE001 - reported by the command
        end = _end_by(error)
    with contextlib.suppress(OSError):
        channel.send(end)
    sys.exit(end.code)


def _end_with_command(channel: Connection) -> None:
    """End this process at once when the command that started it is gone, as if it had been killed itself."""
    with contextlib.suppress(EOFError, OSError):
        channel.recv()
    os._exit(TERMINATED)


def _end_by(error: BaseException) -> End:
    notes = tuple(getattr(error, "__notes__", ()))
    known = exit_code_and_message(error)
    if known is None:
        return End(PROGRAM_ERROR, "".join(traceback.format_exception(error)), notes=notes)
    message = known[1].removesuffix("\n".join(["", *notes]))
    return End(known[0], message, getattr(error, "kind", ""), notes)


# ---------------------------------------------------------------------- in the command that starts them


class _Process:
    """One process of the training, as the command sees it."""

    def __init__(self, rank: int, processes: int, port: int) -> None:
        self.rank = rank
        self.channel, theirs = Pipe()
        # The first one prints; the output of the others is shown if they end without a message.
        self._output: IO[bytes] | None = tempfile.TemporaryFile() if rank else None  # noqa: SIM115 - open to the end
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_NTASKS")}
        environment |= {
            CHANNEL: str(theirs.fileno()),
            # Else DDP warns in each phase that freezes nothing: the search for unused parameters found none.
            "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "NODE_RANK": "0",
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            # Only this machine can connect.
            "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo"),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        self._popen = subprocess.Popen(  # noqa: S603 - this program
            [sys.executable, *PROGRAM],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            # Ctrl-C of the terminal reaches the command alone, which passes it on.
            start_new_session=True,
        )
        theirs.close()
        self.end: End | None = None
        self.killed = False

    def look(self) -> None:
        """Receive how it ended, or notice that it ended without a word."""
        if self.end is not None:
            return
        gone = self._popen.poll() is not None
        try:
            if self.channel.poll():
                self.end = self.channel.recv()
            elif gone:
                raise EOFError
        except (EOFError, OSError):
            code = self._popen.wait()
            self.end = End(code, self._last_lines())

    def interrupt(self) -> None:
        """Send it what Ctrl-C sends."""
        with contextlib.suppress(OSError):
            self._popen.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it with all processes that it started."""
        if self._popen.poll() is None:
            self.killed = True
            with contextlib.suppress(OSError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        self.channel.close()

    def _last_lines(self) -> str:
        if self._output is None:
            return ""
        self._output.seek(0)
        return "\n".join(self._output.read().decode(errors="replace").splitlines()[-LAST_LINES:])


def run_in_processes(cfg: DictConfig, number: int) -> float | None:
    """Run the training in several processes on this machine.

    Parameters
    ----------
    cfg : DictConfig
        As Hydra composed it.
    number : int
        Of the processes.

    Returns
    -------
    float or None
        What the task returned in the first process.

    Raises
    ------
    MedclsError
        The first error of any process that the user can fix; or a process was killed.
    RuntimeError
        A programming error in a process, with its stack trace.
    """
    if sys.platform == "win32":
        raise MedclsError(
            f"trainer.devices={number} needs Linux or macOS, unless torchrun starts the processes.",
            kind="needs_posix",
        )
    processes: list[_Process] = []
    try:
        port = _free_port()
        for rank in range(number):
            processes.append(_Process(rank, number, port))
            with contextlib.suppress(OSError):  # it has ended already, which is noticed below
                processes[-1].channel.send((tuple(arguments()), HydraConfig.instance().cfg, cfg))
        _wait(processes, lambda: processes[0].end is not None or any(_failed(one) for one in processes))
        if _failed(processes[0]) or any(_failed(one) for one in processes[1:]):
            _wait(processes, lambda: all(one.end is not None for one in processes), AFTER_AN_END_S)
    except KeyboardInterrupt as interrupt:
        if processes:
            processes[0].interrupt()
            with contextlib.suppress(KeyboardInterrupt):  # the second stops at once
                _wait(processes, lambda: processes[0].end is not None, AFTER_A_SIGNAL_S)
            for note in processes[0].end.notes if processes[0].end is not None else ():
                interrupt.add_note(note)
        raise
    finally:
        for one in processes:
            one.kill()
    _raise_first_error(processes)
    return processes[0].end.result if processes[0].end is not None else None


def _failed(process: _Process) -> bool:
    return process.end is not None and process.end.code != 0


def _wait(processes: Sequence[_Process], until: Callable[[], bool], seconds: float = float("inf")) -> None:
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        for one in processes:
            one.look()
        if until():
            return
        connection.wait([one.channel for one in processes if one.end is None], timeout=POLL_S)


def _raise_first_error(processes: Sequence[_Process]) -> None:
    """Raise what went wrong first: where one process ends, the others fail because it is gone."""
    ended = [(one, one.end) for one in processes if one.end is not None and one.end.code]
    if not ended:
        return
    process, end = min(ended, key=lambda pair: (_order(pair[1]), pair[1].time))
    notes = end.notes or next((other.notes for _, other in ended if other.notes), ())
    error: BaseException
    if end.code in (INTERRUPTED, TERMINATED):
        error = Terminated() if end.code == TERMINATED else KeyboardInterrupt()
    elif end.code == CLOSED_PIPE:
        error = BrokenPipeError()
    elif end.kind or _order(end) == 0:
        error = MedclsError(end.text, kind=end.kind)
    elif end.code < 0:
        error = MedclsError(
            f"Process {process.rank} of the {len(processes)} of this training was killed by "
            f"{signal.Signals(-end.code).name}: the machine may have run out of memory. {end.text}".rstrip(),
            kind="process_killed",
        )
    else:
        error = RuntimeError(f"process {process.rank} of {len(processes)} failed:\n{end.text}")
    for note in notes:
        error.add_note(note)
    raise error


def _order(end: End) -> int:
    """0 for what the user can fix, 1 for a killed process, 2 for a stack trace, which the loss of a process causes."""
    if end.code < 0:
        return 1
    return 2 if end.code == PROGRAM_ERROR else 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
