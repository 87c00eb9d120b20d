"""What `medcls.explain` draws of each image, and writes about it."""

import dataclasses
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from medcls.csv_escaping import escaped
from medcls.data.reading import images
from medcls.data.reading.decoded import UnreadableImage
from medcls.data.reading.thumbnails import shrunk
from medcls.data.sources.named_images import NamedImages
from medcls.errors import MedclsError, nearest
from medcls.inference.explain import METHODS, WINDOW, HeatMap, explain
from medcls.inference.load import ClassLogits
from medcls.inference.model import Model
from medcls.plots import drawing, heat_maps
from medcls.report.phrases import isolated
from medcls.wording import at_start

log = logging.getLogger(__name__)

LONGEST = 480  # pixels of an image in the plot

TITLES = {"grad_cam": "Grad-CAM", "occlusion": "Occlusion"}

COLUMNS = (
    "path", "heat_map", "class", "probability", "predicted", "method", "layers", "rows", "columns", "scale",
    "description", "error", "error_kind", "checkpoint",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a person asked for.

    Parameters
    ----------
    class_name : str or None
        The class to explain; None for the predicted one.
    method, layer, window
        As in `inference.explain.explain`; None for their defaults.
    """

    class_name: str | None
    method: str
    layer: str | None
    window: float | None

    def check(self, classes: Sequence[str]) -> None:
        """Refuse what does not fit a network of these classes.

        Raises
        ------
        MedclsError
            An unknown class or method, or a window out of range.
        """
        if self.method not in METHODS:
            raise MedclsError(f"method is {self.method!r}: choose {' or '.join(METHODS)}.", kind="bad_value")
        if self.class_name is not None and str(self.class_name) not in classes:
            raise MedclsError(
                f"class_name={self.class_name}: the classes are {', '.join(classes)}."
                f"{nearest(str(self.class_name), classes)}",
                kind="unknown_class",
            )
        if self.window is not None and not (isinstance(self.window, float) and 0 < self.window <= 0.5):
            raise MedclsError(
                f"window is {self.window!r}: give a share of the image's sides, above 0 and at most 0.5.",
                kind="bad_value",
            )


@dataclasses.dataclass(frozen=True)
class NamedFile:
    """An image: its path for the table, its file, and the PNG file to draw, below the folder of results."""

    path: str
    file: str
    drawn: str


def files_of(named: NamedImages) -> Iterator[NamedFile]:
    """Name a PNG file for each image: `heat_maps/SUB/NAME.png`, or `NAME.jpg.png` if another would have it too."""
    pairs = list(named)
    absolute = [os.path.abspath(file) for _, file in pairs]
    top = os.path.commonpath([os.path.dirname(file) for file in absolute])
    relative = [PurePath(os.path.relpath(file, top)) for file in absolute]
    # Some file systems do not distinguish upper from lower case.
    shared = Counter(str(path.with_suffix("")).lower() for path in relative)
    for (path, file), below in zip(pairs, relative, strict=True):
        alone = shared[str(below.with_suffix("")).lower()] == 1
        png = below.with_name(f"{below.stem if alone else below.name}.png")
        yield NamedFile(path, file, (PurePath("heat_maps") / png).as_posix())


def explain_file(model: Model, network: ClassLogits, image: NamedFile, asked: Asked, folder: Path) -> dict[str, Any]:
    """Draw the heat map of one image into a folder; return its row of the table.

    Raises
    ------
    MedclsError
        The network has no heat map. An image that cannot be read has a row with the reason instead.
    """
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"path": image.path, "checkpoint": model.checkpoint}
    try:
        decoded, pixels = model.decode_and_resize(image.file)
    except UnreadableImage as error:
        return row | {"error": error.reason, "error_kind": error.kind}
    prediction = model.judge_pixels([pixels])[0]
    predicted = prediction.decision or prediction.name
    name = predicted if asked.class_name is None else str(asked.class_name)
    found = explain(
        network,
        model.preprocessing,
        pixels,
        model.classes.index(name),
        asked.method,
        layer=asked.layer,
        window=WINDOW if asked.window is None else asked.window,
    )
    small = shrunk(decoded.pixels, LONGEST)
    values = images.resize_back(found.values, small.shape[:2], decoded.pixels.shape[:2], model.preprocessing.resize)
    description, probability = heat_maps.described(values), prediction.probabilities[name]
    caption = (
        f"{PurePath(image.file).name}, predicted {isolated(predicted)}: probability of {isolated(name)} "
        f"{probability:.3f}\n{at_start(description)}. {_detail(found)}"
    )
    figure = heat_maps.plot_heat_map(
        small,
        values,
        f"{TITLES[found.method]} for {isolated(name)}",
        "share of the maximum",
        caption,
        " · ".join(model.watermarks) or None,
    )
    drawing.save_png(figure, folder / image.drawn)
    rows, columns = found.fields
    return row | {
        "heat_map": image.drawn,
        "class": name,
        "probability": probability,
        "predicted": predicted,
        "method": found.method,
        "layers": " ".join(found.layers),
        "rows": rows,
        "columns": columns,
        "scale": found.scale,
        "description": description,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV."""
    return escaped(pd.DataFrame(rows, columns=list(COLUMNS))).to_csv(index=False, lineterminator="\n")


def log_results(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Log how many heat maps there are and where, and how many images cannot be read or have none."""
    drawn = [row for row in rows if row["heat_map"]]
    if unreadable := len(rows) - len(drawn):
        log.warning(
            "%d of %d image(s) cannot be read: their rows have the reason",
            unreadable,
            len(rows),
            extra={"rule": "unreadable_images"},
        )
    if empty := sum(row["scale"] == 0 for row in drawn):
        log.warning(
            "%d heat map(s) are empty: no part of the image speaks for the class", empty, extra={"rule": "empty_maps"}
        )
    log.info("%d heat map(s): %s", len(drawn), folder / "heat_maps")
    log.info("table: %s", folder / "heat_maps.csv")


def _detail(found: HeatMap) -> str:
    """What the finest detail of a heat map is, and what 1 stands for."""
    rows, columns = found.fields
    if found.method == "occlusion":
        return f"{rows} x {columns} steps of a covering square; 1: the log-odds of the class fall by {found.scale:.3g}."
    return f"{rows} x {columns} fields of {', '.join(found.layers)}, enlarged."
