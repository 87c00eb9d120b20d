"""Figures drawn from scores: what a classifier does at every threshold.

Every function returns a `matplotlib.figure.Figure`, see `drawing`.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from medcls.evaluation.drawing import COLOURS, LINES, new_figure, styled
from medcls.evaluation.metrics import auroc, check_classes, check_labels, check_probabilities


def roc_figure(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    positive: str | None,
    caption: str,
    stamp: str | None = None,
) -> Figure:
    """Draw the ROC curve of the positive class, or of each class against the others.

    Parameters
    ----------
    labels : integer array (n,)
        True class indices.
    probabilities : float array (n, K)
        One column a class.
    classes, positive
        As in `metrics.classification_metrics`.
    caption, stamp
        As in `plots.confusion_matrix_figure`.

    Raises
    ------
    MedclsError
        Hard labels in the place of probabilities, and whatever else `classification_metrics` refuses.
    """
    index = check_classes(classes, positive)
    scores = check_probabilities(probabilities, len(classes))
    truth = check_labels(labels, len(classes), len(scores))
    with styled([*classes, caption], stamp) as draw:
        # A long legend stands beside the curves, not upon them.
        beside = index is None and (len(classes) > 6 or max(map(len, classes)) > 22)
        figure = new_figure(10.0 if beside else 6.0, 6.2)
        axes = figure.add_subplot()
        handles, entries, missing = [], [], []
        for place, k in enumerate(range(len(classes)) if index is None else (index,)):
            mine = (truth == k).astype(np.int64)
            name, cases = draw.name(classes[k], lines=1), int(mine.sum())
            area = auroc(mine, scores[:, k])
            if np.isnan(area):
                missing.append(f"no image of {name}" if cases == 0 else f"every image is {name}")
                continue
            false, true, _ = roc_curve(mine, scores[:, k])
            style = LINES[place // len(COLOURS) % len(LINES)]
            handles += axes.plot(false, true, style, color=COLOURS[place % len(COLOURS)], clip_on=False, zorder=3)
            entries.append(f"AUROC {area:.3f}  {name} ({cases} of {len(truth)})")
        handles += axes.plot([0, 1], [0, 1], color="#777777", linewidth=1, linestyle=(0, (2, 2)))
        entries.append("chance")
        if missing:
            axes.text(
                0.5,
                0.62,
                textwrap.fill(f"No curve, AUROC undefined: {'; '.join(missing)}", 42),
                ha="center",
                va="center",
                bbox={"facecolor": "white", "edgecolor": COLOURS[1], "boxstyle": "round,pad=0.5"},
                zorder=4,
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        of = f"of {draw.name(classes[index], lines=1)}" if index is not None else "each class against the others"
        axes.set_xlabel("False positive rate (1 - specificity)")
        axes.set_ylabel("True positive rate (sensitivity)")
        axes.set_title(f"ROC curve, {of}" if index is None else f"ROC curve {of}")
        # Handles are given in so many words: from a label alone a name with a leading underscore would be left out.
        if beside:
            axes.legend(handles, entries, loc="center left", bbox_to_anchor=(1.02, 0.5))
        else:
            axes.legend(handles, entries, loc="lower right", facecolor="white", framealpha=0.85, frameon=True)
        draw.finish(figure, caption)
    return figure
