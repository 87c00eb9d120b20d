"""What a run can say of itself to a reporting standard: sentences from its figures, settings and records.

Each function gives None where its source is absent, and claims nothing that the source does not show. No answer
holds a path, which may name a person or a hospital.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.ensembles import ENSEMBLE
from medcls.evaluation.estimates import pick, split_name, stated
from medcls.evaluation.folds import OUT_OF_FOLD
from medcls.evaluation.predictions import TOOK_PART
from medcls.evaluation.shift import differences
from medcls.evaluation.subgroups import MISSING, Subgroups
from medcls.report.limitations import Limitation, limitations
from medcls.report.sources import Sources
from medcls.statistics.metric_table import METRICS, NAMES, opening
from medcls.wording import at_start, counted, enumerated, named

NOT_KNOWN = "Not provided"
"""Begins what an item also asks for and no run can know."""

_RATES = tuple(metric.identifier for metric in METRICS if metric.interval == "Wilson" and "mean" in metric.scopes)


@dataclasses.dataclass(frozen=True)
class Study:
    """All that answers are made from; parameters as of `checklists.claim_2024`."""

    headline: Assessment
    others: Sequence[Assessment]
    sources: Sources
    found: Sequence[Limitation] | None = None

    @property
    def assessments(self) -> tuple[Assessment, ...]:
        """The headline first."""
        return (self.headline, *self.others)

    @property
    def split(self) -> str:
        """The headline's, as in a sentence."""
        return split_name(self.headline.table.split)

    def setting(self, dotted: str) -> Any:  # noqa: ANN401 - a configuration holds values of any shape
        """A value of `config.yaml`; None where there is none, or no configuration."""
        value: Any = self.sources.config
        for key in dotted.split("."):
            if not isinstance(value, Mapping):
                return None
            value = value.get(key)
        return value

    def finding(self, check: str) -> Mapping[str, Any] | None:
        """What the audit says to one check."""
        findings = [] if self.sources.audit is None else self.sources.audit["findings"]
        return next((one for one in findings if one["check"] == check), None)


def technology(study: Study) -> str | None:
    """Which kind of model calls what."""
    name = study.setting("model.name")
    if name is None:
        return None
    return f"Deep learning: the neural network {name} calls an image {_either(study.headline.table.classes)}."


def purpose(study: Study) -> str | None:
    """In the user's words."""
    return None if study.sources.purpose is None else f"As stated by the user: {study.sources.purpose}"


def goal(study: Study) -> str | None:
    """Development, evaluation, or both."""
    if study.sources.config is None:
        return None
    site = ", and its evaluation on images of another site" if study.headline.table.split == "external" else ""
    return (
        f"Development of a classifier, and an evaluation of its performance on {study.split}{site}. {NOT_KNOWN}: the "
        "study's hypotheses."
    )


def data_sources(study: Study) -> str | None:
    """Which set, how large, and where it was published."""
    name, audit = study.setting("data.name"), study.sources.audit
    if name is None:
        return None
    size = "" if audit is None else f", {counted(audit['data']['images'], 'image')}"
    collected = "how, where and when the images were collected"
    if study.headline.table.split == "external":
        collected += ", and those of the external set"
    return _joined(f"The image set {name}{size}.", data_sharing(study), f"{NOT_KNOWN}: {collected}.")


def eligibility(study: Study) -> str | None:
    """What the settings left out."""
    if study.sources.config is None:
        return None
    left_out = []
    if excluded := study.setting("data.exclude"):
        left_out.append(f"{counted(len(excluded), 'image')} named in the configuration")
    if study.setting("data.exclude_file"):
        left_out.append("the images listed in a file of exclusions")
    if study.setting("data.leave_out_unmapped"):
        left_out.append("classes that the label map does not name")
    if condition := study.setting("data.where"):
        left_out.append(f"rows that do not fulfil {condition}")
    if not left_out:
        return None
    return f"Left out by the settings: {'; '.join(left_out)}. {NOT_KNOWN}: how patients were chosen."


def preprocessing(study: Study) -> str | None:
    """From file to network input."""
    used = study.sources.preprocessing
    if used is None:
        return None
    height, width = used["size"]
    channels = "grey" if len(used["mean"]) == 1 else "RGB"
    window = used["window"] if isinstance(used["window"], str | None) else "{:g} to {:g}".format(*used["window"])
    bits = f"{used['bits']} bits" + (f", window {window}" if window else "")
    scaled = (
        f"scaled to {_listed(used['range'])}, less the mean {_listed(used['mean'])}, divided by the standard deviation "
        f"{_listed(used['std'])}. The same for every image."
    )
    if used.get("standardise"):  # runs of earlier versions do not say it
        scaled = "less the image's own mean, divided by its own standard deviation."
    return (
        f"Decoded to {channels} of {bits}; resized to {height} x {width} pixels "
        f"({used['resize']}, {used['interpolation']}); {scaled}"
    )


def quality_checks(study: Study) -> str | None:
    """What the audit looked for."""
    audit = study.sources.audit
    if audit is None:
        return None
    checks = ", ".join(one["check"].replace("_", " ") for one in audit["findings"])
    raised = [one["title"] for one in audit["findings"] if one["level"] in ("error", "warning")]
    said = "; ".join(raised) if raised else "no error and no warning"
    return f"The images were audited for {checks}. Found: {said}."


def preparation(study: Study) -> str | None:
    """Preprocessing and quality checks together."""
    return _joined(preprocessing(study), quality_checks(study))


def subsets(study: Study) -> str | None:
    """Which part of the images was used."""
    share = study.setting("data.train_fraction")
    if share is None:
        return None
    parts = [] if share == 1 else [f"A share of {share:g} of the training images was used."]
    if (limited := study.sources.images_an_epoch()) is not None:
        parts.append(
            f"Each epoch drew {limited[0]:,} of the {limited[1]:,} images in training (trainer.limit_train_batches)."
        )
    return " ".join(parts) or "All training images were used."


def deidentification(study: Study) -> str | None:
    """Only what medcls itself does."""
    if not study.setting("data.dicom_patients"):
        return None
    return f"Patient ids of DICOM files are kept as salted hashes alone. {NOT_KNOWN}: what was done before."


def missing_data(study: Study) -> str | None:
    """Images that cannot be read; values that columns lack."""
    audit = study.sources.audit
    if audit is None:
        return None
    unreadable = audit["data"]["unreadable"]
    images = (
        "Every image could be read; one that cannot would have stopped the run."
        if unreadable == 0
        else f"{counted(unreadable, 'image')} could not be read."
    )
    absent = [
        f"{one.column} is not known of {counted(group.n, 'image')} of {study.split}, which are a group of their own"
        for one in study.headline.subgroups
        for group in one.groups
        if group.name == MISSING
    ]
    columns = f" {at_start('; '.join(absent))}." if absent else ""
    return f"{images} The label of each image is known.{columns} No value was imputed."


def partitions(study: Study) -> str | None:
    """How many images in which part, and how they came there."""
    if study.sources.splits is None or study.sources.config is None:
        return None
    given = [one.table.split for one in study.assessments if _came_with_the_data(one)]
    if study.setting("data.pool_splits"):
        how = "The splits that came with the data were pooled and cut anew at random"
    elif study.setting("data.locked_test"):
        how = "What was test in a former run is test again; the rest was cut at random"
    elif given:
        how = f"Came with the data as splits: {', '.join(given)}; what did not was cut at random"
    else:
        how = "Cut at random"
    folds = study.setting("data.folds")
    of_folds = f" These are the parts of fold {study.setting('data.fold')} (from 0) of {folds}." if folds else ""
    if (probe := study.sources.probe) is not None:
        of_folds, how = (
            f" Train is judged in {probe['folds']} folds.",
            f"{how if given else 'Folds were cut at random'}",
        )
    known = _groups_known(study)
    sizes = "; ".join(_size(part, groups=known) for part in _parts(study)) + ("" if known else "; patients not known")
    return (
        f"{at_start(sizes)}.{of_folds} {how}, stratified by class, whole groups at a time where groups are known, with "
        f"seed {study.setting('seed')}."
    )


def disjointness(study: Study) -> str | None:
    """Between which units the cut runs."""
    finding = study.finding("groups")
    if finding is None or study.sources.splits is None:
        return None
    pixels = "No picture stands both among the images that train and those that select or test (compared by its pixels)"
    leaked = [one["title"] for one in (study.sources.audit or {})["findings"] if one["check"].startswith("leak_")]
    pixels += f". But {'; '.join(leaked)}" if leaked else ""
    groups = finding["values"].get("groups")
    if groups is None:
        return f"Image level: nothing says which images belong to one patient. {pixels}."
    alone = finding["values"].get("images_without_group", 0)
    stray = f"; {counted(alone, 'image')} without a group stand for themselves" if alone else ""
    return f"Group level (patient, lesion or exam): none of {groups:,} groups is parted{stray}. {pixels}."


def architecture(study: Study) -> str | None:
    """Network, input, output and size."""
    name, summary = study.setting("model.name"), study.sources.model
    if name is None:
        return None
    size = "" if summary is None else f" {_model_size(summary)}"
    head = study.setting("model.head")
    new_head = " The published head is replaced." if head else ""
    classes = len(study.headline.table.classes)
    return f"The network {name} with {classes} classes.{new_head}{size} Layer by layer in model.txt of the run folder."


def software(study: Study) -> str | None:
    """Versions, and the machine."""
    environment = study.sources.environment
    if environment is None:
        return None
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    return f"Python {environment['python']}, {packages}; {environment['platform']}; {environment['device']}."


def initialisation(study: Study) -> str | None:
    """Where each tensor came from."""
    weights = study.sources.weights
    if weights is None:
        return None
    frozen = weights.get("frozen_at_random")
    kept = f" {len(frozen):,} of these were frozen at random." if frozen else ""
    if weights["source"] is None:
        seed = study.setting("seed")
        return f"At random: all {weights['tensors']:,} tensors{'' if seed is None else f' (seed {seed})'}.{kept}"
    of_library = set(weights["source"].split(", ")) == {"default"}
    origin = "the weights published for this network" if of_library else "a file of weights"
    # Runs of earlier versions wrote down neither.
    stated = [weights.get("origin"), f"licence {weights['licence']}" if weights.get("licence") else None]
    origin += f" ({', '.join(filter(None, stated))})" if any(stated) else ""
    checked = f", SHA-256 {weights['sha256']}" if weights["sha256"] else ""
    afresh = ", ".join(f"{reason} ({len(names)})" for reason, names in weights["reinitialised"].items())
    rest = f" At random: {afresh}." if afresh else ""
    return f"{weights['loaded']:,} of {weights['tensors']:,} tensors from {origin}{checked}.{rest}{kept}"


def training(study: Study) -> str | None:
    """Loss, optimizer, schedule, augmentation."""
    if study.sources.config is None:
        return None
    if study.sources.probe is not None:
        return f"{study.sources.probe['said']['method']} No weight of the network is trained. Augmentation: none."
    average = study.setting("ema")
    parts = [
        f"Loss {_target(study.setting('loss'))}",
        f"optimizer {_target(study.setting('optimizer'))}",
        f"learning-rate schedule {_target(study.setting('scheduler'))}",
        f"{counted(study.setting('trainer.max_epochs'), 'epoch')} at most",
        f"batches of {study.setting('data.batch_size')}",
        f"precision {study.setting('trainer.precision')}",
        f"seed {study.setting('seed')}",
        *([f"moving average of the weights with decay {average:g}"] if average else []),
    ]
    changed = {k: v for k, v in (study.setting("data.augmentation") or {}).items() if k != "_target_" and v}
    augmented = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in changed.items()) or "none"
    return f"{', '.join(parts)}. Augmentation: {augmented}.{_phases(study)}"


def selection(study: Study) -> str | None:
    """By what the checkpoint was chosen."""
    monitor = study.setting("monitor")
    if study.sources.probe is not None:
        return f"No checkpoint was chosen among several. {study.sources.probe['said']['penalty']}"
    if monitor is None:
        return None
    best = "" if study.sources.best_epoch is None else f": epoch {study.sources.best_epoch} (counted from 0)"
    stop = study.setting("early_stopping")
    stopping = f" Training stops after {counted(stop, 'epoch')} without a better one." if stop else ""
    extreme = "highest" if study.setting("monitor_mode") == "max" else "lowest"
    return f"The checkpoint with the {extreme} {monitor}{best}.{stopping}"


def ensembling(study: Study) -> str | None:
    """One network, or several."""
    if study.sources.config is None:
        return None
    table = study.headline.table
    if table.checkpoint == ENSEMBLE:
        return f"The mean of the probabilities of the networks of {study.setting('data.folds')} folds."
    if table.split == OUT_OF_FOLD and study.sources.probe is not None:
        repeats = study.sources.probe["repeats"]
        several = f"by the mean logits of {repeats} regressions" if repeats > 1 else "by a regression"
        return f"None in the checkpoint; out of fold each image is called {several} that had not seen it."
    if table.split == OUT_OF_FOLD:
        return f"None: each image is called by the one of {table.checkpoint} that had not seen it."
    return "None: one network."


def model_and_training(study: Study) -> str | None:
    """Type of model, its building, and its internal validation."""
    return _joined(architecture(study), initialisation(study), training(study), selection(study))


def metrics(study: Study) -> str | None:
    """Which measures and figures."""
    found = ", ".join(name.replace("_", " ") for name in study.headline.metrics.values if name != "n")
    decision = ", decision curve" if study.headline.decisions is not None else ""
    return (
        f"{at_start(found)}; calibration slope and intercept, and the distance of the probabilities from a smoothed "
        f"calibration curve (ICI, E50, E90). Confusion matrix, ROC, precision-recall, calibration curve, "
        f"rejection{decision} as figures."
    )


def uncertainty(study: Study) -> str | None:
    """How intervals were found."""
    methods = sorted(set(study.headline.intervals["method"]) - {"none"})
    gaps = any(gap.gaps for gap in study.headline.gaps)
    corrected = " Gaps between subgroups: p-values corrected for all pairs and all gaps (Holm)." if gaps else ""
    return (
        f"95% intervals, each with its method: {', '.join(methods)}. Calibration by a test; distances from a curve, "
        f"which no chance brings below 0, have no interval.{corrected}"
    )


def robustness(study: Study) -> str | None:
    """Subgroups of any kind."""
    columns = [one.column for one in study.headline.subgroups]
    if not columns:
        return None
    return f"Every metric by {enumerated(columns)}, with n and interval."


CLUSTERS = ("site", "centre", "center", "hospital", "clinic", "institution", "institute", "country", "region", "city")
"""Words in the name of a column that tells where images come from, and not of whom."""


def clusters(study: Study) -> str | None:
    """How differences between places were looked for: by columns that name places, or on another site's images."""
    places = [one.column for one in study.headline.subgroups if _is_place(one.column)]
    said = []
    if places:
        said.append(f"Every metric by {enumerated(places)}, with n and interval; gaps are tested.")
    if any(one.table.split == "external" for one in study.assessments) and len(study.assessments) > 1:
        said.append("Another site's images are evaluated beside the run's own.")
    if not said:
        return None
    return f"{' '.join(said)} {NOT_KNOWN}: whether the training allowed for clusters; medcls's does not."


def fairness(study: Study) -> str | None:
    """Whether groups of people were held side by side."""
    people = [one.column for one in study.headline.subgroups if not _is_place(one.column)]
    if not people:
        return None
    return (
        f"Performance is held side by side by {enumerated(people)}, and gaps are tested. The training knows no groups "
        f"of people and treats none apart. {NOT_KNOWN}: why these columns, and what follows from the gaps."
    )


def _is_place(column: str) -> bool:
    words = re.split(r"[^a-z]+", column.casefold())
    return any(word.removesuffix("s") in CLUSTERS or word in CLUSTERS for word in words)


def gaps_between_places(study: Study) -> str | None:
    """What differs between places."""
    return _gaps(study, [one for one in study.headline.subgroups if _is_place(one.column)])


def _gaps(study: Study, columns: Sequence[Subgroups]) -> str | None:
    said = []
    for one in columns:
        metric = one.compared_by[0] if one.split.binary else "balanced_accuracy"
        said.append(one.say_gap(metric, study.headline.gap(one, metric)).replace(metric, NAMES[metric], 1))
    return " ".join(at_start(one) for one in said) or None


def internal_testing(study: Study) -> str | None:
    """What kind of images the headline is of."""
    table = study.headline.table
    if study.sources.config is None or table.split == "external":
        return None
    role = TOOK_PART.get(table.split)
    what = f"no internal test: {role}" if role else "an internal test, of the same image set as training"
    return f"{at_start(table.caption().split(';')[0])}: {what}.{_read(study)}"


def external_testing(study: Study) -> str | None:
    """Another site's images."""
    external = next((one for one in study.assessments if one.table.split == "external"), None)
    if external is not None:
        copies = study.sources.training_duplicates
        known = f" {counted(copies, 'image')} of it are among the run's own." if copies else ""
        return f"{at_start(external.table.caption())}: {_performance(external)}.{known} Nothing was fitted to it."
    return None if study.sources.config is None else "None is part of this report."


def numbers(study: Study) -> str | None:
    """How many images there were, and are in each part."""
    audit = study.sources.audit
    if audit is None:
        return None
    data, excluded = audit["data"], study.setting("data.exclude") or ()
    finding = study.finding("groups")
    values = {} if finding is None else finding["values"]
    groups, lone = values.get("groups"), values.get("images_without_group", 0)
    stray = f" and {counted(lone, 'image')} without one" if lone else ""
    of_groups = f" of {groups:,} groups{stray}" if groups else "; patients not known"
    left_out = f"; {counted(len(excluded), 'image')} left out by name" if excluded else ""
    parts = "; ".join(_size(part, groups=bool(groups)) for part in data["splits"])
    return (
        f"{counted(data['images'], 'image')}{of_groups}, {data['unreadable']} unreadable{left_out}. In parts: {parts}."
    )


def characteristics(study: Study) -> str | None:
    """Classes by part, and what columns of the table tell."""
    classes = distribution(study)
    told_by = [
        f"By {one.column} ({study.split}): {', '.join(f'{group.name} {group.n:,}' for group in one.groups)}."
        for one in study.headline.subgroups
    ]
    return classes and _joined(classes, *told_by, f"{NOT_KNOWN}: other characteristics of the patients.")


def performance(study: Study) -> str | None:
    """The figures of every split."""
    return " ".join(
        f"{at_start(one.table.caption())}: {_performance(one)}{_calibration(one)}." for one in study.assessments
    )


def _calibration(one: Assessment) -> str:
    """Slope and mean distance; with more than two classes the distance alone."""
    said, distance = "", pick(one.calibration, "ici", (one.table.positive or "",)).value
    if one.table.positive is not None:
        said = f", calibration slope {pick(one.calibration, 'calibration_slope', (one.table.positive,))}"
    return said if math.isnan(distance) else f"{said}, ICI {distance:.3f}"


def performance_by_subgroup(study: Study) -> str | None:
    """The same, and the widest gap between groups of each column."""
    return _joined(performance(study), _gaps(study, study.headline.subgroups))


def accuracy_estimates(study: Study) -> str | None:
    """At the operating point, with intervals."""
    one = study.headline
    point = one.decision_rules.operating_point
    where = "" if point is None else f" at the threshold {point.label()}"
    return f"On {study.split}{where}: {stated(one, *_RATES)}; {stated(one, 'auroc', 'average_precision')}."


def failures(study: Study) -> str | None:
    """Which class is taken for which."""
    confusion, classes = study.headline.metrics.confusion, study.headline.table.classes
    wrong = [
        (int(confusion[i, k]), f"{int(confusion[i, k]):,} {named(classes[i])} called {named(classes[k])}")
        for i in range(len(classes))
        for k in range(len(classes))
        if i != k and confusion[i, k]
    ]
    total, n = sum(count for count, _ in wrong), int(confusion.sum())
    listed = enumerated([text for _, text in sorted(wrong, reverse=True)], 6)
    shown = "" if study.sources.picture is None else " The most confident errors are shown as pictures."
    return f"{total:,} of {n:,} images of {study.split} are called wrongly{': ' * bool(wrong)}{listed}.{shown}"


def found_limitations(study: Study) -> str | None:
    """Those that a machine can find."""
    found = study.found if study.found is not None else limitations(study.headline, study.others, study.sources)
    if not found:
        return None
    return f"Found by machine: {'; '.join(one.title for one in found)}. {NOT_KNOWN}: those that only people see."


def technical_details(study: Study) -> str | None:
    """What the run folder holds."""
    if study.sources.config is None:
        return None
    return (
        "Every setting stands in config.yaml of the run folder, with the table of images and splits, every prediction, "
        f"and the environment. {NOT_KNOWN}: a study protocol."
    )


def availability(study: Study) -> str | None:
    """Of the software and the data."""
    return _joined(code_sharing(study), data_sharing(study))


def code_sharing(study: Study) -> str | None:
    """Medcls is free; what else was used, only people know."""
    environment = study.sources.environment
    if environment is None:
        return None
    return (
        f"Made with medcls {environment['packages']['medcls']}, free software (Apache 2.0). {NOT_KNOWN}: where the "
        "trained model and further code can be had."
    )


def data_sharing(study: Study) -> str | None:
    """Where the images were published."""
    page, licence = study.setting("data.published.page"), study.setting("data.published.licence")
    return f"Published at {page}{f' ({licence})' if licence else ''}." if page else None


def predictors(study: Study) -> str | None:
    """What the network sees."""
    if study.sources.config is None:
        return None
    return "The pixels of one image, and nothing else: no column of the table reaches the network."


def updating(study: Study) -> str | None:
    """Whether anything was changed because of the evaluation."""
    decision_rules = study.headline.decision_rules
    said = []
    if decision_rules.calibration is not None:
        where = split_name(decision_rules.calibration.split)
        said.append(f"{decision_rules.calibration.label()}, fitted on {where}")
    if decision_rules.operating_point is not None and decision_rules.operating_point.is_fitted:
        said.append(f"threshold {decision_rules.operating_point.label()}")
    if not said:
        return None
    fitted_on = {
        part.split for part in (decision_rules.calibration, decision_rules.operating_point) if part is not None
    }
    itself = "" if study.headline.table.split in fitted_on else f" Nothing was fitted to {study.split}."
    return f"{at_start('; '.join(said))}.{itself}"


def updated_performance(study: Study) -> str | None:
    """What the calibration changed, on the images it was fitted on."""
    calibration = study.headline.decision_rules.calibration
    if calibration is None:
        return None
    return (
        f"{at_start(calibration.label())}: log loss on {split_name(calibration.split)} "
        f"{calibration.before:.3f} before, {calibration.after:.3f} after."
    )


def calculation(study: Study) -> str | None:
    """From image to probability."""
    table, calibration = study.headline.table, study.headline.decision_rules.calibration
    if (
        study.sources.config is None
        or table.split == OUT_OF_FOLD
        or not (table.has_logits or table.checkpoint == ENSEMBLE)
    ):
        return None
    divided = ""
    if calibration is not None:
        plain = f" divided by the temperature {calibration.temperature:.3f}"
        divided = f", after {calibration.label()}" if calibration.intercepts else plain
    if table.checkpoint == ENSEMBLE:
        return "By medcls: the mean over the networks of the softmax of their logits."
    return f"By medcls, with the weights {table.checkpoint}: the softmax of the network's logits{divided}."


def imbalance(study: Study) -> str | None:
    """Class weights and sampling."""
    if study.sources.config is None:
        return None
    if study.sources.probe is not None:
        return _joined("Logistic regression without class weights.", updated_performance(study))
    weights, sampler = study.setting("loss.class_weights"), study.setting("data.sampler")
    if isinstance(weights, Mapping):
        weights = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
    used = [f"class weights of the loss: {weights}"] if weights else []
    used += ["each class drawn equally often in training"] if sampler == "balanced" else []
    said = "; ".join(used) or "Neither class weights nor balanced sampling"
    return _joined(f"{at_start(said)}; loss {_target(study.setting('loss'))}.", updated_performance(study))


def output(study: Study) -> str | None:
    """Probabilities, calls, and the threshold's origin."""
    table, point = study.headline.table, study.headline.decision_rules.operating_point
    if table.positive is None or point is None:
        return f"A probability of each of {len(table.classes)} classes; the most probable is called."
    return f"A probability of {named(table.positive)}; from the threshold {point.label()} on an image is called so."


def training_and_evaluation(study: Study) -> str | None:
    """What differs between the images that chose and those that judge."""
    before = next((one for one in study.others if one.table.split in ("val", "calibration")), None)
    if before is None or study.headline.table.split in TOOK_PART:
        return None
    found = differences(study.headline, before)
    there = before.table.split
    if not found:
        return f"Between {study.split} and {there} no difference beyond chance in class shares or in performance."
    return f"{at_start(study.split)} against {there}: {'; '.join(map(str, found))}."


def distribution(study: Study) -> str | None:
    """Classes in development and evaluation."""
    if study.sources.splits is None:
        return None
    classes = study.headline.table.classes
    listed = [
        f"{part['split']}: "
        + ", ".join(f"{named(name)} {part[f'{name}: images']:,} ({part[f'{name}: share']:.1%})" for name in classes)
        for part in _parts(study)
    ]
    return f"{at_start('; '.join(listed))}."


def specification(study: Study) -> str | None:
    """Where the whole model stands."""
    table = study.headline.table
    if study.sources.config is None or table.split == OUT_OF_FOLD or table.checkpoint == ENSEMBLE:
        return None
    return (
        f"The file checkpoints/best.ckpt of the run folder (weights {table.checkpoint}) holds the network's weights, "
        f"the classes, and the preprocessing. {NOT_KNOWN}: conditions of its use."
    )


def _performance(one: Assessment) -> str:
    if one.table.positive is None:
        return stated(one, *opening("several"))
    return stated(one, *opening("binary"), "accuracy")


def _read(study: Study) -> str:
    return "" if study.sources.readings is None else f" {study.sources.readings.sentence()}"


def _parts(study: Study) -> list[dict[str, Any]]:
    """The rows of `splits.csv`; empty where it is absent."""
    splits = study.sources.splits
    return (
        [] if splits is None else [{str(key): value for key, value in row.items()} for row in splits.to_dict("records")]
    )


def _came_with_the_data(one: Assessment) -> bool:
    rows = one.table.rows
    return "given_split" in rows and bool((rows["given_split"] == one.table.split).all())


def _groups_known(study: Study) -> bool:
    """Whether anything says which images belong to one patient; without it each stands for a group of its own."""
    finding = study.finding("groups")
    known = bool((study.headline.table.rows["group"] != "").any())
    return known if finding is None else bool(finding["values"].get("groups"))


def _size(part: Mapping[str, Any], *, groups: bool) -> str:
    lone = part.get("without_group", 0)  # not counted in older runs
    stray = f" and {lone:,} without one" if lone else ""
    of_groups = f" of {counted(part['groups'] - lone, 'group')}{stray}" if groups else ""
    return f"{part['split']} {counted(part['images'], 'image')}{of_groups}"


def _model_size(summary: str) -> str:
    """The lines under the table of `model.txt` that count."""
    counts = [" ".join(line.split()) for line in summary.splitlines() if line.startswith(("parameters", "multiply"))]
    of_input = [line.partition(" on an input of ")[2] for line in summary.splitlines() if " on an input of " in line]
    shown = f"Input {of_input[0]}; " if of_input else ""
    return f"{shown}{', '.join(counts)}." if counts else ""


def _target(part: Mapping[str, Any] | None) -> str:
    """`AdamW (lr 0.001, weight_decay 0.01)` of what a configuration builds."""
    if part is None:
        return "unknown"
    name = str(part["_target_"]).rpartition(".")[2]
    settings = [f"{key} {value}" for key, value in part.items() if not key.startswith("_") and value is not None]
    return f"{name} ({', '.join(settings)})" if settings else name


def _phases(study: Study) -> str:
    phases = study.sources.phases
    if not phases or len(phases) == 1:
        return ""
    return " Phases: " + "; ".join(f"{name}, epochs {start} to {end - 1}" for name, start, end in phases) + "."


def _either(classes: Sequence[str]) -> str:
    names = [named(name) for name in classes]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _joined(*parts: str | None) -> str | None:
    return " ".join(part for part in parts if part) or None
