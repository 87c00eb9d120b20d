"""How a trained network computes: exactly, the fast way; or in 16 bits or compiled, faster and nearly so."""

import copy
import dataclasses
import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Tracer
from torch.fx.experimental.optimization import fuse
from torch.nn.modules.batchnorm import _NormBase

from medcls.errors import MedclsError
from medcls.hardware import check_compiler
from medcls.inference.load import ClassLogits

log = logging.getLogger(__name__)

# Between folded and unfolded logits, relative to the largest of them: what 24 bits of a float leave after some hundred
# layers is a hundredth of this.
ROUNDING = 1e-4


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """With which numbers, and by which program.

    Parameters
    ----------
    precision : str
        `exact`: 32-bit floating-point numbers; `bf16`: convolutions and matrix products with 16 bits, of which 8 are
        the fraction's.
    compile : bool
        Let torch compile the network for this machine first, which takes a minute or so.

    Raises
    ------
    MedclsError
        Another precision; no compiler.
    """

    precision: str = "exact"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.precision not in ("exact", "bf16"):
            raise MedclsError(f"precision is {self.precision!r}: choose exact or bf16.", kind="bad_value")
        if not isinstance(self.compile, bool):
            raise MedclsError(f"compile is {self.compile!r}: give true or false.", kind="bad_value")
        if self.compile:
            check_compiler()

    @property
    def is_exact(self) -> bool:
        """Whether its results are those of the network as it was trained, to the rounding of 32-bit numbers."""
        return self == Arithmetic()

    def __str__(self) -> str:
        return self.precision + (", compiled" if self.compile else "")


EXACT = Arithmetic()


def ready(network: ClassLogits, images: Tensor, arithmetic: Arithmetic) -> Callable[[Tensor], Tensor]:
    """A network as a function, as fast as the arithmetic allows.

    Parameters
    ----------
    network : ClassLogits
        In eval mode, on its device.
    images : Tensor
        Some of those to come, `(B, C, H, W)`, on the device: what is faster is tried on two of them first.

    Returns
    -------
    callable
        From images `(B, C, H, W)` to logits float32 `(B, K)`. Compiled, it wants batches of one size.
    """
    fast: Callable[[Tensor], Tensor] = folded(network, images[:2])
    if arithmetic.compile:
        log.info("compiling the network for this machine, which takes a minute or so")
        # CUDA graphs, where there is a GPU: at these sizes it would wait for each kernel to be started.
        fast = torch.compile(fast, mode="reduce-overhead" if images.is_cuda else "default")
    if arithmetic.precision == "exact":
        return lambda batch: fast(batch).float()

    def with_16_bits(batch: Tensor) -> Tensor:
        with torch.autocast(batch.device.type, torch.bfloat16):
            return fast(batch).float()

    return with_16_bits


def folded(network: ClassLogits, images: Tensor) -> ClassLogits:
    """Put each batch norm into the convolution before it: one pass less over every map of features.

    Where torch cannot follow a network's code, or the folded one does not give the same logits, it stays as it is.

    Parameters
    ----------
    network : ClassLogits
        In eval mode; it is not changed.
    images : Tensor
        `(B, C, H, W)`, on which the two are held against each other.
    """
    whole = copy.copy(network)
    try:
        # A shallow copy shares its table of modules with the original.
        plain = _with_plain_norms(network.network)
        traced = GraphModule(plain, _Tracer().trace(plain))
        # In place: that was a copy.
        whole._modules = network._modules | {"network": _keeping_format(fuse(traced, inplace=True, no_trace=True))}
        expected, found = network(images), whole(images)
    except Exception as error:  # noqa: BLE001 - whatever tracing stumbles over, the network as it is gives the same
        log.debug("batch norms are not folded: %r", error)
        return network
    if not (found - expected).abs().max() <= ROUNDING * expected.abs().max():
        log.debug("batch norms are not folded: the logits would differ by %s", (found - expected).abs().max())
        return network
    return whole


def _with_plain_norms(network: nn.Module) -> nn.Module:
    """Copy a network with each batch norm that holds its own activation (timm's) taken apart, so that it can be folded.

    Two thirds of the time for EfficientNet-Lite0 on a CPU core: 33 to 21 ms for an image of 224 x 224 pixels.
    """
    plain = copy.deepcopy(network)
    for name, part in list(plain.named_modules()):
        activation, dropout = getattr(part, "act", None), getattr(part, "drop", nn.Identity())
        if isinstance(part, nn.BatchNorm2d) and isinstance(activation, nn.Module) and isinstance(dropout, nn.Module):
            norm = nn.BatchNorm2d(part.num_features, eps=part.eps, affine=part.affine)
            norm.load_state_dict(part.state_dict())
            plain.set_submodule(name, nn.Sequential(norm.to(next(part.buffers()).device), dropout, activation).eval())
    return plain


class _Tracer(Tracer):
    """Follows a network's code down to convolutions and batch norms, also those of a library's own kind."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """To look into those norms took most of the time for large networks of timm.

        And convolutions that pad by the size of their input decide by it, which cannot be followed.
        """
        return isinstance(m, _NormBase | nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


def _keeping_format(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last).eval()
