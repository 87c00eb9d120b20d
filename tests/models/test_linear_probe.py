"""A network without its last layer, with another one, and several side by side."""

import pytest
import torch
from refusals import refused
from torch import nn

from medcls.models.linear_probe import features_of, set_last_layer
from medcls.models.mobilenetv3 import mobilenetv3_small
from medcls.models.zoo import replace_head, timm_network, torchvision_network

NETWORKS = {
    "by hand": lambda: mobilenetv3_small(3),
    "torchvision": lambda: torchvision_network("resnet18", 3),
    "timm": lambda: timm_network("tf_efficientnet_lite0", 3),
    "replaced": lambda: replaced(mobilenetv3_small(3)),
}


def replaced(network: nn.Module) -> nn.Module:
    replace_head(network, 3, pooling="max", dropout=0.4, hidden=12)
    return network


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_a_layer_on_the_features_is_the_network_with_that_layer(name):
    network = NETWORKS[name]().eval()
    images = torch.randn(3, 3, 64, 64)
    before = network(images)
    headless = features_of(network, images)
    assert torch.equal(network(images), before)  # it is not changed
    features = headless(images)
    assert features.ndim == 2
    weights, bias = torch.randn(3, features.shape[1]), torch.randn(3)
    set_last_layer(network, weights.double(), bias.double())
    assert torch.allclose(network(images), features @ weights.T + bias, atol=1e-4)


def test_a_network_that_does_more_behind_its_last_layer_is_refused():
    network = torchvision_network("squeezenet1_1", 3).eval()
    with refused("unsupported_head"):
        features_of(network, torch.randn(2, 3, 64, 64))
