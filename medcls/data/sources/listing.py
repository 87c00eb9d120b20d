"""File names below folders, up to a million: no file is opened but those without an extension."""

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
    """`ImageFolder.samples` from one list of paths a class; each pair is made on access.

    A million pairs with full paths would be a million tuples, and repeat every folder's name a million times.

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
    def __getitem__(self, index: int) -> tuple[str, int]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, int]]: ...

    def __getitem__(self, index: int | slice) -> tuple[str, int] | list[tuple[str, int]]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        label = bisect.bisect_right(self._starts, number) - 1
        return self._folder + self._paths[label][number - self._starts[label]], label


class ClassFolders(ImageFolder):  # type: ignore[misc]  # torchvision has no types
    """torchvision's `ImageFolder` that ignores system files, and scales to a million images.

    It only lists. All paths are relative to `root`, with forward slashes: `paths` has the sorted images of each class,
    `refused` the files that are not images, `hidden` the hidden images, `repeated` the folders that a link repeats.
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

        torchvision's own follows a link to a folder above until the system stops it; this one enters each folder once a
        class, and no hidden one.
        """
        self.paths = {name: self._images_below(str(directory), name) for name in class_to_idx}
        return Samples(str(directory), list(self.paths.values()))

    def _images_below(self, root: str, top: str) -> list[str]:
        """The images below a folder: sorted paths relative to `root`."""
        below = files_below(root, top, self.repeated)
        return sorted(within + name for within, name in below if self._is_image(within, name))

    def _is_image(self, within: str, name: str) -> bool:
        """Whether a file is an image; if not, record it where it is to be reported."""
        has_extension = name[name.rfind(".") :].lower() in images.EXTENSIONS
        if has_extension and not is_hidden(name):
            return True
        if not images.is_junk(PurePosixPath(name)):
            if has_extension:
                self.hidden.append(within + name)
            elif not is_hidden(name):
                if images.is_unnamed_image(Path(self.root, within, name)):
                    return True
                self.refused.append(within + name)
        return False

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Sorted names of the sub-folders, without system folders, and their indices."""
        names = subfolders(Path(directory))
        return names, {name: index for index, name in enumerate(names)}


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
