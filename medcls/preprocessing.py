"""What a network expects of its input: plain values that travel with the weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from medcls.errors import MedclsError

RESIZE_POLICIES = ("squash", "letterbox", "crop")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From stored pixels to network input: resize, scale to `range`, then `(x - mean) / std`.

    Parameters
    ----------
    size : tuple of int
        Height and width of the network's input, in pixels.
    mean, std : tuple of float
        One value a channel, for pixels already scaled to `range`. Their number is the number of
        input channels: 3 (RGB) or 1 (grey).
    range : tuple of float
        What black and white become before `mean` and `std`: (0, 1) for torchvision's networks.
    resize : str
        `squash` fits both sides, changing the aspect ratio; `letterbox` keeps it and fills the rest
        with black; `crop` keeps it and cuts what stands over.
    interpolation : str
        `nearest`, `bilinear`, `bicubic` or `lanczos`, Pillow's filters.

    Raises
    ------
    MedclsError
        A value that makes no sense: the message names it.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    range: tuple[float, float] = (0.0, 1.0)
    resize: str = "squash"
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        size = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        object.__setattr__(self, "size", size)
        for field in ("mean", "std", "range"):
            object.__setattr__(self, field, tuple(float(value) for value in getattr(self, field)))
        if len(self.size) != 2 or min(self.size) < 1:
            raise MedclsError(f"preprocessing.size is {self.size}: give a height and a width, each at least 1.")
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise MedclsError(
                f"preprocessing.mean has {len(self.mean)} values and preprocessing.std {len(self.std)}: "
                "give one for each channel, 3 (RGB) or 1 (grey)."
            )
        if min(self.std) <= 0:
            raise MedclsError(f"preprocessing.std is {self.std}: each value must be above 0.")
        if not self.range[0] < self.range[1]:
            raise MedclsError(f"preprocessing.range is {self.range}: black must come out below white.")
        if self.resize not in RESIZE_POLICIES:
            raise MedclsError(f"preprocessing.resize is {self.resize!r}: choose one of {', '.join(RESIZE_POLICIES)}.")
        if self.interpolation not in INTERPOLATIONS:
            raise MedclsError(
                f"preprocessing.interpolation is {self.interpolation!r}: choose one of {', '.join(INTERPOLATIONS)}."
            )

    @property
    def channels(self) -> int:
        """Number of input channels: 3 (RGB) or 1 (grey)."""
        return len(self.mean)

    def to_plain(self) -> dict[str, Any]:
        """As lists, numbers and strings, for a checkpoint or a JSON file."""
        return {
            field: list(value) if isinstance(value, tuple) else value
            for field, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `to_plain`."""
        return cls(**plain)
