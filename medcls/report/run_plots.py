"""Which figures an assessment gets, and what each of them shows, in words."""

import hashlib
import inspect
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.subgroups import Subgroups
from medcls.plots.curves import (
    PlottedScores,
    plot_decision_curve,
    plot_forest,
    plot_precision_recall,
    plot_rejection,
    plot_reliability,
    plot_roc,
    plot_scores,
)
from medcls.plots.drawing import save
from medcls.plots.plots import plot_confusion
from medcls.report.sources import Drawn

# What a reader of subgroups looks at first, in each kind of task.
OF_SUBGROUPS = "auroc"

_Plan = tuple[str, str, str, Callable[[], Figure]]
"""Name, title and text of a figure, and what makes it."""


Plot = Callable[[Assessment], Figure]
"""A plot of one's own. Its name is the function's; the first line of its docstring says what it shows."""


def draw(
    one: Assessment,
    folder: Path,
    watermark: str | None,
    *,
    seed: int = 0,
    only: Collection[str] | None = None,
    plots: Sequence[Plot] = (),
) -> list[Drawn]:
    """Draw an assessment's figures into a folder, as PNG and SVG.

    Parameters
    ----------
    one : Assessment
    folder : Path
    watermark : str or None
        What must stand on every figure of these images.
    seed : int
        Of the bands.
    only : collection of str, optional
        Which of `confusion`, `scores`, `roc`, `precision_recall`, `reliability`, `decision`, `rejection`; without it
        all that the task has, and one for each subgroup column. A binary task alone has `scores` and `decision`.
    plots : sequence of Plot
        Plots beside these, after them.

    Returns
    -------
    list of Drawn
        In the order to be read.
    """
    split = one.table.name
    drawn = []
    for name, title, text, make in [*_figures(one, watermark, seed), *(_of_ones_own(plot, one) for plot in plots)]:
        if only is None or name in only:
            drawn.append(Drawn(f"{name}_{split}", title, text, save(make(), folder / f"{name}_{split}")[1]))
    return drawn


def _of_ones_own(plot: Plot, one: Assessment) -> _Plan:
    name = _as_a_file_name(plot.__name__)
    said = (inspect.getdoc(plot) or "").partition("\n")[0]
    return name, name.replace("_", " ").capitalize(), said, lambda: plot(one)


def _figures(one: Assessment, watermark: str | None, seed: int) -> list[_Plan]:
    """Plan each figure, in the order to be read."""
    table, caption, point = one.table, one.table.caption(), one.decision_rules.operating_point
    scores = PlottedScores(table.to_split(), caption, watermark, point)
    at = "" if point is None else f" at the operating point, {point.label()}"
    sure = "probability" if table.positive is not None else "confidence"
    plots: list[_Plan] = [
        (
            "confusion",
            "Confusion matrix",
            f"How many images of each true class (rows) were called what (columns){at}, and their share of the row.",
            lambda: plot_confusion(one.metrics.confusion, table.classes, caption, watermark),
        )
    ]
    if table.positive is not None:
        plots.append(_of_scores(scores))
    plots += [
        (
            "roc",
            "ROC curve",
            "Sensitivity against false alarms at every threshold. A curve in the upper left corner tells the classes "
            "apart; the diagonal is chance.",
            lambda: plot_roc(scores, seed=seed),
        ),
        (
            "precision_recall",
            "Precision and recall",
            "Of those called positive, how many are (precision), against how many of the positive are found (recall). "
            "The dashed line is what calling at random gives: the prevalence.",
            lambda: plot_precision_recall(scores, seed=seed),
        ),
        (
            "reliability",
            "Reliability",
            f"Whether a {sure} means what it says: how often it came true, as a smooth curve (splines of the log odds) "
            "with its 95% band, and in bins. On the diagonal it is as it should be; the bars below count the images.",
            lambda: plot_reliability(
                one.reliability_before,
                one.reliability,
                table.positive,
                caption,
                watermark,
                curve=one.curve,
                curve_before=one.curve_before,
            ),
        ),
    ]
    if one.decisions is not None and table.positive is not None:
        plots.append(_of_decisions(one, one.decisions, table.positive, watermark))
    plots.append(
        (
            "rejection",
            "Referring the least certain",
            "How the images fare that are kept, as more and more of the least certain are referred to a person.",
            lambda: plot_rejection(one.rejection, caption, watermark),
        )
    )
    return plots + [_of_subgroups(one, groups_of, watermark) for groups_of in one.subgroups]


def _of_scores(scores: PlottedScores) -> _Plan:
    called = (
        ""
        if scores.operating_point is None
        else " The dashed line is the threshold: what lies to its right is called positive."
    )
    return (
        "scores",
        "Scores by class",
        "How the predicted probability of the positive class is spread over the images that are positive (above) and "
        f"over those that are not (below), each on a scale of its own. The less the two overlap, the better.{called}",
        lambda: plot_scores(scores),
    )


def _of_decisions(one: Assessment, curve: pd.DataFrame, positive: str, watermark: str | None) -> _Plan:
    point = one.decision_rules.operating_point
    threshold = None if point is None else point.threshold
    if one.benefit is not None and curve["threshold"].min() <= one.benefit["threshold"] <= curve["threshold"].max():
        # With a row of its own the mark and its limits are those that the tables tell, not what lies between two rows.
        curve = pd.concat([curve, one.benefit.to_frame().T], ignore_index=True).sort_values("threshold")
    return (
        "decision",
        "Decision curve",
        "Net benefit of acting on the classifier, against treating everybody and nobody, for every probability "
        "at which a person would act. It is of use where its line is the highest; the band says how sure that line is.",
        lambda: plot_decision_curve(curve, positive, one.table.caption(), watermark, threshold=threshold),
    )


def _as_a_file_name(column: str) -> str:
    """A column's name without what would lead to another folder, and still no other column's."""
    plain = re.sub(r"[^\w .-]", "_", column)
    return plain if plain == column else f"{plain}-{hashlib.blake2b(column.encode(), digest_size=4).hexdigest()}"


def _of_subgroups(one: Assessment, of: Subgroups, watermark: str | None) -> _Plan:
    table = of.table()
    rows = table[table["metric"] == OF_SUBGROUPS].rename(columns={"group": "name", "value": "estimate"})
    overall = one.metrics.values[OF_SUBGROUPS]
    return (
        f"subgroups_{_as_a_file_name(of.column)}",
        f"AUROC by {of.column}",
        f"The AUROC of each group by {of.column}, with its 95% interval; the line is all images. Small groups have "
        "wide intervals.",
        lambda: plot_forest(pd.DataFrame(rows), "AUROC", overall, one.table.caption(), watermark),
    )
