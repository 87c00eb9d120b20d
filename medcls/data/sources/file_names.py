"""File names below folders, up to a million; torch is not imported here."""

import os
from collections.abc import Iterator
from pathlib import Path

from medcls.data.reading import images
from medcls.errors import MedclsError
from medcls.wording import printable


def files_below(root: str | Path, top: str, repeated: list[str]) -> Iterator[tuple[str, str]]:
    """Yield every file below a folder, once for each real folder, without hidden and system folders.

    It works on strings: a million `Path`s take half a minute.

    Parameters
    ----------
    top : str
        The folder, relative to `root`; empty for the root itself.
    repeated : list of str
        Receives the folders that a link repeats.

    Yields
    ------
    within, name
        The file's folder relative to `root`, empty or with a slash at its end; and the file's name.
    """
    visited: set[str] = set()
    waiting = [(top, os.path.realpath(os.path.join(root, top)))]
    while waiting:
        here, real = waiting.pop()
        if real in visited:
            repeated.append(here)
            continue
        visited.add(real)
        within = f"{here}/" if here else ""
        folders = []
        for entry in entries(os.path.join(root, here)):
            if not entry.is_dir():
                yield within, entry.name
            elif not is_hidden(entry.name) and entry.name.lower() not in images.JUNK_FOLDERS:
                # Only a link can lead to a folder that has another path as well.
                target = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real, entry.name)
                folders.append((within + entry.name, target))
        # Sorted, the last first: of two paths to a folder, every file system yields the same one.
        waiting += sorted(folders, reverse=True)


def entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """The entries of a folder; to leave out one that cannot be listed would train on fewer images than there are."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise MedclsError(
            f"The folder {printable(folder)} cannot be listed: {error.strerror}.", kind="unreadable_folder"
        ) from error


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, as `.ipynb_checkpoints` is."""
    return name.startswith(".")


def subfolders(folder: Path) -> list[str]:
    """Sorted names of the folders in a folder, without hidden and system folders."""
    return sorted(
        entry.name
        for entry in entries(folder)
        if entry.is_dir() and not images.is_junk(Path(entry.name)) and not is_hidden(entry.name)
    )
