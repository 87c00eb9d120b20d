"""Load a run, a checkpoint or an exported model for predictions."""

from __future__ import annotations

import dataclasses
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medcls.cli.building import build_network
from medcls.cli.stored_configuration import read_run_configuration
from medcls.cli.trained_runs import find_run
from medcls.errors import MedclsError
from medcls.runs import records
from medcls.runs.records import Environment

if TYPE_CHECKING:
    # Heavy imports are made where they are used: an exported model needs no torch.
    from os import PathLike

    import torch

    from medcls.evaluation.decision_rules import DecisionRules
    from medcls.evaluation.out_of_distribution import OodLimit
    from medcls.inference.load import Loaded
    from medcls.inference.model import Model, ModelDescription

log = logging.getLogger(__name__)


def load(source: str | PathLike[str], *, device: str | None = None, trust: bool = False) -> Model:
    """Load a trained model, ready to predict.

    Parameters
    ----------
    source : str or Path
        A run folder; a checkpoint of medcls (`.ckpt`), which holds all that a prediction needs; or a model that
        `medcls.export` wrote (`.onnx`), for which torch is not loaded.
    device : str, optional
        As torch names it: `cpu`, `cuda:1`. By default the first GPU if there is one. Not for an `.onnx` file.
    trust : bool
        Allow targets that medcls does not ship. They run code: only for a run whose origin you trust.

    Returns
    -------
    Model

    Raises
    ------
    MedclsError
        There is no such run or file, or it is damaged.
    """
    place = Path(source).expanduser()
    if place.suffix.lower() == ".onnx":
        return load_onnx(place)
    loaded, description = load_checkpoint(place, trust=trust)

    from medcls.inference.model import Model
    from medcls.inference.network_scores import NetworkScores

    scores = NetworkScores(loaded.network, loaded.preprocessing, choose_device(device))
    return Model(description, scores, batch_size=scores.batch_size)


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
        log.warning(
            "%s has no decision rules: its training did not end. Probabilities are not calibrated, and there is no "
            "operating point. To fit them: python -m medcls.evaluate run=%s split=val",
            place,
            place,
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


def load_onnx(file: Path) -> Model:
    """Load a model that `medcls.export` wrote, without torch.

    Raises
    ------
    MedclsError
        There is no such file, or it is not an export of medcls.
    """
    raise MedclsError(f"{file} is an ONNX file: this version of medcls reads run folders only.", kind="not_a_run")


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
