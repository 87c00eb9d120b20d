"""Losses with class weights: cross-entropy, binary cross-entropy with one logit, focal loss."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from medcls.errors import MedclsError, nearest

ClassWeights = Literal["balanced"] | Sequence[float] | None
"""None: all images have the same weight. A list: one weight per class. `balanced`: from the training split's counts.

Weights by name are first ordered by `in_class_order`.
"""


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss over `(B, K)` logits, averaged over images with the weights of their classes.

    Made by `cross_entropy`, `binary_cross_entropy` or `focal`.

    Parameters
    ----------
    per_image : Callable
        `(logits (B, K), labels (B,), weights (K,)) -> (B,)`, with class weights applied.
    weights : tuple of float, optional
        One per class.
    single_logit : bool
        Whether the network has one logit (two classes only) instead of one per class.
    """

    per_image: Callable[[Tensor, Tensor, Tensor], Tensor]
    weights: tuple[float, ...] | None
    single_logit: bool = False

    def outputs(self, num_classes: int) -> int:
        """The number of logits of the network.

        Raises
        ------
        MedclsError
            A single logit with more than two classes; or the number of class weights is not that of the classes.
        """
        if self.single_logit and num_classes != 2:
            raise MedclsError(
                f"loss=binary_cross_entropy is for two classes, and there are {num_classes}: "
                "use loss=cross_entropy, or merge classes with data.label_map.",
                kind="not_binary",
            )
        if self.weights is not None and len(self.weights) != num_classes:
            raise MedclsError(
                f"loss.class_weights has {len(self.weights)} values and there are {num_classes} classes: give one for "
                "each, in the order of the class names, or balanced.",
                kind="bad_value",
            )
        return 1 if self.single_logit else num_classes

    def total_weight(self, labels: Tensor) -> Tensor:
        """Sum of the class weights of these images `(B,)`; their number if there are no weights.

        The mean over a split is the mean of batch losses weighted by this, exactly (P41).
        """
        if self.weights is None:
            return torch.full((), float(len(labels)), dtype=torch.float32, device=labels.device)
        return self._class_weights(len(self.weights), labels.device)[labels].sum()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the images, a float32 scalar; weighted as in torch's cross-entropy.

        Parameters
        ----------
        logits : Tensor
            `(B, K)`, of any float dtype; computed in float32.
        labels : Tensor
            Class indices `(B,)`, int64.
        """
        weights = self._class_weights(logits.shape[1], logits.device)
        return self.per_image(logits.float(), labels, weights).sum() / self.total_weight(labels)

    def mean(self, values: Tensor, labels: Tensor) -> Tensor:
        """Mean of one value an image `(B,)`, weighted by class as the loss is; a scalar."""
        if self.weights is None:
            return values.mean()
        weights = self._class_weights(len(self.weights), labels.device)[labels]
        return (weights * values).sum() / self.total_weight(labels)

    def _class_weights(self, classes: int, device: torch.device) -> Tensor:
        """One weight per class, copied to a GPU without waiting for it."""
        if self.weights is None:
            return torch.ones(classes, dtype=torch.float32, device=device)
        return torch.tensor(self.weights, dtype=torch.float32).to(device, non_blocking=True)


def cross_entropy(
    class_counts: Sequence[int], class_weights: ClassWeights = None, label_smoothing: float = 0.0
) -> Loss:
    """Cross-entropy of the softmax over one logit per class.

    Parameters
    ----------
    class_counts : sequence of int
        Number of training images of each class, in the order of the class names, for `balanced`.
    class_weights : list of float, "balanced" or None
        `balanced` gives class c the weight n / (K * n_c), as in scikit-learn.
    label_smoothing : float
        Share of the target that is spread evenly over all classes, in [0, 1).

    Raises
    ------
    MedclsError
        The weights are not one positive number per class, a class has no training image, or the smoothing is outside
        [0, 1).
    """
    smoothing = _smoothing(label_smoothing)

    def per_image(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, weights, reduction="none", label_smoothing=smoothing)

    return Loss(per_image, _weights(class_weights, class_counts))


def binary_cross_entropy(
    class_counts: Sequence[int], class_weights: ClassWeights = None, label_smoothing: float = 0.0
) -> Loss:
    """Cross-entropy of the sigmoid of one logit, that of the positive class; for two classes only.

    Equals `cross_entropy` of that logit and a logit of 0, also with weights and smoothing; only the last layer of the
    network differs, with half the parameters. See `cross_entropy` for the arguments.
    """
    smoothing = _smoothing(label_smoothing)

    def per_image(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        # The classifier expands the logit to two columns, one of them 0, so the difference is the logit.
        targets = labels * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(
            logits[:, 1] - logits[:, 0],
            targets.float(),
            weight=weights[0],
            pos_weight=weights[1] / weights[0],
            reduction="none",
        )

    return Loss(per_image, _weights(class_weights, class_counts), single_logit=True)


def focal(
    class_counts: Sequence[int],
    gamma: float = 2.0,
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
) -> Loss:
    """Focal loss over a softmax: cross-entropy times (1 - p)^gamma, with p the probability of the true class.

    Lin et al. 2017 (arXiv 1708.02002), equation 4; with two classes it equals torchvision's `sigmoid_focal_loss`. It
    makes probabilities less extreme: calibrate them before use. See `cross_entropy` for the other arguments.

    Parameters
    ----------
    gamma : float
        At least 0; 0 gives the cross-entropy.
    """
    if not isinstance(gamma, int | float) or not 0 <= gamma < float("inf"):
        raise MedclsError(
            f"loss.gamma is {gamma!r}: give a number of at least 0 (0 is the cross-entropy).", kind="bad_value"
        )
    smoothing = _smoothing(label_smoothing)

    def per_image(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        entropies = functional.cross_entropy(logits, labels, weights, reduction="none", label_smoothing=smoothing)
        true = functional.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
        # 1 - p by expm1, which is exact for p near 1; never 0, where a power below 1 has no finite gradient.
        return (-torch.expm1(true)).clamp_min(torch.finfo(torch.float32).tiny) ** gamma * entropies

    return Loss(per_image, _weights(class_weights, class_counts))


def in_class_order(class_weights: object, classes: Sequence[str]) -> object:
    """Convert class weights by name to a list in the order of the class names; other forms are returned unchanged.

    Raises
    ------
    MedclsError
        A class has no weight, or a weight names an unknown class.
    """
    if not isinstance(class_weights, Mapping):
        return class_weights
    given = {str(name): weight for name, weight in class_weights.items()}
    for name in given:
        if name not in classes:
            raise MedclsError(
                f"loss.class_weights names {name!r}, which is not among the classes: {', '.join(classes)}."
                f"{nearest(name, classes)}",
                kind="unknown_class",
            )
    if missing := [name for name in classes if name not in given]:
        raise MedclsError(
            f"loss.class_weights gives no weight for {', '.join(missing)}: name each of the classes "
            f"{', '.join(classes)}, or give balanced.",
            kind="bad_value",
        )
    return [given[name] for name in classes]


def _smoothing(label_smoothing: float) -> float:
    if not isinstance(label_smoothing, int | float) or not 0 <= label_smoothing < 1:
        raise MedclsError(
            f"loss.label_smoothing is {label_smoothing!r}: give a share from 0 up to, not including, 1.",
            kind="bad_value",
        )
    return label_smoothing


def _weights(class_weights: ClassWeights, class_counts: Sequence[int]) -> tuple[float, ...] | None:
    if class_weights is None:
        return None
    if isinstance(class_weights, str):
        if class_weights != "balanced":
            raise MedclsError(
                f"loss.class_weights is {class_weights!r}: give null, balanced or one number per class.",
                kind="bad_value",
            )
        if min(class_counts) < 1:
            raise MedclsError(
                f"loss.class_weights=balanced needs training images of each class; there are {list(class_counts)}.",
                kind="class_without_images",
            )
        return tuple(sum(class_counts) / (len(class_counts) * count) for count in class_counts)
    if (
        not isinstance(class_weights, Sequence)
        or len(class_weights) != len(class_counts)
        or not all(isinstance(weight, int | float) and 0 < weight < float("inf") for weight in class_weights)
    ):
        raise MedclsError(
            f"loss.class_weights is {class_weights!r}: give {len(class_counts)} positive numbers, one for each class "
            "in the order of the class names, or by name as '{a: 1, b: 5}', or balanced.",
            kind="bad_value",
        )
    return tuple(float(weight) for weight in class_weights)
