"""The logits of decoded images by a network in torch."""

import contextlib
import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcls.data.transforms import Augmentation, change, draws, normalise
from medcls.inference.arithmetic import EXACT, Arithmetic, ready
from medcls.inference.load import ClassLogits
from medcls.inference.model import Pixels
from medcls.inference.predict import InParts, batch_size
from medcls.preprocessing import Preprocessing


class NetworkScores:
    """Compute logits as `medcls.evaluate` does; may be called from several threads.

    Parameters
    ----------
    network : ClassLogits
        It is set to eval mode and moved to the device.
    preprocessing : Preprocessing
    device : device
    arithmetic : Arithmetic
    """

    def __init__(
        self,
        network: ClassLogits,
        preprocessing: Preprocessing,
        device: torch.device,
        arithmetic: Arithmetic = EXACT,
    ) -> None:
        self.device, self.batch_size = device, batch_size(device, preprocessing.size)
        self._network, self._preprocessing, self._arithmetic = network.to(device).eval(), preprocessing, arithmetic
        self._lock = threading.Lock()
        self._in_parts: Callable[[Tensor], Tensor] | None = None

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """Logits `(B, K)` of images `(B, H, W, C)`."""
        return self._logits(self._on_device(pixels))

    def view(self, augmentation: Augmentation, number: int) -> Callable[[Pixels], NDArray[np.float32]]:
        """Logits of a view: the images, changed as the augmentation draws it for this number.

        The change is the same for every image, so that a prediction does not depend on the images beside it.

        Parameters
        ----------
        augmentation : Augmentation
        number : int
            0 is the image itself.
        """
        if number == 0:
            return self
        preprocessing = self._preprocessing
        drawn = draws(0, number, np.zeros(1, np.int64))
        changes = augmentation.changes(drawn, preprocessing.size, preprocessing.channels).to(self.device)

        def logits(pixels: Pixels) -> NDArray[np.float32]:
            images = self._on_device(pixels)
            return self._logits(
                change(images, changes.select(torch.zeros(len(images), dtype=torch.int64, device=self.device)))
            )

        return logits

    def _on_device(self, pixels: Pixels) -> Tensor:
        # (B, H, W, C) in memory, as (B, C, H, W) the channels-last format. Few of torch's operations take uint16.
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        images = images if images.dtype == torch.uint8 else images.float().div_(65535)
        return images.to(self.device, non_blocking=True)

    @torch.inference_mode()
    def _logits(self, images: Tensor) -> NDArray[np.float32]:
        images = normalise(images, self._preprocessing)
        with self._lock:
            if self._in_parts is None:
                network = ready(self._network, images, self._arithmetic)
                self._in_parts = InParts(network, self.batch_size, same_size=self._arithmetic.compile)
        # On a CPU several threads may compute at the same time; a GPU has memory for one batch.
        with self._lock if self.device.type != "cpu" else contextlib.nullcontext():
            return self._in_parts(images).cpu().numpy()
