"""Folders of many images as hard links to a few files."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("benign", "malignant")
MOST_LINKS = 50_000  # a file takes 65,000 on the usual file systems
SMALL = 5_000  # images a folder


def link_images(root: Path, images: int, size: int, sources: int = 200) -> None:
    """Link `images` names, half of them in each class, and make what they are linked to beside `root`.

    Each class has pictures of its own, so that none stands under two labels. Images that are links to one file show
    the same, and share their place in the cache of pixels; each has a place of its own in the manifest, and in what
    is remembered of files.

    Parameters
    ----------
    root : Path
        Becomes one folder a class.
    images : int
        How many names.
    size : int
        Pixels of a side.
    sources : int
        Different pictures a class, at least; where there are fewer names, as many as names.
    """
    each = images // len(CLASSES)
    sources = min(max(sources, -(-each // MOST_LINKS)), each)
    draw = np.random.default_rng(0)
    for label in CLASSES:
        place = root.parent / f"{root.name} sources" / label
        place.mkdir(parents=True)
        for number in range(sources):
            coarse = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            coarse.resize((size, size), Image.Resampling.BICUBIC).save(place / f"{number}.png")
        for number in range(each):
            folder = root / label / f"{number // SMALL:03d}"
            if number % SMALL == 0:
                folder.mkdir(parents=True)
            os.link(place / f"{number % sources}.png", folder / f"{number % SMALL:05d}.png")
