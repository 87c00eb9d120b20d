"""The arguments of the command that runs: typed at a shell, or given from Python."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_FROM_PYTHON: ContextVar[tuple[str, ...] | None] = ContextVar("arguments", default=None)


def command_line(command: str) -> str:
    """The line that repeats this run at a shell: `python -m medcls.train data.root=...`."""
    return f"python -m medcls.{command} {shlex.join(arguments())}".rstrip()


def arguments() -> Sequence[str]:
    """The arguments that repeat this run."""
    given = _FROM_PYTHON.get()
    # Not all arguments come from here: the processes of a parallel sweep inherit sys.argv alone.
    return sys.argv[1:] if given is None else given


@contextmanager
def given_from_python(arguments: Sequence[str]) -> Iterator[None]:
    """Let `command_line` name these arguments instead of the program's own."""
    token = _FROM_PYTHON.set(tuple(arguments))
    try:
        yield
    finally:
        _FROM_PYTHON.reset(token)
