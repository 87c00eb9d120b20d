"""What a training step waits for on a GPU, seen without one: on tensors that have a device and a shape, and no values.

The backward pass is torch's own, and cannot be run so. Run as a program, told a folder of images: such tensors, of a
device that is not there, left the tests' own process in a state in which it crashed later, collecting garbage.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medcls.data.module import ImageDataModule, Loading
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split
from medcls.data.transforms import Augmentation
from medcls.learning import losses, schedulers
from medcls.learning.classifier import Classifier
from medcls.preprocessing import Preprocessing

GPU = torch.device("cuda")


class Waits(TorchDispatchMode):
    """Notes each operation for which the CPU waits: a copy from or to the GPU that it does not leave alone, a value."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        devices = {leaf.device.type for leaf in tree_leaves((args, outputs)) if isinstance(leaf, Tensor)}
        copies = func.name() in ("aten::_to_copy", "aten::copy_")
        left_alone = (kwargs or {}).get("non_blocking") or (func.name() == "aten::copy_" and True in args[2:])
        if (copies and len(devices) > 1 and not left_alone) or func.name() in (
            "aten::_local_scalar_dense",
            "aten::nonzero",
        ):
            self.seen.append(func.name())
        return outputs


class Network(nn.Module):
    """The least that is one."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv, self.norm, self.classifier = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.norm(self.conv(images)).mean((2, 3)))

    def to(self, *where, **how):
        return self  # torch cannot put parameters without values into another memory format


class Event:
    """Stands for one of CUDA's."""

    def record(self) -> None:
        """As if."""


def waits_of_a_step(images: Path, loss: Callable[..., losses.Loss], weights: str | None) -> list[str]:
    """Batch 2 of an epoch, prepared and trained on."""
    manifest = split(from_folders(images, positive="a"))
    augmentation = Augmentation(up_down=0.5, quarter_turns=0.5, saturation=0.1, hue_degrees=5)
    data = ImageDataModule(manifest, Preprocessing((16, 16), (0.5,) * 3, (0.5,) * 3), augmentation, Loading(cache=True))
    data.setup("fit")
    rows = manifest.indices("train")[:8]
    with FakeTensorMode(allow_non_fake_inputs=True):
        with GPU:
            made = loss([30, 21], class_weights=weights)
            network = Classifier(
                Network(made.outputs(2)),
                manifest.classes,
                made,
                schedulers.Optimization(partial(torch.optim.AdamW, fused=True), schedulers.constant),
                lambda labels, probabilities: {},
                positive=0,
                head="classifier",
                description={},
            )
        data.keep_on(GPU, 1 << 30)
        labels = torch.zeros(8, dtype=torch.int64, device=GPU)
        batch = (torch.empty(8, 0, device=GPU), labels, torch.tensor(rows).to(GPU))
        data.prepare(batch, 0)  # once an epoch it may
        with Waits() as waits:
            prepared = data.prepare(batch, 0)
            network.training_step(prepared, 0)
    if prepared[0].device.type != "cuda":
        raise AssertionError("the images were not on the GPU")
    return waits.seen


def waits_on_purpose() -> list[str]:
    """Two operations that wait, and one that does not."""
    with FakeTensorMode(), Waits() as waits:
        on_gpu = torch.zeros(3, device=GPU)
        on_gpu.cpu()
        torch.tensor([1.0], device=GPU)
        on_gpu.to("cpu", non_blocking=True)
    return waits.seen


def main() -> None:
    """Print what was waited for, by the loss and its weights."""
    torch.cuda.Event = Event
    seen = {"on purpose": waits_on_purpose()}
    for loss in (losses.cross_entropy, losses.binary_cross_entropy, losses.focal):
        for weights in (None, "balanced"):
            seen[f"{loss.__name__}, {weights}"] = waits_of_a_step(Path(sys.argv[1]), loss, weights)
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
