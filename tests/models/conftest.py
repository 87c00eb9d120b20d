"""Shared by the tests of networks: images, and a network whose signal reaches its logits."""

from collections.abc import Callable

import pytest
import torch
from torch import nn


def make_images(count: int, seed: int, channels: int = 3, size: int = 96) -> torch.Tensor:
    """Images that differ in brightness, colour and grain, (count, channels, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    grain = torch.randn(count, channels, size, size, generator=generator)
    brightness = torch.randn(count, channels, 1, 1, generator=generator)
    return grain * torch.rand(count, 1, 1, 1, generator=generator) + brightness


def make_settled(network: nn.Module, channels: int = 3) -> nn.Module:
    """Bring a random network into a state where each layer matters to the logits, as after training.

    Fresh from its initialisation the signal dies or explodes on the way (in eval mode MobileNetV3's logits for any
    two images agree within 1e-8), and a comparison would see nothing.
    """
    generator = torch.Generator().manual_seed(0)
    momenta = {}
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
            momenta[module], module.momentum = module.momentum, 1.0
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, module.in_features**-0.5, generator=generator)
    with torch.no_grad():
        network.train()(make_images(8, 0, channels))
    for module, momentum in momenta.items():
        module.momentum = momentum
    return network.eval()


@pytest.fixture(scope="session")
def random_images() -> Callable[..., torch.Tensor]:
    return make_images


@pytest.fixture(scope="session")
def settled() -> Callable[..., nn.Module]:
    return make_settled
