"""The file of `medcls.predict`: written in chunks, and continued where a stopped command left it."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from medcls.csv_escaping import escape
from medcls.errors import MedclsError
from medcls.inference.stream import Row
from medcls.writing import atomic_write, sync_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMATS = ("csv", "jsonl")

CHUNK_S = 2.0


class PredictionFile:
    """Rows that are appended to `NAME.part` and, once complete, renamed to `NAME`.

    Beside it, `NAME.part.json` has the settings and how much of the file is complete: it is replaced after each chunk
    has reached the disk, so that a killed process loses one chunk at most, and half a chunk is never read. A chunk is
    what came in two seconds.

    Parameters
    ----------
    path : Path
        The file, which must not exist yet.
    settings : mapping
        Plain values that the rows depend on. An unfinished file of other settings is refused.
    form : RowFormat

    Attributes
    ----------
    done : int
        Images whose rows are in the file, or in the chunk that is written next.
    counts : Counter
        Of what the rows say, over all of them.

    Raises
    ------
    MedclsError
        The file exists; another command is writing it; it was begun with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], form: "RowFormat") -> None:
        self.path, self._settings, self._format = path, dict(settings), form
        self._part, self._state = (path.with_name(path.name + end) for end in (".part", ".part.json"))
        if path.exists():
            raise MedclsError(f"{path} exists already. Remove it, or give another output=FILE.", kind="output_exists")
        self.done, self._bytes = 0, 0
        self.counts: Counter[str] = Counter()
        self._pending: list[str] = []
        self._written_at = time.monotonic()
        state = self._read_state()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("r+b" if self._part.exists() else "w+b")
        try:
            self._lock()
            if state is not None:
                self.done, self._bytes = state["done"], state["bytes"]
                self.counts.update(state["counts"])
            self._file.truncate(self._bytes)
            self._file.seek(self._bytes)
            if not self._bytes:
                self._pending.append(form.header)
                self._write()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "PredictionFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self._file.close()
            return
        with contextlib.suppress(OSError):  # a full disk, which may be the error
            self._write()
        self._file.close()
        if not self.done:
            self._part.unlink(missing_ok=True)
            self._state.unlink(missing_ok=True)
        else:
            error.add_note(f"Rows of {self.done:,} image(s) are in {self._part}. The same command continues there.")

    def append(self, rows: Sequence[Row]) -> None:
        """Append the lines of some images."""
        self._pending += map(self._format.line, rows)
        self.done += len(rows)
        self.counts += counted_in(rows)
        if time.monotonic() - self._written_at > CHUNK_S:
            self._write()

    def finish(self) -> None:
        """Give the file its name."""
        self._write()
        self._file.close()
        os.replace(self._part, self.path)
        sync_folder(self.path.parent)
        self._state.unlink(missing_ok=True)

    def _write(self) -> None:
        """Write the pending lines, then record that they are complete."""
        data = "".join(self._pending).encode("utf-8", "backslashreplace")
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._bytes += len(data)
        state = {"settings": self._settings, "done": self.done, "bytes": self._bytes, "counts": dict(self.counts)}
        with atomic_write(self._state) as temporary:
            temporary.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        self._pending, self._written_at = [], time.monotonic()

    def _lock(self) -> None:
        """Lock the unfinished file for this process; without effect on Windows."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MedclsError(
                f"Another command is writing {self._part}. Wait for it to end, or give another output=FILE.",
                kind="run_in_progress",
            ) from error

    def _read_state(self) -> dict[str, Any] | None:
        """What an earlier command left; None if it left nothing that can be continued."""
        try:
            state: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
            former, size, kinds = state["settings"], self._part.stat().st_size, (state["done"], state["bytes"])
            counts_fit = all(isinstance(number, int) for number in (*kinds, *state["counts"].values()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MedclsError(
                f"{self._state} is damaged ({error!r}): remove it and {self._part.name} to start again.",
                kind="damaged_file",
            ) from error
        if not counts_fit or size < state["bytes"]:
            raise MedclsError(
                f"{self._part} has fewer bytes than {self._state.name} says: remove both to start again.",
                kind="damaged_file",
            )
        settings = json.loads(json.dumps(self._settings))
        if differing := [name for name in {**settings, **former} if settings.get(name) != former.get(name)]:
            lines = [f"  {name}: {former.get(name)} there, {settings.get(name)} now" for name in differing]
            raise MedclsError(
                f"{self._part} was begun with other settings:\n" + "\n".join(lines) + "\nGive these again, or another "
                f"output=FILE; or remove it and {self._state.name} to start again.",
                kind="other_settings",
            )
        return state


@dataclasses.dataclass(frozen=True)
class RowFormat:
    """How rows become lines.

    Parameters
    ----------
    header : str
        The first line; empty if there is none.
    line : callable
        From a row to a line.
    """

    header: str
    line: Callable[[Row], str]


def check_format(kind: object) -> None:
    """Refuse an unknown format.

    Raises
    ------
    MedclsError
        It is none of `FORMATS`.
    """
    if kind not in FORMATS:
        raise MedclsError(f"format is {kind!r}: choose {' or '.join(FORMATS)}.", kind="bad_value")


def row_format(kind: str, classes: Sequence[str], checkpoint: str, watermarks: Sequence[str]) -> RowFormat:
    """The format of a file of predictions.

    Parameters
    ----------
    kind : str
        `csv`, with a column for each field and the probability of each class; or `jsonl`, an object a line.
    classes : sequence of str
        In the order of the columns.
    checkpoint : str
        Of the weights, for each row.
    watermarks : sequence of str
        Go into a column `stamp` of each row, if there are any.
    """
    stamp = {"stamp": ", ".join(watermarks)} if watermarks else {}
    if kind == "jsonl":
        return RowFormat("", lambda row: json.dumps({**fields(row), **stamp, "checkpoint": checkpoint}) + "\n")

    def cells(row: Row) -> list[str]:
        values = fields(row)
        of_classes = values.pop("probabilities")
        flat = {"path": values.pop("path"), "predicted": values.pop("predicted")}
        flat |= {f"prob_{name}": None if of_classes is None else of_classes[name] for name in classes}
        return [_cell(value) for value in (flat | values | stamp | {"checkpoint": checkpoint}).values()]

    names = ["path", "predicted", *(f"prob_{name}" for name in classes), *OTHER_FIELDS, *stamp, "checkpoint"]
    return RowFormat(_csv_line(names), lambda row: _csv_line(cells(row)))


OTHER_FIELDS = ("decision", "prediction_set", "out_of_distribution", "ood", "seen_in", "error", "error_kind")
"""Beside the path, the predicted class and the probabilities."""


def fields(row: Row) -> dict[str, Any]:
    """The fields of a row as plain data; those that do not apply are None."""
    one, error = row.prediction, row.error
    return {
        "path": row.path,
        "predicted": None if one is None else one.name,
        "probabilities": None if one is None else one.probabilities,
        "decision": None if one is None else one.decision,
        "prediction_set": None if one is None or one.prediction_set is None else list(one.prediction_set),
        "out_of_distribution": None if one is None else one.out_of_distribution,
        "ood": None if one is None else one.ood,
        "seen_in": row.seen or None,
        "error": None if error is None else error.reason,
        "error_kind": None if error is None else error.kind,
    }


def _cell(value: Any) -> str:  # noqa: ANN401 - plain data
    """A cell of a table: sets in JSON, so that an empty one differs from none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return escape(value) if isinstance(value, str) else repr(value)


def _csv_line(cells: Sequence[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def counted_in(rows: Sequence[Row]) -> Counter[str]:
    """Count what rows say: `unreadable`, `flagged`, `seen in train`, `predicted benign`, `decided malignant`."""
    counts: Counter[str] = Counter()
    for row in rows:
        if row.prediction is None:
            counts["unreadable"] += 1
            continue
        counts[f"predicted {row.prediction.name}"] += 1
        if row.prediction.decision is not None:
            counts[f"decided {row.prediction.decision}"] += 1
        counts["flagged"] += bool(row.prediction.out_of_distribution)
        if row.seen:
            counts[f"seen in {row.seen}"] += 1
    return counts
