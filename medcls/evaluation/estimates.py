"""Figures of an assessment with their intervals, to be held against each other and told in sentences."""

import dataclasses
import math
from collections.abc import Sequence

import pandas as pd

from medcls.evaluation.assessment import Assessment
from medcls.statistics.metric_table import MACRO, NAMES

_SPLITS = {
    "": "the unnamed split",
    "held_out": "the held-out fold",
    "out_of_fold": "the out-of-fold set",
    "external": "the external set",
}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure and its 95% interval; all NaN where it is undefined, the limits NaN where they cannot be told."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "undefined"
        limits = "" if math.isnan(self.low) else f" ({self.low:.3f} to {self.high:.3f})"
        return f"{self.value:.3f}{limits}".replace("-", "\N{MINUS SIGN}")

    def turned(self) -> "Estimate":
        """The same with the other sign."""
        return Estimate(-self.value, -self.high, -self.low)

    def below(self, other: "Estimate") -> bool:
        """Whether its whole interval lies under the other's; False where either cannot be told."""
        return self.high < other.low

    def apart(self, other: "Estimate") -> bool:
        """Whether the two intervals do not touch; False where either cannot be told."""
        return self.below(other) or other.below(self)


def estimate(assessment: Assessment, metric: str, of_class: str | None = None) -> Estimate:
    """Give a metric by its identifier: of a class, or of the whole split.

    With two classes that is the positive one's, with more the mean over classes.
    """
    of = (assessment.table.positive or MACRO, "") if of_class is None else (of_class,)
    return pick(assessment.intervals, metric, of)


def pick(intervals: pd.DataFrame, metric: str, of: Sequence[str]) -> Estimate:
    """Read a figure out of a table of `intervals.intervals`: the last of the stated classes that has it."""
    row = intervals[(intervals["metric"] == metric) & intervals["class"].isin(of)].iloc[-1]
    return Estimate(float(row["estimate"]), float(row["low"]), float(row["high"]))


def stated(assessment: Assessment, *metrics: str) -> str:
    """List figures with their intervals: `AUROC 0.954 (0.935 to 0.968), sensitivity ...`."""
    return ", ".join(f"{NAMES[metric]} {estimate(assessment, metric)}" for metric in metrics)


def split_name(split: str) -> str:
    """Name a split within a sentence."""
    return _SPLITS.get(split, split)
