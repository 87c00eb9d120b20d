"""Training on a GPU: medcls end to end against the step alone, a pipeline of timm's, and the roofline.

    python -m benchmarks.gpu

Without CUDA the table says "not measured"; `--device cpu` runs the same code, for smaller sizes.

For each network and batch size three things run in turn, after each epoch but the first, with the same network, loss,
fused AdamW, bf16 autocast, channels_last and, where asked for, the same `torch.compile`:

- medcls end to end: Lightning, all images on the device as uint8, augmented there by the batch;
- the step alone, on one batch of noise on the device: the upper bound of the speed of training;
- timm's pipeline around the same step: its data set and loader (files decoded and augmented one by one in worker
  processes that persist between epochs; pinned, copied and normalised on a separate stream). Batches that are ready
  when its turn begins are discarded.

Only full batches are timed. The share of the roofline is reported for medcls end to end: floating-point operations per
second relative to one large bf16 matrix product, and bytes per second relative to one large copy, both measured in this
run. A step's operations are three times those of the forward pass as counted by torch (whose count of the backward pass
is wrong for depthwise convolutions, by a factor of about the channels): up to a hundredth too many, because the first
layer needs no gradient of its input. A step's bytes are those that each operation of the step alone reads and writes,
without fusion and without AdamW; a compiled network moves fewer, so its share may exceed 100%.
"""

import argparse
import copy
import gc
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from timm.data import ImageDataset, create_loader
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peers import link_training
from benchmarks.pieces import OUT, classifier_of, loaders, read, trainer_with
from benchmarks.results import ratio, report, seconds
from medcls import hardware
from medcls.data.manifest import Manifest
from medcls.data.sources.phantoms import ensure_phantoms
from medcls.data.transforms import Augmentation
from medcls.learning.callbacks import SeedEachEpoch
from medcls.models.mobilenetv3 import mobilenetv3_large
from medcls.models.zoo import head_name, timm_network, torchvision_network

NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "mobilenetv3_large": mobilenetv3_large,
    "efficientnet_b0": lambda classes: torchvision_network("efficientnet_b0", classes),
    "inception_resnet_v2": lambda classes: timm_network("inception_resnet_v2", classes),
}
ALONE, END_TO_END, PIPELINE = "step alone", "medcls end to end", "timm's pipeline"


def settled(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Step:
    """A training step of a network, its batch given.

    Parameters
    ----------
    network : nn.Module
    device : torch.device
    precision : str
        `bf16-mixed` or `32-true`.
    compiled : str
        A mode of `torch.compile`, or `none`.
    """

    def __init__(self, network: nn.Module, device: torch.device, precision: str, compiled: str) -> None:
        self.network = network.to(device, memory_format=torch.channels_last).train()
        self._device, self._mixed = device, precision == "bf16-mixed"
        self._optimizer = AdamW(self.network.parameters(), fused=True)
        compile_in_place(self.network, compiled)

    def gradients(self, images: Tensor, labels: Tensor) -> None:
        """Forward and backward."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed):
            logits = self.network(images.contiguous(memory_format=torch.channels_last))
        nn.functional.cross_entropy(logits.float(), labels).backward()

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """The complete step."""
        self._optimizer.zero_grad()
        self.gradients(images, labels)
        self._optimizer.step()


def compile_in_place(network: nn.Module, compiled: str) -> None:
    """Compile a network, each shape for itself, so that modes with CUDA graphs apply."""
    if compiled != "none":
        network.compile(mode=compiled, dynamic=False)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, each by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204 - as torch calls it
        outputs = func(*args, **(kwargs or {}))
        # A view moves nothing, nor does memory that is only asked for.
        if not func.is_view and not func.name().startswith("aten::empty"):
            touched = torch.utils._pytree.tree_leaves((args, kwargs, outputs))
            self.bytes += sum(leaf.numel() * leaf.element_size() for leaf in touched if isinstance(leaf, Tensor))
        return outputs


def operations(network: nn.Module, size: int) -> int:
    """Floating-point operations of a training step on one image: three times the forward pass's."""
    shape_only = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shape_only(torch.empty(1, 3, size, size, device="meta"))
    return 3 * counter.get_total_flops()


def peaks(device: torch.device, side: int, mib: int) -> tuple[float, float]:
    """Operations/s of a bf16 product of square matrices, bytes/s of a copy: the best of ten each."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.zeros(mib << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def best(work: Callable[[], object]) -> float:
        def timed() -> None:
            work()
            settled(device)

        timed()
        settled(device)
        return min(seconds(timed) for _ in range(10))

    return 2 * side**3 / best(lambda: a @ b), 2 * source.nbytes / best(lambda: target.copy_(source))


class TimmPipeline:
    """timm's data set and loader without an end, around a step.

    Parameters
    ----------
    folder : Path
        One folder a class.
    step : Step
        What its batches go to.
    """

    def __init__(self, folder: Path, step: Step, device: torch.device, batch: int, size: int, workers: int) -> None:
        self._loader = create_loader(
            ImageDataset(str(folder)),
            (3, size, size),
            batch,
            is_training=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            use_multi_epochs_loader=True,
            pin_memory=device.type == "cuda",
            device=device,
        )
        self._batches: Iterator[tuple[Tensor, Tensor]] = itertools.chain.from_iterable(itertools.repeat(self._loader))
        self._step, self._device, self._batch = step, device, batch
        self._waiting = 2 * workers + 2  # a loader's process prepares two ahead; the device is one or two ahead of that
        self._counted = max(2 * workers, 8)

    def seconds_an_image(self) -> float:
        """Of a stretch in which each of its processes makes two batches, at least eight in all."""
        for _ in range(self._waiting):
            next(self._batches)
        settled(self._device)
        start = time.perf_counter()
        for _ in range(self._counted):
            self._step(*next(self._batches))
        settled(self._device)
        return (time.perf_counter() - start) / (self._counted * self._batch)


class InTurn(lightning.Callback):
    """Times each epoch's training but the first, and after it the others; all in seconds an image."""

    def __init__(self, device: torch.device, images: int, others: dict[str, Callable[[], float]]) -> None:
        self._device, self._images, self._others, self._start = device, images, others, 0.0
        self.times: dict[str, list[float]] = {name: [] for name in (END_TO_END, *others)}

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Keep the images where a GPU would have them; there, the data module has done so."""
        if self._device.type == "cpu":
            trainer.datamodule.keep_on(self._device, memory=1 << 40)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock."""
        settled(self._device)
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:  # noqa: ANN001
        """After the last batch, stop it; then the others."""
        if batch_idx + 1 < trainer.num_training_batches:
            return
        settled(self._device)
        end_to_end = (time.perf_counter() - self._start) / self._images
        others = {name: other() for name, other in self._others.items()}
        if trainer.current_epoch:
            for name, time_taken in {END_TO_END: end_to_end, **others}.items():
                self.times[name].append(time_taken)


def measure(
    given: argparse.Namespace, manifest: Manifest, folder: Path, name: str, batch: int, compiled: str
) -> tuple[dict[str, list[float]], float, float]:
    """One network at one batch size.

    Returns
    -------
    times, operations, bytes
        Seconds an image of each way; operations and bytes of a step on one image.
    """
    device, classes = torch.device(given.device), len(manifest.classes)
    torch.manual_seed(0)
    network = NETWORKS[name](classes)
    flops = operations(network, given.size)
    # Each has its own, so that none finds another's memory, graphs or statistics.
    step = Step(network, device, given.precision, "none")
    images = torch.randn(batch, 3, given.size, given.size, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(0, classes, (batch,), device=device)
    with Traffic() as traffic:
        step.gradients(images, labels)
    compile_in_place(step.network, compiled)
    steps = len(manifest.indices("train")) // batch

    def alone() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            step(images, labels)
        settled(device)
        return (time.perf_counter() - start) / (steps * batch)

    pipeline = TimmPipeline(
        folder,
        Step(NETWORKS[name](classes), device, given.precision, compiled),
        device,
        batch,
        given.size,
        given.workers,
    )
    timed = InTurn(device, steps * batch, {ALONE: alone, PIPELINE: pipeline.seconds_an_image})
    classifier = classifier_of(manifest, NETWORKS[name], head_name(network))
    compile_in_place(classifier.network, compiled)
    data = loaders(manifest, hardware.choose(), given.size, batch, Augmentation())
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    with trainer_with(
        [SeedEachEpoch(0), timed],
        given.epochs,
        validate=False,
        accelerator=accelerator,
        precision=given.precision,
        batches=steps,
    ) as trainer:
        trainer.fit(classifier, datamodule=data)
    return timed.times, flops, traffic.bytes / batch


def rows_of(
    times: dict[str, list[float]], flops: float, moved: float, peak_flops: float, peak_bytes: float
) -> list[dict[str, Any]]:
    """The table of one case; peaks are in operations/s and bytes/s."""

    def images_per_second(name: str) -> dict[str, Any]:
        return {"what": name, "figure": 1 / statistics.median(times[name]), "unit": "images/s"}

    def against(name: str) -> dict[str, Any]:
        return {"against": name, **ratio(list(zip(times[name], times[END_TO_END], strict=True)))}

    end_to_end = statistics.median(times[END_TO_END])
    return [
        images_per_second(ALONE),
        images_per_second(PIPELINE),
        {**images_per_second(END_TO_END), **against(ALONE)},
        {"what": END_TO_END, **against(PIPELINE)},
        {
            "what": f"{END_TO_END}: operations/s",
            "figure": 100 * flops / end_to_end / peak_flops,
            "unit": "% of the product's",
        },
        {"what": f"{END_TO_END}: bytes/s", "figure": 100 * moved / end_to_end / peak_bytes, "unit": "% of the copy's"},
    ]


def arguments() -> argparse.ArgumentParser:
    """The command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--images", type=Path, help="a folder with one folder a class; phantoms without")
    parser.add_argument("--positive", help="the positive class, where there are two")
    parser.add_argument("--count", type=int, default=12_800, help="phantoms, of which 64%% train")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[32, 64, 128, 256, 512, 1024])
    parser.add_argument(
        "--compile",
        nargs="+",
        choices=["none", "default", "reduce-overhead", "max-autotune"],
        default=["none"],
        help="modes of torch.compile, one after another; reduce-overhead uses CUDA graphs",
    )
    parser.add_argument("--precision", choices=["bf16-mixed", "32-true"], default="bf16-mixed")
    parser.add_argument("--size", type=int, default=224, help="pixels of a side")
    parser.add_argument("--epochs", type=int, default=4, help="the first is not counted")
    parser.add_argument("--workers", type=int, default=16, help="loader processes of timm's pipeline")
    parser.add_argument("--matmul", type=int, default=8192, help="side of the matrices that give the peak")
    parser.add_argument("--copy-mib", type=int, default=4096, help="size of the copy that gives the peak")
    parser.add_argument("--out", type=Path, default=OUT / "gpu.json")
    return parser


def main() -> None:
    """Measure each case; print and write the table."""
    parser = arguments()
    given = parser.parse_args()
    if given.epochs < 2:
        parser.error("--epochs: at least 2, as the first is not counted")
    cases = list(itertools.product(given.networks, given.batches, given.compile))
    conditions: dict[str, Any] = {"size": given.size, "precision": given.precision, "epochs": given.epochs - 1}
    if given.device == "cuda" and not torch.cuda.is_available():
        rows = [
            {"network": name, "batch": batch, "compile": compiled, "figure": "not measured: no CUDA device"}
            for name, batch, compiled in cases
        ]
        report("Training on a GPU", conditions, rows, given.out)
        return
    device = torch.device(given.device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # for all three alike
    peak_flops, peak_bytes = peaks(device, given.matmul, given.copy_mib)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        images = given.images
        if images is None:
            images = Path(place) / "phantoms"
            ensure_phantoms(images, given.count)
        manifest = read(images, given.positive)
        training = len(manifest.indices("train"))
        link_training(manifest, Path(place) / "train")
        for name, batch, compiled in cases:
            case = {"network": name, "batch": batch, "compile": compiled}
            if training < 2 * batch:
                rows.append({**case, "note": f"not measured: {training} training images are less than two batches"})
                continue
            try:
                measured = measure(given, manifest, Path(place) / "train", name, batch, compiled)
                rows += [{**case, **row} for row in rows_of(*measured, peak_flops, peak_bytes)]
            except torch.OutOfMemoryError:
                rows.append({**case, "note": "out of memory"})
            gc.collect()
            if compiled != "none":
                torch.compiler.reset()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    conditions |= {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "images": training,
        "workers of timm's pipeline": given.workers,
        "peak": f"{peak_flops / 1e12:.2f} TFLOP/s, {peak_bytes / 1e9:.1f} GB/s",
    }
    report("Training on a GPU" if device.type == "cuda" else "Training, as on a GPU", conditions, rows, given.out)


if __name__ == "__main__":
    main()
