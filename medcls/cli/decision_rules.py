"""What a result is judged with: as it was stored, or fitted now on other images, and never on the result."""

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

# Images that are predicted exactly too, where the rest is not: enough to see what it changes.
COMPARED_WITH_EXACT = 500


def rules_for(
    trained: TrainedRun, options: ReportSettings, *, refit: Sequence[str], views: int, result: Predictions
) -> Fitted:
    """What the result is judged with: as the checkpoint stored it, or fitted now, and never on the result.

    The mean over several views has probabilities of its own, and gets a fit of its own on images that selected
    nothing; where none were cut off, none.
    """
    from medcls.workflow import evaluating

    stored = trained.loaded.decision_rules
    if views > 1:
        if "calibration" in trained.splits:
            return evaluating.fit(trained.predict("calibration", views), options)
        log.warning(
            "views=%d: the mean over views needs a fit of its own on images that selected nothing, and this run has "
            "cut none off (data.calibration_fraction=0.2): probabilities stay as they are, and the threshold is 0.5",
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
    """Tell made-up scores of these images as the result will be told: what cannot be is said before any is predicted.

    Raises
    ------
    MedclsError
        A column, class or prevalence that these images do not have; patients whose images disagree.
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
        if trained.fitted_on not in trained.splits:  # a probe's training images, evaluated out of fold
            rows["split"] = rows["split"].replace("train", trained.fitted_on)
        own = evaluating.random_predictions(rows, trained.fitted_on, *described)
        fitted = evaluating.fit_quietly(own, options)
    evaluating.evaluate_quickly([*([] if views > 1 else reference), result], fitted, options)


def show_effect_of_arithmetic(
    trained: TrainedRun, manifest: Manifest, result: Predictions, fitted: Fitted, arithmetic: Arithmetic, views: int
) -> None:
    """Predict some of the images exactly too, and print what is otherwise."""
    from medcls.workflow import printed_results

    rows = manifest.rows
    these = rows[rows["split"] == result.split]
    chosen = these.sample(min(len(these), COMPARED_WITH_EXACT), random_state=0).index
    # Rows keep their numbers, by which views are drawn.
    sample = rows.assign(split=rows["split"].where(rows.index.isin(chosen), ""))
    exact = trained.predict_images(manifest.with_rows(sample), result.split, views)
    same = result.rows[result.rows["path"].isin(exact.rows["path"])]
    printed_results.show_effect(exact, dataclasses.replace(result, rows=same), fitted.images, str(arithmetic))


def rules_for_table(
    path: Path, table: Predictions, val: Predictions | None, options: ReportSettings, refit: Sequence[str]
) -> Fitted:
    """Fitted on `val` where it is given; else as a run stored it beside the table; else a threshold of 0.5.

    Raises
    ------
    MedclsError
        Something was asked to be fitted, and there is nothing to fit it on.
    """
    from medcls.evaluation.folds import OUT_OF_FOLD
    from medcls.workflow import evaluating

    check_has_threshold(table.classes, table.positive, refit)
    if val is not None:
        check_disjoint(val, table)
        return evaluating.fit(val, options)
    # A threshold chosen beforehand needs no rows to be fitted on, nor does the mean over a patient's images.
    beforehand = {"operating_point"} if options.fitting.operating_point.startswith("fixed") else set()
    to_fit = [name for name in refit if name not in beforehand | {"aggregate"}]
    if to_fit:
        raise MedclsError(
            f"{', '.join(to_fit)}: fitted, and never on the result. Add val=FILE.csv, the same tool's predictions of "
            "images that are not the result; or give a threshold chosen beforehand alone: operating_point=fixed=0.3.",
            kind="nothing_to_fit_on",
        )
    decision_rules = path.parent.parent / "policies.json"
    # Rows out of fold fitted what their run stores, and are not judged by it.
    as_stored = not set(refit) - {"aggregate"} and table.split != OUT_OF_FOLD
    if as_stored and (stored := read_json(decision_rules)) is not None:
        try:
            fitted = evaluating.Fitted.from_plain(stored)
        except (KeyError, TypeError, AttributeError) as error:
            raise MedclsError(
                f"{decision_rules} is not what a run fitted ({error!r}): bring it back, or move the table elsewhere.",
                kind="damaged_file",
            ) from error
        if fitted.images.checkpoint and fitted.images.checkpoint == table.checkpoint:
            log.info("judged by what its run fitted with the same checkpoint: %s", decision_rules)
            if not refit:
                return fitted
            joined = evaluating.not_fitted(fitted.images.calibrate(table), options)
            return dataclasses.replace(joined, images=fitted.images)
    if as_stored:
        log.warning(
            "nothing was fitted: probabilities are taken as they are, and the threshold is 0.5. With val=FILE.csv, the "
            "same tool's predictions of images that are not the result, both are fitted"
        )
    return evaluating.not_fitted(table, options)


def check_disjoint(val: Predictions, table: Predictions) -> None:
    """Refuse to fit on images that are then judged.

    Raises
    ------
    MedclsError
        Names some of them.
    """
    from medcls.wording import counted, enumerated

    if shared := sorted(set(val.rows["path"]) & set(table.rows["path"])):
        raise MedclsError(
            f"{counted(len(shared), 'image')} of val are also among those to be judged: {enumerated(shared, 3)}. They "
            "would be judged by their own answers. Leave them out of val; where other images have the same names, "
            "write their folders before these.",
            kind="fitted_on_the_result",
        )
