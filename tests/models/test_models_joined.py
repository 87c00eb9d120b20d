"""Several networks with one linear layer on the features of all."""

import torch
from refusals import refused
from torch import nn

from medcls.models.joined import JoinedNetworks
from medcls.models.linear_probe import features_of
from medcls.models.mobilenetv3 import mobilenetv3_small
from medcls.models.zoo import last_layer, timm_network, torchvision_network


def parts() -> list[nn.Module]:
    return [mobilenetv3_small(3).eval(), timm_network("tf_efficientnet_lite0", 3).eval()]


FACTORS, OFFSETS = [[1.0] * 3, [0.4] * 3], [[0.0] * 3, [-0.2] * 3]


@torch.no_grad()
def test_joined_networks_see_what_each_would_see_alone():
    first, second = parts()
    images = torch.rand(2, 3, 64, 64)
    scaled = [(images - 0.4) / 0.2, (images - 0.5) / 0.5]
    alone = torch.cat([features_of(one, its)(its) for one, its in zip((first, second), scaled, strict=True)], dim=1)
    joined = JoinedNetworks([first, second], 2, FACTORS, OFFSETS).eval()
    assert last_layer(joined) == "head" and joined.head.in_features == alone.shape[1]
    assert torch.allclose(features_of(joined, scaled[0])(scaled[0]), alone, atol=1e-4)
    # Nothing but weights is saved, and a network built again takes them.
    assert not any(name.startswith(("factors", "offsets")) for name in joined.state_dict())
    again = JoinedNetworks(parts(), 2, FACTORS, OFFSETS)
    again.load_state_dict(joined.state_dict())
    assert torch.equal(again.eval()(scaled[0]), joined(scaled[0]))


@torch.no_grad()
def test_one_network_may_be_joined_and_loses_its_last_layer_in_place():
    (part,) = parts()[:1]
    joined = JoinedNetworks([part], 5, FACTORS[:1], OFFSETS[:1]).eval()
    images = torch.rand(3, 3, 32, 32)
    assert joined(images).shape == (3, 5)
    assert torch.allclose(joined(images), joined.head(part(images)), atol=1e-6)


def test_a_network_whose_last_layer_is_a_convolution_is_not_joined():
    with refused("unsupported_head", "SqueezeNet"):
        JoinedNetworks([torchvision_network("squeezenet1_1", 3)], 2, FACTORS[:1], OFFSETS[:1])
