"""Checks of stored configurations, which may come from anyone: nothing in them may run code."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from medcls.errors import MedclsError, typed

REFERENCE = "${"
"""Start of a reference, which OmegaConf resolves to another value or to the result of a function."""


# Targets in configurations of earlier versions, and their present names.
RENAMED = {
    "medcls.data.download.fetch": "medcls.data.sources.download.fetch",
    "medcls.data.folders.from_folders": "medcls.data.sources.folders.from_folders",
    "medcls.data.tables.from_csv": "medcls.data.sources.tables.from_csv",
}


def renamed(node: Any) -> Any:  # noqa: ANN401 - plain data of any kind
    """Return plain data in which each `_target_` has its present name."""
    if isinstance(node, Mapping):
        return {
            key: RENAMED.get(str(value), value) if key == "_target_" else renamed(value) for key, value in node.items()
        }
    return [renamed(value) for value in node] if isinstance(node, list) else node


def refuse_references(node: object, where: str) -> None:
    """Refuse references, which can run code. medcls stores all values resolved.

    Parameters
    ----------
    node : object
        Plain data.
    where : str
        Its file.
    """
    found = [place or "the top level" for place, text in texts(node) if REFERENCE in text]
    if found:
        raise MedclsError(
            f"{where} has references ({REFERENCE}...}}) at {', '.join(dict.fromkeys(found))}, which can run code. "
            "medcls stores values without references, so someone else added them. Replace them by values.",
            kind="reference_in_configuration",
        )


def check_targets(node: object, shipped: Mapping[str, Collection[str]], where: str) -> None:
    """Refuse targets that medcls does not ship for their setting.

    Parameters
    ----------
    node : object
        Plain data, without references.
    shipped : mapping
        Allowed targets by setting (`model.network`).
    where : str
        Its file.
    """
    foreign = [f"{target} ({place})" for place, target in targets(node) if target not in shipped.get(kind(place), ())]
    if foreign:
        raise MedclsError(
            f"{where} names {', '.join(sorted(set(foreign)))}, which medcls does not ship for that setting. This code "
            "would be run: if you trust the origin of the run folder, add trust=true.",
            kind="foreign_target",
        )


def kind(place: str) -> str:
    """Return a setting without what is free in it: the name of a logger, the number of a part of a joined network.

    `logger.csv` is `logger.*`; `model.network.parts.0` is built as a network is.
    """
    if re.fullmatch(r"model\.network\.parts\.\d+", place):
        return "model.network"
    first, _, rest = place.partition(".")
    return "logger.*" if first == "logger" and rest and "." not in rest else place


NAMED = ("report.rules", "report.plots", "report.metrics")
"""Settings that list dotted names."""


def targets(node: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield the setting and name of every function or class in plain data (`_target_`, or a list of names)."""
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
    """Yield every text of plain data with its setting, keys included."""
    if isinstance(node, str):
        yield place, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield _below(place, key), str(key)
            yield from texts(value, _below(place, key))
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from texts(value, _below(place, number))


TRACKER = "tracking_uri"
"""The setting of a logger that names the server or database to which it sends a run."""


def trackers(loggers: object) -> dict[str, str]:
    """Return the servers and databases that loggers name, by setting."""
    nodes = loggers.items() if isinstance(loggers, Mapping) else ()
    return {
        f"logger.{name}.{TRACKER}": str(node[TRACKER])
        for name, node in nodes
        if isinstance(node, Mapping) and node.get(TRACKER) is not None
    }


def typed_trackers(loggers: object) -> str:
    """Return the settings, as typed, that name the trackers of a run again; empty if it names none."""
    parts = [(place.split(".")[1], typed(place, address)) for place, address in trackers(loggers).items()]
    return "".join(f" logger={name} {setting}" for name, setting in parts)


def refuse_trackers(loggers: object, where: str) -> None:
    """Refuse a tracker that a run folder names: whoever made the folder would receive the results.

    Parameters
    ----------
    loggers : object
        Plain data: the loggers of a stored configuration.
    where : str
        Its file.
    """
    for place, address in trackers(loggers).items():
        raise MedclsError(
            f"{where} sends the run to {address} ({place}). If you know this address, add"
            f"{typed_trackers(loggers)}. To continue without it, add logger=default.",
            kind="tracker_of_run_folder",
        )


def refuse_ways_out(loggers: Mapping[str, object]) -> None:
    """Refuse settings of loggers that lead out of the run folder; the address of a tracker is not in it anyway."""
    for place, text in texts(loggers, "logger"):
        if place.endswith(f".{TRACKER}"):
            continue
        parts = {part for path in (PurePosixPath(text), PureWindowsPath(text)) for part in path.parts}
        if ".." in parts or PurePosixPath(text).is_absolute() or PureWindowsPath(text).anchor:
            raise MedclsError(
                f"{place} is {text!r}, which leads out of the run folder: give a plain name.",
                kind="outside_the_run_folder",
            )


PASSWORD = re.compile(r"://[^/\s@]*:[^/\s@]+@|[?&]\w*(password|passwd|pwd|token|secret)\w*=", re.IGNORECASE)
"""Matches a password in the address of a server or a database."""


def refuse_passwords(loggers: Mapping[str, object]) -> None:
    """Refuse settings of loggers that have a password: they are written into config.yaml and the report."""
    for place, text in texts(loggers, "logger"):
        if PASSWORD.search(text):
            raise MedclsError(
                f"{place} has a password, which config.yaml and the report would show. Leave it out, and set the "
                "environment variables MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for a server; or set "
                "MLFLOW_TRACKING_URI to the complete address, and leave the setting out.",
                kind="password_in_setting",
            )


def refuse_links_out(folder: Path, *, trust: bool) -> None:
    """Refuse to write into a folder with links that lead out of it."""
    if trust:
        return
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        # `Path.resolve` raises a RuntimeError of links that lead to each other.
        if path.is_symlink() and not (target := Path(os.path.realpath(path))).is_relative_to(root):
            raise MedclsError(
                f"{path} is a link to {target}, outside the run folder, where files would be changed. Replace "
                "it by the file or folder itself or, if you trust the origin of the run folder, add trust=true.",
                kind="outside_the_run_folder",
            )


def _below(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)
