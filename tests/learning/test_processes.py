"""Several processes: one loss, one answer, and the training of one process with the same batches."""

import functools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import lightning
import numpy as np
import pytest
import torch
from processes import in_processes
from torch import distributed, nn

from medcls.data.module import ImageDataModule, ImageStore, Loading
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split
from medcls.data.transforms import Augmentation
from medcls.learning import losses, schedulers
from medcls.learning.callbacks import SeedEachEpoch
from medcls.learning.checkpoints import AtomicCheckpointIO
from medcls.learning.classifier import Classifier
from medcls.learning.features import FrozenFeatures
from medcls.learning.freezing import FreezeSchedule
from medcls.learning.processes import (
    SyncBatchNorm,
    all_agree,
    gathered,
    give_to_others,
    number_of_processes,
    over_processes,
    part,
    received,
    strategy,
)
from medcls.models.zoo import timm_network
from medcls.preprocessing import Preprocessing

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


def rank() -> int:
    return distributed.get_rank()


# ---------------------------------------------------------------------- sums and answers


def gradient_of_a_part(images: torch.Tensor, labels: torch.Tensor, weights: tuple[float, ...] | None) -> torch.Tensor:
    """The mean over processes of the gradient of each one's part, of 5 and 2 images."""
    own = slice(0, 5) if rank() == 0 else slice(5, 7)
    layer = made_layer()
    loss = losses.cross_entropy([4, 3], class_weights=weights)
    mean = loss(layer(images[own]), labels[own])
    of_all, factor = over_processes(mean.detach(), loss.total_weight(labels[own]))
    (mean * factor).backward()
    distributed.all_reduce(layer.weight.grad)
    return of_all, layer.weight.grad / number_of_processes()


def made_layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 2)


@pytest.mark.parametrize("weights", [None, (0.2, 3.0)])
def test_unequal_parts_have_the_loss_and_gradient_of_the_batch(weights):
    draw = torch.Generator().manual_seed(1)
    images, labels = torch.randn(7, 6, generator=draw), torch.tensor([0, 1, 0, 0, 1, 0, 1])
    loss, layer = losses.cross_entropy([4, 3], class_weights=weights), made_layer()
    expected = loss(layer(images), labels)
    expected.backward()
    for of_all, gradient in in_processes(gradient_of_a_part, images, labels, weights):
        assert torch.allclose(of_all, expected, rtol=1e-6)
        assert torch.allclose(gradient, layer.weight.grad, rtol=1e-5, atol=1e-7)


def answers() -> tuple[Any, ...]:
    one = rank() == 1
    lost, _ = over_processes(torch.tensor(torch.nan if one else 1.0), torch.tensor(4.0))
    rows = gathered(torch.full((3 if one else 1, 2), rank()))
    agreed = all_agree(True, rows.device), all_agree(not one, rows.device)
    if one:
        given = received()
    else:
        given = {"what": [1, 2]}
        give_to_others(given)
    return bool(torch.isfinite(lost)), rows.tolist(), agreed, given


def test_all_processes_know_the_same():
    first, second = in_processes(answers)
    assert first == second == (False, [[0, 0], [1, 1], [1, 1], [1, 1]], (True, False), {"what": [1, 2]})


def first_ends() -> object:
    if rank() == 0:
        part()
        return "ended"
    return received()


def test_who_waits_for_a_first_process_that_ends_gets_nothing():
    assert in_processes(first_ends) == ["ended", None]


def test_one_process_has_itself_alone():
    loss = torch.tensor(2.0)
    assert over_processes(loss, torch.tensor(4.0)) == (loss, None)
    assert gathered(loss) is loss
    assert all_agree(True, loss.device) and not all_agree(False, loss.device)


# ---------------------------------------------------------------------- batch norm


def test_synchronised_batch_norm_keeps_the_activations_of_timm():
    network = timm_network("test_efficientnet", 2).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = network(images)
        converted = SyncBatchNorm().apply(network)
        assert torch.equal(converted(images), before)
    assert {type(one).__name__ for one in converted.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)} <= {
        "SyncBatchNorm",
        "SyncBatchNormAct",
    }


# ---------------------------------------------------------------------- trainings


class Small(nn.Module):
    """Neither batch norm nor dropout, so that the batch of one process equals its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.blocks = nn.Sequential(nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU())
        self.classifier = nn.Linear(6, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.blocks(self.stem(images)).mean((2, 3)))


class Watch(lightning.Callback):
    """Keeps each epoch's rows, logged values and weights, and the images of the first epoch."""

    def __init__(self) -> None:
        self.seen = SimpleNamespace(rows=[], values=[], weights=[], images={}, with_features=[], training_loss=0.0)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.seen.rows.append([])

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.rows[-1].extend(batch[2].tolist())
        self.seen.with_features.append(pl_module.features is not None)
        if trainer.current_epoch == 0:
            self.seen.images |= dict(zip(batch[2].tolist(), batch[0].clone(), strict=False))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen.values.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        self.seen.weights.append(torch.cat([one.detach().reshape(-1) for one in pl_module.network.parameters()]))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen.training_loss = float(trainer.callback_metrics["train/loss"])


def metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    return {"accuracy": float((probabilities.argmax(1) == labels).mean()), "n": float(len(labels))}


def train(
    images: Path,
    folder: Path,
    *,
    batch_size: int = 8,
    phases: tuple[dict[str, Any], ...] = ({"epochs": None, "freeze": []},),
    class_weights: str | None = None,
    epochs: int = 3,
    ema: bool = False,
    **loading: Any,
) -> SimpleNamespace:
    """Train the small network, in as many processes as are connected."""
    manifest = split(from_folders(images, positive="a"))
    preprocessing = Preprocessing(size=(12, 12), mean=(0.5,) * 3, std=(0.25,) * 3)
    data = ImageDataModule(manifest, preprocessing, Augmentation(), Loading(batch_size=batch_size, seed=4, **loading))
    torch.manual_seed(0)
    module = Classifier(
        Small(),
        manifest.classes,
        losses.cross_entropy(manifest.class_counts("train"), class_weights=class_weights),
        schedulers.Optimization(
            functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9),
            functools.partial(schedulers.plateau, monitor="val/loss", mode="min", factor=0.5, patience=0, floor=0.0),
            {},
        ),
        metrics,
        positive=0,
        head="classifier",
        description={},
    )
    watch, freezing, several = Watch(), FreezeSchedule(phases, head="classifier"), number_of_processes() > 1
    rows_of = functools.partial(data.rows_of, shared=True)
    averaging = [lightning.pytorch.callbacks.EMAWeightAveraging(decay=0.8)] if ema else []
    features = FrozenFeatures(rows_of, data.views, data.without_images, len(manifest), 10**8)
    lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=number_of_processes(),
        strategy=strategy(find_unused=freezing.freezes) if several else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        callbacks=[SeedEachEpoch(5), freezing, features, *averaging, watch],
    ).fit(module, data)
    # After the training this process has all rows again.
    assert torch.cat([rows for _, _, rows in data.rows_of("test")]).tolist() == manifest.indices("test").tolist()
    return watch.seen


THAW = ({"epochs": 1, "freeze": ["backbone"]}, {"epochs": 1, "freeze": []}, {"epochs": None, "freeze": ["stem.*"]})
# 33 rows of training.
SETTINGS: dict[str, dict[str, Any]] = {
    # A last batch of 3, fewer than two for each process.
    "small_last_batch": {"batch_size": 10, "class_weights": "balanced"},
    # A last batch of 5: parts of 3 and 2.
    "thaw": {"batch_size": 14, "class_weights": "balanced", "phases": THAW, "ema": True},
    "three_processes": {"batch_size": 9, "processes": 3, "sampler": "balanced", "epochs": 2},
    # A last image that joins the batch before it.
    "features": {"phases": THAW, "views": 2, "memory_for_images": 10**9},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_processes_train_as_one_does(folder, tmp_path, name):
    settings = dict(SETTINGS[name])
    images, processes = folder({"a": 30, "b": 23}), settings.pop("processes", 2)
    one = train(images, tmp_path, **settings)
    parts = in_processes(functools.partial(train, images, tmp_path, **settings), processes=processes)
    for epoch, rows in enumerate(one.rows):
        # Each image of one process is trained on by the others too, each once, but for those of a last batch that is
        # too small to be shared.
        together = [row for part in parts for row in part.rows[epoch]]
        assert set(together) == set(rows)
        last = len(rows) % settings.get("batch_size", 8)
        repeated = last * (processes - 1) if 1 < last < 2 * processes else 0
        assert len(together) == len(rows) + repeated
        assert max(len(part.rows[epoch]) for part in parts) < len(rows)
    for part_of_it in parts:
        # Validation: all rows, the same values in all processes, and those of one process.
        assert [values["val/n"] for values in part_of_it.values] == [values["val/n"] for values in one.values]
        for epoch, values in enumerate(part_of_it.values):
            assert values == parts[0].values[epoch]
            assert values["val/loss"] == pytest.approx(one.values[epoch]["val/loss"], rel=2e-5)
            assert torch.equal(part_of_it.weights[epoch], parts[0].weights[epoch])
            assert torch.allclose(part_of_it.weights[epoch], one.weights[epoch], rtol=1e-4, atol=1e-5)
        if name != "small_last_batch":
            assert part_of_it.training_loss == pytest.approx(one.training_loss, rel=2e-5)
        # An image is changed in the same way, whichever process has it; its last bits depend on the size of the batch.
        assert all(torch.allclose(image, one.images[row], atol=1e-5) for row, image in part_of_it.images.items())
        assert any(part_of_it.with_features) == any(one.with_features) == (name == "features")
    if name == "thaw":
        first, second, third = parts[0].weights
        backbone = slice(0, nn.Conv2d(3, 4, 3).weight.numel())
        assert torch.equal(second[backbone], third[backbone]) and not torch.equal(first[backbone], second[backbone])


def train_counting(images: Path, folder: Path) -> int:
    """Train, and count the images that this process decodes for the cache."""
    decode, decoded = ImageStore._decoded, []

    def counted(store: ImageStore, row: int) -> Any:
        decoded.append(row)
        return decode(store, row)

    with mock.patch.object(ImageStore, "_decoded", counted):
        train(images, folder, cache=True, epochs=1)
    return len(decoded)


def test_images_are_cached_by_one_process_for_all(folder, tmp_path, own_cache):
    images = folder({"a": 20, "b": 20})
    first, second = in_processes(train_counting, images, tmp_path)
    assert first + second == len(list(images.rglob("*.png")))
    # Both read the test split at the end.
    assert second <= len(list(images.rglob("*.png"))) / 4
