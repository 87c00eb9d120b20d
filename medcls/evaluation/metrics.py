"""Metrics of a whole split, from labels and probabilities: the same function in training and in the report."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from sklearn.metrics import roc_auc_score

from medcls.errors import MedclsError, nearest

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Tables of other tools hold probabilities rounded to two or three decimals; what this must catch is
# independent sigmoids and percentages, which are off by far more.
SUM_TOLERANCE = 0.01

UNFITTED_THRESHOLD = 0.5

_RATES = ("balanced_accuracy", "sensitivity", "specificity", "precision", "f1", "auroc")


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
        With more than two classes: class name to its one-versus-rest figures (sensitivity,
        specificity, precision, f1, auroc, prevalence, support). Empty in a binary task.
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
    reasons: dict[str, str]
    confusion: Integers
    threshold: float | None
    threshold_fitted: bool

    def to_plain(self) -> dict[str, Any]:
        """For metrics.json."""
        return {
            "values": self.values,
            "per_class": self.per_class,
            "reasons": self.reasons,
            "confusion": self.confusion.tolist(),
            "threshold": self.threshold,
            "threshold_fitted": self.threshold_fitted,
        }

    def majority_note(self) -> str | None:
        """Say where the accuracy does not beat always naming the most frequent class, else None."""
        accuracy, baseline = self.values["accuracy"], self.values["majority_baseline"]
        if not accuracy <= baseline:  # NaN on an empty split: nothing to say
            return None
        return (
            f"The accuracy, {accuracy:.3f}, does not beat {baseline:.3f}, which is what always naming the most "
            f"frequent class of these {self.values['n']:.0f} images reaches."
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
        raise MedclsError(f"The classes are {list(classes)}: give at least two, each once.")
    if positive is not None and positive not in classes:
        raise MedclsError(
            f"positive_class is {positive!r}, which is not among the classes: {', '.join(classes)}."
            f"{nearest(positive, classes)}"
        )
    if len(classes) == 2 and positive is None:
        raise MedclsError(
            f"Two classes, {classes[0]!r} and {classes[1]!r}, and nothing says which one is looked for: sensitivity "
            "and precision would mean nothing. Name it with positive_class."
        )
    if len(classes) > 2 and positive is not None:
        raise MedclsError(f"positive_class={positive} with {len(classes)} classes: leave it out, or merge the others.")
    return None if positive is None else list(classes).index(positive)


def check_probabilities(probabilities: ArrayLike, num_classes: int) -> Floats:
    """Probabilities as float64 `(n, K)`, if that is what they are.

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
            "accuracy. Give the softmax (or sigmoid) of the network's output."
        )
    if scores.ndim != 2 or scores.shape[1] != num_classes:
        raise MedclsError(
            f"Probabilities of {num_classes} classes have the shape (n, {num_classes}); these have {scores.shape}."
        )
    scores = scores.astype(np.float64)
    faults = (
        ("is not finite (the network's output has diverged, or the table is damaged)", ~np.isfinite(scores).all(1)),
        ("has a value outside 0..1 (logits or percentages?)", ((scores < 0) | (scores > 1)).any(1)),
        (
            "does not sum to one (independent sigmoids of several labels a picture?)",
            np.abs(scores.sum(1) - 1) > SUM_TOLERANCE,
        ),
    )
    for fault, rows in faults:
        if rows.any():
            first = int(np.flatnonzero(rows)[0])
            shown = ", ".join(f"{value:.4g}" for value in scores[first])
            raise MedclsError(f"Row {first} of the probabilities {fault}: {shown}. So do {rows.sum()} row(s) in all.")
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
            f"the shape {indices.shape}."
        )
    outside = (indices < 0) | (indices >= num_classes)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise MedclsError(
            f"Row {first} has the class number {indices[first]}, and there are {num_classes} classes, counted from 0."
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
    if labels.size == 0:  # scikit-learn refuses an empty split
        return np.zeros((num_classes, num_classes), np.int64)
    return sklearn_confusion_matrix(labels, predicted, labels=np.arange(num_classes)).astype(np.int64)


def check_scores(labels: Integers, scores: Floats) -> None:
    """Refuse hard labels in the place of the scores that a ROC curve is drawn from.

    Parameters
    ----------
    labels : int64 array (n,)
        1 for the class in question, 0 for the others.
    scores : float64 array (n,)
        How much each row speaks for the class in question.

    Raises
    ------
    MedclsError
        Every score is exactly 0 or 1. The message says what their "AUROC" would have been.
    """
    if scores.size == 0 or not np.isin(scores, (0.0, 1.0)).all():
        return
    message = (
        "AUROC and ROC curve need scores, and these are hard labels: every value is exactly 0 or 1. Such a curve has "
        "a single corner"
    )
    if 0 < labels.sum() < labels.size:
        sensitivity, specificity = float(scores[labels == 1].mean()), float(1 - scores[labels == 0].mean())
        message += (
            f", and the area under it, {(sensitivity + specificity) / 2:.3f}, is the balanced accuracy (the mean of "
            f"sensitivity {sensitivity:.3f} and specificity {specificity:.3f}), not an AUROC"
        )
    raise MedclsError(
        f"{message}. Give each class's probability. If these did come from a network, its outputs are so large that "
        "they all round to 0 or 1: lower the learning rate, and take the softmax in float64."
    )


def auroc(labels: Integers, scores: Floats) -> float:
    """Area under the ROC curve; NaN where one of the two classes has no case.

    Parameters and errors are those of `check_scores`.
    """
    check_scores(labels, scores)
    return _area(labels, scores)


def _area(labels: Integers, scores: Floats) -> float:
    return float(roc_auc_score(labels, scores)) if 0 < labels.sum() < labels.size else float("nan")


def metric_names(classes: Sequence[str], positive: str | None) -> tuple[str, ...]:
    """List the keys of `Metrics.values` for such a task, in the order of the report.

    `prevalence` is the positive class's share, so only a binary task has it at the top.
    """
    binary = check_classes(classes, positive) is not None
    return ("n", *(("prevalence",) if binary else ()), "accuracy", "majority_baseline", *_RATES)


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
            raise MedclsError(f"A threshold ({threshold}) belongs to a binary task; there are {len(classes)} classes.")
        return probabilities.argmax(axis=1).astype(np.int64)
    if threshold is None:  # asked in so many words: 0.0 is a threshold too
        threshold = UNFITTED_THRESHOLD
    if isinstance(threshold, bool) or not 0.0 <= threshold <= 1.0:
        raise MedclsError(f"The threshold is {threshold}: give a probability, from 0 to 1.")
    return np.where(probabilities[:, index] >= threshold, index, 1 - index).astype(np.int64)


def classification_metrics(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    positive: str | None,
    threshold: float | None = None,
) -> Metrics:
    """Every metric of one split, all rows at once.

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

    Returns
    -------
    Metrics

    Raises
    ------
    MedclsError
        What is no probability, no label, or no threshold; hard labels in the place of probabilities;
        a binary task whose positive class is not named.
    """
    index = check_classes(classes, positive)
    scores = check_probabilities(probabilities, len(classes))
    truth = check_labels(labels, len(classes), len(scores))
    predicted = predicted_classes(scores, classes, positive, threshold)
    if np.isin(scores, (0.0, 1.0)).all():  # the whole table: one class's column may well be all zeros
        called = 0 if index is None else index
        check_scores((truth == called).astype(np.int64), scores[:, called])
    matrix = confusion_matrix(labels=truth, predicted=predicted, num_classes=len(classes))
    support = matrix.sum(axis=1)
    n = len(truth)

    wanted = range(len(classes)) if index is None else (index,)
    per_class: dict[str, dict[str, float]] = {}
    why: dict[str, dict[str, str]] = {}
    for k in wanted:
        per_class[classes[k]], why[classes[k]] = _one_versus_rest(matrix, k, classes[k], truth, scores[:, k])

    reasons: dict[str, str] = {}
    accuracy, reasons["accuracy"] = _ratio(int(np.trace(matrix)), n, "the split has no images")
    baseline, reasons["majority_baseline"] = _ratio(int(support.max()), n, "the split has no images")
    values = {"n": float(n), "accuracy": accuracy, "majority_baseline": baseline}
    if index is not None:
        only = per_class[classes[index]]
        values |= {name: only[name] for name in ("prevalence", *_RATES)}
        reasons |= why[classes[index]]
        per_class = {}
    else:
        for name in _RATES:
            values[name] = float(np.mean([figures[name] for figures in per_class.values()]))
            causes = {told[name]: None for told in why.values() if told[name]}
            reasons[name] = "; ".join(causes)
        # The usual definition for several classes: the mean of their sensitivities.
        values["balanced_accuracy"], reasons["balanced_accuracy"] = values["sensitivity"], reasons["sensitivity"]
        for name, told in why.items():
            reasons |= {f"{metric}/{name}": cause for metric, cause in told.items()}
            per_class[name].pop("balanced_accuracy")
            reasons.pop(f"balanced_accuracy/{name}")
    return Metrics(
        values={name: values[name] for name in metric_names(classes, positive)},
        per_class=per_class,
        reasons={name: cause for name, cause in reasons.items() if cause},
        confusion=matrix,
        threshold=None if index is None else (UNFITTED_THRESHOLD if threshold is None else float(threshold)),
        threshold_fitted=threshold is not None,
    )


def _one_versus_rest(
    matrix: Integers, k: int, name: str, truth: Integers, scores: Floats
) -> tuple[dict[str, float], dict[str, str]]:
    """One class against all others: its figures, and for each of them a reason, empty where it is defined."""
    n, hits = int(matrix.sum()), int(matrix[k, k])
    cases, calls = int(matrix[k].sum()), int(matrix[:, k].sum())
    others = n - cases
    no_case = f"no image of class {name!r}" if cases == 0 else ""
    no_other = f"no image of any class but {name!r}" if others == 0 else ""
    one_class = "the split has no images" if n == 0 else no_case or no_other
    figures, why = {"support": float(cases)}, {}
    for metric, above, below, cause in (
        ("prevalence", cases, n, "the split has no images"),
        ("sensitivity", hits, cases, no_case),
        ("specificity", others - (calls - hits), others, no_other),
        ("precision", hits, calls, f"no image was called {name!r}"),
        # Without a case F1 is 0 whatever is predicted, which says nothing of the classifier.
        ("f1", 2 * hits, cases + calls if cases else 0, no_case),
    ):
        figures[metric], why[metric] = _ratio(above, below, one_class if n == 0 else cause)
    figures["balanced_accuracy"] = (figures["sensitivity"] + figures["specificity"]) / 2
    figures["auroc"] = _area((truth == k).astype(np.int64), scores)
    why["balanced_accuracy"] = why["auroc"] = one_class
    return figures, why


def _ratio(above: int, below: int, cause: str) -> tuple[float, str]:
    return (above / below, "") if below else (float("nan"), cause)
