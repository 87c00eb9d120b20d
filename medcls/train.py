"""Train a classifier, score its best checkpoint: `python -m medcls.train data.root=/my/images positive_class=ill`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shlex
import sys
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from medcls import __version__
from medcls.cli import ending
from medcls.cli.configuration import (
    build,
    build_own_network,
    jobs_at_once,
    open_door,
    plain,
    read_own,
    read_source,
    resumed,
    settle_paths,
    source_settings,
    split_settings,
)
from medcls.cli.importing import import_large
from medcls.errors import MedclsError, typed
from medcls.fitting import check_fits
from medcls.runs.run_folder import RunFolder, read_json
from medcls.runs.stored import refuse_links_out, refuse_ways_out
from medcls.wording import counted, quoted

if TYPE_CHECKING:
    # Everything heavy is imported where it is used, so that a typo is answered before torch is loaded.
    import lightning
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint
    from matplotlib.figure import Figure
    from torch import Tensor

    from medcls.data.manifest import Manifest
    from medcls.data.module import ImageDataModule
    from medcls.evaluation.predictions import Predictions
    from medcls.hardware import Hardware
    from medcls.learning.classifier import Classifier
    from medcls.learning.freezing import FreezeSchedule
    from medcls.learning.losses import Loss
    from medcls.models.weights import Account
    from medcls.preprocessing import Preprocessing
    from medcls.workflow.reporting import Telling

# Run as a module, this file is called __main__; its log belongs to medcls all the same.
log = logging.getLogger("medcls.train")


def main() -> None:
    """Open the door."""
    open_door(run, "train")


def run(cfg: DictConfig) -> float | None:
    """Train in the folder that Hydra chose; leave nothing there if the run never began."""
    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        folder.claim()
        if cfg.resume:
            cfg = resumed(cfg, HydraConfig.get().overrides.task)
            refuse_links_out(folder.path, trust=cfg.trust)
        else:
            folder.refuse_if_taken(by_training=True)
            settle(cfg, sweeping)
        return train(cfg, folder)
    finally:
        folder.close()


def settle(cfg: DictConfig, sweeping: bool) -> None:
    """Fix what depends on how and from where the command was started, so that the saved configuration says it."""
    if cfg.evaluate_test is None:
        cfg.evaluate_test = not sweeping
    settle_paths(cfg)


def train(cfg: DictConfig, run: RunFolder) -> float | None:
    """One run, from images to figures.

    Parameters
    ----------
    cfg : DictConfig
        As `conf/train.yaml` describes it.
    run : RunFolder
        Where everything goes.

    Returns
    -------
    float or None
        The best value of the monitored metric, for a sweep; None where only a preview was asked for.

    Raises
    ------
    MedclsError
        What the user can mend, before the first epoch wherever it can be known then.
    """
    import_large("lightning")

    from medcls import hardware
    from medcls.auditing.quick import audit_quickly
    from medcls.auditing.record import record as audit_record
    from medcls.cells import escaped
    from medcls.cli import terminal
    from medcls.cli.foreseen import check_settings
    from medcls.data.splits.split import split_table
    from medcls.learning.trainer_settings import check_trainer
    from medcls.models.summary import summarise
    from medcls.workflow import pictures, reporting

    run.refuse_within(cfg.data.root)

    terminal.start_log(cfg.get("verbose", False))
    machine = hardware.choose(cfg.data.workers, cfg.keep_memory, jobs=jobs_at_once())
    for line in machine.reasons:
        log.debug(line)
    seed(cfg.seed)

    check_trainer(plain(cfg.trainer))
    refuse_ways_out(plain(cfg.logger))
    over = bool(cfg.resume) and has_ended(cfg, run)
    finished = over and is_scored(cfg, run)
    if finished and read_own(run.path, trust=cfg.trust).data == cfg.data:
        say_finished(run)
        return None
    telling = reporting.Telling.read(plain(cfg))
    preprocessing = choose_preprocessing(cfg)
    settings = split_settings(cfg)
    check_settings(cfg, settings, preprocessing, machine)
    whole, manifest = read_images(cfg, settings)
    reporting.rehearse(manifest.rows, manifest.classes, manifest.positive, telling)
    asked = settings | source_settings(cfg)
    findings = audit_quickly(
        whole, manifest, asked, resize=preprocessing.resize, half_width=telling.precision_of_sensitivity
    )
    data = make_loaders(cfg, manifest, preprocessing, machine)
    for line in hardware.suggestions(str(cfg.trainer.precision), cfg.data.batch_size):
        log.debug("would suit this machine better: %s", line)
    if cfg.preview:
        run.begin()
        pictures.write(pictures.of_data(data), run.figures)
        log.info("pictures of the data: %s", run.figures)
        return None
    steps = say_learning_rates(cfg, data)
    own = identity(cfg, run, manifest)
    classifier, freezing, account = make_classifier(cfg, manifest, preprocessing, own)
    settle_batch_norm(cfg, classifier, steps)
    summary = summarise(classifier.network, (preprocessing.channels, *preprocessing.size))
    figures = {} if cfg.resume else pictures.of_data(data)
    trainer = make_trainer(cfg, run, data, freezing, machine, figures)

    if not cfg.resume and run.was_left_in_its_first_epoch():
        start_over(cfg, run)
    # From here on the run is real, and its folder begins.
    run.begin()
    if cfg.resume:
        check_same_run(run, manifest)
        for checkpoint in (run.last, run.best):
            check_checkpoint(checkpoint, manifest, own)
    else:
        run.write_text("manifest.csv", manifest.to_csv())
        run.write_text("splits.csv", escaped(split_table(manifest)).to_csv(index=False))
        run.write_json("audit.json", audit_record(manifest, findings))
        run.write_json("weights.json", account.to_plain())
        run.write_text("model.txt", summary)
    run.write_text("config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    run.write_json("environment.json", hardware.environment() | {"choices": list(machine.reasons), "run": own})
    if finished:  # its images have moved, and are the same
        say_finished(run)
        return None
    if not over:
        with ending.saying_what_is_there(lambda _: what_was_trained(run)), ending.not_swallowed():
            trainer.fit(classifier, datamodule=data, ckpt_path=str(run.last) if cfg.resume else None, weights_only=True)
    epochs, stopped = epochs_behind(run)
    if stopped:
        log.info(
            "early stopping ended the training after %s: %s without a better %s (early_stopping=%d)",
            counted(epochs, "epoch"),
            counted(cfg.early_stopping, "epoch"),
            cfg.monitor,
            cfg.early_stopping,
        )
    run.written = {"checkpoints": None}
    result = result_split(cfg, set(manifest.rows["split"]))
    with ending.saying_what_is_there(lambda error: run.what_is_there(evaluation(run, result), error)):
        score(cfg, run, data, telling, trainer.strategy.root_device, asked, epochs)
    if over:
        return None
    # A score of 0.0 is a score; without one the checkpoint callback would have saved nothing, and loading failed.
    return float(cast("Tensor", cast("ModelCheckpoint", trainer.checkpoint_callback).best_model_score))


def score(
    cfg: DictConfig,
    run: RunFolder,
    data: ImageDataModule,
    telling: Telling,
    device: torch.device,
    asked: Mapping[str, Any],
    epochs: int,
) -> None:
    """From the best checkpoint to the report: predictions, decision rules and metrics, figures; each written when made.

    Parameters
    ----------
    device : device
        Where the network is to run.
    asked : mapping
        All that the split was cut by.
    epochs : int
        How many the training has behind it.
    """
    from medcls.inference.load import add_policies, load
    from medcls.inference.predict import Predictor, predict_split
    from medcls.runs.ledger import record_reading
    from medcls.runs.locked import remember_test
    from medcls.workflow import pictures, reporting

    manifest = data.manifest

    def predict(split: str) -> Predictions:
        table = predict_split(best, data, split, predictor)
        run.write_predictions(split, table)
        return table

    # The best checkpoint, and nothing else, is scored: the hash of its weights stands beside every number.
    best = load(run.best, partial(build_own_network, own=cfg.model.network))
    predictor = Predictor(best.network, device)
    pictures.of_training(run, plain(cfg.schedule.phases), epochs, best.epoch, cfg.monitor, manifest.stamp)
    tables, readings = [predict("val")], None
    # Whatever is fitted has seen no image of the result; where some were cut off for it, none that selected either.
    fit_on = predict("calibration") if has(manifest, "calibration") else tables[0]
    fitted = reporting.fit(fit_on, telling)
    run.write_json("policies.json", fitted.to_plain())
    add_policies(run.best, fitted.to_plain())
    if cfg.evaluate_test:
        remember_test(manifest, str(run.path), asked)
        tables.append(predict(result_split(cfg, set(manifest.rows["split"]))))
        readings = record_reading(tables[-1], str(run.path), "train")
    results = reporting.judge(tables, fitted, telling)
    reporting.write_results(run, results, fitted, manifest.stamps)
    reporting.show(results, readings)
    sources = reporting.sources_of_run(
        run,
        name=f"{cfg.data.name}, {cfg.model.name}",
        command=f"python -m medcls.train {shlex.join(sys.argv[1:])}",
        telling=telling,
        stamps=manifest.stamps,
        readings=readings,
        images=manifest.root,
        preprocessing=data.preprocessing,
        best_epoch=best.epoch,
    )
    reporting.write_report(run, results, sources, telling)
    log.info("the report: %s", run.report)
    log.info("run folder: %s", run.path)


def result_split(cfg: DictConfig, splits: Collection[str]) -> str:
    """The split that the report opens with. A test split that came with the data waits for the ensemble of folds."""
    if not cfg.evaluate_test:
        return "val"
    return "held_out" if "held_out" in splits else "test"


def evaluation(run: RunFolder, split: str) -> str:
    """The command that scores a trained run."""
    return f"python -m medcls.evaluate {typed('run', str(run.path))} split={split}"


def what_was_trained(run: RunFolder) -> str:
    """What a training that ended early leaves, and how to go on with it."""
    if not run.last.is_file():
        return (
            "No epoch was finished, so there is nothing to go on with. The same command starts over; "
            f"{run.path} can be removed, or be given to it as hydra.run.dir."
        )
    epochs, _ = epochs_behind(run)
    return (
        f"{counted(epochs, 'epoch')} of the training can be gone on with, and the best so far is {run.best}. Go on "
        f"with:\n  python -m medcls.train {typed('resume', str(run.path))}"
    )


def start_over(cfg: DictConfig, run: RunFolder) -> None:
    """Say that a run begins in the place of one that never finished an epoch, whose files it will write over.

    Raises
    ------
    MedclsError
        A best checkpoint is there, and is of other settings: its `last.ckpt` may have been taken away.
    """
    if run.best.is_file() and (
        not run.config.is_file() or run.config.read_text(encoding="utf-8") != OmegaConf.to_yaml(cfg, resolve=True)
    ):
        raise MedclsError(
            f"{run.path} holds a checkpoints/best.ckpt of other settings, and no last.ckpt to go on with. Give another "
            "hydra.run.dir, or remove it."
        )
    log.warning("%s holds what is left of a run that never finished an epoch: it is begun anew", run.path)


def epochs_behind(run: RunFolder) -> tuple[int, bool]:
    """How many epochs a run's last checkpoint has behind it, and whether early stopping ended it there."""
    from medcls.learning.checkpoints import AtomicCheckpointIO

    checkpoint = AtomicCheckpointIO().load_checkpoint(run.last)
    states = [state for name, state in checkpoint["callbacks"].items() if name.startswith("EarlyStopping")]
    return int(checkpoint["epoch"]) + 1, any(state["wait_count"] >= state["patience"] for state in states)


def has_ended(cfg: DictConfig, run: RunFolder) -> bool:
    """Whether a resumed run's training came to its end, and nothing asks for more.

    Raises
    ------
    MedclsError
        It is further than it should go.
    """
    epochs, stopped = epochs_behind(run)
    wanted = cfg.trainer.max_epochs
    if wanted < epochs:
        raise MedclsError(
            f"{run.path} has {counted(epochs, 'epoch')} behind it, and trainer.max_epochs={wanted} is fewer. To train "
            f"on, give more than {epochs}; to take it as it is, leave trainer.max_epochs out."
        )
    return wanted == epochs or (stopped and wanted == read_own(run.path, trust=cfg.trust).trainer.max_epochs)


def say_finished(run: RunFolder) -> None:
    """Say that a resumed run has nothing left to do, and how to train on."""
    epochs, _ = epochs_behind(run)
    log.info("nothing is left to do: the training ended after %s, and its report is there", counted(epochs, "epoch"))
    log.info("to train on: python -m medcls.train %s trainer.max_epochs=%d", typed("resume", str(run.path)), 2 * epochs)
    log.info("the report: %s", run.report)


def is_scored(cfg: DictConfig, run: RunFolder) -> bool:
    """Whether the report is there, of the best checkpoint and of the split that was asked for."""
    from medcls.data.manifest import read_rows
    from medcls.inference.load import weights_hash
    from medcls.models.weights import read_state

    metrics = run.path / "metrics.json"
    # Written in this order: an older report is of another evaluation.
    if not run.report.exists() or not metrics.exists() or run.report.stat().st_mtime < metrics.stat().st_mtime:
        return False
    try:
        told = read_json(metrics)
    except MedclsError as error:
        log.warning("%s The run is scored anew", error)
        return False
    split = result_split(cfg, set(read_rows(run.manifest)["split"]))
    return isinstance(told, dict) and split in told and told.get("checkpoint") == weights_hash(read_state(run.best)[0])


def seed(value: int) -> None:
    """Seed Python, NumPy and torch.

    Raises
    ------
    MedclsError
        No whole number from 0 on.
    """
    from lightning import seed_everything

    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32:
        raise MedclsError(f"seed is {value!r}: give a whole number from 0 to {2**32 - 1}.")
    seed_everything(value, workers=True, verbose=False)


def read_images(cfg: DictConfig, settings: Mapping[str, Any]) -> tuple[Manifest, Manifest]:
    """The images as they are, and the same, each in one split; what was done to them is said."""
    from medcls.cli import terminal
    from medcls.data.splits.split import split, split_table
    from medcls.models.weights import read_state

    whole = read_source(cfg, strict=True)
    if cfg.resume:
        # The order of the network's outputs: earlier versions sorted classes that are numbers as text.
        _, described = read_state(Path(cfg.resume).expanduser() / "checkpoints" / "last.ckpt")
        whole = whole.in_class_order(described["classes"])
    manifest = split(whole, **settings)
    if cfg.resume:
        manifest = as_begun(manifest, Path(cfg.resume).expanduser() / "manifest.csv")
    for line in (*manifest.stamps, *manifest.notes):
        log.warning(line)
    table = split_table(manifest)
    if manifest.asked:
        pairs = zip(table.pop("share"), table.pop("asked"), strict=True)
        told = [" (".join("-" if value != value else f"{value:.2f}" for value in pair) + ")" for pair in pairs]
        table.insert(2, "share (asked)", told)
    # Two columns in one: a terminal is narrow.
    lone = table.pop("without_group")
    table["groups"] = [
        "not known" if alone == images else f"{groups - alone}{f' + {alone} without' if alone else ''}"
        for images, groups, alone in zip(table["images"], table["groups"], lone, strict=True)
    ]
    for name in manifest.classes:  # count and share in one column: a terminal is narrow
        counts, shares = table.pop(f"{name}: images"), table.pop(f"{name}: share")
        table[f"{name} (share)"] = [f"{n} ({share:.2f})" for n, share in zip(counts, shares, strict=True)]
    terminal.show_table(table, "Images by split")
    return whole, manifest


def as_begun(manifest: Manifest, saved: Path) -> Manifest:
    """The same images in the splits that the run began with: an earlier version of medcls may have cut others.

    Whether the saved splits are those that the network was trained on, its checkpoint tells (`check_checkpoint`).
    """
    from medcls.data.manifest import read_rows

    begun, keys = read_rows(saved), ["path", "label", "group", "content"]
    now = manifest.rows.astype(str)
    if not begun[keys].equals(now[keys]) or begun["split"].equals(now["split"]):
        return manifest
    note = "the splits are those of the run's manifest.csv: with the same settings other ones would be cut by now"
    return manifest.with_rows(manifest.rows.assign(split=begun["split"].tolist()), note)


def choose_preprocessing(cfg: DictConfig) -> Preprocessing:
    """The network's own preprocessing; size and resize policy as the data's configuration wants them."""
    from medcls.models.zoo import size_to_build_for

    preprocessing: Preprocessing = build(cfg.model.preprocessing)
    if (size := plain(cfg.data.image_size)) is not None:
        if not all(isinstance(side, int) and side > 0 for side in (size if isinstance(size, list) else [size])):
            raise MedclsError(f"data.image_size is {size}: give pixels, such as 224, or [height, width].")
        preprocessing = dataclasses.replace(preprocessing, size=size)
    asked = {name: plain(cfg.data[name]) for name in ("resize", "bits", "window", "frame")}
    preprocessing = dataclasses.replace(preprocessing, **{k: v for k, v in asked.items() if v is not None})
    channels = cfg.model.network.get("in_chans", 3)
    averaged = channels == 1 and (preprocessing.channels == 3 or cfg.model.preprocessing.get("in_chans") == 1)
    if channels == 1 and preprocessing.channels == 3:
        preprocessing = preprocessing.grey()
    if averaged:
        log.info(
            "one grey channel: mean %g and deviation %g, the averages over the three colours",
            preprocessing.mean[0],
            preprocessing.std[0],
            extra={"rule": "grey_averages"},
        )
    if channels != preprocessing.channels:
        raise MedclsError(
            f"model.network.in_chans is {channels}, but model.preprocessing has {preprocessing.channels} mean(s) and "
            "std(s): it takes 3 channels, or 1 (grey), for which three means are averaged."
        )
    # Written down, so that whoever loads the checkpoint builds the same network.
    if cfg.model.network.get("img_size", 0) is None:
        cfg.model.network.img_size = size_to_build_for(cfg.model.name, preprocessing.size)
    return preprocessing


def make_loaders(
    cfg: DictConfig, manifest: Manifest, preprocessing: Preprocessing, machine: Hardware
) -> ImageDataModule:
    """Loaders over the manifest, as the machine can bear them."""
    from medcls.data.module import ImageDataModule

    return ImageDataModule(
        manifest,
        preprocessing,
        augmentation=build(cfg.data.augmentation),
        batch_size=cfg.data.batch_size,
        sampler=cfg.data.sampler,
        seed=cfg.seed,
        workers=machine.workers,
        memory_for_images=machine.memory_for_images,
        cache=cfg.data.cache,
        views=cfg.data.views,
    )


def make_loss(cfg: DictConfig, manifest: Manifest) -> Loss:
    """The loss, its class weights checked against the classes, and said by name."""
    from medcls.learning.losses import in_class_order

    node = cfg.loss.copy()
    if "class_weights" in node:
        node.class_weights = in_class_order(plain(node.class_weights), manifest.classes)
    log.info("classes, in the order of the network's outputs and of lists of weights: %s", quoted(manifest.classes))
    loss: Loss = build(node, class_counts=manifest.class_counts("train"))
    if loss.weights is not None:
        by_class = ", ".join(
            f"{name} {weight:.3g}" for name, weight in zip(manifest.classes, loss.weights, strict=False)
        )
        log.info("class weights of the loss, for each image of a class: %s", by_class)
    return loss


def make_classifier(
    cfg: DictConfig, manifest: Manifest, preprocessing: Preprocessing, run: str
) -> tuple[Classifier, FreezeSchedule, Account]:
    """The network with its weights accounted for, its loss, its optimizer and its phases."""
    from medcls.learning.classifier import Classifier
    from medcls.learning.freezing import FreezeSchedule
    from medcls.models.weights import load_weights, refuse_frozen_unloaded
    from medcls.models.zoo import head_name, replace_head, start_small
    from medcls.statistics.metrics import classification_metrics

    classes, positive = manifest.classes, manifest.positive
    loss = make_loss(cfg, manifest)
    outputs = loss.outputs(len(classes))
    network = build(cfg.model.network, num_classes=outputs)
    new_head = None
    if cfg.model.head:
        if not OmegaConf.is_dict(cfg.model.head):
            raise MedclsError(f"model.head is {plain(cfg.model.head)!r}: give its settings, as model.head.hidden=64.")
        check_fits(replace_head, plain(cfg.model.head), "model.head", given=("network", "num_outputs"))
        new_head = replace_head(network, outputs, **plain(cfg.model.head))
    freezing = FreezeSchedule(plain(cfg.schedule.phases), head=new_head or head_name(network))
    freezing.table(network)  # a pattern that matches nothing, in whichever phase, is found out now
    if start_small(network, outputs) is None:
        log.warning(
            "The layer of %s that makes its %d logit(s) is not found: it starts as its own code draws it, not small.",
            type(network).__name__,
            outputs,
        )
    # A resumed run takes every tensor from its checkpoint; what it started from stands in its weights.json.
    source = None if cfg.resume else cfg.model.weights
    account = load_weights(network, source, head=new_head, classes=classes, preprocessing=preprocessing)
    if not cfg.resume:
        log.warning("weights: %s", account)
        reached = range(freezing.phase_at(cfg.trainer.max_epochs - 1) + 1)
        refuse_frozen_unloaded(account, set().union(*(freezing.frozen(network, phase) for phase in reached)))
    classifier = Classifier(
        network,
        classes,
        loss,
        build(cfg.optimizer),
        build(cfg.scheduler),
        lambda labels, probabilities: classification_metrics(labels, probabilities, classes, positive).values,
        positive=None if positive is None else classes.index(positive),
        learning_rate_multipliers=plain(cfg.schedule.learning_rate_multipliers),
        head=freezing.head,
        description={
            "medcls": __version__,
            "network": plain(cfg.model.network) | {"num_classes": outputs},
            "head": plain(cfg.model.head),
            "classes": list(classes),
            "positive": positive,
            "preprocessing": preprocessing.to_plain(),
            "manifest": manifest.fingerprint(),
            "run": run,
            "stamps": list(manifest.stamps),
        },
    )
    classifier.check_monitor(cfg.monitor, cfg.monitor_mode)
    compiled = cfg.get("compile", False)  # a run from before there was this setting goes on without
    if compiled:
        classifier.compile_network()
    return classifier, freezing, account


def make_trainer(
    cfg: DictConfig,
    run: RunFolder,
    data: ImageDataModule,
    freezing: FreezeSchedule,
    machine: Hardware,
    figures: Mapping[str, Figure],
) -> lightning.Trainer:
    """Lightning's trainer with what happens around the epochs."""
    from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, LearningRateMonitor, RichProgressBar

    from medcls.cli import terminal
    from medcls.learning.callbacks import ExactBatchNorm, SeedEachEpoch
    from medcls.learning.checkpoints import AtomicCheckpointIO, checkpoints
    from medcls.learning.features import FrozenFeatures
    from medcls.workflow.pictures import WriteFigures

    features = FrozenFeatures(
        data.rows_of, data.views, data.without_images, len(data.manifest), machine.memory_for_images
    )
    callbacks = [SeedEachEpoch(cfg.seed), freezing, features]
    if cfg.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=cfg.ema))
    if cfg.exact_batch_norm:
        callbacks.append(ExactBatchNorm(data.unaugmented_training()))
    callbacks += checkpoints(run.checkpoints, cfg.monitor, cfg.monitor_mode)
    if cfg.early_stopping is not None:
        callbacks.append(
            EarlyStopping(cfg.monitor, mode=cfg.monitor_mode, patience=cfg.early_stopping, check_finite=False)
        )
    callbacks += [LearningRateMonitor(), WriteFigures(figures, run.figures)]
    if cfg.trainer.get("enable_progress_bar") is not False:
        callbacks.append(RichProgressBar(console_kwargs=terminal.width()))
    return build(
        cfg.trainer,
        callbacks=callbacks,
        logger=[build(logger, save_dir=str(run.path)) for logger in cfg.logger.values()],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(run.path),
    )


def settle_batch_norm(cfg: DictConfig, classifier: Classifier, steps: int) -> None:
    """Decide on exact batch-norm statistics where nobody has, and write it down for a resumed run."""
    from medcls.learning.callbacks import FEW_STEPS, lags_behind

    if cfg.exact_batch_norm is not None:
        return
    cfg.exact_batch_norm = lags_behind(classifier.network, steps)
    if cfg.exact_batch_norm:
        log.debug(
            "exact_batch_norm: true, for this training has %d steps, fewer than %d: running statistics would lag "
            "behind the weights (a pass over the training images before each validation; exact_batch_norm=false "
            "does without)",
            steps,
            FEW_STEPS,
        )


def say_learning_rates(cfg: DictConfig, data: ImageDataModule) -> int:
    """Walk through the learning-rate schedule before anything is trained, and say how it begins and ends.

    Returns
    -------
    int
        The steps of the whole training.
    """
    from medcls.learning.schedulers import learning_rates
    from medcls.learning.trainer_settings import batches_an_epoch

    whole = len(data.train_dataloader())
    batches = batches_an_epoch(whole, cfg.trainer.get("limit_train_batches"))
    if batches < whole:
        log.warning(
            "trainer.limit_train_batches=%s: each epoch trains on %d of the %d images in training",
            cfg.trainer.limit_train_batches,
            batches * cfg.data.batch_size,
            len(data.manifest.indices("train")),
        )
    steps = -(-batches // (cfg.trainer.accumulate_grad_batches or 1))
    rates = learning_rates(
        build(cfg.optimizer), build(cfg.scheduler), steps=steps * cfg.trainer.max_epochs, steps_per_epoch=steps
    )
    log.debug(
        "learning rate: %.3g at the first of %d steps, %.3g at its highest, %.3g at the last",
        rates[0, 0],
        len(rates),
        rates.max(),
        rates[-1, 0],
    )
    return len(rates)


def identity(cfg: DictConfig, run: RunFolder, manifest: Manifest) -> str:
    """Name a training by its settings and its images: what its checkpoints say they are of.

    Two trainings of one name are one training done twice. It is made once, at the start: what may change on a resume
    does not change it. Empty for a run from before there were names.
    """
    if cfg.resume:
        stored = read_json(run.path / "environment.json")
        own = str(stored.get("run", "")) if isinstance(stored, dict) else ""
        if not own:
            log.warning(
                "the run was begun by an earlier version of medcls: what it draws from here on (order, augmentation, "
                "dropout) may be other than it would have been then"
            )
        return own
    settings = plain(cfg) | {"fingerprint": manifest.fingerprint()}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_checkpoint(path: Path, manifest: Manifest, run: str) -> None:
    """Refuse a checkpoint of other images or of another training than this run's.

    Raises
    ------
    MedclsError
        See `medcls.inference.load.check_is_of`; or the file is missing or damaged.
    """
    from medcls.inference.load import check_is_of
    from medcls.models.weights import read_state

    _, described = read_state(path)
    said = (str(described.get("manifest", "")), str(described.get("run", "")))
    check_is_of(path, said, manifest.fingerprint(), run)


def check_same_run(run: RunFolder, manifest: Manifest) -> None:
    """A resumed run goes on with the images it began with.

    Raises
    ------
    MedclsError
        Classes, images or splits differ from the saved manifest's.
    """
    from medcls.data.manifest import KEPT_TOGETHER, SOURCE_LABEL, read_rows

    # Runs from before there were these columns go on without them.
    before = read_rows(run.manifest)
    newer = {KEPT_TOGETHER, SOURCE_LABEL} - set(before)
    now = manifest.rows[[name for name in manifest.rows if name not in newer]]
    if before.equals(now.astype(str)):
        return
    old_classes, new_classes = sorted(set(before["label"])), sorted(set(now["label"]))
    if old_classes != new_classes:
        raise MedclsError(
            f"The run was made with the classes {', '.join(old_classes)}; the data now has {', '.join(new_classes)}."
        )
    both = before.merge(now, how="outer", indicator=True)
    changed = sorted(set(both.loc[both["_merge"] != "both", "path"]))
    raise MedclsError(
        f"{len(changed)} image(s) differ from those the run began with, such as {changed[0]}: resuming would mix two "
        "experiments. Bring the data back, or start a new run."
    )


def has(manifest: Manifest, split: str) -> bool:
    """Whether any image is in a split."""
    return bool((manifest.rows["split"] == split).any())


if __name__ == "__main__":
    main()
