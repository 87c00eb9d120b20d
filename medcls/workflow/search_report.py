"""What a search found: read from its study and its run folders, written as a page and tables."""

import dataclasses
import logging
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from medcls import __version__
from medcls.csv_escaping import escaped
from medcls.evaluation.search import Search, Trial
from medcls.plots.drawing import save
from medcls.plots.search_plots import plot_history, plot_importance
from medcls.report.pages.plots import EmbeddedPlot, embedded
from medcls.report.search_page import PageContent, search_page
from medcls.runs.run_folder import RunFolder, read_json
from medcls.wording import counted

log = logging.getLogger(__name__)

FEWEST_FOR_IMPORTANCE = 10
"""Complete trials from which the importance is computed."""

INTERVAL_WIDTH = 2 * 1.959964  # of 95%, in standard errors

FAILURE = "failure of trial "
"""Attributes of a study whose names begin so say why a trial failed. One that has none was interrupted."""


@dataclasses.dataclass(frozen=True)
class Commands:
    """Commands for the page: as typed, to train the best trial and evaluate it on test, and to evaluate its run."""

    typed: str
    train: str
    evaluate: str


def as_typed(value: object) -> str:
    """A value that a sampler chose, in Hydra's grammar."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def read_search(study: optuna.Study, monitor: str, folder: Path) -> Search:
    """Read the trials of a study, the importance of the settings, and the standard error of the best metric.

    Parameters
    ----------
    folder : Path
        The sweep folder, with a run folder for each trial, named by its number.
    """
    trials = tuple(
        _trial(one, str(study.user_attrs.get(f"{FAILURE}{one.number}", ""))) for one in study.get_trials(deepcopy=False)
    )
    maximise = study.direction == optuna.study.StudyDirection.MAXIMIZE
    found = Search(monitor, maximise, trials, _importance(study))
    error = None if found.best is None else standard_error(folder / str(found.best.number), monitor)
    return dataclasses.replace(found, standard_error=error)


def _trial(one: optuna.trial.FrozenTrial, reason: str) -> Trial:
    complete = one.state == optuna.trial.TrialState.COMPLETE
    return Trial(
        one.number,
        "complete" if complete else "failed" if reason else "interrupted",
        one.value if complete else None,
        {name: as_typed(value) for name, value in one.params.items()},
        reason,
    )


def _importance(study: optuna.Study) -> dict[str, float] | None:
    """The importance of the settings; None with too few trials, or if all are equal."""
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < FEWEST_FOR_IMPORTANCE or len({one.value for one in complete}) < 2:
        return None
    # Optuna's default, fANOVA, does not work with NumPy 2 in the version that Hydra's plugin needs.
    evaluator = optuna.importance.MeanDecreaseImpurityImportanceEvaluator(seed=0)
    shares: dict[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}


def standard_error(run: Path, monitor: str) -> float | None:
    """The standard error of a metric of val, from its 95% interval in a run folder; None if there is none."""
    split, _, metric = monitor.partition("/")
    stored = (read_json(run / "metrics.json") or {}).get(split) or {}
    for row in stored.get("intervals", ()):
        if row["metric"] == metric and row["low"] is not None and row["high"] is not None:
            return float(row["high"] - row["low"]) / INTERVAL_WIDTH
    return None


def watermark_of(run: Path) -> str | None:
    """The watermarks of a run, such as SYNTHETIC."""
    stored = read_json(run / "metrics.json") or {}
    return " · ".join(stored.get("stamps") or ()) or None


def write_search(found: Search, folder: RunFolder, commands: Commands) -> Path:
    """Write `search.html`, `search.json`, `trials.csv` and the plots into the sweep folder; return the page."""
    made = datetime.now().astimezone()
    best = found.best
    watermark = None if best is None else watermark_of(folder.path / str(best.number))
    folder.write_text("trials.csv", escaped(found.table()).to_csv(index=False, lineterminator="\n"))
    origin = {"medcls": __version__, "made": made.isoformat(timespec="seconds"), "stamps": watermark}
    summary: dict[str, Any] = {
        "monitor": found.monitor,
        "best": None if best is None else dataclasses.asdict(best),
        "counts": found.counts(),
        "warning": found.warning(),
        "excess": found.excess,
        "importance": found.importance,
        "commands": dataclasses.asdict(commands),
    }
    folder.write_json("search.json", origin | summary)
    content = PageContent(
        name=folder.path.name,
        command=commands.typed,
        train=commands.train,
        evaluate=commands.evaluate,
        made=made,
        watermark=watermark,
        plots=_draw(found, folder, watermark),
        importance_note=_importance_note(found),
    )
    return folder.write_text("search.html", search_page(found, content))


def _draw(found: Search, folder: RunFolder, watermark: str | None) -> list[EmbeddedPlot]:
    numbers = np.array([trial.number for trial in found.trials], dtype=np.float64)
    values = np.array([math.nan if trial.value is None else trial.value for trial in found.trials])
    plots = []
    if found.best is not None:
        drawn = plot_history(
            numbers, values, found.monitor, found.counts(), maximise=found.maximise, watermark=watermark
        )
        _, svg = save(drawn, folder.figures / "search_history")
        text = f"The metric {found.monitor} of each trial in its best epoch, and the best so far; {found.counts()}."
        plots.append(embedded(svg, "search_history", "History", text))
    if found.importance is not None:
        complete = counted(len(found.in_state("complete")), "complete trial")
        drawn = plot_importance(found.importance, f"Mean decrease in impurity, {complete}", watermark)
        _, svg = save(drawn, folder.figures / "search_importance")
        text = f"Importance of each setting for {found.monitor}; {complete}."
        plots.append(embedded(svg, "search_importance", "Importance", text))
    return plots


def _importance_note(found: Search) -> str:
    if found.importance is None:
        return (
            f"The importance of the settings needs {FEWEST_FOR_IMPORTANCE} complete trials with different metrics: "
            f"there are {len(found.in_state('complete'))} complete."
        )
    return (
        "Importance: how much a random forest that predicts the metric from the settings gains by each (mean decrease "
        "in impurity, in shares of 1). It holds within the ranges that were searched, and is rough with few trials; "
        "settings that do not matter have some too."
    )
