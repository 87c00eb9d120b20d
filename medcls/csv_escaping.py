"""Text in a CSV file that a spreadsheet would take for a formula: escaped where it is written, as it was when read."""

import re
from collections.abc import Callable

import pandas as pd

# What a spreadsheet evaluates, and what has been escaped already; a number is none of it.
_MARKS, _ESCAPE = frozenset("=+-@\t\r'"), frozenset("'")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def escaped(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before each name and each text that reads as a formula (`=HYPERLINK(...)`)."""
    return _each(table, escape, _MARKS)


def unescaped(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it was before `escaped`."""
    return _each(table, unescape, _ESCAPE)


def escape(text: str) -> str:
    """One text; see `escaped`."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unescape(text: str) -> str:
    """One text as it was."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _each(table: pd.DataFrame, change: Callable[[str], str], first: frozenset[str]) -> pd.DataFrame:
    """Change every name and text; `first` are the letters with which one begins that could change."""
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
