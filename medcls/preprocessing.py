"""The preprocessing that a network expects: plain values that are stored with its weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from medcls.errors import MedclsError

RESIZE_POLICIES = ("squash", "letterbox", "crop")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How a file's stored values become pixels, before any resizing.

    Parameters
    ----------
    channels : int
        3 (red, green, blue) or 1 (grey).
    bits : int
        8 or 16 bits in each output value. 8-bit files are scaled to 16 bits if 16 are asked for.
    window : None, "full" or pair of float
        Which stored values become black and white. None: the DICOM's VOI LUT or window, else the image's percentiles
        0.5 and 99.5. "full": the whole range of the stored type. A pair: these values, in the unit that the file
        stores (for a DICOM after its modality LUT: Hounsfield units in CT). Applied to files with more than 8 bits per
        value; a pair also to every DICOM without a palette. Other files are used as they are.
    frame : int
        Index of the frame or page, from 0.

    Raises
    ------
    MedclsError
        A value is not allowed; the message names it.
    """

    channels: int = 3
    bits: int = 8
    window: Literal["full"] | tuple[float, float] | None = None
    frame: int = 0

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise MedclsError(f"preprocessing.channels is {self.channels}: give 3 (RGB) or 1 (grey).", kind="bad_value")
        if self.bits not in (8, 16):
            raise MedclsError(f"data.bits is {self.bits!r}: give 8 or 16.", kind="bad_value")
        if isinstance(self.frame, bool) or not isinstance(self.frame, int) or self.frame < 0:
            raise MedclsError(f"data.frame is {self.frame!r}: give the number of a frame, from 0.", kind="bad_value")
        if isinstance(self.window, list | tuple):
            ends = tuple(self.window)
            if len(ends) != 2 or not all(isinstance(end, int | float) for end in ends) or not ends[0] < ends[1]:
                raise MedclsError(
                    f"data.window is {list(ends)}: give two values, black first, such as [-160, 240].", kind="bad_value"
                )
            object.__setattr__(self, "window", (float(ends[0]), float(ends[1])))
        elif self.window not in (None, "full"):
            raise MedclsError(f"data.window is {self.window!r}: give [black, white], full, or null.", kind="bad_value")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From stored pixels to network input: resize, scale to `range`, then `(x - mean) / std`, or `standardise`.

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
    bits, window, frame
        See `Decoding`.
    standardise : bool
        Each image is brought to mean 0 and deviation 1 by itself, over all its pixels and channels. That replaces
        `mean` and `std`, which become 0 and 1.

    Raises
    ------
    MedclsError
        A value is not allowed; the message names it.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    range: tuple[float, float] = (0.0, 1.0)
    resize: str = "squash"
    interpolation: str = "bilinear"
    bits: int = 8
    window: Literal["full"] | tuple[float, float] | None = None
    frame: int = 0
    standardise: bool = False

    def __post_init__(self) -> None:
        size = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        object.__setattr__(self, "size", size)
        for field in ("mean", "std", "range"):
            object.__setattr__(self, field, tuple(float(value) for value in getattr(self, field)))
        if len(self.size) != 2 or min(self.size) < 1:
            raise MedclsError(
                f"preprocessing.size is {self.size}: give a height and a width, each at least 1.", kind="bad_value"
            )
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise MedclsError(
                f"preprocessing.mean has {len(self.mean)} values and preprocessing.std {len(self.std)}: "
                "give one for each channel, 3 (RGB) or 1 (grey).",
                kind="bad_value",
            )
        if min(self.std) <= 0:
            raise MedclsError(f"preprocessing.std is {self.std}: each value must be above 0.", kind="bad_value")
        if not self.range[0] < self.range[1]:
            raise MedclsError(
                f"preprocessing.range is {self.range}: the value for black must be below that for white.",
                kind="bad_value",
            )
        if self.resize not in RESIZE_POLICIES:
            raise MedclsError(
                f"preprocessing.resize is {self.resize!r}: choose one of {', '.join(RESIZE_POLICIES)}.",
                kind="bad_value",
            )
        if self.interpolation not in INTERPOLATIONS:
            raise MedclsError(
                f"preprocessing.interpolation is {self.interpolation!r}: choose one of {', '.join(INTERPOLATIONS)}.",
                kind="bad_value",
            )
        object.__setattr__(self, "window", self.decoding.window)
        if not isinstance(self.standardise, bool):
            raise MedclsError(
                f"preprocessing.standardise is {self.standardise!r}: choose true or false.", kind="bad_value"
            )
        if self.standardise:
            object.__setattr__(self, "mean", (0.0,) * self.channels)
            object.__setattr__(self, "std", (1.0,) * self.channels)

    @property
    def decoding(self) -> Decoding:
        """How files are decoded for this network."""
        return Decoding(self.channels, self.bits, self.window, self.frame)

    @property
    def channels(self) -> int:
        """Number of input channels: 3 (RGB) or 1 (grey)."""
        return len(self.mean)

    def grey(self) -> "Preprocessing":
        """The same for one grey channel: mean and deviation are averaged over the three colours."""
        mean, std = ((round(sum(values) / len(values), 6),) for values in (self.mean, self.std))
        return dataclasses.replace(self, mean=mean, std=std)

    def to_plain(self) -> dict[str, Any]:
        """As plain lists, numbers and strings, for a checkpoint or a JSON file."""
        return {
            field: list(value) if isinstance(value, tuple) else value
            for field, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `to_plain`."""
        return cls(**plain)
