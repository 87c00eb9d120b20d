"""The pixel cache: images decoded and resized once, kept on disk for later epochs and runs; a list of all caches.

There is one folder for each way of decoding, named by a hash of all that the pixels depend on but the image:

- `key.json`: that way in plain values, and the `generation`, a random name of the other two files;
- `<generation>.images`: images of one shape, one after another, memory-mapped by readers;
- `<generation>.contents`: for each image in the same order its content hash, 32 bytes, and a checksum of it and the
  pixels, 4 bytes. The hash of an image that does not match its checksum is blanked.

Images are written and flushed before their entries: what a killed process leaves half-written is beyond the last entry,
and the next process overwrites it. A replaced file is a new generation, so that readers of the old one never find other
images in it.
"""

import concurrent.futures
import contextlib
import dataclasses
import datetime
import hashlib
import json
import logging
import math
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from medcls import cpu, user_folders
from medcls.data import feature_cache
from medcls.data.reading.images import reading_version
from medcls.data.sources import scan_cache
from medcls.preprocessing import Preprocessing
from medcls.writing import atomic_write

log = logging.getLogger(__name__)

BATCH_BYTES = 2**25
"""Images written and committed together: what a killed process loses."""

MAX_SHARE_OF_FREE_DISK = 0.5
"""A cache that would take more of the free disk is not written."""

REPORT_EVERY_S = 30
"""How often progress is logged."""

ENTRY = np.dtype([("name", "S32"), ("sum", "<u4")])
"""An entry of the contents file: an image's content hash, and the checksum of both."""

FORMAT = 2
"""Raise this when the format of the files changes."""

MIB = 2**20


class DamagedImage(Exception):
    """A cached image does not match its checksum."""


class MappedImages:
    """Images of one shape in a file, mapped on first use in each process: only the path is pickled.

    Each is compared with its checksum when a process first reads it.
    """

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, int, int]) -> None:
        self._path, self._dtype, self._shape = os.fspath(path), dtype, shape
        self._mapped: np.ndarray | None = None
        self._entries = np.empty(0, ENTRY)
        self._checked = np.empty(0, bool)

    def __getitem__(self, slot: int) -> np.ndarray:
        """One image, `(H, W, C)`, read-only."""
        if self._mapped is None:
            # Complete images only: a killed process may have left half of one at the end.
            count = os.path.getsize(self._path) // (math.prod(self._shape) * self._dtype.itemsize)
            self._entries = _entries(Path(self._path).with_suffix(".contents"))[:count]
            self._checked = np.zeros(len(self._entries), bool)
            self._mapped = np.memmap(self._path, self._dtype, mode="r", shape=(count, *self._shape))
        if slot >= len(self._entries):
            raise DamagedImage
        image: np.ndarray = self._mapped[slot]
        if not self._checked[slot]:
            if _checksum(self._entries["name"][slot], image) != self._entries["sum"][slot]:
                self._drop(slot)
                raise DamagedImage
            self._checked[slot] = True
        return image

    def _drop(self, slot: int) -> None:
        # No lock: other processes only append.
        with contextlib.suppress(OSError), Path(self._path).with_suffix(".contents").open("r+b") as file:
            file.seek(slot * ENTRY.itemsize)
            file.write(bytes(ENTRY.itemsize))

    def __getstate__(self) -> dict[str, object]:
        # A pickled mapped array would be a full copy.
        return self.__dict__ | {"_mapped": None, "_entries": np.empty(0, ENTRY), "_checked": np.empty(0, bool)}


class PixelCache:
    """The images of one way of decoding: size, resize policy, interpolation, window, frame, bits and channels."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        fields = ("size", "resize", "interpolation", "bits", "window", "frame")
        plain = preprocessing.to_plain()
        self.key = {"channels": preprocessing.channels} | {field: plain[field] for field in fields}
        self.key |= {"reading": reading_version(), "format": FORMAT}
        name = hashlib.blake2b(json.dumps(self.key, sort_keys=True).encode(), digest_size=8).hexdigest()
        self.folder = folder() / name
        self._shape = (*preprocessing.size, preprocessing.channels)
        self._dtype = np.dtype(np.uint8 if preprocessing.bits == 8 else np.uint16)
        self._bytes = math.prod(self._shape) * self._dtype.itemsize

    def find(self, contents: Sequence[str] | np.ndarray) -> tuple[MappedImages | None, np.ndarray]:
        """Find images by their content hashes, 32 digits each.

        Returns
        -------
        images : MappedImages or None
            None if the cache is empty.
        slots : ndarray
            int64 `(n,)`: position of each in `images`, -1 if it is not there.
        """
        nowhere = np.full(len(contents), -1, dtype=np.int64)
        generation = self._generation()
        if generation is None or not len(kept := self._kept(generation)):
            return None, nowhere
        with contextlib.suppress(OSError):  # another user's, for example
            os.utime(self.folder / "key.json")  # the time of last use
        slots = _positions(kept, _names(contents))
        return MappedImages(self._images(generation), self._dtype, self._shape), slots

    def fill(self, contents: Sequence[str] | np.ndarray, read: Callable[[int], np.ndarray]) -> None:
        """Add missing images, each content once; if that is impossible, log a warning and go on.

        Of several processes, one fills the cache while the others wait.

        Parameters
        ----------
        contents : sequence of str or ndarray
            Content hashes, 32 digits each.
        read : callable
            Returns the image at a position of `contents`, `(H, W, C)`, from its file. Called in threads, one a core.
        """
        if (self.find(contents)[1] >= 0).all():
            log.debug("cache: %d images, at %s: no file is decoded", len(contents), self.folder)
            return
        try:
            with self._locked():
                self._fill(contents, read)
        except OSError as error:
            log.warning(
                "cache: %s: %s; images are decoded each time they are read",
                self.folder,
                error,
                extra={"rule": "cache_not_written"},
            )

    def _fill(self, contents: Sequence[str] | np.ndarray, read: Callable[[int], np.ndarray]) -> None:
        names = _names(contents)
        slots = self.find(names)[1]
        _, first = np.unique(names, return_index=True)
        missing = np.sort(first[slots[first] < 0])
        size, free = len(missing) * self._bytes, shutil.disk_usage(user_folders.cache_folder()).free
        if not size:
            return
        if size > free * MAX_SHARE_OF_FREE_DISK:
            log.warning(
                "cache: %d images would take %.0f MiB of the %.0f MiB free at %s, more than half: none is cached, and "
                "images are decoded each time they are read. Set MEDCLS_CACHE to another folder, or make room with "
                "python -m medcls.cache clear=true.",
                len(missing), size / MIB, free / MIB, self.folder, extra={"rule": "cache_too_large"},
            )  # fmt: skip
            return
        log.debug("cache: %d images, %.0f MiB, at %s", len(missing), size / MIB, self.folder)
        generation = self._generation() or self._begin()
        done, reported = 0, time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(cpu.available_cores()) as pool:
            for batch in np.array_split(missing, math.ceil(size / BATCH_BYTES)):
                images = np.empty((len(batch), *self._shape), self._dtype)
                for place, image in enumerate(pool.map(read, batch.tolist())):
                    images[place] = image
                self._append(generation, images, names[batch])
                done += len(batch)
                if time.monotonic() - reported > REPORT_EVERY_S:
                    reported = time.monotonic()
                    log.debug("cache: %d of %d images", done, len(missing))

    def _append(self, generation: str, images: np.ndarray, contents: np.ndarray) -> None:
        """Write images, then their entries, each flushed before the next; a full disk leaves neither."""
        end = len(self._kept(generation))
        entries = np.empty(len(contents), ENTRY)
        entries["name"] = contents
        entries["sum"] = [_checksum(*pair) for pair in zip(contents, images, strict=True)]
        try:
            _write_at(self._images(generation), end * self._bytes, images)
            _write_at(self._contents(generation), end * ENTRY.itemsize, entries)
        except OSError:
            os.truncate(self._contents(generation), end * ENTRY.itemsize)
            os.truncate(self._images(generation), end * self._bytes)
            raise

    def _generation(self) -> str | None:
        """The name of the files in use; None if there are none, or they are unusable."""
        try:
            generation = str(json.loads((self.folder / "key.json").read_text(encoding="utf-8"))["generation"])
            complete = self._images(generation).stat().st_size >= len(self._kept(generation)) * self._bytes
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return generation if complete else None

    def _begin(self) -> str:
        """Start empty files; processes that have the old ones open may go on reading them."""
        if (self.folder / "key.json").exists():
            log.warning(
                "cache: %s was damaged or truncated, and is replaced", self.folder, extra={"rule": "cache_damaged"}
            )
        _empty(self.folder)
        user_folders.private(self.folder)
        generation = uuid.uuid4().hex
        # Readable by the owner only: these are images of patients.
        self._images(generation).touch(mode=0o600)
        self._contents(generation).touch(mode=0o600)
        with atomic_write(self.folder / "key.json") as path:
            path.touch(mode=0o600)
            path.write_text(json.dumps(self.key | {"generation": generation}, indent=2) + "\n", encoding="utf-8")
        return generation

    def _kept(self, generation: str) -> np.ndarray:
        """The content hash in each slot; blank if the image was dropped."""
        return _entries(self._contents(generation))["name"]

    def _images(self, generation: str) -> Path:
        return self.folder / f"{generation}.images"

    def _contents(self, generation: str) -> Path:
        return self.folder / f"{generation}.contents"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock, and log it if that takes waiting."""
        user_folders.private(self.folder.parent)
        lock = _lock(self.folder)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            log.info(
                "cache: another process is filling %s; waiting for it",
                self.folder,
                extra={"rule": "cache_waits"},
            )
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


@dataclasses.dataclass(frozen=True)
class Kept:
    """An item of the cache folder.

    Attributes
    ----------
    place : Path
        A folder of images, a file of the scan cache, or an archive of features.
    what : str
        How the images were decoded, in words.
    images, bytes : int
        Number of images, and size on disk.
    used : datetime.datetime
        When it was last used, in local time.
    """

    place: Path
    what: str
    images: int
    bytes: int
    used: datetime.datetime


def everything() -> list[Kept]:
    """All items, the latest used first."""
    found = [_store(path) for path in scan_cache.folder().glob("*.sqlite")]
    found += [_images_in(path) for path in folder().glob("*/")]
    found += [_features(path) for path in feature_cache.folder().glob("*.npz")]
    return sorted((kept for kept in found if kept.bytes), key=lambda kept: kept.used, reverse=True)


def clear(kept: Kept) -> bool:
    """Remove an item unless another process is filling it; processes that read it go on without it."""
    if kept.place.suffix == ".sqlite":
        return scan_cache.empty(kept.place)
    try:
        with _lock(kept.place).acquire(timeout=0):
            if kept.place.is_file():
                kept.place.unlink()
            else:
                _empty(kept.place)
                kept.place.rmdir()
    except (filelock.Timeout, PermissionError):  # Windows cannot remove a mapped file
        return False
    return True


def folder() -> Path:
    """The folder of the pixel cache."""
    return user_folders.cache_folder() / "pixels"


def _images_in(place: Path) -> Kept:
    """Describe one way of decoding."""
    sizes = {path: path.stat().st_size for path in place.iterdir() if path.is_file()}
    images = sum(size // ENTRY.itemsize for path, size in sizes.items() if path.suffix == ".contents")
    key_file = place / "key.json"
    used = datetime.datetime.fromtimestamp((key_file if key_file in sizes else place).stat().st_mtime).astimezone()
    try:
        what = _in_words(json.loads(key_file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        what = "pixels of an unusable format"
    return Kept(place, what, images, sum(sizes.values()), used)


def _in_words(key: dict[str, Any]) -> str:
    """A key in words."""
    height, width = key["size"]
    window = "the file's own window" if key["window"] is None else f"window {key['window']}"
    return (
        f"pixels {height} x {width}, {'colour' if key['channels'] == 3 else 'grey'}, {key['bits']} bits, "
        f"{key['resize']}, {key['interpolation']}, {window}, frame {key['frame']} ({key['reading']})"
    )


def _store(path: Path) -> Kept:
    """Describe a file of the scan cache."""
    status = path.stat()
    images = scan_cache.count(path)
    used = datetime.datetime.fromtimestamp(status.st_mtime).astimezone()
    return Kept(path, "results of the scan", images, status.st_size if images else 0, used)


def _features(path: Path) -> Kept:
    """Describe an archive of features."""
    status = path.stat()
    what, images = feature_cache.in_words(path)
    return Kept(path, what, images, status.st_size, datetime.datetime.fromtimestamp(status.st_mtime).astimezone())


def _lock(place: Path) -> filelock.FileLock:
    # Beside the folder, not in it, so that clearing keeps it: all processes must wait for the same lock.
    return filelock.FileLock(f"{place}.lock", mode=0o600)


def _empty(place: Path) -> None:
    """Remove a folder's files, first the one that names the others."""
    for path in sorted(place.glob("*"), key=lambda path: path.name != "key.json"):
        path.unlink(missing_ok=True)


def _positions(kept: np.ndarray, requested: np.ndarray) -> np.ndarray:
    """Position in `kept` of each of `requested`, int64; -1 if it is missing."""
    order = np.argsort(kept, kind="stable")
    nearest = order[np.minimum(np.searchsorted(kept, requested, sorter=order), len(kept) - 1)]
    return np.where(kept[nearest] == requested, nearest, -1)


def _names(contents: Sequence[str] | np.ndarray) -> np.ndarray:
    """Content hashes as one array of bytes."""
    names = np.asarray(contents, dtype="S")
    digits = ENTRY["name"].itemsize
    if names.dtype.itemsize > digits or (np.strings.str_len(names) < digits).any():
        raise ValueError(f"a content hash has {digits} digits")
    return names.astype(ENTRY["name"])


def _entries(path: Path) -> np.ndarray:
    """The entries of a contents file; half an entry at the end is ignored."""
    data = path.read_bytes()
    return np.frombuffer(data, dtype=ENTRY, count=len(data) // ENTRY.itemsize)


def _checksum(name: bytes, image: np.ndarray) -> int:
    """Of an image and its name, so that it is valid for this image only."""
    return zlib.crc32(np.ascontiguousarray(image).data, zlib.crc32(name))


def _write_at(path: Path, offset: int, values: np.ndarray) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        values.tofile(file)
        file.flush()
        os.fsync(file.fileno())
