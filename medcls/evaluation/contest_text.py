"""How a contest reads: its tables, for the terminal and the page, and the page itself in Markdown."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from medcls.evaluation.comparing import WORDS
from medcls.evaluation.contest import AT_A_THRESHOLD, Contest
from medcls.evaluation.thresholds import OperatingPoint

HOW_TO_READ = """\
A difference is first minus second, of the same images. Better is only what both interval and test call better: the
interval leaves out 0, and p, corrected for the number of comparisons (Holm 1979), is below 0.05. The intervals of the
differences are those of each comparison alone. Two figures whose own intervals overlap may still differ for certain:
their errors go together, and the paired comparison knows that. No difference found is no proof that there is none."""


def runs_table(contest: Contest) -> pd.DataFrame:
    """Who takes part: one line each, in text."""
    rows = []
    for one in contest.contestants:
        row = {"classifier": one.name, "settings": one.settings, "place": one.place, "checkpoint": one.table.checkpoint}
        if one.point is not None and set(contest.metrics) & set(AT_A_THRESHOLD):
            row["threshold"] = _origin(one.point)
        rows.append(row)
    return _without_empty(pd.DataFrame(rows))


def figures_table(contest: Contest) -> pd.DataFrame:
    """Each one's own figures: one line a classifier and metric, in text."""
    found = contest.figures
    columns = {
        "classifier": found["name"],
        "metric": _words(found["metric"]),
        "figure (95% interval)": _with_intervals(found, "estimate", ".3f"),
        "n": found["n"].astype(str),
        "method": found["method"],
        "note": found["note"],
    }
    return _without_empty(_metric_in_heading(pd.DataFrame(columns), contest, "figure (95% interval)", ""))


def pairs_table(contest: Contest) -> pd.DataFrame:
    """The comparisons that are shown: one line each, in text."""
    found = contest.shown
    columns = {
        "metric": _words(found["metric"]),
        "first": found["a"],
        "second": found["b"],
        "difference (95% interval)": _with_intervals(found, "difference", "+.3f"),
        "p": [_p(value) for value in found["p"]],
        "p (Holm)": [_p(value) for value in found["p_holm"]],
        "of": found["rows"],
        "method": found["method"],
    }
    table = _metric_in_heading(pd.DataFrame(columns), contest, "difference (95% interval)", "difference in ")
    return table if len(contest.pairs) > 1 else table.drop(columns="p (Holm)")


def shown_note(contest: Contest) -> str:
    """Say which pairs are not shown; empty where all are."""
    if len(contest.shown) == len(contest.pairs):
        return ""
    return (
        f"Shown are the pairs with {contest.contestants[0].name}, the first. All {len(contest.pairs)} comparisons, "
        "which p is corrected for, are in comparison.csv."
    )


def markdown(contest: Contest, origin: str, command: str) -> str:
    """The whole page.

    Parameters
    ----------
    origin : str
        By which version it was made, and when.
    command : str
        By what.
    """
    names = [one.name for one in contest.contestants]
    title = f"{names[0]} against {names[1]}" if len(names) == 2 else f"{len(names)} classifiers"
    parts = [
        f"# {_escaped(title)}: compared on the same images",
        *(f"**{_escaped(stamp)}**" for stamp in contest.stamps),
        *(f"**{_escaped(caution)}**" for caution in contest.cautions),
        *(_escaped(sentence) for sentence in contest.conclusions),
        "\n".join(f"- {_escaped(note)}" for note in contest.notes),
        "## Who, on what",
        f"Images: {_escaped(contest.caption)}.",
        _table(runs_table(contest)),
        "## Each on its own",
        _table(figures_table(contest)),
        "## Against each other",
        _escaped(shown_note(contest)),
        _table(pairs_table(contest)),
        HOW_TO_READ,
        f"Research use, not a medical device. {_escaped(origin)} by",
        f"    {command}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _origin(point: OperatingPoint) -> str:
    """A threshold in a cell; its interval is in comparison.json."""
    if not point.n:
        return point.label()
    return f"{point.threshold:.3f} ({point.policy} on {point.split or 'an unnamed split'}, n = {point.n})"


def _words(metrics: Iterable[str]) -> list[str]:
    return [WORDS.get(metric, metric) for metric in metrics]


def _metric_in_heading(table: pd.DataFrame, contest: Contest, column: str, before: str) -> pd.DataFrame:
    """The same without a column that says one thing all the way down."""
    if len(contest.metrics) > 1:
        return table
    return table.drop(columns="metric").rename(columns={column: f"{before}{_words(contest.metrics)[0]} (95% interval)"})


def _with_intervals(found: pd.DataFrame, column: str, form: str) -> list[str]:
    told = []
    for value, low, high in found[[column, "low", "high"]].to_numpy().tolist():
        limits = "" if pd.isna(low) else f" ({low:{form}} to {high:{form}})"
        told.append("undefined" if pd.isna(value) else f"{value:{form}}{limits}")
    return told


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
