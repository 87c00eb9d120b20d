"""A batch augmented by given draws, as training does it for the rows of an epoch."""

import torch

from medcls.data.transforms import Augmentation, change


def augmented(augmentation: Augmentation, images: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    return change(images, augmentation.changes(drawn, tuple(images.shape[-2:]), images.shape[1]))
