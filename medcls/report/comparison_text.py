"""The text of a comparison: its tables, for the terminal and the page, and the page in Markdown."""

import itertools
from collections.abc import Iterable, Sequence

import pandas as pd

from medcls.evaluation.comparing import WORDS, ModelComparison, measuring
from medcls.evaluation.estimates import split_name
from medcls.evaluation.thresholds import OperatingPoint
from medcls.report.pages.layout import escape_markdown
from medcls.statistics.digits import rounded
from medcls.wording import at_start

HOW_TO_READ = """\
A difference is the first minus the second, on the same images. One is called better only if the 95% interval excludes 0
and p, corrected for the number of comparisons (Holm 1979), is below 0.05. Intervals of differences are not corrected.
Two classifiers can differ significantly although their own intervals overlap, since the comparison is paired. A
difference that is not significant does not show that there is none."""


HOW_TO_READ_FOLDS = """\
A difference is the first minus the second, on the same fold with the same seed; each run is evaluated at its own
operating point, on the images that it held out. Test and interval are the corrected resampled t test (Nadeau and Bengio
2003); p is corrected for the number of comparisons (Holm 1979). One is called better only if both agree. A difference
that is not significant does not show that there is none."""


def tables(found: ModelComparison) -> dict[str, pd.DataFrame]:
    """Return the tables of a comparison by their headings, in the order of the page."""
    if found.kind == "cross_validations":
        shown = {"Cross-validations": repeated_table(found), "Metrics by run": folds_table(found)}
    else:
        shown = {"Classifiers": runs_table(found), "Metrics": metrics_table(found)}
    shown["Comparisons"] = pairs_table(found)
    if found.margins is not None:
        shown["Non-inferiority"] = margins_table(found.margins)
    return shown


def repeated_table(found: ModelComparison) -> pd.DataFrame:
    """List the cross-validations, one row each."""
    rows = [
        {"name": one["name"], "settings": one["settings"], "place": one["place"], "runs": str(len(one["checkpoints"]))}
        for one in found.described
    ]
    return _without_empty(pd.DataFrame(rows))


def folds_table(found: ModelComparison) -> pd.DataFrame:
    """List the metrics of all models, one row for each metric and run."""
    estimates = found.estimates
    rows = []
    for (metric, seed, fold), of in estimates.groupby(["metric", "seed", "fold"], sort=False):
        row = {"metric": WORDS[str(metric)], "seed": str(seed), "fold": str(fold)}
        values = dict(zip(of["name"], of["estimate"].tolist(), strict=True))
        row |= {name: "undefined" if pd.isna(value) else rounded(value) for name, value in values.items()}
        rows.append(row | {"n": str(of["n"].iloc[0])})
    return _without_empty(pd.DataFrame(rows))


def margins_table(margins: pd.DataFrame) -> pd.DataFrame:
    """List the differences and the margin."""
    limits = zip(margins["gain"], margins["worst"], margins["best"], strict=True)
    return pd.DataFrame(
        {
            "metric": _words(margins["metric"]),
            "model": margins["a"],
            "reference": margins["b"],
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
    """List the classifiers, one row each."""
    rows = []
    for one in comparison.described:
        row = {"classifier": one["name"], **{name: one[name] for name in ("settings", "place", "checkpoint")}}
        if one["operating_point"] is not None and measuring(comparison.question.metrics, "decisions"):
            row["threshold"] = _origin(OperatingPoint.from_plain(one["operating_point"]))
        rows.append(row)
    return _without_empty(pd.DataFrame(rows))


def metrics_table(comparison: ModelComparison) -> pd.DataFrame:
    """List the metrics of each classifier, one row for each classifier and metric."""
    found = comparison.estimates
    columns = {
        "classifier": found["name"],
        "metric": _words(found["metric"]),
        "estimate (95% interval)": _with_intervals(found, "estimate", ".3f"),
        "n": found["n"].astype(str),
        "method": found["method"],
        "note": found["note"],
    }
    return _without_empty(_metric_in_heading(pd.DataFrame(columns), comparison, "estimate (95% interval)", ""))


def pairs_table(comparison: ModelComparison) -> pd.DataFrame:
    """List the comparisons that are shown, one row each."""
    found = comparison.shown
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


def shown_note(comparison: ModelComparison) -> str:
    """Describe which pairs are not shown; empty if all are."""
    if len(comparison.shown) == len(comparison.pairs):
        return ""
    return (
        f"This table has the comparisons with {comparison.names[0]}, the first. All {len(comparison.pairs)}, for "
        "which p is corrected, are in comparison.csv."
    )


def markdown(comparison: ModelComparison, origin: str, command: str) -> str:
    """Return the whole page.

    Parameters
    ----------
    comparison : ModelComparison
    origin : str
        Version of medcls, and time.
    command : str
        The command line.
    """
    names = comparison.names
    repeated = comparison.kind == "cross_validations"
    kind = "cross-validations" if repeated else "classifiers"
    title = f"{names[0]} and {names[1]}" if len(names) == 2 else f"{len(names)} {kind}"
    shown = tables(comparison)
    first, *others = shown
    parts = [
        f"# {escape_markdown(title)}: compared on the same images",
        *(f"**{escape_markdown(watermark)}**" for watermark in comparison.watermarks),
        *(f"**{escape_markdown(caution)}**" for caution in comparison.cautions),
        *(escape_markdown(sentence) for sentence in comparison.conclusions),
        "\n".join(f"- {escape_markdown(note)}" for note in comparison.notes),
        f"## {at_start(kind)}",
        f"Images: {escape_markdown(comparison.caption)}.",
        _table(shown[first]),
        *itertools.chain.from_iterable(
            (
                f"## {heading}",
                escape_markdown(shown_note(comparison)) if heading == "Comparisons" else "",
                _table(shown[heading]),
            )
            for heading in others
        ),
        HOW_TO_READ_FOLDS if repeated else HOW_TO_READ,
        f"Research use, not a medical device. {escape_markdown(origin)}. Command:",
        f"    {command}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _origin(point: OperatingPoint) -> str:
    """Describe a threshold in a cell; its interval is in comparison.json."""
    if not point.n:
        return point.label()
    return f"{point.shown} ({point.criterion_shown} on {split_name(point.split)}, n = {point.n})"


def _words(metrics: Iterable[str]) -> list[str]:
    return [WORDS[metric] for metric in metrics]


def _metric_in_heading(table: pd.DataFrame, comparison: ModelComparison, column: str, before: str) -> pd.DataFrame:
    """Drop the column `metric` if there is only one, and name it in the heading."""
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
    return "" if pd.isna(value) else "< 0.001" if value < 0.001 else rounded(value)


def _without_empty(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[:, (table != "").any()]


def _table(table: pd.DataFrame) -> str:
    lines: list[Sequence[str]] = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    cells = [[cell if cell == "---" else escape_markdown(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
