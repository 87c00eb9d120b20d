"""Load a run, a checkpoint or an exported model for predictions."""

from __future__ import annotations

import dataclasses
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medcls import cpu
from medcls.cli.building import build, build_network, plain
from medcls.cli.importing import import_large
from medcls.cli.stored_configuration import read_run_configuration
from medcls.cli.trained_runs import find_run
from medcls.errors import MedclsError, typed
from medcls.runs import records
from medcls.runs.records import Environment

if TYPE_CHECKING:
    # Heavy imports are made where they are used: an exported model needs no torch.
    from collections.abc import Sequence
    from os import PathLike

    import torch

    from medcls.evaluation.decision_rules import DecisionRules
    from medcls.evaluation.out_of_distribution import OodLimit
    from medcls.inference.ensemble import Ensemble
    from medcls.inference.load import Loaded
    from medcls.inference.model import Model, ModelDescription

log = logging.getLogger(__name__)

# Threads that decode beside a GPU.
MOST_WORKERS = 16

# A thread alone is fastest with a quarter of the batch that suits all threads together: more of it stays in the cache.
SHARE_ON_CPU = 4


@dataclasses.dataclass(frozen=True)
class Work:
    """How predictions are shared out.

    Parameters
    ----------
    threads : int
        Each predicts batches of its own.
    share : int
        By which the batch size of a model is divided.
    """

    threads: int
    share: int

    def batch_size(self, largest: int, images: int) -> int:
        """Images in a batch: few images are shared out among the threads."""
        return max(1, min(largest // self.share, -(-images // self.threads)))


def load(
    source: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    views: int = 1,
    device: str | None = None,
    precision: str = "exact",
    trust: bool = False,
) -> Model | Ensemble:
    """Load a trained model, ready to predict; of several runs, their mean.

    Parameters
    ----------
    source : str or Path, or a list of these
        A run folder; a checkpoint of medcls (`.ckpt`), which holds all that a prediction needs; or a model that
        `medcls.export` wrote (`.onnx`), for which torch is not loaded. Of a list the probabilities are averaged.
    views : int
        Test-time augmentation: average the probabilities of the image itself and `views - 1` versions of it by the
        augmentation of its training. Needs run folders.
    device : str, optional
        As torch names it: `cpu`, `cuda:1`. By default the first GPU if there is one. Not for an `.onnx` file.
    precision : str
        `exact`, or `bf16`: faster, with other last digits. Not for an `.onnx` file.
    trust : bool
        Allow targets that medcls does not ship. They run code: only for a run whose origin you trust.

    Returns
    -------
    Model or Ensemble
        With several runs or views an ensemble. It has an operating point, a calibration and label sets only if it is of
        run folders that all set the same images aside for it (`data.calibration_fraction`) and has one view.

    Raises
    ------
    MedclsError
        There is no such run or file, or it is damaged; runs of different classes.
    """
    if isinstance(source, list | tuple):
        places = [Path(one).expanduser() for one in source]
    else:
        places = [Path(source).expanduser()]  # type: ignore[arg-type]
    if not places:
        raise MedclsError("No run is given: name run folders.", kind="not_a_run")
    if len({place.resolve() for place in places}) < len(places):
        raise MedclsError(f"{', '.join(map(str, places))}: give each run once.", kind="run_given_twice")
    if isinstance(views, bool) or not isinstance(views, int) or views < 1:
        raise MedclsError(f"views is {views!r}: give a whole number, at least 1.", kind="bad_value")
    members: list[Model] = []
    for place in places:
        if _is_onnx(place):
            members.append(_load_onnx(place, views))
        else:
            members.extend(_load_run(place, views, device, precision, trust))
    if len(members) == 1:
        return members[0]

    from medcls.inference.ensemble import Ensemble

    name = members[0].name if len(places) == 1 else f"mean of {len(places)} models"
    if views > 1:
        name += f", {views} views of each image"
    rules = _rules_of_ensemble(places, members, trust) if views == 1 else None
    if rules is None:
        log.warning(
            "%s: probabilities are not calibrated, and there is no operating point: %s",
            name,
            "those of the run are of one view"
            if views > 1
            else "the runs have no calibration split in common to fit them on (data.calibration_fraction)",
            extra={"rule": "no_decision_rules"},
        )
    return Ensemble(members, name, rules)


def _is_onnx(place: Path) -> bool:
    return place.suffix.lower() == ".onnx"


def _load_onnx(file: Path, views: int) -> Model:
    """A model that `medcls.export` wrote; torch is not imported.

    Raises
    ------
    MedclsError
        There is no such file, it is not an export of medcls, or onnxruntime is not installed.
    """
    if views > 1:
        raise MedclsError(f"views={views} needs a run folder, and {file} is an export.", kind="needs_a_run")

    from medcls.inference import onnx_file

    return onnx_file.load(file)


def _load_run(place: Path, views: int, device: str | None, precision: str, trust: bool) -> list[Model]:
    """A model for each view."""
    import_large("lightning")

    from medcls.inference.arithmetic import Arithmetic
    from medcls.inference.model import Model
    from medcls.inference.network_scores import NetworkScores

    loaded, description = load_checkpoint(place, trust=trust)
    scores = NetworkScores(loaded.network, loaded.preprocessing, choose_device(device), Arithmetic(precision))
    if views == 1:
        return [Model(description, scores, batch_size=scores.batch_size)]
    if place.is_file():
        raise MedclsError(
            f"views={views} needs a run folder, which has the augmentation of its training, and {place} is a "
            "checkpoint.",
            kind="needs_a_run",
        )
    augmentation = build(read_run_configuration(place, trust=trust).data.augmentation)
    return [
        Model(description, scores.view(augmentation, number), batch_size=scores.batch_size) for number in range(views)
    ]


def known_images(places: Sequence[Path]) -> dict[bytes, str]:
    """The split of each image of the runs' manifests, by content hash; where runs differ, train before val and others.

    Images of runs that they began with, or learned from, are in the splits of those runs. Empty for exports and
    checkpoint files, which have no manifest.
    """
    from medcls.data.manifest import SCORED_SPLITS, read_rows
    from medcls.workflow.seen_images import SeenImages

    order = {name: number for number, name in enumerate(SCORED_SPLITS)}
    splits: dict[bytes, str] = {}
    for place in places:
        if not (place / "manifest.csv").is_file():
            continue
        for rows in (read_rows(place / "manifest.csv"), SeenImages.read(place).table):
            for content, split in zip(rows["content"], rows["split"], strict=True):
                if content and split in order:
                    key = bytes.fromhex(content)
                    splits[key] = min(splits.get(key, split), split, key=order.__getitem__)
    return splits


def load_checkpoint(place: Path, *, trust: bool = False) -> tuple[Loaded, ModelDescription]:
    """Load a run folder's best checkpoint, or a checkpoint file, and describe it.

    Raises
    ------
    MedclsError
        As `load`.
    """
    if place.is_file():
        loaded, name = _read(place, trust), place.stem
        rules = _rules_of(loaded)
    else:
        folder = find_run(str(place))
        config = read_run_configuration(folder.path, trust=trust)
        loaded = _read(folder.best, trust)
        _check_is_of_run(place, loaded)
        name = f"{config.data.name}, {config.model.name}" if "data" in config and "model" in config else place.name
        rules = _rules_of(loaded)
        if rules is not None and rules.ood is None:  # of an earlier version
            rules = dataclasses.replace(rules, ood=_ood_limit_of(place, loaded))
    if rules is None:
        of_val = "" if (place / "predictions" / "test.csv").is_file() else " split=val"  # leaves test unread
        fit = "" if place.is_file() else f" To fit them: python -m medcls.evaluate {typed('run', str(place))}{of_val}"
        log.warning(
            "%s has no decision rules, since its training did not end or an earlier version wrote it: probabilities "
            "are not calibrated, and there is no operating point.%s",
            place,
            fit,
            extra={"rule": "no_decision_rules"},
        )

    from medcls.inference.model import ModelDescription

    return loaded, ModelDescription(
        name=name,
        classes=loaded.classes,
        positive=loaded.positive,
        preprocessing=loaded.preprocessing,
        decision_rules=rules,
        watermarks=loaded.watermarks,
        checkpoint=loaded.checkpoint,
    )


def choose_work(runs: Sequence[str], device: str | None, keep_memory: bool) -> Work:
    """Choose how many threads predict, and leave one thread of the network to each on a CPU.

    A batch in each thread keeps all cores busy, whatever part of the work is decoding; threads within an operation
    would wait for one another.
    """
    if all(_is_onnx(Path(run)) for run in runs):
        return Work(cpu.available_cores(), SHARE_ON_CPU)

    import torch

    from medcls import hardware

    machine = hardware.choose(keep_memory=keep_memory)
    for line in machine.reasons:
        log.debug(line)
    if choose_device(device).type != "cpu":
        return Work(min(MOST_WORKERS, machine.threads), 1)
    torch.set_num_threads(1)
    return Work(machine.threads, SHARE_ON_CPU)


def choose_device(name: str | None) -> torch.device:
    """The device of this name; by default the first GPU, or the CPU.

    Raises
    ------
    MedclsError
        torch has no such device here.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise MedclsError(f"device={name} cannot be used here: {reason}.", kind="no_such_device") from error
    return device


def _read(checkpoint: Path, trust: bool) -> Loaded:
    from medcls.inference.load import load as load_from_file

    return load_from_file(checkpoint, partial(build_network, trust=trust))


def _check_is_of_run(place: Path, loaded: Loaded) -> None:
    """Refuse the checkpoint of another run, where the folder says what it is of."""
    from medcls.data.manifest import fingerprint, read_rows
    from medcls.inference.load import check_is_of

    if not (place / "manifest.csv").is_file():
        return
    environment = records.read(place / "environment.json", Environment)
    run = "" if environment is None else environment.run
    check_is_of(
        place / "checkpoints" / "best.ckpt",
        (loaded.manifest, loaded.run),
        fingerprint(read_rows(place / "manifest.csv")),
        run,
    )


def _rules_of(loaded: Loaded) -> DecisionRules | None:
    from medcls.evaluation.decision_rules import DecisionRules

    return None if loaded.decision_rules is None else DecisionRules.from_plain(loaded.decision_rules)


def _ood_limit_of(place: Path, loaded: Loaded) -> OodLimit | None:
    """The limit by the stored predictions on which a run's decision rules were fitted; None without them."""
    from medcls.evaluation.folds import OUT_OF_FOLD
    from medcls.evaluation.out_of_distribution import fit_ood_limit
    from medcls.evaluation.predictions import read_csv

    for split in ("calibration", "val", OUT_OF_FOLD):
        path = place / "predictions" / f"{split}.csv"
        if path.is_file() and (table := read_csv(path, loaded.positive)).checkpoint == loaded.checkpoint:
            return fit_ood_limit(table)
    log.warning(
        "%s has no predictions of val by its best checkpoint: images that are unlike them are not flagged. To write "
        "them: python -m medcls.evaluate run=%s split=val",
        place,
        place,
        extra={"rule": "no_ood_reference"},
    )
    return None


def _rules_of_ensemble(places: Sequence[Path], members: Sequence[Model], trust: bool) -> DecisionRules | None:
    """Decision rules fitted on the mean of the members' stored predictions of their common calibration split.

    None where a member has none: each network was trained or selected on images that others held out.
    """
    from medcls.evaluation.decision_rules import fit_decision_rules
    from medcls.evaluation.ensembles import ENSEMBLE, mean_of
    from medcls.evaluation.predictions import read_csv
    from medcls.workflow.report_settings import FitSettings

    tables = []
    for place, member in zip(places, members, strict=True):
        path = place / "predictions" / "calibration.csv"
        if not path.is_file():
            return None
        table = read_csv(path, member.positive)
        if table.checkpoint != member.checkpoint:
            return None
        tables.append(table)
    if len({frozenset(table.rows["path"]) for table in tables}) > 1:
        return None
    settings = plain(read_run_configuration(places[0], trust=trust))
    how = FitSettings.read(settings)
    return fit_decision_rules(
        mean_of(tables, ENSEMBLE), how.operating_point, calibrate=how.calibrate, coverage=how.coverage,
        seed=settings["seed"],
    )  # fmt: skip
