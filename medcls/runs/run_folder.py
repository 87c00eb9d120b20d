"""The folder that holds everything of one run or audit, written whole or not at all."""

import contextlib
import json
import logging
import logging.handlers
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any, Protocol

from medcls.errors import MedclsError
from medcls.writing import atomic_write

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Where the doors put their folders, when started anywhere.
PARENTS = ("runs", "audits", "evaluations", "comparisons")

# As `writing.whole` and checkpoints name what is not whole yet.
HALF_WRITTEN = re.compile(r"\..+\.\d+(\.\w+)?|(best|last)\.ckpt\.tmp")


class WritesCsv(Protocol):
    """A table that writes itself, whole or not at all."""

    def write_csv(self, path: Path) -> None:
        """Write it."""


class RunFolder:
    """Paths of one run and how its files are written.

    Nothing is written before `begin`: a run that stops on bad input leaves no folder behind.

    Parameters
    ----------
    path : Path
        The folder; it may exist, but not hold another run.
    """

    def __init__(self, path: Path) -> None:
        self._name_files(path)
        self.written: dict[str, None] = {}
        # Hydra has just made the run folder; its parent too, where that holds nothing else.
        alone = path.is_dir() and not any(path.iterdir())
        parent_too = alone and path.parent.name in PARENTS and len(list(path.parent.iterdir())) == 1
        self._made = [path, path.parent] if parent_too else [path] if alone else []
        self._was_empty = alone
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

    def claim(self) -> None:
        """Keep the folder for this process alone, until `close` or the process's end, whichever way that comes.

        By a lock on the folder itself, which leaves no file behind. Where a file system has no such locks, and on
        Windows, two commands can still meet in one folder.

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
            self._made, self._was_empty = [], False  # it is the other's
            raise MedclsError(
                f"Another command is writing into {self.path} just now. Wait for it, or give another hydra.run.dir.",
                kind="run_in_progress",
            ) from error
        self._claim = descriptor

    def _release(self) -> None:
        if self._claim is not None:
            os.close(self._claim)
        self._claim = None

    def refuse_if_taken(self, *, by_training: bool = False) -> None:
        """Stop before anything is done where the folder already holds a run or an audit.

        Parameters
        ----------
        by_training : bool
            A training begins: what another left that never finished an epoch, or a preview, is in nobody's way.

        Raises
        ------
        MedclsError
            Names the folder, and how to go on with that run.
        """
        if self.last.exists():
            raise MedclsError(
                f"{self.path} already holds a run. Go on with it by resume={self.path}, or give another hydra.run.dir.",
                kind="folder_taken",
            )
        if (self.config.exists() or self.checkpoints.exists() or self.figures.exists()) and not (
            by_training and self.was_left_in_its_first_epoch()
        ):
            what = "an evaluation" if self.report.exists() or self.predictions.exists() else "a run"
            raise MedclsError(
                f"{self.path} holds what is left of {what}. Remove it, or give another hydra.run.dir.",
                kind="folder_taken",
            )
        if self.audit_page.exists():
            raise MedclsError(f"{self.path} already holds an audit. Give another hydra.run.dir.", kind="folder_taken")
        if self.comparison_page.exists():
            raise MedclsError(
                f"{self.path} already holds a comparison. Give another hydra.run.dir.", kind="folder_taken"
            )

    def was_left_in_its_first_epoch(self) -> bool:
        """Whether there is nothing of a training here but what it wrote before its first epoch was finished."""
        begun = self.config.exists() or self.checkpoints.exists() or self.figures.exists()
        later = (self.last, self.report, self.predictions, self.audit_page, self.comparison_page)
        more = (self.path / "metrics.json", self.path / "evaluate.log")
        return begun and not any(path.exists() for path in (*later, *more))

    def sweep(self) -> None:
        """Take away what dead writers left half-written; only where no other command can be writing."""
        if self._claim is None:
            return
        for path in self.path.rglob("*"):
            if HALF_WRITTEN.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                path.unlink(missing_ok=True)

    def holds_unfinished_evaluation(self) -> bool:
        """Whether an evaluation ended here before its report, and nothing else is in the way of doing it again."""
        return (self.path / "evaluate.log").exists() and not self.config.exists() and not self.report.exists()

    def refuse_within(self, images: str | None) -> None:
        """Stop where the run folder would lie among the images, and its figures be taken for some of them.

        Raises
        ------
        MedclsError
            Names both folders.
        """
        if images is not None and self.path.resolve().is_relative_to(Path(images).resolve()):
            raise MedclsError(
                f"The run folder {self.path} lies within the folder of images (data.root={images}), where its figures "
                "would be taken for images. Start from another folder, or give hydra.run.dir a place outside.",
                kind="run_folder_among_images",
            )

    def write_into(self, path: Path) -> None:
        """Turn to a folder that is there already, as an evaluation does to its run's; call it before `begin`.

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
        """Take away what was written here, half of a whole; only where the folder was empty before this command."""
        if self._was_empty and any(self.path.iterdir()):
            shutil.rmtree(self.path)
            if self.path.parent.name in PARENTS and not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()

    def close(self) -> None:
        """End the log; take away the folder (and an empty parent) that Hydra made for a run that never began."""
        log = logging.getLogger("medcls")
        for handler in (self._early_log, self._log):
            if handler is not None:
                log.removeHandler(handler)
                handler.close()
        self._release()
        self._remove_made()

    def _remove_made(self) -> None:
        # What was there before this command, and what cannot be removed, stays.
        with contextlib.suppress(OSError):
            for folder in self._made:
                folder.rmdir()
        self._made = []

    def begin(self, log_name: str = "train.log") -> None:
        """Make the folder and let the log flow into it, from its first line on; folders within come with files."""
        self._made = []
        self.path.mkdir(parents=True, exist_ok=True)
        self.sweep()
        self._log = LogFile(self.path / log_name, encoding="utf-8")
        self._log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log = logging.getLogger("medcls")
        log.removeHandler(self._early_log)
        log.addHandler(self._log)
        self._early_log.setTarget(self._log)
        self._early_log.flush()

    def write_text(self, name: str, text: str) -> Path:
        """Write one file, whole or not at all."""
        with atomic_write(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        self.written.setdefault(name)
        return self.path / name

    def write_predictions(self, name: str, table: "WritesCsv") -> None:
        """Write a table of predictions, whole or not at all: `predictions/NAME.csv`."""
        table.write_csv(self.predictions / f"{name}.csv")
        self.written.setdefault(f"predictions/{name}.csv")

    def what_is_there(self, go_on: str, error: BaseException) -> str:
        """Say what this command has written so far, and how to go on where it ended before its report.

        Parameters
        ----------
        go_on : str
            The command that makes what is missing.
        error : BaseException
            What ended this one: a mistake of the user's has to be mended first, or the command ends the same way.
        """
        if "report.html" in self.written:
            return f"Everything is written: {self.report}"
        written = ", ".join(self.written)
        before = " The report there is of an earlier evaluation." if self.report.exists() else ""
        whole_so_far = f"Written and whole in {self.path}: {written}" if written else f"Nothing is in {self.path} yet"
        how = "With that mended, go on with" if isinstance(error, MedclsError) else "Go on with"
        return f"{whole_so_far}. What comes after it is missing.{before} {how}:\n  {go_on}"

    def write_json(self, name: str, content: Any) -> Path:  # noqa: ANN401 - plain data of any shape
        """Write plain data; NaN becomes null, so that any reader can read it."""
        return self.write_text(name, json.dumps(without_nan(content), indent=2, ensure_ascii=False) + "\n")


class LogFile(logging.FileHandler):
    """The log of a command in its folder. Where it cannot be written any more, it ends, and nothing else does."""

    _ended = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; after the first that failed, none: who hands on early lines does not know that it ended."""
        if not self._ended:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Stop writing, and say so once, where the rest of the log goes."""
        self._ended = True
        log = logging.getLogger("medcls")
        log.removeHandler(self)
        log.warning("%s cannot be written any more (%s): it ends here", self.baseFilename, sys.exc_info()[1])

    def close(self) -> None:
        """Close the file; what a full disk kept from it is lost, and was said."""
        with contextlib.suppress(OSError):
            super().close()


def read_json(path: Path) -> Any:  # noqa: ANN401 - plain data of any shape
    """Read plain data back; None where there is no such file.

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
        raise MedclsError(
            f"{path} cannot be read ({error}): a run folder's files belong together.", kind="unreadable_file"
        ) from error


def without_nan(content: Any) -> Any:  # noqa: ANN401
    """Plain data with NaN and infinities as None, which JSON knows."""
    if isinstance(content, dict):
        return {str(key): without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    if isinstance(content, float) and (content != content or content in (float("inf"), float("-inf"))):
        return None
    return content
