"""From folders of images to a manifest: what the folders mean is found out, and said."""

import itertools
import logging
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from medcls.data.manifest import SPLIT_SPELLINGS, Manifest, as_list, group_by_spelling
from medcls.data.reading import images
from medcls.data.sources import phantoms
from medcls.data.sources.assembly import MatchClasses, assemble
from medcls.data.sources.grouping import read_groups
from medcls.data.sources.listing import ClassFolders, files_below, is_hidden, scan, subfolders
from medcls.data.sources.masks import check_masks, refuse_classes_of_masks
from medcls.errors import MedclsError
from medcls.wording import printable, quoted, tallied

log = logging.getLogger(__name__)

PHANTOMS_MADE = 600  # what `ensure_phantoms` makes by default

VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".npy", ".npz")
UNLABELLED = (
    "Images of one class alone, or of none that is known, can train nothing. Those of one class a trained run can "
    "judge (python -m medcls.evaluate run=RUN data=folder data.root=FOLDER); images without labels no command takes so "
    "far."
)
BROKEN_BYTE = re.compile("[\ud800-\udfff]")  # how Python writes a byte of a name that is not UTF-8
MASK = re.compile(r"(.+?)_mask(_\d+)?$", re.IGNORECASE)


def find_layout(root: Path) -> dict[str, Path]:
    """Which folder holds which split.

    Returns
    -------
    dict
        `{"train": ..., "test": ...}` where the folders are named after splits, in any case and
        common spelling, or `{"": root}` where each folder is a class. Folders without an image beside those of the
        splits are passed over.

    Raises
    ------
    MedclsError
        The folder is missing, empty, holds images but no class folders, holds itself a second
        time, mixes splits with something else, or has two folders for one split.
    """
    if not root.exists():
        raise MedclsError(
            f"There is no folder {root} (data.root). Give the folder that holds one sub-folder a class, or "
            "train/val/test folders that do.",
            kind="no_such_folder",
        )
    if not root.is_dir():
        raise MedclsError(f"{root} (data.root) is a file. Give the folder that holds the images.", kind="not_a_folder")
    names = subfolders(root)
    if not names:
        loose = len(loose_images(root))
        raise MedclsError(
            f"{root} (data.root) holds {loose} image(s) but no class folders: put the images of each class into a "
            f"folder of its name. {UNLABELLED}"
            if loose
            else f"{root} (data.root) is empty: it needs one sub-folder a class, or train/val/test folders.",
            kind="no_class_folders" if loose else "no_images",
        )
    if (copy := second_copy(root, names)) is not None:
        raise MedclsError(
            f"{root} holds {', '.join(name for name in names if name != copy)}, and in {copy} all of these again: a "
            f"second copy, as some archives bring it? Give data.root={root / copy}, or move {copy} away.",
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
            f"{root} mixes split folders ({', '.join(path.name for path in splits.values())}) with others that hold "
            f"images ({', '.join(others)}): are these classes or splits? Move the others away.",
            kind="ambiguous_folders",
        )
    if "train" not in splits:
        raise MedclsError(
            f"{root} has {', '.join(p.name for p in splits.values())} but no folder named train.", kind="no_train_split"
        )
    return splits


def holds_image(root: Path, name: str) -> bool:
    """Whether any image, by its name, lies below a folder."""
    return any(
        not is_hidden(file) and (images.is_image_name(Path(file)) or images.is_unnamed_image(root / within / file))
        for within, file in files_below(root, name, [])
    )


def second_copy(root: Path, names: Sequence[str]) -> str | None:
    """Which of a folder's sub-folders holds all the others' names again, if there are at least two others."""
    for name in names if len(names) > 2 else ():
        if all((root / name / other).is_dir() for other in names if other != name):
            return name
    return None


def list_images(root: Path, *, masks: str | None = None, to_be_judged: bool = False) -> tuple[pd.DataFrame, list[str]]:
    """List the images of a folder tree without opening one.

    Parameters
    ----------
    masks : str, optional
        `keep` takes what is called a mask (`x_mask.png` beside `x.png`) for an image.
    to_be_judged : bool
        The classes are known beforehand, by a trained network: then a folder of one class will do.

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
    found: list[tuple[str, str, list[str]]] = []
    refused: list[str] = []
    hidden: list[str] = []
    repeated: list[str] = []
    classes: dict[str, list[str]] = {}
    for split, folder in layout.items():
        listing = ClassFolders(folder)
        within = f"{folder.name}/" if split else ""
        for paths, here in ((refused, listing.refused), (hidden, listing.hidden), (repeated, listing.repeated)):
            paths += [within + path for path in here]
        found += [(split, name, [within + path for path in paths]) for name, paths in listing.paths.items()]
        classes[split] = listing.classes
    check_names(itertools.chain(*(paths for _, _, paths in found), *classes.values()))
    volumes = [path for path in refused if path.lower().endswith(VOLUMES)]
    if volumes:
        raise MedclsError(
            f"{len(volumes)} file(s) hold volumes, such as {shown_first(volumes)}: 3-D images are out of scope for "
            "medcls. Save the slices that matter as pictures.",
            kind="out_of_scope",
        )
    rows = as_rows(found)
    if rows.empty:
        raise MedclsError(
            f"{root} (data.root) has folders but no image in them ({', '.join(subfolders(root))}).", kind="no_images"
        )
    rows, notes = leave_out_masks(rows) if masks is None else (rows, [])
    if "" not in layout:
        used = {folder.name for folder in layout.values()}
        if passed_over := [name for name in subfolders(root) if name not in used]:
            notes.append(f"passed over {', '.join(map(printable, passed_over))}: no image lies there")
    if not to_be_judged:
        check_classes_agree(root, rows, classes)
    if refused:
        endings = tallied([printable(PurePosixPath(path).suffix.lower() or "no ending") for path in sorted(refused)])
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
    names = [entry.name for entry in scan(folder) if entry.is_file() and not is_hidden(entry.name)]
    return [name for name in names if images.is_image_name(Path(name)) and not images.is_junk(Path(name))]


def shown_first(paths: Sequence[str]) -> str:
    """The first of some paths, as a message can print it."""
    return printable(min(paths))


def as_rows(found: Sequence[tuple[str, str, list[str]]]) -> pd.DataFrame:
    """The table of (split, class, sorted paths of its images), sorted by path.

    The images of one class folder stand together in that order, so its blocks are sorted and not a million rows.
    """
    blocks = sorted((block for block in found if block[2]), key=lambda block: block[2][0])
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
    """Refuse names that no table could hold.

    Raises
    ------
    MedclsError
        Lists every name that is not UTF-8, its broken bytes as escapes.
    """
    broken = [name for name in names if not name.isascii() and BROKEN_BYTE.search(name)]
    if broken:
        raise MedclsError(
            f"{len(broken)} file or folder name(s) are not UTF-8 and cannot stand in a table:\n"
            + "\n".join(f"  {name!a}" for name in broken)
            + "\nRename them.",
            kind="not_utf8",
        )


def leave_out_masks(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out segmentation masks that lie beside their picture (`x.png`, `x_mask.png`, `x_mask_1.png`)."""
    # By row number, the stem of the picture that it would be a mask of; few names, if any, look like a mask's.
    pictures = {
        number: match.group(1)
        for number, path in enumerate(rows["path"])
        if "_mask" in path.lower() and (match := MASK.fullmatch(path.rsplit(".", 1)[0]))
    }
    wanted = set(pictures.values())
    there = {stem for path in rows["path"] if (stem := path.rsplit(".", 1)[0]) in wanted} if wanted else set()
    masks = [number for number, stem in pictures.items() if stem in there]
    if not masks:
        return rows, []
    note = f"left out {len(masks)} segmentation mask(s) beside their picture, such as {rows['path'].iloc[masks[0]]}"
    return rows.drop(rows.index[masks]), [note]


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
            f"class folders, give data.root={shlex.quote(str(root / only))}\n{UNLABELLED}",
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
        hint = f" {' and '.join(map(repr, alike[0]))} differ only in case or blanks: call them alike." if alike else ""
        raise MedclsError(
            f"The class folders under {root} do not agree, and a missing one would shift every label after it:\n"
            + "\n".join(faults)
            + f"\nThe classes are: {quoted(everywhere)}. Add the missing images, or remove what is no class.{hint}",
            kind="missing_class",
        )


def from_folders(
    root: str | Path | None,
    *,
    positive: str | None = None,
    label_map: Mapping[str, Sequence[str]] | None = None,
    leave_out_unmapped: bool = False,
    group_pattern: str | None = None,
    groups: str | Path | None = None,
    masks: str | None = None,
    exclude_paths: str | Sequence[str] = (),
    exclude_file: str | Path | None = None,
    phantoms_at: str | Path | None = None,
    dicom_patients: bool = False,
    dicom_columns: bool = False,
    frame: int = 0,
    remember: bool = True,
    strict: bool = True,
    judged_by: MatchClasses | None = None,
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
    groups : path, optional
        A table with `path` and `group`; see `grouping.read_groups`.
    phantoms_at : path, optional
        Make breast ultrasound phantoms at `root` where that is this folder, and it does not exist.
    label_map, leave_out_unmapped, group_pattern, masks, exclude_paths, exclude_file, dicom_patients,
    dicom_columns, frame, remember, strict, judged_by, progress
        See `medcls.data.sources.assembly.assemble`.

    Raises
    ------
    MedclsError
        Anything about the folder or its images that would make a classifier lie: each message
        says what, where, and what to do. Unreadable images are all listed.
    """
    if root is None:
        raise MedclsError(
            "Nothing says where the images are: add data.root=/path/to/images to the command.", kind="missing_setting"
        )
    root = Path(str(root))
    if phantoms_at is not None and root.absolute() == Path(phantoms_at).absolute() and not root.exists():
        log.warning(
            "NO IMAGES were found at %s: making %d breast ultrasound PHANTOMS there. They are synthetic, and nothing "
            "measured on them says anything about patients. For images of your own: data.root=/path/to/images",
            root.absolute(),
            PHANTOMS_MADE,
            extra={"rule": "phantoms_made"},
        )
        phantoms.ensure_phantoms(root)
    watermarks: tuple[str, ...] = ()
    if root.is_dir() and phantoms.read_marker(root):
        watermarks = (phantoms.PHANTOM_WATERMARK,)
        group_pattern = group_pattern or (None if groups else phantoms.GROUP_PATTERN)
        exclude_paths = ()  # these name files of the real set whose place the phantoms take
    check_masks(masks)
    rows, notes = list_images(root, masks=masks, to_be_judged=judged_by is not None)
    if groups is not None:
        if group_pattern is not None:
            raise MedclsError(
                "Groups come from data.groups or from data.group_pattern, not from both: set one to null.",
                kind="conflicting_settings",
            )
        names, said = read_groups(groups, root, rows["path"].tolist())
        rows, notes = rows.assign(group=names), [*notes, *said]
    if masks is None:
        wanted = rows
        if leave_out_unmapped and isinstance(label_map, Mapping):
            named = {str(old) for olds in label_map.values() for old in as_list(olds)}
            wanted = rows[rows["label"].isin(named)]
        refuse_classes_of_masks(root, wanted, frame=frame, remember=remember)
    return assemble(
        root,
        rows,
        positive=positive,
        label_map=label_map,
        leave_out_unmapped=leave_out_unmapped,
        group_pattern=group_pattern,
        masks=masks,
        exclude_paths=exclude_paths,
        exclude_file=exclude_file,
        dicom_patients=dicom_patients,
        dicom_columns=dicom_columns,
        frame=frame,
        remember=remember,
        strict=strict,
        judged_by=judged_by,
        watermarks=watermarks,
        notes=notes,
        progress=progress,
    )
