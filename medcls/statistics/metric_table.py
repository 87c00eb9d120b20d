"""Every metric, defined once: its name, its meaning, how it is computed, and where it is shown.

Everything medcls does with metrics is derived from `METRICS`: metrics.json, intervals, subgroups, comparisons, the
report, the terminal, and what training logs after each epoch. To add one, add an entry here and its scikit-learn
counterpart in `tests/statistics/test_metric_table.py`.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from medcls.statistics import causes
from medcls.statistics.arrays import Floats
from medcls.statistics.digits import rounded
from medcls.statistics.resampling import ratio
from medcls.statistics.split import AllClasses, OneVsRest, Split

MACRO = "(macro)"  # in the column `class`: the unweighted mean over classes; a class may well be named "macro"
INFINITE = math.inf

Counts = AllClasses | OneVsRest
Kind = Literal["binary", "several"]
"""A task with two classes, or with more."""

Scope = Literal["class", "mean", "all"]
"""One class against all others, the mean of these over classes, or all classes at once."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric.

    Parameters
    ----------
    identifier : str
        Its key in metrics.json and in settings.
    name : str
        Within a sentence.
    explanation : str
        In plain words; `{of}` stands for the class.
    measures : {"images", "decisions", "ranking", "probabilities"}
        A threshold changes decisions alone, a calibration probabilities alone.
    scopes : tuple of {"class", "mean", "all"}
        What it exists for: each class against all others, the mean of these over classes, all classes at once. In a
        binary task it is of all classes if it can be, else of the positive class.
    function : callable
        From `AllClasses` or `OneVsRest` under weights `(r, n)` to `(r,)`; one row of ones gives the value itself. NaN
        where undefined.
    better : {"higher", "lower", "neither"}
        Neither for a description of the images.
    range : tuple of float
        Its bounds, and those of its interval.
    interval : str
        How its interval is found where every row stands alone: `"bootstrap"`, or a key of `intervals.FORMULAS`;
        `"none"` for a metric without one.
    needs : tuple of callable
        What it is undefined without: each returns the reason from the counts, or empty text. The first reason counts.
        All metrics are undefined without images.
    rows : str
        The rows it depends on: a mean over `"all"`, `"cases"`, `"others"`, `"positives"`, `"negatives"` or
        `"cases and positives"`; `"classes"` for a metric that is no mean over rows and depends on the rarest class.
    compared : {None, "DeLong", "McNemar", "permutation", "bootstrap"}
        How two classifiers are compared by it, see `evaluation.comparing`; None: they are not.
    short : bool
        Whether the terminal shows it, and the table of single classes.
    opens : tuple of {"binary", "several"}
        The tasks in which it opens the report and compares subgroups.
    ordered : bool
        It exists only for classes that have an order.
    held : float or None
        For a rate whose threshold is chosen on the same rows: the value at which the other rate is held. Such a metric
        is optimistic, so it is only shown with its interval, and training does not log it.
    range_all_classes : tuple of float, optional
        For all of more than two classes at once, if it differs.
    row_values : callable, optional
        For a mean of a value of each row: these values `(n,)`, by which two classifiers are paired.
    shown_with : {"decimals", "three digits"}
        As many decimals as the number of images supports, or three digits for a metric without an upper bound.
    """

    identifier: str
    name: str
    explanation: str
    measures: Literal["images", "decisions", "ranking", "probabilities"]
    scopes: tuple[Scope, ...]
    function: Callable[[Any], Floats]
    better: Literal["higher", "lower", "neither"] = "higher"
    range: tuple[float, float] = (0.0, 1.0)
    interval: str = "bootstrap"
    needs: tuple[Callable[[Any], str], ...] = ()
    rows: Literal["all", "cases", "others", "positives", "negatives", "cases and positives", "classes"] = "classes"
    compared: Literal["DeLong", "McNemar", "permutation", "bootstrap"] | None = None
    short: bool = False
    opens: tuple[Kind, ...] = ()
    ordered: bool = False
    held: float | None = None
    range_all_classes: tuple[float, float] | None = None
    row_values: Callable[[Any], Floats] | None = None
    shown_with: Literal["decimals", "three digits"] = "decimals"

    @property
    def title(self) -> str:
        """Its name at the head of a row or column."""
        return self.name[:1].upper() + self.name[1:]

    def show(self, value: float, decimals: int) -> str:
        """Format a defined value."""
        return f"{value:#.3g}".rstrip(".") if self.shown_with == "three digits" else show_share(value, decimals)

    def why_undefined(self, counts: Counts) -> str:
        """Return the reason, from rows counted once; empty text if it is defined."""
        if not counts.n[0]:
            return causes.NO_IMAGES
        return next((reason for need in self.needs if (reason := need(counts))), "")

    def bounds(self, split: Split, of_class: str) -> tuple[float, float]:
        """Return its range for a class, or (empty) for all classes of a split."""
        if self.range_all_classes is None or split.binary or of_class:
            return self.range
        return self.range_all_classes


def show_share(value: float, decimals: int) -> str:
    """Format a value that mostly lies between 0 and 1; it is not rounded to 0 or 1 unless it is that."""
    least, shown = 10.0**-decimals, rounded(value, decimals)
    if value > 0 and float(shown) == 0:
        return f"<{least:.{decimals}f}"
    if value < 1 and float(shown) == 1:
        return f">{1 - least:.{decimals}f}"
    return shown.replace("-", "\N{MINUS SIGN}")


# ------------------------------------------------------------------ what metrics need


def a_case(counts: OneVsRest) -> str:
    """An image of the class."""
    return "" if counts.cases[0] else causes.no_image_of(counts.name)


def another_class(counts: OneVsRest) -> str:
    """An image of any other class."""
    return "" if counts.others[0] else causes.no_image_but_of(counts.name)


def both_classes(counts: Counts) -> str:
    """Images of the class and of another; for all classes, of at least two."""
    if isinstance(counts, OneVsRest):
        return a_case(counts) or another_class(counts)
    present = counts.support[0] > 0
    return causes.all_images_of(counts.split.classes[int(present.argmax())]) if present.sum() == 1 else ""


def every_class(counts: AllClasses) -> str:
    """Images of each class."""
    if counts.split.binary:
        return both_classes(counts.one_vs_rest[0])
    return "; ".join(reason for of_class in counts.one_vs_rest if (reason := a_case(of_class)))


def a_positive(counts: OneVsRest) -> str:
    """An image predicted as the class."""
    return "" if counts.positives[0] else causes.none_predicted(counts.name)


def a_negative(counts: OneVsRest) -> str:
    """An image predicted as another class."""
    return "" if counts.negatives[0] else causes.all_predicted(counts.name)


def both_decisions(counts: Counts) -> str:
    """Images predicted as the class and as another; for all classes, as at least two."""
    if isinstance(counts, OneVsRest):
        return a_positive(counts) or a_negative(counts)
    predicted = counts.matrix[0].any(axis=0)
    return causes.all_predicted(counts.split.classes[int(predicted.argmax())]) if predicted.sum() == 1 else ""


def a_false_positive(counts: OneVsRest) -> str:
    """An image of another class predicted as the class."""
    return "" if counts.fp[0] else causes.no_other_predicted(counts.name)


def a_true_negative(counts: OneVsRest) -> str:
    """An image of another class that was not predicted as the class."""
    return "" if counts.tn[0] else causes.all_others_predicted(counts.name)


# ------------------------------------------------------------------ functions


def prevalence(counts: OneVsRest) -> Floats:
    """Share of the class among the rows."""
    return ratio(counts.cases, counts.n)


def sensitivity(counts: OneVsRest) -> Floats:
    """Recall, the true positive rate."""
    return ratio(counts.tp, counts.cases)


def specificity(counts: OneVsRest) -> Floats:
    """The true negative rate."""
    return ratio(counts.tn, counts.others)


def precision(counts: OneVsRest) -> Floats:
    """Positive predictive value; NaN without both classes, where each decision is right, or each is wrong."""
    return ratio(counts.tp, np.where(counts.has_both, counts.positives, 0))


def npv(counts: OneVsRest) -> Floats:
    """Negative predictive value; NaN as of `precision`."""
    return ratio(counts.tn, np.where(counts.has_both, counts.negatives, 0))


def f_score(beta: float, counts: OneVsRest) -> Floats:
    """F-beta; NaN without a case, where it would be 0 whatever is predicted."""
    tp = (1 + beta**2) * counts.tp
    return np.where(counts.cases > 0, ratio(tp, tp + beta**2 * counts.fn + counts.fp), np.nan)


def positive_likelihood_ratio(counts: OneVsRest) -> Floats:
    """Sensitivity / (1 - specificity); infinite without a false positive (Deeks and Altman, BMJ 329:168, 2004)."""
    # Cross-multiplied, so that whole numbers are divided once.
    above = counts.tp * counts.others
    return np.where((counts.fp == 0) & (above > 0), np.inf, ratio(above, counts.cases * counts.fp))


def negative_likelihood_ratio(counts: OneVsRest) -> Floats:
    """(1 - sensitivity) / specificity."""
    return ratio(counts.fn * counts.others, counts.cases * counts.tn)


def accuracy(counts: AllClasses) -> Floats:
    """Share of correct decisions."""
    return ratio(np.trace(counts.matrix, axis1=1, axis2=2), counts.n)


def majority_baseline(counts: AllClasses) -> Floats:
    """Accuracy of always predicting the most frequent class."""
    return ratio(counts.support.max(axis=1), counts.n)


def balanced_accuracy(counts: AllClasses) -> Floats:
    """Mean sensitivity over classes, two or more."""
    mean: Floats = ratio(np.diagonal(counts.matrix, axis1=1, axis2=2), counts.support).mean(axis=1)
    return mean


def mcc(counts: Counts) -> Floats:
    """Matthews' correlation coefficient, for several classes Gorodkin's R_K (Comput. Biol. Chem. 28:367, 2004)."""
    return mcc_of(counts.matrix)


def mcc_of(matrix: Floats) -> Floats:
    """From confusion matrices `(r, K, K)`, which may hold shares."""
    n, right, by_chance, of_labels, of_predictions = _agreement(matrix)
    return ratio(right * n - by_chance, np.sqrt(of_labels * of_predictions))


def kappa(counts: Counts) -> Floats:
    """Cohen's kappa (Educ. Psychol. Meas. 20:37, 1960)."""
    return kappa_of(counts.matrix)


def kappa_of(matrix: Floats) -> Floats:
    """From confusion matrices `(r, K, K)`, which may hold shares."""
    n, right, by_chance, of_labels, _ = _agreement(matrix)
    return ratio(right * n - by_chance, np.where(of_labels > 0, n**2 - by_chance, 0))


def _agreement(matrix: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    n, right = matrix.sum(axis=(1, 2)), np.trace(matrix, axis1=1, axis2=2)
    true, predicted = matrix.sum(axis=2), matrix.sum(axis=1)
    # The last two are 0 where all rows are of one class, or predicted as one.
    by_chance = (true * predicted).sum(axis=1)
    return n, right, by_chance, n**2 - (true**2).sum(axis=1), n**2 - (predicted**2).sum(axis=1)


def quadratic_kappa(counts: AllClasses) -> Floats:
    """Kappa with disagreements weighted by the squared distance of the classes (Cohen, Psychol. Bull. 70:213, 1968)."""
    matrix, true, predicted = counts.matrix, counts.support, counts.matrix.sum(axis=1)
    numbers = np.arange(matrix.shape[1])
    distance = (numbers[:, None] - numbers) ** 2
    by_chance = np.einsum("ri,ij,rj->r", true, distance, predicted)
    several = (true > 0).sum(axis=1) > 1
    return 1 - ratio((matrix * distance).sum(axis=(1, 2)) * true.sum(axis=1), np.where(several, by_chance, 0))


def auroc(counts: OneVsRest) -> Floats:
    """Area under the ROC curve, a tie counting half."""
    return counts.ranking.areas()


def auroc_up_to(rate: float, counts: OneVsRest) -> Floats:
    """Area up to a false-positive rate, 0.5 for chance and 1 for perfect (McClish, Med. Decis. Making 9:190, 1989)."""
    least = rate**2 / 2
    return (1 + (counts.ranking.areas_up_to(rate) - least) / (rate - least)) / 2


def average_precision(counts: OneVsRest) -> Floats:
    """The step-wise sum of scikit-learn, not the trapezoidal area under the precision-recall curve."""
    return counts.ranking.average_precisions()


def brier(counts: Counts) -> Floats:
    """Mean squared distance of the probabilities from the truth.

    For a binary task or one class it is of one probability, from 0 to 1; for several classes it is summed over them,
    from 0 to 2, as Brier defined it (Mon. Weather Rev. 78:1, 1950). scikit-learn does the same.
    """
    return counts.mean(counts.squared_errors)


def scaled_brier(counts: Counts) -> Floats:
    """1 - Brier / Brier of the prevalence (Steyerberg et al., Epidemiology 21:128, 2010); scikit-learn's D2 of it."""
    by_prevalence = 1 - (counts.shares**2).sum(axis=1)  # over two classes: twice that of one probability
    of_one = isinstance(counts, OneVsRest) or counts.split.binary
    return 1 - ratio(brier(counts), by_prevalence / 2 if of_one else by_prevalence)


def log_loss(counts: Counts) -> Floats:
    """Mean of minus the natural logarithm of the true class's probability.

    A probability below 2.2e-16, float64's epsilon, counts as that, as in scikit-learn; one row of 0 would make it
    infinite otherwise.
    """
    return counts.mean(counts.log_losses)


# ------------------------------------------------------------------ the table


def _held(rate: Literal["sensitivity", "specificity"], at: float) -> Metric:
    """The entry of one rate while the other is held."""

    def function(counts: OneVsRest) -> Floats:
        ranking = counts.ranking
        return ranking.sensitivities_at(at) if rate == "sensitivity" else ranking.specificities_at(at)

    other = "specificity" if rate == "sensitivity" else "sensitivity"
    return Metric(
        f"{rate}_at_{other}_{at:g}",
        f"{rate} at a {other} of {at:g}",
        f"The highest among thresholds with a {other} of at least {at:g}, chosen on these same images.",
        measures="ranking",
        scopes=("class",),
        function=function,
        interval=f"held {other}",
        needs=(both_classes,),
        held=at,
    )


METRICS = (
    Metric(
        "auroc",
        "AUROC",
        "How often an image of {of} gets a higher score than another image: 0.5 is chance, 1 is perfect.",
        measures="ranking",
        scopes=("class", "mean"),
        function=auroc,
        interval="AUROC",
        needs=(both_classes,),
        compared="DeLong",
        short=True,
        opens=("binary", "several"),
    ),
    Metric(
        "auroc_up_to_fpr_0.1",
        "standardised AUROC up to a false-positive rate of 0.1",
        "Area under that part of the ROC curve, standardised (McClish): 0.5 is chance, 1 is perfect.",
        measures="ranking",
        scopes=("class", "mean"),
        function=functools.partial(auroc_up_to, 0.1),
        range=(0.5 - 0.05 / 1.9, 1.0),  # without any true positive up to there
        needs=(both_classes,),
    ),
    Metric(
        "average_precision",
        "average precision",
        "Area under the precision-recall curve: chance gives the share of {of}.",
        measures="ranking",
        scopes=("class", "mean"),
        function=average_precision,
        needs=(both_classes,),
        compared="bootstrap",
        short=True,
    ),
    Metric(
        "sensitivity",
        "sensitivity",
        "Of the images of {of}, the share that is predicted as such (recall).",
        measures="decisions",
        scopes=("class", "mean"),
        function=sensitivity,
        interval="Wilson",
        needs=(a_case,),
        rows="cases",
        compared="McNemar",
        short=True,
        opens=("binary",),
    ),
    Metric(
        "specificity",
        "specificity",
        "Of the other images, the share that is not predicted as {of}.",
        measures="decisions",
        scopes=("class", "mean"),
        function=specificity,
        interval="Wilson",
        needs=(another_class,),
        rows="others",
        compared="McNemar",
        short=True,
        opens=("binary",),
    ),
    Metric(
        "precision",
        "PPV",
        "Of the images predicted as {of}, the share that belongs to it (precision).",
        measures="decisions",
        scopes=("class", "mean"),
        function=precision,
        interval="Wilson",
        needs=(both_classes, a_positive),
        rows="positives",
        short=True,
    ),
    Metric(
        "npv",
        "NPV",
        "Of the images not predicted as {of}, the share that does not belong to it.",
        measures="decisions",
        scopes=("class", "mean"),
        function=npv,
        interval="Wilson",
        needs=(both_classes, a_negative),
        rows="negatives",
        short=True,
    ),
    _held("sensitivity", 0.9),
    _held("sensitivity", 0.95),
    _held("specificity", 0.9),
    _held("specificity", 0.95),
    Metric(
        "f1",
        "F1",
        "Harmonic mean of sensitivity and PPV.",
        measures="decisions",
        scopes=("class", "mean"),
        function=functools.partial(f_score, 1),
        interval="F1",
        needs=(a_case,),
        rows="cases and positives",
        compared="bootstrap",
        short=True,
    ),
    Metric(
        "f2",
        "F2",
        "As F1, with sensitivity twice as important as PPV.",
        measures="decisions",
        scopes=("class", "mean"),
        function=functools.partial(f_score, 2),
        needs=(a_case,),
        rows="cases and positives",
    ),
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        "Mean over classes of the share predicted correctly, whatever the size of the class.",
        measures="decisions",
        scopes=("all",),
        function=balanced_accuracy,
        interval="mean of rates",
        needs=(every_class,),
        short=True,
        opens=("several",),
    ),
    Metric(
        "accuracy",
        "accuracy",
        "The share of all images that is predicted correctly.",
        measures="decisions",
        scopes=("all",),
        function=accuracy,
        interval="Wilson",
        rows="all",
        compared="McNemar",
        short=True,
        opens=("several",),
    ),
    Metric(
        "majority_baseline",
        "majority baseline",
        "The accuracy of always predicting the most frequent class.",
        better="neither",
        measures="images",
        scopes=("all",),
        function=majority_baseline,
        interval="none",
        short=True,
    ),
    Metric(
        "mcc",
        "Matthews correlation",
        "Correlation of predictions and labels: 0 is chance, 1 is perfect.",
        measures="decisions",
        scopes=("class", "all"),
        function=mcc,
        range=(-1.0, 1.0),
        interval="MCC",
        needs=(both_classes, both_decisions),
        compared="bootstrap",
    ),
    Metric(
        "kappa",
        "Cohen's kappa",
        "Agreement beyond chance: 0 is chance, 1 is perfect.",
        measures="decisions",
        scopes=("class", "all"),
        function=kappa,
        range=(-1.0, 1.0),
        interval="kappa",
        needs=(both_classes,),
    ),
    Metric(
        "quadratic_kappa",
        "quadratic kappa",
        "As Cohen's kappa, with disagreements weighted by the squared distance of the grades.",
        measures="decisions",
        scopes=("all",),
        function=quadratic_kappa,
        range=(-1.0, 1.0),
        interval="kappa",
        needs=(both_classes,),
        ordered=True,
    ),
    Metric(
        "positive_likelihood_ratio",
        "positive likelihood ratio",
        "By how much a positive prediction raises the odds of {of}.",
        measures="decisions",
        scopes=("class",),
        function=positive_likelihood_ratio,
        range=(0.0, INFINITE),
        interval="positive likelihood ratio",
        shown_with="three digits",
        needs=(both_classes, a_positive, a_false_positive),
    ),
    Metric(
        "negative_likelihood_ratio",
        "negative likelihood ratio",
        "By how much a negative prediction lowers the odds of {of}: lower is better.",
        better="lower",
        measures="decisions",
        scopes=("class",),
        function=negative_likelihood_ratio,
        range=(0.0, INFINITE),
        interval="negative likelihood ratio",
        shown_with="three digits",
        needs=(both_classes, a_true_negative),
    ),
    Metric(
        "brier",
        "Brier score",
        "Mean squared error of the probabilities: lower is better.",
        better="lower",
        measures="probabilities",
        scopes=("class", "all"),
        function=brier,
        rows="all",
        compared="permutation",
        row_values=operator.attrgetter("squared_errors"),
        short=True,
        range_all_classes=(0.0, 2.0),
    ),
    Metric(
        "scaled_brier",
        "scaled Brier score",
        "How far the Brier score is below that of always predicting the prevalence: 0 is no better, 1 is perfect.",
        measures="probabilities",
        scopes=("class", "all"),
        function=scaled_brier,
        range=(-INFINITE, 1.0),
        needs=(both_classes,),
    ),
    Metric(
        "log_loss",
        "log loss",
        "Mean of minus the logarithm of the probability of the true class: lower is better.",
        better="lower",
        measures="probabilities",
        scopes=("class", "all"),
        function=log_loss,
        range=(0.0, INFINITE),
        rows="all",
        row_values=operator.attrgetter("log_losses"),
    ),
    Metric(
        "prevalence",
        "prevalence",
        "The share of {of} among these images.",
        better="neither",
        measures="images",
        scopes=("class",),
        function=prevalence,
        interval="none",
    ),
)
"""In the order of the report."""

BY_IDENTIFIER = {metric.identifier: metric for metric in METRICS}
NAMES = {metric.identifier: metric.name for metric in METRICS}
LOWER_IS_BETTER = frozenset(metric.identifier for metric in METRICS if metric.better == "lower")
OF_THE_IMAGES = frozenset({"n", "support"} | {metric.identifier for metric in METRICS if metric.better == "neither"})
BETTER = dict.fromkeys(LOWER_IS_BETTER, "lower") | dict.fromkeys(OF_THE_IMAGES, "neither")
"""Of each value of a split for which higher is not better."""


def split_scope(metric: Metric, binary: bool) -> Scope | None:
    """Return the scope in which one value stands for a whole split; None if there is none."""
    if "all" in metric.scopes:
        return "all"
    if binary:
        return "class"
    return "mean" if "mean" in metric.scopes else None


def class_of(identifier: str, positive: str | None) -> str:
    """Return the column `class` of the intervals for the one value of a whole split."""
    return "" if "all" in BY_IDENTIFIER[identifier].scopes else positive or MACRO


def opening(kind: Kind) -> tuple[str, ...]:
    """Return the metrics that open a report and compare subgroups."""
    return tuple(metric.identifier for metric in METRICS if kind in metric.opens)


def with_interval(split: Split, metrics: Sequence[Metric] = METRICS) -> Iterator[tuple[Metric, str]]:
    """Each metric that has an interval, with its column `class`, in the order of `estimates`."""
    known = [metric for metric in metrics if metric.interval != "none" and (split.ordered or not metric.ordered)]
    for k in split.rated_classes:
        for metric in known:
            if "class" in metric.scopes and (not split.binary or "all" not in metric.scopes):
                yield metric, split.classes[k]
    if not split.binary:
        yield from ((metric, MACRO) for metric in known if "mean" in metric.scopes)
    yield from ((metric, "") for metric in known if "all" in metric.scopes)


def estimates(split: Split, weights: Floats | None = None, metrics: Sequence[Metric] = METRICS) -> Floats:
    """Each metric of `with_interval` under weights `(r, n)`: `(r, metrics)`, NaN where undefined.

    Without weights each row counts once, and r is 1.
    """
    counts = split.count(weights)
    by_class = {of_class.name: of_class for of_class in counts.one_vs_rest}
    values: dict[tuple[str, str], Floats] = {}
    for metric, name in with_interval(split, metrics):
        if name == MACRO:
            value = np.mean([values[metric.identifier, each] for each in split.classes], axis=0)
        else:
            value = metric.function(by_class[name] if name else counts)
        values[metric.identifier, name] = value
    return np.column_stack(list(values.values()))
