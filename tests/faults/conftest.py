"""What the tests of faults share: a set of images, the run that nothing disturbed, and a small disk."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command_process import result, run_command, training
from PIL import Image

from medcls import train


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of two classes; whoever changes it takes a copy."""
    root, draw = tmp_path_factory.mktemp("faults") / "images", np.random.default_rng(4)
    for level, name in ((100, "a"), (130, "b")):
        (root / name).mkdir(parents=True)
        for number in range(24):
            pixels = np.clip(draw.normal(level, 40, (24, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:02d}.png")
    return root


@pytest.fixture(scope="session")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """The place of a run in which nothing went wrong, and what it came to."""
    place = tmp_path_factory.mktemp("undisturbed")
    code, printed = run_command(train.main, training(place, images), place)
    assert code == 0, printed
    return place, result(place / "run")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
