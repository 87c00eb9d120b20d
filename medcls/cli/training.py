"""Build the parts of a training from its configuration."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict

from medcls.cli.building import build, plain
from medcls.cli.data_source import read_source
from medcls.errors import MedclsError
from medcls.runs.run_folder import RunFolder
from medcls.signatures import check_fits
from medcls.wording import quoted

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before torch is loaded.
    import lightning
    import numpy as np

    from medcls.data.manifest import Manifest
    from medcls.data.module import ImageDataModule
    from medcls.hardware import Hardware
    from medcls.learning.classifier import Classifier
    from medcls.learning.description import Description
    from medcls.learning.freezing import FreezeSchedule
    from medcls.learning.losses import Loss
    from medcls.models.weights import Account
    from medcls.preprocessing import Preprocessing

log = logging.getLogger(__name__)


def seed(value: int) -> None:
    """Seed Python, NumPy and torch.

    Raises
    ------
    MedclsError
        The value is not a whole number of at least 0.
    """
    from lightning import seed_everything

    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32:
        raise MedclsError(f"seed is {value!r}: give a whole number from 0 to {2**32 - 1}.", kind="bad_value")
    seed_everything(value, workers=True, verbose=False)


def choose_hardware(cfg: DictConfig, *, jobs: int = 1) -> Hardware:
    """Choose threads, workers and memory for this machine, and log why.

    Parameters
    ----------
    jobs : int
        Runs of a sweep that run at the same time.
    """
    from medcls import hardware

    devices = cfg.trainer.devices if isinstance(cfg.trainer.devices, int) else 1  # refused later
    machine = hardware.choose(cfg.data.workers, cfg.keep_memory, jobs=jobs, processes=max(1, devices))
    for line in machine.reasons:
        log.debug(line)
    return machine


def read_images(cfg: DictConfig, settings: Mapping[str, Any]) -> tuple[Manifest, Manifest]:
    """Read and split the images: the manifest before and after the split. Logs notes and a table of the splits."""
    from medcls.data.sources.saved import as_begun
    from medcls.data.splits.split import SplitSettings, split
    from medcls.learning.description import Description
    from medcls.models.weights import read_state

    all_images = read_source(cfg, strict=True)
    if cfg.resume:
        # Keep the order of the network's outputs: earlier versions sorted numeric class names as text.
        last = Path(cfg.resume).expanduser() / "checkpoints" / "last.ckpt"
        all_images = all_images.in_class_order(Description.from_plain(read_state(last)[1], last).classes)
    manifest = split(all_images, SplitSettings(**settings))
    if cfg.resume:
        manifest = as_begun(manifest, Path(cfg.resume).expanduser() / "manifest.csv")
    log_splits(manifest)
    return all_images, manifest


def log_splits(manifest: Manifest) -> None:
    """Log the manifest's notes, and print a table of its splits and classes."""
    from medcls.data.splits.split import split_table
    from medcls.workflow import terminal

    for line in (*manifest.watermarks, *manifest.notes):
        log.warning(line)
    table = split_table(manifest)
    if manifest.asked:
        pairs = zip(table.pop("share"), table.pop("asked"), strict=True)
        texts = [" (".join("-" if value != value else f"{value:.2f}" for value in pair) + ")" for pair in pairs]
        table.insert(2, "share (asked)", texts)
    # Two columns are joined into one, so that the table fits a terminal.
    ungrouped = table.pop("without_group")
    table["groups"] = [
        "not known" if single == images else f"{groups - single}{f' + {single} without' if single else ''}"
        for images, groups, single in zip(table["images"], table["groups"], ungrouped, strict=True)
    ]
    for name in manifest.classes:
        counts, shares = table.pop(f"{name}: images"), table.pop(f"{name}: share")
        table[f"{name} (share)"] = [f"{n} ({share:.2f})" for n, share in zip(counts, shares, strict=True)]
    terminal.show_table(table, "Images by split")


def choose_preprocessing(cfg: DictConfig) -> Preprocessing:
    """The network's preprocessing, with the size and resize policy of the data's configuration."""
    from medcls.models.zoo import size_to_build_for

    preprocessing: Preprocessing = build(cfg.model.preprocessing)
    if (size := plain(cfg.data.image_size)) is not None:
        if not all(isinstance(side, int) and side > 0 for side in (size if isinstance(size, list) else [size])):
            raise MedclsError(
                f"data.image_size is {size}: give pixels, such as 224, or [height, width].", kind="bad_value"
            )
        preprocessing = dataclasses.replace(preprocessing, size=size)
    asked = {name: plain(cfg.data[name]) for name in ("resize", "bits", "window", "frame")}
    preprocessing = dataclasses.replace(preprocessing, **{k: v for k, v in asked.items() if v is not None})
    channels = cfg.model.network.get("in_chans", 3)
    averaged = channels == 1 and (preprocessing.channels == 3 or cfg.model.preprocessing.get("in_chans") == 1)
    if channels == 1 and preprocessing.channels == 3:
        preprocessing = preprocessing.grey()
    if averaged and not preprocessing.standardise:
        log.info(
            "one grey channel: mean %g and deviation %g, the averages over the three colours",
            preprocessing.mean[0],
            preprocessing.std[0],
            extra={"rule": "grey_averages"},
        )
    if channels != preprocessing.channels:
        raise MedclsError(
            f"model.network.in_chans is {channels}, but model.preprocessing has {preprocessing.channels} mean(s) and "
            "std(s): give 3 channels, or 1 (grey), for which three means are averaged.",
            kind="channels_do_not_fit",
        )
    # Recorded, so that the same network is built when the checkpoint is loaded.
    if cfg.model.network.get("img_size", 0) is None:
        cfg.model.network.img_size = size_to_build_for(cfg.model.name, preprocessing.size)
    return preprocessing


def make_loaders(
    cfg: DictConfig, manifest: Manifest, preprocessing: Preprocessing, machine: Hardware
) -> ImageDataModule:
    """The data module, with workers and memory chosen for the machine."""
    from medcls.data.module import ImageDataModule, Loading

    return ImageDataModule(
        manifest,
        preprocessing,
        build(cfg.data.augmentation),
        Loading(
            batch_size=cfg.data.batch_size,
            sampler=cfg.data.sampler,
            seed=cfg.seed,
            workers=machine.workers,
            memory_for_images=machine.memory_for_images,
            cache=cfg.data.cache,
            views=cfg.data.views,
        ),
    )


def make_loss(cfg: DictConfig, manifest: Manifest) -> Loss:
    """The loss; logs the classes and their weights by name."""
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
    cfg: DictConfig,
    manifest: Manifest,
    preprocessing: Preprocessing,
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    run: str,
) -> tuple[Classifier, FreezeSchedule, Account]:
    """The network with loss, optimizer and freeze schedule, and the account of its weights.

    Parameters
    ----------
    metrics : callable
        From labels and probabilities of a split to the metrics to log.
    run : str
        Identifier of the training, stored in its checkpoints.
    """
    from medcls.learning.classifier import Classifier
    from medcls.learning.freezing import FreezeSchedule
    from medcls.learning.schedulers import Optimization
    from medcls.models.weights import check_frozen, load_weights
    from medcls.models.zoo import head_name, replace_head, start_small
    from medcls.statistics.metric_table import BETTER

    classes, positive = manifest.classes, manifest.positive
    loss = make_loss(cfg, manifest)
    outputs = loss.outputs(len(classes))
    network = build(cfg.model.network, num_classes=outputs)
    new_head = None
    if cfg.model.head:
        if not OmegaConf.is_dict(cfg.model.head):
            raise MedclsError(
                f"model.head is {plain(cfg.model.head)!r}: give its settings, as model.head.hidden=64.",
                kind="bad_value",
            )
        check_fits(replace_head, plain(cfg.model.head), "model.head", given=("network", "num_outputs"))
        new_head = replace_head(network, outputs, **plain(cfg.model.head))
    freezing = FreezeSchedule(plain(cfg.schedule.phases), head=new_head or head_name(network))
    freezing.table(network)  # raises for a pattern that matches nothing, in any phase
    if start_small(network, outputs) is None:
        log.warning(
            "The last layer of %s, with %d logit(s), was not found: it keeps its library's initialisation.",
            type(network).__name__,
            outputs,
        )
    # A resumed run takes every tensor from its checkpoint; its initial weights are recorded in weights.json.
    source = None if cfg.resume else cfg.model.weights
    learned_from = _learned_from(cfg, manifest, source)
    account = load_weights(network, source, head=new_head, classes=classes, preprocessing=preprocessing)
    account = dataclasses.replace(account, learned_from=learned_from)
    if not cfg.resume:
        log.warning("weights: %s", account)
        reached = range(freezing.phase_at(cfg.trainer.max_epochs - 1) + 1)
        frozen = sorted(set().union(*(freezing.frozen(network, phase) for phase in reached)))
        account = check_frozen(account, frozen, allow_random=cfg.freeze_random_weights)
    classifier = Classifier(
        network,
        classes,
        loss,
        Optimization(build(cfg.optimizer), build(cfg.scheduler), plain(cfg.schedule.learning_rate_multipliers)),
        metrics,
        positive=None if positive is None else classes.index(positive),
        head=freezing.head,
        description=describe(cfg.model, outputs, preprocessing, manifest, run).to_plain(),
    )
    classifier.check_monitor(cfg.monitor, cfg.monitor_mode, BETTER)
    if cfg.get("compile", False):  # runs of earlier versions lack it
        classifier.compile_network()
    return classifier, freezing, account


def describe(
    model: DictConfig, outputs: int, preprocessing: Preprocessing, manifest: Manifest, run: str
) -> Description:
    """Return what is stored in the checkpoints with the weights."""
    from medcls.learning.description import Description

    return Description(
        network=plain(model.network) | {"num_classes": outputs},
        head=plain(model.head),
        classes=tuple(manifest.classes),
        positive=manifest.positive,
        preprocessing=preprocessing.to_plain(),
        manifest=manifest.fingerprint(),
        run=run,
        watermarks=tuple(manifest.watermarks),
    )


def _learned_from(cfg: DictConfig, manifest: Manifest, source: str | None) -> tuple[dict[str, Any], ...]:
    """The run whose weights are loaded, once its images were compared with those of this run; empty without one."""
    from medcls.workflow.seen_images import compare_images, run_of

    run = None if source in (None, "default") else run_of(source)
    if run is None:
        return ()
    near_as_same = bool(cfg.data.keep_near_copies_together)
    return (compare_images(manifest, run, "model.weights", near_as_same=near_as_same).to_plain(),)


def make_trainer(
    cfg: DictConfig,
    run: RunFolder,
    data: ImageDataModule,
    freezing: FreezeSchedule,
    machine: Hardware,
    further_callbacks: Sequence[lightning.Callback],
) -> lightning.Trainer:
    """Lightning's trainer with medcls's callbacks, and `further_callbacks` last."""
    from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, LearningRateMonitor, RichProgressBar

    from medcls.learning import processes
    from medcls.learning.callbacks import ExactBatchNorm, NotebookProgressBar, SeedEachEpoch
    from medcls.learning.checkpoints import AtomicCheckpointIO, checkpoints
    from medcls.learning.features import FrozenFeatures
    from medcls.learning.interruption import SaveWithinEpoch
    from medcls.learning.trainer_settings import FIND_UNUSED
    from medcls.workflow import terminal

    rows_of = partial(data.rows_of, shared=True)
    features = FrozenFeatures(rows_of, data.views, data.without_images, len(data.manifest), machine.memory_for_images)
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
    callbacks += [LearningRateMonitor(), SaveWithinEpoch(run.last, cfg.get("checkpoint_minutes")), *further_callbacks]
    if cfg.trainer.get("enable_progress_bar") is not False:
        bar = NotebookProgressBar() if terminal.IN_NOTEBOOK else RichProgressBar(console_kwargs=terminal.width())
        callbacks.append(bar)
    settings, together = cfg.trainer.copy(), {}
    plugins: list[Any] = [AtomicCheckpointIO()]
    with open_dict(settings):
        settings.pop("strategy", None)
    if processes.number_of_processes() > 1:
        find_unused = freezing.freezes or cfg.trainer.get("strategy") == FIND_UNUSED
        together = {"strategy": processes.strategy(find_unused=find_unused)}
        plugins += [processes.SyncBatchNorm()] if cfg.trainer.get("sync_batchnorm") else []
    trainer: lightning.Trainer = build(
        settings,
        callbacks=callbacks,
        logger=[build(logger, save_dir=str(run.path)) for logger in cfg.logger.values()],
        plugins=plugins,
        default_root_dir=str(run.path),
        **together,
    )
    return trainer


def choose_batch_norm(cfg: DictConfig, classifier: Classifier, steps: int) -> None:
    """Set `exact_batch_norm` if it is null, so that a resumed run finds the choice in its configuration."""
    from medcls.learning.callbacks import FEW_STEPS, has_batch_norm, statistics_lag
    from medcls.learning.processes import number_of_processes

    processes = number_of_processes()
    if processes > 1 and has_batch_norm(classifier.network) and not cfg.trainer.get("sync_batchnorm"):
        log.info(
            "batch norm: each of the %d processes normalises its own %d images of a step (on GPUs "
            "trainer.sync_batchnorm=true normalises all %d together, as one process does)",
            processes, cfg.data.batch_size // processes, cfg.data.batch_size, extra={"rule": "batch_norm_in_parts"},
        )  # fmt: skip
    if cfg.exact_batch_norm is not None:
        return
    cfg.exact_batch_norm = statistics_lag(classifier.network, steps)
    if cfg.exact_batch_norm:
        log.debug(
            "exact_batch_norm: true, because this training has %d steps, fewer than %d: running statistics would lag "
            "behind the weights (it takes a pass over the training images before each validation; "
            "exact_batch_norm=false turns it off)",
            steps,
            FEW_STEPS,
        )


def log_learning_rates(cfg: DictConfig, data: ImageDataModule) -> int:
    """Compute the learning-rate schedule, and log its first, highest and last rate.

    Returns
    -------
    int
        The number of steps of the training.
    """
    from medcls.learning.schedulers import learning_rates
    from medcls.learning.trainer_settings import batches_an_epoch

    all_batches = len(data.train_dataloader())
    batches = batches_an_epoch(all_batches, cfg.trainer.get("limit_train_batches"))
    if batches < all_batches:
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
