"""The mean of several models, or of several views of each image by one model."""

import concurrent.futures
import dataclasses
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from medcls.cpu import available_cores
from medcls.data.reading.decoded import Decoded
from medcls.errors import MedclsError
from medcls.evaluation.calibration import log_scores
from medcls.evaluation.decision_rules import DecisionRules
from medcls.evaluation.predictions import energy, probabilities_of
from medcls.inference.model import ImageLike, Model, Pixels, Prediction, predictions_by

ReadImage = tuple[Pixels, ...]
"""An image as each distinct preprocessing of the members makes it."""


class Ensemble:
    """Models whose probabilities are averaged, before calibration; predicts as `Model` does.

    `logits` of a prediction are the logarithms of the mean probabilities, `ood` is the mean energy, as in
    `evaluation.ensembles.mean_of`.

    Parameters
    ----------
    members : sequence of Model
        Of the same classes.
    name : str
    rules : DecisionRules or None
        Fitted on the mean of the members' predictions; those of the members do not carry over. With None probabilities
        are not calibrated, and in a binary task nothing is decided.

    Raises
    ------
    MedclsError
        The classes or the positive classes differ.
    """

    def __init__(self, members: Sequence[Model], name: str, rules: DecisionRules | None) -> None:
        self.members = tuple(members)
        first = self.members[0]
        for member in self.members[1:]:
            if set(member.classes) != set(first.classes) or member.positive != first.positive:
                raise MedclsError(
                    f"{first.name} has the classes {', '.join(first.classes)} (positive: {first.positive}), and "
                    f"{member.name} {', '.join(member.classes)} (positive: {member.positive}): an ensemble needs the "
                    "same.",
                    kind="different_classes",
                )
        self.name, self.decision_rules = name, rules
        self.classes, self.positive = first.classes, first.positive
        self.watermarks = tuple(dict.fromkeys(mark for member in self.members for mark in member.watermarks))
        self.checkpoint = "+".join(dict.fromkeys(member.checkpoint for member in self.members))
        self.batch_size = min(member.batch_size for member in self.members)
        self._preprocessings = list(dict.fromkeys(member.preprocessing for member in self.members))
        self._description = dataclasses.replace(
            first.description, name=name, decision_rules=rules, watermarks=self.watermarks, checkpoint=self.checkpoint
        )

    def __repr__(self) -> str:
        return f"<medcls ensemble {self.name!r} of {len(self.members)}: {', '.join(self.classes)}>"

    @property
    def threshold(self) -> float | None:
        """As `Model.threshold`."""
        point = None if self.decision_rules is None else self.decision_rules.operating_point
        return None if point is None else point.threshold

    @property
    def ood_limit(self) -> float | None:
        """As `Model.ood_limit`."""
        return None if self.decision_rules is None else self.decision_rules.ood_limit

    def decode_and_resize(self, image: ImageLike) -> tuple[Decoded, ReadImage]:
        """As `Model.decode_and_resize`; the image is decoded once for each way of decoding."""
        decoded: dict[object, Decoded] = {}
        pixels = []
        for preprocessing in self._preprocessings:
            member = next(member for member in self.members if member.preprocessing == preprocessing)
            if preprocessing.decoding not in decoded:
                decoded[preprocessing.decoding] = member.decode(image)
            pixels.append(member.resize(decoded[preprocessing.decoding]))
        return decoded[self._preprocessings[0].decoding], tuple(pixels)

    def read(self, image: ImageLike) -> ReadImage:
        """Decode and resize an image for every member."""
        return self.decode_and_resize(image)[1]

    def judge_pixels(self, images: Sequence[ReadImage]) -> list[Prediction]:
        """Predict images that `read` returned."""
        predictions: list[Prediction] = []
        for first in range(0, len(images), self.batch_size):
            predictions += self._judge(images[first : first + self.batch_size])
        return predictions

    def _judge(self, images: Sequence[ReadImage]) -> list[Prediction]:
        batches = {
            preprocessing: np.stack([pixels[k] for pixels in images])
            for k, preprocessing in enumerate(self._preprocessings)
        }
        scores, energies = [], []
        for member in self.members:
            logits = member.score(batches[member.preprocessing]).astype(np.float64)
            order = [member.classes.index(name) for name in self.classes]
            scores.append(probabilities_of(logits)[:, order])
            energies.append(energy(logits))
        mean: NDArray[np.float64] = np.mean(scores, axis=0)
        logs, rules = log_scores(mean), self.decision_rules
        calibrated = (
            mean if rules is None or rules.calibration is None else rules.calibration.probabilities(logs, self.classes)
        )
        return predictions_by(self._description, rules, calibrated, logs, np.mean(energies, axis=0))

    @overload
    def predict(self, image: ImageLike) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, image: Sequence[ImageLike]) -> list[Prediction]: ...

    def predict(self, image: ImageLike | Sequence[ImageLike]) -> Prediction | list[Prediction]:
        """As `Model.predict`."""
        if not isinstance(image, list | tuple):
            return self.judge_pixels([self.read(image)])[0]  # type: ignore[arg-type]
        with concurrent.futures.ThreadPoolExecutor(available_cores()) as pool:
            return self.judge_pixels(list(pool.map(self.read, image)))
