"""Predictions with hostile names, and the report made from them."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from medcls.evaluation.predictions import Predictions, from_logits
from medcls.report.report import Content, report
from medcls.report.sources import Sources

BINARY = ("benign", "malignant")
NASTY = ("<script>alert(1)</script>", '恶性, "q" | `x`', "שלום")
MADE = datetime(2026, 3, 1, 9, 5, tzinfo=UTC)
BARE = Sources("other.csv", MADE)


def predictions(
    split: str = "test", classes: Sequence[str] = BINARY, n: int = 120, seed: int = 0, checkpoint: str = "c0ffee"
) -> Predictions:
    """Rows of two in a group, with a column of sites; better than chance."""
    draw = np.random.default_rng([seed, len(split)])
    labels = np.arange(n) % len(classes)
    logits = draw.normal(size=(n, len(classes)))
    logits[np.arange(n), labels] += 1.5
    rows = pd.DataFrame(
        {
            "path": [f"{split}/secret_{i:03d}.png" for i in range(n)],
            "label": [classes[k] for k in labels],
            "group": [f"patient-{split}-{i // (2 * len(classes))}-{labels[i]}" for i in range(n)],
            "split": split,
            "site": draw.choice(["north", "south <b>"], n),
        }
    )
    return from_logits(rows, range(n), logits, classes, classes[1] if len(classes) == 2 else None, checkpoint)


def page_and_card(headline, others=(), sources=BARE, drawn=(), *, images=True, paths=True, **more):
    content = Content(headline, others, sources, drawn, **({"limitations": [], "checklists": []} | more))
    return report(content, images=images, paths=paths)
