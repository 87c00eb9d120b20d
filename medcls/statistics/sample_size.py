"""How many more images it takes to know the sensitivity as precisely as was asked for."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from medcls.errors import MedclsError
from medcls.statistics.analytic import rows_for

HALF_WIDTH = 0.05
"""Asked for where nothing else is stated, as in `conf/evaluation/default.yaml`."""


@dataclasses.dataclass(frozen=True)
class CasesNeeded:
    """How many images of one class a stated precision of its sensitivity takes.

    Parameters
    ----------
    of_class : str
    sensitivity, half_width : float
        As found, and half of its interval.
    asked : float
        The half width asked for.
    images : int
        Of the class, here.
    needed : int
        Of the class in all, if the sensitivity is as found, and images of one group tell as little more as here.
    share : float
        Of the class among all images here.
    independent : float
        As how many images that stand alone those here count, by their interval.
    """

    of_class: str
    sensitivity: float
    half_width: float
    asked: float
    images: int
    needed: int
    share: float
    independent: float

    @property
    def more(self) -> int:
        """Images of the class that are lacking."""
        return max(0, self.needed - self.images)

    def to_plain(self) -> dict[str, Any]:
        """For `metrics.json`."""
        return dataclasses.asdict(self) | {"more": self.more}

    def sentence(self) -> str:
        """Say it with the setting by which it was asked."""
        known = (
            f"The sensitivity for {self.of_class}, {self.sensitivity:.3f} of {self.images:,} images, is known to "
            f"\N{PLUS-MINUS SIGN}{self.half_width:.3f}"
        )
        if not self.more:
            return f"{known}, which is as close as the \N{PLUS-MINUS SIGN}{self.asked:g} of precision_of_sensitivity."
        told = (
            f"{known}. To know it to \N{PLUS-MINUS SIGN}{self.asked:g} (precision_of_sensitivity) takes about "
            f"{self.needed:,} images of {self.of_class}, {self.more:,} more, if it is about as high there; with "
            f"{self.share:.0%} of all images as here, that is {math.ceil(self.more / self.share):,} more in all."
        )
        if self.independent < 0.95 * self.images:
            told += (
                f" Images of one group tell less than as many of different ones: the {self.images:,} here count as "
                f"about {max(1, round(self.independent)):,}, so images of new groups are worth more."
            )
        return told


def check_half_width(value: Any) -> float:  # noqa: ANN401 - what a person typed
    """The half width that was asked for.

    Raises
    ------
    MedclsError
        It is no number above 0 and below 0.5.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 0.5:
        raise MedclsError(
            f"precision_of_sensitivity is {value!r}: give half the width that its 95% interval may have, above 0 and "
            "below 0.5, as 0.05.",
            kind="bad_value",
        )
    return float(value)


def cases_needed(
    intervals: pd.DataFrame, half_width: float, images: int, cases: Mapping[str, int]
) -> CasesNeeded | None:
    """Of the class that lacks the most, how many images its sensitivity takes; None where no class has an interval.

    Wilson's half width solved for the number of rows (`analytic.rows_for`), at the sensitivity as found. Where rows
    are grouped, their interval says as how many rows that stand alone they count, and as many times more are needed
    (the design effect: Kish 1965, "Survey Sampling"). They count as no fewer than there are groups of them, and no
    more than themselves: an interval may be wider for reasons that are not theirs.

    Parameters
    ----------
    intervals : DataFrame
        As of `intervals.intervals`.
    half_width : float
        Asked for.
    images : int
        In the whole split.
    cases : mapping of str to int
        Groups of each class; images that stand alone count as one each.
    """
    rows = intervals[(intervals["metric"] == "sensitivity") & (intervals["n"] < images) & intervals["low"].notna()]
    found = []
    for row in rows.to_dict("records"):
        sensitivity, n, half = float(row["estimate"]), int(row["n"]), (float(row["high"]) - float(row["low"])) / 2
        independent = min(float(n), max(rows_for(sensitivity, half), float(cases[str(row["class"])])))
        needed = math.ceil(rows_for(sensitivity, half_width) * n / independent - 1e-6)
        found.append(CasesNeeded(str(row["class"]), sensitivity, half, half_width, n, needed, n / images, independent))
    return max(found, key=lambda one: one.more / one.share, default=None)
