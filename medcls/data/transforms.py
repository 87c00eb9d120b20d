"""Augmentation that keeps a medical image plausible, and normalisation."""

import dataclasses
import functools
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional

from medcls.errors import MedclsError
from medcls.preprocessing import Preprocessing
from medcls.randomness import stream

# Random numbers of each image and epoch, in this order.
DRAWS = (
    "left_right", "up_down", "turn", "which_turn", "angle", "area", "aspect", "right", "down", "brightness", "contrast",
    "saturation", "hue",
)  # fmt: skip

# Weights of red, green and blue in grey (ITU-R BT.601).
GREY = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training images may be changed, in degrees, fractions and named axes.

    Parameters
    ----------
    left_right, up_down : float
        Probability of a flip along that axis. Up and down is off by default: most medical images have a top.
    quarter_turns : float
        Probability of a turn by 90, 180 or 270 degrees, each equally likely: 0.75 makes all four orientations equally
        likely. Pixel values stay; the image must be square.
    rotation_degrees : float
        Largest rotation either way.
    smallest_area : float
        Smallest share of the image's area that a crop keeps; the crop is enlarged. Below 0.8 a crop may lose the
        lesion.
    aspect : float
        Largest fraction by which the crop's aspect ratio changes.
    brightness, contrast, saturation : float
        Largest fraction of change either way. Grey images have no saturation.
    hue_degrees : float
        Largest rotation on the colour circle either way, as stains differ.

    Raises
    ------
    MedclsError
        A value outside its range.
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
                raise MedclsError(
                    f"data.augmentation.{name} is {value}: it is {unit}, from {low} to {high}.", kind="bad_value"
                )

    def check_size(self, size: tuple[int, int]) -> None:
        """Refuse quarter turns of images that are not square."""
        height, width = size
        if self.quarter_turns and height != width:
            raise MedclsError(
                f"data.augmentation.quarter_turns is {self.quarter_turns}, but the images are {height} x {width} "
                "pixels: only a square keeps its size when turned. Give one data.image_size, or "
                "data.augmentation.quarter_turns=0.",
                kind="conflicting_settings",
            )

    def changes(self, draws: torch.Tensor, size: tuple[int, int], channels: int) -> "Changes":
        """The changes for draws `(n, len(DRAWS))` of images of one size and number of channels; on the CPU."""
        drawn = dict(zip(DRAWS, draws.double().T, strict=True))
        height, width = size
        theta = self._affine(drawn, height / width).float() if self._moves else None
        return Changes(theta, *(self._recolouring(drawn, channels) if self._colours else (None,) * 4))

    @property
    def changes_nothing(self) -> bool:
        """Whether every image stays as it is."""
        return not (self._moves or self._colours)

    @property
    def _moves(self) -> bool:
        return bool(
            self.left_right
            or self.up_down
            or self.quarter_turns
            or self.rotation_degrees
            or self.smallest_area < 1
            or self.aspect
        )

    @property
    def _colours(self) -> bool:
        return bool(self.brightness or self.contrast or self.saturation or self.hue_degrees)

    def _affine(self, drawn: Mapping[str, torch.Tensor], height: float) -> torch.Tensor:
        """Map coordinates in the new image to those in the old one, `(B, 2, 3)`, float64; both run from -1 to 1.

        An image is flipped, turned, rotated and cropped in this order, so coordinates are mapped in the reverse order:
        `flip @ turn @ rotation @ (crop @ place + shift)`. `height` is the image's height divided by its width.
        """
        area = 1 - (1 - self.smallest_area) * drawn["area"]
        ratio = torch.exp((2 * drawn["aspect"] - 1) * -math.log(1 - self.aspect))
        # A side longer than the image's is clamped, and the other extended to keep the area.
        wide = (area * ratio).sqrt().clamp(max=1)
        tall = torch.maximum((area / ratio).sqrt(), self.smallest_area / wide).clamp(max=1)
        wide = torch.maximum(wide, self.smallest_area / tall)
        shift = torch.stack([(1 - wide) * (2 * drawn["right"] - 1), (1 - tall) * (2 * drawn["down"] - 1)], dim=1)
        # A rotation keeps lengths in pixels; coordinates are in halves of the sides.
        linear = _rotation(torch.deg2rad((2 * drawn["angle"] - 1) * self.rotation_degrees), height)
        if self.quarter_turns:
            turned = torch.where(drawn["turn"] < self.quarter_turns, 1 + (3 * drawn["which_turn"]).floor(), 0)
            linear = _rotation(turned * (math.pi / 2), 1.0).round() @ linear
        flip = torch.stack(
            [_mirror(drawn["left_right"] < self.left_right), _mirror(drawn["up_down"] < self.up_down)], dim=1
        )
        linear = flip[:, :, None] * linear
        crop = torch.diag_embed(torch.stack([wide, tall], dim=1))
        return torch.cat([linear @ crop, linear @ shift[:, :, None]], dim=2)

    def _recolouring(
        self, drawn: Mapping[str, torch.Tensor], channels: int
    ) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Brightness, contrast, saturation and hue as one affine map of each pixel's colour.

        Brightness scales; contrast moves towards the image's mean grey, saturation towards the pixel's grey; hue
        rotates colours about the axis of greys (Haeberli 1993, "Matrix operations for image processing"), and keeps
        grey.
        """
        brightness, contrast, saturation = (
            (1 + (2 * drawn[name] - 1) * getattr(self, name)).float()
            for name in ("brightness", "contrast", "saturation")
        )
        grey = torch.tensor(GREY if channels == 3 else (1.0,))
        colour = None
        if channels == 3 and (self.saturation or self.hue_degrees):
            kept = saturation[:, None, None]
            towards_grey = kept * torch.eye(3) + (1 - kept) * grey.expand(3, 3)
            hue = _about_grey(torch.deg2rad((2 * drawn["hue"] - 1) * self.hue_degrees)).float()
            colour = hue @ towards_grey
        return colour, brightness * contrast, (1 - contrast) * brightness, grey


@dataclasses.dataclass(frozen=True)
class Changes:
    """The changes of some images, one row of each tensor an image.

    On a GPU those of a whole epoch are copied there once; computed for each batch, they would be a hundred small
    operations a step, each copy of which waits for the step before.

    Parameters
    ----------
    theta : Tensor or None
        From coordinates in the new image to those in the old one, float32 `(n, 2, 3)`; None if no image moves.
    colour : Tensor or None
        Of each pixel's red, green and blue, float32 `(n, 3, 3)`.
    gain, towards_mean : Tensor or None
        float32 `(n,)`: each value is then multiplied by `gain`, and `towards_mean` times the image's mean grey added.
    grey : Tensor or None
        Weight of each channel in grey, float32 `(C,)`.
    """

    theta: torch.Tensor | None
    colour: torch.Tensor | None
    gain: torch.Tensor | None
    towards_mean: torch.Tensor | None
    grey: torch.Tensor | None

    def select(self, numbers: torch.Tensor) -> "Changes":
        """The changes of some images, int64 `(B,)` on the same device."""
        theta, colour, gain, towards_mean = (
            None if lines is None else lines[numbers]
            for lines in (self.theta, self.colour, self.gain, self.towards_mean)
        )
        return Changes(theta, colour, gain, towards_mean, self.grey)

    def to(self, device: torch.device) -> "Changes":
        """The same on a device."""
        lines = (self.theta, self.colour, self.gain, self.towards_mean, self.grey)
        return Changes(*(None if line is None else line.to(device) for line in lines))


def change(images: torch.Tensor, changes: Changes) -> torch.Tensor:
    """Change a batch: geometry in one resampling, colour in one map, clipped to 0..1.

    `images` `(B, C, H, W)` are uint8, or float32 from 0 to 1; `changes`, one row an image, are on the same device. The
    result is float32 from 0 to 1.
    """
    pixels = images if images.is_floating_point() else images.float().div_(255)
    if changes.theta is not None:
        grid = _affine_grid(changes.theta, images.shape[-2], images.shape[-1])
        pixels = functional.grid_sample(pixels, grid, padding_mode="zeros", align_corners=False)
    if changes.gain is not None and changes.towards_mean is not None and changes.grey is not None:
        offset = (changes.towards_mean * (pixels.mean(dim=(2, 3)) @ changes.grey))[:, None, None, None]
        if changes.colour is not None:
            pixels = torch.einsum("bij,bjhw->bihw", changes.colour, pixels)
        pixels = pixels.mul(changes.gain[:, None, None, None]).add_(offset).clamp_(0, 1)
    return pixels


def _affine_grid(theta: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Where each new pixel is read from, `(B, H, W, 2)`: as torch's `affine_grid`, in a quarter of the time.

    torch multiplies three numbers a pixel; but what a row or a column adds is the same for all its pixels.
    """
    across, down = (
        (2 * torch.arange(side, dtype=theta.dtype, device=theta.device) + 1) / side - 1 for side in (width, height)
    )
    of_columns = theta[:, None, None, :, 0] * across[:, None]
    of_rows = theta[:, None, None, :, 1] * down[:, None, None] + theta[:, None, None, :, 2]
    return of_columns + of_rows


def draws(seed: int, epoch: int, rows: np.ndarray) -> torch.Tensor:
    """The draws of manifest rows in one epoch: a function of (seed, epoch, row), whatever the batch.

    float32 `(B, len(DRAWS))`, uniform from 0 to 1, for rows int64 `(B,)`.
    """
    # One stream an epoch, row n at its n-th stretch: a generator for each row would take longer.
    return torch.from_numpy(_stretches(seed, epoch, 1 << int(rows.max()).bit_length())[rows])


@functools.lru_cache(maxsize=2)
def _stretches(seed: int, epoch: int, count: int) -> np.ndarray:
    return stream("augmentation", seed, epoch).random((count, len(DRAWS)), dtype=np.float32)


def _rotation(radians: torch.Tensor, height: float) -> torch.Tensor:
    """Rotations `(B, 2, 2)` in halves of the sides of an image with this height divided by width."""
    cosine, sine = radians.cos(), radians.sin()
    return torch.stack([cosine, -sine * height, sine / height, cosine], dim=1).view(-1, 2, 2)


def _mirror(mirrored: torch.Tensor) -> torch.Tensor:
    return 1 - 2 * mirrored.double()


def _about_grey(radians: torch.Tensor) -> torch.Tensor:
    """Rotations `(B, 3, 3)` of colours about the axis on which red, green and blue are equal (Rodrigues)."""
    cosine, sine = radians.cos()[:, None, None], radians.sin()[:, None, None]
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], dtype=radians.dtype) / math.sqrt(3)
    identity = torch.eye(3, dtype=radians.dtype)
    return cosine * identity + sine * across + (1 - cosine) / 3


def normalise(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """From pixels to network input.

    Parameters
    ----------
    images : Tensor
        uint8 `(B, C, H, W)`, black 0 and white 255; or float32, black 0 and white 1, as images of 16 bits leave the
        loader. On any device.

    Returns
    -------
    Tensor
        float32 `(B, C, H, W)`: scaled to the preprocessing's range, then `(x - mean) / std` with its constants, or with
        the mean and deviation of the image itself. The result of an image does not depend on its batch.
    """
    white = 1 if images.is_floating_point() else 255
    if preprocessing.standardise:
        return _standardised(images.float().div(white))
    low, high = preprocessing.range
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    scale, offset = (high - low) / white / std, (low - mean) / std
    # In place: a batch is larger than the processor's cache, and each pass over it counts. The copy of these few
    # numbers does not wait for a GPU.
    scale, offset = (values.to(images.device, non_blocking=True) for values in (scale, offset))
    return images.float().mul(scale).add_(offset)


def _standardised(images: torch.Tensor) -> torch.Tensor:
    """Each image with mean 0 and deviation 1 over all its pixels and channels; one without contrast becomes 0.

    As `tf.image.per_image_standardization`, which keeps the deviation above that of a single pixel of one step of 255.
    """
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    deviation = images.std(dim=(1, 2, 3), keepdim=True, correction=0)
    return images.sub_(mean).div_(deviation.clamp_(min=1 / 255 / images[0].numel() ** 0.5))


def pixels_back(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """The inverse of `normalise`: uint8 `(B, C, H, W)`, to show the network's input.

    Standardised images have lost their brightness: each one's darkest value becomes black, its brightest white.
    """
    low: float | torch.Tensor
    high: float | torch.Tensor
    low, high = preprocessing.range
    if preprocessing.standardise:
        low, high = images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
        high = torch.where(high > low, high, low + 1)
    mean = torch.tensor(preprocessing.mean, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std, device=images.device).view(1, -1, 1, 1)
    return ((images * std + mean - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)
