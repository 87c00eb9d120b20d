"""The registry of test readings: how often test images were evaluated, and which images were test images of a run.

It is in the state folder, outside every run folder. A test that is evaluated again after each of several trainings is
used for selection, and its metrics are too good. This is allowed, but counted and reported. Images that were test
images of an earlier run are reported if a later run trains on them.
"""

import datetime
import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd

from medcls import user_folders
from medcls.wording import counted
from medcls.writing import atomic_write

log = logging.getLogger(__name__)

Parsed = TypeVar("Parsed")


class Scored(Protocol):
    """What is needed of a table of predictions, see `medcls.evaluation.predictions.Predictions`."""

    @property
    def split(self) -> str:
        """The split; empty if unknown."""

    @property
    def rows(self) -> pd.DataFrame:
        """One row for each image: `path`, `label`, and `content` (a hash of its pixels) if it is known."""

    @property
    def classes(self) -> Sequence[str]:
        """In the order of the probabilities."""

    @property
    def checkpoint(self) -> str:
        """The hash of the weights; empty if unknown."""

    def probabilities(self) -> np.ndarray:
        """float64 `(n, K)`."""

    def __len__(self) -> int:
        """Return the number of rows."""


class Images(Protocol):
    """What is needed of a manifest, see `medcls.data.manifest.Manifest`."""

    @property
    def root(self) -> Path:
        """The folder that paths are relative to."""

    @property
    def rows(self) -> pd.DataFrame:
        """One row for each image: `path`, `split`, `content`."""


COUNTED = {"test": "test image", "held_out": "held-out image", "external": "image of another site", "": "image"}
"""Splits whose metrics are results, and their images in a sentence. A table without a split is taken for a test."""
PLURALS = {"external": "images of another site"}

DECIMALS = 6
"""Digits of the scores that identify predictions without a checkpoint; more may differ by rounding."""

PIXEL_HASH = r"[0-9a-f]{32}"
"""A hash as in the manifest; a column `content` of another tool may be anything."""


@dataclass(frozen=True, slots=True)
class Readings:
    """How often a set of images has been evaluated on this machine, this time included.

    Attributes
    ----------
    key : str
        Identifies the set of images, see `record_reading`.
    split : str
        Split of the present table: `test`, `held_out`, `external`, or empty if unknown.
    n : int
        Number of images of the table.
    total : int
        Number of evaluations.
    checkpoints : int
        Number of distinct checkpoints. Predictions without one are identified by their scores.
    first : str
        Date of the first evaluation, UTC, `YYYY-MM-DD`.
    written : bool
        Whether this evaluation could be recorded.
    """

    key: str
    split: str
    n: int
    total: int
    checkpoints: int
    first: str
    written: bool = True

    def sentence(self) -> str:
        """Describe it for the report."""
        images = counted(self.n, COUNTED[self.split], PLURALS.get(self.split))
        these, have = ("This", "has") if self.n == 1 else ("These", "have")
        sentence = f"{these} {images} {have} been evaluated"
        if self.total == 1:
            sentence += " once: this is the first time on this machine."
        elif self.checkpoints == 1:
            sentence += f" {self.total:,} times on this machine since {self.first}, always with the same checkpoint."
        else:
            sentence += (
                f" {self.total:,} times on this machine since {self.first}, with {self.checkpoints:,} checkpoints: "
                "images that were used to improve a classifier are no longer a test."
            )
        return (
            sentence if self.written else f"{sentence} This evaluation could not be recorded and will not be counted."
        )


def record_reading(table: Scored, run: str, purpose: str = "evaluate") -> Readings | None:
    """Record that images are evaluated, and count the evaluations so far; call it once for each evaluation.

    The state folder has a folder for each set of images, with one file for each evaluation, so that no two processes
    write the same file. A file has the time, the run, the purpose, the split, the number of images and the hash of the
    checkpoint (of predictions without one: a hash of the scores). The folder is named by a hash of the set of images:
    of the hashes of their pixels (column `content`) if all are known, else of paths and labels. No path, patient,
    label or score is stored. Another set has another key, even if it shares images.

    If nothing can be written, or a record cannot be read, this is logged and the evaluation goes on.

    Parameters
    ----------
    table : Scored
        One row for each image; a table aggregated by patient has no hashes of pixels.
    run : str
        Identifies the run for a reader.
    purpose : str
        `evaluate`, `train` or `compare`.

    Returns
    -------
    Readings or None
        None if there are no rows, or the split was used in training or selection.
    """
    # Tables of other tools may spell the split differently.
    split = table.split.strip().casefold()
    if split not in COUNTED or not len(table):
        return None
    checkpoint = table.checkpoint or _scores(table)
    now = datetime.datetime.now(datetime.UTC)
    # Names sort by time; the rest makes them unique within a microsecond.
    path = _readings_folder(table) / f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.json"
    time = now.isoformat(timespec="seconds")
    about = {"run": run, "purpose": purpose, "split": split, "n": len(table)}
    written = _write(path, {"time": time, "checkpoint": checkpoint} | about, "reading_not_recorded")
    others = [reading for other, reading in _read(path.parent, _reading) if other != path]
    return _counted(table, [*others, (time, checkpoint)], written=written)


def past_readings(table: Scored) -> Readings | None:
    """Count how often images were evaluated, for a report that is only written again: nothing is recorded.

    Parameters
    ----------
    table : Scored
        As in `record_reading`.

    Returns
    -------
    Readings or None
        None also if no evaluation is recorded, for example because it was on another machine.
    """
    if table.split.strip().casefold() not in COUNTED or not len(table):
        return None
    readings = [reading for _, reading in _read(_readings_folder(table), _reading)]
    return _counted(table, readings) if readings else None


def _counted(table: Scored, readings: Sequence[tuple[str, str]], *, written: bool = True) -> Readings:
    """Count evaluations, each a time and a checkpoint."""
    return Readings(
        key=_key(table),
        split=table.split.strip().casefold(),
        n=len(table),
        total=len(readings),
        checkpoints=len({name for _, name in readings}),
        first=min(readings)[0][:10],
        written=written,
    )


def _readings_folder(table: Scored) -> Path:
    return user_folders.state_folder() / "test_readings" / _key(table)


def read_test(
    table: Scored,
    run: str,
    purpose: str,
    *,
    root: Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Readings | None:
    """Record an evaluation as `record_reading` does, and remember its images as `remember_images` does.

    Parameters
    ----------
    table, run, purpose
        As in `record_reading`.
    root, settings
        As in `remember_images`.
    """
    readings = record_reading(table, run, purpose)
    # What one fold holds out is trained on in the next.
    if readings is not None and readings.split != "held_out" and "content" in table.rows:
        contents = table.rows["content"].astype(str)
        remember_images(contents[contents.str.fullmatch(PIXEL_HASH)], run, settings or {}, root)
    return readings


@dataclass(frozen=True, slots=True)
class Meeting:
    """Test images of an earlier run that are now used to train, select or calibrate.

    Attributes
    ----------
    run : str
        The earlier run, as given to `remember_test`.
    date : str
        Date of its evaluation, `YYYY-MM-DD`.
    same_settings : bool
        Whether the split has the same settings. If so, the images have changed, which moved test images into training;
        if not, another split was requested.
    paths : tuple of str
        The images, in the order of the present manifest.
    """

    run: str
    date: str
    same_settings: bool
    paths: tuple[str, ...]


def remember_test(manifest: Images, run: str, settings: Mapping[str, object]) -> None:
    """Remember the test images of a run; see `remember_images`.

    Parameters
    ----------
    run : str
        Identifies the run for a reader, such as its folder.
    settings : mapping
        All settings of the split, the seed included: plain values.
    """
    remember_images(manifest.rows.loc[manifest.rows["split"] == "test", "content"], run, settings, manifest.root)


def remember_images(contents: Iterable[str], run: str, settings: Mapping[str, object], root: Path | None) -> None:
    """Remember the images that a classifier was evaluated on.

    Hashes of the images and of their folder are stored, no path of an image. The same images with the same settings are
    stored once, under the first run. If nothing can be written, this is logged and the run goes on.

    Parameters
    ----------
    contents : iterable of str
        Hashes of pixels; empty ones are ignored.
    root : Path or None
        The folder in which they are recognised; None for any folder (images of another site, a table of another tool).
    """
    tested = sorted(set(contents) - {""})
    record = {"settings": _plain(settings), "test": tested}
    # Named by its content, so that two processes write the same file or different ones.
    name = hashlib.blake2b(json.dumps(record).encode(), digest_size=12).hexdigest()
    path = _folder(root) / f"{name}.json"
    if not tested or path.exists():
        return
    if not settings and any(known == tested for _, known in _read(path.parent, lambda record: record["test"])):
        return
    _write(path, record | {"run": run, "date": datetime.date.today().isoformat()}, "test_not_recorded")


def met_in_training(manifest: Images, settings: Mapping[str, object]) -> list[Meeting]:
    """Find earlier runs on this data whose test images are now used to train, select or calibrate.

    Images of another site, or of another tool's table, are recognised in any folder.

    Parameters
    ----------
    manifest : Images
        With splits.
    settings : mapping
        As in `remember_test`.

    Returns
    -------
    list of Meeting
        Those with the same settings first, then the latest first.
    """
    learning = manifest.rows[manifest.rows["split"].isin(("train", "val", "calibration"))]
    now = _plain(settings)

    def meeting(record: Mapping[str, Any]) -> Meeting:
        paths = tuple(learning.loc[learning["content"].isin(record["test"]), "path"])
        return Meeting(record["run"], record["date"], _plain(record["settings"]) == now, paths)

    found = [one for root in (manifest.root, None) for _, one in _read(_folder(root), meeting) if one.paths]
    found.sort(key=lambda one: one.date, reverse=True)
    return sorted(found, key=lambda one: not one.same_settings)


def _reading(record: Mapping[str, Any]) -> tuple[str, str]:
    """Time and checkpoint of an evaluation."""
    datetime.datetime.fromisoformat(record["time"])
    return record["time"], str(record["checkpoint"])


def _write(path: Path, record: Mapping[str, object], rule: str) -> bool:
    """Write a record; log under this rule if that fails."""
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("the test images could not be recorded in %s: %s", path.parent, error, extra={"rule": rule})
        return False
    return True


def _read(folder: Path, parse: Callable[[Mapping[str, Any]], Parsed]) -> Iterator[tuple[Path, Parsed]]:
    """Yield the records of a folder; log those that are damaged."""
    for path in sorted(folder.glob("[!.]*.json")):  # names of unfinished files begin with a dot
        try:
            yield path, parse(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            extra = {"rule": "damaged_record"}
            log.warning("the record %s of an earlier test is damaged (%s) and ignored", path, error, extra=extra)


def _key(table: Scored) -> str:
    rows = table.rows
    if "content" in rows and rows["content"].astype(str).str.fullmatch(PIXEL_HASH).all():
        return _hash(["content", *sorted(set(rows["content"]))])
    return _hash(["path and label", *sorted(zip(rows["path"], rows["label"], strict=True))])


def _scores(table: Scored) -> str:
    """Identify a classifier without a checkpoint by its scores."""
    order = np.argsort(table.rows["path"].to_numpy(str), kind="stable")
    return "scores " + _hash([table.classes, table.probabilities()[order].round(DECIMALS).tolist()])


def _hash(parts: object) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


def _plain(settings: Mapping[str, object]) -> dict[str, object]:
    """Return settings as JSON reads them back, without nulls, which earlier versions may lack."""
    plain: dict[str, object] = json.loads(json.dumps(dict(settings), sort_keys=True, default=str))
    return {name: value for name, value in plain.items() if value is not None}


def _folder(root: Path | None) -> Path:
    """Return the folder of the records of a data set, named by a hash of its root."""
    if root is None:
        return user_folders.state_folder() / "locked_tests" / "anywhere"
    name = hashlib.blake2b(str(root.expanduser().resolve()).encode(errors="surrogateescape"), digest_size=12)
    return user_folders.state_folder() / "locked_tests" / name.hexdigest()
