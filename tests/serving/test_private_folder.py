"""Uploaded files are for their owner alone, removed after an hour, and gone at the end, whatever ends the server."""

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from medcls.serving.private_folder import LOCK, PREFIX, private_folder, remove_leftovers, remove_older


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_private_and_holds_all_temporary_files_and_is_removed(parent):
    with private_folder() as folder:
        assert folder.parent == parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(b"an image")
        assert Path(file.name).parent == folder
    assert not folder.exists()
    assert tempfile.gettempdir() == str(parent)


def test_it_is_removed_when_the_server_ends_by_an_error(parent):
    with contextlib.suppress(ZeroDivisionError), private_folder() as folder:
        (folder / "a.png").write_bytes(b"an image")
        raise ZeroDivisionError
    assert list(parent.iterdir()) == []


def test_files_are_removed_after_their_time_and_no_earlier(tmp_path):
    old, young, kept = tmp_path / "a" / "old.png", tmp_path / "b" / "young.png", tmp_path / LOCK
    for path in (old, young, kept):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    past = time.time() - 3700
    for path in (old, kept):
        os.utime(path, (past, past))
    os.utime(old.parent, (past, past))
    remove_older(tmp_path, 3600)
    assert not old.exists() and young.exists() and kept.exists()
    os.utime(young, (past, past))
    os.utime(young.parent, (past, past))
    remove_older(tmp_path, 3600)
    assert [path.name for path in tmp_path.rglob("*.png")] == []


def test_a_link_is_removed_and_not_followed(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "uploads"
    outside.mkdir(), folder.mkdir()
    (outside / "precious.png").touch()
    (folder / "link").symlink_to(outside)
    for path in (outside / "precious.png", outside):
        os.utime(path, (1, 1))
    os.utime(folder / "link", (1, 1), follow_symlinks=False)
    remove_older(folder, 3600)
    assert (outside / "precious.png").exists()
    assert not (folder / "link").is_symlink()


def test_the_cleaner_runs_while_the_server_does(parent):
    with private_folder(age=0.2) as folder:
        (folder / "a.png").write_bytes(b"an image")
        end = time.monotonic() + 60
        while (folder / "a.png").exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert not (folder / "a.png").exists()
        assert (folder / LOCK).exists()


def test_what_a_killed_server_left_is_removed_by_the_next_one_and_not_what_is_in_use(parent):
    code = (
        "import os, signal, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from medcls.serving.private_folder import private_folder\n"
        "with private_folder() as folder:\n"
        "    (folder / 'a.png').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(parent)], check=False)
    (left,) = parent.glob(f"{PREFIX}*")
    assert (left / "a.png").exists()
    with private_folder() as folder:
        assert not left.exists()
        remove_leftovers(parent)
        assert folder.exists()


def test_a_link_of_another_name_is_left_alone(parent, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (parent / f"{PREFIX}link").symlink_to(precious)
    remove_leftovers(parent)
    assert precious.is_dir()
