"""Plots of a search: the metric by trial, and the importance of each setting."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from medcls.plots.drawing import COLOURS, GREY, REPORT_WIDTH, new_figure, styled
from medcls.statistics.arrays import Floats

CROSS = "x"


def plot_history(
    numbers: Floats, values: Floats, metric: str, caption: str, *, maximise: bool, watermark: str | None = None
) -> Figure:
    """Plot the metric of each trial, and the best so far.

    Parameters
    ----------
    numbers, values : array of float
        The number of each trial, ascending, and its metric; NaN if it was not completed.
    metric : str
        Label of the axis.
    caption, watermark
        As in `plots.plot_confusion`.
    """
    with styled([metric, caption], watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 3.4)
        axes = figure.add_subplot()
        known = np.isfinite(values)
        best = np.maximum.accumulate(values[known]) if maximise else np.minimum.accumulate(values[known])
        axes.step(numbers[known], best, where="post", color=COLOURS[1], linewidth=1.6)
        axes.plot(numbers[known], values[known], "o", color=COLOURS[0], markersize=5)
        handles = [
            Line2D([], [], color=COLOURS[0], marker="o", linestyle="none"),
            Line2D([], [], color=COLOURS[1], linewidth=1.6),
        ]
        entries = ["trial", "best so far"]
        if not known.all():
            below = axes.get_xaxis_transform()  # on the axis: these have no value
            axes.plot(numbers[~known], np.zeros((~known).sum()), CROSS, color=GREY, transform=below, clip_on=False)
            handles.append(Line2D([], [], color=GREY, marker=CROSS, linestyle="none"))
            entries.append("failed or interrupted")
        axes.set_xlim(numbers.min() - 0.5, numbers.max() + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.set_xlabel("Trial")
        axes.set_ylabel(draw.fit(draw.short(metric, 60), 30))
        draw.key(axes, handles, entries)
        draw.finish(figure, caption)
    return figure


def plot_importance(shares: Mapping[str, float], caption: str, watermark: str | None = None) -> Figure:
    """Plot the importance of each setting as a bar.

    Parameters
    ----------
    shares : mapping of str to float
        From 0 to 1, by setting.
    caption, watermark
        As in `plots.plot_confusion`.
    """
    ordered = sorted(shares.items(), key=lambda one: one[1])
    with styled([*shares, caption], watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 1.1 + 0.42 * len(ordered))
        axes = figure.add_subplot()
        where = np.arange(len(ordered))
        axes.barh(where, [share for _, share in ordered], height=0.6, color=COLOURS[0])
        for place, (_, share) in zip(where, ordered, strict=True):
            axes.annotate(f"{share:.0%}", (share, place), (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(where, [draw.name(name, width=26, lines=2) for name, _ in ordered])
        axes.set_xlim(0, 1.08 * max(max(shares.values()), 0.1))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Importance")
        draw.finish(figure, caption)
    return figure
