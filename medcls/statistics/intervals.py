"""Every metric of a split with its 95% interval, in a table that names the method of each.

Where every row stands alone, by formula (`medcls.statistics.analytic`) as far as there is one; as soon
as one group has two rows, everything by resampling whole groups (`medcls.statistics.resampling`).
"""

import dataclasses
import functools
from collections.abc import Sequence

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
from medcls.statistics.metrics import Floats, Integers, check_classes, classification_metrics, predicted_classes
from medcls.statistics.resampling import Ranking, any_repeated, bootstrap, group_numbers, ratio, weighted_confusion
from medcls.wording import counted

MACRO = "(macro)"  # in the column `class`: the unweighted mean over classes; a class may well be named "macro"

# Of one class against the others: with more than two classes averaged over them too.
OF_CLASS = ("sensitivity", "specificity", "precision", "npv", "f1", "auroc", "average_precision")
LIKELIHOOD_RATIOS = ("positive_likelihood_ratio", "negative_likelihood_ratio")
# One rate where the other is held at a stated value, at thresholds that these rows chose themselves.
FIXED = (0.9, 0.95)
SENSITIVITIES_AT = tuple(f"sensitivity_at_specificity_{share:g}" for share in FIXED)
SPECIFICITIES_AT = tuple(f"specificity_at_sensitivity_{share:g}" for share in FIXED)
AGREEMENT = ("mcc", "kappa")
LOSSES = ("brier", "log_loss")
_OF_ROWS = ("sensitivity", "specificity", "precision", "npv", "f1", "accuracy", *LOSSES)  # means over rows of one kind
# Of all rows; agreement and losses with more than two classes of each of them too.
OF_ALL = ("accuracy", "balanced_accuracy", *AGREEMENT, "quadratic_kappa", *LOSSES)

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


@dataclasses.dataclass(frozen=True)
class Split:
    """Labels, scores and calls of one split, as figures of its rows under any weights.

    Parameters
    ----------
    labels, predicted : int64 array (n,)
        True and called classes. Called by whoever makes this, so that each fold can have its threshold.
    scores : float64 array (n, K)
        Probabilities.
    groups : int64 array (n,)
        As of `group_numbers`.
    classes : tuple of str
    positive : int or None
        Index of the class that a binary task looks for.
    ordered : bool
        The classes are grades in their order: the quadratic kappa is a figure too.
    """

    labels: Integers
    predicted: Integers
    scores: Floats
    groups: Integers
    classes: tuple[str, ...]
    positive: int | None
    ordered: bool = False

    @functools.cached_property
    def clustered(self) -> bool:
        """Whether any group has two rows."""
        return any_repeated(self.groups)

    @property
    def binary(self) -> bool:
        """Whether one class is looked for."""
        return self.positive is not None

    @property
    def unit(self) -> str:
        """What is drawn in resampling, in words."""
        return "groups" if self.clustered else "rows"

    @property
    def judged(self) -> tuple[int, ...]:
        """The classes with figures of their own: all, or in a binary task the positive one."""
        return tuple(range(len(self.classes))) if self.positive is None else (self.positive,)

    @property
    def names(self) -> list[tuple[str, str]]:
        """Metric and class of each figure, in the order of `figures`; the class is empty for one of all rows."""
        of_one = (*OF_CLASS, *LIKELIHOOD_RATIOS, *SENSITIVITIES_AT, *SPECIFICITIES_AT)
        of_all = [metric for metric in OF_ALL if self.ordered or metric != "quadratic_kappa"]
        names = []
        for k in self.judged:
            names += [(metric, self.classes[k]) for metric in of_one]
            if self.positive is None:
                names += [(metric, self.classes[k]) for metric in (*AGREEMENT, *LOSSES)]
        if self.positive is None:
            names += [(metric, MACRO) for metric in OF_CLASS]
        return names + [(metric, "") for metric in of_all]

    def figures(self, weights: Floats) -> Floats:
        """Figures `(r, len(names))` for each row of weights `(r, n)`; NaN where undefined. Defined as in `metrics`."""
        matrix = weighted_confusion(weights, self.labels, self.predicted, len(self.classes))
        losses = [_means(weights, of_rows) for of_rows in self._losses]
        of_classes, averaged = [], []
        for place, (k, ranking) in enumerate(zip(self.judged, self._rankings, strict=True)):
            against_rest = _against_rest(matrix, k)
            counts = ranking.count(weights)
            rates = np.column_stack([_rates(against_rest), counts.areas(), counts.average_precisions()])
            averaged.append(rates)
            of_classes += [rates, _likelihood_ratios(against_rest)]
            of_classes += [counts.sensitivities_at(share)[:, None] for share in FIXED]
            of_classes += [counts.specificities_at(share)[:, None] for share in FIXED]
            if self.positive is None:
                of_classes += [_agreement(against_rest), losses[place]]
        macro = np.mean(averaged, axis=0)
        # Of one class its two rates, of more the mean sensitivity: the mean over the classes' sensitivities in both.
        balanced = macro[:, 0] if self.positive is None else macro[:, :2].mean(axis=1)
        n, right = matrix.sum(axis=(1, 2)), np.trace(matrix, axis1=1, axis2=2)
        return np.column_stack(
            [
                *of_classes,
                *([macro] if self.positive is None else []),
                ratio(right, n),
                balanced,
                _agreement(matrix),
                *([_quadratic_kappa(matrix)] if self.ordered else []),
                losses[-1],
            ]
        )

    @functools.cached_property
    def _rankings(self) -> list[Ranking]:
        return [Ranking.of((self.labels == k).astype(np.int64), self.scores[:, k]) for k in self.judged]

    @functools.cached_property
    def _losses(self) -> list[Floats]:
        """Brier score and log loss of each row, `(n, 2)`: with more than two classes of each, and last of all."""
        of_each = [] if self.positive is not None else [self._losses_against_rest(k) for k in self.judged]
        squares = (self.scores - np.eye(len(self.classes))[self.labels]) ** 2
        brier = squares.sum(axis=1) if self.positive is None else squares[:, self.positive]
        return [*of_each, np.column_stack([brier, _surprise(self.scores[np.arange(len(squares)), self.labels])])]

    def _losses_against_rest(self, k: int) -> Floats:
        case, score = self.labels == k, self.scores[:, k]
        return np.column_stack([(score - case) ** 2, _surprise(np.where(case, score, 1 - score))])

    def rows_behind(self, metric: str, name: str) -> NDArray[np.bool_]:
        """Tell which rows a figure counts: of a sensitivity the cases, of a precision the calls."""
        every = np.ones(len(self.labels), bool)
        if name in ("", MACRO):
            return every
        case, call = self.labels == self.classes.index(name), self.predicted == self.classes.index(name)
        return {
            "sensitivity": case,
            "specificity": ~case,
            "precision": call,
            "npv": ~call,
            "f1": case | call,
        }.get(metric, every)

    def groups_behind(self, metric: str, name: str) -> int:
        """How many groups a figure hangs on, for `analytic.t_factor`: all, but at most twice those of its scarcer part.

        Of a rate these are the groups it counts, of any other figure those of the rarest class. With as many patients
        a class, 6 to 25, of one to three rows each, this count brings intervals that held the truth in 0.92 to 0.97
        of 250 simulations each (sensitivity, AUROC, MCC) to 0.94 to 0.99; the scarcer part alone to 0.96 to 1.00.
        """
        if metric in _OF_ROWS and name != MACRO:
            scarcer = self.count_groups(self.rows_behind(metric, name))
        else:
            scarcer = min(self.count_groups(self.labels == k) for k in np.unique(self.labels))
        return min(self.count_groups(np.ones(len(self.labels), bool)), 2 * scarcer)

    def count_groups(self, rows: NDArray[np.bool_]) -> int:
        """How many groups the rows are of: the rows themselves, where all stand alone."""
        return int(np.count_nonzero(np.bincount(self.groups[rows])))


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

    Those of `classification_metrics`, and the sensitivity at a specificity of 0.9 and 0.95 and the reverse
    (`metrics.sensitivity_at_specificity`), whose bootstrap finds the threshold anew in each resample. With more than
    two classes each class is judged against all others.

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
    index = check_classes(classes, positive)
    classification_metrics(labels, probabilities, classes, positive, threshold)  # refuses what cannot be judged
    scores = np.asarray(probabilities, np.float64)
    split = Split(
        labels=np.asarray(labels, np.int64),
        predicted=predicted_classes(scores, classes, positive, threshold),
        scores=scores,
        groups=group_numbers(groups, len(scores)),
        classes=tuple(classes),
        positive=index,
        ordered=ordered,
    )
    return split_intervals(split, resamples, seed)


def split_intervals(split: Split, resamples: int, seed: int) -> pd.DataFrame:
    """Give the table of `intervals` for a split whose rows have been called already."""
    found: dict[tuple[str, str], Interval] = {}
    if len(split.labels):
        estimates = split.figures(np.ones((1, len(split.labels))))[0].tolist()
        drawn = bootstrap(split.figures, split.labels, split.groups, resamples, seed)
        for key, estimate, values in zip(split.names, estimates, drawn.values.T, strict=True):
            found[key] = _interval(split, *key, estimate, values, drawn.redrawn, found)
    else:
        found = dict.fromkeys(split.names, undefined(causes.NO_IMAGES))
    rows = [(*key, *dataclasses.astuple(interval)) for key, interval in found.items()]
    return pd.DataFrame(rows, columns=["metric", "class", *(field.name for field in dataclasses.fields(Interval))])


def bootstrap_limits(
    estimate: float, values: Floats, bounds: tuple[float, float] = (0.0, 1.0), groups: int | None = None
) -> tuple[float, float] | None:
    """Limits from the standard error over resamples, taken on the logit scale between the bounds.

    Chapter 12 of Efron and Tibshirani 1993, "An Introduction to the Bootstrap". Where patients have
    several rows and a figure is near its bound, this covers better than percentiles: with 100
    patients a class and a sensitivity of 0.95, in 0.94 of 400 simulations against 0.91. With an
    infinite upper bound the scale is the logarithm, without any bound the figure's own.

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
    if np.isinf(low):
        return estimate - error, estimate + error
    if np.isinf(high):
        factor = float(np.exp(error / (estimate - low)))
        return low + (estimate - low) / factor, low + (estimate - low) * factor
    share, span = (estimate - low) / (high - low), high - low
    half = error / span / (share * (1 - share))
    return low + span * float(expit(logit(share) - half)), low + span * float(expit(logit(share) + half))


def _interval(
    split: Split,
    metric: str,
    name: str,
    estimate: float,
    values: Floats,
    redrawn: int,
    found: dict[tuple[str, str], Interval],
) -> Interval:
    """Choose the method for one figure; `found` holds those before it, of the single classes."""
    n = int(split.rows_behind(metric, name).sum())
    if not np.isfinite(estimate):
        return undefined(_why_undefined(split, metric, name, found), n)
    by_formula = _by_formula(split, metric, name, estimate)
    if by_formula is not None and not split.clustered:
        return by_formula
    if (few := _from_few(split, metric, name, estimate)) is not None:
        return few
    lost = int(np.isnan(values).sum())
    notes = _notes(split, redrawn, lost, len(values))
    certain = by_formula is not None and _takes_a_rate_for_certain(split, metric, name)
    limits = None if certain else _resampled_limits(split, metric, name, estimate, values)
    if limits is not None:
        scale = "log" if np.isinf(_bounds(split, metric, name)[1]) else "logit"
        return Interval(estimate, *limits, f"{BOOTSTRAP_OVER} {split.unit}, {scale} scale", n, "; ".join(notes))
    if certain:
        notes.append("a rate of 0 or 1, whose resamples are all alike")
    elif 2 * lost > len(values):
        notes.append("too few resamples give it")
    else:
        notes.append("every resample gives the same figure")
    instead = (
        by_formula
        or _mean_over_classes(split, metric, name, estimate, found)
        or _at_a_given_threshold(split, metric, name, estimate)
        or _perfect_agreement(split, metric, name)
    )
    if instead is None:
        notes.append("its uncertainty cannot be told from these rows")
        return Interval(estimate, np.nan, np.nan, "none", n, "; ".join(notes))
    return dataclasses.replace(instead, note="; ".join(notes))


def _resampled_limits(
    split: Split, metric: str, name: str, estimate: float, values: Floats
) -> tuple[float, float] | None:
    """Give `bootstrap_limits` between the metric's bounds."""
    bounds, groups = _bounds(split, metric, name), split.groups_behind(metric, name)
    if metric != "positive_likelihood_ratio":
        return bootstrap_limits(estimate, values, bounds, groups)
    if estimate == 0:
        return None
    # Its reciprocal stays finite where a resample has no false alarm.
    limits = bootstrap_limits(1 / estimate, 1 / np.where(values > 0, values, np.nan), bounds, groups)
    return None if limits is None else (1 / limits[1], 1 / limits[0])


def _takes_a_rate_for_certain(split: Split, metric: str, name: str) -> bool:
    """Whether a figure of both rates has one of 0 or 1: its resamples then vary with the other rate alone."""
    if metric not in (*LIKELIHOOD_RATIOS, "balanced_accuracy") or (metric == "balanced_accuracy" and not split.binary):
        return False
    k = split.classes.index(name) if name else split.positive
    return k is not None and any(is_certain(rate) for rate in _both_rates(split, k)[0])


def _from_few(split: Split, metric: str, name: str, estimate: float) -> Interval | None:
    """Limits of a held rate whose threshold hangs on few groups; None for any other figure, or of enough groups.

    Limits of the threshold are order statistics of the class that sets it, exact whatever the scores' distribution;
    the rate at these is joined with Wilson's limits of the rate at a given threshold as in `analytic.mean_limits`.
    """
    if metric not in (*SENSITIVITIES_AT, *SPECIFICITIES_AT):
        return None
    k, held = split.classes.index(name), float(metric.rsplit("_", 1)[1])
    case, scores = split.labels == k, split.scores[:, k]
    sets, judged = (~case, case) if metric in SENSITIVITIES_AT else (case, ~case)
    groups = split.count_groups(sets)
    if groups >= FEW_FOR_HELD_RATE:
        return None
    share = held if metric in SENSITIVITIES_AT else 1 - held  # of those that set it, the share under the threshold
    places = order_statistics(groups, share)
    ascending = np.concatenate([[-np.inf], np.sort(scores[sets]), [np.inf]])
    per_group = int(sets.sum()) / groups
    first, second = int(places[0] * per_group), min(int(np.ceil(places[1] * per_group)), len(ascending) - 1)
    if places[1] > groups:
        second = len(ascending) - 1
    under = [float((scores[judged] < ascending[place]).mean()) for place in (first, second)]
    rates = under if metric in SPECIFICITIES_AT else [1 - share_under for share_under in reversed(under)]
    given = wilson_limits(estimate, split.count_groups(judged))
    low = estimate - float(np.hypot(max(estimate - rates[0], 0), estimate - given[0]))
    high = estimate + float(np.hypot(max(rates[1] - estimate, 0), given[1] - estimate))
    unit = counted(groups, "group" if split.clustered else "image")
    note = f"{unit} set the threshold: fewer than {FEW_FOR_HELD_RATE} are too few for the bootstrap"
    method = ORDER_STATISTICS
    return Interval(estimate, max(low, 0.0), min(high, 1.0), method, len(split.labels), note)


def _by_formula(split: Split, metric: str, name: str, estimate: float) -> Interval | None:
    """Interval of one figure by its formula, None where it has none; groups with several rows count once each.

    A group counted once is the cautious extreme: as if its rows said nothing beyond the first.
    """
    if name == MACRO:
        return None
    rows = split.rows_behind(metric, name)
    n, size = int(rows.sum()), split.count_groups(rows)
    once = ONCE if split.clustered else ""
    if metric in ("sensitivity", "specificity", "precision", "npv", "accuracy"):
        return Interval(estimate, *wilson_limits(estimate, size), WILSON + once, n)
    if metric == "f1":
        return Interval(estimate, *f1_limits(estimate, size), f"{WILSON} of TP among TP + FP + FN{once}", n)
    if metric in LIKELIHOOD_RATIOS:
        return _likelihood_ratio(split, metric, name, estimate)
    if metric == "auroc":
        k = split.classes.index(name)
        case = split.labels == k
        if not split.clustered:
            return auroc_interval(case.astype(np.int64), split.scores[:, k])
        limits = newcombe_limits(estimate, split.count_groups(case), split.count_groups(~case))
        return Interval(estimate, *limits, NEWCOMBE + once, n)
    if metric == "balanced_accuracy" and split.positive is not None:
        rates, sensitivity, specificity = _both_rates(split, split.positive)
        limits = mean_limits(rates, sensitivity, specificity)
        return Interval(estimate, *limits, f"MOVER of {WILSON}'s limits of both rates{once}", n)
    return None


def _mean_over_classes(
    split: Split, metric: str, name: str, estimate: float, found: dict[tuple[str, str], Interval]
) -> Interval | None:
    """Mean of the single classes' limits: wider than the mean's own, whatever their dependence."""
    if name != MACRO and metric != "balanced_accuracy":
        return None
    of = "sensitivity" if metric == "balanced_accuracy" else metric
    parts = [found[of, one] for one in split.classes]
    low, high = float(np.mean([part.low for part in parts])), float(np.mean([part.high for part in parts]))
    return None if np.isnan(low) else Interval(estimate, low, high, "mean of the classes' limits", len(split.labels))


def _likelihood_ratio(split: Split, metric: str, name: str, estimate: float) -> Interval:
    k = split.classes.index(name)
    case, call = split.labels == k, split.predicted == k
    if metric == "negative_likelihood_ratio":
        call = ~call
    of_cases, of_others = float(call[case].mean()), float(call[~case].mean())
    limits = likelihood_ratio_limits(of_cases, of_others, split.count_groups(case), split.count_groups(~case))
    once = ONCE if split.clustered else ""
    method = MOVER_RATIO if is_certain(of_cases) or is_certain(of_others) else SIMEL
    return Interval(estimate, *limits, method + once, len(split.labels))


def _at_a_given_threshold(split: Split, metric: str, name: str, estimate: float) -> Interval | None:
    """Limits of a rate of 0 or 1 where the other is held: as if the threshold had been given, not found."""
    if metric not in (*SENSITIVITIES_AT, *SPECIFICITIES_AT):
        return None
    case = split.labels == split.classes.index(name)
    size = split.count_groups(case if metric in SENSITIVITIES_AT else ~case)
    once = ONCE if split.clustered else ""
    method = f"{WILSON}, as if the threshold had been given{once}"
    return Interval(estimate, *wilson_limits(estimate, size), method, len(split.labels))


def _perfect_agreement(split: Split, metric: str, name: str) -> Interval | None:
    """Limits of an MCC or kappa of 1 for one class: what they would be at Wilson's limits of both its rates."""
    k = split.classes.index(name) if name in split.classes else split.positive
    if metric not in (*AGREEMENT, "quadratic_kappa") or k is None:
        return None
    rates, sensitivity, specificity = _both_rates(split, k)
    if rates != (1.0, 1.0):
        return None
    share = float((split.labels == k).mean())
    hits, quiet = share * sensitivity[0], (1 - share) * specificity[0]
    matrix = np.array([[[hits, share - hits], [1 - share - quiet, quiet]]])
    low = _agreement(matrix)[0, AGREEMENT.index("mcc" if metric == "mcc" else "kappa")]
    once = ONCE if split.clustered else ""
    return Interval(1.0, float(low), 1.0, f"{OF_BOTH_RATES}{once}", len(split.labels))


def _both_rates(split: Split, k: int) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Sensitivity and specificity of one class, and Wilson's limits of each."""
    case, call = split.labels == k, split.predicted == k
    rates = float(call[case].mean()), float((~call)[~case].mean())
    return (
        rates,
        wilson_limits(rates[0], split.count_groups(case)),
        wilson_limits(rates[1], split.count_groups(~case)),
    )


def _bounds(split: Split, metric: str, name: str) -> tuple[float, float]:
    """Between which values a metric can lie."""
    if metric in (*AGREEMENT, "quadratic_kappa"):
        return -1.0, 1.0
    if metric == "brier":
        return 0.0, 1.0 if split.positive is not None or name else 2.0
    return 0.0, np.inf if metric in ("log_loss", *LIKELIHOOD_RATIOS) else 1.0


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


def _why_undefined(split: Split, metric: str, name: str, found: dict[tuple[str, str], Interval]) -> str:
    """Give the reason in the words of `Metrics.reasons`, which knows only one threshold for all rows."""
    if name == MACRO or (metric == "balanced_accuracy" and split.positive is None):
        of = "sensitivity" if metric == "balanced_accuracy" else metric
        reasons = {found[of, one].note: None for one in split.classes if np.isnan(found[of, one].estimate)}
        return "; ".join(reasons)
    if not name and metric in (*AGREEMENT, "quadratic_kappa"):
        seen, called = np.unique(split.labels), np.unique(split.predicted)
        if len(seen) == 1:
            return causes.all_images_of(split.classes[seen[0]])
        return causes.all_called(split.classes[called[0]])
    if metric == "balanced_accuracy":
        name = split.classes[split.positive or 0]
    k = split.classes.index(name)
    called = split.predicted == k
    none, every = causes.none_called(name), causes.all_called(name)
    if not (split.labels == k).any():
        return causes.no_image_of(name)
    if (split.labels == k).all():
        return causes.no_image_but_of(name)
    if metric in ("precision", "npv"):
        return none if metric == "precision" else every
    return {
        "mcc": every if called.all() else none,
        "positive_likelihood_ratio": causes.no_other_called(name) if called.any() else none,
        "negative_likelihood_ratio": causes.all_others_called(name),
    }[metric]


def _against_rest(matrix: Floats, k: int) -> Floats:
    """From confusion matrices `(r, K, K)` those of one class, first, against all others: `(r, 2, 2)`."""
    n, hits = matrix.sum(axis=(1, 2)), matrix[:, k, k]
    missed, alarms = matrix[:, k].sum(axis=1) - hits, matrix[:, :, k].sum(axis=1) - hits
    return np.stack([hits, missed, alarms, n - hits - missed - alarms], axis=1).reshape(-1, 2, 2)


def _rates(against_rest: Floats) -> Floats:
    """Sensitivity, specificity, precision, NPV and F1 of a class, `(r, 5)`, as of `_against_rest`."""
    hits, missed, alarms, quiet = against_rest.reshape(-1, 4).T
    cases = hits + missed
    # Without a case F1 is 0 whatever is called, which says nothing of the classifier.
    f1 = np.where(cases > 0, ratio(2 * hits, 2 * hits + missed + alarms), np.nan)
    # Of rows of one class each call is right, or each is wrong, whatever the classifier.
    both = (cases > 0) & (quiet + alarms > 0)
    called, left = (np.where(both, rows, 0) for rows in (hits + alarms, quiet + missed))
    shares = (hits, cases), (quiet, quiet + alarms), (hits, called), (quiet, left)
    return np.column_stack([*(ratio(above, below) for above, below in shares), f1])


def _likelihood_ratios(against_rest: Floats) -> Floats:
    """Positive and negative likelihood ratio of a class, `(r, 2)`, as of `_against_rest`; the first may be infinite."""
    hits, missed, alarms, quiet = against_rest.reshape(-1, 4).T
    cases, others = hits + missed, alarms + quiet
    positive = np.where((alarms == 0) & (hits * others > 0), np.inf, ratio(hits * others, cases * alarms))
    return np.column_stack([positive, ratio(missed * others, cases * quiet)])


def _agreement(matrix: Floats) -> Floats:
    """MCC (Gorodkin's for any number of classes) and Cohen's kappa of confusion matrices `(r, K, K)`: `(r, 2)`."""
    n, right = matrix.sum(axis=(1, 2)), np.trace(matrix, axis1=1, axis2=2)
    truth, calls = matrix.sum(axis=2), matrix.sum(axis=1)
    several = n**2 - (truth**2).sum(axis=1)  # 0 where only one class has rows
    by_chance = (truth * calls).sum(axis=1)
    mcc = ratio(right * n - by_chance, np.sqrt(several * (n**2 - (calls**2).sum(axis=1))))
    return np.column_stack([mcc, ratio(right * n - by_chance, np.where(several > 0, n**2 - by_chance, 0))])


def _quadratic_kappa(matrix: Floats) -> Floats:
    """Kappa with disagreements weighted by the squared distance of the classes, `(r,)`."""
    classes = np.arange(matrix.shape[1])
    distance = (classes[:, None] - classes) ** 2
    truth, calls = matrix.sum(axis=2), matrix.sum(axis=1)
    by_chance = np.einsum("ri,ij,rj->r", truth, distance, calls)
    several = (truth > 0).sum(axis=1) > 1
    return 1 - ratio((matrix * distance).sum(axis=(1, 2)) * truth.sum(axis=1), np.where(several, by_chance, 0))


def _surprise(of_truth: Floats) -> Floats:
    """Minus the logarithm of the true class's probability, clipped as scikit-learn does: at most 36, not infinity."""
    smallest = np.finfo(np.float64).eps
    return -np.log(np.clip(of_truth, smallest, 1 - smallest))


def _means(weights: Floats, values: Floats) -> Floats:
    """Mean of each column of values `(n, v)` under each row of weights `(r, n)`: `(r, v)`."""
    return ratio(weights @ values, weights.sum(axis=1, keepdims=True))
