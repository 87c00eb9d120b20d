"""Whether scores differ between images at all."""

import numpy as np
from scipy.special import logsumexp

from medcls.evaluation.predictions import Predictions
from medcls.statistics.arrays import Floats

NEARLY_SAME = 0.01
"""Log odds with a smaller standard deviation over the images count as one answer for every image.

Odds then differ by about a hundredth, and a threshold between them depends on rounding. A temperature, which scales log
odds at most tenfold, would not change that.
"""


def log_odds(table: Predictions) -> Floats:
    """Return one-vs-rest log odds, float64 `(n, K)`, from logits if there are any, else from probabilities."""
    probabilities = np.clip(table.probabilities(), np.finfo(np.float64).tiny, None)
    scores = table.logits().astype(np.float64) if table.has_logits else np.log(probabilities)
    columns = range(scores.shape[1])
    return np.stack([scores[:, k] - logsumexp(np.delete(scores, k, axis=1), axis=1) for k in columns], axis=1)


def spread(table: Predictions) -> float:
    """Return the largest standard deviation of a class's log odds over the images."""
    return float(log_odds(table).std(axis=0).max())


def too_alike(table: Predictions) -> str | None:
    """Return a sentence if a table has nearly the same prediction for every image, else None."""
    if len(table) < 2 or not (deviation := spread(table)) < NEARLY_SAME:
        return None
    name = table.classes[1] if table.positive is None else table.positive
    of_class = table.probabilities()[:, table.classes.index(name)]
    return (
        f"Nearly the same prediction for every image of {table.split or 'this table'}: the log odds of a class have a "
        f"standard deviation of {deviation:.2g}, and the probability of class {name} lies between "
        f"{of_class.min():.6g} and {of_class.max():.6g}."
    )
