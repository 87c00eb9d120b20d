"""Predict any number of image files in little memory, on all cores."""

import collections
import concurrent.futures
import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from medcls.data.reading.decoded import UnreadableImage
from medcls.inference.ensemble import Ensemble
from medcls.inference.model import Model, Prediction

# Batches that are read or waiting for an earlier one, for each worker: with one each, a worker whose batch is done
# would wait for the slowest.
AHEAD = 2

SplitOf = Mapping[bytes, str]
"""The split of the run's manifest by content hash, 16 bytes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What became of one image: a prediction, or the reason why it cannot be read.

    Parameters
    ----------
    path : str
        As named.
    prediction : Prediction or None
    error : UnreadableImage or None
    seen : str
        The split of the run's manifest that has the same image; empty for a new one.
    """

    path: str
    prediction: Prediction | None
    error: UnreadableImage | None = None
    seen: str = ""


def predict_files(
    model: Model | Ensemble, files: Iterable[tuple[str, str]], workers: int, splits: SplitOf, batch_size: int
) -> Iterator[list[Row]]:
    """Predict image files, in their order.

    Each worker thread decodes a batch and then computes its logits, so that none waits for another; Pillow, NumPy and
    the network release Python's lock.

    Parameters
    ----------
    model : Model or Ensemble
    files : iterable of (str, str)
        The path for the results, and the path to open.
    workers : int
        Threads. A network on the CPU should use one thread of its own in each.
    splits : mapping
        Empty: no image is looked up.
    batch_size : int
        At most so many images at a time in each worker.

    Yields
    ------
    list of Row
        Of one batch.
    """
    waiting: collections.deque[concurrent.futures.Future[list[Row]]] = collections.deque()
    remaining = iter(files)
    pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="medcls-predict")
    try:
        while batch := tuple(itertools.islice(remaining, batch_size)):
            waiting.append(pool.submit(predict_batch, model, batch, splits))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def predict_batch(model: Model | Ensemble, batch: Collection[tuple[str, str]], splits: SplitOf) -> list[Row]:
    """Predict some files; one that cannot be read gets a row with the reason."""
    rows: list[Row] = []
    pixels: list[Any] = []
    for shown, file in batch:
        try:
            decoded, resized = model.decode_and_resize(file)
        except UnreadableImage as error:
            rows.append(Row(shown, None, error))
            continue
        rows.append(Row(shown, None, seen=splits.get(bytes.fromhex(decoded.content), "") if splits else ""))
        pixels.append(resized)
    predictions = iter(model.judge_pixels(pixels))
    return [row if row.error else dataclasses.replace(row, prediction=next(predictions)) for row in rows]
