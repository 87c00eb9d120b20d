"""Operating points: the threshold of a binary task, fitted on val by a stated criterion."""

import dataclasses
import math
import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom, binom

from medcls.errors import MedclsError, nearest
from medcls.evaluation.predictions import FEW_ROWS, Predictions, check_may_fit
from medcls.statistics import digits
from medcls.statistics.analytic import LEVEL
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.metrics import UNFITTED_THRESHOLD
from medcls.statistics.resampling import bootstrap, group_numbers
from medcls.wording import counted, named

Kind = Literal["fixed", "youden", "f1", "sensitivity", "specificity", "cost"]

NOT_FITTED = "not fitted"

_CONFIDENT = "a share above 0 and below 1, and after @ the confidence in percent, at least 50%, as 0.95@90%"

# Each criterion as it is written, and what its number must be.
_FORMS: dict[str, tuple[Kind, str]] = {
    r"fixed": ("fixed", ""),
    r"fixed=(.+)": ("fixed", "a probability, from 0 to 1"),
    r"youden": ("youden", ""),
    r"f1": ("f1", ""),
    r"sensitivity>=([^@]+)": ("sensitivity", "a share above 0 and up to 1"),
    r"specificity>=([^@]+)": ("specificity", "a share above 0 and up to 1"),
    r"sensitivity>=(.+)@(.+)": ("sensitivity", _CONFIDENT),
    r"specificity>=(.+)@(.+)": ("specificity", _CONFIDENT),
    r"cost=(.+)": ("cost", "how many false positives a false negative costs, above 0"),
}
_EXAMPLES = (
    *("fixed", "fixed=0.3", "youden", "f1", "sensitivity>=0.95", "specificity>=0.95"),
    *("sensitivity>=0.95@90%", "specificity>=0.95@90%", "cost=5"),
)


@dataclasses.dataclass(frozen=True)
class Criterion:
    """What a threshold is chosen for, read from text by `parse_criterion`.

    Parameters
    ----------
    text : str
        As written.
    kind : str
        `fixed`: this threshold, without a fit. `youden`: the greatest sensitivity + specificity - 1
        (Youden 1950, "Index for rating diagnostic tests"). `f1`: the greatest F1 score. `sensitivity`: the
        greatest specificity among thresholds that reach this sensitivity. `specificity`: the greatest
        sensitivity among those that reach this specificity. `cost`: the least `value * FN + FP`.
    value : float
        Its number; NaN without one.
    confidence : float or None
        Of a target for sensitivity or specificity: with which new images meet it. None for one that the fitted rows
        meet, which new images then do about half of the time.
    """

    text: str
    kind: Kind
    value: float
    confidence: float | None = None

    @property
    def is_target(self) -> bool:
        """Whether it is a target for sensitivity or specificity."""
        return self.kind in ("sensitivity", "specificity")

    @property
    def least_cases(self) -> int:
        """The fewest independent rows of its class with which a threshold can meet the target with confidence."""
        return math.ceil(math.log1p(-(self.confidence or 0.0)) / math.log(self.value))

    def class_name(self, positive: str) -> str:
        """Name the class of a target: the positive one for a sensitivity, all others for a specificity."""
        return f"class {positive}" if self.kind == "sensitivity" else f"any class but {positive}"

    def allowed_errors(self, n: int) -> int:
        """How many of `n` independent cases of its class the threshold of a target may misclassify."""
        if self.confidence is None:
            return n - math.ceil(self.value * n - 1e-9)
        ranks = np.arange(1, n + 1)  # the k-th lowest of n scores, and the k - 1 below it, may lie below the threshold
        return max(int(np.count_nonzero(binom.sf(ranks - 1, n, 1 - self.value) >= self.confidence)) - 1, 0)

    def chance_of(self, share: float, n: int, fitted_on: int) -> float:
        """Return the probability that at least this share of new cases of the class is misclassified by chance.

        The threshold is the k-th lowest score of the cases that it was fitted on, so of `n` new ones from the same
        population the number below it is beta-binomial, with k and `fitted_on` + 1 - k, for any distribution of the
        scores (order statistics; section 2.4 of David and Nagaraja 2003).

        Parameters
        ----------
        share : float
            Of the new cases, the misclassified ones.
        n, fitted_on : int
            Independent new cases, and independent cases that the threshold was fitted on, of the target's class; 0
            where unknown, which gives 1.
        """
        if not fitted_on:
            return 1.0
        k = self.allowed_errors(fitted_on) + 1
        return float(betabinom.sf(math.floor(share * n + 1e-9) - 1, n, k, fitted_on + 1 - k))


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A threshold and its origin. A row is predicted positive if its probability is at least the threshold.

    Parameters
    ----------
    criterion : str
        As written, or `not fitted` for 0.5.
    threshold : float
        From 0 to 1, both included.
    positive_class : str
    split, checkpoint : str
        What it was fitted on.
    n, groups, positives : int
        Rows, independent groups of rows, and rows of the positive class.
    low, high : float or None
        95% bootstrap percentile interval of the threshold, over groups; None without a fit or with one group.
    redrawn : int
        Resamples that had lost a class and were redrawn.
    warnings : tuple of str
        Caveats, in sentences.
    decimals : int
        With how many it is shown, see `digits.of_threshold`.
    confidence : float or None
        Of a target with a confidence: with which new images meet it; lower than requested with too few rows.
    cases : int
        Of a target: the independent cases of its class among the rows; 0 for other criteria and in files of earlier
        versions.
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
        """The threshold as text; as given if it was not fitted."""
        if not self.is_fitted or parse_criterion(self.criterion).kind == "fixed":
            return f"{self.threshold:g}"
        return digits.probability(self.threshold, self.decimals)

    @property
    def criterion_shown(self) -> str:
        """The criterion as text."""
        return {"youden": "Youden's J", "f1": "F1"}.get(self.criterion, self.criterion)

    @property
    def target(self) -> Criterion | None:
        """The criterion if it is a target for sensitivity or specificity."""
        criterion = parse_criterion(self.criterion) if self.is_fitted else None
        return criterion if criterion is not None and criterion.is_target else None

    @property
    def promise(self) -> str:
        """What a target means for new images, in words; empty without one."""
        target = self.target
        if target is None:
            return ""
        if self.confidence is None:
            return (
                "A target that is just met on the images it was fitted on is met on new images about half of the time; "
                f"{target.text}@90% leaves room for that."
            )
        goal = f"new images meet a {target.kind} of {target.value:g}"
        reached, asked = f"{100 * self.confidence:.3g}%", f"{100 * (target.confidence or 0):.3g}%"
        extreme = {0.0: "every image", 1.0: "no image"}.get(self.threshold)
        note = f" At a threshold of {self.shown}, {extreme} is predicted as class {named(self.positive_class)}."
        note = note if extreme else ""
        if not self.is_unsure:
            return f"It was chosen so that {goal} with {reached} confidence.{note}"
        few = counted(self.cases, "independent case") if self.cases else "so few cases"
        return (
            f"It should be {asked} certain that {goal}; fitted on {few} of "
            f"{target.class_name(named(self.positive_class))}, it is {reached}.{note}"
        )

    @property
    def is_unsure(self) -> bool:
        """Whether a target has less confidence than requested, because of too few rows."""
        asked = None if self.target is None else self.target.confidence
        return asked is not None and self.confidence is not None and self.confidence < asked

    @property
    def is_fitted(self) -> bool:
        """Whether it was chosen by a criterion; if not, it is 0.5."""
        return self.criterion != NOT_FITTED

    def label(self) -> str:
        """Return a short description for captions."""
        if not self.is_fitted:
            return f"{self.shown} ({NOT_FITTED})"
        if parse_criterion(self.criterion).kind == "fixed":
            return f"{self.shown} (fixed beforehand)"
        limits = "" if self.low is None or self.high is None else f", 95% interval {self._range(self.low, self.high)}"
        where = f"{self.split or 'an unnamed split'}, n = {self.n}"
        return f"{self.shown} ({self.criterion_shown}, fitted on {where}{limits})"

    def _range(self, low: float, high: float) -> str:
        return " to ".join(digits.probability(end, self.decimals) for end in (low, high))

    def to_plain(self) -> dict[str, Any]:
        """For the checkpoint: numbers, strings and a list."""
        plain = dataclasses.asdict(self)
        return {"policy": plain.pop("criterion"), **plain, "warnings": list(self.warnings)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "OperatingPoint":
        """Reverse `to_plain`."""
        fields = {name: value for name, value in plain.items() if name != "policy"}
        return cls(**fields | {"criterion": plain["policy"], "warnings": tuple(plain["warnings"])})


def parse_criterion(text: str) -> Criterion:
    """Read `fixed`, `fixed=0.3`, `youden`, `f1`, `sensitivity>=0.95`, `sensitivity>=0.95@90%` or `cost=5`.

    `specificity` stands as `sensitivity` does.

    Raises
    ------
    MedclsError
        Anything else, or a number out of its range.
    """
    asked = re.sub(r"\s+", "", text)
    for form, (kind, needed) in _FORMS.items():
        match = re.fullmatch(form, asked)
        if not match:
            continue
        if not needed:
            return Criterion(asked, kind, UNFITTED_THRESHOLD if kind == "fixed" else float("nan"))
        if needed == _CONFIDENT:
            value, confidence = _number(match[1]), _number(match[2].removesuffix("%")) / 100
            if match[2].endswith("%") and 0 < value < 1 and 0.5 <= confidence < 1:
                return Criterion(asked, kind, value, confidence)
            raise MedclsError(
                f"The criterion of the operating point is {text!r}: after >= there should be {needed}.",
                kind="bad_value",
            )
        value = _number(match[1])
        below_limit = value <= 1 or (kind == "cost" and value < np.inf)
        if below_limit and (value > 0 or (kind == "fixed" and value == 0)):
            return Criterion(asked, kind, value)
        raise MedclsError(
            f"The criterion of the operating point is {text!r}: {match[1]!r} should be {needed}.", kind="bad_value"
        )
    raise MedclsError(
        f"There is no criterion {text!r} for an operating point. Criteria are {', '.join(_EXAMPLES)}."
        f"{nearest(asked, _EXAMPLES)}",
        kind="bad_value",
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def not_fitted(table: Predictions) -> OperatingPoint:
    """Return the threshold 0.5, marked as not fitted."""
    return OperatingPoint(NOT_FITTED, UNFITTED_THRESHOLD, _positive_class(table))


def chosen_beforehand(table: Predictions, criterion: str) -> OperatingPoint | None:
    """Return the operating point of a criterion that needs no fit, as `fixed=0.3`; None for others."""
    asked = parse_criterion(criterion)
    return OperatingPoint(asked.text, asked.value, _positive_class(table)) if asked.kind == "fixed" else None


def fit_operating_point(val: Predictions, criterion: str, *, resamples: int = 1000, seed: int = 0) -> OperatingPoint:
    """Choose the threshold that is best by a criterion on rows that are not the result.

    A target with a confidence (`sensitivity>=0.95@90%`) misclassifies as many cases as these rows allow, for any
    distribution of the scores: with n cases the k-th lowest score lies at or below the (1 - target) quantile of all
    such cases with the probability P(Binomial(n, 1 - target) >= k) (order statistics; section 7.1 of David and Nagaraja
    2003). If groups have several cases, n is the number of groups, and the same share of the cases is misclassified.

    The candidates are the midpoints between neighbouring scores, 0 (every row is positive) and 1 (none is, unless its
    score is exactly 1), so rows with the same score are never separated. Of equally good candidates the one with the
    greatest sensitivity is chosen, then the greatest specificity.

    Parameters
    ----------
    val : Predictions
        A binary table, with calibrated probabilities if there is a calibration.
    criterion : str
        See `parse_criterion` and `Criterion`.
    resamples, seed : int
        Of the bootstrap over groups, which fits each resample in the same way.

    Raises
    ------
    MedclsError
        The test split; more than two classes; a class without a row; an unknown criterion.
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
            f"The {point.n} rows of {val.split or 'this table'} have no image {missing} {positive!r}: the criterion "
            f"{criterion!r} cannot be fitted on them. Use fixed, or a val split with both classes.",
            kind="class_without_images",
        )
    scores = val.probabilities()[:, val.classes.index(positive)]
    independent = len(np.unique(groups[labels == (1 if asked.kind == "sensitivity" else 0)]))
    point = dataclasses.replace(point, cases=independent if asked.is_target else 0)
    asked, unsure = _with_margin(asked, independent, positive)
    warnings += unsure
    point = dataclasses.replace(point, confidence=asked.confidence)
    search = _Search.over(scores, labels, asked)
    threshold = float(search.thresholds(np.ones((1, point.n)))[0, 0])
    warnings += _shortfalls(asked, scores, labels, threshold)
    point = dataclasses.replace(point, threshold=threshold, decimals=digits.of_threshold(threshold, scores))
    if point.groups == 1:
        warnings += ("All rows belong to one group: the uncertainty of the threshold is unknown.",)
        return dataclasses.replace(point, warnings=warnings)
    drawn = bootstrap(search.thresholds, labels, groups, resamples, seed)
    low, high = (float(q) for q in np.quantile(drawn.values[:, 0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    if point.n < FEW_ROWS:
        warnings += (
            f"From {point.n} rows, {point.positives} positive, the threshold is {point.shown}; its 95% interval is "
            f"{point._range(low, high)}.",
        )
    return dataclasses.replace(point, low=low, high=high, redrawn=drawn.redrawn, warnings=warnings)


def _with_margin(criterion: Criterion, n: int, positive: str) -> tuple[Criterion, tuple[str, ...]]:
    """Raise a target to the share of the fitted rows with which new ones meet it; warn if no threshold can."""
    if criterion.confidence is None:
        return criterion, ()
    confidence: float = criterion.confidence
    warnings: tuple[str, ...] = ()
    if (possible := 1 - criterion.value**n) < confidence:
        confidence = possible
        warnings = (
            f"No threshold meets {criterion.text} with {n} independent cases of {criterion.class_name(positive)}: it "
            f"takes {criterion.least_cases}. This one misclassifies none of them, and meets a {criterion.kind} of "
            f"{criterion.value:g} with {confidence:.0%} confidence.",
        )
    return dataclasses.replace(criterion, value=(n - criterion.allowed_errors(n)) / n, confidence=confidence), warnings


def _positive_class(table: Predictions) -> str:
    if table.positive is None:
        raise MedclsError(
            f"An operating point belongs to a binary task. With {len(table.classes)} classes the most probable one is "
            "predicted, without a threshold.",
            kind="not_binary",
        )
    return table.positive


def _shortfalls(criterion: Criterion, scores: Floats, labels: Integers, threshold: float) -> tuple[str, ...]:
    """Warn if the criterion is not met, or only by a constant prediction."""
    is_positive = scores >= threshold
    if scores.min() == scores.max():
        return (f"Every row has the same score, {scores[0]:.3g}: no threshold separates the classes.",)
    warnings = []
    if criterion.kind == "specificity":
        reached = float((~is_positive)[labels == 0].mean())
        if reached < criterion.value:
            warnings.append(
                f"No threshold reaches a specificity of {criterion.value:g}, because rows of the other class have the "
                f"score {scores.max():g}: the nearest is {reached:.3f}."
            )
    if is_positive.all() or not is_positive.any():
        every = "every" if is_positive.all() else "no"
        warnings.append(f"The criterion {criterion.text} is best met by predicting {every} row positive.")
    return tuple(warnings)


@dataclasses.dataclass(frozen=True)
class _Search:
    """The search for a threshold, for many weights of the same rows at once.

    Parameters
    ----------
    scores : float64 array (m,)
        The distinct scores, ascending.
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
    def over(cls, scores: Floats, labels: Integers, criterion: Criterion) -> "_Search":
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
        # Candidate j predicts all scores from the j-th on as positive; the last candidate predicts none.
        tp, fp = _reverse_cumsum(cases), _reverse_cumsum(others)
        none = self.scores[_last(occurs)] < 1
        allowed = np.column_stack([occurs, none])
        chosen = _first_best(_merit(self.criterion, tp, fp), tp, -fp, allowed=allowed)
        return self._threshold(occurs, chosen)[:, None]

    def _threshold(self, occurs: NDArray[np.bool_], chosen: Integers) -> Floats:
        """Return the midpoint of score `chosen` and the next lower one that occurs in the same resample."""
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


def _reverse_cumsum(counts: Floats) -> Floats:
    """Sum from each position to the end, and 0 after it: `(r, m)` to `(r, m + 1)`."""
    sums = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    return np.column_stack([sums, np.zeros(len(counts))])


def _last(occurs: NDArray[np.bool_]) -> Integers:
    last: Integers = (occurs.shape[1] - 1 - np.argmax(occurs[:, ::-1], axis=1)).astype(np.int64)
    return last


def _merit(criterion: Criterion, tp: Floats, fp: Floats) -> Floats:
    """Return the merit of each candidate, `(r, m + 1)`: greater is better.

    In whole numbers if possible, so that equal merits compare equal. The first candidate predicts every row positive.
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
    # Candidates below the target are better the nearer they are, and worse than all others.
    return np.where((others - fp) / others >= criterion.value, tp, -1 - fp)


def _first_best(*merits: Floats, allowed: NDArray[np.bool_]) -> Integers:
    """Return the candidate that is greatest in the first merit, among equals in the second, and so on: `(r,)`."""
    left = allowed
    for merit in merits:
        merit = np.where(left, merit, -np.inf)
        left = left & (merit == merit.max(axis=1, keepdims=True))
    first: Integers = left.argmax(axis=1).astype(np.int64)
    return first
