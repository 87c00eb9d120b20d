"""Parts that the benchmarks of training share: images, loaders, classifier and trainer, as in `medcls.train`."""

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import lightning
import torch
from torch import nn
from torch.optim import AdamW

from medcls import hardware
from medcls.data.manifest import Manifest
from medcls.data.module import ImageDataModule, Loading
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import SplitSettings, split
from medcls.data.transforms import Augmentation
from medcls.learning.classifier import Classifier
from medcls.learning.losses import cross_entropy
from medcls.learning.schedulers import Optimization, constant
from medcls.models.mobilenetv3 import mobilenetv3_large
from medcls.preprocessing import Preprocessing

# Phantoms are made there if there are none.
PHANTOMS = Path("data/breast_cancer")
OUT = Path("runs/bench")


def arguments(description: str | None, out: str) -> argparse.ArgumentParser:
    """The command-line arguments that all share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=PHANTOMS, help="a folder with one folder a class")
    parser.add_argument("--positive", help="the positive class, where there are two")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224, help="pixels of a side")
    parser.add_argument("--out", type=Path, default=OUT / f"{out}.json")
    return parser


def read(images: Path, positive: str | None, most: int | None = None) -> Manifest:
    """A split manifest, with at most so many training images."""
    all_images = from_folders(images, positive=positive, phantoms_at=PHANTOMS)
    fraction = 1.0 if most is None else min(1.0, most / (0.64 * len(all_images)))
    return split(all_images, SplitSettings(train_fraction=fraction))


def preprocessing_at(size: int) -> Preprocessing:
    """ImageNet's means and deviations, at some number of pixels."""
    return Preprocessing(size, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def loaders(
    manifest: Manifest, machine: hardware.Hardware, size: int, batch: int, augmentation: Augmentation | None
) -> ImageDataModule:
    """The data module, as the command makes it."""
    return ImageDataModule(
        manifest,
        preprocessing_at(size),
        augmentation,
        Loading(batch_size=batch, workers=machine.workers, memory_for_images=machine.memory_for_images, cache=True),
    )


def classifier_of(
    manifest: Manifest, network: Callable[[int], nn.Module] = mobilenetv3_large, head: str = "classifier"
) -> Classifier:
    """A classifier with AdamW and without metrics, because only training is measured."""
    k = len(manifest.classes)
    torch.manual_seed(0)
    return Classifier(
        network(k),
        manifest.classes,
        cross_entropy(manifest.class_counts("train")),
        Optimization(lambda groups: AdamW(groups, fused=True), constant),
        lambda labels, probabilities: {"n": float(len(labels))},
        positive=None if k > 2 else 0,
        head=head,
        description={},
    )


@contextmanager
def trainer_with(
    callbacks: Sequence[lightning.Callback],
    epochs: int,
    *,
    validate: bool,
    accelerator: str = "cpu",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    batches: int | None = None,
) -> Iterator[lightning.Trainer]:
    """A trainer without output, with a limited number of batches per epoch, or all."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    with tempfile.TemporaryDirectory() as folder:
        yield lightning.Trainer(
            max_epochs=epochs,
            accelerator=accelerator,
            devices=1,
            precision=precision,
            callbacks=list(callbacks),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_train_batches=1.0 if batches is None else batches,
            limit_val_batches=1.0 if validate else 0,
            num_sanity_val_steps=0,
            default_root_dir=folder,
        )


def bare_step(
    batch: int, size: int, memory_format: torch.memory_format = torch.channels_last, classes: int = 2
) -> Callable[[], None]:
    """One training step of MobileNetV3-Large on fixed synthetic images: the upper bound of the speed of training."""
    torch.manual_seed(0)
    network = mobilenetv3_large(classes).to(memory_format=memory_format)
    optimizer = AdamW(network.parameters(), fused=True)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=memory_format)
    labels = torch.randint(0, classes, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step
