"""The teacher of a training (`teacher=RUN`): which run it is, that it may teach, and its outputs."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from medcls.cli.building import build, build_network, plain
from medcls.cli.shipped import configurations
from medcls.cli.trained_runs import find_run
from medcls.errors import MedclsError, typed
from medcls.runs import records
from medcls.runs.records import Configuration

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before torch is loaded.
    import lightning
    import numpy as np
    import torch

    from medcls.data.manifest import Manifest
    from medcls.data.module import ImageDataModule
    from medcls.hardware import Hardware
    from medcls.inference.load import Loaded

log = logging.getLogger(__name__)


def check_teacher(cfg: DictConfig) -> None:
    """Check the settings of a teacher before any image is read.

    Raises
    ------
    MedclsError
        There is no such run, or none of this fold; a value of `distillation` is not allowed, or has no teacher.
    """
    build(cfg.distillation)
    if cfg.teacher is not None:
        find_teacher(cfg)
        return
    shipped = OmegaConf.load(configurations() / "conf" / "train.yaml")
    if plain(cfg.distillation) != plain(shipped.distillation):
        raise MedclsError(
            "distillation was set, but no run teaches: add teacher=/path/to/run, or leave distillation out.",
            kind="missing_setting",
        )


def find_teacher(cfg: DictConfig) -> Path:
    """The run folder that `teacher` names; in a folder of folds, the run of this fold.

    Raises
    ------
    MedclsError
        There is none, or there are several.
    """
    location = Path(str(cfg.teacher)).expanduser()
    if (location / "config.yaml").is_file() or not location.is_dir():
        return find_run(str(location)).path
    if cfg.data.folds is None:
        raise MedclsError(
            f"teacher={location} is a folder of runs, and this training is no fold of a cross-validation: name one "
            "run.",
            kind="not_a_run",
        )
    here = (cfg.data.folds, cfg.data.fold)
    found = []
    for path in sorted(location.iterdir()):
        config = Configuration.read(path) if path.is_dir() else None
        if config is not None and (config.setting("data.folds"), config.setting("data.fold")) == here:
            found.append(path)
    if len(found) != 1:
        names = f": {', '.join(path.name for path in found)}" if found else ""
        raise MedclsError(
            f"teacher={location} has {len(found)} runs of fold {here[1]} of {here[0]}{names}. Each fold needs one "
            "teacher, trained with the same seed, data.folds and data.fold.",
            kind="no_teacher_of_this_fold",
        )
    return find_run(str(found[0])).path


def open_teacher(
    cfg: DictConfig, data: ImageDataModule, machine: Hardware
) -> tuple[list[lightning.Callback], dict[str, Any] | None]:
    """Load the teacher, and check that it may teach.

    Returns
    -------
    callbacks, record
        What brings its outputs into the training, and the content of teacher.json; empty and None without a teacher.

    Raises
    ------
    MedclsError
        It has other classes, has learned from images that judge this run, or is another one than before a resume.
    """
    from medcls.inference.load import load
    from medcls.learning.distillation import Teaching
    from medcls.workflow.seen_images import compare_images

    if cfg.teacher is None:
        return [], None
    manifest, folder = data.manifest, find_teacher(cfg)
    loaded = load(folder / "checkpoints" / "best.ckpt", partial(build_network, trust=cfg.trust))
    if set(loaded.classes) != set(manifest.classes):
        raise MedclsError(
            f"The teacher {folder} has the classes {', '.join(loaded.classes)}; the data has "
            f"{', '.join(manifest.classes)}. Give a run with the same classes.",
            kind="different_classes",
        )
    if cfg.resume:
        _refuse_another(Path(cfg.resume).expanduser(), loaded.checkpoint, folder)
    origin = compare_images(manifest, folder, "teacher", near_as_same=bool(cfg.data.keep_near_copies_together))
    outputs = partial(_outputs, loaded, _as_teacher_sees(cfg, manifest, loaded, machine), manifest.classes)
    settings = plain(cfg.distillation)
    log.info("teacher: %s (%s), weights %s", folder, origin.name, loaded.checkpoint)
    record = origin.to_plain() | {
        "checkpoint": loaded.checkpoint,
        "loss": settings.pop("_target_"),
        "settings": settings,
    }
    return [Teaching(build(cfg.distillation), outputs, data.views, len(manifest))], record


def _refuse_another(resumed: Path, checkpoint: str, folder: Path) -> None:
    former = records.read(resumed / "teacher.json", records.TeacherRun)
    if former is not None and former.checkpoint != checkpoint:
        raise MedclsError(
            f"The teacher of this run had the weights {former.checkpoint}, and {folder} has {checkpoint}: it was "
            f"trained again, or is another run. Give the former one: {typed('teacher', '/path/to/run')}",
            kind="of_another_run",
        )


def _as_teacher_sees(cfg: DictConfig, manifest: Manifest, loaded: Loaded, machine: Hardware) -> ImageDataModule:
    """The same images with the same augmentation, in the teacher's size and scaling."""
    from medcls.data.module import ImageDataModule, Loading
    from medcls.learning.processes import rank_of_processes

    data = ImageDataModule(
        manifest,
        loaded.preprocessing,
        build(cfg.data.augmentation),
        Loading(
            batch_size=cfg.data.batch_size,
            seed=cfg.seed,
            workers=machine.workers,
            memory_for_images=machine.memory_for_images,
            cache=cfg.data.cache,
            views=cfg.data.views,
        ),
    )
    data.share_among(*rank_of_processes())
    return data


def _outputs(
    loaded: Loaded, data: ImageDataModule, classes: tuple[str, ...], epoch: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """The teacher's logits of all training images in an epoch, classes in the order of this training.

    Several processes compute the logits of their shares and give them to one another.
    """
    import torch

    from medcls.inference.predict import Predictor, batch_size
    from medcls.learning.processes import gathered

    # Of the same size on any machine: the last bits of logits depend on the batch.
    batches = data.training_in_epoch(epoch, device, batch_size(device, data.preprocessing.size))
    logits, rows = (gathered(torch.from_numpy(part)).numpy() for part in Predictor(loaded.network, device)(batches))
    return logits[:, [loaded.classes.index(name) for name in classes]], rows
