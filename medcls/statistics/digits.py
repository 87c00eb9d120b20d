"""How numbers are rounded, and how many decimals a probability is shown with: three, or more to tell images apart."""

from decimal import ROUND_HALF_UP, Decimal

import numpy as np

from medcls.statistics.arrays import Floats

LEAST, MOST = 3, 12
CHANGED_DECISIONS = 0.01
"""The share of decisions that rounding a threshold may change."""


def rounded(value: float, decimals: int = LEAST) -> str:
    """Format a number; a half is rounded away from zero, as on paper: 0.8125 is 0.813 (Python rounds it to 0.812)."""
    return _quantized(Decimal(repr(float(value))), decimals)


def percentage(share: float, decimals: int = 0) -> str:
    """Format a share as `12.5%`, rounded as in `rounded`."""
    return f"{_quantized(Decimal(repr(float(share))).scaleb(2), decimals)}%"


def _quantized(value: Decimal, decimals: int) -> str:
    return f"{value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP) if value.is_finite() else value:f}"


def of_threshold(threshold: float, scores: Floats) -> int:
    """Return the number of decimals with which a threshold decides (nearly) all of these scores `(n,)` the same."""
    is_positive = scores >= threshold
    for decimals in range(LEAST, MOST):
        if ((scores >= float(rounded(threshold, decimals))) != is_positive).mean() <= CHANGED_DECISIONS:
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
    return rounded(value, decimals)
