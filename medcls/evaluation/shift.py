"""Whether a split is unlike the one on which the classifier's threshold and probabilities were fitted."""

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
"""Differences of probabilities and shares up to this are called none, however many images show them."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """One figure in the two splits.

    Parameters
    ----------
    name : str
        As in a sentence: `AUROC`, `share of PNEUMONIA`.
    here, there : Estimate
        In the split in question, and in the one before it.
    of_calls : bool
        Whether it says that the classifier does otherwise, and not only that the images are others.
    """

    name: str
    here: Estimate
    there: Estimate
    of_calls: bool

    def brief(self) -> str:
        """Without the intervals."""
        here, there = (Estimate(one.value, math.nan, math.nan) for one in (self.here, self.there))
        return f"{self.name} {here} against {there}"

    def __str__(self) -> str:
        return f"{self.name} {self.here} against {self.there}"


def differences(here: Assessment, there: Assessment, pairs: int = 1) -> list[Difference]:
    """Find what differs between two splits of one checkpoint by more than chance explains.

    The AUROC, where it has fallen; sensitivity and specificity at the operating point, in either direction (with
    more than two classes the sensitivity of each); by how much the probabilities are too high on the whole; the
    share of each class. Each is tested by the interval of the difference (Zou and Donner 2008, from the limits of
    both), at a level corrected for all of them (Bonferroni): splits that are alike are called different in at most
    one of twenty reports, whatever the number of classes, and however many `pairs` of splits a report compares.
    """
    found = [Difference(NAMES["auroc"], estimate(here, "auroc"), estimate(there, "auroc"), of_calls=True)]
    # At two thresholds the rates differ whatever the images are.
    for name, metric, of_class in (
        _rates(here.table) if here.decision_rules.threshold == there.decision_rules.threshold else []
    ):
        found.append(
            Difference(name, estimate(here, metric, of_class), estimate(there, metric, of_class), of_calls=True)
        )
    off, before = in_the_large(here).surplus, in_the_large(there).surplus
    name = "probabilities too high by"
    if off.value < 0:
        name, off, before = "probabilities too low by", off.turned(), before.turned()
    found.append(Difference(name, off, before, of_calls=False))
    found += _shares_apart(class_shares(here.table), class_shares(there.table))
    return [
        one for one in _beyond_chance(found, pairs) if one.name != NAMES["auroc"] or one.here.value < one.there.value
    ]


def prevalence_differences(here: dict[str, Estimate], there: dict[str, Estimate]) -> list[Difference]:
    """Give the classes that are more, or less, frequent here than there; of two classes, the second."""
    return _beyond_chance(_shares_apart(here, there))


def _shares_apart(here: dict[str, Estimate], there: dict[str, Estimate]) -> list[Difference]:
    names = list(here)[-1:] if len(here) == 2 else list(here)
    return [Difference(f"share of {named(name)}", here[name], there[name], of_calls=False) for name in names]


def _beyond_chance(held: Sequence[Difference], pairs: int = 1) -> list[Difference]:
    """Those that chance does not explain, corrected for all that were held side by side; not what is slight."""
    level = float(norm.isf((1 - LEVEL) / 2 / max(len(held) * pairs, 1))) / Z
    return [
        one
        for one in held
        if abs(one.here.value - one.there.value) > level * _margin(one.here, one.there)
        and (one.of_calls or abs(one.here.value - one.there.value) > SLIGHT)
    ]


def _margin(one: Estimate, other: Estimate) -> float:
    """How far two figures lie apart by chance in 5% of cases; NaN where either has no interval."""
    upper, lower = (one, other) if one.value >= other.value else (other, one)
    return math.hypot(upper.value - upper.low, lower.high - lower.value)


def class_shares(table: Predictions) -> dict[str, Estimate]:
    """Give each class's share of the rows; the positive class last, where there is one."""
    groups = len(np.unique(group_numbers(table.clusters, len(table))))
    names = sorted(table.classes, key=lambda name: name == table.positive)
    counts = {name: int((table.rows["label"] == name).sum()) for name in names}
    return shares(counts, groups)


def shares(counts: dict[str, int], groups: int) -> dict[str, Estimate]:
    """Give each class's share, with Wilson's limits as if each group were one image."""
    total = sum(counts.values())
    return {name: Estimate(n / total, *wilson_limits(n / total, groups)) for name, n in counts.items()}


@dataclasses.dataclass(frozen=True)
class InTheLarge:
    """Calibration on the whole: the mean probability, and how often what it is of came true.

    In a binary task of the positive class; with more classes, of the class that was called.
    """

    predicted: float
    came_true: Estimate

    @property
    def surplus(self) -> Estimate:
        """By how much the probabilities are too high; below 0 they are too low."""
        limits = self.predicted - self.came_true.high, self.predicted - self.came_true.low
        return Estimate(self.predicted - self.came_true.value, *limits)

    @property
    def is_off(self) -> bool:
        """Whether chance does not explain the difference, and it is more than slight."""
        surplus = self.surplus
        return abs(surplus.value) > SLIGHT and not surplus.low <= 0 <= surplus.high


def in_the_large(assessment: Assessment) -> InTheLarge:
    """Hold the mean probability of a split against what came true, with Wilson's limits over groups."""
    whole = reliability_table(assessment.table, bins=1).iloc[0]
    came_true = Estimate(float(whole["observed"]), float(whole["low"]), float(whole["high"]))
    return InTheLarge(float(whole["predicted"]), came_true)


def _rates(table: Predictions) -> list[tuple[str, str, str]]:
    """Name, metric and class of the rates to hold side by side."""
    if table.positive is None:
        return [(f"sensitivity for {named(name)}", "sensitivity", name) for name in table.classes]
    return [(metric, metric, table.positive) for metric in ("sensitivity", "specificity")]
