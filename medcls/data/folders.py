"""From folders of images to a manifest: what the folders mean is found out, and said."""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd
from torchvision.datasets import ImageFolder

from medcls.data import images, phantoms
from medcls.data.assembly import assemble
from medcls.data.manifest import Manifest, count_words
from medcls.errors import MedclsError

log = logging.getLogger(__name__)

PHANTOMS_MADE = 600  # what `ensure_phantoms` makes by default

SPLIT_SPELLINGS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".npy", ".npz")
MASK = re.compile(r"(.+?)_mask(_\d+)?$", re.IGNORECASE)


class ClassFolders(ImageFolder):
    """torchvision's `ImageFolder` that does not take an operating system's litter for a class.

    It lists; the pixels are read elsewhere. What it refused stands in `refused`, hidden images in
    `hidden`, and the folders that a link would have shown a second time in `repeated`.
    """

    def __init__(self, root: Path) -> None:
        self.refused: list[str] = []
        self.hidden: list[str] = []
        self.repeated: list[str] = []
        super().__init__(str(root), is_valid_file=self._is_image, allow_empty=True)

    def _is_image(self, path: str) -> bool:
        if images.is_junk(Path(path).relative_to(self.root)):
            return False
        if not images.is_image_name(Path(path)):
            if not is_hidden(Path(path).name):
                self.refused.append(path)
            return False
        if is_hidden(Path(path).name):
            self.hidden.append(path)
            return False
        return True

    def make_dataset(
        self,
        directory: str | Path,
        class_to_idx: dict[str, int],
        extensions: tuple[str, ...] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> list[tuple[str, int]]:
        """Every image below each class folder with its class index, in no certain order.

        torchvision's own follows a link that leads back up until the system stops it; this one
        enters each folder once a class, and no hidden one.
        """
        samples = []
        for name, index in class_to_idx.items():
            seen: set[str] = set()
            for here, folders, files in os.walk(os.path.join(directory, name), followlinks=True):
                real = os.path.realpath(here)
                if real in seen:
                    self.repeated.append(here)
                    folders.clear()
                    continue
                seen.add(real)
                # Sorted: of two ways to a folder the same one is taken on every file system.
                folders[:] = sorted(folder for folder in folders if not is_hidden(folder))
                paths = [os.path.join(here, file) for file in files]
                samples += [(path, index) for path in paths if self._is_image(path)]
        return samples

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Sorted names of the sub-folders, litter left out, and their indices."""
        names = subfolders(Path(directory))
        return names, {name: index for index, name in enumerate(names)}


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, as `.ipynb_checkpoints` is."""
    return name.startswith(".")


def subfolders(folder: Path) -> list[str]:
    """Sorted names of the folders in a folder, without litter and hidden ones."""
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not images.is_junk(Path(entry.name)) and not is_hidden(entry.name)
    )


def find_layout(root: Path) -> dict[str, Path]:
    """Which folder holds which split.

    Returns
    -------
    dict
        `{"train": ..., "test": ...}` where the folders are named after splits, in any case and
        common spelling, or `{"": root}` where each folder is a class.

    Raises
    ------
    MedclsError
        The folder is missing, empty, holds images but no class folders, mixes splits with
        something else, or has two folders for one split.
    """
    if not root.exists():
        raise MedclsError(
            f"There is no folder {root} (data.root). Give the folder that holds one sub-folder a class, or "
            "train/val/test folders that do."
        )
    if not root.is_dir():
        raise MedclsError(f"{root} (data.root) is a file. Give the folder that holds the images.")
    names = subfolders(root)
    if not names:
        loose = len(loose_images(root))
        raise MedclsError(
            f"{root} (data.root) holds {loose} image(s) but no class folders: put the images of each class into a "
            "folder of its name."
            if loose
            else f"{root} (data.root) is empty: it needs one sub-folder a class, or train/val/test folders."
        )
    splits: dict[str, Path] = {}
    others = []
    for name in names:
        split = SPLIT_SPELLINGS.get(name.lower())
        if split is None:
            others.append(name)
        elif split in splits:
            raise MedclsError(f"{root} has two folders for one split: {splits[split].name} and {name}. Keep one.")
        else:
            splits[split] = root / name
    if not splits:
        return {"": root}
    if others:
        raise MedclsError(
            f"{root} mixes split folders ({', '.join(path.name for path in splits.values())}) with others "
            f"({', '.join(others)}): are these classes or splits? Move the others away."
        )
    if "train" not in splits:
        raise MedclsError(f"{root} has {', '.join(p.name for p in splits.values())} but no folder named train.")
    return splits


def list_images(root: Path) -> tuple[pd.DataFrame, list[str]]:
    """List the images of a folder tree without opening one.

    Returns
    -------
    rows, notes
        Columns `path`, `label`, `given_split`, sorted by path; and what was left out, in words.

    Raises
    ------
    MedclsError
        No images, a class that one split lacks, volumes (out of scope), or names that are not UTF-8.
    """
    layout = find_layout(root)
    paths: list[tuple[str, str, str]] = []
    refused: list[str] = []
    hidden: list[str] = []
    repeated: list[str] = []
    classes: dict[str, list[str]] = {}
    for split, folder in layout.items():
        listing = ClassFolders(folder)
        refused += listing.refused
        hidden += listing.hidden
        repeated += listing.repeated
        classes[split] = listing.classes
        paths += [
            (Path(path).relative_to(root).as_posix(), listing.classes[index], split) for path, index in listing.samples
        ]
    check_names([*(path for path, _, _ in paths), *(name for names in classes.values() for name in names)])
    volumes = [path for path in refused if path.lower().endswith(VOLUMES)]
    if volumes:
        raise MedclsError(
            f"{len(volumes)} file(s) hold volumes, such as {shown_first(volumes)}: 3-D images are out of scope for "
            "medcls. Save the slices that matter as pictures."
        )
    rows = pd.DataFrame(paths, columns=["path", "label", "given_split"]).sort_values("path", ignore_index=True)
    if rows.empty:
        raise MedclsError(f"{root} (data.root) has folders but no image in them ({', '.join(subfolders(root))}).")
    rows, notes = leave_out_masks(rows)
    check_classes_agree(root, rows, classes)
    if refused:
        endings = count_words(
            [images.shown(PurePosixPath(path).suffix.lower() or "no ending") for path in sorted(refused)]
        )
        notes.append(f"left out {len(refused)} file(s) that are no images ({endings}), such as {shown_first(refused)}")
    for names, what in (
        ([name for folder in layout.values() for name in loose_images(folder)], "image(s) that lie in no class folder"),
        (hidden, "hidden image(s)"),
        (repeated, "folder(s) that a link shows a second time"),
    ):
        if names:
            notes.append(f"left out {len(names)} {what}, such as {shown_first(names)}")
    return rows, notes


def loose_images(folder: Path) -> list[str]:
    """Names of the images that lie in a folder itself, without litter and hidden ones."""
    names = [entry.name for entry in os.scandir(folder) if entry.is_file() and not is_hidden(entry.name)]
    return [name for name in names if images.is_image_name(Path(name)) and not images.is_junk(Path(name))]


def shown_first(paths: Sequence[str]) -> str:
    """The first of some paths, as a message can print it."""
    return images.shown(min(paths))


def check_names(names: Sequence[str]) -> None:
    """Refuse names that no table could hold.

    Raises
    ------
    MedclsError
        Lists every name that is not UTF-8, its broken bytes as escapes.
    """
    broken = [name for name in names if any("\ud800" <= letter <= "\udfff" for letter in name)]
    if broken:
        raise MedclsError(
            f"{len(broken)} file or folder name(s) are not UTF-8 and cannot stand in a table:\n"
            + "\n".join(f"  {name!a}" for name in broken)
            + "\nRename them."
        )


def leave_out_masks(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out segmentation masks that lie beside their picture (`x.png`, `x_mask.png`, `x_mask_1.png`)."""
    stems = {path.rsplit(".", 1)[0] for path in rows["path"]}

    def is_mask(path: str) -> bool:
        match = MASK.fullmatch(path.rsplit(".", 1)[0])
        return match is not None and match.group(1) in stems

    masks = rows["path"].map(is_mask).astype(bool)
    if not masks.any():
        return rows, []
    first = rows.loc[masks, "path"].iloc[0]
    return rows[~masks], [f"left out {int(masks.sum())} segmentation mask(s) beside their picture, such as {first}"]


def check_classes_agree(root: Path, rows: pd.DataFrame, classes: Mapping[str, Sequence[str]]) -> None:
    """Every split has the same classes, and an image of each.

    Raises
    ------
    MedclsError
        Names each class that is missing or empty, and where; or says that there is only one.
    """
    everywhere = sorted({name for names in classes.values() for name in names})
    if len(everywhere) == 1:
        only = everywhere[0]
        raise MedclsError(
            f"{root} has one class folder, {only!r}: a classifier needs at least two. If {only!r} itself holds the "
            f"class folders, give data.root={root / only}"
        )
    faults = []
    for split, names in classes.items():
        where = f"{split}: " if split else ""
        faults += [f"  {where}there is no folder for class {name!r}" for name in everywhere if name not in names]
        present = set(rows.loc[rows["given_split"] == split, "label"])
        faults += [f"  {where}the folder of class {name!r} holds no image" for name in names if name not in present]
    if faults:
        raise MedclsError(
            f"The class folders under {root} do not agree, and a missing one would shift every label after it:\n"
            + "\n".join(faults)
            + f"\nThe classes are: {', '.join(everywhere)}. Add the missing images, or remove what is no class."
        )


def from_folders(
    root: str | Path | None,
    *,
    positive: str | None = None,
    label_map: Mapping[str, Sequence[str]] | None = None,
    group_pattern: str | None = None,
    exclude_paths: str | Sequence[str] = (),
    exclude_file: str | Path | None = None,
    phantoms_at: str | Path | None = None,
    frame: int = 0,
    remember: bool = True,
    strict: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Read folders of images into a checked manifest, without splitting it.

    Three layouts are found by themselves: train/val/test folders, train/test folders, and one
    folder a class.

    Parameters
    ----------
    root : path
        The folder.
    positive : str, optional
        The class a binary task looks for.
    phantoms_at : path, optional
        Make breast ultrasound phantoms at `root` where that is this folder, and it does not exist.
    label_map, group_pattern, exclude_paths, exclude_file, frame, remember, strict, progress
        See `medcls.data.assembly.assemble`.

    Raises
    ------
    MedclsError
        Anything about the folder or its images that would make a classifier lie: each message
        says what, where, and what to do. Unreadable images are all listed.
    """
    if root is None:
        raise MedclsError("Nothing says where the images are: add data.root=/path/to/images to the command.")
    root = Path(str(root))
    if phantoms_at is not None and root.absolute() == Path(phantoms_at).absolute() and not root.exists():
        log.warning(
            "NO IMAGES were found at %s: making %d breast ultrasound PHANTOMS there. They are synthetic, and nothing "
            "measured on them says anything about patients. For images of your own: data.root=/path/to/images",
            root.absolute(),
            PHANTOMS_MADE,
        )
        phantoms.ensure_phantoms(root)
    stamps: tuple[str, ...] = ()
    if root.is_dir() and phantoms.read_marker(root):
        stamps = (phantoms.PHANTOM_STAMP,)
        group_pattern = group_pattern or phantoms.GROUP_PATTERN
        exclude_paths = ()  # these name files of the real set whose place the phantoms take
    rows, notes = list_images(root)
    return assemble(
        root,
        rows,
        positive=positive,
        label_map=label_map,
        group_pattern=group_pattern,
        exclude_paths=exclude_paths,
        exclude_file=exclude_file,
        frame=frame,
        remember=remember,
        strict=strict,
        stamps=stamps,
        notes=notes,
        progress=progress,
    )
