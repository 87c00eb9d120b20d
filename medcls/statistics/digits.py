"""How many decimals a probability is shown with: three, and more where these would not tell images apart."""

import numpy as np

from medcls.statistics.arrays import Floats

LEAST, MOST = 3, 12
CALLED_OTHERWISE = 0.01
"""The share of calls that rounding a threshold may change."""


def of_threshold(threshold: float, scores: Floats) -> int:
    """With how many decimals a threshold still calls (nearly) all of these scores `(n,)` as it does itself."""
    predicted_positive = scores >= threshold
    for decimals in range(LEAST, MOST):
        if ((scores >= round(threshold, decimals)) != predicted_positive).mean() <= CALLED_OTHERWISE:
            return decimals
    return MOST


def of_probabilities(values: Floats) -> int:
    """With how many decimals these probabilities `(n,)` are told apart: a tenth of what they span, at least."""
    span = float(np.ptp(values)) if len(values) else 0.0
    return LEAST if span == 0 else int(np.clip(np.ceil(-np.log10(span)) + 1, LEAST, MOST))


def probability(value: float, decimals: int = LEAST) -> str:
    """Write a probability; one that is not quite 0 or 1 is not rounded to it."""
    while decimals < MOST and 0 < value < 1 and round(value, decimals) in (0.0, 1.0):
        decimals += 1
    return f"{value:.{decimals}f}"
