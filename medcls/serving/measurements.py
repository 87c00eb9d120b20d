"""What a server measures of itself and of its images, as Prometheus reads it."""

import collections
import dataclasses
import threading
from collections.abc import Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from scipy import stats

from medcls.inference.model import Model, Prediction

RECENT = 1000
"""Images that shares and drift are computed on."""

FEWEST = 30
"""With fewer recent images there is no drift."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """Scores of val, with which those of new images are compared.

    Parameters
    ----------
    scores : ndarray
        `(n,)`: of each image what `score_of` returns.
    ood : ndarray
        `(n,)`: `Prediction.ood`.
    """

    scores: NDArray[np.float64]
    ood: NDArray[np.float64]

    @classmethod
    def from_logits(cls, model: Model, logits: NDArray[np.floating]) -> "Reference":
        """The reference of logits `(n, K)`."""
        predictions = model.judge(logits)
        scores = [score_of(prediction, model.positive) for prediction in predictions]
        return cls(np.array(scores), np.array([prediction.ood for prediction in predictions]))


def score_of(prediction: Prediction, positive: str | None) -> float:
    """The probability of the positive class; with more than two classes that of the most probable one."""
    return prediction.probabilities[prediction.name if positive is None else positive]


def is_referred(prediction: Prediction) -> bool:
    """Whether a person should decide: several labels or none are plausible, or the image is out of distribution."""
    undecided = prediction.prediction_set is not None and len(prediction.prediction_set) != 1
    return undecided or bool(prediction.out_of_distribution)


class Measurements:
    """Counts of requests and images, and the drift of the latest images from val; safe to use from several threads.

    Parameters
    ----------
    model : Model
    reference : Reference or None
        Without it there is no drift.
    """

    def __init__(self, model: Model, reference: Reference | None = None) -> None:
        self._positive, self._reference = model.positive, reference
        self._recent: collections.deque[tuple[float, float, bool]] = collections.deque(maxlen=RECENT)
        self._lock = threading.Lock()
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "medcls_requests", "Requests by path and HTTP status.", ("path", "status"), registry=registry
        )
        self._seconds = Histogram(
            "medcls_request_seconds", "Seconds from a request to its answer.", ("path",), registry=registry
        )
        self._images = Counter(
            "medcls_images", "Images by outcome: predicted, or the kind of error.", ("outcome",), registry=registry
        )
        self._image_seconds = Histogram(
            "medcls_image_seconds", "Seconds from reading an image to its prediction.", registry=registry
        )
        model_info = Gauge("medcls_model_info", "1, for the model.", ("name", "checkpoint"), registry=registry)
        model_info.labels(model.name, model.checkpoint).set(1)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, f"{text}, of the latest {RECENT:,} images.", registry=registry)

        gauge("medcls_recent_images", "Images behind the values below").set_function(lambda: float(len(self._recent)))
        gauge("medcls_referred_share", "Share that a person should decide").set_function(self.referred_share)
        if reference is not None:
            for column, (name, of) in enumerate((("score", "score"), ("ood", "out-of-distribution score"))):
                test = f"Kolmogorov-Smirnov test of the {of} against val"
                gauge(f"medcls_{name}_drift_statistic", f"{test}: statistic").set_function(
                    partial(self._drift, column, 0)
                )
                gauge(f"medcls_{name}_drift_pvalue", f"{test}: p-value").set_function(partial(self._drift, column, 1))

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def predicted(self, prediction: Prediction, seconds: float) -> None:
        """Count an image that was predicted."""
        self._images.labels("predicted").inc()
        self._image_seconds.observe(seconds)
        row = score_of(prediction, self._positive), prediction.ood, is_referred(prediction)
        with self._lock:
            self._recent.append(row)

    def failed(self, kind: str) -> None:
        """Count an image without a prediction."""
        self._images.labels(kind).inc()

    def referred_share(self) -> float:
        """Share of the latest images that a person should decide; NaN without any."""
        referred = [row[2] for row in self._rows()]
        return float(np.mean(referred)) if referred else float("nan")

    def drift(self, column: int) -> tuple[float, float]:
        """Kolmogorov-Smirnov statistic and p-value of the latest images against val.

        Parameters
        ----------
        column : int
            0 for the scores, 1 for the out-of-distribution scores.

        Returns
        -------
        statistic, pvalue : float
            NaN with fewer than `FEWEST` images.
        """
        if self._reference is None or len(self._recent) < FEWEST:
            return float("nan"), float("nan")
        known = (self._reference.scores, self._reference.ood)[column]
        found = stats.ks_2samp(known, [row[column] for row in self._rows()])
        return float(found.statistic), float(found.pvalue)

    def _drift(self, column: int, part: int) -> float:
        return self.drift(column)[part]

    def text(self) -> bytes:
        """All of it in the text format of Prometheus."""
        return generate_latest(self._registry)

    def _rows(self) -> Iterable[tuple[float, float, bool]]:
        with self._lock:
            return list(self._recent)
