"""Figures drawn from scores: what a classifier does at every threshold, and how sure one may be of it.

Every function returns a `matplotlib.figure.Figure`, see `drawing`. Lines of many thousand points are thinned to
what can be seen, so that a figure of a hundred thousand rows is no larger a file than one of a thousand. What is drawn
of scores is computed by `bands`.
"""

from collections.abc import Sequence
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
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score

from medcls.errors import MedclsError
from medcls.plots.drawing import COLOURS, GREY, LINES, REPORT_WIDTH, Drawing, new_figure, styled
from medcls.statistics.arrays import Floats
from medcls.statistics.bands import (
    GRID,
    OneClass,
    Reached,
    against_the_others,
    precision_band,
    precision_steps,
    sensitivity_band,
    why_no_band,
)
from medcls.statistics.calibration_curve import CalibrationCurve
from medcls.statistics.metrics import auroc

# Below this many rows behind a share, a curve of shares shows chance more than the classifier.
FEW_BEHIND = 30

_CELLS = 240  # a line is followed to that part of either axis: about its own thickness
_SCORE_BINS = np.linspace(0, 1, 26)
_CHANCE = (0, (2, 2))
_KEPT = (("accuracy", "kept"), ("sensitivity", "cases"), ("specificity", "others"))  # and the rows behind each


class MarkedThreshold(Protocol):
    """What a plot must know of an operating point to mark it, as `medcls.evaluation.thresholds.OperatingPoint` does."""

    @property
    def threshold(self) -> float:
        """A row is predicted positive where its probability is at least this."""

    @property
    def positive_class(self) -> str:
        """Of which class the probability is."""

    @property
    def is_fitted(self) -> bool:
        """Whether it was chosen, and does not stand in where nobody chose."""

    def label(self) -> str:
        """In a few words, for the key."""


def plot_roc(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    positive: str | None,
    caption: str,
    watermark: str | None = None,
    *,
    operating_point: MarkedThreshold | None = None,
    groups: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Draw the ROC curve of the positive class, or of each class against the others.

    In a binary task with a 95% band, that of `bands.sensitivity_band`: it holds point by point and not for the curve
    as a whole.

    Parameters
    ----------
    labels : integer array (n,)
        True class indices.
    probabilities : float array (n, K)
        One column a class.
    classes, positive
        As in `metrics.classification_metrics`.
    caption, stamp
        As in `plots.plot_confusion`.
    operating_point : MarkedThreshold, optional
        Marked with what it reaches on these rows. Only for a binary task.
    groups : sequence of str, optional
        As in `resampling.group_numbers`.
    resamples, seed : int
        Of the band.

    Raises
    ------
    MedclsError
        Hard labels in the place of probabilities, an operating point of another class, and whatever else
        `classification_metrics` refuses.
    """
    against = against_the_others(labels, probabilities, classes, positive, groups)
    _check_point(operating_point, positive)
    with styled([*classes, caption], watermark) as draw:
        figure, axes = _square()
        key = _Key()
        for place, one in enumerate(against):
            area = auroc(one.positives, one.scores)  # refuses hard labels
            name = f"{draw.short(one.name)} ({one.cases} of {len(one.scores)})"
            if not one.has_both:
                key.lack(one)
                continue
            tp, fp = one.counts()
            false, true = fp / fp[-1], tp / tp[-1]
            key.add(_curve(axes, false, true, place), f"AUROC {area:.3f}  {name}")
            if positive is not None:
                _draw_band(axes, key, one, sensitivity_band(one, resamples, seed))
                if operating_point is not None:
                    reached = one.at(operating_point.threshold)
                    _mark(axes, key, operating_point, 1 - reached.specificity, reached.sensitivity, _in_roc(reached))
        key.add(axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=_CHANCE)[0], "chance")
        key.say_missing(axes, draw, "AUROC")
        axes.set_xlabel("False positive rate (1 - specificity)")
        axes.set_ylabel("True positive rate (sensitivity)")
        _title(axes, draw, "ROC curve", positive)
        key.write(axes, draw)
        draw.finish(figure, caption)
    return figure


def plot_precision_recall(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    positive: str | None,
    caption: str,
    watermark: str | None = None,
    *,
    operating_point: MarkedThreshold | None = None,
    groups: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Draw the precision at each sensitivity, of the positive class or of each class against the others.

    The line goes in steps, and the area below it is the average precision: between two points that thresholds reach
    no straight line can be followed (Davis and Goadrich 2006, "The relationship between Precision-Recall and ROC
    curves"). The dashed line is the prevalence, the precision of calling at random. The band is
    that of `bands.precision_band`.

    Parameters and errors are those of `plot_roc`.
    """
    against = against_the_others(labels, probabilities, classes, positive, groups)
    _check_point(operating_point, positive)
    with styled([*classes, caption], watermark) as draw:
        figure, axes = _square()
        key = _Key()
        for place, one in enumerate(against):
            auroc(one.positives, one.scores)  # refuses hard labels
            if not one.has_both:
                key.lack(one)
                continue
            area = float(average_precision_score(one.positives, one.scores))
            prevalence = one.cases / len(one.scores)
            name = f"{draw.short(one.name)} ({one.cases} of {len(one.scores)})"
            key.add(_curve(axes, *precision_steps(one), place), f"Average precision {area:.3f}  {name}")
            if positive is not None:
                _draw_band(axes, key, one, precision_band(one, resamples, seed))
                if operating_point is not None:
                    reached = one.at(operating_point.threshold)
                    _mark(axes, key, operating_point, reached.sensitivity, reached.precision, _in_precision(reached))
                baseline = axes.axhline(prevalence, color=GREY, linewidth=1.2, linestyle="--")
                key.add(baseline, f"calling at random: the prevalence, {prevalence:.3f}")
            else:
                colour = COLOURS[place % len(COLOURS)]
                axes.axhline(prevalence, color=colour, linewidth=0.8, linestyle="--", alpha=0.6)
        if positive is None:
            baseline = Line2D([], [], color=GREY, linewidth=0.8, linestyle="--")
            key.add(baseline, "calling at random: the prevalence of the class of that colour")
        key.say_missing(axes, draw, "average precision")
        axes.set_xlabel("Recall (sensitivity)")
        axes.set_ylabel("Precision (positive predictive value)")
        _title(axes, draw, "Precision and recall", positive)
        key.write(axes, draw)
        draw.finish(figure, caption)
    return figure


def plot_scores(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    positive: str,
    caption: str,
    watermark: str | None = None,
    *,
    operating_point: MarkedThreshold | None = None,
) -> Figure:
    """Draw how the probability of the positive class is spread among its images, and among the others.

    Each class has its own scale, so that a rare one can be seen.

    Parameters and errors are those of `plot_roc`, but for several classes, which have no one probability.
    """
    (one,) = against_the_others(labels, probabilities, classes, positive)
    _check_point(operating_point, positive)
    other = next(name for name in classes if name != positive)
    with styled([*classes, caption], watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 4.6)
        rows = figure.subplots(2, 1, sharex=True)
        key = _Key()
        for axes, name, which, colour in ((rows[0], positive, 1, COLOURS[0]), (rows[1], other, 0, COLOURS[4])):
            mine = one.scores[one.positives == which]
            axes.hist(mine, bins=_SCORE_BINS, color=colour, edgecolor="white", linewidth=0.4)
            axes.set_title(draw.fit(f"{draw.short(name)}, n = {len(mine)}", 58), fontsize=10)
            axes.set_ylabel("Images")
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
            if operating_point is not None:
                line = axes.axvline(operating_point.threshold, color="black", linewidth=1.4, linestyle="--")
        if operating_point is not None:
            key.add(line, f"called {draw.short(positive)} from here on: {operating_point.label()}")
        rows[1].set_xlim(0, 1)
        rows[1].set_xlabel(draw.fit(f"Predicted probability of {draw.short(positive, 30)}", 60))
        key.write(rows[1], draw)
        draw.finish(figure, caption)
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
    """Draw how often what was predicted came true: a smooth curve with its band, and the shares in bins beside it.

    Parameters
    ----------
    before, after : DataFrame or None
        Of `calibration.reliability_table`, before and after the calibration. Limits and counts are those of the
        second; where there is only one of them, of that.
    positive : str or None
        The class whose probability it is; None where it is the confidence of several classes.
    caption, stamp
        As in `plots.plot_confusion`.
    curve, curve_before : CalibrationCurve, optional
        Of the probabilities whose bins are shown, and of those before the calibration, which is drawn lightly.

    Raises
    ------
    MedclsError
        Neither of the two tables.
    """
    shown = before if after is None else after
    if shown is None:
        raise MedclsError(
            "A reliability diagram needs the table before calibration, after it, or both; it has none.",
            kind="nothing_to_draw",
        )
    calibrated = before is not None and after is not None
    with styled([positive or "", caption], watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 6.6)
        axes, bars = figure.subplots(2, 1, sharex=True, height_ratios=[4.2, 0.9])
        key = _Key()
        key.add(axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=_CHANCE)[0], "as it should be")
        if calibrated and curve_before is not None and not curve_before.reason:
            line = axes.plot(curve_before.predicted, curve_before.observed, "--", color=COLOURS[1], linewidth=1.2)[0]
            key.add(line, "before calibration")
        _draw_calibration(axes, key, curve, "after calibration" if calibrated else "as predicted")
        filled = shown[shown["n"] > 0]
        if filled.empty:
            axes.text(0.5, 0.5, "No image to draw", ha="center", va="center")
        else:
            key.add(_with_limits(axes, filled), "in bins, with Wilson's 95% limits")
        widths = np.maximum(filled["upper"] - filled["lower"], 0.012)
        middle = (filled["upper"] + filled["lower"]) / 2
        bars.bar(middle, filled["n"], widths, color=COLOURS[5], edgecolor="white", linewidth=0.6)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        bars.set_ylim(0, max(filled["n"].max(), 1) * 1.05 if len(filled) else 1)
        bars.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        bars.set_ylabel("Images\nin a bin")
        if positive is None:
            bars.set_xlabel("Confidence (the largest probability)")
            axes.set_ylabel("Share called rightly")
        else:
            bars.set_xlabel(draw.fit(f"Predicted probability of {draw.short(positive, 30)}", 60))
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
    """Draw the net benefit of the classifier beside that of treating all and of treating none.

    Treating all loses without limit where a needless treatment weighs heavily: the picture ends a little below what
    the classifier reaches.

    Parameters
    ----------
    curve : DataFrame
        Of `decision_curve.decision_curve`.
    positive : str
        The class that would be treated.
    caption, stamp
        As in `plots.plot_confusion`.
    threshold : float, optional
        Of the operating point. Where the curve has no row there, the mark stands between its neighbours; where it
        lies beyond the curve's ends there is no mark, and the key says so.
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
            limits = f"{benefit:.3f} ({least:.3f} to {most:.3f})"
            key.add(mark, f"operating point: net benefit {limits} at {threshold:.3g}")
        elif threshold is not None:
            key.add(Patch(visible=False), f"The operating point, {threshold:.3g}, lies beyond the curve's ends.")
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom, top * 1.06)
        axes.set_xlabel("Threshold probability at which a person would act")
        axes.set_ylabel("Net benefit\n(true positives an image)")
        _title(axes, draw, "Decision curve", positive)
        key.write(axes, draw)
        draw.finish(figure, caption)
    return figure


def plot_rejection(curve: pd.DataFrame, caption: str, watermark: str | None = None) -> Figure:
    """Draw how the images that are kept fare, as more and more of the least sure are referred to a person.

    Where fewer than `FEW_BEHIND` images stand behind a share (all that are kept for the accuracy, its cases for the
    sensitivity, the others for the specificity), the line goes on lightly and dotted.

    Parameters
    ----------
    curve : DataFrame
        Of `referral.rejection_curve`, of any length.
    caption, stamp
        As in `plots.plot_confusion`.
    """
    share = curve["share"].to_numpy(np.float64)
    with styled([caption], watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 4.3)
        axes = figure.add_subplot()
        key = _Key()
        seen, any_few = [1.0], False
        for place, (column, behind) in enumerate(_KEPT):
            if column not in curve:
                continue
            values, colour = curve[column].to_numpy(np.float64), COLOURS[place]
            firm = int((curve[behind] >= FEW_BEHIND).sum())  # a count that only falls, so these are the first rows
            start = f", {values[0]:.3f} without referral" if np.isfinite(values[:1]).any() else ": no such image"
            key.add(_line(axes, share[:firm], values[:firm], LINES[place], color=colour), f"{column}{start}")
            tail = slice(max(firm - 1, 0), None)  # from the last firm point, so that the two parts meet
            _line(axes, share[tail], values[tail], ":", color=colour, alpha=0.5, linewidth=1.2)
            any_few |= firm < np.isfinite(values).sum()
            seen += [*values[:firm].tolist()] or [*values[np.isfinite(values)].tolist()]
        if any_few:
            dotted = Line2D([], [], color=GREY, linestyle=":", linewidth=1.2)
            key.add(dotted, f"lighter: fewer than {FEW_BEHIND} images behind the share")
        if curve.empty:
            axes.text(0.5, 0.5, "No image to draw", ha="center", va="center", transform=axes.transAxes)
        axes.set_xlim(0, 1)
        axes.set_ylim(max(0.0, min(0.9, min(seen) - 0.1 * (1 - min(seen)))), 1.01)
        axes.set_xlabel("Share of images referred to a person, the least sure first")
        axes.set_ylabel("Among the images that are kept")
        axes.set_title("What referring the least sure brings")
        key.write(axes, draw)
        draw.finish(figure, caption)
    return figure


def plot_forest(rows: pd.DataFrame, metric: str, overall: float, caption: str, watermark: str | None = None) -> Figure:
    """Draw one figure of several subgroups, each with its interval, against that of all rows.

    Parameters
    ----------
    rows : DataFrame
        Columns `name`, `n`, `estimate`, `low`, `high`: one row a subgroup, drawn from the top down. NaN limits leave
        the dot alone, and a NaN estimate is said to be undefined.
    metric : str
        What the figure is, for the axis.
    overall : float
        Of all rows, drawn as a vertical line; NaN draws none.
    caption, stamp
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
            said = f"n = {int(rows['n'].iloc[y])}" + ("\nundefined" if np.isnan(estimate[y]) else "")
            axes.text(1.02, y, said, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
        key.add(axes.plot(estimate, where, "o", color=COLOURS[0])[0], "subgroup, with its 95% interval")
        if np.isfinite(overall):
            line = axes.axvline(overall, color=COLOURS[1], linewidth=1.2, linestyle="--", zorder=1)
            key.add(line, f"all rows: {overall:.3f}")
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
    """What is drawn, in words, and which classes could not be."""

    def __init__(self) -> None:
        self.handles: list[Artist | Container] = []
        self.entries: list[str] = []
        self.missing: list[str] = []

    def add(self, handle: Artist | Container, entry: str) -> None:
        self.handles.append(handle)
        self.entries.append(entry)

    def write(self, axes: Axes, draw: Drawing) -> None:
        """Write the words below the axes."""
        draw.key(axes, self.handles, self.entries)

    def lack(self, one: OneClass) -> None:
        """Note a class that has no curve."""
        self.missing.append(f"no image of {one.name}" if one.cases == 0 else f"every image is {one.name}")

    def say_missing(self, axes: Axes, draw: Drawing, what: str) -> None:
        """Write into the middle which classes have no curve."""
        if not self.missing:
            return
        listed = [draw.short(text, 60) for text in self.missing[:4]]
        listed += [f"and {len(self.missing) - 4} more"] if len(self.missing) > 4 else []
        axes.text(
            0.5,
            0.62,
            draw.fit(f"No curve, {what} undefined: {'; '.join(listed)}", 42),
            ha="center",
            va="center",
            bbox={"facecolor": "white", "edgecolor": COLOURS[1], "boxstyle": "round,pad=0.5"},
            zorder=4,
        )


def _square() -> tuple[Figure, Axes]:
    """Axes from 0 to 1 both ways, about as high as wide: an exact aspect would leave the key no room of its own."""
    figure = new_figure(REPORT_WIDTH, 5.6)
    axes = figure.add_subplot()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    return figure, axes


def _title(axes: Axes, draw: Drawing, what: str, positive: str | None) -> None:
    of = f"{what}, each class against the others" if positive is None else f"{what} of {draw.short(positive, 34)}"
    axes.set_title(draw.fit(of, 48))


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
    if len(x) == 1:  # of which no line would show anything
        line.set_marker(".")
    return line


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Leave out points that are NaN, that lie in the same cell of a fine lattice as the one before, or on the way."""
    there = ~np.isnan(y)
    x, y = x[there], y[there]
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


def _draw_calibration(axes: Axes, key: _Key, curve: CalibrationCurve | None, said: str) -> None:
    """The smooth curve and its band, or why there is none."""
    if curve is None:
        return
    if curve.reason:
        key.add(Patch(visible=False), f"no smooth curve: {curve.reason}")
        return
    shade = axes.fill_between(curve.predicted, curve.low, curve.high, color=COLOURS[0], alpha=0.2, linewidth=0)
    line = axes.plot(curve.predicted, curve.observed, color=COLOURS[0], zorder=4)[0]
    key.add(line, f"{said} (ICI {curve.ici:.3f}, E50 {curve.e50:.3f}, E90 {curve.e90:.3f})")
    key.add(shade, "its 95% band, point by point")


def _with_limits(axes: Axes, bins: pd.DataFrame) -> ErrorbarContainer:
    """Observed shares with their limits."""
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


def _mark(axes: Axes, key: _Key, point: MarkedThreshold, x: float, y: float, reached: str) -> None:
    """Mark the operating point: hollow where nobody chose it."""
    inside = "white" if not point.is_fitted else COLOURS[1]
    mark = axes.plot(x, y, "o", color=COLOURS[1], markerfacecolor=inside, markersize=8, clip_on=False, zorder=5)[0]
    key.add(mark, f"operating point: {reached}, at the threshold {point.label()}")


def _draw_band(axes: Axes, key: _Key, one: OneClass, band: tuple[Floats, Floats] | None) -> None:
    """Shade how far each value of the curve may lie off, or say why nobody knows."""
    if band is None:
        key.add(Patch(visible=False), f"no band: {why_no_band(one)}")
        return
    shade = axes.fill_between(GRID, *band, color=COLOURS[0], alpha=0.2, linewidth=0)
    unit = "groups" if one.is_grouped else "images"
    key.add(shade, f"95% band, point by point (bootstrap over {one.group_count} {unit})")


def _check_point(point: MarkedThreshold | None, positive: str | None) -> None:
    if point is not None and point.positive_class != positive:
        raise MedclsError(
            f"The operating point is a probability of {point.positive_class!r}, and the figure is of "
            f"{'several classes' if positive is None else repr(positive)}.",
            kind="different_positive_class",
        )


def _in_roc(reached: Reached) -> str:
    return f"sensitivity {reached.sensitivity:.2f}, specificity {reached.specificity:.2f}"


def _in_precision(reached: Reached) -> str:
    precision = f"precision {reached.precision:.2f}" if reached.calls else "no precision, as nothing is called"
    return f"sensitivity {reached.sensitivity:.2f}, {precision}"
