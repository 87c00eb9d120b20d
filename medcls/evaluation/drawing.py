"""What every figure shares: one style, names made drawable, caption and stamp, and how it is written.

A figure belongs to nobody else: pyplot's figures and settings are as they were.
"""

import contextlib
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from medcls.evaluation.lettering import drawable, font_families
from medcls.writing import whole

# Okabe and Ito's palette, told apart by people with any of the common colour blindnesses; its yellow is left
# out, being too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")  # with more classes than colours the line tells them apart

STYLE: dict[Any, Any] = {  # what it may hold is matplotlib's to say
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
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
    "svg.hashsalt": "medcls",  # equal figures are equal files
    "text.usetex": False,
}


class Drawing:
    """One figure being drawn: how its names are written, and what stands above and below."""

    def __init__(self, missing: frozenset[str], stamp: str | None) -> None:
        self.missing, self.stamp = missing, stamp

    def name(self, text: str, width: int = 18, lines: int = 3) -> str:
        """Make a given text drawable and of bounded length: an ellipsis takes the place of its middle."""
        room = width * lines if lines > 1 else 40
        if len(text) > room:
            text = f"{text[: room * 2 // 3]}…{text[-(room // 3 - 1) :]}"
        # Drawable last: a cut through an escaped character would leave half of it.
        broken = textwrap.wrap(text, width, break_long_words=True) if lines > 1 else [text]
        return "\n".join(drawable(part, self.missing) for part in broken) or " "

    def finish(self, figure: Figure, caption: str) -> None:
        """Write the caption below, and the stamp across the top."""
        characters = max(int(figure.get_figwidth() * 13), 40)
        wrapped = [line for part in caption.split("\n") for line in textwrap.wrap(part, characters) or [""]]
        figure.supxlabel("\n".join(drawable(line, self.missing) for line in wrapped), fontsize=9, color="#333333")
        if self.stamp:
            figure.text(
                0.5,
                1.0,
                drawable(self.stamp, self.missing),
                transform=figure.transFigure + ScaledTranslation(0, 12 / 72, figure.dpi_scale_trans),
                ha="center",
                va="bottom",
                fontsize=11,
                color="white",
                bbox={"facecolor": "#B00020", "edgecolor": "none", "boxstyle": "square,pad=0.35"},
            )


@contextlib.contextmanager
def styled(texts: Iterable[str], stamp: str | None) -> Iterator[Drawing]:
    """Apply the style, in fonts that have every character of the texts, for the length of the block."""
    families, missing = font_families([*texts, stamp or ""])
    with matplotlib.rc_context({**STYLE, "font.family": families}):
        yield Drawing(missing, stamp)


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
    with matplotlib.rc_context({name: STYLE[name] for name in ("savefig.dpi", "savefig.facecolor", "svg.hashsalt")}):
        for target, form, metadata in ((png, "png", {}), (svg, "svg", {"Date": None})):
            with whole(target) as temporary:
                figure.savefig(temporary, format=form, metadata=metadata, bbox_inches="tight", pad_inches=0.12)
    return png, svg
