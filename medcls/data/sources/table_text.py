"""A table as text: its encoding, separator and cells; faults are reported with their line."""

import csv as comma_separated
import io
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from medcls.errors import MedclsError, nearest
from medcls.wording import enumerated, printable

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}

SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?\r?\n', re.IGNORECASE)

# Characters that no cell can hold, and what they mean.
NO_TEXT = {
    "\0": "a null byte, which text does not: is it a table, and in UTF-8",
    "\ufeff": "a byte-order mark after its beginning: were two tables concatenated",
}


def read_table(path: Path, setting: str = "data.csv", *, fewest_columns: int = 2) -> tuple[pd.DataFrame, list[str]]:
    """Read a table: every cell as text without surrounding blanks, indexed by the line on which each row ends.

    pandas' own reader shifts or drops cells of rows that are too long or too short; here these are errors.

    Parameters
    ----------
    setting : str
        The setting that named the file, for messages.
    fewest_columns : int
        A table with fewer is taken for one with another separator.

    Returns
    -------
    cells, notes
        The table, and notes on unusual formats.

    Raises
    ------
    MedclsError
        Not text in UTF-8 (or UTF-16 with a byte-order mark), too few columns, no rows, repeated column names, or a row
        of another length than the header.
    """
    text = read_text(path, setting)
    stated = SEPARATOR_LINE.match(text)  # written by Excel; not a row
    separator = stated[1] if stated else max(SEPARATORS, key=lambda sign: header_width(text, sign))
    reader = comma_separated.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines: list[int] = []
    rows: list[list[str]] = []
    try:
        if stated:
            next(reader)
        header = [name.strip() for name in next(reader, [])]
        for row in reader:
            if row:
                lines.append(reader.line_num)
                rows.append([cell.strip() for cell in row])
    except comma_separated.Error as error:
        raise MedclsError(
            f"{path}, line {max(1, reader.line_num)}, cannot be read as a table: {error}. Is there an unclosed quote?",
            kind="unreadable_table",
        ) from error
    if len(header) < fewest_columns or not any(header):
        raise MedclsError(
            f"The {'second' if stated else 'first'} line of {path} has {len(header)} column(s): "
            f"{shown(header) or 'it is empty'}. It must name the columns, separated by "
            f"{', '.join(SEPARATORS.values())}.",
            kind="unreadable_table",
        )
    if not rows:
        raise MedclsError(f"{path} has a header and no rows.", kind="no_rows")
    ragged = [f"line {line}: {len(row)}" for line, row in zip(lines, rows, strict=True) if len(row) != len(header)]
    if ragged:
        raise MedclsError(
            f"{len(ragged)} row(s) of {path} have more or fewer cells than the {len(header)} columns "
            f"({shown(header)}): {enumerated(ragged)}. A cell that contains the separator must be quoted.",
            kind="ragged_rows",
        )
    repeated = [name for name, count in Counter(header).items() if count > 1 and name]
    if repeated:
        raise MedclsError(f"{path} has more than one column named {shown(repeated)}: rename them.", kind="column_twice")
    cells = pd.DataFrame(rows, columns=header, index=pd.Index(lines, name="line"), dtype=str)
    notes = []
    if separator != ",":
        notes.append(f"{path.name} is separated by {SEPARATORS.get(separator, repr(separator))}")
    if "" in header:
        notes.append(f"left out {header.count('')} column(s) of {path.name} without a name")
        cells = cells.drop(columns="")
    return cells, notes


def header_width(text: str, separator: str) -> int:
    """The number of columns of the first line with this separator; 0 if it cannot be parsed."""
    try:
        return len(next(comma_separated.reader(io.StringIO(text, newline=""), delimiter=separator), []))
    except comma_separated.Error:
        return 0


def shown(names: Iterable[str]) -> str:
    """Column names, printable and shortened."""
    return enumerated([printable(name if len(name) <= 60 else f"{name[:60]}...") for name in names], most=50)


def read_text(path: Path, setting: str) -> str:
    """Read a text file: UTF-8 with or without a byte-order mark, or UTF-16 with one.

    Other encodings are refused, not guessed, since a wrong one would change names.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MedclsError(f"{path} ({setting}) cannot be read: {error.strerror}.", kind="unreadable_file") from error
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise MedclsError(
            f"{path} ({setting}) is a spreadsheet or an archive. Save the table as CSV in UTF-8.",
            kind="unreadable_table",
        )
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MedclsError(
            f"{path} ({setting}) is not UTF-8 (line {line}: {error.reason}). Save the table as CSV in UTF-8.",
            kind="not_utf8",
        ) from error
    for mark, what in NO_TEXT.items():
        if mark in text:
            line = text.count("\n", 0, text.index(mark)) + 1
            raise MedclsError(
                f"{path} ({setting}), line {line}, holds {what}? Save the table as CSV in UTF-8.",
                kind="unreadable_table",
            )
    return text if "\n" in text else text.replace("\r", "\n")  # line ends of old Macintosh systems


def check_column(cells: pd.DataFrame, name: object, setting: str) -> None:
    """Refuse a column that does not exist, or is not a single name."""
    if not isinstance(name, str):
        raise MedclsError(f"{setting} is {name}: give the name of one column.", kind="bad_value")
    if name not in cells.columns:
        raise MedclsError(
            f"{setting} names the column {name!r}, and the table has {shown(cells.columns)}."
            f"{nearest(name, cells.columns)}",
            kind="unknown_column",
        )
