"""Non-inferiority: whether a classifier is worse than another by at most a margin chosen beforehand."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import t as student

from medcls.errors import MedclsError
from medcls.evaluation.comparing import WORDS, p_text
from medcls.statistics.analytic import LEVEL, holm
from medcls.statistics.digits import rounded
from medcls.statistics.metric_table import LOWER_IS_BETTER

ALPHA_ONE_SIDED = (1 - LEVEL) / 2

Verdict = Literal["not_inferior", "inferior", "not_shown", "no_interval"]
"""On the first of two."""


def check_margin(margin: Any) -> float | None:  # noqa: ANN401 - a setting
    """Check a margin; None stays None.

    Raises
    ------
    MedclsError
        It is not a number above 0 and below 1.
    """
    if margin is None:
        return None
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < 1:
        raise MedclsError(
            f"margin is {margin!r}: give how much worse the first may be, above 0 and below 1, as margin=0.05.",
            kind="bad_value",
        )
    return float(margin)


def against_margin(pairs: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Test non-inferiority of the first of each pair.

    The first is not inferior if the 95% interval of the difference excludes everything worse than the margin, which is
    a one-sided test at 2.5% (Piaggio et al. 2012, "Reporting of noninferiority and equivalence randomized
    trials: extension of the CONSORT 2010 statement"), corrected by Holm's method if there are several.

    Parameters
    ----------
    pairs : DataFrame
        With `metric, a, b, difference, low, high, freedom`, as of `comparing.compare_all`.
    margin : float
        In the unit of the metric.

    Returns
    -------
    DataFrame
        `metric, a, b, margin, gain, worst, best`: the difference and its limits, with a sign that is positive in
        favour of the first; `p, p_holm` (one-sided, NaN without an interval); `verdict`, a `Verdict`; and a
        `sentence`.
    """
    sign = np.where(pairs["metric"].isin(LOWER_IS_BETTER), -1.0, 1.0)
    gain = pairs["difference"].to_numpy(np.float64) * sign
    low, high = (pairs[name].to_numpy(np.float64) for name in ("low", "high"))
    worst, best = np.where(sign > 0, low, -high), np.where(sign > 0, high, -low)
    freedom = pairs["freedom"].to_numpy(np.float64)
    # The standard error is derived from the limit that decides, so that test and interval agree.
    below = gain - worst
    errors = np.divide(gain + margin, below, out=np.full(len(gain), np.nan), where=below > 0)
    p = student.sf(errors * student.ppf(0.5 + LEVEL / 2, freedom), freedom)
    table = pairs[["metric", "a", "b"]].assign(margin=margin, gain=gain, worst=worst, best=best, p=p, p_holm=holm(p))
    count = int(np.isfinite(p).sum())
    table = table.assign(verdict=[_verdict(row) for row in table.to_dict("records")])
    return table.assign(sentence=[_sentence(row, count) for row in table.to_dict("records")])


def _verdict(row: dict[Any, Any]) -> Verdict:
    if np.isnan(row["p"]):
        return "no_interval"
    if row["worst"] > -row["margin"] and row["p_holm"] < ALPHA_ONE_SIDED:
        return "not_inferior"
    return "inferior" if row["best"] < -row["margin"] else "not_shown"


def _sentence(row: dict[Any, Any], count: int) -> str:
    first, second, margin, worst = row["a"], row["b"], row["margin"], row["worst"]
    test = f"Non-inferiority, {WORDS[row['metric']]}, margin {margin:g}"
    if row["verdict"] == "no_interval":
        return f"{test}: it is unknown whether {first} is inferior to {second}, because there is no interval."
    chance = f"one-sided {p_text(row['p_holm'], count)}"
    if row["verdict"] == "not_inferior":
        size = f"worse by at most {rounded(-worst)}" if worst < 0 else f"better by at least {rounded(worst)}"
        return (
            f"{test}: {first} is not inferior to {second}. By the 95% interval of the difference it is {size} "
            f"({chance}). This holds if the margin was chosen before the results were known."
        )
    if row["verdict"] == "inferior":
        return (
            f"{test}: {first} is inferior to {second}: by the 95% interval of the difference it is worse by at least "
            f"{rounded(-row['best'])}."
        )
    reason = (
        f"by the 95% interval of the difference it may be worse by up to {rounded(-worst)}"
        if worst <= -margin
        else "its own interval excludes the margin, but the corrected test is not significant"
    )
    return (
        f"{test}: it is not shown that {first} is not inferior to {second}: {reason} ({chance}). Nor is it shown that "
        "it is inferior."
    )
