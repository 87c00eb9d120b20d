"""The folder that holds everything of one run or audit, written whole or not at all."""

import contextlib
import json
import logging
import logging.handlers
import shutil
from pathlib import Path
from typing import Any

from medcls.errors import MedclsError
from medcls.writing import whole

# Where the doors put their folders, when started anywhere.
PARENTS = ("runs", "audits", "evaluations", "comparisons")


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
        # Hydra has just made the run folder; its parent too, where that holds nothing else.
        alone = path.is_dir() and not any(path.iterdir())
        parent_too = alone and path.parent.name in PARENTS and len(list(path.parent.iterdir())) == 1
        self._made = [path, path.parent] if parent_too else [path] if alone else []
        self._was_empty = alone
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

    def refuse_if_taken(self) -> None:
        """Stop before anything is done where the folder already holds a run or an audit.

        Raises
        ------
        MedclsError
            Names the folder, and how to go on with that run.
        """
        if self.last.exists():
            raise MedclsError(
                f"{self.path} already holds a run. Go on with it by resume={self.path}, or give another hydra.run.dir."
            )
        if self.config.exists() or self.checkpoints.exists() or self.figures.exists():
            raise MedclsError(
                f"{self.path} holds what is left of a run that never finished an epoch, or a preview. Remove it, or "
                "give another hydra.run.dir."
            )
        if self.audit_page.exists():
            raise MedclsError(f"{self.path} already holds an audit. Give another hydra.run.dir.")
        if self.comparison_page.exists():
            raise MedclsError(f"{self.path} already holds a comparison. Give another hydra.run.dir.")

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
                "would be taken for images. Start from another folder, or give hydra.run.dir a place outside."
            )

    def write_into(self, path: Path) -> None:
        """Turn to a folder that is there already, as an evaluation does to its run's; call it before `begin`."""
        self._remove_made()
        self._was_empty = False
        self._name_files(path)

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
        self._log = logging.FileHandler(self.path / log_name, encoding="utf-8")
        self._log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._early_log.setTarget(self._log)
        self._early_log.flush()
        log = logging.getLogger("medcls")
        log.removeHandler(self._early_log)
        log.addHandler(self._log)

    def write_text(self, name: str, text: str) -> Path:
        """Write one file, whole or not at all."""
        with whole(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return self.path / name

    def write_json(self, name: str, content: Any) -> Path:  # noqa: ANN401 - plain data of any shape
        """Write plain data; NaN becomes null, so that any reader can read it."""
        return self.write_text(name, json.dumps(without_nan(content), indent=2, ensure_ascii=False) + "\n")


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
        raise MedclsError(f"{path} cannot be read ({error}): a run folder's files belong together.") from error


def without_nan(content: Any) -> Any:  # noqa: ANN401
    """Plain data with NaN and infinities as None, which JSON knows."""
    if isinstance(content, dict):
        return {str(key): without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    if isinstance(content, float) and (content != content or content in (float("inf"), float("-inf"))):
        return None
    return content
