"""What a run folder has behind it, and whether a training may go on in it."""

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from lightning import Trainer

from medcls.data.manifest import KEPT_TOGETHER, SOURCE_LABEL, Manifest, read_rows
from medcls.errors import MedclsError, typed
from medcls.inference.load import check_is_of, weights_hash
from medcls.learning.checkpoints import AtomicCheckpointIO
from medcls.models.weights import read_state
from medcls.runs.run_folder import RunFolder, read_json
from medcls.wording import counted
from medcls.workflow.scoring import result_split

log = logging.getLogger(__name__)


def epochs_behind(run: RunFolder) -> tuple[int, bool]:
    """How many epochs a run's last checkpoint has behind it, and whether early stopping ended it there."""
    checkpoint = AtomicCheckpointIO().load_checkpoint(run.last)
    states = [state for name, state in checkpoint["callbacks"].items() if name.startswith("EarlyStopping")]
    return int(checkpoint["epoch"]) + 1, any(state["wait_count"] >= state["patience"] for state in states)


def has_ended(run: RunFolder, wanted: int, formerly: int) -> bool:
    """Whether a resumed run's training came to its end, and nothing asks for more.

    Parameters
    ----------
    wanted, formerly : int
        The epochs of the training as now asked for, and as the run's own settings say.

    Raises
    ------
    MedclsError
        It is further than it should go.
    """
    epochs, stopped = epochs_behind(run)
    if wanted < epochs:
        raise MedclsError(
            f"{run.path} has {counted(epochs, 'epoch')} behind it, and trainer.max_epochs={wanted} is fewer. To train "
            f"on, give more than {epochs}; to take it as it is, leave trainer.max_epochs out.",
            kind="fewer_epochs",
        )
    return wanted == epochs or (stopped and wanted == formerly)


def say_how_it_ended(run: RunFolder, trainer: Trainer, patience: int | None, monitor: str) -> int:
    """Say where early stopping ended a training; how many epochs it has behind it."""
    # A trainer that had nothing left to do knows of none.
    epochs, stopped = _of_trainer(trainer) if trainer.current_epoch else epochs_behind(run)
    if stopped:
        log.info(
            "early stopping ended the training after %s: %s without a better %s (early_stopping=%d)",
            counted(epochs, "epoch"), counted(patience or 0, "epoch"), monitor, patience,
            extra={"rule": "stopped_early"},
        )  # fmt: skip
    return epochs


def _of_trainer(trainer: Trainer) -> tuple[int, bool]:
    """The same as `epochs_behind`, of a training that has just ended."""
    return trainer.current_epoch, any(one.wait_count >= one.patience for one in trainer.early_stopping_callbacks)


def say_finished(run: RunFolder) -> None:
    """Say that a resumed run has nothing left to do, and how to train on."""
    epochs, _ = epochs_behind(run)
    log.info("nothing is left to do: the training ended after %s, and its report is there", counted(epochs, "epoch"))
    log.info("to train on: python -m medcls.train %s trainer.max_epochs=%d", typed("resume", str(run.path)), 2 * epochs)
    log.info("the report: %s", run.report)


def is_scored(run: RunFolder, *, evaluate_test: bool) -> bool:
    """Whether the report is there, of the best checkpoint and of the split that was asked for."""
    metrics = run.path / "metrics.json"
    # Written in this order: an older report is of another evaluation.
    if not run.report.exists() or not metrics.exists() or run.report.stat().st_mtime < metrics.stat().st_mtime:
        return False
    try:
        told = read_json(metrics)
    except MedclsError as error:
        log.warning("%s The run is scored anew", error)
        return False
    split = result_split(set(read_rows(run.manifest)["split"]), evaluate_test=evaluate_test)
    return isinstance(told, dict) and split in told and told.get("checkpoint") == weights_hash(read_state(run.best)[0])


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


def start_over(run: RunFolder, config: str) -> None:
    """Say that a run begins in the place of one that never finished an epoch, whose files it will write over.

    Parameters
    ----------
    config : str
        What its `config.yaml` will hold.

    Raises
    ------
    MedclsError
        A best checkpoint is there, and is of other settings: its `last.ckpt` may have been taken away.
    """
    if run.best.is_file() and (not run.config.is_file() or run.config.read_text(encoding="utf-8") != config):
        raise MedclsError(
            f"{run.path} holds a checkpoints/best.ckpt of other settings, and no last.ckpt to go on with. Give another "
            "hydra.run.dir, or remove it.",
            kind="folder_taken",
        )
    log.warning(
        "%s holds what is left of a run that never finished an epoch: it is begun anew",
        run.path,
        extra={"rule": "started_over"},
    )


def identity(settings: Mapping[str, Any], manifest: Manifest) -> str:
    """Name a training by its settings and its images: what its checkpoints say they are of.

    Two trainings of one name are one training done twice. It is made once, at the start: what may change on a resume
    does not change it.
    """
    named = {**settings, "fingerprint": manifest.fingerprint()}
    return hashlib.sha256(json.dumps(named, sort_keys=True, default=str).encode()).hexdigest()[:16]


def own_identity(run: RunFolder) -> str:
    """What a resumed run was named at its start; empty for a run from before there were names."""
    stored = read_json(run.path / "environment.json")
    own = str(stored.get("run", "")) if isinstance(stored, dict) else ""
    if not own:
        log.warning(
            "the run was begun by an earlier version of medcls: what it draws from here on (order, augmentation, "
            "dropout) may be other than it would have been then"
        )
    return own


def check_same_run(run: RunFolder, manifest: Manifest, name: str) -> None:
    """A resumed run goes on with the images it began with, from checkpoints of its own.

    Parameters
    ----------
    name : str
        Of the training, as of `identity`.

    Raises
    ------
    MedclsError
        Classes, images or splits differ from the saved manifest's; or a checkpoint is of another training.
    """
    _check_images(run, manifest)
    for checkpoint in (run.last, run.best):
        _, described = read_state(checkpoint)
        said = (str(described.get("manifest", "")), str(described.get("run", "")))
        check_is_of(checkpoint, said, manifest.fingerprint(), name)


def _check_images(run: RunFolder, manifest: Manifest) -> None:
    # Runs from before there were these columns go on without them.
    before = read_rows(run.manifest)
    newer = {KEPT_TOGETHER, SOURCE_LABEL} - set(before)
    now = manifest.rows[[name for name in manifest.rows if name not in newer]]
    if before.equals(now.astype(str)):
        return
    old_classes, new_classes = sorted(set(before["label"])), sorted(set(now["label"]))
    if old_classes != new_classes:
        raise MedclsError(
            f"The run was made with the classes {', '.join(old_classes)}; the data now has {', '.join(new_classes)}.",
            kind="classes_changed",
        )
    both = before.merge(now, how="outer", indicator=True)
    changed = sorted(set(both.loc[both["_merge"] != "both", "path"]))
    raise MedclsError(
        f"{len(changed)} image(s) differ from those the run began with, such as {changed[0]}: resuming would mix two "
        "experiments. Bring the data back, or start a new run.",
        kind="images_changed",
    )
