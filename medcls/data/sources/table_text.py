"""A table as text: its encoding, its separator, its cells; whatever is wrong with it in a sentence with the line."""

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

SAYS_SEPARATOR = re.compile(r'"?sep=([^\w\s"]|\t)"?\r?\n', re.IGNORECASE)

# Characters that no cell can hold: what they say is wrong with the file.
NO_TEXT = {
    "\0": "a null byte, which no text does: is it a table, and in UTF-8",
    "\ufeff": "a byte-order mark, which stands at the beginning of a file alone: were two tables put together",
}


def read_table(path: Path, setting: str = "data.csv") -> tuple[pd.DataFrame, list[str]]:
    """Read a table, every cell as the text it is, without blanks around it; indexed by the line each row ends on.

    pandas' own reader shifts or drops cells of rows that are too long or too short; here these are errors.

    Parameters
    ----------
    setting : str
        Which setting named the file, for messages.

    Returns
    -------
    cells, notes
        The table, and what is unusual about it, in words.

    Raises
    ------
    MedclsError
        No text in UTF-8 (or UTF-16 that says so), a single column, no rows, columns of one name, or a row of another
        length than the header.
    """
    text = read_text(path, setting)
    stated = SAYS_SEPARATOR.match(text)  # a line of Excel's, which is no row
    separator = stated[1] if stated else max(SEPARATORS, key=lambda one: width_of_header(text, one))
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
            f"{path}, line {max(1, reader.line_num)}, cannot be read as a table: {error}. Is a quote opened there or "
            "before, and not closed?",
            kind="unreadable_table",
        ) from error
    if len(header) < 2:
        raise MedclsError(
            f"The {'second' if stated else 'first'} line of {path} names {len(header)} column(s): "
            f"{shown(header) or 'it is empty'}. It must name the columns, separated by "
            f"{', '.join(SEPARATORS.values())}.",
            kind="unreadable_table",
        )
    if not rows:
        raise MedclsError(f"{path} names its columns and holds no row.", kind="no_rows")
    ragged = [f"line {line}: {len(row)}" for line, row in zip(lines, rows, strict=True) if len(row) != len(header)]
    if ragged:
        raise MedclsError(
            f"{len(ragged)} row(s) of {path} have more or fewer cells than the {len(header)} columns "
            f"({shown(header)}): {enumerated(ragged)}. A cell that holds the separator must stand in quotes.",
            kind="ragged_rows",
        )
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise MedclsError(f"{path} has more than one column named {shown(twice)}: rename them.", kind="column_twice")
    cells = pd.DataFrame(rows, columns=header, index=pd.Index(lines, name="line"), dtype=str)
    notes = []
    if separator != ",":
        notes.append(f"{path.name} is separated by {SEPARATORS.get(separator, repr(separator))}")
    if "" in header:
        notes.append(f"left out {header.count('')} column(s) of {path.name} without a name")
        cells = cells.drop(columns="")
    return cells, notes


def width_of_header(text: str, separator: str) -> int:
    """How many columns the first line has, if this is what stands between them; 0 where it cannot be read."""
    try:
        return len(next(comma_separated.reader(io.StringIO(text, newline=""), delimiter=separator), []))
    except comma_separated.Error:
        return 0


def shown(names: Iterable[str]) -> str:
    """Names of columns as a message can print them, however many there are and whatever stands in them."""
    return enumerated([printable(name if len(name) <= 60 else f"{name[:60]}...") for name in names], most=50)


def read_text(path: Path, setting: str) -> str:
    """Read a text file: UTF-8 with or without a byte-order mark, or UTF-16 with one.

    Raises
    ------
    MedclsError
        It cannot be read, is a spreadsheet, holds null bytes or a byte-order mark within, or is in another encoding;
        no encoding is guessed, since a wrong one changes names in silence.
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
    return text if "\n" in text else text.replace("\r", "\n")  # how an old Macintosh ended its lines


def check_column(cells: pd.DataFrame, name: object, setting: str) -> None:
    """Refuse a column that is not there.

    Raises
    ------
    MedclsError
        Names the columns there are, and the nearest; or it is no single name.
    """
    if not isinstance(name, str):
        raise MedclsError(f"{setting} is {name}: give the name of one column.", kind="bad_value")
    if name not in cells.columns:
        raise MedclsError(
            f"{setting} names the column {name!r}, and the table has {shown(cells.columns)}."
            f"{nearest(name, cells.columns)}",
            kind="unknown_column",
        )
