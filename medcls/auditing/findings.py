"""Findings of an audit: each with its values, images and what to do."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import pandas as pd

Level = Literal["error", "warning", "information", "good"]
LEVELS: tuple[Level, ...] = ("error", "warning", "information", "good")
"""An error invalidates results or stops a training; a warning may; good: checked, and nothing found."""

MOST_SHOWN = 12
"""Images, or pairs of them, that a finding shows."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images side by side: manifest paths and a caption."""

    first: str
    second: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check.

    Parameters
    ----------
    check : str
        A stable identifier (`exact_copies`), in the JSON file and as the page's anchor.
    level : str
        One of `LEVELS`.
    title : str
        One sentence with its numbers: "25 of 253 images are duplicates of another".
    text : str
        What it means for a classifier, and what to do: the setting to type, if there is one.
    values : mapping
        For the JSON file: numbers, text, or None.
    table : DataFrame, optional
        More rows of values.
    pairs : tuple of Pair
        Examples to look at side by side, at most `MOST_SHOWN`.
    images : tuple of str
        Examples to look at alone, at most `MOST_SHOWN`: manifest paths.
    exclude : tuple of str
        Paths that `audit.fix=exclude` leaves out.
    """

    check: str
    level: Level
    title: str
    text: str = ""
    values: Mapping[str, float | int | str | None] = dataclasses.field(default_factory=dict)
    table: pd.DataFrame | None = None
    pairs: tuple[Pair, ...] = ()
    images: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
