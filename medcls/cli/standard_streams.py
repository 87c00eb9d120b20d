"""What is printed reaches any terminal: degraded where its encoding lacks a character, dropped where nobody listens."""

import codecs
import contextlib
import os
import sys

# What the letters of another alphabet become is for Python to say (`\\u6b63`); of signs, what they look like.
LOOKS_LIKE = str.maketrans(
    {
        "•": "*", "·": "-", "…": "...", "–": "-", "—": "-", "−": "-", "‘": "'", "’": "'", "“": '"', "”": '"',
        "×": "x", "≥": ">=", "≤": "<=", "≈": "~", "±": "+/-", "→": "->", "✓": "ok", "✔": "ok",
        "━": "-", "─": "-", "╸": "-", "╺": "-", "│": "|", "┃": "|",
    }
)  # fmt: skip
DEGRADE = "medcls.degrade"


def prepare() -> None:
    """Let standard output and error degrade what they cannot encode, and be there even where they were closed."""
    codecs.register_error(DEGRADE, _degrade)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Closed before the start (`>&-`). The file also takes the number, which the next one opened would get.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open to the end
        elif hasattr(stream, "reconfigure"):
            with contextlib.suppress(OSError, ValueError):  # closed by whoever called
                stream.reconfigure(errors=DEGRADE)


def _degrade(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: what the signs look like, else their numbers."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(LOOKS_LIKE)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end
