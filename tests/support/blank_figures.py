"""Empty figures for the tests that do not look at them: drawing is half the time of a run on a few tiny images."""

import functools
import inspect
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from medcls.plots import curves, plots


def _empty_png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (72, 72), "white").save(stream, "png")
    return stream.getvalue()


EMPTY = {
    "png": _empty_png(),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="72pt" viewBox="0 0 72 72"></svg>',
}


class BlankFigures:
    """Stands in the place of what makes and writes figures: nothing is drawn, unless `drawn` is set."""

    drawn = False

    def install(self) -> None:
        """Put itself into matplotlib and the package, for the rest of the process."""
        Figure.savefig = self._instead(Figure.savefig, _write_empty)  # type: ignore[method-assign]
        Figure.get_tightbbox = self._instead(Figure.get_tightbbox, _one_inch)  # type: ignore[method-assign]
        # Before anything imports them by name.
        for module in (plots, curves):
            found = [one for one in inspect.getmembers(module, inspect.isfunction) if one[0].startswith("plot_")]
            assert found, f"no function of {module.__name__} draws a plot"
            for name, make in found:
                setattr(module, name, self._instead(make, _empty_figure))

    def _instead(self, real: Callable[..., Any], blank: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def either(*arguments: Any, **settings: Any) -> Any:
            return (real if self.drawn else blank)(*arguments, **settings)

        return either


def _write_empty(_: Figure, path: Path, *, format: str, **__: object) -> None:
    path.write_bytes(EMPTY[format])


def _one_inch(*_: object, **__: object) -> Bbox:
    return Bbox.unit()


def _empty_figure(*_: object, **__: object) -> Figure:
    return Figure()
