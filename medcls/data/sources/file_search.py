"""Which file each row of a table means: where the row says, or else found in a stated way, or named as missing."""

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
from medcls.data.sources.listing import files_below, is_hidden
from medcls.errors import MedclsError
from medcls.wording import enumerated, listed, printable


def lines_of(lines: pd.Index) -> str:
    """`line 4` or `lines 4, 9 and 3 more`."""
    return f"line{'s' if len(lines) > 1 else ''} {enumerated([str(line) for line in lines])}"


def below_root(paths: "pd.Series[str]", root: Path) -> "pd.Series[str]":
    """Write every path relative to the root, with forward slashes.

    Raises
    ------
    MedclsError
        Lists those that lead out of it.
    """
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
    """List the image files below a folder in one pass: sorted relative paths, each real folder once."""
    return sorted(
        within + name
        for within, name in files_below(root, "", [])
        if is_image_ending(posixpath.splitext(name)[1]) and not is_hidden(name)
    )


@functools.cache
def is_image_ending(ending: str) -> bool:
    """Whether image files end like this."""
    return images.is_image_name(PurePosixPath(f"x{ending}"))


def bare(path: str) -> str:
    """A path without the ending of an image file."""
    stem, ending = posixpath.splitext(path)
    return stem if is_image_ending(ending) else path


def gist(path: str) -> str:
    """What remains of a file's name in every `Search`: two files without it in common are never taken for one."""
    return without_zeros(bare(bare(posixpath.basename(path))).lower())


def as_asked(path: str) -> str:
    """A wanted path in lower case; of two endings (`a.png.jpg`, from a template that adds one) the first."""
    shorter = bare(path)
    return (shorter if bare(shorter) != shorter else path).lower()


def as_listed(path: str) -> tuple[str, ...]:
    """What a file may be called by a row: its path in lower case, with and without its ending."""
    return path.lower(), bare(path).lower()


def without_zeros(path: str) -> str:
    """A path whose numbers have lost their leading zeros."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", path)


@dataclasses.dataclass(frozen=True)
class Search:
    """One way to find a file that is not where its row says.

    Parameters
    ----------
    words : str
        How it was found, after "was found".
    asked : callable
        The form of the wanted path that is looked up.
    listed : callable
        The forms that a file answers to.
    anywhere : bool
        Whether the file may lie deeper than the row says. The folders that the row does name must still be its own:
        another patient's `1.png` is another picture.
    """

    words: str
    asked: Callable[[str], str]
    listed: Callable[[str], tuple[str, ...]]
    anywhere: bool

    def finds(self, file: str, wanted: str) -> bool:
        """Whether a listed file is the wanted one, seen in this way."""
        asked = self.asked(wanted)
        return any(form == asked or (self.anywhere and form.endswith("/" + asked)) for form in self.listed(file))


SEARCHES = (
    Search("in upper or lower case, or with its ending", as_asked, as_listed, anywhere=False),
    Search("with another ending", lambda path: bare(path).lower(), lambda path: (bare(path).lower(),), anywhere=False),
    Search("in a sub-folder", as_asked, as_listed, anywhere=True),
)
BY_NUMBER = Search(
    "by number, its id having lost leading zeros",
    lambda path: without_zeros(as_asked(path)),
    lambda path: tuple(without_zeros(form) for form in as_listed(path)),
    anywhere=True,
)


def find_files(root: Path, wanted: "pd.Series[str]", lost_zeros: "pd.Series[bool]") -> tuple[dict[str, str], list[str]]:
    """Find the file of each row.

    Where none lies at the wanted path, the root is listed once, and a file is taken that differs in upper and lower
    case or in its ending, that lies in a sub-folder, or, where the ids of all rows still without one are mere numbers,
    whose number is the same but for leading zeros. Each way is counted in the notes.

    Parameters
    ----------
    wanted : Series
        Relative paths, indexed by line.
    lost_zeros : Series
        Whether the row's id is a mere number.

    Returns
    -------
    places, notes
        The path of the file for each wanted path that has one.

    Raises
    ------
    MedclsError
        Several different files answer to one row.
    """
    files = images_below(root)
    there = set(files)
    places = {path: path for path in set(wanted) if path in there or os.path.isfile(os.path.join(root, path))}
    notes = []
    alike: dict[str, list[str]] = {}
    if len(places) < wanted.nunique():
        for file in files:
            alike.setdefault(gist(file), []).append(file)
    for search in (*SEARCHES, BY_NUMBER):
        missing = ~wanted.isin(places.keys())
        if not missing.any():
            break
        if search is BY_NUMBER and not lost_zeros[missing].all():
            continue
        tp = {
            path: [file for file in alike.get(gist(path), ()) if search.finds(file, path)]
            for path in sorted(set(wanted[missing]))
        }
        found = {path: taken for path, taken in tp.items() if taken}
        notes += say_found(search, found, several := [path for path, taken in found.items() if len(taken) > 1])
        refuse_different(root, {path: found[path] for path in several}, wanted)
        places |= {path: taken[0] for path, taken in found.items()}
    if unnamed := len(there - set(places.values())):
        notes.append(f"{unnamed:,} image file(s) below {root.name} are in no row that was read")
    return places, notes


def say_found(search: Search, found: Mapping[str, Sequence[str]], several: Sequence[str]) -> list[str]:
    """Say how many files were found in this way, and that copies of one file were passed over."""
    if not found:
        return []
    path, tp = next(iter(found.items()))
    notes = [f"{len(found):,} file(s) were found {search.words}, as {tp[0]} for {path}"]
    if several:
        notes.append(
            f"{len(several):,} of them lie there more than once with the same bytes, as "
            f"{' and '.join(found[several[0]])}: the first was taken"
        )
    return notes


def refuse_different(root: Path, several: Mapping[str, Sequence[str]], wanted: "pd.Series[str]") -> None:
    """Refuse rows to which several files answer, unless these are copies, byte by byte.

    Raises
    ------
    MedclsError
        Lists the files of the first such rows.
    """
    unclear = {
        path: tp
        for path, tp in several.items()
        if not all(filecmp.cmp(root / tp[0], root / other, shallow=False) for other in tp[1:])
    }
    if unclear:
        raise MedclsError(
            f"Several different files could be meant by {len(unclear)} row(s):\n"
            + "\n".join(
                f"  {lines_of(wanted.index[wanted == path])}: {printable(path)} may be {enumerated(tp)}"
                for path, tp in list(unclear.items())[:5]
            )
            + "\nGive the folder of the right ones as data.root, or name it in data.path_template.",
            kind="ambiguous_file",
        )


def no_such_files(root: Path, missing: "pd.Series[str]") -> MedclsError:
    """Word that rows have no file, and what was tried."""
    return MedclsError(
        f"{len(missing):,} row(s) name a file that is not below {root} (data.root):\n"
        + listed([f"line {line}: {printable(path)}" for line, path in missing.items()])
        + "\nEach was looked for where data.path_template says, "
        + ", ".join(search.words for search in SEARCHES)
        + ", and where all these ids are numbers, "
        + BY_NUMBER.words
        + ". Mend data.root or data.path_template, choose rows by data.where, or name the paths in "
        f"data.exclude. {audit_lists_all(root)}",
        kind="no_such_file",
    )
