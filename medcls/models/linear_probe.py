"""The features of a linear probe, and a network with the fitted last layer."""

import copy

import torch
from torch import Tensor, nn

from medcls.errors import MedclsError
from medcls.models.zoo import last_layer

# Largest allowed difference of the logits and the last layer applied to the features, relative to the largest logit.
ROUNDING = 1e-4


def features_of(network: nn.Module, images: Tensor) -> nn.Module:
    """Copy a network without its last layer: its output is the input of that layer.

    Parameters
    ----------
    network : Module
        In eval mode, from `(B, C, H, W)` to logits `(B, K)`.
    images : Tensor
        Sample images, on which it is checked that the logits are the last layer applied to the features.

    Returns
    -------
    Module
        From `(B, C, H, W)` to features `(B, d)`, in eval mode.

    Raises
    ------
    MedclsError
        The network has other operations before or after its last layer.
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
            f"The logits of {type(network).__name__} are not one linear layer with a bias ({name}) applied to one row "
            "of features per image, so logistic regression cannot replace it. Choose another model.",
            kind="unsupported_head",
        )
    return headless


@torch.no_grad()
def set_last_layer(network: nn.Module, weights: Tensor, bias: Tensor) -> None:
    """Set the weights `(K, d)` and biases `(K,)` of the last layer, in place."""
    layer = network.get_submodule(last_layer(network))
    for own, new in ((layer.weight, weights), (layer.bias, bias)):
        if not isinstance(own, Tensor):
            raise TypeError("the last layer has no bias; `features_of` refuses such a network")
        own.copy_(new.reshape(own.shape))
