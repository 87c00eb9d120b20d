"""Tables of intervals from arrays."""

from medcls.evaluation.interval_table import interval_table
from medcls.statistics import intervals as room
from medcls.statistics.metrics import checked_split


def intervals(
    labels, probabilities, classes, positive, groups=None, threshold=None, resamples=2000, seed=0, ordered=False
):
    """The intervals of `checked_split` as a table."""
    split = checked_split(labels, probabilities, classes, positive, threshold, groups, ordered=ordered)
    return interval_table(room.intervals(split, resamples, seed))
