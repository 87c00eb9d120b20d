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

from medcls.errors import MedclsError

console = Console()


# Columns where nobody looks on, but a file or another program takes what is printed: nothing is wrapped there.
UNWRAPPED = 10_000


class TerminalLog(RichHandler):
    """The log on the terminal: a line that cannot be shown is lost, and nothing else is.

    Redirected, each record is one line, so that the paths in it can be copied.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        if self.console.is_terminal:
            super().emit(record)
            return
        try:
            show_line(f"{record.levelname:<8} {self.format(record)}")
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Go on without: a stack trace in the middle would say less than the line did."""


def start_log(verbose: bool = False) -> None:
    """Send medcls's log, and every warning, to the terminal.

    Two levels: what a person must know, which is logged as information or a warning, and the rest, logged for
    debugging, which goes into the run folder's log alone.

    Parameters
    ----------
    verbose : bool
        Show the rest on the terminal too.

    Raises
    ------
    MedclsError
        `verbose` is neither true nor false.
    """
    if not isinstance(verbose, bool):
        raise MedclsError(f"verbose is {verbose!r}: give true or false.", kind="bad_value")
    log = logging.getLogger("medcls")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    shown = next((handler for handler in log.handlers if isinstance(handler, TerminalLog)), None)
    if shown is None:
        shown = TerminalLog(
            console=console, show_path=False, show_level=True, omit_repeated_times=True, highlighter=None
        )
        log.addHandler(shown)
    shown.setLevel(logging.DEBUG if verbose else logging.INFO)
    if not console.is_terminal:
        console.width = UNWRAPPED
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
    # Redirected, a bar would leave an empty line behind.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def width() -> dict[str, int]:
    """What makes a console of another library as wide as ours: nothing on a terminal."""
    return {} if console.is_terminal else {"width": UNWRAPPED}


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
