"""The decision rules of an evaluation: as stored, or fitted on other images, never on the evaluated ones."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medcls.cli.evaluation_settings import check_has_threshold
from medcls.cli.trained_runs import TrainedRun
from medcls.errors import MedclsError
from medcls.runs.run_folder import read_json

if TYPE_CHECKING:
    from medcls.data.manifest import Manifest
    from medcls.evaluation.predictions import Predictions
    from medcls.inference.arithmetic import Arithmetic
    from medcls.workflow.evaluating import Fitted
    from medcls.workflow.report_settings import ReportSettings

log = logging.getLogger(__name__)

# How many images are also predicted exactly, to measure the effect of another arithmetic.
COMPARED_WITH_EXACT = 500


def rules_for(
    trained: TrainedRun, options: ReportSettings, *, refit: Sequence[str], views: int, result: Predictions
) -> Fitted:
    """The decision rules for a result: as the checkpoint stores them, or fitted now on other images.

    The mean over several views is calibrated separately, on the calibration split; a run without that split gets no
    fit.
    """
    from medcls.workflow import evaluating

    stored = trained.loaded.decision_rules
    if views > 1:
        if "calibration" in trained.splits:
            return evaluating.fit(trained.predict("calibration", views), options)
        log.warning(
            "views=%d: the mean over views must be calibrated on images that selected nothing, and this run has no "
            "calibration split (data.calibration_fraction=0.2): probabilities stay as they are, and the threshold is "
            "0.5",
            views,
        )
        return evaluating.not_fitted(result, options)
    if stored is not None and not refit:
        return evaluating.Fitted.from_plain(stored)
    return evaluating.fit(trained.predictions_of(trained.fitted_on), options)


def rehearse(
    trained: TrainedRun,
    manifest: Manifest,
    split: str,
    reference: Sequence[Predictions],
    options: ReportSettings,
    *,
    refit: Sequence[str],
    views: int,
) -> None:
    """Evaluate made-up scores of these images, so that wrong settings are found before anything is predicted.

    Raises
    ------
    MedclsError
        A column, class or prevalence that these images do not have; groups whose images differ in label.
    """
    from medcls.data.manifest import read_rows
    from medcls.workflow import evaluating

    loaded = trained.loaded
    described = (loaded.classes, loaded.positive, loaded.checkpoint)
    result = evaluating.random_predictions(manifest.rows, split, *described)
    if views > 1 and "calibration" not in trained.splits:
        fitted = evaluating.not_fitted(result, options)
    elif loaded.decision_rules is not None and views == 1 and not refit:
        fitted = evaluating.Fitted.from_plain(loaded.decision_rules)
    else:
        rows = read_rows(trained.folder.manifest)
        if trained.fitted_on not in trained.splits:  # training images of a probe, predicted out of fold
            rows["split"] = rows["split"].replace("train", trained.fitted_on)
        own = evaluating.random_predictions(rows, trained.fitted_on, *described)
        fitted = evaluating.fit_quietly(own, options)
    evaluating.evaluate_quickly([*([] if views > 1 else reference), result], fitted, options)


def show_effect_of_arithmetic(
    trained: TrainedRun, manifest: Manifest, result: Predictions, fitted: Fitted, arithmetic: Arithmetic, views: int
) -> None:
    """Predict some of the images exactly too, and print the differences."""
    from medcls.workflow import printed_results

    rows = manifest.rows
    of_split = rows[rows["split"] == result.split]
    chosen = of_split.sample(min(len(of_split), COMPARED_WITH_EXACT), random_state=0).index
    # Rows keep their numbers, from which the views are drawn.
    sample = rows.assign(split=rows["split"].where(rows.index.isin(chosen), ""))
    exact = trained.predict_images(manifest.with_rows(sample), result.split, views)
    same_rows = result.rows[result.rows["path"].isin(exact.rows["path"])]
    printed_results.show_effect(exact, dataclasses.replace(result, rows=same_rows), fitted.images, str(arithmetic))


def rules_for_table(
    path: Path, table: Predictions, val: Predictions | None, options: ReportSettings, refit: Sequence[str]
) -> Fitted:
    """Decision rules for a table: fitted on `val` if given, else as stored in its run folder, else a threshold of 0.5.

    Raises
    ------
    MedclsError
        A setting asks for a fit, and there is no table to fit on.
    """
    from medcls.evaluation.folds import OUT_OF_FOLD
    from medcls.workflow import evaluating

    check_has_threshold(table.classes, table.positive, refit)
    if val is not None:
        check_disjoint(val, table)
        return evaluating.fit(val, options)
    # A fixed threshold needs no rows to be fitted on, nor does joining a patient's images.
    without_fit = {"operating_point"} if options.fitting.operating_point.startswith("fixed") else set()
    to_fit = [name for name in refit if name not in without_fit | {"aggregate"}]
    if to_fit:
        raise MedclsError(
            f"{', '.join(to_fit)} must be fitted on other images. Add val=FILE.csv, the same tool's predictions of "
            "other images; or give a fixed threshold alone: operating_point=fixed=0.3.",
            kind="nothing_to_fit_on",
        )
    file = path.parent.parent / "policies.json"
    # The stored rules were fitted on the out-of-fold rows, so these are not evaluated with them.
    as_stored = not set(refit) - {"aggregate"} and table.split != OUT_OF_FOLD
    if as_stored and (stored := read_json(file)) is not None:
        try:
            fitted = evaluating.Fitted.from_plain(stored)
        except (KeyError, TypeError, AttributeError) as error:
            raise MedclsError(
                f"{file} is damaged ({error!r}): restore it, or move the table elsewhere.",
                kind="damaged_file",
            ) from error
        if fitted.images.checkpoint and fitted.images.checkpoint == table.checkpoint:
            log.info("decision rules: those that its run fitted with the same checkpoint (%s)", file)
            if not refit:
                return fitted
            joined = evaluating.not_fitted(fitted.images.calibrate(table), options)
            return dataclasses.replace(joined, images=fitted.images)
    if as_stored:
        log.warning(
            "nothing was fitted: probabilities are taken as they are, and the threshold is 0.5. To fit both, add "
            "val=FILE.csv, the same tool's predictions of other images"
        )
    return evaluating.not_fitted(table, options)


def check_disjoint(val: Predictions, table: Predictions) -> None:
    """Check that no image is both fitted on and evaluated."""
    from medcls.wording import counted, enumerated

    if shared := sorted(set(val.rows["path"]) & set(table.rows["path"])):
        raise MedclsError(
            f"{counted(len(shared), 'image')} of val are also among those to be evaluated: {enumerated(shared, 3)}. "
            "Leave them out of val. If they are other images of the same name, put their folders before the names.",
            kind="fitted_on_the_result",
        )
