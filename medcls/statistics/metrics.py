"""Metrics of a whole split, from labels and probabilities: the same function in training and in the report."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from medcls.errors import MedclsError, nearest
from medcls.statistics import causes
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.digits import rounded
from medcls.statistics.hard_labels import check_scores
from medcls.statistics.metric_table import METRICS, Counts, Metric, split_scope
from medcls.statistics.resampling import group_numbers
from medcls.statistics.split import OneVsRest, Split

# A value, and the reason if it is NaN, else empty text.
Value = tuple[float, str]

# How far each class may move the sum of a row from one. Tables of other tools hold probabilities rounded to two or
# three decimals; independent sigmoids and percentages are off by far more.
ROUNDING = 0.005 + 1e-9

UNFITTED_THRESHOLD = 0.5

# With fewer cases of a class the intervals are too wide for ranks and comparisons.
FEW_CASES = 30


@dataclasses.dataclass(frozen=True)
class Metrics:
    """The metrics of one split.

    Parameters
    ----------
    values : dict of str to float
        By the names of `metric_names`. NaN where undefined, never a stand-in of 0.0. In a binary task of the positive
        class; with more classes the macro mean of one-vs-rest, undefined if it is undefined for one class.
    per_class : dict of str to dict
        With more than two classes: class name to its one-vs-rest metrics, by the names of a binary task's `values`,
        and its `support`. Empty in a binary task.
    weighted : dict of str to float
        With more than two classes: means over classes weighted by their support, of the rates and areas. MCC, kappa,
        Brier score and log loss are defined for all classes at once, in `values`. Empty in a binary task.
    reasons : dict of str to str
        For each NaN, why: by metric name, or `<metric>/<class>` for `per_class`.
    confusion : int64 array (K, K)
        Rows are the true classes, columns the predicted ones.
    threshold : float or None
        The threshold of a binary task; None with more classes (largest probability).
    threshold_fitted : bool
        False where none was given, and 0.5 stands in.
    """

    values: dict[str, float]
    per_class: dict[str, dict[str, float]]
    weighted: dict[str, float]
    reasons: dict[str, str]
    confusion: Integers
    threshold: float | None
    threshold_fitted: bool

    def to_plain(self) -> dict[str, Any]:
        """For metrics.json."""
        return dataclasses.asdict(self) | {"confusion": self.confusion.tolist()}

    @property
    def of_one_class(self) -> bool:
        """Whether all rows are of one class: always predicting it is then correct by construction."""
        return int((self.confusion.sum(axis=1) > 0).sum()) == 1

    def why(self, names: Sequence[str]) -> str:
        """Return the reasons why these metrics are undefined, each once; empty text if none is."""
        parts = [part for name in names if name in self.reasons for part in self.reasons[name].split("; ")]
        return "; ".join(dict.fromkeys(parts))

    def majority_note(self) -> str | None:
        """Return a sentence if the accuracy does not beat the majority baseline, unless all rows are of one class."""
        accuracy, baseline = self.values["accuracy"], self.values["majority_baseline"]
        if self.of_one_class or not accuracy <= baseline:  # NaN on an empty split
            return None
        return (
            f"The accuracy, {rounded(accuracy)}, does not beat {rounded(baseline)}, the accuracy of always predicting "
            f"the most frequent class of these {self.values['n']:.0f} images."
        )

    def few_cases_note(self, classes: Sequence[str]) -> str | None:
        """Return a sentence that names the classes with fewer than `FEW_CASES` cases; None if there are none.

        Parameters
        ----------
        classes : sequence of str
            Class names in the order of `confusion`.
        """
        cases = zip(classes, self.confusion.sum(axis=1).tolist(), strict=True)
        few = [f"{name} ({count})" for name, count in cases if count < FEW_CASES]
        if not few:
            return None
        return (
            f"Fewer than {FEW_CASES} images of {', '.join(few)}: one more or one less correct prediction moves these "
            "metrics by several points. Read the intervals, not the estimates."
        )


def check_classes(classes: Sequence[str], positive: str | None) -> int | None:
    """Return the index of the positive class; None with more than two classes.

    Raises
    ------
    MedclsError
        Fewer than two classes, or one named twice; a binary task without a positive class; a positive class that does
        not exist, or with more than two classes.
    """
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise MedclsError(f"The classes are {list(classes)}: give at least two, each once.", kind="bad_classes")
    if positive is not None and positive not in classes:
        raise MedclsError(
            f"positive_class is {positive!r}, which is not among the classes: {', '.join(classes)}."
            f"{nearest(positive, classes)}",
            kind="unknown_class",
        )
    if len(classes) == 2 and positive is None:
        raise MedclsError(
            f"There are two classes, {classes[0]!r} and {classes[1]!r}, and no positive one: sensitivity and precision "
            "would mean nothing. Set positive_class.",
            kind="no_positive_class",
        )
    if len(classes) > 2 and positive is not None:
        raise MedclsError(
            f"positive_class={positive} with {len(classes)} classes: leave it out, or merge the others.",
            kind="not_binary",
        )
    return None if positive is None else list(classes).index(positive)


def check_probabilities(probabilities: ArrayLike, num_classes: int, names: Sequence[str] | None = None) -> Floats:
    """Check probabilities and return them as float64 `(n, K)`.

    Parameters
    ----------
    probabilities : float array (n, K)
    num_classes : int
    names : sequence of str (n,), optional
        Names of the rows in an error, such as their images.

    Raises
    ------
    MedclsError
        Integers or booleans, another shape, values that are not finite or outside 0..1, or rows that
        do not sum to one. The message names the first such row, counted from 0.
    """
    scores = np.asarray(probabilities)
    if scores.dtype.kind != "f":
        raise MedclsError(
            f"Metrics need a probability for each class, and these have the type {scores.dtype}: predicted classes or "
            "hard labels are no scores, because their AUROC is only the balanced accuracy. Give the softmax (or "
            "sigmoid) of the network's output.",
            kind="hard_labels",
        )
    if scores.ndim != 2 or scores.shape[1] != num_classes:
        raise MedclsError(
            f"Probabilities of {num_classes} classes have the shape (n, {num_classes}); these have {scores.shape}.",
            kind="wrong_shape",
        )
    scores = scores.astype(np.float64)
    faults = (
        (
            "not_finite",
            "is not finite (the network's output has diverged, or the table is damaged)",
            ~np.isfinite(scores).all(1),
        ),
        (
            "not_probabilities",
            "has a value outside 0..1 (logits or percentages?)",
            ((scores < 0) | (scores > 1)).any(1),
        ),
        (
            "not_summing_to_one",
            "does not sum to one (independent sigmoids of several labels an image?)",
            np.abs(scores.sum(1) - 1) > ROUNDING * num_classes,
        ),
    )
    for kind, fault, rows in faults:
        if rows.any():
            first = int(np.flatnonzero(rows)[0])
            shown = ", ".join(f"{value:.4g}" for value in scores[first])
            name = "" if names is None else f" ({names[first]})"
            raise MedclsError(
                f"Row {first} of the probabilities{name} {fault}: {shown}. {rows.sum()} row(s) in all.",
                kind=kind,
            )
    return scores


def check_labels(labels: ArrayLike, num_classes: int, n: int) -> Integers:
    """Check class indices and return them as int64 `(n,)`.

    Raises
    ------
    MedclsError
        Another type or length, or an index outside `0..num_classes - 1`.
    """
    indices = np.asarray(labels)
    if indices.size == 0:
        indices = indices.astype(np.int64)  # an empty list is float64 to NumPy
    if indices.dtype.kind not in "iu" or indices.shape != (n,):
        raise MedclsError(
            f"Labels are {n} integers, one for each row; these have the type {indices.dtype} and the shape "
            f"{indices.shape}.",
            kind="bad_labels",
        )
    outside = (indices < 0) | (indices >= num_classes)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise MedclsError(
            f"Row {first} has the class index {indices[first]}, and there are {num_classes} classes, counted from 0.",
            kind="bad_labels",
        )
    return indices.astype(np.int64)


def metric_names(classes: Sequence[str], positive: str | None, *, ordered: bool = False) -> tuple[str, ...]:
    """Return the keys of `Metrics.values` for such a task: `n`, then metrics in the order of `METRICS`."""
    binary = check_classes(classes, positive) is not None
    return ("n", *(metric.identifier for metric in _of_task(binary, ordered=ordered)))


def _of_task(binary: bool, *, ordered: bool) -> list[Metric]:
    """The metrics with one value for a whole split."""
    return [
        metric
        for metric in METRICS
        if metric.held is None and split_scope(metric, binary) is not None and (ordered or not metric.ordered)
    ]


def predicted_classes(
    probabilities: Floats, classes: Sequence[str], positive: str | None, threshold: float | None = None
) -> Integers:
    """Return the predicted class of each row, as an index: int64 `(n,)`.

    In a binary task the positive class if its probability is at least the threshold (0.5 without one); with more
    classes the most probable one.

    Raises
    ------
    MedclsError
        A threshold outside 0..1, or for more than two classes.
    """
    index = check_classes(classes, positive)
    if index is None:
        if threshold is not None:
            raise MedclsError(
                f"A threshold ({threshold}) belongs to a binary task; there are {len(classes)} classes.",
                kind="not_binary",
            )
        most_probable: Integers = probabilities.argmax(axis=1).astype(np.int64)
        return most_probable
    if threshold is None:  # 0.0 is a threshold too
        threshold = UNFITTED_THRESHOLD
    if isinstance(threshold, bool) or not 0.0 <= threshold <= 1.0:
        raise MedclsError(f"The threshold is {threshold}: give a probability, from 0 to 1.", kind="bad_value")
    return np.where(probabilities[:, index] >= threshold, index, 1 - index).astype(np.int64)


def logged_metrics(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], positive: str | None
) -> dict[str, float]:
    """Return what is logged of a split after each epoch."""
    return classification_metrics(labels, probabilities, classes, positive).values


def classification_metrics(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    positive: str | None,
    threshold: float | None = None,
    *,
    ordered: bool = False,
) -> Metrics:
    """Compute `split_metrics` of a `checked_split`, whose parameters these are."""
    return split_metrics(checked_split(labels, probabilities, classes, positive, threshold, ordered=ordered))


def checked_split(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    positive: str | None,
    threshold: float | None = None,
    groups: Sequence[str] | None = None,
    *,
    ordered: bool = False,
) -> Split:
    """Check the rows of a split, and predict a class for each.

    Parameters
    ----------
    labels : integer array (n,)
        True class indices, in the order of `classes`.
    probabilities : float array (n, K)
        One column a class, rows summing to one.
    classes : sequence of str
        Class names in the order of the columns.
    positive : str or None
        The positive class of a binary task; None with more than two classes.
    threshold : float, optional
        From which probability on a row is predicted positive; 0.5 without one.
    groups : sequence of str (n,), optional
        The group (patient) of each row, empty where unknown: such a row stands alone.
    ordered : bool
        The classes are grades, and `classes` lists them in their order.

    Raises
    ------
    MedclsError
        Invalid probabilities, labels, classes or threshold, or another number of groups than of rows.
    """
    index = check_classes(classes, positive)
    scores = check_probabilities(probabilities, len(classes))
    truth = check_labels(labels, len(classes), len(scores))
    predicted = predicted_classes(scores, classes, positive, threshold)
    numbers = group_numbers(groups, len(truth))
    return Split(truth, predicted, scores, numbers, tuple(classes), index, threshold, ordered)


def split_metrics(split: Split) -> Metrics:
    """Compute every metric of a split, all rows at once: those of `metric_table.METRICS` that the task has.

    Raises
    ------
    MedclsError
        Hard labels in the place of probabilities.
    """
    check_scores(split)
    counts = split.count()
    by_class = {} if split.binary else {of_class.name: _class_values(of_class) for of_class in counts.one_vs_rest}
    values: dict[str, Value] = {"n": (float(len(split.labels)), "")}
    weighted: dict[str, Value] = {}
    for metric in _of_task(split.binary, ordered=split.ordered):
        name, scope = metric.identifier, split_scope(metric, split.binary)
        if scope == "mean":
            class_values = [of_class[name] for of_class in by_class.values()]
            values[name] = _mean(class_values, np.ones(len(split.classes)))
            weighted[name] = _mean(class_values, counts.support[0])
        else:
            values[name] = _value(metric, counts if scope == "all" else counts.one_vs_rest[0])
    reasons = {name: reason for name, (_, reason) in values.items() if reason}
    for label, class_metrics in by_class.items():
        reasons |= {f"{name}/{label}": reason for name, (_, reason) in class_metrics.items() if reason}
    reasons |= {f"weighted/{name}": reason for name, (_, reason) in weighted.items() if reason}
    threshold = UNFITTED_THRESHOLD if split.threshold is None else float(split.threshold)
    return Metrics(
        values={name: value for name, (value, _) in values.items()},
        per_class={label: {name: value for name, (value, _) in row.items()} for label, row in by_class.items()},
        weighted={name: value for name, (value, _) in weighted.items()},
        reasons=reasons,
        confusion=counts.matrix[0].astype(np.int64),
        threshold=threshold if split.binary else None,
        threshold_fitted=split.threshold is not None,
    )


def _class_values(counts: OneVsRest) -> dict[str, Value]:
    """The size of a class, and its metrics against all others."""
    known = [metric for metric in METRICS if "class" in metric.scopes and metric.held is None]
    return {
        "support": (float(counts.cases[0]), ""),
        **{metric.identifier: _value(metric, counts) for metric in known},
    }


def _value(metric: Metric, counts: Counts) -> Value:
    """One metric of rows that count once; NaN with the reason where it is undefined, or infinite."""
    if not counts.n[0]:
        return float("nan"), causes.NO_IMAGES
    value = float(metric.function(counts)[0])
    return (value, "") if np.isfinite(value) else (float("nan"), metric.why_undefined(counts))


def _mean(values: Sequence[Value], weights: Iterable[float]) -> Value:
    """Average of the values with a weight: undefined, for the same reasons, if one of them is."""
    weighted = [(value, reason, weight) for (value, reason), weight in zip(values, weights, strict=True) if weight]
    if not weighted:
        return float("nan"), causes.NO_IMAGES
    value = np.average([value for value, _, _ in weighted], weights=[weight for _, _, weight in weighted])
    return float(value), "; ".join(dict.fromkeys(reason for _, reason, _ in weighted if reason))
