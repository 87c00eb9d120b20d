"""Every file of conf/model makes a network that runs, with preprocessing for it."""

from pathlib import Path

import hydra
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from medcls.errors import MedclsError

FOLDER = Path(__file__).parents[2] / "conf" / "model"
FILES = sorted(FOLDER.glob("*.yaml"))
NEED_A_NAME = {"torchvision": "resnet18", "timm": "resnet10t"}


def model(file: Path, **network):
    cfg = OmegaConf.create({"model": OmegaConf.load(file)})
    cfg.model.name = NEED_A_NAME.get(file.stem, cfg.model.name)
    cfg.model.network.update(network)
    return cfg.model


def test_the_files_are_those_the_documentation_names():
    assert [file.stem for file in FILES] == [
        "efficientnet_b0", "inception_resnet_v2", "inception_v3", "mobilenetv2",
        "mobilenetv3", "mobilenetv3_small", "timm", "torchvision",
    ]  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_makes_a_network_and_its_preprocessing(file):
    cfg = model(file)
    assert set(cfg) == {"name", "network", "weights", "head", "preprocessing"}
    assert cfg.weights is None
    network = instantiate(cfg.network, num_classes=3).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 96, 96)).shape == (1, 3)
    preprocessing = instantiate(cfg.preprocessing)
    assert preprocessing.channels == 3
    assert preprocessing.resize == "squash"
    assert preprocessing.size == ((299, 299) if "inception" in file.stem else preprocessing.size)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_p24_each_has_the_scaling_of_the_weights_that_default_brings(file):
    from medcls.models.zoo import published

    cfg = model(file)
    network = instantiate(cfg.network, num_classes=2)
    expected = published(*network.published_as).preprocessing
    given = instantiate(cfg.preprocessing)
    assert (given.mean, given.std, given.range) == (expected.mean, expected.std, expected.range)


@pytest.mark.parametrize("stem", ["mobilenetv2", "torchvision", "timm"])
def test_in_chans_reaches_the_preprocessing(stem):
    cfg = model(FOLDER / f"{stem}.yaml", in_chans=1)
    assert instantiate(cfg.preprocessing).channels == 1


@pytest.mark.parametrize("stem", NEED_A_NAME)
def test_a_missing_name_is_a_sentence(stem):
    cfg = OmegaConf.create({"model": OmegaConf.load(FOLDER / f"{stem}.yaml")})
    with pytest.raises(hydra.errors.InstantiationException) as caught:
        instantiate(cfg.model.network, num_classes=2)
    assert isinstance(caught.value.__cause__, MedclsError)
    assert "model.name=" in str(caught.value.__cause__)
