"""What an audit has to say: one finding a check, with its figures, its pictures and what to do."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import pandas as pd

Level = Literal["error", "warning", "information", "good"]
LEVELS: tuple[Level, ...] = ("error", "warning", "information", "good")
"""An error would make figures lie, or stops a training; a warning may; information a reader wants; good was looked for
and not found."""

MOST_SHOWN = 12
"""Pictures, or pairs of them, that a check chooses to be looked at: enough to see what it found."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images to be looked at side by side: manifest paths, and what relates them."""

    first: str
    second: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Parameters
    ----------
    check : str
        A stable name (`exact_copies`), in the JSON file and as the page's anchor.
    level : str
        One of `LEVELS`.
    title : str
        One sentence, with its figures: "25 of 253 images are exact copies of another".
    text : str
        What that means for a classifier, and what to do: the exact setting to type where there is one.
    values : mapping
        The figures, for the JSON file: numbers, text, or None.
    table : DataFrame, optional
        More rows of figures; shown as it stands.
    pairs : tuple of Pair
        The most telling to look at side by side, at most `MOST_SHOWN`.
    images : tuple of str
        The most telling to look at alone, at most `MOST_SHOWN`: manifest paths.
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
