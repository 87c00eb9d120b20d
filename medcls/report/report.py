"""One file that tells everything of a classifier, and a model card beside it: from tables, with no model or image."""

import base64
import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medcls import __version__
from medcls.evaluation.assessment import Assessment
from medcls.evaluation.calibration import COLDEST, HOTTEST
from medcls.evaluation.decision_curve import say_benefit
from medcls.evaluation.predictions import KEPT_TOGETHER, TOOK_PART, Predictions, check_one_checkpoint
from medcls.report.checklists import Item
from medcls.report.limitations import Limitation
from medcls.report.metric_tables import (
    at_half_sheet,
    beside_sheet,
    calibration_sheet,
    classes_sheet,
    confusion_sheet,
    decisions_sheet,
    folds_sheet,
    gaps,
    metrics_sheet,
    predictive_values_sheet,
    rejection_sheet,
    reliability_sheet,
    sets_sheet,
    subgroups_sheet,
    units_sheet,
)
from medcls.report.pages.layout import day_and_time, environment, markdown_environment
from medcls.report.pages.names import Names
from medcls.report.pages.parts import Cell, Sheet, Thumbnail, figures_sheet, splits_sheet
from medcls.report.phrases import (
    Notice,
    estimates_of,
    formatted,
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
from medcls.statistics.digits import of_probabilities
from medcls.statistics.metrics import UNFITTED_THRESHOLD, predicted_classes
from medcls.wording import counted

LOOKED_AT = 8
"""How many errors, and how many uncertain images, are shown."""

PATH = re.compile(r"""(?:~|[A-Za-z]:)?[/\\][^\s,;:'"()]+ | [^\s,;:'"()=]+\.[A-Za-z]\w{2,3}(?![\w.=])""", re.VERBOSE)
"""What in a text has the form of a path: an absolute one, or the name of a file."""

WIDE = 1.6
"""From this ratio of width to height on, a figure has a line of the page to itself."""

SECTIONS = (
    ("figures", "Figures"),
    ("results", "Results"),
    ("calibration", "Calibration"),
    ("unsure", "“I don’t know”"),
    ("subgroups", "Subgroups"),
    ("beside", "Other splits"),
    ("folds", "Cross-validation"),
    ("images", "Images to look at"),
    ("data", "Data sheet"),
    ("training", "Training"),
    ("limitations", "Limitations"),
    ("checklists", "Reporting standards"),
    ("readings", "Evaluations so far"),
)

_TEMPLATES = Path(__file__).parent
_ALL_NAMED = Names({})

# Columns whose values name patients or files.
NAMING = ("group", "path", KEPT_TOGETHER)


@dataclasses.dataclass(frozen=True)
class Key:
    """One of the figures that open the report."""

    title: str
    estimate: str
    interval: str
    note: str


@dataclasses.dataclass(frozen=True)
class Plate:
    """A figure in the page: its picture as a data address, and its size in pixels (0 where the file does not say)."""

    name: str
    title: str
    text: str
    source: str
    width: int
    height: int

    @property
    def wide(self) -> bool:
        """Whether it needs a line of the page to itself."""
        return self.width > WIDE * self.height


@dataclasses.dataclass(frozen=True)
class Shown:
    """An image of the predictions: what it is called, and what it was called and is."""

    name: str
    picture: Thumbnail
    caption: str


@dataclasses.dataclass(frozen=True)
class Checklist:
    """The items of one reporting standard, and how many of them the run answers."""

    standard: str
    answered: int
    sheet: Sheet


def report(
    headline: Assessment,
    others: Sequence[Assessment],
    sources: Sources,
    *,
    figures: Sequence[Drawn],
    units: Assessment | None = None,
    folds: pd.DataFrame | None = None,
    limitations: Sequence[Limitation],
    checklists: Sequence[Item],
    images: bool = True,
    paths: bool = True,
) -> tuple[str, str]:
    """Lay out a report as HTML, and as a model card in Markdown.

    Parameters
    ----------
    headline : Assessment
        The split whose figures are the result.
    others : sequence of Assessment
        What is shown beside it: val, or for an external set the run's own test.
    sources : Sources
        What is known of the run; what is None reads "not provided".
    figures : sequence of Drawn
        In the order to be shown. They are shown whatever `images` says: leave out those that show images.
    units : Assessment, optional
        The headline's rows joined by patient or exam.
    folds : DataFrame, optional
        Of `folds.over_folds`.
    limitations : sequence of Limitation
        In the order to be shown.
    checklists : sequence of Item
        In the order to be shown.
    images, paths : bool
        Whether pictures, and whether the names of files, folders and groups, may stand in it.

    Returns
    -------
    page, card : str
        Whole documents, UTF-8.

    Raises
    ------
    MedclsError
        The assessments are of different checkpoints.
    """
    assessed = [headline, *others, *([] if units is None else [units])]
    checkpoint = check_one_checkpoint(*(one.table for one in assessed))
    names = _ALL_NAMED if paths else numbers([one.table for one in (headline, *others)], sources)
    limitations = [
        dataclasses.replace(one, title=names.within(one.title), text=names.within(one.text)) for one in limitations
    ]
    errors, unsure = look_at(headline, sources, names, images=images)
    known = {
        "version": __version__,
        "made": day_and_time(sources.made),
        "checkpoint": checkpoint,
        "command": sources.command if paths else None,
        "paths": paths,
        "stamps": [names.within(watermark) for watermark in sources.watermarks],
        "name": names.within(sources.name),
        "purpose": names.within(sources.purpose or _purpose(headline)),
        "generated": sources.purpose is None,
        "judged_on": f"Judged on {'' if headline.table.split else 'an '}{headline.table.caption()}.",
        "notices": notices(headline),
        "positive": headline.table.positive,
        "keys": keys(headline),
        "point": operating_point(headline),
        "plain_words": plain_words(headline),
        "serious": [one for one in limitations if one.level == "serious"],
        "contents": SECTIONS,
        "metrics": metrics_sheet(headline),
        "calibration": calibration_sheet(headline),
        "temperature": _temperature(headline),
        "beside": beside_sheet([headline, *others]) if others else None,
        "captions": [one.table.caption() for one in (headline, *others)],
        "folds": None if folds is None else folds_sheet(folds, headline),
        "probe": None if sources.probe is None else sources.probe["said"],
        "added": _added(sources),
        "fold_calls": None if folds is None else _fold_calls(headline),
        "figures": [_plate(drawn, names) for drawn in figures],
        "errors": errors,
        "unsure": unsure,
        "pictures_absent": _why_no_pictures(sources, images),
        "splits": _splits(headline, sources),
        "splits_of": "Images by class and split" if folds is None else "Images by class and split, of one fold",
        "training_copies": _copies(sources),
        "findings": _findings(sources, paths),
        "training": _training(sources, paths),
        "phases": _phases(sources, names),
        "model": sources.model,
        "settings": _settings(sources) if paths else None,
        "limitations": limitations,
        "checklists": _checklists(checklists, names),
        "readings": None if sources.readings is None else names.within(sources.readings.sentence()),
    }
    sections = metric_sections(headline, units, names)
    page = environment(_TEMPLATES).get_template("report.html.jinja").render(known, metric_sections=sections)
    card = markdown_environment(_TEMPLATES).get_template("report.md.jinja").render(known)
    return page, card


def metric_sections(headline: Assessment, units: Assessment | None = None, names: Names = _ALL_NAMED) -> str:
    """All that follows from the predictions alone, as one element: the same bytes wherever these came from.

    Parameters
    ----------
    headline, units
        As of `report`.
    names : Names
        What groups are called, where one of the subgroups is a group.

    Returns
    -------
    str
        HTML.
    """
    rule = headline.decision_rules.conformal
    template = environment(_TEMPLATES).get_template("report_metrics.html.jinja")
    return template.render(
        caption=_sentence(headline.table.caption()),
        point=operating_point(headline),
        few=headline.metrics.few_cases_note(headline.table.classes),
        needed=None if headline.cases_needed is None else headline.cases_needed.sentence(),
        positive=headline.table.positive,
        metrics=metrics_sheet(headline),
        at_half=at_half_sheet(headline),
        predicted="" if headline.metrics.threshold is None else f", at {_threshold(headline)}",
        confusion=confusion_sheet(headline),
        classes=classes_sheet(headline) if headline.metrics.per_class else None,
        units=None if units is None else units_sheet(headline, units),
        units_point=None if units is None else f"{_units(headline, units)} {operating_point(units)}",
        predictive=predictive_values_sheet(headline),
        temperature=_temperature(headline),
        calibration=calibration_sheet(headline),
        reliability=reliability_sheet(headline.reliability),
        decisions=None if headline.decisions is None else decisions_sheet(headline.decisions, headline.benefit),
        benefit="" if headline.benefit is None else say_benefit(headline.benefit),
        sets=sets_sheet(headline),
        sets_origin="" if rule is None else f"fitted on {_split(rule.split)}, {counted(rule.n, 'independent case')}",
        rejection=rejection_sheet(headline),
        subgroups=[
            {
                "column": one.column,
                "sheet": subgroups_sheet(one, headline, names),
                "gaps": [names.within(gap) for gap in gaps(one, headline)],
            }
            for one in headline.subgroups
        ],
        warnings=headline.decision_rules.warnings,
    )


def keys(one: Assessment) -> list[Key]:
    """The three figures that open the report."""
    found = estimates_of(one)
    shown = []
    for metric in key_metrics(one):
        estimate, of = found[metric], meaning(metric, one)
        notes = [_sentence(estimate.note) + "." if math.isnan(estimate.value) else of.text]
        if metric == "accuracy" and not one.metrics.of_one_class:
            notes.append(f"Always naming the most frequent class reaches {found['majority_baseline'].estimate}.")
        shown.append(Key(of.title, estimate.estimate, estimate.interval, " ".join(notes)))
    return shown


def notices(one: Assessment) -> list[Notice]:
    """What must stand above the figures of a split."""
    found = [said for said in (worse_than_chance(one), missed_target(one), unsure_target(one)) if said is not None]
    if (part := TOOK_PART.get(one.table.split)) is not None:
        found.append(Notice("no_test", "Not a test", f"These are figures of {one.table.split}: {part}."))
    if (note := one.metrics.majority_note()) is not None:
        found.append(Notice("majority_baseline", "No better than always giving the same answer", note))
    return found


def look_at(
    one: Assessment, sources: Sources, names: Names, *, images: bool, most: int = LOOKED_AT
) -> tuple[list[Shown], list[Shown]]:
    """Give the errors that the classifier is surest of, and the images of which it is least sure.

    In a binary task it is the surer the further the probability is from the threshold; with more classes, the
    larger the largest probability is.

    Parameters
    ----------
    one : Assessment
    sources : Sources
        For its pictures.
    names : Names
        What images are called.
    images : bool
        Whether pictures are wanted.
    most : int
        Of either.
    """
    table = one.table
    probabilities, labels = table.probabilities(), table.labels()
    predicted = predicted_classes(probabilities, table.classes, table.positive, one.decision_rules.threshold)
    if table.positive is None:
        of_class, sureness = predicted, probabilities.max(axis=1)
    else:
        index = table.classes.index(table.positive)
        of_class = np.full(len(predicted), index)
        threshold = UNFITTED_THRESHOLD if one.metrics.threshold is None else one.metrics.threshold
        sureness = np.abs(probabilities[:, index] - threshold)
    paths, decimals = table.rows["path"], of_probabilities(probabilities[np.arange(len(of_class)), of_class])

    def shown(row: int) -> Shown:
        path, k = str(paths.iloc[row]), int(of_class[row])
        is_, said = isolated(table.classes[labels[row]]), isolated(table.classes[predicted[row]])
        probability = formatted("", float(probabilities[row, k]), decimals)
        picture = Thumbnail() if sources.picture is None or not images else sources.picture(path)
        caption = f"{is_}, called {said}: probability of {isolated(table.classes[k])} {probability}"
        return Shown(names.of(path), picture, caption)

    wrong = np.flatnonzero(predicted != labels)
    errors = wrong[np.argsort(-sureness[wrong], kind="stable")][:most]
    unsure = np.argsort(sureness, kind="stable")[:most]
    return [shown(int(row)) for row in errors], [shown(int(row)) for row in unsure]


def numbers(tables: Sequence[Predictions], sources: Sources) -> Names:
    """Call row n of the first table "image n", and its groups, and all paths of the run, by something else too."""
    instead: dict[str, str] = {}
    for place in _places(sources):
        instead[place] = "(a path)"
    for table in reversed(tables):
        of = "" if table is tables[0] else f" of {table.split}"
        instead |= {group: f"group {n}{of}" for n, group in enumerate(sorted(set(table.rows["group"]) - {""}), start=1)}
        instead |= {str(path): f"image {n}{of}" for n, path in enumerate(table.rows["path"], start=1)}
    return Names(instead)


def without_names(one: Assessment, names: Names) -> Assessment:
    """The same, its subgroups by patient or image called as `names` calls them, wherever they are told or drawn.

    Parameters
    ----------
    names : Names
        As of `numbers`.
    """
    return dataclasses.replace(
        one,
        subgroups=tuple(
            dataclasses.replace(
                of,
                groups=tuple(dataclasses.replace(group, name=names.of(group.name)) for group in of.groups),
            )
            if of.column in NAMING
            else of
            for of in one.subgroups
        ),
    )


def _places(sources: Sources) -> set[str]:
    """Every path that the run's own files name, and so a limitation or an answer may."""
    audit = sources.audit or {"data": {}, "findings": []}
    settings = [sources.config or {}, audit["data"], {**(sources.weights or {}), "random": None}]
    texts = [value for one in settings for _, value in _flat(one) if isinstance(value, str)]
    found = {text for text in texts if re.search(r"[/\\]", text)}
    for finding in audit["findings"]:
        found |= {*finding["images"], *finding["exclude"]}
        found |= {pair[side] for pair in finding["pairs"] for side in ("first", "second")}
        found |= {str(row["path"]) for row in finding["table"] or () if "path" in row}
        found |= set(PATH.findall(f"{finding['title']} {finding['text']}"))
    return {name for name in found if len(name) > 1}


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their whole names: `data.root`."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _settings(sources: Sources) -> str | None:
    """The configuration as it is typed, one setting a line."""
    if sources.config is None:
        return None
    lines = (
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}"
        for name, value in _flat(sources.config)
    )
    return "\n".join(lines)


def _units(images: Assessment, units: Assessment) -> str:
    """How many patients or exams there are, and of which classes."""
    counts = zip(units.table.classes, units.metrics.confusion.sum(axis=1).tolist(), strict=True)
    listed = ", ".join(f"{count:,} {isolated(name)}" for name, count in counts)
    return f"{len(units.table):,} patients or exams ({listed}).{_mixed(images, units)}"


def _mixed(images: Assessment, units: Assessment) -> str:
    """How many units have images under both labels, and what they count as; nothing of units with one label each."""
    rows, positive = images.table.rows, units.table.positive
    labels = rows[rows["group"] != ""].groupby("group")["label"].nunique()
    mixed = int((labels > 1).sum())
    if not mixed or positive is None:
        return ""
    have = "has images under both labels and counts" if mixed == 1 else "have images under both labels and count"
    return f" {mixed:,} of them {have} as {isolated(positive)}: one image of it is enough."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _split(name: str) -> str:
    return name or "an unnamed split"


def _threshold(one: Assessment) -> str:
    fitted = "" if one.metrics.threshold_fitted else ", which nobody fitted"
    return f"a threshold of {threshold_shown(one)}{fitted}"


def _purpose(one: Assessment) -> str:
    """What the classes say that the classifier is for."""
    classes = [isolated(name) for name in one.table.classes]
    if one.table.positive is not None:
        positive = isolated(one.table.positive)
        (other,) = (name for name in classes if name != positive)
        return f"To tell images of {positive} from images of {other}."
    return f"To tell images of {', '.join(classes[:-1])} and {classes[-1]} apart."


def _temperature(one: Assessment) -> str:
    fitted = one.decision_rules.calibration
    if fitted is None:
        return "No calibration was fitted: the probabilities are as they came."
    changed = f"{_split(fitted.split)}, n = {fitted.n:,}: the log loss there went from {fitted.before:.3f} to"
    if fitted.intercepts:
        said = f"{_sentence(fitted.label())}, fitted on {changed} {fitted.after:.3f}."
    else:
        said = f"All logits are divided by {fitted.temperature:.3f}, fitted on {changed} {fitted.after:.3f}."
    if not fitted.is_at_its_bound:
        return said
    return (
        f"{said} That is the end of the range searched ({COLDEST:g} to {HOTTEST:g}), and no calibration: the logits "
        "say next to nothing about those images, or are on a strange scale."
    )


def _plate(drawn: Drawn, names: Names) -> Plate:
    """A figure's file as a data address."""
    content = drawn.svg.read_bytes()
    box = re.search(rb'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', content[:2000])
    width, height = (round(float(side)) for side in box.groups()) if box else (0, 0)
    source = "data:image/svg+xml;base64," + base64.b64encode(content).decode()
    return Plate(drawn.name, names.within(drawn.title), names.within(drawn.text), source, width, height)


def _why_no_pictures(sources: Sources, images: bool) -> str:
    if not images:
        return "Pictures are left out (report.images=false)."
    return "" if sources.picture is not None else "Pictures: not provided."


def _added(sources: Sources) -> Sheet | None:
    """What features of the images reach, what shortcuts reach, and the difference; None where nothing was probed."""
    if sources.probe is None:
        return None
    found = sources.probe["difference"]

    def shown(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.3f}"

    limits = "" if found["low"] is None else f"{found['low']:+.3f} to {found['high']:+.3f}"
    rows = [
        ["Features of the images", shown(found["first"]), ""],
        ["Shortcuts alone", shown(found["second"]), ""],
        ["Difference", shown(found["difference"]), limits],
    ]
    return figures_sheet(["Out of fold", "AUROC", "95% interval"], rows)


def _fold_calls(one: Assessment) -> str | None:
    """At which thresholds the images of the folds are called; nothing where there is none."""
    if one.table.positive is None:
        return None
    each = "Here an image is called by the threshold of its own fold"
    return f"{each}; elsewhere on this page by one for all, {threshold_shown(one)}."


def _splits(one: Assessment, sources: Sources) -> Sheet | None:
    table, of_class = sources.splits, ": images"
    if table is None:
        return None
    classes = [name.removesuffix(of_class) for name in table.columns if name.endswith(of_class)]
    return splits_sheet(table, classes, one.table.positive, groups=bool((one.table.rows["group"] != "").any()))


def _copies(sources: Sources) -> str | None:
    if sources.training_duplicates is None:
        return None
    if not sources.training_duplicates:
        return "None of these images is among those of the run itself, by content."
    return f"{counted(sources.training_duplicates, 'image')} of these: among those of the run itself too, by content."


def _findings(sources: Sources, paths: bool) -> list[dict[str, str]] | None:
    """What the audit found, the worst first; without paths, only what was looked for."""
    if sources.audit is None:
        return None
    order = ["error", "warning", "information", "good"]
    found = sorted(sources.audit["findings"], key=lambda finding: order.index(finding["level"]))
    return [
        {
            "level": finding["level"],
            "title": finding["title"] if paths else finding["check"].replace("_", " "),
            "text": finding["text"] if paths and finding["level"] in ("error", "warning") else "",
        }
        for finding in found
    ]


def _training(sources: Sources, paths: bool) -> list[tuple[str, str | None]]:
    """What was trained, on what, and which epoch was kept."""
    weights, machine = sources.weights, sources.environment
    # The summary of the network stands below its layers, after an empty line.
    network = None if sources.model is None else sources.model.strip().split("\n\n")[-1].splitlines()
    epochs = None if sources.history is None else f"{int(sources.history['epoch'].max()) + 1}"
    if epochs is not None and sources.best_epoch is not None:
        epochs += f"; the checkpoint is of epoch {sources.best_epoch}, counted from 0"
    start = None
    if weights is not None:
        start = weights["summary"] if paths else f"{weights['loaded']} of {weights['tensors']} tensors were loaded"
        if not paths and weights.get("licence"):
            start += f" (licence {weights['licence']})"
    packages = None if machine is None else ", ".join(f"{name} {of}" for name, of in machine["packages"].items())
    return [
        ("Network", None if network is None else "; ".join(" ".join(line.split()) for line in network)),
        ("Weights at the start", start),
        *([("Fitted", sources.probe["said"]["method"])] if sources.probe is not None else [("Epochs", epochs)]),
        *(
            [("Images of an epoch", f"{limited[0]:,} of {limited[1]:,}, drawn anew (trainer.limit_train_batches)")]
            if (limited := sources.images_an_epoch()) is not None
            else []
        ),
        ("Device", None if machine is None else f"{machine['device']}, {machine['platform']}"),
        ("Software", None if machine is None else f"Python {machine['python']}, {packages}"),
    ]


def _phases(sources: Sources, names: Names) -> Sheet | None:
    if not sources.phases:
        return None
    rows = [[names.within(what), str(first), str(after - 1)] for what, first, after in sources.phases]
    return figures_sheet(["What is frozen", "First epoch", "Last epoch"], rows)


def _checklists(items: Sequence[Item], names: Names) -> list[Checklist]:
    by_standard: dict[str, list[Item]] = {}
    for item in items:
        by_standard.setdefault(item.standard, []).append(item)
    return [
        Checklist(standard, sum(item.answer is not None for item in of), _items_sheet(of, names))
        for standard, of in by_standard.items()
    ]


def _items_sheet(items: Sequence[Item], names: Names) -> Sheet:
    rows = tuple(
        (
            Cell(item.number),
            Cell(item.topic, note=item.section),
            Cell("not provided" if item.answer is None else names.within(item.answer)),
        )
        for item in items
    )
    return Sheet(("Item", "What it asks for", "Answer"), (False, False, False), rows, headed=True)
