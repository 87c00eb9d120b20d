"""Intervals as a table, one row a metric."""

import dataclasses
from collections.abc import Mapping

import pandas as pd

from medcls.statistics.analytic import Interval


def interval_table(intervals: Mapping[tuple[str, str], Interval]) -> pd.DataFrame:
    """Return the intervals of `statistics.intervals.intervals` as a table.

    Returns
    -------
    DataFrame
        `metric, class`, then the fields of `Interval`. The class is `(macro)` for the mean over classes, and empty for
        a metric of all rows.
    """
    columns = ["metric", "class", *(field.name for field in dataclasses.fields(Interval))]
    return pd.DataFrame([(*key, *dataclasses.astuple(value)) for key, value in intervals.items()], columns=columns)
