"""An audit as plain data, for `audit.json`: all values and rows."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from medcls import __version__
from medcls.auditing.findings import LEVELS, Finding
from medcls.data.manifest import Manifest
from medcls.data.splits.split import split_table


def record(manifest: Manifest, findings: Sequence[Finding]) -> dict[str, Any]:
    """The data set and the findings as lists, dicts, numbers and strings.

    Keys are `medcls` (version), `data`, `levels` (number of findings of each level) and `findings`.
    """
    levels = Counter(finding.level for finding in findings)
    return {
        "medcls": __version__,
        "data": {
            "root": str(manifest.root),
            "images": len(manifest),
            "unreadable": len(manifest.unreadable),
            "classes": list(manifest.classes),
            "positive": manifest.positive,
            "fingerprint": manifest.fingerprint(),
            "stamps": list(manifest.watermarks),
            "notes": list(manifest.notes),
            "splits": records(split_table(manifest)),
        },
        "levels": {level: levels[level] for level in LEVELS},
        "findings": [
            {
                "check": finding.check,
                "level": finding.level,
                "title": finding.title,
                "text": finding.text,
                "values": {name: _plain(value) for name, value in finding.values.items()},
                "table": None if finding.table is None else records(finding.table),
                "pairs": [{"first": p.first, "second": p.second, "caption": p.caption} for p in finding.pairs],
                "images": list(finding.images),
                "exclude": list(finding.exclude),
            }
            for finding in findings
        ],
    }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One dict a row; missing values are None. A named index is a column."""
    columns = with_index(table).astype(object)
    rows = columns.where(columns.notna(), None).to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items()} for row in rows]


def with_index(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its index as its first column, if the index has a name."""
    return table if table.index.name is None else table.reset_index()


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value that a figure can have
    """A NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
