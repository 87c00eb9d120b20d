"""Several sets of images as one, with the classes of all of them: for pretraining on other images than the target's."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medcls.data.manifest import Manifest, exclude, groups_from_paths, named_exclusions
from medcls.data.sources import phantoms
from medcls.data.sources.assembly import assemble
from medcls.data.sources.folders import list_images
from medcls.data.sources.options import SourceOptions, takes_options
from medcls.data.sources.scan import scan_images
from medcls.data.sources.table_text import read_table
from medcls.data.sources.tables import Columns, find_table, rows_from_csv
from medcls.data.splits.near_duplicates import known_images
from medcls.errors import MedclsError, nearest
from medcls.signatures import check_fits
from medcls.wording import counted, quoted

Part = Mapping[str, Any]


@takes_options
def from_several(
    root: str | Path | None,
    *,
    sets: Mapping[str, Part] | None,
    apart_from: Mapping[str, Part] | None = None,
    most_per_class: int | None = None,
    groups: str | Path | None = None,
    options: SourceOptions,
) -> Manifest:
    """Read several sets into one checked manifest, without splitting it.

    A class is named after its set, as `chest_xray: NORMAL`; so is a group. Images in a test split that came with a set
    are left out, since nothing is trained on them; its other splits are joined.

    Parameters
    ----------
    root : path
        The folder that holds the sets.
    sets : mapping of str to mapping
        By folder below `root`, how the set is read: `group_pattern` for folders; for a table `csv` and the other fields
        of `tables.Columns`.
    apart_from : mapping of str to mapping, optional
        Sets below `root` that a network is later tested on: what has the same pixels as an image of these, or is a near
        duplicate of one, is left out. They are described as `sets` are; their labels are not read.
    most_per_class : int, optional
        Use so many images of a class at most: those whose hashed paths come first, on any machine.
    groups : path, optional
        For folders only; the sets have their own groups.
    options : SourceOptions
        Or its fields, each as an argument. Labels and paths are those of the joined set.

    Raises
    ------
    MedclsError
        Any fault of a set that would invalidate the results: what, where, and what to do.
    """
    root = _checked_root(root, groups, options)
    if not sets:
        raise MedclsError(
            "data.sets names no set of images: give sub-folders of data.root, as data.sets='{chest_xray: {}}'.",
            kind="missing_setting",
        )
    if most_per_class is not None and (isinstance(most_per_class, bool) or most_per_class < 1):
        raise MedclsError(
            f"data.most_per_class is {most_per_class!r}: give a whole number, at least 1, or null.", kind="bad_value"
        )
    if both := sorted(set(sets) & set(apart_from or {})):
        raise MedclsError(
            f"data.sets and data.apart_from both name {', '.join(both)}: a set is either learned from or tested on.",
            kind="conflicting_settings",
        )
    tables, notes = [], []
    for name, part in sets.items():
        rows, part_notes = _listed(root, str(name), part, options)
        test = rows["given_split"] == "test"
        if test.any():
            part_notes.append(f"left out {counted(int(test.sum()), 'image')} of its test split")
        tables.append(rows[~test].assign(given_split=""))
        notes += [f"{name}: {note}" for note in part_notes]
    others = {str(name): _listed(root, str(name), part, options)[0] for name, part in (apart_from or {}).items()}
    rows = pd.concat(tables).sort_values("path", ignore_index=True)
    rows, excluded = exclude(rows, named_exclusions(options.exclude_paths, options.exclude_file, root))
    notes += excluded
    if most_per_class is not None:
        kept = _first_by_hash(rows, most_per_class)
        if not kept.all():
            notes.append(f"left out {counted(int((~kept).sum()), 'image')} (data.most_per_class={most_per_class})")
        rows = rows[kept].reset_index(drop=True)
    # Those that do not exist any more were excluded above.
    synthetic = any(phantoms.holds_phantoms(root / str(name)) for name in sets)
    manifest = assemble(
        root,
        rows,
        dataclasses.replace(options, exclude_paths=(), exclude_file=None),
        watermarks=(phantoms.PHANTOM_WATERMARK,) if synthetic else (),
        notes=notes,
    )
    return _kept_apart(manifest, others, options)


def _checked_root(root: str | Path | None, groups: str | Path | None, options: SourceOptions) -> Path:
    if root is None:
        raise MedclsError(
            "No folder of images is given: add data.root=/path/to/sets to the command.", kind="missing_setting"
        )
    if groups is not None or options.group_pattern is not None:
        raise MedclsError(
            "data.groups and data.group_pattern are for one set: each of data.sets has its own group_pattern, or the "
            "group_column of its table.",
            kind="conflicting_settings",
        )
    return Path(str(root))


def _listed(root: Path, name: str, part: Part, options: SourceOptions) -> tuple[pd.DataFrame, list[str]]:
    """The images of one set: `path` below `root`, `label`, `given_split`, `group`; and notes."""
    part = {} if part is None else part
    place = root / name
    if not place.is_dir():
        siblings = [entry.name for entry in root.iterdir() if entry.is_dir()] if root.is_dir() else []
        raise MedclsError(
            f"There is no folder {place}, which data.sets or data.apart_from names.{nearest(name, siblings)}",
            kind="no_such_folder",
        )
    if "csv" in part:
        check_fits(Columns, {key: value for key, value in part.items() if key != "csv"}, f"data.sets.{name}")
        table, notes = find_table(part["csv"], place)
        cells, format_notes = read_table(table)
        columns = Columns(**{key: value for key, value in part.items() if key != "csv"})
        rows, more = rows_from_csv(cells, place, columns, strict=options.strict)
        notes = [*notes, *format_notes, *more]
        rows = rows[[column for column in ("path", "label", "given_split", "group") if column in rows]]
    else:
        check_fits(_of_folders, part, f"data.sets.{name}", given=("paths",))
        rows, notes = list_images(place, masks=options.masks)
        rows = rows.assign(group=_of_folders(rows["path"].tolist(), **part))
    if "group" not in rows:
        rows = rows.assign(group="")
    return rows.assign(
        path=f"{name}/" + rows["path"],
        label=f"{name}: " + rows["label"],
        group=(f"{name}: " + rows["group"]).where(rows["group"] != "", ""),
    ), notes


def _of_folders(paths: list[str], group_pattern: str | None = None) -> list[str]:
    """The group of each image of a set in folders."""
    return groups_from_paths(paths, group_pattern) if group_pattern else [""] * len(paths)


def _first_by_hash(rows: pd.DataFrame, most: int) -> np.ndarray:
    """The `most` images of each class whose hashed paths come first, bool `(n,)`."""
    digests = pd.Series([hashlib.blake2b(path.encode(), digest_size=8).hexdigest() for path in rows["path"]])
    places = digests.sort_values().groupby(rows["label"].to_numpy()[digests.argsort()]).cumcount()
    kept: np.ndarray = places.sort_index().to_numpy() < most
    return kept


def _kept_apart(manifest: Manifest, apart_from: Mapping[str, pd.DataFrame], options: SourceOptions) -> Manifest:
    """Leave out images that are among those of other sets, exactly or nearly."""
    rows, notes = manifest.rows, []
    for name, others in apart_from.items():
        scan, failures = scan_images(manifest.root, others["path"].tolist(), options.scan)
        if failures and options.strict:
            raise MedclsError(
                f"{counted(len(failures), 'image')} of {name} (data.apart_from) cannot be read, such as {failures[0]}: "
                "whether others are duplicates of these is unknown. Repair or remove them.",
                kind="unreadable_image",
            )
        same, near = known_images(manifest.scan.loc[rows["path"]], scan)
        notes.append(
            f"apart from {name} ({counted(len(scan), 'image')}): left out {int(same.sum())} duplicate(s) and "
            f"{int(near.sum())} near duplicate(s) of these"
        )
        rows = rows[~(same | near)].reset_index(drop=True)
    if gone := sorted(set(manifest.classes) - set(rows["label"])):
        raise MedclsError(
            f"Apart from {', '.join(apart_from)}, no image of {quoted(gone)} is left: leave the set out of data.sets.",
            kind="class_without_images",
        )
    return manifest.with_rows(rows, *notes)
