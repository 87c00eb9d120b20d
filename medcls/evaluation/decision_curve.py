"""Decision curves: the net benefit of acting on the classifier, against treating everybody or nobody."""

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
from medcls.statistics.digits import rounded

DEFAULT_THRESHOLDS = tuple(step / 100 for step in range(1, 100))


def decision_curve(table: Predictions, thresholds: Sequence[float] = DEFAULT_THRESHOLDS) -> pd.DataFrame:
    """Net benefit of the classifier, of treating all and of treating none, over threshold probabilities.

    `TP / n - FP / n * t / (1 - t)`: Vickers and Elkin 2006, "Decision curve analysis: a novel method for evaluating
    prediction models". The threshold t is the probability from which a person would act: at 0.1 a missed case is nine
    times as bad as an unnecessary treatment. The unit is true positives per row; it needs calibrated probabilities,
    and holds at the prevalence of these rows.

    Parameters
    ----------
    table : Predictions
        A binary table with rows.
    thresholds : sequence of float
        From 0 to below 1.

    Returns
    -------
    DataFrame
        One row a threshold: `threshold, n, true_positives, false_positives` and the net benefits `model`, `treat_all`,
        `treat_none` (always 0). `low, high` are the pointwise 95% limits of `model`; `over_all` is its difference to
        `treat_all`, with the limits `over_all_low, over_all_high`.

    Notes
    -----
    Both are a weighted difference of two shares of all rows: of true and false positives, of true and false negatives.
    The limits come from Wilson's of both shares and their correlation (MOVER: Zou, Huang and Zhang 2009, "A note on
    confidence interval estimation for a linear function of binomial proportions"), and exist without a false positive
    too. With groups, the shares are of the effective number of rows (Korn and Graubard 1998, "Confidence intervals for
    proportions with small expected number of positive counts estimated from survey data").

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
            f"The thresholds of a decision curve are from 0 to below 1; {outside[0]:g} is not.", kind="bad_value"
        )
    counts = table.to_split().count().one_vs_rest[0]
    scores, case, groups = counts.scores, counts.is_case, counts.split.groups
    n, odds = len(case), at / (1 - at)
    tp = _at_least(scores[case], at)
    fp = _at_least(scores[~case], at)
    fn, tn = case.sum() - tp, (~case).sum() - fp
    rows = np.full((len(at), 2), float(n))
    if counts.split.is_grouped:
        for place, value in enumerate(at.tolist()):
            acting, every = benefit_of_rows(case, scores, value), _benefit_of_all(case, value)
            rows[place] = _effective_rows(acting, groups), _effective_rows(acting - every, groups)
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
    """Return the row of a decision curve at one threshold; None for a threshold of 1, which has no odds."""
    return decision_curve(table, [threshold]).iloc[0] if threshold < 1 else None


def say_benefit(row: pd.Series) -> str:
    """Return the net benefit in words; it is better or worse than another strategy only if its limits show it.

    Parameters
    ----------
    row : Series
        Of a decision curve.
    """
    benefit = (
        f"Acting from a probability of {row['threshold']:.3g} on, the operating point, has a net benefit of "
        f"{rounded(row['model'])} (95% interval {rounded(row['low'])} to {rounded(row['high'])}), and "
        f"{row['over_all']:+.3f} ({row['over_all_low']:+.3f} to {row['over_all_high']:+.3f}) over treating everybody. "
    ).replace("-", "\N{MINUS SIGN}")
    worse = [who for high, who in ((row["high"], "nobody"), (row["over_all_high"], "everybody")) if high < 0]
    if worse:
        return f"{benefit}This is worse than treating {' or '.join(worse)}."
    unclear = [who for low, who in ((row["low"], "nobody"), (row["over_all_low"], "everybody")) if low <= 0]
    if unclear:
        return f"{benefit}These images do not show whether this is better than treating {' or '.join(unclear)}."
    return f"{benefit}This is better than treating everybody or nobody."


def acting_from(value: Any) -> float:  # noqa: ANN401 - a setting
    """Check the threshold probability of a net benefit.

    Raises
    ------
    MedclsError
        There is none, or it is not a number from 0 to below 1.
    """
    if value is None:
        raise MedclsError(
            "A net benefit needs the probability from which a person would act: set it, as threshold_probability=0.1, "
            "where a missed case is as bad as nine unnecessary treatments.",
            kind="missing_setting",
        )
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise MedclsError(
            f"threshold_probability is {value!r}: give a probability, from 0 to below 1.", kind="bad_value"
        )
    return float(value)


def benefit_of_rows(events: NDArray[np.bool_], scores: Floats, threshold: float) -> Floats:
    """Return the benefit of each row at a threshold, whose mean is the net benefit: `(n,)`.

    Parameters
    ----------
    events : bool array (n,)
        Whether a row is of the positive class.
    scores : float64 array (n,)
        Its probability.
    threshold : float
        From 0 to below 1.
    """
    return np.where(scores >= threshold, _benefit_of_all(events, threshold), 0.0)


def _benefit_of_all(events: NDArray[np.bool_], threshold: float) -> Floats:
    """Return the same if every row is predicted positive: `(n,)`."""
    return np.where(events, 1.0, -threshold / (1 - threshold))


def _effective_rows(values: Floats, groups: Integers) -> float:
    """Return the number of independent rows with the same variance of the mean of these values `(n,)`.

    It is reduced with few groups, so that Wilson's limits become those of Student's quantile.
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
    """Limits of `up * gained - down * lost` for two exclusive shares of the same rows: each `(t,)`."""
    limits = np.array(
        [[wilson_limits(share, n) for share, n in zip(shares, rows, strict=True)] for shares in (gained, lost)]
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
    """Count the scores that reach each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
