"""Two classifiers on the same images: the difference, its interval, a test, and what may be concluded.

Where every row stands alone, DeLong's paired test and McNemar's; as soon as one group has two rows,
permutation and bootstrap of whole groups.
"""

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from mlxtend.evaluate import mcnemar
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from medcls.errors import MedclsError, nearest
from medcls.evaluation.analytic import FEW_FOR_DELONG, Z, delong, newcombe_limits
from medcls.evaluation.metrics import Floats, Integers, predicted_classes
from medcls.evaluation.predictions import TOOK_PART, Predictions
from medcls.evaluation.resampling import any_repeated, bootstrap, group_numbers, weighted_areas

METRICS = ("auroc", "accuracy", "sensitivity", "specificity")
WORDS = {"auroc": "AUROC"}
ALPHA = 0.05
BY_GROUP = "permutation of groups"

NO_SPREAD = 1e-12  # what is less comes of the last digits
_CELLS = 2**18  # ranks held at once: 2 MiB of float64


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The difference of one metric between two classifiers on the same rows, first minus second.

    Parameters
    ----------
    metric : str
    first, second : float
        The metric of either.
    difference, low, high : float
        With the limits of its 95% interval; NaN where undefined.
    p : float
        Two-sided, for no difference; not corrected for other comparisons.
    method : str
        Of the interval and of the test.
    n : int
        Rows behind it: of a sensitivity the cases alone.
    rows : str
        The same in words, with the number of groups where those count.
    sentence : str
        What can and what cannot be concluded.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    method: str
    n: int
    rows: str
    sentence: str


@dataclasses.dataclass(frozen=True)
class _Pair:
    """The rows that a metric counts, as both classifiers saw them.

    Parameters
    ----------
    labels, groups : int64 array (n,)
    right : bool array (2, n)
        Whether each of the two called the row rightly.
    scores : float64 array (2, K, n)
        For each class that has an AUROC of its own, the probability of it.
    cases : int64 array (K, n)
        1 where the row is of that class.
    """

    labels: Integers
    groups: Integers
    right: NDArray[np.bool_]
    scores: Floats
    cases: Integers


# Limits, p-value and method of a difference.
_Result = tuple[tuple[float, float], float, str]


def compare(
    first: Predictions,
    second: Predictions,
    metric: str,
    thresholds: tuple[float | None, float | None] = (None, None),
    names: tuple[str, str] = ("A", "B"),
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two classifiers that saw the same images.

    Parameters
    ----------
    first, second : Predictions
        Of the same paths, in any order, with the same labels and groups.
    metric : str
        One of `METRICS`. With more than two classes the AUROC is the mean over classes of one against
        the rest, and there is no single sensitivity or specificity.
    thresholds : pair of float or None
        Each one's operating point in a binary task; 0.5 where None.
    names : pair of str
        How the sentence calls them.
    resamples, seed : int
        Of bootstrap and permutation. The same seed gives the same result.

    Raises
    ------
    MedclsError
        Different rows, labels, groups or classes; an unknown metric, or one that the task does not have.
    """
    check_paired(first, second, names)
    pair, rows = _pair(first, second, metric, thresholds)
    if metric == "auroc":
        values = _areas(pair)
        limits, p, method = _compare_areas(pair, values, resamples, seed)
    else:
        values = _shares(pair)
        limits, p, method = _compare_shares(pair, values, resamples, seed)
    sentence = conclusion(metric, names, values, limits, p, rows, first.split)
    one, other = values
    return Comparison(metric, one, other, one - other, *limits, p, method, pair.right.shape[1], rows, sentence)


def compare_all(
    tables: Mapping[str, Predictions],
    metric: str,
    thresholds: Mapping[str, float] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every pair of several classifiers, as of a sweep, with p-values corrected for their number.

    Parameters
    ----------
    tables : mapping of str to Predictions
        By name; all of the same images.
    thresholds : mapping of str to float, optional
        Operating points by the same names; 0.5 where one is missing.

    Returns
    -------
    DataFrame
        `a, b`, then the fields of `Comparison`, and `p_holm`, on which the sentences stand. The
        intervals are those of each comparison alone.
    """
    points = dict(thresholds or {})
    pairs = list(itertools.combinations(tables, 2))
    found = [
        compare(tables[a], tables[b], metric, (points.get(a), points.get(b)), (a, b), resamples, seed) for a, b in pairs
    ]
    corrected = holm(np.array([one.p for one in found]))
    rows = []
    for names, one, p in zip(pairs, found, corrected.tolist(), strict=True):
        values, limits = (one.first, one.second), (one.low, one.high)
        sentence = conclusion(metric, names, values, limits, p, one.rows, tables[names[0]].split, len(pairs))
        rows.append({"a": names[0], "b": names[1], **dataclasses.asdict(one), "p_holm": p, "sentence": sentence})
    fields = [field.name for field in dataclasses.fields(Comparison)]
    return pd.DataFrame(rows, columns=["a", "b", *fields[:-1], "p_holm", fields[-1]])


def holm(p: Floats) -> Floats:
    """P-values corrected for their number: Holm 1979, "A simple sequentially rejective multiple test procedure".

    NaN stays NaN and is not counted.
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    ascending = known[np.argsort(p[known], kind="stable")]
    steps = p[ascending] * np.arange(len(known), 0, -1)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def check_paired(first: Predictions, second: Predictions, names: tuple[str, str]) -> None:
    """Hold two tables against each other: the same images, labels, groups and classes.

    Raises
    ------
    MedclsError
        They differ in any of these.
    """
    if (first.classes, first.positive) != (second.classes, second.positive):
        raise MedclsError(
            f"{names[0]} has the classes {', '.join(first.classes)} (positive: {first.positive}), {names[1]} has "
            f"{', '.join(second.classes)} (positive: {second.positive}): only the same classes in the same order can "
            "be compared."
        )
    mine, theirs = first.rows.set_index("path"), second.rows.set_index("path")
    for here, there, name in ((mine, theirs, names[0]), (theirs, mine, names[1])):
        only = here.index.difference(there.index)
        if len(only):
            raise MedclsError(
                f"{len(only)} image(s) were predicted by {name} alone, as {only[0]!r}: two classifiers are compared on "
                f"the same images. {names[0]} has {len(mine)}, {names[1]} has {len(theirs)}."
            )
    theirs = theirs.loc[mine.index]
    for column in ("label", "group"):
        differ = mine.index[mine[column].to_numpy() != theirs[column].to_numpy()]
        if len(differ):
            raise MedclsError(
                f"{len(differ)} image(s) have another {column} in {names[0]} than in {names[1]}, as {differ[0]!r} "
                f"({mine.loc[differ[0], column]!r} and {theirs.loc[differ[0], column]!r}): mend the tables first."
            )


def conclusion(
    metric: str,
    names: tuple[str, str],
    values: tuple[float, float],
    limits: tuple[float, float],
    p: float,
    rows: str,
    split: str = "",
    comparisons: int = 1,
) -> str:
    """Say what can and what cannot be concluded; of two better only where interval and test both say so.

    Parameters
    ----------
    values, limits : pair of float
        Of the two classifiers, and of the interval of their difference.
    p : float
        Corrected already, where it is one of several comparisons.
    rows : str
        Which rows, in words, as of `Comparison.rows`.
    split : str
        Their split: of one that took part in making the classifiers the sentence says so.
    comparisons : int
        How many there are in all.
    """
    word = WORDS.get(metric, metric)
    if np.isnan([*values, *limits, p]).any():
        return f"These {rows} say nothing of the {word} of {names[0]} and {names[1]}: a class has no image here."
    caution = f" Mind: {TOOK_PART[split]}." if split in TOOK_PART else ""
    difference, (low, high) = values[0] - values[1], limits
    chance = ("p < 0.001" if p < 0.001 else f"p = {p:.3f}") + (
        f" after Holm's correction for {comparisons} comparisons" if comparisons > 1 else ""
    )
    figures = (
        f"{word} {values[0]:.3f} against {values[1]:.3f}, difference {difference:+.3f} (95% interval {low:+.3f} to "
        f"{high:+.3f}, {chance})"
    )
    if p < ALPHA and (low > 0 or high < 0):
        better, worse = names if difference > 0 else names[::-1]
        return (
            f"On these {rows} {better} is better than {worse}: {figures}. This is said of these two trained networks "
            f"and of images like these, not of other trainings or other sites.{caution}"
        )
    outside = f"{names[0]} may be better by up to {max(high, 0):.3f} or worse by up to {max(-low, 0):.3f}"
    return (
        f"These {rows} cannot tell the two apart: {figures}. Nor do they show that the two are equal: "
        f"{outside}.{caution}"
    )


def _pair(
    first: Predictions, second: Predictions, metric: str, thresholds: tuple[float | None, float | None]
) -> tuple[_Pair, str]:
    """Line the two up, keep the rows that the metric counts, and say in words which these are."""
    if metric not in METRICS:
        raise MedclsError(f"Compared can be {', '.join(METRICS)}, not {metric!r}.{nearest(metric, METRICS)}")
    classes, positive = first.classes, first.positive
    if positive is None and metric in ("sensitivity", "specificity"):
        raise MedclsError(f"With {len(classes)} classes there is no one {metric}: compare the accuracy or the AUROC.")
    second = dataclasses.replace(second, rows=second.rows.set_index("path").loc[first.rows["path"]].reset_index())
    labels = first.labels()
    groups = group_numbers(first.rows["group"].tolist(), len(labels))
    both = (first.probabilities(), second.probabilities())
    called = [predicted_classes(scores, classes, positive, at) for scores, at in zip(both, thresholds, strict=True)]
    judged = range(len(classes)) if positive is None else (classes.index(positive),)
    of_class = labels == (classes.index(positive) if positive else 0)
    kept = {"sensitivity": of_class, "specificity": ~of_class}.get(metric, np.ones(len(labels), bool))
    rows = f"{kept.sum()} images"
    if positive and metric in ("sensitivity", "specificity"):
        name = positive if metric == "sensitivity" else next(one for one in classes if one != positive)
        rows += f" of class {name!r}"
    if any_repeated(groups):  # of all rows: which method holds does not hang on the metric
        rows += f" from {len(np.unique(groups[kept]))} groups"
    pair = _Pair(
        labels=labels[kept],
        groups=np.unique(groups[kept], return_inverse=True)[1],
        right=np.stack([one == labels for one in called])[:, kept],
        scores=np.stack([scores.T[list(judged)] for scores in both])[:, :, kept],
        cases=np.stack([(labels == k).astype(np.int64) for k in judged])[:, kept],
    )
    return pair, rows


def _shares(pair: _Pair) -> tuple[float, float]:
    """Share of rows that each of the two called rightly."""
    if not pair.right.shape[1]:
        return np.nan, np.nan
    return float(pair.right[0].mean()), float(pair.right[1].mean())


def _compare_shares(pair: _Pair, values: tuple[float, float], resamples: int, seed: int) -> _Result:
    """McNemar's exact test with Bonett and Price's interval; by group, where any has two rows.

    Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data": Wald's, after one row more of either disagreement.
    """
    if np.isnan(values).any():
        return (np.nan, np.nan), np.nan, "none"
    gains = pair.right[0].astype(np.float64) - pair.right[1]
    n, ups, downs = len(gains), int((gains > 0).sum()), int((gains < 0).sum())
    if not any_repeated(pair.groups):
        both = int((pair.right[0] & pair.right[1]).sum())
        _, p = mcnemar(np.array([[both, ups], [downs, n - both - ups - downs]]), exact=True)
        return _bonett_price(ups, downs, n), float(p), "McNemar, exact; interval of Bonett and Price"
    of_group = np.bincount(pair.groups, gains)
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (resamples, len(of_group)))
    p = _permutation_p(signs @ of_group / n, values[0] - values[1])
    drawn = bootstrap(
        lambda weights: (weights @ gains / weights.sum(axis=1))[:, None], pair.labels, pair.groups, resamples, seed
    )
    limits = _normal_limits(values[0] - values[1], drawn.values[:, 0])
    if limits is not None:
        return limits, p, f"{BY_GROUP}; interval by bootstrap"
    # Each group for one row: all that can be said where no resample differs from another.
    count = len(of_group)
    ups, downs = int((of_group > 0).sum()), int((of_group < 0).sum())
    return _bonett_price(ups, downs, count), p, f"{BY_GROUP}; interval of Bonett and Price, each group counted once"


def _bonett_price(ups: int, downs: int, n: int) -> tuple[float, float]:
    up, down = (ups + 1) / (n + 2), (downs + 1) / (n + 2)
    half = Z * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return max(-1.0, float(up - down - half)), min(1.0, float(up - down + half))


def _areas(pair: _Pair) -> tuple[float, float]:
    """AUROC of each, the mean over the classes that have one of their own."""
    n = pair.cases.shape[1]
    if not ((pair.cases.sum(axis=1) > 0) & (pair.cases.sum(axis=1) < n)).all():
        return np.nan, np.nan
    areas = [delong(case, pair.scores[:, k])[0] for k, case in enumerate(pair.cases)]
    one, other = np.mean(areas, axis=0)
    return float(one), float(other)


def _compare_areas(pair: _Pair, values: tuple[float, float], resamples: int, seed: int) -> _Result:
    """DeLong's paired test in a binary task; else, and where it breaks down, permutation and bootstrap."""
    if np.isnan(values).any():
        return (np.nan, np.nan), np.nan, "none"
    difference, clustered = values[0] - values[1], any_repeated(pair.groups)
    cases = int(pair.cases[0].sum())
    if len(pair.cases) == 1 and not clustered and min(cases, pair.cases.shape[1] - cases) >= FEW_FOR_DELONG:
        covariance = delong(pair.cases[0], pair.scores[:, 0])[1]
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
        if variance > NO_SPREAD:
            error = float(np.sqrt(variance))
            p = float(2 * norm.sf(abs(difference) / error))
            return (difference - Z * error, difference + Z * error), p, "DeLong, paired"
    p = _permutation_p(_permuted_areas(pair, resamples, seed), difference)
    test = BY_GROUP if clustered else "permutation of rows"
    drawn = bootstrap(lambda weights: _weighted_difference(pair, weights), pair.labels, pair.groups, resamples, seed)
    limits = _normal_limits(difference, drawn.values[:, 0])
    if limits is not None:
        return limits, p, f"{test}; interval by bootstrap"
    return _unpaired_limits(pair), p, f"{test}; interval from Newcombe's of each, as if unpaired"


def _permuted_areas(pair: _Pair, resamples: int, seed: int) -> Floats:
    """Differences `(resamples,)` after whole groups of rows have changed sides at random.

    What changes sides are ranks, since two networks need not mean the same by one probability: Bandos,
    Rockette and Gur 2005, "A permutation test sensitive to differences in areas for comparing ROC curves
    from a paired design".
    """
    draw = np.random.default_rng(seed)
    n, count = len(pair.groups), int(pair.groups.max()) + 1
    ranks = rankdata(pair.scores, axis=2)
    at_once = max(1, _CELLS // n)
    parts = []
    for start in range(0, resamples, at_once):
        swapped = draw.integers(0, 2, (min(at_once, resamples - start), count)).astype(bool)[:, pair.groups]
        differences = np.zeros(len(swapped))
        for k, case in enumerate(pair.cases):
            for side, sign in ((0, 1), (1, -1)):
                mixed = rankdata(np.where(swapped, ranks[1 - side, k], ranks[side, k]), axis=1)
                # The area is the mean rank of the cases, less what they would have on their own, per other row.
                differences += sign * mixed[:, case == 1].mean(axis=1) / (n - case.sum())
        parts.append(differences / len(pair.cases))
    return np.concatenate(parts)


def _permutation_p(permuted: Floats, observed: float) -> float:
    """Two-sided; the observed order counts as one of the permutations (Phipson and Smyth 2010)."""
    as_far = np.abs(permuted) >= abs(observed) - NO_SPREAD
    return float((1 + as_far.sum()) / (1 + len(permuted)))


def _weighted_difference(pair: _Pair, weights: Floats) -> Floats:
    differences = [
        weighted_areas(weights, case, pair.scores[0, k])[0] - weighted_areas(weights, case, pair.scores[1, k])[0]
        for k, case in enumerate(pair.cases)
    ]
    return np.mean(differences, axis=0)[:, None]


def _normal_limits(difference: float, values: Floats) -> tuple[float, float] | None:
    """Difference and 1.96 standard errors over the resamples; None where these do not vary."""
    error = float(np.nanstd(values)) if np.isfinite(values).mean() >= 0.5 else 0.0
    return (difference - Z * error, difference + Z * error) if error > NO_SPREAD else None


def _unpaired_limits(pair: _Pair) -> tuple[float, float]:
    """Limits of the difference from those of each AUROC (MOVER, see `mean_limits`), the mean over classes."""
    sides = []
    for k, case in enumerate(pair.cases):
        sizes = [len(np.unique(pair.groups[case == one])) for one in (1, 0)]
        one, other = delong(case, pair.scores[:, k])[0].tolist()
        (one_low, one_high), (other_low, other_high) = (newcombe_limits(area, *sizes) for area in (one, other))
        low = one - other - np.hypot(one - one_low, other_high - other)
        high = one - other + np.hypot(one_high - one, other - other_low)
        sides.append((low, high))
    low, high = np.mean(sides, axis=0)
    return float(low), float(high)
