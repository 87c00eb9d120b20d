"""Every metric of a split with its 95% interval, in a table that names the method of each.

Where every row stands alone, by formula (`medcls.evaluation.analytic`) as far as there is one; as soon
as one group has two rows, everything by resampling whole groups (`medcls.evaluation.resampling`).
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from medcls.evaluation.analytic import (
    NEWCOMBE,
    WILSON,
    Interval,
    Z,
    auroc_interval,
    f1_limits,
    mean_limits,
    newcombe_limits,
    undefined,
    wilson_limits,
)
from medcls.evaluation.metrics import Floats, Integers, check_classes, classification_metrics, predicted_classes
from medcls.evaluation.resampling import (
    any_repeated,
    bootstrap,
    group_numbers,
    ratio,
    weighted_areas,
    weighted_confusion,
)

MACRO = "(macro)"  # in the column `class`: the unweighted mean over classes; a class may well be named "macro"

OF_CLASS = ("sensitivity", "specificity", "precision", "npv", "f1", "auroc", "average_precision")
OF_ALL = ("accuracy", "balanced_accuracy", "mcc", "brier", "log_loss")

_NO_SPREAD = 1e-12  # sums of weights differ in their last digits
FEW_GROUPS = 10  # of each class: the fewest that the coverage of the bootstrap was simulated with


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
    """

    labels: Integers
    predicted: Integers
    scores: Floats
    groups: Integers
    classes: tuple[str, ...]
    positive: int | None

    @functools.cached_property
    def clustered(self) -> bool:
        """Whether any group has two rows."""
        return any_repeated(self.groups)

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
        of = [self.classes[k] for k in self.judged] + ([MACRO] if self.positive is None else [])
        return [(metric, name) for name in of for metric in OF_CLASS] + [(metric, "") for metric in OF_ALL]

    def figures(self, weights: Floats) -> Floats:
        """Figures `(r, len(names))` for each row of weights `(r, n)`; NaN where undefined.

        The Matthews correlation is Gorodkin's for any number of classes (2004). The Brier score of two
        classes is the mean squared error of the positive one, of more the sum over classes (Brier 1950),
        as in scikit-learn.
        """
        matrix = weighted_confusion(weights, self.labels, self.predicted, len(self.classes))
        of_class = np.stack(
            [
                np.column_stack(
                    [
                        _rates(matrix, k),
                        *weighted_areas(weights, (self.labels == k).astype(np.int64), self.scores[:, k]),
                    ]
                )
                for k in self.judged
            ],
            axis=1,
        )
        if self.positive is None:
            macro = of_class.mean(axis=1, keepdims=True)
            balanced = macro[:, 0, 0]
            of_class = np.concatenate([of_class, macro], axis=1)
        else:
            balanced = of_class[:, 0, :2].mean(axis=1)
        n, right = matrix.sum(axis=(1, 2)), np.trace(matrix, axis1=1, axis2=2)
        truth, calls = matrix.sum(axis=2), matrix.sum(axis=1)
        spread = np.sqrt((n**2 - (truth**2).sum(axis=1)) * (n**2 - (calls**2).sum(axis=1)))
        mcc = ratio(right * n - (truth * calls).sum(axis=1), spread)
        losses = (weights @ self._losses).T
        of_all = [ratio(right, n), balanced, mcc, *(ratio(loss, n) for loss in losses)]
        of_class = of_class.reshape(len(weights), len(self.names) - len(OF_ALL))
        return np.column_stack([of_class, *of_all])

    @functools.cached_property
    def _losses(self) -> Floats:
        truth = np.eye(len(self.classes))[self.labels]
        squares = (self.scores - truth) ** 2
        brier = squares.sum(axis=1) if self.positive is None else squares[:, self.positive]
        smallest = np.finfo(np.float64).eps  # as scikit-learn clips: a certain mistake costs 36, not infinity
        surprise = -np.log(np.clip(self.scores[np.arange(len(truth)), self.labels], smallest, 1 - smallest))
        return np.column_stack([brier, surprise])

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

    def count_groups(self, rows: NDArray[np.bool_]) -> int:
        """How many groups the rows are of: the rows themselves, where all stand alone."""
        return len(np.unique(self.groups[rows]))


def intervals(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    positive: str | None,
    groups: Sequence[str] | None = None,
    threshold: float | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every metric with its 95% interval.

    Parameters
    ----------
    labels, probabilities, classes, positive, threshold
        As of `medcls.evaluation.metrics.classification_metrics`.
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
        found = dict.fromkeys(split.names, undefined("the split has no images"))
    rows = [(*key, *dataclasses.astuple(interval)) for key, interval in found.items()]
    return pd.DataFrame(rows, columns=["metric", "class", *(field.name for field in dataclasses.fields(Interval))])


def bootstrap_limits(
    estimate: float, values: Floats, bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float] | None:
    """Limits from the standard error over resamples, taken on the logit scale between the bounds.

    Chapter 12 of Efron and Tibshirani 1993, "An Introduction to the Bootstrap". Where patients have
    several rows and a figure is near its bound, this covers better than percentiles: with 100
    patients a class and a sensitivity of 0.95, in 0.94 of 400 simulations against 0.91. With an
    infinite upper bound the scale is the logarithm.

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
    if np.isinf(high):
        factor = float(np.exp(Z * error / (estimate - low)))
        return low + (estimate - low) / factor, low + (estimate - low) * factor
    share, span = (estimate - low) / (high - low), high - low
    half = Z * error / span / (share * (1 - share))
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
    if np.isnan(estimate):
        return undefined(_why_undefined(split, metric, name, found), n)
    by_formula = _by_formula(split, metric, name, estimate)
    if by_formula is not None and not split.clustered:
        return by_formula
    lost = int(np.isnan(values).sum())
    notes = _notes(split, redrawn, lost, len(values))
    limits = bootstrap_limits(estimate, values, _bounds(split, metric))
    if limits is not None:
        scale = "log" if metric == "log_loss" else "logit"
        return Interval(estimate, *limits, f"bootstrap over {split.unit}, {scale} scale", n, "; ".join(notes))
    notes.append("too few resamples give it" if 2 * lost > len(values) else "every resample gives the same figure")
    instead = by_formula or _mean_over_classes(split, metric, name, estimate, found) or _perfect_mcc(split, metric)
    if instead is None:
        notes.append("its uncertainty cannot be told from these rows")
        return Interval(estimate, np.nan, np.nan, "none", n, "; ".join(notes))
    return dataclasses.replace(instead, note="; ".join(notes))


def _by_formula(split: Split, metric: str, name: str, estimate: float) -> Interval | None:
    """Interval of one figure by its formula, None where it has none; groups with several rows count once each.

    A group counted once is the cautious extreme: as if its rows said nothing beyond the first.
    """
    if name == MACRO:
        return None
    rows = split.rows_behind(metric, name)
    n, size = int(rows.sum()), split.count_groups(rows)
    once = ", each group counted once" if split.clustered else ""
    if metric in ("sensitivity", "specificity", "precision", "npv", "accuracy"):
        return Interval(estimate, *wilson_limits(estimate, size), WILSON + once, n)
    if metric == "f1":
        return Interval(estimate, *f1_limits(estimate, size), f"{WILSON} of TP among TP + FP + FN{once}", n)
    if metric == "auroc":
        k = split.classes.index(name)
        case = split.labels == k
        if not split.clustered:
            return auroc_interval(case.astype(np.int64), split.scores[:, k])
        limits = newcombe_limits(estimate, split.count_groups(case), split.count_groups(~case))
        return Interval(estimate, *limits, NEWCOMBE + once, n)
    if metric == "balanced_accuracy" and split.positive is not None:
        rates, sensitivity, specificity = _both_rates(split)
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


def _perfect_mcc(split: Split, metric: str) -> Interval | None:
    """Limits of a Matthews correlation of 1 in a binary task: what it would be at Wilson's limits of both rates."""
    if metric != "mcc" or split.positive is None:
        return None
    rates, sensitivity, specificity = _both_rates(split)
    if rates != (1.0, 1.0):
        return None
    share = float((split.labels == split.positive).mean())
    called = share * sensitivity[0] + (1 - share) * (1 - specificity[0])
    low = (sensitivity[0] + specificity[0] - 1) * np.sqrt(share * (1 - share) / (called * (1 - called)))
    once = ", each group counted once" if split.clustered else ""
    return Interval(1.0, float(low), 1.0, f"at {WILSON}'s limits of both rates{once}", len(split.labels))


def _both_rates(split: Split) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Sensitivity and specificity of a binary task, and Wilson's limits of each."""
    case, right = split.labels == split.positive, split.labels == split.predicted
    rates = float(right[case].mean()), float(right[~case].mean())
    return (
        rates,
        wilson_limits(rates[0], split.count_groups(case)),
        wilson_limits(rates[1], split.count_groups(~case)),
    )


def _bounds(split: Split, metric: str) -> tuple[float, float]:
    """Between which values a metric can lie."""
    if metric == "mcc":
        return -1.0, 1.0
    if metric == "brier":
        return 0.0, 1.0 if split.positive is not None else 2.0
    return 0.0, np.inf if metric == "log_loss" else 1.0


def _notes(split: Split, redrawn: int, lost: int, resamples: int) -> list[str]:
    notes = []
    if split.clustered:
        everyone = split.count_groups(np.ones(len(split.labels), bool))
        fewest = min(split.count_groups(split.labels == k) for k in np.unique(split.labels))
        notes.append(f"{everyone} groups")
        if fewest < FEW_GROUPS:
            notes.append(f"only {fewest} of one class, fewer than this method was tried with")
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
    if metric == "mcc":
        seen, called = np.unique(split.labels), np.unique(split.predicted)
        if len(seen) == 1:
            return f"every image is of class {split.classes[seen[0]]!r}"
        return f"every image was called {split.classes[called[0]]!r}"
    if metric == "balanced_accuracy":
        name = split.classes[split.positive or 0]
    no_case = "" if (split.labels == split.classes.index(name)).any() else f"no image of class {name!r}"
    return {
        "precision": f"no image was called {name!r}",
        "npv": f"every image was called {name!r}",
    }.get(metric, no_case or f"no image of any class but {name!r}")


def _rates(matrix: Floats, k: int) -> Floats:
    """Sensitivity, specificity, precision, NPV and F1 of one class, `(r, 5)`, from confusion matrices `(r, K, K)`."""
    n, hits = matrix.sum(axis=(1, 2)), matrix[:, k, k]
    cases, calls = matrix[:, k].sum(axis=1), matrix[:, :, k].sum(axis=1)
    quiet = n - cases - calls + hits
    # Without a case F1 is 0 whatever is called, which says nothing of the classifier.
    f1 = np.where(cases > 0, ratio(2 * hits, cases + calls), np.nan)
    shares = (hits, cases), (quiet, n - cases), (hits, calls), (quiet, n - calls)
    return np.column_stack([*(ratio(above, below) for above, below in shares), f1])
