"""The images that a person names for prediction: a folder, files, a pattern, or a table of paths."""

import dataclasses
import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from medcls.csv_escaping import unescape
from medcls.data.reading import images
from medcls.data.sources.file_names import files_below, is_hidden
from medcls.data.sources.table_text import check_column, read_table
from medcls.errors import MedclsError
from medcls.wording import counted, printable, tallied

TABLES = (".csv", ".tsv")
COLUMN = "path"


@dataclasses.dataclass(frozen=True)
class Source:
    """Files of one folder, by name.

    Parameters
    ----------
    shown : str
        What stands before each name in the results.
    folder : str
        What stands before each name to open it.
    names : list of str
    """

    shown: str
    folder: str
    names: list[str]


@dataclasses.dataclass(frozen=True)
class NamedImages:
    """Image files in a fixed order, each once.

    Parameters
    ----------
    sources : tuple of Source
    notes : tuple of str
        What was left out, for the log.
    """

    sources: tuple[Source, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return sum(len(source.names) for source in self.sources)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield the path for the results, and the path to open."""
        for source in self.sources:
            for name in source.names:
                yield source.shown + name, os.path.join(source.folder, name)

    def fingerprint(self) -> str:
        """A hash of all paths in their order, 16 hexadecimal digits; no file is read."""
        digest = hashlib.blake2b(digest_size=8)
        for shown, file in self:
            digest.update(os.fsencode(f"{shown}\0{file}\0"))
        return digest.hexdigest()


def named_images(named: Sequence[str]) -> NamedImages:
    """List the images that are named; none is opened but those without an extension.

    Parameters
    ----------
    named : sequence of str
        Each a folder, with its sub-folders; a file; a pattern (`scans/*.png`, `scans/**/*.dcm`); or a table (`.csv`,
        `.tsv`) with a column `path`, relative to its own folder.

    Raises
    ------
    MedclsError
        There is no such file or folder; a pattern, folder or table names no image.
    """
    sources: list[Source] = []
    notes: list[str] = []
    for text in named:
        place = Path(text).expanduser()
        if place.is_dir():
            source, left_out = _below(place)
        elif place.is_file() and place.suffix.lower() in TABLES:
            source, left_out = _of_table(place)
        elif os.path.lexists(place):
            source, left_out = Source("", "", [str(place)]), []
        elif glob.has_magic(text):
            source, left_out = _matching(str(place))
        else:
            raise MedclsError(
                f"images={printable(text)}: there is no such file or folder. Give a folder, a file, a pattern in "
                "quotes ('scans/*.png'), or a CSV with a column path.",
                kind="no_such_file",
            )
        sources.append(source)
        notes += left_out
    if len(sources) > 1:
        sources, repeated = _each_once(sources)
        notes += [f"{counted(repeated, 'image')} named twice: predicted once"] if repeated else []
    return NamedImages(tuple(sources), tuple(notes))


def _below(folder: Path) -> tuple[Source, list[str]]:
    """The images below a folder, by their names; those that are hidden and other files are counted."""
    found: list[str] = []
    other: list[str] = []
    hidden = 0
    repeated: list[str] = []
    for within, name in files_below(folder, "", repeated):
        if images.is_junk(PurePosixPath(name)):
            continue
        is_named_image = images.is_image_name(PurePosixPath(name))
        if is_hidden(name):
            hidden += is_named_image
        elif is_named_image or images.is_unnamed_image(Path(folder, within, name)):
            found.append(within + name)
        else:
            other.append(PurePosixPath(name).suffix.lower() or "no extension")
    if not found:
        raise MedclsError(
            f"images={printable(folder)}: there is no image in this folder or below it"
            + (f", only other files ({tallied(other)})" if other else "")
            + f". Images end in {', '.join(images.EXTENSIONS)}.",
            kind="no_images",
        )
    notes = []
    if other:
        notes.append(f"{counted(len(other), 'file')} below {printable(folder)} that are no images: {tallied(other)}")
    if hidden:
        notes.append(f"{counted(hidden, 'hidden image')} below {printable(folder)}: left out")
    if repeated:
        notes.append(f"{counted(len(repeated), 'folder')} that a link repeats: listed once")
    return Source(os.path.join(folder, ""), str(folder), sorted(found)), notes


def _matching(pattern: str) -> tuple[Source, list[str]]:
    """The files that match a pattern, whatever their names."""
    found = [path for path in glob.iglob(pattern, recursive=True) if os.path.isfile(path)]
    found = sorted({path for path in found if not images.is_junk(PurePosixPath(path))})
    if not found:
        raise MedclsError(f"images={printable(pattern)}: no file matches this pattern.", kind="no_images")
    return Source("", "", found), []


def _of_table(table: Path) -> tuple[Source, list[str]]:
    """The paths of a table, in its order, each once."""
    cells, notes = read_table(table, "images", fewest_columns=1)
    check_column(cells, COLUMN, f"images={table.name}")
    paths = [unescape(text) for text in cells[COLUMN].tolist()]
    if empty := [str(line) for line, path in zip(cells.index, paths, strict=True) if not path]:
        raise MedclsError(
            f"{table} has rows without a path, the first on line {empty[0]} ({len(empty)} in all).",
            kind="missing_path",
        )
    counts = Counter(paths)
    if repeated := len(paths) - len(counts):
        notes.append(f"{counted(repeated, 'row')} of {table.name} repeat a path: predicted once")
    return Source("", str(table.parent), list(counts)), notes


def _each_once(sources: Sequence[Source]) -> tuple[list[Source], int]:
    """Leave out the files that an earlier source has; count them."""
    seen: set[str] = set()
    kept, repeated = [], 0
    for source in sources:
        names = []
        for name in source.names:
            file = os.path.abspath(os.path.join(source.folder, name))
            if file in seen:
                repeated += 1
            else:
                seen.add(file)
                names.append(name)
        kept.append(dataclasses.replace(source, names=names))
    return kept, repeated
