"""Every file looked at once: all failures listed, in order, nothing held on to."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcls.data.reading.decoded import content_hash
from medcls.data.reading.images import is_junk
from medcls.data.sources import scan as scan_module
from medcls.data.sources.scan import ScanOptions, scan_images


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_every_failure_is_listed_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "BATCH", 4)
    paths = [f"{k:02}.png" for k in range(11)]
    for k, path in enumerate(paths):
        Image.fromarray(noise(10 + k, 20)).save(tmp_path / path)
    (tmp_path / paths[2]).write_bytes(b"")
    (tmp_path / paths[5]).write_bytes(b"<html></html>")
    (tmp_path / paths[10]).unlink()
    calls: list[tuple[int, int]] = []
    here: set[int] = set()

    def progress(done: int, total: int) -> None:
        calls.append((done, total))
        here.add(threading.get_ident())

    scan, failures = scan_images(tmp_path, paths, ScanOptions(progress=progress))
    assert [error.path for error in failures] == [tmp_path / paths[k] for k in (2, 5, 10)]
    assert all(error.__cause__ is None and error.__traceback__ is None for error in failures)
    assert scan.index.tolist() == [path for k, path in enumerate(paths) if k not in (2, 5, 10)]
    first = scan.iloc[0]
    assert (first["width"], first["height"], first["mode"], first["format"]) == (20, 10, "RGB", "PNG")
    assert first["bytes"] == (tmp_path / paths[0]).stat().st_size
    assert first["content"] == content_hash(noise(10, 20))
    assert calls == [(k, 11) for k in range(1, 12)]
    assert here == {threading.get_ident()}
    assert scan_images(tmp_path, [])[0].empty


@pytest.mark.real
def test_p18_real_pictures_of_mixed_modes(real_data: Path) -> None:
    root = real_data / "brain_tumor"
    paths = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and not is_junk(p))
    scan, failures = scan_images(root, paths)
    assert failures == []
    assert set(scan["mode"]) == {"RGB", "L", "RGBA", "P"}
    # The README of the set: 228 distinct of 253, told there from decoded pixels.
    assert (len(scan), scan["content"].nunique()) == (253, 228)
