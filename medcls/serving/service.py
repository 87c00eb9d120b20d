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
from medcls.data.reading.decoded import UnreadableImage
from medcls.errors import MedclsError
from medcls.inference.model import Model, Pixels, Prediction
from medcls.serving import overlays
from medcls.serving.batches import Batches
from medcls.serving.limits import Limits, RefusedRequest, display_name
from medcls.serving.measurements import Measurements

Explain = Callable[[Pixels, int], NDArray[np.float32]]
"""From an image that `Model.read` returned and the index of a class to a heat map `(H, W)`, from 0 to 1."""


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
    image, heat_map : ndarray or None
        The image as it was read, and the network's input under a heat map for `explained`: uint8 `(H, W, 3)`, where
        they were asked for; the heat map also None where the model has none, or no part speaks for the class.
    explained : str or None
        The class of the heat map; None where none was made.
    """

    file: str
    prediction: Prediction | None = None
    error: MedclsError | None = None
    image: NDArray[np.uint8] | None = None
    heat_map: NDArray[np.uint8] | None = None
    explained: str | None = None


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
        try:
            pixels, image = await loop.run_in_executor(self._readers, self._read, file, shown)
            prediction = await asyncio.wrap_future(self._batches.predict(pixels))
            explained, heat_map = None, None
            if shown and self._explain is not None:
                explained = prediction.decision or prediction.name
                index = self.model.classes.index(explained)
                heat_map = await loop.run_in_executor(self._readers, _overlay, self._explain, pixels, index)
        except MedclsError as error:
            self.measurements.failed(error.kind)
            return Answer(named, error=self._for_client(error))
        self.measurements.predicted(prediction, time.monotonic() - start)
        return Answer(named, prediction, image=image, heat_map=heat_map, explained=explained)

    def _read(self, file: BinaryIO, shown: bool) -> tuple[Pixels, NDArray[np.uint8] | None]:
        """The network's input and, where asked for, a small image to show."""
        most = self.limits.file_bytes
        data = file.read(most + 1)
        if len(data) > most:
            most_shown = f"{self.limits.file_mib:g} MiB"
            raise MedclsError(f"The file is larger than {most_shown}, the most of this server.", kind="file_too_large")
        decoded = self.model.decode(data)
        return self.model.resize(decoded), overlays.shown(decoded.pixels) if shown else None

    def _for_client(self, error: MedclsError) -> MedclsError:
        """The error without what only the person at the server can use."""
        if error.kind == "too_many_pixels":
            text = f"The image has more pixels than this server reads: at most {self.limits.megapixels:g} million."
            return MedclsError(text, error.kind)
        if isinstance(error, UnreadableImage):
            return MedclsError(f"The file cannot be read as an image: {error.reason}.", error.kind)
        return error


def _overlay(explain: Explain, pixels: Pixels, index: int) -> NDArray[np.uint8] | None:
    heat_map = explain(pixels, index)
    return overlays.overlay(pixels, heat_map) if heat_map.any() else None
