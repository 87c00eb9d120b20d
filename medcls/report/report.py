"""The report: one HTML file, and a model card in Markdown, made from tables without a model or images."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medcls import __version__
from medcls.evaluation.assessment import Assessment
from medcls.evaluation.calibration import COLDEST, HOTTEST
from medcls.evaluation.decision_curve import say_benefit
from medcls.evaluation.estimates import split_name
from medcls.evaluation.predictions import TOOK_PART, check_one_checkpoint
from medcls.plots.heat_maps import colour_scale
from medcls.report import metric_tables as tables
from medcls.report import run_sections
from medcls.report.anonymous import anonymous_names
from medcls.report.checklists import Item
from medcls.report.example_images import Example, examples
from medcls.report.limitations import Limitation
from medcls.report.pages.layout import day_and_time, environment, markdown_environment
from medcls.report.pages.names import Names
from medcls.report.pages.plots import embedded
from medcls.report.phrases import (
    Notice,
    estimates_of,
    isolated,
    key_metrics,
    meaning,
    missed_target,
    operating_point,
    plain_words,
    threshold_shown,
    unsure_target,
    worse_than_chance,
)
from medcls.report.sources import Drawn, Sources
from medcls.statistics.digits import rounded
from medcls.wording import at_start, counted

SECTIONS = (
    ("plots", "Plots"),
    ("results", "Results"),
    ("calibration", "Calibration"),
    ("uncertain", "Uncertain images"),
    ("subgroups", "Subgroups"),
    ("splits", "Other splits"),
    ("folds", "Cross-validation"),
    ("images", "Example images"),
    ("data", "Data"),
    ("training", "Training"),
    ("limitations", "Limitations"),
    ("checklists", "Reporting standards"),
    ("readings", "Earlier evaluations"),
)

_TEMPLATES = Path(__file__).parent
_ALL_NAMED = Names({})


@dataclasses.dataclass(frozen=True)
class Key:
    """One of the key metrics at the top of the report."""

    title: str
    estimate: str
    interval: str
    note: str


@dataclasses.dataclass(frozen=True)
class Content:
    """What a report is made of.

    Parameters
    ----------
    headline : Assessment
        The split that opens the report.
    others : sequence of Assessment
        Other splits of the same checkpoint: val, or for an external set the run's own test.
    sources : Sources
        What is known about the run; what is None reads "not provided".
    plots : sequence of Drawn
        Shown even if `images` is false: leave out those that show images.
    limitations : sequence of Limitation
    checklists : sequence of Item
    patients : Assessment, optional
        The headline with one row for each patient or exam.
    folds : DataFrame, optional
        As returned by `folds.over_folds`.
    """

    headline: Assessment
    others: Sequence[Assessment]
    sources: Sources
    plots: Sequence[Drawn]
    limitations: Sequence[Limitation]
    checklists: Sequence[Item]
    patients: Assessment | None = None
    folds: pd.DataFrame | None = None


def report(content: Content, *, images: bool = True, paths: bool = True) -> tuple[str, str]:
    """Write a report as HTML, and a model card in Markdown.

    Parameters
    ----------
    content : Content
    images, paths : bool
        Whether to include images, and the names of files, folders and groups.

    Returns
    -------
    page, card : str
        Whole documents.

    Raises
    ------
    MedclsError
        The assessments are of different checkpoints.
    """
    headline, others, sources = content.headline, content.others, content.sources
    patients = [] if content.patients is None else [content.patients]
    checkpoint = check_one_checkpoint(*(one.table for one in (headline, *others, *patients)))
    names = _ALL_NAMED if paths else anonymous_names([one.table for one in (headline, *others)], sources)
    limitations = [
        dataclasses.replace(one, title=names.within(one.title), text=names.within(one.text))
        for one in content.limitations
    ]
    errors, uncertain = examples(headline, sources, names, images=images)
    values = {
        "version": __version__,
        "made": day_and_time(sources.made),
        "checkpoint": checkpoint,
        "command": sources.command if paths else None,
        "paths": paths,
        "watermarks": [names.within(watermark) for watermark in sources.watermarks],
        "name": names.within(sources.name),
        "purpose": names.within(sources.purpose or _purpose(headline)),
        "generated": sources.purpose is None,
        "evaluated_on": _evaluated_on(headline),
        "notices": notices(headline),
        "positive": headline.table.positive,
        "keys": keys(headline),
        "point": operating_point(headline),
        "plain_words": plain_words(headline),
        "serious": [one for one in limitations if one.level == "serious"],
        "contents": SECTIONS,
        "metrics": tables.metrics_sheet(headline),
        "calibration": tables.calibration_sheet(headline),
        "calibrated_by": _calibration(headline),
        "other_splits": tables.splits_metrics_sheet([headline, *others]) if others else None,
        "captions": [one.table.caption() for one in (headline, *others)],
        "plots": [
            embedded(drawn.svg, drawn.name, names.within(drawn.title), names.within(drawn.text))
            for drawn in content.plots
        ],
        "errors": errors,
        "uncertain": uncertain,
        "no_images": _why_no_images(sources, images),
        **_heat_maps(errors),
        "limitations": limitations,
        **_of_folds(content.folds, headline),
        **_of_run(content, names, paths=paths),
    }
    sections = metric_sections(headline, content.patients, names)
    page = environment(_TEMPLATES).get_template("report.html.jinja").render(values, metric_sections=sections)
    card = markdown_environment(_TEMPLATES).get_template("report.md.jinja").render(values)
    return page, card


def _of_folds(folds: pd.DataFrame | None, headline: Assessment) -> dict[str, Any]:
    """Template values about a cross-validation."""
    one_fold = "" if folds is None else ", of one fold"
    thresholds = None
    if folds is not None and headline.table.positive is not None:
        thresholds = (
            "This table uses the threshold of each fold; the rest of the report uses one for all, "
            f"{threshold_shown(headline)}."
        )
    return {
        "folds": None if folds is None else tables.folds_sheet(folds, headline),
        "fold_thresholds": thresholds,
        "splits_label": f"Images by class and split{one_fold}",
    }


def _of_run(content: Content, names: Names, *, paths: bool) -> dict[str, Any]:
    """Template values about the run."""
    sources = content.sources
    return {
        "probe": None if sources.probe is None else sources.probe.statements,
        "probe_table": run_sections.probe_table(sources),
        "splits": run_sections.splits(content.headline, sources),
        "training_duplicates": run_sections.training_duplicates(sources),
        "findings": run_sections.findings(sources, paths),
        "training": run_sections.training(sources, paths),
        "phases": run_sections.phases(sources, names),
        "model": sources.model,
        "settings": run_sections.settings(sources) if paths else None,
        "checklists": run_sections.checklists(content.checklists, names),
        "readings": None if sources.readings is None else names.within(sources.readings.sentence()),
    }


def metric_sections(headline: Assessment, patients: Assessment | None = None, names: Names = _ALL_NAMED) -> str:
    """Return the HTML of all that follows from the predictions: the same bytes wherever they were read from.

    Parameters
    ----------
    headline, patients
        As in `Content`.
    names : Names
        Replaces the names of groups, if there are subgroups by group.
    """
    rule = headline.decision_rules.conformal
    template = environment(_TEMPLATES).get_template("report_metrics.html.jinja")
    return template.render(
        caption=at_start(headline.table.caption()),
        point=operating_point(headline),
        few=headline.metrics.few_cases_note(headline.table.classes),
        needed=None if headline.cases_needed is None else headline.cases_needed.sentence(),
        positive=headline.table.positive,
        metrics=tables.metrics_sheet(headline),
        at_half=tables.at_half_sheet(headline),
        at_threshold="" if headline.metrics.threshold is None else f" at {_threshold(headline)}",
        confusion=tables.confusion_sheet(headline),
        classes=tables.classes_sheet(headline) if headline.metrics.per_class else None,
        patients=None if patients is None else tables.patients_sheet(headline, patients),
        patients_point=None if patients is None else f"{_patients(headline, patients)} {operating_point(patients)}",
        predictive=tables.predictive_values_sheet(headline),
        calibrated_by=_calibration(headline),
        calibration=tables.calibration_sheet(headline),
        reliability=tables.reliability_sheet(headline.reliability),
        decisions=None if headline.decisions is None else tables.decisions_sheet(headline.decisions, headline.benefit),
        benefit="" if headline.benefit is None else say_benefit(headline.benefit),
        sets=tables.sets_sheet(headline),
        sets_origin=""
        if rule is None
        else f"fitted on {split_name(rule.split)}, {counted(rule.n, 'independent case')}",
        rejection=tables.rejection_sheet(headline),
        subgroups=[
            {
                "column": one.column,
                "sheet": tables.subgroups_sheet(one, headline, names),
                "gaps": [names.within(gap) for gap in tables.gaps(one, headline)],
            }
            for one in headline.subgroups
        ],
        warnings=headline.decision_rules.warnings,
    )


def keys(assessment: Assessment) -> list[Key]:
    """Return the key metrics."""
    estimates = estimates_of(assessment)
    found = []
    for metric in key_metrics(assessment):
        estimate, explained = estimates[metric], meaning(metric, assessment)
        notes = [at_start(estimate.note) + "." if math.isnan(estimate.value) else explained.text]
        if metric == "accuracy" and not assessment.metrics.of_one_class:
            baseline = estimates["majority_baseline"].estimate
            notes.append(f"Always predicting the most frequent class reaches {baseline}.")
        found.append(Key(explained.title, estimate.estimate, estimate.interval, " ".join(notes)))
    return found


def notices(assessment: Assessment) -> list[Notice]:
    """Return the warnings above the metrics of a split."""
    checks = (worse_than_chance, missed_target, unsure_target)
    found = [notice for check in checks if (notice := check(assessment)) is not None]
    if (role := TOOK_PART.get(assessment.table.split)) is not None:
        found.append(Notice("no_test", "Not a test", f"These are metrics of {assessment.table.split}: {role}."))
    if (note := assessment.metrics.majority_note()) is not None:
        found.append(Notice("majority_baseline", "No better than always predicting one class", note))
    return found


def _patients(images: Assessment, patients: Assessment) -> str:
    """Describe how many patients or exams there are, and of which classes."""
    counts = zip(patients.table.classes, patients.metrics.confusion.sum(axis=1).tolist(), strict=True)
    by_class = ", ".join(f"{count:,} {isolated(name)}" for name, count in counts)
    rows, positive = images.table.rows, patients.table.positive
    labels = rows[rows["group"] != ""].groupby("group")["label"].nunique()
    mixed = int((labels > 1).sum())
    sentence = f"{len(patients.table):,} patients or exams ({by_class})."
    if not mixed or positive is None:
        return sentence
    have = "has images of both classes and counts" if mixed == 1 else "have images of both classes and count"
    return f"{sentence} {mixed:,} of them {have} as class {isolated(positive)}."


def _threshold(assessment: Assessment) -> str:
    fitted = "" if assessment.metrics.threshold_fitted else " (default, not fitted)"
    return f"a threshold of {threshold_shown(assessment)}{fitted}"


def _purpose(assessment: Assessment) -> str:
    """Describe the purpose by the class names."""
    classes = [isolated(name) for name in assessment.table.classes]
    if assessment.table.positive is not None:
        positive = isolated(assessment.table.positive)
        (other,) = (name for name in classes if name != positive)
        return f"To distinguish images of class {positive} from images of class {other}."
    return f"To distinguish images of the classes {', '.join(classes[:-1])} and {classes[-1]}."


def _evaluated_on(assessment: Assessment) -> str:
    """Describe the images of the metrics."""
    table = assessment.table
    sentence = f"Evaluated on {split_name(table.split)}{table.caption().removeprefix(table.split or 'unnamed split')}."
    if (table.rows["group"] == "").all():
        return sentence
    return f"{sentence} A group is all images of one patient, lesion or exam."


def _calibration(assessment: Assessment) -> str:
    fitted = assessment.decision_rules.calibration
    if fitted is None:
        return "No calibration was fitted."
    how = f"All logits are divided by the temperature {rounded(fitted.temperature)}"
    if fitted.intercepts:
        how = at_start(fitted.label())
    sentence = (
        f"{how}, fitted on {split_name(fitted.split)} (n = {fitted.n:,}): log loss {rounded(fitted.before)} "
        f"before and {rounded(fitted.after)} after."
    )
    if not fitted.is_at_its_bound:
        return sentence
    return (
        f"{sentence} This is the end of the search range ({COLDEST:g} to {HOTTEST:g}), so the probabilities are not "
        "calibrated: the logits hardly differ between these images, or have an unusual scale."
    )


def _heat_maps(errors: Sequence[Example]) -> dict[str, Any]:
    """Template values about the heat maps of the errors."""
    shown = [one.heat_map for one in errors if one.heat_map is not None]
    if not shown:
        return {"heat_maps": False, "no_heat_maps": "Heat maps: not provided."}
    if all(one.source is None for one in shown):  # the same reason for each, if the network has none
        return {"heat_maps": False, "no_heat_maps": f"Heat maps: not provided. {shown[0].reason}"}
    colours = (f"rgb({', '.join(map(str, colour))})" for colour in colour_scale(16, 1)[0].tolist())
    return {"heat_maps": True, "colour_scale": ", ".join(colours)}


def _why_no_images(sources: Sources, images: bool) -> str:
    if not images:
        return "Images are left out (report.images=false)."
    return "" if sources.thumbnail is not None else "Images: not provided."
