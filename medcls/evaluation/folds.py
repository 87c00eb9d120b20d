"""The metrics of a cross-validation: of each fold, their mean, and of the pooled out-of-fold rows."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from medcls.errors import MedclsError
from medcls.evaluation.interval_table import interval_table
from medcls.evaluation.predictions import Predictions
from medcls.statistics.hard_labels import check_scores
from medcls.statistics.intervals import intervals

MEAN, POOLED = "mean", "pooled"

# In the column `split`: each row is predicted by the one network not trained on it.
OUT_OF_FOLD = "out_of_fold"


def over_folds(
    folds: Sequence[Predictions],
    thresholds: Sequence[float | None] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return each fold's metrics, their mean, and the metrics of all folds' rows pooled.

    Parameters
    ----------
    folds : sequence of Predictions
        Of each fold's held-out rows, in the order of the folds.
    thresholds : sequence of float or None, optional
        Each fold's operating point in a binary task; 0.5 without one. Pooled rows keep the prediction of their fold.
    resamples, seed : int
        As of `intervals`.

    Returns
    -------
    DataFrame
        `fold`, the columns of `interval_table`, and `sd`. The fold is "0", "1", ..., "mean" or "pooled". `sd` is the
        standard deviation over folds, for the mean alone, which has no interval: folds share training images, so there
        is no unbiased estimate of the variance of their mean (Bengio and Grandvalet 2004). Pooled rows rank scores of
        different models together; their note says so.

    Raises
    ------
    MedclsError
        Fewer than two folds, different classes, an image in two folds, another number of thresholds, or hard labels.
    """
    points = list(thresholds) if thresholds is not None else [None] * len(folds)
    _check(folds, points)
    splits = [fold.to_split(point) for fold, point in zip(folds, points, strict=True)]
    for split in splits:
        check_scores(split)
    tables = [interval_table(intervals(split, resamples, seed)) for split in splits]
    together = dataclasses.replace(
        splits[0],
        labels=np.concatenate([split.labels for split in splits]),
        predicted=np.concatenate([split.predicted for split in splits]),
        scores=np.concatenate([split.scores for split in splits]),
        groups=pooled(folds).to_split().groups,
        threshold=None,
    )
    overall = interval_table(intervals(together, resamples, seed))
    mixed = f"mixes models: one ranking of the scores of {len(folds)} networks"
    overall["note"] = [f"{mixed}; {note}" if note else mixed for note in overall["note"]]
    parts = {**{str(number): table for number, table in enumerate(tables)}, MEAN: _mean(tables), POOLED: overall}
    for name, part in parts.items():
        part.insert(0, "fold", name)
        if name != MEAN:
            part["sd"] = np.nan
    return pd.concat(parts.values(), ignore_index=True)


def pooled(folds: Sequence[Predictions]) -> Predictions:
    """Concatenate the held-out rows of all folds, in the order of the folds.

    `split` is `out_of_fold`, and `checkpoint` says how many networks there are.
    """
    _check(folds, [None] * len(folds))
    rows = pd.concat([fold.rows for fold in folds], ignore_index=True)
    rows = rows.assign(split=OUT_OF_FOLD, checkpoint=f"{len(folds)} networks")
    return Predictions(rows, folds[0].classes, folds[0].positive)


def _mean(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    estimates = np.stack([table["estimate"].to_numpy(np.float64) for table in tables])
    mean = tables[0].copy()
    mean["estimate"], mean["sd"] = estimates.mean(axis=0), estimates.std(axis=0, ddof=1)
    mean["low"] = mean["high"] = np.nan
    mean["method"] = f"mean of {len(tables)} folds"
    mean["n"] = sum(table["n"] for table in tables)
    missing = np.isnan(estimates).sum(axis=0)
    mean["note"] = [
        f"undefined in {count} of {len(tables)} folds" if count else "sd over folds, which is no interval"
        for count in missing
    ]
    return mean


def _check(folds: Sequence[Predictions], points: Sequence[float | None]) -> None:
    if len(folds) < 2 or len(points) != len(folds):
        raise MedclsError(
            f"{len(folds)} folds and {len(points)} thresholds: give two folds or more, and a threshold for each.",
            kind="bad_number_of_folds",
        )
    for number, fold in enumerate(folds):
        if (fold.classes, fold.positive) != (folds[0].classes, folds[0].positive):
            raise MedclsError(
                f"Fold {number} has the classes {', '.join(fold.classes)} (positive: {fold.positive}), fold 0 has "
                f"{', '.join(folds[0].classes)} (positive: {folds[0].positive}): they are not folds of one task.",
                kind="different_classes",
            )
    paths = pd.concat([fold.rows["path"] for fold in folds])
    twice = paths[paths.duplicated()]
    if len(twice):
        raise MedclsError(
            f"{len(twice)} image(s) are in two folds, as {twice.iloc[0]!r}: each image belongs to one fold.",
            kind="image_in_two_folds",
        )
