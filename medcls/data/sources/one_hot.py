"""Tables with a column for each class, 1 in that of the image and 0 in the others."""

import re
from collections.abc import Sequence

import pandas as pd

from medcls.data.sources.file_search import lines_of
from medcls.data.sources.table_text import check_column, shown
from medcls.errors import MedclsError
from medcls.wording import listed

ZERO_OR_ONE = re.compile(r"([01])([.,]0*)?")


def one_hot_labels(cells: pd.DataFrame, columns: Sequence[str]) -> "pd.Series[str]":
    """The class of each row: the name of the one column with 1; refuse rows with none or several."""
    for name in columns:
        check_column(cells, name, "data.label_column")
    if len(set(columns)) < 2:
        raise MedclsError(
            f"data.label_column is {list(columns)}: give one column, or one for each class.", kind="bad_value"
        )
    ones = pd.DataFrame({name: _ones(cells[name]) for name in columns})
    counts = ones.sum(axis=1)
    if (several := counts.index[counts > 1]).size:
        example = [name for name in columns if ones.loc[several[0], name]]
        raise MedclsError(
            f"{len(several):,} row(s) have 1 in more than one of the columns {shown(columns)} (data.label_column): "
            f"{lines_of(several)}, the first in {' and '.join(example)}. Several labels an image (multi-label) are "
            "out of scope for medcls: leave these images out with data.where, or train one class against the rest, in "
            "a run each.",
            kind="out_of_scope",
        )
    if (none := counts.index[counts == 0]).size:
        raise MedclsError(
            f"{len(none):,} row(s) have 1 in none of the columns {shown(columns)} (data.label_column): "
            f"{lines_of(none)}. Name the column of their class too, or leave them out with data.where.",
            kind="no_label",
        )
    return ones.idxmax(axis=1).astype(str)


def looks_one_hot(cells: pd.DataFrame) -> list[str]:
    """The columns of 0 and 1 with exactly one 1 in each row; empty if there are none."""
    columns = [str(name) for name in cells if cells[name].str.fullmatch(ZERO_OR_ONE.pattern).all()]
    alone = len(columns) > 1 and (pd.DataFrame({name: _ones(cells[name]) for name in columns}).sum(axis=1) == 1).all()
    return columns if alone else []


def _ones(cells: "pd.Series[str]") -> "pd.Series[bool]":
    known = cells.str.fullmatch(ZERO_OR_ONE.pattern)
    if not known.all():
        wrong = [f"line {line}: {cells[line]!r}" for line in cells.index[~known]]
        raise MedclsError(
            f"The column {cells.name} (data.label_column) has cells other than 0 and 1:\n{listed(wrong)}\n"
            "Several columns are one for each class; a column of class names is given alone.",
            kind="bad_cell",
        )
    return cells.str.startswith("1")
