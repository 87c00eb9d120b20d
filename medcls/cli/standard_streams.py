"""Make standard output and error safe to print to: with any encoding, and also when they are closed."""

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator

# Similar ASCII characters for signs; letters of other alphabets are escaped as Python does (`\\u6b63`).
ASCII_SIGNS = str.maketrans(
    {
        "•": "*", "·": "-", "…": "...", "–": "-", "—": "-", "−": "-", "‘": "'", "’": "'", "“": '"', "”": '"',
        "×": "x", "≥": ">=", "≤": "<=", "≈": "~", "±": "+/-", "→": "->", "✓": "ok", "✔": "ok",
        "━": "-", "─": "-", "╸": "-", "╺": "-", "│": "|", "┃": "|",
    }
)  # fmt: skip
ERROR_HANDLER = "medcls.to_ascii"


def prepare() -> None:
    """Let standard output and error replace what they cannot encode; open them if they are closed."""
    codecs.register_error(ERROR_HANDLER, _to_ascii)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Closed by the caller (`>&-`). This also occupies its file descriptor, which the next open file would get.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open to the end
        elif hasattr(stream, "reconfigure"):
            with contextlib.suppress(OSError, ValueError):  # closed by the caller
                stream.reconfigure(errors=ERROR_HANDLER)


@contextlib.contextmanager
def replacing_what_cannot_be_encoded() -> Iterator[None]:
    """Let the streams of a program that is not medcls's replace what they cannot encode, until the end of the block."""
    codecs.register_error(ERROR_HANDLER, _to_ascii)
    # Those of a notebook can print everything, and have no `reconfigure`.
    before = [(stream, stream.errors) for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    for stream, _ in before:
        with contextlib.suppress(OSError, ValueError):  # closed by the caller
            stream.reconfigure(errors=ERROR_HANDLER)
    try:
        yield
    finally:
        for stream, errors in before:
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors=errors)


def _to_ascii(error: UnicodeError) -> tuple[str, int]:
    """Error handler of codecs: similar ASCII characters for signs, else escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(ASCII_SIGNS)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end
