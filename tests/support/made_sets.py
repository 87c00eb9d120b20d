"""Image sets of noise in the shapes that commands are given, and the settings with which a whole run takes seconds."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

# What a reader would not type: one epoch, few resamples, a batch that few images fill more than once.
SMOKE = ("trainer.max_epochs=1", "data.batch_size=8", "data.workers=0", "resamples=100")


def noise(path: Path, seed: int, level: float, size: tuple[int, int] = (24, 20)) -> None:
    """Write one image of seeded noise around a grey level."""
    pixels = np.clip(np.random.default_rng([seed, 11]).normal(level, 40, (*size, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def class_folders(root: Path, counts: Mapping[str, int], name: str = "{number:03d}.png", seed: int = 0) -> Path:
    """Make folders of noise, `{"train/a": 12, "train/b": 12}`; the later a class's name, the brighter."""
    classes = sorted({key.rsplit("/", 1)[-1] for key in counts})
    made = iter(range(1_000_000))
    for key, count in counts.items():
        level = 80 + 80 * classes.index(key.rsplit("/", 1)[-1]) / max(1, len(classes) - 1)
        for number in range(count):
            noise(root / key / name.format(number=number), 1_000_000 * seed + next(made), level)
    return root


def named_files(root: Path, *names: str) -> Path:
    """Write files, each with its name for content: enough where nothing is decoded."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def scene(seed: int, side: int = 256) -> Image.Image:
    """Blobs and lines, unlike any other seed's."""
    draw = np.random.default_rng(seed)
    image = Image.new("L", (side, side), 60)
    pen = ImageDraw.Draw(image)
    for _ in range(25):
        x, y, a, b = draw.integers(0, side, 4)
        pen.ellipse((x, y, x + a // 3, y + b // 3), fill=int(draw.integers(20, 220)))
    return image.filter(ImageFilter.GaussianBlur(2)).convert("RGB")
