"""The one exception that a user can cause."""

import difflib
from collections.abc import Iterable


class MedclsError(ValueError):
    """A mistake in what was asked or given, worded for the person who can mend it.

    The message says what was wrong, where, and what to do. The doors print it without a stack
    trace and exit with code 2.
    """


def nearest(word: str, known: Iterable[str], most: int = 3) -> str:
    """Say which known names are closest to a mistyped one, as the tail of an error message.

    Returns
    -------
    str
        `" Did you mean a, b?"`, or the empty string where nothing is near.
    """
    close = difflib.get_close_matches(word, list(known), n=most, cutoff=0.5)
    return f" Did you mean {', '.join(close)}?" if close else ""
