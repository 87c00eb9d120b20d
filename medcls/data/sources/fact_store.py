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

from medcls import user_folders
from medcls.data.reading.images import reading_version

log = logging.getLogger(__name__)

SETTLED_NS = 2_000_000_000
"""A file younger than this when it was read may be written again within the same tick of a coarse clock (FAT: 2 s)."""

WAIT_S = 30
"""How long another process may hold the store before this one does without."""

DAMAGED = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,  # no such table or column
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_CONSTRAINT,  # a column of another type
)
"""What SQLite says of a file that is no database, or none of ours."""

T = TypeVar("T")

Fact = Sequence[str | int | float]
"""One file's values, in an order that the store's version stands for."""

FORMAT = 2
"""Raise this when what stands in a row comes to look otherwise."""

DIGEST_BYTES = 8
"""Of the checksum that each row begins with: it covers the key too, so that no row answers for another file."""


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
        version = f"format {FORMAT}; {reading_version()}; {' '.join(columns)}"
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
        """What is known of these, by one query; files that are new, changed or gone are left out.

        So are rows that do not bear their checksum: these are said, and `keep` writes over them.
        """
        self._keys = {path: key for path in paths if (key := self._key(path)) is not None}

        def ask(connection: sqlite3.Connection) -> dict[bytes, object]:
            keys = list(self._keys.values())
            marks = ",".join("?" * len(keys))
            return dict(connection.execute(f"SELECT key, fact FROM facts WHERE key IN ({marks})", keys))  # noqa: S608

        found: dict[bytes, object] = self._attempt(ask, {})
        facts = {key: fact for key, row in found.items() if (fact := _unsealed(key, row)) is not None}
        if len(facts) < len(found):
            log.warning(
                "cache: what %s says of %d file(s) was damaged: they are read again",
                self.path,
                len(found) - len(facts),
                extra={"rule": "facts_damaged"},
            )
        return {path: facts[key] for path, key in self._keys.items() if key in facts}

    def forget(self, paths: Sequence[str]) -> None:
        """Drop what is known of these: it is not what the files show."""
        keys = [(key,) for path in paths if (key := self._key(path)) is not None]

        def drop(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("DELETE FROM facts WHERE key = ?", keys)

        self._attempt(drop, None)

    def keep(self, facts: Mapping[str, Fact]) -> None:
        """Write down together what was found out about files last asked for by `recall`.

        Killed before the end, it has kept none of them. A file which changes between the two calls does
        no harm: nobody will ask for its former time again.
        """
        lines = [(key, _sealed(key, fact)) for path, fact in facts.items() if (key := self._keys.get(path)) is not None]

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
        except (
            OSError,
            ValueError,
        ):  # whoever reads the file says what is wrong with it (ValueError: a null byte in its name)
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
        except sqlite3.Error as error:
            self._give_up(error)
            # Where a new store was made in the place of a damaged one, it gets what was to be written.
            return self._attempt(action, otherwise)

    def _open(self) -> None:
        try:
            user_folders.private(self.path.parent)
            self.path.touch(mode=0o600)  # as is the journal, which SQLite makes like its database
            # No transactions but those that we begin.
            self._connection = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
            self._connection.text_factory = bytes  # in a damaged store may stand a text that is not UTF-8
            self._connection.execute("CREATE TABLE IF NOT EXISTS facts (key BLOB PRIMARY KEY, fact BLOB NOT NULL)")
            os.utime(self.path)  # when it was last used
            self._inode = self.path.stat().st_ino
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Make a damaged store anew, once; for any other reason go on without."""
        self._close()
        if not _is_damage(error) or self._made_anew:
            log.warning(
                "cache: what is known of files is not kept (%s: %s); the run goes on without",
                self.path,
                error,
                extra={"rule": "facts_not_kept"},
            )
            return
        log.warning(
            "cache: %s was damaged (%s) and is made anew: files are read again",
            self.path,
            error,
            extra={"rule": "fact_store_damaged"},
        )
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


def _is_damage(error: Exception) -> bool:
    """Whether the store itself is at fault, not the disk or another process; an extended code ends in its kind."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED


def _sealed(key: bytes, fact: Fact) -> bytes:
    """A row: checksum, then the values as JSON."""
    values = json.dumps(fact, separators=(",", ":")).encode()
    return hashlib.blake2b(key + values, digest_size=DIGEST_BYTES).digest() + values


def _unsealed(key: object, row: object) -> Fact | None:
    """The values of a row; None where it is not what was written for this key."""
    if not isinstance(key, bytes) or not isinstance(row, bytes):
        return None
    digest, values = row[:DIGEST_BYTES], row[DIGEST_BYTES:]
    if hashlib.blake2b(key + values, digest_size=DIGEST_BYTES).digest() != digest:
        return None
    fact: Fact = json.loads(values)
    return fact


def folder() -> Path:
    """Where the stores lie."""
    return user_folders.cache_folder() / "files"


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
        if _is_damage(error):
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
