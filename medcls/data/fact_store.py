"""What earlier runs found out about files that have not changed since, so that none is opened twice for it.

One SQLite file in the cache folder for each version of what reads images. Its keys are hashes of a file's real
path, size, times and frame, so that no patient's name in a path is written down a second time. SQLite's rollback
journal, not its write-ahead log: that one asks for shared memory, which a network's file system does not have.
"""

import hashlib
import json
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Self, TypeVar

import filelock

from medcls import places
from medcls.data.images import reading_version

log = logging.getLogger(__name__)

SETTLED_NS = 2_000_000_000
"""A file younger than this when it was read may be written again within the same tick of a coarse clock (FAT: 2 s)."""

WAIT_S = 30
"""How long another process may hold the store before this one does without."""

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

T = TypeVar("T")

Fact = Sequence[str | int | float]
"""One file's values, in an order that the store's version stands for."""


class FactStore:
    """The store; a context. Whatever goes wrong with it is said once, and the run goes on without.

    Parameters
    ----------
    root : Path
        The folder that paths are relative to.
    frame : int
        Which frame the values are of.
    columns : sequence of str
        Names of the values kept of each file: other names, or another version of a reading library, another store.
    """

    def __init__(self, root: Path, frame: int, columns: Sequence[str]) -> None:
        self._root, self._frame = os.fspath(root), frame
        # A million files lie in a few folders: to follow each folder's links once is enough.
        self._real_folder = cache(os.path.realpath)
        version = f"{reading_version()}; {' '.join(columns)}"
        self.path = folder() / f"{hashlib.blake2b(version.encode(), digest_size=8).hexdigest()}.sqlite"
        self._connection: sqlite3.Connection | None = None
        self._keys: dict[str, bytes] = {}
        self._inode = 0
        self._made_anew = False

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def recall(self, paths: Sequence[str]) -> dict[str, Fact]:
        """What is known of these, by one query; files that are new, changed or gone are left out."""
        self._keys = {path: key for path in paths if (key := self._key(path)) is not None}

        def ask(connection: sqlite3.Connection) -> dict[bytes, Fact]:
            keys = list(self._keys.values())
            marks = ",".join("?" * len(keys))
            rows = connection.execute(f"SELECT key, fact FROM facts WHERE key IN ({marks})", keys)  # noqa: S608
            return {key: json.loads(fact) for key, fact in rows}

        found: dict[bytes, Fact] = self._attempt(ask, {})
        return {path: found[key] for path, key in self._keys.items() if key in found}

    def keep(self, facts: Mapping[str, Fact]) -> None:
        """Write down together what was found out about files last asked for by `recall`.

        Killed before the end, it has kept none of them. A file which changes between the two calls does
        no harm: nobody will ask for its former time again.
        """
        lines = [
            (self._keys[path], json.dumps(fact, separators=(",", ":")))
            for path, fact in facts.items()
            if path in self._keys
        ]

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", lines)

        if lines:
            self._attempt(write, None)

    def _key(self, path: str) -> bytes | None:
        """Name the state of a file; None where there is none, or where it is too young for its time to tell."""
        full = os.path.join(self._root, path)
        try:
            status = os.lstat(full)
            if stat.S_ISLNK(status.st_mode):
                full = os.path.realpath(full)
                status = os.stat(full)
            folder, name = os.path.split(full)
            place = os.path.join(self._real_folder(folder), name)
        except OSError:  # whoever reads the file says what is wrong with it
            return None
        if time.time_ns() - status.st_mtime_ns < SETTLED_NS:
            return None
        # A program that brings a new file with an old time, as copying tools do, cannot set the time of change.
        state = f"\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\0{self._frame}".encode()
        return hashlib.blake2b(os.fsencode(place) + state, digest_size=16).digest()

    def _attempt(self, action: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        if self._connection is None:
            return otherwise
        try:
            return action(self._connection)
        except (sqlite3.Error, ValueError) as error:  # ValueError: what was kept is no JSON any more
            self._give_up(error)
            return otherwise

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # No transactions but those that we begin.
            self._connection = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
            self._connection.execute("CREATE TABLE IF NOT EXISTS facts (key BLOB PRIMARY KEY, fact TEXT NOT NULL)")
            os.utime(self.path)  # when it was last used
            self._inode = self.path.stat().st_ino
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Make a damaged store anew, once; for any other reason go on without."""
        self._close()
        damaged = isinstance(error, ValueError) or getattr(error, "sqlite_errorcode", None) in DAMAGED
        if not damaged or self._made_anew:
            log.warning("cache: what is known of files is not kept (%s: %s); the run goes on without", self.path, error)
            return
        log.warning("cache: %s was damaged (%s) and is made anew: files are read again", self.path, error)
        self._made_anew = True
        try:
            # Another process may have found the damage too, and have begun a new store in the meantime.
            with filelock.FileLock(f"{self.path}.lock"):
                if self._inode in (0, self.path.stat().st_ino):
                    remove(self.path)
        except OSError as why:
            log.warning("cache: %s cannot be removed (%s); the run goes on without", self.path, why)
            return
        self._open()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def folder() -> Path:
    """Where the stores lie."""
    return places.cache_folder() / "files"


def remove(path: Path) -> None:
    """Remove one store."""
    for name in (f"{path}-journal", os.fspath(path)):  # the journal first: alone, it would be laid over a new store
        Path(name).unlink(missing_ok=True)


def forget(path: Path) -> bool:
    """Empty one store; False where another process is writing to it.

    Emptied, not unlinked: the journal of a process that still had it open would be laid over the next store.
    """
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            connection.execute("DELETE FROM facts")
            connection.execute("VACUUM")
        finally:
            connection.close()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in DAMAGED:
            remove(path)
            return True
        return False
    return True


def count(path: Path) -> int:
    """How many files' facts a store holds; 0 where it cannot be read.

    It is opened for reading only, so that to look at a store is not to use it.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_S)
        try:
            return int(connection.execute("SELECT count(*) FROM facts").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error:
        return 0
