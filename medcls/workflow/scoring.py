"""From the best checkpoint to the report: predictions, decision rules, metrics and plots."""

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from medcls.auditing.findings import Finding
from medcls.auditing.record import record
from medcls.csv_escaping import escaped
from medcls.data.manifest import Manifest
from medcls.data.module import ImageDataModule
from medcls.data.splits.split import split_table
from medcls.errors import typed
from medcls.evaluation.predictions import Predictions
from medcls.inference.load import Loaded, add_decision_rules
from medcls.inference.predict import Predictor, predict_split
from medcls.models.weights import Account
from medcls.runs.registry import record_reading, remember_test
from medcls.runs.run_folder import RunFolder
from medcls.workflow import evaluating, printed_results, result_files, run_sources
from medcls.workflow.heat_maps import heat_maps_of
from medcls.workflow.report_settings import ReportSettings
from medcls.workflow.seen_images import SeenImages

log = logging.getLogger(__name__)


def score(
    run: RunFolder,
    best: Loaded,
    data: ImageDataModule,
    device: torch.device,
    options: ReportSettings,
    split_by: Mapping[str, Any] | None,
    named: tuple[str, str],
) -> None:
    """Evaluate the best checkpoint of a training on val and, unless it is left for later, on test.

    Parameters
    ----------
    device : device
        Where the network runs.
    split_by : mapping or None
        All settings of the splits; None does not evaluate test.
    named : tuple of str
        Title of the report, and command line.
    """
    manifest = data.manifest
    predictor = Predictor(best.network, device)
    splits = set(manifest.rows["split"])

    def predict(split: str) -> Predictions:
        table = predict_split(best, data, split, predictor)
        run.write_predictions(split, table)
        return table

    tables, readings = [predict("val")], None
    # Never fitted on images of the result; nor on those that selected the checkpoint, if there is a calibration split.
    fit_on = predict("calibration") if "calibration" in splits else tables[0]
    fitted = evaluating.fit(fit_on, options)
    run.write_json("policies.json", fitted.to_plain())
    add_decision_rules(run.best, fitted.to_plain())
    if split_by is not None:
        remember_test(manifest, str(run.path), split_by)
        tables.append(predict(result_split(splits, evaluate_test=True)))
        readings = record_reading(tables[-1], str(run.path), "train")
    results = evaluating.evaluate(tables, fitted, options)
    result_files.write_results(run, results, fitted, manifest.watermarks)
    printed_results.show(results, readings)
    sources = run_sources.sources_of_run(run, best, options.page, named, manifest.root)
    heat_map = heat_maps_of(best, manifest.root, options.page)
    result_files.write_report(run, results, dataclasses.replace(sources, readings=readings, heat_map=heat_map), options)
    log.info("report: %s", run.report)
    log.info("run folder: %s", run.path)


def write_origin(
    run: RunFolder,
    manifest: Manifest,
    findings: Sequence[Finding],
    account: Account,
    summary: str,
    teacher: Mapping[str, Any] | None = None,
) -> None:
    """Write what a training starts from: images and splits, audit, initial weights, network, teacher."""
    run.write_text("manifest.csv", manifest.to_csv())
    run.write_text("splits.csv", escaped(split_table(manifest)).to_csv(index=False))
    run.write_json("audit.json", record(manifest, findings))
    run.write_json("weights.json", account.to_plain())
    run.write_text("model.txt", summary)
    if teacher is not None:
        run.write_json("teacher.json", teacher)
    behind = [*account.learned_from, *([] if teacher is None else [teacher])]
    SeenImages.of(manifest).joined_with(SeenImages.read(Path(origin["run"])) for origin in behind).write(run.path)


def result_split(splits: Collection[str], *, evaluate_test: bool) -> str:
    """Return the split that opens the report. A test split that came with the data is left to the ensemble of folds."""
    if not evaluate_test:
        return "val"
    return "held_out" if "held_out" in splits else "test"


def what_is_there(run: RunFolder, manifest: Manifest, evaluate_test: bool, error: BaseException) -> str:
    """Describe what is written if the evaluation fails, and the command that repeats it."""
    split = result_split(set(manifest.rows["split"]), evaluate_test=evaluate_test)
    return run.what_is_there(f"python -m medcls.evaluate {typed('run', str(run.path))} split={split}", error)
