"""How far a distribution has moved from a reference: Kolmogorov-Smirnov, population stability, control limits."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import betabinom, kstwobign

from medcls.statistics.analytic import LEVEL
from medcls.statistics.arrays import Floats
from medcls.statistics.resampling import group_numbers

BINS = 10
"""Of the population stability index: tenths of the reference."""
THREE_SIGMA = 0.0027
"""Probability outside Shewhart's limits of three standard deviations, both sides together."""


@dataclasses.dataclass(frozen=True)
class Drift:
    """A distribution compared with a reference.

    Parameters
    ----------
    distance, distance_low, distance_high : float
        Largest difference of the two cumulative distributions, and its limits.
    p_value : float
        Of equal distributions, by the Kolmogorov-Smirnov test.
    stability, stability_low, stability_high : float
        Population stability index without what chance alone adds, and its limits; never below 0.
    n, reference_n : int
        Independent values: groups, where rows are grouped.
    """

    distance: float
    distance_low: float
    distance_high: float
    p_value: float
    stability: float
    stability_low: float
    stability_high: float
    n: int
    reference_n: int


def drift(
    values: ArrayLike,
    reference: ArrayLike,
    groups: list[str] | None = None,
    reference_groups: list[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Drift:
    """Compare a sample with a reference sample.

    The limits of the distance D are D plus or minus the 95% quantile of Kolmogorov's distribution times
    sqrt(1/n + 1/m): the difference of the two cumulative distributions is nowhere further from the truth, so that they
    hold at least that often. The population stability index is a sum over tenths of the reference, `(p - q) ln(p / q)`
    (Siddiqi 2006, "Credit Risk Scorecards"). Of equal distributions it is about `(1/n + 1/m)` times a chi-squared
    number with one degree of freedom less than bins (Yurdakul and Naranjo 2020, Journal of Risk Model Validation 14,
    "Statistical properties of the population stability index"); its mean is subtracted, and that of the resamples too,
    in which chance comes in twice.

    Parameters
    ----------
    values, reference : array of float
        Finite values `(n,)` and `(m,)`.
    groups, reference_groups : list of str, optional
        Rows of one group are resampled together, and count once in the number of independent values.
    resamples, seed : int
        Of the bootstrap of the population stability index.

    Raises
    ------
    ValueError
        One of the samples is empty.
    """
    here, there = (np.asarray(each, np.float64) for each in (values, reference))
    if not len(here) or not len(there):
        raise ValueError("Both samples need values.")
    of_here, of_there = (
        group_numbers(which, len(sample)) for which, sample in ((groups, here), (reference_groups, there))
    )
    n, m = (len(np.unique(numbers)) for numbers in (of_here, of_there))
    noise = 1 / n + 1 / m
    distance = _distance(here, there)
    reach = float(kstwobign.isf(1 - LEVEL)) * np.sqrt(noise)

    edges = np.unique(np.quantile(there, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts, counts_there = (
        _group_counts(sample, which, edges) for sample, which in ((here, of_here), (there, of_there))
    )
    by_chance = noise * (counts.shape[1] - 1)
    random = np.random.default_rng(seed)
    drawn = _stability(_resampled(counts, resamples, random), _resampled(counts_there, resamples, random))
    low, high = np.quantile(drawn - 2 * by_chance, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    found = _stability(counts.sum(axis=0, keepdims=True), counts_there.sum(axis=0, keepdims=True))[0] - by_chance
    return Drift(
        distance,
        max(0.0, distance - reach),
        min(1.0, distance + reach),
        float(kstwobign.sf(distance / np.sqrt(noise))),
        max(0.0, float(found)),
        max(0.0, float(low)),
        max(0.0, float(high)),
        n,
        m,
    )


def control_limits(n: int, events: int, trials: int, outside: float = THREE_SIGMA) -> tuple[float, float]:
    """Return the limits within which a share of n new rows lies, of the same process as a reference.

    Predictive quantiles of a beta-binomial distribution with Jeffreys' prior, so that the reference's own uncertainty
    counts too: a p-chart (Shewhart 1931) for few rows and an estimated centre.

    Parameters
    ----------
    n : int
        New rows, at least 1.
    events, trials : int
        Of the reference.
    outside : float
        Probability beyond the limits, half of it on each side at most.
    """
    expected = betabinom(n, events + 0.5, trials - events + 0.5)
    low, high = expected.ppf(outside / 2), expected.isf(outside / 2)
    return float(low) / n, float(high) / n


def _distance(here: Floats, there: Floats) -> float:
    """The largest difference of the two cumulative distributions."""
    at = np.concatenate([here, there])
    return float(
        np.abs(
            np.searchsorted(np.sort(here), at, "right") / len(here)
            - np.searchsorted(np.sort(there), at, "right") / len(there)
        ).max()
    )


def _group_counts(sample: Floats, numbers: np.ndarray, edges: Floats) -> Floats:
    """Share of each group in each bin, `(groups, bins)`, in groups of mean size: the sum is the number of groups."""
    counts = np.zeros((len(np.unique(numbers)), len(edges) + 1))
    np.add.at(counts, (np.unique(numbers, return_inverse=True)[1], np.searchsorted(edges, sample, "left")), 1)
    return counts * (len(counts) / len(sample))


def _resampled(counts: Floats, resamples: int, random: np.random.Generator) -> Floats:
    """Counts `(resamples, bins)` of as many groups, drawn with replacement."""
    n = len(counts)
    if np.all(counts.sum(axis=1) == 1):  # single rows: the same by their multinomial distribution, in less memory
        return random.multinomial(n, counts.sum(axis=0) / n, resamples).astype(np.float64)
    return np.stack([random.multinomial(n, np.full(n, 1 / n)) @ counts for _ in range(resamples)])


def _stability(counts: Floats, counts_there: Floats) -> Floats:
    """Population stability index of counts `(..., bins)`; half a row is added to each bin, for those that are empty."""
    here, there = ((each + 0.5) / (each + 0.5).sum(axis=-1, keepdims=True) for each in (counts, counts_there))
    index: Floats = ((here - there) * np.log(here / there)).sum(axis=-1)
    return index
