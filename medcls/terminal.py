"""What a person sees while a run goes on."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pandas as pd
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

console = Console()


class TerminalLog(RichHandler):
    """The log on the terminal: a line that cannot be shown is lost, and nothing else is."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Go on without: a stack trace in the middle would say less than the line did."""


def start_log() -> None:
    """Send medcls's log, and every warning, to the terminal."""
    log = logging.getLogger("medcls")
    log.setLevel(logging.INFO)
    log.propagate = False
    if not any(isinstance(handler, RichHandler) for handler in log.handlers):
        log.addHandler(
            TerminalLog(console=console, show_path=False, show_level=True, omit_repeated_times=True, highlighter=None)
        )
    # Lightning's own news (which devices there are, what else one could install) stands in our lines or is not news.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    # Of Lightning's inner workings; whoever runs medcls can do nothing about it.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    logging.captureWarnings(True)
    warned = logging.getLogger("py.warnings")
    warned.handlers = log.handlers
    warned.propagate = False


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar as a callable that takes what is done and what there is in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show_table(rows: pd.DataFrame, title: str) -> None:
    """Print a table; shares and figures with three decimals."""
    # Class names are text, whatever brackets they hold.
    table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="bold", expand=False)
    for column in rows.columns:
        # Where a terminal is too narrow for a word it goes on below, and is not cut off.
        right = pd.api.types.is_numeric_dtype(rows[column])
        table.add_column(escape(str(column)), justify="right" if right else "left", overflow="fold")
    for row in rows.itertuples(index=False):
        table.add_row(*(_figure(cell) if isinstance(cell, float) else escape(str(cell)) for cell in row))
    console.print(table)


def _figure(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def show_line(text: str) -> None:
    """Print one line to be copied: never wrapped, and no bracket in it taken for markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
