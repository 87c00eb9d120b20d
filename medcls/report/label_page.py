"""Suspected label errors as a page: each image with its given and its suggested label."""

from pathlib import Path

from medcls import __version__
from medcls.evaluation.label_errors import LabelErrors
from medcls.report.pages.layout import day_and_time, environment
from medcls.report.pages.parts import Sheet, Thumbnail, numeric_sheet
from medcls.report.sources import Sources
from medcls.statistics.digits import rounded

SHOWN = 100
"""Number of images on the page; `label_errors.csv` has all."""


def label_page(found: LabelErrors, sources: Sources, *, paths: bool) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    found : LabelErrors
    sources : Sources
        Gives the title, the watermarks, the time and the thumbnails.
    paths : bool
        Whether to include names of files.
    """
    suspects = [
        {
            "name": row["path"] if paths else f"image {number} of label_errors.csv",
            "thumbnail": Thumbnail() if sources.thumbnail is None else sources.thumbnail(row["path"]),
            "label": row["label"],
            "suggested": row["suggested"],
            "probability": rounded(row["probability_of_suggested"]),
        }
        for number, row in enumerate(found.rows.head(SHOWN).to_dict("records"), start=1)
    ]
    return (
        environment(Path(__file__).parent)
        .get_template("label_page.html.jinja")
        .render(
            name=sources.name,
            watermarks=sources.watermarks,
            sentence=found.sentence(),
            joint=None if found.unknown else _joint(found),
            suspects=suspects,
            left=max(0, len(found.rows) - SHOWN),
            made=day_and_time(sources.made),
            version=__version__,
        )
    )


def _joint(found: LabelErrors) -> Sheet:
    rows = [[f"labelled {label}", *(f"{value:,.0f}" for value in row)] for label, row in found.joint.iterrows()]
    return numeric_sheet(["", *(f"true {name}" for name in found.joint.columns)], rows)


def label_list(found: LabelErrors) -> str:
    """Return a list for `data.exclude_file`: the paths of the suspects, one a line, each with the reason above it."""
    lines = [
        "# Suspected label errors. Look at each image, and delete the lines of those whose label is correct:",
        "# excluding all images that a classifier gets wrong makes its metrics too good.",
    ]
    for row in found.rows.to_dict("records"):
        path = str(row["path"])
        if path.splitlines() == [path] and path.strip() and not path.startswith("# "):
            reason = (
                f"labelled {row['label']}, suggested {row['suggested']} ({rounded(row['probability_of_suggested'])})"
            )
            lines += [f"# {' '.join(reason.split())}", path]
    return "".join(f"{line}\n" for line in lines)
