"""How a command ends: which exit code, in which words, and what is still there to go on with."""

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

PROGRAM_ERROR, USER_ERROR, INTERRUPTED, TERMINATED, CLOSED_PIPE = 1, 2, 130, 143, 141
"""Exit codes: a fault of medcls; what the user can mend; as shells count signals, Ctrl-C, SIGTERM, a closed pipe."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: a scheduler, or whoever else ends processes, wants this one to end."""


def exit_code_and_message(error: BaseException) -> tuple[int, str] | None:
    """Exit code and sentence for what is no fault of the program.

    Returns
    -------
    tuple of int and str, or None
        The sentence is empty where nobody listens any more. None is a programming error, which keeps its stack trace.
    """
    if isinstance(error, MedclsError):
        return USER_ERROR, _with_notes(_of_a_worker(str(error)), error)
    if isinstance(error, Terminated):
        return TERMINATED, _with_notes("Ended from outside (SIGTERM).", error)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, _with_notes("Interrupted.", error)
    # rich turns a closed pipe into the end of the program.
    if isinstance(error, BrokenPipeError) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
    ):
        return CLOSED_PIPE, ""
    if isinstance(error, OSError) and (error.filename is not None or error.errno in (errno.ENOSPC, errno.EDQUOT)):
        sentence = f"{error.filename or 'A file'} could not be written or read: {error.strerror}."
        return USER_ERROR, _with_notes(sentence, error)
    return None


def _of_a_worker(sentence: str) -> str:
    """What was wrong, without the stack trace that torch's loader puts before what one of its processes raised."""
    if not sentence.startswith("Caught "):
        return sentence
    return re.split(r"^medcls\.[\w.]+: ", sentence, flags=re.MULTILINE)[-1].rstrip()


def _with_notes(sentence: str, error: BaseException) -> str:
    return "\n".join([sentence, *getattr(error, "__notes__", ())])


def exit_with(code: int, sentence: str) -> None:
    """End the process with a code, and with a sentence where there is one.

    Raises
    ------
    SystemExit
        Always.
    """
    if code == CLOSED_PIPE:
        # What is still in the buffers has nowhere to go, and the interpreter would complain of that at its end.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    elif sentence:
        print_error(sentence)
    sys.exit(code)


def print_error(sentence: str) -> None:
    """Print a sentence on the error stream, if anybody listens there."""
    with contextlib.suppress(OSError):
        print(f"\nmedcls: {sentence}", file=sys.stderr)  # noqa: T201 - a command speaks to a person


@contextlib.contextmanager
def add_note_on_failure(describe: Callable[[BaseException], str]) -> Iterator[None]:
    """Let whatever ends the block say, behind its own words, what is there and how to go on."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(Exception):  # the error itself counts more than what can be said about it
            error.add_note(describe(error))
        raise


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: by an exception, so that files are left whole and something is said."""
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
    """Let an interruption through that a library turns into the plain end of the program, as Lightning does."""
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise end.__context__ from None
        raise
