"""Text in tables is never a formula in a spreadsheet, and reads back unchanged."""

import numpy as np
import pandas as pd
import pytest

from medcls.csv_escaping import escape, escaped, unescape, unescaped
from medcls.data.manifest import fingerprint, read_rows
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split
from medcls.evaluation.predictions import from_logits, read_csv

FORMULAS = [
    '=HYPERLINK("http://x","y")',
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=1",
    "''=1",
]
PLAIN = ["", "a", "-1", "+2.5", "-1e-3", "'", "'a", "a=1", "1-2", "正常", "x@y"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_escaped_and_comes_back(text):
    assert escape(text) == f"'{text}" and unescape(escape(text)) == text


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_none_stays_as_it_is(text):
    assert escape(text) == text == unescape(text)


def test_a_table_comes_back_with_its_names_and_numbers():
    table = pd.DataFrame({"=a": [*FORMULAS, *PLAIN], "b": np.linspace(-1, 1, len(FORMULAS + PLAIN))})
    written = escaped(table)
    assert list(written) == ["'=a", "b"] and written["b"].equals(table["b"])
    assert not written["'=a"].str.match(r"[=@\t\r]|[+-][^\d]").any()
    assert unescaped(written).equals(table)
    assert escaped(table[["b"]]).equals(table[["b"]])


def test_classes_that_are_formulas_read_back_from_manifest_and_predictions(folder, tmp_path):
    names = ("=HYPERLINK(1)", "@b")
    manifest = split(from_folders(folder(dict.fromkeys(names, 12)), positive=names[0]))
    (tmp_path / "manifest.csv").write_text(manifest.to_csv(), encoding="utf-8")
    rows = read_rows(tmp_path / "manifest.csv")
    assert rows.equals(manifest.rows.astype(str)) and fingerprint(rows) == manifest.fingerprint()
    logits = np.random.default_rng(0).normal(size=(len(rows), 2))
    table = from_logits(rows.assign(split="test"), np.arange(len(rows)), logits, names, names[0], "0" * 16)
    table.write_csv(tmp_path / "test.csv")
    cells = pd.read_csv(tmp_path / "test.csv", dtype=str, keep_default_na=False).to_numpy().ravel()
    assert not any(str(cell).startswith(("=", "@")) for cell in cells)
    assert read_csv(tmp_path / "test.csv", names[0]).rows.equals(table.rows)
