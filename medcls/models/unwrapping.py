"""Unwrap state dicts in files of other programs, and recognise files that are not weights."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

# Keys under which training scripts store the state dict. Moving averages first: such scripts evaluate them.
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
WRAPPERS = (*AVERAGED, "state_dict", "model_state_dict", "model", "network", "net", "module")
# Prefixes of names from DataParallel, torch.compile, Lightning modules and averaged models.
PREFIXES = ("module.", "_orig_mod.", "network.", "model.", "net.", "ema_model.", "ema.")
# Counters of averaged models (torch.optim.swa_utils.AveragedModel), which are not tensors of the network.
COUNTERS = ("n_averaged", "initted", "step", "num_updates")

BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run git lfs pull"),
    (b"\x89HDF", "an HDF5 file (.h5), as Keras and TensorFlow save weights: medcls takes state dicts of PyTorch"),
    (b"<!doctype html", "a web page, not the file itself: the download failed"),
    (b"<html", "a web page, not the file itself: the download failed"),
)


def no_weights(path: Path) -> str | None:
    """What a file is instead of weights, by its first bytes; None if it may be weights."""
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        return "empty (0 bytes)"
    return next((kind for bytes_, kind in BEGINNINGS if start.lower().startswith(bytes_.lower())), None)


def state_dict_in(content: Any) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401 - whatever a file holds
    """Find the state dict in the content of a file.

    Returns
    -------
    content, keys
        The content of the innermost known wrapper, and the keys that led there. Not always a state dict.
    """
    keys: list[str] = []
    while isinstance(content, Mapping):
        key = next((name for name in WRAPPERS if isinstance(content.get(name), Mapping)), None)
        if key is None:
            break
        keys.append(key)
        content = content[key]
    return content, tuple(keys)


def without_prefixes(state: Mapping[str, Tensor], own: Collection[str]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Remove known prefixes from the names, unless the network has such names itself.

    Parameters
    ----------
    own : collection of str
        The network's names.

    Returns
    -------
    state, prefixes
        The renamed tensors, and the prefixes in the order in which they were removed.
    """
    state, removed = dict(state), []
    while (prefix := _prefix(state, own)) is not None:
        # Names without the prefix are kept, and reported as left over; only counters are dropped.
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name not in COUNTERS}
        removed.append(prefix)
    return state, tuple(removed)


def _prefix(names: Collection[str], own: Collection[str]) -> str | None:
    """A known prefix of the names that the network's own names do not have, if any."""
    if not set(own).isdisjoint(names):
        return None
    return next(
        (
            prefix
            for prefix in PREFIXES
            if any(name.startswith(prefix) for name in names) and not any(name.startswith(prefix) for name in own)
        ),
        None,
    )
