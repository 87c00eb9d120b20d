"""From a table of images (CSV) to a manifest: every row finds its file, or is named."""

import csv as comma_separated
import dataclasses
import io
import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from medcls.data import phantoms
from medcls.data.assembly import MatchClasses, assemble
from medcls.data.file_search import below_root, find_files, lines_of, no_such_files
from medcls.data.manifest import OWN_COLUMNS, SPLIT_SPELLINGS, Manifest, as_list, named_exclusions
from medcls.errors import MedclsError, nearest
from medcls.wording import enumerated, printable, tallied

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}

# Characters that no cell can hold: what they say is wrong with the file.
NO_TEXT = {
    "\0": "a null byte, which no text does: is it a table, and in UTF-8",
    "\ufeff": "a byte-order mark, which stands at the beginning of a file alone: were two tables put together",
}

# Columns that the predictions table adds to the manifest's own.
SCORES = re.compile(r"ood|checkpoint|(logit|prob)_.*")


def from_csv(
    csv: str | Path | Sequence[str | Path] | None,
    root: str | Path | None,
    *,
    path_template: str = "{path}",
    label_column: str = "label",
    group_column: str | None = None,
    split_column: str | None = None,
    where: Mapping[str, object] | None = None,
    positive: str | None = None,
    label_map: Mapping[str, Sequence[str]] | None = None,
    leave_out_unmapped: bool = False,
    group_pattern: str | None = None,
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
    label_column : str
        The column of the classes.
    group_column : str, optional
        The column of patients (lesions, exams). An empty cell stands for itself.
    split_column : str, optional
        The column of train, val and test, in the usual spellings.
    where : mapping, optional
        `{column: value}` or `{column: [values]}`: only rows with one of these values in each column are read.
    positive : str, optional
        The class a binary task looks for.
    label_map, leave_out_unmapped, group_pattern, exclude_paths, exclude_file, dicom_patients,
    dicom_columns, frame, remember, strict, judged_by, progress
        See `medcls.data.assembly.assemble`.

    Raises
    ------
    MedclsError
        Anything about the table or its images that would make a classifier lie: each message says what, in which
        line, and what to do.
    """
    if csv is None:
        raise MedclsError("Nothing says which table lists the images: add data.csv=/path/to/table.csv to the command.")
    if root is None:
        raise MedclsError("Nothing says where the images are: add data.root=/path/to/images to the command.")
    root = Path(str(root))
    if not root.is_dir():
        raise MedclsError(f"{root} (data.root) is no folder. Give the folder that holds the images of the table.")
    if group_column is not None and group_pattern is not None:
        raise MedclsError(
            f"Groups come from data.group_column={group_column} or from data.group_pattern, not from both: set one "
            "of them to null."
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
        excused=named_exclusions(exclude_paths, exclude_file),
        strict=strict,
    )
    manifest = assemble(
        root,
        rows,
        positive=positive,
        label_map=without_absent(label_map, set(cells[label_column]) - set(rows["label"])) if where else label_map,
        leave_out_unmapped=leave_out_unmapped,
        group_pattern=group_pattern,
        exclude_paths=exclude_paths,
        exclude_file=exclude_file,
        dicom_patients=dicom_patients,
        dicom_columns=dicom_columns,
        frame=frame,
        remember=remember,
        stamps=(phantoms.PHANTOM_STAMP,) if phantoms.read_marker(root) else (),
        notes=(*found, *unusual, *notes),
        strict=strict,
        judged_by=judged_by,
        progress=progress,
    )
    return dataclasses.replace(
        manifest, read_from=tuple(name for name in (label_column, group_column, split_column) if name is not None)
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
        + (f" That folder holds {enumerated(near)}." if near else "")
    )


def rows_from_csv(
    cells: pd.DataFrame,
    root: Path,
    *,
    path_template: str,
    label_column: str,
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
    for setting, name in (("label", label_column), ("group", group_column), ("split", split_column)):
        if name is not None:
            check_column(cells, name, f"data.{setting}_column")
    columns = template_columns(path_template, list(cells.columns))
    cells, notes = keep_where(cells, where)
    for name in {*columns, label_column, *([split_column] if split_column else [])}:
        refuse_empty_cells(cells, name)

    wanted = below_root(filled(path_template, cells), root)
    places, found = find_files(root, wanted, lost_zeros=cells[columns[-1]].str.fullmatch(r"\d+"))
    missing = ~wanted.isin(places.keys())
    if (missing & ~wanted.isin(list(excused))).any() and (strict or missing.all()):
        raise no_such_files(root, wanted[missing])

    chosen = {"path": wanted.map(places).where(~missing, wanted), "label": cells[label_column]}
    refuse_repeated_paths(pd.DataFrame(chosen))
    chosen["given_split"] = splits_of(cells[split_column]) if split_column else pd.Series("", cells.index, dtype=str)
    if group_column:
        chosen["group"] = cells[group_column]
        notes += ungrouped(cells[group_column])
    same = {"path": columns[0], "label": label_column, "group": group_column, "split": split_column}
    own, renamed = own_columns(cells, [name for name, column in same.items() if name == column])
    rows = pd.concat([pd.DataFrame(chosen, index=cells.index), own], axis=1)
    return rows.sort_values("path", ignore_index=True), [*notes, *found, *renamed]


def read_table(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read a table, every cell as the text it is, without blanks around it; indexed by the line each row ends on.

    pandas' own reader shifts or drops cells of rows that are too long or too short; here these are errors.

    Returns
    -------
    cells, notes
        The table, and what is unusual about it, in words.

    Raises
    ------
    MedclsError
        No text in UTF-8 (or UTF-16 that says so), a single column, no rows, columns of one name, or a row of another
        length than the header.
    """
    text = read_text(path)
    separator = max(SEPARATORS, key=lambda one: width_of_header(text, one))
    reader = comma_separated.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines: list[int] = []
    rows: list[list[str]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        for row in reader:
            if row:
                lines.append(reader.line_num)
                rows.append([cell.strip() for cell in row])
    except comma_separated.Error as error:
        raise MedclsError(
            f"{path}, line {max(1, reader.line_num)}, cannot be read as a table: {error}. Is a quote opened there or "
            "before, and not closed?"
        ) from error
    if len(header) < 2:
        raise MedclsError(
            f"The first line of {path} names {len(header)} column(s): {shown(header) or 'it is empty'}. It must "
            f"name the columns, separated by {', '.join(SEPARATORS.values())}."
        )
    if not rows:
        raise MedclsError(f"{path} names its columns and holds no row.")
    ragged = [f"line {line}: {len(row)}" for line, row in zip(lines, rows, strict=True) if len(row) != len(header)]
    if ragged:
        raise MedclsError(
            f"{len(ragged)} row(s) of {path} have more or fewer cells than the {len(header)} columns "
            f"({shown(header)}): {enumerated(ragged)}. A cell that holds the separator must stand in quotes."
        )
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise MedclsError(f"{path} has more than one column named {shown(twice)}: rename them.")
    cells = pd.DataFrame(rows, columns=header, index=pd.Index(lines, name="line"), dtype=str)
    notes = []
    if separator != ",":
        notes.append(f"{path.name} is separated by {SEPARATORS[separator]}")
    if "" in header:
        notes.append(f"left out {header.count('')} column(s) of {path.name} without a name")
        cells = cells.drop(columns="")
    return cells, notes


def width_of_header(text: str, separator: str) -> int:
    """How many columns the first line has, if this is what stands between them; 0 where it cannot be read."""
    try:
        return len(next(comma_separated.reader(io.StringIO(text, newline=""), delimiter=separator), []))
    except comma_separated.Error:
        return 0


def shown(names: Iterable[str]) -> str:
    """Names of columns as a message can print them, however many there are and whatever stands in them."""
    return enumerated([printable(name if len(name) <= 60 else f"{name[:60]}...") for name in names], most=50)


def read_text(path: Path) -> str:
    """Read a text file: UTF-8 with or without a byte-order mark, or UTF-16 with one.

    Raises
    ------
    MedclsError
        It cannot be read, is a spreadsheet, holds null bytes or a byte-order mark within, or is in another encoding;
        no encoding is guessed, since a wrong one changes names in silence.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MedclsError(f"{path} (data.csv) cannot be read: {error.strerror}.") from error
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise MedclsError(f"{path} (data.csv) is a spreadsheet or an archive. Save the table as CSV in UTF-8.")
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MedclsError(
            f"{path} (data.csv) is not UTF-8 (line {line}: {error.reason}). Save the table as CSV in UTF-8."
        ) from error
    for mark, what in NO_TEXT.items():
        if mark in text:
            line = text.count("\n", 0, text.index(mark)) + 1
            raise MedclsError(f"{path} (data.csv), line {line}, holds {what}? Save the table as CSV in UTF-8.")
    return text if "\n" in text else text.replace("\r", "\n")  # how an old Macintosh ended its lines


def check_column(cells: pd.DataFrame, name: str, setting: str) -> None:
    """Refuse a column that is not there.

    Raises
    ------
    MedclsError
        Names the columns there are, and the nearest.
    """
    if name not in cells.columns:
        raise MedclsError(
            f"{setting} names the column {name!r}, and the table has {shown(cells.columns)}."
            f"{nearest(name, cells.columns)}"
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
        raise MedclsError(f"data.path_template={template}: {error}.") from error
    for _, name, form, conversion in parts:
        if form or conversion or not name:
            raise MedclsError(
                f"data.path_template={template}: between braces stands the name of a column and nothing else, as in "
                "{image_id}.jpg."
            )
        if name not in columns:
            raise MedclsError(
                f"data.path_template={template} names the column {name!r}, and the table has {shown(columns)}."
                f"{nearest(name, columns)}"
            )
    if not parts:
        raise MedclsError(
            f"data.path_template={template} names no column, so that every row would have the same image. Put the "
            "column of the file names in braces, as in {image_id}.jpg."
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
        raise MedclsError(f"data.where is {where!r}: give it as {{column: [values]}}, such as {{sex: [female]}}.")
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
                    f"{shown([one or '(empty)' for one in present])}.{nearest(value, present)}"
                )
        kept = kept[kept[column].isin(values)]
        trail.append(f"{column} {' or '.join(value or '(empty)' for value in values)}: {len(kept):,}")
        if kept.empty:
            raise MedclsError(
                f"data.where leaves no row of {len(cells):,}. Rows left after each condition: {'; '.join(trail)}."
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
            "or choose rows by data.where."
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
        faults.append((len(labels) == 1, f"  {printable(str(path))}: {lines_of(same.index)}, {under}"))
    # Two labels are the graver fault: they stand first.
    listed = [line for _, line in sorted(faults)]
    raise MedclsError(
        f"{len(faults)} image(s) stand in more than one row:\n"
        + "\n".join(listed[:10])
        + ("\n  ..." if len(listed) > 10 else "")
        + "\nKeep one row an image, or choose rows by data.where."
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
            "data.split_column=null."
        )
    if "train" not in set(splits):
        raise MedclsError(f"The column {cells.name} (data.split_column) has {shown(sorted(set(cells)))} but no train.")
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
        raise MedclsError(f"The column {cells.name} (data.group_column) is empty.")
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
            f"medcls would rename a column of the table to {', '.join(taken)}, which is there: rename it."
        )
    notes = (
        [f"the table's own column(s) {', '.join(renamed)} are kept as {', '.join(renamed.values())}"] if renamed else []
    )
    return own.rename(columns=renamed), notes
