"""Manifests to audit, and what an audit finds."""

from pathlib import Path

import numpy as np
import pandas as pd

from medcls.auditing.findings import Finding
from medcls.data.manifest import Manifest


def manifest_of(labels, *, unreadable=(), scan=None, **columns) -> Manifest:
    """A manifest of so many distinct, unremarkable images; columns of rows and of scan replace the defaults."""
    n = len(labels)
    draw = np.random.default_rng(0)
    paths = [f"{label}/{i:05d}.png" for i, label in enumerate(labels)]
    rows = pd.DataFrame(
        {"path": paths, "label": list(labels), "group": "", "split": "", "given_split": ""}
        | {"content": [f"c{i}" for i in range(n)], "stamp": ""}
        | {name: list(values) for name, values in columns.items()}
    )
    known = pd.DataFrame(
        {"content": rows["content"].to_numpy(), "width": 200, "height": 150, "format": "PNG", "mode": "L", "bits": 8}
        | {"frames": 1, "bytes": 9000, "notes": ""}
        | {
            "phash": draw.integers(2**63, size=n).astype("uint64"),
            "dhash": draw.integers(2**63, size=n).astype("uint64"),
        }
        | {"detail": [draw.bytes(32).hex() for _ in range(n)]}
        | {"brightness": draw.normal(0.5, 0.05, n), "contrast": draw.normal(0.2, 0.02, n)}
        | {f"border_{colour}": draw.normal(0.1, 0.01, n) for colour in ("red", "green", "blue")}
        | {"edge_marks": 0.0},
        index=pd.Index(paths, name="path"),
    ).assign(**(scan or {}))
    names = tuple(sorted(set(labels)))
    return Manifest(Path("root"), names, rows, names[0] if len(names) == 2 else None, scan=known, unreadable=unreadable)


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1
    return findings[0]


def near_of(*pairs):
    """A stand-in for `near_pairs` that finds these."""
    found = pd.DataFrame(pairs, columns=["first", "second", "phash_distance", "dhash_distance", "detail_distance"])
    return lambda scan: found
