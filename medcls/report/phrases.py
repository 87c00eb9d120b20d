"""Metrics as text: with a sensible number of decimals, with their intervals, and in plain words."""

import dataclasses
import math
import unicodedata

import numpy as np

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.estimates import split_name
from medcls.evaluation.thresholds import NOT_FITTED
from medcls.statistics.analytic import Z
from medcls.statistics.digits import percentage, rounded
from medcls.statistics.metric_table import BY_IDENTIFIER, MACRO, Metric, opening, show_share
from medcls.statistics.metrics import UNFITTED_THRESHOLD
from medcls.statistics.resampling import group_numbers
from medcls.wording import counted, named

UNDEFINED = "undefined"

BEYOND_CHANCE = 3.1
"""Standard errors below its expectation that an estimate reaches by chance once in 1000 samples."""

BY_CHANCE = 0.025
"""A missed target is attributed to chance (on val and on these images) if its probability is at least this."""

FEW_FOR_DIGITS = 100
"""Below this number of images, metrics have two decimals."""


@dataclasses.dataclass(frozen=True)
class Notice:
    """A warning above the metrics; `rule` is a stable identifier."""

    rule: str
    title: str
    text: str


@dataclasses.dataclass(frozen=True)
class Meaning:
    """Name and explanation of a metric in a task."""

    title: str
    text: str


@dataclasses.dataclass(frozen=True)
class MetricEstimate:
    """A metric of a split, ready to be shown.

    Parameters
    ----------
    metric : Metric or None
        None for a number that is not in the metric table.
    value, low, high : float
        NaN if undefined; the limits also if there is no interval.
    digits : int
        Number of decimals.
    method : str
        Method of the interval; empty without one.
    n : int
        Number of rows it is computed from.
    note : str
        For example why it is undefined.
    """

    metric: Metric | None
    value: float
    low: float
    high: float
    digits: int
    method: str
    n: int
    note: str

    @property
    def estimate(self) -> str:
        """The value as text."""
        return formatted(self.metric, self.value, self.digits)

    @property
    def interval(self) -> str:
        """`0.850 to 0.950`; empty without an interval."""
        if math.isnan(self.value) or math.isnan(self.low):
            return ""
        return f"{formatted(self.metric, self.low, self.digits)} to {formatted(self.metric, self.high, self.digits)}"

    @property
    def both(self) -> str:
        """`0.910 (0.850 to 0.950)`."""
        return f"{self.estimate} ({self.interval})" if self.interval else self.estimate


def digits(n: int) -> int:
    """Number of decimals for a proportion of `n` images."""
    return 2 if n < FEW_FOR_DIGITS else 3


def formatted(metric: Metric | str | None, value: float, decimals: int) -> str:
    """Format the value of a metric, given by itself or its identifier; with None as a proportion."""
    if math.isnan(value):
        return UNDEFINED
    entry = BY_IDENTIFIER[metric] if isinstance(metric, str) else metric
    return show_share(value, decimals) if entry is None else entry.show(value, decimals)


def estimates_of(assessment: Assessment, of_class: str | None = None) -> dict[str, MetricEstimate]:
    """Return every metric of a split, or of one of several classes, with its interval.

    Parameters
    ----------
    assessment : Assessment
    of_class : str, optional
        With more than two classes: the class, against all others.
    """
    metrics, table = assessment.metrics, assessment.table
    values = metrics.values if of_class is None else metrics.per_class[of_class]
    classes = (table.positive or MACRO, "") if of_class is None else (of_class,)
    chosen = assessment.intervals[assessment.intervals["class"].isin(classes)]
    rows = {str(row["metric"]): row for row in chosen.to_dict("records")}
    if of_class is None:  # some metrics are computed with their intervals only
        values = values | {name: float(row["estimate"]) for name, row in rows.items() if name not in values}
    n = int(metrics.values["n"])
    found = {}
    for metric, value in values.items():
        reason = metrics.reasons.get(metric if of_class is None else f"{metric}/{of_class}", "")
        row = rows.get(metric, {"low": math.nan, "high": math.nan, "method": "none", "n": n, "note": ""})
        found[metric] = MetricEstimate(
            None if metric in ("n", "support") else assessment.metric(metric),
            value,
            float(row["low"]),
            float(row["high"]),
            digits(n),
            "" if row["method"] == "none" else str(row["method"]),
            int(row["n"]),
            reason or str(row["note"]),
        )
    return found


def key_metrics(assessment: Assessment) -> tuple[str, ...]:
    """Return the three metrics that open the report."""
    return opening("several" if assessment.table.positive is None else "binary")


def meaning(metric: str, assessment: Assessment) -> Meaning:
    """Return the name and the explanation of a metric in this task."""
    entry = assessment.metric(metric)
    if assessment.table.positive is not None:
        return Meaning(entry.title, entry.explanation.format(of=f"class {isolated(assessment.table.positive)}"))
    title = f"{entry.title}, mean over classes" if metric in assessment.metrics.weighted else entry.title
    return Meaning(title, entry.explanation.format(of="the class"))


def operating_point(assessment: Assessment) -> str:
    """Describe when the positive class is predicted, and where that threshold comes from."""
    positive, point = assessment.table.positive, assessment.decision_rules.operating_point
    if positive is None:
        return "The most probable class is predicted; with more than two classes there is no threshold."
    label = f"{assessment.metrics.threshold:g} ({NOT_FITTED})" if point is None else point.label()
    sentence = f"Class {isolated(positive)} is predicted if its probability is at least {label}."
    if point is not None and point.promise:
        return f"{sentence} {point.promise}"
    if point is not None and assessment.metrics.threshold_fitted:
        return f"{sentence} The images of val also chose the checkpoint." if point.split == "val" else sentence
    if point is not None and point.warnings:  # a criterion was set, and the scores do not allow it
        return " ".join((sentence, *point.warnings))
    return f"{sentence} This is the default; a threshold can be fitted on other images than these."


def missed_target(assessment: Assessment) -> Notice | None:
    """Return a notice if the target of the operating point was not reached on these images."""
    point = assessment.decision_rules.operating_point
    target = None if point is None else point.target
    if point is None or target is None:
        return None
    reached = estimates_of(assessment)[target.kind]
    if not reached.value < target.value:
        return None
    result = f"{target.kind} {reached.both}, target {target.value:g} ({target.text})"
    text = f"The threshold reached the target on {split_name(point.split)}, where it was fitted."
    independent = _independent_cases(assessment, target.kind)
    chance = target.chance_of(1 - reached.value, independent, point.cases)
    if not reached.high < target.value:
        rule, title = "target_not_reached", f"Target not reached on these images: {result}"
        text += " The interval includes the target, so this may be chance."
    elif chance < BY_CHANCE:
        rule, title = "target_missed", f"Target missed: {result}"
        text += " Chance alone does not explain the difference."
    else:
        rule, title = "target_missed_by_few_cases", f"Target missed: {result}"
        few = counted(point.cases, "independent case") if point.cases else "few cases"
        name = target.class_name(isolated(point.positive_class))
        text += f" There it was based on {few} of {name}, so this may be chance."
    return Notice(rule, title, text if target.confidence is not None else f"{text} {point.promise}")


def unsure_target(assessment: Assessment) -> Notice | None:
    """Return a notice if val has too few cases for the confidence of the target."""
    point = assessment.decision_rules.operating_point
    target = None if point is None else point.target
    if point is None or target is None or not point.is_unsure:
        return None
    text = f"{point.promise} {counted(target.least_cases, 'independent case')} are needed."
    return Notice("unsure_target", f"Too few cases for the requested confidence ({target.text})", text)


def _independent_cases(assessment: Assessment, rate: str) -> int:
    """Count the independent cases that the sensitivity or the specificity is computed from."""
    table = assessment.table
    positive = (table.rows["label"] == table.positive).to_numpy()
    groups = group_numbers(table.clusters, len(table))
    return len(np.unique(groups[positive if rate == "sensitivity" else ~positive]))


def worse_than_chance(assessment: Assessment) -> Notice | None:
    """Return a notice if the scores rank images in the wrong order; by chance once in 1000 samples."""
    area = estimates_of(assessment)["auroc"]
    if not area.value < area.high < UNFITTED_THRESHOLD:  # nor if it is undefined
        return None
    if (UNFITTED_THRESHOLD - area.value) * Z < BEYOND_CHANCE * (area.high - area.value):
        return None
    positive = assessment.table.positive
    images = "Images of each class" if positive is None else f"Images of class {isolated(positive)}"
    text = (
        f"{images} get lower scores than the others, which even an untrained classifier would not do. The labels, or "
        "the columns of the probabilities, are probably swapped: check the scores of a few images first."
    )
    return Notice("worse_than_chance", f"Worse than chance: AUROC {area.both}, where 0.5 is chance", text)


def threshold_shown(assessment: Assessment) -> str:
    """Return the threshold of a binary task with the decimals it needs."""
    point = assessment.decision_rules.operating_point
    return f"{assessment.metrics.threshold:g}" if point is None else point.shown


def isolated(name: str) -> str:
    """Return a class name for a sentence: numbers in quotation marks, right-to-left text isolated."""
    name = named(name)
    if any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in name):
        return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"
    return name


_RIGHT_TO_LEFT = ("R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI")


def plain_words(assessment: Assessment) -> list[str]:
    """Explain the metrics in sentences that need no statistics."""
    estimates = estimates_of(assessment)
    binary = assessment.table.positive is not None
    sentences = _of_binary(assessment, estimates) if binary else _of_classes(assessment, estimates)
    return [*sentences, *_of_accuracy(assessment, estimates)]


def _of_binary(assessment: Assessment, estimates: dict[str, MetricEstimate]) -> list[str]:
    name = isolated(str(assessment.table.positive))
    sensitivity, specificity, ppv = estimates["sensitivity"], estimates["specificity"], estimates["precision"]
    sentences = []
    if math.isnan(sensitivity.value):
        sentences.append(f"How many {name} images are detected is unknown: {sensitivity.note}.")
    else:
        sentences.append(
            f"Of 100 {name} images like these, {_are(sensitivity.value)} detected{_interval(sensitivity)} and "
            f"{_rest_are(sensitivity.value)} missed."
        )
    if math.isnan(specificity.value):
        sentences.append(f"How many of the other images are correctly recognised is unknown: {specificity.note}.")
    else:
        sentences.append(
            f"Of 100 other images, {_are(specificity.value)} recognised as such"
            f"{_interval(specificity)} and {_rest_are(specificity.value)} wrongly predicted as {name}."
        )
    if not math.isnan(ppv.value):
        sentences.append(
            f"A prediction of class {name} is correct {_about(ppv.value)} times in 100{_interval(ppv)} if "
            f"{percentage(assessment.metrics.values['prevalence'])} of the images are of that class, as here; where it "
            "is rarer, the prediction is correct less often."
        )
    return sentences


def _of_classes(assessment: Assessment, estimates: dict[str, MetricEstimate]) -> list[str]:
    sentences = []
    balanced = estimates["balanced_accuracy"]
    if math.isnan(balanced.value):
        sentences.append(f"The balanced accuracy is undefined: {balanced.note}.")
    else:
        sentences.append(
            f"Averaged over the classes, {_about(balanced.value)} of 100 images like these are classified "
            f"correctly{_interval(balanced)}, whatever the size of each class."
        )
    per_class = assessment.metrics.per_class
    rates = {name: values["sensitivity"] for name, values in per_class.items() if values["sensitivity"] >= 0}
    if len(rates) > 1:
        best, worst = max(rates, key=lambda name: rates[name]), min(rates, key=lambda name: rates[name])
        sentences.append(
            f"Class {isolated(best)} is detected most often, {_of_100(rates[best])} times in 100, and class "
            f"{isolated(worst)} least often, {_of_100(rates[worst])} times in 100."
        )
    return sentences


def _of_accuracy(assessment: Assessment, estimates: dict[str, MetricEstimate]) -> list[str]:
    """Describe the accuracy beside that of always predicting one class."""
    accuracy, baseline = estimates["accuracy"], estimates["majority_baseline"].value
    if math.isnan(accuracy.value):
        return []
    sentence = f"The predicted class is correct for {_about(accuracy.value)} of 100 images{_interval(accuracy)}"
    if assessment.metrics.of_one_class:  # the baseline is 1 by construction
        # In a binary task the accuracy is then the sensitivity or the specificity.
        return [] if assessment.table.positive is not None else [f"{sentence}."]
    largest = isolated(assessment.table.classes[int(np.argmax(assessment.metrics.confusion.sum(axis=1)))])
    return [f"{sentence}; always predicting class {largest} would be correct for {_of_100(baseline)}."]


def _interval(estimate: MetricEstimate) -> str:
    if math.isnan(estimate.low):
        return ""
    return f" (95% interval {_of_100(estimate.low)} to {_of_100(estimate.high)})"


def _about(share: float) -> str:
    number = _of_100(share)
    return f"about {number}" if number.isdigit() else number


def _are(share: float) -> str:
    return _with_verb(_about(share))


def _rest_are(share: float) -> str:
    """Describe the others of 100, so that both counts sum to 100."""
    count = _of_100(share)
    return _with_verb(str(100 - int(count)) if count.isdigit() else _of_100(1 - share))


def _with_verb(number: str) -> str:
    return f"{number} {'is' if number.endswith(' 1') or number == '1' else 'are'}"


def _of_100(share: float) -> str:
    """Return a count out of 100; only exactly none and all are rounded to 0 and 100."""
    count = rounded(100 * share, 0)
    if count == "0" and share > 0:
        return "fewer than 1"
    return "more than 99" if count == "100" and share < 1 else count


def learned_from(name: str, images: int, near_duplicates: int | None) -> str:
    """Describe what another run, whose weights or outputs a training used, had learned from.

    Parameters
    ----------
    name : str
        Its data and network.
    images, near_duplicates
        See `runs.records.TeacherRun`.
    """
    which = f" ({name})" if name else ""
    near = {
        None: ". Whether near duplicates of them were is not known",
        0: "; nor was a near duplicate of one",
    }.get(near_duplicates, f"; near duplicates of {near_duplicates} were")
    return (
        f"a run{which} that was trained or selected on {counted(images, 'image')}: no test image of this run was among "
        f"these, and no val image among those it was trained on{near}"
    )
