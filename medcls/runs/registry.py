"""The registry of test readings: which images were judged, how often, and which runs they must not train unawares.

It lies in the state folder, outside every run folder. A test that is read again after each of several trainings chooses
among them, and its metrics are no longer of images that chose nothing. Looking again is allowed; it is counted, and the
report says so. And images that once judged are met again where a later run would train on them.
"""

import datetime
import hashlib
import json
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from medcls import user_folders
from medcls.wording import counted
from medcls.writing import atomic_write

log = logging.getLogger(__name__)


class Scored(Protocol):
    """What is read here of a table of predictions, as of `medcls.evaluation.predictions.Predictions`."""

    @property
    def split(self) -> str:
        """Which split it is of; empty where it does not say."""

    @property
    def rows(self) -> pd.DataFrame:
        """One row an image: `path`, `label`, and `content` (a hash of its pixels) where it is known."""

    @property
    def classes(self) -> Sequence[str]:
        """In the order of the probabilities."""

    @property
    def checkpoint(self) -> str:
        """The hash of the weights that made it; empty where it does not say."""

    def probabilities(self) -> np.ndarray:
        """float64 `(n, K)`."""

    def __len__(self) -> int:
        """How many rows it has."""


class Images(Protocol):
    """What is read here of a manifest, as of `medcls.data.manifest.Manifest`."""

    @property
    def root(self) -> Path:
        """The folder that paths are relative to."""

    @property
    def rows(self) -> pd.DataFrame:
        """One row an image: `path`, `split`, `content`."""


# The splits whose figures are the result, and how a sentence calls their images. A table of another tool need not say
# what it is of, and is then taken for a test.
COUNTED = {"test": "test image", "held_out": "held-out image", "external": "image of another site", "": "image"}
PLURALS = {"external": "images of another site"}

# Digits of the scores by which predictions without a checkpoint are told apart: more may differ by rounding alone.
DECIMALS = 6

# A hash as the manifest has it; another tool's column `content` may hold anything.
PIXEL_HASH = r"[0-9a-f]{32}"


@dataclass(frozen=True, slots=True)
class Readings:
    """How often one set of images has been evaluated on this machine, this time included.

    Attributes
    ----------
    key : str
        Of the set of images; see `record_reading`.
    split : str
        Of the table just evaluated: `test`, `held_out`, `external`, or empty where it does not say.
    n : int
        Images of the table.
    total : int
        Evaluations so far.
    ordinal : int
        Which of them this one is, counted from 1: less than `total` only where another process evaluated the same
        images at the same moment, or the clock was put back.
    checkpoints : int
        Distinct checkpoints among them. Predictions that name none are told apart by their scores.
    first, last : str
        Days of the first and of the latest, UTC, `YYYY-MM-DD`.
    written : bool
        Whether this one is in the ledger; false where the state folder cannot be written.
    """

    key: str
    split: str
    n: int
    total: int
    ordinal: int
    checkpoints: int
    first: str
    last: str
    written: bool = True

    def sentence(self) -> str:
        """Say it in words, for the report."""
        images = counted(self.n, COUNTED[self.split], PLURALS.get(self.split))
        these, have = ("This", "has") if self.n == 1 else ("These", "have")
        if self.total == 1:
            said = f"{these} {images} {have} been evaluated once: the first reading on this machine."
        elif self.checkpoints == 1:
            said = (
                f"{these} {images} {have} been evaluated {self.total:,} times, always of one checkpoint, since "
                f"{self.first} (this machine's ledger)."
            )
        else:
            said = (
                f"{these} {images} {have} been evaluated {self.total:,} times, of {self.checkpoints:,} checkpoints, "
                f"since {self.first} (this machine's ledger): a figure that was looked at and then improved upon is no "
                "longer a test."
            )
        return said if self.written else f"{said} This reading could not be written down: the next will not know of it."


def record_reading(table: Scored, run: str, purpose: str = "evaluate") -> Readings | None:
    """Write down that these images are evaluated, and count how often they were before; call it once a reading.

    The ledger lies in the state folder: a folder for each set of images, in it one file for each reading, so that no
    two processes write the same one. Kept are the time, the run's name, the purpose, the split, the number of images
    and the checkpoint's hash (of predictions that name none: a hash of their scores). The folder is named by a hash of
    the set of images: of their pixels' hashes (the column `content`) where every row has one, else of paths and
    labels, whatever their order. No path of an image is kept, no patient, no label and no score. Another set is
    another key, though it may share images.

    Where nothing can be written, or a record cannot be read, the log says so and the evaluation goes on.

    Parameters
    ----------
    table : Scored
        One row an image, as predicted: a table aggregated by patient has lost the hashes of the pixels.
    run : str
        A name by which a person finds the run.
    purpose : str
        What looked: `evaluate`, `train`, `compare`.

    Returns
    -------
    Readings or None
        None where there is nothing to count: no rows, or a split that took part in making the classifier.
    """
    # Tables of other tools spell it as they like.
    split = table.split.strip().casefold()
    if split not in COUNTED or not len(table):
        return None
    key, checkpoint = _key(table), table.checkpoint or _scores(table)
    now = datetime.datetime.now(datetime.UTC)
    # Names sort by time; the rest keeps apart what came at the same microsecond.
    path = user_folders.state_folder() / "test_readings" / key / f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.json"
    time = now.isoformat(timespec="seconds")
    about = {"run": run, "purpose": purpose, "split": split, "n": len(table)}
    written = _write(path, {"time": time, "checkpoint": checkpoint} | about)
    others = [reading for reading in _read(path.parent) if reading[0] != path.name]
    readings = sorted([*others, (path.name, time, checkpoint)])
    days = [when[:10] for _, when, _ in readings]
    return Readings(
        key=key,
        split=split,
        n=len(table),
        total=len(readings),
        ordinal=1 + [name for name, _, _ in readings].index(path.name),
        checkpoints=len({of for _, _, of in readings}),
        first=days[0],
        last=days[-1],
        written=written,
    )


def _write(path: Path, record: Mapping[str, object]) -> bool:
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
    except OSError as error:
        extra = {"rule": "reading_not_recorded"}
        log.warning(
            "this evaluation of test images could not be written down in %s: %s", path.parent, error, extra=extra
        )
        return False
    return True


def _read(folder: Path) -> Iterator[tuple[str, str, str]]:
    """File name, time and checkpoint of every reading that can be read."""
    for path in folder.glob("[!.]*.json"):  # a dot begins what is still being written
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            datetime.datetime.fromisoformat(record["time"])
            yield path.name, record["time"], str(record["checkpoint"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            extra = {"rule": "damaged_record"}
            log.warning(
                "the record %s of a test evaluation cannot be read (%s): it is not counted", path, error, extra=extra
            )


def _key(table: Scored) -> str:
    rows = table.rows
    if "content" in rows and rows["content"].astype(str).str.fullmatch(PIXEL_HASH).all():
        return _hash(["content", *sorted(set(rows["content"]))])
    return _hash(["path and label", *sorted(zip(rows["path"], rows["label"], strict=True))])


def _scores(table: Scored) -> str:
    """Name the classifier by what it said of each image, where no checkpoint does."""
    order = np.argsort(table.rows["path"].to_numpy(str), kind="stable")
    return "scores " + _hash([table.classes, table.probabilities()[order].round(DECIMALS).tolist()])


def _hash(parts: object) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Meeting:
    """An earlier run's test images that now train, select or calibrate.

    Attributes
    ----------
    run : str
        The earlier run, as it was named to `remember_test`.
    date : str
        When it judged, `YYYY-MM-DD`.
    same_settings : bool
        Whether the split is cut by the same settings. If so, it is the images that have changed, and have pushed
        locked test images into training; if not, the images were dealt out anew, as was asked.
    paths : tuple of str
        The images of the present manifest, in its order.
    """

    run: str
    date: str
    same_settings: bool
    paths: tuple[str, ...]


def remember_test(manifest: Images, run: str, settings: Mapping[str, object]) -> None:
    """Write down, for good, which pictures a run on this data was judged by; call it when test is evaluated.

    Kept are hashes of the pictures and of the data's root, no path of an image. The same test cut by the same settings
    is remembered once, under the run that came first. Where nothing can be written, the log says so, and the run
    goes on.

    Parameters
    ----------
    run : str
        A name by which a person finds the run, such as its folder.
    settings : mapping
        All that the split was cut by, the seed included: plain values.
    """
    remember_images(manifest.rows.loc[manifest.rows["split"] == "test", "content"], run, settings, manifest.root)


def remember_images(contents: Iterable[str], run: str, settings: Mapping[str, object], root: Path | None) -> None:
    """Write down, for good, by which images a classifier was judged; see `remember_test`.

    Parameters
    ----------
    contents : iterable of str
        The pixels' hashes; empty ones are passed over.
    root : Path or None
        The folder in which they are to be met again; None for whatever folder they come from (another site's images,
        a table of another tool).
    """
    tested = sorted(set(contents) - {""})
    record = {"settings": _plain(settings), "test": tested}
    # A file to a record, named by what it holds: two processes cannot spoil each other's.
    name = hashlib.blake2b(json.dumps(record).encode(), digest_size=12).hexdigest()
    path = _folder(root) / f"{name}.json"
    if not tested or path.exists() or (not settings and _known(path.parent, tested)):
        return
    record |= {"run": run, "date": datetime.date.today().isoformat()}
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
    except OSError as error:
        extra = {"rule": "test_not_recorded"}
        log.warning("the test images of this run could not be remembered in %s: %s", path.parent, error, extra=extra)


def _known(folder: Path, tested: list[str]) -> bool:
    """Whether a record of these very images is there, by whatever settings they were cut."""
    for path in folder.glob("[!.]*.json"):
        try:
            if json.loads(path.read_text(encoding="utf-8"))["test"] == tested:
                return True
        except (OSError, ValueError, KeyError, TypeError):
            continue  # `met_in_training` says it
    return False


def met_in_training(manifest: Images, settings: Mapping[str, object]) -> list[Meeting]:
    """Find the earlier runs on this data whose test images now train, select or calibrate.

    Images that were judged as another site's, or in another tool's table, are met whatever folder they come from.

    Parameters
    ----------
    manifest : Images
        With its splits made.
    settings : mapping
        What they were cut by, as `remember_test` takes it.

    Returns
    -------
    list of Meeting
        Those with the same settings first, then the latest first.
    """
    learning = manifest.rows[manifest.rows["split"].isin(("train", "val", "calibration"))]
    meetings = []
    # A dot begins what is still being written.
    for path in [one for root in (manifest.root, None) for one in sorted(_folder(root).glob("[!.]*.json"))]:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            run, date, test = (record[key] for key in ("run", "date", "test"))
            same_settings = _plain(record["settings"]) == _plain(settings)
        except (OSError, ValueError, KeyError, TypeError) as error:
            extra = {"rule": "damaged_record"}
            log.warning(
                "the record %s of an earlier test cannot be read (%s): it is passed over", path, error, extra=extra
            )
            continue
        paths = tuple(learning.loc[learning["content"].isin(test), "path"])
        if paths:
            meetings.append(Meeting(run, date, same_settings, paths))
    meetings.sort(key=lambda meeting: meeting.date, reverse=True)
    return sorted(meetings, key=lambda meeting: not meeting.same_settings)


def _plain(settings: Mapping[str, object]) -> dict[str, object]:
    """As JSON gives it back, in one order; a setting of null is left out, like one that did not exist back then."""
    plain: dict[str, object] = json.loads(json.dumps(dict(settings), sort_keys=True, default=str))
    return {name: value for name, value in plain.items() if value is not None}


def _folder(root: Path | None) -> Path:
    """Where the records of one data set lie: named by its root, which the name does not give away."""
    if root is None:
        return user_folders.state_folder() / "locked_tests" / "anywhere"
    name = hashlib.blake2b(str(root.expanduser().resolve()).encode(errors="surrogateescape"), digest_size=12)
    return user_folders.state_folder() / "locked_tests" / name.hexdigest()


def read_test(
    table: Scored,
    run: str,
    purpose: str,
    *,
    root: Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Readings | None:
    """Write down that these images are judged, and count how often they were before; call it once a reading.

    Parameters
    ----------
    table : Scored
        One row an image, as predicted.
    run, purpose : str
        As of `record_reading`.
    root : Path, optional
        The folder that the images are split in; without, they are met again wherever they come from.
    settings : mapping, optional
        All that the split was cut by, as of `remember_test`.

    Returns
    -------
    Readings or None
        As of `record_reading`.
    """
    readings = record_reading(table, run, purpose)
    # What one fold holds out trains the next: that is no lock.
    if readings is not None and readings.split != "held_out" and "content" in table.rows:
        contents = table.rows["content"].astype(str)
        remember_images(contents[contents.str.fullmatch(PIXEL_HASH)], run, settings or {}, root)
    return readings
