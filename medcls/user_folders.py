"""Where medcls keeps what outlives a run: what can be made again, and what cannot."""

import os
from pathlib import Path

import platformdirs


def private(folder: Path) -> Path:
    """Make a folder, and those above it, for its owner alone; one that is there stays as it is.

    Raises
    ------
    OSError
        It cannot be made.
    """
    for place in (*reversed(folder.parents), folder):
        place.mkdir(mode=0o700, exist_ok=True)
    return folder


def cache_folder() -> Path:
    """For what can be made again at any time; `MEDCLS_CACHE` names another place."""
    return Path(os.environ.get("MEDCLS_CACHE") or platformdirs.user_cache_dir("medcls", appauthor=False))


def state_folder() -> Path:
    """For what must not be lost (which images were a locked test); `MEDCLS_STATE` names another place."""
    return Path(os.environ.get("MEDCLS_STATE") or platformdirs.user_state_dir("medcls", appauthor=False))
