"""Several frozen networks with one linear layer on all their features."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medcls.errors import MedclsError
from medcls.models.zoo import last_layer


class JoinedNetworks(nn.Module):
    """Networks that get the same images, each in the scaling of its weights.

    Parameters
    ----------
    parts : sequence of Module
        Each from `(B, C, H, W)` to logits; their last layers are removed, in place.
    num_classes : int
        K.
    factors, offsets : sequence of sequence of float
        For each part and channel: its input is `images * factor + offset`.

    Raises
    ------
    MedclsError
        The last layer of a part is not linear.
    """

    def __init__(
        self,
        parts: Sequence[nn.Module],
        num_classes: int,
        factors: Sequence[Sequence[float]],
        offsets: Sequence[Sequence[float]],
    ) -> None:
        super().__init__()
        features = 0
        for part in parts:
            name = last_layer(part)
            layer = part.get_submodule(name)
            if not isinstance(layer, nn.Linear):
                raise MedclsError(
                    f"The last layer of {type(part).__name__} is not linear, so it cannot be joined with others.",
                    kind="unsupported_head",
                )
            features += layer.in_features
            part.set_submodule(name, nn.Identity())
        self.parts = nn.ModuleList(parts)
        # (parts, C, 1, 1); not saved with the weights, because the configuration has them.
        self.register_buffer("factors", torch.tensor(factors)[:, :, None, None], persistent=False)
        self.register_buffer("offsets", torch.tensor(offsets)[:, :, None, None], persistent=False)
        self.head = nn.Linear(features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(B, K)` of images `(B, C, H, W)`."""
        features = [
            part(images * self.factors[number] + self.offsets[number])  # type: ignore[index]
            for number, part in enumerate(self.parts)
        ]
        logits: torch.Tensor = self.head(torch.cat(features, dim=1))
        return logits
