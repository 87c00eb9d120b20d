"""The cache command: it lists and removes, and leaves nothing in the current folder."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image
from refusals import logged, noted, refused

from medcls import cache as command
from medcls.cli import shipped
from medcls.data.cache import PixelCache, everything
from medcls.data.sources.scan import scan_images
from medcls.preprocessing import Preprocessing

MONTH = 30 * 24 * 3600


@pytest.fixture
def kept(tmp_path: Path, own_cache: Path) -> Path:
    """A scan cache of one file, and of pixels of 3 and, unused for a month, of 2 images."""
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    os.utime(tmp_path / "a.png", (1, 1))
    scan_images(tmp_path, ["a.png"])
    for count, size in ((3, 8), (2, 16)):
        cache = PixelCache(Preprocessing(size=size, mean=(0.5,) * 3, std=(0.5,) * 3))
        picture = np.zeros((size, size, 3), np.uint8)
        cache.fill([f"{k:032}" for k in range(count)], lambda place, picture=picture: picture)
    used = (cache.folder / "key.json").stat().st_mtime - MONTH
    os.utime(cache.folder / "key.json", (used, used))
    return own_cache


def run(*overrides: str) -> None:
    with initialize_config_dir(str(shipped.configurations() / "conf"), version_base="1.3"):
        command.run(compose("cache", list(overrides)))


def test_it_lists_what_is_kept_and_removes_nothing(kept, capsys):
    run()
    said = " ".join(capsys.readouterr().out.split())
    assert all(entry.what in said for entry in everything())
    assert "8 x 8" in said
    assert "16 x 16" in said
    assert sorted(entry.images for entry in everything()) == [1, 2, 3]


def test_it_removes_what_was_not_used_for_so_long(kept, caplog):
    run("clear=true", "older_than_days=29")
    assert noted(logged(caplog, "cache_cleared"), "1 of 1")
    assert sorted(entry.images for entry in everything()) == [1, 3]
    run("clear=true", "older_than_days=29")
    assert noted(logged(caplog, "nothing_cached"), "29", str(kept))


def test_it_removes_everything_and_logs_the_freed_space(kept, caplog):
    run("clear=true")
    assert noted(logged(caplog, "cache_cleared"), "3 of 3", "MiB")
    assert everything() == []
    assert not list(kept.rglob("*.images"))


@pytest.mark.parametrize("override", ["clear=maybe", "clear=1", "older_than_days=-1", "older_than_days=month"])
def test_a_setting_that_makes_no_sense_is_named(kept, override):
    with refused("bad_value", override.split("=")[0]):
        run(override)


@pytest.mark.slow
def test_from_the_command_line_it_leaves_nothing_behind(kept, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    command = [sys.executable, "-m", "medcls.cache", "clear=true"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 of 3" in done.stdout
    assert list(here.iterdir()) == []


def test_the_command_starts_light():
    code = "import sys, medcls.cache; print([m for m in ('torch', 'lightning', 'numpy', 'pandas') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
