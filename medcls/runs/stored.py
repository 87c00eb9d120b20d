"""What the files of a run folder may ask for. They may come from anyone, and nothing that stands in them is run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from medcls.errors import MedclsError

REFERENCE = "${"
"""How a reference begins: OmegaConf replaces it by what it names, or by what a function of that name makes."""


# Targets that configurations of earlier versions name, and what they are called today.
RENAMED = {
    "medcls.data.download.fetch": "medcls.data.sources.download.fetch",
    "medcls.data.folders.from_folders": "medcls.data.sources.folders.from_folders",
    "medcls.data.tables.from_csv": "medcls.data.sources.tables.from_csv",
}


def renamed(node: Any) -> Any:  # noqa: ANN401 - plain data of any kind
    """Plain data in which each `_target_` has today's name."""
    if isinstance(node, Mapping):
        return {
            key: RENAMED.get(str(value), value) if key == "_target_" else renamed(value) for key, value in node.items()
        }
    return [renamed(value) for value in node] if isinstance(node, list) else node


def refuse_references(node: object, where: str) -> None:
    """Refuse values that stand for something else: what that would be is not seen by looking at them.

    medcls saves every configuration and description with each value in its place.

    Parameters
    ----------
    node : object
        Plain data.
    where : str
        The file that it is from.

    Raises
    ------
    MedclsError
        Names the settings.
    """
    found = [place or "the whole" for place, text in texts(node) if REFERENCE in text]
    if found:
        raise MedclsError(
            f"{where} has references ({REFERENCE}...}}) at {', '.join(dict.fromkeys(found))}. medcls saves every value "
            "in its place, so somebody else put them there, and a reference can run code: it is not read. Put the "
            "values in their places.",
            kind="reference_in_configuration",
        )


def check_targets(node: object, shipped: Mapping[str, Collection[str]], where: str) -> None:
    """Refuse what asks for something to be built that medcls does not ship for that place.

    Parameters
    ----------
    node : object
        Plain data, without references.
    shipped : mapping
        From the place of a setting (`model.network`) to what may be built there.
    where : str
        The file that it is from.

    Raises
    ------
    MedclsError
        Names the targets, and the setting that trusts them.
    """
    foreign = [f"{target} ({place})" for place, target in targets(node) if target not in shipped.get(kind(place), ())]
    if foreign:
        raise MedclsError(
            f"{where} asks to build {', '.join(sorted(set(foreign)))}, which medcls does not ship for that. Whatever "
            "is named so is run: if you trust where the run folder comes from, add trust=true.",
            kind="foreign_target",
        )


def kind(place: str) -> str:
    """A place, without the name that each logger is free to have, and the number that a joined network's part has.

    `logger.csv` is `logger.*`; `model.network.parts.0` is built as a network is.
    """
    if re.fullmatch(r"model\.network\.parts\.\d+", place):
        return "model.network"
    first, _, rest = place.partition(".")
    return "logger.*" if first == "logger" and rest and "." not in rest else place


NAMED = ("report.rules", "report.plots")
"""Settings that list functions by their dotted names."""


def targets(node: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Every function or class that plain data names (`_target_`, or a list of names), with its place."""
    if place in NAMED and isinstance(node, list | tuple):
        yield from ((place, str(name)) for name in node)
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield place, str(node["_target_"])
        for key, value in node.items():
            yield from targets(value, _below(place, key))
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from targets(value, _below(place, number))


def texts(node: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text of plain data with its place, keys among them."""
    if isinstance(node, str):
        yield place, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield _below(place, key), str(key)
            yield from texts(value, _below(place, key))
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from texts(value, _below(place, number))


def refuse_ways_out(loggers: Mapping[str, object]) -> None:
    """Refuse names of a logger that lead out of the run folder, in which it writes.

    Raises
    ------
    MedclsError
        Names the setting.
    """
    for place, text in texts(loggers, "logger"):
        parts = {part for path in (PurePosixPath(text), PureWindowsPath(text)) for part in path.parts}
        if ".." in parts or PurePosixPath(text).is_absolute() or PureWindowsPath(text).anchor:
            raise MedclsError(
                f"{place} is {text!r}, which leads out of the run folder, where loggers write: give a plain name.",
                kind="outside_the_run_folder",
            )


def refuse_links_out(folder: Path, *, trust: bool) -> None:
    """Refuse to write into a folder in which links lead elsewhere: what is written would change files there.

    Raises
    ------
    MedclsError
        Names the first link, and where it leads.
    """
    if trust:
        return
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise MedclsError(
                f"{path} is a link to {path.resolve()}, out of the run folder that is written into. Put the file or "
                "folder itself in its place, or, if you trust where the run folder comes from, add trust=true.",
                kind="outside_the_run_folder",
            )


def _below(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)
