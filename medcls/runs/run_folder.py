"""The folder of a run, an evaluation, a comparison or an audit, whose files are written atomically."""

import contextlib
import json
import logging
import logging.handlers
import os
import re
import shutil
import sys
import weakref
from pathlib import Path
from typing import Any, Protocol

from medcls.errors import MedclsError
from medcls.writing import atomic_write

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Default parents of the folders that commands make.
PARENTS = ("runs", "audits", "evaluations", "comparisons", "explanations", "monitoring", "exports")

# Names of unfinished files, see `writing.whole` and checkpoints.
UNFINISHED = re.compile(r"\..+\.\d+(\.\w+)?|(best|last)\.ckpt\.tmp")


class WritesCsv(Protocol):
    """A table that can write itself."""

    def write_csv(self, path: Path) -> None:
        """Write the table."""


class RunFolder:
    """Paths of a run, and writing of its files.

    Nothing is written before `begin`, so that a run that stops on bad input leaves no folder.

    Parameters
    ----------
    path : Path
        The folder; it may exist, but not with another run in it.
    """

    def __init__(self, path: Path) -> None:
        self._name_files(path)
        self.written: dict[str, None] = {}
        # Hydra has just made the run folder, and its parent if there is nothing else in it.
        empty = path.is_dir() and not any(path.iterdir())
        parent_too = empty and path.parent.name in PARENTS and len(list(path.parent.iterdir())) == 1
        self._made = [path, path.parent] if parent_too else [path] if empty else []
        self._was_empty = empty
        self._claim: int | None = None
        self._log: logging.FileHandler | None = None
        self._early_log = logging.handlers.MemoryHandler(capacity=100_000, flushLevel=logging.CRITICAL + 1)
        logging.getLogger("medcls").addHandler(self._early_log)

    def _name_files(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.manifest = path / "manifest.csv"
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"
        self.logs = path / "logs"
        self.predictions = path / "predictions"
        self.figures = path / "figures"
        self.report = path / "report.html"
        self.audit_page = path / "audit.html"
        self.comparison_page = path / "comparison.md"
        self.monitoring_page = path / "monitor.html"
        self.heat_maps = path / "heat_maps"

    def claim(self) -> None:
        """Lock the folder for this process, until `close` or the end of the process.

        The lock is on the folder itself and leaves no file. It has no effect on Windows, and on file systems without
        locks.

        Raises
        ------
        MedclsError
            Another command is writing into it.
        """
        if fcntl is None or not self.path.is_dir():
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                return
            self._made, self._was_empty = [], False  # of the other command
            raise MedclsError(
                f"Another command is writing into {self.path}. Wait for it to end, or give another hydra.run.dir.",
                kind="run_in_progress",
            ) from error
        self._claim = descriptor
        _CLAIMED.add(self)

    def _release(self, *, in_fork: bool = False) -> None:
        if self._claim is not None:
            if not in_fork:  # a fork that has not let go of it yet does not keep it either
                fcntl.flock(self._claim, fcntl.LOCK_UN)
            os.close(self._claim)
        self._claim = None
        _CLAIMED.discard(self)

    def refuse_if_taken(self, *, by_training: bool = False) -> None:
        """Refuse a folder that already has a run, an evaluation, a comparison, an audit, heat maps or a monitoring.

        Parameters
        ----------
        by_training : bool
            A training may replace a preview, and a training that never finished an epoch.
        """
        if self.last.exists():
            raise MedclsError(
                f"{self.path} already has a run. Resume it by resume={self.path}, or give another hydra.run.dir.",
                kind="folder_taken",
            )
        if self.monitoring_page.exists():
            raise MedclsError(f"{self.path} already has a monitoring. Give another hydra.run.dir.", kind="folder_taken")
        if (self.config.exists() or self.checkpoints.exists() or self.figures.exists()) and not (
            by_training and self.was_left_in_its_first_epoch()
        ):
            what = "an evaluation" if self.report.exists() or self.predictions.exists() else "a run"
            raise MedclsError(
                f"{self.path} has files of {what} that is incomplete. Remove it, or give another hydra.run.dir.",
                kind="folder_taken",
            )
        if self.audit_page.exists():
            raise MedclsError(f"{self.path} already has an audit. Give another hydra.run.dir.", kind="folder_taken")
        if self.comparison_page.exists():
            raise MedclsError(f"{self.path} already has a comparison. Give another hydra.run.dir.", kind="folder_taken")
        if self.heat_maps.exists():
            raise MedclsError(f"{self.path} already has heat maps. Give another hydra.run.dir.", kind="folder_taken")

    def was_left_in_its_first_epoch(self) -> bool:
        """Whether the folder has a training that never finished an epoch, and nothing else."""
        started = self.config.exists() or self.checkpoints.exists() or self.figures.exists()
        later = (self.last, self.report, self.predictions, self.audit_page, self.comparison_page)
        more = (self.path / "metrics.json", self.path / "evaluate.log")
        return started and not any(path.exists() for path in (*later, *more))

    def remove_unfinished(self) -> None:
        """Remove unfinished files of commands that were killed; only while the folder is locked."""
        if self._claim is None:
            return
        for path in self.path.rglob("*"):
            if UNFINISHED.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                path.unlink(missing_ok=True)

    def holds_unfinished_evaluation(self) -> bool:
        """Whether the folder has an evaluation without a report, and nothing else."""
        return (self.path / "evaluate.log").exists() and not self.config.exists() and not self.report.exists()

    def refuse_within(self, images: str | None, setting: str = "data.root") -> None:
        """Refuse a run folder within the folder of images, where its plots would be taken for images.

        Parameters
        ----------
        images : str or None
            The folder of images.
        setting : str
            The setting that names it.
        """
        if images is not None and self.path.resolve().is_relative_to(Path(images).resolve()):
            raise MedclsError(
                f"The run folder {self.path} is within the folder of images ({setting}={images}), where its plots "
                "would be taken for images. Start from another folder, or set hydra.run.dir to one outside.",
                kind="run_folder_among_images",
            )

    def write_into(self, path: Path) -> None:
        """Write into an existing folder, as the evaluation of a run does; call it before `begin`.

        Raises
        ------
        MedclsError
            Another command is writing into it.
        """
        self._release()
        self._remove_made()
        self._was_empty = False
        self._name_files(path)
        self.claim()

    def discard(self) -> None:
        """Remove the folder if it was empty before this command."""
        if self._was_empty and any(self.path.iterdir()):
            shutil.rmtree(self.path)
            if self.path.parent.name in PARENTS and not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()

    def close(self) -> None:
        """Close the log, and remove the folder (and an empty parent) that Hydra made for a run that did not begin."""
        log = logging.getLogger("medcls")
        for handler in (self._early_log, self._log):
            if handler is not None:
                log.removeHandler(handler)
                handler.close()
        self._release()
        self._remove_made()

    def _remove_made(self) -> None:
        # A folder that is not empty, or cannot be removed, is kept.
        with contextlib.suppress(OSError):
            for folder in self._made:
                folder.rmdir()
        self._made = []

    def begin(self, log_name: str = "train.log") -> None:
        """Make the folder, and write the log into it from its first line on."""
        self._made = []
        self.path.mkdir(parents=True, exist_ok=True)
        self.remove_unfinished()
        self._log = LogFile(self.path / log_name, encoding="utf-8")
        self._log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log = logging.getLogger("medcls")
        log.removeHandler(self._early_log)
        log.addHandler(self._log)
        self._early_log.setTarget(self._log)
        self._early_log.flush()

    def write_text(self, name: str, text: str) -> Path:
        """Write a file atomically."""
        with atomic_write(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        self.written.setdefault(name)
        return self.path / name

    def write_predictions(self, name: str, table: "WritesCsv") -> None:
        """Write a table of predictions atomically: `predictions/NAME.csv`."""
        table.write_csv(self.predictions / f"{name}.csv")
        self.written.setdefault(f"predictions/{name}.csv")

    def what_is_there(self, next_command: str, error: BaseException) -> str:
        """Describe what this command has written, and how to continue if it ended before its report.

        Parameters
        ----------
        next_command : str
            The command that writes what is missing.
        error : BaseException
            What ended this command; an error of the user has to be corrected first.
        """
        if "report.html" in self.written:
            return f"Everything is written: {self.report}"
        files = ", ".join(self.written)
        earlier = " The report is of an earlier evaluation." if self.report.exists() else ""
        written = f"Complete in {self.path}: {files}" if files else f"Nothing is written in {self.path} yet"
        how = "After correcting this, continue with" if isinstance(error, MedclsError) else "Continue with"
        return f"{written}. The rest is missing.{earlier} {how}:\n  {next_command}"

    def write_json(self, name: str, content: Any) -> Path:  # noqa: ANN401 - plain data of any shape
        """Write plain data as JSON; NaN and infinities become null."""
        return self.write_text(name, json.dumps(without_nan(content), indent=2, ensure_ascii=False) + "\n")


# A fork inherits the lock. A loader's worker process, which may outlive a killed run by seconds, lets go of it.
_CLAIMED: weakref.WeakSet[RunFolder] = weakref.WeakSet()


def _let_go() -> None:
    for folder in list(_CLAIMED):
        folder._release(in_fork=True)


if fcntl is not None:
    os.register_at_fork(after_in_child=_let_go)


class LogFile(logging.FileHandler):
    """The log of a command in its folder. If it cannot be written, it ends, and the command goes on."""

    _ended = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless an earlier one failed."""
        if not self._ended:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Stop writing, and log this once elsewhere."""
        self._ended = True
        log = logging.getLogger("medcls")
        # Another list: without an item of the one that is iterated over, the next handler would miss this record.
        log.handlers = [handler for handler in log.handlers if handler is not self]
        log.warning("%s cannot be written any more (%s) and ends here", self.baseFilename, sys.exc_info()[1])

    def close(self) -> None:
        """Close the file; errors were logged before."""
        with contextlib.suppress(OSError):
            super().close()


def read_json(path: Path) -> Any:  # noqa: ANN401 - plain data of any shape
    """Read a JSON file; None if there is no such file.

    Raises
    ------
    MedclsError
        The file is damaged.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise MedclsError(f"{path} cannot be read ({error}).", kind="unreadable_file") from error


def without_nan(content: Any) -> Any:  # noqa: ANN401
    """Return plain data with None instead of NaN and infinities, which JSON lacks."""
    if isinstance(content, dict):
        return {str(key): without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    if isinstance(content, float) and (content != content or content in (float("inf"), float("-inf"))):
        return None
    return content
