"""The results of a run, an evaluation or an audit in a few lines of HTML, as a notebook shows them."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from medcls.report.pages.layout import environment
from medcls.report.phrases import MetricEstimate, digits
from medcls.runs.records import AuditFinding
from medcls.statistics.metric_table import BY_IDENTIFIER, MACRO, opening
from medcls.wording import counted

# From the most severe on; legible on white and on black.
COLOURS = {"error": "#d0342c", "warning": "#b7791f", "information": "#3b82c4", "good": "#2f8f4e"}

HEIGHT = 640
"""Of a plot, in pixels: twice that of the page, for screens with two pixels in one."""


def key_metrics(split: Mapping[str, Any]) -> list[tuple[str, MetricEstimate]]:
    """Return titles and estimates of the three metrics that open a report.

    Parameters
    ----------
    split : mapping
        A split in `metrics.json`.
    """
    several = bool(split["per_class"])
    decimals = digits(int(split["values"]["n"]))
    found = []
    for identifier in opening("several" if several else "binary"):
        rows = [row for row in split["intervals"] if row["metric"] == identifier]
        row = [row for row in rows if row["class"] in (MACRO, "") or not several][-1]
        value, low, high = (math.nan if row[name] is None else float(row[name]) for name in ("estimate", "low", "high"))
        metric = BY_IDENTIFIER[identifier]
        title = f"{metric.title}, mean over classes" if row["class"] == MACRO else metric.title
        estimate = MetricEstimate(metric, value, low, high, decimals, row["method"], int(row["n"]), row["note"])
        found.append((title, estimate))
    return found


def metrics_card(title: str, split: Mapping[str, Any] | None, watermarks: Sequence[str], plots: Sequence[Path]) -> str:
    """Return the card of a run or an evaluation: its key metrics with their intervals, and plots.

    Parameters
    ----------
    title : str
    split : mapping or None
        The split in `metrics.json` that opens the report; None if nothing was evaluated.
    watermarks : sequence of str
    plots : sequence of Path
        PNG files.
    """
    if split is None:
        return _rendered(title=title, caption="Not evaluated.", watermarks=watermarks)
    notes = []
    if split["threshold"] is not None:
        how = "fitted on other images" if split["threshold_fitted"] else "the default, not fitted"
        notes.append(f"At a threshold of {split['threshold']:.3g}, {how}.")
    elif (baseline := split["values"]["majority_baseline"]) is not None:
        notes.append(f"Always predicting the most frequent class has an accuracy of {baseline:.3f}.")
    return _rendered(
        title=title,
        caption=f"{split['caption'][:1].upper()}{split['caption'][1:]}.",
        keys=key_metrics(split),
        watermarks=watermarks,
        notes=notes,
        plots=[{"name": path.stem.replace("_", " "), "source": _embedded(path)} for path in plots],
        where="Limitations and all other metrics are in the report: .report.open()",
    )


def audit_card(title: str, findings: Sequence[AuditFinding], watermarks: Sequence[str]) -> str:
    """Return the card of an audit: its findings, errors first; checks that found nothing are counted."""
    levels = list(COLOURS)
    shown = sorted(
        (finding for finding in findings if finding.level != "good"), key=lambda one: levels.index(one.level)
    )
    good = len(findings) - len(shown)
    return _rendered(
        title=title,
        watermarks=watermarks,
        findings=shown,
        notes=[f"{counted(good, 'other check')} found nothing."] if good else [],
        where="Explanations and images are on the page: .report.open()",
    )


def _rendered(**values: Any) -> str:  # noqa: ANN401 - values of a template
    lists = ("keys", "watermarks", "notes", "plots", "findings")
    empty = {"caption": "", "where": "", "colours": COLOURS} | {name: [] for name in lists}
    return environment(Path(__file__).parent).get_template("result_card.html.jinja").render(empty | values)


def _embedded(path: Path) -> str:
    """Return a plot as a data URL, made small: a notebook stores all that it shows."""
    with Image.open(path) as image:
        shown = image.convert("RGB").resize(
            (round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.LANCZOS
        )
    file = io.BytesIO()
    shown.quantize(64, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
