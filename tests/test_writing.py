"""Files are written completely or not at all."""

import os

import pytest

from medcls.learning.checkpoints import AtomicCheckpointIO
from medcls.writing import atomic_write


@pytest.mark.parametrize("what", ["text", "checkpoint"])
def test_a_file_is_on_the_disk_before_it_takes_its_place_and_then_its_name_is(tmp_path, monkeypatch, what):
    happened = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        happened.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        real_sync(descriptor)

    def replace(one, other) -> None:
        happened.append("replace")
        real_replace(one, other)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    if what == "text":
        with atomic_write(tmp_path / "config.yaml") as temporary:
            temporary.write_text("a: 1")
    else:
        AtomicCheckpointIO().save_checkpoint({"a": 1}, tmp_path / "last.ckpt")
    assert happened == ["file", "replace", "folder"]
