"""How a benchmark tells what it measured: the same for all of them."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path


def spread(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Median, smallest and largest ratio of two things timed in turn, the slower first."""
    ratios = [slow / fast for slow, fast in pairs]
    return {
        "ratio, median": statistics.median(ratios),
        "ratio, smallest": min(ratios),
        "ratio, largest": max(ratios),
    }


def report(result: Mapping[str, str | float], out: Path) -> None:
    """Print the figures, one a line, and write them as JSON."""
    width = max(map(len, result))
    for name, value in result.items():
        shown = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        print(f"{name:{width}} {shown}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
