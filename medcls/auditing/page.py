"""An audit as one self-contained page: no script, no font, no image from elsewhere."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from medcls import __version__
from medcls.auditing.findings import LEVELS, Finding
from medcls.auditing.record import with_index
from medcls.data.manifest import Manifest
from medcls.data.reading.decoded import UnreadableImage
from medcls.data.reading.thumbnails import thumbnail
from medcls.data.splits.split import split_table
from medcls.preprocessing import Decoding
from medcls.report.pages.layout import day_and_time, environment
from medcls.report.pages.names import Names, numbered
from medcls.report.pages.parts import Cell, Sheet, Thumbnail, splits_sheet

ROWS_SHOWN = 50
"""Rows of a table on the page; `audit.json` has all."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """An image and its name."""

    name: str
    thumbnail: Thumbnail


@dataclasses.dataclass(frozen=True)
class Entry:
    """A finding as the page shows it."""

    anchor: str
    level: str
    title: str
    text: str
    sheet: Sheet | None
    pairs: tuple[tuple[Shown, Shown, str], ...]
    images: tuple[Shown, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageSettings:
    """What a page shows beside the findings.

    Parameters
    ----------
    name : str
        Of the data set.
    command : str
        As it was typed.
    made : datetime
        With its time zone.
    decoding : Decoding
        How files become the images shown.
    pictures, paths : bool
        Whether to show images, and the names of folders, files and groups.
    elsewhere : sequence of str
        Files and folders outside the manifest's root that findings may name, such as earlier runs.
    """

    name: str
    command: str
    made: datetime
    decoding: Decoding
    pictures: bool = True
    paths: bool = True
    elsewhere: Sequence[str] = ()


def page(manifest: Manifest, findings: Sequence[Finding], settings: PageSettings) -> str:
    """Lay out an audit as an HTML document.

    Parameters
    ----------
    manifest : Manifest
        Split if it can be.
    findings : sequence of Finding
        In order within each level.
    settings : PageSettings
    """
    paths = settings.paths
    names = Names({}) if paths else _numbered(manifest, settings.elsewhere)
    entries = _entries(manifest.root, findings, names, settings.decoding if settings.pictures else None)
    return (
        environment(Path(__file__).parent)
        .get_template("page.html.jinja")
        .render(
            name=settings.name,
            manifest=manifest,
            verdict=verdict(findings),
            groups=_has_groups(manifest),
            overview=overview(manifest),
            entries=entries,
            levels=LEVELS,
            command=settings.command if paths else None,
            root=str(manifest.root) if paths else None,
            notes=manifest.notes if paths else (),
            paths=paths,
            pictures=settings.pictures,
            made=day_and_time(settings.made),
            version=__version__,
        )
    )


def verdict(findings: Sequence[Finding]) -> str:
    """How many errors and warnings there are, in words."""
    counts = {level: sum(finding.level == level for finding in findings) for level in ("error", "warning")}
    words = [f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items() if count]
    return " and ".join(words) if words else "no error and no warning"


def _numbered(manifest: Manifest, elsewhere: Sequence[str]) -> Names:
    """Number images, groups and folders instead of naming them.

    `elsewhere` has files and folders outside the manifest's root.
    """
    unreadable = [failure.path for failure in manifest.unreadable if failure.path is not None]
    files = {path: f"unreadable file {n}" for n, path in enumerate(unreadable, start=1)}
    instead = numbered(manifest.rows)
    files |= {manifest.root / path: instead[path] for path in manifest.rows["path"]}
    for path, number in files.items():
        instead[str(path)] = number
        if path.is_relative_to(manifest.root):
            instead[path.relative_to(manifest.root).as_posix()] = number
    instead |= {place: f"folder {n}" for n, place in enumerate(elsewhere, start=1)}
    return Names(instead | {str(manifest.root): "the folder"})


def overview(manifest: Manifest) -> Sheet:
    """Images, groups and classes of each split; of all images together, if they cannot be split."""
    table = split_table(manifest)
    if table.empty:
        table = split_table(manifest.with_rows(manifest.rows.assign(split="train"))).assign(split="all images")
    return splits_sheet(table, manifest.classes, manifest.positive, groups=_has_groups(manifest))


def sheet(table: pd.DataFrame, names: Names) -> Sheet:
    """The first rows of a table as text: thousands separators in integers, three decimals in others."""
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


def thumbnail_of(root: Path, path: str, decoding: Decoding) -> Thumbnail:
    """A thumbnail of one image; of an unreadable file, the reason."""
    try:
        return Thumbnail(*thumbnail(root / path, decoding))
    except UnreadableImage as error:
        return Thumbnail(reason=error.reason)


def _has_groups(manifest: Manifest) -> bool:
    return bool(manifest.rows["group"].ne("").any())


def _entries(root: Path, findings: Sequence[Finding], names: Names, decoding: Decoding | None) -> list[Entry]:
    """The findings in the order of their levels; without a decoding, without images."""
    entries: list[Entry] = []

    def shown(path: str) -> Shown:
        return Shown(names.of(path), Thumbnail() if decoding is None else thumbnail_of(root, path, decoding))

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
                    (shown(pair.first), shown(pair.second), names.within(pair.caption)) for pair in finding.pairs
                ),
                images=tuple(shown(path) for path in finding.images),
            )
        )
    return entries


def _as_text(value: Any, names: Names) -> str:  # noqa: ANN401 - any value of a finding
    if isinstance(value, str):
        return names.of(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) else names.within(str(value))
