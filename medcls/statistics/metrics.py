"""Metrics of a whole split, from labels and probabilities: the same function in training and in the report."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from medcls.errors import MedclsError, nearest
from medcls.statistics import causes
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.hard_labels import check_scores, check_table
from medcls.statistics.metric_table import METRICS, Counted, Metric, of_whole
from medcls.statistics.resampling import Ranking, group_numbers
from medcls.statistics.split import OneClass, Split

# A value, and where it is NaN the reason (empty elsewhere).
Value = tuple[float, str]

# How far each class may move the sum of a row from one. Tables of other tools hold probabilities rounded to two or
# three decimals; what this must catch is independent sigmoids and percentages, which are off by far more.
ROUNDING = 0.005 + 1e-9

UNFITTED_THRESHOLD = 0.5

# Under so many cases a class its figures have intervals so wide that ranks and comparisons say nothing.
FEW_CASES = 30


@dataclasses.dataclass(frozen=True)
class Metrics:
    """What one split says of one classifier.

    Parameters
    ----------
    values : dict of str to float
        By the names of `metric_names`. NaN where a metric is undefined, never a stand-in of 0.0. In a
        binary task, of the positive class; with more classes, the unweighted mean over classes (macro)
        of one-versus-rest, undefined as soon as it is undefined for one class.
    per_class : dict of str to dict
        With more than two classes: class name to its figures against all others, by the names of a
        binary task's `values`, and its `support`. Empty in a binary task.
    weighted : dict of str to float
        With more than two classes: the mean over classes weighted by their support, of the rates and
        areas that `values` holds unweighted. There are no means of the rest: MCC, kappa, Brier score
        and log loss have a definition for all classes at once, which `values` holds, and the mean of
        likelihood ratios, some of them infinite, is no likelihood ratio. Empty in a binary task.
    reasons : dict of str to str
        For each NaN, why: by metric name, or `<metric>/<class>` for a figure of `per_class`.
    confusion : int64 array (K, K)
        Rows are the true classes, columns the predicted ones.
    threshold : float or None
        Where the positive class began, in a binary task; None with more classes (largest probability).
    threshold_fitted : bool
        False where nobody gave a threshold, and 0.5 stood in.
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
        return {
            "values": self.values,
            "per_class": self.per_class,
            "weighted": self.weighted,
            "reasons": self.reasons,
            "confusion": self.confusion.tolist(),
            "threshold": self.threshold,
            "threshold_fitted": self.threshold_fitted,
        }

    @property
    def of_one_class(self) -> bool:
        """Whether all rows are of one class: naming it always is then right, and says nothing."""
        return int((self.confusion.sum(axis=1) > 0).sum()) == 1

    def why(self, names: Sequence[str]) -> str:
        """Give the reasons why these metrics are undefined, each once; empty where none is."""
        parts = [part for name in names if name in self.reasons for part in self.reasons[name].split("; ")]
        return "; ".join(dict.fromkeys(parts))

    def majority_note(self) -> str | None:
        """Say where the accuracy does not beat always naming the most frequent class, else None.

        Of images of one class nothing is said: to name it always is right by construction.
        """
        accuracy, baseline = self.values["accuracy"], self.values["majority_baseline"]
        if self.of_one_class or not accuracy <= baseline:  # NaN on an empty split: nothing to say
            return None
        return (
            f"The accuracy, {accuracy:.3f}, does not beat {baseline:.3f}, which is what always naming the most "
            f"frequent class of these {self.values['n']:.0f} images reaches."
        )

    def few_cases_note(self, classes: Sequence[str]) -> str | None:
        """Name the classes with fewer than 30 cases (`FEW_CASES`), in a sentence with their counts; None if none has.

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
            f"Fewer than {FEW_CASES} images of {', '.join(few)}: one image more or less called rightly moves these "
            "figures by several points, so read the intervals, not the figures."
        )


def check_classes(classes: Sequence[str], positive: str | None) -> int | None:
    """Find the index of the positive class; None with more than two classes.

    Raises
    ------
    MedclsError
        Fewer than two classes, one named twice, a binary task without a positive class, a positive
        class that does not exist, or one named where there are more than two classes.
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
            f"Two classes, {classes[0]!r} and {classes[1]!r}, and nothing says which one is looked for: sensitivity "
            "and precision would mean nothing. Name it with positive_class.",
            kind="no_positive_class",
        )
    if len(classes) > 2 and positive is not None:
        raise MedclsError(
            f"positive_class={positive} with {len(classes)} classes: leave it out, or merge the others.",
            kind="not_binary",
        )
    return None if positive is None else list(classes).index(positive)


def check_probabilities(probabilities: ArrayLike, num_classes: int, names: Sequence[str] | None = None) -> Floats:
    """Probabilities as float64 `(n, K)`, if that is what they are.

    Parameters
    ----------
    probabilities : float array (n, K)
    num_classes : int
    names : sequence of str (n,), optional
        What to call a row by in an error, such as its image.

    Raises
    ------
    MedclsError
        Integers or booleans, another shape, values that are not finite or outside 0..1, or rows that
        do not sum to one. The message names the first such row, counted from 0.
    """
    scores = np.asarray(probabilities)
    if scores.dtype.kind != "f":
        raise MedclsError(
            f"Probabilities are wanted, one for each class, and these are of type {scores.dtype}: predicted class "
            "numbers or hard labels cannot stand in for scores, because the AUROC of hard labels is only the balanced "
            "accuracy. Give the softmax (or sigmoid) of the network's output.",
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
            "does not sum to one (independent sigmoids of several labels a picture?)",
            np.abs(scores.sum(1) - 1) > ROUNDING * num_classes,
        ),
    )
    for kind, fault, rows in faults:
        if rows.any():
            first = int(np.flatnonzero(rows)[0])
            shown = ", ".join(f"{value:.4g}" for value in scores[first])
            of = "" if names is None else f" ({names[first]})"
            raise MedclsError(
                f"Row {first} of the probabilities{of} {fault}: {shown}. So do {rows.sum()} row(s) in all.",
                kind=kind,
            )
    return scores


def check_labels(labels: ArrayLike, num_classes: int, n: int) -> Integers:
    """Class indices as int64 `(n,)`, if that is what they are.

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
            f"True classes are wanted as {n} whole numbers, one for each row; these have the type {indices.dtype} and "
            f"the shape {indices.shape}.",
            kind="bad_labels",
        )
    outside = (indices < 0) | (indices >= num_classes)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise MedclsError(
            f"Row {first} has the class number {indices[first]}, and there are {num_classes} classes, counted from 0.",
            kind="bad_labels",
        )
    return indices.astype(np.int64)


def confusion_matrix(*, labels: ArrayLike, predicted: ArrayLike, num_classes: int) -> Integers:
    """Count true against predicted classes: rows are the true classes, and sum to their support.

    The arguments go by name alone, because two arrays of class numbers are swapped without a trace.

    Parameters
    ----------
    labels, predicted : integer arrays (n,)
        Class indices; classes without a case keep their row and column.

    Returns
    -------
    int64 array (K, K)

    Raises
    ------
    MedclsError
        As `check_labels`, for either array.
    """
    predicted = np.asarray(predicted)
    labels = check_labels(labels, num_classes, predicted.size)
    predicted = check_labels(predicted, num_classes, predicted.size)
    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def auroc(labels: Integers, scores: Floats) -> float:
    """Area under the ROC curve; NaN where one of the two classes has no case.

    Parameters and errors are those of `hard_labels.check_scores`.
    """
    check_scores(labels, scores)
    if not labels.size:
        return float("nan")
    return float(Ranking.of(labels, scores).count(np.ones((1, labels.size))).areas()[0])


def sensitivity_at_specificity(labels: Integers, scores: Floats, specificity: float) -> float:
    """Give the highest sensitivity among the thresholds whose specificity is at least the stated one.

    Every distinct score is a threshold, and so is one above all scores, so there is always one; nothing is
    interpolated. NaN where one of the two classes has no case. On the rows that chose the threshold the
    figure is optimistic.

    Parameters
    ----------
    labels, scores
        As in `auroc`.
    specificity : float
        From 0 to 1.

    Raises
    ------
    MedclsError
        As `auroc`; a specificity that is no number in 0..1.
    """
    _check_share("specificity", specificity)
    reached, kept = _roc_points(labels, scores)
    return float(reached[kept >= specificity].max()) if reached.size else float("nan")


def specificity_at_sensitivity(labels: Integers, scores: Floats, sensitivity: float) -> float:
    """Give the highest specificity among the thresholds whose sensitivity is at least the stated one.

    As `sensitivity_at_specificity`, with the two changing places.
    """
    _check_share("sensitivity", sensitivity)
    reached, kept = _roc_points(labels, scores)
    return float(kept[reached >= sensitivity].max()) if reached.size else float("nan")


def predictive_values_at(prevalence: float, sensitivity: float, specificity: float) -> tuple[float, float]:
    """Give the precision (PPV) and the NPV where the positive class has another prevalence than in the split.

    Bayes' theorem (Altman and Bland, "Diagnostic tests 2: predictive values", BMJ 309:102, 1994). It holds
    as far as sensitivity and specificity stay what they are, which a change of the spectrum of cases undoes.

    Parameters
    ----------
    prevalence : float
        Above 0 and below 1.
    sensitivity, specificity : float
        From 0 to 1; NaN gives NaN.

    Returns
    -------
    (float, float)
        Precision and NPV; NaN where no one would be called so.

    Raises
    ------
    MedclsError
        A prevalence that is no share between 0 and 1.
    """
    _check_share("prevalence", prevalence)
    if prevalence in (0, 1):
        raise MedclsError(
            f"The prevalence is {prevalence}: where all are cases, or none, there is nothing to predict.",
            kind="bad_value",
        )
    found, missed = sensitivity * prevalence, (1 - sensitivity) * prevalence
    cleared, alarmed = specificity * (1 - prevalence), (1 - specificity) * (1 - prevalence)
    return _divide(found, found + alarmed), _divide(cleared, cleared + missed)


def metric_names(classes: Sequence[str], positive: str | None, *, ordered: bool = False) -> tuple[str, ...]:
    """List the keys of `Metrics.values` for such a task: `n`, then metrics in the order of `metric_table.METRICS`."""
    return ("n", *(metric.identifier for metric in _of_task(check_classes(classes, positive) is not None, ordered)))


def _of_task(binary: bool, ordered: bool) -> list[Metric]:
    """The metrics of which one number stands for a whole split, and stands alone."""
    return [
        metric
        for metric in METRICS
        if metric.held is None and of_whole(metric, binary) is not None and (ordered or not metric.ordered)
    ]


def predicted_classes(
    probabilities: Floats, classes: Sequence[str], positive: str | None, threshold: float | None = None
) -> Integers:
    """Call each row a class, as an index: int64 `(n,)`.

    In a binary task the positive class, where its probability is at least the threshold (0.5 where
    none is given); with more classes the most probable one.

    Raises
    ------
    MedclsError
        A threshold that is no number in 0..1, or one given for more than two classes.
    """
    index = check_classes(classes, positive)
    if index is None:
        if threshold is not None:
            raise MedclsError(
                f"A threshold ({threshold}) belongs to a binary task; there are {len(classes)} classes.",
                kind="not_binary",
            )
        return probabilities.argmax(axis=1).astype(np.int64)
    if threshold is None:  # asked in so many words: 0.0 is a threshold too
        threshold = UNFITTED_THRESHOLD
    if isinstance(threshold, bool) or not 0.0 <= threshold <= 1.0:
        raise MedclsError(f"The threshold is {threshold}: give a probability, from 0 to 1.", kind="bad_value")
    return np.where(probabilities[:, index] >= threshold, index, 1 - index).astype(np.int64)


def logged_metrics(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], positive: str | None
) -> dict[str, float]:
    """What is logged of a split after each epoch; see `classification_metrics`."""
    return classification_metrics(labels, probabilities, classes, positive).values


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
    """The rows of a split with their decisions, if they are what `classification_metrics` asks for.

    Parameters
    ----------
    groups : sequence of str (n,), optional
        As of `resampling.group_numbers`.
    """
    index = check_classes(classes, positive)
    scores = check_probabilities(probabilities, len(classes))
    truth = check_labels(labels, len(classes), len(scores))
    predicted = predicted_classes(scores, classes, positive, threshold)
    check_table(truth, scores, classes, index)
    return Split(truth, predicted, scores, group_numbers(groups, len(truth)), tuple(classes), index, ordered)


def classification_metrics(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    positive: str | None,
    threshold: float | None = None,
    *,
    ordered: bool = False,
) -> Metrics:
    """Every metric of one split, all rows at once: those of `metric_table.METRICS` that the task has.

    Parameters
    ----------
    labels : integer array (n,)
        True class indices, in the order of `classes`.
    probabilities : float array (n, K)
        One column a class, rows summing to one. Never hard labels.
    classes : sequence of str
        Class names in the order of the columns.
    positive : str or None
        The class that a binary task looks for; None with more than two classes.
    threshold : float, optional
        From which probability on a row is called positive. Without one 0.5 stands in, and
        `Metrics.threshold_fitted` is False. 0.0 and 1.0 are thresholds like any other.
    ordered : bool
        The classes are grades, and `classes` lists them in their order: `quadratic_kappa` is wanted too.

    Returns
    -------
    Metrics

    Raises
    ------
    MedclsError
        What is no probability, no label, or no threshold; hard labels in the place of probabilities;
        a binary task whose positive class is not named.
    """
    split = checked_split(labels, probabilities, classes, positive, threshold, ordered=ordered)
    whole, metrics = split.once(), _of_task(split.binary, ordered)
    of_each = {} if split.binary else {one.name: _of_class(one) for one in whole.judged}
    values: dict[str, Value] = {"n": (float(len(split.labels)), "")}
    weighted: dict[str, Value] = {}
    for metric in metrics:
        name, of = metric.identifier, of_whole(metric, split.binary)
        if of == "mean":
            of_classes = [found[name] for found in of_each.values()]
            values[name] = _mean(of_classes, np.ones(len(classes)))
            weighted[name] = _mean(of_classes, whole.support[0])
        else:
            values[name] = _value(metric, whole if of == "all" else whole.judged[0])
    reasons = {name: reason for name, (_, reason) in values.items() if reason}
    for label, found in of_each.items():
        reasons |= {f"{name}/{label}": reason for name, (_, reason) in found.items() if reason}
    reasons |= {f"weighted/{name}": reason for name, (_, reason) in weighted.items() if reason}
    return Metrics(
        values={name: value for name, (value, _) in values.items()},
        per_class={label: {name: value for name, (value, _) in found.items()} for label, found in of_each.items()},
        weighted={name: value for name, (value, _) in weighted.items()},
        reasons=reasons,
        confusion=whole.matrix[0].astype(np.int64),
        threshold=None if split.positive is None else (UNFITTED_THRESHOLD if threshold is None else float(threshold)),
        threshold_fitted=threshold is not None,
    )


def _of_class(one: OneClass) -> dict[str, Value]:
    """The size of a class, and its metrics against all others."""
    known = [metric for metric in METRICS if "class" in metric.of and metric.held is None]
    return {"support": (float(one.cases[0]), ""), **{metric.identifier: _value(metric, one) for metric in known}}


def _value(metric: Metric, counted: Counted) -> Value:
    """One metric of rows that count once; NaN with the reason where it is undefined, or infinite."""
    if not counted.n[0]:
        return float("nan"), causes.NO_IMAGES
    value = float(metric.function(counted)[0])
    return (value, "") if np.isfinite(value) else (float("nan"), metric.why(counted))


def _roc_points(labels: Integers, scores: Floats) -> tuple[Floats, Floats]:
    """Sensitivity and specificity at every threshold; empty where one of the two classes has no case."""
    check_scores(labels, scores)
    negatives = int((labels == 0).sum())
    if negatives in (0, labels.size):
        return np.empty(0), np.empty(0)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    # From counts: 1 - 1/10 is not always what a person types as 0.9.
    return true, (negatives - np.rint(false * negatives)) / negatives


def _mean(values: Sequence[Value], weights: Iterable[float]) -> Value:
    """Average of the values that weigh anything: undefined, for the same reasons, as soon as one of them is."""
    counted = [(value, reason, weight) for (value, reason), weight in zip(values, weights, strict=True) if weight]
    reasons = dict.fromkeys(reason for _, reason, _ in counted if reason)
    if not counted:
        return float("nan"), causes.NO_IMAGES
    value = np.average([value for value, _, _ in counted], weights=[weight for _, _, weight in counted])
    return float(value), "; ".join(reasons)


def _divide(above: float, below: float) -> float:
    return above / below if below else float("nan")


def _check_share(name: str, value: float) -> None:
    if isinstance(value, bool) or not 0.0 <= value <= 1.0:
        raise MedclsError(f"The {name} is {value}: give a share, from 0 to 1.", kind="bad_value")
