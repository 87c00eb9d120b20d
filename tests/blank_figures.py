"""Empty figures for the tests that do not look at them: drawing is half the time of a run on a few tiny images."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox
from PIL import Image


def _empty_png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (72, 72), "white").save(stream, "png")
    return stream.getvalue()


EMPTY = {
    "png": _empty_png(),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="72pt" viewBox="0 0 72 72"></svg>',
}


class BlankFigures:
    """Stands between a figure and its file: nothing is laid out or drawn, unless `drawn` is set."""

    drawn = False

    def install(self) -> None:
        """Put itself into matplotlib, for the rest of the process."""
        Figure.savefig = self._instead(Figure.savefig, _write_empty)  # type: ignore[method-assign]
        Figure.get_tightbbox = self._instead(Figure.get_tightbbox, _one_inch)  # type: ignore[method-assign]
        execute = self._instead(ConstrainedLayoutEngine.execute, lambda *_: None)
        ConstrainedLayoutEngine.execute = execute  # type: ignore[method-assign]

    def _instead(self, real: Callable[..., Any], blank: Callable[..., Any]) -> Callable[..., Any]:
        def either(*arguments: Any, **settings: Any) -> Any:
            return (real if self.drawn else blank)(*arguments, **settings)

        return either


def _write_empty(_: Figure, path: Path, *, format: str, **__: object) -> None:
    path.write_bytes(EMPTY[format])


def _one_inch(*_: object, **__: object) -> Bbox:
    return Bbox.unit()
