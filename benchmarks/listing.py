"""A million images listed and split, none of them opened: `python -m benchmarks.listing`.

The images are hard links to a few small ones, so the disk holds names, not pixels. Each value is measured in a separate
process; listing is timed in turn with a bare walk of the same folders, the fastest that the disk allows.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.results import report

CLASSES = ("benign", "malignant")
SOURCES = 32  # a file takes 65,000 links
SMALL = 5_000  # images a folder


def make_images(root: Path, images: int) -> None:
    """Link `images` names, in folders of `SMALL`, half of them in each class."""
    sources = root.parent / "sources"
    sources.mkdir()
    random = np.random.default_rng(0)
    for number in range(SOURCES):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(sources / f"{number}.png")
    each = images // len(CLASSES)
    for label in CLASSES:
        for number in range(each):
            folder = root / label / f"patient{number // SMALL:03d}"
            if number % SMALL == 0:
                folder.mkdir(parents=True)
            os.link(sources / f"{number % SOURCES}.png", f"{folder}/{number % SMALL:05d}.png")


def walk(root: Path) -> int:
    """How many files lie below a folder: nothing but `os.scandir`."""
    files, waiting = 0, [str(root)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(entry.path)
                else:
                    files += 1
    return files


def most_memory() -> float:
    """The most memory this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def measure_walk(root: Path) -> dict[str, float]:
    """The bare walk, in seconds."""
    start = time.perf_counter()
    walk(root)
    return {"seconds": time.perf_counter() - start}


def measure_listing(root: Path) -> dict[str, float]:
    """`list_images`, in seconds, and how much its table and the making of it add to memory."""
    from medcls.data.sources.folders import list_images

    before, start = most_memory(), time.perf_counter()
    list_images(root)
    return {"seconds": time.perf_counter() - start, "MiB before": before, "MiB": most_memory()}


def measure_rest(root: Path) -> dict[str, float]:
    """Each step from the listing to the split, in seconds, with a counter in place of what the pixels hash to."""
    from medcls.data import manifest
    from medcls.data.sources import folders
    from medcls.data.splits.split import split as splits

    measured = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        measured[f"{name}, s"] = time.perf_counter() - start

    with step("list_images"):
        rows, _ = folders.list_images(root)
    before = most_memory()
    with step("label_map"):
        mapping = manifest.check_label_map({"ill": ["malignant"], "well": ["benign"]}, sorted(set(rows["label"])))
        rows = rows.assign(label=rows["label"].map(mapping))
    with step("check_task"):
        manifest.check_task(list(rows["label"]))
    with step("exclude"):
        rows, _ = manifest.exclude(rows, rows["path"].iloc[:1000].tolist())
    with step("groups_from_paths"):
        rows = rows.assign(group=manifest.groups_from_paths(list(rows["path"]), r"(\w+/patient\d+/\d{4})"))
    with step("content"):
        content = np.array([f"{number:032x}" for number in range(len(rows))], dtype=object)
        rows = rows.assign(split="", content=content, stamp="")[list(manifest.COLUMNS)].reset_index(drop=True)
    with step("check_one_label_per_image"):
        manifest.check_one_label_per_image(root, rows)
    all_images = manifest.Manifest(root, ("ill", "well"), rows, "ill")
    with step("split, grouped"):
        cut = splits.split(all_images)
    with step("split, each image alone"):
        splits.split(all_images.with_rows(rows.assign(group="")))
    with step("split_table"):
        splits.split_table(cut)
    with step("fingerprint"):
        cut.fingerprint()
    return measured | {"MiB after the listing": before, "MiB": most_memory()}


MEASURES: dict[str, Callable[[Path], dict[str, float]]] = {
    "walk": measure_walk,
    "listing": measure_listing,
    "rest": measure_rest,
}


def in_its_own_process(measure: str, root: Path) -> dict[str, float]:
    """The results of one measurement, in a new interpreter."""
    command = [sys.executable, "-m", "benchmarks.listing", "--measure", measure, "--root", str(root)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(root: Path, images: int, pairs: int) -> dict[str, float]:
    """Walk and list in turn; then the rest, once."""
    walk(root)  # so that both find the names in memory
    turns = [(in_its_own_process("walk", root), in_its_own_process("listing", root)) for _ in range(pairs)]
    seconds = statistics.median(listing["seconds"] for _, listing in turns)
    return {
        "bare walk, s": statistics.median(bare["seconds"] for bare, _ in turns),
        "list_images, s": seconds,
        "list_images, files/s": images / seconds,
        "list_images over bare walk, median": statistics.median(b["seconds"] / a["seconds"] for a, b in turns),
        "list_images, MiB added": max(listing["MiB"] - listing["MiB before"] for _, listing in turns),
        "list_images, MiB in all": max(listing["MiB"] for _, listing in turns),
        **{f"rest: {name}": value for name, value in in_its_own_process("rest", root).items()},
    }


def main() -> None:
    """Make the links, measure, print and write the results, and remove the links."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--within", type=Path, help="a folder on the disk to measure; default: the system's own")
    parser.add_argument("--root", type=Path, help="measure this folder of benign/ and malignant/, and make none")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/listing.json"))
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(MEASURES[given.measure](given.root)))
        return
    if given.root:
        images = walk(given.root)
        result = compare(given.root, images, given.pairs)
    else:
        with tempfile.TemporaryDirectory(dir=given.within) as folder:
            images = given.images
            make_images(Path(folder) / "images", images)
            result = compare(Path(folder) / "images", images, given.pairs)
    report(
        "From a folder of names to a split manifest, nothing decoded",
        {"images": images, "pairs": given.pairs},
        [{"what": name, "figure": value} for name, value in result.items()],
        given.out,
    )


if __name__ == "__main__":
    main()
