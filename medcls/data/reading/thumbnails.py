"""Thumbnails for pages, as data URLs."""

import base64
import dataclasses
import io
from pathlib import Path

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
    pixels = images.read(path, dataclasses.replace(decoding, channels=3, bits=8)).pixels
    scale = min(1.0, longest / max(pixels.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    buffer = io.BytesIO()
    Image.fromarray(images.resize(pixels, (height, width), "squash", "lanczos")).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), width, height
