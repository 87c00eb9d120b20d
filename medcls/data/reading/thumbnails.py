"""Thumbnails for pages, as data URLs."""

import base64
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcls.data.reading import images
from medcls.preprocessing import Decoding


def thumbnail(path: Path, decoding: Decoding, longest: int = 160) -> tuple[str, int, int]:
    """Make a small JPEG of one image, its aspect kept, in 8 bits and colour.

    Returns
    -------
    source : str
        A `data:` URL.
    width, height : int
        Pixels; the longer side at most `longest`.
    """
    pixels = shrunk(images.read(path, dataclasses.replace(decoding, channels=3, bits=8)).pixels, longest)
    return encoded(pixels), pixels.shape[1], pixels.shape[0]


def shrunk(pixels: NDArray[np.unsignedinteger[Any]], longest: int) -> NDArray[np.uint8]:
    """Shrink an image, uint8 or uint16 `(H, W, C)`, so that its longer side has at most `longest` pixels; in 8 bits."""
    scale = min(1.0, longest / max(pixels.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    small = images.resize(pixels, (height, width), "squash", "lanczos")
    return small if small.dtype == np.uint8 else np.rint(small / 257).astype(np.uint8)


def encoded(pixels: NDArray[np.uint8]) -> str:
    """A JPEG of an image `(H, W, 3)` as a `data:` URL."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
