"""Whether scores tell images apart at all: how far the answers differ from image to image."""

import numpy as np
from scipy.special import logsumexp

from medcls.evaluation.predictions import Predictions
from medcls.statistics.arrays import Floats

NEARLY_SAME = 0.01
"""Log odds that differ from image to image by less, in standard deviations, are called one answer for every image.

Odds then differ by about a hundredth, and a threshold between them is a matter of rounding. A temperature, which
sharpens tenfold at most, would not change that.
"""


def log_odds(table: Predictions) -> Floats:
    """Of each class against all others, float64 `(n, K)`, from logits where there are some, else from probabilities."""
    probabilities = np.clip(table.probabilities(), np.finfo(np.float64).tiny, None)
    scores = table.logits().astype(np.float64) if table.has_logits else np.log(probabilities)
    columns = range(scores.shape[1])
    return np.stack([scores[:, k] - logsumexp(np.delete(scores, k, axis=1), axis=1) for k in columns], axis=1)


def spread(table: Predictions) -> float:
    """Standard deviation of a class's log odds over the images: of the class in which it is greatest."""
    return float(log_odds(table).std(axis=0).max())


def too_alike(table: Predictions) -> str | None:
    """Say that a table gives nearly the same answer for every image; None where it does not, or has one image."""
    if len(table) < 2 or not (found := spread(table)) < NEARLY_SAME:
        return None
    name = table.classes[1] if table.positive is None else table.positive
    of_class = table.probabilities()[:, table.classes.index(name)]
    return (
        f"Nearly the same answer for every image of {table.split or 'this table'}: the log odds of a class have a "
        f"standard deviation of {found:.2g}, and the probability of {name} lies between {of_class.min():.6g} and "
        f"{of_class.max():.6g}."
    )
