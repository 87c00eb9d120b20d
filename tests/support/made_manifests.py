"""Manifests without files, for tests of what is done with their rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medcls.data.manifest import Manifest


def manifest_of(
    labels: Sequence[str],
    groups: Sequence[str] | None = None,
    contents: Sequence[str] | None = None,
    given_split: Sequence[str] | None = None,
    alike: Sequence[int] | None = None,
) -> Manifest:
    """One row a label, each image with pixels of its own unless `contents` names them.

    `alike` numbers the sets of images that look almost the same; without it there are no hashes.
    """
    n = len(labels)
    rows = pd.DataFrame(
        {
            "path": [f"{i:05d}.png" for i in range(n)],
            "label": list(labels),
            "group": list(groups) if groups is not None else "",
            "split": "",
            "given_split": list(given_split) if given_split is not None else "",
            "content": list(contents) if contents is not None else [f"c{i}" for i in range(n)],
            "stamp": "",
        }
    )
    classes = tuple(sorted(set(labels)))
    scan = pd.DataFrame() if alike is None else scan_of(rows, alike)
    return Manifest(Path("root"), classes, rows, classes[0] if len(classes) == 2 else None, scan=scan)


def scan_of(rows: pd.DataFrame, alike: Sequence[int]) -> pd.DataFrame:
    """Hashes that are one bit apart within a set, and far apart between sets."""
    draw = np.random.default_rng(0)
    words = {number: [int(word) for word in draw.integers(0, 2**62, 6)] for number in sorted(set(alike))}
    scan = {
        "content": rows["content"].to_numpy(),
        "contrast": 0.2,
        "phash": np.array([words[number][0] ^ 1 << k % 2 for k, number in enumerate(alike)], dtype=np.uint64),
        "dhash": np.array([words[number][1] for number in alike], dtype=np.uint64),
        "detail": ["".join(f"{word:016x}" for word in words[number][2:]) for number in alike],
    }
    return pd.DataFrame(scan, index=pd.Index(rows["path"], name="path"))
