"""Heat maps: which parts of an image a network's output for a class depends on, by Grad-CAM or by occlusion."""

import dataclasses
import math
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from medcls.data.transforms import normalise
from medcls.errors import MedclsError, nearest
from medcls.inference.load import ClassLogits
from medcls.models.joined import JoinedNetworks
from medcls.preprocessing import Preprocessing

METHODS = ("grad_cam", "occlusion")

WINDOW = 1 / 8
"""Side of the square that occlusion covers, as a share of the image's sides; it moves by half of that."""

# Images in a batch of occlusion.
_AT_ONCE = 16

# The gradients of this many of the last layers are computed at a time, until one of them is not zero.
_LAYERS_AT_ONCE = 40

# What these modules compute inside (queries, attention weights) may look like a map, and is none.
_ATTENTION = re.compile(r"att(entio)?n", re.IGNORECASE)

# Tokens before those of the image's patches: a class token, one more of a distilled network, registers.
_PREFIXES = (0, 1, 2, 5)

# By how much the ratio of an output's height to its width may differ from that of the image.
_DISTORTION = 1.5


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """How much each part of an image speaks for a class.

    Parameters
    ----------
    values : ndarray
        float32 `(H, W)` of the network's input, from 0 to 1, which is its largest value; 0 everywhere if no part speaks
        for the class.
    scale : float
        What 1 stands for. Occlusion: by how much the log-odds of the class fall when that part is covered. Grad-CAM: an
        arbitrary unit, which can be compared between images of one network and layer.
    method : str
        Of `METHODS`.
    fields : tuple of int
        Of how many rows and columns of fields the map was enlarged to `values`: the finest detail that it can show.
    layers : tuple of str
        The layers whose maps Grad-CAM used, by dotted name.
    """

    values: NDArray[np.float32]
    scale: float
    method: str
    fields: tuple[int, int]
    layers: tuple[str, ...] = ()


def explain(
    network: ClassLogits,
    preprocessing: Preprocessing,
    pixels: NDArray[Any],
    class_index: int,
    method: str = "grad_cam",
    *,
    layer: str | None = None,
    window: float = WINDOW,
) -> HeatMap:
    """Compute a heat map for one image and class.

    Both methods explain the log-odds of the class, `log(p / (1 - p))`: adding a constant to all logits changes neither
    the probabilities nor the map, and a network with one logit has maps for both classes. Parts that speak against the
    class are 0.

    The network is not changed, and other threads may predict with it meanwhile.

    Parameters
    ----------
    network : ClassLogits
        In eval mode, on any device.
    preprocessing : Preprocessing
        Its scaling is applied.
    pixels : ndarray
        uint8 or uint16 `(H, W, C)`, resized for the network.
    class_index : int
        The class to explain.
    method : {"grad_cam", "occlusion"}
        `grad_cam`: the channels of the last feature map, weighted by their mean gradients (Selvaraju et al. 2017,
        doi:10.1109/ICCV.2017.74), enlarged to the image's size. One pass. `occlusion`: the fall of the log-odds when a
        square of the image's mean colour covers a part (Zeiler and Fergus 2014, arXiv:1311.2901). Hundreds of passes.
    layer : str, optional
        For Grad-CAM, the dotted name of a layer with a map; by default the last one. See `last_maps`.
    window : float
        For occlusion, the side of the square as a share of the image's sides.

    Raises
    ------
    MedclsError
        An unknown method or layer, a window out of range, or a network without a map.

    Notes
    -----
    captum's `LayerGradCam` and `Occlusion` do the computation.
    """
    if method not in METHODS:
        raise MedclsError(f"method is {method!r}: choose {' or '.join(METHODS)}.", kind="bad_value")
    if not 0 <= class_index < network.num_classes:
        raise MedclsError(f"class {class_index}: the network has {network.num_classes} classes.", kind="unknown_class")
    # Outside the caller's inference mode, in which nothing has gradients.
    with torch.inference_mode(False):
        images = _input(network, preprocessing, pixels)
        if method == "occlusion":
            values, fields = _occlusion(network, images, class_index, window)
            return _heat_map(values, method, fields)
        layers = last_maps(network, images) if layer is None else (layer,)
        values, fields = _grad_cam(network, images, class_index, layers)
        return _heat_map(values, method, fields, layers)


def last_maps(network: ClassLogits, images: Tensor) -> tuple[str, ...]:
    """Find the layer for Grad-CAM: the last one whose output is a map of the image, and on which the logits depend.

    A map has channels first or last, or is a sequence of tokens, one for each patch of the image. The output of a
    vision transformer's last block is none of these if only its class token is used: the logits do not depend on the
    other tokens any more.

    Parameters
    ----------
    network : ClassLogits
        In eval mode.
    images : Tensor
        One normalised image `(1, C, H, W)`.

    Returns
    -------
    tuple of str
        A dotted name in `network.network`; of several joined networks, one for each.

    Raises
    ------
    MedclsError
        There is none.
    """
    inner, size = network.network, (images.shape[-2], images.shape[-1])
    known = _FOUND.setdefault(inner, {})
    if size not in known:
        parts = [f"parts.{number}" for number in range(len(inner.parts))] if isinstance(inner, JoinedNetworks) else [""]
        known[size] = tuple(_last_map(network, images, part) for part in parts)
    return known[size]


_FOUND: weakref.WeakKeyDictionary[nn.Module, dict[tuple[int, int], tuple[str, ...]]] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class _Grid:
    """How the output of a layer is a map.

    Parameters
    ----------
    kind : {"first", "last", "tokens"}
        Channels first, channels last, or tokens.
    height, width : int
    prefix : int
        Number of tokens before those of the patches.
    """

    kind: str
    height: int
    width: int
    prefix: int = 0

    def to_map(self, output: Tensor) -> Tensor:
        """The map `(B, C, h, w)` in an output."""
        if self.kind == "first":
            return output
        if self.kind == "last":
            return output.permute(0, 3, 1, 2)
        patches = output[:, self.prefix :]
        grid: Tensor = patches.transpose(1, 2).unflatten(2, (self.height, self.width))
        return grid

    def from_map(self, map_: Tensor, output: Tensor) -> Tensor:
        """The output with another map."""
        if self.kind == "first":
            return map_
        if self.kind == "last":
            return map_.permute(0, 2, 3, 1)
        return torch.cat([output[:, : self.prefix], map_.flatten(2).transpose(1, 2)], dim=1)


def _input(network: nn.Module, preprocessing: Preprocessing, pixels: NDArray[Any]) -> Tensor:
    """One image `(1, C, H, W)`, normalised, on the network's device."""
    values = pixels if pixels.dtype == np.uint8 else (pixels / 65535).astype(np.float32)
    batch = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None]
    return normalise(batch.to(next(network.parameters()).device), preprocessing)


def _log_odds(logits: Tensor, class_index: int) -> Tensor:
    """`(B,)`: `log(p / (1 - p))` of a class, from logits `(B, K)`."""
    others = torch.cat([logits[:, :class_index], logits[:, class_index + 1 :]], dim=1)
    return logits[:, class_index] - others.logsumexp(dim=1)


def _occlusion(network: ClassLogits, images: Tensor, class_index: int, window: float) -> tuple[Tensor, tuple[int, int]]:
    """The mean fall of the log-odds over the squares that cover a pixel, `(H, W)`, and the number of steps each way."""
    from captum.attr import Occlusion

    if not 0 < window <= 0.5:
        raise MedclsError(
            f"window is {window!r}: give a share of the image's sides, above 0 and at most 0.5.", kind="bad_value"
        )
    size = images.shape[-2:]
    sides = [max(1, round(side * window)) for side in size]
    steps = [max(1, side // 2) for side in sides]
    with torch.no_grad():
        falls = Occlusion(lambda batch: _log_odds(network(batch), class_index)).attribute(
            images,
            sliding_window_shapes=(images.shape[1], *sides),
            strides=(images.shape[1], *steps),
            # An average colour: black or white would be a shape of its own.
            baselines=images.mean(dim=(2, 3), keepdim=True).expand_as(images),
            perturbations_per_eval=_AT_ONCE,
        )
    return falls[0, 0], (math.ceil(size[0] / steps[0]), math.ceil(size[1] / steps[1]))


def _grad_cam(
    network: ClassLogits, images: Tensor, class_index: int, layers: Sequence[str]
) -> tuple[Tensor, tuple[int, int]]:
    """The maps of the layers, weighted by their mean gradients and enlarged, `(H, W)`, and the size of the finest."""
    from captum.attr import LayerAttribution, LayerGradCam

    total, fields = torch.zeros(images.shape[-2:], device=images.device), (0, 0)
    for name in layers:
        layer = _submodule(network.network, name)
        map_: nn.Module = nn.Identity()
        found: list[_Grid] = []

        def as_map(output: Tensor, map_: nn.Module = map_, found: list[_Grid] = found, name: str = name) -> Tensor:
            grid = _grid(output, images, _prefix_tokens(network.network))
            if grid is None:
                raise MedclsError(
                    f"layer={name}: its output {tuple(output.shape)} is not a map of the image.", kind="no_map"
                )
            found.append(grid)
            # The graph starts here: nothing before this layer is kept for gradients.
            torch.set_grad_enabled(True)
            return grid.from_map(map_(grid.to_map(output.detach())), output.detach())

        def score(batch: Tensor) -> Tensor:
            with torch.no_grad():  # until `as_map`
                return _log_odds(network(batch), class_index)

        with _on_output({layer: as_map}):
            weighted = LayerGradCam(score, map_).attribute(images)
        # Of several networks: summed over the image, each map is what its network contributes.
        grid = found[0]
        fields = max(fields, (grid.height, grid.width))
        share = grid.height * grid.width if len(layers) > 1 else 1
        total += share * LayerAttribution.interpolate(weighted, tuple(images.shape[-2:]), "bilinear")[0, 0].detach()
    return total, fields


def _heat_map(map_: Tensor, method: str, fields: tuple[int, int], layers: tuple[str, ...] = ()) -> HeatMap:
    values: NDArray[np.float32] = map_.detach().float().clamp(min=0).cpu().numpy()
    scale = float(values.max())
    if not math.isfinite(scale):
        raise MedclsError("The network's output is not a finite number, so it has no heat map.", kind="no_map")
    return HeatMap(values / np.float32(scale or 1), scale, method, fields, layers)


def _last_map(network: ClassLogits, images: Tensor, part: str) -> str:
    """The last layer within a part of the network whose output is a map with gradients."""
    candidates = _maps(network, images, part)
    while candidates:
        latest, candidates = candidates[-_LAYERS_AT_ONCE:], candidates[:-_LAYERS_AT_ONCE]
        gradients = _gradients(network, images, latest)
        for name in reversed(latest):
            if name in gradients and bool((gradients[name] != 0).any()):
                return name
    raise MedclsError(
        f"{type(network.network.get_submodule(part)).__name__} has no layer whose output is a map of the image and "
        "on which its logits depend, so there is no Grad-CAM of it. Use method=occlusion.",
        kind="no_map",
    )


def _maps(network: ClassLogits, images: Tensor, part: str) -> list[str]:
    """Names of the layers whose output is a map, in the order in which they end; without those that run repeatedly."""
    inner = network.network
    prefix = _prefix_tokens(inner)
    names: list[str] = []
    runs: dict[str, int] = {}

    def recorder(name: str) -> Callable[[Any], None]:
        def record(output: Any) -> None:  # noqa: ANN401 - a layer may return anything
            runs[name] = runs.get(name, 0) + 1
            if isinstance(output, Tensor) and _grid(output, images, prefix) is not None:
                names.append(name)

        return record

    inside = [name for name, module in inner.named_modules() if name and _ATTENTION.search(type(module).__name__)]
    layers = {
        module: recorder(name)
        for name, module in inner.named_modules()
        if name.startswith(part) and name != part and not name.startswith(tuple(f"{parent}." for parent in inside))
    }
    with _on_output(layers), torch.no_grad():
        network(images)
    return [name for name in names if runs[name] == 1]


def _gradients(network: ClassLogits, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Gradients of the logits with respect to the maps of the layers; without layers that have no influence."""
    inner = network.network
    prefix = _prefix_tokens(inner)
    outputs: dict[str, Tensor] = {}
    grids: dict[str, _Grid] = {}

    def keeper(name: str) -> Callable[[Tensor], Tensor]:
        def keep(output: Tensor) -> Tensor:
            torch.set_grad_enabled(True)
            outputs[name] = output if output.requires_grad else output.detach().requires_grad_()
            grid = _grid(output, images, prefix)
            if grid is not None:
                grids[name] = grid
            return outputs[name].clone()  # what follows may work in place

        return keep

    with _on_output({inner.get_submodule(name): keeper(name) for name in names}), torch.no_grad():
        logits = network(images)
        if not logits.requires_grad:
            return {}
        # No two classes cancel each other.
        weights = torch.arange(1, logits.shape[1] + 1, device=logits.device)
        found = torch.autograd.grad((logits * weights).sum(), list(outputs.values()), allow_unused=True)
    return {
        name: grids[name].to_map(gradient)
        for name, gradient in zip(outputs, found, strict=True)
        if gradient is not None and name in grids
    }


def _grid(output: Tensor, images: Tensor, prefix: int | None) -> _Grid | None:
    """How an output is a map of the image; None if it is none.

    Parameters
    ----------
    output : Tensor
    images : Tensor
        `(1, C, H, W)`.
    prefix : int or None
        Number of tokens before those of the patches; None if it is unknown.
    """
    if not output.is_floating_point() or output.shape[0] != images.shape[0]:
        return None
    high, wide = images.shape[-2:]
    if output.dim() == 4:
        first, last = (tuple(output.shape[2:]), tuple(output.shape[1:3]))
        choices = [
            (_distortion(height, width, high, wide), kind, height, width)
            for kind, (height, width) in (("first", first), ("last", last))
        ]
        distortion, kind, height, width = min(choices, key=lambda choice: choice[0])
        return _Grid(kind, height, width) if distortion <= _DISTORTION else None
    if output.dim() == 3:
        # Some networks add their class token after the blocks whose output is a map.
        for before in _PREFIXES if prefix is None else (prefix, 0):
            patches = output.shape[1] - before
            height = round(math.sqrt(max(patches, 0) * high / wide))
            if height and patches % height == 0 and _distortion(height, patches // height, high, wide) <= _DISTORTION:
                return _Grid("tokens", height, patches // height, before)
    return None


def _distortion(height: int, width: int, high: int, wide: int) -> float:
    """How much the aspect ratio of a map differs from that of the image, at least 1; infinite for what is no map."""
    if height * width < 4 or height > high or width > wide:
        return math.inf
    ratio = (high / height) / (wide / width)
    return max(ratio, 1 / ratio)


def _prefix_tokens(network: nn.Module) -> int | None:
    """Number of tokens before those of the patches, in timm's and torchvision's transformers; None if unknown."""
    if isinstance(number := getattr(network, "num_prefix_tokens", None), int):
        return number
    return 1 if isinstance(getattr(network, "class_token", None), Tensor) else None


def _submodule(network: nn.Module, name: str) -> nn.Module:
    names = [each for each, _ in network.named_modules() if each]
    if name not in names:
        raise MedclsError(
            f"layer={name}: {type(network).__name__} has no such layer.{nearest(name, names)}", kind="unknown_layer"
        )
    return network.get_submodule(name)


@contextmanager
def _on_output(functions: dict[nn.Module, Callable[[Any], Any]]) -> Iterator[None]:
    """Call a function with the output of each module; what it returns, unless None, replaces the output.

    Only in this thread: others may use the network at the same time.
    """
    own = threading.get_ident()
    handles: list[RemovableHandle] = []

    def hook(function: Callable[[Any], Any]) -> Callable[[nn.Module, Any, Any], Any]:
        return lambda module, args, output: function(output) if threading.get_ident() == own else None

    try:
        for module, function in functions.items():
            handles.append(module.register_forward_hook(hook(function)))
        yield
    finally:
        for handle in handles:
            handle.remove()
