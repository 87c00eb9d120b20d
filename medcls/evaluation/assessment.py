"""The assessment of one split for its report, from its predictions and decision rules."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medcls.errors import MedclsError
from medcls.evaluation.calibration import calibration_estimates, curve_of, reliability_table, shift_prior
from medcls.evaluation.decision_curve import benefit_at, decision_curve
from medcls.evaluation.decision_rules import DecisionRules
from medcls.evaluation.interval_table import interval_table
from medcls.evaluation.predictions import Predictions, uncalibrated
from medcls.evaluation.predictive_values import PredictiveValues, predictive_values
from medcls.evaluation.referral import SetCounts, count_sets, rejection_curve
from medcls.evaluation.sample_size import HALF_WIDTH, CasesNeeded, cases_needed
from medcls.evaluation.subgroups import Bands, Gap, Subgroups, at_edges, corrected, every, quantiles, subgroups
from medcls.statistics.calibration_curve import CalibrationCurve
from medcls.statistics.intervals import intervals
from medcls.statistics.metric_table import BY_IDENTIFIER, Metric
from medcls.statistics.metrics import Metrics, split_metrics

# There are many subgroups, and 500 resamples estimate a standard error within a few percent.
RESAMPLES_OF_A_GROUP = 500


@dataclasses.dataclass(frozen=True)
class Deployment:
    """Predictions and predictive values at another prevalence than the split's.

    Parameters
    ----------
    prevalence : dict of str to float
        Of every class.
    table : Predictions
        With probabilities recalibrated in the large (`DecisionRules.prior`), then shifted (`calibration.shift_prior`).
    values : PredictiveValues or None
        At the operating point; None with more than two classes.
    """

    prevalence: dict[str, float]
    table: Predictions
    values: PredictiveValues | None

    @property
    def precision(self) -> float | None:
        """PPV at the prevalence."""
        return None if self.values is None else self.values.precision.estimate

    @property
    def npv(self) -> float | None:
        """NPV at the prevalence."""
        return None if self.values is None else self.values.npv.estimate

    def to_plain(self) -> dict[str, Any]:
        """For `metrics.json`."""
        intervals = None if self.values is None else dataclasses.asdict(self.values)
        return {"prevalence": self.prevalence, "precision": self.precision, "npv": self.npv, "intervals": intervals}


@dataclasses.dataclass(frozen=True)
class Assessment:
    """The assessment of one split.

    The fields `..._before` are of the network's own probabilities, and None if no calibration changed them.

    Parameters
    ----------
    table : Predictions
        With calibrated probabilities, if there is a calibration.
    metrics : Metrics
        At the operating point.
    at_half : Metrics or None
        At a threshold of 0.5, if the operating point is another.
    intervals : DataFrame
        As `interval_table`, at the operating point.
    calibration, calibration_before : DataFrame
        As `calibration.calibration_estimates`.
    reliability, reliability_before : DataFrame
        As `calibration.reliability_table`.
    decisions : DataFrame or None
        The decision curve of a binary task.
    benefit : Series or None
        Its row at the operating point; None for a threshold of 1, which has no odds.
    rejection : DataFrame
        As `referral.rejection_curve`.
    sets : SetCounts or None
        Of the label sets; None without a rule for them.
    subgroups : tuple of Subgroups
        One for each requested column.
    gaps : tuple of Gap
        Between the groups of all columns, corrected for their number.
    deployment : Deployment or None
        If a prevalence was stated.
    cases_needed : CasesNeeded or None
        For the requested precision of the sensitivity.
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
        """Return the gap of a column by a metric; None if there is none."""
        return next((gap for gap in self.gaps if (gap.column, gap.metric) == (column.column, metric)), None)

    def to_plain(self) -> dict[str, Any]:
        """For `metrics.json`."""
        before = self.calibration_before
        return {
            "caption": self.table.caption(),
            "checkpoint": self.table.checkpoint,
            **self.metrics.to_plain(),
            "intervals": self.intervals.to_dict("records"),
            "calibration": self.calibration.to_dict("records"),
            "calibration_before": None if before is None else before.to_dict("records"),
            "at_threshold_0.5": None if self.at_half is None else self.at_half.to_plain(),
            "sets": None if self.sets is None else dataclasses.asdict(self.sets),
            "subgroups": {column.column: column.table().to_dict("records") for column in self.subgroups},
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
    """Assess one split.

    Parameters
    ----------
    table : Predictions
        Calibrated or not: with logits the calibration starts from them.
    decision_rules : DecisionRules
        Fitted with the same checkpoint.
    bands : mapping of str to Bands or None, optional
        The columns to make subgroups of, and how their numbers are cut.
    prevalence : float or mapping of str to float, optional
        At deployment: of the positive class, or of the classes by name.
    ordered : bool
        Whether the classes are grades in their order (mild, moderate, severe).
    precision_of_sensitivity : float
        Half the width that the 95% interval of the sensitivity should have, see `cases_needed`.
    resamples, seed : int
        As of `intervals`.

    Raises
    ------
    MedclsError
        A table without rows or of another checkpoint; an invalid prevalence or column.
    """
    if len(table) == 0:
        raise MedclsError("There are no predictions to assess: the table has no rows.", kind="no_rows")
    calibrated = decision_rules.calibrate(table)
    threshold = decision_rules.threshold
    split = calibrated.to_split(threshold, ordered=ordered)
    metrics = split_metrics(split)
    few = min(resamples, RESAMPLES_OF_A_GROUP)
    by_column = tuple(
        subgroups(calibrated, column, bands=edges, threshold=threshold, resamples=few, seed=seed)
        for column, edges in (bands or {}).items()
    )
    before = uncalibrated(calibrated) if calibrated.has_logits and decision_rules.calibration is not None else None
    table_of_intervals = interval_table(intervals(split, resamples, seed))
    sets = decision_rules.conformal
    return Assessment(
        table=calibrated,
        decision_rules=decision_rules,
        metrics=metrics,
        at_half=None if threshold is None else split_metrics(calibrated.to_split()),
        intervals=table_of_intervals,
        calibration=calibration_estimates(calibrated, resamples, seed),
        calibration_before=None if before is None else calibration_estimates(before, resamples, seed),
        reliability=reliability_table(calibrated),
        reliability_before=None if before is None else reliability_table(before),
        curve=curve_of(calibrated),
        curve_before=None if before is None else curve_of(before),
        decisions=None if table.positive is None else decision_curve(calibrated),
        benefit=None if metrics.threshold is None else benefit_at(calibrated, metrics.threshold),
        rejection=rejection_curve(calibrated, threshold),
        sets=None if sets is None else count_sets(calibrated, sets.sets(calibrated)),
        subgroups=by_column,
        gaps=corrected(by_column),
        deployment=None if prevalence is None else _deployment(table, decision_rules, table_of_intervals, prevalence),
        cases_needed=cases_needed(
            table_of_intervals, precision_of_sensitivity, len(calibrated), calibrated.cases_by_class()
        ),
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
            f"subgroups is {asked!r}: give a list of columns, as '[{asked}]' or '{{sex: null, age: [40, 60]}}'.",
            kind="bad_value",
        )
    by_column = dict(asked) if isinstance(asked, Mapping) else {str(column): None for column in asked}
    return {str(column): _bands(str(column), how) for column, how in by_column.items()}


def _bands(column: str, how: Any) -> Bands | None:  # noqa: ANN401 - a setting
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


def _deployment(
    table: Predictions, decision_rules: DecisionRules, intervals: pd.DataFrame, prevalence: float | Mapping[str, float]
) -> Deployment:
    """Shift to a stated prevalence."""
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
            "A prevalence was stated, but the probabilities were not calibrated for any. That needs rows that are not "
            "the result: val=FILE.csv beside a table; for several views or folds, runs trained with "
            "data.calibration_fraction.",
            kind="prevalence_without_calibration",
        )
    if decision_rules.prior is None:
        raise MedclsError(
            "A prevalence was stated, and an earlier version of medcls fitted this run without an intercept, so its "
            "probabilities are not calibrated in the large. Add calibrate=temperature (or logistic) to fit again.",
            kind="fitted_by_earlier_version",
        )
    shifted = shift_prior(decision_rules.prior.apply(table), decision_rules.stands_for, prevalence)
    rest = 1 - sum(prevalence.values())
    shares = {name: float(prevalence.get(name, rest)) for name in table.classes}
    if table.positive is None:
        return Deployment(shares, shifted, None)
    return Deployment(shares, shifted, predictive_values(shares[table.positive], intervals, table.positive))
