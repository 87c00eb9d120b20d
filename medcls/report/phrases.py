"""How figures are told: with sensible digits, with their intervals, and in words that need no statistics."""

import dataclasses
import math
import unicodedata

import numpy as np

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.thresholds import NOT_FITTED
from medcls.statistics.analytic import Z
from medcls.statistics.metric_table import BY_IDENTIFIER, MACRO, opening, show_share
from medcls.statistics.metrics import UNFITTED_THRESHOLD
from medcls.statistics.resampling import group_numbers
from medcls.wording import counted, named

UNDEFINED = "undefined"

BEYOND_CHANCE = 3.1
"""So many standard errors under its expectation a figure lies by chance once in a thousand times."""

BY_CHANCE = 0.025
"""A miss of a target that chance, on val and on these images, gives less often is put down to something else."""

FEW_FOR_DIGITS = 100
"""Under so many images the third decimal is less than a hundredth of an image."""


@dataclasses.dataclass(frozen=True)
class Notice:
    """What must be read before the figures, or beside them; `rule` is a stable identifier of what found it."""

    rule: str
    title: str
    text: str


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a metric is called in a task, and what it says there."""

    title: str
    text: str


@dataclasses.dataclass(frozen=True)
class Estimated:
    """One metric of one split.

    Parameters
    ----------
    metric : str
        As of `metric_table.METRICS`.
    value, low, high : float
        NaN where undefined; the limits also where there is no interval.
    digits : int
        How many decimals it is worth.
    method : str
        Of the interval; empty where there is none.
    n : int
        Rows behind it.
    note : str
        What a reader must know: why it is undefined, say.
    """

    metric: str
    value: float
    low: float
    high: float
    digits: int
    method: str
    n: int
    note: str

    @property
    def estimate(self) -> str:
        """The figure alone."""
        return formatted(self.metric, self.value, self.digits)

    @property
    def interval(self) -> str:
        """`0.850 to 0.950`; empty where there is none."""
        if math.isnan(self.value) or math.isnan(self.low):
            return ""
        return f"{formatted(self.metric, self.low, self.digits)} to {formatted(self.metric, self.high, self.digits)}"

    @property
    def both(self) -> str:
        """`0.910 (0.850 to 0.950)`."""
        return f"{self.estimate} ({self.interval})" if self.interval else self.estimate


def digits(n: int) -> int:
    """How many decimals a share of so many images is worth."""
    return 2 if n < FEW_FOR_DIGITS else 3


def formatted(metric: str, value: float, decimals: int) -> str:
    """Write one figure; what is none of the table's metrics as a share is written."""
    if math.isnan(value):
        return UNDEFINED
    known = BY_IDENTIFIER.get(metric)
    return show_share(value, decimals) if known is None else known.show(value, decimals)


def estimates_of(one: Assessment, of_class: str | None = None) -> dict[str, Estimated]:
    """Every metric of a split, or of one of several classes, with its interval where it has one.

    Parameters
    ----------
    one : Assessment
    of_class : str, optional
        With more than two classes: the class, held against all others.
    """
    whole = of_class is None
    values = one.metrics.values if whole else one.metrics.per_class[str(of_class)]
    classes = (one.table.positive or MACRO, "") if whole else (of_class,)
    chosen = one.intervals[one.intervals["class"].isin(classes)]
    rows = {str(row["metric"]): row for row in chosen.to_dict("records")}
    n, found = int(one.metrics.values["n"]), {}
    # Some figures are made with their intervals alone.
    extra = {name: float(row["estimate"]) for name, row in rows.items() if whole and name not in values}
    for metric, value in (values | extra).items():
        reason = one.metrics.reasons.get(metric if whole else f"{metric}/{of_class}", "")
        if metric in rows:
            row = rows[metric]
            method = "" if row["method"] == "none" else str(row["method"])
            limits = float(row["low"]), float(row["high"])
            found[metric] = Estimated(
                metric, value, *limits, digits(n), method, int(row["n"]), reason or str(row["note"])
            )
        else:
            found[metric] = Estimated(metric, value, math.nan, math.nan, digits(n), "", n, reason)
    return found


def key_metrics(one: Assessment) -> tuple[str, ...]:
    """The three figures that matter most."""
    return opening("several" if one.table.positive is None else "binary")


def meaning(metric: str, one: Assessment) -> Meaning:
    """What a metric is called in this task, and what it says."""
    general = BY_IDENTIFIER[metric]
    if one.table.positive is not None:
        return Meaning(general.title, general.explanation.format(of=isolated(one.table.positive)))
    averaged = metric in one.metrics.weighted
    return Meaning(
        f"{general.title}, mean over classes" if averaged else general.title, general.explanation.format(of="the class")
    )


def operating_point(one: Assessment) -> str:
    """Say when the positive class is called, and where that threshold comes from."""
    positive, point = one.table.positive, one.decision_rules.operating_point
    if positive is None:
        return "The most probable class is called: with more than two classes there is no threshold."
    label = f"{one.metrics.threshold:g} ({NOT_FITTED})" if point is None else point.label()
    said = f"{isolated(positive)} is called where its probability is at least {label}."
    if point is not None and point.promise:
        return f"{said} {point.promise}"
    if one.metrics.threshold_fitted:
        return said
    if point is not None and point.warnings:  # one was asked for, and the scores did not bear it
        return " ".join((said, *point.warnings))
    return f"{said} Nobody chose this threshold; on other images than these, one can be fitted."


def missed_target(one: Assessment) -> Notice | None:
    """Say where the target of the operating point was not reached on these images."""
    point = one.decision_rules.operating_point
    target = None if point is None else point.target
    if point is None or target is None:
        return None
    reached = estimates_of(one)[target.kind]
    if not reached.value < target.value:
        return None
    asked = f"{target.kind} {reached.both} where {target.value:g} was asked for ({target.text})"
    fitted_on = point.split.replace("_", " ") or "an unnamed split"
    judged_by = _independent(one, target.kind)
    chance = target.chance_of(1 - reached.value, judged_by, point.cases)
    if reached.high < target.value and chance < BY_CHANCE:
        rule, title = "target_missed", f"The target was missed: {asked}"
        text = f"The threshold met it on {fitted_on}, where it was fitted, and chance alone does not explain the rest."
    elif reached.high < target.value:
        rule, title = "target_missed_by_few_cases", f"The target was missed: {asked}"
        few = counted(point.cases, "independent case") if point.cases else "the few cases"
        text = (
            f"The threshold met it on {fitted_on}, where it was fitted. With {few} of "
            f"{target.class_name(isolated(point.positive_class))} there, chance may explain the rest."
        )
    else:
        rule, title = "target_not_reached", f"The target was not reached on these images: {asked}"
        text = f"The threshold met it on {fitted_on}, where it was fitted. Its interval holds the target: maybe luck."
    return Notice(rule, title, text if target.confidence is not None else f"{text} {point.promise}")


def unsure_target(one: Assessment) -> Notice | None:
    """Say where a target asked for more confidence than its cases on val allow."""
    point = one.decision_rules.operating_point
    target = None if point is None else point.target
    if point is None or target is None or not point.is_unsure:
        return None
    text = f"{point.promise} It takes {counted(target.least_cases, 'independent case')}."
    return Notice("unsure_target", f"The confidence that was asked for cannot be had ({target.text})", text)


def _independent(one: Assessment, kind: str) -> int:
    """Independent cases behind the sensitivity or the specificity."""
    positive = (one.table.rows["label"] == one.table.positive).to_numpy()
    groups = group_numbers(one.table.clusters, len(one.table))
    return len(np.unique(groups[positive if kind == "sensitivity" else ~positive]))


def worse_than_chance(one: Assessment) -> Notice | None:
    """Say that scores are the wrong way round; of chance once in a thousand times."""
    area = estimates_of(one)["auroc"]
    if not area.value < area.high < UNFITTED_THRESHOLD:  # nor where it is undefined
        return None
    if (UNFITTED_THRESHOLD - area.value) * Z < BEYOND_CHANCE * (area.high - area.value):
        return None
    of = "each class" if one.table.positive is None else isolated(one.table.positive)
    text = (
        f"Images of {of} get lower scores than the others. A classifier that had learned nothing would not: labels, or "
        "the columns of the probabilities, are probably swapped. Look at a few images and their scores before anything "
        "else."
    )
    return Notice("worse_than_chance", f"Worse than chance: AUROC {area.both}, and 0.5 is a toss of a coin", text)


def threshold_shown(one: Assessment) -> str:
    """The threshold of a binary task, with the decimals that it needs."""
    point = one.decision_rules.operating_point
    return f"{one.metrics.threshold:g}" if point is None else point.shown


def isolated(name: str) -> str:
    """A name for a sentence: quoted where it reads as a number, and kept from reordering what stands around it."""
    name = named(name)
    if any(unicodedata.bidirectional(character) in _FROM_THE_RIGHT for character in name):
        return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"
    return name


_FROM_THE_RIGHT = ("R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI")


def plain_words(one: Assessment) -> list[str]:
    """What the figures mean, in sentences that a doctor can repeat to a patient."""
    found = estimates_of(one)
    sentences = _of_calls(one, found) if one.table.positive is not None else _of_classes(one, found)
    return [*sentences, *_of_accuracy(one, found)]


def _of_calls(one: Assessment, found: dict[str, Estimated]) -> list[str]:
    """The sentences of a binary task."""
    name = isolated(str(one.table.positive))
    sensitivity, specificity, right = found["sensitivity"], found["specificity"], found["precision"]
    sentences = []
    if math.isnan(sensitivity.value):
        sentences.append(f"How many images of {name} are found cannot be said: {sensitivity.note}.")
    else:
        sentences.append(
            f"Of 100 images of {name} like these, {_are(sensitivity.value)} found"
            f"{_between(sensitivity)}, and {_are(1 - sensitivity.value, about=False)} missed."
        )
    if math.isnan(specificity.value):
        sentences.append(f"How many other images are rightly left alone cannot be said: {specificity.note}.")
    else:
        sentences.append(
            f"Of 100 images that are not {name}, {_are(specificity.value)} rightly left alone"
            f"{_between(specificity)}, and {_are(1 - specificity.value, about=False)} called {name} falsely."
        )
    if not math.isnan(right.value):
        sentences.append(
            f"When the classifier says {name}, it is right {_about(right.value)} times in 100{_between(right)} "
            f"among images like these, of which {one.metrics.values['prevalence']:.0%} are {name}; where {name} is "
            "rarer, it is right less often."
        )
    return sentences


def _of_classes(one: Assessment, found: dict[str, Estimated]) -> list[str]:
    """The sentences of a task with several classes."""
    sentences = []
    balanced = found["balanced_accuracy"]
    if math.isnan(balanced.value):
        sentences.append(f"How many of each class are found cannot be averaged: {balanced.note}.")
    else:
        sentences.append(
            f"Averaged over the classes, whatever their size, {_about(balanced.value)} of 100 images like these "
            f"are called rightly{_between(balanced)}."
        )
    shares = {name: of["sensitivity"] for name, of in one.metrics.per_class.items() if of["sensitivity"] >= 0}
    if len(shares) > 1:
        best, worst = max(shares, key=lambda name: shares[name]), min(shares, key=lambda name: shares[name])
        sentences.append(
            f"{isolated(best)} is found most often, {_of_100(shares[best])} times in 100; {isolated(worst)} least "
            f"often, {_of_100(shares[worst])} times in 100."
        )
    return sentences


def _of_accuracy(one: Assessment, found: dict[str, Estimated]) -> list[str]:
    """Accuracy beside that of always giving the same answer."""
    accuracy, baseline = found["accuracy"], found["majority_baseline"].value
    if math.isnan(accuracy.value):
        return []
    if one.metrics.of_one_class:  # always naming it is right by construction
        if one.table.positive is not None:  # said by sensitivity or specificity
            return []
        return [f"It names the right class for {_about(accuracy.value)} of 100 images{_between(accuracy)}."]
    most = isolated(one.table.classes[int(np.argmax(one.metrics.confusion.sum(axis=1)))])
    return [
        f"It names the right class for {_about(accuracy.value)} of 100 images{_between(accuracy)}; always "
        f"answering {most} would be right for {_of_100(baseline)}."
    ]


def _between(estimate: Estimated) -> str:
    if math.isnan(estimate.low):
        return ""
    return f" (95% interval {_of_100(estimate.low)} to {_of_100(estimate.high)})"


def _about(share: float) -> str:
    number = _of_100(share)
    return f"about {number}" if number.isdigit() else number


def _are(share: float, *, about: bool = True) -> str:
    number = _about(share) if about else _of_100(share)
    return f"{number} {'is' if number.endswith(' 1') or number == '1' else 'are'}"


def _of_100(share: float) -> str:
    """How many of a hundred; what is not quite none or all is not rounded to it."""
    rounded = round(100 * share)
    if rounded == 0 and share > 0:
        return "fewer than 1"
    if rounded == 100 and share < 1:
        return "more than 99"
    return str(rounded)
