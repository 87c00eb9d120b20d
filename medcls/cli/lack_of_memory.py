"""Errors of too little memory, as errors that the user can fix: they name the settings to lower."""

import contextlib
import re
from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from medcls.errors import MedclsError

# torch has a class of errors for GPUs alone.
_ALLOCATION = re.compile(
    r"can't allocate memory|not enough memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"
)
_WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) (exited unexpectedly|is killed by signal: \w+)")


@contextlib.contextmanager
def explained(cfg: DictConfig) -> Iterator[None]:
    """Raise errors of too little memory as errors of the user.

    Parameters
    ----------
    cfg : configuration
        Of the command; only settings that it has are named.

    Raises
    ------
    MedclsError
        Memory could not be allocated (`out_of_memory`), or the system killed a loader process (`worker_killed`).
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if (found := _described(error, cfg)) is None:
            raise
        for note in getattr(error, "__notes__", ()):  # what is on disk, and how to continue
            found.add_note(note)
        raise found from error


def _described(error: BaseException, cfg: DictConfig) -> MedclsError | None:
    text = str(error)
    settings = _settings(cfg)
    if (killed := _WORKER.search(text)) is not None:
        return MedclsError(
            f"A loader process of this run was ended from outside ({killed[0]}). Systems do this when memory runs out: "
            f"lower {settings}, or close other programs.",
            kind="worker_killed",
        )
    on_gpu = type(error).__name__ == "OutOfMemoryError" or "CUDA" in text or "CUBLAS" in text
    if not (type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError) or _ALLOCATION.search(text)):
        return None
    detail = _asked_for(text)
    where = "The GPU has not enough memory" if on_gpu else "There is not enough memory"
    return MedclsError(f"{where}{detail}. Lower {settings}, or close other programs.", kind="out_of_memory")


def _asked_for(text: str) -> str:
    """How much was asked for at last, where the error has it."""
    size = re.search(r"(?:allocate|allocate:)[^\d]{0,12}([\d.]+ ?(?:bytes|[KMGT]i?B))", text)
    return f" (for another {size[1]})" if size else ""


def _settings(cfg: DictConfig) -> str:
    """The settings that the memory depends on."""
    named = []
    if (size := OmegaConf.select(cfg, "data.batch_size")) is not None:
        named = [f"data.batch_size={size} (half of it with trainer.accumulate_grad_batches=2 gives the same steps)"]
        named += ["data.image_size", "data.workers"]
    if OmegaConf.select(cfg, "keep_memory"):
        named.append("keep_memory (to false)")
    return ", ".join(named) or "the size of the images"
