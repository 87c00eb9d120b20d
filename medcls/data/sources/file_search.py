"""The file of each row of a table: as the row says, or found by a stated rule, or reported as missing."""

import dataclasses
import filecmp
import functools
import os
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from medcls.data.manifest import audit_lists_all, relative_paths
from medcls.data.reading import images
from medcls.data.sources.file_names import files_below, is_hidden
from medcls.errors import MedclsError
from medcls.wording import enumerated, listed, printable


def lines_of(lines: pd.Index) -> str:
    """`line 4` or `lines 4, 9 and 3 more`."""
    return f"line{'s' if len(lines) > 1 else ''} {enumerated([str(line) for line in lines])}"


def below_root(paths: "pd.Series[str]", root: Path) -> "pd.Series[str]":
    """Make every path relative to the root, with forward slashes; refuse those outside it."""
    found = pd.Series(relative_paths(paths, root), paths.index, dtype=paths.dtype, name=paths.name)
    outside = found[found.str.match(r"/|[A-Za-z]:/|\.\.(/|$)")]
    if len(outside):
        raise MedclsError(
            f"{len(outside)} row(s) name a file outside {root} (data.root): "
            + enumerated([f"line {line}: {printable(paths[line])}" for line in outside.index], most=5)
            + ". Give the folder above them as data.root, or a data.path_template of the file names alone.",
            kind="file_outside_root",
        )
    return found


def images_below(root: Path) -> list[str]:
    """The image files below a folder: sorted relative paths, each real folder once."""
    return sorted(
        within + name
        for within, name in files_below(root, "", [])
        if is_image_ending(posixpath.splitext(name)[1]) and not is_hidden(name)
    )


@functools.cache
def is_image_ending(ending: str) -> bool:
    """Whether image files have this extension."""
    return images.is_image_name(PurePosixPath(f"x{ending}"))


def without_extension(path: str) -> str:
    """A path without the extension of an image file."""
    stem, ending = posixpath.splitext(path)
    return stem if is_image_ending(ending) else path


def search_key(path: str) -> str:
    """What every `Search` keeps of a file name: files with different keys never match."""
    return without_zeros(without_extension(without_extension(posixpath.basename(path))).lower())


def requested_form(path: str) -> str:
    """The form of a row's path that is searched: lower case; of two extensions (`a.png.jpg`) the first."""
    shorter = without_extension(path)
    return (shorter if without_extension(shorter) != shorter else path).lower()


def file_forms(path: str) -> tuple[str, ...]:
    """The forms of a file that are compared: its path in lower case, with and without extension."""
    return path.lower(), without_extension(path).lower()


def without_zeros(path: str) -> str:
    """A path with numbers without leading zeros."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", path)


@dataclasses.dataclass(frozen=True)
class Search:
    """One way to find a file that is not where its row says.

    Parameters
    ----------
    words : str
        Completes "was found ...".
    requested : callable
        The form of the row's path that is searched.
    forms : callable
        The forms of a file that it is compared with.
    anywhere : bool
        Whether the file may be in a sub-folder. Folders in the row's path must still match: another patient's `1.png`
        is another image.
    """

    words: str
    requested: Callable[[str], str]
    forms: Callable[[str], tuple[str, ...]]
    anywhere: bool

    def finds(self, file: str, requested: str) -> bool:
        """Whether a file matches the path of a row."""
        form = self.requested(requested)
        return any(own == form or (self.anywhere and own.endswith("/" + form)) for own in self.forms(file))


SEARCHES = (
    Search("in upper or lower case, or with its extension", requested_form, file_forms, anywhere=False),
    Search(
        "with another extension", lambda path: file_forms(path)[1], lambda path: file_forms(path)[1:], anywhere=False
    ),
    Search("in a sub-folder", requested_form, file_forms, anywhere=True),
)
BY_NUMBER = Search(
    "by number, without leading zeros",
    lambda path: without_zeros(requested_form(path)),
    lambda path: tuple(without_zeros(form) for form in file_forms(path)),
    anywhere=True,
)


def find_files(
    root: Path, requested: "pd.Series[str]", lost_zeros: "pd.Series[bool]"
) -> tuple[dict[str, str], list[str]]:
    """Find the file of each row, whose relative paths are indexed by line; `lost_zeros` marks ids that are numbers.

    If there is none at a path, the root is listed once, and files match that differ in case or extension, that are in a
    sub-folder, or, if the ids of all rows still without a file are numbers, that differ in leading zeros. The notes
    count each way. Several different files for one row are an error.
    """
    files = images_below(root)
    existing = set(files)
    places = {path: path for path in set(requested) if path in existing or os.path.isfile(os.path.join(root, path))}
    notes = []
    alike: dict[str, list[str]] = {}
    if len(places) < requested.nunique():
        for file in files:
            alike.setdefault(search_key(file), []).append(file)
    for search in (*SEARCHES, BY_NUMBER):
        missing = ~requested.isin(places.keys())
        if not missing.any():
            break
        if search is BY_NUMBER and not lost_zeros[missing].all():
            continue
        candidates = {
            path: [file for file in alike.get(search_key(path), ()) if search.finds(file, path)]
            for path in sorted(set(requested[missing]))
        }
        found = {path: files for path, files in candidates.items() if files}
        notes += search_notes(search, found, several := [path for path, files in found.items() if len(files) > 1])
        refuse_ambiguous(root, {path: found[path] for path in several}, requested)
        places |= {path: files[0] for path, files in found.items()}
    if unnamed := len(existing - set(places.values())):
        notes.append(f"{unnamed:,} image file(s) below {root.name} are in no row that was read")
    return places, notes


def search_notes(search: Search, found: Mapping[str, Sequence[str]], several: Sequence[str]) -> list[str]:
    """Report how many files were found in this way, and that files with equal bytes were skipped."""
    if not found:
        return []
    path, files = next(iter(found.items()))
    notes = [f"{len(found):,} file(s) were found {search.words}, such as {files[0]} for {path}"]
    if several:
        notes.append(
            f"{len(several):,} of them have several files with the same bytes, such as "
            f"{' and '.join(found[several[0]])}: the first is used"
        )
    return notes


def refuse_ambiguous(root: Path, several: Mapping[str, Sequence[str]], requested: "pd.Series[str]") -> None:
    """Refuse rows that match several files, unless these are equal, byte by byte."""
    unclear = {
        path: files
        for path, files in several.items()
        if not all(filecmp.cmp(root / files[0], root / other, shallow=False) for other in files[1:])
    }
    if unclear:
        raise MedclsError(
            f"{len(unclear)} row(s) match several different files:\n"
            + "\n".join(
                f"  {lines_of(requested.index[requested == path])}: {printable(path)} may be {enumerated(files)}"
                for path, files in list(unclear.items())[:5]
            )
            + "\nGive the folder of the right ones as data.root, or name it in data.path_template.",
            kind="ambiguous_file",
        )


def no_such_files(root: Path, missing: "pd.Series[str]") -> MedclsError:
    """The error for rows without a file, with the searches tried."""
    return MedclsError(
        f"{len(missing):,} row(s) name a file that is not below {root} (data.root):\n"
        + listed([f"line {line}: {printable(path)}" for line, path in missing.items()])
        + "\nEach was searched as data.path_template says, "
        + ", ".join(search.words for search in SEARCHES)
        + ", and if all these ids are numbers, "
        + BY_NUMBER.words
        + ". Correct data.root or data.path_template, choose rows with data.where, or name the paths in "
        f"data.exclude. {audit_lists_all(root)}",
        kind="no_such_file",
    )
