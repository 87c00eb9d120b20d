"""From a table of images (CSV) to a manifest: every row finds its file, or is reported."""

import dataclasses
import re
import string
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from medcls.data.manifest import OWN_COLUMNS, SPLIT_SPELLINGS, Manifest, as_list, named_exclusions
from medcls.data.sources import phantoms
from medcls.data.sources.assembly import assemble
from medcls.data.sources.file_search import below_root, find_files, lines_of, no_such_files
from medcls.data.sources.one_hot import looks_one_hot, one_hot_labels
from medcls.data.sources.options import SourceOptions, takes_options
from medcls.data.sources.table_text import check_column, read_table, shown
from medcls.errors import MedclsError, hydra_override, nearest
from medcls.wording import enumerated, listed, printable, tallied

# Columns that the predictions table adds to the manifest's own.
SCORES = re.compile(r"ood|checkpoint|(logit|prob)_.*")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which column of a table holds what, and which rows are read.

    Parameters
    ----------
    path_template : str
        An image's path below the root, columns in braces: `{image_id}.jpg`, `{folder}/{image_id}.png`. If no file is
        there, `find_files` searches for it.
    label_column : str or sequence of str
        The column of the classes; or one column for each class, with 1 in that of the image and 0 in the others.
    group_column : str, optional
        The column of patients (lesions, exams). An empty cell is a group of its own.
    split_column : str, optional
        The column of train, val and test, in the usual spellings.
    where : mapping, optional
        `{column: value}` or `{column: [values]}`: only rows with one of these values in each column are read.
    """

    path_template: str = "{path}"
    label_column: str | Sequence[str] = "label"
    group_column: str | None = None
    split_column: str | None = None
    where: Mapping[str, object] | None = None

    @property
    def of_labels(self) -> list[str]:
        """The column of the classes, or those of each class."""
        return [str(name) for name in as_list(self.label_column)]


@takes_options
def from_csv(
    csv: str | Path | Sequence[str | Path] | None,
    root: str | Path | None,
    *,
    path_template: str = "{path}",
    label_column: str | Sequence[str] = "label",
    group_column: str | None = None,
    split_column: str | None = None,
    where: Mapping[str, object] | None = None,
    groups: str | Path | None = None,
    options: SourceOptions,
) -> Manifest:
    """Read a table with one row an image into a checked manifest, without splitting it.

    Parameters
    ----------
    csv : path or sequence of paths
        The table: UTF-8, separated by commas, semicolons or tabs. Of several, the first that exists. A relative path
        is looked up from the working directory, then in `root`.
    root : path
        The folder of the images.
    path_template, label_column, group_column, split_column, where
        See `Columns`.
    groups : path, optional
        For folders only; a table has its `group_column`.
    options : SourceOptions
        Or its fields, each as an argument.

    Raises
    ------
    MedclsError
        Any fault of the table or its images that would invalidate the results: what, in which line, and what to do.
    """
    if csv is None:
        raise MedclsError("No table is given: add data.csv=/path/to/table.csv to the command.", kind="missing_setting")
    if root is None:
        raise MedclsError(
            "No folder of images is given: add data.root=/path/to/images to the command.", kind="missing_setting"
        )
    root = Path(str(root))
    if not root.is_dir():
        raise MedclsError(
            f"{root} (data.root) is not a folder. Give the folder of the table's images.", kind="no_such_folder"
        )
    if group_column is not None and options.group_pattern is not None:
        raise MedclsError(
            f"Groups come from data.group_column={group_column} or from data.group_pattern, not from both: set one "
            "of them to null.",
            kind="conflicting_settings",
        )
    if groups is not None:
        raise MedclsError(
            f"data.groups={groups} is for images in folders. A table has a column for the patient: data.group_column.",
            kind="conflicting_settings",
        )
    table, table_notes = find_table(csv, root)
    cells, format_notes = read_table(table)
    columns = Columns(path_template, label_column, group_column, split_column, where)
    excluded = named_exclusions(options.exclude_paths, options.exclude_file, root)
    rows, notes = rows_from_csv(cells, root, columns, excused=excluded, strict=options.strict)
    if where:
        labels = set(cells[label_column]) if isinstance(label_column, str) else set(columns.of_labels)
        label_map = without_absent(options.label_map, labels - set(rows["label"]))
        options = dataclasses.replace(options, label_map=label_map)
    watermarks = (phantoms.PHANTOM_WATERMARK,) if phantoms.holds_phantoms(root) else ()
    manifest = assemble(root, rows, options, watermarks=watermarks, notes=(*table_notes, *format_notes, *notes))
    read_from = (*columns.of_labels, group_column, split_column)
    return dataclasses.replace(manifest, read_from=tuple(name for name in read_from if name is not None))


def find_table(csv: str | Path | Sequence[str | Path], root: Path) -> tuple[Path, list[str]]:
    """Find the table: the first name that is a file, from the working directory, else from `root`."""
    names = [Path(str(name)).expanduser() for name in ([csv] if isinstance(csv, str | Path) else csv)]
    for name in names:
        if name.is_file():
            return name, []
    for name in names:
        if (root / name).is_file():
            return root / name, [f"the table {name} was found in data.root"]
    near = sorted(path.name for path in root.iterdir() if path.suffix.lower() in (".csv", ".tsv", ".tab"))
    raise MedclsError(
        f"There is no table {' or '.join(map(str, names))} (data.csv), here or in {root} (data.root)."
        + (f" That folder has {enumerated(near)}." if near else ""),
        kind="no_such_file",
    )


def rows_from_csv(
    cells: pd.DataFrame, root: Path, columns: Columns, *, excused: Collection[str] = (), strict: bool = True
) -> tuple[pd.DataFrame, list[str]]:
    """Turn a table, as `read_table` returns it, into the rows of a manifest, without opening an image.

    Paths in `excused` need not exist. With `strict=False`, rows without a file stay, unless no row has one.

    Returns
    -------
    rows, notes
        `path`, `label`, `given_split`, `group` if there is a column for it, then the table's other columns in their
        order; sorted by path. What was found elsewhere than written, and what was left out.
    """
    label_column, group_column, split_column = columns.label_column, columns.group_column, columns.split_column
    if isinstance(label_column, str):
        check_label_column(cells, label_column)
    for setting, name in (("group", group_column), ("split", split_column)):
        if name is not None:
            check_column(cells, name, f"data.{setting}_column")
    in_path = template_columns(columns.path_template, list(cells.columns))
    cells, notes = keep_where(cells, columns.where)
    for column in {*in_path, *(name for name in (label_column, split_column) if isinstance(name, str))}:
        refuse_empty_cells(cells, column)
    if isinstance(label_column, str):
        labels = cells[label_column]
    else:
        labels = one_hot_labels(cells, columns.of_labels)
        cells = cells.drop(columns=columns.of_labels)

    requested = below_root(filled(columns.path_template, cells), root)
    places, search_notes = find_files(root, requested, lost_zeros=cells[in_path[-1]].str.fullmatch(r"\d+"))
    missing = ~requested.isin(places.keys())
    if (missing & ~requested.isin(list(excused))).any() and (strict or missing.all()):
        raise no_such_files(root, requested[missing])

    chosen = {"path": requested.map(places).where(~missing, requested), "label": labels}
    refuse_repeated_paths(pd.DataFrame(chosen))
    chosen["given_split"] = splits_of(cells[split_column]) if split_column else pd.Series("", cells.index, dtype=str)
    if group_column:
        chosen["group"] = cells[group_column]
        notes += ungrouped(cells[group_column])
    same = {"path": in_path[0], "label": label_column, "group": group_column, "split": split_column}
    own, renamed = own_columns(cells, [name for name, column in same.items() if name == column])
    rows = pd.concat([pd.DataFrame(chosen, index=cells.index), own], axis=1)
    return rows.sort_values("path", ignore_index=True), [*notes, *search_notes, *renamed]


def check_label_column(cells: pd.DataFrame, name: str) -> None:
    """Refuse a label column that does not exist, and suggest columns that look like one column a class."""
    if name in cells.columns or not (columns := looks_one_hot(cells)):
        check_column(cells, name, "data.label_column")
        return
    listing = ", ".join(hydra_override("", column).removeprefix("=") for column in columns)
    raise MedclsError(
        f"data.label_column names the column {name!r}, and the table has {shown(cells.columns)}. Of these "
        f'{shown(columns)} have one 1 in each row: if each is a class, add:\n  "data.label_column=[{listing}]"',
        kind="unknown_column",
    )


def template_columns(template: str, columns: Collection[str]) -> list[str]:
    """The columns that a path template names, in its order."""
    try:
        parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise MedclsError(f"data.path_template={template}: {error}.", kind="bad_value") from error
    for _, name, form, conversion in parts:
        if form or conversion or not name:
            raise MedclsError(
                f"data.path_template={template}: braces hold the name of a column and nothing else, as in "
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
            f"data.path_template={template} names no column: every row would have the same image. Put the column of "
            "the file names in braces, as in {image_id}.jpg.",
            kind="bad_value",
        )
    return [str(name) for _, name, _, _ in parts]


def filled(template: str, cells: pd.DataFrame) -> "pd.Series[str]":
    """Fill a template that `template_columns` has accepted with each row's cells."""
    paths = pd.Series("", cells.index, dtype=str)
    for text, name, _, _ in string.Formatter().parse(template):
        paths = paths + text + (cells[name] if name else "")
    return paths


def keep_where(cells: pd.DataFrame, where: Mapping[str, object] | None) -> tuple[pd.DataFrame, list[str]]:
    """Keep the rows with one of the allowed values in each column named."""
    if not where:
        return cells, []
    if not isinstance(where, Mapping):
        raise MedclsError(
            f"data.where is {where!r}: give it as {{column: [values]}}, such as {{sex: [female]}}.", kind="bad_value"
        )
    kept, counts = cells, []
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
        counts.append(f"{column} {' or '.join(value or '(empty)' for value in values)}: {len(kept):,}")
        if kept.empty:
            raise MedclsError(
                f"data.where leaves no row of {len(cells):,}. Rows left after each condition: {'; '.join(counts)}.",
                kind="no_rows",
            )
    return kept, [f"kept {len(kept):,} of {len(cells):,} rows by data.where ({'; '.join(counts)})"]


def without_absent(
    label_map: Mapping[str, Sequence[str]] | None, absent: Collection[str]
) -> Mapping[str, Sequence[str]] | None:
    """The label map without the classes that have no row left."""
    if not isinstance(label_map, Mapping):
        return label_map
    return {new: [str(old) for old in as_list(olds) if str(old) not in absent] for new, olds in label_map.items()}


def refuse_empty_cells(cells: pd.DataFrame, column: str) -> None:
    """Refuse a column with empty cells."""
    empty = cells.index[cells[column] == ""]
    if len(empty):
        raise MedclsError(
            f"{len(empty)} of {len(cells)} rows are empty in the column {column}: {lines_of(empty)}. Fill them in, or "
            "choose rows with data.where.",
            kind="empty_cell",
        )


def refuse_repeated_paths(rows: pd.DataFrame) -> None:
    """Check that each image has one row."""
    repeated = rows[rows["path"].duplicated(keep=False)]
    if repeated.empty:
        return
    faults = []
    for path, same in repeated.groupby("path"):
        labels = list(dict.fromkeys(same["label"]))
        under = f"under {len(labels)} labels ({shown(labels)})" if len(labels) > 1 else f"all {shown(labels)}"
        faults.append((len(labels) == 1, f"{printable(str(path))}: {lines_of(same.index)}, {under}"))
    # Two labels are the graver fault: these come first.
    raise MedclsError(
        f"{len(faults):,} image(s) have more than one row:\n"
        + listed([line for _, line in sorted(faults)])
        + "\nKeep one row an image, or choose rows with data.where.",
        kind="image_twice",
    )


def splits_of(cells: "pd.Series[str]") -> "pd.Series[str]":
    """Read train, val and test from a column, in any usual spelling; refuse other words, and no train."""
    splits = cells.str.lower().map(SPLIT_SPELLINGS)
    unknown = cells[splits.isna()]
    if len(unknown):
        raise MedclsError(
            f"The column {cells.name} (data.split_column) holds {tallied([printable(cell) for cell in unknown])}, "
            f"which are not splits: known are {', '.join(SPLIT_SPELLINGS)}. To let medcls make the splits, set "
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
    """Report how many rows have no group."""
    empty = int((cells == "").sum())
    if empty == len(cells):
        raise MedclsError(f"The column {cells.name} (data.group_column) is empty.", kind="no_groups")
    return [f"{empty:,} row(s) have no {cells.name}: each is a group of its own"] if empty else []


def own_columns(cells: pd.DataFrame, consumed: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """The table's columns that are not `consumed`, for subgroups; those with a name of medcls become `csv_<name>`."""
    own = cells.drop(columns=list(consumed))
    renamed = {name: f"csv_{name}" for name in own.columns if name in OWN_COLUMNS or SCORES.fullmatch(name)}
    if taken := sorted(set(renamed.values()) & set(own.columns)):
        raise MedclsError(
            f"medcls would rename a column of the table to {', '.join(taken)}, which exists already: rename it.",
            kind="column_twice",
        )
    note = f"the table's column(s) {', '.join(renamed)} are kept as {', '.join(renamed.values())}"
    return own.rename(columns=renamed), [note] if renamed else []
