"""The results in a folder, as objects that a notebook shows: of a run, an evaluation or an audit."""

from __future__ import annotations

import dataclasses
import os
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from medcls.cli.trained_models import load
from medcls.errors import MedclsError
from medcls.evaluation.predictions import read_csv
from medcls.report.result_card import audit_card, metrics_card
from medcls.runs import records
from medcls.runs.records import Audit as AuditRecord
from medcls.runs.records import Configuration
from medcls.runs.run_folder import read_json

if TYPE_CHECKING:
    from medcls.inference.model import Model

PLOTS = ("roc", "confusion", "reliability")
"""The plots that a notebook shows."""


@dataclasses.dataclass(frozen=True)
class Page:
    """A page of results on disk: a report, or the page of an audit.

    Parameters
    ----------
    path : Path
    """

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Page({str(self.path)!r})"

    def open(self) -> None:
        """Open the page in the browser of this machine.

        Raises
        ------
        MedclsError
            There is no such page (yet), or no browser.
        """
        if not self.path.is_file():
            raise MedclsError(f"There is no {self.path}: it was not written yet, or removed.", kind="no_such_file")
        if not webbrowser.open(self.path.absolute().as_uri()):
            raise MedclsError(f"No browser could be opened on this machine. The page: {self.path}", kind="no_browser")


class Evaluation:
    """The results of an evaluation, read from its folder when they are asked for.

    Parameters
    ----------
    path : path
        The folder: that of the evaluated run, or one of its own.

    Raises
    ------
    MedclsError
        There is no such folder, or no results in it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _folder(path, "metrics.json")

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Evaluation({str(self.path)!r})"

    @property
    def metrics(self) -> pd.DataFrame:
        """Every metric of every split with its 95% interval.

        Columns are `split`, `metric`, `class`, `estimate`, `low`, `high`, `method`, `n` and `note`. The class `(macro)`
        is the mean over several classes. The split that opens the report comes first.
        """
        return _metrics(self.path)

    @property
    def report(self) -> Page:
        """The report; `report.open()` shows it in a browser."""
        return Page(self.path / "report.html")

    def predictions(self, split: str | None = None) -> pd.DataFrame:
        """The predictions of a split, one row for each image.

        Parameters
        ----------
        split : str, optional
            By default the one that opens the report.
        """
        return _predictions(self.path, split)

    def _repr_html_(self) -> str:
        return _card(self.path, self.path.name)


class Run:
    """A trained run, or a probe, read from its folder when its parts are asked for.

    Parameters
    ----------
    path : path
        The run folder.

    Raises
    ------
    MedclsError
        There is no such folder, or no run in it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _folder(path, "config.yaml")

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def config(self) -> dict[str, Any]:
        """Every setting by its dotted name, such as `trainer.max_epochs`, as the run used it."""
        return _configuration(self.path).flat()

    @property
    def metrics(self) -> pd.DataFrame:
        """Every metric of every split with its 95% interval, as `Evaluation.metrics`."""
        return _metrics(self.path)

    @property
    def report(self) -> Page:
        """The report; `report.open()` shows it in a browser."""
        return Page(self.path / "report.html")

    def predictions(self, split: str | None = None) -> pd.DataFrame:
        """The predictions of a split, one row for each image.

        Parameters
        ----------
        split : str, optional
            `test`, `val`; by default the one that opens the report.
        """
        return _predictions(self.path, split)

    def load(self, *, device: str | None = None, trust: bool = False) -> Model:
        """Load the trained model, ready to predict; see `medcls.load`, which also makes an ensemble of several runs."""
        return cast("Model", load(self.path, device=device, trust=trust))

    def _repr_html_(self) -> str:
        config = _configuration(self.path)
        return _card(self.path, f"{config.setting('data.name')}, {config.setting('model.name')}")


class Audit:
    """The findings of an audit, read from its folder when they are asked for.

    Parameters
    ----------
    path : path
        The folder of the audit.

    Raises
    ------
    MedclsError
        There is no such folder, or no audit in it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _folder(path, "audit.json")

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Audit({str(self.path)!r})"

    @property
    def findings(self) -> pd.DataFrame:
        """One row for each check: `check`, `level`, `title`, `text`, and the images to leave out as `exclude`."""
        columns = ["check", "level", "title", "text", "exclude"]
        rows = [[getattr(finding, name) for name in columns] for finding in self._record.findings]
        return pd.DataFrame(rows, columns=columns)

    @property
    def errors(self) -> int:
        """The number of findings that invalidate results or stop a training."""
        return sum(finding.level == "error" for finding in self._record.findings)

    @property
    def report(self) -> Page:
        """The page of the audit; `report.open()` shows it in a browser."""
        return Page(self.path / "audit.html")

    @property
    def _record(self) -> AuditRecord:
        found = records.read(self.path / "audit.json", AuditRecord)
        if found is None:
            raise MedclsError(f"There is no {self.path / 'audit.json'}: it was removed.", kind="no_such_file")
        return found

    def _repr_html_(self) -> str:
        found = self._record
        title = f"{found.images:,} images in {found.root}"
        return audit_card(title, found.findings, read_json(self.path / "audit.json")["data"]["stamps"])


def _folder(path: str | os.PathLike[str], needed: str) -> Path:
    folder = Path(path).expanduser()
    if not (folder / needed).is_file():
        reason = f"it has no {needed}" if folder.is_dir() else "there is no such folder"
        raise MedclsError(f"{folder} holds no results: {reason}.", kind="no_results")
    return folder


def _configuration(folder: Path) -> Configuration:
    found = Configuration.read(folder)
    if found is None:
        raise MedclsError(f"There is no {folder / 'config.yaml'}: it was removed.", kind="no_such_file")
    return found


def _splits(folder: Path) -> dict[str, Mapping[str, Any]]:
    """The evaluated splits in `metrics.json`, the one that opens the report first; empty without that file."""
    stored = read_json(folder / "metrics.json") or {}
    splits = {name: split for name, split in stored.items() if isinstance(split, dict) and "intervals" in split}
    return dict(reversed(splits.items()))


def _metrics(folder: Path) -> pd.DataFrame:
    splits = _splits(folder)
    if not splits:
        raise MedclsError(
            f"{folder} has no metrics: nothing was evaluated. To do it: medcls.evaluate({str(folder)!r})",
            kind="not_evaluated",
        )
    rows = [{"split": name} | row for name, split in splits.items() for row in split["intervals"]]
    table = pd.DataFrame(rows)
    numbers = ["estimate", "low", "high"]
    table[numbers] = table[numbers].astype(float)
    return table


def _predictions(folder: Path, split: str | None) -> pd.DataFrame:
    name = split or next(iter(_splits(folder)), "test")
    path = folder / "predictions" / f"{name}.csv"
    if not path.is_file():
        stored = ", ".join(sorted(one.stem for one in path.parent.glob("*.csv"))) or "none"
        raise MedclsError(f"{folder} has no predictions of {name}; it has: {stored}.", kind="not_evaluated")
    return read_csv(path, _positive(folder)).rows


def _positive(folder: Path) -> str | None:
    """The positive class of a binary task."""
    if (config := Configuration.read(folder)) is not None:
        return config.positive_class
    # An evaluation in a folder of its own has no configuration. A metric of a binary task has one row.
    split = next(iter(_splits(folder).values()), None)
    if split is None or split["per_class"]:
        return None
    return next(str(row["class"]) for row in split["intervals"] if row["metric"] == "sensitivity")


def _card(folder: Path, title: str) -> str:
    splits = _splits(folder)
    name, split = next(iter(splits.items()), ("", None))
    watermarks = [] if split is None else read_json(folder / "metrics.json")["stamps"]
    plots = [path for plot in PLOTS if (path := folder / "figures" / f"{plot}_{name}.png").is_file()]
    return metrics_card(title, split, watermarks, plots)
