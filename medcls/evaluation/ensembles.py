"""The mean of several predictions of the same images: of the folds of a cross-validation, or of views."""

from collections.abc import Sequence

import numpy as np

from medcls.errors import MedclsError
from medcls.evaluation.comparing import check_paired
from medcls.evaluation.predictions import LOGIT, Predictions, uncalibrated

# In the column `checkpoint`, for the weights of several networks.
ENSEMBLE = "ensemble"


def mean_of(tables: Sequence[Predictions], checkpoint: str) -> Predictions:
    """Average the networks' uncalibrated probabilities of each image.

    Calibration, threshold and label sets of the members do not carry over to the mean.

    Parameters
    ----------
    tables : sequence of Predictions
        Of the same images.
    checkpoint : str
        Its name in the column `checkpoint`.

    Returns
    -------
    Predictions
        In the order of the first table. There are no logits; `ood` is the mean energy, if all have one.

    Raises
    ------
    MedclsError
        No table, or tables of other images or classes.
    """
    if not tables:
        raise MedclsError("There are no predictions to average.", kind="no_predictions")
    first = tables[0]
    for number, table in enumerate(tables[1:], start=2):
        check_paired(first, table, ("the first member", f"member {number}"))
    paths = first.rows["path"]
    aligned = [uncalibrated(table).rows.set_index("path").loc[paths].reset_index() for table in tables]
    scores = [Predictions(rows, first.classes, first.positive).probabilities() for rows in aligned]
    rows = aligned[0].drop(columns=[LOGIT + name for name in first.classes], errors="ignore")
    if all("ood" in table for table in aligned):
        rows = rows.assign(ood=np.mean([table["ood"].to_numpy(np.float64) for table in aligned], axis=0))
    rows = rows.assign(checkpoint=checkpoint)
    return Predictions(rows, first.classes, first.positive).with_probabilities(np.mean(scores, axis=0))
