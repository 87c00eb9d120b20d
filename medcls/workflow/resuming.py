"""The state of a run folder, and whether its training can be resumed."""

import hashlib
import json
import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning import Trainer

from medcls.data.manifest import KEPT_TOGETHER, SOURCE_LABEL, Manifest, read_rows
from medcls.errors import MedclsError, typed
from medcls.inference.load import check_is_of, weights_hash
from medcls.learning.checkpoints import AtomicCheckpointIO
from medcls.learning.description import Description
from medcls.models.weights import read_state
from medcls.runs import records
from medcls.runs.records import Configuration, Environment, StoredMetrics
from medcls.runs.run_folder import RunFolder
from medcls.runs.stored import typed_trackers
from medcls.wording import counted
from medcls.workflow.scoring import result_split

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a training has come, by its `last.ckpt`.

    Parameters
    ----------
    epochs : int
        Complete epochs.
    steps : int
        Steps of the epoch after these.
    stopped : bool
        Whether early stopping ended the training.
    """

    epochs: int
    steps: int
    stopped: bool


def progress_of(run: RunFolder) -> Progress:
    """Return how far the training of a run has come.

    Raises
    ------
    MedclsError
        The checkpoint is damaged; names an earlier one if that is intact.
    """
    checkpoint = _read_last(run)
    loops = checkpoint["loops"]["fit_loop"]
    epochs = int(loops["epoch_progress"]["current"]["processed"])
    within = epochs == int(checkpoint["epoch"])  # after an epoch, the number of the one that just ended
    steps = int(loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["current"]["completed"])
    states = [state for name, state in checkpoint["callbacks"].items() if name.startswith("EarlyStopping")]
    stopped = not within and any(state["wait_count"] >= state["patience"] for state in states)
    return Progress(epochs, steps if within else 0, stopped)


def _read_last(run: RunFolder) -> dict[str, Any]:
    reader = AtomicCheckpointIO()
    try:
        return reader.load_checkpoint(run.last)
    except MedclsError as error:
        if error.kind != "damaged_checkpoint":
            raise
        try:
            epochs = int(reader.load_checkpoint(run.best)["epoch"]) + 1
        except MedclsError:
            raise error from None
        raise MedclsError(
            f"{error} {run.best}, of epoch {epochs}, is intact. To train on from there:\n"
            f"  cp {shlex.quote(str(run.best))} {shlex.quote(str(run.last))}\n"
            f"  python -m medcls.train {typed('resume', str(run.path))}",
            kind="damaged_checkpoint",
        ) from error


def has_ended(run: RunFolder, max_epochs: int, own_max_epochs: int) -> bool:
    """Whether the training of a resumed run is complete.

    Parameters
    ----------
    max_epochs, own_max_epochs : int
        `trainer.max_epochs` as requested now, and in the run's own configuration.

    Raises
    ------
    MedclsError
        More epochs were trained than requested.
    """
    progress = progress_of(run)
    begun = progress.epochs + (progress.steps > 0)
    if max_epochs < begun:
        raise MedclsError(
            f"{run.path} was trained for {_in_words(progress)}, and trainer.max_epochs={max_epochs} is fewer. To "
            f"continue training, give more than {progress.epochs}; otherwise leave trainer.max_epochs out.",
            kind="fewer_epochs",
        )
    return (max_epochs == progress.epochs and not progress.steps) or (progress.stopped and max_epochs == own_max_epochs)


def log_end(run: RunFolder, trainer: Trainer, patience: int | None, monitor: str) -> int:
    """Log whether early stopping ended a training; return the number of epochs trained."""
    # A trainer that had nothing left to do has no epoch.
    if trainer.current_epoch:
        epochs = trainer.current_epoch
        stopped = any(one.wait_count >= one.patience for one in trainer.early_stopping_callbacks)
    else:
        progress = progress_of(run)
        epochs, stopped = progress.epochs, progress.stopped
    if stopped:
        log.info(
            "early stopping ended the training after %s: no better %s in %s (early_stopping=%d)",
            counted(epochs, "epoch"), monitor, counted(patience or 0, "epoch"), patience,
            extra={"rule": "stopped_early"},
        )  # fmt: skip
    return epochs


def log_finished(run: RunFolder) -> None:
    """Log that a resumed run is complete, and how to continue training."""
    epochs = progress_of(run).epochs
    log.info("nothing to do: the training ended after %s, and the report is written", counted(epochs, "epoch"))
    log.info(
        "to continue training: python -m medcls.train %s trainer.max_epochs=%d",
        typed("resume", str(run.path)),
        2 * epochs,
    )
    log.info("report: %s", run.report)


def is_scored(run: RunFolder, *, evaluate_test: bool) -> bool:
    """Whether there is a report of the best checkpoint and of the requested split."""
    path = run.path / "metrics.json"
    # The report is written last: an older one is of another evaluation.
    if not run.report.exists() or not path.exists() or run.report.stat().st_mtime < path.stat().st_mtime:
        return False
    try:
        metrics = records.read(path, StoredMetrics)
    except MedclsError as error:
        log.warning("%s The run is evaluated again", error)
        return False
    split = result_split(set(read_rows(run.manifest)["split"]), evaluate_test=evaluate_test)
    return metrics is not None and split in metrics.keys and metrics.checkpoint == weights_hash(read_state(run.best)[0])


def what_was_trained(run: RunFolder) -> str:
    """Describe what an interrupted training leaves, and how to resume it."""
    if not run.last.is_file():
        return (
            "No epoch was finished, so there is nothing to resume. The same command starts over; "
            f"{run.path} can be removed, or reused as hydra.run.dir."
        )
    config = Configuration.read(run.path)
    trackers = "" if config is None else typed_trackers(config.setting("logger"))
    best = f", and the best checkpoint so far is {run.best}" if run.best.is_file() else ""
    return (
        f"{_in_words(progress_of(run))} of the training can be resumed{best}. "
        f"Resume with:\n  python -m medcls.train {typed('resume', str(run.path))}{trackers}"
    )


def _in_words(progress: Progress) -> str:
    parts = [counted(progress.epochs, "epoch")] if progress.epochs or not progress.steps else []
    return " and ".join(parts + ([counted(progress.steps, "step")] if progress.steps else []))


def start_over(run: RunFolder, config: str) -> None:
    """Log that a run replaces one that never finished an epoch.

    Parameters
    ----------
    config : str
        The new `config.yaml`.

    Raises
    ------
    MedclsError
        There is a best checkpoint of other settings; its `last.ckpt` may have been removed.
    """
    if run.best.is_file() and (not run.config.is_file() or run.config.read_text(encoding="utf-8") != config):
        raise MedclsError(
            f"{run.path} has a checkpoints/best.ckpt of other settings, and no last.ckpt to resume. Give another "
            "hydra.run.dir, or remove it.",
            kind="folder_taken",
        )
    log.warning(
        "%s has the files of a run that never finished an epoch: it starts over",
        run.path,
        extra={"rule": "started_over"},
    )


def identity(settings: Mapping[str, Any], manifest: Manifest) -> str:
    """Return a hash of the settings and the images of a training, which is stored in its checkpoints.

    Two trainings with the same identity have the same result. It is computed at the start, and stays the same when
    settings change on a resume.
    """
    hashed = {**settings, "fingerprint": manifest.fingerprint()}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True, default=str).encode()).hexdigest()[:16]


def own_identity(run: RunFolder) -> str:
    """Return the identity of a resumed run; empty for runs of earlier versions."""
    environment = records.read(run.path / "environment.json", Environment)
    if environment is not None and environment.run:
        return environment.run
    log.warning(
        "the run was started by an earlier version of medcls: from here on its random numbers (order, augmentation, "
        "dropout) may differ from those of that version"
    )
    return ""


def check_same_run(run: RunFolder, manifest: Manifest, name: str) -> None:
    """Check that a resumed run has the same images, and checkpoints of its own.

    Parameters
    ----------
    name : str
        The `identity` of the training.

    Raises
    ------
    MedclsError
        Classes, images or splits differ from the saved manifest; or a checkpoint is of another training.
    """
    _check_images(run, manifest)
    # A run that was stopped within its first epoch has no best checkpoint yet.
    for checkpoint in (run.last, run.best) if run.best.is_file() or progress_of(run).epochs else (run.last,):
        described = Description.from_plain(read_state(checkpoint)[1], checkpoint)
        check_is_of(checkpoint, (described.manifest, described.run), manifest.fingerprint(), name)


def _check_images(run: RunFolder, manifest: Manifest) -> None:
    # Runs of earlier versions lack these columns.
    before = read_rows(run.manifest)
    newer = {KEPT_TOGETHER, SOURCE_LABEL} - set(before)
    now = manifest.rows[[name for name in manifest.rows if name not in newer]]
    if before.equals(now.astype(str)):
        return
    old_classes, new_classes = sorted(set(before["label"])), sorted(set(now["label"]))
    if old_classes != new_classes:
        raise MedclsError(
            f"The run has the classes {', '.join(old_classes)}; the data now has {', '.join(new_classes)}.",
            kind="classes_changed",
        )
    # Where files differ, so may the splits of others.
    was, now_is = (dict(zip(rows["path"], rows["content"].astype(str), strict=True)) for rows in (before, now))
    found = {
        "gone": sorted(was.keys() - now_is.keys()),
        "new": sorted(now_is.keys() - was.keys()),
        "of another content": sorted(path for path in was.keys() & now_is.keys() if was[path] != now_is[path]),
    }
    what = [f"{len(paths)} {how} (such as {paths[0]})" for how, paths in found.items() if paths]
    if not what:
        both = before.merge(now, how="outer", indicator=True)
        changed = sorted(set(both.loc[both["_merge"] != "both", "path"]))
        what = [f"{len(changed)} with another label, group or split (such as {changed[0]})"]
    raise MedclsError(
        f"The images differ from those at the start of the run: {', '.join(what)}. Resuming would mix two experiments. "
        "Restore the data, or start a new run.",
        kind="images_changed",
    )
