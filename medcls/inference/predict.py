"""One pass over a split: each image's scores beside the row it came from."""

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

# Pixels of a batch. On a CPU more bring no speed; a GPU takes as many as its memory holds, and batches are halved where
# it does not.
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
        Over a manifest that has the split, with the checkpoint's preprocessing.
    split : str
    predictor : Predictor
        The checkpoint's network, made ready.
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
    rows, device = data.manifest.rows, predictor.device
    tables = []
    for view in range(views):
        batches = data.rows_of(split, view, device, batch_size(device, data.preprocessing.size))
        logits, numbers = predictor(batches, progress)
        tables.append(from_logits(rows, numbers, logits, loaded.classes, loaded.positive, loaded.checkpoint))
        tables[-1].check_against(rows.loc[rows["split"] == split, "path"].tolist())
    return tables[0] if views == 1 else mean_of(tables, f"{loaded.checkpoint}-{views}views")


def batch_size(device: torch.device, size: tuple[int, int]) -> int:
    """How many images of a size, height and width, make a batch of predictions: from 1 to 512."""
    pixels = PIXELS_GPU if device.type == "cuda" else PIXELS_CPU
    return max(1, min(512, pixels // (size[0] * size[1])))


class Predictor:
    """A network, made ready once, that any batches can then be given to.

    Parameters
    ----------
    network : ClassLogits
        float32 `(B, C, H, W)` to logits `(B, K)`. It is put into eval mode and moved to the device.
    device : device
        Where it is to run.
    arithmetic : Arithmetic
        How it computes.
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
            Normalised images on the device, labels, manifest rows. Where its memory is too small for the network's
            pass over a batch, that goes in parts.
        progress : callable, optional
            Called with batches done and, where their number is known, batches in all.

        Returns
        -------
        logits, rows : ndarray
            float32 `(n, K)` and int64 `(n,)`, in the order of the batches.

        Raises
        ------
        MedclsError
            The device cannot hold a single image's pass.
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
            # They stay on the device until the end: to fetch each batch's would let it wait.
            scores.append(in_parts(images))
            numbers.append(rows)
            if progress is not None:
                progress(done, max(total, done))
        return torch.cat(scores).cpu().numpy(), torch.cat(numbers).cpu().numpy()


class InParts:
    """A network's logits of a batch, part by part: as many images at a time as memory holds.

    Parameters
    ----------
    network : callable
        From images `(B, C, H, W)` to logits `(B, K)`.
    most : int
        Images at a time; halved whenever memory runs out, and never raised again.
    same_size : bool
        Fill smaller batches up to `most`: a compiled network would be compiled anew for each size.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], most: int, *, same_size: bool) -> None:
        self._network, self._most, self._same_size = network, most, same_size

    def __call__(self, images: Tensor) -> Tensor:
        """Logits `(B, K)` of a batch of any size.

        Raises
        ------
        MedclsError
            There is no room for one image.
        """
        while True:
            try:
                return torch.cat([self._part(part) for part in images.split(self._most)])
            except torch.OutOfMemoryError as error:
                if self._most == 1:
                    raise MedclsError(
                        f"{images.device} has no memory left for one image of {images.shape[-2]} x {images.shape[-1]} "
                        "pixels: end other programs that use it.",
                        kind="out_of_memory",
                    ) from error
            # Not while the error is handled, which holds on to what the failed pass had made.
            self._most = self._most // 2
            log.warning(
                "memory ran out: from here on %d image(s) at a time", self._most, extra={"rule": "memory_ran_out"}
            )
            torch.cuda.empty_cache()

    def _part(self, images: Tensor) -> Tensor:
        if not self._same_size:
            return self._network(images)
        n = len(images)
        filled = torch.cat([images, images[-1:].expand(self._most - n, -1, -1, -1)])
        # One memory format too: for another it would be compiled anew. And a copy: a graph's next run writes over what
        # this one gave.
        return self._network(filled.contiguous(memory_format=torch.channels_last))[:n].clone()
