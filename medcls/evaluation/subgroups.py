"""Every metric by the values of one column of the predictions: sex, age band, site, device.

A column of text makes one group of each value. A column of numbers is cut into bands: `at_edges`, `every` or
`quantiles`. Rows without a value are a group too, `MISSING`.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from medcls.errors import MedclsError, nearest
from medcls.evaluation.predictions import PROB, Predictions
from medcls.statistics.analytic import LEVEL, Interval, Z, holm, undefined
from medcls.statistics.arrays import Floats
from medcls.statistics.digits import rounded
from medcls.statistics.hard_labels import are_hard_labels
from medcls.statistics.intervals import Intervals, intervals
from medcls.statistics.metric_table import BY_IDENTIFIER, LOWER_IS_BETTER, MACRO, OF_THE_IMAGES, opening
from medcls.statistics.metrics import FEW_CASES, Metrics, split_metrics
from medcls.statistics.split import Split
from medcls.wording import counted, named

MISSING = "(missing)"
MOST_GROUPS = 50

Bands = Callable[[Floats], Floats]
"""From the values, float64 `(n,)`, to the ascending edges between bands; a value at an edge lies above it."""


def at_edges(*edges: float) -> Bands:
    """Bands between given edges: `at_edges(40, 60)` is under 40, 40 to under 60, 60 and over."""
    if not edges or not all(math.isfinite(edge) for edge in edges) or sorted(set(edges)) != list(edges):
        raise MedclsError(
            f"The edges are {', '.join(map(str, edges)) or 'none'}: give numbers, each above the last.",
            kind="bad_value",
        )
    return lambda values: np.asarray(edges, np.float64)


def every(width: float) -> Bands:
    """Bands of one width, at its multiples: `every(10)` cuts ages into decades."""
    if not (math.isfinite(width) and width > 0):
        raise MedclsError(f"The width of the bands is {width}: give a number above 0.", kind="bad_value")

    def edges(values: Floats) -> Floats:
        first, last = math.floor(values.min() / width), math.floor(values.max() / width)
        _check_number_of_groups(last - first + 1, f"bands of {width:g}")
        return np.arange(first + 1, last + 1) * width

    return edges


def quantiles(count: int) -> Bands:
    """Bands with about equal numbers of rows; edges are values that occur, so with many equal ones there are fewer."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise MedclsError(f"The number of bands is {count}: give a whole number, at least 2.", kind="bad_value")

    def edges(values: Floats) -> Floats:
        inner = np.unique(np.quantile(values, np.arange(1, count) / count, method="inverted_cdf"))
        # Below an edge at the smallest value there would be an empty band.
        above: Floats = inner[inner > values.min()]
        return above

    return edges


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """One group of rows.

    Parameters
    ----------
    name : str
        The value, the band, or `MISSING`.
    split : Split
        Its rows, at the threshold of all.
    metrics : Metrics
        Of its rows; NaN with the reason if a class has no case in it.
    intervals : dict of (str, str) to Interval
        As of `intervals.intervals`; empty if there are none.
    """

    name: str
    split: Split
    metrics: Metrics
    intervals: Intervals

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.split.labels)

    def interval(self, metric: str) -> Interval:
        """Return the one interval of a metric for the whole group; undefined if there is none."""
        positive = MACRO if self.split.positive is None else self.split.classes[self.split.positive]
        found = [self.intervals[metric, name] for name in ("", positive) if (metric, name) in self.intervals]
        return found[0] if found else dataclasses.replace(undefined(""), method="")

    def independent_rows(self, metric: str) -> int:
        """Count the independent rows that a metric depends on, in the class with the fewest; see `is_ranked`."""
        split, rows = self.split, BY_IDENTIFIER[metric].rows
        if rows == "all":
            return split.group_count()
        if rows in ("classes", "cases and positives"):
            return min(split.group_count(split.labels == k) for k in range(len(split.classes)))
        classes = split.labels if rows in ("cases", "others") else split.predicted
        is_own = rows in ("cases", "positives")
        return min(split.group_count((classes == k) == is_own) for k in split.rated_classes)


@dataclasses.dataclass(frozen=True)
class Gap:
    """The best and the worst of the groups ranked by one metric.

    The interval is Zou and Donner's of a difference (2008, "Construction of confidence limits about effect measures:
    a general approach"), from the limits of both; its level and the p-value are corrected for all pairs of ranked
    groups (Bonferroni), because the two are the furthest apart. Without intervals of the groups they are NaN.

    Parameters
    ----------
    column, metric : str
    best, worst : Subgroup
    ranked : int
        Number of ranked groups.
    low, high : float
        95% interval of `difference`, simultaneous for all pairs.
    p : float
        For no difference between any two groups.
    p_holm : float
        Also corrected for all gaps of the report by Holm's method, see `corrected`; NaN before.
    gaps : int
        Number of these gaps.
    """

    column: str
    metric: str
    best: Subgroup
    worst: Subgroup
    ranked: int
    low: float
    high: float
    p: float
    p_holm: float = math.nan
    gaps: int = 0

    @property
    def difference(self) -> float:
        """Absolute difference of the two values."""
        return abs(self.best.metrics.values[self.metric] - self.worst.metrics.values[self.metric])

    @property
    def beyond_chance(self) -> bool:
        """Whether it is significant at 5% over all gaps of the report."""
        return self.p_holm < 1 - LEVEL

    def verdict(self) -> str:
        """Return the test's result in a sentence."""
        if math.isnan(self.p_holm):
            return "Whether chance explains it is unknown."
        pairs = counted(self.ranked * (self.ranked - 1) // 2, "pair")
        among = f"corrected for {pairs} of groups and the {counted(self.gaps, 'gap')} of this report"
        p = "< 0.001" if self.p_holm < 0.001 else f"= {rounded(self.p_holm)}"
        if self.beyond_chance:
            return f"Chance does not explain it (p {p}, {among})."
        return f"Chance alone may explain it (p {p}, {among})."


def corrected(columns: Sequence["Subgroups"]) -> tuple[Gap, ...]:
    """Return the gaps of all columns by the metrics of a report, with p-values corrected for their number."""
    gaps = [gap for column in columns for metric in column.compared_by if (gap := column.gap(metric)) is not None]
    p = holm(np.array([gap.p for gap in gaps], np.float64))
    known = int((~np.isnan(p)).sum())
    return tuple(
        dataclasses.replace(gap, p_holm=value, gaps=known) for gap, value in zip(gaps, p.tolist(), strict=True)
    )


@dataclasses.dataclass(frozen=True)
class Subgroups:
    """The groups of one column.

    Parameters
    ----------
    column : str
    split : Split
        All rows.
    overall : Metrics
        Of all rows.
    groups : tuple of Subgroup
        Bands in their order, values sorted; `MISSING` last, if any row has no value.
    least : int
        The fewest rows with which a group is ranked, see `is_ranked`.
    """

    column: str
    split: Split
    overall: Metrics
    groups: tuple[Subgroup, ...]
    least: int

    @property
    def is_grouped(self) -> bool:
        """Whether rows depend on each other, as images of one patient."""
        return self.split.is_grouped

    def is_ranked(self, group: Subgroup, metric: str) -> bool:
        """Whether a group takes part in `gap`.

        Its value must be defined and depend on at least `least` rows: the cases for a sensitivity, the others for a
        specificity, the positive predictions for a PPV, the negative ones for an NPV; all rows for accuracy, Brier
        score and log loss; the rarest class for any other metric. With several classes, in each of them. If patients
        have several rows, patients count. Rows without a value are never ranked.
        """
        if group.name == MISSING or math.isnan(group.metrics.values[metric]):
            return False
        return group.independent_rows(metric) >= self.least

    @property
    def compared_by(self) -> tuple[str, ...]:
        """The metrics by which a report compares the groups."""
        return opening("binary" if self.split.binary else "several")

    def gap(self, metric: str) -> Gap | None:
        """Return the best and the worst ranked group; None if fewer than two are ranked.

        With more and smaller groups, chance alone makes wider gaps.

        Raises
        ------
        MedclsError
            An unknown metric, or one that describes the images.
        """
        self._check_metric(metric)
        ranked = [group for group in self.groups if self.is_ranked(group, metric)]
        if len(ranked) < 2:
            return None
        ascending = sorted(ranked, key=lambda group: group.metrics.values[metric], reverse=metric in LOWER_IS_BETTER)
        best, worst, pairs = ascending[-1], ascending[0], len(ranked) * (len(ranked) - 1) / 2
        upper, lower = sorted((best, worst), key=lambda group: group.metrics.values[metric], reverse=True)
        a, b = (group.metrics.values[metric] for group in (upper, lower))
        (a_low, a_high), (b_low, b_high) = (
            (row.low, row.high) for row in (upper.interval(metric), lower.interval(metric))
        )
        below, above = math.hypot(a - a_low, b_high - b), math.hypot(a_high - a, b - b_low)
        level = float(norm.isf((1 - LEVEL) / 2 / pairs)) / Z
        p = min(1.0, pairs * 2 * float(norm.sf(Z * (a - b) / below))) if below > 0 else math.nan
        return Gap(self.column, metric, best, worst, len(ranked), a - b - level * below, a - b + level * above, p)

    def say_gap(self, metric: str, gap: Gap | None) -> str:
        """Return a gap in words, with its interval and the counts of both groups, or why there is none."""
        if gap is None:
            return (
                f"{metric} by {self.column}: fewer than two groups have the {self.least} "
                f"{'independent cases' if self.is_grouped else 'images'} that a comparison needs."
            )
        best, worst = (
            f"{rounded(group.metrics.values[metric])} in {group.name} ({self.counts(group)})"
            for group in (gap.best, gap.worst)
        )
        between = "" if math.isnan(gap.low) else f" (95% interval {rounded(gap.low)} to {rounded(gap.high)})"
        return (
            f"{metric} by {self.column}: best {best}, worst {worst}, a gap of {rounded(gap.difference)}{between} among "
            f"{gap.ranked} ranked groups. {gap.verdict()}"
        ).replace(" -", " \N{MINUS SIGN}")

    def counts(self, group: Subgroup) -> str:
        """Return the number of rows of a group, and of each class."""
        support = group.metrics.confusion.sum(axis=1)
        listed = ", ".join(f"{count} {named(name)}" for name, count in zip(self.split.classes, support, strict=True))
        independent = f", {counted(group.split.group_count(), 'independent case')}" if self.is_grouped else ""
        return f"n = {group.n}{independent}: {listed}"

    def table(self) -> pd.DataFrame:
        """Return one row a group and metric.

        Returns
        -------
        DataFrame
            `group, n, metric, value, low, high, method, ranked, reason` (of a NaN, else empty). Without intervals `low`
            and `high` are NaN and `method` is empty.
        """
        rows = []
        for group in self.groups:
            for metric, value in group.metrics.values.items():
                if metric == "n":
                    continue
                interval = group.interval(metric)
                limits = interval.low, interval.high, interval.method
                ranked = metric not in OF_THE_IMAGES and self.is_ranked(group, metric)
                reason = group.metrics.reasons.get(metric, "")
                rows.append((group.name, group.n, metric, value, *limits, ranked, reason))
        names = ["group", "n", "metric", "value", "low", "high", "method", "ranked", "reason"]
        return pd.DataFrame(rows, columns=names)

    def _check_metric(self, metric: str) -> None:
        names = [name for name in self.overall.values if name not in OF_THE_IMAGES]
        if metric not in names:
            raise MedclsError(
                f"Groups cannot be ranked by {metric!r}.{nearest(metric, names)} The metrics are {', '.join(names)}.",
                kind="unknown_metric",
            )


def subgroups(
    predictions: Predictions,
    column: str,
    *,
    bands: Bands | None = None,
    threshold: float | None = None,
    least: int = FEW_CASES,
    resamples: int = 0,
    seed: int = 0,
) -> Subgroups:
    """Compute every metric of each group of a column.

    Parameters
    ----------
    predictions : Predictions
        One split.
    column : str
        Any column of the table.
    bands : callable, optional
        How numbers are cut: `at_edges`, `every` or `quantiles`. Without it each value is a group. Bands without a row
        are kept, with n = 0.
    threshold : float, optional
        One for all groups.
    least : int
        A group with fewer rows is kept, but not ranked; see `Subgroups.is_ranked`.
    resamples, seed : int
        Of the intervals of each group; without resamples there are none.

    Raises
    ------
    MedclsError
        An unknown column; a cell that is not a number where one is expected; no value at all; more than 50 groups;
        hard labels.
    """
    if column not in predictions.rows.columns:
        raise MedclsError(
            f"The predictions have no column {column!r} to make groups of; they have "
            f"{', '.join(map(str, predictions.rows.columns))}.{nearest(column, map(str, predictions.rows.columns))}",
            kind="unknown_column",
        )
    if isinstance(least, bool) or not isinstance(least, int) or least < 1:
        raise MedclsError(f"A group is ranked from {least} rows on: give a whole number, at least 1.", kind="bad_value")
    every_row = predictions.to_split(threshold)
    overall = split_metrics(every_row)
    cells = predictions.rows[column]
    text = cells.astype(object).where(cells.notna(), "").astype(str).str.strip()
    names, codes = _values(text, column) if bands is None else _bands(text, bands, column)
    groups = []
    for code, name in enumerate(names):
        split = _rows(predictions, codes == code).to_split(threshold)
        drawn = intervals(split, resamples, seed) if resamples and len(split.labels) else {}
        groups.append(Subgroup(name, split, split_metrics(split), drawn))
    return Subgroups(column, every_row, overall, tuple(groups), least)


def _rows(predictions: Predictions, chosen: NDArray[np.bool_]) -> Predictions:
    """Return some rows as a table."""
    rows = predictions.rows[chosen]
    columns = [PROB + name for name in predictions.classes]
    if are_hard_labels(rows[columns].to_numpy(np.float64)):
        # Scores of the whole table that happen to be all 0 or 1 in this group are still scores.
        rows = rows.assign(**{name: np.maximum(rows[name], np.finfo(np.float64).tiny) for name in columns})
    return Predictions(rows, predictions.classes, predictions.positive)


def _values(text: pd.Series, column: str) -> tuple[list[str], NDArray[Any]]:
    """Groups of equal text: their names, and the number of each row's group."""
    names = sorted(set(text) - {""}, key=_as_number_or_text)
    _check_number_of_groups(len(names), f"the values of {column}")
    return _with_missing(names, pd.Index(names).get_indexer(pd.Index(text)), column)


def _bands(text: pd.Series, bands: Bands, column: str) -> tuple[list[str], NDArray[Any]]:
    """Groups of numbers between edges: their names, and the number of each row's group."""
    numbers = pd.to_numeric(text.where(text != "", "nan"), errors="coerce").to_numpy(np.float64)
    is_number = np.isfinite(numbers)
    bad = ~is_number & ~text.str.lower().isin(("", "nan")).to_numpy(bool)
    if bad.any():
        raise MedclsError(
            f"Column {column} cannot be cut into bands: {bad.sum()} of its cells are not numbers, as "
            f"{text[bad].iloc[0]!r}. Leave cells empty where the value is unknown, or set no bands.",
            kind="not_a_number",
        )
    if not is_number.any():
        return _with_missing([], np.full(len(numbers), -1), column)
    edges = bands(numbers[is_number])
    _check_number_of_groups(len(edges) + 1, f"the bands of {column}")
    codes = np.where(is_number, np.searchsorted(edges, numbers, side="right"), -1)
    return _with_missing(_band_names(edges), codes, column)


def _band_names(edges: Floats) -> list[str]:
    if not len(edges):
        return ["all values"]
    shown = [f"{edge:.10g}" for edge in edges]
    between = [f"{low} to under {high}" for low, high in itertools.pairwise(shown)]
    return [f"under {shown[0]}", *between, f"{shown[-1]} and over"]


def _with_missing(names: Sequence[str], codes: NDArray[Any], column: str) -> tuple[list[str], NDArray[Any]]:
    if not names:
        raise MedclsError(f"Column {column} is empty in every row.", kind="empty_column")
    missing = codes == -1
    return [*names, *([MISSING] if missing.any() else [])], np.where(missing, len(names), codes)


def _as_number_or_text(value: str) -> tuple[bool, float, str]:
    """Sort key: numbers by size, before text."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    return (True, 0.0, value) if math.isnan(number) else (False, number, value)


def _check_number_of_groups(count: int, what: str) -> None:
    if count > MOST_GROUPS:
        raise MedclsError(
            f"There are {count} groups by {what}, more than {MOST_GROUPS}: set wider bands of numbers (edges, every, "
            "quantiles), or use a column with fewer values.",
            kind="too_many_groups",
        )
