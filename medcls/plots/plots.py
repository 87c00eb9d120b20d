"""Plots of a run's data, training and decisions; those of its scores are in `curves`.

Each function returns a `matplotlib.figure.Figure`, see `drawing`.
"""

import contextlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.ticker import MaxNLocator
from mlxtend.plotting import plot_confusion_matrix
from numpy.typing import ArrayLike, NDArray

from medcls.errors import MedclsError
from medcls.plots.drawing import COLOURS, LINES, REPORT_WIDTH, new_figure, styled
from medcls.statistics.digits import rounded

PHASE_SHADES = ("#ffffff", "#ededed")
TRAIN_COLOUR, VAL_COLOUR = COLOURS[0], COLOURS[1]
SPLIT_COLOURS = {
    "train": COLOURS[0],
    "val": COLOURS[1],
    "test": COLOURS[2],
    "held_out": COLOURS[3],
    "calibration": COLOURS[4],
}


def plot_confusion(matrix: ArrayLike, classes: Sequence[str], caption: str, watermark: str | None = None) -> Figure:
    """Plot a confusion matrix with counts and row shares, by mlxtend.

    Parameters
    ----------
    matrix : integer array (K, K)
        Rows are the true classes, as in `Metrics.confusion`.
    classes : sequence of str
        Class names in the order of rows and columns.
    caption : str
        Below the plot, as of `Predictions.caption`.
    watermark : str, optional
        Across the top of every plot of these images, as SYNTHETIC.

    Raises
    ------
    MedclsError
        The matrix is not K by K, or not of counts.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(classes), len(classes)) or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise MedclsError(
            f"A confusion matrix of {len(classes)} classes has {len(classes)} x {len(classes)} counts; this one has "
            f"the shape {counts.shape} and the type {counts.dtype}.",
            kind="wrong_shape",
        )
    k, support = len(classes), counts.sum(axis=1)
    side = min(1.0 + 1.15 * k, 16.0)
    with styled([*classes, caption], watermark) as draw:
        names = [draw.name(name) for name in classes]
        figure = new_figure(max(side + 1.6, 5.0), max(side + 1.2, 4.4))
        axes = figure.add_subplot()
        with _lent_to_pyplot(figure), np.errstate(invalid="ignore"):  # 0 / 0 for a class without cases
            plot_confusion_matrix(
                counts, show_absolute=True, show_normed=True, colorbar=False, figure=figure, axis=axes
            )
            shares = counts / support[:, None]
        cell = min(11.0, 11.0 * (side - 1.0) / k)  # full size for cells of an inch or more
        for text, count, share in zip(axes.texts, counts.ravel(), shares.ravel(), strict=True):
            text.set_text(f"{count}\n({'no case' if np.isnan(share) else rounded(share, 2)})")
            text.set_fontsize(cell)
        axes.set_facecolor("#e4e4e4")  # behind a class without cases, which has no shares
        axes.images[0].set_clim(0, 1)  # so that shades of two plots are comparable
        axes.set_xticks(range(k), names)
        if _is_long(names, k):
            for label in axes.get_xticklabels():
                label.set(rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(k), [f"{name}\n(n = {n})" for name, n in zip(names, support, strict=True)])
        axes.set_xlabel("Predicted class")
        axes.set_ylabel("True class")
        axes.set_title("Confusion matrix: images, and share of the true class")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        draw.finish(figure, caption)
    return figure


def plot_training(
    history: pd.DataFrame,
    phases: Sequence[tuple[str, int, int]],
    monitor: str,
    best_epoch: int | None,
    caption: str,
    watermark: str | None = None,
) -> Figure:
    """Plot a training: loss, metrics and learning rate by epoch, with the phases behind.

    The gap between training and validation loss is shaded, and `overfitting_warning` is the title.

    Parameters
    ----------
    history : DataFrame
        Column `epoch`, counted from 0, and those that exist of `train/loss`, `val/loss`, `train/accuracy`,
        `val/accuracy`, the monitored metric and learning rates (`lr...`). Several rows an epoch with gaps are merged.
    phases : sequence of (name, start, end)
        Freezing phases: `start` is the first epoch, `end` the first one after the phase.
    monitor : str
        The metric that chose the checkpoint, a column such as `val/auroc`.
    best_epoch : int or None
        The chosen epoch.
    caption, watermark
        As in `plot_confusion`.

    Raises
    ------
    MedclsError
        There is no column `epoch`.
    """
    table = _by_epoch(history)
    rates = [name for name in table.columns if str(name).startswith("lr") and table[name].notna().any()]
    with styled([caption, *(name for name, _, _ in phases), *map(str, table.columns)], watermark) as draw:
        figure = new_figure(REPORT_WIDTH, 9.6 if rates else 7.4)
        grid = figure.subplots(3 if rates else 2, 1, sharex=True, height_ratios=[3, 3, 1.6] if rates else [1, 1])
        losses, metrics = grid[0], grid[1]

        for column, colour in (("train/loss", TRAIN_COLOUR), ("val/loss", VAL_COLOUR)):
            _line(losses, table, column, colour, draw.name(column, lines=1))
        if {"train/loss", "val/loss"} <= set(table.columns):
            pair = table[["train/loss", "val/loss"]].dropna()
            losses.fill_between(
                pair.index,
                pair["train/loss"],
                pair["val/loss"],
                color=COLOURS[5],
                alpha=0.3,
                linewidth=0,
                label="gap between the two",
            )
        losses.set_ylabel("Loss")
        both = table[[column for column in ("train/loss", "val/loss") if column in table]].to_numpy(float)
        if np.isfinite(both).any():
            losses.set_ylim(min(0.0, np.nanmin(both)), np.nanmax(both) * 1.06 or None)

        shown = dict.fromkeys(["train/accuracy", "val/accuracy", monitor])
        looks = {"train/accuracy": (TRAIN_COLOUR, "-"), "val/accuracy": (VAL_COLOUR, "-")}
        for column in shown:
            colour, style = looks.get(column, (COLOURS[2], "-"))
            label = f"{column} (chose the checkpoint)" if column == monitor else column
            if column != "val/loss":  # already drawn above, on its own scale
                _line(metrics, table, column, colour, draw.name(label, lines=1), style)
        metrics.set_ylabel("Metric")
        values = table[[column for column in shown if column in table.columns and column != "val/loss"]].to_numpy(float)
        if values.size and np.nanmin(values, initial=0.0) >= 0 and np.nanmax(values, initial=1.0) <= 1:
            metrics.set_ylim(0, 1.02)

        if rates:
            for place, column in enumerate(rates):
                style = LINES[place % len(LINES)]
                _line(grid[2], table, column, COLOURS[place % len(COLOURS)], draw.name(column, lines=1), style)
            grid[2].set_ylabel("Learning rate")
            if (table[rates].min() > 0).all():
                grid[2].set_yscale("log")

        last = float(table.index.max()) if len(table) else 0.0
        # A number fits over a phase of any length; its name is in the legend.
        reached = [phase for phase in phases if phase[1] <= last]
        for place, (name, start, end) in enumerate(reached):
            until = int(min(end - 1, last))
            losses.annotate(
                str(place + 1),
                xy=((start + until) / 2, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=10,
                annotation_clip=False,
            )
            label = draw.fit(f"phase {place + 1}: {draw.short(name)}, epochs {start} to {until}", 44)
            losses.fill_between([], [], facecolor=PHASE_SHADES[place % 2], edgecolor="#555555", lw=0.8, label=label)
        for axes in grid:
            for place, (_, start, end) in enumerate(reached):
                axes.axvspan(start - 0.5, min(end - 0.5, last + 0.5), color=PHASE_SHADES[place % 2], lw=0, zorder=0)
                if start > 0:
                    axes.axvline(start - 0.5, color="#555555", linewidth=0.8)
            if best_epoch is not None:
                axes.axvline(best_epoch, color=COLOURS[2], linewidth=1.2, linestyle="--", zorder=1)
            if axes.get_legend_handles_labels()[0]:
                # Above the axes and the numbers of the phases; beside the axes it would take half the width.
                above = 1.09 if axes is losses and reached else 1.02
                axes.legend(loc="lower left", bbox_to_anchor=(0.0, above), borderaxespad=0, fontsize=10)
        if best_epoch is not None:
            on_the_left = best_epoch > last / 2
            metrics.annotate(
                f"best epoch {best_epoch} ",
                xy=(best_epoch, 0.03),
                xycoords=("data", "axes fraction"),
                xytext=(-4 if on_the_left else 4, 0),
                textcoords="offset points",
                ha="right" if on_the_left else "left",
                fontsize=10,
                color=COLOURS[2],
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
            )
        grid[-1].set_xlabel("Epoch (counted from 0)")
        grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        grid[-1].set_xlim(-0.5, last + 0.5)
        warning = overfitting_warning(history)
        figure.suptitle(textwrap.fill(warning, 58) if warning else "Training", color=COLOURS[1] if warning else "black")
        draw.finish(figure, caption)
    return figure


def overfitting_warning(history: pd.DataFrame) -> str | None:
    """Return a warning if a training overfits.

    Losses are medians of five epochs, so that one epoch neither triggers the warning nor sets the minimum. It is given
    if at the end the validation loss is well above the training loss (by at least 0.1, and at least double) and either

    - has risen: each of the last five epochs is at least 1.25 times its lowest median, while the training loss fell
      further since then; a rise of both is a learning rate too high, not overfitting; or
    - the training loss is under 0.01 (a mean probability of 99% for the true class) and the validation loss above
      log 2, that of a constant probability of 50%.

    Parameters
    ----------
    history : DataFrame
        As in `plot_training`.

    Returns
    -------
    str or None
        None without overfitting, or with fewer than five epochs.
    """
    table = _by_epoch(history)
    if not {"train/loss", "val/loss"} <= set(table.columns):
        return None
    losses = table[["train/loss", "val/loss"]].dropna()
    if len(losses) < 5:
        return None
    last_five = losses["val/loss"].tail(5)
    losses = losses.rolling(5, center=True).median().dropna()
    train, val = losses["train/loss"].to_numpy(), losses["val/loss"].to_numpy()
    lowest = int(val.argmin())
    risen = last_five.min() >= 1.25 * val[lowest] and train[-1] < train[lowest]
    memorised = train[-1] < 0.01 and val[-1] > np.log(2)
    if val[-1] - train[-1] < 0.1 or val[-1] < 2 * train[-1] or not (risen or memorised):
        return None
    rise = f"has risen from {val[lowest]:.3g} (epoch {losses.index[lowest]}) to {val[-1]:.3g}"
    return (
        f"Overfitting: the training loss has fallen to {train[-1]:.2g} while the validation loss "
        f"{rise if risen else f'stays at {val[-1]:.3g}'}. The network has memorised its training images: use more "
        "images, stronger augmentation, more frozen layers or fewer epochs."
    )


def plot_images(
    images: Sequence[NDArray[np.uint8]], titles: Sequence[str], caption: str, watermark: str | None = None
) -> Figure:
    """Plot images in a grid, each with its title: training images as the network receives them.

    Parameters
    ----------
    images : sequence of uint8 array (H, W, 3) or (H, W)
    titles : sequence of str
        One an image: its class.
    caption, watermark
        As in `plot_confusion`.

    Raises
    ------
    MedclsError
        No images, not one title an image, or arrays that are not 8-bit images.
    """
    if not len(images) or len(images) != len(titles):
        raise MedclsError(
            f"{len(images)} images and {len(titles)} titles: give at least one image, each with a title.",
            kind="images_without_titles",
        )
    for place, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
            raise MedclsError(
                f"Image {place} is {image.dtype} of shape {image.shape}, not 8-bit grey (H, W) or RGB (H, W, 3).",
                kind="wrong_shape",
            )
    columns = min(len(images), 6)
    rows = -(-len(images) // columns)
    with styled([*titles, caption], watermark) as draw:
        figure = new_figure(max(1.75 * columns + 0.3, 4.0), 2.05 * rows + 0.8)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
            axes.set(xticks=[], yticks=[])  # measured in the layout even if not drawn
        for axes, image, title in zip(grid[: len(images)], images, titles, strict=True):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(draw.name(title, width=22, lines=2), fontsize=9)
        draw.finish(figure, caption)
    return figure


def plot_data(
    counts: pd.DataFrame,
    intensities_before: Mapping[str, ArrayLike],
    intensities_after: Mapping[str, ArrayLike],
    classes: Sequence[str],
    caption: str,
    watermark: str | None = None,
) -> Figure:
    """Plot the data set: images of each class by split, and pixel intensities before and after preprocessing.

    The intensities are by class, because a class that differs in brightness can be recognised without any anatomy.

    Parameters
    ----------
    counts : DataFrame
        Images: one row a split (indexed by name), one column a class.
    intensities_before, intensities_after : mapping of str to array (m,)
        For each class a sample of pixel values, as decoded and as the network receives them.
    classes : sequence of str
        Class names, in order.
    caption, watermark
        As in `plot_confusion`.

    Raises
    ------
    MedclsError
        The counts or the intensities lack a class.
    """
    for what, has in (("counts", counts.columns), ("before", intensities_before), ("after", intensities_after)):
        lacking = [name for name in classes if name not in has]
        if lacking:
            raise MedclsError(
                f"The {what} of the data plot lack the class(es) {', '.join(lacking)}.", kind="missing_class"
            )
    splits = [str(name) for name in counts.index]
    with styled([*classes, *splits, caption], watermark) as draw:
        names = [draw.name(name) for name in classes]
        figure = new_figure(11.0, 3.2 + max(2.4, 0.16 * len(splits) * len(classes) + 0.8))
        layout = figure.add_gridspec(2, 2, height_ratios=[max(2.4, 0.16 * len(splits) * len(classes) + 0.8), 2.6])

        bars = figure.add_subplot(layout[0, :])
        thick = 0.84 / max(len(splits), 1)
        for place, split in enumerate(splits):
            numbers = [int(counts.iloc[place][name]) for name in classes]
            where = np.arange(len(classes)) + (place - (len(splits) - 1) / 2) * thick
            colour = SPLIT_COLOURS.get(split, COLOURS[5 + place % 2])
            drawn = bars.barh(where, numbers, thick * 0.92, color=colour)
            drawn.set_label(f"{draw.name(split, lines=1)} (n = {sum(numbers)})")
            bars.bar_label(drawn, labels=[str(number) for number in numbers], padding=3, fontsize=9)
        bars.set_yticks(range(len(classes)), names)
        bars.set_ylim(len(classes) - 0.45, -0.55)
        bars.margins(x=0.08, y=0)
        bars.grid(axis="y", visible=False)
        bars.xaxis.set_major_locator(MaxNLocator(integer=True))
        bars.set_xlabel("Images")
        bars.set_title("Images of each class, by split")
        bars.legend(*bars.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(1.01, 1.0))

        for column, (samples, title, unit) in enumerate(
            (
                (intensities_before, "Intensities as decoded", "Pixel value"),
                (intensities_after, "Intensities as the network receives them", "Value after preprocessing"),
            )
        ):
            axes = figure.add_subplot(layout[1, column])
            values = {name: np.asarray(samples[name], np.float64).ravel() for name in classes}
            pooled = np.concatenate(list(values.values()))
            edges = _edges(pooled)
            handles: list[StepPatch] = []
            for place, name in enumerate(classes):
                style = LINES[place // len(COLOURS) % len(LINES)]
                share = np.histogram(values[name], edges)[0] / max(values[name].size, 1)
                line = axes.stairs(share, edges, color=COLOURS[place % len(COLOURS)], linestyle=style, linewidth=1.4)
                handles.append(line)
            axes.set_xlabel(unit)
            axes.set_ylabel("Share of pixels (log)")
            axes.set_title(title)
            # On a linear scale the black background of many scans would hide everything else.
            axes.set_yscale("log")
            axes.set_ylim(1e-4, 1)
        axes.legend(handles, names, loc="upper left", bbox_to_anchor=(1.01, 1.0))
        draw.finish(figure, caption)
    return figure


@contextlib.contextmanager
def _lent_to_pyplot(figure: Figure) -> Iterator[None]:
    """Make `figure` pyplot's current one, without a window, within the block.

    mlxtend labels the axes of pyplot's current figure whichever figure it is given. It would relabel a figure that the
    caller has open, or leave an empty one.
    """
    manager = FigureCanvasAgg.new_manager(figure, max(Gcf.figs, default=0) + 1)
    Gcf.set_active(manager)
    try:
        yield
    finally:
        Gcf.destroy(manager)


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of about 64 bins; between integers if all values are integers, so that bins hold equally many."""
    if not values.size:
        return np.array([0.0, 1.0])
    if (values == np.rint(values)).all():
        step = max(1, -(-int(np.ptp(values) + 1) // 64))
        return np.arange(values.min() - 0.5, values.max() + step + 0.5, step)
    return np.histogram_bin_edges(values, bins=64)


def _is_long(names: Sequence[str], k: int) -> bool:
    """Whether names side by side under K columns would overlap."""
    return max(len(line) for name in names for line in name.split("\n")) > 13 or k > 8


def _line(axes: Axes, table: pd.DataFrame, column: str, colour: str, label: str, style: str = "-") -> None:
    """Draw one column by epoch, if it exists; few points are marked, because one epoch makes no line."""
    if column in table.columns and table[column].notna().any():
        drawn = table[column].dropna()
        axes.plot(drawn.index, drawn, style, color=colour, label=label, marker="o" if len(drawn) < 3 else None)


def _by_epoch(history: pd.DataFrame) -> pd.DataFrame:
    """Merge a history to one row an epoch: a logger writes several, each with gaps."""
    if "epoch" not in history.columns:
        raise MedclsError(
            f"The training history has no column 'epoch'; it has {', '.join(map(str, history.columns))}.",
            kind="missing_column",
        )
    rows = history.dropna(subset="epoch")
    return rows.assign(epoch=rows["epoch"].astype(int)).groupby("epoch").last().sort_index()
