"""One pass over a loader: each image's scores beside the row it came from."""

from collections.abc import Callable, Iterable, Sized
from pathlib import Path

import numpy as np
import torch
from torch import nn


def load_best(classifier: nn.Module, checkpoint: Path) -> None:
    """Put a checkpoint's tensors into a module, each by its name.

    Where weights were averaged, these are the averages: what the monitored metric was computed with.
    """
    # Nothing but tensors and plain data is ever read.
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    classifier.load_state_dict(state)


@torch.inference_mode()
def predict(
    network: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of every image, in eval mode and full precision.

    Parameters
    ----------
    network : Module
        float32 `(B, C, H, W)` to logits `(B, K)`.
    batches : iterable
        Normalised images, labels, manifest rows.
    device : device
        Where the network is to run; it is moved there.
    progress : callable, optional
        Called with batches done and, where their number is known, batches in all.

    Returns
    -------
    logits, rows : ndarray
        float32 `(n, K)` and int64 `(n,)`, in the order of the batches.
    """
    was_training = network.training
    network.to(device).eval()
    total = len(batches) if isinstance(batches, Sized) else 0
    scores, numbers = [], []
    for done, (images, _, rows) in enumerate(batches, start=1):
        scores.append(network(images.to(device)).float().cpu())
        numbers.append(rows)
        if progress is not None:
            progress(done, max(total, done))
    network.train(was_training)
    return torch.cat(scores).numpy(), torch.cat(numbers).numpy()
