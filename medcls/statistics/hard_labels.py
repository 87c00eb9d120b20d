"""Hard labels in the place of scores: how they are recognised, and what their "AUROC" really is.

The rule: a table of probabilities holds hard labels when *every* value in it is exactly 0 or 1. A single value in
between, in any row and column, makes it a table of scores. medcls never predicts an exact 0
(`predictions.from_logits`), so only tables of other tools can fall under the rule; so does one of a network whose
outputs all round to 0 or 1, and the error says so.
"""

import numpy as np
from numpy.typing import NDArray

from medcls.errors import MedclsError
from medcls.statistics.split import Split


def are_hard_labels(scores: NDArray[np.float64]) -> bool:
    """Whether every value is exactly 0 or 1, in an array of any shape that is not empty."""
    return bool(scores.size and np.isin(scores, (0.0, 1.0)).all())


def check_scores(split: Split) -> None:
    """Refuse a split of hard labels where scores are needed.

    Raises
    ------
    MedclsError
        Every value is exactly 0 or 1. The message says what the "AUROC" would have been, of the positive class or of
        the first class against the rest: the ROC curve through (0, 0), (1 - specificity, sensitivity) and (1, 1) has
        the area (sensitivity + specificity) / 2 by the trapezoidal rule.
    """
    if not are_hard_labels(split.scores):
        return
    k = split.positive or 0
    is_case, predicted = split.labels == k, split.scores[:, k]
    message = (
        "AUROC needs scores, and these are hard labels: every value is exactly 0 or 1. Their ROC curve has a single "
        "corner"
    )
    if 0 < is_case.sum() < is_case.size:
        sensitivity, specificity = float(predicted[is_case].mean()), float(1 - predicted[~is_case].mean())
        message += (
            f", and the area under it, the ROC AUC {(sensitivity + specificity) / 2:.4f}, is the balanced accuracy of "
            f"{split.classes[k]!r} against the rest (the mean of sensitivity {sensitivity:.4f} and specificity "
            f"{specificity:.4f}), not an AUROC"
        )
    raise MedclsError(
        f"{message}. Give each class's probability. If these come from a network, its outputs are so large that they "
        "all round to 0 or 1: lower the learning rate, and compute the softmax in float64.",
        kind="hard_labels",
    )
