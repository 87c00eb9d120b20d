"""Log, tables and progress on the terminal."""

import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tqdm import tqdm

from medcls.errors import MedclsError
from medcls.statistics.digits import rounded

IN_NOTEBOOK = Console().is_jupyter
"""Whether this process is the kernel of a notebook. rich's bars need ipywidgets there, tqdm's do not."""

# In a notebook, lines are printed as into a file: as HTML each would be an output of its own.
console = Console(force_jupyter=False, force_terminal=False) if IN_NOTEBOOK else Console()

UNWRAPPED = 10_000
"""Width of redirected output, so that nothing is wrapped."""

WIDEST_IN_NOTEBOOK = 110
"""Width of a table in a notebook, whose pages break longer lines."""


class TerminalLog(RichHandler):
    """The log on the terminal. Errors of the output are ignored.

    Redirected, each record is one line, so that paths can be copied.
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
        """Ignore a record that cannot be printed."""


def start_log(verbose: bool = False) -> None:
    """Send medcls's log, and every warning, to the terminal.

    Records for debugging go to the run folder's log only.

    Parameters
    ----------
    verbose : bool
        Show records for debugging on the terminal too.

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
    # Lightning's information (devices, packages to install) is in medcls's log or not needed.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    # Internal to Lightning.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    # Of a library that imports tqdm's bars for notebooks and draws none.
    warnings.filterwarnings("ignore", message="IProgress not found")
    logging.captureWarnings(True)
    warned = logging.getLogger("py.warnings")
    warned.handlers = log.handlers
    warned.propagate = False


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a progress bar as a callable with the arguments `done` and `total`."""
    if IN_NOTEBOOK:
        with tqdm(desc=what, leave=False, file=sys.stdout) as notebook_bar:
            yield lambda done, total: _advance(notebook_bar, done, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Redirected, a bar would leave an empty line.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _advance(bar: "tqdm[Any]", done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)


def width() -> dict[str, int]:
    """Return the width for consoles of other libraries: empty on a terminal."""
    return {} if console.is_terminal else {"width": UNWRAPPED}


def show_table(rows: pd.DataFrame, title: str) -> None:
    """Print a table; numbers with three decimals."""
    # Class names may have brackets, which rich takes for markup.
    table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="bold", expand=False)
    for column in rows.columns:
        # On a narrow terminal words are folded, not cut off.
        right = pd.api.types.is_numeric_dtype(rows[column])
        table.add_column(escape(str(column)), justify="right" if right else "left", overflow="fold")
    for row in rows.itertuples(index=False):
        table.add_row(*(_number(cell) if isinstance(cell, float) else escape(str(cell)) for cell in row))
    console.print(table, width=WIDEST_IN_NOTEBOOK if IN_NOTEBOOK else None)


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else rounded(value)


def show_line(text: str) -> None:
    """Print one line without wrapping and markup."""
    if IN_NOTEBOOK:  # above the bar that is being drawn
        tqdm.write(text, file=sys.stdout)
        return
    console.print(text, markup=False, highlight=False, soft_wrap=True)
