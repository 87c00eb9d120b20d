"""Every metric of a split with its 95% interval, and the name of the method of each.

By formula (`medcls.statistics.analytic`) where there is one and every row stands alone; once a group has two rows,
everything by resampling whole groups (`medcls.statistics.resampling`).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from medcls.statistics import causes
from medcls.statistics.analytic import (
    BOOTSTRAP_OVER,
    MOVER_RATIO,
    NEWCOMBE,
    OF_BOTH_RATES,
    ONCE,
    ORDER_STATISTICS,
    SIMEL,
    WILSON,
    Interval,
    auroc_interval,
    f1_limits,
    is_certain,
    likelihood_ratio_limits,
    mean_limits,
    newcombe_limits,
    order_statistics,
    t_factor,
    undefined,
    wilson_limits,
)
from medcls.statistics.arrays import Floats
from medcls.statistics.metric_table import (
    MACRO,
    METRICS,
    Metric,
    estimates,
    kappa_of,
    mcc_of,
    with_interval,
)
from medcls.statistics.resampling import bootstrap
from medcls.statistics.split import Split
from medcls.wording import counted

_NO_SPREAD = 1e-12  # sums of weights differ in their last digits
FEW_GROUPS = 10  # of each class: the fewest with which the bootstrap's coverage was simulated
FEW_FOR_BOOTSTRAP = 30
"""With fewer groups a bootstrap's standard error is itself uncertain, and a note says so."""

FEW_FOR_HELD_RATE = 50
"""The fewest groups that set the threshold of a held rate for which the bootstrap is used.

In 400 simulations each (normal scores, AUROC 0.85 and 0.95, held at 0.9 and 0.95, 100 of the other class) the
bootstrap covered the truth in 0.93 to 0.96 with 50, 0.83 to 0.93 with 20, 0.65 to 0.85 with 10, 0.45 to 0.71 with 5;
order statistics with Wilson in 0.97 to 1.00 with any of these.
"""

Intervals = dict[tuple[str, str], Interval]
"""By the metric's identifier and its class: `MACRO` for the mean over classes, empty for all rows."""


def intervals(split: Split, resamples: int = 2000, seed: int = 0, metrics: Sequence[Metric] = METRICS) -> Intervals:
    """Every metric with its 95% interval, in the order of `metric_table.with_interval`.

    All that describe the classifier, and rates at a held rate (`Metric.held`), whose threshold is found again in each
    resample. The class is the positive one of a binary task, or each in turn and then `MACRO`; empty for a metric of
    all rows.

    Parameters
    ----------
    split : Split
    resamples, seed : int
        Of the bootstrap. The same seed gives the same intervals.
    metrics : sequence of Metric
        By default those of medcls.

    Raises
    ------
    MedclsError
        Fewer than two resamples.
    """
    keys = list(with_interval(split, metrics))
    if not len(split.labels):
        return {(metric.identifier, name): undefined(causes.NO_IMAGES) for metric, name in keys}
    drawn = bootstrap(lambda weights: estimates(split, weights, metrics), split.labels, split.groups, resamples, seed)
    found: Intervals = {}
    values_of_rows = estimates(split, metrics=metrics)[0].tolist()
    for (metric, name), estimate, values in zip(keys, values_of_rows, drawn.values.T, strict=True):
        point = _PointEstimate(split, metric, name, estimate, values, drawn.redrawn)
        found[metric.identifier, name] = _interval(point, found)
    return found


def bootstrap_limits(
    estimate: float, values: Floats, bounds: tuple[float, float] = (0.0, 1.0), groups: int | None = None
) -> tuple[float, float] | None:
    """Limits from the standard error over resamples, on the logit scale between the bounds.

    Chapter 12 of Efron and Tibshirani 1993, "An Introduction to the Bootstrap". If patients have several rows and the
    estimate is near its bound, this covers better than percentiles: with 100 patients a class and a sensitivity of
    0.95, in 0.94 of 400 simulations against 0.91. With one infinite bound the scale is the logarithm of the distance
    from the other; without bounds it is the values' own.

    Parameters
    ----------
    estimate : float
    values : float64 array (resamples,)
        NaN where undefined.
    bounds : tuple of float
        Of the metric.
    groups : int, optional
        Independent groups behind the estimate, for `analytic.t_factor`; without it the normal quantile.

    Returns
    -------
    tuple of float, or None
        None if the resamples do not vary, or the values of more than half of them are undefined.
    """
    defined = values[~np.isnan(values)]
    low, high = bounds
    error = float(defined.std()) if 2 * len(defined) >= len(values) else 0.0
    if error < _NO_SPREAD or not low < estimate < high:
        return None
    error *= t_factor(groups)
    if np.isinf(low) and np.isinf(high):
        return estimate - error, estimate + error
    if np.isinf(low):  # of the distance from the upper bound
        mirrored = bootstrap_limits(-estimate, -values, (-high, np.inf), groups)
        return None if mirrored is None else (-mirrored[1], -mirrored[0])
    if np.isinf(high):
        factor = float(np.exp(error / (estimate - low)))
        return low + (estimate - low) / factor, low + (estimate - low) * factor
    share, span = (estimate - low) / (high - low), high - low
    half = error / span / (share * (1 - share))
    return low + span * float(expit(logit(share) - half)), low + span * float(expit(logit(share) + half))


@dataclasses.dataclass(frozen=True)
class _PointEstimate:
    """One metric of a split, and its values over resamples: what an interval is made of.

    `name` is the class, `MACRO`, or empty for all rows.
    """

    split: Split
    metric: Metric
    name: str
    estimate: float
    values: Floats
    redrawn: int

    @property
    def k(self) -> int:
        """Index of the class; of the positive one for all rows of a binary task."""
        return self.split.classes.index(self.name) if self.name else int(self.split.positive or 0)

    @property
    def is_one_vs_rest(self) -> bool:
        """Whether it is of one class against all others, as everything is in a binary task."""
        return self.name != MACRO and (bool(self.name) or self.split.binary)

    @property
    def is_case(self) -> NDArray[np.bool_]:
        """Which rows are of the class."""
        is_case: NDArray[np.bool_] = self.split.labels == self.k
        return is_case

    @property
    def is_positive(self) -> NDArray[np.bool_]:
        """Which rows are predicted as the class."""
        is_positive: NDArray[np.bool_] = self.split.predicted == self.k
        return is_positive

    @property
    def once(self) -> str:
        """How a formula counts several rows of a group, for the method's name."""
        return ONCE if self.split.is_grouped else ""

    @property
    def bounds(self) -> tuple[float, float]:
        """Of the metric."""
        return self.metric.bounds(self.split, "" if self.name == MACRO else self.name)

    @property
    def rows(self) -> NDArray[np.bool_]:
        """Which rows it counts: the cases for a sensitivity, the positive predictions for a PPV."""
        if self.name in ("", MACRO) or self.metric.rows in ("all", "classes"):
            return np.ones(len(self.split.labels), bool)
        return {
            "cases": self.is_case,
            "others": ~self.is_case,
            "positives": self.is_positive,
            "negatives": ~self.is_positive,
            "cases and positives": self.is_case | self.is_positive,
        }[self.metric.rows]

    @property
    def groups(self) -> int:
        """Groups behind it, for `analytic.t_factor`: all, but at most twice those of its scarcer part.

        The scarcer part is the rows it counts for a mean over rows, the rarest class for any other metric. With equal
        numbers of patients a class, 6 to 25, of one to three rows each, this count raises the coverage in 250
        simulations each (sensitivity, AUROC, MCC) from 0.92 to 0.97 to 0.94 to 0.99; the scarcer part alone to 0.96 to
        1.00.
        """
        split = self.split
        if self.metric.rows != "classes" and self.name != MACRO:
            scarcer = split.group_count(self.rows)
        else:
            scarcer = _groups_of_rarest_class(split)
        return min(split.group_count(), 2 * scarcer)

    def both_rates(self) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
        """Sensitivity and specificity of the class, and Wilson's limits of each."""
        rates = float(self.is_positive[self.is_case].mean()), float((~self.is_positive)[~self.is_case].mean())
        groups = self.split.group_count(self.is_case), self.split.group_count(~self.is_case)
        return rates, wilson_limits(rates[0], groups[0]), wilson_limits(rates[1], groups[1])


def _groups_of_rarest_class(split: Split) -> int:
    return min(split.group_count(split.labels == k) for k in np.unique(split.labels))


def _interval(point: _PointEstimate, found: Mapping[tuple[str, str], Interval]) -> Interval:
    """Choose the method for one metric; `found` holds those before it, of the single classes."""
    split, estimate, values = point.split, point.estimate, point.values
    n = int(point.rows.sum())
    if not np.isfinite(estimate):
        return undefined(_why_undefined(point, found), n)
    formula = FORMULAS.get(point.metric.interval) if point.name != MACRO else None
    by_formula = None if formula is None else formula(point)
    if by_formula is not None and not split.is_grouped:
        return by_formula
    if (few := _from_few(point)) is not None:
        return few
    lost = int(np.isnan(values).sum())
    notes = _notes(split, point.redrawn, lost, len(values))
    # The resamples of a metric of both rates with one of 0 or 1 vary with the other rate alone.
    certain = (
        point.metric.interval in _BOTH_RATES and point.is_one_vs_rest and any(map(is_certain, point.both_rates()[0]))
    )
    limits = None if certain else _resampled_limits(point)
    if limits is not None:
        scale = "log" if np.isinf(point.bounds).any() else "logit"
        return Interval(estimate, *limits, f"{BOOTSTRAP_OVER} {split.unit}, {scale} scale", n, "; ".join(notes))
    if certain:
        notes.append("a rate of 0 or 1, which is the same in all resamples")
    elif 2 * lost > len(values):
        notes.append("undefined in too many resamples")
    else:
        notes.append("the same in all resamples")
    instead = by_formula or _mean_over_classes(point, found) or _at_given_threshold(point) or _perfect_agreement(point)
    if instead is None:
        notes.append("its uncertainty cannot be estimated from these rows")
        return Interval(estimate, np.nan, np.nan, "none", n, "; ".join(notes))
    return dataclasses.replace(instead, note="; ".join(notes))


def _why_undefined(point: _PointEstimate, found: Mapping[tuple[str, str], Interval]) -> str:
    """Return the reason; of a mean over classes the reasons of each."""
    counts, metric = point.split.count(), point.metric
    if point.name == MACRO:
        of_classes = [found[metric.identifier, name] for name in point.split.classes]
        return "; ".join(dict.fromkeys(interval.note for interval in of_classes if np.isnan(interval.estimate)))
    if not point.name:
        return metric.why_undefined(counts)
    return metric.why_undefined(next(of_class for of_class in counts.one_vs_rest if of_class.name == point.name))


def _resampled_limits(point: _PointEstimate) -> tuple[float, float] | None:
    """Apply `bootstrap_limits` within the metric's bounds."""
    estimate, values = point.estimate, point.values
    if point.metric.interval != "positive likelihood ratio":
        return bootstrap_limits(estimate, values, point.bounds, point.groups)
    if estimate == 0:
        return None
    # Its reciprocal stays finite in a resample without a false positive.
    reciprocals = 1 / np.where(values > 0, values, np.nan)
    limits = bootstrap_limits(1 / estimate, reciprocals, point.bounds, point.groups)
    return None if limits is None else (1 / limits[1], 1 / limits[0])


# ------------------------------------------------------------------ by formula


def _wilson(point: _PointEstimate) -> Interval:
    rows = point.rows
    limits = wilson_limits(point.estimate, point.split.group_count(rows))
    return Interval(point.estimate, *limits, WILSON + point.once, int(rows.sum()))


def _f1(point: _PointEstimate) -> Interval:
    rows = point.rows
    limits = f1_limits(point.estimate, point.split.group_count(rows))
    return Interval(point.estimate, *limits, f"{WILSON} of TP among TP + FP + FN{point.once}", int(rows.sum()))


def _auroc(point: _PointEstimate) -> Interval:
    split, case = point.split, point.is_case
    if not split.is_grouped:
        return auroc_interval(case.astype(np.int64), split.scores[:, point.k])
    limits = newcombe_limits(point.estimate, split.group_count(case), split.group_count(~case))
    return Interval(point.estimate, *limits, NEWCOMBE + point.once, len(case))


def _mean_of_rates(point: _PointEstimate) -> Interval | None:
    """With more than two classes there is no formula."""
    if not point.is_one_vs_rest:
        return None
    limits = mean_limits(*point.both_rates())
    method = f"MOVER of {WILSON}'s limits of both rates{point.once}"
    return Interval(point.estimate, *limits, method, len(point.split.labels))


def _positive_likelihood_ratio(point: _PointEstimate) -> Interval:
    return _likelihood_ratio(point, point.is_positive)


def _negative_likelihood_ratio(point: _PointEstimate) -> Interval:
    return _likelihood_ratio(point, ~point.is_positive)


def _likelihood_ratio(point: _PointEstimate, predicted: NDArray[np.bool_]) -> Interval:
    split, case = point.split, point.is_case
    of_cases, of_others = float(predicted[case].mean()), float(predicted[~case].mean())
    limits = likelihood_ratio_limits(of_cases, of_others, split.group_count(case), split.group_count(~case))
    method = MOVER_RATIO if is_certain(of_cases) or is_certain(of_others) else SIMEL
    return Interval(point.estimate, *limits, method + point.once, len(case))


FORMULAS: dict[str, Callable[[_PointEstimate], Interval | None]] = {
    "Wilson": _wilson,
    "F1": _f1,
    "AUROC": _auroc,
    "mean of rates": _mean_of_rates,
    "positive likelihood ratio": _positive_likelihood_ratio,
    "negative likelihood ratio": _negative_likelihood_ratio,
}
"""By `Metric.interval`; groups with several rows count once each."""

_BOTH_RATES = ("mean of rates", "positive likelihood ratio", "negative likelihood ratio")
_HELD = ("held specificity", "held sensitivity")


# ------------------------------------------------------------------ where the bootstrap breaks down


def _from_few(point: _PointEstimate) -> Interval | None:
    """Limits of a held rate whose threshold is set by few groups; None for other metrics, or with enough groups.

    Limits of the threshold are order statistics of the class that sets it, exact for any distribution of scores;
    the rate at these is combined with Wilson's limits of the rate at a given threshold as in `analytic.mean_limits`.
    """
    split, estimate, held = point.split, point.estimate, point.metric.held
    if point.metric.interval not in _HELD or held is None:
        return None
    by_others = point.metric.interval == "held specificity"
    case, scores = point.is_case, split.scores[:, point.k]
    sets, rated = (~case, case) if by_others else (case, ~case)
    groups = split.group_count(sets)
    if groups >= FEW_FOR_HELD_RATE:
        return None
    share = held if by_others else 1 - held  # of the class that sets the threshold, below it
    places = order_statistics(groups, share)
    ascending = np.concatenate([[-np.inf], np.sort(scores[sets]), [np.inf]])
    per_group = int(sets.sum()) / groups
    first, second = int(places[0] * per_group), min(int(np.ceil(places[1] * per_group)), len(ascending) - 1)
    if places[1] > groups:
        second = len(ascending) - 1
    under = [float((scores[rated] < ascending[place]).mean()) for place in (first, second)]
    rates = [1 - share_under for share_under in reversed(under)] if by_others else under
    given = wilson_limits(estimate, split.group_count(rated))
    low = estimate - float(np.hypot(max(estimate - rates[0], 0), estimate - given[0]))
    high = estimate + float(np.hypot(max(rates[1] - estimate, 0), given[1] - estimate))
    unit = counted(groups, "group" if split.is_grouped else "image")
    note = f"{unit} set the threshold: fewer than {FEW_FOR_HELD_RATE} are too few for the bootstrap"
    return Interval(estimate, max(low, 0.0), min(high, 1.0), ORDER_STATISTICS, len(split.labels), note)


def _mean_over_classes(point: _PointEstimate, found: Mapping[tuple[str, str], Interval]) -> Interval | None:
    """Mean of the single classes' limits: wider than the mean's own, whatever their dependence."""
    if point.name != MACRO and point.metric.interval != "mean of rates":
        return None
    identifier = point.metric.identifier if point.name == MACRO else "sensitivity"
    parts = [found[identifier, name] for name in point.split.classes]
    low, high = float(np.mean([part.low for part in parts])), float(np.mean([part.high for part in parts]))
    if np.isnan(low):
        return None
    return Interval(point.estimate, low, high, "mean of the classes' limits", len(point.split.labels))


def _at_given_threshold(point: _PointEstimate) -> Interval | None:
    """Limits of a rate of 0 or 1 while the other is held: as if the threshold had been given."""
    if point.metric.interval not in _HELD:
        return None
    rated = point.is_case if point.metric.interval == "held specificity" else ~point.is_case
    limits = wilson_limits(point.estimate, point.split.group_count(rated))
    method = f"{WILSON}, as if the threshold had been given{point.once}"
    return Interval(point.estimate, *limits, method, len(rated))


def _perfect_agreement(point: _PointEstimate) -> Interval | None:
    """Limits of an MCC or kappa of 1 for one class: its values at Wilson's limits of both rates."""
    function = {"MCC": mcc_of, "kappa": kappa_of}.get(point.metric.interval)
    if function is None or not point.is_one_vs_rest:
        return None
    rates, sensitivity, specificity = point.both_rates()
    if rates != (1.0, 1.0):
        return None
    share = float(point.is_case.mean())
    tp, tn = share * sensitivity[0], (1 - share) * specificity[0]
    low = function(np.array([[[tp, share - tp], [1 - share - tn, tn]]]))[0]
    return Interval(1.0, float(low), 1.0, f"{OF_BOTH_RATES}{point.once}", len(point.split.labels))


def _notes(split: Split, redrawn: int, lost: int, resamples: int) -> list[str]:
    notes = []
    if split.is_grouped:
        groups, fewest = split.group_count(), _groups_of_rarest_class(split)
        notes.append(f"{groups} groups")
        if fewest < FEW_GROUPS:
            notes.append(f"only {fewest} of one class, fewer than this method was tested with")
        elif groups < FEW_FOR_BOOTSTRAP:
            notes.append(f"fewer than {FEW_FOR_BOOTSTRAP}: the limits are wider for that, and still rough")
    if redrawn:
        notes.append(f"{redrawn} resamples had lost a class and were redrawn")
    if lost:
        notes.append(f"undefined in {lost} of {resamples} resamples")
    return notes
