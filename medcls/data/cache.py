"""Images decoded and resized once, kept on disk for every later epoch and run; and a look at all that is kept.

For each way of decoding there is one folder, named by a hash of all that the pixels depend on but the picture:

- `key.json`: that way in plain values, and the `generation`, a random name that the other two files bear;
- `<generation>.images`: pictures of one shape, one after another, memory-mapped by whoever reads;
- `<generation>.contents`: the content hash of each picture, 32 bytes, and a checksum of it and the pixels, 4 bytes, in
  the same order. A picture that does not bear its checksum when it is read is dropped: its hash is blanked.

Pictures are written and flushed before their content hashes are: what a kill leaves half-written is beyond the
last hash, and the next process writes over it. A file made anew is a new generation, so that whoever still
reads the former one never finds another picture in its place.
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

from medcls import cores, places
from medcls.data import feature_cache
from medcls.data.reading.images import reading_version
from medcls.data.sources import fact_store
from medcls.preprocessing import Preprocessing
from medcls.writing import whole

log = logging.getLogger(__name__)

BATCH_BYTES = 2**25
"""Pictures that are written and committed together: what a kill can lose."""

MOST_OF_FREE_DISK = 0.5
"""A cache that would take more than this share of the free disk is not made."""

SAY_EVERY_S = 30
"""How often a long filling says how far it is."""

ENTRY = np.dtype([("name", "S32"), ("sum", "<u4")])
"""What stands beside a picture: its content hash, and the checksum of both."""

FORMAT = 2
"""Raise this when what stands in the files comes to look otherwise."""

MIB = 2**20


class DamagedImage(Exception):
    """A kept picture is not what was written."""


class MappedImages:
    """Pictures of one shape in a file, mapped on first use in each process: what travels to one is the path.

    Each is held against its checksum when a process first reads it.

    Parameters
    ----------
    path : Path
        The file.
    dtype : numpy.dtype
        uint8 or uint16.
    shape : tuple of int
        Height, width and channels of one picture.
    """

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, int, int]) -> None:
        self._path, self._dtype, self._shape = os.fspath(path), dtype, shape
        self._mapped: np.ndarray | None = None
        self._entries = np.empty(0, ENTRY)
        self._checked = np.empty(0, bool)

    def __getitem__(self, slot: int) -> np.ndarray:
        """One picture, `(H, W, C)`, read-only.

        Raises
        ------
        FileNotFoundError
            The cache was cleared before this process first looked.
        DamagedImage
            It does not bear its checksum; it is dropped, so that it is made anew when the cache is next filled.
        """
        if self._mapped is None:
            # Whole pictures only: at the end may be half a one, of a process that was killed.
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
        # No lock: others only append, and no two write this place anything else.
        with contextlib.suppress(OSError), Path(self._path).with_suffix(".contents").open("r+b") as file:
            file.seek(slot * ENTRY.itemsize)
            file.write(bytes(ENTRY.itemsize))

    def __getstate__(self) -> dict[str, object]:
        # Pickled, a mapped array would be a copy of it all.
        return self.__dict__ | {"_mapped": None, "_entries": np.empty(0, ENTRY), "_checked": np.empty(0, bool)}


class PixelCache:
    """The pictures of one way of decoding.

    Parameters
    ----------
    preprocessing : Preprocessing
        Channels, bits, window, frame, size, resize policy and interpolation; the rest does not matter here.
    """

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
        """Where pictures lie, without making any.

        Parameters
        ----------
        contents : sequence of str or ndarray
            Their content hashes, 32 digits each.

        Returns
        -------
        images : MappedImages or None
            None where none is kept.
        slots : ndarray
            int64 `(n,)`: number of each within `images`, -1 where it is not there.
        """
        nowhere = np.full(len(contents), -1, dtype=np.int64)
        generation = self._generation()
        if generation is None or not len(kept := self._kept(generation)):
            return None, nowhere
        with contextlib.suppress(OSError):  # of another user, for example
            os.utime(self.folder / "key.json")  # when it was last used
        slots = _positions(kept, _names(contents))
        return MappedImages(self._images(generation), self._dtype, self._shape), slots

    def fill(self, contents: Sequence[str] | np.ndarray, read: Callable[[int], np.ndarray]) -> None:
        """See to it that these pictures are kept, each content once; where that is impossible, say so and go on.

        Of several processes that want to fill it, one does while the others wait.

        Parameters
        ----------
        contents : sequence of str or ndarray
            Their content hashes, 32 digits each.
        read : callable
            Gives the picture at one place of `contents`, `(H, W, C)`, from its file. Called in threads, one a core.

        Raises
        ------
        UnreadableImage
            By `read`; what was kept before it stays.
        """
        if (self.find(contents)[1] >= 0).all():
            log.debug("cache: %d images, at %s: no file is decoded", len(contents), self.folder)
            return
        try:
            with self._alone():
                self._fill(contents, read)
        except OSError as error:
            log.warning(
                "cache: %s: %s; images are decoded whenever they are asked for",
                self.folder,
                error,
                extra={"rule": "cache_not_written"},
            )

    def _fill(self, contents: Sequence[str] | np.ndarray, read: Callable[[int], np.ndarray]) -> None:
        names = _names(contents)
        slots = self.find(names)[1]
        _, first = np.unique(names, return_index=True)
        missing = np.sort(first[slots[first] < 0])
        size, free = len(missing) * self._bytes, shutil.disk_usage(places.cache_folder()).free
        if not size:
            return
        if size > free * MOST_OF_FREE_DISK:
            log.warning(
                "cache: %d images would take %.0f MiB of the %.0f MiB that are free at %s, more than half: none is "
                "kept, and images are decoded whenever they are asked for. MEDCLS_CACHE names another place; "
                "python -m medcls.cache clear=true makes room.",
                len(missing), size / MIB, free / MIB, self.folder, extra={"rule": "cache_too_large"},
            )  # fmt: skip
            return
        log.debug("cache: %d images, %.0f MiB, at %s", len(missing), size / MIB, self.folder)
        generation = self._generation() or self._begin()
        done, said = 0, time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(cores.available()) as pool:
            for batch in np.array_split(missing, math.ceil(size / BATCH_BYTES)):
                images = np.empty((len(batch), *self._shape), self._dtype)
                for place, picture in enumerate(pool.map(read, batch.tolist())):
                    images[place] = picture
                self._append(generation, images, names[batch])
                done += len(batch)
                if time.monotonic() - said > SAY_EVERY_S:
                    said = time.monotonic()
                    log.debug("cache: %d of %d images", done, len(missing))

    def _append(self, generation: str, images: np.ndarray, contents: np.ndarray) -> None:
        """Pictures first, then their names, each on the disk before the next; a full disk leaves neither."""
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
        """The name of the files in use; None where there are none, or none that can be used."""
        try:
            generation = str(json.loads((self.folder / "key.json").read_text(encoding="utf-8"))["generation"])
            whole_file = self._images(generation).stat().st_size >= len(self._kept(generation)) * self._bytes
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return generation if whole_file else None

    def _begin(self) -> str:
        """Start empty files; whoever has the former ones open may go on reading them."""
        if (self.folder / "key.json").exists():
            log.warning(
                "cache: %s was damaged or cut short, and is made anew", self.folder, extra={"rule": "cache_damaged"}
            )
        _empty(self.folder)
        places.private(self.folder)
        generation = uuid.uuid4().hex
        # For their owner alone: they hold the images of patients.
        self._images(generation).touch(mode=0o600)
        self._contents(generation).touch(mode=0o600)
        with whole(self.folder / "key.json") as path:
            path.touch(mode=0o600)
            path.write_text(json.dumps(self.key | {"generation": generation}, indent=2) + "\n", encoding="utf-8")
        return generation

    def _kept(self, generation: str) -> np.ndarray:
        """The content hash in each slot; blank where a picture was dropped."""
        return _entries(self._contents(generation))["name"]

    def _images(self, generation: str) -> Path:
        return self.folder / f"{generation}.images"

    def _contents(self, generation: str) -> Path:
        return self.folder / f"{generation}.contents"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock, and say so if that takes waiting."""
        places.private(self.folder.parent)
        lock = _lock(self.folder)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            log.info(
                "cache: another process is filling %s; waiting until it is done",
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
    """One thing in the cache folder.

    Attributes
    ----------
    place : Path
        A folder of pictures, a store of facts, or an archive of features.
    what : str
        How the pictures were made, in words.
    images, bytes : int
        How many it holds, and its size on disk.
    used : datetime.datetime
        When it was last used, in local time.
    """

    place: Path
    what: str
    images: int
    bytes: int
    used: datetime.datetime


def everything() -> list[Kept]:
    """All that is kept, the latest used first."""
    found = [_store(path) for path in fact_store.folder().glob("*.sqlite")]
    found += [_images_in(path) for path in folder().glob("*/")]
    found += [_features(path) for path in feature_cache.folder().glob("*.npz")]
    return sorted((kept for kept in found if kept.bytes), key=lambda kept: kept.used, reverse=True)


def clear(kept: Kept) -> bool:
    """Remove it; whoever reads it goes on, with the files themselves where need be.

    Returns
    -------
    bool
        False where another process is filling it just now: then it stays.
    """
    if kept.place.suffix == ".sqlite":
        return fact_store.forget(kept.place)
    try:
        with _lock(kept.place).acquire(timeout=0):
            if kept.place.is_file():
                kept.place.unlink()
            else:
                _empty(kept.place)
                kept.place.rmdir()
    except (filelock.Timeout, PermissionError):  # Windows lets nobody remove a file that is mapped
        return False
    return True


def folder() -> Path:
    """Where the pictures lie."""
    return places.cache_folder() / "pixels"


def _images_in(place: Path) -> Kept:
    """Describe one way of decoding."""
    sizes = {path: path.stat().st_size for path in place.iterdir() if path.is_file()}
    images = sum(size // ENTRY.itemsize for path, size in sizes.items() if path.suffix == ".contents")
    key_file = place / "key.json"
    used = datetime.datetime.fromtimestamp((key_file if key_file in sizes else place).stat().st_mtime).astimezone()
    try:
        what = _in_words(json.loads(key_file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        what = "pixels that cannot be used any more"
    return Kept(place, what, images, sum(sizes.values()), used)


def _in_words(key: dict[str, Any]) -> str:
    """A key as a person would say it."""
    height, width = key["size"]
    window = "the file's own window" if key["window"] is None else f"window {key['window']}"
    return (
        f"pixels {height} x {width}, {'colour' if key['channels'] == 3 else 'grey'}, {key['bits']} bits, "
        f"{key['resize']}, {key['interpolation']}, {window}, frame {key['frame']} ({key['reading']})"
    )


def _store(path: Path) -> Kept:
    """Describe one store of facts."""
    status = path.stat()
    images = fact_store.count(path)
    used = datetime.datetime.fromtimestamp(status.st_mtime).astimezone()
    return Kept(path, "facts about files, for the survey", images, status.st_size if images else 0, used)


def _features(path: Path) -> Kept:
    """Describe one archive of features."""
    status = path.stat()
    what, images = feature_cache.in_words(path)
    return Kept(path, what, images, status.st_size, datetime.datetime.fromtimestamp(status.st_mtime).astimezone())


def _lock(place: Path) -> filelock.FileLock:
    # Beside the folder, not in it, so that it outlives a clearing: who waits for it must wait for the same one.
    return filelock.FileLock(f"{place}.lock", mode=0o600)


def _empty(place: Path) -> None:
    """Remove a folder's files, first the one that leads to the others."""
    for path in sorted(place.glob("*"), key=lambda path: path.name != "key.json"):
        path.unlink(missing_ok=True)


def _positions(kept: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where in `kept` each of `wanted` stands, int64; -1 where it does not."""
    order = np.argsort(kept, kind="stable")
    nearest = order[np.minimum(np.searchsorted(kept, wanted, sorter=order), len(kept) - 1)]
    return np.where(kept[nearest] == wanted, nearest, -1)


def _names(contents: Sequence[str] | np.ndarray) -> np.ndarray:
    """Content hashes as one array of bytes."""
    names = np.asarray(contents, dtype="S")
    digits = ENTRY["name"].itemsize
    if names.dtype.itemsize > digits or (np.strings.str_len(names) < digits).any():
        raise ValueError(f"a content hash has {digits} digits")
    return names.astype(ENTRY["name"])


def _entries(path: Path) -> np.ndarray:
    """What stands beside the pictures; half an entry at the end, where one was cut off, is none."""
    data = path.read_bytes()
    return np.frombuffer(data, dtype=ENTRY, count=len(data) // ENTRY.itemsize)


def _checksum(name: bytes, image: np.ndarray) -> int:
    """Of a picture and its name, so that none answers for another."""
    return zlib.crc32(np.ascontiguousarray(image).data, zlib.crc32(name))


def _write_at(path: Path, offset: int, values: np.ndarray) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        values.tofile(file)
        file.flush()
        os.fsync(file.fileno())
