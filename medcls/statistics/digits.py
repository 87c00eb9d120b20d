"""How many decimals a probability is shown with: three, or more where three would not tell images apart."""

import numpy as np

from medcls.statistics.arrays import Floats

LEAST, MOST = 3, 12
CHANGED_DECISIONS = 0.01
"""The share of decisions that rounding a threshold may change."""


def of_threshold(threshold: float, scores: Floats) -> int:
    """Return the number of decimals with which a threshold decides (nearly) all of these scores `(n,)` the same."""
    is_positive = scores >= threshold
    for decimals in range(LEAST, MOST):
        if ((scores >= round(threshold, decimals)) != is_positive).mean() <= CHANGED_DECISIONS:
            return decimals
    return MOST


def of_probabilities(values: Floats) -> int:
    """Return the number of decimals that resolves at least a tenth of the span of these probabilities `(n,)`."""
    span = float(np.ptp(values)) if len(values) else 0.0
    return LEAST if span == 0 else int(np.clip(np.ceil(-np.log10(span)) + 1, LEAST, MOST))


def probability(value: float, decimals: int = LEAST) -> str:
    """Format a probability; it is not rounded to 0 or 1 unless it is that."""
    while decimals < MOST and 0 < value < 1 and round(value, decimals) in (0.0, 1.0):
        decimals += 1
    return f"{value:.{decimals}f}"
