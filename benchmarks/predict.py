"""`medcls.predict` on a folder of images, compared with a plain loop: `python -m benchmarks.predict --images FOLDER`.

The plain loop: one image after the other by Pillow, batches of 32, the network as torch runs it, contiguous 32-bit
numbers. Each method runs in a separate process, in turn, on the same files, which the system has read before. The time
includes reading, decoding, resizing, looking up the images of the training and writing the table, but not imports and
building the network.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.pieces import arguments, preprocessing_at
from benchmarks.results import ratio, report
from medcls.cli.trained_models import choose_work
from medcls.data.sources.named_images import named_images
from medcls.inference.load import ClassLogits
from medcls.inference.model import Model, ModelDescription
from medcls.inference.network_scores import NetworkScores
from medcls.inference.stream import predict_files
from medcls.models.mobilenetv3 import mobilenetv3_large
from medcls.workflow.prediction_files import PredictionFile, row_format

WAYS = ("plain loop", "medcls.predict")

# No image has this content: each is looked up, as in a run of so many images.
KNOWN = {bytes([*number.to_bytes(4), *bytes(12)]): "train" for number in range(1000)}


def measured(work: Callable[[], int]) -> dict[str, float]:
    """Images/s, and milliseconds of processor time an image."""
    start, busy = time.perf_counter(), time.process_time()
    images = work()
    return {
        "images/s": images / (time.perf_counter() - start),
        "ms of CPU": 1000 * (time.process_time() - busy) / images,
    }


def plain_loop(files: Sequence[str], size: int) -> dict[str, float]:
    """The loop that a script would have."""
    torch.manual_seed(0)
    network = mobilenetv3_large(2).eval()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def prepared(file: str) -> torch.Tensor:
        with Image.open(file) as image:
            pixels = np.array(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
        return (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 - mean) / std

    def loop() -> int:
        rows = []
        for first in range(0, len(files), 32):
            batch = torch.stack([prepared(file) for file in files[first : first + 32]])
            rows += network(batch).softmax(1).tolist()
        return len(rows)

    with torch.inference_mode():
        network(torch.randn(32, 3, size, size))
        return measured(loop)


def medcls_predict(files: Sequence[str], size: int) -> dict[str, float]:
    """The work of the command, without its start."""
    work = choose_work(["run"], None, keep_memory=True)
    torch.manual_seed(0)
    network = ClassLogits(mobilenetv3_large(2), 2, 0).to(memory_format=torch.channels_last).eval()
    description = ModelDescription("benchmark", ("a", "b"), "a", preprocessing_at(size), None, (), "0" * 16)
    scores = NetworkScores(network, description.preprocessing, torch.device("cpu"))
    model = Model(description, scores, batch_size=scores.batch_size)
    model.judge_pixels([np.zeros((size, size, 3), np.uint8)] * 32)

    def command() -> int:
        form = row_format("csv", model.classes, model.checkpoint, ())
        with tempfile.TemporaryDirectory() as folder, PredictionFile(Path(folder, "out.csv"), {}, form) as file:
            batch_size = work.batch_size(model.batch_size, len(files))
            for rows in predict_files(model, ((one, one) for one in files), work.threads, KNOWN, batch_size):
                file.append(rows)
            file.finish()
            return file.done

    return measured(command)


def in_its_own_process(way: str, images: Path, size: int, most: int) -> dict[str, float]:
    """One way in a new interpreter, with all cores."""
    command = [sys.executable, "-m", "benchmarks.predict", "--measure", way]
    command += ["--images", str(images), "--size", str(size), "--most", str(most)]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def files_of(images: Path, most: int) -> list[str]:
    """At most so many image files, evenly from all of a folder."""
    files = [file for _, file in named_images([str(images)])]
    return [files[k] for k in np.linspace(0, len(files) - 1, min(most, len(files))).astype(int)]


def main() -> None:
    """Run both in turn; print and write images/s, and how many times as fast as the plain loop."""
    parser = arguments(__doc__, "predict")
    parser.add_argument("--most", type=int, default=2000, help="images")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    files = files_of(given.images, given.most)
    if given.measure:
        way = {"plain loop": plain_loop, "medcls.predict": medcls_predict}[given.measure]
        print(json.dumps(way(files, given.size)))
        return
    for file in files:  # into the system's memory
        Path(file).read_bytes()
    turns = [
        {way: in_its_own_process(way, given.images, given.size, given.most) for way in WAYS} for _ in range(given.turns)
    ]
    rows = []
    for way in WAYS:
        speeds = [turn[way]["images/s"] for turn in turns]
        row = {"what": way, "figure": statistics.median(speeds), "unit": "images/s"}
        if way != "plain loop":
            plain = [turn["plain loop"]["images/s"] for turn in turns]
            row |= {"against": "the plain loop"} | ratio(list(zip(speeds, plain, strict=True)))
        rows.append(row)
    rows += [
        {"what": f"{way}, processor time", "figure": statistics.median(turn[way]["ms of CPU"] for turn in turns),
         "unit": "ms an image"}
        for way in WAYS
    ]  # fmt: skip
    conditions = {
        "network": "mobilenetv3_large",
        "images": len(files),
        "size": given.size,
        "cores": len(os.sched_getaffinity(0)),
        "turns": given.turns,
    }
    report("medcls.predict and a plain loop", conditions, rows, given.out)


if __name__ == "__main__":
    main()
