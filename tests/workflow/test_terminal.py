"""What is printed: what a person must know, the rest on demand; one line a record where it is redirected."""

import io
import logging

import pandas as pd
import pytest
from refusals import refused
from rich.console import Console

from medcls.workflow import terminal

PATH = "/a/" + "long/" * 40 + "run/report.html"


@pytest.fixture
def said(monkeypatch):
    """Call it to log one line of each level, and get what is printed."""
    log = logging.getLogger("medcls")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", log.propagate)
    monkeypatch.setattr(logging.getLogger("py.warnings"), "handlers", [])

    def say(verbose: bool = False, **options: object) -> list[str]:
        file = io.StringIO()
        monkeypatch.setattr(terminal, "console", Console(file=file, **options))
        log.handlers = []
        terminal.start_log(verbose)
        for level, text in ((logging.DEBUG, "threads: 2"), (logging.INFO, PATH), (logging.WARNING, "[a] leak")):
            log.log(level, text)
        terminal.show_table(pd.DataFrame({"a column of a long name": ["x" * 60], "another": ["y" * 60]}), "Table")
        logging.captureWarnings(False)
        return file.getvalue().splitlines()

    return say


def test_redirected_each_record_is_a_line_and_no_table_is_wrapped(said):
    lines = said()
    assert lines[:2] == [f"INFO     {PATH}", "WARNING  [a] leak"]
    assert any("x" * 60 in line and "y" * 60 in line for line in lines)
    assert max(map(len, lines)) < 300, "nothing is filled up to the width"


def test_on_a_terminal_lines_end_where_it_ends(said):
    lines = said(force_terminal=True, color_system=None, width=80)
    assert max(map(len, lines)) <= 80
    assert not any("threads" in line for line in lines)


def test_verbose_shows_the_rest(said):
    assert said(verbose=True)[0] == "DEBUG    threads: 2"
    with refused("bad_value", "verbose", "'very'"):
        said(verbose="very")


def test_redirected_a_progress_bar_leaves_nothing_behind(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=file))
    with terminal.progress("reading images") as progress:
        progress(1, 2)
    assert file.getvalue() == ""
    assert terminal.width() == {"width": terminal.UNWRAPPED}
    monkeypatch.setattr(terminal, "console", Console(file=file, force_terminal=True))
    assert terminal.width() == {}


def test_in_a_notebook_a_bar_is_text_and_wipes_itself_and_lines_stand_above_it(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "IN_NOTEBOOK", True)
    with terminal.progress("reading images") as progress:
        progress(1, 2)
        terminal.show_line("a line")
    # What is seen of a line is what was written over the rest.
    seen = [line.rsplit("\r", 2)[-2:] for line in capsys.readouterr().out.split("\n")]
    assert [part.strip() for part in seen[0]] == ["", "a line"] and "".join(seen[-1]).strip() == ""


def test_in_a_notebook_tables_are_no_wider_than_the_page(monkeypatch):
    monkeypatch.setattr(terminal, "IN_NOTEBOOK", True)
    file = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=file, width=terminal.UNWRAPPED))
    terminal.show_table(pd.DataFrame({"level": ["good"], "finding": ["word " * 60]}), "Findings")
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= terminal.WIDEST_IN_NOTEBOOK and file.getvalue().count("word") == 60
