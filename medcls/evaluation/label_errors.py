"""Probable label errors, by confident learning on out-of-fold predictions."""

import dataclasses

import numpy as np
import pandas as pd

from medcls.errors import MedclsError
from medcls.evaluation.folds import OUT_OF_FOLD
from medcls.evaluation.predictions import Predictions
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.digits import rounded
from medcls.statistics.intervals import intervals
from medcls.statistics.metric_table import BY_IDENTIFIER, MACRO


@dataclasses.dataclass(frozen=True)
class LabelErrors:
    """Suspected label errors among rows out of fold.

    Parameters
    ----------
    rows : DataFrame
        One a suspect, the most certain first: `path`, `label` as given, `suggested`, `probability_of_label`,
        `probability_of_suggested`, `group`.
    joint : DataFrame
        Estimated numbers of images by given label (rows) and true label (columns).
    n : int
        Number of images.
    unknown : str
        Why nothing can be said of the labels; empty if something can. Then there are no rows.
    """

    rows: pd.DataFrame
    joint: pd.DataFrame
    n: int
    unknown: str = ""

    def sentence(self) -> str:
        """Return their number, and what is unknown, in words."""
        if self.unknown:
            return f"No label is suspected: {self.unknown}."
        if self.rows.empty:
            return f"Of {self.n:,} images none is suspected of a wrong label."
        return (
            f"Of {self.n:,} images about {len(self.rows):,} ({len(self.rows) / self.n:.1%}) are estimated to be "
            "labelled wrongly, and the most likely ones are listed. Look at each of them: a hard case that the "
            "classifier gets wrong looks the same to this method."
        )


def label_errors(table: Predictions) -> LabelErrors:
    """Estimate how many labels are wrong, class by class, and return the most likely images.

    Confident learning: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
    Labels", Journal of Artificial Intelligence Research 70. The true class of a row is taken to be j if its
    probability of j is at least the mean of that probability over the rows labelled j (of several such classes, the
    most probable). Counts by given and true class, scaled to the given labels' numbers (equations 1 to 3), estimate how
    many rows of each label belong to each other class; as many are returned, by the largest margin of the other class
    over the given one ("prune by noise rate").

    With scores that do not rank the classes better than chance about half of all labels would be suspected; then none
    is, and the result says so.

    Parameters
    ----------
    table : Predictions
        Out of fold: a network repeats the labels that it was trained on, right or wrong.

    Raises
    ------
    MedclsError
        Rows of another split.
    """
    if table.split != OUT_OF_FOLD:
        raise MedclsError(
            f"Label errors need out-of-fold predictions, and these are of {table.split or 'no'} split: a network "
            "repeats the labels that it was trained on.",
            kind="not_out_of_fold",
        )
    labels, probabilities = table.labels(), table.probabilities()
    joint = confident_joint(labels, probabilities)
    unknown = _no_better_than_chance(table)
    found = {} if unknown else prune_by_noise_rate(labels, probabilities, joint)
    rows, names = table.rows.iloc[list(found)], np.array(table.classes, dtype=object)
    taken = np.fromiter(found, dtype=np.int64, count=len(found))
    other = np.fromiter(found.values(), dtype=np.int64, count=len(found))
    suspects = pd.DataFrame(
        {
            "path": rows["path"].to_numpy(),
            "label": rows["label"].to_numpy(),
            "suggested": names[other],
            "probability_of_label": probabilities[taken, labels[taken]],
            "probability_of_suggested": probabilities[taken, other],
            "group": rows["group"].to_numpy(),
        }
    )
    return LabelErrors(suspects, pd.DataFrame(joint, index=list(names), columns=list(names)), len(table), unknown)


def _no_better_than_chance(table: Predictions) -> str:
    """Return a reason unless the interval of the AUROC (with more classes of their mean) lies above 0.5."""
    auroc = BY_IDENTIFIER["auroc"]
    area = intervals(table.to_split(), metrics=[auroc])[auroc.identifier, table.positive or MACRO]
    if area.low > 0.5:
        return ""
    if np.isnan(area.estimate):
        return f"the AUROC is undefined ({area.note})"
    limits = "" if np.isnan(area.low) else f" (95% interval {rounded(area.low)} to {rounded(area.high)})"
    return f"the AUROC of {rounded(area.estimate)} is not above chance{limits}"


def confident_joint(labels: Integers, probabilities: Floats) -> Floats:
    """Estimated numbers of rows by given (first axis) and true class, float64 `(K, K)`; they sum to n.

    Parameters
    ----------
    labels : ndarray
        Given class indices `(n,)`; every class has a row.
    probabilities : ndarray
        Out of fold, `(n, K)`.
    """
    classes = probabilities.shape[1]
    given = np.bincount(labels, minlength=classes).astype(np.float64)
    thresholds = np.array([probabilities[labels == k, k].mean() if given[k] else np.inf for k in range(classes)])
    # Rounding must not put a row below a mean that all rows of a class share.
    confident = probabilities >= thresholds - 1e-12
    true = np.where(confident, probabilities, -1.0).argmax(axis=1)
    counted = confident.any(axis=1)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels[counted], true[counted]), 1)
    # A class without a confident row is taken as labelled.
    alone = counts.sum(axis=1) == 0
    counts[alone, alone] = 1
    joint = counts / counts.sum(axis=1, keepdims=True) * given[:, None]
    return np.asarray(joint / joint.sum() * len(labels))


def prune_by_noise_rate(labels: Integers, probabilities: Floats, joint: Floats) -> dict[int, int]:
    """Return the rows that most likely belong to another class than labelled, and which; the most certain first.

    For each label as many as `joint` has of each other class, by the margin of that class over the given one; never a
    row whose label is its most probable class.
    """
    own = probabilities[np.arange(len(labels)), labels]
    margins: dict[int, tuple[float, int]] = {}
    for given in range(len(joint)):
        rows = np.flatnonzero(labels == given)
        for true in range(len(joint)):
            if true == given:
                continue
            margin = probabilities[rows, true] - own[rows]
            largest = np.argsort(-margin, kind="stable")[: round(joint[given, true])]
            for place in largest[margin[largest] > 0].tolist():
                row = int(rows[place])
                margins[row] = max(margins.get(row, (-1.0, true)), (float(margin[place]), true))
    ordered = sorted(margins, key=lambda row: -margins[row][0])
    return {row: margins[row][1] for row in ordered}
