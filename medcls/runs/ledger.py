"""How often the same test images have been evaluated on this machine: each time they are looked at, they wear.

A test consulted after each of several trainings chooses among them, and its figure is no longer of images that chose
nothing. Looking again is allowed; it is counted, and the report says so.
"""

import datetime
import hashlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medcls import places
from medcls.evaluation.predictions import Predictions
from medcls.wording import counted
from medcls.writing import whole

log = logging.getLogger(__name__)

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


def record_reading(table: Predictions, run: str, purpose: str = "evaluate") -> Readings | None:
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
    table : Predictions
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
    path = places.state_folder() / "test_readings" / key / f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.json"
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
        with whole(path) as temporary:
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


def _key(table: Predictions) -> str:
    rows = table.rows
    if "content" in rows and rows["content"].astype(str).str.fullmatch(PIXEL_HASH).all():
        return _hash(["content", *sorted(set(rows["content"]))])
    return _hash(["path and label", *sorted(zip(rows["path"], rows["label"], strict=True))])


def _scores(table: Predictions) -> str:
    """Name the classifier by what it said of each image, where no checkpoint does."""
    order = np.argsort(table.rows["path"].to_numpy(str), kind="stable")
    return "scores " + _hash([table.classes, table.probabilities()[order].round(DECIMALS).tolist()])


def _hash(parts: object) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()
