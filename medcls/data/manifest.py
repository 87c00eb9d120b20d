"""The manifest: one row an image, checked once, from which everything else about the data follows."""

import dataclasses
import hashlib
import io
import os
import posixpath
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medcls.csv_escaping import escaped, unescaped
from medcls.data.reading.decoded import UnreadableImage
from medcls.errors import MedclsError, nearest, typed, typed_label_map
from medcls.wording import counted, enumerated, listed, printable, quoted

COLUMNS = ("path", "label", "group", "split", "given_split", "content", "stamp")
# Made with the splits: names a cluster of images that had to fall in one split, if it is more than a group.
KEPT_TOGETHER = "kept_together"
# The original class, if data.label_map merges or renames any.
SOURCE_LABEL = "source_label"
OWN_COLUMNS = (*COLUMNS, KEPT_TOGETHER, SOURCE_LABEL)  # a user's column of such a name is renamed
FEW_LISTED = 5  # images in a message; the audit lists all
SPLITS = ("train", "val", "calibration", "test", "held_out", "unused", "left_out")
SCORED_SPLITS = ("train", "val", "calibration", "test", "held_out")

WHOLE_NUMBER = re.compile(r"([+-]?\d+)([.,]0*)?", re.ASCII)

# Names of split folders, and values of a split column, in any case.
SPLIT_SPELLINGS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A table of images, one row each, and what is known about the set as a whole.

    Parameters
    ----------
    root : Path
        The folder that `path` is relative to.
    classes : tuple of str
        Class names in the order of the network's outputs; no other place defines that order.
    rows : DataFrame
        Sorted by path; all text. Columns: `path` (relative, with forward slashes), `label`, `group` (patient, lesion or
        exam; empty if unknown), `split` (one of `SPLITS`; empty before splitting), `given_split` (as it came with the
        data, else empty), `content` (hash of the decoded pixels), `stamp` (watermark of plots of the image alone:
        synthetic; else empty), `source_label` (the original class, if `data.label_map` renames any), and further
        columns of the user's table. After splitting also `kept_together`: the first path of the cluster of images that
        had to fall in one split because they share a group, pixels or near duplicates; empty if that is the group
        alone.
    positive : str or None
        The positive class of a binary task; None for more than two classes.
    watermarks : tuple of str
        Watermarks of every plot and page made from these images (synthetic, pooled).
    notes : tuple of str
        What was done to the data, in order.
    scan : DataFrame
        The result of `scan_images`, indexed by path; may have more images than there are rows.
    unreadable : tuple of UnreadableImage
        Unreadable files, for the audit. A training stops on them.
    read_from : tuple of str
        Columns of the user's table that label, group and split were read from: they predict the label by construction.
    asked : mapping of str to float
        For each split that was made, the share of images asked for. Empty before splitting.
    """

    root: Path
    classes: tuple[str, ...]
    rows: pd.DataFrame
    positive: str | None = None
    watermarks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    scan: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame, compare=False, repr=False)
    unreadable: tuple[UnreadableImage, ...] = ()
    read_from: tuple[str, ...] = ()
    asked: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def in_class_order(self, classes: Sequence[str]) -> "Manifest":
        """The same with its classes in the order of an earlier run; unchanged if that has other classes."""
        return dataclasses.replace(self, classes=tuple(classes)) if set(classes) == set(self.classes) else self

    @property
    def labels(self) -> np.ndarray:
        """Class indices, int64 `(n,)`."""
        return pd.Categorical(self.rows["label"], categories=list(self.classes)).codes.astype(np.int64)

    def class_counts(self, split: str) -> tuple[int, ...]:
        """Images of each class in one split, in class order."""
        return tuple(np.bincount(self.labels[self.indices(split)], minlength=len(self.classes)).tolist())

    @property
    def watermark(self) -> str | None:
        """The watermarks in one line, or None."""
        return " · ".join(self.watermarks) or None

    def indices(self, split: str) -> np.ndarray:
        """Row numbers of one split, int64, in manifest order."""
        return np.flatnonzero((self.rows["split"] == split).to_numpy())

    def fingerprint(self) -> str:
        """A hash of the images, labels, groups and splits: equal for equal experiments.

        It does not depend on the location of the folder, the order of listing, or the machine.
        """
        return fingerprint(self.rows)

    def with_rows(self, rows: pd.DataFrame, *notes: str) -> "Manifest":
        """The same set with other rows or splits, and further notes."""
        return dataclasses.replace(self, rows=rows.reset_index(drop=True), notes=(*self.notes, *notes))

    def to_csv(self) -> str:
        """The table as CSV text."""
        buffer = io.StringIO()
        escaped(self.rows).to_csv(buffer, index=False, lineterminator="\n")
        return buffer.getvalue()


def fingerprint(rows: pd.DataFrame) -> str:
    """See `Manifest.fingerprint`; equal for rows written and read back."""
    text = rows[["path", "label", "group", "split", "content"]].to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_rows(path: Path) -> pd.DataFrame:
    """Read a saved manifest's rows, every cell as text."""
    try:
        rows = unescaped(pd.read_csv(path, dtype=str, keep_default_na=False))
    except (OSError, ValueError) as error:
        raise MedclsError(f"{path} cannot be read as a manifest ({error}).", kind="unreadable_table") from error
    if "stamp" not in rows:  # of an earlier version
        rows["stamp"] = ""
    missing = [column for column in COLUMNS if column not in rows.columns]
    if missing:
        raise MedclsError(f"{path} is not a manifest: it has no column {', '.join(missing)}.", kind="missing_column")
    return rows


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """The classes in order: as numbers if all are numbers, else as text."""
    names = sorted(set(labels))
    numbers = all(re.fullmatch(r"[+-]?\d+(\.\d+)?", name, re.ASCII) for name in names)
    return tuple(sorted(names, key=float) if numbers else names)


def group_by_spelling(names: Iterable[str]) -> list[list[str]]:
    """Group names that differ only in case, blanks and invisible characters."""
    alike: dict[str, list[str]] = {}
    for name in names:
        folded = unicodedata.normalize("NFKC", name).casefold()
        alike.setdefault("".join(sign for sign in folded if sign.isprintable() and not sign.isspace()), []).append(name)
    return list(alike.values())


def check_distinct(labels: Sequence[str]) -> None:
    """Refuse class names that differ only in case, blanks or invisible characters."""
    counts = Counter(labels)
    alike = group_by_spelling(sorted(counts, key=lambda name: -counts[name]))
    several = [names for names in alike if len(names) > 1]
    if not several:
        return
    listing = [" and ".join(f"{name!r} ({counts[name]:,})" for name in names) for names in several]
    joined = {" ".join(names[0].split()): names for names in sorted(alike, key=lambda names: names[0])}
    raise MedclsError(
        f"Classes that differ only in case or blanks: {'; '.join(listing)}. To merge them, rename the folders, correct "
        f"the table, or add:\n  {typed_label_map(joined)}\nIf they are different classes, give them distinct names in "
        "the same way.",
        kind="class_names_alike",
    )


def whole_numbers(
    rows: pd.DataFrame, label_map: Mapping[str, Sequence[str]] | None, positive: str | None
) -> tuple[pd.DataFrame, Mapping[str, Sequence[str]] | None, str | None, list[str]]:
    """Write labels such as 0.0 and 1.0, which tables with an empty cell have, as 0 and 1; with a note."""
    names = sorted(set(rows["label"]))
    if not all(WHOLE_NUMBER.fullmatch(name) for name in names) or all(name.lstrip("+-").isdigit() for name in names):
        return rows, label_map, positive, []

    def as_integer(name: object) -> str:
        return match[1] if (match := WHOLE_NUMBER.fullmatch(str(name))) else str(name)

    if isinstance(label_map, Mapping):
        label_map = {str(new): [as_integer(old) for old in as_list(olds)] for new, olds in label_map.items()}
    elif positive is not None:
        positive = as_integer(positive)
    note = f"labels that are whole numbers are written as such: {quoted(names)} as {quoted(map(as_integer, names))}"
    return rows.assign(label=rows["label"].map(as_integer)), label_map, positive, [note]


def check_task(labels: Sequence[str]) -> None:
    """Refuse tasks other than single-label classification, and fewer than two classes."""
    names = sorted(set(labels))
    several = {name: alone for name in names if (alone := _parts_that_stand_alone(name, names))}
    for name, alone in several.items():
        raise MedclsError(
            f"{counted(labels.count(name), 'image')} of {len(labels):,} have the label {name!r}, and "
            f"{' and '.join(map(repr, alone))} also occur{'s' * (len(alone) == 1)} alone. Several labels an image "
            "(multi-label) are out of scope for medcls. If this is one, give the image one label, or leave it out:\n"
            f"  {typed_label_map({one: [one] for one in names if one not in several})} data.leave_out_unmapped=true\n"
            "If it is a class, give it another name:\n"
            f"  {typed_label_map({one: [one] for one in names})}",
            kind="out_of_scope",
        )
    if sum(bool(re.fullmatch(r"[+-]?\d+[.,]\d+(e[+-]?\d+)?", name)) for name in names) > len(names) / 2 or (
        len(names) > 50 and all(re.fullmatch(r"[+-]?\d+", name) for name in names)
    ):
        raise MedclsError(
            f"The labels are numbers ({quoted(names[:5])}, ...): predicting a measured number (regression) is out "
            "of scope for medcls. Give each image a class name.",
            kind="out_of_scope",
        )
    if len(names) < 2:
        raise MedclsError(
            f"Every image has the same label ({names[0]!r}): a classifier needs at least two classes."
            if names
            else "There are no labelled images.",
            kind="one_class" if names else "no_images",
        )


def _parts_that_stand_alone(name: str, names: Collection[str]) -> list[str]:
    """The parts of a label that looks like several (`C;D`) that are labels themselves."""
    parts = [part for one in re.split(r"[|;,+]", name) if (part := one.strip())]
    return [part for part in parts if part in names] if len(parts) > 1 else []


def check_label_map(
    label_map: Mapping[str, Sequence[str]], found: Sequence[str], *, leave_out_unmapped: bool = False
) -> dict[str, str]:
    """Turn `{new: [old, ...]}` into `{old: new}`, checked against the classes of the data.

    The map names every class once, unless `leave_out_unmapped` leaves the others out.
    """
    if not isinstance(label_map, Mapping):
        raise MedclsError(
            f"data.label_map is {label_map!r}: give {{new class: [folder names]}}, such as "
            "{malignant: [malignant], other: [benign, normal]}.",
            kind="bad_value",
        )
    mapping: dict[str, str] = {}
    # YAML reads the folder name 0 as a number.
    pairs = [(str(new), str(old)) for new, olds in label_map.items() for old in as_list(olds)]
    for new, old in pairs:
        if old not in found:
            raise MedclsError(
                f"data.label_map puts {old!r} under {new!r}, but the data has no class {old!r}: "
                f"it has {quoted(found)}.{nearest(old, found)}",
                kind="unknown_class",
            )
        if old in mapping:
            raise MedclsError(
                f"data.label_map names {old!r} twice, under {mapping[old]!r} and under {new!r}.", kind="bad_value"
            )
        mapping[old] = new
    missing = [name for name in found if name not in mapping]
    if missing and not leave_out_unmapped:
        raise MedclsError(
            f"data.label_map does not name {', '.join(map(repr, missing))}: name every class of the data "
            f"({quoted(found)}), or leave them out with data.leave_out_unmapped=true.",
            kind="unmapped_class",
        )
    return mapping


def as_list(value: object) -> list[object]:
    """A list as it is; a single value as a list of one."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def groups_from_paths(paths: Sequence[str], pattern: str) -> list[str]:
    """The group (patient, lesion, exam) of each image, from its relative path.

    The group is what the parentheses of the regular expression match, joined by `-` if there are several; without
    parentheses, the whole match. A path without a match has no group (empty).
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise MedclsError(
            f"data.group_pattern is not a regular expression ({error}): {pattern}", kind="bad_value"
        ) from error
    groups = []
    for path in paths:
        match = expression.search(path)
        parts = [part for part in (match.groups() or (match.group(),)) if part] if match else []
        groups.append("-".join(parts))
    if not any(groups):
        raise MedclsError(
            f"data.group_pattern {pattern!r} matches none of the {len(groups)} paths; the first is {paths[0]!r}.",
            kind="pattern_matches_nothing",
        )
    return groups


def check_positive(classes: Sequence[str], positive: str | None) -> None:
    """Check that a binary task names its positive class, and no other task does."""
    if positive is not None and positive not in classes:
        raise MedclsError(
            f"positive_class is {positive!r}, which is not among the classes: {quoted(classes)}."
            f"{nearest(positive, classes)}",
            kind="unknown_class",
        )
    if positive is None and len(classes) == 2:
        raise MedclsError(
            f"Two classes, {classes[0]!r} and {classes[1]!r}, and no positive class, which sensitivity and precision "
            "need. Add one of these to the command:\n"
            + "\n".join(f"  {typed('positive_class', name)}" for name in classes),
            kind="missing_setting",
        )
    if positive is not None and len(classes) > 2:
        raise MedclsError(
            f"positive_class={positive} with {len(classes)} classes ({quoted(classes)}): only a binary task has a "
            "positive class. Leave it out, or merge the others with data.label_map.",
            kind="not_binary",
        )


def label_conflicts(rows: pd.DataFrame) -> list[str]:
    """The images whose pixels have more than one label."""
    labels = rows[rows["content"] != ""].groupby("content")["label"].nunique()
    return rows.loc[rows["content"].isin(labels.index[labels > 1]), "path"].tolist()


def check_one_label_per_image(root: Path, rows: pd.DataFrame) -> None:
    """Refuse duplicates with different labels."""
    conflicted = rows[rows["path"].isin(label_conflicts(rows))]
    if conflicted.empty:
        return
    lines = [
        "  and  ".join(f"{printable(str(row.path))} ({row.label})" for row in same.head(FEW_LISTED).itertuples())
        + (f"  and {len(same) - FEW_LISTED:,} more" if len(same) > FEW_LISTED else "")
        for _, same in conflicted.groupby("content", sort=False)
    ]
    if len(conflicted) <= 2 * FEW_LISTED:
        paths = ", ".join(f'"{path}"' for path in conflicted["path"])
        way = f"Correct the labels, or leave the images out: data.exclude='[{paths}]'"
    else:
        way = f"Correct the labels, or leave the images out. {audit_lists_all(root)}"
    raise MedclsError(
        f"{len(lines):,} image(s) have more than one label:\n{listed(lines, FEW_LISTED)}\n{way}",
        kind="image_under_two_labels",
    )


def audit_lists_all(root: Path) -> str:
    """The command that lists all faulty images and writes them to a file for `data.exclude_file`."""
    return (
        f"The audit lists all of them, and writes a file for data.exclude_file; add the data settings of this command:"
        f"\n  python -m medcls.audit data.root={shlex.quote(str(root))} audit.fix=exclude"
    )


def named_exclusions(paths: str | Sequence[str], file: str | Path | None, root: Path) -> set[str]:
    """The paths to leave out, in the configuration and in its text file, relative to `root`."""
    return set(relative_paths([*([paths] if isinstance(paths, str) else paths), *read_exclusions(file)], root))


def relative_paths(paths: Iterable[str], root: Path) -> list[str]:
    """Paths as a manifest writes them: relative to the root, with forward slashes, without `./` and `//`."""
    top = root.absolute().as_posix().rstrip("/") + "/"

    def relative(path: str) -> str:
        if "\\" in path and not os.path.isfile(root / path):
            path = path.replace("\\", "/")
        return posixpath.normpath(path).removeprefix(top)

    return [relative(path) for path in paths]


def exclude(rows: pd.DataFrame, names: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """Leave out the images that the configuration names; notes count these, and names that were not found."""
    if not names:
        return rows, []
    named = rows["path"].isin(names)
    notes = []
    if named.any():
        notes.append(f"left out {int(named.sum())} excluded image(s): {enumerated(rows.loc[named, 'path'].tolist())}")
    if absent := sorted(set(names) - set(rows["path"])):
        notes.append(f"{len(absent)} excluded file(s) are not among these images: {enumerated(absent)}")
    return rows[~named], notes


def read_exclusions(path: str | Path | None) -> list[str]:
    """The relative paths in a text file, one a line; blank lines and lines that begin with `# ` are ignored."""
    if path is None:
        return []
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MedclsError(f"data.exclude_file={path} cannot be read: {error}.", kind="unreadable_file") from error
    return [line for line in lines if line.strip() and not line.startswith("# ")]
