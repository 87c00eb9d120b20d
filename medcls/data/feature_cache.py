"""The feature cache: features of frozen networks, one row an image, for the next probe of the same images.

One archive for each network and way of decoding, named by a hash of both, with the images' content hashes and features.
Its members have checksums (zip); a damaged archive is replaced.
"""

import contextlib
import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from medcls import user_folders
from medcls.data.reading.images import reading_version
from medcls.preprocessing import Preprocessing
from medcls.writing import atomic_write

log = logging.getLogger(__name__)

FORMAT = 1
"""Raise this when the format of the files changes."""


class FeatureCache:
    """The features of one network for images prepared in one way.

    Parameters
    ----------
    network : mapping
        What the features depend on but the images: the hash of the weights, and how the network is built.
    preprocessing : Preprocessing
        All of it.
    """

    def __init__(self, network: Mapping[str, Any], preprocessing: Preprocessing) -> None:
        self.key: dict[str, Any] = {"network": dict(network), "preprocessing": preprocessing.to_plain()}
        self.key |= {"reading": reading_version(), "format": FORMAT}
        text = json.dumps(self.key, sort_keys=True, default=str)
        name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.path = folder() / f"{name}.npz"

    def find(self, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the features of images by their names, bytes `(n,)`, see `medcls.data.module.image_names`.

        Returns
        -------
        features : ndarray
            float32 `(m, d)`, of the cached images.
        slots : ndarray
            int64 `(n,)`: the row of each name, -1 if it is not cached.
        """
        nowhere = np.full(len(names), -1, dtype=np.int64)
        try:
            with np.load(self.path, allow_pickle=False) as kept:
                known, features = kept["names"], kept["features"]
        except FileNotFoundError:
            return np.empty((0, 0), np.float32), nowhere
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            log.warning("cache: %s is damaged (%s), and is replaced", self.path, error, extra={"rule": "cache_damaged"})
            return np.empty((0, 0), np.float32), nowhere
        with contextlib.suppress(OSError):
            os.utime(self.path)  # the time of last use
        slots = {name: number for number, name in enumerate(known.tolist())}
        return features, np.array([slots.get(name, -1) for name in names.tolist()], dtype=np.int64)

    def add(self, names: np.ndarray, features: np.ndarray) -> None:
        """Add features of more images, float32 `(n, d)`; if that is impossible, log a warning and go on."""
        try:
            user_folders.private(self.path.parent)
            with filelock.FileLock(f"{self.path}.lock", mode=0o600):
                kept, slots = self.find(names)
                known = np.load(self.path, allow_pickle=False)["names"] if len(kept) else names[:0]
                _, first = np.unique(names, return_index=True)
                new = np.sort(first[slots[first] < 0])
                both = np.concatenate([kept, features[new]]) if len(kept) else features[new]
                with atomic_write(self.path) as temporary:
                    temporary.touch(mode=0o600)
                    np.savez(temporary, names=np.concatenate([known, names[new]]), features=both,
                             key=np.array(json.dumps(self.key, default=str)))  # fmt: skip
        except OSError as error:
            log.warning("cache: %s: %s; features are not cached", self.path, error, extra={"rule": "cache_not_written"})


def folder() -> Path:
    """The folder of the archives."""
    return user_folders.cache_folder() / "features"


def in_words(path: Path) -> tuple[str, int]:
    """An archive in words, and its number of images."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            key, images = json.loads(str(kept["key"])), len(kept["names"])
        height, width = key["preprocessing"]["size"]
        return f"features of {key['network']['name']}, {height} x {width} ({key['reading']})", images
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return "features of an unusable format", 0
