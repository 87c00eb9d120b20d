"""Every metric of a split with its 95% interval, in a table that names the method of each.

Where every row stands alone, by formula (`medcls.statistics.analytic`) as far as there is one; as soon
as one group has two rows, everything by resampling whole groups (`medcls.statistics.resampling`).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
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
    BY_IDENTIFIER,
    MACRO,
    METRICS,
    Metric,
    estimates,
    kappa_of,
    mcc_of,
    with_interval,
)
from medcls.statistics.metrics import checked_split
from medcls.statistics.resampling import bootstrap
from medcls.statistics.split import Split
from medcls.wording import counted

_NO_SPREAD = 1e-12  # sums of weights differ in their last digits
FEW_GROUPS = 10  # of each class: the fewest that the coverage of the bootstrap was simulated with
FEW_FOR_BOOTSTRAP = 30
"""Under so many groups a bootstrap's standard error is itself uncertain: it is said."""

FEW_FOR_HELD_RATE = 50
"""Groups that set the threshold of a held rate, from which on its bootstrap is used.

In 400 simulations each (normal scores, AUROC 0.85 and 0.95, held at 0.9 and 0.95, 100 of the other class) the
bootstrap held the truth in 0.93 to 0.96 with 50, 0.83 to 0.93 with 20, 0.65 to 0.85 with 10, 0.45 to 0.71 with 5;
order statistics with Wilson in 0.97 to 1.00 with any of these.
"""


def intervals(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    positive: str | None,
    groups: Sequence[str] | None = None,
    threshold: float | None = None,
    resamples: int = 2000,
    seed: int = 0,
    *,
    ordered: bool = False,
) -> pd.DataFrame:
    """Every metric with its 95% interval.

    Those of `classification_metrics` that are of the classifier, and rates at a held rate (`Metric.held`), whose
    bootstrap finds the threshold anew in each resample. With more than two classes each class is judged against all
    others.

    Parameters
    ----------
    labels, probabilities, classes, positive, threshold, ordered
        As of `medcls.statistics.metrics.classification_metrics`.
    groups : sequence of str (n,), optional
        The group (patient) of each row, empty where unknown: such a row stands alone. Any group with
        two rows turns every interval into one over groups.
    resamples, seed : int
        Of the bootstrap. The same seed gives the same table.

    Returns
    -------
    DataFrame
        `metric, class, estimate, low, high, method, n, note` (see `Interval`). The class is the positive
        one in a binary task; with more, each in turn and then "(macro)"; empty for a figure of all rows.

    Raises
    ------
    MedclsError
        As `classification_metrics`; another number of groups than of rows; fewer than two resamples.
    """
    split = checked_split(labels, probabilities, classes, positive, threshold, groups, ordered=ordered)
    return split_intervals(split, resamples, seed)


def split_intervals(split: Split, resamples: int, seed: int, metrics: Sequence[Metric] = METRICS) -> pd.DataFrame:
    """Give the table of `intervals` for a split whose rows have been called already."""
    found: dict[tuple[str, str], Interval] = {}
    keys = list(with_interval(split, metrics))
    if len(split.labels):
        values = estimates(split, np.ones((1, len(split.labels))), metrics)[0].tolist()
        drawn = bootstrap(
            lambda weights: estimates(split, weights, metrics), split.labels, split.groups, resamples, seed
        )
        for (metric, name), estimate, of_resamples in zip(keys, values, drawn.values.T, strict=True):
            judged = _Judged(split, metric, name, estimate, of_resamples, drawn.redrawn)
            found[metric.identifier, name] = _interval(judged, found)
    else:
        found = {(metric.identifier, name): undefined(causes.NO_IMAGES) for metric, name in keys}
    rows = [(*key, *dataclasses.astuple(interval)) for key, interval in found.items()]
    return pd.DataFrame(rows, columns=["metric", "class", *(field.name for field in dataclasses.fields(Interval))])


def bootstrap_limits(
    estimate: float, values: Floats, bounds: tuple[float, float] = (0.0, 1.0), groups: int | None = None
) -> tuple[float, float] | None:
    """Limits from the standard error over resamples, taken on the logit scale between the bounds.

    Chapter 12 of Efron and Tibshirani 1993, "An Introduction to the Bootstrap". Where patients have
    several rows and a figure is near its bound, this covers better than percentiles: with 100
    patients a class and a sensitivity of 0.95, in 0.94 of 400 simulations against 0.91. With an
    infinite bound the scale is the logarithm of the distance from the other, without any bound the figure's own.

    Parameters
    ----------
    estimate : float
    values : float64 array (resamples,)
        NaN where undefined.
    bounds : tuple of float
        Between which the figure can lie.
    groups : int, optional
        How many independent groups the figure hangs on, for `analytic.t_factor`; without it the normal quantile.

    Returns
    -------
    tuple of float, or None
        None where the resamples do not vary, or more than half of them leave the figure undefined.
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
class _Judged:
    """One metric of a split, of which the interval is looked for.

    Parameters
    ----------
    split : Split
    metric : Metric
    of : str
        The class; `MACRO`, or empty for all rows.
    estimate : float
    values : float64 array (resamples,)
    redrawn : int
        As of `Bootstrap`.
    """

    split: Split
    metric: Metric
    of: str
    estimate: float
    values: Floats
    redrawn: int

    @property
    def k(self) -> int:
        """Index of the class; in a binary task of the positive one."""
        return self.split.classes.index(self.of) if self.of else int(self.split.positive or 0)

    @property
    def of_one(self) -> bool:
        """Whether it is of one class against all others, as everything is in a binary task."""
        return self.of != MACRO and (bool(self.of) or self.split.binary)

    @property
    def case(self) -> NDArray[np.bool_]:
        """Which rows are of the class."""
        return self.split.labels == self.k

    @property
    def predicted_positive(self) -> NDArray[np.bool_]:
        """Which rows are predicted as the class."""
        return self.split.predicted == self.k

    @property
    def once(self) -> str:
        """What a formula does with several rows of a group: as if they said nothing beyond the first."""
        return ONCE if self.split.clustered else ""

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which values it lies."""
        return self.metric.bounds(self.split, "" if self.of == MACRO else self.of)

    @property
    def rows(self) -> NDArray[np.bool_]:
        """Tell which rows it counts: of a sensitivity the cases, of a precision the positive predictions."""
        every = np.ones(len(self.split.labels), bool)
        if self.of in ("", MACRO) or self.metric.rows in ("all", "classes"):
            return every
        return {
            "cases": self.case,
            "others": ~self.case,
            "positives": self.predicted_positive,
            "negatives": ~self.predicted_positive,
            "cases and positives": self.case | self.predicted_positive,
        }[self.metric.rows]

    @property
    def groups(self) -> int:
        """How many groups it hangs on, for `analytic.t_factor`: all, but at most twice those of its scarcer part.

        Of a mean over rows these are the groups it counts, of any other metric those of the rarest class. With as many
        patients a class, 6 to 25, of one to three rows each, this count brings intervals that held the truth in 0.92
        to 0.97 of 250 simulations each (sensitivity, AUROC, MCC) to 0.94 to 0.99; the scarcer part alone to 0.96 to
        1.00.
        """
        split = self.split
        if self.metric.rows != "classes" and self.of != MACRO:
            scarcer = split.count_groups(self.rows)
        else:
            scarcer = min(split.count_groups(split.labels == k) for k in np.unique(split.labels))
        return min(split.count_groups(np.ones(len(split.labels), bool)), 2 * scarcer)

    def both_rates(self) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
        """Sensitivity and specificity of the class, and Wilson's limits of each."""
        case, call, split = self.case, self.predicted_positive, self.split
        rates = float(call[case].mean()), float((~call)[~case].mean())
        return (
            rates,
            wilson_limits(rates[0], split.count_groups(case)),
            wilson_limits(rates[1], split.count_groups(~case)),
        )


def _interval(judged: _Judged, found: dict[tuple[str, str], Interval]) -> Interval:
    """Choose the method for one metric; `found` holds those before it, of the single classes."""
    split, estimate, values = judged.split, judged.estimate, judged.values
    n = int(judged.rows.sum())
    if not np.isfinite(estimate):
        return undefined(_why_undefined(judged, found), n)
    formula = FORMULAS.get(judged.metric.interval) if judged.of != MACRO else None
    by_formula = None if formula is None else formula(judged)
    if by_formula is not None and not split.clustered:
        return by_formula
    if (few := _from_few(judged)) is not None:
        return few
    lost = int(np.isnan(values).sum())
    notes = _notes(split, judged.redrawn, lost, len(values))
    certain = _takes_a_rate_for_certain(judged)
    limits = None if certain else _resampled_limits(judged)
    if limits is not None:
        scale = "log" if np.isinf(judged.bounds).any() else "logit"
        return Interval(estimate, *limits, f"{BOOTSTRAP_OVER} {split.unit}, {scale} scale", n, "; ".join(notes))
    if certain:
        notes.append("a rate of 0 or 1, whose resamples are all alike")
    elif 2 * lost > len(values):
        notes.append("too few resamples give it")
    else:
        notes.append("every resample gives the same figure")
    instead = (
        by_formula or _mean_over_classes(judged, found) or _at_a_given_threshold(judged) or _perfect_agreement(judged)
    )
    if instead is None:
        notes.append("its uncertainty cannot be told from these rows")
        return Interval(estimate, np.nan, np.nan, "none", n, "; ".join(notes))
    return dataclasses.replace(instead, note="; ".join(notes))


def _why_undefined(judged: _Judged, found: dict[tuple[str, str], Interval]) -> str:
    """Of a mean over classes the reasons of each."""
    whole, metric = judged.split.once(), judged.metric
    if judged.of != MACRO:
        return metric.why(next(one for one in whole.judged if one.name == judged.of) if judged.of else whole)
    of_each = [found[metric.identifier, name] for name in judged.split.classes]
    return "; ".join(dict.fromkeys(one.note for one in of_each if np.isnan(one.estimate)))


def _resampled_limits(judged: _Judged) -> tuple[float, float] | None:
    """Give `bootstrap_limits` between the metric's bounds."""
    estimate, values = judged.estimate, judged.values
    if judged.metric.interval != "positive likelihood ratio":
        return bootstrap_limits(estimate, values, judged.bounds, judged.groups)
    if estimate == 0:
        return None
    # Its reciprocal stays finite where a resample has no false positive.
    reciprocals = 1 / np.where(values > 0, values, np.nan)
    limits = bootstrap_limits(1 / estimate, reciprocals, judged.bounds, judged.groups)
    return None if limits is None else (1 / limits[1], 1 / limits[0])


def _takes_a_rate_for_certain(judged: _Judged) -> bool:
    """Whether a metric of both rates has one of 0 or 1: its resamples then vary with the other rate alone."""
    return judged.metric.interval in _OF_BOTH_RATES and judged.of_one and any(map(is_certain, judged.both_rates()[0]))


# ------------------------------------------------------------------ by formula


def _wilson(judged: _Judged) -> Interval:
    rows = judged.rows
    limits = wilson_limits(judged.estimate, judged.split.count_groups(rows))
    return Interval(judged.estimate, *limits, WILSON + judged.once, int(rows.sum()))


def _f1(judged: _Judged) -> Interval:
    rows = judged.rows
    limits = f1_limits(judged.estimate, judged.split.count_groups(rows))
    return Interval(judged.estimate, *limits, f"{WILSON} of TP among TP + FP + FN{judged.once}", int(rows.sum()))


def _auroc(judged: _Judged) -> Interval:
    split, case = judged.split, judged.case
    if not split.clustered:
        return auroc_interval(case.astype(np.int64), split.scores[:, judged.k])
    limits = newcombe_limits(judged.estimate, split.count_groups(case), split.count_groups(~case))
    return Interval(judged.estimate, *limits, NEWCOMBE + judged.once, len(case))


def _mean_of_rates(judged: _Judged) -> Interval | None:
    """With more than two classes there is no formula."""
    if not judged.of_one:
        return None
    limits = mean_limits(*judged.both_rates())
    method = f"MOVER of {WILSON}'s limits of both rates{judged.once}"
    return Interval(judged.estimate, *limits, method, len(judged.split.labels))


def _positive_likelihood_ratio(judged: _Judged) -> Interval:
    return _likelihood_ratio(judged, judged.predicted_positive)


def _negative_likelihood_ratio(judged: _Judged) -> Interval:
    return _likelihood_ratio(judged, ~judged.predicted_positive)


def _likelihood_ratio(judged: _Judged, call: NDArray[np.bool_]) -> Interval:
    split, case = judged.split, judged.case
    of_cases, of_others = float(call[case].mean()), float(call[~case].mean())
    limits = likelihood_ratio_limits(of_cases, of_others, split.count_groups(case), split.count_groups(~case))
    method = MOVER_RATIO if is_certain(of_cases) or is_certain(of_others) else SIMEL
    return Interval(judged.estimate, *limits, method + judged.once, len(case))


FORMULAS: dict[str, Callable[[_Judged], Interval | None]] = {
    "Wilson": _wilson,
    "F1": _f1,
    "AUROC": _auroc,
    "mean of rates": _mean_of_rates,
    "positive likelihood ratio": _positive_likelihood_ratio,
    "negative likelihood ratio": _negative_likelihood_ratio,
}
"""By `Metric.interval`; groups with several rows count once each."""

_OF_BOTH_RATES = ("mean of rates", "positive likelihood ratio", "negative likelihood ratio")
_HELD = ("held specificity", "held sensitivity")


# ------------------------------------------------------------------ where a bootstrap breaks down


def _from_few(judged: _Judged) -> Interval | None:
    """Limits of a held rate whose threshold hangs on few groups; None for any other metric, or of enough groups.

    Limits of the threshold are order statistics of the class that sets it, exact whatever the scores' distribution;
    the rate at these is joined with Wilson's limits of the rate at a given threshold as in `analytic.mean_limits`.
    """
    split, estimate, held = judged.split, judged.estimate, judged.metric.held
    if judged.metric.interval not in _HELD or held is None:
        return None
    by_others = judged.metric.interval == "held specificity"
    case, scores = judged.case, split.scores[:, judged.k]
    sets, rated = (~case, case) if by_others else (case, ~case)
    groups = split.count_groups(sets)
    if groups >= FEW_FOR_HELD_RATE:
        return None
    share = held if by_others else 1 - held  # of those that set it, the share under the threshold
    places = order_statistics(groups, share)
    ascending = np.concatenate([[-np.inf], np.sort(scores[sets]), [np.inf]])
    per_group = int(sets.sum()) / groups
    first, second = int(places[0] * per_group), min(int(np.ceil(places[1] * per_group)), len(ascending) - 1)
    if places[1] > groups:
        second = len(ascending) - 1
    under = [float((scores[rated] < ascending[place]).mean()) for place in (first, second)]
    rates = [1 - share_under for share_under in reversed(under)] if by_others else under
    given = wilson_limits(estimate, split.count_groups(rated))
    low = estimate - float(np.hypot(max(estimate - rates[0], 0), estimate - given[0]))
    high = estimate + float(np.hypot(max(rates[1] - estimate, 0), given[1] - estimate))
    unit = counted(groups, "group" if split.clustered else "image")
    note = f"{unit} set the threshold: fewer than {FEW_FOR_HELD_RATE} are too few for the bootstrap"
    return Interval(estimate, max(low, 0.0), min(high, 1.0), ORDER_STATISTICS, len(split.labels), note)


def _mean_over_classes(judged: _Judged, found: dict[tuple[str, str], Interval]) -> Interval | None:
    """Mean of the single classes' limits: wider than the mean's own, whatever their dependence."""
    if judged.of != MACRO and judged.metric.interval != "mean of rates":
        return None
    of = judged.metric.identifier if judged.of == MACRO else _SENSITIVITY.identifier
    parts = [found[of, one] for one in judged.split.classes]
    low, high = float(np.mean([part.low for part in parts])), float(np.mean([part.high for part in parts]))
    if np.isnan(low):
        return None
    return Interval(judged.estimate, low, high, "mean of the classes' limits", len(judged.split.labels))


_SENSITIVITY = BY_IDENTIFIER["sensitivity"]


def _at_a_given_threshold(judged: _Judged) -> Interval | None:
    """Limits of a rate of 0 or 1 where the other is held: as if the threshold had been given, not found."""
    if judged.metric.interval not in _HELD:
        return None
    rated = judged.case if judged.metric.interval == "held specificity" else ~judged.case
    limits = wilson_limits(judged.estimate, judged.split.count_groups(rated))
    method = f"{WILSON}, as if the threshold had been given{judged.once}"
    return Interval(judged.estimate, *limits, method, len(rated))


def _perfect_agreement(judged: _Judged) -> Interval | None:
    """Limits of an MCC or kappa of 1 for one class: what they would be at Wilson's limits of both its rates."""
    of_matrix = {"MCC": mcc_of, "kappa": kappa_of}.get(judged.metric.interval)
    if of_matrix is None or not judged.of_one:
        return None
    rates, sensitivity, specificity = judged.both_rates()
    if rates != (1.0, 1.0):
        return None
    share = float(judged.case.mean())
    tp, tn = share * sensitivity[0], (1 - share) * specificity[0]
    low = of_matrix(np.array([[[tp, share - tp], [1 - share - tn, tn]]]))[0]
    return Interval(1.0, float(low), 1.0, f"{OF_BOTH_RATES}{judged.once}", len(judged.split.labels))


def _notes(split: Split, redrawn: int, lost: int, resamples: int) -> list[str]:
    notes = []
    if split.clustered:
        everyone = split.count_groups(np.ones(len(split.labels), bool))
        fewest = min(split.count_groups(split.labels == k) for k in np.unique(split.labels))
        notes.append(f"{everyone} groups")
        if fewest < FEW_GROUPS:
            notes.append(f"only {fewest} of one class, fewer than this method was tried with")
        elif everyone < FEW_FOR_BOOTSTRAP:
            notes.append(f"fewer than {FEW_FOR_BOOTSTRAP}: the limits are wider for it, and still rough")
    if redrawn:
        notes.append(f"{redrawn} resamples had lost a class and were redrawn")
    if lost:
        notes.append(f"undefined in {lost} of {resamples} resamples")
    return notes
