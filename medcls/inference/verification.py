"""Whether an exported model predicts what its checkpoint does, and how long each takes."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from medcls.inference.model import Model, Pixels

ROUNDS = 7
"""How often each is timed; both in turn, so that a machine's other work slows both."""

Score = Callable[[Pixels], NDArray[np.float32]]


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far the predictions of two models differ on the same images.

    Parameters
    ----------
    images : int
    largest_logit : float
        Of the reference, without its sign.
    logit_difference, probability_difference : float
        The largest of any image and class.
    same_decisions : int
        Images with the same decision.
    at_the_threshold : int
        Of the others, those whose probability is as close to the threshold, or to that of another class, as
        probabilities differ.
    """

    images: int
    largest_logit: float
    logit_difference: float
    probability_difference: float
    same_decisions: int
    at_the_threshold: int

    def is_within(self, tolerance: float) -> bool:
        """Whether probabilities differ by no more than this, and decisions by nothing else than rounding."""
        same = self.same_decisions + self.at_the_threshold == self.images
        return self.probability_difference <= tolerance and same


def agreement(reference: Model, exported: Model, pixels: Sequence[Pixels]) -> Agreement:
    """Compare two models on decoded and resized images.

    The exported one gets the first image alone, the others in batches of any size.

    Parameters
    ----------
    reference, exported : Model
    pixels : sequence of ndarray
        `(H, W, C)`, one or more.
    """
    return agreement_of(reference, exported, _logits(reference, pixels, alone=0), _logits(exported, pixels, alone=1))


def agreement_of(
    reference: Model, exported: Model, expected: NDArray[np.float32], found: NDArray[np.float32]
) -> Agreement:
    """Compare two models by the logits `(n, K)` of each on the same images."""
    first, second = reference.judge(expected), exported.judge(found)
    probabilities = np.array([[*one.probabilities.values()] for one in first])
    others = np.array([[*one.probabilities.values()] for one in second])
    differences = np.abs(probabilities - others).max(axis=1)
    same = np.array([a.decision == b.decision and a.name == b.name for a, b in zip(first, second, strict=True)])
    close = _distance_to_another_decision(reference, probabilities) <= differences
    return Agreement(
        images=len(expected),
        largest_logit=float(np.abs(expected).max()),
        logit_difference=float(np.abs(expected - found).max()),
        probability_difference=float(differences.max()),
        same_decisions=int(same.sum()),
        at_the_threshold=int((~same & close).sum()),
    )


def milliseconds(scores: Sequence[Score], pixels: Pixels, rounds: int = ROUNDS) -> list[float]:
    """Measure the time of one batch `(B, H, W, C)` with each way of computing logits: the median, in milliseconds."""
    for score in scores:
        score(pixels)  # the first call prepares more than the others
    times: list[list[float]] = [[] for _ in scores]
    for _ in range(rounds):
        for score, taken in zip(scores, times, strict=True):
            begin = time.perf_counter()
            score(pixels)
            taken.append(time.perf_counter() - begin)
    return [1000 * statistics.median(taken) for taken in times]


def _logits(model: Model, pixels: Sequence[Pixels], alone: int) -> NDArray[np.float32]:
    ends = [*range(alone, len(pixels), model.batch_size), len(pixels)]
    starts = [0, *ends[:-1]]
    return np.concatenate(
        [model.score(np.stack(pixels[start:end])) for start, end in zip(starts, ends, strict=True) if end > start]
    )


def _distance_to_another_decision(model: Model, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each image's probabilities `(n, K)` are from the nearest other decision."""
    ordered = np.sort(probabilities, axis=1)
    margins = (ordered[:, -1] - ordered[:, -2]) / 2
    if model.positive is None or model.threshold is None:
        return margins
    positive = probabilities[:, model.classes.index(model.positive)]
    return np.minimum(margins, np.abs(positive - model.threshold))
