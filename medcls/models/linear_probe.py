"""A network without its last layer, and with another one: what a linear probe reads, and what it becomes."""

import copy

import torch
from torch import Tensor, nn

from medcls.errors import MedclsError
from medcls.models.zoo import last_layer

# Between the last layer's own product with the features and the network's logits, relative to the largest of them.
ROUNDING = 1e-4


def features_of(network: nn.Module, images: Tensor) -> nn.Module:
    """Copy a network without its last layer: it gives what that layer would be given.

    Parameters
    ----------
    network : Module
        In eval mode, from `(B, C, H, W)` to logits `(B, K)`.
    images : Tensor
        A few, on which it is held that the logits are the last layer of these features and nothing more.

    Returns
    -------
    Module
        From `(B, C, H, W)` to features `(B, d)`, in eval mode.

    Raises
    ------
    MedclsError
        The network does something else to its features, or to what comes out of its last layer.
    """
    name = last_layer(network)
    layer = network.get_submodule(name)
    headless = copy.deepcopy(network).eval()
    headless.set_submodule(name, nn.Identity())
    try:
        with torch.inference_mode():
            logits, features = network(images), headless(images)
            again = layer(features if isinstance(layer, nn.Linear) else features[:, :, None, None]).flatten(1)
        is_linear = bool((again - logits).abs().max() <= ROUNDING * logits.abs().max().clamp_min(1e-6))
    except (RuntimeError, IndexError, AttributeError):  # the shapes do not fit
        is_linear = False
    if not is_linear or layer.bias is None:
        raise MedclsError(
            f"The logits of {type(network).__name__} are not one linear layer with a bias ({name}) on one row of "
            "features an image, so logistic regression on them cannot be put in its place. Choose another model.",
            kind="unsupported_head",
        )
    return headless


@torch.no_grad()
def set_last_layer(network: nn.Module, weights: Tensor, bias: Tensor) -> None:
    """Give the layer that makes the logits other weights `(K, d)` and biases `(K,)`, in place."""
    layer = network.get_submodule(last_layer(network))
    for own, new in ((layer.weight, weights), (layer.bias, bias)):
        if not isinstance(own, Tensor):
            raise TypeError("the last layer has no bias: `features_of` refuses such a network")
        own.copy_(new.reshape(own.shape))
