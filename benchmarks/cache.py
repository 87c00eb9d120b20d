"""An epoch of loading: each image from its file against all from the cache. `python -m benchmarks.cache`."""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.results import ratio, report
from medcls.data.module import ImageDataModule, Loading
from medcls.data.sources.folders import from_folders
from medcls.data.sources.phantoms import GROUP_PATTERN, ensure_phantoms
from medcls.data.splits.split import split
from medcls.preprocessing import Preprocessing


def epoch_seconds(data: ImageDataModule) -> float:
    """Wall-clock time of all training batches, not augmented, in this process."""
    loader = data.unaugmented_training()
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start


def main() -> None:
    """Time the two in turn; print and write the medians and the spread of the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/cache.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)  # as in a loader's worker
    with tempfile.TemporaryDirectory() as place:
        os.environ["MEDCLS_CACHE"] = f"{place}/cache"
        root = Path(place) / "phantoms"
        ensure_phantoms(root, given.images)
        manifest = split(from_folders(root, group_pattern=GROUP_PATTERN))
        preprocessing = Preprocessing(size=given.size, mean=(0.5,) * 3, std=(0.5,) * 3)
        files = ImageDataModule(manifest, preprocessing, None)
        cached = ImageDataModule(manifest, preprocessing, None, Loading(cache=True))
        start = time.perf_counter()
        cached.setup("fit")
        filling = time.perf_counter() - start
        epoch_seconds(files), epoch_seconds(cached)  # the first epochs bring the files into memory
        pairs = [(epoch_seconds(files), epoch_seconds(cached)) for _ in range(given.pairs)]
        training = len(manifest.indices("train"))
    report(
        "An epoch of loading",
        {"images": training, "size": given.size, "threads": 1, "pairs": given.pairs},
        [
            {"what": "filling the cache", "figure": filling, "unit": "s"},
            {
                "what": "each image from its file",
                "figure": training / statistics.median(slow for slow, _ in pairs),
                "unit": "images/s",
            },
            {
                "what": "all from the cache",
                "figure": training / statistics.median(fast for _, fast in pairs),
                "unit": "images/s",
                "against": "each image from its file",
                **ratio(pairs),
            },
        ],
        given.out,
    )


if __name__ == "__main__":
    main()
