"""How a comparison reads: its tables, for the terminal and the page, and the page itself in Markdown."""

import itertools
import re
from collections.abc import Iterable, Sequence

import pandas as pd

from medcls.evaluation.comparing import WORDS, measuring
from medcls.evaluation.cross_validations import Repeated
from medcls.evaluation.model_comparison import ModelComparison
from medcls.evaluation.thresholds import OperatingPoint

HOW_TO_READ = """\
A difference is first minus second, of the same images. Better is only what both interval and test call better: the
interval leaves out 0, and p, corrected for the number of comparisons (Holm 1979), is below 0.05. The intervals of the
differences are those of each comparison alone. Two figures whose own intervals overlap may still differ for certain:
their errors go together, and the paired comparison knows that. No difference found is no proof that there is none."""


HOW_TO_READ_FOLDS = """\
A difference is first minus second, of the same fold of the same seed; each run is judged at its own operating point, on
images that it held out. Test and interval are the corrected resampled t test (Nadeau and Bengio 2003); p is corrected
for the number of comparisons (Holm 1979). Better is only what both call better. No difference found is no proof that
there is none."""


def tables(found: ModelComparison | Repeated) -> dict[str, pd.DataFrame]:
    """The tables of a comparison by their headings, in the order to be read."""
    if isinstance(found, Repeated):
        shown = {"Cross-validations": repeated_table(found), "Run by run": folds_table(found)}
    else:
        shown = {"Classifiers": runs_table(found), "Each on its own": figures_table(found)}
    shown["Against each other"] = pairs_table(found)
    if found.margins is not None:
        shown["Against the margin"] = margins_table(found.margins)
    return shown


def repeated_table(found: Repeated) -> pd.DataFrame:
    """Which cross-validations are compared: one line each, in text."""
    rows = [
        {"name": one.name, "settings": one.settings, "place": one.place, "runs": str(len(one.folds))}
        for one in found.models
    ]
    return _without_empty(pd.DataFrame(rows))


def folds_table(found: Repeated) -> pd.DataFrame:
    """Each run's figures beside each other: one line a metric and run, in text."""
    estimates = found.estimates
    rows = []
    for (metric, seed, fold), of in estimates.groupby(["metric", "seed", "fold"], sort=False):
        row = {"metric": WORDS[str(metric)], "seed": str(seed), "fold": str(fold)}
        values = dict(zip(of["name"], of["estimate"].tolist(), strict=True))
        row |= {name: "undefined" if pd.isna(value) else f"{value:.3f}" for name, value in values.items()}
        rows.append(row | {"n": str(of["n"].iloc[0])})
    return _without_empty(pd.DataFrame(rows))


def margins_table(margins: pd.DataFrame) -> pd.DataFrame:
    """Differences held against a margin, in text."""
    limits = zip(margins["gain"], margins["worst"], margins["best"], strict=True)
    return pd.DataFrame(
        {
            "metric": _words(margins["metric"]),
            "in question": margins["a"],
            "held against": margins["b"],
            "better by (95% interval)": [
                f"{gain:+.3f}" if pd.isna(worst) else f"{gain:+.3f} ({worst:+.3f} to {best:+.3f})"
                for gain, worst, best in limits
            ],
            "margin": [f"{margin:g}" for margin in margins["margin"]],
            "p, one-sided": [_p(value) for value in margins["p"]],
            "p (Holm)": [_p(value) for value in margins["p_holm"]],
        }
    )


def runs_table(comparison: ModelComparison) -> pd.DataFrame:
    """Who takes part: one line each, in text."""
    rows = []
    for one in comparison.models:
        row = {"classifier": one.name, "settings": one.settings, "place": one.place, "checkpoint": one.table.checkpoint}
        if one.point is not None and measuring(comparison.metrics, "decisions"):
            row["threshold"] = _origin(one.point)
        rows.append(row)
    return _without_empty(pd.DataFrame(rows))


def figures_table(comparison: ModelComparison) -> pd.DataFrame:
    """Each one's own figures: one line a classifier and metric, in text."""
    found = comparison.estimates
    columns = {
        "classifier": found["name"],
        "metric": _words(found["metric"]),
        "figure (95% interval)": _with_intervals(found, "estimate", ".3f"),
        "n": found["n"].astype(str),
        "method": found["method"],
        "note": found["note"],
    }
    return _without_empty(_metric_in_heading(pd.DataFrame(columns), comparison, "figure (95% interval)", ""))


def pairs_table(comparison: ModelComparison | Repeated) -> pd.DataFrame:
    """The comparisons that are shown: one line each, in text."""
    found = comparison.pairs if isinstance(comparison, Repeated) else comparison.shown
    columns = {
        "metric": _words(found["metric"]),
        "first": found["a"],
        "second": found["b"],
        "difference (95% interval)": _with_intervals(found, "difference", "+.3f"),
        "p": [_p(value) for value in found["p"]],
        "p (Holm)": [_p(value) for value in found["p_holm"]],
        "of": found.get("rows", ""),
        "method": found["method"],
    }
    table = _without_empty(pd.DataFrame(columns))
    table = _metric_in_heading(table, comparison, "difference (95% interval)", "difference in ")
    return table if len(comparison.pairs) > 1 else table.drop(columns="p (Holm)", errors="ignore")


def shown_note(comparison: ModelComparison | Repeated) -> str:
    """Say which pairs are not shown; empty where all are."""
    if isinstance(comparison, Repeated) or len(comparison.shown) == len(comparison.pairs):
        return ""
    return (
        f"Shown are the pairs with {comparison.models[0].name}, the first. All {len(comparison.pairs)} comparisons, "
        "which p is corrected for, are in comparison.csv."
    )


def markdown(comparison: ModelComparison | Repeated, origin: str, command: str) -> str:
    """The whole page.

    Parameters
    ----------
    origin : str
        By which version it was made, and when.
    command : str
        By what.
    """
    names = [one.name for one in comparison.models]
    repeated = isinstance(comparison, Repeated)
    of = "cross-validations" if repeated else "classifiers"
    title = f"{names[0]} against {names[1]}" if len(names) == 2 else f"{len(names)} {of}"
    shown = tables(comparison)
    first, *others = shown
    parts = [
        f"# {_escaped(title)}: compared on the same images",
        *(f"**{_escaped(watermark)}**" for watermark in comparison.watermarks),
        *(f"**{_escaped(caution)}**" for caution in comparison.cautions),
        *(_escaped(sentence) for sentence in comparison.conclusions),
        "\n".join(f"- {_escaped(note)}" for note in comparison.notes),
        "## Who, on what",
        f"Images: {_escaped(comparison.caption)}.",
        _table(shown[first]),
        *itertools.chain.from_iterable(
            (
                f"## {heading}",
                _escaped(shown_note(comparison)) if heading == "Against each other" else "",
                _table(shown[heading]),
            )
            for heading in others
        ),
        HOW_TO_READ_FOLDS if repeated else HOW_TO_READ,
        f"Research use, not a medical device. {_escaped(origin)} by",
        f"    {command}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _origin(point: OperatingPoint) -> str:
    """A threshold in a cell; its interval is in comparison.json."""
    if not point.n:
        return point.label()
    return f"{point.shown} ({point.criterion} on {point.split or 'an unnamed split'}, n = {point.n})"


def _words(metrics: Iterable[str]) -> list[str]:
    return [WORDS[metric] for metric in metrics]


def _metric_in_heading(
    table: pd.DataFrame, comparison: ModelComparison | Repeated, column: str, before: str
) -> pd.DataFrame:
    """The same without a column that says one thing all the way down."""
    if len(comparison.question.metrics) > 1:
        return table
    heading = f"{before}{_words(comparison.question.metrics)[0]} (95% interval)"
    return table.drop(columns="metric").rename(columns={column: heading})


def _with_intervals(found: pd.DataFrame, column: str, form: str) -> list[str]:
    shown = []
    for value, low, high in found[[column, "low", "high"]].to_numpy().tolist():
        limits = "" if pd.isna(low) else f" ({low:{form}} to {high:{form}})"
        shown.append("undefined" if pd.isna(value) else f"{value:{form}}{limits}")
    return shown


def _p(value: float) -> str:
    return "" if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _without_empty(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[:, (table != "").any()]


def _table(table: pd.DataFrame) -> str:
    lines: list[Sequence[str]] = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    cells = [[cell if cell == "---" else _escaped(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it stands, whatever is in the names of classes and folders."""
    return re.sub(r"[\\`*|\[]|<(?=[A-Za-z/!?])|^[#>]|(?<!\w)_|_(?!\w)", r"\\\g<0>", " ".join(text.split()))
