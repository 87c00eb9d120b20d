"""A trained model without its framework: an image in, a prediction out.

torch is not imported here: what computes logits is handed in, a network or an exported file.
"""

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcls.cpu import available_cores
from medcls.data.reading import images, raster
from medcls.data.reading.decoded import MOST_BYTES, Decoded, UnreadableImage
from medcls.errors import MedclsError
from medcls.evaluation.decision_rules import DecisionRules, decided_classes
from medcls.evaluation.predictions import energy, probabilities_of
from medcls.preprocessing import Preprocessing

Pixels = NDArray[np.unsignedinteger[Any]]
"""Decoded and resized images `(B, H, W, C)`, or one of them `(H, W, C)`; uint8 or uint16."""

ImageLike = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray
"""An image: its path, the bytes of its file, a Pillow image, or an array (`raster.from_array`)."""

# Pixels in a batch on a CPU, where larger ones are not faster.
PIXELS = 32 * 224**2

FORMAT = 1
"""Of `ModelDescription.to_plain`; raise it when readers of an earlier version would misread it."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction of one image.

    Parameters
    ----------
    index : int
        Of the most probable class.
    name : str
        Its name.
    probabilities : dict of str to float
        Of each class, in the order of the network's outputs; calibrated if the run fitted a calibration.
    decision : str or None
        In a binary task the class predicted at the operating point, None without one; with more classes `name`.
    prediction_set : tuple of str or None
        The conformal label set; None if none was fitted.
    out_of_distribution : bool or None
        Whether the image is unlike those of val; None without a limit.
    ood : float
        The energy (`evaluation.predictions.energy`), higher for images unlike the training images.
    logits : tuple of float
        The network's output for each class.
    """

    index: int
    name: str
    probabilities: dict[str, float]
    decision: str | None
    prediction_set: tuple[str, ...] | None
    out_of_distribution: bool | None
    ood: float
    logits: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class ModelDescription:
    """All that a prediction depends on but the weights.

    Parameters
    ----------
    name : str
        For people.
    classes : tuple of str
        In the order of the network's outputs.
    positive : str or None
        The positive class of a binary task.
    preprocessing : Preprocessing
    decision_rules : DecisionRules or None
        None if none were fitted.
    watermarks : tuple of str
        To be shown beside every prediction: `SYNTHETIC`.
    checkpoint : str
        The hash of the weights.
    """

    name: str
    classes: tuple[str, ...]
    positive: str | None
    preprocessing: Preprocessing
    decision_rules: DecisionRules | None
    watermarks: tuple[str, ...]
    checkpoint: str

    def to_plain(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return {
            "format": FORMAT,
            "name": self.name,
            "classes": list(self.classes),
            "positive": self.positive,
            "preprocessing": self.preprocessing.to_plain(),
            "decision_rules": None if self.decision_rules is None else self.decision_rules.to_plain(),
            "watermarks": list(self.watermarks),
            "checkpoint": self.checkpoint,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "ModelDescription":
        """The inverse of `to_plain`.

        Raises
        ------
        MedclsError
            Of a later format, or something is missing.
        """
        if isinstance(found := plain.get("format"), int) and found > FORMAT:
            raise MedclsError(
                f"The model's description has format {found}, and this version of medcls reads up to {FORMAT}: install "
                "a newer version.",
                kind="newer_format",
            )
        try:
            rules = plain["decision_rules"]
            return cls(
                name=str(plain["name"]),
                classes=tuple(plain["classes"]),
                positive=plain["positive"],
                preprocessing=Preprocessing.from_plain(plain["preprocessing"]),
                decision_rules=None if rules is None else DecisionRules.from_plain(rules),
                watermarks=tuple(plain["watermarks"]),
                checkpoint=str(plain["checkpoint"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise MedclsError(
                f"This is no description of a medcls model, or a damaged one ({error!r}).", kind="damaged_description"
            ) from error


class Model:
    """A trained classifier: `model.predict("image.png")`. Made by `medcls.load`.

    Parameters
    ----------
    description : ModelDescription
    score : callable
        From decoded and resized images `(B, H, W, C)`, uint8 or uint16, of any B, to float32 logits `(B, K)`. It
        normalises them. `predict` may call it from several threads.
    batch_size : int, optional
        How many images `predict` hands to it at most; by default as many as suit a CPU.
    """

    def __init__(
        self,
        description: ModelDescription,
        score: Callable[[Pixels], NDArray[np.float32]],
        *,
        batch_size: int | None = None,
    ) -> None:
        self.description = description
        self._score = score
        height, width = description.preprocessing.size
        self.batch_size = max(1, min(512, PIXELS // (height * width))) if batch_size is None else batch_size

    def __repr__(self) -> str:
        return f"<medcls model {self.name!r}: {', '.join(self.classes)}; checkpoint {self.checkpoint}>"

    @property
    def name(self) -> str:
        """The data set and the network."""
        return self.description.name

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the network's outputs."""
        return self.description.classes

    @property
    def positive(self) -> str | None:
        """The positive class of a binary task."""
        return self.description.positive

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are decoded, resized and normalised."""
        return self.description.preprocessing

    @property
    def decision_rules(self) -> DecisionRules | None:
        """Calibration, operating point, label sets and limit for out-of-distribution images."""
        return self.description.decision_rules

    @property
    def threshold(self) -> float | None:
        """The operating point's; None with more than two classes, or without an operating point."""
        point = None if self.decision_rules is None else self.decision_rules.operating_point
        return None if point is None else point.threshold

    @property
    def ood_limit(self) -> float | None:
        """The energy above which an image is flagged as out of distribution; None without a reference."""
        return None if self.decision_rules is None else self.decision_rules.ood_limit

    @property
    def watermarks(self) -> tuple[str, ...]:
        """To be shown beside every prediction: `SYNTHETIC`."""
        return self.description.watermarks

    @property
    def checkpoint(self) -> str:
        """The hash of the weights."""
        return self.description.checkpoint

    def described(self) -> dict[str, Any]:
        """All but the weights, as plain data that JSON can hold."""
        return self.description.to_plain()

    @classmethod
    def from_described(cls, described: Mapping[str, Any], score: Callable[[Pixels], NDArray[np.float32]]) -> "Model":
        """Make a model from the result of `described`, with other arithmetic.

        Raises
        ------
        MedclsError
            As `ModelDescription.from_plain`.
        """
        return cls(ModelDescription.from_plain(described), score)

    def decode(self, image: ImageLike) -> Decoded:
        """Decode an image as for training, without resizing.

        Raises
        ------
        UnreadableImage
            It cannot be read; has the reason as `kind`.
        """
        decoding = self.preprocessing.decoding
        if isinstance(image, str | os.PathLike):
            return images.read(Path(image).expanduser(), decoding)
        if isinstance(image, bytes | bytearray | memoryview):
            if len(image) > MOST_BYTES:
                raise UnreadableImage(f"it has {len(image):,} bytes, more than {MOST_BYTES:,}", kind="file_too_large")
            return images.decode(bytes(image), decoding)
        if isinstance(image, Image.Image):
            return raster.from_pillow(image, decoding)
        if isinstance(image, np.ndarray):
            return raster.from_array(image, decoding)
        raise MedclsError(
            f"{type(image).__name__} is no image: give a path, the bytes of a file, a Pillow image, or an array of "
            "uint8 or uint16.",
            kind="not_an_image",
        )

    def resize(self, decoded: Decoded) -> Pixels:
        """Resize a decoded image to the network's input `(H, W, C)`."""
        preprocessing = self.preprocessing
        return images.resize(decoded.pixels, preprocessing.size, preprocessing.resize, preprocessing.interpolation)

    def decode_and_resize(self, image: ImageLike) -> tuple[Decoded, Pixels]:
        """Both steps of `read`, and the decoded image, which has its content hash.

        Raises
        ------
        UnreadableImage
            As `decode`.
        """
        decoded = self.decode(image)
        return decoded, self.resize(decoded)

    def read(self, image: ImageLike) -> Pixels:
        """Decode and resize an image: `(H, W, C)`, uint8 or uint16.

        Raises
        ------
        UnreadableImage
            As `decode`.
        """
        return self.resize(self.decode(image))

    def score(self, pixels: Pixels) -> NDArray[np.float32]:
        """Compute the logits `(B, K)` of decoded and resized images `(B, H, W, C)`.

        Raises
        ------
        MedclsError
            They have another shape or type than the network's input, or the output is not finite.
        """
        preprocessing = self.preprocessing
        expected = (*preprocessing.size, preprocessing.channels)
        dtype = np.uint8 if preprocessing.bits == 8 else np.uint16
        if pixels.ndim != 4 or pixels.shape[1:] != expected or pixels.dtype != dtype:
            raise MedclsError(
                f"The pixels are {pixels.dtype} {pixels.shape}, and the network takes {np.dtype(dtype)} (B, "
                f"{', '.join(map(str, expected))}): use Model.read.",
                kind="wrong_shape",
            )
        if not len(pixels):
            return np.empty((0, len(self.classes)), np.float32)
        logits = self._score(pixels)
        if not np.isfinite(logits).all():
            raise MedclsError("The network's output is not finite: its training has diverged.", kind="not_finite")
        return logits

    def judge(self, logits: NDArray[np.floating[Any]]) -> list[Prediction]:
        """Turn logits `(B, K)` into predictions by the run's decision rules."""
        scores = np.asarray(logits, np.float64)
        rules = self.decision_rules
        if rules is None or rules.calibration is None:
            probabilities = probabilities_of(scores)
        else:
            probabilities = rules.calibration.probabilities(scores, self.classes)
        return predictions_by(self.description, rules, probabilities, scores, energy(scores))

    def judge_pixels(self, pixels: Sequence[Pixels]) -> list[Prediction]:
        """Predict images that `read` returned."""
        predictions: list[Prediction] = []
        for first in range(0, len(pixels), self.batch_size):
            predictions += self.judge(self.score(np.stack(pixels[first : first + self.batch_size])))
        return predictions

    @overload
    def predict(self, image: ImageLike) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, image: Sequence[ImageLike]) -> list[Prediction]: ...

    def predict(self, image: ImageLike | Sequence[ImageLike]) -> Prediction | list[Prediction]:
        """Predict an image, or a list of images in batches.

        All images of a list are in memory at once, resized; for a folder of any size use `python -m medcls.predict`.

        Parameters
        ----------
        image : str, Path, bytes, PIL.Image.Image, ndarray, or a list of these
            See `raster.from_array` for arrays, and `raster.from_pillow`.

        Returns
        -------
        Prediction, or a list in the order of the images

        Raises
        ------
        UnreadableImage
            One cannot be read.
        """
        if not isinstance(image, list | tuple):
            return self.judge_pixels([self.read(image)])[0]  # type: ignore[arg-type]
        with concurrent.futures.ThreadPoolExecutor(available_cores()) as pool:
            return self.judge_pixels(list(pool.map(self.read, image)))


def predictions_by(
    description: ModelDescription,
    rules: DecisionRules | None,
    probabilities: NDArray[np.float64],
    logits: NDArray[np.float64],
    ood: NDArray[np.float64],
) -> list[Prediction]:
    """Predictions of calibrated probabilities `(B, K)` by decision rules.

    Parameters
    ----------
    description : ModelDescription
        For the classes.
    rules : DecisionRules or None
        Operating point, label sets and limit are taken from them.
    probabilities, logits : ndarray
        `(B, K)`.
    ood : ndarray
        Energies `(B,)`.
    """
    classes, positive = description.classes, description.positive
    decided = decided_classes(rules, probabilities, classes, positive)
    least = None if rules is None or rules.conformal is None else rules.conformal.least
    limit = None if rules is None else rules.ood_limit
    most = probabilities.argmax(axis=1)
    return [
        Prediction(
            index=int(most[row]),
            name=classes[most[row]],
            probabilities=dict(zip(classes, probabilities[row].tolist(), strict=True)),
            decision=None if decided is None else classes[decided[row]],
            prediction_set=None
            if least is None
            else tuple(name for name, p in zip(classes, probabilities[row], strict=True) if p >= least),
            out_of_distribution=None if limit is None else bool(ood[row] > limit),
            ood=float(ood[row]),
            logits=tuple(logits[row].tolist()),
        )
        for row in range(len(probabilities))
    ]
