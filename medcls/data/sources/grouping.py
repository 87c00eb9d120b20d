"""Which images belong to one patient (lesion, exam): read from a table, or suggested by file names."""

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from medcls.data.manifest import groups_from_paths
from medcls.data.sources.file_search import below_root, lines_of
from medcls.data.sources.table_text import read_table, shown
from medcls.errors import MedclsError
from medcls.wording import counted, listed, printable, quoted

MOST_PATHS = 50_000  # no suggestion for more: it would take seconds
MOST_WORDS = 4  # joined in one pattern
# Conditions of a suggestion:
COVERED = 0.9  # least share of images with a group
SHARED = 0.2  # least share of these that share their group with another
LARGEST = 0.25  # largest share of images in one group
FEWEST_GROUPS = 5
CLEAN = 0.9  # least share of groups of several images with one label and in one given split


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A pattern in file names, how many images would have a group, how many groups, and a path with its group."""

    pattern: str
    images: int
    groups: int
    example: tuple[str, str]

    def sentence(self, *, example: bool = True) -> str:
        """The suggestion in words; without the example if file names must not be shown."""
        path, group = self.example
        such = f", as {group!r} of {printable(path)}" if example else ""
        return (
            f"file names seem to contain patient ids: data.group_pattern={shlex.quote(self.pattern)} gives "
            f"{counted(self.groups, 'group')} of {counted(self.images, 'image')}{such}. Add it if these are the "
            "patients (lesions, exams)"
        )


def read_groups(table: str | Path, root: Path, paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Read the groups of images from a table with the columns `path` (relative to `root`) and `group`.

    Returns
    -------
    groups, notes
        The group of each of `paths`, empty if it has none; and what the table lacks.

    Raises
    ------
    MedclsError
        No such table or columns; a path without a file; a path with two groups; no image with a group.
    """
    file = Path(table).expanduser()
    if not file.is_file():
        raise MedclsError(f"There is no table {file} (data.groups).", kind="no_such_file")
    cells, notes = read_table(file, "data.groups")
    if absent := [name for name in ("path", "group") if name not in cells]:
        raise MedclsError(
            f"{file.name} (data.groups) has no column {' and no column '.join(absent)}: it needs path and group, and "
            f"has {shown(cells.columns)}.",
            kind="missing_column",
        )
    rows = pd.DataFrame({"path": below_root(cells["path"], root), "group": cells["group"]})
    named, groups = rows["path"], rows["group"]
    several = groups.groupby(named).nunique()
    if len(torn := rows[named.isin(several.index[several > 1])]):
        lines = [f"{printable(str(path))}: {lines_of(same.index)}" for path, same in torn.groupby("path")]
        raise MedclsError(
            f"{file.name} (data.groups) gives {counted(len(lines), 'image')} several groups:\n{listed(lines)}\n"
            "Keep one row an image.",
            kind="image_in_two_groups",
        )
    known = set(paths)
    absent_files = named[[path not in known and not (root / path).is_file() for path in named]]
    if len(absent_files):
        raise MedclsError(
            f"{file.name} (data.groups) names {counted(len(absent_files), 'file')} that do not exist below {root} "
            "(data.root):\n"
            + listed([f"line {line}: {printable(path)}" for line, path in absent_files.items()])
            + "\nGive each path relative to data.root, with its extension, or remove the row.",
            kind="no_such_file",
        )
    if named.duplicated().any():
        notes.append(f"{file.name} names {counted(int(named.duplicated().sum()), 'image')} again, in the same group")
    by_path = dict(zip(named, groups, strict=True))
    found = [by_path.get(path, "") for path in paths]
    if not any(found):
        raise MedclsError(f"{file.name} (data.groups) gives no image of {root} (data.root) a group.", kind="no_groups")
    if missing := [path for path in paths if path not in by_path]:
        notes.append(
            f"{file.name} (data.groups) does not name {counted(len(missing), 'image')}, such as {printable(missing[0])}"
        )
    return found, notes


def group_notes(rows: pd.DataFrame) -> list[str]:
    """How many images have no group, by class, in sentences for the log; a suggestion if none has one."""
    lone = rows["group"] == ""
    if not lone.any():
        return []
    if lone.all():
        suggestion = suggest_pattern(rows)
        return [
            "patients are unknown, so each image is a group of its own. If patients have several images, name the "
            "patient with data.group_pattern or data.groups; otherwise the metrics will be too optimistic",
            *([suggestion.sentence()] if suggestion else []),
        ]
    return [f"{parts_without_group(rows)}. Each is a group of its own", *classes_without_group(rows)]


def parts_without_group(rows: pd.DataFrame) -> str:
    """`412 of 746 images have no group ('benign' 400 of 437, 'normal' 12 of 309); the other 334 are of 55 groups`."""
    lone = rows["group"] == ""
    by_class = lone.groupby(rows["label"]).agg(["sum", "size"])
    classes = ", ".join(f"{name!r} {int(n):,} of {size:,}" for name, n, size in by_class.itertuples() if n)
    have = "has" if lone.sum() == 1 else "have"
    return (
        f"{int(lone.sum()):,} of {counted(len(rows), 'image')} {have} no group ({classes}); the other "
        f"{int((~lone).sum()):,} are of {counted(rows.loc[~lone, 'group'].nunique(), 'group')}"
    )


def classes_without_group(rows: pd.DataFrame) -> list[str]:
    """A warning that names the classes without any group, if there are such and not all are."""
    named = set(rows.loc[rows["group"] != "", "label"])
    without = sorted(set(rows["label"]) - named)
    if not named or not without:
        return []
    return [
        f"no image of {quoted(without)} has a group: images of one of these patients may be in two splits. Does the "
        "pattern, or the table, cover this class too?"
    ]


def suggest_pattern(rows: pd.DataFrame) -> Suggestion | None:
    """The likeliest pattern of patients in file names, covering the most images; None if there is none.

    Candidates are a folder below the class, a number at the beginning of the name (`012_left.png`), a word with a
    number followed by something (`patient012_3.png`) and all but the last part of the name (`p1_virus_7.png`).
    """
    if not 0 < len(rows) <= MOST_PATHS:
        return None
    found = [fit for pattern in _candidates(rows) if (fit := _suggestion(rows, pattern)) is not None]
    return max(found, key=lambda fit: (fit.images, -fit.groups), default=None)


def _candidates(rows: pd.DataFrame) -> Iterator[str]:
    yield r"([^/]+)/[^/]+$"
    yield r"(?:^|/)(\d+)[-_. ][^/]+$"
    words: Counter[str] = Counter()
    for path in rows["path"]:
        stem = PurePosixPath(path).stem
        words.update({match.group(1) for match in re.finditer(r"((?<![^\W\d_])[^\W\d_]+[-_ ]?)\d+(?=\D)", stem)})
    likely = [word for word, count in words.most_common(20) if count >= 0.02 * len(rows)]
    for word in likely:
        yield rf"({_as_typed(word)}\d+)"
    # One word a class, or a site: together they may cover all images.
    for most in range(2, min(MOST_WORDS, len(likely)) + 1):
        yield "(" + "|".join(rf"{_as_typed(word)}\d+" for word in sorted(likely[:most], key=len, reverse=True)) + ")"
    yield r"([^/]+)[-_ ][^-_ /]+$"


def _as_typed(word: str) -> str:
    return rf"(?<![A-Za-z]){re.escape(word)}" if len(word) < 3 else re.escape(word)


def _suggestion(rows: pd.DataFrame, pattern: str) -> Suggestion | None:
    """The groups that a pattern would make; None if they do not look like patients."""
    try:
        groups = pd.Series(groups_from_paths(rows["path"].tolist(), pattern), index=rows.index)
    except MedclsError:  # it matches none
        return None
    named = groups != ""
    sizes = groups[named].value_counts()
    shared = sizes[sizes > 1]
    labels = rows.loc[named, "label"].groupby(groups[named]).nunique()[shared.index]
    splits = rows.loc[named, "given_split"].groupby(groups[named]).nunique()[shared.index]
    likely = (
        named.mean() >= COVERED
        and len(sizes) >= FEWEST_GROUPS
        and shared.sum() >= SHARED * named.sum()
        and sizes.max() <= LARGEST * named.sum()
        and ((labels == 1) & (splits == 1)).mean() >= CLEAN
    )
    first = shared.sort_index().index[0] if likely else ""
    example = rows.loc[groups == first, "path"].iloc[0] if likely else ""
    return Suggestion(pattern, int(named.sum()), len(sizes), (example, first)) if likely else None
