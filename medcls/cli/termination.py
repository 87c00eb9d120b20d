"""How a command ends: its exit code, its message, and how to continue from what it left behind."""

import contextlib
import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from medcls.errors import MedclsError

PROGRAM_ERROR, USER_ERROR, INTERRUPTED, PREEMPTED, CLOSED_PIPE, TERMINATED = 1, 2, 130, 138, 141, 143
"""Exit codes: a programming error; an error that the user can fix; Ctrl-C, SIGUSR1, a closed pipe and SIGTERM, as in
shells."""


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM, from a scheduler for example."""


class Preempted(KeyboardInterrupt):
    """The process received SIGUSR1 from a cluster, which will end its job soon."""


def exit_code_and_message(error: BaseException) -> tuple[int, str] | None:
    """Exit code and message of an error that is not a programming error.

    Returns
    -------
    tuple of int and str, or None
        The message is empty for a closed pipe. None for a programming error, which keeps its stack trace.
    """
    if isinstance(error, MedclsError):
        return USER_ERROR, _with_notes(_without_worker_trace(str(error)), error)
    if isinstance(error, Terminated):
        return TERMINATED, _with_notes("Terminated (SIGTERM).", error)
    if isinstance(error, Preempted):
        return PREEMPTED, _with_notes("Preempted (SIGUSR1).", error)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, _with_notes("Interrupted.", error)
    # rich raises SystemExit for a closed pipe.
    if isinstance(error, BrokenPipeError) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
    ):
        return CLOSED_PIPE, ""
    if isinstance(error, OSError) and (error.filename is not None or error.errno in (errno.ENOSPC, errno.EDQUOT)):
        message = f"{error.filename or 'A file'} could not be written or read: {error.strerror}."
        return USER_ERROR, _with_notes(message, error)
    return None


def _without_worker_trace(message: str) -> str:
    """The message without the stack trace that torch's loader puts before an error of a worker process."""
    if not message.startswith("Caught "):
        return message
    return re.split(r"^medcls\.[\w.]+: ", message, flags=re.MULTILINE)[-1].rstrip()


def _with_notes(message: str, error: BaseException) -> str:
    return "\n".join([message, *getattr(error, "__notes__", ())])


def exit_with(code: int, message: str) -> None:
    """End the process with an exit code, after printing the message, if there is one.

    Raises
    ------
    SystemExit
        Always.
    """
    if code == CLOSED_PIPE:
        # Otherwise the interpreter would report at exit that it cannot write the rest of the buffer.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    elif message:
        print_error(message)
    sys.exit(code)


def print_error(message: str) -> None:
    """Print a message on standard error, if it can be written to."""
    with contextlib.suppress(OSError):
        print(f"\nmedcls: {message}", file=sys.stderr)  # noqa: T201 - a command prints


@contextlib.contextmanager
def add_note_on_failure(describe: Callable[[BaseException], str]) -> Iterator[None]:
    """Add a note to any exception that ends the block: what is on disk, and how to continue."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(Exception):  # a fault here must not replace the error
            error.add_note(describe(error))
        raise


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end the block by an exception, as Ctrl-C does, so that no file is left incomplete."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def reraise_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt where a library replaces it by SystemExit, as Lightning does."""
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise end.__context__ from None
        raise
