"""A disk that is full, at each step that writes."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_process import differing, result, run_command, training

from medcls import train

pytestmark = pytest.mark.slow


def fill(disk: Path) -> None:
    """Write until no byte is left."""
    with contextlib.suppress(OSError), (disk / "filler").open("ab", buffering=0) as file:
        for size in (2**20, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def full_before(target: str, call: int, disk: Path) -> Callable[[], None]:
    """Fill the disk before a function is run for the so manieth time."""

    def prepare() -> None:
        patch, count = pytest.MonkeyPatch(), iter(range(1, 1000))
        module, name = target.rsplit(".", 1)
        real = _resolve(target)

        def run(*arguments: Any, **settings: Any) -> Any:
            if next(count) == call:
                fill(disk)
            return real(*arguments, **settings)

        patch.setattr(f"{module}.{name}", run)

    return prepare


def _resolve(target: str) -> Any:
    from pkgutil import resolve_name

    module, name = target.rsplit(".", 1)
    return getattr(resolve_name(module), name)


@pytest.mark.parametrize(
    ("target", "call", "file"),
    [
        ("medcls.learning.checkpoints.AtomicCheckpointIO.save_checkpoint", 2, "last.ckpt"),
        ("medcls.learning.checkpoints.AtomicCheckpointIO.save_checkpoint", 4, "last.ckpt"),
        ("medcls.runs.run_folder.RunFolder.write_predictions", 1, "val.csv"),
        ("medcls.runs.run_folder.RunFolder.write_predictions", 2, "test.csv"),
        ("medcls.workflow.result_files.report", 1, "report."),
    ],
    ids=["first checkpoint", "later checkpoint", "val", "test", "report"],
)
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(
    images, undisturbed, small_disk, target, call, file
):
    whole, expected = undisturbed
    command = training(small_disk, images)
    code, printed = run_command(train.main, command, small_disk.parent, full_before(target, call, small_disk))
    assert code == 2, printed
    assert file in printed and "No space left" in printed and "Traceback" not in printed, printed
    (small_disk / "filler").unlink()
    again = (f"resume={small_disk}/run",) if (small_disk / "run" / "checkpoints" / "last.ckpt").exists() else command
    code, printed = run_command(train.main, again, small_disk.parent)
    assert code == 0, printed
    assert not differing(expected, result(small_disk / "run"), (str(whole), str(small_disk)))


def test_without_room_for_the_cache_a_run_does_without_it(images, undisturbed, small_disk, tmp_path):
    whole, expected = undisturbed
    fill(small_disk)

    def cache_there() -> None:
        os.environ["MEDCLS_CACHE"] = str(small_disk)

    code, printed = run_command(train.main, training(tmp_path, images), tmp_path, cache_there)
    assert code == 0, printed
    assert f"cache: {small_disk}" in printed and "Traceback" not in printed, printed
    assert not differing(expected, result(tmp_path / "run"), (str(whole), str(tmp_path)))
