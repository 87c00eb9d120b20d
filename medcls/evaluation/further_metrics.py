"""Metrics that are defined outside medcls, added to an assessment."""

import dataclasses
from collections.abc import Sequence

import pandas as pd

from medcls.evaluation.assessment import Assessment
from medcls.statistics.intervals import split_intervals
from medcls.statistics.metric_table import Metric
from medcls.statistics.metrics import checked_split


def add_metrics(
    assessment: Assessment, metrics: Sequence[Metric], resamples: int, seed: int, *, ordered: bool = False
) -> Assessment:
    """Return the assessment with further metrics and their intervals.

    Parameters
    ----------
    assessment : Assessment
    metrics : sequence of Metric
    resamples, seed, ordered
        As in `assess`.
    """
    if not metrics:
        return assessment
    table = assessment.table
    split = checked_split(
        table.labels(),
        table.probabilities(),
        table.classes,
        table.positive,
        assessment.decision_rules.threshold,
        table.clusters,
        ordered=ordered,
    )
    rows = split_intervals(split, resamples, seed, metrics)
    intervals = pd.concat([assessment.intervals, rows], ignore_index=True)
    return dataclasses.replace(assessment, intervals=intervals, further_metrics=tuple(metrics))
