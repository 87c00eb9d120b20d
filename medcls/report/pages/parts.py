"""Tables and pictures as a page shows them: plain text, ready for `macros.html.jinja`."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Parameters
    ----------
    text : str
    share : float or None
        From 0 to 1: drawn as a bar below the text.
    note : str
        In small letters below the text.
    """

    text: str
    share: float | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table as a page shows it.

    Parameters
    ----------
    columns : tuple of str
        Their headings; empty where a column needs none.
    numeric : tuple of bool
        Which columns hold numbers.
    rows : tuple of tuples of Cell
    left : int
        How many rows there was no room for.
    headed : bool
        Whether the first cell of each row says what the row is.
    """

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left: int = 0
    headed: bool = False


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """A small picture as a data address, its size in pixels; without an address, why there is none."""

    source: str | None = None
    width: int = 0
    height: int = 0
    reason: str = ""


Row = Sequence[Cell | str]


def figures_sheet(columns: Sequence[str], rows: Sequence[Row]) -> Sheet:
    """Rows with a heading in their first cell, and figures in all others."""
    cells = tuple(tuple(Cell(cell) if isinstance(cell, str) else cell for cell in row) for row in rows)
    return Sheet(tuple(columns), (False, *(True for _ in columns[1:])), cells, headed=True)


def splits_sheet(table: pd.DataFrame, classes: Sequence[str], positive: str | None, *, groups: bool) -> Sheet:
    """Images, groups and classes of each split, one column a split; each class with its share as a bar.

    Parameters
    ----------
    table : DataFrame
        One row a split: `split`, `images`, `groups`, `without_group`, `independent`, `share` and `asked` (not in what
        older runs wrote), and for each class `<class>: images` and `<class>: share`.
    classes : sequence of str
    positive : str or None
        The class that a binary task looks for.
    groups : bool
        Whether groups are known, and so worth a line.
    """
    splits = table.to_dict("records")
    rows: list[Row] = [["Images", *(f"{split['images']:,}" for split in splits)]]
    if any(_known(split.get("asked")) for split in splits):
        rows.append(["Share of the images (asked for)", *(_share(split) for split in splits)])
    lone = [split.get("without_group", 0) for split in splits]  # not counted in older runs
    if groups:
        named = [f"{split['groups'] - alone:,}" for split, alone in zip(splits, lone, strict=True)]
        rows.append(["Groups, counted apart", *named])
        if any(lone):
            rows.append(["Images without a group", *(f"{alone:,}" for alone in lone)])
    elif any(lone):
        rows.append(["Patients", *("not known" for _ in splits)])
    if any(split.get("independent", split["groups"]) != split["groups"] for split in splits):
        rows.append(["Independent cases (duplicates once)", *(f"{split['independent']:,}" for split in splits)])
    of_classes: list[Row] = [
        [
            f"{name} (positive)" if name == positive else name,
            *(_counted(split[f"{name}: images"], split[f"{name}: share"]) for split in splits),
        ]
        for name in classes
    ]
    return figures_sheet(["", *(str(split["split"]).replace("_", " ") for split in splits)], [*rows, *of_classes])


def _share(split: Mapping[Any, Any]) -> str:
    share, asked = (f"{split[name]:.1%}" if _known(split[name]) else "–" for name in ("share", "asked"))
    return f"{share} ({asked})"


def _known(share: float | None) -> bool:
    return share is not None and share == share


def _counted(count: int, share: float) -> Cell:
    return Cell(f"{count:,} ({share:.1%})", share)
