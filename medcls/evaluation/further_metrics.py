"""Metrics that are defined outside medcls, added to an assessment."""

import dataclasses
from collections.abc import Sequence

import pandas as pd

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.interval_table import interval_table
from medcls.statistics.intervals import intervals
from medcls.statistics.metric_table import Metric


def add_metrics(
    assessment: Assessment, metrics: Sequence[Metric], resamples: int, seed: int, *, ordered: bool = False
) -> Assessment:
    """Return the assessment with further metrics and their intervals.

    Parameters
    ----------
    resamples, seed, ordered
        As in `assess`.
    """
    if not metrics:
        return assessment
    split = assessment.table.to_split(assessment.decision_rules.threshold, ordered=ordered)
    rows = interval_table(intervals(split, resamples, seed, metrics))
    both = pd.concat([assessment.intervals, rows], ignore_index=True)
    return dataclasses.replace(assessment, intervals=both, further_metrics=tuple(metrics))
