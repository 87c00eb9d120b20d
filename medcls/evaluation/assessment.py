"""All that a report says of one split, from its predictions and from what was fitted beforehand."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medcls.errors import MedclsError
from medcls.evaluation.calibration import calibration_estimates, curve_of, reliability_table, shift_prior
from medcls.evaluation.decision_curve import benefit_at, decision_curve
from medcls.evaluation.decision_rules import DecisionRules
from medcls.evaluation.predictions import Predictions, uncalibrated
from medcls.evaluation.referral import SetCounts, count_sets, rejection_curve
from medcls.evaluation.subgroups import Bands, Gap, Subgroups, at_edges, corrected, every, quantiles, subgroups
from medcls.statistics.calibration_curve import CalibrationCurve
from medcls.statistics.intervals import intervals
from medcls.statistics.metric_table import BY_IDENTIFIER, Metric
from medcls.statistics.metrics import Metrics, classification_metrics
from medcls.statistics.predictive_values import PredictiveValues, predictive_values
from medcls.statistics.sample_size import HALF_WIDTH, CasesNeeded, cases_needed

# Subgroups are many. What is taken from the resamples is a standard error, and 500 know it within a few percent.
RESAMPLES_OF_A_GROUP = 500


@dataclasses.dataclass(frozen=True)
class Deployment:
    """What the figures become where the classes have another prevalence than in the split.

    Parameters
    ----------
    prevalence : dict of str to float
        As stated, of every class.
    table : Predictions
        With probabilities brought to the shares of the rows that fitted them by a logistic recalibration
        (`DecisionRules.prior`), then re-weighted from these (`calibration.shift_prior`).
    values : PredictiveValues or None
        At the operating point, by Bayes' theorem; None with more than two classes.
    """

    prevalence: dict[str, float]
    table: Predictions
    values: PredictiveValues | None

    @property
    def precision(self) -> float | None:
        """PPV there."""
        return None if self.values is None else self.values.precision.estimate

    @property
    def npv(self) -> float | None:
        """NPV there."""
        return None if self.values is None else self.values.npv.estimate

    def to_plain(self) -> dict[str, Any]:
        """For `metrics.json`."""
        intervals = None if self.values is None else dataclasses.asdict(self.values)
        return {"prevalence": self.prevalence, "precision": self.precision, "npv": self.npv, "intervals": intervals}


@dataclasses.dataclass(frozen=True)
class Assessment:
    """One split, judged.

    Parameters
    ----------
    table : Predictions
        With calibrated probabilities, where there is a calibration.
    decision_rules : DecisionRules
        What was fitted beforehand.
    metrics : Metrics
        At the operating point.
    at_half : Metrics or None
        At a threshold of 0.5, where the operating point is another; else None.
    intervals : DataFrame
        As `intervals.intervals` gives them, at the operating point.
    calibration : DataFrame
        As `calibration.calibration_estimates` gives it, of the probabilities as they are in `table`.
    calibration_before : DataFrame or None
        Of the network's own probabilities, where a calibration changed them.
    reliability : DataFrame
        Of the probabilities as they are in `table`.
    reliability_before : DataFrame or None
        Of the network's own probabilities, where a calibration changed them.
    curve : CalibrationCurve
        Of the probabilities as they are in `table`.
    curve_before : CalibrationCurve or None
        Of the network's own probabilities, where a calibration changed them.
    decisions : DataFrame or None
        The decision curve of a binary task.
    benefit : Series or None
        The decision curve's row at the operating point; None where that has no odds (a threshold of 1).
    rejection : DataFrame
        The rejection curve.
    sets : SetCounts or None
        What the label sets say; None where no rule was fitted.
    subgroups : tuple of Subgroups
        One for each column asked for.
    gaps : tuple of Gap
        Between the groups of all columns, corrected for their number.
    deployment : Deployment or None
        Where a prevalence was stated.
    cases_needed : CasesNeeded or None
        For the precision of the sensitivity that was asked for.
    further_metrics : tuple of Metric
        Metrics in `intervals` that are defined outside medcls, see `further_metrics.add_metrics`.
    """

    table: Predictions
    decision_rules: DecisionRules
    metrics: Metrics
    at_half: Metrics | None
    intervals: pd.DataFrame
    calibration: pd.DataFrame
    calibration_before: pd.DataFrame | None
    reliability: pd.DataFrame
    reliability_before: pd.DataFrame | None
    curve: CalibrationCurve
    curve_before: CalibrationCurve | None
    decisions: pd.DataFrame | None
    benefit: pd.Series | None
    rejection: pd.DataFrame
    sets: SetCounts | None
    subgroups: tuple[Subgroups, ...]
    gaps: tuple[Gap, ...]
    deployment: Deployment | None
    cases_needed: CasesNeeded | None
    further_metrics: tuple[Metric, ...] = ()

    def metric(self, identifier: str) -> Metric:
        """Return the definition of a metric of this assessment."""
        further = {metric.identifier: metric for metric in self.further_metrics}
        return further[identifier] if identifier in further else BY_IDENTIFIER[identifier]

    def gap(self, column: Subgroups, metric: str) -> Gap | None:
        """Give the gap of a column by a metric; None where there is none."""
        return next((one for one in self.gaps if (one.column, one.metric) == (column.column, metric)), None)

    def interval(self, metric: str, of_class: str = "") -> pd.Series:
        """Give the row of `intervals` for a metric: of a class, of the mean over classes, or (empty) of all rows."""
        rows = self.intervals[(self.intervals["metric"] == metric) & (self.intervals["class"] == of_class)]
        return rows.iloc[0]

    def to_plain(self) -> dict[str, Any]:
        """For `metrics.json`."""
        of_groups = {one.column: one.table().to_dict("records") for one in self.subgroups}
        return {
            "caption": self.table.caption(),
            "checkpoint": self.table.checkpoint,
            **self.metrics.to_plain(),
            "intervals": self.intervals.to_dict("records"),
            "calibration": self.calibration.to_dict("records"),
            "calibration_before": None
            if self.calibration_before is None
            else self.calibration_before.to_dict("records"),
            "at_threshold_0.5": None if self.at_half is None else self.at_half.to_plain(),
            "sets": None if self.sets is None else dataclasses.asdict(self.sets),
            "subgroups": of_groups,
            "gaps": [
                {
                    "column": gap.column,
                    "metric": gap.metric,
                    "best": gap.best.name,
                    "worst": gap.worst.name,
                    **{name: getattr(gap, name) for name in ("difference", "low", "high", "p", "p_holm")},
                }
                for gap in self.gaps
            ],
            "net_benefit": None if self.benefit is None else self.benefit.to_dict(),
            "cases_needed": None if self.cases_needed is None else self.cases_needed.to_plain(),
            "deployment": None if self.deployment is None else self.deployment.to_plain(),
        }


def assess(
    table: Predictions,
    decision_rules: DecisionRules,
    *,
    bands: Mapping[str, Bands | None] | None = None,
    prevalence: float | Mapping[str, float] | None = None,
    ordered: bool = False,
    precision_of_sensitivity: float = HALF_WIDTH,
    resamples: int = 2000,
    seed: int = 0,
) -> Assessment:
    """Judge one split.

    Parameters
    ----------
    table : Predictions
        Calibrated already or not: where it has logits the calibration starts from them.
    decision_rules : DecisionRules
        Fitted with the same checkpoint.
    bands : mapping of str to Bands or None, optional
        The columns to make subgroups of, and how numbers in them are cut.
    prevalence : float or mapping of str to float, optional
        Where the classifier is to be used: of the positive class, or of the classes by name.
    ordered : bool
        Whether the table's classes stand in an order that means something (mild, moderate, severe).
    precision_of_sensitivity : float
        Half the width that the 95% interval of the sensitivity is to have: how many more cases does that take?
    resamples, seed : int
        As of `intervals`.

    Raises
    ------
    MedclsError
        A table without rows or of another checkpoint; a prevalence or column that makes no sense.
    """
    if len(table) == 0:
        raise MedclsError("There are no predictions to judge: the table has no rows.", kind="no_rows")
    calibrated = decision_rules.calibrate(table)
    labels, probabilities = calibrated.labels(), calibrated.probabilities()
    judged = (labels, probabilities, table.classes, table.positive)
    threshold = decision_rules.threshold
    metrics = classification_metrics(*judged, threshold, ordered=ordered)
    at_half = None if threshold is None else classification_metrics(*judged)
    groups = calibrated.clusters
    few = min(resamples, RESAMPLES_OF_A_GROUP)
    of_a_group = functools.partial(_intervals, threshold=threshold, resamples=few, seed=seed)
    by_column = tuple(
        subgroups(calibrated, column, bands=cut, threshold=threshold, interval_table=of_a_group)
        for column, cut in (bands or {}).items()
    )
    before = uncalibrated(calibrated) if calibrated.has_logits and decision_rules.calibration is not None else None
    found = intervals(*judged, groups, threshold, resamples, seed, ordered=ordered)
    return Assessment(
        table=calibrated,
        decision_rules=decision_rules,
        metrics=metrics,
        at_half=at_half,
        intervals=found,
        calibration=calibration_estimates(calibrated, resamples, seed),
        calibration_before=None if before is None else calibration_estimates(before, resamples, seed),
        reliability=reliability_table(calibrated),
        reliability_before=None if before is None else reliability_table(before),
        curve=curve_of(calibrated),
        curve_before=None if before is None else curve_of(before),
        decisions=None if table.positive is None else decision_curve(calibrated),
        benefit=None if metrics.threshold is None else benefit_at(calibrated, metrics.threshold),
        rejection=rejection_curve(calibrated, threshold),
        sets=None
        if decision_rules.conformal is None
        else count_sets(calibrated, decision_rules.conformal.sets(calibrated)),
        subgroups=by_column,
        gaps=corrected(by_column),
        deployment=None if prevalence is None else _deployment(table, decision_rules, found, prevalence),
        cases_needed=cases_needed(found, precision_of_sensitivity, len(calibrated), calibrated.cases_by_class()),
    )


def read_bands(asked: Mapping[str, Any] | Sequence[str]) -> dict[str, Bands | None]:
    """Read `[sex, site]` or `{sex: null, age: [40, 60], dose: {every: 10}, size: {quantiles: 4}}`.

    Raises
    ------
    MedclsError
        Anything else.
    """
    if not isinstance(asked, Mapping | Sequence) or isinstance(asked, str):
        raise MedclsError(
            f"subgroups is {asked!r}: list the columns, as '[{asked}]' or '{{sex: null, age: [40, 60]}}'.",
            kind="bad_value",
        )
    by_column = dict(asked) if isinstance(asked, Mapping) else {str(column): None for column in asked}
    return {str(column): _bands(str(column), how) for column, how in by_column.items()}


def _bands(column: str, how: Any) -> Bands | None:  # noqa: ANN401 - what a person typed
    if how is None:
        return None
    if isinstance(how, Sequence) and not isinstance(how, str) and all(_is_number(edge) for edge in how):
        return at_edges(*how)
    if isinstance(how, Mapping) and len(how) == 1:
        ((kind, number),) = how.items()
        if kind == "every" and _is_number(number):
            return every(number)
        if kind == "quantiles":
            return quantiles(number)
    raise MedclsError(
        f"subgroups: the bands of {column!r} are {how!r}. Give null (each value is a group), edges such as [40, 60], "
        "{every: 10} or {quantiles: 4}.",
        kind="bad_value",
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _intervals(rows: Predictions, *, threshold: float | None, resamples: int, seed: int) -> pd.DataFrame:
    judged = (rows.labels(), rows.probabilities(), rows.classes, rows.positive)
    return intervals(*judged, rows.clusters, threshold, resamples, seed)


def _deployment(
    table: Predictions, decision_rules: DecisionRules, found: pd.DataFrame, prevalence: float | Mapping[str, float]
) -> Deployment:
    """Re-weight to a stated prevalence."""
    if not isinstance(prevalence, Mapping):
        if table.positive is None:
            raise MedclsError(
                f"prevalence={prevalence} with {len(table.classes)} classes: name each class's share, as "
                f"prevalence='{{{table.classes[0]}: 0.7, ...}}'.",
                kind="bad_value",
            )
        prevalence = {table.positive: prevalence}
    if not decision_rules.stands_for:
        raise MedclsError(
            "A prevalence was stated, but nothing was fitted that says which prevalence the probabilities stand for. "
            "It needs rows that are not the result: val=FILE.csv beside a table; for several views or folds, runs "
            "trained with data.calibration_fraction.",
            kind="prevalence_without_calibration",
        )
    if decision_rules.prior is None:
        raise MedclsError(
            "A prevalence was stated, and an earlier medcls fitted this run, without an intercept: the probabilities "
            "would be shifted from a prevalence that they do not stand for. Have it fitted anew, by adding "
            "calibrate=temperature (or logistic).",
            kind="fitted_by_earlier_version",
        )
    shifted = shift_prior(decision_rules.prior.apply(table), decision_rules.stands_for, prevalence)
    rest = 1 - sum(prevalence.values())
    shares = {name: float(prevalence.get(name, rest)) for name in table.classes}
    if table.positive is None:
        return Deployment(shares, shifted, None)
    return Deployment(shares, shifted, predictive_values(shares[table.positive], found, table.positive))
