"""What MLflow is given of a run: settings, metrics with their intervals, files."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medcls.report.anonymous import PATH
from medcls.runs.records import Configuration
from medcls.runs.run_folder import read_json
from medcls.statistics.metric_table import MACRO

# Limits of mlflow/utils/validation.py.
LONGEST_VALUE = 6000
_NOT_IN_NAMES = re.compile(r"[^\w.\- /]")

NO_SETTINGS = ("resume", "trust", "verbose")
"""Of the configuration, what a command was asked to do, which says nothing about the training."""

FILES = ("report.html", "report.md", "metrics.json", "policies.json", "model.txt", "checkpoints/best.ckpt")
SHOWS_IMAGES = ("training_images",)
"""Plots that show images, which `report.images=false` leaves out."""


def name_for(text: str) -> str:
    """Return a name that MLflow accepts: letters, digits, `_.-/` and spaces stay, `<5` becomes `_3c_5`."""
    return _NOT_IN_NAMES.sub(lambda found: f"_{ord(found[0]):x}_", text)


def settings_of(config: Configuration | None) -> dict[str, str]:
    """Return the settings by their dotted names, as text; with `report.paths=hidden` without those that are paths."""
    if config is None:
        return {}
    settings = config.flat().items()
    values = {name_for(name): _as_text(value) for name, value in settings if name not in NO_SETTINGS}
    hidden = config.setting("report.paths") == "hidden"
    return {name: value for name, value in values.items() if not (hidden and PATH.search(value))}


def _as_text(value: Any) -> str:  # noqa: ANN401 - settings have any type
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def results_of_run(folder: Path) -> dict[str, float]:
    """Return each metric of `metrics.json` with its interval.

    Names are `result/test/accuracy`, `result/test/accuracy_low` and `..._high`; of one class `result/test/ill/auroc`,
    of their mean `result/test/mean over classes/auroc`. Undefined values are left out.
    """
    stored = read_json(folder / "metrics.json") or {}
    return {
        name_for(name): float(value)
        for split, content in stored.items()
        if isinstance(content, Mapping) and "intervals" in content
        for name, value in _with_limits(split, content["intervals"])
        if value is not None
    }


def _with_limits(split: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float | None]]:
    for row in rows:
        of_class = "mean over classes" if row["class"] == MACRO else row["class"].replace("/", "_2f_")
        place = "/".join(part for part in ("result", split, of_class) if part)
        for field, ending in (("estimate", ""), ("low", "_low"), ("high", "_high")):
            yield f"{place}/{row['metric']}{ending}", row[field]


def watermark_of_run(folder: Path) -> str:
    """Return what plots and report of a run are marked with (`SYNTHETIC`); empty for nothing."""
    stored = read_json(folder / "metrics.json") or {}
    return " · ".join(stored.get("stamps", ()))


def files_of_run(folder: Path, config: Configuration | None) -> list[Path]:
    """Return the files to store: report, metrics, plots, and the best checkpoint, which `medcls.load` reads.

    The tables of images and predictions stay in the run folder: they name images and patients.
    """
    hidden = config is None or config.setting("report.paths") == "hidden"
    images = config is not None and config.setting("report.images") is not False
    names = FILES if hidden else ("config.yaml", *FILES)
    plots = [plot for plot in sorted((folder / "figures").glob("*.png")) if images or plot.stem not in SHOWS_IMAGES]
    return [*(path for name in names if (path := folder / name).is_file()), *plots]
