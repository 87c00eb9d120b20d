"""Whether a classifier is worse than another by no more than a margin that was stated beforehand."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import t as student

from medcls.errors import MedclsError
from medcls.evaluation.comparing import WORDS
from medcls.statistics.analytic import LEVEL, holm
from medcls.statistics.metric_table import LOWER_IS_BETTER

ALPHA_ONE_SIDED = (1 - LEVEL) / 2

Verdict = Literal["not_inferior", "inferior", "not_shown", "no_interval"]
"""What is concluded of the first of two."""


def check_margin(margin: Any) -> float | None:  # noqa: ANN401 - what a person typed
    """A margin as a number; None where none was stated.

    Raises
    ------
    MedclsError
        It is no number above 0 and below 1.
    """
    if margin is None:
        return None
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < 1:
        raise MedclsError(
            f"margin is {margin!r}: give how much worse the first may be and still serve, above 0 and below 1, as "
            "margin=0.05.",
            kind="bad_value",
        )
    return float(margin)


def against_margin(pairs: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Test that the first is worse by at least the margin, against that it is not: one line a comparison.

    The first is not inferior where the 95% interval of the difference leaves out all that is worse than the margin,
    which is a one-sided test at 2.5% (Piaggio et al. 2012, "Reporting of noninferiority and equivalence randomized
    trials: extension of the CONSORT 2010 statement"), corrected by Holm's method where there are several.

    Parameters
    ----------
    pairs : DataFrame
        With `metric, a, b, difference, low, high, freedom`, as of `comparing.compare_all`.
    margin : float
        In the unit of the metric.

    Returns
    -------
    DataFrame
        `metric, a, b, margin, gain, worst, best`: the difference and its limits, turned so that what is above 0 is
        in favour of the first; `p, p_holm` (one-sided, NaN where there is no interval); `verdict`, a `Verdict`; and a
        `sentence`.
    """
    turned = np.where(pairs["metric"].isin(LOWER_IS_BETTER), -1.0, 1.0)
    gain = pairs["difference"].to_numpy(np.float64) * turned
    low, high = (pairs[name].to_numpy(np.float64) for name in ("low", "high"))
    worst, best = np.where(turned > 0, low, -high), np.where(turned > 0, high, -low)
    freedom = pairs["freedom"].to_numpy(np.float64)
    # The standard error is read back from the limit that decides, so that test and interval say the same.
    below = gain - worst
    errors = np.divide(gain + margin, below, out=np.full(len(gain), np.nan), where=below > 0)
    p = student.sf(errors * student.ppf(0.5 + LEVEL / 2, freedom), freedom)
    found = pairs[["metric", "a", "b"]].assign(margin=margin, gain=gain, worst=worst, best=best, p=p, p_holm=holm(p))
    count = int(np.isfinite(p).sum())
    found = found.assign(verdict=[_verdict(row) for row in found.to_dict("records")])
    return found.assign(sentence=[_sentence(row, count) for row in found.to_dict("records")])


def sentences(found: pd.DataFrame) -> Sequence[str]:
    """What can be said of each comparison against the margin."""
    return tuple(found["sentence"])


def _verdict(row: dict[Any, Any]) -> Verdict:
    if np.isnan(row["p"]):
        return "no_interval"
    if row["worst"] > -row["margin"] and row["p_holm"] < ALPHA_ONE_SIDED:
        return "not_inferior"
    return "inferior" if row["best"] < -row["margin"] else "not_shown"


def _sentence(row: dict[Any, Any], count: int) -> str:
    first, second, margin, worst = row["a"], row["b"], row["margin"], row["worst"]
    asked = f"Non-inferiority, {WORDS[row['metric']]}, margin {margin:g}"
    if row["verdict"] == "no_interval":
        return f"{asked}: it cannot be told whether {first} is inferior to {second}, because there is no interval."
    chance = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.3f}"
    chance = f"one-sided {chance}" + (f" after Holm's correction for {count} claims" if count > 1 else "")
    if row["verdict"] == "not_inferior":
        least = f"is worse by at most {-worst:.3f}" if worst < 0 else f"is better by at least {worst:.3f}"
        return (
            f"{asked}: {first} is not inferior to {second}. By the 95% interval of their difference it {least} "
            f"({chance}). This holds if the margin was chosen before these figures were seen."
        )
    if row["verdict"] == "inferior":
        return (
            f"{asked}: {first} is inferior to {second} by more than the margin: by the 95% interval of their "
            f"difference it is worse by at least {-row['best']:.3f}."
        )
    shown = (
        f"by the 95% interval of their difference it may be worse by up to {-worst:.3f}"
        if worst <= -margin
        else "the interval of this claim alone would do, and the correction for their number takes it back"
    )
    return (
        f"{asked}: it is not shown that {first} is not inferior to {second}: {shown} ({chance}). That does not show "
        "that it is inferior."
    )
