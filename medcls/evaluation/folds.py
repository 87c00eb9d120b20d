"""The figures of a cross-validation: of each fold, their mean, and of the pooled out-of-fold rows."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medcls.errors import MedclsError
from medcls.evaluation.predictions import Predictions
from medcls.statistics.intervals import intervals, split_intervals
from medcls.statistics.metrics import check_classes, predicted_classes
from medcls.statistics.resampling import group_numbers
from medcls.statistics.split import Split

MEAN, POOLED = "mean", "pooled"

# In the column `split`: each row judged by the one network that had not seen it.
OUT_OF_FOLD = "out_of_fold"


def over_folds(
    folds: Sequence[Predictions],
    thresholds: Sequence[float | None] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Give each fold's figures, then their mean, then those of all folds' rows in one table.

    Parameters
    ----------
    folds : sequence of Predictions
        Of each fold's own held-out rows, in the order of the folds.
    thresholds : sequence of float or None, optional
        Each fold's operating point in a binary task; 0.5 where there is none. Pooled, every row keeps
        the call of its own fold.
    resamples, seed : int
        As of `intervals`.

    Returns
    -------
    DataFrame
        `fold`, the columns of `intervals`, and `sd`. The fold is "0", "1", ..., "mean" or "pooled".
        `sd` is the standard deviation over folds, in the rows of the mean alone, which have no interval:
        the folds share their training images, so there is no unbiased estimate of the variance of their
        mean (Bengio and Grandvalet 2004). The pooled rows set scores of different models against each
        other, and say so.

    Raises
    ------
    MedclsError
        Fewer than two folds, different classes, an image in two folds, or another number of thresholds.
    """
    points = list(thresholds) if thresholds is not None else [None] * len(folds)
    _check(folds, points)
    first = folds[0]
    tables = [
        intervals(
            fold.labels(),
            fold.probabilities(),
            fold.classes,
            fold.positive,
            fold.clusters,
            point,
            resamples,
            seed,
        )
        for fold, point in zip(folds, points, strict=True)
    ]
    labels = np.concatenate([fold.labels() for fold in folds])
    predicted = [
        predicted_classes(fold.probabilities(), fold.classes, fold.positive, point)
        for fold, point in zip(folds, points, strict=True)
    ]
    together = Split(
        labels=labels,
        predicted=np.concatenate(predicted),
        scores=np.concatenate([fold.probabilities() for fold in folds]),
        groups=group_numbers(pooled(folds).clusters, len(labels)),
        classes=first.classes,
        positive=check_classes(first.classes, first.positive),
    )
    of_all = split_intervals(together, resamples, seed)
    mixes = f"mixes models: one ranking of the scores of {len(folds)} networks"
    of_all["note"] = [f"{mixes}; {note}" if note else mixes for note in of_all["note"]]
    parts = {**{str(number): table for number, table in enumerate(tables)}, MEAN: _mean(tables), POOLED: of_all}
    for name, part in parts.items():
        part.insert(0, "fold", name)
        if name != MEAN:
            part["sd"] = np.nan
    return pd.concat(parts.values(), ignore_index=True)


def pooled(folds: Sequence[Predictions]) -> Predictions:
    """Put the held-out rows of all folds into one table, in the order of the folds.

    Its rows come from different networks, whose scores are set against each other: `split` is `out_of_fold`, and
    `checkpoint` says how many there were.
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
                f"{', '.join(folds[0].classes)} (positive: {folds[0].positive}): they are no folds of one task.",
                kind="different_classes",
            )
    paths = pd.concat([fold.rows["path"] for fold in folds])
    twice = paths[paths.duplicated()]
    if len(twice):
        raise MedclsError(
            f"{len(twice)} image(s) are in two folds, as {twice.iloc[0]!r}: every image is held out by one fold alone.",
            kind="image_in_two_folds",
        )
