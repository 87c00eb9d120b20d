"""Run folders that were trained, opened to be evaluated: their checkpoints ready to predict."""

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
from medcls.cli.entry_point import concurrent_jobs
from medcls.cli.stored_configuration import check_trust, read_run_configuration
from medcls.errors import MedclsError
from medcls.runs import records
from medcls.runs.records import Configuration, Environment
from medcls.runs.run_folder import RunFolder
from medcls.workflow.finished_runs import differences, runs_in

if TYPE_CHECKING:
    # Everything heavy is imported where it is used, so that a typo is answered before torch is loaded.
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
    folder : RunFolder
    config : DictConfig
        The run's own, resolved.
    loaded : Loaded
    splits : frozenset of str
        Those that have images.
    images : Path
        Where they lie now.
    machine : Hardware
    """

    folder: RunFolder
    config: DictConfig
    loaded: Loaded
    splits: frozenset[str]
    images: Path
    machine: Hardware

    @property
    def name(self) -> str:
        """As reports call it."""
        return f"{self.config.data.name}, {self.config.model.name}"

    @property
    def split_by(self) -> dict[str, Any]:
        """All that its splits were cut by, as its training remembered it."""
        return split_settings(self.config) | source_settings(self.config)

    @property
    def fitted_on(self) -> str:
        """The rows that temperature and threshold belong on: a split, or those that a probe judged out of fold."""
        return "calibration" if "calibration" in self.splits else self.beside_test

    @property
    def beside_test(self) -> str:
        """The rows that stand beside a test: val, or of a probe, which has none, those that it judged out of fold."""
        from medcls.evaluation.folds import OUT_OF_FOLD

        return "val" if "val" in self.splits else OUT_OF_FOLD

    def stored(self, split: str) -> Predictions | None:
        """Read the predictions of a split that the run folder holds, where they are of this very checkpoint."""
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
        """Whether the run folder's report is of another split, and not to be lost to this one."""
        from medcls.evaluation.folds import OUT_OF_FOLD

        of_training = {"test", "held_out", "val", OUT_OF_FOLD}
        results = (of_training if split == "train" else {"test", "held_out"}) - {split}
        return any((self.folder.predictions / f"{name}.csv").is_file() for name in results)

    def predict(self, split: str, views: int = 1) -> Predictions:
        """Predict one of the run's own splits anew, exactly."""
        return self.predict_images(self.reopen(split), split, views)

    def reopen(self, split: str) -> Manifest:
        """One of the run's own splits, its images where they lie now."""
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
        """Predict any images, prepared as this run's network wants them; exactly, unless told otherwise."""
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
        """The network, made ready once for all splits."""
        from medcls.inference.arithmetic import EXACT

        return self.predictor(EXACT)

    def predictor(self, arithmetic: Arithmetic) -> Predictor:
        """The network, made ready to compute in a way of its own."""
        import torch

        from medcls.inference.predict import Predictor

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return Predictor(self.loaded.network, device, arithmetic)

    def predictions_of(self, split: str) -> Predictions:
        """The predictions of a split that only stands beside the result: those there are, else new ones.

        Raises
        ------
        MedclsError
            They are those that a probe made out of fold, and are gone: its checkpoint has seen all these images.
        """
        stored = self.stored(split)
        if stored is None and split not in self.splits:
            raise MedclsError(
                f"{self.folder.predictions / split}.csv is missing, or of another checkpoint, and cannot be made from "
                "this one, which has seen these images. Bring it back, or probe anew.",
                kind="missing_predictions",
            )
        return self.predict(split) if stored is None else stored


def find_run(path: str) -> RunFolder:
    """Find a run folder that has what an evaluation needs.

    Raises
    ------
    MedclsError
        There is none.
    """
    place = Path(path).expanduser()
    # Looked at from outside first: closing a run folder that has not begun takes an empty one away.
    if not (place / "config.yaml").is_file() or not (place / "checkpoints" / "best.ckpt").is_file():
        raise MedclsError(
            f"{path or 'An empty name'} is no run folder that can be evaluated: it needs config.yaml and "
            "checkpoints/best.ckpt.",
            kind="not_a_run",
        )
    folder = RunFolder(place)
    folder.close()  # it is read here, and has nothing to log
    return folder


def open_run(path: str, cfg: DictConfig) -> TrainedRun:
    """Find a run folder, and load its best checkpoint.

    Raises
    ------
    MedclsError
        No run folder, or one that asks for what medcls does not ship.
    """
    from medcls import hardware
    from medcls.data.manifest import fingerprint, read_rows
    from medcls.inference.load import check_is_of, load

    folder = find_run(path)
    config = read_run_configuration(folder.path, trust=check_trust(cfg))
    if missing := [name for name in ("data", "model", "seed") if name not in config]:
        raise MedclsError(
            f"{folder.config} is no configuration of a run: it has no {', '.join(missing)}.",
            kind="damaged_configuration",
        )
    rows = read_rows(folder.manifest)
    loaded = load(folder.best, partial(build_network, trust=cfg.trust))
    environment = records.read(folder.path / "environment.json", Environment)
    of_run = "" if environment is None else environment.run
    check_is_of(folder.best, (loaded.manifest, loaded.run), fingerprint(rows), of_run)
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
        Fewer than two; runs without a fold; a fold twice; runs that differ in more than the fold.
    """
    named = plain(cfg.runs)
    named = [named] if isinstance(named, str) else list(named)
    folders = [Path(str(name)).expanduser() for name in named]
    if not_there := [str(path) for path in folders if not path.is_dir()]:
        raise MedclsError(
            f"There is no folder {', '.join(not_there)}: name run folders, or the folder of a sweep.",
            kind="no_such_folder",
        )
    paths = [path for folder in folders for path in runs_in(folder)]
    if len(paths) < 2:
        raise MedclsError(
            f"runs={', '.join(map(str, named))}: a cross-validation has two runs or more.",
            kind="not_a_cross_validation",
        )
    members = [open_run(str(path), cfg) for path in paths]
    for member in members:
        if member.config.data.folds is None:
            raise MedclsError(
                f"{member.folder.path} is no fold of a cross-validation: train with -m data.folds=5 "
                "data.fold=0,1,2,3,4. Single runs are compared by medcls.compare.",
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
            "fold(s) %s are missing: the images that they held out are not judged", ", ".join(map(str, missing))
        )
    return members


def check_differ_only_in_fold(members: Sequence[TrainedRun]) -> None:
    """Refuse folds that were not trained alike: their mean would be of nothing.

    Raises
    ------
    MedclsError
        Names what each has of its own.
    """
    configurations = [Configuration(plain(member.config)).without_fold() for member in members]
    if any(found := differences(configurations)):
        listed = "\n".join(f"  {member.folder.path}: {words}" for member, words in zip(members, found, strict=True))
        raise MedclsError(
            f"Runs of one cross-validation differ in data.fold alone; these differ in more:\n{listed}",
            kind="not_a_cross_validation",
        )
