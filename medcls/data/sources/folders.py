"""From folders of images to a manifest: find out what the folders mean, and report it."""

import dataclasses
import itertools
import logging
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from medcls.data.manifest import SPLIT_SPELLINGS, Manifest, as_list, group_by_spelling
from medcls.data.reading import images
from medcls.data.sources import phantoms
from medcls.data.sources.assembly import assemble
from medcls.data.sources.file_names import entries, files_below, is_hidden, subfolders
from medcls.data.sources.grouping import read_groups
from medcls.data.sources.listing import ClassFolders
from medcls.data.sources.masks import refuse_classes_of_masks
from medcls.data.sources.options import SourceOptions, takes_options
from medcls.errors import MedclsError
from medcls.wording import printable, quoted, tallied

log = logging.getLogger(__name__)

PHANTOMS_MADE = 600  # what `ensure_phantoms` makes by default

VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".npy", ".npz")
UNLABELLED = (
    "Training needs images of at least two classes. Images of one class can be evaluated by a trained run (python -m "
    "medcls.evaluate run=RUN data=folder data.root=FOLDER)."
)
BROKEN_BYTE = re.compile("[\ud800-\udfff]")  # Python's code for a byte of a name that is not UTF-8
MASK = re.compile(r"(.+?)_mask(_\d+)?$", re.IGNORECASE)


def find_layout(root: Path) -> dict[str, Path]:
    """Map splits to folders, named in any case and common spelling; `{"": root}` if each folder is a class.

    Folders without images beside split folders are ignored.
    """
    if not root.exists():
        raise MedclsError(
            f"There is no folder {root} (data.root). Give a folder with one sub-folder a class, or with train/val/test "
            "folders that have these.",
            kind="no_such_folder",
        )
    if not root.is_dir():
        raise MedclsError(f"{root} (data.root) is a file. Give the folder that holds the images.", kind="not_a_folder")
    names = subfolders(root)
    if not names:
        loose = len(loose_images(root))
        raise MedclsError(
            f"{root} (data.root) has {loose} image(s) but no class folders: put the images of each class into a "
            f"folder named after it. {UNLABELLED}"
            if loose
            else f"{root} (data.root) is empty: it needs one sub-folder a class, or train/val/test folders.",
            kind="no_class_folders" if loose else "no_images",
        )
    if (copy := second_copy(root, names)) is not None:
        raise MedclsError(
            f"{root} has {', '.join(name for name in names if name != copy)}, and {copy} has all of these again (some "
            f"archives contain their data twice). Give data.root={root / copy}, or move {copy} away.",
            kind="ambiguous_folders",
        )
    splits: dict[str, Path] = {}
    others: list[str] = []
    for name in names:
        split = SPLIT_SPELLINGS.get(name.lower())
        if split is None:
            others.append(name)
        elif split in splits:
            raise MedclsError(
                f"{root} has two folders for one split: {splits[split].name} and {name}. Keep one.",
                kind="ambiguous_folders",
            )
        else:
            splits[split] = root / name
    if not splits:
        return {"": root}
    if others := [name for name in others if holds_image(root, name)]:
        raise MedclsError(
            f"{root} has split folders ({', '.join(path.name for path in splits.values())}) and other folders of "
            f"images ({', '.join(others)}): are these classes or splits? Move the others away.",
            kind="ambiguous_folders",
        )
    if "train" not in splits:
        raise MedclsError(
            f"{root} has {', '.join(p.name for p in splits.values())} but no folder named train.", kind="no_train_split"
        )
    return splits


def holds_image(root: Path, name: str) -> bool:
    """Whether any image, by its name, is below a folder."""
    return any(
        not is_hidden(file) and (images.is_image_name(Path(file)) or images.is_unnamed_image(root / within / file))
        for within, file in files_below(root, name, [])
    )


def second_copy(root: Path, names: Sequence[str]) -> str | None:
    """Which sub-folder contains all the others' names again, if there are at least two others."""
    for name in names if len(names) > 2 else ():
        if all((root / name / other).is_dir() for other in names if other != name):
            return name
    return None


def list_images(root: Path, *, masks: str | None = None, to_be_judged: bool = False) -> tuple[pd.DataFrame, list[str]]:
    """List the images of a folder tree without opening one.

    `masks="keep"` treats files named as masks (`x_mask.png` beside `x.png`) as images. With `to_be_judged`, one class
    is enough: a trained network knows the others.

    Returns
    -------
    rows, notes
        Columns `path`, `label`, `given_split`, sorted by path; and what was left out.
    """
    layout = find_layout(root)
    blocks: list[tuple[str, str, list[str]]] = []
    refused: list[str] = []
    hidden: list[str] = []
    repeated: list[str] = []
    classes: dict[str, list[str]] = {}
    for split, folder in layout.items():
        listing = ClassFolders(folder)
        within = f"{folder.name}/" if split else ""
        for paths, here in ((refused, listing.refused), (hidden, listing.hidden), (repeated, listing.repeated)):
            paths += [within + path for path in here]
        blocks += [(split, name, [within + path for path in paths]) for name, paths in listing.paths.items()]
        classes[split] = listing.classes
    check_names(itertools.chain(*(paths for _, _, paths in blocks), *classes.values()))
    volumes = [path for path in refused if path.lower().endswith(VOLUMES)]
    if volumes:
        raise MedclsError(
            f"{len(volumes)} file(s) are volumes, such as {first_of(volumes)}: 3-D images are out of scope for "
            "medcls. Save the relevant slices as images.",
            kind="out_of_scope",
        )
    rows = as_rows(blocks)
    if rows.empty:
        raise MedclsError(
            f"{root} (data.root) has folders without images ({', '.join(subfolders(root))}).", kind="no_images"
        )
    rows, notes = leave_out_masks(rows) if masks is None else (rows, [])
    if "" not in layout:
        used = {folder.name for folder in layout.values()}
        if passed_over := [name for name in subfolders(root) if name not in used]:
            notes.append(f"ignored {', '.join(map(printable, passed_over))}: no image in it")
    if not to_be_judged:
        check_classes_agree(root, rows, classes)
    if refused:
        suffixes = tallied(
            [printable(PurePosixPath(path).suffix.lower() or "no extension") for path in sorted(refused)]
        )
        notes.append(f"left out {len(refused)} file(s) that are not images ({suffixes}), such as {first_of(refused)}")
    for names, what in (
        ([name for folder in layout.values() for name in loose_images(folder)], "image(s) outside the class folders"),
        (hidden, "hidden image(s)"),
        (repeated, "folder(s) that a link repeats"),
    ):
        if names:
            notes.append(f"left out {len(names)} {what}, such as {first_of(names)}")
    return rows, notes


def loose_images(folder: Path) -> list[str]:
    """Names of the images directly in a folder, without hidden and system files."""
    names = [entry.name for entry in entries(folder) if entry.is_file() and not is_hidden(entry.name)]
    return [name for name in names if images.is_image_name(Path(name)) and not images.is_junk(Path(name))]


def first_of(paths: Sequence[str]) -> str:
    """The first of some paths, printable."""
    return printable(min(paths))


def as_rows(blocks: Sequence[tuple[str, str, list[str]]]) -> pd.DataFrame:
    """The table of (split, class, sorted paths of its images), sorted by path.

    The images of a class folder are consecutive in that order, so it sorts the blocks and not a million rows.
    """
    blocks = sorted((block for block in blocks if block[2]), key=lambda block: block[2][0])
    sizes = [len(paths) for _, _, paths in blocks]

    def repeated(values: Sequence[str]) -> np.ndarray:
        return np.repeat(np.array(values, dtype=object), sizes)

    return pd.DataFrame(
        {
            "path": np.array(list(itertools.chain(*(paths for _, _, paths in blocks))), dtype=object),
            "label": repeated([name for _, name, _ in blocks]),
            "given_split": repeated([split for split, _, _ in blocks]),
        },
        dtype="str",
    )


def check_names(names: Iterable[str]) -> None:
    """Refuse names that a table cannot hold."""
    broken = [name for name in names if not name.isascii() and BROKEN_BYTE.search(name)]
    if broken:
        raise MedclsError(
            f"{len(broken)} file or folder name(s) are not UTF-8, which a table cannot hold:\n"
            + "\n".join(f"  {name!a}" for name in broken)
            + "\nRename them.",
            kind="not_utf8",
        )


def leave_out_masks(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out segmentation masks beside their image (`x.png`, `x_mask.png`, `x_mask_1.png`)."""
    # The stem of the image that each row's file would be a mask of; few names, if any, look like a mask's.
    stems = {
        number: match.group(1)
        for number, path in enumerate(rows["path"])
        if "_mask" in path.lower() and (match := MASK.fullmatch(path.rsplit(".", 1)[0]))
    }
    candidates = set(stems.values())
    present = {stem for path in rows["path"] if (stem := path.rsplit(".", 1)[0]) in candidates} if candidates else set()
    masks = [number for number, stem in stems.items() if stem in present]
    if not masks:
        return rows, []
    note = f"left out {len(masks)} segmentation mask(s) beside their image, such as {rows['path'].iloc[masks[0]]}"
    return rows.drop(rows.index[masks]), [note]


def check_classes_agree(root: Path, rows: pd.DataFrame, classes: Mapping[str, Sequence[str]]) -> None:
    """Check that every split has the same classes, and an image of each."""
    everywhere = sorted({name for names in classes.values() for name in names})
    if len(everywhere) == 1:
        only = everywhere[0]
        raise MedclsError(
            f"{root} has one class folder, {only!r}: a classifier needs at least two. If the class folders are in "
            f"{only!r}, give data.root={shlex.quote(str(root / only))}\n{UNLABELLED}",
            kind="one_class",
        )
    faults: list[str] = []
    for split, names in classes.items():
        where = f"{split}: " if split else ""
        faults += [f"  {where}there is no folder for class {name!r}" for name in everywhere if name not in names]
        present = set(rows.loc[rows["given_split"] == split, "label"])
        faults += [f"  {where}the folder of class {name!r} holds no image" for name in names if name not in present]
    if faults:
        alike = [names for names in group_by_spelling(everywhere) if len(names) > 1]
        hint = f" {' and '.join(map(repr, alike[0]))} differ only in case or blanks: use one name." if alike else ""
        raise MedclsError(
            f"The splits under {root} have different class folders; a missing one would shift every label after it:\n"
            + "\n".join(faults)
            + f"\nThe classes are: {quoted(everywhere)}. Add the missing images, or remove what is not a class.{hint}",
            kind="missing_class",
        )


@takes_options
def from_folders(
    root: str | Path | None,
    *,
    groups: str | Path | None = None,
    phantoms_at: str | Path | None = None,
    options: SourceOptions,
) -> Manifest:
    """Read folders of images into a checked manifest, without splitting it.

    Three layouts are recognised: train/val/test folders, train/test folders, and one folder a class.

    Parameters
    ----------
    root : path
        The folder.
    groups : path, optional
        A table with `path` and `group`; see `grouping.read_groups`.
    phantoms_at : path, optional
        Make breast ultrasound phantoms at `root` if it is this folder and does not exist.
    options : SourceOptions
        Or its fields, each as an argument.

    Raises
    ------
    MedclsError
        Any fault of the folder or its images that would invalidate the results: what, where, and what to do.
    """
    if root is None:
        raise MedclsError(
            "No folder of images is given: add data.root=/path/to/images to the command.", kind="missing_setting"
        )
    root = Path(str(root))
    if phantoms_at is not None and root.absolute() == Path(phantoms_at).absolute() and not root.exists():
        log.warning(
            "NO IMAGES at %s: making %d breast ultrasound PHANTOMS there. They are synthetic, and no result on them "
            "applies to patients. For your own images: data.root=/path/to/images",
            root.absolute(),
            PHANTOMS_MADE,
            extra={"rule": "phantoms_made"},
        )
        phantoms.ensure_phantoms(root)
    watermarks: tuple[str, ...] = ()
    if root.is_dir() and phantoms.holds_phantoms(root):
        watermarks = (phantoms.PHANTOM_WATERMARK,)
        pattern = options.group_pattern or (None if groups else phantoms.GROUP_PATTERN)
        # The configured exclusions name files of the real set that the phantoms stand in for.
        options = dataclasses.replace(options, group_pattern=pattern, exclude_paths=())
    rows, notes = list_images(root, masks=options.masks, to_be_judged=options.judged_by is not None)
    if groups is not None:
        if options.group_pattern is not None:
            raise MedclsError(
                "Groups come from data.groups or from data.group_pattern, not from both: set one to null.",
                kind="conflicting_settings",
            )
        names, group_notes = read_groups(groups, root, rows["path"].tolist())
        rows, notes = rows.assign(group=names), [*notes, *group_notes]
    if options.masks is None:
        kept = rows
        if options.leave_out_unmapped and isinstance(options.label_map, Mapping):
            mapped = {str(old) for olds in options.label_map.values() for old in as_list(olds)}
            kept = rows[rows["label"].isin(mapped)]
        refuse_classes_of_masks(root, kept, options.scan)
    return assemble(root, rows, options, watermarks=watermarks, notes=notes)
