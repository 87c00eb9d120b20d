"""What earlier runs were judged by, remembered outside their folders: so that no later run trains on it unawares."""

import datetime
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medcls import places
from medcls.data.manifest import Manifest
from medcls.writing import whole

log = logging.getLogger(__name__)


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


def remember_test(manifest: Manifest, run: str, settings: Mapping[str, object]) -> None:
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
        with whole(path) as temporary:
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


def met_in_training(manifest: Manifest, settings: Mapping[str, object]) -> list[Meeting]:
    """Find the earlier runs on this data whose test images now train, select or calibrate.

    Images that were judged as another site's, or in another tool's table, are met whatever folder they come from.

    Parameters
    ----------
    manifest : Manifest
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
        return places.state_folder() / "locked_tests" / "anywhere"
    name = hashlib.blake2b(str(root.expanduser().resolve()).encode(errors="surrogateescape"), digest_size=12)
    return places.state_folder() / "locked_tests" / name.hexdigest()
