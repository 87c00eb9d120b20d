"""Frozen phases train the head only, with the same result as running the whole network."""

import dataclasses
import functools
import logging

import lightning
import pytest
import tiny_run
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from refusals import rules
from torch import nn

from medcls.data.module import ImageDataModule, Loading
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split
from medcls.data.transforms import Augmentation
from medcls.learning import losses
from medcls.learning.callbacks import SeedEachEpoch
from medcls.learning.classifier import Classifier
from medcls.learning.features import FrozenFeatures, only_the_head_trains, reason_not_reusable
from medcls.learning.freezing import FreezeSchedule
from medcls.preprocessing import Preprocessing

HEAD_ONLY = [{"epochs": None, "freeze": ["backbone"]}]
THEN_ALL = [{"epochs": 3, "freeze": ["backbone"]}, {"epochs": None, "freeze": []}]
STILL = Augmentation(left_right=0, rotation_degrees=0, smallest_area=1, aspect=0, brightness=0, contrast=0)


class Net(nn.Module):
    """A backbone with batch norm, pooled, and a head with dropout."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        # Even a dropout of 0 draws from the generator.
        drops = [nn.Dropout(dropout)] if dropout else []
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(), *drops)
        self.body = nn.Conv2d(6, 12, 3, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(12, 2))
        self.passes = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.passes += len(images)
        return self.classifier(self.pool(self.body(self.stem(images))))


class Losses(lightning.Callback):
    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.found.append(float(outputs["loss"]))


@pytest.fixture
def manifest(folder):
    return split(from_folders(folder({"a": 30, "b": 30}), positive="a"))


def trained(manifest, tmp_path, *, fast, phases=HEAD_ONLY, epochs=4, network=None, memory=10**9, more=(), **settings):
    """Losses of every step, the classifier, and how many images went through the whole network."""
    preprocessing = Preprocessing(size=24, mean=(0.5,) * 3, std=(0.2,) * 3)
    given = {"augmentation": STILL, "batch_size": 8, "memory_for_images": 10**9} | settings
    data = ImageDataModule(manifest, preprocessing, given.pop("augmentation"), Loading(**given))
    torch.manual_seed(0)
    network = network or Net()
    module = tiny_run.classifier(
        network=network, classes=manifest.classes, loss=losses.cross_entropy([20, 20]),
        optimizer=functools.partial(torch.optim.AdamW, lr=0.05),
    )  # fmt: skip
    seen = Losses()
    features = FrozenFeatures(data.rows_of, data.views, data.without_images, len(manifest), memory)
    callbacks = [SeedEachEpoch(0), FreezeSchedule(phases, "classifier"), *([features] if fast else []), seen, *more]
    trainer = tiny_run.trainer(tmp_path, epochs, callbacks, enable_checkpointing=False)
    trainer.fit(module, datamodule=data)
    return seen.found, module, network.passes


@pytest.mark.parametrize("views", [None, 1])
@pytest.mark.parametrize("phases", [HEAD_ONLY, THEN_ALL])
def test_the_same_losses_and_weights_as_the_long_way(manifest, tmp_path, views, phases):
    settings = {"phases": phases, "views": views} | ({} if views is None else {"augmentation": Augmentation()})
    slow, by_hand, _ = trained(manifest, tmp_path, fast=False, **settings)
    fast, module, _ = trained(manifest, tmp_path, fast=True, **settings)
    assert fast == pytest.approx(slow, rel=1e-4)
    for name, tensor in module.network.state_dict().items():
        assert torch.allclose(tensor, by_hand.network.state_dict()[name], rtol=1e-3, atol=1e-4), name


def test_the_network_below_the_head_runs_once_a_view(manifest, tmp_path):
    training, validation = (len(manifest.indices(name)) for name in ("train", "val"))
    for views in (1, 2):
        passes = trained(manifest, tmp_path, fast=True, epochs=6, views=views, augmentation=Augmentation())[2]
        once = training * views + validation  # validation images have one view
        assert once <= passes <= once + 3 * 4 * (views + 1)  # and a few on which each is tried first
    assert trained(manifest, tmp_path, fast=False, epochs=6)[2] > 6 * (training + validation) - 20


def test_without_dropout_the_losses_are_the_same_and_bit_identical_for_full_batches(manifest, tmp_path):
    def without_dropout():
        torch.manual_seed(1)
        network = Net()
        network.classifier = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        return network

    slow = trained(manifest, tmp_path, fast=False, network=without_dropout())[0]
    assert trained(manifest, tmp_path, fast=True, network=without_dropout())[0] == pytest.approx(slow, rel=1e-5)
    one_batch = {"batch_size": len(manifest)}
    slow = trained(manifest, tmp_path, fast=False, network=without_dropout(), **one_batch)[0]
    assert trained(manifest, tmp_path, fast=True, network=without_dropout(), **one_batch)[0] == slow


def test_several_views_take_turns(manifest, tmp_path):
    settings = {"views": 3, "augmentation": Augmentation(), "epochs": 7}
    slow = trained(manifest, tmp_path, fast=False, **settings)[0]
    assert trained(manifest, tmp_path, fast=True, **settings)[0] == pytest.approx(slow, rel=1e-4)


class Validated(lightning.Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_validation_end(self, trainer, pl_module) -> None:
        self.losses.append(float(trainer.callback_metrics["val/loss"]))


@pytest.mark.parametrize(
    ("phases", "features"),
    [
        (HEAD_ONLY, True),
        ([{"epochs": 1, "freeze": []}, {"epochs": None, "freeze": ["backbone"]}], False),
        ([{"epochs": 1, "freeze": ["backbone"]}, {"epochs": 1, "freeze": []}, HEAD_ONLY[0]], False),
        ([{"epochs": 2, "freeze": ["stem.*"]}, {"epochs": None, "freeze": ["backbone"]}], False),
    ],
)
def test_averaged_weights_are_validated_as_the_long_way_validates_them(manifest, tmp_path, caplog, phases, features):
    """What trained before it was frozen goes on moving in the average, which features of today's weights do not."""
    caplog.set_level(logging.DEBUG, "medcls")
    losses_of = {}
    for fast in (False, True):
        seen = Validated()
        averaging = EMAWeightAveraging(decay=0.9)
        trained(manifest, tmp_path, fast=fast, phases=phases, epochs=3, more=(averaging, seen))
        losses_of[fast] = seen.losses
    assert len(losses_of[True]) == 3 and min(losses_of[False]) > 1e-7
    assert losses_of[True] == pytest.approx(losses_of[False], rel=1e-4)
    assert ("weights_averaged" not in rules(caplog)) == features
    assert ("features_computed" in rules(caplog)) == (features or phases[0]["freeze"] == ["backbone"])


class DropsBeforeItsHead(Net):
    """As torchvision's Inception: the dropout stands outside the head, before the maps become rows."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.drop, self.classifier = nn.Dropout(0.5), nn.Linear(12, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.passes += len(images)
        return self.classifier(self.drop(self.pool(self.body(self.stem(images)))).flatten(1))


def test_a_dropout_right_before_the_head_goes_on_drawing(manifest, tmp_path):
    losses_of, passes = {}, {}
    for fast in (False, True):
        torch.manual_seed(1)
        network = DropsBeforeItsHead()
        losses_of[fast], _, passes[fast] = trained(manifest, tmp_path, fast=fast, network=network)
        assert network.drop.training
    assert losses_of[True] == pytest.approx(losses_of[False], rel=1e-4)
    assert passes[True] < passes[False] / 2
    # It does draw: what it lets through changes from epoch to epoch.
    assert len({round(loss, 6) for loss in losses_of[True]}) == len(losses_of[True])


def test_what_does_not_qualify_runs_in_full_and_logs_why(manifest, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "medcls")
    whole = 4 * sum(len(manifest.indices(name)) for name in ("train", "val"))
    for rule, settings in (
        ("features_cannot_stand_in", {"network": Net(dropout=0.5)}),
        ("features_cannot_stand_in", {"network": DropsBeforeItsHead(dropout=0.5)}),
        ("features_too_large", {"memory": 100}),
        (None, {"augmentation": Augmentation()}),  # each epoch has its own images
    ):
        caplog.clear()
        assert trained(manifest, tmp_path, fast=True, **settings)[2] >= whole
        assert set(rules(caplog)) == ({rule} if rule else set())


@pytest.mark.slow
def test_features_also_serve_if_images_are_read_in_each_epoch(manifest, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "medcls")
    slow = trained(manifest, tmp_path, fast=False, memory_for_images=0)[0]
    for workers in (0, 1):
        fast, _, passes = trained(manifest, tmp_path, fast=True, memory_for_images=0, workers=workers)
        assert fast == pytest.approx(slow, rel=1e-4)
        assert passes < 2 * len(manifest)
        assert ("loaders_go_on" in rules(caplog)) == (workers > 0)


def test_features_of_all_views_and_of_validation_together_are_held_against_the_memory(manifest, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "medcls")
    of_one = 12 * 4  # what enters the head, float32
    training, validation = (len(manifest.indices(name)) * of_one for name in ("train", "val"))
    settings = {"augmentation": Augmentation(), "views": 2, "epochs": 2, "fast": True}
    needed = 2 * (training + validation) + validation
    trained(manifest, tmp_path, memory=needed, **settings)
    assert "features_too_large" not in rules(caplog)
    trained(manifest, tmp_path, memory=needed - 1, **settings)
    assert "features_too_large" in rules(caplog)


def test_p28_frozen_blocks_above_a_training_stem_do_not_qualify(manifest, tmp_path):
    """As in tutorial 004: input and head train, what lies between is frozen, and the stem still gets its gradient."""
    phases = [{"epochs": None, "freeze": ["body.*"]}]
    network = Net()
    before = network.stem[0].weight.detach().clone()
    passes = trained(manifest, tmp_path, fast=True, phases=phases, network=network)[2]
    assert passes > 100
    assert not torch.equal(network.stem[0].weight, before)


def test_a_frozen_prefix_runs_without_a_graph():
    network = Net()
    FreezeSchedule([{"epochs": None, "freeze": ["stem.*"]}], "classifier").apply(network, 0)
    assert network.stem(torch.randn(2, 3, 24, 24)).grad_fn is None
    assert network.body(network.stem(torch.randn(2, 3, 24, 24))).grad_fn is not None


def test_only_the_head_trains_requires_frozen_statistics():
    network = Net()
    schedule = FreezeSchedule(HEAD_ONLY, "classifier")
    assert not only_the_head_trains(network, "classifier")
    schedule.apply(network, 0)
    assert only_the_head_trains(network, "classifier")
    network.stem[1].train()
    assert not only_the_head_trains(network, "classifier")


def test_a_network_with_layers_after_its_head_is_refused():
    class Doubled(Net):
        def forward(self, images):
            return 2 * super().forward(images)

    images = torch.randn(3, 3, 24, 24)
    for network, reusable in ((Net(), True), (Doubled(), False)):
        network.eval()
        module = tiny_run.classifier(network=network)
        assert isinstance(module, Classifier)
        assert (reason_not_reusable(module, images, nn.Identity()) is None) == reusable
    assert dataclasses.is_dataclass(STILL)
