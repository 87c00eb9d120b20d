"""Print and write the results of a benchmark."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Median, smallest and largest ratio of the first to the second, of things timed in turn.

    Parameters
    ----------
    pairs : sequence of (float, float)
        In seconds, the slower first: the ratio is how many times as fast the second is.
    """
    ratios = [first / second for first, second in pairs]
    return {"ratio": statistics.median(ratios), "smallest": min(ratios), "largest": max(ratios)}


def report(title: str, conditions: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Print one table, and write it as JSON.

    Parameters
    ----------
    title : str
        What was measured.
    conditions : mapping
        Conditions of all measurements: images, batch, size, threads.
    rows : sequence of mapping
        One for each measurement: `what`, its value (`figure`) and `unit`; if it was timed in turn with another,
        `against` which, and `ratio(...)`.
    out : Path
        The JSON file.
    """
    table = pd.DataFrame(rows)
    print(f"\n{title}\n" + ", ".join(f"{name} {value}" for name, value in conditions.items()))
    print(table.to_string(index=False, float_format=lambda value: f"{value:,.2f}", na_rep=""), flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {"title": title, "conditions": dict(conditions), "rows": list(map(dict, rows))}
    out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
