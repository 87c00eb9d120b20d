"""PPV and NPV where the positive class has another prevalence than in the split, with their intervals."""

import dataclasses

import numpy as np
import pandas as pd

from medcls.statistics.analytic import SIMEL, Interval, undefined
from medcls.statistics.metrics import predictive_values_at

MERCALDO = "logit method (Mercaldo, Lau and Zhou 2007)"


@dataclasses.dataclass(frozen=True)
class PredictiveValues:
    """PPV and NPV at one prevalence."""

    prevalence: float
    precision: Interval
    npv: Interval


def predictive_values(prevalence: float, intervals: pd.DataFrame, positive: str) -> PredictiveValues:
    """Carry sensitivity and specificity over to another prevalence, by Bayes' theorem.

    The odds of a PPV are the positive likelihood ratio times the odds of the prevalence, which is known; so its
    limits are those of the likelihood ratio, carried over. By formula that is the logit interval of Mercaldo, Lau and
    Zhou 2007, "Confidence intervals for predictive values with an emphasis to case-control studies"; where rows are
    grouped, that of the same resamples. The same of the NPV and the negative likelihood ratio. Where a likelihood
    ratio has no limits, those of sensitivity and specificity together stand in, which are wider.

    Parameters
    ----------
    prevalence : float
        Above 0 and below 1, taken as known.
    intervals : DataFrame
        As of `intervals.intervals`, of a binary task.
    positive : str
        The positive class.

    Raises
    ------
    MedclsError
        A prevalence that is no share between 0 and 1.
    """
    of_class = intervals[intervals["class"] == positive].set_index("metric")
    rates = of_class.loc[["sensitivity", "specificity"]]
    values, lowest, highest = (
        predictive_values_at(prevalence, *rates[name].to_numpy(np.float64).tolist())
        for name in ("estimate", "low", "high")
    )
    odds, n = prevalence / (1 - prevalence), int(rates["n"].sum())
    ratios = {"precision": "positive_likelihood_ratio", "npv": "negative_likelihood_ratio"}
    found = {}
    for place, (metric, ratio) in enumerate(ratios.items()):
        if np.isnan(values[place]):
            found[metric] = undefined("a class has no image, or no image is called so", n)
            continue
        (row,) = of_class.loc[[ratio]].to_dict("records")
        limits, method = (float(row["low"]), float(row["high"])), str(row["method"])
        if np.isnan(limits).any():
            limits, method = (lowest[place], highest[place]), f"at the limits of both rates ({rates['method'].iloc[0]})"
        elif metric == "precision":
            limits = _share(limits[0] * odds), _share(limits[1] * odds)
        else:  # a higher ratio means a lower NPV
            limits = 1 - _share(limits[1] * odds), 1 - _share(limits[0] * odds)
        found[metric] = Interval(values[place], *limits, MERCALDO if method == SIMEL else method, n)
    return PredictiveValues(prevalence, found["precision"], found["npv"])


def _share(odds: float) -> float:
    return 1.0 if np.isinf(odds) else odds / (1 + odds)
