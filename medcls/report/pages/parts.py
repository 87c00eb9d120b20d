"""Tables and images of a page, as plain text for `macros.html.jinja`."""

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
        Small text below.
    """

    text: str
    share: float | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table of a page.

    Parameters
    ----------
    columns : tuple of str
        Headings; may be empty.
    numeric : tuple of bool
        Which columns have numbers.
    rows : tuple of tuples of Cell
    left : int
        Number of rows that are not shown.
    headed : bool
        Whether the first cell of each row is its heading.
    """

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left: int = 0
    headed: bool = False


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """A small image as a data URL with its size in pixels, or the reason why there is none.

    `text` describes what it shows; an image without it is described by its name alone.
    """

    source: str | None = None
    width: int = 0
    height: int = 0
    reason: str = ""
    text: str = ""


Row = Sequence[Cell | str]


def numeric_sheet(columns: Sequence[str], rows: Sequence[Row]) -> Sheet:
    """Make a table whose first column has headings and all others numbers."""
    cells = tuple(tuple(Cell(cell) if isinstance(cell, str) else cell for cell in row) for row in rows)
    return Sheet(tuple(columns), (False, *(True for _ in columns[1:])), cells, headed=True)


def splits_sheet(table: pd.DataFrame, classes: Sequence[str], positive: str | None, *, groups: bool) -> Sheet:
    """Make a table of images, groups and classes with one column for each split.

    Parameters
    ----------
    table : DataFrame
        One row for each split: `split`, `images`, `groups`, `without_group`, `independent`, `share` and `asked` (the
        last four not in older runs), and for each class `<class>: images` and `<class>: share`.
    classes : sequence of str
    positive : str or None
        The positive class of a binary task.
    groups : bool
        Whether groups are known.
    """
    splits = table.to_dict("records")
    rows: list[Row] = [["Images", *(f"{split['images']:,}" for split in splits)]]
    if any(_known(split.get("asked")) for split in splits):
        rows.append(["Share of the images (requested)", *(_share(split) for split in splits)])
    lone = [split.get("without_group", 0) for split in splits]  # older runs did not count them
    if groups:
        named = [f"{split['groups'] - alone:,}" for split, alone in zip(splits, lone, strict=True)]
        rows.append(["Groups", *named])
        if any(lone):
            rows.append(["Images without a group", *(f"{alone:,}" for alone in lone)])
    elif any(lone):
        rows.append(["Patients", *("not known" for _ in splits)])
    if any(split.get("independent", split["groups"]) != split["groups"] for split in splits):
        rows.append(["Independent cases (duplicates counted once)", *(f"{split['independent']:,}" for split in splits)])
    of_classes: list[Row] = [
        [
            f"{name} (positive)" if name == positive else name,
            *(_counted(split[f"{name}: images"], split[f"{name}: share"]) for split in splits),
        ]
        for name in classes
    ]
    return numeric_sheet(["", *(str(split["split"]).replace("_", " ") for split in splits)], [*rows, *of_classes])


def _share(split: Mapping[Any, Any]) -> str:
    share, asked = (f"{split[name]:.1%}" if _known(split[name]) else "–" for name in ("share", "asked"))
    return f"{share} ({asked})"


def _known(share: float | None) -> bool:
    return share is not None and share == share


def _counted(count: int, share: float) -> Cell:
    return Cell(f"{count:,} ({share:.1%})", share)
