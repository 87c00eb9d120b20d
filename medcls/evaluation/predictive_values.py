"""PPV and NPV at another prevalence than the split's, with their intervals."""

import dataclasses

import numpy as np
import pandas as pd

from medcls.errors import MedclsError
from medcls.statistics.analytic import SIMEL, Interval, undefined

MERCALDO = "logit method (Mercaldo, Lau and Zhou 2007)"


@dataclasses.dataclass(frozen=True)
class PredictiveValues:
    """PPV and NPV at one prevalence."""

    prevalence: float
    precision: Interval
    npv: Interval


def predictive_values(prevalence: float, intervals: pd.DataFrame, positive: str) -> PredictiveValues:
    """Compute PPV and NPV at a prevalence from sensitivity and specificity, by Bayes' theorem.

    The odds of a PPV are the positive likelihood ratio times the odds of the prevalence, which is known, so its limits
    follow from those of the likelihood ratio. By formula that is the logit interval of Mercaldo, Lau and Zhou 2007,
    "Confidence intervals for predictive values with an emphasis to case-control studies"; with groups it comes from
    the same resamples. NPV and negative likelihood ratio likewise. If a likelihood ratio has no limits, those of
    sensitivity and specificity together are used, which are wider.

    Parameters
    ----------
    prevalence : float
        Above 0 and below 1, taken as known.
    intervals : DataFrame
        As of `interval_table`, of a binary task.
    positive : str
        The positive class.

    Raises
    ------
    MedclsError
        A prevalence that is not between 0 and 1.
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
            found[metric] = undefined("a class has no image, or no image is predicted as one of the classes", n)
            continue
        (row,) = of_class.loc[[ratio]].to_dict("records")
        low, high, method = float(row["low"]), float(row["high"]), str(row["method"])
        if np.isnan([low, high]).any():
            limits, method = (lowest[place], highest[place]), f"at the limits of both rates ({rates['method'].iloc[0]})"
        elif metric == "precision":
            limits = _share(low * odds), _share(high * odds)
        else:  # a higher ratio means a lower NPV
            limits = 1 - _share(high * odds), 1 - _share(low * odds)
        found[metric] = Interval(values[place], *limits, MERCALDO if method == SIMEL else method, n)
    return PredictiveValues(prevalence, found["precision"], found["npv"])


def predictive_values_at(prevalence: float, sensitivity: float, specificity: float) -> tuple[float, float]:
    """Return PPV and NPV at a prevalence, each NaN if nothing is predicted so.

    Bayes' theorem (Altman and Bland, "Diagnostic tests 2: predictive values", BMJ 309:102, 1994). It holds as long as
    sensitivity and specificity stay the same, which a change in the spectrum of cases prevents.

    Parameters
    ----------
    prevalence : float
        Above 0 and below 1.
    sensitivity, specificity : float
        From 0 to 1; NaN gives NaN.

    Raises
    ------
    MedclsError
        A prevalence that is not between 0 and 1.
    """
    if isinstance(prevalence, bool) or not 0 < prevalence < 1:
        raise MedclsError(f"The prevalence is {prevalence}: give a share above 0 and below 1.", kind="bad_value")
    tp, fn = sensitivity * prevalence, (1 - sensitivity) * prevalence
    tn, fp = specificity * (1 - prevalence), (1 - specificity) * (1 - prevalence)
    return tp / (tp + fp) if tp + fp else float("nan"), tn / (tn + fn) if tn + fn else float("nan")


def _share(odds: float) -> float:
    return 1.0 if np.isinf(odds) else odds / (1 + odds)
