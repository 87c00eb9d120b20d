"""What every figure shares: one style, names made drawable, caption and stamp, and how it is written.

A figure belongs to nobody else: pyplot's figures and settings are as they were.
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

# Okabe and Ito's palette, told apart by people with any of the common colour blindnesses; its yellow is left
# out, being too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#777777"
LINES = ("-", "--", "-.", ":")  # with more classes than colours the line tells them apart

# A figure of a report is shown 360 pixels wide on a phone: 10 pt of it are then nine pixels high.
REPORT_WIDTH = 5.4
KEY_COLUMNS = 58  # what fits below a figure of that width

_FILLER = "\x00"  # stands for a column and is never drawn

# A third of the time of Pillow's own 6, for a file larger by 2 % (photographs) to 13 % (curves): a run waits for it.
PNG_COMPRESSION = 3

_FILE_STYLE: dict[Any, Any] = {  # what counts when a figure is written
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "svg.hashsalt": "medcls",  # equal figures are equal files
}
STYLE: dict[Any, Any] = {  # what it may hold is matplotlib's to say
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
    """One figure being drawn: how its names are written, and what stands above and below."""

    def __init__(self, missing: frozenset[str], watermark: str | None) -> None:
        self.missing, self.watermark = missing, watermark

    def short(self, text: str, columns: int = 40) -> str:
        """Bring a given text to a bounded length: an ellipsis takes the place of its middle."""
        text = " ".join(text.split())
        padded = self._padded(text)
        if len(padded) <= columns:
            return text
        return f"{padded[: columns * 2 // 3]}…{padded[-(columns // 3 - 1) :]}".replace(_FILLER, "")

    def fit(self, text: str, columns: int) -> str:
        """Break a text into lines of so many columns, and make it drawable."""
        broken = (part.replace(_FILLER, "") for part in textwrap.wrap(self._padded(text), columns))
        # Drawable last: a cut through an escaped character would leave half of it.
        return "\n".join(drawable(part, self.missing) for part in broken if part) or " "

    def name(self, text: str, width: int = 18, lines: int = 3) -> str:
        """Make a given text drawable and of bounded length, on several lines or on one."""
        if lines == 1:
            return drawable(self.short(text), self.missing) or " "
        return self.fit(self.short(text, width * lines), width)

    def key(self, axes: Axes, handles: Sequence[Artist | Container], entries: Sequence[str]) -> None:
        """Explain what is drawn below the axes, where nothing is covered, in a figure that grows by as much.

        The handles are given in so many words: from a label alone a name with a leading underscore would be left out.
        """
        fitted = [self.fit(entry, KEY_COLUMNS) for entry in entries]
        figure = axes.get_figure(root=True)
        if figure is None or not fitted:
            return
        below = axes.transAxes + ScaledTranslation(-0.55, -0.54, figure.dpi_scale_trans)
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
        figure.set_figheight(figure.get_figheight() + (lines * 12 + len(fitted) * 5) / 72)

    def finish(self, figure: Figure, caption: str) -> None:
        """Write the caption below, and the stamp across the top."""
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
        """As many characters as the text takes columns: Chinese takes two, a code point written out eight."""
        return "".join(
            character + _FILLER * (len(drawable(character, self.missing)) - 1 if character in self.missing else wide)
            for character, wide in ((one, unicodedata.east_asian_width(one) in "WF") for one in text)
        )


@contextlib.contextmanager
def styled(texts: Iterable[str], watermark: str | None) -> Iterator[Drawing]:
    """Apply the style, in fonts that have every character of the texts, for the length of the block."""
    families, missing = font_families([*texts, watermark or ""])
    with matplotlib.rc_context({**STYLE, "font.family": families}):
        yield Drawing(missing, watermark)


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of that many inches that pyplot does not know."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write a figure as PNG and as SVG, each whole or not at all.

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
        with atomic_write(png) as temporary:
            figure.savefig(temporary, format="png", bbox_inches=area, pil_kwargs={"compress_level": PNG_COMPRESSION})
        with atomic_write(svg) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None}, bbox_inches=area)
    return png, svg


@contextlib.contextmanager
def _laid_out(figure: Figure) -> Iterator[BboxBase]:
    """Place everything once for all files, and yield the area in inches that is not blank.

    Left to `savefig`, each file would be laid out for itself and drawn twice, once only to measure it.
    """
    engine, dpi = figure.get_layout_engine(), figure.get_dpi()
    try:
        figure.set_dpi(_FILE_STYLE["savefig.dpi"])  # letters are measured in whole pixels of the PNG
        if engine is not None:
            engine.execute(figure)
        figure.set_layout_engine(None)  # with "none" there would still be an engine, and each file be drawn twice
        yield figure.get_tightbbox().padded(0.12)
    finally:
        figure.set_layout_engine(engine)
        figure.set_dpi(dpi)
