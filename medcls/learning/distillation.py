"""Knowledge distillation: a trained network teaches another on the training images, beside their labels."""

import dataclasses
from collections.abc import Callable

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medcls.errors import MedclsError
from medcls.learning.classifier import Classifier
from medcls.learning.losses import Loss

Outputs = Callable[[int, torch.device], tuple[np.ndarray, np.ndarray]]
"""`(epoch, device) -> (logits (n, K), manifest rows (n,))` of the teacher, on the views of that epoch."""


@dataclasses.dataclass(frozen=True)
class Distillation:
    """A loss between the student's and the teacher's logits, and its share in the loss that is minimised.

    Parameters
    ----------
    per_image : callable
        `(student (B, K), teacher (B, K)) -> (B,)`, both float32.
    share : float
        Above 0, at most 1; the loss of the labels has the rest.
    """

    per_image: Callable[[Tensor, Tensor], Tensor]
    share: float

    def __call__(self, loss: Loss, logits: Tensor, labels: Tensor, taught: Tensor) -> Tensor:
        """Mean over the images, a float32 scalar; an image has the same class weight in both parts.

        Parameters
        ----------
        loss : Loss
            Of the labels.
        logits, taught : Tensor
            The student's and the teacher's, `(B, K)`.
        labels : Tensor
            Class indices `(B,)`, int64.
        """
        of_teacher = loss.mean(self.per_image(logits.float(), taught), labels)
        return (1 - self.share) * loss(logits, labels) + self.share * of_teacher


def soft_targets(temperature: float = 4.0, share: float = 0.5) -> Distillation:
    """Kullback-Leibler divergence of the student's probabilities from the teacher's, both at a temperature.

    Hinton, Vinyals and Dean 2015 (arXiv 1503.02531): the logits are divided by the temperature T, and the loss is
    multiplied by T squared, so that its gradients have the size of those of the labels whatever T is. It differs from
    their cross-entropy by the entropy of the teacher, which has no gradient, and is 0 where both agree.

    Parameters
    ----------
    temperature : float
        Above 0. The higher, the more the teacher's order of the wrong classes counts.
    share : float
        The share of this loss, above 0, at most 1.

    Raises
    ------
    MedclsError
        A value is outside its range.
    """
    if not isinstance(temperature, int | float) or not 0 < temperature < float("inf"):
        raise MedclsError(
            f"distillation.temperature is {temperature!r}: give a number above 0, such as 4.", kind="bad_value"
        )
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise MedclsError(
            f"distillation.share is {share!r}: give the teacher's share of the loss, above 0, at most 1.",
            kind="bad_value",
        )

    def per_image(student: Tensor, teacher: Tensor) -> Tensor:
        of_student, of_teacher = (functional.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
        divergence = functional.kl_div(of_student, of_teacher, reduction="none", log_target=True).sum(dim=1)
        return temperature**2 * divergence

    return Distillation(per_image, float(share))


class Teaching(lightning.Callback):
    """Give the classifier the teacher's logits of each training image, of the view that it sees in this epoch.

    Teacher and student get the same crop, flip and colours of an image, each at its own size (consistent teaching,
    Beyer et al. 2022, arXiv 2106.05237). The logits of fixed views are computed once; without fixed views, in each
    epoch.

    Parameters
    ----------
    distillation : Distillation
    outputs : callable
        See `Outputs`.
    views : int or None
        The number of fixed views of the data module.
    rows : int
        Number of rows of the manifest.
    """

    def __init__(self, distillation: Distillation, outputs: Outputs, views: int | None, rows: int) -> None:
        self._distillation, self._outputs, self._views, self._rows = distillation, outputs, views, rows
        self._of_view: dict[int, Tensor] = {}

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Look up or compute the logits of this epoch's view."""
        if not isinstance(pl_module, Classifier):
            return
        epoch = trainer.current_epoch
        view = epoch if self._views is None else epoch % self._views
        if view not in self._of_view:
            if self._views is None:
                self._of_view.clear()
            device = trainer.strategy.root_device
            logits, rows = self._outputs(epoch, device)
            # Other rows have no logits: a loss with one of them would be NaN, which stops the training.
            table = torch.full((self._rows, logits.shape[1]), torch.nan)
            table[torch.from_numpy(rows)] = torch.from_numpy(logits)
            self._of_view[view] = table.to(device)
        pl_module.taught = self._of_view[view], self._distillation

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forget the teacher."""
        if isinstance(pl_module, Classifier):
            pl_module.taught = None
        self._of_view.clear()
