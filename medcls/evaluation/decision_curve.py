"""Whether acting on the classifier does more good than treating everybody or nobody."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medcls.errors import MedclsError
from medcls.evaluation.metrics import Floats, Integers
from medcls.evaluation.predictions import Predictions

DEFAULT_THRESHOLDS = tuple(step / 100 for step in range(1, 100))


def decision_curve(table: Predictions, thresholds: Sequence[float] = DEFAULT_THRESHOLDS) -> pd.DataFrame:
    """Net benefit of the classifier, of treating all and of treating none, over threshold probabilities.

    `TP / n - FP / n * t / (1 - t)`: Vickers and Elkin 2006, "Decision curve analysis: a novel method for evaluating
    prediction models". The threshold t is the probability at which a person would act: who acts at 0.1 holds a
    missed case nine times as bad as a needless treatment. The unit is true positives for each row; it needs
    calibrated probabilities, and holds at the prevalence of these rows.

    Parameters
    ----------
    table : Predictions
        A binary table with rows.
    thresholds : sequence of float
        From 0 up to but without 1, where no number of true positives outweighs a false one.

    Returns
    -------
    DataFrame
        One row a threshold, as given: `threshold, n, true_positives, false_positives` (rows with at least this
        probability), and the net benefits `model`, `treat_all`, `treat_none` (0 throughout).

    Raises
    ------
    MedclsError
        More than two classes, no rows, or a threshold outside that range.
    """
    if table.positive is None:
        raise MedclsError(f"A decision curve belongs to a binary task; there are {len(table.classes)} classes.")
    if len(table) == 0:
        raise MedclsError("A decision curve needs rows, and the table has none.")
    at = np.asarray(thresholds, np.float64)
    outside = at[~((at >= 0) & (at < 1))]
    if len(outside):
        raise MedclsError(f"A decision curve has thresholds from 0 up to but without 1; {outside[0]:g} is none.")
    index = table.classes.index(table.positive)
    scores, case = table.probabilities()[:, index], table.labels() == index
    n, odds = len(case), at / (1 - at)
    hits = _at_least(scores[case], at)
    alarms = _at_least(scores[~case], at)
    return pd.DataFrame(
        {
            "threshold": at,
            "n": n,
            "true_positives": hits,
            "false_positives": alarms,
            "model": (hits - alarms * odds) / n,
            "treat_all": (case.sum() - (~case).sum() * odds) / n,
            "treat_none": 0.0,
        }
    )


def _at_least(scores: Floats, thresholds: Floats) -> Integers:
    """How many scores reach each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
