"""Metrics of a whole split, from labels and probabilities: the same function in training and in the report."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import (
    average_precision_score,
    cohen_kappa_score,
    matthews_corrcoef,
    roc_auc_score,
    roc_curve,
)
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from medcls.errors import MedclsError, nearest
from medcls.statistics import causes
from medcls.statistics.hard_labels import check_scores, check_table

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# A value, and where it is NaN the reason (empty elsewhere).
Figure = tuple[float, str]

# How far each class may move the sum of a row from one. Tables of other tools hold probabilities rounded to two or
# three decimals; what this must catch is independent sigmoids and percentages, which are off by far more.
ROUNDING = 0.005 + 1e-9

UNFITTED_THRESHOLD = 0.5

# Under so many cases a class its figures have intervals so wide that ranks and comparisons say nothing.
FEW_CASES = 30

# Better the lower they are; every other metric is better the higher it is, but for those that describe the images.
LOWER_IS_BETTER = frozenset({"negative_likelihood_ratio", "brier", "log_loss"})
OF_THE_IMAGES = frozenset({"n", "support", "prevalence", "majority_baseline"})

# Of one class against the others: with more than two classes averaged over them.
_RATES = ("sensitivity", "specificity", "precision", "npv", "f1", "auroc", "average_precision")
_LIKELIHOOD_RATIOS = ("positive_likelihood_ratio", "negative_likelihood_ratio")


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
    if labels.size == 0:  # scikit-learn refuses an empty split
        return np.zeros((num_classes, num_classes), np.int64)
    return sklearn_confusion_matrix(labels, predicted, labels=np.arange(num_classes)).astype(np.int64)


def auroc(labels: Integers, scores: Floats) -> float:
    """Area under the ROC curve; NaN where one of the two classes has no case.

    Parameters and errors are those of `hard_labels.check_scores`.
    """
    check_scores(labels, scores)
    return _area(labels, scores)


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
    return _ratio(found, found + alarmed, "")[0], _ratio(cleared, cleared + missed, "")[0]


def metric_names(classes: Sequence[str], positive: str | None, *, ordered: bool = False) -> tuple[str, ...]:
    """List the keys of `Metrics.values` for such a task, in the order of the report.

    `prevalence` and the likelihood ratios are the positive class's, so only a binary task has them at the
    top. `quadratic_kappa` is there for classes that are said to be ordered.
    """
    binary = check_classes(classes, positive) is not None
    return (
        "n",
        *(("prevalence",) if binary else ()),
        *("accuracy", "majority_baseline", "balanced_accuracy", "sensitivity", "specificity", "precision", "npv", "f1"),
        *(_LIKELIHOOD_RATIOS if binary else ()),
        *("mcc", "kappa"),
        *(("quadratic_kappa",) if ordered else ()),
        *("auroc", "average_precision", "brier", "log_loss"),
    )


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


def classification_metrics(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    positive: str | None,
    threshold: float | None = None,
    *,
    ordered: bool = False,
) -> Metrics:
    """Every metric of one split, all rows at once.

    `precision` is the positive predictive value (PPV), `npv` the negative one. `average_precision` is the
    step-wise sum of scikit-learn, not the trapezoidal area under the precision-recall curve.
    `positive_likelihood_ratio` is sensitivity / (1 - specificity), `negative_likelihood_ratio`
    (1 - sensitivity) / specificity (Deeks and Altman, BMJ 329:168, 2004). `mcc` is Matthews' correlation
    coefficient, for several classes Gorodkin's R_K (Comput. Biol. Chem. 28:367, 2004); `kappa` is Cohen's
    (Educ. Psychol. Meas. 20:37, 1960), `quadratic_kappa` the same with disagreements weighted by the squared
    distance of the classes (Cohen, Psychol. Bull. 70:213, 1968). For `brier` and `log_loss` see `brier_score`
    and `log_loss`.

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
    index = check_classes(classes, positive)
    scores = check_probabilities(probabilities, len(classes))
    truth = check_labels(labels, len(classes), len(scores))
    predicted = predicted_classes(scores, classes, positive, threshold)
    check_table(truth, scores, classes, index)
    matrix = confusion_matrix(labels=truth, predicted=predicted, num_classes=len(classes))
    support = matrix.sum(axis=1)
    n = len(truth)

    figures = {
        "n": (float(n), ""),
        "accuracy": _ratio(int(np.trace(matrix)), n, causes.NO_IMAGES),
        "majority_baseline": _ratio(int(support.max()), n, causes.NO_IMAGES),
        "brier": (brier_score(truth, scores, index), "" if n else causes.NO_IMAGES),
        "log_loss": (log_loss(truth, scores), "" if n else causes.NO_IMAGES),
        **_agreement(matrix, _one_class(support, classes), _one_call(matrix, classes), ordered),
    }
    against_rest = {
        classes[k]: _one_versus_rest(matrix, k, classes[k], truth, scores[:, k])
        for k in (range(len(classes)) if index is None else (index,))
    }
    per_class: dict[str, dict[str, float]] = {}
    weighted: dict[str, Figure] = {}
    reasons: dict[str, str] = {}
    if index is not None:
        figures = against_rest[classes[index]] | figures  # agreement and losses have their reasons from both classes
        # The usual definition, for two classes as for several: the mean of their sensitivities.
        figures["balanced_accuracy"] = _mean([figures["sensitivity"], figures["specificity"]], np.ones(2))
    else:
        for name in _RATES:
            column = [told[name] for told in against_rest.values()]
            figures[name] = _mean(column, np.ones(len(classes)))
            weighted[name] = _mean(column, support)
        figures["balanced_accuracy"] = figures["sensitivity"]
        for label, told in against_rest.items():
            per_class[label] = {name: value for name, (value, _) in told.items()}
            reasons |= {f"{name}/{label}": cause for name, (_, cause) in told.items() if cause}
        reasons |= {f"weighted/{name}": cause for name, (_, cause) in weighted.items() if cause}
    names = metric_names(classes, positive, ordered=ordered)
    return Metrics(
        values={name: figures[name][0] for name in names},
        per_class=per_class,
        weighted={name: value for name, (value, _) in weighted.items()},
        reasons={name: figures[name][1] for name in names if figures[name][1]} | reasons,
        confusion=matrix,
        threshold=None if index is None else (UNFITTED_THRESHOLD if threshold is None else float(threshold)),
        threshold_fitted=threshold is not None,
    )


def brier_score(labels: Integers, probabilities: Floats, positive: int | None) -> float:
    """Mean squared distance of the probabilities from what came true; NaN without rows.

    In a binary task of the positive class's probability alone, from 0 to 1, as it is usually given; with
    more classes summed over them, from 0 to 2, as Brier defined it (Mon. Weather Rev. 78:1, 1950). The
    same choice as scikit-learn's.

    Parameters
    ----------
    labels : int64 array (n,)
        True class indices.
    probabilities : float64 array (n, K)
        One column a class.
    positive : int or None
        The index of the positive class; None with more than two classes.
    """
    if not labels.size:
        return float("nan")
    if positive is not None:
        return float(np.square(probabilities[:, positive] - (labels == positive)).mean())
    # sum_k (p_k - y_k)^2 = sum_k p_k^2 - 2 p_true + 1, but the latter loses the digits of a small distance.
    distance = probabilities.copy()
    distance[np.arange(labels.size), labels] -= 1
    return float(np.square(distance).sum(axis=1).mean())


def log_loss(labels: Integers, probabilities: Floats) -> float:
    """Mean of minus the natural logarithm of the true class's probability; NaN without rows.

    A probability below 2.2e-16, float64's epsilon, counts as that, as in scikit-learn: otherwise one row of
    0 would make the figure infinite. Parameters are those of `brier_score`.
    """
    if not labels.size:
        return float("nan")
    of_truth = probabilities[np.arange(labels.size), labels]
    epsilon = np.finfo(np.float64).eps
    return float(-np.log(np.clip(of_truth, epsilon, 1 - epsilon)).mean())


def _one_class(support: Integers, classes: Sequence[str]) -> str:
    """Say that all rows, or no rows, are of one class; empty text where there are more."""
    if not support.any():
        return causes.NO_IMAGES
    return causes.all_images_of(classes[int(support.argmax())]) if (support > 0).sum() == 1 else ""


def _one_call(matrix: Integers, classes: Sequence[str]) -> str:
    """Say that all rows were called one class; empty text where they were not."""
    called = matrix.any(axis=0)
    return causes.all_called(classes[int(called.argmax())]) if called.sum() == 1 else ""


def _agreement(matrix: Integers, one_class: str, one_call: str, ordered: bool) -> dict[str, Figure]:
    """MCC and kappa of a confusion matrix, whose cells stand for its rows as weighted samples.

    With one class alone neither exists, with one call no MCC, for the reasons given.
    """
    kappas = {"kappa": None} | ({"quadratic_kappa": "quadratic"} if ordered else {})
    if one_class:
        return dict.fromkeys(("mcc", *kappas), (float("nan"), one_class))
    whole = np.arange(len(matrix))
    cells = {"y_true": np.repeat(whole, len(whole)), "y_pred": np.tile(whole, len(whole))}
    weights = matrix.ravel()
    mcc = float("nan") if one_call else float(matthews_corrcoef(**cells, sample_weight=weights))
    figures: dict[str, Figure] = {"mcc": (mcc, one_call)}
    for name, kind in kappas.items():
        value = cohen_kappa_score(*cells.values(), labels=whole, weights=kind, sample_weight=weights)
        figures[name] = (float(value), "")
    return figures


def _one_versus_rest(matrix: Integers, k: int, name: str, truth: Integers, scores: Floats) -> dict[str, Figure]:
    """One class against all others."""
    n, hits = int(matrix.sum()), int(matrix[k, k])
    cases, calls = int(matrix[k].sum()), int(matrix[:, k].sum())
    others, alarms = n - cases, calls - hits
    no_case = causes.no_image_of(name) if cases == 0 else ""
    no_other = causes.no_image_but_of(name) if others == 0 else ""
    one_class = causes.NO_IMAGES if n == 0 else no_case or no_other
    none_called = causes.none_called(name)
    no_alarm = none_called if calls == 0 else causes.no_other_called(name)
    labels = (truth == k).astype(np.int64)
    ratios = {
        "prevalence": (cases, n, causes.NO_IMAGES),
        "sensitivity": (hits, cases, no_case),
        "specificity": (others - alarms, others, no_other),
        # Of images of one class each call is right, or each is wrong, whatever the classifier.
        "precision": (hits, 0 if one_class else calls, one_class or none_called),
        "npv": (others - alarms, 0 if one_class else n - calls, one_class or causes.all_called(name)),
        # Without a case F1 is 0 whatever is predicted, which says nothing of the classifier.
        "f1": (2 * hits, cases + calls if cases else 0, no_case),
        # Cross-multiplied, so that whole numbers are divided once.
        "positive_likelihood_ratio": (hits * others, cases * alarms, one_class or no_alarm),
        "negative_likelihood_ratio": (
            (cases - hits) * others,
            cases * (others - alarms),
            one_class or causes.all_others_called(name),
        ),
    }
    figures = {
        metric: _ratio(above, below, cause if n else causes.NO_IMAGES)
        for metric, (above, below, cause) in ratios.items()
    }
    figures["auroc"] = (_area(labels, scores), one_class)
    figures["average_precision"] = (
        float("nan") if one_class else float(average_precision_score(labels, scores)),
        one_class,
    )
    of_class = np.column_stack([1 - scores, scores])
    two = np.array([[others - alarms, alarms], [cases - hits, hits]])
    every_called = causes.all_called(name) if calls == n else ""
    figures |= _agreement(two, one_class, none_called if calls == 0 else every_called, ordered=False)
    figures["brier"] = (brier_score(labels, of_class, 1), "" if n else causes.NO_IMAGES)
    figures["log_loss"] = (log_loss(labels, of_class), "" if n else causes.NO_IMAGES)
    return {"support": (float(cases), ""), **figures}


def _area(labels: Integers, scores: Floats) -> float:
    return float(roc_auc_score(labels, scores)) if 0 < labels.sum() < labels.size else float("nan")


def _roc_points(labels: Integers, scores: Floats) -> tuple[Floats, Floats]:
    """Sensitivity and specificity at every threshold; empty where one of the two classes has no case."""
    check_scores(labels, scores)
    negatives = int((labels == 0).sum())
    if negatives in (0, labels.size):
        return np.empty(0), np.empty(0)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    # From counts: 1 - 1/10 is not always what a person types as 0.9.
    return true, (negatives - np.rint(false * negatives)) / negatives


def _mean(figures: Sequence[Figure], weights: NDArray[Any]) -> Figure:
    """Average of the figures that weigh anything: undefined, for the same reasons, as soon as one of them is."""
    counted = [(figure, weight) for figure, weight in zip(figures, weights, strict=True) if weight]
    found = dict.fromkeys(cause for (_, cause), _ in counted if cause)
    if not counted:
        return float("nan"), causes.NO_IMAGES
    value = np.average([value for (value, _), _ in counted], weights=[weight for _, weight in counted])
    return float(value), "; ".join(found)


def _ratio(above: float, below: float, cause: str) -> Figure:
    return (above / below, "") if below else (float("nan"), cause)


def _check_share(name: str, value: float) -> None:
    if isinstance(value, bool) or not 0.0 <= value <= 1.0:
        raise MedclsError(f"The {name} is {value}: give a share, from 0 to 1.", kind="bad_value")
