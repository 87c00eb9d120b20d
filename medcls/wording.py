"""Format numbers, names and paths in messages, notes and findings."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePath

LONGEST_PATH = 4096  # of Linux, whose paths are the longest


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `1,204 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def enumerated(names: Sequence[str], most: int = 10) -> str:
    """The first `most` names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def quoted(names: Iterable[str]) -> str:
    """`'0', '1' and 3 more`, for names that may be numbers, or start or end with a space."""
    return enumerated([repr(name) for name in names], most=50)


def listed(lines: Sequence[str], most: int = 5) -> str:
    """The first `most` lines, indented, and how many more there are."""
    more = [f"... and {len(lines) - most:,} more"] if len(lines) > most else []
    return "\n".join(f"  {line}" for line in [*lines[:most], *more])


def tallied(names: Sequence[str]) -> str:
    """How often each name occurs, the most frequent first: `jpg 3, txt 1`."""
    return ", ".join(f"{name} {count}" for name, count in Counter(names).most_common())


def printable(path: PurePath | str) -> str:
    """Format a path for a message: line breaks and invalid characters are escaped, very long paths shortened."""
    text = str(path)
    text = text if len(text) <= LONGEST_PATH else f"{text[:100]}... ({len(text):,} characters)"
    return text if text.isprintable() else ascii(text)


def at_start(text: str) -> str:
    """Capitalize the first letter only, so that names keep their case."""
    return text[:1].upper() + text[1:]


def named(name: str) -> str:
    """A name for a sentence, quoted if it looks like a number: `"1"`."""
    try:
        float(name)
    except ValueError:
        return name
    return f'"{name}"'
