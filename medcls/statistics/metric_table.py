"""Every metric, defined once: what it is called, what it says, how it is computed, and where it is shown.

All that medcls does with metrics is derived from `METRICS`: metrics.json and its reasons, the intervals, the subgroups,
the comparisons, the report, the terminal, and what training logs after each epoch. To add one, add an entry, and its
counterpart of scikit-learn in `tests/statistics/test_metric_table.py`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from medcls.statistics import causes
from medcls.statistics.arrays import Floats
from medcls.statistics.resampling import ratio
from medcls.statistics.split import AllClasses, OneClass, Split

MACRO = "(macro)"  # in the column `class`: the unweighted mean over classes; a class may well be named "macro"
INFINITE = math.inf

Counted = AllClasses | OneClass
Kind = Literal["binary", "several"]
"""A task with two classes, or with more."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric.

    Parameters
    ----------
    identifier : str
        Its key in metrics.json, and what a person types.
    name : str
        Within a sentence.
    explanation : str
        In plain words; `{of}` stands for the class that is looked for.
    better : {"higher", "lower", "neither"}
        Neither, where it describes the images and not the classifier.
    judges : {"images", "decisions", "ranking", "probabilities"}
        Of what it is a metric: a threshold changes decisions alone, a calibration probabilities alone.
    of : tuple of {"class", "mean", "all"}
        For what it exists: each class against all others, the mean of these over classes, all classes at once. In a
        binary task it is of all where it can be, else of the positive class.
    function : callable
        From what is counted under weights `(r, n)`, an `AllClasses` or a `OneClass`, to `(r,)`: the value itself is
        the case of one row of ones. NaN where undefined.
    range : tuple of float
        Between which it lies; limits of an interval do too.
    interval : str
        How its interval is found where every row stands alone: `"bootstrap"`, or a key of `intervals.FORMULAS`;
        `"none"` for what has none.
    needs : tuple of callable
        What it is undefined without: each gives, from what is counted, the reason, or empty text. The first that gives
        one counts. All are undefined without images.
    rows : str
        Which rows it hangs on: the mean over `"all"`, `"cases"`, `"others"`, `"positives"`, `"negatives"`, or
        `"cases and positives"`; `"classes"` for what is no mean over rows, and hangs on the rarest class.
    compared : {None, "DeLong", "McNemar", "permutation", "bootstrap"}
        How two classifiers are compared by it, see `evaluation.comparing`; None: they are not.
    short : bool
        Whether the terminal shows it, and the table of single classes.
    opens : tuple of {"binary", "several"}
        The tasks in which it opens the report, and subgroups are compared by it.
    ordered : bool
        It exists only for classes that have an order.
    held : float or None
        The rate at which the other one is held, for a rate whose threshold the rows themselves choose. Such a metric
        is optimistic, so it stands only beside its interval, and training does not log it.
    range_of_all : tuple of float, optional
        With more than two classes, of all at once, where that is another.
    of_row : callable, optional
        For a mean of a value of each row: these values `(n,)`, by which two classifiers are paired.
    shown_with : {"decimals", "three digits"}
        Decimals, as many as the number of images bears, or what has no upper bound with three digits wherever they lie.
    """

    identifier: str
    name: str
    explanation: str
    better: Literal["higher", "lower", "neither"]
    judges: Literal["images", "decisions", "ranking", "probabilities"]
    of: tuple[Literal["class", "mean", "all"], ...]
    function: Callable[[Any], Floats]
    range: tuple[float, float] = (0.0, 1.0)
    interval: str = "bootstrap"
    needs: tuple[Callable[[Any], str], ...] = ()
    rows: Literal["all", "cases", "others", "positives", "negatives", "cases and positives", "classes"] = "classes"
    compared: Literal["DeLong", "McNemar", "permutation", "bootstrap"] | None = None
    short: bool = False
    opens: tuple[Kind, ...] = ()
    ordered: bool = False
    held: float | None = None
    range_of_all: tuple[float, float] | None = None
    of_row: Callable[[Any], Floats] | None = None
    shown_with: Literal["decimals", "three digits"] = "decimals"

    @property
    def title(self) -> str:
        """Its name at the head of a row or column."""
        return self.name[:1].upper() + self.name[1:]

    def show(self, value: float, decimals: int) -> str:
        """Write a defined value."""
        return f"{value:.3g}" if self.shown_with == "three digits" else show_share(value, decimals)

    def why(self, counted: Counted) -> str:
        """The reason why it is undefined; empty text where it is not. Of rows counted once."""
        if not counted.n[0]:
            return causes.NO_IMAGES
        return next((reason for need in self.needs if (reason := need(counted))), "")

    def bounds(self, split: Split, of_class: str) -> tuple[float, float]:
        """Between which values it lies for a class, or for all of this split."""
        if self.range_of_all is None or split.binary or of_class:
            return self.range
        return self.range_of_all


def show_share(value: float, decimals: int) -> str:
    """Write a number that mostly lies between 0 and 1; what is not quite 0 or 1 is not rounded to it."""
    least = 10.0**-decimals
    if 0 < value < least / 2:
        return f"<{least:.{decimals}f}"
    if 1 - least / 2 <= value < 1:
        return f">{1 - least:.{decimals}f}"
    return f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}")


# ------------------------------------------------------------------ without what a metric is undefined


def a_case(one: OneClass) -> str:
    """An image of the class."""
    return "" if one.cases[0] else causes.no_image_of(one.name)


def another_class(one: OneClass) -> str:
    """An image of any other class."""
    return "" if one.others[0] else causes.no_image_but_of(one.name)


def both_classes(counted: Counted) -> str:
    """Images of the class and of another; of all classes, of two at least."""
    if isinstance(counted, OneClass):
        return a_case(counted) or another_class(counted)
    there = counted.support[0] > 0
    return causes.all_images_of(counted.split.classes[int(there.argmax())]) if there.sum() == 1 else ""


def every_class(whole: AllClasses) -> str:
    """Images of each class."""
    if whole.split.binary:
        return both_classes(whole.judged[0])
    return "; ".join(reason for one in whole.judged if (reason := a_case(one)))


def a_positive(one: OneClass) -> str:
    """An image predicted as the class."""
    return "" if one.positives[0] else causes.none_predicted(one.name)


def a_negative(one: OneClass) -> str:
    """An image predicted as another class."""
    return "" if one.negatives[0] else causes.all_predicted(one.name)


def both_decisions(counted: Counted) -> str:
    """Images predicted as the class and as another; of all classes, as two at least."""
    if isinstance(counted, OneClass):
        return a_positive(counted) or a_negative(counted)
    predicted = counted.matrix[0].any(axis=0)
    return causes.all_predicted(counted.split.classes[int(predicted.argmax())]) if predicted.sum() == 1 else ""


def a_false_positive(one: OneClass) -> str:
    """An image of another class predicted as the class."""
    return "" if one.fp[0] else causes.no_other_predicted(one.name)


def a_true_negative(one: OneClass) -> str:
    """An image of another class that was not predicted as the class."""
    return "" if one.tn[0] else causes.all_others_predicted(one.name)


# ------------------------------------------------------------------ how metrics are computed


def prevalence(one: OneClass) -> Floats:
    """Share of the class among the rows."""
    return ratio(one.cases, one.n)


def sensitivity(one: OneClass) -> Floats:
    """Recall, the true positive rate."""
    return ratio(one.tp, one.cases)


def specificity(one: OneClass) -> Floats:
    """The true negative rate."""
    return ratio(one.tn, one.others)


def precision(one: OneClass) -> Floats:
    """Positive predictive value. Of rows of one class each decision is right, or each is wrong: NaN."""
    return ratio(one.tp, np.where(one.both_there, one.positives, 0))


def npv(one: OneClass) -> Floats:
    """Negative predictive value; NaN as of `precision`."""
    return ratio(one.tn, np.where(one.both_there, one.negatives, 0))


def f_score(beta: float, one: OneClass) -> Floats:
    """F-beta. Without a case it is 0 whatever is predicted, which says nothing of the classifier: NaN."""
    tp = (1 + beta**2) * one.tp
    return np.where(one.cases > 0, ratio(tp, tp + beta**2 * one.fn + one.fp), np.nan)


def positive_likelihood_ratio(one: OneClass) -> Floats:
    """Sensitivity / (1 - specificity); infinite without a false positive (Deeks and Altman, BMJ 329:168, 2004)."""
    # Cross-multiplied, so that whole numbers are divided once.
    above = one.tp * one.others
    return np.where((one.fp == 0) & (above > 0), np.inf, ratio(above, one.cases * one.fp))


def negative_likelihood_ratio(one: OneClass) -> Floats:
    """(1 - sensitivity) / specificity."""
    return ratio(one.fn * one.others, one.cases * one.tn)


def accuracy(whole: AllClasses) -> Floats:
    """Share of right decisions."""
    return ratio(np.trace(whole.matrix, axis1=1, axis2=2), whole.n)


def majority_baseline(whole: AllClasses) -> Floats:
    """Accuracy of always naming the most frequent class."""
    return ratio(whole.support.max(axis=1), whole.n)


def balanced_accuracy(whole: AllClasses) -> Floats:
    """Mean sensitivity over classes, two or more."""
    return ratio(np.diagonal(whole.matrix, axis1=1, axis2=2), whole.support).mean(axis=1)


def mcc(counted: Counted) -> Floats:
    """Matthews' correlation coefficient, for several classes Gorodkin's R_K (Comput. Biol. Chem. 28:367, 2004)."""
    return mcc_of(counted.matrix)


def mcc_of(matrix: Floats) -> Floats:
    """Of confusion matrices `(r, K, K)`, which may hold shares."""
    n, right, by_chance, of_truth, of_calls = _agreement(matrix)
    return ratio(right * n - by_chance, np.sqrt(of_truth * of_calls))


def kappa(counted: Counted) -> Floats:
    """Cohen's kappa (Educ. Psychol. Meas. 20:37, 1960)."""
    return kappa_of(counted.matrix)


def kappa_of(matrix: Floats) -> Floats:
    """Of confusion matrices `(r, K, K)`, which may hold shares."""
    n, right, by_chance, of_truth, _ = _agreement(matrix)
    return ratio(right * n - by_chance, np.where(of_truth > 0, n**2 - by_chance, 0))


def _agreement(matrix: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    n, right = matrix.sum(axis=(1, 2)), np.trace(matrix, axis1=1, axis2=2)
    truth, calls = matrix.sum(axis=2), matrix.sum(axis=1)
    # The last two are 0 where all rows are of one class, or predicted as one.
    return n, right, (truth * calls).sum(axis=1), n**2 - (truth**2).sum(axis=1), n**2 - (calls**2).sum(axis=1)


def quadratic_kappa(whole: AllClasses) -> Floats:
    """Kappa with disagreements weighted by the squared distance of the classes (Cohen, Psychol. Bull. 70:213, 1968)."""
    matrix, truth, calls = whole.matrix, whole.support, whole.matrix.sum(axis=1)
    numbers = np.arange(matrix.shape[1])
    distance = (numbers[:, None] - numbers) ** 2
    by_chance = np.einsum("ri,ij,rj->r", truth, distance, calls)
    several = (truth > 0).sum(axis=1) > 1
    return 1 - ratio((matrix * distance).sum(axis=(1, 2)) * truth.sum(axis=1), np.where(several, by_chance, 0))


def auroc(one: OneClass) -> Floats:
    """Area under the ROC curve, a tie counting half."""
    return one.ranking.areas()


def auroc_up_to(rate: float, one: OneClass) -> Floats:
    """Area up to a false-positive rate, 0.5 for chance and 1 for perfect (McClish, Med. Decis. Making 9:190, 1989)."""
    least = rate**2 / 2
    return (1 + (one.ranking.areas_up_to(rate) - least) / (rate - least)) / 2


def average_precision(one: OneClass) -> Floats:
    """The step-wise sum of scikit-learn, not the trapezoidal area under the precision-recall curve."""
    return one.ranking.average_precisions()


def sensitivity_at(specificity: float, one: OneClass) -> Floats:
    """Highest sensitivity among the thresholds with at least this specificity, on these rows."""
    return one.ranking.sensitivities_at(specificity)


def specificity_at(sensitivity: float, one: OneClass) -> Floats:
    """Highest specificity among the thresholds with at least this sensitivity, on these rows."""
    return one.ranking.specificities_at(sensitivity)


def brier(counted: Counted) -> Floats:
    """Mean squared distance of the probabilities from what came true.

    In a binary task, and for one class, of one probability, from 0 to 1, as it is usually given; for several classes
    summed over them, from 0 to 2, as Brier defined it (Mon. Weather Rev. 78:1, 1950). The same choice as
    scikit-learn's.
    """
    return counted.mean(squared_errors(counted))


def squared_errors(counted: Counted) -> Floats:
    """Of each row, `(n,)`."""
    return counted.squared_errors


def scaled_brier(counted: Counted) -> Floats:
    """1 - Brier / Brier of the prevalence (Steyerberg et al., Epidemiology 21:128, 2010); scikit-learn's D2 of it."""
    by_prevalence = 1 - (counted.shares**2).sum(axis=1)  # summed over two classes twice that of one probability
    of_one = isinstance(counted, OneClass) or counted.split.binary
    return 1 - ratio(brier(counted), by_prevalence / 2 if of_one else by_prevalence)


def log_loss(counted: Counted) -> Floats:
    """Mean of minus the natural logarithm of the true class's probability.

    A probability below 2.2e-16, float64's epsilon, counts as that, as in scikit-learn: otherwise one row of 0 would
    make it infinite.
    """
    return counted.mean(surprises(counted))


def surprises(counted: Counted) -> Floats:
    """Of each row, `(n,)`."""
    return counted.surprises


# ------------------------------------------------------------------ the table


def _held(rate: Literal["sensitivity", "specificity"], at: float) -> Metric:
    """The entry of one rate where the other is held."""
    other = "specificity" if rate == "sensitivity" else "sensitivity"
    return Metric(
        f"{rate}_at_{other}_{at:g}",
        f"{rate} at a {other} of {at:g}",
        f"The highest among thresholds that keep the {other} at {at:g} on these images: they chose it themselves.",
        better="higher",
        judges="ranking",
        of=("class",),
        function=functools.partial(sensitivity_at if rate == "sensitivity" else specificity_at, at),
        interval=f"held {other}",
        needs=(both_classes,),
        held=at,
    )


METRICS = (
    Metric(
        "auroc",
        "AUROC",
        "How often an image of {of} gets a higher score than one that is not: 0.5 is chance, 1 is perfect.",
        better="higher",
        judges="ranking",
        of=("class", "mean"),
        function=auroc,
        interval="AUROC",
        needs=(both_classes,),
        compared="DeLong",
        short=True,
        opens=("binary", "several"),
    ),
    Metric(
        "auroc_up_to_fpr_0.1",
        "AUROC up to a false-positive rate of 0.1",
        "The part of the ROC curve with at most 1 in 10 others called {of}, on a scale of its own: 0.5 is chance, 1 is "
        "perfect.",
        better="higher",
        judges="ranking",
        of=("class", "mean"),
        function=functools.partial(auroc_up_to, 0.1),
        range=(0.5 - 0.05 / 1.9, 1.0),  # without any true positive up to there
        needs=(both_classes,),
    ),
    Metric(
        "average_precision",
        "average precision",
        "Area under the precision-recall curve: chance gives the share of {of}.",
        better="higher",
        judges="ranking",
        of=("class", "mean"),
        function=average_precision,
        needs=(both_classes,),
        compared="bootstrap",
        short=True,
    ),
    Metric(
        "sensitivity",
        "sensitivity",
        "Of the images of {of}, the share that is found (recall).",
        better="higher",
        judges="decisions",
        of=("class", "mean"),
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
        "Of the other images, the share that is not called {of}.",
        better="higher",
        judges="decisions",
        of=("class", "mean"),
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
        "Of the images called {of}, the share that is rightly called so (precision).",
        better="higher",
        judges="decisions",
        of=("class", "mean"),
        function=precision,
        interval="Wilson",
        needs=(both_classes, a_positive),
        rows="positives",
        short=True,
    ),
    Metric(
        "npv",
        "NPV",
        "Of the images not called {of}, the share that is rightly not called so.",
        better="higher",
        judges="decisions",
        of=("class", "mean"),
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
        better="higher",
        judges="decisions",
        of=("class", "mean"),
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
        better="higher",
        judges="decisions",
        of=("class", "mean"),
        function=functools.partial(f_score, 2),
        needs=(a_case,),
        rows="cases and positives",
    ),
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        "Mean of the shares called rightly in each class, whatever its size.",
        better="higher",
        judges="decisions",
        of=("all",),
        function=balanced_accuracy,
        interval="mean of rates",
        needs=(every_class,),
        short=True,
        opens=("several",),
    ),
    Metric(
        "accuracy",
        "accuracy",
        "The share of all images that is called rightly.",
        better="higher",
        judges="decisions",
        of=("all",),
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
        "The accuracy of always naming the most frequent class.",
        better="neither",
        judges="images",
        of=("all",),
        function=majority_baseline,
        interval="none",
        short=True,
    ),
    Metric(
        "mcc",
        "Matthews correlation",
        "Agreement of calls and truth: 0 is chance, 1 is perfect.",
        better="higher",
        judges="decisions",
        of=("class", "all"),
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
        better="higher",
        judges="decisions",
        of=("class", "all"),
        function=kappa,
        range=(-1.0, 1.0),
        interval="kappa",
        needs=(both_classes,),
    ),
    Metric(
        "quadratic_kappa",
        "quadratic kappa",
        "The same, with near misses counted as lesser ones.",
        better="higher",
        judges="decisions",
        of=("all",),
        function=quadratic_kappa,
        range=(-1.0, 1.0),
        interval="kappa",
        needs=(both_classes,),
        ordered=True,
    ),
    Metric(
        "positive_likelihood_ratio",
        "positive likelihood ratio",
        "By how much a positive call raises the odds of {of}.",
        better="higher",
        judges="decisions",
        of=("class",),
        function=positive_likelihood_ratio,
        range=(0.0, INFINITE),
        interval="positive likelihood ratio",
        shown_with="three digits",
        needs=(both_classes, a_positive, a_false_positive),
    ),
    Metric(
        "negative_likelihood_ratio",
        "negative likelihood ratio",
        "By how much a negative call lowers the odds of {of}: lower is better.",
        better="lower",
        judges="decisions",
        of=("class",),
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
        judges="probabilities",
        of=("class", "all"),
        function=brier,
        rows="all",
        compared="permutation",
        of_row=squared_errors,
        short=True,
        range_of_all=(0.0, 2.0),
    ),
    Metric(
        "scaled_brier",
        "scaled Brier score",
        "By how much the Brier score is below that of always giving the prevalence: 0 is no better, 1 is perfect.",
        better="higher",
        judges="probabilities",
        of=("class", "all"),
        function=scaled_brier,
        range=(-INFINITE, 1.0),
        needs=(both_classes,),
    ),
    Metric(
        "log_loss",
        "log loss",
        "How surprised the probabilities are by the truth: lower is better.",
        better="lower",
        judges="probabilities",
        of=("class", "all"),
        function=log_loss,
        range=(0.0, INFINITE),
        rows="all",
        of_row=surprises,
    ),
    Metric(
        "prevalence",
        "prevalence",
        "The share of {of} among these images.",
        better="neither",
        judges="images",
        of=("class",),
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
"""Of each number of a split that is not better the higher it is."""


def of_whole(metric: Metric, binary: bool) -> Literal["class", "mean", "all"] | None:
    """Of what a metric is where one number stands for the whole split; None where there is none."""
    if "all" in metric.of:
        return "all"
    if binary:
        return "class"
    return "mean" if "mean" in metric.of else None


def class_of(identifier: str, positive: str | None) -> str:
    """What stands in the column `class` of the intervals where one number stands for the whole split."""
    return "" if "all" in BY_IDENTIFIER[identifier].of else positive or MACRO


def opening(kind: Kind) -> tuple[str, ...]:
    """The metrics that open a report, and that subgroups are compared by."""
    return tuple(metric.identifier for metric in METRICS if kind in metric.opens)


def with_interval(split: Split, metrics: Sequence[Metric] = METRICS) -> Iterator[tuple[Metric, str]]:
    """Each metric that has an interval, with what stands in the column `class`, in the order of `estimates`."""
    known = [metric for metric in metrics if metric.interval != "none" and (split.ordered or not metric.ordered)]
    for k in split.judged:
        for metric in known:
            if "class" in metric.of and (not split.binary or "all" not in metric.of):
                yield metric, split.classes[k]
    if not split.binary:
        yield from ((metric, MACRO) for metric in known if "mean" in metric.of)
    yield from ((metric, "") for metric in known if "all" in metric.of)


def estimates(split: Split, weights: Floats, metrics: Sequence[Metric] = METRICS) -> Floats:
    """Each metric of `with_interval` for each row of weights `(r, n)`: `(r, metrics)`, NaN where undefined."""
    whole = split.under(weights)
    views = {one.name: one for one in whole.judged}
    found: dict[tuple[str, str], Floats] = {}
    for metric, of in with_interval(split, metrics):
        if of == MACRO:
            values = np.mean([found[metric.identifier, name] for name in split.classes], axis=0)
        else:
            values = metric.function(views[of] if of else whole)
        found[metric.identifier, of] = values
    return np.column_stack(list(found.values()))
