"""Every file of conf/model builds a network that runs, with its preprocessing."""

import logging
from pathlib import Path

import hydra
import pytest
import torch
from entry_points import FAST, run_main
from hydra.utils import instantiate
from omegaconf import OmegaConf
from refusals import check, rules

from medcls import train
from medcls.cli.training import choose_preprocessing

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
        "efficientnet_b0", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "inception_resnet_v2",
        "inception_v3", "mobilenetv2", "mobilenetv3", "mobilenetv3_small", "timm", "torchvision",
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
def test_p24_each_has_the_scaling_of_its_default_weights(file):
    from medcls.models.zoo import published

    cfg = model(file)
    network = instantiate(cfg.network, num_classes=2)
    expected = published(*network.published_as).preprocessing
    given = instantiate(cfg.preprocessing)
    assert (given.mean, given.std, given.range) == (expected.mean, expected.std, expected.range)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_one_grey_channel_takes_one_setting_and_logs_the_averages(file, caplog):
    caplog.set_level(logging.INFO, "medcls")
    cfg = model(file, in_chans=1)
    of_data = {"image_size": None, "resize": None, "bits": None, "window": None, "frame": None}
    given = choose_preprocessing(OmegaConf.create({"model": cfg, "data": of_data}))
    colour = instantiate(model(file).preprocessing)
    assert given.mean == pytest.approx((sum(colour.mean) / 3,), abs=1e-6)
    assert given.std == pytest.approx((sum(colour.std) / 3,), abs=1e-6)
    assert rules(caplog) == ["grey_averages"]
    with torch.no_grad():
        assert instantiate(cfg.network, num_classes=2).eval()(torch.zeros(1, 1, 96, 96)).shape == (1, 2)


def test_a_grey_mean_of_ones_own_is_kept(caplog):
    caplog.set_level(logging.INFO, "medcls")
    cfg = model(FOLDER / "mobilenetv3_small.yaml", in_chans=1)
    cfg.preprocessing.update(mean=[0.3], std=[0.1])
    of_data = {"image_size": None, "resize": None, "bits": None, "window": None, "frame": None}
    given = choose_preprocessing(OmegaConf.create({"model": cfg, "data": of_data}))
    assert (given.mean, given.std) == ((0.3,), (0.1,))
    assert rules(caplog) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_can_have_images_standardised_by_themselves(file, caplog):
    """The chest X-ray tutorial's input: one grey channel of 300 pixels, standardised within the model."""
    caplog.set_level(logging.INFO, "medcls")
    cfg = model(file, in_chans=1)
    assert cfg.preprocessing.standardise is False
    cfg.preprocessing.standardise = True
    of_data = {"image_size": 300, "resize": None, "bits": None, "window": None, "frame": None}
    given = choose_preprocessing(OmegaConf.create({"model": cfg, "data": of_data}))
    assert given.standardise and (given.size, given.mean, given.std) == ((300, 300), (0.0,), (1.0,))
    assert rules(caplog) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [f.stem for f in FILES])
def test_one_grey_channel_trains_to_the_report(name, folder, tmp_path):
    named = [f"model.name={NEED_A_NAME[name]}"] if name in NEED_A_NAME else []
    run_main(
        train.main, *FAST[2:], f"model={name}", *named, "model.network.in_chans=1", "data.image_size=80",
        f"data.root={folder({'a': 20, 'b': 20})}", "positive_class=a", "trainer.max_epochs=1",
        f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize("stem", NEED_A_NAME)
def test_a_missing_name_is_refused(stem):
    cfg = OmegaConf.create({"model": OmegaConf.load(FOLDER / f"{stem}.yaml")})
    with pytest.raises(hydra.errors.InstantiationException) as caught:
        instantiate(cfg.model.network, num_classes=2)
    check(caught.value.__cause__, "missing_setting", "model.name=")
