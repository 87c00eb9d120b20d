"""The one exception that a user can cause, and how its message says what to type."""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

NO_NAMES = ("true", "false", "null", "nan", "inf")  # words that Hydra reads as something else


class MedclsError(ValueError):
    """A mistake in what was asked or given, worded for the person who can mend it.

    The commands print the message without a stack trace, and exit with code 2.

    Parameters
    ----------
    message : str
        What was wrong, where, and what to do.
    kind : str
        A stable identifier, such as `unknown_column`, for programs: the message may be reworded at any time.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


def nearest(word: str, known: Iterable[str], most: int = 3) -> str:
    """Say which known names are closest to a mistyped one, as the tail of an error message.

    Returns
    -------
    str
        `" Did you mean a, b?"`, or the empty string where nothing is near.
    """
    close = difflib.get_close_matches(word, list(known), n=most, cutoff=0.5)
    return f" Did you mean {', '.join(close)}?" if close else ""


def hydra_override(key: str, value: str) -> str:
    """`key=value` with the quotes that make Hydra read the value as this very text."""
    if re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII) and value.lower() not in NO_NAMES:
        return f"{key}={value}"
    # Within Hydra's quotes a quote is escaped, and the backslashes before one, or at the end, are doubled.
    quoted = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
    return f"{key}='{quoted}'"


def typed(key: str, value: str) -> str:
    """`key=value` as it is typed at a shell, so that Hydra reads the value as this very text."""
    argument = hydra_override(key, value)
    return argument if argument == f"{key}={value}" else _for_a_shell(argument)


def is_key(name: str) -> bool:
    """Whether Hydra takes a name as a key of a mapping that is typed."""
    plain = re.fullmatch(r"[A-Za-z_]\w*([ .-]\w+)*|0|[1-9]\d*", name, re.ASCII)
    return plain is not None and name.lower() not in NO_NAMES


def typed_label_map(classes: Mapping[str, Sequence[str]]) -> str:
    """`data.label_map={new: [old, ...]}` as it is typed at a shell.

    Hydra takes no key but plain words and whole numbers: for a new class of another name stands `class_1` and so on.
    """
    parts = []
    for number, (new, olds) in enumerate(classes.items(), start=1):
        names = ", ".join(hydra_override("", old).removeprefix("=") for old in olds)
        parts.append(f"{new if is_key(new) else f'class_{number}'}: [{names}]")
    return _for_a_shell(f"data.label_map={{{', '.join(parts)}}}")


def _for_a_shell(argument: str) -> str:
    # Between double quotes a shell would still expand these.
    return shlex.quote(argument) if re.search(r'["$`\\!]', argument) else f'"{argument}"'
