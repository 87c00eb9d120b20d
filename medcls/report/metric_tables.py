"""The tables of a report's metric sections: from an assessment, and nothing else."""

import dataclasses
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.folds import MEAN, POOLED
from medcls.evaluation.predictive_values import predictive_values
from medcls.evaluation.subgroups import Subgroup, Subgroups
from medcls.report.pages.names import Names
from medcls.report.pages.parts import Cell, Row, Sheet, figures_sheet
from medcls.report.phrases import (
    Estimated,
    digits,
    estimates_of,
    formatted,
    key_metrics,
    meaning,
    threshold_shown,
)
from medcls.statistics.digits import of_probabilities
from medcls.statistics.metric_table import BY_IDENTIFIER, MACRO, METRICS, majority_baseline

PREVALENCES = (0.01, 0.05, 0.1, 0.3, 0.5)
REFERRED = (0.0, 0.1, 0.2, 0.3, 0.5)
OF_A_CLASS = tuple(metric.identifier for metric in METRICS if metric.short and "mean" in metric.scopes)


def metrics_sheet(one: Assessment) -> Sheet:
    """Every metric with its interval, the method of that, and what it means."""
    found = estimates_of(one)
    rows = []
    for metric in _in_order(found):
        figure, said = found[metric], meaning(metric, one)
        name, method = Cell(said.title, note=said.text), Cell(figure.method or "–", note=figure.note)
        rows.append((name, Cell(figure.estimate), Cell(figure.interval or "–"), Cell(f"{figure.n:,}"), method))
    columns = ("Metric", "Estimate", "95% interval", "Images behind it", "Method of the interval")
    return Sheet(columns, (False, True, True, True, False), tuple(rows), headed=True)


def classes_sheet(one: Assessment) -> Sheet:
    """Each of several classes against all others, then their means."""
    rows: list[Row] = []
    for name in one.table.classes:
        of = estimates_of(one, name)
        support = f"{one.metrics.per_class[name]['support']:,.0f}"
        rows.append([name, support, *(_with_interval(of[metric]) for metric in OF_A_CLASS)])
    n, decimals = f"{len(one.table):,}", digits(len(one.table))
    found = estimates_of(one)
    rows.append(["Mean over classes (macro)", n, *(_with_interval(found[metric]) for metric in OF_A_CLASS)])
    weighted = [formatted(metric, one.metrics.weighted[metric], decimals) for metric in OF_A_CLASS]
    rows.append(["Mean weighted by class size", n, *weighted])
    return figures_sheet(["Class", "Images", *(BY_IDENTIFIER[metric].title for metric in OF_A_CLASS)], rows)


def confusion_sheet(one: Assessment) -> Sheet:
    """Counts, and of each true class the share of each call."""
    confusion = one.metrics.confusion
    rows: list[Row] = []
    for name, counts in zip(one.table.classes, confusion.tolist(), strict=True):
        total = sum(counts)
        cells = [
            Cell(f"{count:,} ({count / total:.0%})" if total else "0", count / total if total else None)
            for count in counts
        ]
        rows.append([name, *cells, f"{total:,}"])
    return figures_sheet(["Truth", *one.table.classes, "All"], rows)


def at_half_sheet(one: Assessment) -> Sheet | None:
    """What depends on the threshold: at the operating point beside 0.5, which is what most tools use unasked."""
    if one.at_half is None:
        return None
    decimals = digits(len(one.table))
    rows: list[Row] = [
        [
            BY_IDENTIFIER[metric].title,
            formatted(metric, one.metrics.values[metric], decimals),
            formatted(metric, one.at_half.values[metric], decimals),
        ]
        for metric in _in_order(one.at_half.values)
        if BY_IDENTIFIER[metric].measures == "decisions" or BY_IDENTIFIER[metric].function is majority_baseline
    ]
    return figures_sheet(["", f"At {threshold_shown(one)}, the operating point", "At 0.5"], rows)


def units_sheet(images: Assessment, units: Assessment) -> Sheet:
    """Images beside patients or exams, of which each counts once."""
    by_image, by_unit = estimates_of(images), estimates_of(units)
    rows: list[Row] = [[Cell("Number"), f"{len(images.table):,}", f"{len(units.table):,}"]]
    rows += [
        [meaning(metric, images).title, _with_interval(by_image[metric]), _with_interval(by_unit[metric])]
        for metric in _in_order(by_unit)
    ]
    return figures_sheet(["", "By image", "By patient or exam"], rows)


def beside_sheet(splits: Sequence[Assessment]) -> Sheet:
    """The same metrics of several splits."""
    found = [estimates_of(one) for one in splits]
    rows: list[Row] = [[Cell("Images"), *(f"{len(one.table):,}" for one in splits)]]
    for metric in _in_order(found[0]):
        rows.append([meaning(metric, splits[0]).title, *(_with_interval(of[metric]) for of in found)])
    return figures_sheet(["", *(split_name(one) for one in splits)], rows)


def split_name(one: Assessment) -> str:
    """What to call the images of an assessment."""
    return one.table.split.replace("_", " ") or "these images"


def predictive_values_sheet(one: Assessment) -> Sheet | None:
    """How far a call can be trusted at other prevalences, by Bayes' theorem.

    In a binary task PPV and NPV at some prevalences; None where sensitivity or specificity is undefined. With more
    classes each one's PPV at the stated prevalence; None where none was stated.
    """
    if one.table.positive is None:
        return None if one.deployment is None else _stated_sheet(one, one.deployment.prevalence)
    values = one.metrics.values
    if math.isnan(values["sensitivity"] + values["specificity"]):
        return None
    stated = {} if one.deployment is None else {one.deployment.prevalence[one.table.positive]: "as stated"}
    asked = dict.fromkeys(PREVALENCES, "") | {values["prevalence"]: "as among these images"} | stated
    decimals = digits(len(one.table))
    rows: list[Row] = []
    for prevalence, note in sorted(asked.items()):
        there = predictive_values(prevalence, one.intervals, one.table.positive)
        cells = [
            _with_interval(Estimated(name, of.estimate, of.low, of.high, decimals, of.method, of.n, of.note))
            for name, of in (("precision", there.precision), ("npv", there.npv))
        ]
        rows.append([Cell(f"{100 * prevalence:.3g} in 100", note=note), *cells])
    return figures_sheet([f"{one.table.positive} in", "PPV", "NPV"], rows)


def _stated_sheet(one: Assessment, prevalence: Mapping[str, float]) -> Sheet:
    """How often a call of each of several classes is right, here and where they are as frequent as stated."""
    confusion = one.metrics.confusion
    support = confusion.sum(axis=1, keepdims=True)
    called = np.divide(confusion, support, out=np.full(confusion.shape, np.nan), where=support > 0)
    frequent = called * np.array([[prevalence[name]] for name in one.table.classes])  # a class without a case: NaN
    total = frequent.sum(axis=0)
    there = np.divide(np.diag(frequent), total, out=np.full(len(total), np.nan), where=total > 0)
    decimals = digits(len(one.table))
    rows: list[Row] = [
        [
            name,
            f"{one.metrics.per_class[name]['prevalence']:.1%}",
            formatted("precision", one.metrics.per_class[name]["precision"], decimals),
            f"{prevalence[name]:.1%}",
            formatted("precision", precision, decimals),
        ]
        for name, precision in zip(one.table.classes, there.tolist(), strict=True)
    ]
    return figures_sheet(["Class", "Share here", "PPV here", "Share as stated", "PPV there"], rows)


def calibration_sheet(one: Assessment) -> Sheet:
    """Whether probabilities mean what they say; before and after, where a calibration changed them."""
    tables = [one.calibration] if one.calibration_before is None else [one.calibration_before, one.calibration]
    fitted = one.decision_rules.calibration
    columns = ["As they are"]
    if len(tables) == 2 and fitted is not None:
        columns = ["As the network gives them", f"With the {fitted.name}"]
    of = [{(row["metric"], row["class"]): row for row in table.to_dict("records")} for table in tables]
    rows: list[Row] = []
    for metric, (name, note) in _CALIBRATION.items():
        for key in [key for key in of[0] if key[0] == metric]:
            of_class = key[1] if one.table.positive is None else ""
            named = Cell(f"{name}, {of_class}" if of_class else name, note=note)
            rows.append([named, *(_calibrated(found[key]) for found in of)])
    return figures_sheet(["", *columns], rows)


_CALIBRATION = {
    "calibration_slope": ("Slope", "1 is right; below 1 the probabilities are too extreme."),
    "calibration_intercept": ("Intercept", "0 is right, beside a slope of 1."),
    "calibration_in_the_large": (
        "Calibration in the large",
        "0 is right; above 0 the probabilities are too low on the whole.",
    ),
    "calibration_test": (
        "Test of calibration, p",
        "How often chance alone brings a calibrated model as far from a slope of 1 and an intercept of 0.",
    ),
    "ici": ("ICI", "Mean distance of the probabilities from the smoothed curve."),
    "e50": ("E50", "Its median."),
    "e90": ("E90", "Its 90th percentile."),
    "calibration_error": (
        "Calibration error",
        "Root mean square distance of predicted and observed shares over up to 15 bins, corrected for noise.",
    ),
}


def _calibrated(row: Mapping[Hashable, Any]) -> Cell:
    figure = Estimated("", row["estimate"], row["low"], row["high"], 3, row["method"], row["n"], row["note"])
    shown = _with_interval(figure)
    method = row["method"] if row["metric"] == "calibration_test" and row["method"] != "none" else ""
    notes = dict.fromkeys(part for part in (shown.note, figure.note, method) if part)
    return dataclasses.replace(shown, note="; ".join(notes))


def reliability_sheet(reliability: pd.DataFrame) -> Sheet:
    """Predicted against observed shares, bin by bin."""
    decimals = of_probabilities(reliability[["lower", "upper"]].to_numpy(np.float64).ravel())
    rows: list[Row] = [
        [
            f"{bin['lower']:.{decimals}f} to {bin['upper']:.{decimals}f}",
            f"{bin['n']:,.0f}",
            f"{bin['predicted']:.{decimals}f}",
            f"{bin['observed']:.3f} ({bin['low']:.3f} to {bin['high']:.3f})",
        ]
        for bin in reliability[reliability["n"] > 0].to_dict("records")
    ]
    return figures_sheet(["Probabilities from", "Images", "Predicted, mean", "Observed (95% interval)"], rows)


def decisions_sheet(decisions: pd.DataFrame, at_point: pd.Series | None) -> Sheet:
    """Net benefit at some of the thresholds, and at the operating point, with intervals."""
    chosen = decisions.iloc[[int(np.abs(decisions["threshold"] - at).argmin()) for at in _ACTED_AT]]
    lines = [(row, "") for row in chosen.to_dict("records")]
    if at_point is not None:
        lines.append((at_point.to_dict(), "the operating point"))
    rows: list[Row] = [
        [
            Cell(f"{100 * row['threshold']:.3g}%", note=note),
            _benefit(row, "model", "low", "high"),
            formatted("", row["treat_all"], 3),
            _benefit(row, "over_all", "over_all_low", "over_all_high"),
        ]
        for row, note in sorted(lines, key=lambda line: line[0]["threshold"])
    ]
    columns = ["Acting from a probability of", "This classifier", "Treating everybody", "The one over the other"]
    return figures_sheet(columns, rows)


def _benefit(row: Mapping[Hashable, Any], *names: str) -> Cell:
    value, low, high = (row[name] for name in names)
    return _with_interval(Estimated("", value, low, high, 3, "", row["n"], ""))


_ACTED_AT = (0.05, 0.1, 0.2, 0.3, 0.5)


def sets_sheet(one: Assessment) -> Sheet | None:
    """What the label sets say: how often they hold the truth, and how often they are an answer."""
    counts, rule = one.sets, one.decision_rules.conformal
    if counts is None or rule is None:
        return None
    shares = [
        ("Sets that hold the true label", f"asked for: {rule.coverage:.0%}", counts.covered, counts.n),
        ("One label: an answer", "", counts.single, counts.n),
        ("Of these, right", "", counts.single_right, counts.single),
        ("Several labels: could be any of these", "", counts.several, counts.n),
        ("No label: none for sure", "", counts.empty, counts.n),
        *((f"True label held, where it is {name}", "", held, n) for name, (held, n) in counts.by_class.items()),
    ]
    rows: list[Row] = [
        [Cell(name, note=note), f"{held:,} of {n:,}", f"{held / n:.1%}" if n else "–"] for name, note, held, n in shares
    ]
    return figures_sheet(["", "Images", "Share"], rows)


def rejection_sheet(one: Assessment) -> Sheet:
    """How the rest fares, when the least sure are referred to a person."""
    curve, decimals = one.rejection, digits(len(one.table))
    metrics = ["accuracy", *(["sensitivity", "specificity"] if "sensitivity" in curve else [])]
    lines = dict.fromkeys(int(curve["share"].searchsorted(share + 1e-12, side="right")) - 1 for share in REFERRED)
    rows: list[Row] = [
        [f"{line['referred']:,.0f} ({line['share']:.0%})", *(formatted(name, line[name], decimals) for name in metrics)]
        for line in curve.iloc[list(lines)].to_dict("records")
    ]
    titles = [f"{BY_IDENTIFIER[name].title} of the rest" for name in metrics]
    return figures_sheet(["Referred to a person", *titles], rows)


def subgroups_sheet(groups: Subgroups, one: Assessment, names: Names) -> Sheet:
    """The three metrics that matter most, by the values of a column."""
    metrics = [*key_metrics(one), *(["majority_baseline"] if one.table.positive is None else [])]
    rows: list[Row] = []
    for group in groups.groups:
        name = names.of(group.name) if groups.column in ("group", "path") else group.name
        cells = (_with_interval(_of_group(group, metric, one)) for metric in metrics)
        rows.append([name, f"{group.n:,}", *cells])
    return figures_sheet([groups.column, "Images", *(BY_IDENTIFIER[metric].title for metric in metrics)], rows)


def gaps(groups: Subgroups, one: Assessment) -> list[str]:
    """Between the best and the worst group, by each of these metrics."""
    return [
        groups.say_gap(metric, one.gap(groups, metric)).replace(metric, BY_IDENTIFIER[metric].title, 1)
        for metric in groups.compared_by
    ]


def _of_group(group: Subgroup, metric: str, one: Assessment) -> Estimated:
    interval, reason = group.interval(metric), group.metrics.reasons.get(metric, "")
    return Estimated(
        metric, group.metrics.values[metric], interval.low, interval.high, digits(group.n), "", group.n, reason
    )


def folds_sheet(table: pd.DataFrame, one: Assessment) -> Sheet:
    """Each fold's figures, their mean, and those of all folds' rows pooled."""
    whole = table[table["class"].isin((one.table.positive or MACRO, ""))]
    numbers = [name for name in dict.fromkeys(whole["fold"]) if name not in (MEAN, POOLED)]
    by = {(row["fold"], row["metric"]): row for row in whole.to_dict("records")}
    decimals = digits(len(one.table))
    baseline = f"majority baseline {formatted('accuracy', one.metrics.values['majority_baseline'], decimals)}"
    rows: list[Row] = []
    for metric in [name for name in BY_IDENTIFIER if (POOLED, name) in by]:
        folds = [Cell(formatted(metric, by[number, metric]["estimate"], decimals)) for number in numbers]
        mean, pooled = by[MEAN, metric], by[POOLED, metric]
        sd = "" if math.isnan(mean["sd"]) else f"sd {formatted(metric, mean['sd'], decimals)}"
        together = Estimated(metric, pooled["estimate"], pooled["low"], pooled["high"], decimals, "", pooled["n"], "")
        rows.append(
            [
                Cell(BY_IDENTIFIER[metric].title, note=baseline if metric == "accuracy" else ""),
                *folds,
                Cell(formatted(metric, mean["estimate"], decimals), note=sd),
                _with_interval(together),
            ]
        )
    return figures_sheet(["", *(f"Fold {number}" for number in numbers), "Mean", "Pooled (95% interval)"], rows)


def _with_interval(figure: Estimated) -> Cell:
    """A figure with its interval below; where undefined, with the reason."""
    if math.isnan(figure.value):
        return Cell(figure.estimate, note=figure.note)
    return Cell(figure.estimate, note=figure.interval.replace(" ", "\N{NO-BREAK SPACE}"))


def _in_order(metrics: Iterable[str]) -> list[str]:
    """Those that are told, in the order of the report."""
    return [name for name in BY_IDENTIFIER if name in metrics]
