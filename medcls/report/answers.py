"""Answers to the items of reporting standards: sentences from the metrics, settings and records of a run.

Each function returns None if its source is absent, and claims nothing that the source does not show. No answer
contains a path, which may name a person or a hospital.
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
from medcls.report.limitations import LEAK, Limitation, limitations
from medcls.report.phrases import key_metrics, learned_from
from medcls.report.sources import Sources
from medcls.runs.records import AuditFinding
from medcls.statistics.digits import rounded
from medcls.statistics.metric_table import METRICS, NAMES
from medcls.wording import at_start, counted, enumerated, named

NOT_KNOWN = "Not provided"
"""Introduces what an item also asks for and no run can know."""

_RATES = tuple(metric.identifier for metric in METRICS if metric.interval == "Wilson" and "mean" in metric.scopes)


@dataclasses.dataclass(frozen=True)
class Study:
    """What answers are made from; parameters as in `checklists.claim_2024`."""

    headline: Assessment
    others: Sequence[Assessment]
    sources: Sources
    found: Sequence[Limitation] | None = None

    @property
    def assessments(self) -> tuple[Assessment, ...]:
        """All splits, the headline first."""
        return (self.headline, *self.others)

    @property
    def split(self) -> str:
        """Name of the headline's split, for a sentence."""
        return split_name(self.headline.table.split)

    def setting(self, name: str) -> Any:  # noqa: ANN401 - settings have any type
        """Return a setting by its dotted name; None if it is unknown."""
        return self.sources.setting(name)

    def finding(self, check: str) -> AuditFinding | None:
        """Return the audit's finding of a check."""
        return None if self.sources.audit is None else self.sources.audit.finding(check)


def technology(study: Study) -> str | None:
    """Kind of model, and its classes."""
    name = study.setting("model.name")
    if name is None:
        return None
    return f"Deep learning: the neural network {name} classifies an image as {_either(study.headline.table.classes)}."


def purpose(study: Study) -> str | None:
    """Purpose, in the user's words."""
    return None if study.sources.purpose is None else f"As stated by the user: {study.sources.purpose}"


def goal(study: Study) -> str | None:
    """Development, evaluation, or both."""
    if study.sources.config is None:
        return None
    site = ", and its evaluation on images of another site" if study.headline.table.split == "external" else ""
    return f"Development of a classifier and evaluation on {study.split}{site}. {NOT_KNOWN}: the study's hypotheses."


def data_sources(study: Study) -> str | None:
    """Name, size and publication of the image set."""
    name, audit = study.setting("data.name"), study.sources.audit
    if name is None:
        return None
    size = "" if audit is None else f", {counted(audit.images, 'image')}"
    collected = "how, where and when the images were collected"
    if study.headline.table.split == "external":
        collected += ", including those of the external set"
    return _joined(f"The image set {name}{size}.", data_sharing(study), f"{NOT_KNOWN}: {collected}.")


def eligibility(study: Study) -> str | None:
    """Images excluded by settings."""
    if study.sources.config is None:
        return None
    excluded = []
    if names := study.setting("data.exclude"):
        excluded.append(f"{counted(len(names), 'image')} listed in the configuration")
    if study.setting("data.exclude_file"):
        excluded.append("the images listed in a file of exclusions")
    if study.setting("data.leave_out_unmapped"):
        excluded.append("classes that are not in the label map")
    if condition := study.setting("data.where"):
        excluded.append(f"rows that do not satisfy {condition}")
    if not excluded:
        return None
    return f"Excluded by settings: {'; '.join(excluded)}. {NOT_KNOWN}: how patients were selected."


def preprocessing(study: Study) -> str | None:
    """From file to network input."""
    used = study.sources.preprocessing
    if used is None:
        return None
    height, width = used["size"]
    channels = "greyscale" if len(used["mean"]) == 1 else "RGB"
    window = used["window"] if isinstance(used["window"], str | None) else "{:g} to {:g}".format(*used["window"])
    bits = f"{used['bits']} bits" + (f", window {window}" if window else "")
    normalised = (
        f"scaled to {_listed(used['range'])}; normalised with mean {_listed(used['mean'])} and standard deviation "
        f"{_listed(used['std'])}, the same for every image"
    )
    if used.get("standardise"):  # not in runs of earlier versions
        normalised = "normalised with the mean and the standard deviation of each image"
    return (
        f"Decoded as {channels} with {bits}; resized to {height} x {width} pixels "
        f"({used['resize']}, {used['interpolation']}); {normalised}."
    )


def quality_checks(study: Study) -> str | None:
    """Checks of the audit."""
    audit = study.sources.audit
    if audit is None:
        return None
    checks = ", ".join(finding.check.replace("_", " ") for finding in audit.findings)
    raised = "; ".join(finding.title for finding in audit.findings if finding.level in ("error", "warning"))
    return f"The images were audited for {checks}. Found: {raised or 'no error and no warning'}."


def preparation(study: Study) -> str | None:
    """Preprocessing and quality checks."""
    return _joined(preprocessing(study), quality_checks(study))


def subsets(study: Study) -> str | None:
    """Share of the training images that was used."""
    share = study.setting("data.train_fraction")
    if share is None:
        return None
    parts = [] if share == 1 else [f"A fraction of {share:g} of the training images was used."]
    if (limited := study.sources.images_per_epoch()) is not None:
        parts.append(f"Each epoch used {limited[0]:,} of the {limited[1]:,} images (trainer.limit_train_batches).")
    return " ".join(parts) or "All training images were used."


def deidentification(study: Study) -> str | None:
    """De-identification by medcls itself."""
    if not study.setting("data.dicom_patients"):
        return None
    return f"Patient ids of DICOM files are stored as salted hashes only. {NOT_KNOWN}: earlier de-identification."


def missing_data(study: Study) -> str | None:
    """Unreadable images, and missing values of columns."""
    audit = study.sources.audit
    if audit is None:
        return None
    images = "All images could be read; an unreadable one would have stopped the run."
    if audit.unreadable:
        images = f"{counted(audit.unreadable, 'image')} could not be read."
    absent = [
        f"{column.column} is missing for {counted(group.n, 'image')} of {study.split}, which form a group of their own"
        for column in study.headline.subgroups
        for group in column.groups
        if group.name == MISSING
    ]
    columns = f" {at_start('; '.join(absent))}." if absent else ""
    return f"{images} The label of each image is known.{columns} No value was imputed."


def partitions(study: Study) -> str | None:
    """Size of each split, and how it was made."""
    if study.sources.splits is None or study.sources.config is None:
        return None
    given = [one.table.split for one in study.assessments if _came_with_the_data(one)]
    if study.setting("data.pool_splits"):
        how = "The splits that came with the data were pooled and split again at random"
    elif study.setting("data.locked_test"):
        how = "The test split is that of an earlier run; the rest was split at random"
    elif given:
        how = f"These splits came with the data: {', '.join(given)}; the others were made at random"
    else:
        how = "Split at random"
    folds = study.setting("data.folds")
    fold = f" These are the splits of fold {study.setting('data.fold')} (from 0) of {folds}." if folds else ""
    if (probe := study.sources.probe) is not None:
        fold = f" Train is evaluated in {probe.folds} folds."
        how = how if given else "Folds were made at random"
    known = _groups_known(study)
    sizes = "; ".join(_size(part, groups=known) for part in _splits(study)) + ("" if known else "; patients not known")
    return (
        f"{at_start(sizes)}.{fold} {how}, stratified by class, groups kept together where they are known, with seed "
        f"{study.setting('seed')}."
    )


def disjointness(study: Study) -> str | None:
    """Level at which the splits are disjoint."""
    finding, audit = study.finding("groups"), study.sources.audit
    if finding is None or audit is None or study.sources.splits is None:
        return None
    leaks = "; ".join(one.title for one in audit.findings if one.check.startswith(LEAK))
    pixels = "No image (by its pixels) is in training and also in a split used for selection or testing"
    pixels += f". However, {leaks}." if leaks else "."
    groups = finding.values.get("groups")
    if groups is None:
        return f"Image level: it is unknown which images belong to one patient. {pixels}"
    lone = finding.values.get("images_without_group", 0)
    without = f"; {counted(lone, 'image')} without a group count as a group each" if lone else ""
    return f"Group level (patient, lesion or exam): none of {groups:,} groups is in two splits{without}. {pixels}"


def architecture(study: Study) -> str | None:
    """Network, input, output and size."""
    name, summary = study.setting("model.name"), study.sources.model
    if name is None:
        return None
    size = "" if summary is None else f" {_model_size(summary)}"
    new_head = " The published head is replaced." if study.setting("model.head") else ""
    classes = len(study.headline.table.classes)
    return f"The network {name} with {classes} classes.{new_head}{size} All layers are listed in model.txt of the run."


def software(study: Study) -> str | None:
    """Versions, and the machine."""
    environment = study.sources.environment
    if environment is None:
        return None
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    return f"Python {environment.python}, {packages}; {environment.platform}; {environment.device}."


def initialisation(study: Study) -> str | None:
    """Initial values of the weights."""
    weights = study.sources.weights
    if weights is None:
        return None
    frozen = f" {len(weights.frozen_at_random):,} of these were frozen." if weights.frozen_at_random else ""
    if weights.source is None:
        seed = study.setting("seed")
        return f"At random: all {weights.tensors:,} tensors{'' if seed is None else f' (seed {seed})'}.{frozen}"
    published = set(weights.source.split(", ")) == {"default"}
    origin = (
        "the weights published for this network"
        if published
        else "a file of weights, whose training images are not recorded"
    )
    runs = [learned_from(run["name"], run["images"], run["near_duplicates"]) for run in weights.learned_from]
    origin = "; and from ".join(runs) or origin
    details = [weights.origin, f"licence {weights.licence}" if weights.licence else None]
    origin += f" ({', '.join(filter(None, details))})" if any(details) else ""
    checked = f", SHA-256 {weights.sha256}" if weights.sha256 else ""
    random = ", ".join(f"{reason} ({len(names)})" for reason, names in weights.reinitialised.items())
    rest = f" At random: {random}." if random else ""
    return f"{weights.loaded:,} of {weights.tensors:,} tensors from {origin}{checked}.{rest}{frozen}"


def training(study: Study) -> str | None:
    """Loss, optimizer, schedule, augmentation."""
    if study.sources.config is None:
        return None
    if study.sources.probe is not None:
        return f"{study.sources.probe.statements['method']} No weight of the network is trained. Augmentation: none."
    average = study.setting("ema")
    teacher = study.sources.teacher
    taught = "" if teacher is None else (
        f" On the training images it was also taught ({_target(study.setting('distillation'))}) by "
        f"{learned_from(teacher.name, teacher.images, teacher.near_duplicates)}."
    )  # fmt: skip
    parts = [
        f"Loss {_target(study.setting('loss'))}",
        f"optimizer {_target(study.setting('optimizer'))}",
        f"learning-rate schedule {_target(study.setting('scheduler'))}",
        f"at most {counted(study.setting('trainer.max_epochs'), 'epoch')}",
        f"batch size {study.setting('data.batch_size')}",
        f"precision {study.setting('trainer.precision')}",
        f"seed {study.setting('seed')}",
        *([f"moving average of the weights with decay {average:g}"] if average else []),
    ]
    active = {k: v for k, v in (study.setting("data.augmentation") or {}).items() if k != "_target_" and v}
    augmentation = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in active.items()) or "none"
    return f"{', '.join(parts)}. Augmentation: {augmentation}.{_phases(study)}{taught}"


def selection(study: Study) -> str | None:
    """How the checkpoint was selected."""
    monitor = study.setting("monitor")
    if study.sources.probe is not None:
        return f"There is one checkpoint. {study.sources.probe.statements['penalty']}"
    if monitor is None:
        return None
    best = "" if study.sources.best_epoch is None else f": epoch {study.sources.best_epoch} (counted from 0)"
    patience = study.setting("early_stopping")
    stopping = f" Training stops after {counted(patience, 'epoch')} without improvement." if patience else ""
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
        repeats = study.sources.probe.repeats
        models = f"the mean logits of {repeats} regressions" if repeats > 1 else "a regression"
        return f"None in the checkpoint; out of fold each image is predicted by {models} not fitted on it."
    if table.split == OUT_OF_FOLD:
        return f"None: each image is predicted by the one of {table.checkpoint} that was not trained on it."
    return "None: one network."


def model_and_training(study: Study) -> str | None:
    """Type of model, training, and internal validation."""
    return _joined(architecture(study), initialisation(study), training(study), selection(study))


def metrics(study: Study) -> str | None:
    """Metrics and plots."""
    names = ", ".join(name.replace("_", " ") for name in study.headline.metrics.values if name != "n")
    decision = ", decision curve" if study.headline.decisions is not None else ""
    return (
        f"{at_start(names)}; calibration slope and intercept, and the distance of the probabilities from a smoothed "
        "calibration curve (ICI, E50, E90). Plots: confusion matrix, ROC curve, precision-recall curve, calibration "
        f"curve, referral curve{decision}."
    )


def uncertainty(study: Study) -> str | None:
    """Methods of intervals and tests."""
    methods = sorted(set(study.headline.intervals["method"]) - {"none"})
    gaps = any(gap.gaps for gap in study.headline.gaps)
    corrected = " Gaps between subgroups: p-values corrected for all pairs and all gaps (Holm)." if gaps else ""
    return (
        f"95% intervals, each with its method: {', '.join(methods)}. Calibration is tested; distances from the "
        f"calibration curve have no interval, since they are never negative.{corrected}"
    )


def robustness(study: Study) -> str | None:
    """Subgroups of any kind."""
    columns = [one.column for one in study.headline.subgroups]
    return f"Every metric by {enumerated(columns)}, with n and interval." if columns else None


CLUSTERS = ("site", "centre", "center", "hospital", "clinic", "institution", "institute", "country", "region", "city")
"""Words in the name of a column that stands for the origin of images, not for people."""


def clusters(study: Study) -> str | None:
    """How heterogeneity between places was examined: by columns that name places, or on images of another site."""
    places = [one.column for one in study.headline.subgroups if _is_place(one.column)]
    parts = []
    if places:
        parts.append(f"Every metric by {enumerated(places)}, with n and interval; gaps are tested.")
    if any(one.table.split == "external" for one in study.assessments) and len(study.assessments) > 1:
        parts.append("Images of another site are evaluated as well.")
    if not parts:
        return None
    return f"{' '.join(parts)} medcls does not model clusters in training. {NOT_KNOWN}: other ways of handling them."


def fairness(study: Study) -> str | None:
    """Whether groups of people were compared."""
    people = [one.column for one in study.headline.subgroups if not _is_place(one.column)]
    if not people:
        return None
    return (
        f"Performance is compared by {enumerated(people)}, and gaps are tested. Training does not use these columns. "
        f"{NOT_KNOWN}: why these columns, and what follows from the gaps."
    )


def _is_place(column: str) -> bool:
    words = re.split(r"[^a-z]+", column.casefold())
    return any(word.removesuffix("s") in CLUSTERS or word in CLUSTERS for word in words)


def gaps_between_places(study: Study) -> str | None:
    """Gaps between places."""
    return _gaps(study, [one for one in study.headline.subgroups if _is_place(one.column)])


def _gaps(study: Study, columns: Sequence[Subgroups]) -> str | None:
    sentences = []
    for column in columns:
        metric = column.compared_by[0] if column.split.binary else "balanced_accuracy"
        sentence = column.say_gap(metric, study.headline.gap(column, metric)).replace(metric, NAMES[metric], 1)
        sentences.append(at_start(sentence))
    return " ".join(sentences) or None


def internal_testing(study: Study) -> str | None:
    """Whether the headline is an internal test."""
    table, readings = study.headline.table, study.sources.readings
    if study.sources.config is None or table.split == "external":
        return None
    role = TOOK_PART.get(table.split)
    kind = f"no internal test: {role}" if role else "an internal test, on images of the same set as training"
    evaluated = "" if readings is None else f" {readings.sentence()}"
    return f"{at_start(table.caption().split(';')[0])}: {kind}.{evaluated}"


def external_testing(study: Study) -> str | None:
    """Performance on images of another site."""
    external = next((one for one in study.assessments if one.table.split == "external"), None)
    if external is not None:
        duplicates = study.sources.training_duplicates
        shared = f" {counted(duplicates, 'image')} of it are also in the run." if duplicates else ""
        return f"{at_start(external.table.caption())}: {_performance(external)}.{shared} Nothing was fitted to it."
    return None if study.sources.config is None else "None is part of this report."


def numbers(study: Study) -> str | None:
    """Number of images, in total and by split."""
    audit, excluded = study.sources.audit, study.setting("data.exclude") or ()
    if audit is None:
        return None
    finding = study.finding("groups")
    values = {} if finding is None else finding.values
    groups, lone = values.get("groups"), values.get("images_without_group", 0)
    without = f" and {counted(lone, 'image')} without one" if lone else ""
    of_groups = f" of {groups:,} groups{without}" if groups else "; patients not known"
    left_out = f"; {counted(len(excluded), 'image')} excluded by name" if excluded else ""
    parts = "; ".join(_size(part, groups=bool(groups)) for part in audit.splits)
    return f"{counted(audit.images, 'image')}{of_groups}, {audit.unreadable} unreadable{left_out}. By split: {parts}."


def characteristics(study: Study) -> str | None:
    """Classes by split, and columns of the table."""
    classes = distribution(study)
    columns = [
        f"By {column.column} ({study.split}): {', '.join(f'{group.name} {group.n:,}' for group in column.groups)}."
        for column in study.headline.subgroups
    ]
    return classes and _joined(classes, *columns, f"{NOT_KNOWN}: other characteristics of the patients.")


def performance(study: Study) -> str | None:
    """Key metrics of every split."""
    return " ".join(
        f"{at_start(one.table.caption())}: {_performance(one)}{_calibration(one)}." for one in study.assessments
    )


def _calibration(one: Assessment) -> str:
    """Slope and mean distance; with more than two classes the distance only."""
    slope, distance = "", pick(one.calibration, "ici", (one.table.positive or "",)).value
    if one.table.positive is not None:
        slope = f", calibration slope {pick(one.calibration, 'calibration_slope', (one.table.positive,))}"
    return slope if math.isnan(distance) else f"{slope}, ICI {rounded(distance)}"


def performance_by_subgroup(study: Study) -> str | None:
    """Key metrics, and the widest gap between the groups of each column."""
    return _joined(performance(study), _gaps(study, study.headline.subgroups))


def accuracy_estimates(study: Study) -> str | None:
    """Metrics at the operating point, with intervals."""
    headline = study.headline
    point = headline.decision_rules.operating_point
    where = "" if point is None else f" at the threshold {point.label()}"
    return f"On {study.split}{where}: {stated(headline, *_RATES)}; {stated(headline, 'auroc', 'average_precision')}."


def failures(study: Study) -> str | None:
    """Which classes are confused."""
    confusion, classes = study.headline.metrics.confusion, study.headline.table.classes
    errors = [
        (int(confusion[i, k]), f"{int(confusion[i, k]):,} {named(classes[i])} predicted as {named(classes[k])}")
        for i in range(len(classes))
        for k in range(len(classes))
        if i != k and confusion[i, k]
    ]
    total, n = sum(count for count, _ in errors), int(confusion.sum())
    listed = enumerated([text for _, text in sorted(errors, reverse=True)], 6)
    shown = "" if study.sources.thumbnail is None else " The report shows the most confident errors."
    return f"{total:,} of {n:,} images of {study.split} are misclassified{': ' * bool(errors)}{listed}.{shown}"


def found_limitations(study: Study) -> str | None:
    """Limitations found by rule."""
    found = study.found if study.found is not None else limitations(study.headline, study.others, study.sources)
    if not found:
        return None
    return f"Found automatically: {'; '.join(one.title for one in found)}. {NOT_KNOWN}: limitations of other kinds."


def technical_details(study: Study) -> str | None:
    """Content of the run folder."""
    if study.sources.config is None:
        return None
    return (
        "The run folder has every setting (config.yaml), the table of images and splits, every prediction, and the "
        f"software environment. {NOT_KNOWN}: a study protocol."
    )


def availability(study: Study) -> str | None:
    """Availability of software and data."""
    return _joined(code_sharing(study), data_sharing(study))


def code_sharing(study: Study) -> str | None:
    """Availability of medcls."""
    environment = study.sources.environment
    if environment is None:
        return None
    return (
        f"Made with medcls {environment.packages['medcls']}, free software (Apache 2.0). {NOT_KNOWN}: where the "
        "trained model and further code are available."
    )


def data_sharing(study: Study) -> str | None:
    """Where the images were published."""
    page, licence = study.setting("data.published.page"), study.setting("data.published.licence")
    return f"Published at {page}{f' ({licence})' if licence else ''}." if page else None


def predictors(study: Study) -> str | None:
    """Input of the network."""
    if study.sources.config is None:
        return None
    return "The pixels of one image only; no column of the table is an input of the network."


def updating(study: Study) -> str | None:
    """Calibration and threshold, and what they were fitted on."""
    rules = study.headline.decision_rules
    parts = []
    if rules.calibration is not None:
        parts.append(f"{rules.calibration.label()}, fitted on {split_name(rules.calibration.split)}")
    if rules.operating_point is not None and rules.operating_point.is_fitted:
        parts.append(f"threshold {rules.operating_point.label()}")
    if not parts:
        return None
    fitted_on = {part.split for part in (rules.calibration, rules.operating_point) if part is not None}
    itself = "" if study.headline.table.split in fitted_on else f" Nothing was fitted to {study.split}."
    return f"{at_start('; '.join(parts))}.{itself}"


def updated_performance(study: Study) -> str | None:
    """What the calibration changed on the images it was fitted on."""
    calibration = study.headline.decision_rules.calibration
    if calibration is None:
        return None
    return (
        f"{at_start(calibration.label())}: log loss on {split_name(calibration.split)} "
        f"{rounded(calibration.before)} before, {rounded(calibration.after)} after."
    )


def calculation(study: Study) -> str | None:
    """From image to probability."""
    table, calibration = study.headline.table, study.headline.decision_rules.calibration
    ensemble = table.checkpoint == ENSEMBLE
    if study.sources.config is None or table.split == OUT_OF_FOLD or not (table.has_logits or ensemble):
        return None
    if ensemble:
        return "By medcls: the mean over the networks of the softmax of their logits."
    scaled = ""
    if calibration is not None:
        temperature = f" divided by the temperature {rounded(calibration.temperature)}"
        scaled = f", after {calibration.label()}" if calibration.intercepts else temperature
    return f"By medcls, with the weights {table.checkpoint}: the softmax of the network's logits{scaled}."


def imbalance(study: Study) -> str | None:
    """Class weights and sampling."""
    if study.sources.config is None:
        return None
    if study.sources.probe is not None:
        return _joined("Logistic regression without class weights.", updated_performance(study))
    weights = study.setting("loss.class_weights")
    if isinstance(weights, Mapping):
        weights = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
    used = [f"class weights of the loss: {weights}"] if weights else []
    if study.setting("data.sampler") == "balanced":
        used.append("classes sampled equally often in training")
    handled = at_start("; ".join(used)) or "Neither class weights nor balanced sampling"
    return _joined(f"{handled}; loss {_target(study.setting('loss'))}.", updated_performance(study))


def output(study: Study) -> str | None:
    """Probabilities, predictions, and the threshold's origin."""
    table, point = study.headline.table, study.headline.decision_rules.operating_point
    if table.positive is None or point is None:
        return f"A probability for each of {len(table.classes)} classes; the most probable class is predicted."
    positive = named(table.positive)
    return f"The probability of class {positive}, which is predicted from the threshold {point.label()} on."


def training_and_evaluation(study: Study) -> str | None:
    """Differences between the images used for selection and those used for testing."""
    before = next((one for one in study.others if one.table.split in ("val", "calibration")), None)
    if before is None or study.headline.table.split in TOOK_PART:
        return None
    found = differences(study.headline, before)
    there = before.table.split
    if not found:
        return f"Between {study.split} and {there} no difference beyond chance in class frequencies or performance."
    return f"{at_start(study.split)} against {there}: {'; '.join(map(str, found))}."


def distribution(study: Study) -> str | None:
    """Classes by split."""
    if study.sources.splits is None:
        return None
    classes = study.headline.table.classes
    splits = [
        f"{part['split']}: "
        + ", ".join(f"{named(name)} {part[f'{name}: images']:,} ({part[f'{name}: share']:.1%})" for name in classes)
        for part in _splits(study)
    ]
    return f"{at_start('; '.join(splits))}."


def specification(study: Study) -> str | None:
    """Where the trained model is."""
    table = study.headline.table
    if study.sources.config is None or table.split == OUT_OF_FOLD or table.checkpoint == ENSEMBLE:
        return None
    return (
        f"The file checkpoints/best.ckpt of the run folder (weights {table.checkpoint}) has the network's weights, "
        f"the classes, and the preprocessing. {NOT_KNOWN}: conditions of its use."
    )


def _performance(one: Assessment) -> str:
    return stated(one, *dict.fromkeys((*key_metrics(one), "accuracy")))


def _splits(study: Study) -> list[dict[str, Any]]:
    """The rows of `splits.csv`; empty if it is absent."""
    splits = study.sources.splits
    return [] if splits is None else [{str(name): row[name] for name in row} for row in splits.to_dict("records")]


def _came_with_the_data(one: Assessment) -> bool:
    rows = one.table.rows
    return "given_split" in rows and bool((rows["given_split"] == one.table.split).all())


def _groups_known(study: Study) -> bool:
    """Whether it is known which images belong to one patient; otherwise each is a group."""
    finding = study.finding("groups")
    if finding is None:
        return bool((study.headline.table.rows["group"] != "").any())
    return bool(finding.values.get("groups"))


def _size(part: Mapping[str, Any], *, groups: bool) -> str:
    lone = part.get("without_group", 0)  # older runs did not count them
    without = f" and {lone:,} without one" if lone else ""
    of_groups = f" of {counted(part['groups'] - lone, 'group')}{without}" if groups else ""
    return f"{part['split']} {counted(part['images'], 'image')}{of_groups}"


def _model_size(summary: str) -> str:
    """The counts at the end of `model.txt`."""
    lines = summary.splitlines()
    counts = [" ".join(line.split()) for line in lines if line.startswith(("parameters", "multiply"))]
    inputs = [line.partition(" on an input of ")[2] for line in lines if " on an input of " in line]
    size = f"Input {inputs[0]}; " if inputs else ""
    return f"{size}{', '.join(counts)}." if counts else ""


def _target(part: Mapping[str, Any] | None) -> str:
    """`AdamW (lr 0.001, weight_decay 0.01)` from a configuration with `_target_`."""
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
    *first, last = (named(name) for name in classes)
    return f"{', '.join(first)} or {last}"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _joined(*parts: str | None) -> str | None:
    return " ".join(part for part in parts if part) or None
