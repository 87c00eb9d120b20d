"""Evaluations of what is no single run: a table of predictions, and the folds of a cross-validation."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from medcls.cli import evaluation_settings as settings
from medcls.cli.trained_runs import open_folds
from medcls.errors import MedclsError
from medcls.runs.run_folder import RunFolder

if TYPE_CHECKING:
    # Everything heavy is imported where it is used, so that a typo is answered before torch is loaded.
    from medcls.evaluation.predictions import Predictions


def evaluate_table(cfg: DictConfig, folder: RunFolder) -> None:
    """A table of predictions, of whatever tool."""
    from medcls.cli.decision_rules import rules_for_table
    from medcls.evaluation.predictions import read_csv
    from medcls.report.sources import Sources
    from medcls.runs.registry import read_test
    from medcls.workflow import evaluating, result_files
    from medcls.workflow.finished_runs import check_against_manifest, images_of

    options, refit = settings.read_report_settings(cfg)
    positive = None if cfg.positive_class is None else str(cfg.positive_class)
    path = Path(str(cfg.predictions)).expanduser()
    table = read_csv(path, positive)
    val = None if cfg.val is None else read_csv(Path(str(cfg.val)).expanduser(), positive)
    if path.parent.name == "predictions" and path.stem == table.split:  # a run folder's own
        check_against_manifest(table, path, path.parent.parent)
    fitted = rules_for_table(path, table, val, options, refit)
    results = evaluating.evaluate([table] if val is None else [val, table], fitted, options)
    readings = read_test(table, str(path), "evaluate", root=images_of(path.parent.parent))
    watermarks = sorted(set(table.rows["stamp"]) - {""}) if "stamp" in table.rows else []
    sources = Sources(
        name=f"Predictions in {path.name}" if options.page.paths else "Predictions",
        made=datetime.now().astimezone(),
        command=settings.command(),
        purpose=options.page.purpose,
        watermarks=tuple(watermarks),
        readings=readings,
    )
    folder.begin("evaluate.log")
    result_files.deliver(folder, results, fitted, sources, options, f"Predictions in {path.name}")


def evaluate_folds(cfg: DictConfig, folder: RunFolder) -> None:
    """The runs of one cross-validation: each image by the network that had not seen it, and their ensemble on test."""
    from medcls.cli.decision_rules import rules_for
    from medcls.evaluation.ensembles import ENSEMBLE, mean_of
    from medcls.evaluation.folds import over_folds, pooled
    from medcls.runs.registry import read_test
    from medcls.workflow import evaluating, result_files, run_sources

    options, refit = settings.read_report_settings(cfg)
    if refit or cfg.views > 1 or settings.names_external_images():
        raise MedclsError(
            "runs=[...] are judged as each was stored: leave out operating points, views and data.", kind="idle_setting"
        )
    members = open_folds(cfg)
    options, _ = settings.read_report_settings(cfg, members[0].config)
    fold_split = "held_out" if "held_out" in members[0].splits else "test"
    fitted = [
        rules_for(member, options, refit=(), views=1, result=member.predictions_of("val")).images for member in members
    ]
    tables = [one.calibrate(member.predictions_of(fold_split)) for one, member in zip(fitted, members, strict=True)]
    folds = over_folds(tables, [one.threshold for one in fitted], options.resamples, options.seed)

    def ensemble(split: str) -> Predictions:
        return mean_of([member.predict(split) for member in members], ENSEMBLE)

    result = ensemble("test") if fold_split == "held_out" else pooled(tables)
    # Every network has learned or selected by the others' held-out images: only what was cut off before the folds can
    # fit the ensemble.
    if fold_split == "held_out" and "calibration" in members[0].splits:
        judged_by = evaluating.fit(ensemble("calibration"), options)
    else:
        judged_by = evaluating.not_fitted(result, options)
    results = evaluating.evaluate([result], judged_by, options)
    first = members[0]
    of = ", ".join(str(member.folder.path) for member in members)
    readings = read_test(result, of, "evaluate", root=first.images, settings=first.split_by)
    named = (f"{first.name}: {len(members)} folds", settings.command())
    sources = run_sources.sources_of_run(first.folder, first.loaded, options.page, named, first.images)
    each = {int(member.config.data.fold): member.folder for member in members}
    sources = dataclasses.replace(sources, readings=readings, audit=run_sources.audit_of_folds(each))
    folder.begin("evaluate.log")
    networks = "Mean of the folds' networks" if fold_split == "held_out" else "Held-out images of all folds"
    result_files.deliver(folder, results, judged_by, sources, options, networks, folds)
    result_files.write_label_errors(folder, pooled(tables), sources, options.page)
