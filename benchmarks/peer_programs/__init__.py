"""Trainings of the same network by other means, each a program of its own for `benchmarks.peers`.

Each is told a folder with one folder a class, and prints the seconds that each epoch's training took, validation left
out, as the last line: `{"seconds": [...], "images": images an epoch}`. All stay on the CPU.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What each program is told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a folder with one folder a class")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224, help="pixels of a side")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    return parser


def tell(seconds: Sequence[float], images: int) -> None:
    """Print what was measured."""
    print(json.dumps({"seconds": list(seconds), "images": images}), flush=True)
