"""Paired comparisons of classifiers on the same rows: differences with intervals and p-values.

If every row stands alone, DeLong's paired test and McNemar's; once a group has two rows, permutation and bootstrap of
whole groups. Other means over rows (Brier score, net benefit) are always permuted and resampled, metrics that are no
means (average precision, F1, MCC) only resampled. Many pairs cost little more than one: what belongs to one classifier
is computed once, and all pairs share their resamples.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mlxtend.evaluate import mcnemar
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from medcls.statistics.analytic import FEW_FOR_DELONG, LEVEL, Z, delong, difference_limits, newcombe_limits, t_factor
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.hard_labels import check_scores
from medcls.statistics.metric_table import Metric, class_of, estimates, with_interval
from medcls.statistics.resampling import Ranking, any_repeated, bootstrap
from medcls.statistics.split import Split

DELONG_PAIRED = "DeLong, paired"
BY_ROW, BY_GROUP = "permutation of rows", "permutation of groups"

NO_SPREAD = 1e-12  # smaller differences are rounding errors
_CELLS = 2**18  # signs held at once: 2 MiB of float64

Pair = tuple[int, int]
"""Two classifiers, by their indices."""


class Difference(NamedTuple):
    """Limits of a difference, two-sided p-value for none, the method, and the interval's degrees of freedom."""

    low: float
    high: float
    p: float
    method: str
    freedom: float = np.inf


_UNDEFINED = Difference(np.nan, np.nan, np.nan, "none")


@dataclasses.dataclass(frozen=True)
class Draws:
    """Numbers of resamples and permutations, and their seed."""

    resamples: int
    permutations: int
    seed: int


@dataclasses.dataclass(frozen=True)
class PairedTests:
    """Several classifiers on the same rows, to be compared pair by pair.

    Parameters
    ----------
    splits : sequence of Split
        One a classifier; labels, groups and classes of all are the same.
    pairs : sequence of (int, int)
    draws : Draws
    """

    splits: Sequence[Split]
    pairs: Sequence[Pair]
    draws: Draws

    def counted_rows(self, metric: Metric | None) -> NDArray[np.bool_]:
        """Return the rows that a metric counts: the cases, the others, or (also for None) all."""
        split = self.splits[0]
        is_case: NDArray[np.bool_] = split.labels == (split.positive or 0)
        if metric is None or metric.rows not in ("cases", "others"):
            return np.ones(len(split.labels), bool)
        return is_case if metric.rows == "cases" else ~is_case

    def compare(self, metric: Metric) -> tuple[list[float], list[Difference]]:
        """Return the metric of each classifier, and the difference of each pair.

        Raises
        ------
        MedclsError
            Hard labels for a metric of the ranking.
        """
        if metric.measures == "ranking":
            for split in self.splits:
                check_scores(split)
        if metric.compared == "DeLong":
            return self._compare_areas()
        if metric.compared == "bootstrap":
            return self._compare_resampled(metric)
        if metric.row_values is not None:
            values = [metric.row_values(split.count()) for split in self.splits]
        else:
            values = [(split.predicted == split.labels).astype(np.float64) for split in self.splits]
        return self.compare_means(np.stack(values), self.counted_rows(metric))

    def compare_means(self, values: Floats, kept: NDArray[np.bool_]) -> tuple[list[float], list[Difference]]:
        """Compare the means of values `(M, n)` over some rows: by permutation and bootstrap.

        Shares are compared by McNemar's exact test if each row stands alone. Its interval is that of Bonett and Price
        2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired data".
        """
        rows, values = self._rows(kept), values[:, kept]
        if not rows.n:
            return [np.nan] * len(values), [_UNDEFINED] * len(self.pairs)
        means: list[float] = values.mean(axis=1).tolist()
        are_shares = bool(np.isin(values, (0, 1)).all())
        if are_shares and not rows.is_grouped:
            return means, [_mcnemar(values[i] == 1, values[j] == 1) for i, j in self.pairs]
        sums = rows.sum_by_group(values)
        gains = np.stack([sums[i] - sums[j] for i, j in self.pairs])
        drawn = bootstrap(
            lambda weights: weights @ values.T / weights.sum(axis=1, keepdims=True),
            rows.labels,
            rows.groups,
            self.draws.resamples,
            self.draws.seed,
        ).values
        found = []
        for (i, j), gain, p in zip(self.pairs, gains, _permutation_ps(gains / rows.n, self.draws), strict=True):
            limits = rows.limits(means[i] - means[j], drawn[:, i] - drawn[:, j])
            if limits is not None:
                found.append(Difference(*limits, p, f"{rows.permuted}; interval by bootstrap", rows.freedom))
            elif are_shares:
                # All resamples are the same: count each group as one row.
                limits = _bonett_price(int((gain > 0).sum()), int((gain < 0).sum()), len(gain))
                method = f"{rows.permuted}; interval of Bonett and Price, each group counted once"
                found.append(Difference(*limits, p, method))
            else:
                found.append(Difference(np.nan, np.nan, p, rows.permuted))
        return means, found

    def _compare_resampled(self, metric: Metric) -> tuple[list[float], list[Difference]]:
        """Interval and test by the standard error over resamples: significant if 0 lies outside the interval."""
        split = self.splits[0]
        rows = self._rows(self.counted_rows(None))
        positive = None if split.positive is None else split.classes[split.positive]
        keys = [(known.identifier, name) for known, name in with_interval(split)]
        place = keys.index((metric.identifier, class_of(metric.identifier, positive)))
        once, resampled = self._estimates
        values, drawn = once[:, place].tolist(), resampled[:, :, place]
        found = []
        for i, j in self.pairs:
            difference = values[i] - values[j]
            limits = None if np.isnan(difference) else rows.limits(difference, drawn[:, i] - drawn[:, j])
            if limits is None:
                found.append(Difference(np.nan, np.nan, 1.0 if abs(difference) <= NO_SPREAD else np.nan, "none"))
                continue
            quantile = float(student.ppf(0.5 + LEVEL / 2, rows.freedom))
            p = float(2 * student.sf(abs(difference) / ((limits[1] - limits[0]) / 2) * quantile, rows.freedom))
            found.append(Difference(*limits, p, f"paired bootstrap of {split.unit}", rows.freedom))
        return values, found

    def _compare_areas(self) -> tuple[list[float], list[Difference]]:
        """DeLong's paired test in a binary task; else, and where it breaks down, permutation and bootstrap."""
        rated = list(self.splits[0].rated_classes)
        areas = PairedAreas(
            rows=self._rows(self.counted_rows(None)),
            scores=np.stack([split.scores.T[rated] for split in self.splits]),
            cases=np.stack([(self.splits[0].labels == k).astype(np.int64) for k in rated]),
        )
        values = areas.values()
        if np.isnan(values).any():
            return values, [_UNDEFINED] * len(self.pairs)
        found = areas.delong(self.pairs)
        left = [pair for pair in self.pairs if pair not in found]
        if left:
            rows = areas.rows
            ps = _permutation_ps(areas.contributions(left), self.draws)
            drawn = bootstrap(areas.resampled, rows.labels, rows.groups, self.draws.resamples, self.draws.seed).values
            for (i, j), p in zip(left, ps, strict=True):
                limits = rows.limits(values[i] - values[j], drawn[:, i] - drawn[:, j])
                if limits is not None:
                    found[i, j] = Difference(*limits, p, f"{rows.permuted}; interval by bootstrap", rows.freedom)
                else:
                    method = f"{rows.permuted}; interval from Newcombe's of each, as if unpaired"
                    found[i, j] = Difference(*areas.unpaired_limits(i, j), p, method)
        return values, [found[pair] for pair in self.pairs]

    def _rows(self, kept: NDArray[np.bool_]) -> "PairedRows":
        split = self.splits[0]
        return PairedRows(split.labels[kept], np.unique(split.groups[kept], return_inverse=True)[1])

    @functools.cached_property
    def _estimates(self) -> tuple[Floats, Floats]:
        """All metrics: of the rows `(M, metrics)`, and of each resample `(r, M, metrics)`, the same for all."""
        first = self.splits[0]
        if not len(first.labels):
            undefined = np.full((len(self.splits), len(list(with_interval(first)))), np.nan)
            return undefined, undefined[None]
        once = np.stack([estimates(split)[0] for split in self.splits])
        drawn = bootstrap(
            lambda weights: np.concatenate([estimates(split, weights) for split in self.splits], axis=1),
            first.labels,
            first.groups,
            self.draws.resamples,
            self.draws.seed,
        ).values
        return once, drawn.reshape(len(drawn), *once.shape)


@dataclasses.dataclass(frozen=True)
class PairedRows:
    """True classes and groups `(n,)` of the rows that a comparison counts."""

    labels: Integers
    groups: Integers

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.labels)

    @functools.cached_property
    def is_grouped(self) -> bool:
        """Whether any group has two rows."""
        return any_repeated(self.groups)

    @property
    def permuted(self) -> str:
        """The permutation, for the method's name."""
        return BY_GROUP if self.is_grouped else BY_ROW

    @property
    def freedom(self) -> float:
        """Degrees of freedom of a standard error over resamples; infinite if each row stands alone."""
        return max(1, len(np.unique(self.groups)) - 1) if self.is_grouped else np.inf

    def limits(self, difference: float, values: Floats) -> tuple[float, float] | None:
        """Limits from the standard error of values over resamples (`t_factor`); None if these do not vary."""
        error = float(np.nanstd(values)) if np.isfinite(values).mean() >= 0.5 else 0.0
        if error <= NO_SPREAD:
            return None
        half = error * t_factor(int(self.freedom) + 1 if self.is_grouped else None)
        return difference - half, difference + half

    def sum_by_group(self, values: Floats) -> Floats:
        """Sum over the rows of each group: `(m, n)` to `(m, groups)`."""
        return np.stack([np.bincount(self.groups, row) for row in values])


@dataclasses.dataclass(frozen=True)
class PairedAreas:
    """AUROCs of M classifiers on the same rows, each the mean over K classes.

    Parameters
    ----------
    rows : PairedRows
    scores : float64 array (M, K, n)
        The probability of each class.
    cases : int64 array (K, n)
        1 for a row of the class.
    """

    rows: PairedRows
    scores: Floats
    cases: Integers

    def values(self) -> list[float]:
        """Return the AUROC of each classifier; NaN if a class has no case, or all."""
        counts = self.cases.sum(axis=1)
        if not ((counts > 0) & (counts < self.rows.n)).all():
            return [np.nan] * len(self.scores)
        areas = np.array([delong(case, self.scores[:, k])[0] for k, case in enumerate(self.cases)])
        return [float(area) for area in areas.mean(axis=0)]

    def resampled(self, weights: Floats) -> Floats:
        """Return the AUROC of each classifier under weights `(r, n)`: `(r, M)`."""
        of_models = [[ranking.count(weights).areas() for ranking in rankings] for rankings in self._rankings]
        areas: Floats = np.mean(of_models, axis=1).T
        return areas

    @functools.cached_property
    def _rankings(self) -> list[list[Ranking]]:
        return [
            [Ranking.by_score(case, row) for case, row in zip(self.cases, scores, strict=True)]
            for scores in self.scores
        ]

    def delong(self, pairs: Sequence[Pair]) -> dict[Pair, Difference]:
        """Apply DeLong's test to the pairs for which it holds."""
        cases = int(self.cases[0].sum())
        if len(self.cases) > 1 or self.rows.is_grouped or min(cases, self.rows.n - cases) < FEW_FOR_DELONG:
            return {}
        areas, covariance = delong(self.cases[0], self.scores[:, 0])
        found = {}
        for i, j in pairs:
            difference = float(areas[i] - areas[j])
            variance = covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]
            if variance > NO_SPREAD:
                error = float(np.sqrt(variance))
                p = float(2 * norm.sf(abs(difference) / error))
                found[i, j] = Difference(difference - Z * error, difference + Z * error, p, DELONG_PAIRED)
        return found

    def contributions(self, pairs: Sequence[Pair]) -> Floats:
        """Return what each group contributes to the difference of two AUROCs: `(pairs, groups)`.

        The difference is their sum, and where the two classifiers of some groups are exchanged it is the sum with the
        signs of these changed. For let `s(x, y)` be 1 where a case's rank x is above another row's y, 1/2 where equal,
        and `t` be -1 for an exchanged row, else 1. Of a case i and another row j, the first classifier then counts
        `((1 + t_i) (1 + t_j) s(a_i, a_j) + (1 + t_i) (1 - t_j) s(a_i, b_j) + (1 - t_i) (1 + t_j) s(b_i, a_j) +
        (1 - t_i) (1 - t_j) s(b_i, b_j)) / 4`, and the second the same with each t reversed: of their difference only
        the terms in one t alone are left.

        Ranks are exchanged, because two networks need not mean the same by one probability: Bandos, Rockette and Gur
        2005, "A permutation test sensitive to differences in areas for comparing ROC curves from a paired design".
        """
        ranks = rankdata(self.scores, axis=2)
        values = np.zeros((len(pairs), self.rows.n))
        for k, case in enumerate(self.cases == 1):
            cases, others = np.sort(ranks[:, k, case], axis=1), np.sort(ranks[:, k, ~case], axis=1)
            for number, (i, j) in enumerate(pairs):
                for rows, against, sign in ((case, others, 1), (~case, cases, -1)):
                    first, second = ranks[i, k, rows], ranks[j, k, rows]
                    gained = [_share_below(first, row) - _share_below(second, row) for row in (against[i], against[j])]
                    values[number, rows] += sign * (gained[0] + gained[1]) / (2 * rows.sum())
        return self.rows.sum_by_group(values / len(self.cases))

    def unpaired_limits(self, i: int, j: int) -> tuple[float, float]:
        """Limits of the difference from those of each AUROC (`difference_limits`), the mean over classes."""
        limits = []
        for k, case in enumerate(self.cases):
            sizes = [len(np.unique(self.rows.groups[case == value])) for value in (1, 0)]
            areas = delong(case, self.scores[[i, j], k])[0].tolist()
            limits.append(difference_limits(tuple(areas), *(newcombe_limits(area, *sizes) for area in areas)))
        low, high = np.mean(limits, axis=0)
        return float(low), float(high)


def _mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Difference:
    both, ups, downs = int((first & second).sum()), int((first & ~second).sum()), int((second & ~first).sum())
    n = len(first)
    _, p = mcnemar(np.array([[both, ups], [downs, n - both - ups - downs]]), exact=True)
    return Difference(*_bonett_price(ups, downs, n), float(p), "McNemar, exact; interval of Bonett and Price")


def _bonett_price(ups: int, downs: int, n: int) -> tuple[float, float]:
    up, down = (ups + 1) / (n + 2), (downs + 1) / (n + 2)
    half = Z * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return max(-1.0, float(up - down - half)), min(1.0, float(up - down + half))


def _share_below(values: Floats, ascending: Floats) -> Floats:
    """For each value the share of the others below it, equal ones counting half."""
    both = np.searchsorted(ascending, values, "left") + np.searchsorted(ascending, values, "right")
    return both / (2 * len(ascending))


def _permutation_ps(contributions: Floats, draws: Draws) -> list[float]:
    """Two-sided p-values of differences that are sums over groups `(pairs, groups)`, by random signs of the groups.

    The observed order counts as one of the permutations (Phipson and Smyth 2010).
    """
    draw = np.random.default_rng(draws.seed)
    groups = contributions.shape[1]
    observed = np.abs(contributions.sum(axis=1)) - NO_SPREAD
    as_extreme = np.ones(len(contributions))
    at_once = max(1, _CELLS // groups)
    for start in range(0, draws.permutations, at_once):
        signs = 2.0 * draw.integers(0, 2, (min(at_once, draws.permutations - start), groups), np.int8) - 1
        as_extreme += (np.abs(signs @ contributions.T) >= observed).sum(axis=0)
    return [float(count) for count in as_extreme / (1 + draws.permutations)]
