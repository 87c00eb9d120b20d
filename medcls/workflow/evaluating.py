"""Fitting of decision rules, and evaluation of predictions by them: after training, and in later evaluations."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medcls.evaluation.assessment import Assessment, assess
from medcls.evaluation.decision_rules import DecisionRules, fit_decision_rules
from medcls.evaluation.decision_rules import not_fitted as decision_rules_not_fitted
from medcls.evaluation.folds import OUT_OF_FOLD
from medcls.evaluation.further_metrics import add_metrics
from medcls.evaluation.predictions import Predictions, aggregate, from_logits
from medcls.evaluation.thresholds import chosen_beforehand
from medcls.workflow.report_settings import ReportSettings

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Decision rules for images, and for patients or exams if these are evaluated too."""

    images: DecisionRules
    patients: DecisionRules | None = None
    aggregate: str | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return plain data for the checkpoint and `policies.json`."""
        patients = None if self.patients is None else {"aggregate": self.aggregate, **self.patients.to_plain()}
        return {**self.images.to_plain(), "units": patients}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Fitted":
        """Read the result of `to_plain`."""
        patients = plain["units"]
        if patients is None:
            return cls(DecisionRules.from_plain(plain))
        return cls(DecisionRules.from_plain(plain), DecisionRules.from_plain(patients), patients["aggregate"])


@dataclasses.dataclass(frozen=True)
class Results:
    """The assessments of all splits; the last one is the result."""

    splits: tuple[Assessment, ...]
    patients: tuple[Assessment, ...]

    @property
    def headline(self) -> Assessment:
        """The split that opens the report."""
        return self.splits[-1]

    @property
    def headline_patients(self) -> Assessment | None:
        """The same, with one row for each patient or exam."""
        return self.patients[-1] if self.patients else None

    def to_plain(self) -> dict[str, Any]:
        """Return plain data for `metrics.json`: by split, and by split again under `units`."""
        by_split = {one.table.name: one.to_plain() for one in self.splits}
        units = {one.table.name: one.to_plain() for one in self.patients}
        return {"checkpoint": self.headline.table.checkpoint, **by_split, **({"units": units} if units else {})}


def fit(table: Predictions, options: ReportSettings) -> Fitted:
    """Fit calibration, threshold and label sets on rows that are not the result, and log their warnings."""
    fitted = fit_quietly(table, options)
    for warning in fitted.images.warnings:
        log.warning(warning)
    return fitted


def fit_quietly(table: Predictions, options: ReportSettings) -> Fitted:
    """Fit as `fit` does, without logging warnings."""
    how = options.fitting
    settings: dict[str, Any] = {"coverage": how.coverage, "seed": options.seed}
    of_images = fit_decision_rules(table, how.operating_point, calibrate=how.calibrate, **settings)
    if how.aggregate is None:
        return Fitted(of_images)
    # Computed from calibrated probabilities of images.
    joined = aggregate(of_images.calibrate(table), how.aggregate)
    of_patients = fit_decision_rules(joined, how.operating_point, calibrate="none", **settings)
    return Fitted(of_images, of_patients, how.aggregate)


def not_fitted(table: Predictions, options: ReportSettings) -> Fitted:
    """Return decision rules if there are no rows to fit on: a threshold chosen beforehand, otherwise 0.5."""
    rules, how = decision_rules_not_fitted(table), options.fitting
    if table.positive is not None and (point := chosen_beforehand(table, how.operating_point)) is not None:
        rules = dataclasses.replace(rules, operating_point=point)
    if how.aggregate is None:
        return Fitted(rules)
    by_image = dataclasses.replace(options, fitting=dataclasses.replace(how, aggregate=None))
    of_patients = not_fitted(aggregate(table, how.aggregate), by_image)
    return Fitted(rules, of_patients.images, how.aggregate)


def evaluate(tables: Sequence[Predictions], fitted: Fitted, options: ReportSettings) -> Results:
    """Assess each table, the result last.

    Decision rules are not applied to rows out of fold, on which those of a probe are fitted.
    """
    resamples, seed, ordered = options.resamples, options.seed, options.ordered is not None

    def assessed(table: Predictions, rules: DecisionRules, **of_images: Any) -> Assessment:  # noqa: ANN401
        assessment = assess(
            table,
            rules,
            resamples=resamples,
            seed=seed,
            precision_of_sensitivity=options.precision_of_sensitivity,
            ordered=ordered,
            **of_images,
        )
        return add_metrics(assessment, options.page.metrics, resamples, seed, ordered=ordered)

    if options.ordered is not None:
        tables = [table.in_order(options.ordered) for table in tables]
    of_images = {"bands": options.bands, "prevalence": options.prevalence}
    rules = [not_fitted(table, options) if table.split == OUT_OF_FOLD else fitted for table in tables]
    splits = tuple(assessed(table, rule.images, **of_images) for table, rule in zip(tables, rules, strict=True))
    patients = tuple(
        assessed(aggregate(one.table, rule.aggregate), rule.patients)  # type: ignore[arg-type]
        for one, rule in zip(splits, rules, strict=True)
        if rule.patients is not None and rule.aggregate is not None
    )
    return Results(splits, patients)


def evaluate_quickly(tables: Sequence[Predictions], fitted: Fitted, options: ReportSettings) -> None:
    """Evaluate with two resamples, to find errors of the settings early."""
    # All other settings fit any table.
    if not options.bands and options.prevalence is None and options.ordered is None and not options.fitting.aggregate:
        return
    evaluate(tables, fitted, dataclasses.replace(options, resamples=2))


def check_evaluation(rows: pd.DataFrame, classes: Sequence[str], positive: str | None, options: ReportSettings) -> None:
    """Evaluate random scores for the images of a run, so that wrong settings stop it before training.

    Parameters
    ----------
    rows : DataFrame
        Of the manifest, with splits.

    Raises
    ------
    MedclsError
        A column, class or prevalence that these images do not have; patients whose images disagree.
    """
    splits = set(rows["split"])
    fit_on = "calibration" if "calibration" in splits else "val"
    result = "held_out" if "held_out" in splits else "test"
    fitted = fit_quietly(random_predictions(rows, fit_on, classes, positive), options)
    tables = [random_predictions(rows, split, classes, positive) for split in ("val", result)]
    evaluate_quickly(tables, fitted, options)


def random_predictions(
    rows: pd.DataFrame, split: str, classes: Sequence[str], positive: str | None, checkpoint: str = "random"
) -> Predictions:
    """Return random scores for the images of a split."""
    numbers = np.flatnonzero((rows["split"] == split).to_numpy())
    logits = np.random.default_rng(len(numbers)).normal(size=(len(numbers), len(classes)))
    return from_logits(rows, numbers, logits, classes, positive, checkpoint)
