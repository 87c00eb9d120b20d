"""From a table of images (CSV) to a manifest: every row finds its file, or is named."""

import dataclasses
import re
import string
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from medcls.data.manifest import OWN_COLUMNS, SPLIT_SPELLINGS, Manifest, as_list, named_exclusions
from medcls.data.sources import phantoms
from medcls.data.sources.assembly import MatchClasses, assemble
from medcls.data.sources.file_search import below_root, find_files, lines_of, no_such_files
from medcls.data.sources.one_hot import looks_one_hot, one_hot_labels
from medcls.data.sources.table_text import check_column, read_table, shown
from medcls.errors import MedclsError, hydra_override, nearest
from medcls.wording import enumerated, listed, printable, tallied

# Columns that the predictions table adds to the manifest's own.
SCORES = re.compile(r"ood|checkpoint|(logit|prob)_.*")


def from_csv(
    csv: str | Path | Sequence[str | Path] | None,
    root: str | Path | None,
    *,
    path_template: str = "{path}",
    label_column: str | Sequence[str] = "label",
    group_column: str | None = None,
    split_column: str | None = None,
    where: Mapping[str, object] | None = None,
    positive: str | None = None,
    label_map: Mapping[str, Sequence[str]] | None = None,
    leave_out_unmapped: bool = False,
    group_pattern: str | None = None,
    groups: str | Path | None = None,
    masks: str | None = None,
    exclude_paths: str | Sequence[str] = (),
    exclude_file: str | Path | None = None,
    dicom_patients: bool = False,
    dicom_columns: bool = False,
    frame: int = 0,
    remember: bool = True,
    strict: bool = True,
    judged_by: MatchClasses | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Read a table with one row an image into a checked manifest, without splitting it.

    Parameters
    ----------
    csv : path or sequence of paths
        The table: UTF-8, separated by commas, semicolons or tabs. Of several, the first that is there. A relative
        path that leads to nothing from the working directory is looked for in `root`.
    root : path
        The folder of the images.
    path_template : str
        An image's path below `root`, columns in braces: `{image_id}.jpg`, `{folder}/{image_id}.png`. See `find_files`
        for what is done where nothing is there.
    label_column : str or sequence of str
        The column of the classes; or one for each class, which hold 1 in that of the image and 0 in the others.
    group_column : str, optional
        The column of patients (lesions, exams). An empty cell stands for itself.
    split_column : str, optional
        The column of train, val and test, in the usual spellings.
    groups : path, optional
        For folders; a table has its `group_column`.
    where : mapping, optional
        `{column: value}` or `{column: [values]}`: only rows with one of these values in each column are read.
    positive : str, optional
        The class a binary task looks for.
    label_map, leave_out_unmapped, group_pattern, masks, exclude_paths, exclude_file, dicom_patients,
    dicom_columns, frame, remember, strict, judged_by, progress
        See `medcls.data.sources.assembly.assemble`.

    Raises
    ------
    MedclsError
        Anything about the table or its images that would make a classifier lie: each message says what, in which
        line, and what to do.
    """
    if csv is None:
        raise MedclsError(
            "Nothing says which table lists the images: add data.csv=/path/to/table.csv to the command.",
            kind="missing_setting",
        )
    if root is None:
        raise MedclsError(
            "Nothing says where the images are: add data.root=/path/to/images to the command.", kind="missing_setting"
        )
    root = Path(str(root))
    if not root.is_dir():
        raise MedclsError(
            f"{root} (data.root) is no folder. Give the folder that holds the images of the table.",
            kind="no_such_folder",
        )
    if group_column is not None and group_pattern is not None:
        raise MedclsError(
            f"Groups come from data.group_column={group_column} or from data.group_pattern, not from both: set one "
            "of them to null.",
            kind="conflicting_settings",
        )
    if groups is not None:
        raise MedclsError(
            f"data.groups={groups} is for images in folders. A table names the patient in a column of its own: "
            "data.group_column.",
            kind="conflicting_settings",
        )
    table, found = find_table(csv, root)
    cells, unusual = read_table(table)
    rows, notes = rows_from_csv(
        cells,
        root,
        path_template=path_template,
        label_column=label_column,
        group_column=group_column,
        split_column=split_column,
        where=where,
        excused=named_exclusions(exclude_paths, exclude_file, root),
        strict=strict,
    )
    label_columns = [str(name) for name in as_list(label_column)]
    named = set(cells[label_column]) if isinstance(label_column, str) else set(label_columns)
    manifest = assemble(
        root,
        rows,
        positive=positive,
        label_map=without_absent(label_map, named - set(rows["label"])) if where else label_map,
        leave_out_unmapped=leave_out_unmapped,
        group_pattern=group_pattern,
        masks=masks,
        exclude_paths=exclude_paths,
        exclude_file=exclude_file,
        dicom_patients=dicom_patients,
        dicom_columns=dicom_columns,
        frame=frame,
        remember=remember,
        watermarks=(phantoms.PHANTOM_WATERMARK,) if phantoms.read_marker(root) else (),
        notes=(*found, *unusual, *notes),
        strict=strict,
        judged_by=judged_by,
        progress=progress,
    )
    return dataclasses.replace(
        manifest,
        read_from=tuple(name for name in (*label_columns, group_column, split_column) if name is not None),
    )


def find_table(csv: str | Path | Sequence[str | Path], root: Path) -> tuple[Path, list[str]]:
    """Find the table: the first of the names that leads to a file, from the working directory or else from `root`.

    Raises
    ------
    MedclsError
        None does.
    """
    names = [Path(str(name)).expanduser() for name in ([csv] if isinstance(csv, str | Path) else csv)]
    for name in names:
        if name.is_file():
            return name, []
    for name in names:
        if (root / name).is_file():
            return root / name, [f"the table {name} was found in data.root"]
    near = sorted(path.name for path in root.iterdir() if path.suffix.lower() in (".csv", ".tsv", ".tab"))
    raise MedclsError(
        f"There is no table {' or '.join(map(str, names))} (data.csv), from here or from {root} (data.root)."
        + (f" That folder holds {enumerated(near)}." if near else ""),
        kind="no_such_file",
    )


def rows_from_csv(
    cells: pd.DataFrame,
    root: Path,
    *,
    path_template: str,
    label_column: str | Sequence[str],
    group_column: str | None = None,
    split_column: str | None = None,
    where: Mapping[str, object] | None = None,
    excused: Collection[str] = (),
    strict: bool = True,
) -> tuple[pd.DataFrame, list[str]]:
    """Turn a table into the rows of a manifest, without opening an image.

    Parameters
    ----------
    cells : DataFrame
        As `read_table` gives it.
    excused : collection of str
        Paths that will be left out later: these need not be there.
    strict : bool
        False keeps rows without a file, for an audit to list, unless no row has one.

    Returns
    -------
    rows, notes
        `path`, `label`, `given_split`, `group` where there is a column for it, then the table's own columns in their
        order; sorted by path. What was found otherwise than written, and what was left out, in words.

    Raises
    ------
    MedclsError
        As `from_csv`.
    """
    by_column: list[str] = []  # a column for each class
    if isinstance(label_column, str):
        check_label_column(cells, label_column)
    else:
        by_column = [str(name) for name in as_list(label_column)]
    for setting, name in (("group", group_column), ("split", split_column)):
        if name is not None:
            check_column(cells, name, f"data.{setting}_column")
    columns = template_columns(path_template, list(cells.columns))
    cells, notes = keep_where(cells, where)
    alone = [name for name in (label_column, split_column) if isinstance(name, str)]
    for column in {*columns, *alone}:
        refuse_empty_cells(cells, column)
    labels = cells[label_column] if isinstance(label_column, str) else one_hot_labels(cells, by_column)
    cells = cells.drop(columns=by_column)

    wanted = below_root(filled(path_template, cells), root)
    places, found = find_files(root, wanted, lost_zeros=cells[columns[-1]].str.fullmatch(r"\d+"))
    missing = ~wanted.isin(places.keys())
    if (missing & ~wanted.isin(list(excused))).any() and (strict or missing.all()):
        raise no_such_files(root, wanted[missing])

    chosen = {"path": wanted.map(places).where(~missing, wanted), "label": labels}
    refuse_repeated_paths(pd.DataFrame(chosen))
    chosen["given_split"] = splits_of(cells[split_column]) if split_column else pd.Series("", cells.index, dtype=str)
    if group_column:
        chosen["group"] = cells[group_column]
        notes += ungrouped(cells[group_column])
    same = {"path": columns[0], "label": label_column, "group": group_column, "split": split_column}
    own, renamed = own_columns(cells, [name for name, column in same.items() if name == column])
    rows = pd.concat([pd.DataFrame(chosen, index=cells.index), own], axis=1)
    return rows.sort_values("path", ignore_index=True), [*notes, *found, *renamed]


def check_label_column(cells: pd.DataFrame, name: str) -> None:
    """Refuse a column of classes that is not there, and offer columns that hold a class each.

    Raises
    ------
    MedclsError
        As `check_column`.
    """
    if name in cells.columns or not (columns := looks_one_hot(cells)):
        check_column(cells, name, "data.label_column")
        return
    listing = ", ".join(hydra_override("", column).removeprefix("=") for column in columns)
    raise MedclsError(
        f"data.label_column names the column {name!r}, and the table has {shown(cells.columns)}. Of these "
        f'{shown(columns)} hold one 1 a row: if each stands for a class, add:\n  "data.label_column=[{listing}]"',
        kind="unknown_column",
    )


def template_columns(template: str, columns: Collection[str]) -> list[str]:
    """List the columns that a path template names, in its order.

    Raises
    ------
    MedclsError
        Braces that do not pair, that hold more than a column's name, or none at all; a column that is not there.
    """
    try:
        parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise MedclsError(f"data.path_template={template}: {error}.", kind="bad_value") from error
    for _, name, form, conversion in parts:
        if form or conversion or not name:
            raise MedclsError(
                f"data.path_template={template}: between braces stands the name of a column and nothing else, as in "
                "{image_id}.jpg.",
                kind="bad_value",
            )
        if name not in columns:
            raise MedclsError(
                f"data.path_template={template} names the column {name!r}, and the table has {shown(columns)}."
                f"{nearest(name, columns)}",
                kind="unknown_column",
            )
    if not parts:
        raise MedclsError(
            f"data.path_template={template} names no column, so that every row would have the same image. Put the "
            "column of the file names in braces, as in {image_id}.jpg.",
            kind="bad_value",
        )
    return [str(name) for _, name, _, _ in parts]


def filled(template: str, cells: pd.DataFrame) -> "pd.Series[str]":
    """Put each row's cells into a template that `template_columns` has accepted."""
    paths = pd.Series("", cells.index, dtype=str)
    for text, name, _, _ in string.Formatter().parse(template):
        paths = paths + text + (cells[name] if name else "")
    return paths


def keep_where(cells: pd.DataFrame, where: Mapping[str, object] | None) -> tuple[pd.DataFrame, list[str]]:
    """Keep the rows that have one of the allowed values in each column named.

    Raises
    ------
    MedclsError
        A column or a value that is not there; or no row is left, and which condition took the last.
    """
    if not where:
        return cells, []
    if not isinstance(where, Mapping):
        raise MedclsError(
            f"data.where is {where!r}: give it as {{column: [values]}}, such as {{sex: [female]}}.", kind="bad_value"
        )
    kept = cells
    trail = []
    for column, allowed in where.items():
        check_column(cells, str(column), "data.where")
        values = [str(value) for value in as_list(allowed)]
        present = sorted(set(cells[column]))
        for value in values:
            if value not in present:
                raise MedclsError(
                    f"data.where asks for {value!r} in the column {column}, which has "
                    f"{shown([one or '(empty)' for one in present])}.{nearest(value, present)}",
                    kind="unknown_value",
                )
        kept = kept[kept[column].isin(values)]
        trail.append(f"{column} {' or '.join(value or '(empty)' for value in values)}: {len(kept):,}")
        if kept.empty:
            raise MedclsError(
                f"data.where leaves no row of {len(cells):,}. Rows left after each condition: {'; '.join(trail)}.",
                kind="no_rows",
            )
    return kept, [f"kept {len(kept):,} of {len(cells):,} rows by data.where ({'; '.join(trail)})"]


def without_absent(
    label_map: Mapping[str, Sequence[str]] | None, absent: Collection[str]
) -> Mapping[str, Sequence[str]] | None:
    """The label map without the classes of the table of which `where` has left no row."""
    if not isinstance(label_map, Mapping):
        return label_map
    return {new: [str(old) for old in as_list(olds) if str(old) not in absent] for new, olds in label_map.items()}


def refuse_empty_cells(cells: pd.DataFrame, column: str) -> None:
    """Refuse a column with holes.

    Raises
    ------
    MedclsError
        Lists the lines.
    """
    empty = cells.index[cells[column] == ""]
    if len(empty):
        raise MedclsError(
            f"{len(empty)} of {len(cells)} rows have nothing in the column {column}: {lines_of(empty)}. Fill them in, "
            "or choose rows by data.where.",
            kind="empty_cell",
        )


def refuse_repeated_paths(rows: pd.DataFrame) -> None:
    """One row an image.

    Raises
    ------
    MedclsError
        Lists the lines of each image that has several, and its labels where they differ.
    """
    repeated = rows[rows["path"].duplicated(keep=False)]
    if repeated.empty:
        return
    faults = []
    for path, same in repeated.groupby("path"):
        labels = list(dict.fromkeys(same["label"]))
        under = f"under {len(labels)} labels ({shown(labels)})" if len(labels) > 1 else f"all {shown(labels)}"
        faults.append((len(labels) == 1, f"{printable(str(path))}: {lines_of(same.index)}, {under}"))
    # Two labels are the graver fault: they stand first.
    raise MedclsError(
        f"{len(faults):,} image(s) stand in more than one row:\n"
        + listed([line for _, line in sorted(faults)])
        + "\nKeep one row an image, or choose rows by data.where.",
        kind="image_twice",
    )


def splits_of(cells: "pd.Series[str]") -> "pd.Series[str]":
    """Read train, val and test out of a column that spells them in any usual way.

    Raises
    ------
    MedclsError
        Another word, or no row for training.
    """
    splits = cells.str.lower().map(SPLIT_SPELLINGS)
    unknown = cells[splits.isna()]
    if len(unknown):
        raise MedclsError(
            f"The column {cells.name} (data.split_column) holds {tallied([printable(cell) for cell in unknown])}, "
            f"which name no split: known are {', '.join(SPLIT_SPELLINGS)}. To have the splits made, set "
            "data.split_column=null.",
            kind="unknown_split",
        )
    if "train" not in set(splits):
        raise MedclsError(
            f"The column {cells.name} (data.split_column) has {shown(sorted(set(cells)))} but no train.",
            kind="no_train_split",
        )
    return splits


def ungrouped(cells: "pd.Series[str]") -> list[str]:
    """Say how many rows have no group.

    Raises
    ------
    MedclsError
        None has one.
    """
    empty = int((cells == "").sum())
    if empty == len(cells):
        raise MedclsError(f"The column {cells.name} (data.group_column) is empty.", kind="no_groups")
    return [f"{empty:,} row(s) have no {cells.name}: each stands for itself"] if empty else []


def own_columns(cells: pd.DataFrame, consumed: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """The table's own columns, for subgroups; those that medcls has another use for are renamed `csv_<name>`.

    Parameters
    ----------
    consumed : collection of str
        Columns that the manifest holds already, under the same name.

    Raises
    ------
    MedclsError
        The new name is taken too.
    """
    own = cells.drop(columns=list(consumed))
    renamed = {name: f"csv_{name}" for name in own.columns if name in OWN_COLUMNS or SCORES.fullmatch(name)}
    if taken := sorted(set(renamed.values()) & set(own.columns)):
        raise MedclsError(
            f"medcls would rename a column of the table to {', '.join(taken)}, which is there: rename it.",
            kind="column_twice",
        )
    notes = (
        [f"the table's own column(s) {', '.join(renamed)} are kept as {', '.join(renamed.values())}"] if renamed else []
    )
    return own.rename(columns=renamed), notes
