"""Confidence intervals by formula, for tables whose rows all stand alone."""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binom, norm, rankdata
from scipy.stats import t as student

from medcls.statistics.arrays import Floats

LEVEL = 0.95
Z = float(norm.ppf(0.5 + LEVEL / 2))

WILSON = "Wilson"
DELONG = "DeLong, on the logit scale"
NEWCOMBE = "Newcombe's method 5 for the AUROC"
SIMEL = "Simel's log method"
MOVER_RATIO = f"MOVER for a ratio, of {WILSON}'s limits of both rates"
ORDER_STATISTICS = f"order statistics of the threshold, with {WILSON}"
BOOTSTRAP_OVER = "bootstrap over"
ONCE = ", each group counted once"
OF_BOTH_RATES = f"at {WILSON}'s limits of both rates"

# With 20 rows of one class against 200 of the other DeLong covers 0.90 to 0.94, and Newcombe 0.95 to 0.98 (1,500
# simulations each of normal scores, AUROC 0.7 to 0.99).
FEW_FOR_DELONG = 30


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with its 95% confidence interval.

    Parameters
    ----------
    estimate, low, high : float
        NaN where undefined; `note` then says why.
    method : str
        Name of the interval's method.
    n : int
        Rows behind the estimate: the cases for a sensitivity, the positive predictions for a PPV, else all rows.
    note : str
        Caveats, or empty text.
    """

    estimate: float
    low: float
    high: float
    method: str
    n: int
    note: str = ""


def undefined(reason: str, n: int = 0) -> Interval:
    """Return the interval of an undefined estimate, with the reason."""
    return Interval(np.nan, np.nan, np.nan, "none", n, reason)


def t_factor(groups: int | None) -> float:
    """Return the half width of an interval in standard errors over resamples of G groups.

    Student's quantile with G - 1 degrees of freedom, times sqrt(G / (G - 1)), by which the spread over resamples is too
    small (chapter 5 of Efron and Tibshirani 1993, "An Introduction to the Bootstrap"). `Z` without groups.
    """
    if groups is None:
        return Z
    groups = max(groups, 2)
    return float(student.ppf(0.5 + LEVEL / 2, groups - 1) * np.sqrt(groups / (groups - 1)))


def wilson_limits(share: float, n: float) -> tuple[float, float]:
    """Limits of a proportion by the score method.

    Wilson 1927; method 3 of Newcombe 1998, "Two-sided confidence intervals for the single proportion".
    `n` need not be whole.
    """
    centre = (2 * n * share + Z**2) / (2 * (n + Z**2))
    half = Z * np.sqrt(Z**2 + 4 * n * share * (1 - share)) / (2 * (n + Z**2))
    # At 0 and 1 the formula gives these limits up to rounding.
    return (0.0 if share == 0 else float(centre - half)), (1.0 if share == 1 else float(centre + half))


def rows_for(share: float, half_width: float) -> float:
    """Return the number of rows at which Wilson's interval has this half width; it need not be whole.

    The half width of `wilson_limits` solved for n, a quadratic in `n + Z^2`.

    Parameters
    ----------
    share : float
        From 0 to 1.
    half_width : float
        Above 0 and below 0.5, the half width without any row.
    """
    spread = share * (1 - share)
    root = np.sqrt(spread**2 + half_width**2 * (1 - 4 * spread))
    return max(0.0, float(Z**2 * ((spread + root) / (2 * half_width**2) - 1)))


def wilson(successes: int, n: int, reason: str = "nothing to count") -> Interval:
    """Interval of a proportion; undefined, for the given reason, if n is 0."""
    if n == 0:
        return undefined(reason)
    return Interval(successes / n, *wilson_limits(successes / n, n), WILSON, n)


def f1_limits(f1: float, n: float) -> tuple[float, float]:
    """Limits of an F1 score among `n = TP + FP + FN` rows.

    F1 is `2 J / (1 + J)`, where `J = TP / (TP + FP + FN)`. Where rows are drawn independently, TP is
    binomial among those n rows with the probability J, so Wilson's limits of J carry over.
    """
    low, high = wilson_limits(f1 / (2 - f1), n)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def difference_limits(
    estimates: tuple[float, float], first: tuple[float, float], second: tuple[float, float]
) -> tuple[float, float]:
    """Limits of the difference of two independent estimates, first minus second, from the limits of each.

    The method of variance estimates recovery (MOVER): Zou and Donner 2008, "Construction of confidence limits about
    effect measures: a general approach".
    """
    (a, b), difference = estimates, estimates[0] - estimates[1]
    low = difference - float(np.hypot(a - first[0], second[1] - b))
    return low, difference + float(np.hypot(first[1] - a, b - second[0]))


def mean_limits(
    estimates: tuple[float, float], first: tuple[float, float], second: tuple[float, float]
) -> tuple[float, float]:
    """Limits of the mean of two independent estimates, as `difference_limits`: half the difference to the negative."""
    low, high = difference_limits((estimates[0], -estimates[1]), first, (-second[1], -second[0]))
    return low / 2, high / 2


def likelihood_ratio_limits(of_cases: float, of_others: float, cases: int, others: int) -> tuple[float, float]:
    """Limits of the ratio of two independent proportions, such as sensitivity over 1 - specificity.

    Simel, Samsa and Matchar 1991, "Likelihood ratios with confidence: sample size estimation for diagnostic test
    studies": normal on the logarithm. A proportion of 0 or 1 would count as certain; then the limits are recovered
    from Wilson's limits of both proportions (MOVER-R, section 3 of Donner and Zou 2012, "Closed-form confidence
    intervals for functions of the normal mean and standard deviation").

    Parameters
    ----------
    of_cases, of_others : float
        The two proportions; the second is above 0.
    cases, others : int
        Rows of each.
    """
    if is_certain(of_cases) or is_certain(of_others):
        return _recovered_ratio(of_cases, of_others, wilson_limits(of_cases, cases), wilson_limits(of_others, others))
    error = np.sqrt((1 - of_cases) / (of_cases * cases) + (1 - of_others) / (of_others * others))
    ratio, factor = of_cases / of_others, float(np.exp(Z * error))
    return ratio / factor, ratio * factor


def is_certain(share: float) -> bool:
    """Whether a proportion is 0 or 1, where its sample variance is 0."""
    return share in (0.0, 1.0)


def _recovered_ratio(
    above: float, below: float, of_above: tuple[float, float], of_below: tuple[float, float]
) -> tuple[float, float]:
    """Limits of `above / below` from the limits of both, the roots of a quadratic in the ratio."""

    def root(own: float, other: float, sign: int) -> float:
        # (above - r below)^2 = (above - own)^2 + r^2 (other - below)^2, with the limits that push r the same way.
        a, c = other * (2 * below - other), own * (2 * above - own)
        if a == 0:
            return c / (2 * above * below)
        return (above * below + sign * float(np.sqrt((above * below) ** 2 - a * c))) / a

    # For a proportion of 0 the lower root is a negative zero.
    return max(0.0, root(of_above[0], of_below[1], -1)), root(of_above[1], of_below[0], 1)


def order_statistics(n: int, share: float, level: float = LEVEL) -> tuple[int, int]:
    """Return which of n ascending values are limits of a quantile, exact by the binomial distribution.

    Section 7.1 of David and Nagaraja 2003, "Order Statistics". For any distribution, the first lies at or below the
    quantile, and the second at or above it, each with a probability of at least `(1 + level) / 2`.

    Returns
    -------
    first, second : int
        Counted from 1; 0 and n + 1 if no value is low or high enough.
    """
    counts, tail = np.arange(n + 1), (1 - level) / 2
    first = int(np.count_nonzero(binom.sf(counts[1:] - 1, n, share) >= 1 - tail))
    second = 1 + int(np.count_nonzero(binom.cdf(counts, n, share) < 1 - tail))
    return first, second


def delong(labels: NDArray[np.integer], scores: Floats) -> tuple[Floats, Floats]:
    """AUROCs of several models on the same rows, and their covariance.

    DeLong, DeLong and Clarke-Pearson 1988, "Comparing the areas under two or more correlated
    receiver operating characteristic curves", computed from midranks as in algorithm 2 of Sun and Xu
    2014, "Fast implementation of DeLong's algorithm", in O(n log n).

    Parameters
    ----------
    labels : integer array (n,)
        1 for a case, 0 for the others.
    scores : float64 array (models, n)
        Higher for likelier cases.

    Returns
    -------
    areas : float64 array (models,)
    covariance : float64 array (models, models)
        NaN with fewer than two rows of either class.
    """
    cases, others = scores[:, labels == 1], scores[:, labels == 0]
    m, n = cases.shape[1], others.shape[1]
    together = rankdata(np.hstack([cases, others]), axis=1)
    # For each case the share of others below it, and for each other row the share of cases above it.
    of_cases = (together[:, :m] - rankdata(cases, axis=1)) / n
    of_others = 1 - (together[:, m:] - rankdata(others, axis=1)) / m
    areas = of_cases.mean(axis=1)
    if min(m, n) < 2:
        return areas, np.full((len(scores), len(scores)), np.nan)
    return areas, np.atleast_2d(np.cov(of_cases)) / m + np.atleast_2d(np.cov(of_others)) / n


def newcombe_limits(area: float, cases: float, others: float) -> tuple[float, float]:
    """Limits of an AUROC from its value and the two counts alone, also at 0 and 1.

    Method 5 of Newcombe 2006, "Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic, part 2": the values that lie within 1.96 standard errors of the estimate,
    with Hanley and McNeil's variance (1982, exponential scores) at that value, and the mean of the two
    counts in place of each in its numerator.
    """

    def error(value: float) -> float:
        half = (cases + others) / 2
        spread = 2 * half - 1 - 3 * (half - 1) / ((2 - value) * (1 + value))
        return float(Z * np.sqrt(value * (1 - value) * spread / (cases * others)))

    def lower(value: float) -> float:
        # At 1 itself the error is 0, so the search ends just below.
        end = value * (1 - 1e-12)
        return 0.0 if value == 0 else float(brentq(lambda at: value - at - error(at), 0.0, end, xtol=1e-12))

    return lower(area), 1 - lower(1 - area)  # the variance is the same at a value and at 1 minus it


def auroc_interval(labels: NDArray[np.integer], scores: Floats) -> Interval:
    """Interval of one AUROC: DeLong's where it holds, Newcombe's where classes are separated or tiny.

    On the logit scale the limits stay within 0 and 1, and their coverage near 1 is better (Pohar Perme and Manevski
    2019, "Confidence intervals for the Mann-Whitney test"). In the simulations of tests/statistics/test_analytic.py
    it is 0.94 to 0.95 for AUROCs of 0.7 to 0.95 with at least 100 rows a class, but lower at 0.99 (0.91 with 100
    against 1,000) and with 30 against 300 (0.92 at 0.95).

    Parameters
    ----------
    labels : integer array (n,)
        1 for a case, 0 for the others; both must occur.
    scores : float64 array (n,)
    """
    areas, covariance = delong(labels, scores[None])
    area, variance = float(areas[0]), float(covariance[0, 0])
    cases = int((labels == 1).sum())
    others, n = len(labels) - cases, len(labels)
    if min(cases, others) >= FEW_FOR_DELONG and variance > 0 and 0 < area < 1:
        half = Z * np.sqrt(variance) / (area * (1 - area))
        return Interval(area, float(expit(logit(area) - half)), float(expit(logit(area) + half)), DELONG, n)
    note = (
        f"{cases} against {others} rows are too few for DeLong's method"
        if min(cases, others) < FEW_FOR_DELONG
        else "DeLong's method finds no spread here"
    )
    return Interval(area, *newcombe_limits(area, cases, others), NEWCOMBE, n, note)


def holm(p: Floats) -> Floats:
    """Correct p-values for their number: Holm 1979, "A simple sequentially rejective multiple test procedure".

    NaN stays NaN and is not counted.
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    ascending = known[np.argsort(p[known], kind="stable")]
    steps = p[ascending] * np.arange(len(known), 0, -1)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
