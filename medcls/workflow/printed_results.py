"""Results on the terminal."""

import logging

import numpy as np
import pandas as pd

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.decision_rules import DecisionRules
from medcls.evaluation.estimates import Estimate
from medcls.evaluation.predictions import Predictions
from medcls.evaluation.spread import too_alike
from medcls.report.phrases import missed_target, worse_than_chance
from medcls.runs.registry import Readings
from medcls.statistics.digits import rounded
from medcls.statistics.metric_table import MACRO, METRICS
from medcls.statistics.metrics import classification_metrics, predicted_classes
from medcls.wording import counted
from medcls.workflow import terminal
from medcls.workflow.evaluating import Results

log = logging.getLogger(__name__)

SHOWN = tuple(metric.identifier for metric in METRICS if metric.short)
"""Metrics on the terminal; the report has all."""


def show(results: Results, readings: Readings | None, name: str = "Best checkpoint") -> None:
    """Print the metrics of all splits, and log what limits them."""
    headline = results.headline
    for notice in (worse_than_chance(headline), missed_target(headline)):
        if notice is not None:
            log.warning("%s: %s. %s", headline.table.name, notice.title, notice.text, extra={"rule": notice.rule})
    metrics = [metric for metric in SHOWN if metric in headline.metrics.values]
    columns = {one.table.name: [_with_interval(one, metric) for metric in metrics] for one in results.splits}
    terminal.show_table(pd.DataFrame({"metric": metrics, **columns}), f"{name}, with 95% intervals")
    if (point := headline.decision_rules.operating_point) is not None:
        log.info("operating point: class %s if its probability is at least %s", point.positive_class, point.label())
        if point.promise:
            log.info("%s", point.promise)
    for one in results.splits:
        log.info("%s", one.table.caption())
        if (alike := too_alike(one.table)) is not None:
            log.warning(alike, extra={"rule": "one_answer"})
        undefined = [metric for metric in one.metrics.reasons if "/" not in metric]
        if undefined:
            reasons = one.metrics.why(undefined)
            log.warning("%s: undefined: %s (%s)", one.table.name, ", ".join(undefined), reasons)
        if (note := one.metrics.majority_note()) is not None:
            log.warning("%s: %s", one.table.name, note)
    if (needed := headline.cases_needed) is not None:
        log.info("%s", needed.sentence())
    if readings is not None:
        log.info("%s", readings.sentence(), extra={"rule": "test_readings"})


def show_folds(folds: pd.DataFrame) -> None:
    """Print the main metrics of each fold, their mean, and those of the pooled rows."""
    shown = folds[folds["metric"].isin(SHOWN)]
    if shown["class"].nunique() > 2:
        shown = shown[shown["class"].isin(("", MACRO)) | ~shown["class"].duplicated(keep=False)]
    table = shown.pivot_table(index="metric", columns="fold", values="estimate", sort=False).reset_index()
    terminal.show_table(table, "Cross-validation")


def show_effect(exact: Predictions, other: Predictions, rules: DecisionRules, how: str) -> None:
    """Print what another precision changes, for the same images at the same threshold.

    Parameters
    ----------
    exact, other : Predictions
        Of the same images in the same order.
    rules : DecisionRules
        Applied to both.
    how : str
        Name of the other precision.
    """
    tables = [rules.calibrate(table) for table in (exact, other)]
    exactly, changed = (
        classification_metrics(one.labels(), one.probabilities(), one.classes, one.positive, rules.threshold).values
        for one in tables
    )
    names = [name for name in SHOWN if name in exactly]
    table = pd.DataFrame({"metric": names, "exact": [exactly[name] for name in names]})
    table[how] = [changed[name] for name in names]
    table["change"] = [
        "" if np.isnan(after - before) else f"{after - before:+.4f}"
        for before, after in zip(table["exact"], table[how], strict=True)
    ]
    terminal.show_table(table, f"Effect of {how}, on {counted(len(exact), 'image')}")
    scores = [one.probabilities() for one in tables]
    before, after = (predicted_classes(one, exact.classes, exact.positive, rules.threshold) for one in scores)
    log.info(
        "%s: probabilities differ by %.2g at most, %d of %d predictions differ",
        how,
        np.abs(scores[0] - scores[1]).max(),
        (before != after).sum(),
        len(exact),
    )


def _with_interval(assessment: Assessment, metric: str) -> str:
    value = assessment.metrics.values[metric]
    rows = assessment.intervals[assessment.intervals["metric"] == metric]
    # The row of the whole split: of the positive class, of the mean over classes, or of all rows.
    of_split = rows[rows["class"].isin((assessment.table.positive or MACRO, ""))]
    if np.isnan(value):
        return "undefined"
    if of_split.empty:
        return rounded(value)
    return str(Estimate(value, of_split["low"].iloc[0], of_split["high"].iloc[0]))
