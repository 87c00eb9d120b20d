"""The processes of a training beside the first one: it reads, decides and writes, and they train with it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from medcls.cli import launching, sweeps
from medcls.cli.importing import import_large
from medcls.cli.launching import Place
from medcls.errors import MedclsError
from medcls.runs.run_folder import RunFolder

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before torch is loaded.
    import lightning

    from medcls.data.module import ImageDataModule
    from medcls.learning.classifier import Classifier


def leads(cfg: DictConfig) -> bool:
    """Whether this process reads the images and writes the run: the only one, or the first of several."""
    return not launching.starts_processes(cfg.trainer) and launching.place(cfg.trainer).rank == 0


def start_or_follow(composed: DictConfig, cfg: DictConfig) -> float | None:
    """Start the processes of a training and wait for them; or train with the first of them.

    Parameters
    ----------
    composed, cfg : DictConfig
        As Hydra composed it, and that of the run, which is another if it is resumed.

    Returns
    -------
    float or None
        Of the processes that were started: what the first returned.
    """
    if launching.starts_processes(cfg.trainer):
        try:
            return launching.run_in_processes(composed, cfg.trainer.devices)
        except MedclsError as error:
            if error.kind == "process_killed" and not getattr(error, "__notes__", ()):
                _describe_what_is_left(error)
            raise
    follow(launching.place(cfg.trainer))
    return None


def _describe_what_is_left(error: MedclsError) -> None:
    """Add a note on what is on disk, since the process that would have described it was killed."""
    run = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    if not run.config.exists():
        return
    import_large("lightning")

    from medcls.workflow.resuming import what_was_trained

    with contextlib.suppress(MedclsError, OSError):  # must not replace the error
        error.add_note(what_was_trained(run))


@contextlib.contextmanager
def connected(cfg: DictConfig) -> Iterator[None]:
    """Connect the first process with the others, if there are any, until they have trained or the block ends.

    Raises
    ------
    MedclsError
        They cannot share the images of a step.
    """
    place = launching.place(cfg.trainer)
    if place.processes == 1:
        yield
        return
    launching.check_shares(cfg.data.batch_size, place.processes)
    import_large("lightning")

    from medcls.learning import processes

    with processes.meeting(place.rank, place.processes):
        yield


def fit(
    trainer: lightning.Trainer,
    classifier: Classifier,
    data: ImageDataModule,
    cfg: DictConfig,
    run: RunFolder,
    name: str,
) -> None:
    """Train, with the other processes if there are any, which then end and leave their cores to this one.

    Parameters
    ----------
    cfg : DictConfig
        With all that the first process has decided.
    name : str
        Identity of the training.
    """
    import torch

    from medcls.learning import processes

    here, threads = cfg.trainer.devices if processes.number_of_processes() > 1 else 1, torch.get_num_threads()
    processes.give_to_others((cfg, run.path, data.manifest, data.preprocessing, name))
    trainer.fit(classifier, data, ckpt_path=str(run.last) if cfg.resume else None, weights_only=True)
    processes.part()
    torch.set_num_threads(here * threads)


def follow(place: Place) -> None:
    """Train with the first process, on what it has read, and write nothing."""
    _log_nothing()
    import_large("lightning")

    from medcls.cli import distilling, training
    from medcls.learning import processes
    from medcls.statistics.metrics import logged_metrics

    with processes.meeting(place.rank, place.processes):
        given = processes.received()
        if given is None:  # it has reported why
            return
        cfg, path, manifest, preprocessing, name = given
        machine = training.choose_hardware(cfg, jobs=sweeps.concurrent_jobs())
        training.seed(cfg.seed)
        data = training.make_loaders(cfg, manifest, preprocessing, machine)
        metrics = partial(logged_metrics, classes=manifest.classes, positive=manifest.positive)
        classifier, freezing, _ = training.make_classifier(cfg, manifest, preprocessing, metrics, name)
        teaching, _ = distilling.open_teacher(cfg, data, machine)
        run = RunFolder(path)
        trainer = training.make_trainer(cfg, run, data, freezing, machine, teaching)
        trainer.fit(classifier, data, ckpt_path=str(run.last) if cfg.resume else None, weights_only=True)


def _log_nothing() -> None:
    """Leave the log to the first process; errors are raised."""
    for name in ("medcls", "py.warnings", "lightning", "lightning.pytorch"):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [logging.NullHandler()], False
    logging.captureWarnings(True)
