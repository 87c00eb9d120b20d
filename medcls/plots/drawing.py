"""Shared by all plots: the style, drawable names, caption and watermark, and files.

pyplot's figures and settings are not changed.
"""

import contextlib
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.transforms import BboxBase, ScaledTranslation

from medcls.plots.lettering import drawable, font_families
from medcls.writing import atomic_write

# Okabe and Ito's palette, distinct with any common colour blindness, without its yellow, which is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#777777"
LINES = ("-", "--", "-.", ":")  # for more classes than colours

# A plot of a report is 360 pixels wide on a phone: 10 pt are then nine pixels high.
REPORT_WIDTH = 5.4
KEY_COLUMNS = 58  # what fits below a plot of that width

_FILLER = "\x00"  # stands for a column and is never drawn

# A third of the time of Pillow's default 6, for files larger by 2 % (photographs) to 13 % (curves).
PNG_COMPRESSION = 3

_FILE_STYLE: dict[Any, Any] = {  # of files
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "svg.hashsalt": "medcls",  # equal plots are equal files
}
STYLE: dict[Any, Any] = {  # as matplotlib types rcParams
    **_FILE_STYLE,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "figure.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "text.usetex": False,
}


class Drawing:
    """A plot being drawn: its names, key, caption and watermark."""

    def __init__(self, missing: frozenset[str], watermark: str | None) -> None:
        self.missing, self.watermark = missing, watermark

    def short(self, text: str, columns: int = 40) -> str:
        """Shorten a text to a number of columns, with an ellipsis in its middle."""
        text = " ".join(text.split())
        padded = self._padded(text)
        if len(padded) <= columns:
            return text
        return f"{padded[: columns * 2 // 3]}…{padded[-(columns // 3 - 1) :]}".replace(_FILLER, "")

    def fit(self, text: str, columns: int) -> str:
        """Wrap a text to a number of columns, and make it drawable."""
        broken = (part.replace(_FILLER, "") for part in textwrap.wrap(self._padded(text), columns))
        # Drawable last, so that no escaped character is cut.
        return "\n".join(drawable(part, self.missing) for part in broken if part) or " "

    def name(self, text: str, width: int = 18, lines: int = 3) -> str:
        """Make a name drawable and of bounded length, on one line or several."""
        if lines == 1:
            return drawable(self.short(text), self.missing) or " "
        return self.fit(self.short(text, width * lines), width)

    def key(self, axes: Axes, handles: Sequence[Artist | Container], entries: Sequence[str]) -> None:
        """Write the key below the label of the horizontal axis, and enlarge the figure by its height.

        The handles are explicit, because matplotlib leaves out labels with a leading underscore.
        """
        fitted = [self.fit(entry, KEY_COLUMNS) for entry in entries]
        figure = axes.get_figure(root=True)
        if figure is None or not fitted:
            return
        further_lines = axes.get_xlabel().count("\n") * float(axes.xaxis.label.get_fontsize()) * 1.25 / 72
        below = axes.transAxes + ScaledTranslation(-0.55, -0.54 - further_lines, figure.dpi_scale_trans)
        axes.legend(
            handles,
            fitted,
            loc="upper left",
            bbox_to_anchor=(0, 0),
            bbox_transform=below,
            borderaxespad=0,
            borderpad=0,
            fontsize=10,
        )
        lines = sum(entry.count("\n") + 1 for entry in fitted)
        figure.set_figheight(figure.get_figheight() + (lines * 12 + len(fitted) * 5) / 72 + further_lines)

    def finish(self, figure: Figure, caption: str) -> None:
        """Write the caption below, and the watermark across the top."""
        characters = max(int(figure.get_figwidth() * 13), 40)
        wrapped = [self.fit(part, characters) for part in caption.split("\n")]
        figure.supxlabel("\n".join(wrapped), fontsize=9, color="#333333")
        lines = sum(part.count("\n") + 1 for part in wrapped)
        figure.set_figheight(figure.get_figheight() + (lines - 1) * 11 / 72)
        if self.watermark:
            figure.text(
                0.5,
                1.0,
                drawable(self.watermark, self.missing),
                transform=figure.transFigure + ScaledTranslation(0, 12 / 72, figure.dpi_scale_trans),
                ha="center",
                va="bottom",
                fontsize=11,
                color="white",
                bbox={"facecolor": "#B00020", "edgecolor": "none", "boxstyle": "square,pad=0.35"},
            )

    def _padded(self, text: str) -> str:
        """Pad a text to one character a column: Chinese takes two, a written code point eight."""
        return "".join(
            character + _FILLER * (len(drawable(character, self.missing)) - 1 if character in self.missing else wide)
            for character, wide in ((each, unicodedata.east_asian_width(each) in "WF") for each in text)
        )


@contextlib.contextmanager
def styled(texts: Iterable[str], watermark: str | None) -> Iterator[Drawing]:
    """Apply the style, with fonts that have every character of the texts, within the block."""
    families, missing = font_families([*texts, watermark or ""])
    with matplotlib.rc_context({**STYLE, "font.family": families}):
        yield Drawing(missing, watermark)


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of a size in inches that pyplot does not know."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write a plot as PNG and as SVG, each atomically.

    Parameters
    ----------
    path : Path
        Without a suffix, or with one of the two.

    Returns
    -------
    tuple of Path
        The PNG and the SVG.
    """
    stem = path.with_suffix("") if path.suffix.lower() in (".png", ".svg") else path
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    with matplotlib.rc_context(_FILE_STYLE), _laid_out(figure) as area:
        _write_png(figure, png, area)
        with atomic_write(svg) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None}, bbox_inches=area)
    return png, svg


def save_png(figure: Figure, path: Path) -> None:
    """Write a plot as PNG alone, atomically: one of images is much larger as SVG."""
    with matplotlib.rc_context(_FILE_STYLE), _laid_out(figure) as area:
        _write_png(figure, path, area)


def _write_png(figure: Figure, path: Path, area: BboxBase) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches=area, pil_kwargs={"compress_level": PNG_COMPRESSION})


@contextlib.contextmanager
def _laid_out(figure: Figure) -> Iterator[BboxBase]:
    """Lay out the figure once for all files, and yield the area in inches that is not blank.

    `savefig` alone would lay out each file separately and draw it twice, once to measure it.
    """
    engine, dpi = figure.get_layout_engine(), figure.get_dpi()
    try:
        figure.set_dpi(_FILE_STYLE["savefig.dpi"])  # text is measured in whole pixels of the PNG
        if engine is not None:
            engine.execute(figure)
        figure.set_layout_engine(None)  # "none" would leave an engine, and each file would be drawn twice
        yield figure.get_tightbbox().padded(0.12)
    finally:
        figure.set_layout_engine(engine)
        figure.set_dpi(dpi)
