"""The exception for errors of the user, and helpers that word what to type instead."""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

RESERVED_WORDS = ("true", "false", "null", "nan", "inf")  # which Hydra does not read as text


class MedclsError(ValueError):
    """An error in the settings or the data, worded for the person who can fix it.

    The commands print the message without a stack trace, and exit with code 2.

    Parameters
    ----------
    message : str
        What was wrong, where, and what to do.
    kind : str
        A stable identifier for programs, such as `unknown_column`; the message may be reworded at any time.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of the stack trace, as the commands do."""
        return [f"MedclsError: {self}", *getattr(self, "__notes__", ())]


def nearest(word: str, known: Iterable[str], most: int = 3) -> str:
    """Suggest the known names closest to a mistyped one, as the end of an error message.

    Returns
    -------
    str
        `" Did you mean a, b?"`, or an empty string if no name is similar.
    """
    close = difflib.get_close_matches(word, list(known), n=most, cutoff=0.5)
    return f" Did you mean {', '.join(close)}?" if close else ""


def hydra_override(key: str, value: str) -> str:
    """`key=value`, quoted so that Hydra reads the value as text, unchanged."""
    if re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII) and value.lower() not in RESERVED_WORDS:
        return f"{key}={value}"
    # Within Hydra's quotes a quote is escaped, and the backslashes before one, or at the end, are doubled.
    quoted = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
    return f"{key}='{quoted}'"


def typed(key: str, value: str) -> str:
    """`key=value` as typed in a shell, quoted so that Hydra reads the value as text, unchanged."""
    argument = hydra_override(key, value)
    return argument if argument == f"{key}={value}" else _quoted_for_shell(argument)


def is_key(name: str) -> bool:
    """Whether Hydra accepts a name as a key in a mapping on the command line."""
    plain = re.fullmatch(r"[A-Za-z_]\w*([ .-]\w+)*|0|[1-9]\d*", name, re.ASCII)
    return plain is not None and name.lower() not in RESERVED_WORDS


def typed_label_map(classes: Mapping[str, Sequence[str]]) -> str:
    """`data.label_map={new: [old, ...]}` as typed in a shell.

    Hydra only accepts plain words and whole numbers as keys; a class with another name becomes `class_1`, and so on.
    """
    parts = []
    for number, (new, olds) in enumerate(classes.items(), start=1):
        names = ", ".join(hydra_override("", old).removeprefix("=") for old in olds)
        parts.append(f"{new if is_key(new) else f'class_{number}'}: [{names}]")
    return _quoted_for_shell(f"data.label_map={{{', '.join(parts)}}}")


def _quoted_for_shell(argument: str) -> str:
    # A shell expands these even within double quotes.
    return shlex.quote(argument) if re.search(r'["$`\\!]', argument) else f'"{argument}"'
