"""Evaluate a table of predictions, or the folds of a cross-validation."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from medcls.cli import evaluation_settings as settings
from medcls.cli.invocation import command_line
from medcls.cli.trained_runs import open_folds
from medcls.errors import MedclsError
from medcls.runs.run_folder import RunFolder

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before torch is loaded.
    from medcls.evaluation.predictions import Predictions


def evaluate_table(cfg: DictConfig, folder: RunFolder) -> None:
    """Evaluate a table of predictions, of any tool."""
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
        command=command_line("evaluate"),
        purpose=options.page.purpose,
        watermarks=tuple(watermarks),
        readings=readings,
    )
    folder.begin("evaluate.log")
    result_files.deliver(folder, results, fitted, sources, options, f"Predictions in {path.name}")


def evaluate_folds(cfg: DictConfig, folder: RunFolder) -> None:
    """Evaluate the runs of one cross-validation: out of fold, and as an ensemble on a separate test split."""
    from medcls.cli.decision_rules import rules_for
    from medcls.evaluation.ensembles import ENSEMBLE, mean_of
    from medcls.evaluation.folds import over_folds, pooled
    from medcls.runs.registry import read_test
    from medcls.workflow import evaluating, result_files, run_sources

    options, refit = settings.read_report_settings(cfg)
    if refit or cfg.views > 1 or settings.names_external_images():
        raise MedclsError(
            "runs=[...] are evaluated as stored: leave out operating points, views and data.", kind="idle_setting"
        )
    members = open_folds(cfg)
    options, _ = settings.read_report_settings(cfg, members[0].config)
    fold_split = "held_out" if "held_out" in members[0].splits else "test"
    fitted = [
        rules_for(member, options, refit=(), views=1, result=member.predictions_of("val")).images for member in members
    ]
    tables = [rules.calibrate(member.predictions_of(fold_split)) for rules, member in zip(fitted, members, strict=True)]
    folds = over_folds(tables, [rules.threshold for rules in fitted], options.resamples, options.seed)

    def ensemble(split: str) -> Predictions:
        return mean_of([member.predict(split) for member in members], ENSEMBLE)

    result = ensemble("test") if fold_split == "held_out" else pooled(tables)
    # Each network was trained or selected on images that the others held out: the ensemble can only be fitted on the
    # calibration split, which was set aside before the folds.
    if fold_split == "held_out" and "calibration" in members[0].splits:
        rules = evaluating.fit(ensemble("calibration"), options)
    else:
        rules = evaluating.not_fitted(result, options)
    results = evaluating.evaluate([result], rules, options)
    first = members[0]
    paths = ", ".join(str(member.folder.path) for member in members)
    readings = read_test(result, paths, "evaluate", root=first.images, settings=first.split_by)
    title = (f"{first.name}: {len(members)} folds", command_line("evaluate"))
    sources = run_sources.sources_of_run(first.folder, first.loaded, options.page, title, first.images)
    folders = {int(member.config.data.fold): member.folder for member in members}
    sources = dataclasses.replace(sources, readings=readings, audit=run_sources.audit_of_folds(folders))
    folder.begin("evaluate.log")
    networks = "Mean of the folds' networks" if fold_split == "held_out" else "Held-out images of all folds"
    result_files.deliver(folder, results, rules, sources, options, networks, folds)
    result_files.write_label_errors(folder, pooled(tables), sources, options.page)
