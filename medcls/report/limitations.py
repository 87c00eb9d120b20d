"""What a reader must hold against the figures: found by rule in the assessments and in the run's own record."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import binom

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.calibration import calibration_test
from medcls.evaluation.ensembles import ENSEMBLE
from medcls.evaluation.estimates import Estimate, estimate, pick, split_name, stated
from medcls.evaluation.folds import OUT_OF_FOLD
from medcls.evaluation.predictions import FITTED_TWICE, TOOK_PART
from medcls.evaluation.shift import SLIGHT, class_shares, differences, in_the_large, prevalence_differences, shares
from medcls.evaluation.spread import too_alike
from medcls.evaluation.subgroups import Gap, Subgroups
from medcls.plots.plots import overfitting_warning
from medcls.report.phrases import worse_than_chance
from medcls.report.sources import Sources
from medcls.statistics.analytic import LEVEL, holm, wilson_limits
from medcls.statistics.metric_table import NAMES, opening
from medcls.statistics.metrics import FEW_CASES, UNFITTED_THRESHOLD
from medcls.statistics.resampling import group_numbers
from medcls.wording import at_start, counted, enumerated, named

Level = Literal["serious", "mind"]
"""Serious: the figures do not mean what they seem to. Mind: they hold less far than they seem to."""

WIDE = 0.2
"""From this width on an interval leaves open whether a classifier is good or poor."""

OFF = 0.02
"""Probabilities are called wrong where chance explains it in so small a share of perfect models, over both tests.

Not 5%: what was fitted on few rows is a little wrong, and Wilson's limits of a bin miss more often than they say.
"""

TILT = 0.2
"""A calibration slope this near to 1 is called none."""

GAP = 0.1
"""Differences between subgroups up to this are not called wide."""

BEYOND_CHANCE = 2.6
"""So many standard errors under its promise a coverage lies by chance once in two hundred times."""

"""The checkpoint of a mean over networks, and the split of a table that pools the folds of a cross-validation."""

# Audit checks whose subject the rules below speak of from the figures themselves.
_SPOKEN_OF = ("small_test", "groups")
_OF_DUPLICATES = ("exact_copies", "near_copies", "near_copies_across_splits")
LEAK = "leak_"  # how the checks begin that count what is left in a run's own splits


@dataclasses.dataclass(frozen=True)
class Limitation:
    """One thing to hold against the figures.

    Parameters
    ----------
    rule : str
        A stable identifier of the rule that found it, as `few_cases`; of an audit's finding, its check.
    title : str
        What was found, with its figure.
    text : str
        What follows from it, and what to do.
    level : {"serious", "mind"}
        See `Level`.
    """

    rule: str
    title: str
    text: str
    level: Level


Rule = Callable[[Assessment, Sequence[Assessment], Sources], list[Limitation]]
"""A rule of one's own: the split that opens the report, the other splits, what is known of the run; what it found."""


def limitations(
    headline: Assessment, others: Sequence[Assessment], sources: Sources, rules: Sequence[Rule] = ()
) -> list[Limitation]:
    """Find what limits the figures, worst first.

    Parameters
    ----------
    headline : Assessment
        The split whose figures open the report.
    others : sequence of Assessment
        The other splits of the same checkpoint, as val.
    sources : Sources
        What is known of the run.
    rules : sequence of Rule
        Rules beside these.
    """
    found = [
        *_training_duplicates(headline, sources),
        *_leaks(headline, sources),
        *_one_answer(headline),
        *_no_test(headline),
        *_unknown_origin(sources),
        *_watermarks(sources),
        *_frozen_at_random(sources),
        *_overfitting(sources),
        *_audit(sources),
        *_shift(headline, others, sources),
        *_undefined(headline),
        *_chance(headline),
        *_small(headline),
        *_readings(sources),
        *_calibration(headline),
        *_sets(headline),
        *_subgroups(headline),
        *_threshold(headline),
        *_fits(headline),
        *_prevalence(headline),
        *_groups(headline),
        *_one_site(headline, others),
        *_trainings(headline, sources),
        *(one for rule in rules for one in rule(headline, others, sources)),
    ]
    return sorted(found, key=lambda one: one.level != "serious")


def _leaks(headline: Assessment, sources: Sources) -> list[Limitation]:
    """Images that judge have a near copy in training: of all that can be wrong the worst."""
    found = [] if sources.audit is None else sources.audit["findings"]
    split, of_folds = headline.table.split.strip().casefold(), headline.table.split == OUT_OF_FOLD
    said = []
    for finding in found:
        if not finding["check"].startswith(LEAK):
            continue
        of = finding["check"].removeprefix(LEAK)
        serious = finding["level"] == "error" and (of == split or of_folds)
        said.append(Limitation(finding["check"], finding["title"], finding["text"], "serious" if serious else "mind"))
    return sorted(said, key=lambda one: one.level != "serious")


def _one_answer(headline: Assessment) -> list[Limitation]:
    """The network does not tell images apart."""
    reason = too_alike(headline.table)
    if reason is None:
        return []
    title = "The classifier gives nearly the same answer for every image"
    text = (
        f"{reason} The figures are those of a constant, and so is every call. After few training steps it comes of "
        "batch norm, whose running statistics lag behind the weights: train anew with exact_batch_norm=true, or for "
        "more epochs."
    )
    return [Limitation("one_answer", title, text, "serious")]


def _no_test(headline: Assessment) -> list[Limitation]:
    """The images took part in making the classifier, or nobody says that they did not (P09)."""
    # Tables of other tools spell it as they like.
    split, images = headline.table.split.strip().casefold(), counted(len(headline.table), "image")
    if split in TOOK_PART:
        title = f"The figures are of {split} ({images}), which is no test"
        text = f"{at_start(TOOK_PART[split])}. New images will be called less well. Report figures of a test split."
        return [Limitation("no_test", title, text, "serious")]
    if not split:
        title = f"Nothing says which {images} these are"
        text = (
            "If the classifier was trained on them, or chosen by them, the figures are too good. Name the split in a "
            "column `split`, and make sure that none of these images took part in training."
        )
        return [Limitation("unnamed_split", title, text, "serious")]
    return []


def _unknown_origin(sources: Sources) -> list[Limitation]:
    """The record of the training is missing, or parts of it."""
    missing = [
        what
        for what, known in (
            ("the settings of the training", sources.config),
            ("the audit of the images", sources.audit),
            ("the splits", sources.splits),
            ("where the weights came from", sources.weights),
            ("the course of the training", sources.history if sources.probe is None else sources.probe),
        )
        if known is None
    ]
    if not missing:
        return []
    if sources.config is None and sources.audit is None:
        return [
            Limitation(
                "unknown_origin",
                "Nothing is known of how this classifier was made",
                f"Not provided: {', '.join(missing)}. Whether images of one patient stand in both training and test, "
                "and whether the test images chose anything, cannot be told from predictions alone. Whoever trained "
                "it must say so.",
                "serious",
            )
        ]
    text = "A section of this report that needs them reads as not provided."
    return [Limitation("incomplete_record", f"Missing from the run's record: {', '.join(missing)}", text, "mind")]


def _watermarks(sources: Sources) -> list[Limitation]:
    text = "It stands on every page and figure made from these images. Leave it there when you show them."
    return [Limitation("watermark", watermark, text, "serious") for watermark in sources.watermarks]


def _frozen_at_random(sources: Sources) -> list[Limitation]:
    """Part of the network was kept from learning before it had learned anything."""
    weights = sources.weights or {}
    frozen = weights.get("frozen_at_random")  # runs of earlier versions do not say it: there it was an error
    if not frozen:
        return []
    title = f"{len(frozen):,} of {weights['tensors']:,} tensors were frozen at random"
    text = (
        "No weights were loaded into them, and for some or all epochs they were kept as they were drawn "
        "(freeze_random_weights=true). What such layers compute was learned from nothing. Load weights, or do not "
        "freeze them."
    )
    return [Limitation("frozen_at_random", title, text, "serious")]


def _training_duplicates(headline: Assessment, sources: Sources) -> list[Limitation]:
    if not sources.training_duplicates:
        return []
    title = (
        f"{sources.training_duplicates:,} of {counted(len(headline.table), 'image')} of the external set are among "
        "those that the run learned or selected by"
    )
    text = (
        "They have the same pixels, so the classifier may know them, and the set is not wholly another site's. Remove "
        "them from the external set and evaluate again."
    )
    return [Limitation("training_images_in_external_set", title, text, "serious")]


def _overfitting(sources: Sources) -> list[Limitation]:
    alarm = None if sources.history is None else overfitting_warning(sources.history)
    if alarm is None:
        return []
    title, _, remedy = alarm.partition(". ")
    return [Limitation("overfitting", title, remedy, "serious")]


def _audit(sources: Sources) -> list[Limitation]:
    """Errors and warnings, in the audit's own words."""
    levels: dict[str, Level] = {"error": "serious", "warning": "mind"}
    found = [] if sources.audit is None else sources.audit["findings"]
    # Older runs did not count what their splits left in training: of those the data as they came must do.
    counted_in_run = any(finding["check"].startswith("leak") for finding in found)
    return [
        Limitation(finding["check"], finding["title"], finding["text"], levels[finding["level"]])
        for finding in found
        if finding["level"] in levels
        and finding["check"] not in _SPOKEN_OF
        and not (counted_in_run and _is_of_duplicates(finding["check"]))
    ]


def _is_of_duplicates(check: str) -> bool:
    """Whether an audit's check counts copies in the data as they came, or in a run's splits."""
    return check in _OF_DUPLICATES or check.startswith(("copies_", LEAK))


def _shift(headline: Assessment, others: Sequence[Assessment], sources: Sources) -> list[Limitation]:
    """A split is unlike the one before it: test unlike val, another site unlike either."""
    fitted_on = [one for one in others if one.table.split in ("val", "calibration", OUT_OF_FOLD)]
    if headline.table.split in TOOK_PART:
        return []
    external = [one for one in others if one.table.split == "external"]
    pairs = 1 + len(external)
    found = [_shift_between(headline, fitted_on[0], pairs)] if fitted_on else [_shift_of_classes(headline, sources)]
    found += [_shift_between(one, headline, pairs) for one in external]
    return [one for one in found if one is not None]


def _shift_between(assessment: Assessment, before: Assessment, pairs: int) -> Limitation | None:
    found = differences(assessment, before, pairs)
    if not found:
        return None
    here, there = split_name(assessment.table.split), split_name(before.table.split)
    text = (
        f"{at_start(here)} is unlike {there} by more than chance explains: {'; '.join(map(str, found))}. "
        f"{_accuracies(assessment, before)} What {there} promises does not hold for images such as these, and what "
        f"{here} says need not hold at a third place. Before any use, fit threshold and probabilities again on images "
        "from where the classifier is to be used, and test it on others from there."
    )
    title = f"{at_start(here)} is shifted against {there}: {enumerated([one.brief() for one in found], 4)}"
    return Limitation("shift", title, text, "serious" if any(one.is_of_classifier for one in found) else "mind")


def _shift_of_classes(headline: Assessment, sources: Sources) -> Limitation | None:
    """Without predictions of val, the shares of the classes can still be held against training's."""
    trained = _training_shares(headline, sources)
    found = [] if trained is None else prevalence_differences(class_shares(headline.table), trained)
    if not found:
        return None
    here = split_name(headline.table.split)
    text = (
        f"{'; '.join(map(str, found))}. Probabilities, PPV and NPV carry the prevalence that training had: state the "
        "one where the classifier is to be used (prevalence=...)."
    )
    return Limitation(
        "shift_of_classes", f"{at_start(here)} is shifted against train: {found[0].brief()}", at_start(text), "mind"
    )


def _training_shares(headline: Assessment, sources: Sources) -> dict[str, Estimate] | None:
    if sources.splits is None or "train" not in set(sources.splits["split"]):
        return None
    row = sources.splits[sources.splits["split"] == "train"].iloc[0]
    cases = row["independent"] if "independent" in row else row["groups"]  # older runs counted groups alone
    return shares({name: int(row[f"{name}: images"]) for name in class_shares(headline.table)}, int(cases))


def _accuracies(assessment: Assessment, before: Assessment) -> str:
    """What the shift does to the calls, at the fitted threshold and at 0.5."""
    here, there = split_name(assessment.table.split), split_name(before.table.split)
    reached = f"the accuracy on {here} is {estimate(assessment, 'accuracy')}"
    was = f"on {there} it is {estimate(before, 'accuracy')}."
    point = assessment.decision_rules.operating_point
    if assessment.at_half is None or point is None:
        return f"{at_start(reached)}; {was}"
    at_half = assessment.at_half.values["accuracy"]
    return (
        f"At the threshold {point.label()} {reached}, at a threshold of {UNFITTED_THRESHOLD} it is {at_half:.3f}; {was}"
    )


def _undefined(headline: Assessment) -> list[Limitation]:
    """A class is missing, or was never called."""
    reasons = headline.metrics.reasons
    missing = [name for name in _opening(headline) if name in reasons]
    if not missing:
        return []
    title = f"Undefined: {', '.join(NAMES[name] for name in missing)}"
    text = (
        f"{at_start(headline.metrics.why(missing))}. What cannot be told of these images is not known to be good: "
        "evaluate images of each class."
    )
    return [Limitation("undefined_metrics", title, text, "serious")]


def _chance(headline: Assessment) -> list[Limitation]:
    """No better than always naming the most frequent class (P51), or than tossing a coin."""
    found = []
    accuracy, baseline = estimate(headline, "accuracy"), headline.metrics.values["majority_baseline"]
    area = estimate(headline, "auroc")
    if (notice := worse_than_chance(headline)) is not None:
        found.append(Limitation(notice.rule, notice.title, notice.text, "serious"))
    elif area.low <= UNFITTED_THRESHOLD:
        title = f"Not shown to be better than chance: AUROC {area}, and 0.5 is a toss of a coin"
        text = "The order in which the classifier puts the images may be luck. Take more images, or another approach."
        found.append(Limitation("no_better_than_chance", title, text, "serious"))
    if headline.metrics.of_one_class:  # always naming it is right by construction
        return found
    if accuracy.value <= baseline:
        title = (
            f"The accuracy, {accuracy.value:.3f}, does not beat always naming the most frequent class, {baseline:.3f}"
        )
        text = (
            "Always naming one class takes no image. Read AUROC, sensitivity and specificity instead, and choose the "
            "operating point for what an error costs."
        )
        found.append(Limitation("accuracy_below_baseline", title, text, "serious"))
    elif accuracy.low <= baseline:
        title = f"The accuracy, {accuracy}, is not shown to beat always naming one class, {baseline:.3f}"
        text = (
            "What always naming the most frequent class reaches lies within its interval. Read AUROC, sensitivity and "
            "specificity instead."
        )
        found.append(Limitation("accuracy_near_baseline", title, text, "mind"))
    return found


def _more_cases(headline: Assessment) -> str:
    """What makes the intervals of a report narrower."""
    if headline.table.split == OUT_OF_FOLD:
        return "More images make the ranges narrower: this cross-validation has judged every image that there is."
    return (
        "Cross-validation (data.folds=5) judges every image once, and the ranges become narrower; more images of the "
        "rarer class are better still."
    )


def _small(headline: Assessment) -> list[Limitation]:
    """Few cases of a class (P52), and intervals that leave the question open."""
    names = [name for name in _opening(headline) if not math.isnan(headline.metrics.values[name])]
    wide = [name for name in names if (one := estimate(headline, name)).high - one.low > WIDE]
    cases = {name: n for name, n in _cases(headline).items() if n}  # what an absent class hides is said elsewhere
    few = [f"{n} of {named(name)}" for name, n in cases.items() if n < FEW_CASES]
    if few:
        fewest = min(cases.values())
        text = (
            "Images of one group, and duplicates, count as one case. A case more or less called rightly moves a figure "
            f"by up to {1 / fewest:.0%}. The 95% intervals: {stated(headline, *names)}. "
            f"Read the ranges, not the figures. {_more_cases(headline)}"
        )
        return [Limitation("few_cases", f"Fewer than {FEW_CASES} cases of a class: {', '.join(few)}", text, "serious")]
    if wide:
        text = (
            f"The ranges are 95% intervals; one wider than {WIDE} leaves open whether the classifier is good or poor. "
            f"{_more_cases(headline)}"
        )
        return [
            Limitation(
                "wide_intervals", f"Figures that are known only roughly: {stated(headline, *wide)}", text, "mind"
            )
        ]
    return []


def _cases(headline: Assessment) -> dict[str, int]:
    """How many groups there are of each class."""
    return headline.table.cases_by_class()


def _readings(sources: Sources) -> list[Limitation]:
    """The images have been looked at before (P53)."""
    readings = sources.readings
    if readings is None or readings.total == 1:
        return []
    title = (
        f"These images have been evaluated {readings.total:,} times, of {counted(readings.checkpoints, 'checkpoint')}"
    )
    if readings.checkpoints == 1:
        text = "Nothing was chosen between them, unless settings changed in the meantime because of what was seen."
        return [Limitation("repeated_readings", title, text, "mind")]
    text = (
        f"{readings.sentence()} The best of several on the same images is too good by chance. Confirm the one you "
        "choose on images that none of them has seen."
    )
    return [Limitation("repeated_readings", title, text, "serious")]


def _calibration(headline: Assessment) -> list[Limitation]:
    """Probabilities that do not mean what they say."""
    positive = headline.table.positive
    whole, missed = in_the_large(headline), _missed_bins(headline.reliability)
    fitted = headline.decision_rules.calibration
    share = 0.0 if fitted is None else len(headline.table) / max(fitted.n, 1)
    of_line = calibration_test(headline.table).allowing_for(share)
    of_bins = float(binom.sf(missed - 1, len(headline.reliability), 1 - LEVEL))
    off, uneven = holm(np.array([of_line, of_bins])) < OFF
    # With more classes each has a slope of its own, and the bins speak for all.
    slope = None if positive is None else pick(headline.calibration, "calibration_slope", (positive,))
    known = slope is not None and not slope.low <= 1 <= slope.high
    tilted = slope is not None and known and abs(slope.value - 1) > TILT
    shifted = _class_off(headline)
    if off and whole.is_off:
        direction = "high" if whole.surplus.value > 0 else "low"
        rule = "probabilities_off"
        title = (
            f"Probabilities are too {direction} on the whole: {whole.predicted:.3f} in the mean, and "
            f"{whole.observed} came true"
        )
    elif off and tilted:
        rule = "calibration_slope"
        title = f"{_tilt(slope, positive)}: the calibration slope is {slope}, where 1 is right"
    elif off and shifted:
        rule, title = "class_probabilities_off", shifted
    elif uneven:
        rule = "uneven_probabilities"
        title = f"Probabilities miss what came true in {missed} of {len(headline.reliability)} ranges"
    else:
        return []
    meaning = "80 in 100 such calls are right" if positive is None else f"80 in 100 such images are {named(positive)}"
    distance = pick(headline.calibration, "ici", (positive or "",))
    # Whether they put the images in order at all is not shown where the AUROC's interval reaches 0.5.
    ordered = estimate(headline, "auroc").low > UNFITTED_THRESHOLD
    use = "Use the probabilities to put images in order, not as risks." if ordered else "Do not use them as risks."
    mean = "" if math.isnan(distance.value) else f": in the mean they are {distance.value:.3f} off (ICI)"
    text = (
        f"That the classifier says 0.80 need not mean that {meaning}{mean}. The "
        f"reliability figure shows where. {use} Where only the mix of classes differs, prevalence=... re-weights "
        "them; otherwise fit them on images from where the classifier is used."
    )
    return [Limitation(rule, title, text, "mind")]


def _class_off(headline: Assessment) -> str | None:
    """With more than two classes, the one whose probabilities are the furthest off on the whole, in a sentence."""
    if headline.table.positive is not None:
        return None
    predicted = dict(zip(headline.table.classes, headline.table.probabilities().mean(axis=0).tolist(), strict=True))
    true = class_shares(headline.table)
    name = max(true, key=lambda one: abs(predicted[one] - true[one].value))
    if abs(predicted[name] - true[name].value) <= SLIGHT:
        return None
    direction = "high" if predicted[name] > true[name].value else "low"
    return (
        f"Probabilities of {named(name)} are too {direction} on the whole: {predicted[name]:.3f} in the mean, and "
        f"{true[name]} came true"
    )


def _tilt(slope: Estimate | None, positive: str | None) -> str:
    """What a calibration slope away from 1 says."""
    if slope is not None and slope.value <= 0:
        return f"Higher probabilities do not go with more images of {named(positive or 'the called class')}"
    return f"Probabilities are too {'extreme' if slope is not None and slope.value < 1 else 'timid'}"


def _missed_bins(reliability: pd.DataFrame) -> int:
    """How many bins predicted what lies outside the interval of what came true."""
    outside = (reliability["predicted"] < reliability["low"]) | (reliability["predicted"] > reliability["high"])
    return int(outside.sum())


def _sets(headline: Assessment) -> list[Limitation]:
    """Label sets that break their promise, forget a class, or settle little."""
    sets, rule = headline.sets, headline.decision_rules.conformal
    if sets is None or rule is None or sets.n == 0:
        return []
    found = []
    share, promised = sets.covered / sets.n, f"Label sets promise {rule.coverage:.0%} and hold the true label in"
    # The coverage varies with the images that the rule was fitted on as well as with those it is tried on.
    error = math.sqrt(rule.coverage * (1 - rule.coverage) * (1 / _groups_of(headline) + 1 / max(rule.n, 1)))
    by_class = {name: (held / n, held, n) for name, (held, n) in sets.by_class.items() if n}
    worst = min(by_class, key=lambda name: by_class[name][0])
    listed = ", ".join(f"{held:,} of {n:,} {named(name)}" for name, (_, held, n) in by_class.items())
    if share < rule.coverage - BEYOND_CHANCE * error:
        text = (
            f"They hold it in {listed}. The promise is for images like those of "
            f"{split_name(rule.split)}, and these are unlike them. Do not rely on it here: fit the sets again on "
            "images from where the classifier is used."
        )
        found.append(Limitation("label_sets_miss", f"{promised} {share:.1%}", text, "serious"))
    elif wilson_limits(by_class[worst][0], by_class[worst][2])[1] < rule.coverage - GAP:
        text = (
            f"They hold it in {listed}. The promise is kept over all classes together, at the cost of this one, of "
            "which an image has no such promise."
        )
        found.append(
            Limitation(
                "label_sets_miss_a_class", f"{promised} {by_class[worst][0]:.1%} of {named(worst)}", text, "serious"
            )
        )
    if sets.single < sets.n / 2:
        text = (
            f"The others hold several labels ({sets.several:,}) or none ({sets.empty:,}), which both say 'I do not "
            f"know'. At a coverage of {rule.coverage:.0%} the classifier leaves most images to a person."
        )
        single = "None" if sets.single == 0 else f"Only {sets.single:,}"
        name = "names" if sets.single < 2 else "name"
        found.append(
            Limitation(
                "label_sets_undecided", f"{single} of {counted(sets.n, 'label set')} {name} one label", text, "mind"
            )
        )
    return found


def _subgroups(headline: Assessment) -> list[Limitation]:
    """Some groups fare worse than others, or are too few to say."""
    return [one for column in headline.subgroups for one in _of_column(headline, column)]


def _of_column(headline: Assessment, column: Subgroups) -> list[Limitation]:
    gaps = [gap for metric in column.compared_by if (gap := headline.gap(column, metric)) is not None]
    if not gaps:
        listed = "; ".join(f"{group.name} ({column.counts(group)})" for group in column.groups)
        behind = "independent cases" if column.is_grouped else "images"
        text = (
            f"The groups are {listed}. A rank asks for {column.least} {behind} behind each figure. Whether the "
            "classifier serves all alike is not shown."
        )
        return [
            Limitation(
                "subgroups_too_small",
                f"Too few images to compare {len(column.groups)} groups by {column.column}",
                text,
                "mind",
            )
        ]
    return [_of_gap(column, gap) for gap in gaps if gap.beyond_chance and gap.difference > GAP]


def _of_gap(column: Subgroups, gap: Gap) -> Limitation:
    """A difference between the best and the worst group that is wide, and more than chance."""
    best, worst = (
        Estimate(group.metrics.values[gap.metric], interval.low, interval.high)
        for group in (gap.best, gap.worst)
        for interval in [group.interval(gap.metric)]
    )
    title = (
        f"By {column.column}, {NAMES[gap.metric]} is {best.value:.3f} in {gap.best.name} and {worst.value:.3f} in "
        f"{gap.worst.name}"
    )
    text = (
        f"{gap.best.name} ({column.counts(gap.best)}): {best}. {gap.worst.name} ({column.counts(gap.worst)}): {worst}. "
        f"The difference is {Estimate(gap.difference, gap.low, gap.high)}. {gap.verdict()} Say so wherever the figures "
        "of all are told, and train on more images of the group that fares worse."
    )
    return Limitation("subgroup_gap", title, text, "serious")


def _threshold(headline: Assessment) -> list[Limitation]:
    if headline.table.positive is None or headline.decision_rules.threshold is not None:
        return []
    title = f"The threshold is {UNFITTED_THRESHOLD}, not fitted"
    point = headline.decision_rules.operating_point
    declined = () if point is None else point.warnings
    if declined:
        text = (
            f"{' '.join(declined)} Sensitivity and specificity are those of an accident, and another operating_point "
            "would not change that."
        )
    else:
        text = (
            "Nobody chose it: sensitivity and specificity are those of an accident. Fit one on val "
            "(operating_point=youden, or sensitivity>=0.95), never on test."
        )
    return [Limitation("unfitted_threshold", title, text, "mind")]


_TO_PREVALENCE = "shift to the stated prevalence"
_LABEL_SETS = "label sets"


def _fits(headline: Assessment) -> list[Limitation]:
    """What weakens the threshold, the calibration or the label sets."""
    calibration = headline.decision_rules.calibration
    named = {
        "threshold": headline.decision_rules.operating_point,
        "temperature" if calibration is None else calibration.name: calibration,
        _LABEL_SETS: headline.decision_rules.conformal,
    }
    if headline.deployment is not None and headline.decision_rules.prior != calibration:
        named[_TO_PREVALENCE] = headline.decision_rules.prior
    fitted = {name: part for name, part in named.items() if part is not None and part.n}
    found, twice = [], {}
    for name, part in fitted.items():
        took_part = FITTED_TWICE.get(part.split)
        weak = [line for line in part.warnings if took_part is None or took_part not in line]
        if weak:
            title = f"Weakly founded: the {name}, fitted on {_fitted_on(name, part.n)} of {split_name(part.split)}"
            found.append(Limitation("weak_fit", title, " ".join(weak), "mind"))
        if len(weak) < len(part.warnings) and name != _TO_PREVALENCE:  # named by the others
            twice[name] = part.split
    for split in dict.fromkeys(twice.values()):
        names = [name for name, of in twice.items() if of == split]
        on = _fitted_on(names[0], fitted[names[0]].n)  # the label sets come last: images, where anything counts them
        title = f"Fitted on images that were used before ({split}, {on}): {', '.join(names)}"
        found.append(Limitation("fitted_twice", title, f"{at_start(FITTED_TWICE[split])}.", "mind"))
    return found


def _fitted_on(name: str, n: int) -> str:
    """Label sets count each independent case once (`referral.ConformalSets.n`), all else counts images."""
    return counted(n, "independent case" if name == _LABEL_SETS else "image")


def _prevalence(headline: Assessment) -> list[Limitation]:
    """PPV and NPV hold for one prevalence; with images of one class alone there are none."""
    if headline.metrics.of_one_class:
        return []
    here = {name: one.value for name, one in class_shares(headline.table).items()}
    deployed = headline.deployment
    if deployed is None:
        names = list(here)
        example = "0.1" if headline.table.positive else f"'{{{names[0]}: 0.1, ...}}'"
        title = f"{_predictive_values(headline)} hold where the images are {_listed(here)}"
        text = (
            "Where a disease is rarer than here, a larger share of the positive predictions is false. State the "
            f"prevalence where it is to be used (prevalence={example}), and the report re-weights to it."
        )
        return [Limitation("prevalence_of_the_sample", title, text, "mind")]
    if all(abs(here[name] - share) <= 0.01 for name, share in deployed.prevalence.items()):
        return []
    precision, npv = deployed.precision, deployed.npv
    there = "" if precision is None or npv is None else f": {_both_values(precision, npv)} there"
    text = (
        f"The images here are {_listed(here)}, and {_predictive_values(headline)} hold for those. That sensitivity and "
        "specificity stay the same elsewhere is an assumption: cases that are rarer are often also milder."
    )
    return [
        Limitation(
            "another_prevalence",
            f"The stated prevalence is another, {_listed(deployed.prevalence)}{there}",
            text,
            "mind",
        )
    ]


def _predictive_values(headline: Assessment) -> str:
    if headline.table.positive is None:
        return "PPV and NPV of each class"
    values, why = headline.metrics.values, headline.metrics.why(("precision", "npv"))
    return _both_values(values["precision"], values["npv"]) + (f" ({why})" if why else "")


def _both_values(precision: float, npv: float) -> str:
    return f"PPV {Estimate(precision, math.nan, math.nan)} and NPV {Estimate(npv, math.nan, math.nan)}"


def _listed(shares_by_class: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.1%} {named(name)}" for name, share in shares_by_class.items())


def _groups(headline: Assessment) -> list[Limitation]:
    """Images are not patients (P17), or nobody knows; and duplicates that were kept together are no further cases."""
    table = headline.table
    n, lone = len(table), int((table.rows["group"] == "").sum())
    if n == 1:
        return []
    groups = len(np.unique(group_numbers(table.rows["group"].tolist(), n)))
    cases = _groups_of(headline)
    of_class = _cases(headline) if table.positive is not None else {}
    positive = "" if table.positive is None else f", {of_class[table.positive]:,} of them {table.positive}"
    return [*_patients(n, lone, groups, positive), *_duplicates(n, lone, groups, cases, positive)]


def _duplicates(n: int, lone: int, groups: int, cases: int, positive: str) -> list[Limitation]:
    if cases == groups:
        return []
    of = counted(n, "image")
    if groups < n:
        of += f" of {counted(groups - lone, 'group')}" + (f" and {lone:,} without" if lone else "")
    text = (
        "Among them are duplicates or near duplicates of each other, which the split kept on one side: they are no "
        f"further cases, and the intervals allow for it. Report {cases:,} independent ones{positive}."
    )
    return [Limitation("duplicates", f"{of}, but only {counted(cases, 'independent case')}", text, "mind")]


def _patients(n: int, lone: int, groups: int, positive: str) -> list[Limitation]:
    found = []
    if lone:
        title = f"Nothing says which of the {counted(n, 'image')} belong to one patient"
        each = "each is"
        if lone < n:
            title = f"Nothing says which patient {lone:,} of the {n:,} images {'is' if lone == 1 else 'are'} of"
            each = "it is" if lone == 1 else "each of them is"
        text = (
            f"Here {each} taken as of another patient. Where patients have several images, the intervals are too "
            "narrow, and images of one patient may stand in training and test alike. Name the patient by "
            "data.group_pattern, data.groups or, in a table, data.group_column; if each image is of "
            "another patient, all is well."
        )
        found.append(Limitation("unknown_patients", title, text, "mind"))
    named_groups, grouped = groups - lone, n - lone
    if named_groups < grouped:
        title = f"{counted(grouped, 'image')} of only {counted(named_groups, 'group')}"
        report = f", and of images without one, {lone:,}" if lone else positive
        text = (
            "Images of one patient or lesion resemble each other, and count for less than as many of different ones. "
            f"The intervals allow for it. Report the number of groups, {named_groups:,}{report}."
        )
        found.append(Limitation("several_images_of_a_group", title, text, "mind"))
    return found


def _groups_of(headline: Assessment) -> int:
    return len(np.unique(group_numbers(headline.table.clusters, len(headline.table))))


def _one_site(headline: Assessment, others: Sequence[Assessment]) -> list[Limitation]:
    if not headline.table.split or any(one.table.split == "external" for one in (headline, *others)):
        return []
    text = (
        "Classifiers often do worse on another hospital's devices and patients, and nothing here shows by how much. "
        "Evaluate images from elsewhere: python -m medcls.evaluate run=RUN data.root=/other/site"
    )
    return [Limitation("one_site", "No images of another site were evaluated", text, "mind")]


def _trainings(headline: Assessment, sources: Sources) -> list[Limitation]:
    """One training says nothing of the next; several mixed in one table are no one classifier."""
    if headline.table.split == OUT_OF_FOLD and sources.probe is not None:
        text = (
            "Each image is judged by regressions that had not seen it; the one in the checkpoint was fitted to all "
            "images, and should do no worse. The intervals are those of as many images judged by one classifier: "
            "between folds there is more chance than they hold, above all in small sets. The threshold is 0.5, since "
            "whatever is fitted here is fitted on these images; the checkpoint carries one for others."
        )
        folds, repeats = sources.probe["folds"], sources.probe["repeats"]
        return [Limitation("out_of_fold", f"The figures are of {folds * repeats} regressions, by folds", text, "mind")]
    if sources.probe is not None:  # no training: the same images give the same regression
        return []
    if headline.table.split == OUT_OF_FOLD:
        text = (
            "Each image was called by the network that had not seen it, and here the scores of different networks are "
            "set against each other. Read each fold's figures and their mean first. None of these networks is the one "
            "that will be used."
        )
        return [Limitation("mixed_networks", f"The figures mix {headline.table.checkpoint}", text, "mind")]
    if sources.config is None or headline.table.checkpoint == ENSEMBLE:
        return []
    folds, seed = sources.config["data"].get("folds"), sources.config.get("seed")
    of = f", of fold {sources.config['data']['fold']} of {folds}" if folds else ""
    text = (
        "Another seed gives other figures, by more than the intervals say: these are of the images alone. Train with "
        "several seeds (-m seed=0,1,2) before you call one setting better than another."
    )
    return [Limitation("one_training", f"One training, with seed {seed}{of}", text, "mind")]


def _opening(headline: Assessment) -> tuple[str, ...]:
    """The figures that open a report."""
    return opening("several" if headline.table.positive is None else "binary")
