"""An audit as one page that needs nothing else: no script, no font, no picture from anywhere but itself."""

import base64
import dataclasses
import io
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from medcls import __version__
from medcls.auditing.findings import LEVELS, Finding
from medcls.auditing.record import with_index
from medcls.data import images
from medcls.data.images import UnreadableImage
from medcls.data.manifest import Manifest
from medcls.data.splits import split_table
from medcls.preprocessing import Decoding
from medcls.wording import printable

ROWS_SHOWN = 50
"""How many rows of a table the page has room for; `audit.json` has all."""

THUMBNAIL = 160  # pixels of the longer side

SETTING = re.compile(
    r"""python\ -m\ medcls\.\w+
      | \b[a-z]\w*(?:\.[a-z]\w*)+ = (?: '[^']*' | "[^"]*" | <[^>]*> | [^\s,;)]*[^\s.,;:)] )
      | \b(?:audit|data)(?:\.\w+)+""",
    re.VERBOSE,
)
"""What of a text is typed at a shell: commands, settings with their values, settings of the audit and the data."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table, as text; a share (0 to 1) is drawn as a bar below it."""

    text: str
    share: float | None = None


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table as the page shows it: which columns hold numbers, and how many rows there was no room for."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left: int = 0


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """A picture as a data address, its size in pixels, and its name; without an address, why there is none."""

    name: str
    source: str | None = None
    width: int = 0
    height: int = 0
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A finding as the page shows it."""

    anchor: str
    level: str
    title: str
    text: str
    sheet: Sheet | None
    pairs: tuple[tuple[Thumbnail, Thumbnail, str], ...]
    images: tuple[Thumbnail, ...]


class Names:
    """What the page calls files and groups: by their names, or, for a page that is handed on, by numbers.

    Parameters
    ----------
    manifest : Manifest
        Row n of it is "image n".
    shown : bool
        Whether names may stand on the page.
    elsewhere : sequence of str
        Files and folders outside the manifest's root that findings may name.
    """

    def __init__(self, manifest: Manifest, shown: bool, elsewhere: Sequence[str] = ()) -> None:
        self._numbers: dict[str, str] = {}
        self._within: list[str] = []
        if shown:
            return
        groups = sorted(set(manifest.rows["group"]) - {""})
        self._numbers = {group: f"group {n}" for n, group in enumerate(groups, start=1)}
        for n, failure in enumerate(manifest.unreadable, start=1):
            if failure.path is not None:
                self._add(manifest.root, failure.path, f"unreadable file {n}")
        for n, path in enumerate(manifest.rows["path"], start=1):
            self._add(manifest.root, manifest.root / path, f"image {n}")
        self._numbers |= {place: f"folder {n}" for n, place in enumerate(elsewhere, start=1)}
        self._numbers[str(manifest.root)] = "the folder"
        # Longest first: a path may hold another; a group as short as "7" is only ever replaced as a whole cell.
        long = [name for name in self._numbers if name not in groups or len(name) > 3]
        self._within = sorted(long, key=len, reverse=True)

    def _add(self, root: Path, path: Path, number: str) -> None:
        self._numbers[str(path)] = number
        if path.is_relative_to(root):
            self._numbers[path.relative_to(root).as_posix()] = number

    def of(self, name: str) -> str:
        """One name, alone."""
        return self._numbers[name] if name in self._numbers else self.within(printable(name))

    def within(self, text: str) -> str:
        """A text in which names may stand."""
        for name in self._within:
            text = text.replace(name, self._numbers[name])
        return text


def page(
    manifest: Manifest,
    findings: Sequence[Finding],
    *,
    name: str,
    command: str,
    made: datetime,
    decoding: Decoding,
    pictures: bool = True,
    paths: bool = True,
    elsewhere: Sequence[str] = (),
) -> str:
    """Lay out an audit as HTML.

    Parameters
    ----------
    manifest : Manifest
        Split, or as it was read where it cannot be split.
    findings : sequence of Finding
        In the order wanted within each level.
    name : str
        What the data set is called.
    command : str
        What was typed.
    made : datetime
        When, with its time zone.
    decoding : Decoding
        How files become the pictures shown.
    pictures, paths : bool
        Whether pictures, and whether the names of folders, files and groups, may stand on the page.
    elsewhere : sequence of str
        Files and folders outside the manifest's root that findings may name, such as earlier runs.

    Returns
    -------
    str
        A whole document, UTF-8.
    """
    names = Names(manifest, paths, elsewhere)
    entries = _entries(manifest.root, findings, names, decoding if pictures else None)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["settings"] = mark_settings
    return environment.get_template("page.html.jinja").render(
        name=name,
        manifest=manifest,
        verdict=verdict(findings),
        groups=_has_groups(manifest),
        overview=overview(manifest),
        entries=entries,
        levels=LEVELS,
        command=command if paths else None,
        root=str(manifest.root) if paths else None,
        notes=manifest.notes if paths else (),
        paths=paths,
        pictures=pictures,
        made=f"{made.day} {made:%B %Y, %H:%M %Z}",
        version=__version__,
    )


def verdict(findings: Sequence[Finding]) -> str:
    """How many errors and warnings there are, in words."""
    counts = {level: sum(finding.level == level for finding in findings) for level in ("error", "warning")}
    words = [f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items() if count]
    return " and ".join(words) if words else "no error and no warning"


def overview(manifest: Manifest) -> Sheet:
    """Images, groups and classes of each split, one column a split; each class with its share as a bar."""
    table = split_table(manifest)
    if table.empty:  # it cannot be split: all images are one
        whole = manifest.with_rows(manifest.rows.assign(split="train"))
        table = split_table(whole).assign(split="all images")
    splits = table.to_dict("records")
    rows = [(Cell("Images"), *(Cell(f"{split['images']:,}") for split in splits))]
    if _has_groups(manifest):
        rows.append((Cell("Groups, counted apart"), *(Cell(f"{split['groups']:,}") for split in splits)))
    for label in manifest.classes:
        shares = [(split[f"{label}: images"], split[f"{label}: share"]) for split in splits]
        cells = (Cell(f"{count:,} ({share:.1%})", share) for count, share in shares)
        rows.append((Cell(f"{label} (positive)" if label == manifest.positive else label), *cells))
    columns = ("", *(str(split["split"]).replace("_", " ") for split in splits))
    return Sheet(columns, (False, *(True for _ in splits)), tuple(rows))


def sheet(table: pd.DataFrame, names: Names) -> Sheet:
    """The first rows of a table as text: whole numbers with their thousands apart, others with three decimals."""
    table = with_index(table)
    numeric = [pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in table.dtypes]
    rows = [
        tuple(Cell(_as_text(value, names)) for value in row) for row in table.head(ROWS_SHOWN).itertuples(index=False)
    ]
    return Sheet(
        tuple(str(column).replace("_", " ") for column in table.columns),
        tuple(numeric),
        tuple(rows),
        max(0, len(table) - ROWS_SHOWN),
    )


def thumbnail(root: Path, path: str, name: str, decoding: Decoding) -> Thumbnail:
    """A small JPEG of one image, its aspect kept; a file that cannot be read says why."""
    try:
        pixels = images.read(root / path, dataclasses.replace(decoding, channels=3, bits=8)).pixels
    except UnreadableImage as error:
        return Thumbnail(name, reason=error.reason)
    scale = min(1.0, THUMBNAIL / max(pixels.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    buffer = io.BytesIO()
    Image.fromarray(images.resize(pixels, (height, width), "squash", "lanczos")).save(buffer, "JPEG", quality=85)
    return Thumbnail(name, "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), width, height)


def mark_settings(text: str) -> Markup:
    """Text with the settings in it, `data.copies=error`, set as what is typed."""
    marked, end = Markup(""), 0
    for match in SETTING.finditer(text):
        marked += escape(text[end : match.start()]) + Markup("<code>{}</code>").format(match.group())
        end = match.end()
    return marked + escape(text[end:])


def _has_groups(manifest: Manifest) -> bool:
    return bool(manifest.rows["group"].ne("").any())


def _entries(root: Path, findings: Sequence[Finding], names: Names, decoding: Decoding | None) -> list[Entry]:
    """The findings in the order of their levels; without a decoding, without pictures."""
    entries: list[Entry] = []

    def picture(path: str) -> Thumbnail:
        return Thumbnail(names.of(path)) if decoding is None else thumbnail(root, path, names.of(path), decoding)

    for finding in sorted(findings, key=lambda finding: LEVELS.index(finding.level)):
        before = sum(entry.anchor.split(".")[0] == finding.check for entry in entries)
        entries.append(
            Entry(
                anchor=f"{finding.check}.{before + 1}" if before else finding.check,
                level=finding.level,
                title=names.within(finding.title),
                text=names.within(finding.text),
                sheet=None if finding.table is None or finding.table.empty else sheet(finding.table, names),
                pairs=tuple(
                    (picture(pair.first), picture(pair.second), names.within(pair.caption)) for pair in finding.pairs
                ),
                images=tuple(picture(path) for path in finding.images),
            )
        )
    return entries


def _as_text(value: Any, names: Names) -> str:  # noqa: ANN401 - any value that a figure can have
    if isinstance(value, str):
        return names.of(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) else names.within(str(value))
