"""Limitations of the metrics, found by rule in the assessments and in the record of the run."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import binom

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.calibration import calibration_test, mean_test
from medcls.evaluation.ensembles import ENSEMBLE
from medcls.evaluation.estimates import Estimate, estimate, pick, split_name, stated
from medcls.evaluation.folds import OUT_OF_FOLD
from medcls.evaluation.predictions import FITTED_TWICE, TOOK_PART
from medcls.evaluation.shift import SLIGHT, class_shares, differences, in_the_large, prevalence_differences, shares
from medcls.evaluation.spread import too_alike
from medcls.evaluation.subgroups import Gap, Subgroups
from medcls.plots.plots import overfitting_warning
from medcls.report.phrases import key_metrics, worse_than_chance
from medcls.report.sources import Sources
from medcls.statistics.analytic import LEVEL, holm, wilson_limits
from medcls.statistics.digits import percentage, rounded
from medcls.statistics.metric_table import NAMES
from medcls.statistics.metrics import FEW_CASES, UNFITTED_THRESHOLD
from medcls.statistics.resampling import group_numbers
from medcls.wording import at_start, counted, enumerated, named

Level = Literal["serious", "mind"]
"""Serious: the metrics may be wrong. Mind, shown as "caution": they hold for less than they seem to."""

WIDE = 0.2
"""Width above which an interval does not tell a good classifier from a poor one."""

OFF = 0.02
"""Probabilities are reported as miscalibrated if a p-value of slope, bins and mean (Holm) is below this.

Not 5%: what was fitted on few rows is slightly off, and Wilson's limits of a bin miss more often than stated.
"""

TILT = 0.2
"""A calibration slope this close to 1 is not reported."""

GAP = 0.1
"""Differences between subgroups up to this are not reported."""

BEYOND_CHANCE = 2.6
"""Standard errors below the stated coverage that label sets reach by chance once in 200 samples."""

# Audit checks that the rules below cover with the metrics themselves.
_COVERED = ("small_test", "groups")
_OF_DUPLICATES = ("exact_copies", "near_copies", "near_copies_across_splits")
LEAK = "leak_"  # prefix of the checks that count duplicates across the splits of the run


@dataclasses.dataclass(frozen=True)
class Limitation:
    """One limitation.

    Parameters
    ----------
    rule : str
        Stable identifier of the rule that found it, such as `few_cases`; for a finding of the audit, its check.
    title : str
        What was found, with its number.
    text : str
        What it means, and what to do.
    level : {"serious", "mind"}
        See `Level`.
    """

    rule: str
    title: str
    text: str
    level: Level


Rule = Callable[[Assessment, Sequence[Assessment], Sources], list[Limitation]]
"""A rule from outside medcls: from the arguments of `limitations` to what it finds."""


def limitations(
    headline: Assessment, others: Sequence[Assessment], sources: Sources, rules: Sequence[Rule] = ()
) -> list[Limitation]:
    """Find the limitations of the metrics, the serious ones first.

    Parameters
    ----------
    headline : Assessment
        The split that opens the report.
    others : sequence of Assessment
        Other splits of the same checkpoint, such as val.
    sources : Sources
        What is known about the run.
    rules : sequence of Rule
        Rules in addition to those of medcls.
    """
    found = [
        *_training_duplicates(headline, sources),
        *_leaks(headline, sources),
        *_one_answer(headline),
        *_no_test(headline),
        *_unknown_origin(sources),
        *_watermarks(sources),
        *_frozen_at_random(sources),
        *_learned_from_near_duplicates(sources),
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
        *(limitation for rule in rules for limitation in rule(headline, others, sources)),
    ]
    return sorted(found, key=lambda limitation: limitation.level != "serious")


def _leaks(headline: Assessment, sources: Sources) -> list[Limitation]:
    """Evaluated images that have a near duplicate in training."""
    split, pooled = headline.table.split.strip().casefold(), headline.table.split == OUT_OF_FOLD
    found = []
    for finding in () if sources.audit is None else sources.audit.findings:
        if not finding.check.startswith(LEAK):
            continue
        serious = finding.level == "error" and (pooled or finding.check.removeprefix(LEAK) == split)
        found.append(Limitation(finding.check, finding.title, finding.text, "serious" if serious else "mind"))
    return sorted(found, key=lambda limitation: limitation.level != "serious")


def _one_answer(headline: Assessment) -> list[Limitation]:
    reason = too_alike(headline.table)
    if reason is None:
        return []
    title = "The classifier gives nearly the same output for every image"
    text = (
        f"{reason} The metrics are those of a constant output. After few training steps, the usual cause is batch "
        "norm, whose running statistics lag behind the weights: train again with exact_batch_norm=true, or for more "
        "epochs."
    )
    return [Limitation("one_answer", title, text, "serious")]


def _no_test(headline: Assessment) -> list[Limitation]:
    """The images were used in training or selection, or may have been (P09)."""
    # Tables of other tools may spell the split differently.
    split, images = headline.table.split.strip().casefold(), counted(len(headline.table), "image")
    if split in TOOK_PART:
        title = f"These are metrics of {split} ({images}), not of a test split"
        text = f"{at_start(TOOK_PART[split])}. Expect worse results on new images. Report metrics of a test split."
        return [Limitation("no_test", title, text, "serious")]
    if not split:
        title = f"The split of these {images} is unknown"
        text = (
            "If the classifier was trained or selected on them, the metrics are too good. Name the split in a column "
            "`split`, and make sure that none of these images was used in training."
        )
        return [Limitation("unnamed_split", title, text, "serious")]
    return []


def _unknown_origin(sources: Sources) -> list[Limitation]:
    """The record of the training is missing, or parts of it."""
    records = {
        "the settings of the training": sources.config,
        "the audit of the images": sources.audit,
        "the splits": sources.splits,
        "the origin of the weights": sources.weights,
        "the training history": sources.history if sources.probe is None else sources.probe,
    }
    missing = [name for name, record in records.items() if record is None]
    if not missing:
        return []
    if sources.config is None and sources.audit is None:
        text = (
            f"Not provided: {', '.join(missing)}. Predictions alone do not show whether images of one patient are in "
            "both training and test, or whether the test images were used for selection. Ask those who trained it."
        )
        return [Limitation("unknown_origin", "It is unknown how this classifier was trained", text, "serious")]
    text = 'The sections of this report that need them read "not provided".'
    return [Limitation("incomplete_record", f"Missing from the run's record: {', '.join(missing)}", text, "mind")]


def _watermarks(sources: Sources) -> list[Limitation]:
    text = "This watermark is on every page and plot made from these images. Keep it when you show them."
    return [Limitation("watermark", watermark, text, "serious") for watermark in sources.watermarks]


def _frozen_at_random(sources: Sources) -> list[Limitation]:
    """Layers were frozen with random weights."""
    weights = sources.weights
    if weights is None or not weights.frozen_at_random:
        return []
    title = f"{len(weights.frozen_at_random):,} of {weights.tensors:,} tensors were frozen with random weights"
    text = (
        "No weights were loaded into them, and they were not trained in some or all epochs "
        "(freeze_random_weights=true). Load weights, or do not freeze them."
    )
    return [Limitation("frozen_at_random", title, text, "serious")]


def _learned_from_near_duplicates(sources: Sources) -> list[Limitation]:
    """The run behind the weights, or the teacher, learned from near duplicates, or may have."""
    weights, teacher = sources.weights, sources.teacher
    behind = [("initial weights", run["near_duplicates"]) for run in (() if weights is None else weights.learned_from)]
    behind += [] if teacher is None else [("teacher", teacher.near_duplicates)]
    found = []
    for what, near in behind:
        if near is None:
            title = f"Whether near duplicates of these images were used to train the {what} is unknown"
            text = (
                "An earlier version of medcls trained that run, and kept no perceptual hashes. None of the test images "
                "themselves was used. Train that run again to have near duplicates compared."
            )
            found.append(Limitation("near_duplicates_unknown", title, text, "mind"))
        elif near:
            title = f"{counted(near, 'val or test image')} {'has' if near == 1 else 'have'} a near duplicate among the "
            text = (
                "The metrics are too good if it was remembered. data.keep_near_copies_together=true keeps near "
                "duplicates in one split, and refuses a run that has learned from those of val or test images."
            )
            title += f"images that the {what} learned from"
            found.append(Limitation("learned_from_near_duplicates", title, text, "serious"))
    return found


def _training_duplicates(headline: Assessment, sources: Sources) -> list[Limitation]:
    if not sources.training_duplicates:
        return []
    title = (
        f"{sources.training_duplicates:,} of {counted(len(headline.table), 'image')} of the external set were used to "
        "train or select the classifier"
    )
    text = (
        "They have the same pixels as images of the run, so the set is not independent of it. Remove them from the "
        "external set and evaluate again."
    )
    return [Limitation("training_images_in_external_set", title, text, "serious")]


def _overfitting(sources: Sources) -> list[Limitation]:
    warning = None if sources.history is None else overfitting_warning(sources.history)
    if warning is None:
        return []
    title, _, text = warning.partition(". ")
    return [Limitation("overfitting", title, text, "serious")]


def _audit(sources: Sources) -> list[Limitation]:
    """Errors and warnings of the audit."""
    levels: dict[str, Level] = {"error": "serious", "warning": "mind"}
    findings = () if sources.audit is None else sources.audit.findings
    # Older runs did not count duplicates across their own splits; then the checks of the whole data set count.
    counted_in_run = any(finding.check.startswith("leak") for finding in findings)
    return [
        Limitation(finding.check, finding.title, finding.text, levels[finding.level])
        for finding in findings
        if finding.level in levels
        and finding.check not in _COVERED
        and not (counted_in_run and _is_of_duplicates(finding.check))
    ]


def _is_of_duplicates(check: str) -> bool:
    """Whether a check of the audit counts duplicates, in the whole data set or across the splits of a run."""
    return check in _OF_DUPLICATES or check.startswith(("copies_", LEAK))


def _shift(headline: Assessment, others: Sequence[Assessment], sources: Sources) -> list[Limitation]:
    """Test differs from val, or another site from test."""
    if headline.table.split in TOOK_PART:
        return []
    fitted_on = [other for other in others if other.table.split in ("val", "calibration", OUT_OF_FOLD)]
    external = [other for other in others if other.table.split == "external"]
    pairs = 1 + len(external)
    found = [_shift_between(headline, fitted_on[0], pairs)] if fitted_on else [_shift_of_classes(headline, sources)]
    found += [_shift_between(other, headline, pairs) for other in external]
    return [limitation for limitation in found if limitation is not None]


def _shift_between(assessment: Assessment, before: Assessment, pairs: int) -> Limitation | None:
    found = differences(assessment, before, pairs)
    if not found:
        return None
    here, there = split_name(assessment.table.split), split_name(before.table.split)
    text = (
        f"The differences are larger than chance explains: {'; '.join(map(str, found))}. "
        f"{_accuracies(assessment, before)} Metrics of {there} do not hold for images like these, and metrics of "
        f"{here} may not hold elsewhere. Before use, fit threshold and probabilities on images from where the "
        "classifier is used, and test it on others from there."
    )
    title = f"{at_start(here)} differs from {there}: {enumerated([one.brief() for one in found], 4)}"
    return Limitation("shift", title, text, "serious" if any(one.is_of_classifier for one in found) else "mind")


def _shift_of_classes(headline: Assessment, sources: Sources) -> Limitation | None:
    """Without predictions of val, compare the class frequencies with those of training."""
    trained = _training_shares(headline, sources)
    found = [] if trained is None else prevalence_differences(class_shares(headline.table), trained)
    if not found:
        return None
    text = (
        f"{'; '.join(map(str, found))}. Probabilities, PPV and NPV reflect the prevalence in training: state the one "
        "where the classifier is used (prevalence=...)."
    )
    title = f"{at_start(split_name(headline.table.split))} differs from train: {found[0].brief()}"
    return Limitation("shift_of_classes", title, at_start(text), "mind")


def _training_shares(headline: Assessment, sources: Sources) -> dict[str, Estimate] | None:
    if sources.splits is None or "train" not in set(sources.splits["split"]):
        return None
    row = sources.splits[sources.splits["split"] == "train"].iloc[0]
    cases = row["independent"] if "independent" in row else row["groups"]  # older runs counted groups only
    return shares({name: int(row[f"{name}: images"]) for name in class_shares(headline.table)}, int(cases))


def _accuracies(assessment: Assessment, before: Assessment) -> str:
    """Describe what the shift does to the predictions, at the fitted threshold and at 0.5."""
    here, there = split_name(assessment.table.split), split_name(before.table.split)
    accuracy = f"the accuracy on {here} is {estimate(assessment, 'accuracy')}"
    earlier = f"on {there} it is {estimate(before, 'accuracy')}."
    point = assessment.decision_rules.operating_point
    if assessment.at_half is None or point is None:
        return f"{at_start(accuracy)}; {earlier}"
    at_half = assessment.at_half.values["accuracy"]
    return (
        f"At the threshold {point.label()} {accuracy}, at a threshold of {UNFITTED_THRESHOLD} it is "
        f"{rounded(at_half)}; {earlier}"
    )


def _undefined(headline: Assessment) -> list[Limitation]:
    """A class has no image, or was never predicted."""
    missing = [name for name in key_metrics(headline) if name in headline.metrics.reasons]
    if not missing:
        return []
    title = f"Undefined: {', '.join(NAMES[name] for name in missing)}"
    text = f"{at_start(headline.metrics.why(missing))}. Evaluate images of each class."
    return [Limitation("undefined_metrics", title, text, "serious")]


def _chance(headline: Assessment) -> list[Limitation]:
    """No better than always predicting the most frequent class (P51), or than chance."""
    found = []
    accuracy, baseline = estimate(headline, "accuracy"), headline.metrics.values["majority_baseline"]
    area = estimate(headline, "auroc")
    if (notice := worse_than_chance(headline)) is not None:
        found.append(Limitation(notice.rule, notice.title, notice.text, "serious"))
    elif area.low <= UNFITTED_THRESHOLD:
        title = f"Not shown to be better than chance: AUROC {area}, where 0.5 is chance"
        text = "The ranking of the images may be due to chance. Collect more images, or try another approach."
        found.append(Limitation("no_better_than_chance", title, text, "serious"))
    if headline.metrics.of_one_class:  # the baseline is 1 by construction
        return found
    if accuracy.value <= baseline:
        title = (
            f"The accuracy, {rounded(accuracy.value)}, is not above that of always predicting the most frequent class, "
            f"{rounded(baseline)}"
        )
        text = "Use AUROC, sensitivity and specificity instead, and choose the operating point by the cost of errors."
        found.append(Limitation("accuracy_below_baseline", title, text, "serious"))
    elif accuracy.low <= baseline:
        title = f"The accuracy, {accuracy}, is not shown to be above that of always predicting one class"
        text = (
            f"Always predicting the most frequent class reaches {rounded(baseline)}, which is within the interval. Use "
            "AUROC, sensitivity and specificity instead."
        )
        found.append(Limitation("accuracy_near_baseline", title, text, "mind"))
    return found


def _more_cases(headline: Assessment) -> str:
    """Advise how to make the intervals narrower."""
    if headline.table.split == OUT_OF_FOLD:
        return "Only more images make the intervals narrower: this cross-validation already evaluates every image."
    return (
        "Cross-validation (data.folds=5) evaluates every image once and makes the intervals narrower; more images of "
        "the rarer class are better still."
    )


def _small(headline: Assessment) -> list[Limitation]:
    """Few cases of a class (P52), or wide intervals."""
    names = [name for name in key_metrics(headline) if not math.isnan(headline.metrics.values[name])]
    wide = [name for name in names if (interval := estimate(headline, name)).high - interval.low > WIDE]
    cases = {name: n for name, n in headline.table.cases_by_class().items() if n}  # `_undefined` reports absent classes
    few = [f"{named(name)} ({n})" for name, n in cases.items() if n < FEW_CASES]
    if few:
        title = f"Fewer than {FEW_CASES} cases of a class: {', '.join(few)}"
        text = (
            "Images of one group, and duplicates, count as one case. One case more or less changes a metric by up to "
            f"{100 / min(cases.values()):.0f} percentage points. Read the 95% intervals rather than the values: "
            f"{stated(headline, *names)}. {_more_cases(headline)}"
        )
        return [Limitation("few_cases", title, text, "serious")]
    if wide:
        title = f"Wide 95% intervals: {stated(headline, *wide)}"
        text = f"An interval wider than {WIDE} does not tell a good classifier from a poor one. {_more_cases(headline)}"
        return [Limitation("wide_intervals", title, text, "mind")]
    return []


def _readings(sources: Sources) -> list[Limitation]:
    """The images have been evaluated before (P53)."""
    readings = sources.readings
    if readings is None or readings.total == 1:
        return []
    title = (
        f"These images have been evaluated {readings.total:,} times, with {counted(readings.checkpoints, 'checkpoint')}"
    )
    if readings.checkpoints == 1:
        text = "This does no harm unless settings were changed because of an earlier result."
        return [Limitation("repeated_readings", title, text, "mind")]
    text = (
        f"{readings.sentence()} The best of several results on the same images is too good by chance. Confirm the "
        "checkpoint you choose on images that none of them has been evaluated on."
    )
    return [Limitation("repeated_readings", title, text, "serious")]


def _calibration(headline: Assessment) -> list[Limitation]:
    """Probabilities differ from the observed frequencies."""
    positive = headline.table.positive
    overall, missed = in_the_large(headline), _missed_bins(headline.reliability)
    bins = len(headline.reliability)
    fitted = headline.decision_rules.calibration
    share = 0.0 if fitted is None else len(headline.table) / max(fitted.n, 1)
    of_line = calibration_test(headline.table).allowing_for(share)
    of_bins = float(binom.sf(missed - 1, bins, 1 - LEVEL))
    # The test of the line shares its power between slope and intercept; a temperature leaves the mean as it is.
    of_mean = mean_test(headline.table, share if fitted is not None and fitted.intercepts else 0.0)
    off, uneven, shifted = holm(np.array([of_line, of_bins, of_mean])) < OFF
    # With more than two classes each has its own slope, and the bins are of all.
    slope = None if positive is None else pick(headline.calibration, "calibration_slope", (positive,))
    if (off and overall.is_off) or (shifted and positive is not None and abs(overall.surplus.value) > SLIGHT):
        direction = "high" if overall.surplus.value > 0 else "low"
        rule = "probabilities_off"
        title = (
            f"Probabilities are too {direction} overall: {rounded(overall.predicted)} on average, where the observed "
            f"frequency is {overall.observed}"
        )
    elif off and slope is not None and not slope.low <= 1 <= slope.high and abs(slope.value - 1) > TILT:
        rule, title = "calibration_slope", f"{_slope_words(slope, positive)}: calibration slope {slope}, ideal 1"
    elif (off or shifted) and (of_a_class := _class_off(headline)):
        rule, title = "class_probabilities_off", of_a_class
    elif uneven:
        rule = "uneven_probabilities"
        title = f"Probabilities differ from the observed frequencies in {missed} of {bins} bins"
    else:
        return []
    predictions = "predictions are correct" if positive is None else f"images are of class {named(positive)}"
    distance = pick(headline.calibration, "ici", (positive or "",))
    mean = "" if math.isnan(distance.value) else f"; on average they are off by {rounded(distance.value)} (ICI)"
    # If the AUROC's interval includes 0.5, not even the ranking is shown to be meaningful.
    ranks = estimate(headline, "auroc").low > UNFITTED_THRESHOLD
    use = "Use the probabilities to rank images, not as risks." if ranks else "Do not use the probabilities as risks."
    text = (
        f"A probability of 0.80 need not mean that 80 in 100 such {predictions}{mean}. The reliability plot shows "
        f"where. {use} If only the class frequencies differ, prevalence=... re-weights them; otherwise calibrate on "
        "images from where the classifier is used."
    )
    return [Limitation(rule, title, text, "mind")]


def _class_off(headline: Assessment) -> str | None:
    """With more than two classes, describe the one whose probabilities are furthest off overall."""
    if headline.table.positive is not None:
        return None
    predicted = dict(zip(headline.table.classes, headline.table.probabilities().mean(axis=0).tolist(), strict=True))
    observed = class_shares(headline.table)
    name = max(observed, key=lambda name: abs(predicted[name] - observed[name].value))
    if abs(predicted[name] - observed[name].value) <= SLIGHT:
        return None
    direction = "high" if predicted[name] > observed[name].value else "low"
    return (
        f"Probabilities of class {named(name)} are too {direction} overall: {rounded(predicted[name])} on average, "
        f"where the observed frequency is {observed[name]}"
    )


def _slope_words(slope: Estimate, positive: str | None) -> str:
    if slope.value <= 0:
        return f"Images with higher probabilities are not more often of class {named(str(positive))}"
    return f"Probabilities are too {'extreme' if slope.value < 1 else 'moderate'}"


def _missed_bins(reliability: pd.DataFrame) -> int:
    """Count the bins whose mean probability is outside the interval of the observed frequency."""
    outside = (reliability["predicted"] < reliability["low"]) | (reliability["predicted"] > reliability["high"])
    return int(outside.sum())


def _sets(headline: Assessment) -> list[Limitation]:
    """Label sets that miss their coverage, overall or for a class, or that rarely have one label."""
    sets, rule = headline.sets, headline.decision_rules.conformal
    if sets is None or rule is None or sets.n == 0:
        return []
    found = []
    share = sets.covered / sets.n
    title = f"Label sets should contain the true label in {percentage(rule.coverage)} of images, and do in"
    # The coverage varies with the images that the sets were fitted on as well as with those evaluated.
    error = math.sqrt(rule.coverage * (1 - rule.coverage) * (1 / _independent(headline) + 1 / max(rule.n, 1)))
    by_class = {name: (held / n, held, n) for name, (held, n) in sets.by_class.items() if n}
    worst = min(by_class, key=lambda name: by_class[name][0])
    counts = ", ".join(f"{held:,} of {n:,} for class {named(name)}" for name, (_, held, n) in by_class.items())
    if share < rule.coverage - BEYOND_CHANCE * error:
        text = (
            f"By class: {counts}. The coverage holds for images like those of {split_name(rule.split)}, and these "
            "differ. Do not rely on it here: fit the sets on images from where the classifier is used."
        )
        found.append(Limitation("label_sets_miss", f"{title} {percentage(share, 1)}", text, "serious"))
    elif wilson_limits(by_class[worst][0], by_class[worst][2])[1] < rule.coverage - GAP:
        title = f"{title} {percentage(by_class[worst][0], 1)} of those of class {named(worst)}"
        text = f"By class: {counts}. The coverage holds over all classes together, not for each class."
        found.append(Limitation("label_sets_miss_a_class", title, text, "serious"))
    if sets.single < sets.n / 2:
        number, have = f"{sets.single:,}" if sets.single else "None", "has" if sets.single < 2 else "have"
        title = f"{number} of {counted(sets.n, 'label set')} {have} exactly one label"
        text = (
            f"The others have several labels ({sets.several:,}) or none ({sets.empty:,}), which both mean that the "
            f"classifier is undecided. At a coverage of {percentage(rule.coverage)} most images need to be read "
            "by a person."
        )
        found.append(Limitation("label_sets_undecided", title, text, "mind"))
    return found


def _subgroups(headline: Assessment) -> list[Limitation]:
    """Groups with lower metrics than others, or too small to compare."""
    return [limitation for column in headline.subgroups for limitation in _of_column(headline, column)]


def _of_column(headline: Assessment, column: Subgroups) -> list[Limitation]:
    gaps = [gap for metric in column.compared_by if (gap := headline.gap(column, metric)) is not None]
    if not gaps:
        groups = "; ".join(f"{group.name} ({column.counts(group)})" for group in column.groups)
        rows = "independent cases" if column.is_grouped else "images"
        title = f"Too few images to compare {len(column.groups)} groups by {column.column}"
        text = (
            f"The groups are {groups}. A comparison needs {column.least} {rows} per metric and group. Whether the "
            "classifier works equally well for all groups is unknown."
        )
        return [Limitation("subgroups_too_small", title, text, "mind")]
    return [_of_gap(column, gap) for gap in gaps if gap.beyond_chance and gap.difference > GAP]


def _of_gap(column: Subgroups, gap: Gap) -> Limitation:
    """A difference between the best and the worst group that is wide, and more than chance."""
    best, worst = (
        Estimate(group.metrics.values[gap.metric], interval.low, interval.high)
        for group in (gap.best, gap.worst)
        for interval in [group.interval(gap.metric)]
    )
    title = (
        f"By {column.column}, {NAMES[gap.metric]} is {rounded(best.value)} in {gap.best.name} and "
        f"{rounded(worst.value)} in {gap.worst.name}"
    )
    text = (
        f"{gap.best.name} ({column.counts(gap.best)}): {best}. {gap.worst.name} ({column.counts(gap.worst)}): {worst}. "
        f"The difference is {Estimate(gap.difference, gap.low, gap.high)}. {gap.verdict()} Report it together with "
        "the overall metrics, and train on more images of the group with the lower value."
    )
    return Limitation("subgroup_gap", title, text, "serious")


def _threshold(headline: Assessment) -> list[Limitation]:
    if headline.table.positive is None or headline.decision_rules.threshold is not None:
        return []
    point = headline.decision_rules.operating_point
    declined = () if point is None else point.warnings
    meaning = "Sensitivity and specificity are those of an arbitrary threshold"
    if declined:
        text = f"{' '.join(declined)} {meaning}, and another operating_point would not change that."
    else:
        text = f"{meaning}. Fit one on val (operating_point=youden, or sensitivity>=0.95), never on test."
    return [Limitation("unfitted_threshold", f"The threshold is {UNFITTED_THRESHOLD}, not fitted", text, "mind")]


_TO_PREVALENCE = "shift to the stated prevalence"
_LABEL_SETS = "label sets"


def _fits(headline: Assessment) -> list[Limitation]:
    """What weakens the threshold, the calibration or the label sets."""
    rules = headline.decision_rules
    parts = {
        "threshold": rules.operating_point,
        "temperature" if rules.calibration is None else rules.calibration.name: rules.calibration,
        _LABEL_SETS: rules.conformal,
    }
    if headline.deployment is not None and rules.prior != rules.calibration:
        parts[_TO_PREVALENCE] = rules.prior
    fitted = {name: part for name, part in parts.items() if part is not None and part.n}
    found, twice = [], {}
    for name, part in fitted.items():
        took_part = FITTED_TWICE.get(part.split)
        warnings = [line for line in part.warnings if took_part is None or took_part not in line]
        if warnings:
            verb = "are" if name == _LABEL_SETS else "is"
            title = f"The {name} {verb} uncertain: fitted on {_rows_of(name, part.n)} of {split_name(part.split)}"
            found.append(Limitation("weak_fit", title, " ".join(warnings), "mind"))
        if len(warnings) < len(part.warnings) and name != _TO_PREVALENCE:  # named by the others
            twice[name] = part.split
    for split in dict.fromkeys(twice.values()):
        names = [name for name, fitted_on in twice.items() if fitted_on == split]
        rows = _rows_of(names[0], fitted[names[0]].n)  # the label sets come last: images, if anything counts them
        title = f"Fitted on images that were used before ({split}, {rows}): {', '.join(names)}"
        found.append(Limitation("fitted_twice", title, f"{at_start(FITTED_TWICE[split])}.", "mind"))
    return found


def _rows_of(name: str, n: int) -> str:
    """Label sets count each independent case once (`referral.ConformalSets.n`), the other parts count images."""
    return counted(n, "independent case" if name == _LABEL_SETS else "image")


def _prevalence(headline: Assessment) -> list[Limitation]:
    """PPV and NPV hold for one prevalence; with images of one class they are undefined."""
    if headline.metrics.of_one_class:
        return []
    here = {name: share.value for name, share in class_shares(headline.table).items()}
    deployed = headline.deployment
    if deployed is None:
        example = "0.1" if headline.table.positive else f"'{{{next(iter(here))}: 0.1, ...}}'"
        title = f"{_predictive_values(headline)} hold only at the prevalence here: {_percentages(here)}"
        text = (
            "Where a disease is rarer than here, more of the positive predictions are false. State the prevalence "
            f"where the classifier is used (prevalence={example}), and the report re-weights to it."
        )
        return [Limitation("prevalence_of_the_sample", title, text, "mind")]
    if all(abs(here[name] - share) <= 0.01 for name, share in deployed.prevalence.items()):
        return []
    precision, npv = deployed.precision, deployed.npv
    there = "" if precision is None or npv is None else f": {_both_values(precision, npv)} there"
    title = f"The stated prevalence differs from these images, {_percentages(deployed.prevalence)}{there}"
    text = (
        f"The images here are {_percentages(here)}, for which {_predictive_values(headline)} hold. The report assumes "
        "that sensitivity and specificity are the same elsewhere; rarer cases are often also milder."
    )
    return [Limitation("another_prevalence", title, text, "mind")]


def _predictive_values(headline: Assessment) -> str:
    if headline.table.positive is None:
        return "PPV and NPV of each class"
    values, why = headline.metrics.values, headline.metrics.why(("precision", "npv"))
    return _both_values(values["precision"], values["npv"]) + (f" ({why})" if why else "")


def _both_values(precision: float, npv: float) -> str:
    return f"PPV {Estimate(precision, math.nan, math.nan)} and NPV {Estimate(npv, math.nan, math.nan)}"


def _percentages(shares_by_class: Mapping[str, float]) -> str:
    return ", ".join(f"{percentage(share, 1)} {named(name)}" for name, share in shares_by_class.items())


def _groups(headline: Assessment) -> list[Limitation]:
    """Images are not patients (P17), or patients are unknown; duplicates kept together are no further cases."""
    table = headline.table
    n, lone = len(table), int((table.rows["group"] == "").sum())
    if n == 1:
        return []
    groups = len(np.unique(group_numbers(table.rows["group"].tolist(), n)))
    positive = ""
    if table.positive is not None:
        positive = f", {table.cases_by_class()[table.positive]:,} of them of class {named(table.positive)}"
    return [
        *_patients(n, lone, groups, positive),
        *_duplicates(n, lone, groups, _independent(headline), positive),
    ]


def _duplicates(n: int, lone: int, groups: int, cases: int, positive: str) -> list[Limitation]:
    if cases == groups:
        return []
    images = counted(n, "image")
    if groups < n:
        images += f" of {counted(groups - lone, 'group')}" + (f" and {lone:,} without" if lone else "")
    text = (
        "Some are duplicates or near duplicates of each other, which the split kept together. They are not further "
        f"cases, and the intervals account for this. Report {cases:,} independent cases{positive}."
    )
    return [Limitation("duplicates", f"{images}, but only {counted(cases, 'independent case')}", text, "mind")]


def _patients(n: int, lone: int, groups: int, positive: str) -> list[Limitation]:
    found = []
    if lone:
        title = f"The patient of {lone:,} of the {n:,} images is unknown"
        if lone == n:
            title = f"It is unknown which of the {counted(n, 'image')} belong to one patient"
        text = (
            f"{'The image counts' if lone == 1 else 'Each of them counts'} as another patient. If patients have "
            "several images, the intervals are too narrow, and images of one patient may be in both training and "
            "test. Name the patient by data.group_pattern, data.groups or, in a table, data.group_column. If each "
            "image is of another patient, there is nothing to do."
        )
        found.append(Limitation("unknown_patients", title, text, "mind"))
    named_groups, grouped = groups - lone, n - lone
    if named_groups < grouped:
        title = f"{counted(grouped, 'image')} of only {counted(named_groups, 'group')}"
        report = f", and of images without one, {lone:,}" if lone else positive
        text = (
            "Images of one patient or lesion are similar, and carry less information than images of different ones. "
            f"The intervals account for this. Report the number of groups, {named_groups:,}{report}."
        )
        found.append(Limitation("several_images_of_a_group", title, text, "mind"))
    return found


def _independent(headline: Assessment) -> int:
    """Count the independent cases."""
    return len(np.unique(group_numbers(headline.table.clusters, len(headline.table))))


def _one_site(headline: Assessment, others: Sequence[Assessment]) -> list[Limitation]:
    if not headline.table.split or any(one.table.split == "external" for one in (headline, *others)):
        return []
    text = (
        "Classifiers often perform worse on devices and patients of another hospital, and by how much is unknown "
        "here. Evaluate images from elsewhere: python -m medcls.evaluate run=RUN data.root=/other/site"
    )
    return [Limitation("one_site", "No images of another site were evaluated", text, "mind")]


def _trainings(headline: Assessment, sources: Sources) -> list[Limitation]:
    """Another training gives other metrics; a table that mixes networks is of no single classifier."""
    probe = sources.probe
    if headline.table.split == OUT_OF_FOLD and probe is not None:
        text = (
            "Each image is predicted by regressions that were not fitted on it; the one in the checkpoint was fitted "
            "on all images, and should be no worse. The intervals do not include the variation between folds, which is "
            "large in small sets. The threshold is 0.5, since anything else would be fitted on these images; the "
            "checkpoint has one for other images."
        )
        title = f"The metrics are of {probe.folds * probe.repeats} regressions, by folds"
        return [Limitation("out_of_fold", title, text, "mind")]
    if probe is not None:  # no training: the same images give the same regression
        return []
    if headline.table.split == OUT_OF_FOLD:
        title = f"The metrics mix {headline.table.checkpoint}"
        text = (
            "Each image was predicted by the network that was not trained on it, so scores of different networks are "
            "ranked together. Read the metrics of each fold and their mean first. None of these networks is the one "
            "that will be used."
        )
        return [Limitation("mixed_networks", title, text, "mind")]
    if sources.config is None or headline.table.checkpoint == ENSEMBLE:
        return []
    folds = sources.setting("data.folds")
    fold = f", fold {sources.setting('data.fold')} of {folds}" if folds else ""
    text = (
        "Another seed gives other metrics, and the intervals do not include this. Train with several seeds "
        "(-m seed=0,1,2) before you call one setting better than another."
    )
    title = f"One training, with seed {sources.setting('seed')}{fold}"
    return [Limitation("one_training", title, text, "mind")]
