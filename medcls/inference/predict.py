"""Predict a split: the logits of each image with its manifest row."""

import logging
from collections.abc import Callable, Iterable, Sized

import numpy as np
import torch
from torch import Tensor

from medcls.data.module import ImageDataModule
from medcls.errors import MedclsError
from medcls.evaluation.ensembles import mean_of
from medcls.evaluation.predictions import Predictions, from_logits
from medcls.inference.arithmetic import EXACT, Arithmetic, ready
from medcls.inference.load import ClassLogits, Loaded

log = logging.getLogger(__name__)

# Pixels in a batch. On a CPU larger batches are not faster; on a GPU batches are halved if memory runs out.
PIXELS_CPU, PIXELS_GPU = 32 * 224**2, 256 * 224**2


def predict_split(
    loaded: Loaded,
    data: ImageDataModule,
    split: str,
    predictor: "Predictor",
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
        With a manifest that has the split, and the checkpoint's preprocessing.
    split : str
    predictor : Predictor
        Made from the checkpoint's network.
    progress : callable, optional
        Called with the number of finished batches and of all batches.
    views : int
        Test-time augmentation: average the probabilities of the image itself and `views - 1` versions with the
        augmentation of `data`, which is deterministic.

    Returns
    -------
    Predictions
        With logits if there is one view.
    """
    rows, device = data.manifest.rows, predictor.device
    tables = []
    for view in range(views):
        batches = data.rows_of(split, view, device, batch_size(device, data.preprocessing.size))
        logits, numbers = predictor(batches, progress)
        tables.append(from_logits(rows, numbers, logits, loaded.classes, loaded.positive, loaded.checkpoint))
        tables[-1].check_against(rows.loc[rows["split"] == split, "path"].tolist())
    return tables[0] if views == 1 else mean_of(tables, f"{loaded.checkpoint}-{views}views")


def batch_size(device: torch.device, size: tuple[int, int]) -> int:
    """Number of images of a size (height, width) in a batch of predictions, from 1 to 512."""
    pixels = PIXELS_GPU if device.type == "cuda" else PIXELS_CPU
    return max(1, min(512, pixels // (size[0] * size[1])))


class Predictor:
    """A network that is prepared once and then predicts any batches.

    Parameters
    ----------
    network : ClassLogits
        float32 `(B, C, H, W)` to logits `(B, K)`. It is set to eval mode and moved to the device.
    device : device
    arithmetic : Arithmetic
    """

    def __init__(self, network: ClassLogits, device: torch.device, arithmetic: Arithmetic = EXACT) -> None:
        self.device = device
        self._network, self._arithmetic = network.to(device).eval(), arithmetic
        self._ready: Callable[[Tensor], Tensor] | None = None

    @torch.inference_mode()
    def __call__(
        self, batches: Iterable[tuple[Tensor, Tensor, Tensor]], progress: Callable[[int, int], None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits of every image.

        Parameters
        ----------
        batches : iterable
            Normalised images on the device, labels, manifest rows. A batch is split if the device runs out of memory.
        progress : callable, optional
            Called with the number of finished batches and, if known, of all batches.

        Returns
        -------
        logits, rows : ndarray
            float32 `(n, K)` and int64 `(n,)`, in the order of the batches.

        Raises
        ------
        MedclsError
            The device has no memory for a single image.
        """
        total = len(batches) if isinstance(batches, Sized) else 0
        scores: list[Tensor] = []
        numbers: list[Tensor] = []
        in_parts: InParts | None = None
        for done, (images, _, rows) in enumerate(batches, start=1):
            if self._ready is None:
                self._ready = ready(self._network, images, self._arithmetic)
            if in_parts is None:
                in_parts = InParts(self._ready, len(images), same_size=self._arithmetic.compile)
            # Kept on the device until the end: copying each batch would make it wait.
            scores.append(in_parts(images))
            numbers.append(rows)
            if progress is not None:
                progress(done, max(total, done))
        return torch.cat(scores).cpu().numpy(), torch.cat(numbers).cpu().numpy()


class InParts:
    """Compute the logits of a batch in parts that fit into memory.

    Parameters
    ----------
    network : callable
        From images `(B, C, H, W)` to logits `(B, K)`.
    most : int
        Largest number of images in a part; halved when memory runs out.
    same_size : bool
        Pad smaller parts to `most` images: a compiled network would be recompiled for each size.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], most: int, *, same_size: bool) -> None:
        self._network, self._most, self._same_size = network, most, same_size

    def __call__(self, images: Tensor) -> Tensor:
        """Logits `(B, K)` of a batch of any size.

        Raises
        ------
        MedclsError
            The device has no memory for a single image.
        """
        while True:
            try:
                return torch.cat([self._part(part) for part in images.split(self._most)])
            except torch.OutOfMemoryError as error:
                if self._most == 1:
                    raise MedclsError(
                        f"{images.device} has no memory for one image of {images.shape[-2]} x {images.shape[-1]} "
                        "pixels: end other programs that use it.",
                        kind="out_of_memory",
                    ) from error
            # Outside the except block: the exception keeps the tensors of the failed pass alive.
            self._most = self._most // 2
            log.warning(
                "memory ran out: continuing with %d image(s) at a time", self._most, extra={"rule": "memory_ran_out"}
            )
            torch.cuda.empty_cache()

    def _part(self, images: Tensor) -> Tensor:
        if not self._same_size:
            return self._network(images)
        n = len(images)
        filled = torch.cat([images, images[-1:].expand(self._most - n, -1, -1, -1)])
        # The same memory format, to avoid a recompilation; cloned, because the next run of a CUDA graph overwrites its
        # output.
        return self._network(filled.contiguous(memory_format=torch.channels_last))[:n].clone()
