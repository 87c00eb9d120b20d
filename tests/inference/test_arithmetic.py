"""Faster arithmetic compared with the network as it is."""

import pytest
import torch
from refusals import refused
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medcls import hardware
from medcls.inference.arithmetic import EXACT, Arithmetic, folded, ready
from medcls.inference.load import ClassLogits
from medcls.models.mobilenetv3 import mobilenetv3_large, mobilenetv3_small
from medcls.models.zoo import timm_network, torchvision_network


def lived(network: nn.Module, k: int = 3) -> ClassLogits:
    """A network whose batch norms have seen something, so that to leave one out would be noticed."""
    draw = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.copy_(0.3 * torch.randn(module.num_features, generator=draw))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=draw))
            module.weight.data.copy_(0.5 + torch.rand(module.num_features, generator=draw))
            module.bias.data.copy_(0.3 * torch.randn(module.num_features, generator=draw))
    return ClassLogits(network, k, None).to(memory_format=torch.channels_last).eval()


def batch_norms(network: nn.Module) -> int:
    """How many are computed, whatever module does it."""
    with torch.profiler.profile() as profile:
        network(torch.randn(2, 3, 96, 96))
    return sum(event.count for event in profile.key_averages() if event.key == "aten::batch_norm")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "left"),
    [
        (lambda: mobilenetv3_large(3), 0),
        (lambda: torchvision_network("mobilenet_v2", num_classes=3), 0),
        (lambda: torchvision_network("efficientnet_b0", num_classes=3), 0),
        (lambda: torchvision_network("inception_v3", num_classes=3), 0),
        (lambda: torchvision_network("resnet18", num_classes=3), 0),
        (lambda: torchvision_network("densenet121", num_classes=3), 62),  # of 121: half stand before a convolution
        (lambda: timm_network("mobilenetv3_small_050", num_classes=3), 0),  # norm and activation are one module
        (lambda: timm_network("tf_efficientnet_lite0", num_classes=3), 5),  # behind convolutions that pad themselves
    ],
)
@torch.inference_mode()
def test_folded_batch_norms_give_the_same_logits(make, left):
    network = lived(make())
    images = torch.randn(4, 3, 96, 96)
    before, norms = network(images), batch_norms(network)
    fast = folded(network, images[:2])
    assert torch.allclose(fast(images), before, rtol=1e-4, atol=1e-5 * float(before.abs().max()))
    assert batch_norms(fast) == left
    # The network itself is as it was.
    assert batch_norms(network) == norms
    assert torch.equal(network(images), before)


@torch.inference_mode()
def test_what_torch_cannot_follow_stays_as_it_is():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, images):
            images = self.norm(self.conv(images))
            return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))

    network = lived(Branches())
    assert folded(network, torch.randn(2, 3, 8, 8)) is network


@torch.inference_mode()
def test_a_folding_that_would_be_wrong_is_found_out():
    class Shared(nn.Module):
        """One convolution before two batch norms, each with statistics of its own."""

        def __init__(self):
            super().__init__()
            self.conv, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, images):
            return (self.first(self.conv(images)) + 2 * self.second(self.conv(images))).mean((2, 3))

    network = lived(Shared())
    assert folded(network, torch.randn(2, 3, 8, 8)) is network


@torch.inference_mode()
def test_a_network_with_one_logit_still_gives_one_for_each_class():
    network = ClassLogits(mobilenetv3_small(1), 2, 1).eval()
    images = torch.randn(3, 3, 64, 64)
    assert torch.allclose(folded(network, images[:2])(images), network(images), atol=1e-6)


@torch.inference_mode()
def test_16_bits_are_near_and_come_back_as_32():
    network = lived(mobilenetv3_small(3))
    images = torch.randn(8, 3, 64, 64)
    exact, near = (ready(network, images, Arithmetic(precision))(images) for precision in ("exact", "bf16"))
    assert exact.dtype == near.dtype == torch.float32
    assert torch.allclose(exact, network(images), rtol=1e-4, atol=1e-5 * float(exact.abs().max()))
    difference = (near - exact).abs().max() / exact.abs().max()
    assert 1e-5 < difference < 0.1  # something was rounded, and not much


@pytest.mark.slow
@torch.inference_mode()
def test_compiled_logits_are_the_same():
    network = lived(mobilenetv3_small(3))
    images = torch.randn(8, 3, 64, 64)
    assert torch.allclose(ready(network, images, Arithmetic(compile=True))(images), network(images), atol=1e-4)


def test_wrong_settings_are_refused(monkeypatch):
    with refused("bad_value", "precision", "'fp16'"):
        Arithmetic("fp16")
    with refused("bad_value", "compile", "'yes'"):
        Arithmetic(compile="yes")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(hardware.shutil, "which", lambda name: None)
    with refused("no_compiler", "compile=true", "g++"):
        Arithmetic(compile=True)


def test_its_text_names_precision_and_compilation():
    assert EXACT.is_exact and not Arithmetic("bf16").is_exact and not Arithmetic(compile=True).is_exact
    assert str(Arithmetic("bf16", compile=True)) == "bf16, compiled"
