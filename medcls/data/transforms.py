"""Augmentation that keeps a medical image a medical image, and the last step before the network."""

import dataclasses
from typing import Any

import torch
from torchvision.transforms import v2

from medcls.errors import MedclsError
from medcls.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image, in degrees, fractions and named axes.

    Parameters
    ----------
    left_right, up_down : float
        Probability of mirroring along that axis. Up and down is off by default: most medical
        images have a top.
    quarter_turns : float
        Probability of being turned by 90, 180 or 270 degrees, each equally often: 0.75 makes all
        four ways up alike. No pixel changes its value; the image must be square.
    rotation_degrees : float
        Turned by up to so many degrees either way.
    smallest_area : float
        The image may be cropped to no less than this share of its area; the rest is enlarged.
        Below 0.8 a crop may lose the lesion.
    aspect : float
        The crop's aspect ratio may differ by up to this fraction.
    brightness, contrast, saturation : float
        Changed by up to this fraction either way. Grey images have no saturation.
    hue_degrees : float
        Turned on the colour circle by up to so many degrees either way, as a stain may differ.

    Raises
    ------
    MedclsError
        A value outside its range; the message says which range, and in what unit.
    """

    left_right: float = 0.5
    up_down: float = 0.0
    rotation_degrees: float = 10.0
    smallest_area: float = 0.8
    aspect: float = 0.1
    brightness: float = 0.1
    contrast: float = 0.1
    quarter_turns: float = 0.0
    saturation: float = 0.0
    hue_degrees: float = 0.0

    def __post_init__(self) -> None:
        ranges = {
            "left_right": (0, 1, "a probability"),
            "up_down": (0, 1, "a probability"),
            "rotation_degrees": (0, 180, "degrees"),
            "smallest_area": (0.05, 1, "a share of the image's area"),
            "aspect": (0, 0.9, "a fraction"),
            "brightness": (0, 0.9, "a fraction"),
            "contrast": (0, 0.9, "a fraction"),
            "quarter_turns": (0, 1, "a probability"),
            "saturation": (0, 0.9, "a fraction"),
            "hue_degrees": (0, 180, "degrees on the colour circle"),
        }
        for name, (low, high, unit) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise MedclsError(f"data.augmentation.{name} is {value}: it is {unit}, from {low} to {high}.")

    def transform(self, size: tuple[int, int]) -> v2.Transform:
        """The torchvision transform, which draws from torch's generator: of `(C, H, W)`, uint8 or float32 from 0 to 1.

        Raises
        ------
        MedclsError
            Quarter turns of images that are not square.
        """
        height, width = size
        steps: list[v2.Transform] = [
            v2.RandomHorizontalFlip(self.left_right),
            v2.RandomVerticalFlip(self.up_down),
        ]
        if self.quarter_turns:
            if height != width:
                raise MedclsError(
                    f"data.augmentation.quarter_turns is {self.quarter_turns}, but the images are {height} x {width} "
                    "pixels: only a square fits its own place when turned. Give one data.image_size, or "
                    "data.augmentation.quarter_turns=0."
                )
            turns = [v2.RandomRotation((degrees, degrees)) for degrees in (90, 180, 270)]
            steps.append(v2.RandomApply([v2.RandomChoice(turns)], p=self.quarter_turns))
        if self.rotation_degrees:
            steps.append(v2.RandomRotation(self.rotation_degrees, interpolation=v2.InterpolationMode.BILINEAR))
        if self.smallest_area < 1 or self.aspect:
            shape = width / height
            steps.append(
                v2.RandomResizedCrop(
                    size,
                    scale=(self.smallest_area, 1.0),
                    ratio=(shape * (1 - self.aspect), shape / (1 - self.aspect)),
                    antialias=True,
                )
            )
        if self.brightness or self.contrast or self.saturation or self.hue_degrees:
            steps.append(v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue_degrees / 360))
        return v2.Compose(steps)

    def to_plain(self) -> dict[str, Any]:
        """As numbers, for a log or a JSON file."""
        return dataclasses.asdict(self)


def normalise(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """From pixels to what the network expects.

    Parameters
    ----------
    images : Tensor
        uint8 `(B, C, H, W)`, black 0 and white 255; or float32, black 0 and white 1, as pixels of 16 bits leave the
        loader. On any device.

    Returns
    -------
    Tensor
        float32 `(B, C, H, W)`: scaled to the preprocessing's range, then `(x - mean) / std` with
        its fixed constants: an image's result does not depend on its batch.
    """
    low, high = preprocessing.range
    mean = torch.tensor(preprocessing.mean, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std, device=images.device).view(1, -1, 1, 1)
    white = 1 if images.is_floating_point() else 255
    return (images.float() * ((high - low) / white) + (low - mean)) / std


def pixels_back(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """The inverse of `normalise`: uint8 `(B, C, H, W)`, to look at what the network was given."""
    low, high = preprocessing.range
    mean = torch.tensor(preprocessing.mean, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std, device=images.device).view(1, -1, 1, 1)
    return ((images * std + mean - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)
