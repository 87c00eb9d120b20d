"""From which probability on an image is called positive: fitted on val by a stated policy, and kept with its origin."""

import dataclasses
import math
import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom, binom

from medcls.errors import MedclsError, nearest
from medcls.evaluation.predictions import FEW_ROWS, Predictions, check_fitted_with, check_may_fit
from medcls.statistics import digits
from medcls.statistics.analytic import LEVEL
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.metrics import UNFITTED_THRESHOLD, predicted_classes
from medcls.statistics.resampling import bootstrap, group_numbers
from medcls.wording import counted, named

Kind = Literal["fixed", "youden", "f1", "sensitivity", "specificity", "cost"]

NOT_FITTED = "not fitted"

_SURE = "a share above 0 and below 1, and after @ the confidence in percent, at least 50%, as 0.95@90%"

# Each policy as it is typed, and what its number must be.
_FORMS: dict[str, tuple[Kind, str]] = {
    r"fixed": ("fixed", ""),
    r"fixed=(.+)": ("fixed", "a probability, from 0 to 1"),
    r"youden": ("youden", ""),
    r"f1": ("f1", ""),
    r"sensitivity>=([^@]+)": ("sensitivity", "a share above 0 and up to 1"),
    r"specificity>=([^@]+)": ("specificity", "a share above 0 and up to 1"),
    r"sensitivity>=(.+)@(.+)": ("sensitivity", _SURE),
    r"specificity>=(.+)@(.+)": ("specificity", _SURE),
    r"cost=(.+)": ("cost", "how many false positives a false negative costs, above 0"),
}
_TYPED = (
    *("fixed", "fixed=0.3", "youden", "f1", "sensitivity>=0.95", "specificity>=0.95"),
    *("sensitivity>=0.95@90%", "specificity>=0.95@90%", "cost=5"),
)


@dataclasses.dataclass(frozen=True)
class Criterion:
    """What a threshold is to achieve, read from text by `parse_criterion`.

    Parameters
    ----------
    text : str
        As it was typed.
    kind : str
        `fixed`: this threshold, whatever the rows say. `youden`: the greatest sensitivity + specificity - 1
        (Youden 1950, "Index for rating diagnostic tests"). `f1`: the greatest F1 score. `sensitivity`: the
        greatest specificity among thresholds that reach this sensitivity. `specificity`: the greatest
        sensitivity among those that reach this specificity. `cost`: the least `value * FN + FP`.
    value : float
        The policy's number; NaN where it has none.
    confidence : float or None
        Of a target for sensitivity or specificity: how sure one wants to be that new images meet it. None for one that
        the fitted rows themselves are to meet, which new images then do about half of the time.
    """

    text: str
    kind: Kind
    value: float
    confidence: float | None = None

    @property
    def is_target(self) -> bool:
        """Whether it states what sensitivity or specificity is to reach."""
        return self.kind in ("sensitivity", "specificity")

    @property
    def cases_it_takes(self) -> int:
        """The fewest independent rows of its class with which a threshold can meet the target with confidence."""
        return math.ceil(math.log1p(-(self.confidence or 0.0)) / math.log(self.value))

    def of(self, positive: str) -> str:
        """Name the class that a target is about: the positive one for a sensitivity, all others for a specificity."""
        return positive if self.kind == "sensitivity" else f"any class but {positive}"

    def wrong_of(self, n: int) -> int:
        """How many of `n` independent cases of its class the threshold of a target may leave on the wrong side."""
        if self.confidence is None:
            return n - math.ceil(self.value * n - 1e-9)
        left = np.arange(1, n + 1)  # the k-th lowest of n scores, and with it the k - 1 below, may lie under it
        return max(int(np.count_nonzero(binom.sf(left - 1, n, 1 - self.value) >= self.confidence)) - 1, 0)

    def chance_of(self, share: float, n: int, fitted_on: int) -> float:
        """How often so large a share of new cases of the class is called wrongly, or a larger one, by chance alone.

        The threshold is the k-th lowest score of the cases that it was fitted on, so of `n` new ones from the same
        population the number under it is beta-binomial, with k and `fitted_on` + 1 - k, whatever the distribution of
        the scores (order statistics; section 2.4 of David and Nagaraja 2003). It allows for the cases on both sides.

        Parameters
        ----------
        share : float
            Of the new cases, those on the wrong side.
        n, fitted_on : int
            Independent new cases, and independent ones that the threshold was fitted on; of the target's class.

        Returns
        -------
        float
            A probability; 1 where nothing is known of the cases that it was fitted on.
        """
        if not fitted_on:
            return 1.0
        k = self.wrong_of(fitted_on) + 1
        return float(betabinom.sf(math.floor(share * n + 1e-9) - 1, n, k, fitted_on + 1 - k))


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A threshold and where it comes from. A row is called positive where its probability is at least the threshold.

    Parameters
    ----------
    criterion : str
        As typed, or `not fitted` for the 0.5 that stands in where nobody chose.
    threshold : float
        From 0 to 1; both ends are thresholds like any other.
    positive_class : str
        Of which class the probability is.
    split, checkpoint : str
        The rows it was fitted on, and the weights behind them.
    n, groups, positives : int
        Rows, independent groups of rows, and rows of the positive class.
    low, high : float or None
        95% bootstrap percentile interval of the threshold, over groups; None where nothing was fitted or there
        is only one group.
    redrawn : int
        Resamples that had lost a class and were drawn anew.
    warnings : tuple of str
        What makes the threshold weaker than it looks, in sentences.
    decimals : int
        With how many it is shown, see `digits.of_threshold`.
    confidence : float or None
        With which new images meet a target that asked for it; less than asked for where the rows were too few.
    cases : int
        Of a target: the independent cases of its class among the rows; 0 for another policy, and in what a medcls
        stored that did not count them.
    """

    criterion: str
    threshold: float
    positive_class: str
    split: str = ""
    checkpoint: str = ""
    n: int = 0
    groups: int = 0
    positives: int = 0
    low: float | None = None
    high: float | None = None
    redrawn: int = 0
    warnings: tuple[str, ...] = ()
    decimals: int = digits.LEAST
    confidence: float | None = None
    cases: int = 0

    @property
    def shown(self) -> str:
        """The threshold as it is shown: one that nobody fitted as it was given."""
        if not self.is_fitted or parse_criterion(self.criterion).kind == "fixed":
            return f"{self.threshold:g}"
        return digits.probability(self.threshold, self.decimals)

    @property
    def target(self) -> Criterion | None:
        """The policy, where it states what sensitivity or specificity is to reach."""
        criterion = parse_criterion(self.criterion) if self.is_fitted else None
        return criterion if criterion is not None and criterion.is_target else None

    @property
    def promise(self) -> str:
        """What a target means for new images; empty where none was stated."""
        target = self.target
        if target is None:
            return ""
        if self.confidence is not None:
            said = f"new images like those meet a {target.kind} of {target.value:g}"
            reached, asked = f"{100 * self.confidence:.3g}%", f"{100 * (target.confidence or 0):.3g}%"
            if not self.is_unsure:
                return f"It was chosen so that {said} with {reached} confidence.{self._useless()}"
            few = counted(self.cases, "independent case") if self.cases else "so few cases"
            return (
                f"{asked} confidence was asked for that {said}; with {few} of "
                f"{target.of(named(self.positive_class))} to fit on, it is {reached}.{self._useless()}"
            )
        return (
            "A target that a threshold just meets on the images it was fitted on is met on new ones in about half of "
            f"all cases; {target.text}@90% leaves room for that."
        )

    @property
    def is_unsure(self) -> bool:
        """Whether a target asked for more confidence than the rows allow."""
        asked = None if self.target is None else self.target.confidence
        return asked is not None and self.confidence is not None and self.confidence < asked

    def _useless(self) -> str:
        """Say of a threshold at an end of the scale what it does; empty for others."""
        predicted_positive = {0.0: "every image", 1.0: "no image"}.get(self.threshold)
        if predicted_positive is None:
            return ""
        return f" At a threshold of {self.shown}, {predicted_positive} is called {named(self.positive_class)}."

    @property
    def is_fitted(self) -> bool:
        """Whether anybody chose it, by a policy or beforehand; if not, 0.5 stands in."""
        return self.criterion != NOT_FITTED

    def label(self) -> str:
        """Say in a few words which threshold this is, for captions."""
        if not self.is_fitted:
            return f"{self.shown} ({NOT_FITTED})"
        if parse_criterion(self.criterion).kind == "fixed":
            return f"{self.shown} (fixed beforehand)"
        between = (
            "" if self.low is None or self.high is None else f", 95% interval {self._between(self.low, self.high)}"
        )
        where = f"{self.split or 'an unnamed split'}, n = {self.n}"
        return f"{self.shown} ({self.criterion}, fitted on {where}{between})"

    def _between(self, low: float, high: float) -> str:
        return " to ".join(digits.probability(end, self.decimals) for end in (low, high))

    def decide(self, table: Predictions) -> Integers:
        """Call each row a class: indices `(n,)`.

        Raises
        ------
        MedclsError
            The table is of another checkpoint, or looks for another class.
        """
        check_fitted_with(table, self.checkpoint, "operating point")
        if table.positive != self.positive_class:
            raise MedclsError(
                f"The operating point is a probability of {self.positive_class!r}, and these predictions look for "
                f"{table.positive!r}.",
                kind="different_positive_class",
            )
        return predicted_classes(table.probabilities(), table.classes, table.positive, self.threshold)

    def to_plain(self) -> dict[str, Any]:
        """For the checkpoint: numbers, strings and a list."""
        plain = dataclasses.asdict(self)
        return {"policy": plain.pop("criterion"), **plain, "warnings": list(self.warnings)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "OperatingPoint":
        """Read back what `to_plain` gave."""
        fields = {name: value for name, value in plain.items() if name != "policy"}
        return cls(**fields | {"criterion": plain["policy"], "warnings": tuple(plain["warnings"])})


def parse_criterion(text: str) -> Criterion:
    """Read `fixed`, `fixed=0.3`, `youden`, `f1`, `sensitivity>=0.95`, `sensitivity>=0.95@90%` or `cost=5`.

    `specificity` stands as `sensitivity` does.

    Raises
    ------
    MedclsError
        Anything else, or a number that the policy cannot have.
    """
    asked = re.sub(r"\s+", "", text)
    for form, (kind, wanted) in _FORMS.items():
        match = re.fullmatch(form, asked)
        if not match:
            continue
        if not wanted:
            return Criterion(asked, kind, UNFITTED_THRESHOLD if kind == "fixed" else float("nan"))
        if wanted == _SURE:
            value, confidence = _number(match[1]), _number(match[2].removesuffix("%")) / 100
            if match[2].endswith("%") and 0 < value < 1 and 0.5 <= confidence < 1:
                return Criterion(asked, kind, value, confidence)
            raise MedclsError(
                f"The operating point's policy is {text!r}: after >= it should be {wanted}.", kind="bad_value"
            )
        value = _number(match[1])
        low_enough = value <= 1 or (kind == "cost" and value < np.inf)
        if low_enough and (value > 0 or (kind == "fixed" and value == 0)):
            return Criterion(asked, kind, value)
        raise MedclsError(
            f"The operating point's policy is {text!r}: {match[1]!r} should be {wanted}.", kind="bad_value"
        )
    raise MedclsError(
        f"There is no operating point policy {text!r}. They are typed {', '.join(_TYPED)}.{nearest(asked, _TYPED)}",
        kind="bad_value",
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def not_fitted(table: Predictions) -> OperatingPoint:
    """Stand in where no policy was ever chosen: 0.5, labelled so."""
    return OperatingPoint(NOT_FITTED, UNFITTED_THRESHOLD, _positive_class(table))


def chosen_beforehand(table: Predictions, criterion: str) -> OperatingPoint | None:
    """Give the threshold of a policy that needs no rows to be fitted on, such as `fixed=0.3`; None for another."""
    asked = parse_criterion(criterion)
    return OperatingPoint(asked.text, asked.value, _positive_class(table)) if asked.kind == "fixed" else None


def fit_operating_point(val: Predictions, criterion: str, *, resamples: int = 1000, seed: int = 0) -> OperatingPoint:
    """Choose the threshold that serves a policy best on rows that are not the result.

    A target with a confidence (`sensitivity>=0.95@90%`) leaves so many cases under the threshold as these rows allow,
    whatever the scores' distribution: with n cases the k-th lowest score lies at or below the (1 - target) quantile of
    all such cases with the probability P(Binomial(n, 1 - target) >= k) (order statistics; section 7.1 of David and
    Nagaraja 2003). Where groups have several cases, n is the number of groups, and the same share is left of the cases.

    The candidates are the midpoints between neighbouring scores that occur, 0 (every row is positive) and 1
    (none is, unless its score is exactly 1), so rows with the same score are never parted. Of candidates that
    serve the policy equally well the one with the greatest sensitivity is taken, then the greatest specificity.

    Parameters
    ----------
    val : Predictions
        A binary table, with the probabilities that the threshold will be held against: calibrated ones, where
        there is a calibration.
    criterion : str
        See `parse_criterion` and `Criterion`.
    resamples, seed : int
        Of the bootstrap over groups. Each resample is fitted as the rows themselves were.

    Returns
    -------
    OperatingPoint

    Raises
    ------
    MedclsError
        The test split; more than two classes; a class without a row; no such policy.
    """
    asked = parse_criterion(criterion)
    positive = _positive_class(val)
    warnings = check_may_fit(val, "an operating point")
    labels = (val.labels() == val.classes.index(positive)).astype(np.int64)
    groups = group_numbers(val.clusters, len(val))
    point = OperatingPoint(
        criterion=asked.text,
        threshold=asked.value,
        positive_class=positive,
        split=val.split,
        checkpoint=val.checkpoint,
        n=len(val),
        groups=int(groups.max()) + 1,
        positives=int(labels.sum()),
    )
    if asked.kind == "fixed":
        return point
    if not 0 < point.positives < point.n:
        missing = "of" if point.positives == 0 else "of any class but"
        raise MedclsError(
            f"The {point.n} rows of {val.split or 'this table'} hold no image {missing} {positive!r}: the policy "
            f"{criterion!r} cannot be fitted on them. Use policy fixed, or a val split with both classes.",
            kind="class_without_images",
        )
    scores = val.probabilities()[:, val.classes.index(positive)]
    independent = len(np.unique(groups[labels == (1 if asked.kind == "sensitivity" else 0)]))
    point = dataclasses.replace(point, cases=independent if asked.is_target else 0)
    asked, unsure = _with_margin(asked, independent, positive)
    warnings += unsure
    point = dataclasses.replace(point, confidence=asked.confidence)
    search = _Search.of(scores, labels, asked)
    threshold = float(search.thresholds(np.ones((1, point.n)))[0, 0])
    warnings += _shortfalls(asked, scores, labels, threshold)
    point = dataclasses.replace(point, threshold=threshold, decimals=digits.of_threshold(threshold, scores))
    if point.groups == 1:
        warnings += ("All rows belong to one group: how the threshold would vary cannot be said.",)
        return dataclasses.replace(point, warnings=warnings)
    drawn = bootstrap(search.thresholds, labels, groups, resamples, seed)
    low, high = (float(q) for q in np.quantile(drawn.values[:, 0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    if point.n < FEW_ROWS:
        warnings += (
            f"Of {point.n} rows, {point.positives} positive, the threshold is {point.shown}; other rows like these "
            f"would have given {point._between(low, high)} (95%).",
        )
    return dataclasses.replace(point, low=low, high=high, redrawn=drawn.redrawn, warnings=warnings)


def _with_margin(criterion: Criterion, n: int, positive: str) -> tuple[Criterion, tuple[str, ...]]:
    """The share that the fitted rows must reach for new ones to meet the target with confidence; or why none does."""
    if criterion.confidence is None:
        return criterion, ()
    held: float = criterion.confidence
    warnings: tuple[str, ...] = ()
    if (possible := 1 - criterion.value**n) < held:
        held = possible
        warnings = (
            f"No threshold meets {criterion.text} on {n} independent cases of {criterion.of(positive)}: it takes "
            f"{criterion.cases_it_takes}. The one here leaves none of them on the wrong side, and meets a "
            f"{criterion.kind} of {criterion.value:g} with {held:.0%} confidence.",
        )
    return dataclasses.replace(criterion, value=(n - criterion.wrong_of(n)) / n, confidence=held), warnings


def _positive_class(table: Predictions) -> str:
    if table.positive is None:
        raise MedclsError(
            f"An operating point belongs to a binary task. With {len(table.classes)} classes the most probable one is "
            "called, and there is no threshold to fit.",
            kind="not_binary",
        )
    return table.positive


def _shortfalls(criterion: Criterion, scores: Floats, labels: Integers, threshold: float) -> tuple[str, ...]:
    """Say where the criterion is not met, or is met in a degenerate way."""
    predicted_positive = scores >= threshold
    if scores.min() == scores.max():
        return (f"Every row has the same score, {scores[0]:.3g}: no threshold tells the classes apart.",)
    found = []
    if (
        criterion.kind == "specificity"
        and (reached := float((~predicted_positive)[labels == 0].mean())) < criterion.value
    ):
        found.append(
            f"A specificity of {criterion.value:g} is out of reach, because rows of the other class have the score "
            f"{scores.max():g}: the nearest is {reached:.3f}."
        )
    if predicted_positive.all() or not predicted_positive.any():
        every = "every" if predicted_positive.all() else "no"
        found.append(f"The criterion {criterion.text} is best met by predicting {every} row positive.")
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class _Search:
    """The search for a threshold, for many weightings of the same rows at once.

    Parameters
    ----------
    scores : float64 array (m,)
        The scores that occur, ascending, each once.
    at : int64 array (n,)
        For each row the position of its score.
    labels : int64 array (n,)
        1 for the positive class.
    """

    scores: Floats
    at: Integers
    labels: Integers
    criterion: Criterion

    @classmethod
    def of(cls, scores: Floats, labels: Integers, criterion: Criterion) -> "_Search":
        distinct, at = np.unique(scores, return_inverse=True)
        return cls(distinct, at.astype(np.int64), labels, criterion)

    def thresholds(self, weights: Floats) -> Floats:
        """From weights `(r, n)` to the best thresholds `(r, 1)`."""
        order = np.argsort(self.at, kind="stable")
        starts = np.flatnonzero(np.diff(self.at[order], prepend=-1))
        rows = weights[:, order]
        cases = np.add.reduceat(rows * self.labels[order], starts, axis=1)
        others = np.add.reduceat(rows, starts, axis=1) - cases
        occurs = cases + others > 0
        # Candidate j calls all scores from the j-th on positive; the last candidate calls none.
        tp, fp = _from_here_on(cases), _from_here_on(others)
        none = self.scores[_last(occurs)] < 1
        allowed = np.column_stack([occurs, none])
        chosen = _first_best(_merit(self.criterion, tp, fp), tp, -fp, allowed=allowed)
        return self._threshold(occurs, chosen)[:, None]

    def _threshold(self, occurs: NDArray[np.bool_], chosen: Integers) -> Floats:
        """The number that parts score `chosen` from the next lower one that occurs in the same resample."""
        m = len(self.scores)
        row = np.arange(len(chosen))
        upto = np.maximum.accumulate(np.where(occurs, np.arange(m), -1), axis=1)
        below = np.column_stack([np.full(len(chosen), -1), upto])[row, chosen]
        above = self.scores[np.minimum(chosen, m - 1)]
        under = self.scores[np.maximum(below, 0)]
        middle = under + (above - under) / 2
        # Between two neighbouring floats there is none.
        middle = np.where(middle > under, middle, above)
        return np.where(chosen == m, 1.0, np.where(below < 0, 0.0, middle))


def _from_here_on(counts: Floats) -> Floats:
    """Sums from each position to the end, and 0 after it: `(r, m)` to `(r, m + 1)`."""
    sums = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    return np.column_stack([sums, np.zeros(len(counts))])


def _last(occurs: NDArray[np.bool_]) -> Integers:
    return (occurs.shape[1] - 1 - np.argmax(occurs[:, ::-1], axis=1)).astype(np.int64)


def _merit(criterion: Criterion, tp: Floats, fp: Floats) -> Floats:
    """How well each candidate serves the policy, `(r, m + 1)`: greater is better.

    Where it can be, of whole numbers, so that equal merit is found equal: hits are true positives, alarms false
    positives, and the first candidate calls every row.
    """
    cases, others = tp[:, :1], fp[:, :1]
    if criterion.kind == "youden":  # times the number of cases and of others
        return tp * others - fp * cases
    if criterion.kind == "f1":
        return 2 * tp / (cases + tp + fp)
    if criterion.kind == "cost":
        return -(criterion.value * (cases - tp) + fp)
    if criterion.kind == "sensitivity":
        return np.where(tp / cases >= criterion.value, others - fp, -1)
    # Out of reach is better the nearer it is, and worse than all within.
    return np.where((others - fp) / others >= criterion.value, tp, -1 - fp)


def _first_best(*merits: Floats, allowed: NDArray[np.bool_]) -> Integers:
    """The candidate that is greatest in the first merit, among equals in the second, and so on: `(r,)`."""
    left = allowed
    for merit in merits:
        merit = np.where(left, merit, -np.inf)
        left = left & (merit == merit.max(axis=1, keepdims=True))
    return left.argmax(axis=1).astype(np.int64)
