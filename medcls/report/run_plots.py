"""The plots of an assessment, with titles and captions."""

import dataclasses
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

SUBGROUP_METRIC = "auroc"
"""Shown for each subgroup."""

Plot = Callable[[Assessment], Figure]
"""A plot from outside medcls: the function's name becomes the title, the first line of its docstring the caption."""


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A plot to draw: name, title, caption, and the function that draws it."""

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]


def draw(
    assessment: Assessment,
    folder: Path,
    watermark: str | None,
    *,
    seed: int = 0,
    only: Collection[str] | None = None,
    plots: Sequence[Plot] = (),
) -> list[Drawn]:
    """Draw the plots of an assessment into a folder, as PNG and SVG.

    Parameters
    ----------
    watermark : str or None
        Written on every plot.
    seed : int
        For the confidence bands.
    only : collection of str, optional
        Some of `confusion`, `scores`, `roc`, `precision_recall`, `reliability`, `decision`, `rejection`; by default all
        that the task has, and one for each subgroup column. `scores` and `decision` need a binary task.
    plots : sequence of Plot
        Further plots.

    Returns
    -------
    list of Drawn
        In the order of the report.
    """
    split = assessment.table.name
    plans = [*_plans(assessment, watermark, seed), *(_external(plot, assessment) for plot in plots)]
    drawn = []
    for plan in plans:
        if only is None or plan.name in only:
            name = f"{plan.name}_{split}"
            drawn.append(Drawn(name, plan.title, plan.caption, save(plan.draw(), folder / name)[1]))
    return drawn


def _external(plot: Plot, assessment: Assessment) -> _Plan:
    name = _as_a_file_name(plot.__name__)
    caption = (inspect.getdoc(plot) or "").partition("\n")[0]
    return _Plan(name, name.replace("_", " ").capitalize(), caption, lambda: plot(assessment))


def _plans(assessment: Assessment, watermark: str | None, seed: int) -> list[_Plan]:
    """List the plots of medcls, in the order of the report."""
    table, caption = assessment.table, assessment.table.caption()
    point = assessment.decision_rules.operating_point
    scores = PlottedScores(table.to_split(), caption, watermark, point)
    at = "" if point is None else f" at the operating point, {point.label()}"
    probability = "probability" if table.positive is not None else "probability of the predicted class"
    plans = [
        _Plan(
            "confusion",
            "Confusion matrix",
            f"Number of images by true class (rows) and predicted class (columns){at}, with the share of each row.",
            lambda: plot_confusion(assessment.metrics.confusion, table.classes, caption, watermark),
        )
    ]
    if table.positive is not None:
        plans.append(_of_scores(scores))
    plans += [
        _Plan(
            "roc",
            "ROC curve",
            "Sensitivity against false-positive rate at every threshold. The closer the curve is to the upper left "
            "corner, the better the classes are separated; the diagonal is chance.",
            lambda: plot_roc(scores, seed=seed),
        ),
        _Plan(
            "precision_recall",
            "Precision-recall curve",
            "Share of positive predictions that are correct (precision, PPV) against the share of positive images that "
            "are detected (recall, sensitivity). The dashed line is the prevalence, which random predictions reach.",
            lambda: plot_precision_recall(scores, seed=seed),
        ),
        _Plan(
            "reliability",
            "Reliability",
            f"Observed frequency against predicted {probability}, as a smooth curve (splines of the log odds) with its "
            "95% band, and in bins. Calibrated probabilities lie on the diagonal; the bars below count the images.",
            lambda: plot_reliability(
                assessment.reliability_before,
                assessment.reliability,
                table.positive,
                caption,
                watermark,
                curve=assessment.curve,
                curve_before=assessment.curve_before,
            ),
        ),
    ]
    if assessment.decisions is not None and table.positive is not None:
        plans.append(_of_decisions(assessment, assessment.decisions, table.positive, watermark))
    plans.append(
        _Plan(
            "rejection",
            "Referral of uncertain images",
            "Metrics of the remaining images as more of the least certain are referred to a person.",
            lambda: plot_rejection(assessment.rejection, caption, watermark),
        )
    )
    return plans + [_of_subgroups(assessment, groups, watermark) for groups in assessment.subgroups]


def _of_scores(scores: PlottedScores) -> _Plan:
    right = " Images to the right of the dashed line, the threshold, are predicted positive."
    threshold = "" if scores.operating_point is None else right
    return _Plan(
        "scores",
        "Scores by class",
        "Distribution of the predicted probability of the positive class over positive images (above) and negative "
        f"images (below), each with its own scale. The less they overlap, the better.{threshold}",
        lambda: plot_scores(scores),
    )


def _of_decisions(assessment: Assessment, curve: pd.DataFrame, positive: str, watermark: str | None) -> _Plan:
    point, benefit = assessment.decision_rules.operating_point, assessment.benefit
    threshold = None if point is None else point.threshold
    if benefit is not None and curve["threshold"].min() <= benefit["threshold"] <= curve["threshold"].max():
        # As a row of the curve, the operating point has the values of the tables instead of interpolated ones.
        curve = pd.concat([curve, benefit.to_frame().T], ignore_index=True).sort_values("threshold")
    return _Plan(
        "decision",
        "Decision curve",
        "Net benefit of acting on the classifier, compared with treating everyone and treating no one, for every "
        "probability at which one would act, with its 95% band. The classifier is useful where its line is highest.",
        lambda: plot_decision_curve(curve, positive, assessment.table.caption(), watermark, threshold=threshold),
    )


def _as_a_file_name(column: str) -> str:
    """Replace characters that file names may not have, keeping names of different columns different."""
    plain = re.sub(r"[^\w .-]", "_", column)
    return plain if plain == column else f"{plain}-{hashlib.blake2b(column.encode(), digest_size=4).hexdigest()}"


def _of_subgroups(assessment: Assessment, groups: Subgroups, watermark: str | None) -> _Plan:
    table = groups.table()
    rows = table[table["metric"] == SUBGROUP_METRIC].rename(columns={"group": "name", "value": "estimate"})
    overall = assessment.metrics.values[SUBGROUP_METRIC]
    return _Plan(
        f"subgroups_{_as_a_file_name(groups.column)}",
        f"AUROC by {groups.column}",
        f"AUROC of each group by {groups.column}, with its 95% interval; the line is that of all images. Small groups "
        "have wide intervals.",
        lambda: plot_forest(pd.DataFrame(rows), "AUROC", overall, assessment.table.caption(), watermark),
    )
