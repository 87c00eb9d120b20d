"""Every metric by the values of one column of the predictions: sex, age band, site, device.

A column of text gives one group a value. A column of numbers is cut into bands that whoever asks states:
`at_edges`, `every` or `quantiles`. Rows without a value are a group of their own, `MISSING`.
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
from medcls.statistics.analytic import LEVEL, Z, holm
from medcls.statistics.arrays import Floats
from medcls.statistics.hard_labels import are_hard_labels
from medcls.statistics.metric_table import BY_IDENTIFIER, LOWER_IS_BETTER, MACRO, OF_THE_IMAGES, opening
from medcls.statistics.metrics import FEW_CASES, Metrics, classification_metrics, predicted_classes
from medcls.statistics.resampling import any_repeated, group_numbers
from medcls.wording import counted, named

MISSING = "(missing)"
MOST_GROUPS = 50

Bands = Callable[[Floats], Floats]
"""From the values there are, float64 `(n,)`, to the ascending edges between bands; a value at an edge lies above it."""

IntervalTable = Callable[[Predictions], pd.DataFrame]
"""From the rows of a group to the columns `metric, class, low, high, method`, as `intervals.intervals` gives them."""


def at_edges(*edges: float) -> Bands:
    """Bands between stated edges: `at_edges(40, 60)` is under 40, 40 to under 60, 60 and over."""
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
    """As many bands with about as many rows each; edges are values that occur, and where many are equal, fewer."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise MedclsError(f"The number of bands is {count}: give a whole number, at least 2.", kind="bad_value")

    def edges(values: Floats) -> Floats:
        found = np.unique(np.quantile(values, np.arange(1, count) / count, method="inverted_cdf"))
        return found[found > values.min()]  # an edge at the least value would leave the band under it empty

    return edges


@dataclasses.dataclass(frozen=True)
class Behind:
    """How many independent rows stand behind a group's figures: patients, say, where images of one are several.

    Parameters
    ----------
    rows : int
        All.
    cases, others, predicted_positive, left : int64 array (K,)
        For each class those that are of it and those that are not, those called it and those that are not.
    """

    rows: int
    cases: NDArray[np.int64]
    others: NDArray[np.int64]
    predicted_positive: NDArray[np.int64]
    left: NDArray[np.int64]

    def of(self, metric: str, judged: Sequence[int]) -> int:
        """How many a figure hangs on, at the class where they are fewest; see `Subgroups.is_ranked`."""
        rows = BY_IDENTIFIER[metric].rows
        if rows == "all":
            return self.rows
        of_class = {
            "cases": self.cases,
            "others": self.others,
            "positives": self.predicted_positive,
            "negatives": self.left,
        }
        counts = of_class.get(rows)
        return int(self.cases.min() if counts is None else counts[list(judged)].min())


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """One group of rows.

    Parameters
    ----------
    name : str
        The value, the band, or `MISSING`.
    metrics : Metrics
        Of its rows alone, at the threshold of all; NaN with the reason where a class has no case in it.
    intervals : DataFrame or None
        What the callable gave for its rows.
    behind : Behind
        What a rank asks for.
    """

    name: str
    metrics: Metrics
    intervals: pd.DataFrame | None
    behind: Behind

    @property
    def n(self) -> int:
        """How many rows it has."""
        return int(self.metrics.values["n"])


@dataclasses.dataclass(frozen=True)
class Gap:
    """The best and the worst of the groups that are ranked by one metric.

    The interval is Zou and Donner's of a difference (2008, "Construction of confidence limits about effect measures:
    a general approach"), from the limits of both; its level, and the p-value, are corrected for all pairs among the
    groups ranked (Bonferroni), since the two were chosen for being the furthest apart. Without intervals of the groups
    all three are NaN.

    Parameters
    ----------
    column, metric : str
    best, worst : Subgroup
    ranked : int
        How many groups were ranked.
    low, high : float
        95% interval of `difference`, for all pairs at once.
    p : float
        For no difference between any two of the groups.
    p_holm : float
        Corrected for all gaps of the report by Holm's method too, see `corrected`; NaN before.
    gaps : int
        How many gaps that is.
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
        """Absolute difference of the two figures."""
        return abs(self.best.metrics.values[self.metric] - self.worst.metrics.values[self.metric])

    @property
    def beyond_chance(self) -> bool:
        """Whether chance does not explain it, at 5% over all gaps of the report."""
        return self.p_holm < 1 - LEVEL

    def verdict(self) -> str:
        """In a sentence, how far chance explains it."""
        if math.isnan(self.p_holm):
            return "Whether chance explains it cannot be told from these rows."
        pairs = counted(self.ranked * (self.ranked - 1) // 2, "pair")
        among = f"corrected for {pairs} of groups and the {counted(self.gaps, 'gap')} of this report"
        told = "< 0.001" if self.p_holm < 0.001 else f"= {self.p_holm:.3f}"
        if self.beyond_chance:
            return f"Chance does not explain it (p {told}, {among})."
        return f"Chance alone makes such gaps often enough: none is shown (p {told}, {among})."


def corrected(columns: Sequence["Subgroups"]) -> tuple[Gap, ...]:
    """Give the gaps of all columns by all metrics that a report compares, with p-values corrected for their number."""
    gaps = [gap for one in columns for metric in one.compared_by if (gap := one.gap(metric)) is not None]
    p = holm(np.array([gap.p for gap in gaps], np.float64))
    known = int((~np.isnan(p)).sum())
    return tuple(
        dataclasses.replace(gap, p_holm=value, gaps=known) for gap, value in zip(gaps, p.tolist(), strict=True)
    )


@dataclasses.dataclass(frozen=True)
class Subgroups:
    """The groups of one column, and what they say side by side.

    Parameters
    ----------
    column : str
    classes : tuple of str
        In the order of the confusion matrices.
    positive : str or None
        The class that a binary task looks for.
    overall : Metrics
        Of all rows, whose number the groups' sum to.
    groups : tuple of Subgroup
        Bands in their order, values sorted; `MISSING` last, where any row has none.
    least : int
        From how many rows behind its figure on a group is ranked, see `is_ranked`.
    clustered : bool
        Whether rows belong together, as images of one patient do.
    """

    column: str
    classes: tuple[str, ...]
    positive: str | None
    overall: Metrics
    groups: tuple[Subgroup, ...]
    least: int
    clustered: bool

    def is_ranked(self, group: Subgroup, metric: str) -> bool:
        """Whether a group's figure takes part in `gap`.

        It must be defined, and at least `least` rows must stand behind it: of a sensitivity the cases, of
        a specificity the others, of a precision the calls, of an NPV the rest; of accuracy, Brier score and
        log loss all rows; of any other figure the rarer class. With several classes, in each of them. Where patients
        have several rows, patients count, not rows.
        Rows without a value are no group that a model could treat worse, and are never ranked.
        """
        behind = group.behind.of(metric, self._judged)
        return group.name != MISSING and behind >= self.least and not math.isnan(group.metrics.values[metric])

    @property
    def compared_by(self) -> tuple[str, ...]:
        """The metrics by which a report holds the groups against each other."""
        return opening("several" if self.positive is None else "binary")

    def gap(self, metric: str) -> Gap | None:
        """Give the best and the worst ranked group; None where fewer than two are ranked.

        The more groups there are and the smaller they are, the wider the gap that chance alone makes.

        Raises
        ------
        MedclsError
            An unknown metric, or one of the images, which is neither good nor bad.
        """
        self._check_metric(metric)
        ranked = [group for group in self.groups if self.is_ranked(group, metric)]
        if len(ranked) < 2:
            return None
        ascending = sorted(ranked, key=lambda group: group.metrics.values[metric], reverse=metric in LOWER_IS_BETTER)
        return self._gap(metric, ascending[-1], ascending[0], len(ranked))

    def _gap(self, metric: str, best: Subgroup, worst: Subgroup, ranked: int) -> Gap:
        upper, lower = sorted((best, worst), key=lambda group: group.metrics.values[metric], reverse=True)
        a, b = (group.metrics.values[metric] for group in (upper, lower))
        (a_low, a_high), (b_low, b_high) = (self.limits(group, metric) for group in (upper, lower))
        below, above = math.hypot(a - a_low, b_high - b), math.hypot(a_high - a, b - b_low)
        pairs = ranked * (ranked - 1) / 2
        level = float(norm.isf((1 - LEVEL) / 2 / pairs)) / Z
        p = min(1.0, pairs * 2 * float(norm.sf(Z * (a - b) / below))) if below > 0 else math.nan
        return Gap(self.column, metric, best, worst, ranked, a - b - level * below, a - b + level * above, p)

    def limits(self, group: Subgroup, metric: str) -> tuple[float, float]:
        """A group's 95% interval; NaN where it has none."""
        return _limits(group.intervals, (self.positive or MACRO, "")).get(metric, (math.nan, math.nan, ""))[:2]

    def say_gap(self, metric: str, gap: Gap | None) -> str:
        """Put a gap into words, with its interval and the counts of both groups; or say why there is none."""
        if gap is None:
            return (
                f"{metric} by {self.column}: fewer than two groups have the {self.least} "
                f"{'independent cases' if self.clustered else 'images'} behind the figure that a rank asks for, so no "
                "best and no worst is named."
            )
        best, worst = (
            f"{group.metrics.values[metric]:.3f} in {group.name} ({self.counts(group)})"
            for group in (gap.best, gap.worst)
        )
        between = "" if math.isnan(gap.low) else f" (95% interval {gap.low:.3f} to {gap.high:.3f})"
        return (
            f"{metric} by {self.column}: best {best}, worst {worst}, a gap of {gap.difference:.3f}{between} among "
            f"{gap.ranked} groups ranked. {gap.verdict()}"
        ).replace(" -", " \N{MINUS SIGN}")

    def counts(self, group: Subgroup) -> str:
        """Say how many rows a group has, and of which classes."""
        support = group.metrics.confusion.sum(axis=1)
        listed = ", ".join(f"{count} {named(name)}" for name, count in zip(self.classes, support, strict=True))
        of = f", {counted(group.behind.rows, 'independent case')}" if self.clustered else ""
        return f"n = {group.n}{of}: {listed}"

    def table(self) -> pd.DataFrame:
        """One row a group and metric.

        Returns
        -------
        DataFrame
            `group, n, metric, value, low, high, method, ranked, reason`: the reason of a NaN, else empty.
            Without intervals `low` and `high` are NaN and `method` is empty.
        """
        rows = []
        for group in self.groups:
            limits = _limits(group.intervals, (self.positive or MACRO, ""))
            for metric, value in group.metrics.values.items():
                if metric == "n":
                    continue
                low, high, method = limits.get(metric, (math.nan, math.nan, ""))
                ranked = metric not in OF_THE_IMAGES and self.is_ranked(group, metric)
                reason = group.metrics.reasons.get(metric, "")
                rows.append((group.name, group.n, metric, value, low, high, method, ranked, reason))
        names = ["group", "n", "metric", "value", "low", "high", "method", "ranked", "reason"]
        return pd.DataFrame(rows, columns=names)

    @property
    def _judged(self) -> tuple[int, ...]:
        return tuple(range(len(self.classes))) if self.positive is None else (self.classes.index(self.positive),)

    def _check_metric(self, metric: str) -> None:
        names = [name for name in self.overall.values if name not in OF_THE_IMAGES]
        if metric not in names:
            raise MedclsError(
                f"{metric!r} is no metric by which one group is better than another.{nearest(metric, names)} There "
                f"are: {', '.join(names)}.",
                kind="unknown_metric",
            )


def subgroups(
    predictions: Predictions,
    column: str,
    *,
    bands: Bands | None = None,
    threshold: float | None = None,
    least: int = FEW_CASES,
    interval_table: IntervalTable | None = None,
) -> Subgroups:
    """Every metric of each group that a column makes.

    Parameters
    ----------
    predictions : Predictions
        One split.
    column : str
        Any column of the table.
    bands : callable, optional
        How numbers are cut: `at_edges`, `every` or `quantiles`. Without it each value is a group. Stated
        bands without a row are shown with n = 0.
    threshold : float, optional
        As of `classification_metrics`: one for all groups.
    least : int
        A group with fewer rows behind a figure is shown, but not ranked by it.
    interval_table : callable, optional
        Gives the intervals of a group with at least one row, such as a partial of `intervals.intervals`.

    Returns
    -------
    Subgroups

    Raises
    ------
    MedclsError
        An unknown column; a cell that should be a number and is none; no value at all; more than 50 groups;
        whatever `classification_metrics` refuses in the whole table.
    """
    if column not in predictions.rows.columns:
        raise MedclsError(
            f"The predictions have no column {column!r} to make groups of; they have "
            f"{', '.join(map(str, predictions.rows.columns))}.{nearest(column, map(str, predictions.rows.columns))}",
            kind="unknown_column",
        )
    if isinstance(least, bool) or not isinstance(least, int) or least < 1:
        raise MedclsError(f"A group is ranked from {least} rows on: give a whole number, at least 1.", kind="bad_value")
    overall = _metrics(predictions, threshold)
    cells = predictions.rows[column]
    text = cells.astype(object).where(cells.notna(), "").astype(str).str.strip()
    names, codes = _values(text, column) if bands is None else _bands(text, bands, column)
    groups = []
    for code, name in enumerate(names):
        rows = _rows(predictions, codes == code)
        drawn = interval_table(rows) if interval_table is not None and len(rows) else None
        groups.append(Subgroup(name, _metrics(rows, threshold), drawn, _behind(rows, threshold)))
    clustered = any_repeated(group_numbers(predictions.clusters, len(predictions)))
    return Subgroups(column, predictions.classes, predictions.positive, overall, tuple(groups), least, clustered)


def _metrics(table: Predictions, threshold: float | None) -> Metrics:
    return classification_metrics(table.labels(), table.probabilities(), table.classes, table.positive, threshold)


def _rows(predictions: Predictions, chosen: NDArray[np.bool_]) -> Predictions:
    """Some rows as a table of their own."""
    rows = predictions.rows[chosen]
    columns = [PROB + name for name in predictions.classes]
    if are_hard_labels(rows[columns].to_numpy(np.float64)):
        # The whole table holds scores, which by chance are all 0 or 1 in this group: they are scores here too.
        rows = rows.assign(**{name: np.maximum(rows[name], np.finfo(np.float64).tiny) for name in columns})
    return Predictions(rows, predictions.classes, predictions.positive)


def _values(text: pd.Series, column: str) -> tuple[list[str], NDArray[Any]]:
    """Groups of equal text: their names, and for each row the number of its group."""
    found = sorted(set(text) - {""}, key=_as_number_or_text)
    _check_number_of_groups(len(found), f"the values of {column}")
    return _with_missing(found, pd.Index(found).get_indexer(pd.Index(text)), column)


def _bands(text: pd.Series, bands: Bands, column: str) -> tuple[list[str], NDArray[Any]]:
    """Groups of numbers between edges: their names, and for each row the number of its group."""
    numbers = pd.to_numeric(text.where(text != "", "nan"), errors="coerce").to_numpy(np.float64)
    there = np.isfinite(numbers)
    bad = ~there & ~text.str.lower().isin(("", "nan")).to_numpy(bool)
    if bad.any():
        raise MedclsError(
            f"Column {column} is to be cut into bands, and {bad.sum()} of its cells hold no number, as "
            f"{text[bad].iloc[0]!r}. Leave cells empty where the value is unknown, or ask for no bands.",
            kind="not_a_number",
        )
    if not there.any():
        return _with_missing([], np.full(len(numbers), -1), column)
    edges = bands(numbers[there])
    _check_number_of_groups(len(edges) + 1, f"the bands of {column}")
    codes = np.where(there, np.searchsorted(edges, numbers, side="right"), -1)
    return _with_missing(_band_names(edges), codes, column)


def _band_names(edges: Floats) -> list[str]:
    if not len(edges):
        return ["all values"]
    shown = [f"{edge:.10g}" for edge in edges]
    between = [f"{low} to under {high}" for low, high in itertools.pairwise(shown)]
    return [f"under {shown[0]}", *between, f"{shown[-1]} and over"]


def _with_missing(names: Sequence[str], codes: NDArray[Any], column: str) -> tuple[list[str], NDArray[Any]]:
    if not names:
        raise MedclsError(f"Column {column} is empty in every row, so it makes no groups.", kind="empty_column")
    missing = codes == -1
    return [*names, *([MISSING] if missing.any() else [])], np.where(missing, len(names), codes)


def _as_number_or_text(value: str) -> tuple[bool, float, str]:
    """Sort numbers by their size, before text."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    return (True, 0.0, value) if math.isnan(number) else (False, number, value)


def _check_number_of_groups(count: int, what: str) -> None:
    if count > MOST_GROUPS:
        raise MedclsError(
            f"There are {count} groups by {what}, more than the {MOST_GROUPS} that can be read: give wider bands of "
            "numbers (at_edges, every, quantiles), or a column with fewer values.",
            kind="too_many_groups",
        )


def _behind(table: Predictions, threshold: float | None) -> Behind:
    groups = group_numbers(table.clusters, len(table))
    labels = table.labels()
    predicted_positive = predicted_classes(table.probabilities(), table.classes, table.positive, threshold)

    def count(found: NDArray[np.int64], *, equal: bool) -> NDArray[np.int64]:
        return np.array([len(np.unique(groups[(found == k) == equal])) for k in range(len(table.classes))], np.int64)

    return Behind(
        rows=len(np.unique(groups)),
        cases=count(labels, equal=True),
        others=count(labels, equal=False),
        predicted_positive=count(predicted_positive, equal=True),
        left=count(predicted_positive, equal=False),
    )


def _limits(intervals: pd.DataFrame | None, of: tuple[str, ...]) -> dict[str, tuple[float, float, str]]:
    """By metric, of the rows that speak for the whole group."""
    if intervals is None:
        return {}
    chosen = intervals[intervals["class"].isin(of)]
    values = chosen[["low", "high"]].to_numpy(np.float64).tolist()
    return {
        str(metric): (low, high, str(method))
        for metric, (low, high), method in zip(chosen["metric"], values, chosen["method"], strict=True)
    }
