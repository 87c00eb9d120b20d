"""A table of a network's layers, for model.txt."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from medcls.errors import MedclsError


@dataclasses.dataclass
class _Layer:
    name: str
    kind: str
    parameters: int
    shape: str = ""


def summarise(network: nn.Module, input_shape: Sequence[int]) -> str:
    """Tabulate a network's layers in the order in which they run.

    Runs the network on an image of zeros in eval mode; its modes, buffers and gradients are unchanged.

    Parameters
    ----------
    network
        Any network that takes one tensor.
    input_shape
        (C, H, W) of one image, or (1, C, H, W).

    Returns
    -------
    str
        Dotted name, type, output shape, parameters and multiply-adds of each layer, and the totals. Multiply-adds are
        those of convolutions and matrix products, including attention, as counted by `torch.utils.flop_counter`;
        batch norms and activations are not counted.

    Raises
    ------
    MedclsError
        The network does not take an image of this shape.
    """
    shape = tuple(input_shape)[-3:]
    root = type(network).__name__
    layers = _layers(network)
    ran: list[str] = []
    modes = {module: module.training for module in network.modules()}
    handles = [
        network.get_submodule(name).register_forward_hook(_note_shape(layer, ran)) for name, layer in layers.items()
    ]
    counter = FlopCounterMode(display=False)
    reference = next(network.parameters())
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        network.eval()
        torch.backends.mha.set_fastpath_enabled(False)  # fused attention would not be counted
        with torch.no_grad(), counter:
            network(torch.zeros(1, *shape, dtype=reference.dtype, device=reference.device))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise MedclsError(
            f"{root} cannot take an input of {' x '.join(map(str, shape))} (channels, height, width): {error}. "
            "Choose another data.image_size, or check model.network.in_chans.",
            kind="unfit_input_size",
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    flops = {name: sum(operations.values()) for name, operations in counter.get_flop_counts().items()}
    rows = [("layer", "type", "output", "parameters", "multiply-adds")]
    for name in dict.fromkeys([*ran, *layers]):
        layer = layers[name]
        # A flop counter counts a multiply-add as two operations.
        products = flops.get(f"{root}.{name}" if name else root, 0) // 2 if _is_leaf(network, name) else 0
        rows.append((layer.name, layer.kind, layer.shape, f"{layer.parameters:,}", f"{products:,}"))
    parameters = list(network.parameters())
    totals = (
        f"{root} on an input of {' x '.join(map(str, shape))}",
        f"parameters     {sum(p.numel() for p in parameters):,}",
        f"  that train   {sum(p.numel() for p in parameters if p.requires_grad):,}",
        f"buffers        {sum(b.numel() for b in network.buffers()):,}",
        f"multiply-adds  {counter.get_total_flops() // 2:,} ({counter.get_total_flops() / 2e6:.1f} M)",
    )
    return "\n".join([*_aligned(rows), "", *totals, ""])


def _layers(network: nn.Module) -> dict[str, _Layer]:
    """Modules without children, and modules that have parameters besides those of their children."""
    layers = {}
    for name, module in network.named_modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        leaf = not any(True for _ in module.children())
        if (leaf and not isinstance(module, nn.Identity)) or own:
            layers[name] = _Layer(name or "(itself)", type(module).__name__, own)
    return layers


def _is_leaf(network: nn.Module, name: str) -> bool:
    return not any(True for _ in network.get_submodule(name).children())


def _note_shape(layer: _Layer, ran: list[str]) -> Any:  # noqa: ANN401  torch has no name for a hook's type
    def hook(module: nn.Module, given: Any, output: Any) -> None:  # noqa: ANN401
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, torch.Tensor):
            layer.shape = " x ".join(map(str, first.shape[1:]))
        ran.append("" if layer.name == "(itself)" else layer.name)

    return hook


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Align text to the left and numbers to the right, below a ruled heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column >= 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
