"""A search as one self-contained page."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from medcls import __version__
from medcls.evaluation.search import Search, Trial
from medcls.report.pages.layout import day_and_time, environment
from medcls.report.pages.parts import Cell, Row, Sheet
from medcls.report.pages.plots import EmbeddedPlot
from medcls.statistics.digits import rounded

SHORTEST = 5  # significant digits of a setting in a table


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageContent:
    """What the page shows beside the search itself.

    Parameters
    ----------
    name : str
        Of the sweep folder.
    command : str
        As it was typed.
    train, evaluate : str
        The commands that train the best trial again and evaluate it on test; that evaluate its run.
    made : datetime
        With its time zone.
    plots : sequence of EmbeddedPlot
    importance_note : str
        On what the importance is computed from, or why it is not.
    """

    name: str
    command: str
    train: str
    evaluate: str
    made: datetime
    watermark: str | None
    plots: Sequence[EmbeddedPlot]
    importance_note: str


def search_page(found: Search, content: PageContent) -> str:
    """Return the page as HTML."""
    best = found.best
    lead = "No trial is complete." if best is None else f"Best: trial {best.number}, {found.monitor} {_value(best)}"
    return (
        environment(Path(__file__).parent)
        .get_template("search_page.html.jinja")
        .render(
            name=content.name,
            watermark=content.watermark,
            lead=lead,
            counted=f"{found.counts()}.",
            warning=found.warning(),
            best=best,
            settings=None if best is None else _settings_sheet(best),
            trials=_trials_sheet(found),
            failures=[trial for trial in found.trials if trial.reason],
            made=day_and_time(content.made),
            command=content.command,
            train=content.train,
            evaluate=content.evaluate,
            plots=content.plots,
            importance_note=content.importance_note,
            version=__version__,
        )
    )


def short_setting(text: str) -> str:
    """Shorten a number with many digits, such as a learning rate that was drawn, for a table."""
    try:
        number = float(text)
    except ValueError:
        return text
    return text if len(text) <= SHORTEST + 1 else f"{number:.{SHORTEST - 1}g}"


def _value(trial: Trial) -> str:
    return "–" if trial.value is None else rounded(trial.value)


def _settings_sheet(trial: Trial) -> Sheet:
    rows = tuple((Cell(name), Cell(short_setting(text))) for name, text in trial.settings.items())
    return Sheet(("Setting", "Value"), (False, False), rows, headed=True)


def _trials_sheet(found: Search) -> Sheet:
    """List the trials, the best first, and then those without a value."""
    complete = found.ranked
    rows: list[Row] = []
    for trial in [*complete, *(trial for trial in found.trials if trial not in complete)]:
        state = "" if trial.state == "complete" else trial.state
        settings = [short_setting(trial.settings.get(name, "–")) for name in found.names]
        rows.append([str(trial.number), state or _value(trial), *settings])
    columns = ["Trial", found.monitor, *found.names]
    cells = tuple(tuple(Cell(cell) if isinstance(cell, str) else cell for cell in row) for row in rows)
    return Sheet(tuple(columns), (False, *(True for _ in columns[1:])), cells, headed=True)
