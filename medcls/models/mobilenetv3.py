"""MobileNetV3, after Howard et al. 2019, "Searching for MobileNetV3" (arXiv 1905.02244)."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from medcls.errors import MedclsError

RELU, HSWISH = nn.ReLU, nn.Hardswish


class Row(NamedTuple):
    """One inverted residual: a row of table 1 or 2 of the paper."""

    kernel: int
    expansion: int
    out: int
    squeeze_excite: bool
    activation: type[nn.Module]
    stride: int


LARGE = (  # table 1                               input at 224
    Row(3, 16, 16, False, RELU, 1),  #              112 x 112 x 16
    Row(3, 64, 24, False, RELU, 2),  #              112 x 112 x 16
    Row(3, 72, 24, False, RELU, 1),  #               56 x 56 x 24
    Row(5, 72, 40, True, RELU, 2),  #                56 x 56 x 24
    Row(5, 120, 40, True, RELU, 1),  #               28 x 28 x 40
    Row(5, 120, 40, True, RELU, 1),  #               28 x 28 x 40
    Row(3, 240, 80, False, HSWISH, 2),  #            28 x 28 x 40
    Row(3, 200, 80, False, HSWISH, 1),  #            14 x 14 x 80
    Row(3, 184, 80, False, HSWISH, 1),  #            14 x 14 x 80
    Row(3, 184, 80, False, HSWISH, 1),  #            14 x 14 x 80
    Row(3, 480, 112, True, HSWISH, 1),  #            14 x 14 x 80
    Row(3, 672, 112, True, HSWISH, 1),  #            14 x 14 x 112
    Row(5, 672, 160, True, HSWISH, 2),  #            14 x 14 x 112
    Row(5, 960, 160, True, HSWISH, 1),  #             7 x 7 x 160
    Row(5, 960, 160, True, HSWISH, 1),  #             7 x 7 x 160
)

SMALL = (  # table 2                               input at 224
    Row(3, 16, 16, True, RELU, 2),  #               112 x 112 x 16
    Row(3, 72, 24, False, RELU, 2),  #               56 x 56 x 16
    Row(3, 88, 24, False, RELU, 1),  #               28 x 28 x 24
    Row(5, 96, 40, True, HSWISH, 2),  #              28 x 28 x 24
    Row(5, 240, 40, True, HSWISH, 1),  #             14 x 14 x 40
    Row(5, 240, 40, True, HSWISH, 1),  #             14 x 14 x 40
    Row(5, 120, 48, True, HSWISH, 1),  #             14 x 14 x 40
    Row(5, 144, 48, True, HSWISH, 1),  #             14 x 14 x 48
    Row(5, 288, 96, True, HSWISH, 2),  #             14 x 14 x 48
    Row(5, 576, 96, True, HSWISH, 1),  #              7 x 7 x 96
    Row(5, 576, 96, True, HSWISH, 1),  #              7 x 7 x 96
)

# A widely copied hand-written MobileNetV3-Large: rows 13 and 14 are swapped in stride and narrower in expansion.
TUTORIAL = (*LARGE[:12], Row(5, 672, 160, True, HSWISH, 1), Row(5, 672, 160, True, HSWISH, 2), LARGE[14])


def round_to_8(channels: float) -> int:
    """Round to the nearest multiple of 8, at least 8 and at most a tenth below `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class GreyConv2d(nn.Conv2d):
    """A first convolution over one channel that can exactly replace one over three.

    A colour network receives a grey image `g` as `(g - mean[c]) / std[c]` in channel `c`, then pads with 0. Each
    channel is an affine function of the normalised grey channel: its factor goes into `weight`, its constant into
    `offset`, which is convolved with a plane of ones. That plane is zero-padded like the image, so that the result also
    equals the colour network's at the border, where a bias would be wrong. `offset` is zero until colour weights are
    folded in.
    """

    offset: torch.Tensor

    def __init__(
        self,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(1, out_channels, kernel_size, stride, padding, bias=bias)  # type: ignore[arg-type]
        self.register_buffer("offset", torch.zeros_like(self.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W) to (B, out_channels, H', W')."""
        constant = self._conv_forward(torch.ones_like(x[:1]), self.offset, None)
        return torch.add(super().forward(x), constant)


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, activation; padded so that stride 1 keeps the size."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = None,
        *,
        eps: float,
        momentum: float,
    ) -> None:
        conv = (
            GreyConv2d(out_channels, kernel, stride, kernel // 2, bias=False)
            if in_channels == 1
            else nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        )
        layers: list[tuple[str, nn.Module]] = [
            ("conv", conv),
            ("norm", nn.BatchNorm2d(out_channels, eps=eps, momentum=momentum)),
        ]
        if activation is not None:
            layers.append(("act", activation(inplace=True)))
        super().__init__(OrderedDict(layers))


class SqueezeExcite(nn.Module):
    """Scale each channel by a factor in [0, 1] computed from all channel means (Hu et al., arXiv 1709.01507)."""

    def __init__(self, channels: int, squeezed: int, bias: bool) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1, bias=bias)
        self.fc2 = nn.Conv2d(squeezed, channels, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to the same shape."""
        scale = nn.functional.relu(self.fc1(self.pool(x)))
        return x * nn.functional.hardsigmoid(self.fc2(scale))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, weight the channels, project; add the input if the shapes allow (figure 4)."""

    def __init__(
        self,
        row: Row,
        in_channels: int,
        expanded: int,
        out_channels: int,
        squeezed: int,
        squeeze_bias: bool,
        *,
        eps: float,
        momentum: float,
    ) -> None:
        super().__init__()
        act = row.activation
        # A block that does not expand has no such convolution.
        self.expand = (
            ConvNormAct(in_channels, expanded, 1, activation=act, eps=eps, momentum=momentum)
            if expanded != in_channels
            else nn.Identity()
        )
        self.depthwise = ConvNormAct(
            expanded, expanded, row.kernel, row.stride, groups=expanded, activation=act, eps=eps, momentum=momentum
        )
        self.squeeze_excite = SqueezeExcite(expanded, squeezed, squeeze_bias) if row.squeeze_excite else nn.Identity()
        self.project = ConvNormAct(expanded, out_channels, 1, eps=eps, momentum=momentum)
        self.adds_input = row.stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, out, H / stride, W / stride), rounded up."""
        out: torch.Tensor = self.project(self.squeeze_excite(self.depthwise(self.expand(x))))
        return x + out if self.adds_input else out


class MobileNetV3(nn.Module):
    """The network of Howard et al. 2019 (arXiv 1905.02244): stem, inverted residuals, last convolution, classifier.

    Parameters
    ----------
    rows
        The inverted residuals, top to bottom.
    last_channels
        Width of the layer before the last: 1280 (large), 1024 (small), before `width` is applied.
    num_classes
        Number of logits.
    in_chans
        Channels of the input. With 1, colour weights can be folded in exactly (`GreyConv2d`).
    width
        Factor on every number of channels, each then rounded to a multiple of 8.
    dropout
        Share of features dropped before the last layer.
    bn_momentum
        Momentum of each batch norm; see `mobilenetv3_large`.
    bn_eps
        Added to the variance in each batch norm.
    squeeze_bias, squeeze_rounded
        Whether squeeze-and-excite has biases, and rounds its inner width (a quarter of the outer) to multiples of 8.
    published_as
        Library and name of published weights for this architecture, if there are any.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        last_channels: int,
        num_classes: int,
        in_chans: int,
        width: float,
        dropout: float,
        bn_momentum: float,
        bn_eps: float = 0.001,
        squeeze_bias: bool = True,
        squeeze_rounded: bool = True,
        published_as: tuple[str, str] | None = None,
    ) -> None:
        if width <= 0 or num_classes < 1 or in_chans < 1:
            raise MedclsError(
                f"MobileNetV3 with width {width}, {num_classes} classes, {in_chans} input channels: give a "
                "model.network.width above 0, and at least one class and one channel.",
                kind="bad_value",
            )
        super().__init__()
        self.published_as = published_as
        channels = round_to_8(16 * width)
        self.stem = ConvNormAct(in_chans, channels, 3, 2, activation=HSWISH, eps=bn_eps, momentum=bn_momentum)
        blocks = []
        for row in rows:
            expanded, out_channels = round_to_8(row.expansion * width), round_to_8(row.out * width)
            squeezed = round_to_8(expanded // 4) if squeeze_rounded else expanded // 4
            blocks.append(
                InvertedResidual(
                    row, channels, expanded, out_channels, squeezed, squeeze_bias, eps=bn_eps, momentum=bn_momentum
                )
            )
            channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.last_conv = ConvNormAct(channels, 6 * channels, 1, activation=HSWISH, eps=bn_eps, momentum=bn_momentum)
        self.pool: nn.Module = nn.AdaptiveAvgPool2d(1)
        last = round_to_8(last_channels * width)
        self.classifier = nn.Sequential(
            nn.Linear(6 * channels, last), HSWISH(), nn.Dropout(dropout), nn.Linear(last, num_classes)
        )
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, H, W), any size, to logits (B, num_classes)."""
        x = self.last_conv(self.blocks(self.stem(x)))
        logits: torch.Tensor = self.classifier(self.pool(x).flatten(1))
        return logits


def mobilenetv3_large(
    num_classes: int,
    in_chans: int = 3,
    width: float = 1.0,
    dropout: float = 0.2,
    bn_momentum: float = 0.1,
    variant: str = "paper",
) -> MobileNetV3:
    """MobileNetV3-Large, table 1 of the paper: 5,483,032 parameters at 1000 classes.

    Parameters
    ----------
    num_classes, in_chans, width, dropout
        As in `MobileNetV3`.
    bn_momentum
        torchvision uses 0.01, with which the running statistics lag far behind the weights if an epoch has few steps.
        Measured on `brain_tumor` (182 training images, 80 epochs, from scratch, three folds, otherwise the same
        training): test accuracy 0.61, 0.39, 0.37 with 0.01, and 0.85, 0.80, 0.85 with 0.1.
    variant
        `paper`, or `tutorial`: a widely copied implementation with different rows 13 and 14, squeeze-and-excite without
        bias and without rounding, and torch's default batch-norm epsilon; 5,140,608 parameters at 1000 classes. For
        comparison only: no published weights fit it.

    Raises
    ------
    MedclsError
        The variant is unknown, or a value is out of range.
    """
    if variant == "tutorial":
        return MobileNetV3(
            TUTORIAL, 1280, num_classes, in_chans, width, dropout, bn_momentum,
            bn_eps=1e-5, squeeze_bias=False, squeeze_rounded=False,
        )  # fmt: skip
    if variant != "paper":
        raise MedclsError(f"model.network.variant is {variant!r}: choose paper or tutorial.", kind="bad_value")
    published_as = ("torchvision", "mobilenet_v3_large") if width == 1 else None
    return MobileNetV3(
        LARGE, 1280, num_classes, in_chans, width, dropout, bn_momentum, published_as=published_as
    )  # fmt: skip


def mobilenetv3_small(
    num_classes: int, in_chans: int = 3, width: float = 1.0, dropout: float = 0.2, bn_momentum: float = 0.1
) -> MobileNetV3:
    """MobileNetV3-Small, table 2 of the paper: 2,542,856 parameters at 1000 classes.

    The arguments are those of `mobilenetv3_large`.
    """
    published_as = ("torchvision", "mobilenet_v3_small") if width == 1 else None
    return MobileNetV3(SMALL, 1024, num_classes, in_chans, width, dropout, bn_momentum, published_as=published_as)
