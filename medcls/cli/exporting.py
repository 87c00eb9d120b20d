"""What an export needs of a run: its settings, its checkpoint, and images to verify it with."""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from medcls.cli.building import plain
from medcls.errors import MedclsError, nearest

if TYPE_CHECKING:
    from medcls.cli.trained_runs import TrainedRun
    from medcls.inference.model import Model
    from medcls.workflow.bundle import Reported
    from medcls.workflow.exporting import Checkpoint, Sample

log = logging.getLogger(__name__)

FORMATS = ("onnx", "torch_export", "onnx_int8", "bundle")

# Settings that only some formats have.
OF_FORMATS = {
    "verify_on": ("onnx", "torch_export", "bundle"),
    "tolerance": ("onnx", "torch_export", "bundle"),
    "calibration_images": ("onnx_int8",),
    "auroc_tolerance": ("onnx_int8",),
    "zip": ("bundle",),
    "licence": ("bundle",),
}


def check_settings(cfg: DictConfig) -> None:
    """Refuse settings with a wrong value, or without effect on this format.

    Raises
    ------
    MedclsError
        Names the setting.
    """
    form = str(cfg.format)
    if form not in FORMATS:
        raise MedclsError(
            f"format={form}: choose one of {', '.join(FORMATS)}.{nearest(form, FORMATS)}", kind="bad_value"
        )
    if cfg.run is None:
        raise MedclsError("Nothing to export: name a run folder by run=RUN.", kind="nothing_to_export")
    given = [override.lstrip("+~").split("=")[0] for override in HydraConfig.get().overrides.task]
    if idle := [name for name in given if form not in OF_FORMATS.get(name, FORMATS)]:
        raise MedclsError(
            f"{', '.join(idle)} would have no effect with format={form}: leave it out.", kind="idle_setting"
        )
    for name in ("verify_on", "calibration_images"):
        value = cfg[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise MedclsError(f"{name} is {value!r}: give a number of images, at least 1.", kind="bad_value")
    for name in ("tolerance", "auroc_tolerance"):
        value = cfg[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise MedclsError(f"{name} is {value!r}: give a number from 0 up to 1.", kind="bad_value")
    if cfg.licence is not None and not (isinstance(cfg.licence, str) and re.fullmatch(r"[A-Za-z0-9.+-]+", cfg.licence)):
        raise MedclsError(
            f"licence is {cfg.licence!r}: give its identifier, as apache-2.0 or cc-by-nc-4.0, or null.",
            kind="bad_value",
        )
    if not isinstance(cfg.zip, bool):
        raise MedclsError(f"zip is {cfg.zip!r}: give true or false.", kind="bad_value")


def checkpoint_of(trained: TrainedRun, *, trust: bool) -> Checkpoint:
    """The best checkpoint of a run, scored by torch on the CPU.

    Raises
    ------
    MedclsError
        As `load_checkpoint`.
    """
    import torch

    from medcls.cli.trained_models import load_checkpoint
    from medcls.inference.model import Model
    from medcls.inference.network_scores import NetworkScores
    from medcls.workflow.exporting import Checkpoint

    loaded, description = load_checkpoint(trained.folder.path, trust=trust)
    scores = NetworkScores(loaded.network, loaded.preprocessing, torch.device("cpu"))
    return Checkpoint(loaded, Model(description, scores, batch_size=scores.batch_size))


def verification_sample(trained: TrainedRun, model: Model, most: int) -> Sample:
    """Images to verify an export with: of val, evenly spaced; phantoms where the run's images are gone.

    Raises
    ------
    MedclsError
        An image cannot be read.
    """
    from medcls.workflow.exporting import Sample

    split = trained.reference_split if trained.reference_split in trained.splits else "train"
    files = _files(trained, split, most)
    if all(file.is_file() for file in files):
        return Sample(f"{split} images of the run", tuple(model.read(file) for file in files))
    log.warning(
        "the %s images of the run are not in %s: the export is verified on phantoms. If they were moved, add "
        "images=/new/place",
        split,
        trained.images,
        extra={"rule": "verified_on_phantoms"},
    )
    from medcls.data.sources.phantoms import ensure_phantoms

    with tempfile.TemporaryDirectory() as folder:
        ensure_phantoms(Path(folder) / "phantoms", images=most)
        drawn = sorted((Path(folder) / "phantoms").glob("*/*.png"))
        return Sample("phantoms", tuple(model.read(file) for file in drawn))


def training_sample(trained: TrainedRun, model: Model, most: int) -> list[np.ndarray]:
    """Training images, evenly spaced, decoded and resized.

    Raises
    ------
    MedclsError
        The run has none, or one cannot be read.
    """
    return [model.read(file) for file in _files(trained, "train", most)]


def _files(trained: TrainedRun, split: str, most: int) -> list[Path]:
    """Evenly spaced images of a split."""
    from medcls.data.manifest import read_rows

    rows = read_rows(trained.folder.manifest)
    paths = rows.loc[rows["split"] == split, "path"].tolist()
    if not paths:
        raise MedclsError(f"{trained.folder.path} has no {split} images.", kind="empty_split")
    chosen = np.unique(np.linspace(0, len(paths) - 1, most).round().astype(int))
    return [trained.images / paths[number] for number in chosen]


def reported(trained: TrainedRun, licence: str | None) -> Reported:
    """What the report of a bundle is made of: stored predictions, records, and the run's settings.

    Nothing outside medcls is built: the run's own rules, plots and metrics are left out.

    Raises
    ------
    MedclsError
        There are no stored predictions of this checkpoint.
    """
    from medcls.workflow import run_sources
    from medcls.workflow.bundle import Reported
    from medcls.workflow.report_settings import ReportSettings

    tables = [
        table for name in (trained.reference_split, "test", "held_out") if (table := trained.stored(name)) is not None
    ]
    if not tables:
        raise MedclsError(
            f"{trained.folder.path} has no predictions of its best checkpoint, of which the report and the card of a "
            f"bundle are made: evaluate it first, by python -m medcls.evaluate run={trained.folder.path} split=val",
            kind="missing_predictions",
        )
    settings = plain(trained.config)
    purpose = (settings.get("report") or {}).get("purpose")
    page = {"purpose": purpose, "images": False, "paths": "hidden"}
    options = ReportSettings.read(settings | {"report": page})
    sources = run_sources.sources_of_run(trained.folder, trained.loaded, options.page, (trained.name, ""), None)
    return Reported(tables, sources, options, trained.folder.best, licence)
