"""Escape text that a spreadsheet would read as a formula when writing CSV files, and unescape it when reading."""

import re
from collections.abc import Callable

import pandas as pd

# First characters of formulas and of escaped text; numbers are never escaped.
_MARKS, _ESCAPE = frozenset("=+-@\t\r'"), frozenset("'")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def escaped(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before each column name and text that looks like a formula (`=HYPERLINK(...)`)."""
    return _each(table, escape, _MARKS)


def unescaped(table: pd.DataFrame) -> pd.DataFrame:
    """The inverse of `escaped`."""
    return _each(table, unescape, _ESCAPE)


def escape(text: str) -> str:
    """Escape one text; see `escaped`."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unescape(text: str) -> str:
    """The inverse of `escape`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _each(table: pd.DataFrame, change: Callable[[str], str], first: frozenset[str]) -> pd.DataFrame:
    """Apply `change` to every column name and to every text that starts with one of the characters `first`."""
    changed = {}
    for name in table.columns:
        if pd.api.types.is_numeric_dtype(table[name]):
            continue
        texts = table[name].tolist()
        suspect = [number for number, text in enumerate(texts) if isinstance(text, str) and text[:1] in first]
        if suspect:
            for number in suspect:
                texts[number] = change(texts[number])
            changed[name] = pd.Series(texts, index=table.index, dtype=table[name].dtype)
    return table.assign(**changed).rename(columns=change)
