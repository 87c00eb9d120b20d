"""One pass over a split: each image's scores beside the row it came from."""

from collections.abc import Callable, Iterable, Sized

import numpy as np
import torch
from torch import nn

from medcls.data.module import ImageDataModule
from medcls.evaluation.ensembles import mean_of
from medcls.evaluation.predictions import Predictions, from_logits
from medcls.inference.load import Loaded


def predict_split(
    loaded: Loaded,
    data: ImageDataModule,
    split: str,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
    *,
    views: int = 1,
) -> Predictions:
    """Predict one split, each row of the manifest exactly once.

    Parameters
    ----------
    loaded : Loaded
        The checkpoint.
    data : ImageDataModule
        Over a manifest that has the split, with the checkpoint's preprocessing.
    split : str
    device : device
        Where the network is to run.
    progress : callable, optional
        Called with batches done and batches in all.
    views : int
        Test-time augmentation: the mean probability over the image itself and `views - 1` augmented copies, by the
        augmentation that `data` has. The same draws each time.

    Returns
    -------
    Predictions
        With logits where there is one view.
    """
    rows = data.manifest.rows
    tables = []
    for view in range(views):
        logits, numbers = predict(loaded.network, data.rows_of(split, view), device, progress)
        tables.append(from_logits(rows, numbers, logits, loaded.classes, loaded.positive, loaded.checkpoint))
        tables[-1].check_against(rows.loc[rows["split"] == split, "path"].tolist())
    return tables[0] if views == 1 else mean_of(tables, f"{loaded.checkpoint}-{views}views")


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
