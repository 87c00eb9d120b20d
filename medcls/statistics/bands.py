"""ROC and precision-recall curves of one class against the rest, and their 95% bands."""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

from medcls.statistics import causes
from medcls.statistics.analytic import LEVEL, wilson_limits
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.resampling import bootstrap
from medcls.statistics.split import OneVsRest

GRID: Floats = np.linspace(0, 1, 201)
"""The false positive rates, or sensitivities, at which a band is found."""

FEW_FOR_BAND = 10
"""Fewest independent cases, and others, for a band.

In 300 simulations each (normal scores, AUROC 0.85) the band of the sensitivity covered the truth in 0.96 or more with
10 cases against 100, but at a false positive rate of 0.1 in 0.82 with 100 against 10 and in 0.61 with 100 against 5;
that of the precision in 0.73 to 0.86 with 2 against 100.
"""

_STEPS = 500  # thresholds looked at in a resample: a step is then a five-hundredth of the cases, or of the others
_WEIGHTS = 2 * 10**7  # weights drawn for one band, about half a second of work

_Reading = Callable[[Floats, Floats], Floats]
"""From true and false positives at falling thresholds, both `(m + 1,)`, to a value at each point of the grid."""

Band = tuple[Floats, Floats]
"""Lower and upper limits at each point of `GRID`."""


def threshold_counts(counts: OneVsRest) -> tuple[Floats, Floats]:
    """True and false positives at each distinct threshold, from none predicted positive downwards: both `(m + 1,)`."""
    order, ends = _descending(counts)
    tp = np.cumsum(counts.is_case[order])[ends]
    return np.append(0.0, tp), np.append(0.0, ends + 1 - tp)


def precision_steps(counts: OneVsRest) -> tuple[Floats, Floats]:
    """Corners of the stepped precision-recall line, whose area is the average precision.

    Returns
    -------
    recall, precision : float64 array
        Of a class that has both cases and others.
    """
    tp, fp = threshold_counts(counts)
    rises = np.flatnonzero(np.diff(tp) > 0) + 1
    recall = np.append(0.0, tp[rises] / tp[-1])
    return np.repeat(recall, 2)[1:-1], np.repeat(tp[rises] / (tp + fp)[rises], 2)


def why_no_band(counts: OneVsRest) -> str:
    """Return why a curve has no band, because of too few independent rows; empty if it has one."""
    split, is_case = counts.split, counts.is_case
    if split.group_count() == 1:
        return causes.ONE_GROUP
    independent = {"of the class": split.group_count(is_case), "of the others": split.group_count(~is_case)}
    few = [f"{number} {which}" for which, number in independent.items() if number < FEW_FOR_BAND]
    unit = "groups" if split.is_grouped else "images"
    return f"fewer than {FEW_FOR_BAND} {unit}: {' and '.join(few)}" if few else ""


def sensitivity_band(counts: OneVsRest, resamples: int = 1000, seed: int = 0) -> Band | None:
    """Return a 95% band of the sensitivity at each false positive rate of `GRID`; None as of `why_no_band`.

    Percentiles over resamples of whole groups, point by point and not for the curve as a whole. The band is nowhere
    narrower than Wilson's limits of the sensitivity at a fixed threshold, as percentiles near 1 would be; where all
    resamples agree, as at a sensitivity of 1, each group counts once in these.

    Parameters
    ----------
    counts : OneVsRest
        With cases and others.
    resamples, seed : int
        Above 20,000 rows fewer are drawn, at least 200: with so many rows the band is narrow.
    """
    cases = np.full(len(GRID), counts.is_case.sum())
    groups = np.full(len(GRID), counts.split.group_count(counts.is_case))
    return _band(counts, _sensitivity_at, cases, groups, resamples, seed)


def precision_band(counts: OneVsRest, resamples: int = 1000, seed: int = 0) -> Band | None:
    """Return a 95% band of the precision at each sensitivity of `GRID`, as `sensitivity_band`."""
    tp, fp = threshold_counts(counts)
    first = _first_at(tp)
    return _band(counts, _precision_at, (tp + fp)[first], _predicted_groups(counts)[first], resamples, seed)


def _descending(counts: OneVsRest) -> tuple[Integers, Integers]:
    """The rows from the highest score down, and where each run of equal scores ends."""
    order = np.argsort(-counts.scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(counts.scores[order]) != 0, True))
    return order, ends


def _predicted_groups(counts: OneVsRest) -> Integers:
    """Number of groups predicted positive at each threshold of `threshold_counts`: `(m + 1,)`."""
    order, ends = _descending(counts)
    is_first = np.zeros(len(order), np.int64)
    is_first[np.unique(counts.split.groups[order], return_index=True)[1]] = 1
    return np.append(0, np.cumsum(is_first)[ends])


def _sensitivity_at(tp: Floats, fp: Floats) -> Floats:
    """Sensitivity at each false positive rate of the grid, a `_Reading`."""
    sensitivities: Floats = np.interp(GRID, fp / fp[-1], tp / tp[-1])
    return sensitivities


def _precision_at(tp: Floats, fp: Floats) -> Floats:
    """Precision at each sensitivity of the grid, a `_Reading`."""
    first = _first_at(tp)
    return tp[first] / (tp[first] + fp[first])


def _first_at(tp: Floats) -> Integers:
    """The first threshold that reaches each sensitivity of the grid; for 0 the first with a true positive."""
    needed = np.maximum(GRID * tp[-1] - 1e-9, 1e-9)  # 0.3 of 10 cases is a little more than 3 in floating point
    first: Integers = np.searchsorted(tp, needed, side="left").astype(np.int64)
    return first


def _band(
    counts: OneVsRest, read: _Reading, rows: Floats | Integers, groups: Integers, resamples: int, seed: int
) -> Band | None:
    """Limits at each point of the grid, whose values are shares of `rows` rows of `groups` groups."""
    if why_no_band(counts):
        return None
    split, is_case = counts.split, counts.is_case.astype(np.int64)
    steps = _steps(counts)
    number, n = int(steps.max()) + 1, len(steps)
    cells = csr_array((np.ones(n), (is_case * number + steps, np.arange(n))), shape=(2 * number, n))

    def statistic(weights: Floats) -> Floats:
        at_steps = (cells @ weights.T).T.reshape(len(weights), 2, number)
        above = np.concatenate([np.zeros((len(weights), 2, 1)), np.cumsum(at_steps, axis=2)], axis=2)
        return np.stack([read(tp, fp) for fp, tp in above])

    values = bootstrap(statistic, is_case, split.groups, min(resamples, max(200, _WEIGHTS // n)), seed).values
    values = values[~np.isnan(values).any(axis=1)]
    estimate = read(*threshold_counts(counts))
    low, high = np.quantile(values if len(values) else estimate[None], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    sizes = np.where(high - low < 1e-12, groups, rows)
    wilson = np.array([wilson_limits(value, n) for value, n in zip(estimate.tolist(), sizes.tolist(), strict=True)])
    return np.minimum(low, wilson[:, 0]), np.maximum(high, wilson[:, 1])


def _steps(counts: OneVsRest) -> Integers:
    """Number the thresholds from the highest down, and return the first at which each row is positive: `(n,)`.

    Each distinct score is a threshold if there are few. Otherwise quantiles of the cases' scores and of the others'
    are, so that a step is small on either axis.
    """
    scores = counts.scores
    edges = np.unique(scores)
    if len(edges) > 2 * _STEPS:
        shares = np.arange(1, _STEPS + 1) / _STEPS
        halves = [np.quantile(scores[rows], shares, method="higher") for rows in (~counts.is_case, counts.is_case)]
        edges = np.unique(np.concatenate([*halves, scores.max(keepdims=True)]))
    below = np.searchsorted(edges, scores, side="left")  # the lowest edge that a score does not exceed
    return (len(edges) - 1 - below).astype(np.int64)
