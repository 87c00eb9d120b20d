"""How numbers, names and paths stand in a sentence, the same in every message, note and finding."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePath

LONGEST_PATH = 4096  # of Linux, whose paths are the longest


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `1,204 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def enumerated(names: Sequence[str], most: int = 10) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def quoted(names: Iterable[str]) -> str:
    """`'0', '1' and 3 more` for names that may be numbers, or begin or end in a blank."""
    return enumerated([repr(name) for name in names], most=50)


def listed(lines: Sequence[str], most: int = 5) -> str:
    """The first lines of a list, each on its own and indented, and how many more there are."""
    more = [f"... and {len(lines) - most:,} more"] if len(lines) > most else []
    return "\n".join(f"  {line}" for line in [*lines[:most], *more])


def tallied(names: Sequence[str]) -> str:
    """`jpg 3, txt 1`: how often each name occurs, the most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in Counter(names).most_common())


def printable(path: PurePath | str) -> str:
    """Write a path for a message: with escapes where it has newlines or a broken encoding, cut where it has no end."""
    text = str(path)
    text = text if len(text) <= LONGEST_PATH else f"{text[:100]}... ({len(text):,} characters)"
    return text if text.isprintable() else ascii(text)


def at_start(text: str) -> str:
    """With its first letter large, the rest as it is: names in it keep theirs."""
    return text[:1].upper() + text[1:]


def named(name: str) -> str:
    """A name for a sentence: one that reads as a number stands between quotes, as `"1"`."""
    try:
        float(name)
    except ValueError:
        return name
    return f'"{name}"'
