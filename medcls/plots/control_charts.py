"""Plots of a monitoring: a control chart, and a distribution beside that of the reference."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from medcls.plots.drawing import COLOURS, GREY, REPORT_WIDTH, new_figure, styled
from medcls.statistics.arrays import Floats

BINS = 25
MOST_LABELS = 12  # of periods on an axis


def plot_distribution(
    new: Floats, reference: Floats, name: str, split: str, caption: str, watermark: str | None = None
) -> Figure:
    """Plot the distribution of a number among new images and in the reference, each as shares of its images.

    Parameters
    ----------
    new, reference : array of float
        Finite values.
    name : str
        Label of the axis.
    split : str
        Name of the reference.
    caption, watermark
        As in `plots.plot_confusion`.
    """
    with styled([name, split, caption], watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 3.2)
        axes = figure.add_subplot()
        edges = np.histogram_bin_edges(np.concatenate([new, reference]), BINS)
        of_reference, of_new = (np.histogram(values, edges)[0] / len(values) for values in (reference, new))
        axes.stairs(of_reference, edges, fill=True, color=GREY, alpha=0.45)
        axes.stairs(of_new, edges, color=COLOURS[0], linewidth=1.8)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_ylabel("Share of images")
        axes.set_xlabel(draw.fit(draw.short(name, 50), 60))
        handles = [Line2D([], [], color=COLOURS[0]), Patch(facecolor=GREY, alpha=0.45)]
        draw.key(axes, handles, [f"new, n = {len(new):,}", f"{draw.short(split)}, n = {len(reference):,}"])
        draw.finish(figure, caption)
    return figure


def plot_control_chart(rows: pd.DataFrame, name: str, split: str, caption: str, watermark: str | None = None) -> Figure:
    """Plot a share by period with its 95% interval, and the control limits from the reference.

    Parameters
    ----------
    rows : DataFrame
        `evaluation.monitoring.Monitoring.periods` of one share.
    name : str
        Label of the axis.
    split : str
        Name of the reference.
    caption, watermark
        As in `plots.plot_confusion`.
    """
    periods = rows["period"].astype(str).tolist()
    with styled([name, split, caption, *periods], watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 3.4)
        axes = figure.add_subplot()
        where = np.arange(len(rows))
        share, low, high, lower, upper, centre = (
            rows[column].to_numpy(np.float64) for column in ("share", "low", "high", "lower", "upper", "centre")
        )
        edges = np.append(where - 0.5, len(rows) - 0.5)
        axes.stairs(upper, edges, baseline=lower, fill=True, color=GREY, alpha=0.18)
        axes.plot(edges[[0, -1]], centre[[0, 0]], color=GREY, linewidth=1.2, linestyle="--")
        axes.vlines(where, low, high, color=COLOURS[0], linewidth=1.4)
        axes.plot(where, share, color=COLOURS[0], linewidth=0.8)
        beyond = rows["outside"].to_numpy(bool)
        axes.plot(where[~beyond], share[~beyond], "o", color=COLOURS[0])
        axes.plot(where[beyond], share[beyond], "D", color=COLOURS[1], markersize=8)
        shown = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_LABELS)).round().astype(int))
        longest = max(len(period) for period in periods)
        axes.set_xticks(shown, [draw.name(periods[place], lines=1) for place in shown])
        if longest * len(shown) > 50:
            axes.tick_params(axis="x", labelrotation=40)
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_ylabel(draw.fit(draw.short(name, 60), 30))
        handles = [
            Line2D([], [], color=COLOURS[0], marker="o", linewidth=1.4),
            Patch(facecolor=GREY, alpha=0.25),
            Line2D([], [], color=GREY, linestyle="--", linewidth=1.2),
        ]
        entries = [
            "period, with its 95% interval",
            "within the control limits",
            f"{draw.short(split)}: {centre[0]:.1%}",
        ]
        if beyond.any():
            handles.append(Line2D([], [], color=COLOURS[1], marker="D", linestyle="none", markersize=8))
            entries.append("outside the control limits")
        draw.key(axes, handles, entries)
        draw.finish(figure, caption)
    return figure
