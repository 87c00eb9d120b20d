"""The scan cache: what earlier runs read of files that have not changed since.

One SQLite file in the cache folder for each version of what reads images. Its keys are hashes of a file's real path,
size, times and frame, so that no patient's name in a path is written down a second time. It uses the rollback journal:
the write-ahead log needs shared memory, which network file systems lack.
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

from medcls import user_folders
from medcls.data.reading.images import reading_version

log = logging.getLogger(__name__)

SETTLED_NS = 2_000_000_000
"""A younger file may be written again within the same tick of a coarse clock (FAT: 2 s)."""

WAIT_S = 30
"""How long to wait for another process before going on without the cache."""

DAMAGED = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,  # no such table or column
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_CONSTRAINT,  # a column of another type
)
"""SQLite's errors for a file that is no database, or has other tables."""

T = TypeVar("T")

Row = Sequence[str | int | float]
"""One file's values, in the order of the columns."""

FORMAT = 2
"""Raise this when the format of a row changes."""

DIGEST_BYTES = 8
"""Length of the checksum at the start of each row; it covers the key, so that a row is valid for one file only."""


class ScanCache:
    """The cache of one frame of files below a root; a context manager.

    On any fault it warns once, and the run goes on without it. Other columns, or another version of a reading library,
    mean another file.
    """

    def __init__(self, root: Path, frame: int, columns: Sequence[str]) -> None:
        self._root, self._frame = os.fspath(root), frame
        # A million files lie in a few folders: resolve each folder once.
        self._real_folder = cache(os.path.realpath)
        version = f"format {FORMAT}; {reading_version()}; {' '.join(columns)}"
        self.path = folder() / f"{hashlib.blake2b(version.encode(), digest_size=8).hexdigest()}.sqlite"
        self._connection: sqlite3.Connection | None = None
        self._keys: dict[str, bytes] = {}
        self._inode = 0
        self._replaced = False

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def get(self, paths: Sequence[str]) -> dict[str, Row]:
        """Look up files with one query; those that are new, changed or gone are left out.

        Rows whose checksum is wrong are left out too, with a warning; `put` overwrites them.
        """
        self._keys = {path: key for path in paths if (key := self._key(path)) is not None}

        def query(connection: sqlite3.Connection) -> dict[bytes, object]:
            keys = list(self._keys.values())
            marks = ",".join("?" * len(keys))
            return dict(connection.execute(f"SELECT key, fact FROM facts WHERE key IN ({marks})", keys))  # noqa: S608

        found: dict[bytes, object] = self._attempt(query, {})
        rows = {key: row for key, data in found.items() if (row := _unpack(key, data)) is not None}
        if len(rows) < len(found):
            log.warning(
                "cache: %s has damaged entries for %d file(s), which are read again",
                self.path,
                len(found) - len(rows),
                extra={"rule": "facts_damaged"},
            )
        return {path: rows[key] for path, key in self._keys.items() if key in rows}

    def remove(self, paths: Sequence[str]) -> None:
        """Remove the rows of these files."""
        keys = [(key,) for path in paths if (key := self._key(path)) is not None]
        self._write("DELETE FROM facts WHERE key = ?", keys)

    def put(self, rows: Mapping[str, Row]) -> None:
        """Write the rows of files last looked up by `get`, in one transaction.

        If a file changes between the two calls, its row is never looked up again.
        """
        packed = [(key, _pack(key, row)) for path, row in rows.items() if (key := self._keys.get(path)) is not None]
        if packed:
            self._write("INSERT OR REPLACE INTO facts VALUES (?, ?)", packed)

    def _write(self, statement: str, values: Sequence[tuple[bytes, ...]]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(statement, values)

        self._attempt(write, None)

    def _key(self, path: str) -> bytes | None:
        """Hash the state of a file; None if it is missing, or too young for its times to tell two states apart."""
        full = os.path.join(self._root, path)
        try:
            status = os.lstat(full)
            if stat.S_ISLNK(status.st_mode):
                full = os.path.realpath(full)
                status = os.stat(full)
            folder, name = os.path.split(full)
            place = os.path.join(self._real_folder(folder), name)
        except (OSError, ValueError):  # reading the file reports what is wrong (ValueError: a null byte in its name)
            return None
        if time.time_ns() - status.st_mtime_ns < SETTLED_NS:
            return None
        # Copying tools may set the modification time, but not the change time.
        state = f"\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\0{self._frame}".encode()
        return hashlib.blake2b(os.fsencode(place) + state, digest_size=16).digest()

    def _attempt(self, action: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        if self._connection is None:
            return otherwise
        try:
            return action(self._connection)
        except sqlite3.Error as error:
            self._give_up(error)
            # If a new file replaced a damaged one, it gets the write.
            return self._attempt(action, otherwise)

    def _open(self) -> None:
        try:
            user_folders.private(self.path.parent)
            self.path.touch(mode=0o600)  # as is the journal, which SQLite makes like its database
            self._connection = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
            self._connection.text_factory = bytes  # a damaged file may hold text that is not UTF-8
            self._connection.execute("CREATE TABLE IF NOT EXISTS facts (key BLOB PRIMARY KEY, fact BLOB NOT NULL)")
            os.utime(self.path)  # when it was last used
            self._inode = self.path.stat().st_ino
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Replace a damaged file, once; for any other reason go on without the cache."""
        self._close()
        if not _is_damage(error) or self._replaced:
            log.warning(
                "cache: %s cannot be used (%s); the run goes on without it",
                self.path,
                error,
                extra={"rule": "facts_not_kept"},
            )
            return
        log.warning(
            "cache: %s was damaged (%s) and is replaced: files are read again",
            self.path,
            error,
            extra={"rule": "fact_store_damaged"},
        )
        self._replaced = True
        try:
            # Another process may have replaced the file in the meantime.
            with filelock.FileLock(f"{self.path}.lock"):
                if self._inode in (0, self.path.stat().st_ino):
                    remove(self.path)
        except OSError as why:
            log.warning("cache: %s cannot be removed (%s); the run goes on without it", self.path, why)
            return
        self._open()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_damage(error: Exception) -> bool:
    """Whether the file itself is at fault, not the disk or another process."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED


def _pack(key: bytes, row: Row) -> bytes:
    """A row's bytes: checksum, then the values as JSON."""
    values = json.dumps(row, separators=(",", ":")).encode()
    return hashlib.blake2b(key + values, digest_size=DIGEST_BYTES).digest() + values


def _unpack(key: object, data: object) -> Row | None:
    """The values of a row; None if it is not what was written for this key."""
    if not isinstance(key, bytes) or not isinstance(data, bytes):
        return None
    digest, values = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    if hashlib.blake2b(key + values, digest_size=DIGEST_BYTES).digest() != digest:
        return None
    row: Row = json.loads(values)
    return row


def folder() -> Path:
    """The folder of the cache files."""
    return user_folders.cache_folder() / "files"


def remove(path: Path) -> None:
    """Remove one cache file."""
    for name in (f"{path}-journal", os.fspath(path)):  # the journal first: alone, it would be applied to a new file
        Path(name).unlink(missing_ok=True)


def empty(path: Path) -> bool:
    """Empty one cache file; return False if another process is writing to it.

    It is not unlinked: SQLite would apply the journal of a process that still had it open to the next file.
    """
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            connection.execute("DELETE FROM facts")
            connection.execute("VACUUM")
        finally:
            connection.close()
    except sqlite3.Error as error:
        if _is_damage(error):
            remove(path)
            return True
        return False
    return True


def count(path: Path) -> int:
    """Count the rows of a cache file; 0 if it cannot be read.

    It is opened read-only, so that its time of last use stays.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_S)
        try:
            return int(connection.execute("SELECT count(*) FROM facts").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error:
        return 0
