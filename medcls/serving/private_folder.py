"""The folder of uploaded files: for its owner alone, emptied after an hour, removed at the end."""

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

PREFIX = "medcls-serve-"
LOCK = "in-use.lock"
HOUR = 3600.0


@contextlib.contextmanager
def private_folder(age: float = HOUR) -> Iterator[Path]:
    """Make a folder with mode 0700 in the system's folder for temporary files, and remove it at the end.

    Within the block Python's `tempfile` puts its files there too. Folders that killed servers of the same user left
    behind are removed first.

    Parameters
    ----------
    age : float
        Seconds after which a file in it is removed.
    """
    remove_leftovers(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))  # 0700
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    ended = threading.Event()
    lock = FileLock(folder / LOCK)
    cleaner = threading.Thread(target=_clean, args=(folder, age, ended), name="cleaner", daemon=True)
    try:
        with lock:
            cleaner.start()
            yield folder
    finally:
        tempfile.tempdir = before
        ended.set()
        if cleaner.is_alive():
            cleaner.join()
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            log.warning("%s could not be removed: it may hold uploaded images", folder, extra={"rule": "not_removed"})


def remove_leftovers(parent: Path) -> None:
    """Remove the folders of servers of this user that were killed."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, Timeout):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with FileLock(folder / LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


def remove_older(folder: Path, age: float) -> None:
    """Remove the files in a folder that were last written more than `age` seconds ago, and folders left empty."""
    limit = time.time() - age
    for path, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            entry = os.path.join(path, name)
            with contextlib.suppress(OSError):  # in use by a request that removes it itself, or not empty
                if name == LOCK or os.lstat(entry).st_mtime > limit:
                    continue
                if os.path.isdir(entry) and not os.path.islink(entry):
                    os.rmdir(entry)
                else:
                    os.unlink(entry)


def _clean(folder: Path, age: float, ended: threading.Event) -> None:
    while not ended.wait(min(age / 60, 60)):
        remove_older(folder, age)
