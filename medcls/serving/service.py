"""Classify uploaded files: what the endpoint and the page share."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from medcls.cpu import available_cores
from medcls.data.reading import images, thumbnails
from medcls.data.reading.decoded import UnreadableImage
from medcls.errors import MedclsError
from medcls.inference.model import Model, Pixels, Prediction
from medcls.plots import heat_maps
from medcls.serving.batches import Batches
from medcls.serving.limits import Limits, RefusedRequest, display_name
from medcls.serving.measurements import Measurements

Explain = Callable[[Pixels, int], NDArray[np.float32]]
"""From an image that `Model.read` returned and the index of a class to a heat map `(H, W)`, from 0 to 1."""

LONGEST_SIDE = 448
"""Pixels of an image on the page."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is known of one uploaded file.

    Parameters
    ----------
    file : str
        Its name, for display.
    prediction : Prediction or None
    error : MedclsError or None
        Why there is no prediction; for the client.
    image : ndarray or None
        The image as it was read, made smaller: uint8 `(H, W, 3)`; None where it was not asked for.
    explained : Explained or None
        None where no heat map was asked for, or the model has none.
    """

    file: str
    prediction: Prediction | None = None
    error: MedclsError | None = None
    image: NDArray[np.uint8] | None = None
    explained: "Explained | None" = None


@dataclasses.dataclass(frozen=True)
class Explained:
    """A heat map for the class that was decided for.

    Parameters
    ----------
    name : str
        The class.
    heat_map : ndarray
        Over `Answer.image`, of its shape.
    text : str
        Where it is high, in words.
    """

    name: str
    heat_map: NDArray[np.uint8]
    text: str


class Service:
    """A model that answers many requests at once. It is loaded once.

    Parameters
    ----------
    model : Model
    limits : Limits
    measurements : Measurements
    explain : callable, optional
        May be called from several threads.
    """

    def __init__(
        self,
        model: Model,
        limits: Limits,
        measurements: Measurements,
        explain: Explain | None = None,
    ) -> None:
        self.model, self.limits, self.measurements = model, limits, measurements
        self._explain = explain
        self._batches = Batches(model)
        # Decoded images are large: as many at a time as can be worked on.
        self._readers = ThreadPoolExecutor(available_cores(), thread_name_prefix="reader")
        self._waiting = 0

    def close(self) -> None:
        """End the threads."""
        self._readers.shutdown(cancel_futures=True)
        self._batches.close()

    async def classify(self, files: Sequence[tuple[str | None, BinaryIO]], *, shown: bool = False) -> list[Answer]:
        """Predict files.

        Parameters
        ----------
        files : sequence of (str or None, binary file)
            The name that the client gave, and the content.
        shown : bool
            Return the images too, and heat maps.

        Returns
        -------
        list of Answer
            In the order of the files; a file that cannot be read has its error.

        Raises
        ------
        RefusedRequest
            Too many files, too many requests at once, or the time is over.
        """
        limits = self.limits
        if not files:
            raise RefusedRequest("There is no file: send one or several images as `files`.", "no_files", 422)
        if len(files) > limits.files:
            message = f"{len(files)} files are more than this server takes at once: send at most {limits.files}."
            raise RefusedRequest(message, "too_many_files", 413)
        if self._waiting + len(files) > limits.waiting:
            raise RefusedRequest("The server has too much to do: try again in a moment.", "server_busy", 429)
        self._waiting += len(files)
        try:
            async with asyncio.timeout(limits.seconds):
                return await asyncio.gather(*(self._answer(name, file, shown) for name, file in files))
        except TimeoutError:
            raise RefusedRequest(
                f"The answer was not ready within {limits.seconds:g} seconds: try again with fewer images.",
                "out_of_time",
                503,
            ) from None
        finally:
            self._waiting -= len(files)

    async def _answer(self, name: str | None, file: BinaryIO, shown: bool) -> Answer:
        start, named = time.monotonic(), display_name(name)
        loop = asyncio.get_running_loop()
        explained = None
        try:
            pixels, image, size = await loop.run_in_executor(self._readers, self._read, file, shown)
            prediction = await asyncio.wrap_future(self._batches.predict(pixels))
            if image is not None and self._explain is not None:
                decided = prediction.decision or prediction.name
                explained = await loop.run_in_executor(self._readers, self._explained, decided, pixels, image, size)
        except MedclsError as error:
            self.measurements.failed(error.kind)
            return Answer(named, error=self._for_client(error))
        self.measurements.predicted(prediction, time.monotonic() - start)
        return Answer(named, prediction, image=image, explained=explained)

    def _read(self, file: BinaryIO, shown: bool) -> tuple[Pixels, NDArray[np.uint8] | None, tuple[int, int]]:
        """The network's input; where asked for, a small image to show; and the height and width of the original."""
        most = self.limits.file_bytes
        data = file.read(most + 1)
        if len(data) > most:
            most_shown = f"{self.limits.file_mib:g} MiB"
            raise MedclsError(f"The file is larger than {most_shown}, the most of this server.", kind="file_too_large")
        decoded, pixels = self.model.decode_and_resize(data)
        height, width, channels = decoded.pixels.shape
        small = thumbnails.shrunk(decoded.pixels, LONGEST_SIDE) if shown else None
        if small is not None and channels == 1:
            small = np.repeat(small, 3, axis=2)
        return pixels, small, (height, width)

    def _explained(self, name: str, pixels: Pixels, image: NDArray[np.uint8], size: tuple[int, int]) -> Explained:
        if self._explain is None:
            raise RuntimeError("asked for a heat map of a model without")
        values = self._explain(pixels, self.model.classes.index(name))
        values = images.resize_back(values, image.shape[:2], size, self.model.preprocessing.resize)
        return Explained(name, heat_maps.overlay(image, values), heat_maps.described(values))

    def _for_client(self, error: MedclsError) -> MedclsError:
        """The error without what only the person at the server can use."""
        if error.kind == "too_many_pixels":
            text = f"The image has more pixels than this server reads: at most {self.limits.megapixels:g} million."
            return MedclsError(text, error.kind)
        if isinstance(error, UnreadableImage):
            return MedclsError(f"The file cannot be read as an image: {error.reason}.", error.kind)
        return error
