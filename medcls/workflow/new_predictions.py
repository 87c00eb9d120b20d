"""Read what a monitoring compares: tables of new predictions, labels that came later, a run's own predictions."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from medcls.csv_escaping import unescaped
from medcls.data.sources.scan import Progress, ScanOptions, scan_images
from medcls.errors import MedclsError, nearest
from medcls.evaluation.decision_rules import DecisionRules
from medcls.evaluation.folds import OUT_OF_FOLD
from medcls.evaluation.monitoring import Monitoring, Rules, Watched
from medcls.evaluation.predictions import PROB, Predictions
from medcls.plots.control_charts import plot_control_chart, plot_distribution
from medcls.plots.drawing import save
from medcls.report.pages.plots import EmbeddedPlot, embedded
from medcls.runs.records import Configuration
from medcls.runs.run_folder import RunFolder
from medcls.statistics.arrays import Floats
from medcls.statistics.metrics import check_probabilities
from medcls.wording import at_start, counted, enumerated, printable
from medcls.workflow.finished_runs import positive_of, read_table

Period = Literal["file", "day", "week", "month"]
PERIODS: Mapping[str, str] = {"day": "D", "week": "W", "month": "M"}
"""What pandas calls them."""
STATISTICS = {
    "brightness": "brightness",
    "contrast": "contrast",
    "edge_marks": "bright marks at the edge",
    "width": "width in pixels",
    "height": "height in pixels",
}
"""Statistics of images that are compared, and their names."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as a monitoring needs it; its network is not loaded.

    Parameters
    ----------
    reference, rates_from : Predictions
        Val (out of fold for a probe), and test if there is one.
    images : Path
        The folder of its images.
    """

    reference: Predictions
    rates_from: Predictions
    rules: Rules
    images: Path
    watermarks: tuple[str, ...]


def read_run(place: Path) -> Run:
    """Read the predictions and decision rules of a run folder.

    Raises
    ------
    MedclsError
        It is no run folder, has no predictions of val, or its decision rules are damaged.
    """
    config = Configuration.read(place)
    if config is None:
        raise MedclsError(f"{printable(place)} is no run folder: it has no config.yaml.", kind="not_a_run")
    there = [name for name in ("val", OUT_OF_FOLD) if (place / "predictions" / f"{name}.csv").is_file()]
    if not there:
        raise MedclsError(
            f"{printable(place)} has no predictions/val.csv to compare with: finish its training, or run "
            f"python -m medcls.evaluate run={printable(place)} split=val",
            kind="no_reference",
        )
    positive = positive_of(config, place, None)
    reference = read_table(place, there[0], positive)
    has_test = (place / "predictions" / "test.csv").is_file()
    rates_from = read_table(place, "test", positive).in_order(reference.classes) if has_test else reference
    try:
        rules = DecisionRules.from_plain(json.loads((place / "policies.json").read_text(encoding="utf-8")))
        metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MedclsError(
            f"The decision rules or metrics of {printable(place)} cannot be read ({error!r}): run python -m "
            f"medcls.evaluate run={printable(place)} first.",
            kind="damaged_decision_rules",
        ) from error
    return Run(
        reference,
        rates_from,
        Rules(
            rules.threshold,
            None if rules.conformal is None else rules.conformal.least,
            rules.ood_limit,
        ),
        Path(str(config.setting("data.root"))).expanduser(),
        tuple(metrics.get("stamps", ())),
    )


def tables_of(place: Path) -> list[Path]:
    """Find the tables that a path names: a file, or all CSV files of a folder in the order of their names.

    Raises
    ------
    MedclsError
        There are none.
    """
    if place.is_file():
        return [place]
    found = sorted(place.glob("*.csv")) if place.is_dir() else []
    if not found:
        siblings = [one.name for one in place.parent.iterdir()] if place.parent.is_dir() else []
        raise MedclsError(
            f"{printable(place)} is no table of predictions, and no folder with some (*.csv): python -m medcls.predict "
            f"writes them.{nearest(place.name, siblings)}",
            kind="no_such_file",
        )
    return found


def read_new(tables: Sequence[Path], reference: Predictions) -> tuple[pd.DataFrame, list[str]]:
    """Read tables of new predictions of the run's checkpoint.

    Parameters
    ----------
    tables : sequence of Path
        CSV files with the columns `path` and `prob_<class>` for each class of the run; `ood`, `group`, `label` and
        `checkpoint` are read where they are.
    reference : Predictions
        Of the run.

    Returns
    -------
    rows : DataFrame
        All columns of the tables, as text but for `prob_<class>` and `ood`; `period` is the name of the file. See
        `evaluation.monitoring.Watched.new`.
    notes : list of str
        What was left out.

    Raises
    ------
    MedclsError
        A table cannot be read, lacks a column, or is of another checkpoint; no row is left.
    """
    read = [_read_one(table, reference).assign(period=table.stem) for table in tables]
    rows = pd.concat(read, ignore_index=True)
    notes = []
    probabilities = [PROB + name for name in reference.classes]
    without = (rows[probabilities] == "").all(axis=1)
    if without.any():
        notes.append(f"{counted(int(without.sum()), 'row')} without probabilities (unreadable images) left out.")
        rows = rows[~without]
    if (twice := int(rows["path"].duplicated().sum())) > 0:
        notes.append(f"{counted(twice, 'row')} of an image that occurs earlier left out.")
        rows = rows[~rows["path"].duplicated()]
    if rows.empty:
        raise MedclsError(f"{printable(tables[0])} has no row with a prediction.", kind="no_rows")
    numeric = [*probabilities, "ood"] if (rows["ood"] != "").all() else probabilities
    rows = rows.reset_index(drop=True) if "ood" in numeric else rows.drop(columns="ood").reset_index(drop=True)
    for column in numeric:
        rows[column] = pd.to_numeric(rows[column], errors="coerce").astype(np.float64)
        if (wrong := ~np.isfinite(rows[column])).any():
            first = rows.loc[wrong, "path"].iloc[0]
            raise MedclsError(f"{column} of {first!r} is not a finite number.", kind="not_a_number")
    check_probabilities(rows[probabilities].to_numpy(np.float64), len(reference.classes), rows["path"].tolist())
    return rows, notes


def _cells(path: Path) -> pd.DataFrame:
    """A CSV file, all cells as text."""
    try:
        return unescaped(pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False))
    except (OSError, ValueError) as error:
        raise MedclsError(
            f"{printable(path)} cannot be read as a table ({error}). It must be UTF-8 text with commas between cells.",
            kind="unreadable_table",
        ) from error


def _read_one(path: Path, reference: Predictions) -> pd.DataFrame:
    """One table of predictions, all cells as text."""
    table = _cells(path)
    needed = ["path", *(PROB + name for name in reference.classes)]
    if missing := [name for name in needed if name not in table]:
        raise MedclsError(
            f"{printable(path)} has no column {enumerated(missing)}: a monitoring needs the predictions of this run "
            f"(path and prob_<class> for {enumerated(reference.classes)}).{nearest(missing[0], table.columns)}",
            kind="missing_column",
        )
    others = set(table.get("checkpoint", pd.Series(dtype=str))) - {"", reference.checkpoint}
    if others and reference.checkpoint:
        raise MedclsError(
            f"{printable(path)} holds predictions of checkpoint {enumerated(sorted(others))}, and those of the run are "
            f"of {reference.checkpoint}: predict these images with this run.",
            kind="different_checkpoints",
        )
    for name in ("label", "group", "ood"):
        if name not in table:
            table[name] = ""
    return table


def with_labels(rows: pd.DataFrame, labels: Path) -> tuple[pd.DataFrame, list[str]]:
    """Add labels that became known later, from a CSV file with the columns `path` and `label`.

    Raises
    ------
    MedclsError
        The table cannot be read; a path has two labels; no path is in the predictions.
    """
    table = _cells(labels)
    if missing := [name for name in ("path", "label") if name not in table]:
        raise MedclsError(
            f"{printable(labels)} has no column {enumerated(missing)}; it has {enumerated(list(map(str, table)))}.",
            kind="missing_column",
        )
    table = table[table["label"] != ""].drop_duplicates(["path", "label"])
    if (twice := table["path"].duplicated()).any():
        raise MedclsError(
            f"{printable(labels)} gives {table.loc[twice, 'path'].iloc[0]!r} two labels.", kind="conflicting_labels"
        )
    known = dict(zip(table["path"], table["label"], strict=True))
    found = rows["path"].map(known)
    if found.isna().all():
        raise MedclsError(
            f"No path of {printable(labels)} (such as {next(iter(known), '')!r}) is in the predictions (such as "
            f"{rows['path'].iloc[0]!r}): write the paths as there.",
            kind="no_such_path",
        )
    elsewhere = len(set(known) - set(rows["path"]))
    notes = [f"{counted(elsewhere, 'label')} of images that are not in the predictions left out."] if elsewhere else []
    return rows.assign(label=found.fillna(rows["label"])), notes


def check_labels(rows: pd.DataFrame, classes: Sequence[str]) -> None:
    """Refuse labels that are no classes of the run."""
    unknown = rows[~rows["label"].isin(["", *classes])]
    if len(unknown):
        first = unknown.iloc[0]
        raise MedclsError(
            f"{first['path']!r} has the label {first['label']!r}, and the classes are {enumerated(classes)}."
            f"{nearest(first['label'], classes)}",
            kind="unknown_label",
        )


def by_date(rows: pd.DataFrame, column: str, period: Period) -> pd.DataFrame:
    """Divide rows into periods by a column of dates, in the order of time.

    Raises
    ------
    MedclsError
        There is no such column, or a cell is no date (ISO 8601, such as 2026-11-30).
    """
    if column not in rows:
        raise MedclsError(
            f"The predictions have no column {column!r}; they have {enumerated(list(map(str, rows)))}."
            f"{nearest(column, map(str, rows))}",
            kind="missing_column",
        )
    dates = pd.to_datetime(rows[column], errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)
    if (wrong := dates.isna()).any():
        first = rows[wrong].iloc[0]
        raise MedclsError(
            f"{column} of {first['path']!r} is {first[column]!r}: give dates as 2026-11-30 (ISO 8601).",
            kind="not_a_date",
        )
    starts = dates.dt.to_period(PERIODS[period]).dt.start_time.dt.strftime("%Y-%m" if period == "month" else "%Y-%m-%d")
    return rows.assign(period=starts).sort_values("period", kind="stable").reset_index(drop=True)


def image_statistics(
    rows: pd.DataFrame, images: Path, reference: Predictions, reference_images: Path, progress: Progress | None = None
) -> tuple[dict[str, tuple[Floats, Floats]], list[str]]:
    """Compute statistics of the new images and of those of the reference, from their files.

    Parameters
    ----------
    rows : DataFrame
        With `path`, relative to `images`, or as `medcls.predict` writes it: absolute, or relative to the folder that
        the command is started in.
    images : Path
        The folder of the new images.
    reference_images : Path
        The folder of its images.
    progress : callable, optional
        See `scan.Progress`.

    Returns
    -------
    statistics : dict
        See `evaluation.monitoring.Watched.statistics`.
    notes : list of str
        Which images could not be read.

    Raises
    ------
    MedclsError
        None of the images can be read.
    """
    scans, notes = [], []
    below = next((root for root in (images, Path()) if any((root / path).is_file() for path in rows["path"])), images)
    for root, paths in ((below, rows["path"]), (reference_images, reference.rows["path"])):
        scan, failures = scan_images(root, paths.tolist(), ScanOptions(progress=progress))
        if scan.empty:
            raise MedclsError(
                f"None of the images can be read below {printable(root)}, such as {paths.iloc[0]!r}: "
                f"{failures[0].reason}. Name the folder of the new images as images=..., the run's as "
                "reference_images=...",
                kind="no_such_file",
            )
        if failures:
            notes.append(f"{counted(len(failures), 'image')} below {printable(root)} could not be read for statistics.")
        scans.append(scan.reindex(paths))  # NaN where it could not be read
    here, there = scans
    return {
        name: (here[column].to_numpy(np.float64), there[column].to_numpy(np.float64))
        for column, name in STATISTICS.items()
    }, notes


def draw(watched: Watched, found: Monitoring, folder: RunFolder, watermark: str | None) -> dict[str, EmbeddedPlot]:
    """Draw each distribution, and a control chart of each share if there are periods.

    Returns
    -------
    dict of str to EmbeddedPlot
        By the name of the distribution or share.
    """
    plots, values = {}, watched.distributions()
    caption = f"{counted(found.images, 'new image')}"
    for number, one in enumerate(found.distributions):
        new, reference = (known[np.isfinite(known)] for known in values[one.name])
        drawn = plot_distribution(new, reference, at_start(one.name), found.reference, caption, watermark)
        _, svg = save(drawn, folder.figures / f"distribution_{number}")
        plots[one.name] = embedded(svg, f"distribution_{number}", at_start(one.name), at_start(f"{one}."))
    if found.periods["period"].nunique() < 2:
        return plots
    for number, share in enumerate(found.shares):
        rows = found.periods[found.periods["name"] == share.name]
        split = found.rates_from if share.is_rate else found.reference
        drawn = plot_control_chart(rows, at_start(share.name), split, caption, watermark)
        _, svg = save(drawn, folder.figures / f"chart_{number}")
        text = (
            f"{at_start(share.name)} by period: {int(rows['outside'].sum())} of {len(rows)} outside the control limits."
        )
        plots[share.name] = embedded(svg, f"chart_{number}", at_start(share.name), text)
    return plots
