"""What `medcls.predict` says about its results."""

import logging
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from medcls.evaluation.predictions import TOOK_PART
from medcls.inference.ensemble import Ensemble
from medcls.inference.model import Model
from medcls.workflow import terminal

log = logging.getLogger(__name__)

SEEN = "seen in "


def log_model(model: Model | Ensemble) -> None:
    """Log which model predicts, and by which rules."""
    log.info("%s; classes %s; checkpoint %s", model.name, ", ".join(model.classes), model.checkpoint)
    for mark in model.watermarks:
        log.warning("%s: the network was trained on such images", mark, extra={"rule": "watermark"})
    rules = model.decision_rules
    if rules is None:
        return
    calibration = "not calibrated" if rules.calibration is None else rules.calibration.label()
    point = rules.operating_point
    operating = "" if point is None else f"; {point.positive_class} from a probability of {point.shown} on"
    log.info("probabilities: %s%s", calibration, operating)
    if model.ood_limit is None:
        log.warning(
            "images unlike those of val are not flagged: val has too few images, or their predictions are not here",
            extra={"rule": "no_ood_limit"},
        )


def show_counts(counts: Counter[str], classes: Sequence[str], flagged_share: float | None) -> None:
    """Print how many images were predicted as each class, and log what a reader must know about the others.

    Parameters
    ----------
    counts : Counter
        As `prediction_files.counted_in`.
    flagged_share : float or None
        The share of images like those of val that the limit flags; None without a limit.
    """
    predicted = sum(counts[f"predicted {name}"] for name in classes)
    decided = any(counts[f"decided {name}"] for name in classes)
    rows = [
        {"class": name, "most probable": counts[f"predicted {name}"]}
        | ({"decided": counts[f"decided {name}"]} if decided else {})
        for name in classes
    ]
    terminal.show_table(pd.DataFrame(rows), f"{predicted:,} images predicted")
    if unreadable := counts["unreadable"]:
        log.warning(
            "%d of %d image(s) cannot be read: their rows have the reason, and no prediction",
            unreadable,
            unreadable + predicted,
            extra={"rule": "unreadable_images"},
        )
    if flagged_share is not None and predicted:
        log.info(
            "%d of %d image(s) (%.1f%%) are flagged as unlike those of val, of which about %.0f%% would be",
            counts["flagged"],
            predicted,
            100 * counts["flagged"] / predicted,
            100 * flagged_share,
            extra={"rule": "out_of_distribution"},
        )
    for name in sorted(name for name in counts if name.startswith(SEEN)):
        split = name.removeprefix(SEEN)
        caveat = f": {TOOK_PART[split]}" if split in TOOK_PART else ""
        log.warning(
            "%d image(s) are in the split %s of the run%s (column seen_in)",
            counts[name],
            split,
            caveat,
            extra={"rule": "images_of_the_run"},
        )
