"""A model without a network, for tests of the server: each answer shows which image it is of."""

import time

import numpy as np
from numpy.typing import NDArray

from medcls.evaluation.decision_rules import DecisionRules
from medcls.evaluation.out_of_distribution import OodLimit
from medcls.evaluation.referral import ConformalSets
from medcls.evaluation.thresholds import OperatingPoint
from medcls.inference.model import Model, ModelDescription, Pixels
from medcls.preprocessing import Preprocessing

SIZE = 16


class MeanColour:
    """Logits by the mean of red and of blue.

    Parameters
    ----------
    seconds : float
        That each batch takes, so that others wait meanwhile.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        self.batches.append(len(pixels))
        time.sleep(self.seconds)
        red, blue = (pixels[..., channel].mean((1, 2), dtype=np.float64) / 255 for channel in (0, 2))
        return np.stack([2 * blue, 3 * red + 1], 1).astype(np.float32)


def served_model(score: MeanColour | None = None, batch_size: int = 8) -> Model:
    """A model of two classes with an operating point, label sets and a limit for other images: dark ones are."""
    rules = DecisionRules(
        calibration=None,
        operating_point=OperatingPoint("youden", 0.75, "malignant", split="val", n=50, groups=50, positives=20),
        conformal=ConformalSets(0.9, 0.3, "val", "abc", 50),
        stands_for={"benign": 0.6, "malignant": 0.4},
        ood=OodLimit(-1.5, 0.05, "val", "abc", 50),
    )
    description = ModelDescription(
        name="phantoms, mean colour",
        classes=("benign", "malignant"),
        positive="malignant",
        preprocessing=Preprocessing(size=(SIZE, SIZE), mean=(0.5,) * 3, std=(0.5,) * 3),
        decision_rules=rules,
        watermarks=("SYNTHETIC",),
        checkpoint="abc",
    )
    return Model(description, score or MeanColour(), batch_size=batch_size)
