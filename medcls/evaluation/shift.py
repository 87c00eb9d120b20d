"""Whether a split differs from the one on which threshold and probabilities were fitted."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.calibration import reliability_table
from medcls.evaluation.estimates import Estimate, estimate
from medcls.evaluation.predictions import Predictions
from medcls.statistics.analytic import LEVEL, Z, wilson_limits
from medcls.statistics.metric_table import NAMES
from medcls.statistics.resampling import group_numbers
from medcls.wording import named

SLIGHT = 0.03
"""Differences of probabilities and shares up to this are ignored, whatever the number of images."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """One estimate in two splits.

    Parameters
    ----------
    name : str
        As in a sentence: `AUROC`, `share of class PNEUMONIA`.
    here, there : Estimate
        In the split in question, and in the one it is compared with.
    is_of_classifier : bool
        Whether it shows that the classifier performs differently, and not only that the images differ.
    """

    name: str
    here: Estimate
    there: Estimate
    is_of_classifier: bool

    def brief(self) -> str:
        """Return it without the intervals."""
        here, there = (Estimate(each.value, math.nan, math.nan) for each in (self.here, self.there))
        return f"{self.name} {here} against {there}"

    def __str__(self) -> str:
        return f"{self.name} {self.here} against {self.there}"


def differences(here: Assessment, there: Assessment, pairs: int = 1) -> list[Difference]:
    """Return what differs between two splits of one checkpoint beyond chance.

    Looks at the AUROC, if it has fallen; sensitivity and specificity at the operating point, in either direction (with
    more than two classes the sensitivity of each); calibration in the large; the share of each class. Each is tested
    by the interval of the difference (Zou and Donner 2008, from the limits of both), corrected for their number and
    the `pairs` of splits that a report compares (Bonferroni): equal splits are reported as different in at most one of
    twenty reports.
    """
    found = [Difference(NAMES["auroc"], estimate(here, "auroc"), estimate(there, "auroc"), is_of_classifier=True)]
    # Rates at two thresholds differ whatever the images are.
    same_threshold = here.decision_rules.threshold == there.decision_rules.threshold
    for name, metric, of_class in _rates(here.table) if same_threshold else []:
        found.append(
            Difference(name, estimate(here, metric, of_class), estimate(there, metric, of_class), is_of_classifier=True)
        )
    off, before = in_the_large(here).surplus, in_the_large(there).surplus
    name = "probabilities too high by"
    if off.value < 0:
        name, off, before = "probabilities too low by", off.negated(), before.negated()
    found.append(Difference(name, off, before, is_of_classifier=False))
    found += _shares_apart(class_shares(here.table), class_shares(there.table))
    return [
        difference
        for difference in _beyond_chance(found, pairs)
        if difference.name != NAMES["auroc"] or difference.here.value < difference.there.value
    ]


def prevalence_differences(here: dict[str, Estimate], there: dict[str, Estimate]) -> list[Difference]:
    """Return the classes with another frequency here than there; of two classes, only the second."""
    return _beyond_chance(_shares_apart(here, there))


def _shares_apart(here: dict[str, Estimate], there: dict[str, Estimate]) -> list[Difference]:
    names = list(here)[-1:] if len(here) == 2 else list(here)
    return [
        Difference(f"share of class {named(name)}", here[name], there[name], is_of_classifier=False) for name in names
    ]


def _beyond_chance(compared: Sequence[Difference], pairs: int = 1) -> list[Difference]:
    """Those beyond chance, corrected for all that were compared, without slight ones."""
    level = float(norm.isf((1 - LEVEL) / 2 / max(len(compared) * pairs, 1))) / Z
    return [
        difference
        for difference in compared
        if (size := abs(difference.here.value - difference.there.value))
        > level * _margin(difference.here, difference.there)
        and (difference.is_of_classifier or size > SLIGHT)
    ]


def _margin(first: Estimate, second: Estimate) -> float:
    """The difference of two estimates that chance exceeds in 5% of cases; NaN without both intervals."""
    upper, lower = (first, second) if first.value >= second.value else (second, first)
    return math.hypot(upper.value - upper.low, lower.high - lower.value)


def class_shares(table: Predictions) -> dict[str, Estimate]:
    """Return each class's share of the rows; the positive class last, if there is one."""
    groups = len(np.unique(group_numbers(table.clusters, len(table))))
    names = sorted(table.classes, key=lambda name: name == table.positive)
    counts = {name: int((table.rows["label"] == name).sum()) for name in names}
    return shares(counts, groups)


def shares(counts: dict[str, int], groups: int) -> dict[str, Estimate]:
    """Return each class's share, with Wilson's limits as if each group were one image."""
    total = sum(counts.values())
    return {name: Estimate(n / total, *wilson_limits(n / total, groups)) for name, n in counts.items()}


@dataclasses.dataclass(frozen=True)
class InTheLarge:
    """Calibration in the large: mean predicted probability and observed share of events.

    In a binary task of the positive class; with more classes, of the predicted class.
    """

    predicted: float
    observed: Estimate

    @property
    def surplus(self) -> Estimate:
        """How much the probabilities are too high; below 0 they are too low."""
        limits = self.predicted - self.observed.high, self.predicted - self.observed.low
        return Estimate(self.predicted - self.observed.value, *limits)

    @property
    def is_off(self) -> bool:
        """Whether the difference is beyond chance, and more than slight."""
        surplus = self.surplus
        return abs(surplus.value) > SLIGHT and not surplus.low <= 0 <= surplus.high


def in_the_large(assessment: Assessment) -> InTheLarge:
    """Return the mean probability and the observed share of a split, with Wilson's limits over groups."""
    row = reliability_table(assessment.table, bins=1).iloc[0]
    return InTheLarge(float(row["predicted"]), Estimate(float(row["observed"]), float(row["low"]), float(row["high"])))


def _rates(table: Predictions) -> list[tuple[str, str, str]]:
    """Name, metric and class of the rates to compare."""
    if table.positive is None:
        return [(f"sensitivity for class {named(name)}", "sensitivity", name) for name in table.classes]
    return [(metric, metric, table.positive) for metric in ("sensitivity", "specificity")]
