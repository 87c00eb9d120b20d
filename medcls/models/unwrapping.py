"""What other programs put around a network's tensors in a file: taken off and named; and what is no weights at all."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

# Where training scripts keep the state dict, moving averages of the weights first: they are what such a script judges.
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
WRAPPERS = (*AVERAGED, "state_dict", "model_state_dict", "model", "network", "net", "module")
# What DataParallel, torch.compile, Lightning modules and averaged copies put before each name.
PREFIXES = ("module.", "_orig_mod.", "network.", "model.", "net.", "ema_model.", "ema.")
# Counters of averaged copies (torch.optim.swa_utils.AveragedModel), which are no tensor of the network.
COUNTERS = ("n_averaged", "initted", "step", "num_updates")

BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run git lfs pull"),
    (b"\x89HDF", "an HDF5 file (.h5), as Keras and TensorFlow save weights: medcls takes state dicts of PyTorch"),
    (b"<!doctype html", "a web page, not the file itself: the download failed"),
    (b"<html", "a web page, not the file itself: the download failed"),
)


def no_weights(path: Path) -> str | None:
    """What a file is instead of weights, where its first bytes say so."""
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        return "empty (0 bytes)"
    return next((what for bytes_, what in BEGINNINGS if start.lower().startswith(bytes_.lower())), None)


def state_dict_in(content: Any) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401 - whatever a file holds
    """Find the table of tensors in what a file holds.

    Returns
    -------
    content, keys
        The innermost of the known wrappers, and the keys that led there. Not always a table of tensors.
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
    """Take off what stands before the names, where the network has no such names itself.

    Parameters
    ----------
    own : collection of str
        The network's names.

    Returns
    -------
    state, prefixes
        In the order in which they were taken off.
    """
    state, taken = dict(state), []
    while (prefix := _prefix(state, own)) is not None:
        # What has no such prefix stays, and is found to be left over, but for the counters.
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name not in COUNTERS}
        taken.append(prefix)
    return state, tuple(taken)


def _prefix(names: Collection[str], own: Collection[str]) -> str | None:
    """The prefix that names have where the network's own have none, if any."""
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
