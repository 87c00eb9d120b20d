"""Two checkpoints a run, `best.ckpt` and `last.ckpt`, each written whole or not at all."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning import Trainer
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from medcls.archives import find_damage
from medcls.errors import MedclsError
from medcls.writing import sync_folder


class RunCheckpoint(ModelCheckpoint):
    """One file that is written over; where a run folder has moved, its score moves with it.

    Lightning forgets the best score of a checkpoint whose folder has another name than when it was
    saved, and the next epoch, however bad, would become the best.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the score as saved, and the path as it is now."""
        here = self.format_checkpoint_name({})
        score = next(iter(state_dict["best_k_models"].values()), None)
        super().load_state_dict(
            {
                **state_dict,
                "dirpath": self.dirpath,
                "best_model_path": here,
                "kth_best_model_path": here if score is not None else "",
                "best_k_models": {here: score} if score is not None else {},
            }
        )


def checkpoints(folder: Path, monitor: str, mode: Literal["min", "max"]) -> list[RunCheckpoint]:
    """Callbacks that keep `best.ckpt` (by the monitored metric) and `last.ckpt`, after each epoch's validation.

    The first epoch is always saved as best, so there always is one (P35); of equals, the earlier stays.

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
    # After best in the list, so that last.ckpt knows the best score of its own epoch.
    last = RunCheckpoint(
        folder, "last", save_top_k=1, every_n_epochs=1, save_on_train_epoch_end=True, enable_version_counter=False
    )
    return [best, last]


def best_score(trainer: Trainer) -> float:
    """The monitored metric of a finished training's best checkpoint.

    A score of 0.0 is a score; without one nothing would have been saved, and loading would have failed.
    """
    return float(cast(torch.Tensor, cast(ModelCheckpoint, trainer.checkpoint_callback).best_model_score))


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, then renames; reads tensors and plain data, never code (P60)."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: None = None) -> None:
        """Write a checkpoint, or leave the one before it as it was.

        Raises
        ------
        MedclsError
            The disk is full, or the file cannot be written for another reason.
        """
        path = Path(path)
        partial = path.with_name(path.name + ".tmp")
        # In memory first: what fails while it is put together has not touched the disk, and what fails
        # after that is the disk, with its own reason.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            sync_folder(path.parent)
        except OSError as error:
            partial.unlink(missing_ok=True)
            kept = f"The {path.name} of an earlier epoch is intact. " if path.exists() else ""
            raise MedclsError(
                f"{path} could not be written ({len(content.getbuffer()) / 2**20:.1f} MiB): {error.strerror}. {kept}"
                f"Free some space and go on with resume={path.parent.parent}.",
                kind="cannot_write",
            ) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: str | torch.device | Callable[..., Any] | None = "cpu",
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint, onto the CPU unless told otherwise.

        Lightning asks for `weights_only`; it is true whatever is asked.

        Raises
        ------
        MedclsError
            There is no such file, it is damaged, or it holds more than tensors and plain data.
        """
        path = Path(path)
        if not path.is_file():
            raise MedclsError(f"There is no checkpoint {path}.", kind="no_such_file")
        again = "Bring it back from a copy, or train anew."
        if (why := find_damage(path)) is not None:
            raise MedclsError(f"{path} is damaged or no checkpoint: {why}. {again}", kind="damaged_checkpoint")
        try:
            content = torch.load(path, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            raise MedclsError(
                f"{path} holds more than tensors and plain data. It is not read, because such a file can run code.",
                kind="unsafe_file",
            ) from error
        except (RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
            raise MedclsError(
                f"{path} is damaged or no checkpoint: {error or type(error).__name__}. {again}",
                kind="damaged_checkpoint",
            ) from error
        if not isinstance(content, dict):
            raise MedclsError(f"{path} is no checkpoint of a training. {again}", kind="damaged_checkpoint")
        return content

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint, if it is there."""
        Path(path).unlink(missing_ok=True)
