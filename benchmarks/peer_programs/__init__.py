"""Programs that train the same network in other ways, for `benchmarks.peers`.

Each takes a folder with one folder per class, and prints the seconds of each epoch, without validation, as the last
line: `{"seconds": [...], "images": images per epoch}`. All run on the CPU.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The command-line arguments of each program."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a folder with one folder a class")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224, help="pixels of a side")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    return parser


def print_result(seconds: Sequence[float], images: int) -> None:
    """Print the result."""
    print(json.dumps({"seconds": list(seconds), "images": images}), flush=True)
