"""The user's folders for medcls: the cache, which can be deleted, and the state, which must not be lost."""

import os
from pathlib import Path

import platformdirs


def private(folder: Path) -> Path:
    """Make a folder and its parents, accessible to the owner only; existing folders keep their permissions."""
    for path in (*reversed(folder.parents), folder):
        path.mkdir(mode=0o700, exist_ok=True)
    return folder


def cache_folder() -> Path:
    """For files that can be made again at any time; `MEDCLS_CACHE` sets another folder."""
    return Path(os.environ.get("MEDCLS_CACHE") or platformdirs.user_cache_dir("medcls", appauthor=False))


def state_folder() -> Path:
    """For files that must not be lost (which images were a locked test); `MEDCLS_STATE` sets another folder."""
    return Path(os.environ.get("MEDCLS_STATE") or platformdirs.user_state_dir("medcls", appauthor=False))
