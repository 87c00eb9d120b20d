"""What lies in folders, a million files of it: names alone, no file opened but one without an ending."""

import bisect
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import overload

from torchvision.datasets import ImageFolder

from medcls.data.reading import images
from medcls.errors import MedclsError
from medcls.wording import printable


class Samples(Sequence[tuple[str, int]]):
    """What `ImageFolder.samples` holds, from one list of paths a class: each pair is made while it is looked at.

    A million pairs with a full path each would be a million tuples, and every folder's name a million times over.

    Parameters
    ----------
    root : str
        The folder that the paths are relative to.
    paths : sequence of lists of str
        The paths of each class, in class order.
    """

    def __init__(self, root: str, paths: Sequence[list[str]]) -> None:
        self._folder = os.path.join(root, "")
        self._paths = paths
        self._starts = [0, *itertools.accumulate(map(len, paths))]

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        for index, paths in enumerate(self._paths):
            for path in paths:
                yield self._folder + path, index

    @overload
    def __getitem__(self, wanted: int) -> tuple[str, int]: ...

    @overload
    def __getitem__(self, wanted: slice) -> list[tuple[str, int]]: ...

    def __getitem__(self, wanted: int | slice) -> tuple[str, int] | list[tuple[str, int]]:
        if isinstance(wanted, slice):
            return [self[number] for number in range(len(self))[wanted]]
        number = range(len(self))[wanted]
        index = bisect.bisect_right(self._starts, number) - 1
        return self._folder + self._paths[index][number - self._starts[index]], index


class ClassFolders(ImageFolder):  # type: ignore[misc]  # torchvision has no types
    """torchvision's `ImageFolder` that does not take an operating system's litter for a class, and lists a million.

    It lists; the pixels are read elsewhere. All paths are relative to `root`, with forward slashes: the images of
    each class stand in `paths`, sorted; what it refused in `refused`, hidden images in `hidden`, and the folders
    that a link would have shown a second time in `repeated`.
    """

    def __init__(self, root: Path) -> None:
        self.paths: dict[str, list[str]] = {}
        self.refused: list[str] = []
        self.hidden: list[str] = []
        self.repeated: list[str] = []
        super().__init__(str(root), allow_empty=True)

    def make_dataset(
        self,
        directory: str | Path,
        class_to_idx: dict[str, int],
        extensions: tuple[str, ...] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> Samples:
        """Every image below each class folder with its class index, sorted by path within a class.

        torchvision's own follows a link that leads back up until the system stops it; this one
        enters each folder once a class, and no hidden one.
        """
        self.paths = {name: self._images_below(str(directory), name) for name in class_to_idx}
        return Samples(str(directory), list(self.paths.values()))

    def _images_below(self, root: str, top: str) -> list[str]:
        """The images below a folder, sorted paths relative to `root`."""
        below = files_below(root, top, self.repeated)
        return sorted(within + name for within, name in below if self._is_image(within, name))

    def _is_image(self, within: str, name: str) -> bool:
        """Whether a file is an image to list; what else should be said of it is remembered."""
        ends_like_one = name[name.rfind(".") :].lower() in images.ENDINGS
        if ends_like_one and not is_hidden(name):
            return True
        if not images.is_junk(PurePosixPath(name)):
            if ends_like_one:
                self.hidden.append(within + name)
            elif not is_hidden(name):
                if images.is_unnamed_image(Path(self.root, within, name)):
                    return True
                self.refused.append(within + name)
        return False

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Sorted names of the sub-folders, litter left out, and their indices."""
        names = subfolders(Path(directory))
        return names, {name: index for index, name in enumerate(names)}


def files_below(root: str | Path, top: str, repeated: list[str]) -> Iterator[tuple[str, str]]:
    """Find every file below a folder, in no hidden folder and no litter, each real folder's once.

    Strings alone: a million `Path`s take half a minute.

    Parameters
    ----------
    top : str
        The folder, relative to `root`; empty for the root itself.
    repeated : list of str
        Takes the folders that a link would have shown a second time.

    Yields
    ------
    within, name
        The file's folder relative to `root`, with a slash at its end or empty; and the file's name.

    Raises
    ------
    MedclsError
        A folder that cannot be listed.
    """
    seen: set[str] = set()
    waiting = [(top, os.path.realpath(os.path.join(root, top)))]
    while waiting:
        here, real = waiting.pop()
        if real in seen:
            repeated.append(here)
            continue
        seen.add(real)
        within = f"{here}/" if here else ""
        folders = []
        for entry in scan(os.path.join(root, here)):
            if not entry.is_dir():
                yield within, entry.name
            elif not is_hidden(entry.name) and entry.name.lower() not in images.JUNK_FOLDERS:
                # Only behind a link may lie a folder that another way leads to as well.
                real_one = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real, entry.name)
                folders.append((within + entry.name, real_one))
        # Sorted, the last first: of two ways to a folder the same one is taken on every file system.
        waiting += sorted(folders, reverse=True)


def scan(folder: str | Path) -> list[os.DirEntry[str]]:
    """What a folder holds.

    Raises
    ------
    MedclsError
        It cannot be listed: leaving it out would train on less than is there.
    """
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise MedclsError(
            f"The folder {printable(folder)} cannot be listed: {error.strerror}.", kind="unreadable_folder"
        ) from error


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, as `.ipynb_checkpoints` is."""
    return name.startswith(".")


def subfolders(folder: Path) -> list[str]:
    """Sorted names of the folders in a folder, without litter and hidden ones."""
    return sorted(
        entry.name
        for entry in scan(folder)
        if entry.is_dir() and not images.is_junk(Path(entry.name)) and not is_hidden(entry.name)
    )
