"""Linear probes: logistic regression on features of frozen networks, compared with shortcuts."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from medcls.auditing.shortcuts import sources_seen
from medcls.data.manifest import Manifest
from medcls.evaluation.comparing import Question, compare_all, p_text
from medcls.evaluation.folds import OUT_OF_FOLD
from medcls.evaluation.predictions import Predictions, from_logits
from medcls.inference.load import Loaded, add_decision_rules
from medcls.learning.checkpoints import AtomicCheckpointIO
from medcls.models.linear_probe import set_last_layer
from medcls.probing.cross_validation import OutOfFold, cross_validate, forest_out_of_fold
from medcls.probing.logistic import STRENGTHS, LinearLayer, fit
from medcls.runs.registry import record_reading, remember_test
from medcls.runs.run_folder import RunFolder
from medcls.statistics.digits import rounded
from medcls.statistics.metrics import classification_metrics
from medcls.workflow import evaluating, printed_results, result_files, run_sources, terminal
from medcls.workflow.heat_maps import heat_maps_of
from medcls.workflow.report_settings import ReportSettings

log = logging.getLogger(__name__)

# Name of the predictions from shortcuts, and their checkpoint.
SHORTCUTS = "shortcuts"


@dataclasses.dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Parameters
    ----------
    out_of_fold : OutOfFold
        Logistic regression on the features.
    shortcuts : ndarray
        Logits out of fold of a forest on the shortcut features, float64 `(R, n, K)`.
    shortcut_names : tuple of str
        Names of these features.
    layer : LinearLayer
        Fitted to all training rows.
    folds : ndarray
        int64 `(R, n)`.
    """

    out_of_fold: OutOfFold
    shortcuts: np.ndarray
    shortcut_names: tuple[str, ...]
    layer: LinearLayer
    folds: np.ndarray


def check_evaluation(manifest: Manifest, options: ReportSettings) -> None:
    """Check the settings before anything is fitted, see `evaluating.check_evaluation`."""
    rows = manifest.rows
    train = rows[rows["split"] == "train"]
    judged = rows[rows["split"] == "test"] if (rows["split"] == "test").any() else train
    both = pd.concat([train.assign(split="val"), judged.assign(split="test")], ignore_index=True)
    evaluating.check_evaluation(both, manifest.classes, manifest.positive, options)


def fit_probe(features: np.ndarray, manifest: Manifest, folds: np.ndarray, resize: str) -> Probe:
    """Cross-validate the probe and the shortcuts on the same folds, and fit the last layer of the network.

    Parameters
    ----------
    features : ndarray
        float32 `(rows of the manifest, d)`.
    folds : ndarray
        int64 `(R, n)`, of the training rows.
    resize : str
        How images are resized, which decides what a network can see of their shape.
    """
    rows, classes = manifest.indices("train"), len(manifest.classes)
    labels, own = manifest.labels[rows], features[rows]
    with terminal.progress("fitting logistic regressions") as progress:
        found = cross_validate(own, labels, classes, folds, progress=progress)
    sources = sources_seen(manifest.scan.loc[manifest.rows["path"].iloc[rows]], resize)
    numbers = pd.concat([source.numbers for source in sources], axis=1).to_numpy(np.float64)
    shortcuts = forest_out_of_fold(numbers, labels, classes, folds)
    if found.strength == 0:
        log.warning(
            "with every penalty the features are no better than predicting the class frequencies: these images do not "
            "show that the features are related to the label",
            extra={"rule": "features_tell_nothing"},
        )
    layer = fit(own, labels, classes, found.strength)
    return Probe(found, shortcuts, tuple(source.name for source in sources), layer, folds)


def write_checkpoint(run: RunFolder, network: nn.Module, layer: LinearLayer, described: Mapping[str, Any]) -> None:
    """Write the network with the regression as its last layer, like the best checkpoint of a training."""
    set_last_layer(network, torch.from_numpy(layer.weights), torch.from_numpy(layer.bias))
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    AtomicCheckpointIO().save_checkpoint({"epoch": None, "state_dict": state, "medcls": dict(described)}, run.best)


def score(
    run: RunFolder,
    best: Loaded,
    manifest: Manifest,
    features: np.ndarray,
    probe: Probe,
    options: ReportSettings,
    split_by: Mapping[str, Any],
    named: tuple[str, str],
) -> None:
    """Write predictions, metrics and the report: out of fold, and of a test split that came with the data.

    Parameters
    ----------
    best : Loaded
        The checkpoint.
    split_by : mapping
        All settings of the splits.
    named : tuple of str
        Title of the report, and command line.
    """
    described = (best.classes, best.positive)
    rows, train, test = manifest.rows, manifest.indices("train"), manifest.indices("test")

    def of_folds(logits: np.ndarray, checkpoint: str) -> Predictions:
        return from_logits(rows.assign(split=OUT_OF_FOLD), train, logits, *described, checkpoint)

    out_of_fold = of_folds(probe.out_of_fold.mean_logits, best.checkpoint)
    shortcuts = of_folds(probe.shortcuts.mean(axis=0), SHORTCUTS)
    run.write_predictions(OUT_OF_FOLD, out_of_fold)
    run.write_predictions(SHORTCUTS, shortcuts)
    fitted = evaluating.fit(out_of_fold, options)
    run.write_json("policies.json", fitted.to_plain())
    add_decision_rules(run.best, fitted.to_plain())
    tables, readings = [out_of_fold], None
    if len(test):
        remember_test(manifest, str(run.path), split_by)
        tables.append(from_logits(rows, test, probe.layer.logits(features[test]), *described, best.checkpoint))
        run.write_predictions("test", tables[-1])
        readings = record_reading(tables[-1], str(run.path), "probe")
    run.write_json("probe.json", _record(probe, out_of_fold, shortcuts, options))
    results = evaluating.evaluate(tables, fitted, options)
    result_files.write_results(run, results, fitted, manifest.watermarks)
    printed_results.show(results, readings, "Linear probe")
    sources = run_sources.sources_of_run(run, best, options.page, named, manifest.root)
    for line in {} if sources.probe is None else sources.probe.statements.values():
        log.info("%s", line, extra={"rule": "probe"})
    result_files.write_label_errors(run, out_of_fold, sources, options.page)
    # The checkpoint was fitted on the rows that are out of fold: its maps of them explain other predictions.
    heat_map = heat_maps_of(best, manifest.root, options.page) if len(test) else None
    result_files.write_report(run, results, dataclasses.replace(sources, readings=readings, heat_map=heat_map), options)
    log.info("report: %s", run.report)
    log.info("run folder: %s", run.path)


def what_images_add(difference: Mapping[str, Any], shortcuts: Sequence[str]) -> str:
    """Describe whether features of the images predict the label better than shortcuts do.

    Parameters
    ----------
    difference : mapping
        Of AUROC, the probe minus the shortcuts: a row of `compare_all`.
    shortcuts : sequence of str
        Their names.
    """
    found = {
        "better": "The images predict the label better than shortcuts",
        "worse": "Shortcuts predict the label better than the features of the images",
        "undecided": "The images are not shown to predict the label better than shortcuts",
        "undefined": "Images and shortcuts cannot be compared",
    }[difference["verdict"]]
    values = f"AUROC {rounded(difference['first'])} against {rounded(difference['second'])}"
    if difference["low"] == difference["low"]:
        limits = f"95% interval {difference['low']:+.3f} to {difference['high']:+.3f}"
        values += f", difference {difference['difference']:+.3f} ({limits}, {p_text(difference['p'], 1)})"
    return (
        f"{found}: {values}, on {difference['rows']}. Shortcuts are properties of an image that are unrelated to the "
        f"disease ({', '.join(shortcuts)}), used by a random forest on the same folds."
    )


def _record(probe: Probe, out_of_fold: Predictions, shortcuts: Predictions, options: ReportSettings) -> dict[str, Any]:
    """Return the content of `probe.json`."""
    found, labels = probe.out_of_fold, out_of_fold.labels()
    question = Question(resamples=options.resamples, seed=options.seed)
    pair = compare_all({"probe": out_of_fold, SHORTCUTS: shortcuts}, question).drop(columns=["a", "b", "p_holm"])
    difference = {str(name): value for name, value in pair.iloc[0].items()}
    areas = []
    for logits in found.logits:
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = exponentials / exponentials.sum(axis=1, keepdims=True)
        areas.append(classification_metrics(labels, shares, out_of_fold.classes, out_of_fold.positive).values["auroc"])
    repeats, folds = len(probe.folds), int(probe.folds.max()) + 1
    chosen = sorted({float(strength) for strength in found.strengths.ravel()})
    how = f"Cross-validated in {folds} folds"
    if repeats > 1:
        how += (
            f", repeated {repeats} times: AUROC {rounded(min(areas))} to {rounded(max(areas))} by repeat, mean logits "
            "below"
        )
    return {
        "folds": folds,
        "repeats": repeats,
        "features": int(probe.layer.weights.shape[1]),
        "strength": found.strength,
        "strengths_within": found.strengths.tolist(),
        "tried": dict(zip(map(str, STRENGTHS), found.losses.tolist(), strict=True)),
        "auroc_of_repeats": areas,
        "shortcuts": list(probe.shortcut_names),
        # JSON lacks NumPy's numbers.
        "difference": {
            name: value.item() if isinstance(value, np.generic) else value for name, value in difference.items()
        },
        "statements": {
            "method": f"Logistic regression on {probe.layer.weights.shape[1]:,} standardised features of each image, "
            f"from a frozen network. {how}.",
            "penalty": f"L2 penalty: C = {found.strength:g} in the checkpoint, chosen by the log loss out of fold; for "
            f"each fold chosen within the others, {', '.join(f'{strength:g}' for strength in chosen)}.",
            "shortcuts": what_images_add(difference, probe.shortcut_names),
        },
    }
