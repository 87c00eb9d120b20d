"""Images to look at: the most confident errors, and the images closest to the decision threshold."""

import dataclasses

import numpy as np

from medcls.evaluation.assessment import Assessment
from medcls.report.pages.names import Names
from medcls.report.pages.parts import Thumbnail
from medcls.report.phrases import formatted, isolated
from medcls.report.sources import Sources
from medcls.statistics.digits import of_probabilities
from medcls.statistics.metrics import UNFITTED_THRESHOLD, predicted_classes

SHOWN = 8
"""How many errors, and how many uncertain images, are shown."""


@dataclasses.dataclass(frozen=True)
class Example:
    """An image with its true class, its predicted class and a probability in the caption.

    `heat_map` is that of the predicted class; None if heat maps are not provided, or not for this image.
    """

    name: str
    thumbnail: Thumbnail
    caption: str
    heat_map: Thumbnail | None = None


def examples(
    assessment: Assessment, sources: Sources, names: Names, *, images: bool, most: int = SHOWN
) -> tuple[list[Example], list[Example]]:
    """Return the most confident errors, and the least certain images.

    Confidence is the distance of the probability from the threshold in a binary task, otherwise the largest
    probability.

    Parameters
    ----------
    assessment : Assessment
    sources : Sources
        Gives the thumbnails.
    names : Names
        Gives the names of images.
    images : bool
        Whether to include thumbnails.
    most : int
        Number of errors, and of uncertain images.
    """
    table, rules = assessment.table, assessment.decision_rules
    probabilities, labels = table.probabilities(), table.labels()
    predicted = predicted_classes(probabilities, table.classes, table.positive, rules.threshold)
    if table.positive is None:
        of_class, confidence = predicted, probabilities.max(axis=1)
    else:
        index = table.classes.index(table.positive)
        of_class = np.full(len(predicted), index)
        threshold = UNFITTED_THRESHOLD if assessment.metrics.threshold is None else assessment.metrics.threshold
        confidence = np.abs(probabilities[:, index] - threshold)
    paths, decimals = table.rows["path"], of_probabilities(probabilities[np.arange(len(of_class)), of_class])

    def example(row: int, *, explained: bool = False) -> Example:
        path, k = str(paths.iloc[row]), int(of_class[row])
        truth, prediction = isolated(table.classes[labels[row]]), isolated(table.classes[predicted[row]])
        probability = formatted(None, float(probabilities[row, k]), decimals)
        thumbnail = Thumbnail() if sources.thumbnail is None or not images else sources.thumbnail(path)
        caption = f"{truth}, predicted {prediction}: probability of class {isolated(table.classes[k])} {probability}"
        heat_map = None
        if explained and sources.heat_map is not None and images:
            heat_map = sources.heat_map(path, table.classes[predicted[row]])
        return Example(names.of(path), thumbnail, caption, heat_map)

    wrong = np.flatnonzero(predicted != labels)
    errors = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    uncertain = np.argsort(confidence, kind="stable")[:most]
    return [example(int(row), explained=True) for row in errors], [example(int(row)) for row in uncertain]
