"""The tables of a report's metric sections, made from an assessment only."""

import dataclasses
import math
from collections.abc import Container, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.estimates import Estimate, split_name
from medcls.evaluation.folds import MEAN, POOLED
from medcls.evaluation.predictive_values import predictive_values
from medcls.evaluation.subgroups import Subgroup, Subgroups
from medcls.report.pages.names import Names
from medcls.report.pages.parts import Cell, Row, Sheet, numeric_sheet
from medcls.report.phrases import (
    MetricEstimate,
    digits,
    estimates_of,
    formatted,
    key_metrics,
    meaning,
    threshold_shown,
)
from medcls.statistics.digits import of_probabilities, percentage, rounded
from medcls.statistics.metric_table import BY_IDENTIFIER, MACRO, METRICS, majority_baseline
from medcls.wording import at_start

PREVALENCES = (0.01, 0.05, 0.1, 0.3, 0.5)
REFERRED = (0.0, 0.1, 0.2, 0.3, 0.5)
OF_A_CLASS = tuple(metric.identifier for metric in METRICS if metric.short and "mean" in metric.scopes)


def metrics_sheet(one: Assessment) -> Sheet:
    """Every metric with its interval, the method of the interval, and an explanation."""
    found = estimates_of(one)
    rows = []
    for metric in _in_order(found, one):
        estimate, explained = found[metric], meaning(metric, one)
        name, method = Cell(explained.title, note=explained.text), Cell(estimate.method or "–", note=estimate.note)
        rows.append((name, Cell(estimate.estimate), Cell(estimate.interval or "–"), Cell(f"{estimate.n:,}"), method))
    columns = ("Metric", "Estimate", "95% interval", "n", "Method of the interval")
    return Sheet(columns, (False, True, True, True, False), tuple(rows), headed=True)


def classes_sheet(one: Assessment) -> Sheet:
    """Each of several classes against all others, and the means over classes."""
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
    return numeric_sheet(["Class", "Images", *(BY_IDENTIFIER[metric].title for metric in OF_A_CLASS)], rows)


def confusion_sheet(one: Assessment) -> Sheet:
    """Counts, and the share of each true class."""
    confusion = one.metrics.confusion
    rows: list[Row] = []
    for name, counts in zip(one.table.classes, confusion.tolist(), strict=True):
        total = sum(counts)
        cells = [
            Cell(f"{count:,} ({percentage(count / total)})" if total else "0", count / total if total else None)
            for count in counts
        ]
        rows.append([name, *cells, f"{total:,}"])
    return numeric_sheet(["True class", *(f"Predicted {name}" for name in one.table.classes), "All"], rows)


def at_half_sheet(one: Assessment) -> Sheet | None:
    """Metrics that depend on the threshold, at the operating point and at 0.5."""
    if one.at_half is None:
        return None
    decimals = digits(len(one.table))
    rows: list[Row] = [
        [
            BY_IDENTIFIER[metric].title,
            formatted(metric, one.metrics.values[metric], decimals),
            formatted(metric, one.at_half.values[metric], decimals),
        ]
        for metric in _in_order(one.at_half.values, one)
        if BY_IDENTIFIER[metric].measures == "decisions" or BY_IDENTIFIER[metric].function is majority_baseline
    ]
    return numeric_sheet(["", f"At {threshold_shown(one)}, the operating point", "At 0.5"], rows)


def patients_sheet(images: Assessment, patients: Assessment) -> Sheet:
    """Metrics by image, and with each patient or exam counted once."""
    by_image, by_patient = estimates_of(images), estimates_of(patients)
    rows: list[Row] = [[Cell("Number"), f"{len(images.table):,}", f"{len(patients.table):,}"]]
    rows += [
        [meaning(metric, images).title, _with_interval(by_image[metric]), _with_interval(by_patient[metric])]
        for metric in _in_order(by_patient, patients)
    ]
    return numeric_sheet(["", "By image", "By patient or exam"], rows)


def splits_metrics_sheet(splits: Sequence[Assessment]) -> Sheet:
    """The same metrics of several splits."""
    found = [estimates_of(one) for one in splits]
    rows: list[Row] = [[Cell("Images"), *(f"{len(one.table):,}" for one in splits)]]
    for metric in _in_order(found[0], splits[0]):
        rows.append([meaning(metric, splits[0]).title, *(_with_interval(of[metric]) for of in found)])
    return numeric_sheet(["", *(at_start(split_name(one.table.split)) for one in splits)], rows)


def predictive_values_sheet(one: Assessment) -> Sheet | None:
    """Predictive values at other prevalences, by Bayes' theorem.

    In a binary task PPV and NPV at some prevalences; None if sensitivity or specificity is undefined. With more
    classes the PPV of each at the stated prevalence; None if none was stated.
    """
    if one.table.positive is None:
        return None if one.deployment is None else _stated_sheet(one, one.deployment.prevalence)
    values = one.metrics.values
    if math.isnan(values["sensitivity"] + values["specificity"]):
        return None
    stated = {} if one.deployment is None else {one.deployment.prevalence[one.table.positive]: "as stated"}
    prevalences = dict.fromkeys(PREVALENCES, "") | {values["prevalence"]: "as in these images"} | stated
    decimals = digits(len(one.table))
    rows: list[Row] = []
    for prevalence, note in sorted(prevalences.items()):
        there = predictive_values(prevalence, one.intervals, one.table.positive)
        cells = [
            _with_interval(
                MetricEstimate(BY_IDENTIFIER[name], of.estimate, of.low, of.high, decimals, of.method, of.n, of.note)
            )
            for name, of in (("precision", there.precision), ("npv", there.npv))
        ]
        rows.append([Cell(f"{100 * prevalence:.3g} in 100", note=note), *cells])
    return numeric_sheet([f"Prevalence of class {one.table.positive}", "PPV", "NPV"], rows)


def _stated_sheet(one: Assessment, prevalence: Mapping[str, float]) -> Sheet:
    """PPV of each of several classes, here and at the stated prevalence."""
    confusion = one.metrics.confusion
    support = confusion.sum(axis=1, keepdims=True)
    predicted = np.divide(confusion, support, out=np.full(confusion.shape, np.nan), where=support > 0)
    weighted = predicted * np.array([[prevalence[name]] for name in one.table.classes])  # a class without a case: NaN
    total = weighted.sum(axis=0)
    there = np.divide(np.diag(weighted), total, out=np.full(len(total), np.nan), where=total > 0)
    decimals = digits(len(one.table))
    rows: list[Row] = [
        [
            name,
            percentage(one.metrics.per_class[name]["prevalence"], 1),
            formatted("precision", one.metrics.per_class[name]["precision"], decimals),
            percentage(prevalence[name], 1),
            formatted("precision", precision, decimals),
        ]
        for name, precision in zip(one.table.classes, there.tolist(), strict=True)
    ]
    return numeric_sheet(["Class", "Share here", "PPV here", "Stated share", "PPV there"], rows)


def calibration_sheet(one: Assessment) -> Sheet:
    """Calibration metrics; before and after, if a calibration was fitted."""
    tables = [one.calibration] if one.calibration_before is None else [one.calibration_before, one.calibration]
    fitted = one.decision_rules.calibration
    columns = ["Estimate"]
    if len(tables) == 2 and fitted is not None:
        columns = ["Network output", f"With the {fitted.name}"]
    of = [{(row["metric"], row["class"]): row for row in table.to_dict("records")} for table in tables]
    rows: list[Row] = []
    for metric, (name, note) in _CALIBRATION.items():
        for key in [key for key in of[0] if key[0] == metric]:
            of_class = key[1] if one.table.positive is None else ""
            named = Cell(f"{name}, {of_class}" if of_class else name, note=note)
            rows.append([named, *(_calibrated(found[key]) for found in of)])
    return numeric_sheet(["", *columns], rows)


_CALIBRATION = {
    "calibration_slope": ("Slope", "Ideal 1; below 1 the probabilities are too extreme, above 1 too moderate."),
    "calibration_intercept": ("Intercept", "Ideal 0, together with a slope of 1."),
    "calibration_in_the_large": (
        "Calibration in the large",
        "Ideal 0; above 0 the probabilities are too low overall, below 0 too high.",
    ),
    "calibration_test": (
        "Calibration test, p",
        "Probability that a calibrated model deviates this much from a slope of 1 and an intercept of 0.",
    ),
    "ici": ("ICI", "Mean distance of the probabilities from the smoothed calibration curve."),
    "e50": ("E50", "Median of this distance."),
    "e90": ("E90", "90th percentile of this distance."),
    "calibration_error": (
        "Calibration error",
        "Root mean square difference of predicted and observed frequencies over up to 15 bins, corrected for noise.",
    ),
}


def _calibrated(row: Mapping[Hashable, Any]) -> Cell:
    estimate = MetricEstimate(None, row["estimate"], row["low"], row["high"], 3, row["method"], row["n"], row["note"])
    shown = _with_interval(estimate)
    method = row["method"] if row["metric"] == "calibration_test" and row["method"] != "none" else ""
    notes = dict.fromkeys(part for part in (shown.note, estimate.note, method) if part)
    return dataclasses.replace(shown, note="; ".join(notes))


def reliability_sheet(reliability: pd.DataFrame) -> Sheet:
    """Predicted and observed frequencies by bin."""
    decimals = of_probabilities(reliability[["lower", "upper"]].to_numpy(np.float64).ravel())
    rows: list[Row] = [
        [
            f"{rounded(bin['lower'], decimals)} to {rounded(bin['upper'], decimals)}",
            f"{bin['n']:,.0f}",
            rounded(bin["predicted"], decimals),
            str(Estimate(bin["observed"], bin["low"], bin["high"])),
        ]
        for bin in reliability[reliability["n"] > 0].to_dict("records")
    ]
    return numeric_sheet(["Probability", "Images", "Mean predicted", "Observed (95% interval)"], rows)


def decisions_sheet(decisions: pd.DataFrame, at_point: pd.Series | None) -> Sheet:
    """Net benefit at some thresholds, and at the operating point, with intervals."""
    chosen = decisions.iloc[[int(np.abs(decisions["threshold"] - at).argmin()) for at in _BENEFIT_AT]]
    lines = [(row, "") for row in chosen.to_dict("records")]
    if at_point is not None:
        lines.append((at_point.to_dict(), "operating point"))
    rows: list[Row] = [
        [
            Cell(f"{100 * row['threshold']:.3g}%", note=note),
            _benefit(row, "model", "low", "high"),
            formatted(None, row["treat_all"], 3),
            _benefit(row, "over_all", "over_all_low", "over_all_high"),
        ]
        for row, note in sorted(lines, key=lambda line: line[0]["threshold"])
    ]
    columns = ["Threshold", "This classifier", "Treating everyone", "Difference"]
    return numeric_sheet(columns, rows)


def _benefit(row: Mapping[Hashable, Any], *names: str) -> Cell:
    value, low, high = (row[name] for name in names)
    return _with_interval(MetricEstimate(None, value, low, high, 3, "", row["n"], ""))


_BENEFIT_AT = (0.05, 0.1, 0.2, 0.3, 0.5)


def sets_sheet(one: Assessment) -> Sheet | None:
    """How often label sets have the true label, and how many labels they have."""
    counts, rule = one.sets, one.decision_rules.conformal
    if counts is None or rule is None:
        return None
    shares = [
        ("Sets with the true label", f"nominal: {rule.coverage:.0%}", counts.covered, counts.n),
        ("One label", "", counts.single, counts.n),
        ("Of these, correct", "", counts.single_right, counts.single),
        ("Several labels: undecided", "", counts.several, counts.n),
        ("No label: undecided", "", counts.empty, counts.n),
        *((f"Sets with the true label, {name}", "", held, n) for name, (held, n) in counts.by_class.items()),
    ]
    rows: list[Row] = [
        [Cell(name, note=note), f"{held:,} of {n:,}", percentage(held / n, 1) if n else "–"]
        for name, note, held, n in shares
    ]
    return numeric_sheet(["", "Number", "Share"], rows)


def rejection_sheet(one: Assessment) -> Sheet:
    """Metrics of the remaining images when the least certain are referred to a person."""
    curve, decimals = one.rejection, digits(len(one.table))
    metrics = ["accuracy", *(["sensitivity", "specificity"] if "sensitivity" in curve else [])]
    lines = dict.fromkeys(int(curve["share"].searchsorted(share + 1e-12, side="right")) - 1 for share in REFERRED)
    rows: list[Row] = [
        [
            f"{line['referred']:,.0f} ({percentage(line['share'])})",
            *(formatted(name, line[name], decimals) for name in metrics),
        ]
        for line in curve.iloc[list(lines)].to_dict("records")
    ]
    titles = [f"{BY_IDENTIFIER[name].title} of the remaining" for name in metrics]
    return numeric_sheet(["Referred", *titles], rows)


def subgroups_sheet(groups: Subgroups, one: Assessment, names: Names) -> Sheet:
    """The key metrics by the values of a column."""
    metrics = [*key_metrics(one), *(["majority_baseline"] if one.table.positive is None else [])]
    rows: list[Row] = []
    for group in groups.groups:
        name = names.of(group.name) if groups.column in ("group", "path") else group.name
        cells = (_with_interval(_of_group(group, metric)) for metric in metrics)
        rows.append([name, f"{group.n:,}", *cells])
    return numeric_sheet([groups.column, "Images", *(BY_IDENTIFIER[metric].title for metric in metrics)], rows)


def gaps(groups: Subgroups, one: Assessment) -> list[str]:
    """Describe the gap between the best and the worst group for each key metric."""
    return [
        groups.say_gap(metric, one.gap(groups, metric)).replace(metric, BY_IDENTIFIER[metric].title, 1)
        for metric in groups.compared_by
    ]


def _of_group(group: Subgroup, metric: str) -> MetricEstimate:
    value, reason = group.metrics.values[metric], group.metrics.reasons.get(metric, "")
    interval = group.interval(metric)
    return MetricEstimate(
        BY_IDENTIFIER[metric], value, interval.low, interval.high, digits(group.n), "", group.n, reason
    )


def folds_sheet(table: pd.DataFrame, one: Assessment) -> Sheet:
    """Metrics of each fold, their mean, and metrics of the pooled rows."""
    of_split = table[table["class"].isin((one.table.positive or MACRO, ""))]
    numbers = [name for name in dict.fromkeys(of_split["fold"]) if name not in (MEAN, POOLED)]
    by = {(row["fold"], row["metric"]): row for row in of_split.to_dict("records")}
    decimals = digits(len(one.table))
    baseline = f"majority baseline {formatted('accuracy', one.metrics.values['majority_baseline'], decimals)}"
    rows: list[Row] = []
    for metric in [name for name in BY_IDENTIFIER if (POOLED, name) in by]:
        folds = [Cell(formatted(metric, by[number, metric]["estimate"], decimals)) for number in numbers]
        mean, pooled = by[MEAN, metric], by[POOLED, metric]
        sd = "" if math.isnan(mean["sd"]) else f"sd {formatted(metric, mean['sd'], decimals)}"
        together = MetricEstimate(
            BY_IDENTIFIER[metric], pooled["estimate"], pooled["low"], pooled["high"], decimals, "", pooled["n"], ""
        )
        rows.append(
            [
                Cell(BY_IDENTIFIER[metric].title, note=baseline if metric == "accuracy" else ""),
                *folds,
                Cell(formatted(metric, mean["estimate"], decimals), note=sd),
                _with_interval(together),
            ]
        )
    return numeric_sheet(["", *(f"Fold {number}" for number in numbers), "Mean", "Pooled (95% interval)"], rows)


def _with_interval(estimate: MetricEstimate) -> Cell:
    """An estimate with its interval below; the reason if it is undefined."""
    if math.isnan(estimate.value):
        return Cell(estimate.estimate, note=estimate.note)
    return Cell(estimate.estimate, note=estimate.interval.replace(" ", "\N{NO-BREAK SPACE}"))


def _in_order(metrics: Container[str], one: Assessment) -> list[str]:
    """Identifiers in the order of the metric table, further metrics last."""
    known = [*BY_IDENTIFIER, *(metric.identifier for metric in one.further_metrics)]
    return [identifier for identifier in known if identifier in metrics]
