"""How many more images the sensitivity needs for the requested precision."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from medcls.errors import MedclsError
from medcls.statistics.analytic import rows_for
from medcls.statistics.digits import rounded

HALF_WIDTH = 0.05
"""The default, as in `conf/evaluation/default.yaml`."""


@dataclasses.dataclass(frozen=True)
class CasesNeeded:
    """How many images of one class the requested precision of its sensitivity needs.

    Parameters
    ----------
    of_class : str
    sensitivity, half_width : float
        The estimate, and half of its interval.
    asked : float
        The requested half width.
    images : int
        Of the class in this split.
    needed : int
        Of the class in all, with the same sensitivity and dependence within groups.
    share : float
        Of the class among all images of this split.
    independent : float
        The number of independent images that the class's images are worth, by the interval.
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
        """Images of the class that are missing."""
        return max(0, self.needed - self.images)

    def to_plain(self) -> dict[str, Any]:
        """For `metrics.json`."""
        return dataclasses.asdict(self) | {"more": self.more}

    def sentence(self) -> str:
        """Return it in words, with the name of the setting."""
        known = (
            f"The sensitivity for class {self.of_class}, {rounded(self.sensitivity)} of {self.images:,} images, is "
            f"known to \N{PLUS-MINUS SIGN}{rounded(self.half_width)}"
        )
        if not self.more:
            return f"{known}, within the \N{PLUS-MINUS SIGN}{self.asked:g} of precision_of_sensitivity."
        sentence = (
            f"{known}. To know it to \N{PLUS-MINUS SIGN}{self.asked:g} (precision_of_sensitivity) takes about "
            f"{self.needed:,} images of class {self.of_class}, {self.more:,} more, if it stays about the same; with "
            f"{self.share:.0%} of all images as here, that is {math.ceil(self.more / self.share):,} more in all."
        )
        if self.independent < 0.95 * self.images:
            sentence += (
                f" Images of one group are worth less than images of different groups: the {self.images:,} here count "
                f"as about {max(1, round(self.independent)):,}, so images of new groups help more."
            )
        return sentence


def check_half_width(value: Any) -> float:  # noqa: ANN401 - a setting
    """Check the requested half width.

    Raises
    ------
    MedclsError
        It is not a number above 0 and below 0.5.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 0.5:
        raise MedclsError(
            f"precision_of_sensitivity is {value!r}: give the half width of its 95% interval, above 0 and below 0.5, "
            "as 0.05.",
            kind="bad_value",
        )
    return float(value)


def cases_needed(
    intervals: pd.DataFrame, half_width: float, images: int, cases: Mapping[str, int]
) -> CasesNeeded | None:
    """Return the class that lacks the most images for the precision; None if no class has an interval.

    Wilson's half width solved for the number of rows (`analytic.rows_for`), at the estimated sensitivity. With groups,
    the interval says how many independent rows they are worth, and the number grows by that ratio (the design effect:
    Kish 1965, "Survey Sampling"). They count as no fewer than their groups, and no more than themselves, because an
    interval may be wider for other reasons.

    Parameters
    ----------
    intervals : DataFrame
        As of `interval_table`.
    half_width : float
        Requested.
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
    return max(found, key=lambda of_class: of_class.more / of_class.share, default=None)
