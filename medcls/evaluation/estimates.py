"""Estimates of an assessment with their intervals, for comparisons and sentences."""

import dataclasses
import math
from collections.abc import Sequence

import pandas as pd

from medcls.evaluation.assessment import Assessment
from medcls.statistics.digits import rounded
from medcls.statistics.metric_table import MACRO, NAMES

_SPLITS = {
    "": "the unnamed split",
    "held_out": "the held-out fold",
    "out_of_fold": "the out-of-fold set",
    "external": "the external set",
}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimate and its 95% interval; all NaN if undefined, the limits NaN if unknown."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "undefined"
        limits = "" if math.isnan(self.low) else f" ({rounded(self.low)} to {rounded(self.high)})"
        return f"{rounded(self.value)}{limits}".replace("-", "\N{MINUS SIGN}")

    def negated(self) -> "Estimate":
        """Return the estimate with the opposite sign."""
        return Estimate(-self.value, -self.high, -self.low)

    def below(self, other: "Estimate") -> bool:
        """Whether its interval lies below the other's; False if either is unknown."""
        return self.high < other.low

    def apart(self, other: "Estimate") -> bool:
        """Whether the two intervals do not overlap; False if either is unknown."""
        return self.below(other) or other.below(self)


def estimate(assessment: Assessment, metric: str, of_class: str | None = None) -> Estimate:
    """Return a metric of a class; without one of the positive class, the mean over classes, or all rows."""
    classes = (assessment.table.positive or MACRO, "") if of_class is None else (of_class,)
    return pick(assessment.intervals, metric, classes)


def pick(intervals: pd.DataFrame, metric: str, classes: Sequence[str]) -> Estimate:
    """Return a metric from an `interval_table`: the last row with one of these classes."""
    row = intervals[(intervals["metric"] == metric) & intervals["class"].isin(classes)].iloc[-1]
    return Estimate(float(row["estimate"]), float(row["low"]), float(row["high"]))


def stated(assessment: Assessment, *metrics: str) -> str:
    """List metrics with their intervals: `AUROC 0.954 (0.935 to 0.968), sensitivity ...`."""
    return ", ".join(f"{NAMES[metric]} {estimate(assessment, metric)}" for metric in metrics)


def split_name(split: str) -> str:
    """Return the name of a split within a sentence."""
    return _SPLITS.get(split, split)
