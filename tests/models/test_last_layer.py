"""The first loss of a new network is about that of a constant guess, for every library."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import nn

from medcls.cli.building import build_network
from medcls.cli.shipped import configurations
from medcls.cli.training import choose_preprocessing, make_classifier
from medcls.learning.classifier import Classifier
from medcls.models.zoo import last_layer, start_small

# The largest here is 0.12, of maxima over a map; by the libraries' own draws it is from 0 to 12.
NEAR = 0.2

# Each with the smallest image that it takes.
ZOO = {
    "mobilenetv3": 64,
    "mobilenetv3_small": 64,
    "mobilenetv2": 64,
    "efficientnet_b0": 64,
    "efficientnet_lite0": 64,
    "inception_v3": 80,
    "inception_resnet_v2": 80,
    "torchvision model.name=resnet18": 64,
    "torchvision model.name=densenet121": 64,
    "torchvision model.name=squeezenet1_1": 64,
    "torchvision model.name=mnasnet0_5": 64,
    "torchvision model.name=swin_t": 64,
    "timm model.name=efficientnet_b0": 64,
    "timm model.name=convnext_atto": 64,
    "timm model.name=vit_tiny_patch16_224": 224,
}
LARGE = {
    "torchvision model.name=vgg11": 64,
    "torchvision model.name=vgg11_bn": 64,
    "torchvision model.name=convnext_tiny": 64,
    "torchvision model.name=vit_b_16": 224,
    "torchvision model.name=maxvit_t": 224,
    "timm model.name=mobilenetv4_conv_small": 64,
}


def composed(model: str, *more: str) -> DictConfig:
    with initialize_config_dir(str(configurations() / "conf"), version_base="1.3"):
        return compose("train", [*(f"model={model}").split(), "data.root=/images", *more])


def made(model: str, *more: str, classes: tuple[str, ...] = ("a", "b")) -> Classifier:
    """The classifier of a training, as the command makes it."""
    cfg = composed(model, *more)
    manifest = SimpleNamespace(
        classes=classes,
        positive="b" if len(classes) == 2 else None,
        class_counts=lambda split: [10] * len(classes),
        watermarks=(),
        fingerprint=str,
    )
    torch.manual_seed(0)
    return make_classifier(cfg, manifest, choose_preprocessing(cfg), lambda *_: {"auroc": 0.5}, "a run")[0]


def beyond_a_guess(model: str, size: int, *more: str, classes: tuple[str, ...] = ("a", "b")) -> float:
    """First loss, mean over images and over the labels that they might have, less that of a guess."""
    module = made(model, *more, classes=classes).train()
    images = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(1)) * 4 - 2
    with torch.no_grad():
        return -float(module(images).log_softmax(1).mean()) - math.log(len(classes))


@pytest.mark.parametrize(
    ("model", "size"), [*ZOO.items(), *(pytest.param(*one, marks=pytest.mark.slow) for one in LARGE.items())]
)
def test_the_first_loss_of_a_fresh_network_is_near_that_of_a_guess(model, size):
    assert 0 <= beyond_a_guess(model, size) < NEAR


@pytest.mark.parametrize(
    "more", [("model.head={hidden: 32}",), ("model.head={pooling: max}",), ("loss=binary_cross_entropy",)]
)
def test_also_with_another_head_and_with_a_single_logit(more):
    assert 0 <= beyond_a_guess("efficientnet_b0", 64, *more) < NEAR


def test_also_with_more_classes():
    assert 0 <= beyond_a_guess("timm model.name=efficientnet_b0", 64, classes=tuple("abcdefg")) < NEAR


def test_it_is_the_last_layer_that_was_drawn():
    """The library's own draw of the layer would have cost several times the loss of a guess."""
    for model in ("timm model.name=efficientnet_b0", "torchvision model.name=squeezenet1_1"):
        network = made(model).network
        layer = network.get_submodule(last_layer(network))
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert not layer.bias.any()


@pytest.mark.slow
def test_weights_of_the_same_classes_keep_their_last_layer(tmp_path: Path):
    source = made("mobilenetv3_small").network
    with torch.no_grad():
        source.classifier[3].weight.fill_(0.5)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    more = f"model.weights={tmp_path}/weights.pth"
    assert (made("mobilenetv3_small", more).network.classifier[3].weight == 0.5).all()
    other = made("mobilenetv3_small", more, classes=("a", "b", "c")).network
    assert other.classifier[3].weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert torch.equal(other.stem.conv.weight, source.stem.conv.weight)


class Unnamed(nn.Module):
    """Its logits come from where nobody would look: a parameter of the network itself."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3)
        self.weight = nn.Parameter(torch.ones(8, num_classes))


@pytest.mark.parametrize("make", [Unnamed, lambda classes: nn.Sequential(nn.Linear(4, 8), nn.ReLU())])
def test_a_layer_that_is_not_found_is_left_alone(make: Callable[[int], nn.Module]):
    torch.manual_seed(0)
    network = make(2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert start_small(network, 2) is None
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "size", "built"),
    [
        ("vit_tiny_patch16_224", 64, [64, 64]),
        ("swin_tiny_patch4_window7_224", "[64,96]", [64, 96]),
        ("vit_tiny_patch16_224", 224, None),
        ("resnet10t", 64, None),
    ],
)
def test_networks_that_are_bound_to_a_size_are_built_for_that_of_the_images(name, size, built):
    cfg = composed("timm", f"model.name={name}", f"data.image_size={size}")
    preprocessing = choose_preprocessing(cfg)
    assert cfg.model.network.img_size == built  # as the run's config.yaml and its checkpoint keep it
    network = build_network(OmegaConf.to_container(cfg.model.network, resolve=True) | {"num_classes": 2}, trust=False)
    assert network.eval()(torch.zeros(1, 3, *preprocessing.size)).shape == (1, 2)
