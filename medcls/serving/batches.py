"""Images of requests that arrive together run through the network together."""

import queue
import threading
from concurrent.futures import Future

import numpy as np

from medcls.errors import MedclsError
from medcls.inference.model import Model, Pixels, Prediction


class Batches:
    """One thread that runs the network for all requests.

    While the network runs, new images wait; then all that wait, up to `model.batch_size`, are the next batch. An image
    that arrives alone never waits for others.

    Parameters
    ----------
    model : Model
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._waiting: queue.SimpleQueue[tuple[Pixels, Future[Prediction]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)
        self._thread.start()

    def predict(self, pixels: Pixels) -> "Future[Prediction]":
        """Predict an image that `Model.read` returned, in the next batch that has a place."""
        future: Future[Prediction] = Future()
        self._waiting.put((pixels, future))
        return future

    def close(self) -> None:
        """End the thread after what waits now."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while batch[-1] is not None and len(batch) < self._model.batch_size and not self._waiting.empty():
                batch.append(self._waiting.get())
            # A cancelled future is of a request whose time is over.
            images = [entry for entry in batch if entry is not None and entry[1].set_running_or_notify_cancel()]
            if images:
                self._predict(images)
            if batch[-1] is None:
                return

    def _predict(self, images: list[tuple[Pixels, "Future[Prediction]"]]) -> None:
        try:
            predictions = self._model.judge(self._model.score(np.stack([pixels for pixels, _ in images])))
        except Exception as error:  # noqa: BLE001 - raised again where the result is waited for
            if isinstance(error, MedclsError) and len(images) > 1:  # one image alone may be the reason
                for one in images:
                    self._predict([one])
                return
            for _, future in images:
                future.set_exception(error)
            return
        for (_, future), prediction in zip(images, predictions, strict=True):
            future.set_result(prediction)
