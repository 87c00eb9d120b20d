"""Suspected label errors as one page that needs nothing else: each image with its given and its suggested label."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from medcls import __version__
from medcls.evaluation.label_errors import LabelErrors
from medcls.report.pages.layout import day_and_time, environment
from medcls.report.pages.parts import Sheet, Thumbnail, figures_sheet

SHOWN = 100
"""How many images the page has room for; `label_errors.csv` has all."""


def label_page(
    found: LabelErrors,
    *,
    name: str,
    watermarks: tuple[str, ...],
    made: datetime,
    thumbnail: Callable[[str], Thumbnail] | None,
    paths: bool,
) -> str:
    """Lay out suspected label errors as HTML.

    Parameters
    ----------
    name : str
        What was judged, as a title.
    watermarks : tuple of str
        What every page made from these images must say.
    made : datetime
        When, with its time zone.
    thumbnail : callable or None
        From a path to a small picture of the image; None where none may be shown.
    paths : bool
        Whether names of files may stand on it.

    Returns
    -------
    str
        A whole document, UTF-8.
    """
    suspects = [
        {
            "name": row["path"] if paths else f"image {number} of label_errors.csv",
            "picture": Thumbnail() if thumbnail is None else thumbnail(row["path"]),
            "label": row["label"],
            "suggested": row["suggested"],
            "probability": f"{row['probability_of_suggested']:.3f}",
        }
        for number, row in enumerate(found.rows.head(SHOWN).to_dict("records"), start=1)
    ]
    return (
        environment(Path(__file__).parent)
        .get_template("label_page.html.jinja")
        .render(
            name=name,
            watermarks=watermarks,
            sentence=found.sentence(),
            joint=_joint(found),
            suspects=suspects,
            left=max(0, len(found.rows) - SHOWN),
            made=day_and_time(made),
            version=__version__,
        )
    )


def _joint(found: LabelErrors) -> Sheet:
    rows = [[f"labelled {label}", *(f"{value:,.0f}" for value in row)] for label, row in found.joint.iterrows()]
    return figures_sheet(["", *(f"truly {name}" for name in found.joint.columns)], rows)


def label_list(found: LabelErrors) -> str:
    """A text that `data.exclude_file` reads: the suspects' paths, one a line, each under the reason."""
    lines = [
        "# Suspected label errors. Look at each image first, and delete the lines of those whose label is right:",
        "# to leave out whatever a classifier gets wrong makes its metrics better than they are.",
    ]
    for row in found.rows.to_dict("records"):
        path = str(row["path"])
        if path.splitlines() == [path] and path.strip() and not path.startswith("# "):
            reason = f"labelled {row['label']}, suggested {row['suggested']} ({row['probability_of_suggested']:.3f})"
            lines += [f"# {' '.join(reason.split())}", path]
    return "".join(f"{line}\n" for line in lines)
