"""The images of class folders, up to a million: no file is opened but those without an extension."""

import bisect
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import overload

from torchvision.datasets import ImageFolder

from medcls.data.reading import images
from medcls.data.sources.file_names import files_below, is_hidden, subfolders


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
