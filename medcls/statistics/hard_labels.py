"""Hard labels in the place of scores: how they are told apart, and what their "AUROC" really is.

The rule: a table of probabilities holds hard labels when *every* value in it is exactly 0 or 1. A single
value in between, in any row and column, makes it a table of scores, however extreme the others are. What
medcls predicts never holds an exact 0 (`predictions.from_logits`), so only tables of other tools can fall
under the rule; one whose network is so sure that each row rounds to 0 or 1 does, and the error says so.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medcls.errors import MedclsError


def are_hard_labels(scores: NDArray[np.float64]) -> bool:
    """Whether every value is exactly 0 or 1, in an array of any shape that is not empty."""
    return bool(scores.size and np.isin(scores, (0.0, 1.0)).all())


def check_table(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], classes: Sequence[str], positive: int | None
) -> None:
    """Refuse a whole table of hard labels.

    Parameters
    ----------
    labels : int64 array (n,)
        True class indices.
    probabilities : float64 array (n, K)
        One column a class. One class's column alone may well be all zeros.
    classes : sequence of str
        Class names in the order of the columns.
    positive : int or None
        The index of the positive class; None with more than two classes.

    Raises
    ------
    MedclsError
        Every value is exactly 0 or 1. The message says what the "AUROC" would have been: of the positive
        class, or of the first class against the others.
    """
    if are_hard_labels(probabilities):
        predicted = 0 if positive is None else positive
        raise _refusal((labels == predicted).astype(np.int64), probabilities[:, predicted], classes[predicted])


def check_scores(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
    """Refuse hard labels in the place of the one column of scores that a ROC curve is drawn from.

    A column that is 0 throughout, or 1 throughout, is let pass: it may belong to a class that a network
    never thinks of, and it ranks nothing, so that its area is 0.5 as it should be.

    Parameters
    ----------
    labels : int64 array (n,)
        1 for the class in question, 0 for the others.
    scores : float64 array (n,)
        How much each row speaks for the class in question.

    Raises
    ------
    MedclsError
        Every score is exactly 0 or 1, and both occur. The message says what their "AUROC" would have been.
    """
    if are_hard_labels(scores) and scores.min() < scores.max():
        raise _refusal(labels, scores, None)


def _refusal(labels: NDArray[np.int64], predicted: NDArray[np.float64], name: str | None) -> MedclsError:
    """Word the error for one class (1) against the others (0).

    A curve through (0, 0), (1 - specificity, sensitivity) and (1, 1) has the area (sensitivity +
    specificity) / 2 by the trapezoidal rule.
    """
    message = (
        "AUROC needs scores, and these are hard labels: every value is exactly 0 or 1. Their ROC curve has a single "
        "corner"
    )
    if 0 < labels.sum() < labels.size:
        sensitivity, specificity = float(predicted[labels == 1].mean()), float(1 - predicted[labels == 0].mean())
        whose = f" of {name!r} against the rest" if name else ""
        message += (
            f", and the area under it, the ROC AUC {(sensitivity + specificity) / 2:.4f}, is the balanced accuracy"
            f"{whose} (the mean of sensitivity {sensitivity:.4f} and specificity {specificity:.4f}), not an AUROC"
        )
    return MedclsError(
        f"{message}. Give each class's probability. If these did come from a network, its outputs are so large that "
        "they all round to 0 or 1: lower the learning rate, and take the softmax in float64.",
        kind="hard_labels",
    )
