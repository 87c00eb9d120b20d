"""The two checkpoints of a run, `best.ckpt` and `last.ckpt`, written atomically."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from medcls.archives import find_damage
from medcls.errors import MedclsError
from medcls.writing import sync_folder


class RunCheckpoint(ModelCheckpoint):
    """A checkpoint file that is overwritten, and keeps its best score when the run folder was moved.

    Lightning drops the best score of a checkpoint whose folder was renamed, so that the next epoch, however bad,
    would become the best.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the saved score, with the current path."""
        path = self.format_checkpoint_name({})
        score = next(iter(state_dict["best_k_models"].values()), None)
        super().load_state_dict(
            {
                **state_dict,
                "dirpath": self.dirpath,
                "best_model_path": path if score is not None or self.monitor is None else "",
                "kth_best_model_path": path if score is not None else "",
                "best_k_models": {path: score} if score is not None else {},
            }
        )


def checkpoints(folder: Path, monitor: str, mode: Literal["min", "max"]) -> list[RunCheckpoint]:
    """Callbacks that save `best.ckpt` (by the monitored metric) and `last.ckpt`, after each epoch's validation.

    The first epoch is always saved as best, so there always is one (P35); of equal scores, the earlier is kept.

    Raises
    ------
    MedclsError
        A mode other than min and max.
    """
    if mode not in ("min", "max"):
        raise MedclsError(f"monitor_mode is {mode!r}: choose min or max.", kind="bad_value")
    best = RunCheckpoint(
        folder,
        "best",
        monitor=monitor,
        mode=mode,
        save_top_k=1,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    # After `best`, so that last.ckpt contains the best score including its own epoch.
    last = RunCheckpoint(
        folder, "last", save_top_k=1, every_n_epochs=1, save_on_train_epoch_end=True, enable_version_counter=False
    )
    return [best, last]


class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints atomically; read tensors and plain data, never code (P60)."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: None = None) -> None:
        """Write a checkpoint, or keep the previous one unchanged.

        Raises
        ------
        MedclsError
            The file cannot be written, because the disk is full for example.
        """
        path = Path(path)
        temporary = path.with_name(path.name + ".tmp")
        # Serialized in memory first, so that only errors of the disk are reported as such.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            kept = f"The {path.name} of an earlier epoch is intact. " if path.exists() else ""
            raise MedclsError(
                f"{path} could not be written ({len(content.getbuffer()) / 2**20:.1f} MiB): {error.strerror}. {kept}"
                f"Free some space, and continue with resume={path.parent.parent}.",
                kind="cannot_write",
            ) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: str | torch.device | Callable[..., Any] | None = "cpu",
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint, by default onto the CPU.

        Lightning passes `weights_only`; it is always true here.

        Raises
        ------
        MedclsError
            The file does not exist, is damaged, or holds more than tensors and plain data.
        """
        path = Path(path)
        if not path.is_file():
            raise MedclsError(f"There is no checkpoint {path}.", kind="no_such_file")
        advice = "Restore it from a backup, or train again."
        if (damage := find_damage(path)) is not None:
            raise MedclsError(f"{path} is damaged or not a checkpoint: {damage}. {advice}", kind="damaged_checkpoint")
        try:
            content = torch.load(path, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            raise MedclsError(
                f"{path} holds more than tensors and plain data. It is not read, because it could run code.",
                kind="unsafe_file",
            ) from error
        except (RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
            raise MedclsError(
                f"{path} is damaged or not a checkpoint: {error or type(error).__name__}. {advice}",
                kind="damaged_checkpoint",
            ) from error
        if not isinstance(content, dict):
            raise MedclsError(f"{path} is not a checkpoint of a training. {advice}", kind="damaged_checkpoint")
        return content

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint, if it exists."""
        Path(path).unlink(missing_ok=True)


def best_score(last: Path) -> float | None:
    """The best value of the monitored metric so far, by a run's `last.ckpt`; None within the first epoch."""
    callbacks = AtomicCheckpointIO().load_checkpoint(last)["callbacks"]
    scores = [state.get("best_model_score") for state in callbacks.values() if isinstance(state, dict)]
    return next((float(score) for score in scores if score is not None), None)
