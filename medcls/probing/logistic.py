"""Multinomial logistic regression on standardised features, for a row of penalties, and the linear layer that it is."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from medcls.errors import MedclsError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

STRENGTHS = (0.0, *(float(10 ** (step / 2)) for step in range(-10, 1)))
"""Values of scikit-learn's `C` that are tried: the smaller, the stronger the L2 penalty on standardised features.

At 0 no feature counts, and every image gets the shares of the classes: what is best where features tell nothing."""

MOST_STEPS = 2000


@dataclasses.dataclass(frozen=True)
class LinearLayer:
    """Logits from features: `features @ weights.T + bias`.

    Parameters
    ----------
    weights : ndarray
        float64 `(K, d)`.
    bias : ndarray
        float64 `(K,)`.
    """

    weights: Floats
    bias: Floats

    def logits(self, features: np.ndarray) -> Floats:
        """Logits `(n, K)` of features `(n, d)`, in float64."""
        return np.asarray(features, np.float64) @ self.weights.T + self.bias


def fit_path(
    features: np.ndarray, labels: Integers, num_classes: int, strengths: Sequence[float] = STRENGTHS
) -> Iterator[LinearLayer]:
    """Fit one logistic regression for each strength, each starting where the one before it ended.

    The standardisation is folded into the layer: with mean `m` and deviation `s`, weights `w / s` and bias
    `b - (w / s) @ m` give the logits of `w @ ((x - m) / s) + b`.

    Parameters
    ----------
    features : ndarray
        `(n, d)`, float32 or float64: the regression computes in the same.
    labels : ndarray
        Class indices `(n,)`; every class has a row.
    num_classes : int
        K.
    strengths : sequence of float
        Values of `C`, in ascending order; at 0 there are no weights, and the biases are the logarithms of the shares.

    Raises
    ------
    MedclsError
        A class without a row.
    """
    if len(np.unique(labels)) < num_classes:
        raise MedclsError(
            "A class has no image in one of the training parts of the cross-validation: its images are too few, or "
            "too many of them are kept together. Take fewer folds (data.folds), or merge classes (data.label_map).",
            kind="too_few_images",
        )
    scaler = StandardScaler()
    standardised = scaler.fit_transform(features)
    mean, scale = np.asarray(scaler.mean_, np.float64), np.asarray(scaler.scale_, np.float64)
    model = LogisticRegression(max_iter=MOST_STEPS, warm_start=True)
    for strength in strengths:
        if strength == 0:
            shares = np.bincount(labels, minlength=num_classes) / len(labels)
            yield LinearLayer(np.zeros((num_classes, features.shape[1])), np.log(shares))
            continue
        model.C = strength
        model.fit(standardised, labels)
        own = np.asarray(model.coef_, np.float64)
        offsets = np.asarray(model.intercept_, np.float64)
        if num_classes == 2:  # one logit, the second class's against the first: half of it on either side
            own, offsets = np.concatenate([-own, own]) / 2, np.concatenate([-offsets, offsets]) / 2
        weights = own / scale
        yield LinearLayer(weights, offsets - weights @ mean)


def fit(features: np.ndarray, labels: Integers, num_classes: int, strength: float) -> LinearLayer:
    """Fit one logistic regression in float64; see `fit_path`."""
    return next(fit_path(np.asarray(features, np.float64), labels, num_classes, [strength]))


def log_losses(logits: Floats, labels: Integers) -> Floats:
    """The log loss of each row: minus the logarithm of its label's probability. `(..., n, K)` to `(..., n)`."""
    logs = log_softmax(logits, axis=-1)
    losses: Floats = -logs[..., np.arange(len(labels)), labels]
    return losses
