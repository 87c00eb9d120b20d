"""What is refused is asked for by its kind; how the sentence is worded is nobody's business but the reader's."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator

import pytest

from medcls.errors import MedclsError


@contextlib.contextmanager
def refused(kind: str, *names: str) -> Iterator[pytest.ExceptionInfo[MedclsError]]:
    """The block raises a `MedclsError` of a kind, whose message names each of these: settings, files, values.

    Parameters
    ----------
    kind : str
        `MedclsError.kind`.
    names : str
        What the message must contain whatever its wording: never words of a sentence.
    """
    assert kind, "an error that a test looks for has a kind"
    with pytest.raises(MedclsError) as raised:
        yield raised
    check(raised.value, kind, *names)


def refused_command(kind: str, names: tuple[str, ...], main: Callable[[], None], *arguments: str) -> MedclsError:
    """Run a command as typed: it ends with exit code 2, by an error of a kind that names each of these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [main.__module__, *arguments])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 2
    error: BaseException | None = end.value
    while error is not None and not isinstance(error, MedclsError):
        error = error.__context__
    assert error is not None, "no MedclsError ended the command"
    check(error, kind, *names)
    return error


def check(error: MedclsError, kind: str, *names: str) -> None:
    """The kind of an error, and what its message names."""
    assert error.kind == kind, f"{error.kind!r} instead of {kind!r}: {error}"
    for name in names:
        assert name in str(error), f"{name!r} is not named: {error}"


def rules(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The identifiers of the log records that bear one, in their order."""
    return [record.rule for record in caplog.records if hasattr(record, "rule")]


def logged(caplog: pytest.LogCaptureFixture, rule: str) -> list[str]:
    """The messages of the log records of one rule."""
    return [record.getMessage() for record in caplog.records if getattr(record, "rule", "") == rule]


def noted(notes: Iterable[str], *names: str) -> bool:
    """Whether one of these notes names all of these, each as a word of its own: numbers, settings, files."""
    return any(all(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", note) for name in names) for note in notes)
