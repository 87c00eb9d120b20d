"""Settings of a probe: its images, its folds, and its frozen networks."""

import dataclasses

import numpy as np
import pytest
import torch
from composed_settings import typed_settings
from made_manifests import manifest_of
from made_sets import class_folders
from omegaconf import OmegaConf
from refusals import logged, refused
from torch import nn

from medcls.cli import probing
from medcls.data.splits.split import SplitSettings, set_test_apart, split
from medcls.models.weights import load_weights

TINY = ("model=timm", "model.name=test_efficientnet", "data.image_size=32", "data.root=/images")


@pytest.mark.parametrize(
    ("typed", "kind", "names"),
    [
        (("data.val_fraction=0.1", "data.fold=1"), "idle_setting", ("data.val_fraction, data.fold",)),
        (("data/augmentation=xray",), "idle_setting", ("data.augmentation",)),
        (("data.folds=2",), "bad_value", ("data.folds", "2")),
        (("repeats=0",), "bad_value", ("repeats",)),
        (("data.copies=keep",), "bad_value", ("data.copies",)),
    ],
)
def test_a_wrong_or_idle_setting_is_refused(typed, kind, names):
    with typed_settings("probe", "data.root=/images", *typed) as cfg, refused(kind, *names):
        probing.check_settings(cfg)


def test_settings_of_a_probe_pass():
    with typed_settings("probe", "data.root=/images", "data.folds=3", "repeats=2", "data.copies=error") as cfg:
        probing.check_settings(cfg)


def test_a_given_test_split_is_set_apart(tmp_path):
    root = class_folders(
        tmp_path / "images", {"train/a": 4, "train/b": 4, "val/a": 2, "val/b": 2, "test/a": 3, "test/b": 3}
    )
    with typed_settings("probe", f"data.root={root}", "positive_class=a") as cfg:
        images, manifest = probing.read_images(cfg)
        assert len(images) == 18 and set(images.rows["split"]) == {""}
        assert (manifest.class_counts("train"), manifest.class_counts("test")) == ((6, 6), (3, 3))
        cfg.data.pool_splits = True
        assert probing.read_images(cfg)[1].class_counts("train") == (9, 9)


def cut(manifest, **settings) -> np.ndarray:
    given = {"data": {"folds": settings.pop("folds", None)}, "repeats": None, "seed": 0} | settings
    return probing.cut_folds(OmegaConf.create(given), manifest)


def test_folds_are_those_of_trainings_with_the_same_seed_and_keep_groups_together():
    manifest = manifest_of(["a", "b", "b"] * 20, [f"p{number // 2}" for number in range(60)])
    apart = set_test_apart(manifest)
    folds = cut(apart, folds=3, repeats=1, seed=4)[0]
    for fold in range(3):
        rows = split(manifest, SplitSettings(folds=3, fold=fold, seed=4, val_fraction=0.3)).rows
        assert ((rows["split"] == "test").to_numpy() == (folds == fold)).all()
    for repetition in cut(apart, folds=3, repeats=3):
        assert (repetition[::2] == repetition[1::2]).all()


def test_small_sets_are_cut_more_often_and_each_time_otherwise():
    small = set_test_apart(manifest_of(["a", "b"] * 30))
    folds = cut(small)
    assert folds.shape == (5, 60) and set(folds[0]) == set(range(5))
    assert len({tuple(one) for one in folds}) == 5
    large = set_test_apart(manifest_of(["a", "b"] * 1500))
    assert cut(large).shape == (1, 3000) and cut(large, repeats=2, folds=4).shape == (2, 3000)
    with refused("too_few_images", "data.folds=40", " 30 "):
        cut(small, folds=40)


def test_the_network_has_the_weights_that_come_with_its_package_unless_others_are_typed():
    for typed, weights in (
        ((), "default"),
        (("model.weights=null",), None),
        (("model.weights=/w.pth",), "/w.pth"),
        (TINY[:2], None),
    ):
        with typed_settings("probe", "data.root=/images", *typed) as cfg:
            (chosen,) = probing.choose_networks(cfg)
            assert chosen.model.weights == weights


def test_several_networks_have_a_configuration_each_with_what_was_typed(finished):
    typed = ("data.root=/images", f"models=[efficientnet_lite0,'{finished}']", "model.network.in_chans=1")
    with typed_settings("probe", *typed) as cfg:
        first, second = probing.choose_networks(cfg)
    assert (first.model.name, first.model.weights, first.model.network.in_chans) == (
        "tf_efficientnet_lite0",
        "default",
        1,
    )
    assert (second.model.name, second.model.weights) == ("test_efficientnet", str(finished))
    assert first.models is second.models is None


@pytest.mark.parametrize(
    ("typed", "kind", "names"),
    [
        (("models=[mobilenetv3_smal]",), "unknown_network", ("'mobilenetv3_smal'", "mean mobilenetv3_small")),
        (("models=[mobilenetv2,mobilenetv2]",), "twice", ("mobilenetv2",)),
        (("models=[]",), "bad_value", ("[]",)),
        (("models=[mobilenetv2]", "model=mobilenetv3"), "conflicting_settings", ("models", "model")),
    ],
)
def test_networks_are_named_and_each_once(typed, kind, names):
    with typed_settings("probe", "data.root=/images", *typed) as cfg, refused(kind, *names):
        probing.choose_networks(cfg)


def test_only_the_last_layer_of_a_probe_is_not_frozen():
    manifest = manifest_of(["a", "b"] * 3)
    with typed_settings("probe", *TINY) as cfg:
        probed = probing.build_networks(probing.choose_networks(cfg), manifest)
    learned = [name for name, parameter in probed.network.named_parameters() if parameter.requires_grad]
    assert learned == ["classifier.weight", "classifier.bias"]
    assert probed.preprocessing.size == (32, 32) and probed.account.learned_from == ()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda parts: parts[1].model.update(head={"pooling": "max"}), ("model.head",)),
        (lambda parts: parts[0].model.preprocessing.update(standardise=True), ("standardise",)),
    ],
)
def test_networks_that_cannot_be_joined_are_refused(change, names):
    parts = []
    for _ in range(2):
        with typed_settings("probe", *TINY) as cfg:
            parts.append(OmegaConf.create(OmegaConf.to_container(cfg)))
    change(parts)
    with refused("conflicting_settings", *names):
        probing.build_networks(parts, manifest_of(["a", "b"] * 3))


class Small(nn.Module):
    """A convolution, its batch norm, and the last layer."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.convolution, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.convolution(images)).mean((2, 3)))


def test_features_of_random_weights_are_watermarked(tmp_path, caplog):
    network, manifest = Small(), manifest_of(["a", "b"])
    random = load_weights(network, None)
    norm = [f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    assert sorted(probing.random_tensors(random, network)) == sorted(["convolution.weight", "convolution.bias", *norm])
    probed = probing.Probed(network, OmegaConf.create(), random, None)
    (watermark,) = probing.with_watermark_of_random(manifest, probed).watermarks
    assert watermark.startswith("RANDOM FEATURES") and logged(caplog, "random_features")
    torch.save(Small(5).state_dict(), tmp_path / "weights.pth")
    loaded = load_weights(network, tmp_path / "weights.pth", classes=("a", "b"))
    probed = dataclasses.replace(probed, account=loaded)
    assert probing.random_tensors(loaded, network) == [], "the last layer is fitted by the probe"
    assert probing.with_watermark_of_random(manifest, probed) is manifest
