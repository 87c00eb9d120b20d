"""Whether acting on the classifier does more good than treating everybody or nobody."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from medcls.errors import MedclsError
from medcls.evaluation.predictions import Predictions
from medcls.statistics.analytic import LEVEL, Z, wilson_limits
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.resampling import any_repeated, group_numbers

DEFAULT_THRESHOLDS = tuple(step / 100 for step in range(1, 100))


def decision_curve(table: Predictions, thresholds: Sequence[float] = DEFAULT_THRESHOLDS) -> pd.DataFrame:
    """Net benefit of the classifier, of treating all and of treating none, over threshold probabilities.

    `TP / n - FP / n * t / (1 - t)`: Vickers and Elkin 2006, "Decision curve analysis: a novel method for evaluating
    prediction models". The threshold t is the probability at which a person would act: who acts at 0.1 holds a
    missed case nine times as bad as a needless treatment. The unit is true positives for each row; it needs
    calibrated probabilities, and holds at the prevalence of these rows.

    Parameters
    ----------
    table : Predictions
        A binary table with rows.
    thresholds : sequence of float
        From 0 up to but without 1, where no number of true positives outweighs a false one.

    Returns
    -------
    DataFrame
        One row a threshold, as given: `threshold, n, true_positives, false_positives` (rows with at least this
        probability), and the net benefits `model`, `treat_all`, `treat_none` (0 throughout). `low, high` are the 95%
        limits of `model`, point by point; `over_all` is its difference to `treat_all`, with the limits
        `over_all_low, over_all_high`.

    Notes
    -----
    Either is the weighted difference of two shares of all rows: of the true and of the false positives, of the true
    and of the false negatives. Its limits come from Wilson's of both shares and their correlation (MOVER: Zou, Huang
    and Zhang 2009, "A note on confidence interval estimation for a linear function of binomial proportions"), which
    are limits even where no row is a false positive. Where rows come in groups, the shares count as many rows as
    would be as sure if each stood alone (Korn and Graubard 1998, "Confidence intervals for proportions with small
    expected number of positive counts estimated from survey data").

    Raises
    ------
    MedclsError
        More than two classes, no rows, or a threshold outside that range.
    """
    if table.positive is None:
        raise MedclsError(
            f"A decision curve belongs to a binary task; there are {len(table.classes)} classes.", kind="not_binary"
        )
    if len(table) == 0:
        raise MedclsError("A decision curve needs rows, and the table has none.", kind="no_rows")
    at = np.asarray(thresholds, np.float64)
    outside = at[~((at >= 0) & (at < 1))]
    if len(outside):
        raise MedclsError(
            f"A decision curve has thresholds from 0 up to but without 1; {outside[0]:g} is none.", kind="bad_value"
        )
    index = table.classes.index(table.positive)
    scores, case = table.probabilities()[:, index], table.labels() == index
    n, odds = len(case), at / (1 - at)
    tp = _at_least(scores[case], at)
    fp = _at_least(scores[~case], at)
    fn, tn = case.sum() - tp, (~case).sum() - fp
    groups = group_numbers(table.clusters, n)
    rows = np.full((len(at), 2), float(n))
    if any_repeated(groups):
        for place, value in enumerate(at.tolist()):
            rows[place] = _rows_behind(case, scores, value, groups)
    low, high = _limits(tp / n, fp / n, np.ones(len(at)), odds, rows[:, 0])
    over_low, over_high = _limits(tn / n, fn / n, odds, np.ones(len(at)), rows[:, 1])
    return pd.DataFrame(
        {
            "threshold": at,
            "n": n,
            "true_positives": tp,
            "false_positives": fp,
            "model": (tp - fp * odds) / n,
            "treat_all": (case.sum() - (~case).sum() * odds) / n,
            "treat_none": 0.0,
            "low": low,
            "high": high,
            "over_all": (tn * odds - fn) / n,
            "over_all_low": over_low,
            "over_all_high": over_high,
        }
    )


def benefit_at(table: Predictions, threshold: float) -> pd.Series | None:
    """The row of a decision curve at one threshold, None for a threshold of 1: a needless treatment then costs all."""
    return decision_curve(table, [threshold]).iloc[0] if threshold < 1 else None


def say_benefit(row: pd.Series) -> str:
    """Say of one threshold what good the classifier does, and of two ways to act better only where its limits say so.

    Parameters
    ----------
    row : Series
        Of a decision curve.
    """
    told = (
        f"Who acts at the operating point, from a probability of {row['threshold']:.3g} on, has a net benefit of "
        f"{row['model']:.3f} (95% interval {row['low']:.3f} to {row['high']:.3f}), and {row['over_all']:+.3f} "
        f"({row['over_all_low']:+.3f} to {row['over_all_high']:+.3f}) over treating everybody. "
    ).replace("-", "\N{MINUS SIGN}")
    worse = [who for low, who in ((row["high"], "nobody"), (row["over_all_high"], "everybody")) if low < 0]
    if worse:
        return f"{told}Acting on the classifier does less good here than treating {' or '.join(worse)}."
    unclear = [who for low, who in ((row["low"], "nobody"), (row["over_all_low"], "everybody")) if low <= 0]
    if unclear:
        return f"{told}These images cannot tell whether that is more than by treating {' or '.join(unclear)}."
    return f"{told}Acting on the classifier does more good here than treating everybody or nobody."


def acting_from(asked: Any) -> float:  # noqa: ANN401 - what a person typed
    """The threshold probability of a net benefit.

    Raises
    ------
    MedclsError
        None was stated, or it is no number from 0 up to but without 1.
    """
    if asked is None:
        raise MedclsError(
            "A net benefit belongs to the probability from which a person would act: state it, as "
            "threshold_probability=0.1, where a missed case weighs nine needless treatments.",
            kind="missing_setting",
        )
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not 0 <= asked < 1:
        raise MedclsError(
            f"threshold_probability is {asked!r}: give a probability, from 0 up to but without 1.", kind="bad_value"
        )
    return float(asked)


def benefit_of_rows(events: NDArray[np.bool_], scores: Floats, threshold: float) -> Floats:
    """What each row adds to the net benefit at a threshold, which is their mean: `(n,)`.

    Parameters
    ----------
    events : bool array (n,)
        Where a row is of the positive class.
    scores : float64 array (n,)
        Its probability.
    threshold : float
        From 0 up to but without 1.
    """
    return np.where(scores >= threshold, benefit_of_all(events, threshold), 0.0)


def benefit_of_all(events: NDArray[np.bool_], threshold: float) -> Floats:
    """The same where every row is called: `(n,)`."""
    return np.where(events, 1.0, -threshold / (1 - threshold))


def _rows_behind(events: NDArray[np.bool_], scores: Floats, threshold: float, groups: Integers) -> tuple[float, float]:
    """How many rows count at a threshold: for the net benefit, and for its difference to that of calling all."""
    acting, every = benefit_of_rows(events, scores, threshold), benefit_of_all(events, threshold)
    return _rows_that_count(acting, groups), _rows_that_count(acting - every, groups)


def _rows_that_count(values: Floats, groups: Integers) -> float:
    """How many rows that stand alone would make the mean of these values `(n,)` as sure as it is.

    With few groups fewer still, by which Wilson's limits become those of Student's quantile.
    """
    n, centred = len(values), values - values.mean()
    count = int(groups.max()) + 1
    if count == 1:
        return 1.0
    alone = float((centred**2).sum())
    together = count / (count - 1) * float((np.bincount(groups, centred) ** 2).sum())
    rows = n * alone / together if min(alone, together) > 0 else float(count)
    return rows * (Z / float(student.ppf(0.5 + LEVEL / 2, count - 1))) ** 2


def _limits(gained: Floats, lost: Floats, up: Floats, down: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Limits of `up * gained - down * lost`, of two shares of the same rows that exclude each other: each `(t,)`."""
    limits = np.array(
        [[wilson_limits(share, n) for share, n in zip(of, rows, strict=True)] for of in (gained, lost)]
    ).reshape(2, -1, 2)
    (gained_low, gained_high), (lost_low, lost_high) = limits[0].T, limits[1].T
    both = (1 - gained) * (1 - lost)
    against = np.sqrt(np.divide(gained * lost, both, out=np.zeros_like(both), where=both > 0))
    centre = up * gained - down * lost
    below, above = up * (gained - gained_low), down * (lost_high - lost)
    low = centre - np.sqrt(below**2 + above**2 + 2 * against * below * above)
    above, below = up * (gained_high - gained), down * (lost - lost_low)
    return low, centre + np.sqrt(below**2 + above**2 + 2 * against * below * above)


def _at_least(scores: Floats, thresholds: Floats) -> Integers:
    """How many scores reach each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
