"""Near duplicates among 10,000 and 100,000 hashes: time, memory, recall. `python -m benchmarks.duplicates`.

Images of one kind are composed alike, so their hashes are close to one another: the number of candidates grows with the
square of the number of images, with a small factor. A million hashes like these take minutes.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from medcls.data.splits.near_duplicates import DETAIL_DISTANCE, DHASH_DISTANCE, PHASH_DISTANCE, near_pairs

PLANTED = 0.01  # share of pictures that are near copies of another


def scan_like_real(n: int, seed: int = 0) -> tuple[pd.DataFrame, set[tuple[str, str]]]:
    """Hashes of `n` images of one kind, some of them near duplicates.

    All are drawn around one composition: each bit of the 64-bit hashes is set with a chance of its own, from nearly
    never to nearly always, so that their bands collide as chest X-rays' do, many times as often as fair coins.

    Returns
    -------
    scan, planted
        The columns of a scan that `near_pairs` uses; and the pairs of paths that it must find.
    """
    draw = np.random.default_rng(seed)
    bits = np.concatenate(
        [draw.random((n, 64)) < draw.beta(1.1, 1.1, 64), draw.random((n, 64)) < draw.beta(1.1, 1.1, 64)], axis=1
    )
    bits = np.concatenate([bits, draw.random((n, 256)) < 0.5], axis=1)
    near_duplicates = draw.permutation(n)[: 2 * round(n * PLANTED)].reshape(-1, 2)
    for original, duplicate in near_duplicates:
        bits[duplicate] = bits[original]
        for start, width, most in ((0, 64, PHASH_DISTANCE), (64, 64, DHASH_DISTANCE), (128, 256, DETAIL_DISTANCE)):
            changed = start + draw.permutation(width)[: draw.integers(most + 1)]
            bits[duplicate, changed] ^= True
    words = np.packbits(bits, axis=1).view(">u8").astype(np.uint64)
    paths = [f"{k:07d}.png" for k in range(n)]
    scan = pd.DataFrame(
        {
            "content": paths,
            "contrast": 0.2,
            "phash": words[:, 0],
            "dhash": words[:, 1],
            "detail": [row.tobytes().hex() for row in np.packbits(bits[:, 128:], axis=1)],
        },
        index=pd.Index(paths, name="path"),
    )
    return scan, {(paths[min(pair)], paths[max(pair)]) for pair in near_duplicates}


def measure(n: int) -> dict[str, float]:
    """One search, in this process."""
    scan, planted = scan_like_real(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, worked = time.perf_counter(), time.process_time()
    pairs = near_pairs(scan)
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    found = set(zip(pairs["first"], pairs["second"], strict=True))
    return {
        "hashes": n,
        "seconds": seconds,
        "CPU seconds": worked,
        "planted": len(planted),
        "planted, found": len(planted & found),
        "pairs": len(found),
        "peak RSS before, MiB": before / 1024,
        "peak RSS, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Measure each size in a separate process, to measure its peak memory; print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hashes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--out", type=Path, default=Path("runs/bench/duplicates.json"))
    given = parser.parse_args()
    if len(given.hashes) == 1:
        results = [measure(given.hashes[0])]
        print(json.dumps(results[0]))
    else:
        results = []
        for n in given.hashes:
            command = [sys.executable, "-m", "benchmarks.duplicates", "--hashes", str(n), "--out", str(given.out)]
            results.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            print(results[-1], flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
