"""Predicting a folder of images, compared with a plain loop: `python -m benchmarks.inference`.

The plain loop: ImageFolder, contiguous 32-bit numbers, batches of 32. Each variant runs in a separate process, in turn.
The time includes reading, decoding and resizing, but not imports, building and compiling the network. medcls has
scanned the files beforehand (measured in a separate row), and starts from the files or from the cache.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.pieces import PHANTOMS, arguments, preprocessing_at
from benchmarks.results import ratio, report
from medcls import hardware
from medcls.data.module import ImageDataModule, Loading
from medcls.data.sources.folders import from_folders
from medcls.data.sources.scan import ScanOptions, scan_images
from medcls.inference.arithmetic import Arithmetic
from medcls.inference.load import ClassLogits
from medcls.inference.predict import Predictor, batch_size
from medcls.models.mobilenetv3 import mobilenetv3_large

CPU = torch.device("cpu")

WAYS = {
    "plain loop": "",
    "plain loop, two loader processes": "",
    "medcls, from the files": "exact",
    "medcls, from the cache": "exact",
    "medcls, from the cache, bf16": "bf16",
    "medcls, from the cache, bf16 and compiled": "bf16, compiled",
}


def plain_loop(images: Path, size: int, workers: int) -> dict[str, float]:
    """Images/s of the plain loop."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    prepare = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    torch.manual_seed(0)
    network = mobilenetv3_large(2).eval()
    loader = torch.utils.data.DataLoader(ImageFolder(str(images), prepare), batch_size=32, num_workers=workers)
    outputs = []
    with torch.no_grad():
        network(torch.randn(32, 3, size, size))
        start = time.perf_counter()
        for batch, _ in loader:
            outputs.append(network(batch).softmax(1))
    return {"images/s": len(torch.cat(outputs)) / (time.perf_counter() - start)}


def medcls_way(images: Path, size: int, arithmetic: Arithmetic, *, cached: bool) -> dict[str, float]:
    """Images/s of medcls, with the files already scanned."""
    manifest = from_folders(images, phantoms_at=PHANTOMS, strict=False)
    manifest = manifest.with_rows(manifest.rows.assign(split="external"))
    data = ImageDataModule(manifest, preprocessing_at(size), None, Loading(cache=True))
    start = time.perf_counter()
    scan_images(manifest.root, manifest.rows["path"].tolist(), ScanOptions(remember=False))
    scanning = time.perf_counter() - start
    batch = batch_size(CPU, (size, size))
    torch.manual_seed(0)
    network = ClassLogits(mobilenetv3_large(2), 2, None).to(memory_format=torch.channels_last).eval()
    if cached:
        data.rows_of("external", batch_size=batch)
    # Compiles and allocates, with a batch like those that follow, to avoid a recompilation.
    with torch.inference_mode():
        first = (torch.randn(batch, 3, size, size), torch.zeros(batch), torch.zeros(batch))
    predictor = Predictor(network, CPU, arithmetic)
    predictor([first])
    start = time.perf_counter()
    logits, _ = predictor(data.rows_of("external", batch_size=batch))
    return {"images/s": len(logits) / (time.perf_counter() - start), "scan": len(logits) / scanning}


def measure(way: str, images: Path, size: int) -> dict[str, float]:
    """One way, in this process."""
    if way.startswith("plain"):
        return plain_loop(images, size, workers=2 if "two" in way else 0)
    hardware.choose()
    arithmetic = Arithmetic("bf16" if "bf16" in way else "exact", compile="compiled" in way)
    return medcls_way(images, size, arithmetic, cached="cache" in way)


def in_its_own_process(way: str, images: Path, size: int) -> dict[str, float]:
    """The results of one variant in a new interpreter, with an empty cache if it starts from the files."""
    command = [sys.executable, "-m", "benchmarks.inference", "--measure", way]
    command += ["--images", str(images), "--size", str(size)]
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"MEDCLS_CACHE": cache}
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run every way in turn; print and write images/s, and how many times as fast as the plain loop."""
    parser = arguments(__doc__, "inference")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="the compiled network too: a minute more a turn")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.images, given.size)))
        return
    manifest = from_folders(given.images, phantoms_at=PHANTOMS, strict=False)
    ways = [way for way in WAYS if given.compile or "compiled" not in way]
    turns = [{way: in_its_own_process(way, given.images, given.size) for way in ways} for _ in range(given.turns)]
    rows = []
    for way in ways:
        speeds = [turn[way]["images/s"] for turn in turns]
        row = {"what": way, "figure": statistics.median(speeds), "unit": "images/s"}
        if not way.startswith("plain"):
            # The better of the two plain loops, turn by turn.
            plain = [max(turn[name]["images/s"] for name in ways if name.startswith("plain")) for turn in turns]
            row |= {"against": "the better plain loop"} | ratio(list(zip(speeds, plain, strict=True)))
        rows.append(row)
    scanning = statistics.median(turn["medcls, from the files"]["scan"] for turn in turns)
    rows.append({"what": "medcls, scanning the files beforehand", "figure": scanning, "unit": "images/s"})
    conditions = {
        "network": "mobilenetv3_large",
        "images": len(manifest.rows),
        "size": given.size,
        "threads": torch.get_num_threads(),
        "turns": given.turns,
    }
    report("Predicting a folder of images", conditions, rows, given.out)


if __name__ == "__main__":
    main()
