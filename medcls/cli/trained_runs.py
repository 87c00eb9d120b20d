"""Open trained runs for evaluation: a run folder with its checkpoint ready to predict."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from medcls.cli.building import build, build_network, plain
from medcls.cli.data_source import source_settings, split_settings
from medcls.cli.stored_configuration import check_trust, read_run_configuration
from medcls.cli.sweeps import concurrent_jobs
from medcls.errors import MedclsError
from medcls.runs import records
from medcls.runs.records import Configuration, Environment
from medcls.runs.run_folder import RunFolder
from medcls.workflow.finished_runs import differences, runs_in

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before torch is loaded.
    from medcls.data.manifest import Manifest
    from medcls.evaluation.predictions import Predictions
    from medcls.hardware import Hardware
    from medcls.inference.arithmetic import Arithmetic
    from medcls.inference.load import Loaded
    from medcls.inference.predict import Predictor

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run folder with its checkpoint ready to predict.

    Parameters
    ----------
    config : DictConfig
        The run's configuration, resolved.
    splits : frozenset of str
        The splits that have images.
    images : Path
        Their folder now.
    """

    folder: RunFolder
    config: DictConfig
    loaded: Loaded
    splits: frozenset[str]
    images: Path
    machine: Hardware

    @property
    def name(self) -> str:
        """The name for reports."""
        return f"{self.config.data.name}, {self.config.model.name}"

    @property
    def split_by(self) -> dict[str, Any]:
        """The settings of its splits, as its training recorded them."""
        return split_settings(self.config) | source_settings(self.config)

    @property
    def fitted_on(self) -> str:
        """The rows on which temperature and threshold are fitted: a split, or a probe's out-of-fold rows."""
        return "calibration" if "calibration" in self.splits else self.reference_split

    @property
    def reference_split(self) -> str:
        """The rows reported beside a test: val, or the out-of-fold rows of a probe."""
        from medcls.evaluation.folds import OUT_OF_FOLD

        return "val" if "val" in self.splits else OUT_OF_FOLD

    def stored(self, split: str) -> Predictions | None:
        """The predictions of a split in the run folder; None where there are none of this checkpoint."""
        from medcls.evaluation.folds import OUT_OF_FOLD
        from medcls.evaluation.predictions import read_csv
        from medcls.workflow.finished_runs import check_against_manifest

        path = self.folder.predictions / f"{split}.csv"
        if not path.is_file():
            return None
        table = read_csv(path, self.loaded.positive)
        if table.checkpoint != self.loaded.checkpoint:
            return None
        if split in self.splits or split == OUT_OF_FOLD:
            check_against_manifest(table, path, self.folder.path)
        return table

    def has_result_of_another_split(self, split: str) -> bool:
        """Whether the run folder's report is of another split, and must not be overwritten."""
        from medcls.evaluation.folds import OUT_OF_FOLD

        of_training = {"test", "held_out", "val", OUT_OF_FOLD}
        results = (of_training if split == "train" else {"test", "held_out"}) - {split}
        return any((self.folder.predictions / f"{name}.csv").is_file() for name in results)

    def predict(self, split: str, views: int = 1) -> Predictions:
        """Predict one of the run's own splits, with exact arithmetic."""
        return self.predict_images(self.reopen(split), split, views)

    def reopen(self, split: str) -> Manifest:
        """The manifest of one of the run's own splits, with its images where they are now."""
        from medcls.data.sources.saved import reopen
        from medcls.data.sources.scan import ScanOptions
        from medcls.workflow import terminal

        with terminal.progress(f"reading {split} images") as progress:
            return reopen(
                self.folder.manifest,
                self.images,
                self.loaded.classes,
                self.loaded.positive,
                [split],
                self.loaded.watermarks,
                ScanOptions(self.loaded.preprocessing.frame, bool(self.config.data.cache), progress),
            )

    def predict_images(
        self, manifest: Manifest, split: str, views: int = 1, arithmetic: Arithmetic | None = None
    ) -> Predictions:
        """Predict any images, with the preprocessing of this run; by default with exact arithmetic."""
        from medcls.data.module import ImageDataModule, Loading
        from medcls.inference.predict import predict_split
        from medcls.workflow import terminal

        data = ImageDataModule(
            manifest,
            self.loaded.preprocessing,
            build(self.config.data.augmentation) if views > 1 else None,
            Loading(
                batch_size=self.config.data.batch_size,
                seed=self.config.seed,
                workers=self.machine.workers,
                memory_for_images=self.machine.memory_for_images,
                cache=self.config.data.cache,
            ),
        )
        predictor = self.exact_predictor
        if arithmetic is not None and not arithmetic.is_exact:
            predictor = self.predictor(arithmetic)
        with terminal.progress(f"predicting {split}") as progress:
            return predict_split(self.loaded, data, split, predictor, progress, views=views)

    @functools.cached_property
    def exact_predictor(self) -> Predictor:
        """The network ready to predict with exact arithmetic, made once for all splits."""
        from medcls.inference.arithmetic import EXACT

        return self.predictor(EXACT)

    def predictor(self, arithmetic: Arithmetic) -> Predictor:
        """The network ready to predict with a given arithmetic."""
        import torch

        from medcls.inference.predict import Predictor

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return Predictor(self.loaded.network, device, arithmetic)

    def predictions_of(self, split: str) -> Predictions:
        """The stored predictions of a split, else new ones.

        Raises
        ------
        MedclsError
            The out-of-fold predictions of a probe are missing: its checkpoint was fitted on all these images.
        """
        stored = self.stored(split)
        if stored is None and split not in self.splits:
            raise MedclsError(
                f"{self.folder.predictions / split}.csv is missing, or of another checkpoint, and cannot be predicted "
                "with this one, which was fitted on these images. Restore the file, or run the probe again.",
                kind="missing_predictions",
            )
        return self.predict(split) if stored is None else stored


def find_run(path: str) -> RunFolder:
    """Find a run folder that can be evaluated.

    Raises
    ------
    MedclsError
        It has no configuration or no checkpoint.
    """
    location = Path(path).expanduser()
    # Checked first: closing a RunFolder that has not begun removes an empty folder.
    if not (location / "config.yaml").is_file() or not (location / "checkpoints" / "best.ckpt").is_file():
        raise MedclsError(
            f"{path or 'An empty name'} is no run folder that can be evaluated: it needs config.yaml and "
            "checkpoints/best.ckpt.",
            kind="not_a_run",
        )
    folder = RunFolder(location)
    folder.close()  # it is only read
    return folder


def open_run(path: str, cfg: DictConfig) -> TrainedRun:
    """Find a run folder, and load its best checkpoint.

    Raises
    ------
    MedclsError
        It is no run folder, or names a target that medcls does not ship.
    """
    from medcls import hardware
    from medcls.data.manifest import fingerprint, read_rows
    from medcls.inference.load import check_is_of, load

    folder = find_run(path)
    config = read_run_configuration(folder.path, trust=check_trust(cfg))
    if missing := [name for name in ("data", "model", "seed") if name not in config]:
        raise MedclsError(
            f"{folder.config} is not the configuration of a run: it has no {', '.join(missing)}.",
            kind="damaged_configuration",
        )
    rows = read_rows(folder.manifest)
    loaded = load(folder.best, partial(build_network, trust=cfg.trust))
    environment = records.read(folder.path / "environment.json", Environment)
    run_id = "" if environment is None else environment.run
    check_is_of(folder.best, (loaded.manifest, loaded.run), fingerprint(rows), run_id)
    images = config.data.root if cfg.images is None else cfg.images
    return TrainedRun(
        folder=folder,
        config=config,
        loaded=loaded,
        splits=frozenset(rows["split"]),
        images=Path(str(images)).expanduser().absolute(),
        machine=hardware.choose(config.data.workers, cfg.keep_memory, jobs=concurrent_jobs()),
    )


def open_folds(cfg: DictConfig) -> list[TrainedRun]:
    """Open the runs of a cross-validation, in the order of their folds.

    Raises
    ------
    MedclsError
        Fewer than two runs, runs without a fold, a fold twice, or runs that differ in more than the fold.
    """
    named = plain(cfg.runs)
    named = [named] if isinstance(named, str) else list(named)
    folders = [Path(str(name)).expanduser() for name in named]
    if missing_folders := [str(path) for path in folders if not path.is_dir()]:
        raise MedclsError(
            f"There is no folder {', '.join(missing_folders)}: name run folders, or the folder of a sweep.",
            kind="no_such_folder",
        )
    paths = [path for folder in folders for path in runs_in(folder)]
    if len(paths) < 2:
        raise MedclsError(
            f"runs={', '.join(map(str, named))}: a cross-validation needs two runs or more.",
            kind="not_a_cross_validation",
        )
    members = [open_run(str(path), cfg) for path in paths]
    for member in members:
        if member.config.data.folds is None:
            raise MedclsError(
                f"{member.folder.path} is not a fold of a cross-validation: train with -m data.folds=5 "
                "data.fold=0,1,2,3,4. To compare single runs, use medcls.compare.",
                kind="not_a_cross_validation",
            )
    members.sort(key=lambda member: member.config.data.fold)
    counts = {member.config.data.folds for member in members}
    folds = [member.config.data.fold for member in members]
    if len(counts) > 1 or len(set(folds)) < len(folds):
        raise MedclsError(
            f"These runs are folds {', '.join(map(str, folds))} of {', '.join(map(str, sorted(counts)))}: give the "
            "runs of one cross-validation, each fold once.",
            kind="not_a_cross_validation",
        )
    check_differ_only_in_fold(members)
    if missing := sorted(set(range(counts.pop())) - set(folds)):
        log.warning(
            "fold(s) %s are missing: the images that they held out are not evaluated", ", ".join(map(str, missing))
        )
    return members


def check_differ_only_in_fold(members: Sequence[TrainedRun]) -> None:
    """Refuse folds that were trained with different settings: they cannot be averaged."""
    configurations = [Configuration(plain(member.config)).without_fold() for member in members]
    if any(differing := differences(configurations)):
        listed = "\n".join(f"  {member.folder.path}: {text}" for member, text in zip(members, differing, strict=True))
        raise MedclsError(
            f"Runs of one cross-validation may only differ in data.fold; these differ in more:\n{listed}",
            kind="not_a_cross_validation",
        )
