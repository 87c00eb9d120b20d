"""From the best checkpoint to the report: predictions, decision rules and metrics, plots; each written when made."""

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
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
from medcls.workflow import reporting
from medcls.workflow.reporting import ReportSettings

log = logging.getLogger(__name__)


def score(
    run: RunFolder,
    best: Loaded,
    data: ImageDataModule,
    device: torch.device,
    options: ReportSettings,
    cut_by: Mapping[str, Any] | None,
    named: tuple[str, str],
) -> None:
    """Score the best checkpoint of a training on val and, where it is to be read, on test.

    Parameters
    ----------
    device : device
        Where the network is to run.
    cut_by : mapping or None
        All that the splits were made by; None leaves test unread.
    named : tuple of str
        The report's title, and the command that was typed.
    """
    manifest = data.manifest
    predictor = Predictor(best.network, device)
    splits = set(manifest.rows["split"])

    def predict(split: str) -> Predictions:
        table = predict_split(best, data, split, predictor)
        run.write_predictions(split, table)
        return table

    tables, readings = [predict("val")], None
    # Whatever is fitted has seen no image of the result; where some were cut off for it, none that selected either.
    fit_on = predict("calibration") if "calibration" in splits else tables[0]
    fitted = reporting.fit(fit_on, options)
    run.write_json("policies.json", fitted.to_plain())
    add_decision_rules(run.best, fitted.to_plain())
    if cut_by is not None:
        remember_test(manifest, str(run.path), cut_by)
        tables.append(predict(result_split(splits, evaluate_test=True)))
        readings = record_reading(tables[-1], str(run.path), "train")
    results = reporting.judge(tables, fitted, options)
    reporting.write_results(run, results, fitted, manifest.watermarks)
    reporting.show(results, readings)
    sources = reporting.sources_of_run(run, best, options, named, manifest.root)
    reporting.write_report(run, results, dataclasses.replace(sources, readings=readings), options)
    log.info("the report: %s", run.report)
    log.info("run folder: %s", run.path)


def write_origin(
    run: RunFolder, manifest: Manifest, findings: Sequence[Finding], account: Account, summary: str
) -> None:
    """Write down what a training begins with: its images and splits, the audit, its weights, its network."""
    run.write_text("manifest.csv", manifest.to_csv())
    run.write_text("splits.csv", escaped(split_table(manifest)).to_csv(index=False))
    run.write_json("audit.json", record(manifest, findings))
    run.write_json("weights.json", account.to_plain())
    run.write_text("model.txt", summary)


def result_split(splits: Collection[str], *, evaluate_test: bool) -> str:
    """The split that the report opens with. A test split that came with the data waits for the ensemble of folds."""
    if not evaluate_test:
        return "val"
    return "held_out" if "held_out" in splits else "test"


def what_is_there(run: RunFolder, manifest: Manifest, evaluate_test: bool, error: BaseException) -> str:
    """What a training leaves whose scoring failed, and the command that scores it."""
    split = result_split(set(manifest.rows["split"]), evaluate_test=evaluate_test)
    return run.what_is_there(f"python -m medcls.evaluate {typed('run', str(run.path))} split={split}", error)
