"""Plots within a page."""

import base64
import dataclasses
import re
from pathlib import Path

WIDE = 1.6
"""A plot with at least this ratio of width to height gets the full width of the page."""


@dataclasses.dataclass(frozen=True)
class EmbeddedPlot:
    """A plot as a data URL, with its size in pixels (0 if the file has none)."""

    name: str
    title: str
    text: str
    source: str
    width: int
    height: int

    @property
    def wide(self) -> bool:
        """Whether it gets the full width of the page."""
        return self.width > WIDE * self.height


def embedded(svg: Path, name: str, title: str, text: str) -> EmbeddedPlot:
    """Embed a plot's file, with a title, and a text that says what it shows."""
    content = svg.read_bytes()
    box = re.search(rb'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', content[:2000])
    width, height = (round(float(side)) for side in box.groups()) if box else (0, 0)
    source = "data:image/svg+xml;base64," + base64.b64encode(content).decode()
    return EmbeddedPlot(name, title, text, source, width, height)
