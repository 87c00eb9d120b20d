"""Two classifiers on the same images: the difference, its interval, a test, and what may be concluded.

Where every row stands alone, DeLong's paired test and McNemar's; as soon as one group has two rows,
permutation and bootstrap of whole groups. Means over rows (Brier score, net benefit) are permuted and resampled
always; what is no mean (average precision, F1, MCC) is resampled alone. Many are compared at the price of few:
whatever belongs to one classifier is computed once, and all pairs share their resamples.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from mlxtend.evaluate import mcnemar
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from medcls.errors import MedclsError, nearest
from medcls.evaluation.decision_curve import acting_from, benefit_of_rows
from medcls.evaluation.predictions import TOOK_PART, Predictions
from medcls.statistics.analytic import FEW_FOR_DELONG, LEVEL, Z, delong, holm, newcombe_limits, t_factor
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.hard_labels import check_table
from medcls.statistics.metric_table import (
    BY_IDENTIFIER,
    LOWER_IS_BETTER,
    METRICS,
    NAMES,
    Metric,
    both_decisions,
    class_of,
    estimates,
    with_interval,
)
from medcls.statistics.metrics import predicted_classes
from medcls.statistics.resampling import Ranking, Statistic, any_repeated, bootstrap, group_numbers
from medcls.statistics.split import Split
from medcls.wording import enumerated

NET_BENEFIT = "net_benefit"  # not in the table of metrics: it takes a probability that a person states
COMPARED = (*(metric.identifier for metric in METRICS if metric.compared), NET_BENEFIT)
WORDS = NAMES | {NET_BENEFIT: "net benefit"}
ALPHA = 0.05
BY_ROW, BY_GROUP = "permutation of rows", "permutation of groups"
DELONG_PAIRED = "DeLong, paired"
Verdict = Literal["better", "worse", "undecided", "undefined"]

NO_SPREAD = 1e-12  # what is less comes of the last digits
_CELLS = 2**18  # signs held at once: 2 MiB of float64
# So many permutations for each comparison that Holm's correction of the smallest p-value there can be leaves 0.01.
_PERMUTATIONS_EACH = 100


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
    freedom : float
        Degrees of freedom of the interval; infinite for a normal one.
    n : int
        Rows behind it: of a sensitivity the cases alone.
    rows : str
        The same in words, with the number of groups where those count.
    verdict : {"better", "worse", "undecided", "undefined"}
        What the sentence concludes of the first: `undecided` where interval and test do not both tell the two
        apart, `undefined` where a value is.
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
    freedom: float
    n: int
    rows: str
    verdict: Verdict
    sentence: str


@dataclasses.dataclass(frozen=True)
class _Seen:
    """The rows that a metric counts, as each of M classifiers saw them.

    Parameters
    ----------
    labels, groups : int64 array (n,)
    of_rows : float64 array (M, n)
        What each row adds to the mean that the metric is: 1 where it was called rightly, its squared error, its
        benefit. Empty (M, 0) for what is no mean.
    scores : float64 array (M, K, n)
        For each class that has an AUROC of its own, the probability of it.
    cases : int64 array (K, n)
        1 where the row is of that class.
    words : str
        Which rows these are.
    """

    labels: Integers
    groups: Integers
    of_rows: Floats
    scores: Floats
    cases: Integers
    words: str

    @property
    def n(self) -> int:
        return len(self.labels)

    @property
    def unit(self) -> str:
        """What changes sides in a permutation."""
        return BY_GROUP if any_repeated(self.groups) else BY_ROW

    @property
    def freedom(self) -> float:
        """Degrees of freedom of a standard error over resamples; infinite where each row stands alone."""
        return max(1, len(np.unique(self.groups)) - 1) if any_repeated(self.groups) else np.inf

    @property
    def quantile(self) -> float:
        """How many such standard errors an interval reaches to either side."""
        return float(student.ppf(0.5 + LEVEL / 2, self.freedom))

    def limits(self, difference: float, values: Floats) -> tuple[float, float] | None:
        """Difference and its standard errors over the resamples (`t_factor`); None where these do not vary."""
        error = float(np.nanstd(values)) if np.isfinite(values).mean() >= 0.5 else 0.0
        if error <= NO_SPREAD:
            return None
        half = error * t_factor(None if np.isinf(self.freedom) else int(self.freedom) + 1)
        return difference - half, difference + half

    def by_group(self, values: Floats) -> Floats:
        """Sums over the rows of each group: `(m, n)` to `(m, groups)`."""
        return np.stack([np.bincount(self.groups, row) for row in values])


# Two classifiers, by their numbers.
_Pair = tuple[int, int]


class _Result(NamedTuple):
    """Of a difference the limits, the p-value, the method, and the degrees of freedom of the limits."""

    limits: tuple[float, float]
    p: float
    method: str
    freedom: float = np.inf


@dataclasses.dataclass(frozen=True)
class _Draws:
    """How often, and from which seed, is resampled."""

    resamples: int
    permutations: int
    seed: int


def compare(
    first: Predictions,
    second: Predictions,
    metric: str,
    thresholds: tuple[float | None, float | None] = (None, None),
    names: tuple[str, str] = ("A", "B"),
    resamples: int = 2000,
    seed: int = 0,
    threshold_probability: float | None = None,
) -> Comparison:
    """Compare two classifiers that saw the same images.

    Parameters
    ----------
    first, second : Predictions
        Of the same paths, in any order, with the same labels and groups.
    metric : str
        One of `COMPARED`. With more than two classes AUROC, average precision and F1 are the mean over classes of one
        against the rest, and there is no single sensitivity, specificity or net benefit.
    thresholds : pair of float or None
        Each one's operating point in a binary task; 0.5 where None.
    names : pair of str
        How the sentence calls them.
    resamples, seed : int
        Of bootstrap and permutation. The same seed gives the same result.
    threshold_probability : float, optional
        Of the net benefit, for which it is needed: the probability at which a person would act, the same for both.

    Raises
    ------
    MedclsError
        Different rows, labels, groups or classes; hard labels where scores are needed; an unknown metric, or one
        that the task does not have; a net benefit without a threshold probability.
    """
    points = {name: at for name, at in zip(names, thresholds, strict=True) if at is not None}
    tables = dict(zip(names, (first, second), strict=True))
    found = compare_all(tables, [metric], points, resamples, seed, threshold_probability).iloc[0]
    return Comparison(**{field.name: found[field.name] for field in dataclasses.fields(Comparison)})


def compare_all(
    tables: Mapping[str, Predictions],
    metrics: Sequence[str],
    thresholds: Mapping[str, float] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    threshold_probability: float | None = None,
) -> pd.DataFrame:
    """Compare every pair of several classifiers, as of a sweep, with p-values corrected for their number.

    Parameters
    ----------
    tables : mapping of str to Predictions
        By name; all of the same images.
    metrics : sequence of str
        Each of `COMPARED`. The correction is for the comparisons of all of them.
    thresholds : mapping of str to float, optional
        Operating points by the same names; 0.5 where one is missing.
    resamples, seed : int
        As of `compare`. There are more permutations than resamples where many comparisons call for them: else no
        p-value could be small enough to outlive its correction.
    threshold_probability : float, optional
        As of `compare`.

    Returns
    -------
    DataFrame
        `a, b`, then the fields of `Comparison`, and `p_holm`, on which the sentences stand. The
        intervals are those of each comparison alone.

    Raises
    ------
    MedclsError
        As `compare`.
    """
    names = list(tables)
    for name in names[1:]:
        check_paired(tables[names[0]], tables[name], (names[0], name))
    points = [(thresholds or {}).get(name) for name in names]
    pairs = list(itertools.combinations(range(len(names)), 2))
    draws = _Draws(resamples, max(resamples, _PERMUTATIONS_EACH * len(pairs) * len(metrics)), seed)
    found: list[tuple[str, str, Comparison]] = []
    splits = _Splits(list(tables.values()), points, draws)
    for metric in metrics:
        seen = _see(list(tables.values()), metric, points, threshold_probability)
        how = "permutation" if metric == NET_BENEFIT else BY_IDENTIFIER[metric].compared
        if how == "DeLong":
            values = _areas(seen)
            results = _compare_areas(seen, values, pairs, draws)
        elif how == "bootstrap":
            values = splits.estimates(metric)
            results = _compare_resampled(seen, values, splits.resampled(metric), pairs)
        else:
            values = _means(seen)
            results = _compare_means(seen, values, pairs, draws)
        for (one, other), result in zip(pairs, results, strict=True):
            both = (values[one], values[other])
            difference = Comparison(
                metric=metric,
                first=both[0],
                second=both[1],
                difference=both[0] - both[1],
                low=result.limits[0],
                high=result.limits[1],
                p=result.p,
                method=result.method,
                freedom=result.freedom,
                n=seen.n,
                rows=seen.words,
                verdict="undecided",
                sentence="",
            )
            found.append((names[one], names[other], difference))
    corrected = holm(np.array([told.p for _, _, told in found]))
    split, count = tables[names[0]].split, int(np.isfinite(corrected).sum())
    rows = []
    for (a, b, told), p in zip(found, corrected.tolist(), strict=True):
        pair, limits = (told.first, told.second), (told.low, told.high)
        sentence = conclusion(told.metric, (a, b), pair, limits, p, told.rows, split, count)
        concluded = {"verdict": verdict(told.metric, pair, limits, p), "sentence": sentence}
        rows.append({"a": a, "b": b, **dataclasses.asdict(told), "p_holm": p, **concluded})
    fields = [field.name for field in dataclasses.fields(Comparison)]
    return pd.DataFrame(rows, columns=["a", "b", *fields[:-2], "p_holm", *fields[-2:]])


def metrics_of(classes: Sequence[str]) -> tuple[str, ...]:
    """Name the metrics that a task with these classes can be compared by."""
    return COMPARED if len(classes) == 2 else tuple(name for name in COMPARED if _is_of_several(name))


def _is_of_several(metric: str) -> bool:
    """Whether it exists with more than two classes: there the rows of one class alone, as cases, are many rows."""
    return metric != NET_BENEFIT and not (_is_share(metric) and BY_IDENTIFIER[metric].rows != "all")


def _is_share(metric: str) -> bool:
    """Whether it is the share of right decisions among the rows that it counts."""
    return metric in BY_IDENTIFIER and BY_IDENTIFIER[metric].compared == "McNemar"


def judges(metrics: Sequence[str], what: str) -> list[Metric]:
    """Those of some metrics that judge the decisions, say, or the ranking; see `Metric.judges`."""
    return [BY_IDENTIFIER[name] for name in metrics if name in BY_IDENTIFIER and BY_IDENTIFIER[name].judges == what]


def check_metric(metric: str, classes: Sequence[str]) -> None:
    """See to it that a task with these classes can be compared by a metric.

    Raises
    ------
    MedclsError
        There is no such metric, or not with so many classes.
    """
    if metric not in COMPARED:
        raise MedclsError(
            f"Compared can be {', '.join(COMPARED)}, not {metric!r}.{nearest(str(metric), COMPARED)}",
            kind="unknown_metric",
        )
    if metric not in metrics_of(classes):
        raise MedclsError(
            f"With {len(classes)} classes there is no one {WORDS[metric]}: compare {enumerated(metrics_of(classes))}.",
            kind="not_binary",
        )


def check_paired(first: Predictions, second: Predictions, names: tuple[str, str]) -> None:
    """Hold two tables against each other: the same images, labels, groups and classes.

    Raises
    ------
    MedclsError
        They differ in any of these.
    """
    if (set(first.classes), first.positive) != (set(second.classes), second.positive):
        raise MedclsError(
            f"{names[0]} has the classes {', '.join(first.classes)} (positive: {first.positive}), {names[1]} has "
            f"{', '.join(second.classes)} (positive: {second.positive}): only the same classes can be compared.",
            kind="different_classes",
        )
    mine, theirs = first.rows.set_index("path"), second.rows.set_index("path")
    for here, there, name in ((mine, theirs, names[0]), (theirs, mine, names[1])):
        only = here.index.difference(there.index)
        if len(only):
            raise MedclsError(
                f"{len(only)} image(s) were predicted by {name} alone, as {only[0]!r}: two classifiers are compared on "
                f"the same images. {names[0]} has {len(mine)}, {names[1]} has {len(theirs)}.",
                kind="different_images",
            )
    theirs = theirs.loc[mine.index]
    for column in ("label", "group"):
        differ = mine.index[mine[column].to_numpy() != theirs[column].to_numpy()]
        if len(differ):
            raise MedclsError(
                f"{len(differ)} image(s) have another {column} in {names[0]} than in {names[1]}, as {differ[0]!r} "
                f"({mine.loc[differ[0], column]!r} and {theirs.loc[differ[0], column]!r}): mend the tables first.",
                kind="rows_disagree",
            )


def verdict(metric: str, values: tuple[float, float], limits: tuple[float, float], p: float) -> Verdict:
    """What is concluded of the first of two; better or worse only where interval and test both say so.

    Parameters
    ----------
    values, limits, p
        As of `conclusion`.
    """
    if np.isnan(values).any():
        return "undefined"
    low, high = limits
    if not (p < ALPHA and (low > 0 or high < 0)):
        return "undecided"
    return "better" if (low > 0) is not (metric in LOWER_IS_BETTER) else "worse"


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
    word = WORDS[metric]
    if np.isnan(values).any():
        agrees = metric in BY_IDENTIFIER and both_decisions in BY_IDENTIFIER[metric].needs
        never = ", or one of the two calls every image the same" if agrees else ""
        return f"These {rows} say nothing of the {word} of {names[0]} and {names[1]}: a class has no image here{never}."
    if np.isnan([*limits, p]).any():
        return (
            f"These {rows} cannot tell the two apart: {word} {values[0]:.3f} against {values[1]:.3f}, and how sure "
            "their difference is cannot be told, because every resample gives the same."
        )
    caution = f" Mind: {TOOK_PART[split]}." if split in TOOK_PART else ""
    difference, (low, high) = values[0] - values[1], limits
    chance = ("p < 0.001" if p < 0.001 else f"p = {p:.3f}") + (
        f" after Holm's correction for {comparisons} comparisons" if comparisons > 1 else ""
    )
    lower = metric in LOWER_IS_BETTER
    figures = f"{word} (lower is better)" if lower else word
    figures += (
        f" {values[0]:.3f} against {values[1]:.3f}, difference {difference:+.3f} (95% interval {low:+.3f} to "
        f"{high:+.3f}, {chance})"
    )
    gain, loss = (-low, high) if lower else (high, -low)
    better, worse = names if (difference > 0) is not lower else names[::-1]
    if verdict(metric, values, limits, p) != "undecided":
        return (
            f"On these {rows} {better} is better than {worse}: {figures}. This is said of these two trained networks "
            f"and of images like these, not of other trainings or other sites.{caution}"
        )
    if low > 0 or high < 0:
        alone = ", of this comparison alone," if comparisons > 1 else ""
        left_open = (
            f"the interval{alone} leaves out 0 in favour of {better}, and the test does not bear it out. That is a "
            "hint, to be tried on other images"
        )
    else:
        left_open = f"{names[0]} may be better by up to {gain:.3f} or worse by up to {loss:.3f}"
    return (
        f"These {rows} cannot tell the two apart: {figures}. Nor do they show that the two are equal: "
        f"{left_open}.{caution}"
    )


def _see(
    tables: Sequence[Predictions], metric: str, thresholds: Sequence[float | None], acted_at: float | None = None
) -> _Seen:
    """Line the tables up with the first, and keep the rows that the metric counts."""
    first = tables[0]
    classes, positive = first.classes, first.positive
    check_metric(metric, classes)
    tables = [in_order_of(first, table) for table in tables]
    labels = first.labels()
    index = None if positive is None else classes.index(positive)
    probabilities = [table.probabilities() for table in tables]
    if judges([metric], "ranking"):
        for scores in probabilities:
            check_table(labels, scores, classes, index)
    if _is_share(metric):
        of_rows = [
            predicted_classes(scores, classes, positive, at) == labels
            for scores, at in zip(probabilities, thresholds, strict=True)
        ]
    elif metric == NET_BENEFIT:
        of_rows = [
            benefit_of_rows(labels == index, each[:, index or 0], acting_from(acted_at)) for each in probabilities
        ]
    elif (of_row := BY_IDENTIFIER[metric].of_row) is not None:
        of_rows = [of_row(split_of(table, at).once()) for table, at in zip(tables, thresholds, strict=True)]
    else:
        of_rows = [np.empty(len(labels))] * len(tables)
    judged = range(len(classes)) if index is None else (index,)
    of_class = labels == (index or 0)
    of = BY_IDENTIFIER[metric].rows if metric in BY_IDENTIFIER else "all"
    kept = {"cases": of_class, "others": ~of_class}.get(of, np.ones(len(labels), bool))
    words = f"{kept.sum()} images"
    if positive and of in ("cases", "others"):
        name = positive if of == "cases" else next(one for one in classes if one != positive)
        words += f" of class {name!r}"
    groups = group_numbers(first.clusters, len(labels))
    if any_repeated(groups):  # of all rows: which method holds does not hang on the metric
        words += f" from {len(np.unique(groups[kept]))} groups"
    return _Seen(
        labels=labels[kept],
        groups=np.unique(groups[kept], return_inverse=True)[1],
        of_rows=np.stack(of_rows).astype(np.float64)[:, kept],
        scores=np.stack([scores.T[list(judged)] for scores in probabilities])[:, :, kept],
        cases=np.stack([(labels == k).astype(np.int64) for k in judged])[:, kept],
        words=words,
    )


def in_order_of(first: Predictions, table: Predictions) -> Predictions:
    """The same rows and classes, in the order of the first table's."""
    rows = table.rows.set_index("path").loc[first.rows["path"]].reset_index()
    return dataclasses.replace(table, rows=rows, classes=first.classes)


@dataclasses.dataclass
class _Splits:
    """What is no mean over rows, of each classifier: resampled once for all metrics, the same draws for all."""

    tables: Sequence[Predictions]
    points: Sequence[float | None]
    draws: _Draws

    def estimates(self, metric: str) -> list[float]:
        """The metric of each classifier."""
        return [float(self._of_all[0][one, place]) for one, place in self._places(metric)]

    def resampled(self, metric: str) -> Floats:
        """The metric of each classifier in each resample: `(r, M)`."""
        return np.stack([self._of_all[1][:, one, place] for one, place in self._places(metric)], axis=1)

    def _places(self, metric: str) -> list[tuple[int, int]]:
        first = self._made[0]
        keys = [(of_split.identifier, name) for of_split, name in with_interval(first)]
        over = class_of(metric, None if first.positive is None else first.classes[first.positive])
        return [(one, keys.index((metric, over))) for one in range(len(self._made))]

    @functools.cached_property
    def _made(self) -> list[Split]:
        first = self.tables[0]
        return [split_of(in_order_of(first, table), at) for table, at in zip(self.tables, self.points, strict=True)]

    @functools.cached_property
    def _of_all(self) -> tuple[Floats, Floats]:
        """All figures: of the rows `(M, figures)`, and of each resample `(r, M, figures)`."""
        first = self._made[0]
        if not len(first.labels):
            undefined = np.full((len(self._made), len(list(with_interval(first)))), np.nan)
            return undefined, undefined[None]
        once = np.stack([estimates(split, np.ones((1, len(split.labels))))[0] for split in self._made])
        drawn = bootstrap(
            lambda weights: np.concatenate([estimates(split, weights) for split in self._made], axis=1),
            first.labels,
            first.groups,
            self.draws.resamples,
            self.draws.seed,
        ).values
        return once, drawn.reshape(len(drawn), *once.shape)


def split_of(table: Predictions, threshold: float | None) -> Split:
    """A classifier's rows with its calls. Hard labels are taken: they have no AUROC, but calls."""
    scores = table.probabilities()
    return Split(
        labels=table.labels(),
        predicted=predicted_classes(scores, table.classes, table.positive, threshold),
        scores=scores,
        groups=group_numbers(table.clusters, len(table)),
        classes=table.classes,
        positive=None if table.positive is None else table.classes.index(table.positive),
    )


def _means(seen: _Seen) -> list[float]:
    """Mean over the rows of each classifier."""
    return seen.of_rows.mean(axis=1).tolist() if seen.n else [np.nan] * len(seen.of_rows)


def _compare_means(seen: _Seen, values: list[float], pairs: list[_Pair], draws: _Draws) -> list[_Result]:
    """Permutation and bootstrap; of shares, where each row stands alone, McNemar's exact test.

    The interval beside it is of Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of
    binomial proportions based on paired data": Wald's, after one row more of either disagreement.
    """
    if not seen.n:
        return [_UNDEFINED] * len(pairs)
    are_shares = bool(np.isin(seen.of_rows, (0, 1)).all())
    if are_shares and not any_repeated(seen.groups):
        right = seen.of_rows == 1
        return [_mcnemar(right[one], right[other]) for one, other in pairs]
    gains = seen.by_group(seen.of_rows)
    gains = np.stack([gains[one] - gains[other] for one, other in pairs])
    ps = _permutation_ps(gains / seen.n, draws)
    drawn = bootstrap(
        lambda weights: weights @ seen.of_rows.T / weights.sum(axis=1, keepdims=True),
        seen.labels,
        seen.groups,
        draws.resamples,
        draws.seed,
    ).values
    results: list[_Result] = []
    for (one, other), of_group, p in zip(pairs, gains, ps, strict=True):
        limits = seen.limits(values[one] - values[other], drawn[:, one] - drawn[:, other])
        if limits is not None:
            results.append(_Result(limits, p, f"{seen.unit}; interval by bootstrap", seen.freedom))
        elif are_shares:
            # Each group for one row: all that can be said where no resample differs from another.
            limits = _bonett_price(int((of_group > 0).sum()), int((of_group < 0).sum()), len(of_group))
            results.append(_Result(limits, p, f"{seen.unit}; interval of Bonett and Price, each group counted once"))
        else:
            results.append(_Result((np.nan, np.nan), p, seen.unit))
    return results


def _compare_resampled(seen: _Seen, values: list[float], drawn: Floats, pairs: list[_Pair]) -> list[_Result]:
    """Interval and test by the standard error over resamples `(r, M)`: no difference where 0 lies within."""
    results: list[_Result] = []
    for one, other in pairs:
        difference = values[one] - values[other]
        limits = None if np.isnan(difference) else seen.limits(difference, drawn[:, one] - drawn[:, other])
        if limits is None:
            results.append(_Result((np.nan, np.nan), 1.0 if abs(difference) <= NO_SPREAD else np.nan, "none"))
            continue
        half = (limits[1] - limits[0]) / 2
        p = float(2 * student.sf(abs(difference) / half * seen.quantile, seen.freedom))
        unit = "groups" if any_repeated(seen.groups) else "rows"
        results.append(_Result(limits, p, f"paired bootstrap of {unit}", seen.freedom))
    return results


def _mcnemar(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> _Result:
    both, ups, downs, n = int((one & other).sum()), int((one & ~other).sum()), int((other & ~one).sum()), len(one)
    _, p = mcnemar(np.array([[both, ups], [downs, n - both - ups - downs]]), exact=True)
    return _Result(_bonett_price(ups, downs, n), float(p), "McNemar, exact; interval of Bonett and Price")


def _bonett_price(ups: int, downs: int, n: int) -> tuple[float, float]:
    up, down = (ups + 1) / (n + 2), (downs + 1) / (n + 2)
    half = Z * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return max(-1.0, float(up - down - half)), min(1.0, float(up - down + half))


def _areas(seen: _Seen) -> list[float]:
    """AUROC of each classifier, the mean over the classes that have one of their own."""
    counts = seen.cases.sum(axis=1)
    if not ((counts > 0) & (counts < seen.n)).all():
        return [np.nan] * len(seen.scores)
    return np.mean([delong(case, seen.scores[:, k])[0] for k, case in enumerate(seen.cases)], axis=0).tolist()


def _compare_areas(seen: _Seen, values: list[float], pairs: list[_Pair], draws: _Draws) -> list[_Result]:
    """DeLong's paired test in a binary task; else, and where it breaks down, permutation and bootstrap."""
    if np.isnan(values).any():
        return [_UNDEFINED] * len(pairs)
    results = _delong_results(seen, values, pairs)
    left = [pair for pair in pairs if pair not in results]
    if left:
        ps = _permutation_ps(_area_contributions(seen, left), draws)
        drawn = bootstrap(_mean_areas(seen), seen.labels, seen.groups, draws.resamples, draws.seed).values
        for (one, other), p in zip(left, ps, strict=True):
            limits = seen.limits(values[one] - values[other], drawn[:, one] - drawn[:, other])
            if limits is not None:
                results[one, other] = _Result(limits, p, f"{seen.unit}; interval by bootstrap", seen.freedom)
            else:
                unpaired = _unpaired_limits(seen, one, other)
                method = f"{seen.unit}; interval from Newcombe's of each, as if unpaired"
                results[one, other] = _Result(unpaired, p, method)
    return [results[pair] for pair in pairs]


def _delong_results(seen: _Seen, values: list[float], pairs: list[_Pair]) -> dict[_Pair, _Result]:
    """DeLong's test of the pairs for which it holds."""
    cases = int(seen.cases[0].sum())
    if len(seen.cases) > 1 or any_repeated(seen.groups) or min(cases, seen.n - cases) < FEW_FOR_DELONG:
        return {}
    covariance = delong(seen.cases[0], seen.scores[:, 0])[1]
    results: dict[_Pair, _Result] = {}
    for one, other in pairs:
        difference = values[one] - values[other]
        variance = covariance[one, one] + covariance[other, other] - 2 * covariance[one, other]
        if variance > NO_SPREAD:
            error = float(np.sqrt(variance))
            p = float(2 * norm.sf(abs(difference) / error))
            limits = difference - Z * error, difference + Z * error
            results[one, other] = _Result(limits, p, DELONG_PAIRED)
    return results


def _area_contributions(seen: _Seen, pairs: list[_Pair]) -> Floats:
    """What each group contributes to the difference of two AUROCs: `(pairs, groups)`.

    The difference is their sum, and where groups change sides its value is the sum with their signs changed. For
    let `s(x, y)` be 1 where a case's rank x is above another row's y, 1/2 where equal, and `t` be -1 for a row that
    changed sides, else 1. Of a case i and another row j, the first classifier then counts
    `((1 + t_i) (1 + t_j) s(a_i, a_j) + (1 + t_i) (1 - t_j) s(a_i, b_j) + (1 - t_i) (1 + t_j) s(b_i, a_j) +
    (1 - t_i) (1 - t_j) s(b_i, b_j)) / 4`, and the second the same with each t reversed: of their difference only
    the terms in one t alone are left.

    What changes sides are ranks, since two networks need not mean the same by one probability: Bandos, Rockette and
    Gur 2005, "A permutation test sensitive to differences in areas for comparing ROC curves from a paired design",
    who list all permutations so.
    """
    ranks = rankdata(seen.scores, axis=2)
    of_rows = np.zeros((len(pairs), seen.n))
    for k, case in enumerate(seen.cases == 1):
        cases, others = np.sort(ranks[:, k, case], axis=1), np.sort(ranks[:, k, ~case], axis=1)
        for number, (one, other) in enumerate(pairs):
            for rows, against, sign in ((case, others, 1), (~case, cases, -1)):
                mine, theirs = ranks[one, k, rows], ranks[other, k, rows]
                gained = [_share_below(mine, of) - _share_below(theirs, of) for of in (against[one], against[other])]
                of_rows[number, rows] += sign * (gained[0] + gained[1]) / (2 * rows.sum())
    return seen.by_group(of_rows / len(seen.cases))


def _share_below(values: Floats, ascending: Floats) -> Floats:
    """For each value the share of the others that lie below it, equal ones counting half."""
    both = np.searchsorted(ascending, values, "left") + np.searchsorted(ascending, values, "right")
    return both / (2 * len(ascending))


def _permutation_ps(contributions: Floats, draws: _Draws) -> list[float]:
    """Two-sided p-values of differences that are sums over groups `(pairs, groups)`, each of which may change its sign.

    The observed order counts as one of the permutations (Phipson and Smyth 2010).
    """
    draw = np.random.default_rng(draws.seed)
    groups = contributions.shape[1]
    observed = np.abs(contributions.sum(axis=1)) - NO_SPREAD
    as_far = np.ones(len(contributions))
    at_once = max(1, _CELLS // groups)
    for start in range(0, draws.permutations, at_once):
        signs = 2.0 * draw.integers(0, 2, (min(at_once, draws.permutations - start), groups), np.int8) - 1
        as_far += (np.abs(signs @ contributions.T) >= observed).sum(axis=0)
    return (as_far / (1 + draws.permutations)).tolist()


def _mean_areas(seen: _Seen) -> Statistic:
    """From weights to the AUROC of each classifier `(r, M)`, the mean over classes."""
    rankings = [
        [Ranking.of(case, of_class) for case, of_class in zip(seen.cases, scores, strict=True)]
        for scores in seen.scores
    ]
    return lambda weights: np.stack(
        [np.mean([ranking.count(weights).areas() for ranking in of_one], axis=0) for of_one in rankings], axis=1
    )


def _unpaired_limits(seen: _Seen, one: int, other: int) -> tuple[float, float]:
    """Limits of the difference from those of each AUROC (MOVER, see `mean_limits`), the mean over classes."""
    sides = []
    for k, case in enumerate(seen.cases):
        sizes = [len(np.unique(seen.groups[case == value])) for value in (1, 0)]
        first, second = delong(case, seen.scores[[one, other], k])[0].tolist()
        (first_low, first_high), (second_low, second_high) = (newcombe_limits(area, *sizes) for area in (first, second))
        low = first - second - np.hypot(first - first_low, second_high - second)
        high = first - second + np.hypot(first_high - first, second - second_low)
        sides.append((low, high))
    low, high = np.mean(sides, axis=0)
    return float(low), float(high)


_UNDEFINED = _Result((np.nan, np.nan), np.nan, "none")
