"""Plots of scores: what a classifier does at every threshold, and with what uncertainty.

Each function returns a `matplotlib.figure.Figure`, see `drawing`. Long lines are thinned to what is visible, so that a
plot of a hundred thousand rows is no larger a file than one of a thousand. `statistics.bands` computes the curves.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import Container, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from medcls.errors import MedclsError
from medcls.plots.drawing import COLOURS, GREY, LINES, REPORT_WIDTH, Drawing, new_figure, styled
from medcls.statistics.arrays import Floats
from medcls.statistics.bands import (
    GRID,
    Band,
    precision_band,
    precision_steps,
    sensitivity_band,
    threshold_counts,
    why_no_band,
)
from medcls.statistics.calibration_curve import CalibrationCurve
from medcls.statistics.digits import rounded
from medcls.statistics.hard_labels import check_scores
from medcls.statistics.metric_table import auroc, average_precision, precision, prevalence, sensitivity, specificity
from medcls.statistics.metrics import predicted_classes
from medcls.statistics.split import OneVsRest, Split

# A share of fewer rows is drawn dotted, because it shows chance more than the classifier.
FEW_BEHIND = 30

_CELLS = 240  # resolution of a line on either axis: about its own thickness
_SCORE_BINS = np.linspace(0, 1, 26)
_CHANCE = (0, (2, 2))
_KEPT = (("accuracy", "kept"), ("sensitivity", "cases"), ("specificity", "others"))  # and the rows behind each


class MarkedThreshold(Protocol):
    """What a plot needs of an operating point, as `medcls.evaluation.thresholds.OperatingPoint`."""

    @property
    def threshold(self) -> float:
        """A row is predicted positive if its probability is at least this."""

    @property
    def positive_class(self) -> str:
        """The class of the probability."""

    @property
    def is_fitted(self) -> bool:
        """Whether it was chosen; if not, it is 0.5."""

    def label(self) -> str:
        """A short description for the key."""


@dataclasses.dataclass(frozen=True)
class PlottedScores:
    """What a plot of scores needs.

    Parameters
    ----------
    split : Split
    caption, watermark
        As in `plots.plot_confusion`.
    operating_point : MarkedThreshold, optional
        Marked with its metrics on these rows. Only for a binary task.

    Raises
    ------
    MedclsError
        An operating point of another class.
    """

    split: Split
    caption: str
    watermark: str | None = None
    operating_point: MarkedThreshold | None = None

    def __post_init__(self) -> None:
        point = self.operating_point
        if point is not None and point.positive_class != self.positive:
            raise MedclsError(
                f"The operating point is a probability of {point.positive_class!r}, and the plot is of "
                f"{'several classes' if self.positive is None else repr(self.positive)}.",
                kind="different_positive_class",
            )

    @property
    def positive(self) -> str | None:
        """The positive class of a binary task."""
        return None if self.split.positive is None else self.split.classes[self.split.positive]

    def at_operating_point(self, point: MarkedThreshold) -> OneVsRest:
        """Count the positive class at an operating point."""
        split = self.split
        predicted = predicted_classes(split.scores, split.classes, self.positive, point.threshold)
        return dataclasses.replace(split, predicted=predicted).count().one_vs_rest[0]


def plot_roc(scores: PlottedScores, *, resamples: int = 1000, seed: int = 0) -> Figure:
    """Plot the ROC curve of the positive class, or of each class against the rest.

    In a binary task with a pointwise 95% band, that of `bands.sensitivity_band`.

    Parameters
    ----------
    scores : PlottedScores
    resamples, seed : int
        Of the band.

    Raises
    ------
    MedclsError
        Hard labels in the place of probabilities.
    """
    point = scores.operating_point
    with _threshold_plot(scores, "ROC curve", "AUROC") as (draw, figure, axes, key):
        for place, counts in _curves(scores, key):
            tp, fp = threshold_counts(counts)
            line = _curve(axes, fp / fp[-1], tp / tp[-1], place)
            key.add(line, f"AUROC {rounded(auroc(counts)[0])}  {_class_label(draw, counts)}")
            if scores.split.binary:
                _draw_band(axes, key, counts, sensitivity_band(counts, resamples, seed))
        if point is not None and not key.missing:
            reached = scores.at_operating_point(point)
            x, y = specificity(reached)[0], sensitivity(reached)[0]
            _mark(axes, key, point, (1 - x, y), f"sensitivity {rounded(y, 2)}, specificity {rounded(x, 2)}")
        key.add(axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=_CHANCE)[0], "chance")
        axes.set_xlabel("False positive rate (1 - specificity)")
        axes.set_ylabel("True positive rate (sensitivity)")
    return figure


def plot_precision_recall(scores: PlottedScores, *, resamples: int = 1000, seed: int = 0) -> Figure:
    """Plot the precision at each sensitivity, of the positive class or of each class against the rest.

    The line goes in steps, and the area below it is the average precision: between two points that thresholds reach
    it is not straight (Davis and Goadrich 2006, "The relationship between Precision-Recall and ROC curves"). The dashed
    line is the prevalence, the precision of random predictions. The band is that of `bands.precision_band`.

    Parameters and errors are those of `plot_roc`.
    """
    point = scores.operating_point
    with _threshold_plot(scores, "Precision and recall", "average precision") as (draw, figure, axes, key):
        for place, counts in _curves(scores, key):
            line = _curve(axes, *precision_steps(counts), place)
            key.add(line, f"Average precision {rounded(average_precision(counts)[0])}  {_class_label(draw, counts)}")
            share = float(prevalence(counts)[0])
            if scores.split.binary:
                _draw_band(axes, key, counts, precision_band(counts, resamples, seed))
                baseline = axes.axhline(share, color=GREY, linewidth=1.2, linestyle="--")
            else:
                colour = COLOURS[place % len(COLOURS)]
                axes.axhline(share, color=colour, linewidth=0.8, linestyle="--", alpha=0.6)
        if point is not None and not key.missing:
            reached = scores.at_operating_point(point)
            x, y = sensitivity(reached)[0], precision(reached)[0]
            value = "no precision, as nothing is predicted positive" if np.isnan(y) else f"precision {rounded(y, 2)}"
            _mark(axes, key, point, (x, y), f"sensitivity {rounded(x, 2)}, {value}")
        if not scores.split.binary:
            baseline = Line2D([], [], color=GREY, linewidth=0.8, linestyle="--")
            key.add(baseline, "random predictions: the prevalence of the class of that colour")
        elif not key.missing:
            key.add(baseline, f"random predictions: the prevalence, {rounded(share)}")
        axes.set_xlabel("Recall (sensitivity)")
        axes.set_ylabel("Precision (positive predictive value)")
    return figure


def plot_scores(scores: PlottedScores) -> Figure:
    """Plot the distribution of the probability of the positive class among its images, and among the others.

    Each has its own scale, so that a rare class is visible.

    Raises
    ------
    MedclsError
        More than two classes.
    """
    positive, point = scores.positive, scores.operating_point
    if positive is None:
        raise MedclsError("A plot of scores belongs to a binary task.", kind="not_binary")
    counts = scores.split.count().one_vs_rest[0]
    other = next(name for name in scores.split.classes if name != positive)
    with styled([positive, other, scores.caption], scores.watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 4.6)
        rows = figure.subplots(2, 1, sharex=True)
        key = _Key()
        for axes, name, which, colour in (
            (rows[0], positive, counts.is_case, COLOURS[0]),
            (rows[1], other, ~counts.is_case, COLOURS[4]),
        ):
            axes.hist(counts.scores[which], bins=_SCORE_BINS, color=colour, edgecolor="white", linewidth=0.4)
            axes.set_title(draw.fit(f"{draw.short(name)}, n = {which.sum()}", 58), fontsize=10)
            axes.set_ylabel("Images")
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
            if point is not None:
                line = axes.axvline(point.threshold, color="black", linewidth=1.4, linestyle="--")
        if point is not None:
            key.add(line, f"predicted {draw.short(positive)} from here on: {point.label()}")
        rows[1].set_xlim(0, 1)
        rows[1].set_xlabel(draw.fit(f"Predicted probability of class {draw.short(positive, 30)}", 60))
        key.write(rows[1], draw)
        draw.finish(figure, scores.caption)
    return figure


def plot_reliability(
    before: pd.DataFrame | None,
    after: pd.DataFrame | None,
    positive: str | None,
    caption: str,
    watermark: str | None = None,
    *,
    curve: CalibrationCurve | None = None,
    curve_before: CalibrationCurve | None = None,
) -> Figure:
    """Plot observed against predicted probability: a smooth curve with its band, and shares in bins.

    Parameters
    ----------
    before, after : DataFrame or None
        Of `calibration.reliability_table`, before and after the calibration. The second is drawn, or the only one.
    positive : str or None
        The class of the probability; None for the confidence of several classes.
    caption, watermark
        As in `plots.plot_confusion`.
    curve, curve_before : CalibrationCurve, optional
        Of the probabilities in bins, and of those before the calibration.

    Raises
    ------
    MedclsError
        There is no table.
    """
    shown = before if after is None else after
    if shown is None:
        raise MedclsError(
            "A reliability diagram needs a table, before or after calibration.",
            kind="nothing_to_draw",
        )
    calibrated = before is not None and after is not None
    with styled([positive or "", caption], watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 6.6)
        axes, bars = figure.subplots(2, 1, sharex=True, height_ratios=[4.2, 0.9])
        key = _Key()
        key.add(axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=_CHANCE)[0], "perfect calibration")
        if calibrated and curve_before is not None and not curve_before.reason:
            line = axes.plot(curve_before.predicted, curve_before.observed, "--", color=COLOURS[1], linewidth=1.2)[0]
            key.add(line, "before calibration")
        _draw_calibration(axes, key, curve, "after calibration" if calibrated else "as predicted")
        if shown.empty:
            axes.text(0.5, 0.5, "No image to draw", ha="center", va="center")
        else:
            key.add(_with_limits(axes, shown), "in bins, with Wilson's 95% limits")
        widths = np.maximum(shown["upper"] - shown["lower"], 0.012)
        middle = (shown["upper"] + shown["lower"]) / 2
        bars.bar(middle, shown["n"], widths, color=COLOURS[5], edgecolor="white", linewidth=0.6)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        bars.set_ylim(0, max(shown["n"].max(), 1) * 1.05 if len(shown) else 1)
        bars.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        bars.set_ylabel("Images\nin a bin")
        if positive is None:
            bars.set_xlabel("Confidence (the largest probability)")
            axes.set_ylabel("Share predicted correctly")
        else:
            bars.set_xlabel(draw.fit(f"Predicted probability of class {draw.short(positive, 30)}", 60))
            axes.set_ylabel("Observed share")
        axes.set_title("Reliability: predicted and observed")
        key.write(bars, draw)
        draw.finish(figure, caption)
    return figure


def plot_decision_curve(
    curve: pd.DataFrame,
    positive: str,
    caption: str,
    watermark: str | None = None,
    *,
    threshold: float | None = None,
) -> Figure:
    """Plot the net benefit of the classifier, of treating all and of treating none.

    That of treating all has no lower limit, so the plot ends a little below that of the classifier.

    Parameters
    ----------
    curve : DataFrame
        Of `decision_curve.decision_curve`.
    positive : str
        The class that would be treated.
    caption, watermark
        As in `plots.plot_confusion`.
    threshold : float, optional
        Of the operating point, which is marked by interpolation. Beyond the ends of the curve there is no mark, and the
        key says so.
    """
    at = curve["threshold"].to_numpy(np.float64)
    model, everybody = (curve[name].to_numpy(np.float64) for name in ("model", "treat_all"))
    top = max(float(model.max()), float(everybody.max()), 0.01)
    bottom = max(min(float(model.min()), 0.0), -0.5 * top) - 0.06 * top
    with styled([positive, caption], watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 4.3)
        axes = figure.add_subplot()
        key = _Key()
        key.add(axes.plot(at, model, color=COLOURS[0], zorder=3)[0], "acting on the classifier")
        low, high = (curve[name].to_numpy(np.float64) for name in ("low", "high"))
        shade = axes.fill_between(at, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
        key.add(shade, "its 95% band, point by point")
        key.add(axes.plot(at, everybody, "--", color=COLOURS[1])[0], "treating all")
        key.add(axes.axhline(0, color="black", linestyle=":", linewidth=1.6), "treating none")
        if threshold is not None and at.min() <= threshold <= at.max():
            order = np.argsort(at, kind="stable")
            benefit, least, most = (
                float(np.interp(threshold, at[order], values[order])) for values in (model, low, high)
            )
            axes.axvline(threshold, color=GREY, linewidth=0.8)
            mark = axes.plot(threshold, benefit, "D", color=COLOURS[1], markeredgecolor="white", zorder=4)[0]
            limits = f"{rounded(benefit)} ({rounded(least)} to {rounded(most)})"
            key.add(mark, f"operating point: net benefit {limits} at {threshold:.3g}")
        elif threshold is not None:
            key.add(Patch(visible=False), f"The operating point, {threshold:.3g}, is beyond the ends of the curve.")
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom, top * 1.06)
        axes.set_xlabel("Threshold probability at which a person would act")
        axes.set_ylabel("Net benefit\n(true positives per image)")
        _title(axes, draw, "Decision curve", positive)
        key.write(axes, draw)
        draw.finish(figure, caption)
    return figure


def plot_rejection(curve: pd.DataFrame, caption: str, watermark: str | None = None) -> Figure:
    """Plot the metrics of the images that are kept while the least certain ones are referred to a person.

    A share of fewer than `FEW_BEHIND` images (those kept for the accuracy, cases for the sensitivity, others for the
    specificity) is drawn dotted.

    Parameters
    ----------
    curve : DataFrame
        Of `referral.rejection_curve`.
    caption, watermark
        As in `plots.plot_confusion`.
    """
    share = curve["share"].to_numpy(np.float64)
    with styled([caption], watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 4.3)
        axes = figure.add_subplot()
        key = _Key()
        values_shown, any_few = [1.0], False
        for place, (column, behind) in enumerate(_KEPT):
            if column not in curve:
                continue
            values, colour = curve[column].to_numpy(np.float64), COLOURS[place]
            firm = int((curve[behind] >= FEW_BEHIND).sum())  # a count that only falls, so these are the first rows
            start = f", {rounded(values[0])} without referral" if np.isfinite(values[:1]).any() else ": no such image"
            key.add(_line(axes, share[:firm], values[:firm], LINES[place], color=colour), f"{column}{start}")
            tail = slice(max(firm - 1, 0), None)  # from the last firm point, so that the two parts meet
            _line(axes, share[tail], values[tail], ":", color=colour, alpha=0.5, linewidth=1.2)
            any_few |= firm < np.isfinite(values).sum()
            values_shown += [*values[:firm].tolist()] or [*values[np.isfinite(values)].tolist()]
        if any_few:
            dotted = Line2D([], [], color=GREY, linestyle=":", linewidth=1.2)
            key.add(dotted, f"dotted: a share of fewer than {FEW_BEHIND} images")
        if curve.empty:
            axes.text(0.5, 0.5, "No image to draw", ha="center", va="center", transform=axes.transAxes)
        axes.set_xlim(0, 1)
        axes.set_ylim(max(0.0, min(0.9, min(values_shown) - 0.1 * (1 - min(values_shown)))), 1.01)
        axes.set_xlabel("Share of images referred to a person, the least certain first")
        axes.set_ylabel("Of the images that are kept")
        axes.set_title("Referring the least certain images")
        key.write(axes, draw)
        draw.finish(figure, caption)
    return figure


def plot_forest(rows: pd.DataFrame, metric: str, overall: float, caption: str, watermark: str | None = None) -> Figure:
    """Plot one metric of several subgroups, each with its interval, and of all rows.

    Parameters
    ----------
    rows : DataFrame
        Columns `name`, `n`, `estimate`, `low`, `high`: one row a subgroup, from the top down. Without limits only the
        dot is drawn, and a NaN estimate is labelled undefined.
    metric : str
        Label of the axis.
    overall : float
        Of all rows, drawn as a vertical line unless it is NaN.
    caption, watermark
        As in `plots.plot_confusion`.

    Raises
    ------
    MedclsError
        No rows.
    """
    if rows.empty:
        raise MedclsError(
            f"A forest plot of {metric} needs at least one subgroup, and there is none.", kind="nothing_to_draw"
        )
    names = rows["name"].astype(str).tolist()
    with styled([*names, metric, caption], watermark) as draw:
        labels = [draw.name(name, width=18, lines=2) for name in names]
        tall = max(0.3 + 0.15 * label.count("\n") for label in labels)
        figure = new_figure(REPORT_WIDTH, 1.0 + tall * len(rows))
        axes = figure.add_subplot()
        key = _Key()
        estimate, low, high = (rows[name].to_numpy(np.float64) for name in ("estimate", "low", "high"))
        where = np.arange(len(rows))
        for y in range(len(rows)):
            axes.plot([low[y], high[y]], [y, y], color=COLOURS[0], linewidth=1.6, solid_capstyle="butt")
            label = f"n = {int(rows['n'].iloc[y])}" + ("\nundefined" if np.isnan(estimate[y]) else "")
            axes.text(1.02, y, label, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
        key.add(axes.plot(estimate, where, "o", color=COLOURS[0])[0], "subgroup, with its 95% interval")
        if np.isfinite(overall):
            line = axes.axvline(overall, color=COLOURS[1], linewidth=1.2, linestyle="--", zorder=1)
            key.add(line, f"all rows: {rounded(overall)}")
        drawn = np.concatenate([estimate, low, high, [overall]])
        drawn = drawn[np.isfinite(drawn)]
        if len(drawn):
            pad = max(0.05 * float(np.ptp(drawn)), 0.01)
            axes.set_xlim(drawn.min() - pad, drawn.max() + pad)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(where, labels)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel(draw.fit(draw.short(metric, 50), 60))
        key.write(axes, draw)
        draw.finish(figure, caption)
    return figure


class _Key:
    """The key of a plot, and the classes without a curve."""

    def __init__(self) -> None:
        self.handles: list[Artist | Container] = []
        self.entries: list[str] = []
        self.missing: list[str] = []

    def add(self, handle: Artist | Container, entry: str) -> None:
        self.handles.append(handle)
        self.entries.append(entry)

    def write(self, axes: Axes, draw: Drawing) -> None:
        """Write the key below the axes."""
        draw.key(axes, self.handles, self.entries)

    def write_missing(self, axes: Axes, draw: Drawing, metric: str) -> None:
        """Write into the middle which classes have no curve."""
        if not self.missing:
            return
        listed = [draw.short(text, 60) for text in self.missing[:4]]
        listed += [f"and {len(self.missing) - 4} more"] if len(self.missing) > 4 else []
        axes.text(
            0.5,
            0.62,
            draw.fit(f"No curve, {metric} undefined: {'; '.join(listed)}", 42),
            ha="center",
            va="center",
            bbox={"facecolor": "white", "edgecolor": COLOURS[1], "boxstyle": "round,pad=0.5"},
            zorder=4,
        )


@contextlib.contextmanager
def _threshold_plot(scores: PlottedScores, title: str, metric: str) -> Iterator[tuple[Drawing, Figure, Axes, _Key]]:
    """Set up axes from 0 to 1 both ways, and complete them after the block.

    They are about as high as wide: an exact aspect would leave no room for the key.
    """
    check_scores(scores.split)
    with styled([*scores.split.classes, scores.caption], scores.watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 5.6)
        axes = figure.add_subplot()
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        key = _Key()
        yield draw, figure, axes, key
        key.write_missing(axes, draw, metric)
        _title(axes, draw, title, scores.positive)
        key.write(axes, draw)
        draw.finish(figure, scores.caption)


def _curves(scores: PlottedScores, key: _Key) -> Iterator[tuple[int, OneVsRest]]:
    """Yield the classes with both cases and others; the key notes the rest."""
    for place, counts in enumerate(scores.split.count().one_vs_rest):
        if counts.has_both[0]:
            yield place, counts
        else:
            key.missing.append(f"every image is {counts.name}" if counts.cases[0] else f"no image of {counts.name}")


def _class_label(draw: Drawing, counts: OneVsRest) -> str:
    return f"{draw.short(counts.name)} ({counts.cases[0]:.0f} of {counts.n[0]:.0f})"


def _title(axes: Axes, draw: Drawing, text: str, positive: str | None) -> None:
    text += " of each class" if positive is None else f" of class {draw.short(positive, 34)}"
    axes.set_title(draw.fit(text, 48))


def _curve(axes: Axes, x: Floats, y: Floats, place: int) -> Line2D:
    style = LINES[place // len(COLOURS) % len(LINES)]
    return _line(axes, x, y, style, color=COLOURS[place % len(COLOURS)], clip_on=False, zorder=3)


def _line(
    axes: Axes,
    x: Floats,
    y: Floats,
    style: str,
    *,
    color: str,
    alpha: float = 1.0,
    linewidth: float = 1.8,
    clip_on: bool = True,
    zorder: float = 2,
) -> Line2D:
    x, y = _thinned(x, y)
    line = axes.plot(x, y, style, color=color, alpha=alpha, linewidth=linewidth, clip_on=clip_on, zorder=zorder)[0]
    if len(x) == 1:  # a line of one point is invisible
        line.set_marker(".")
    return line


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Drop points that are NaN, in the same cell of a fine grid as the one before, or on a straight line."""
    defined = ~np.isnan(y)
    x, y = x[defined], y[defined]
    cells = np.stack([np.rint((values - values.min(initial=0.0)) / _span(values) * _CELLS) for values in (x, y)])
    moved = np.append(np.ones(min(len(x), 1), bool), (np.diff(cells) != 0).any(axis=0))
    moved[-1:] = True
    x, y, steps = x[moved], y[moved], np.diff(cells[:, moved])
    before, after = steps[:, :-1], steps[:, 1:]
    straight = (before[0] * after[1] == before[1] * after[0]) & ((before * after).sum(axis=0) > 0)
    kept = np.ones(len(x), bool)
    kept[1:-1] = ~straight
    return x[kept], y[kept]


def _span(values: Floats) -> float:
    return float(np.ptp(values)) if values.size and np.ptp(values) > 0 else 1.0


def _draw_calibration(axes: Axes, key: _Key, curve: CalibrationCurve | None, label: str) -> None:
    """Draw the smooth curve and its band, or write why there is none."""
    if curve is None:
        return
    if curve.reason:
        key.add(Patch(visible=False), f"no smooth curve: {curve.reason}")
        return
    shade = axes.fill_between(curve.predicted, curve.low, curve.high, color=COLOURS[0], alpha=0.2, linewidth=0)
    line = axes.plot(curve.predicted, curve.observed, color=COLOURS[0], zorder=4)[0]
    key.add(line, f"{label} (ICI {rounded(curve.ici)}, E50 {rounded(curve.e50)}, E90 {rounded(curve.e90)})")
    key.add(shade, "its 95% band, point by point")


def _with_limits(axes: Axes, bins: pd.DataFrame) -> ErrorbarContainer:
    """Draw observed shares with their limits."""
    return axes.errorbar(
        bins["predicted"],
        bins["observed"],
        yerr=[bins["observed"] - bins["low"], bins["high"] - bins["observed"]],
        fmt="o",
        color=GREY,
        markersize=4,
        capsize=2,
        elinewidth=0.8,
        clip_on=False,
        zorder=3,
    )


def _mark(axes: Axes, key: _Key, point: MarkedThreshold, place: tuple[float, float], metrics: str) -> None:
    """Mark the operating point: hollow if it was not chosen."""
    inside = COLOURS[1] if point.is_fitted else "white"
    colour = COLOURS[1]
    mark = axes.plot(*place, "o", color=colour, markerfacecolor=inside, markersize=8, clip_on=False, zorder=5)[0]
    key.add(mark, f"operating point: {metrics}, at the threshold {point.label()}")


def _draw_band(axes: Axes, key: _Key, counts: OneVsRest, band: Band | None) -> None:
    """Shade the band, or write why there is none."""
    if band is None:
        key.add(Patch(visible=False), f"no band: {why_no_band(counts)}")
        return
    shade = axes.fill_between(GRID, *band, color=COLOURS[0], alpha=0.2, linewidth=0)
    unit = "groups" if counts.split.is_grouped else "images"
    key.add(shade, f"95% band, point by point (bootstrap over {counts.split.group_count()} {unit})")
