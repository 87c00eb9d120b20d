"""What a report takes in beside predictions: plain data from a run folder's files, each absent where there is none."""

import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from medcls.report.pages.parts import Thumbnail
from medcls.runs.registry import Readings


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A figure on disk.

    Parameters
    ----------
    name : str
        As its file is called, without a suffix: `roc_test`.
    title : str
        A heading of a few words.
    text : str
        What it shows, in a sentence or two that a person who is no programmer can read; with n.
    svg : Path
    """

    name: str
    title: str
    text: str
    svg: Path


@dataclasses.dataclass(frozen=True)
class Sources:
    """What is known of a run beside its predictions. None stands for "not provided" (a table of another tool, say).

    Parameters
    ----------
    name : str
        Of the data and the run, as a title.
    made : datetime
        When, with its time zone.
    command : str or None
        What was typed.
    purpose : str or None
        What the classifier is for, in the user's own words.
    watermarks : tuple of str
        What every page made from these images must say (synthetic, pooled).
    config, audit, weights, environment : mapping or None
        The files `config.yaml`, `audit.json`, `weights.json`, `environment.json`.
    preprocessing : mapping or None
        As `Preprocessing.to_plain` gives it: what was really used, whatever the configuration names to compute it.
    splits : DataFrame or None
        The file `splits.csv`.
    model : str or None
        The file `model.txt`.
    history : DataFrame or None
        What was logged by epoch.
    phases : tuple of (str, int, int), or None
        Freezing phases: what is frozen, the first epoch, the first one after it.
    best_epoch : int or None
        Counted from 0.
    drawn : tuple of Drawn
        Figures of the training, made when it ended.
    probe : mapping or None
        The file `probe.json` of a linear probe.
    readings : Readings or None
        How often these test images have been evaluated.
    training_duplicates : int or None
        How many of an external set's images are also among the run's own.
    picture : callable, or None
        From a path of the predictions to a small picture of it.
    """

    name: str
    made: datetime
    command: str | None = None
    purpose: str | None = None
    watermarks: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None
    audit: Mapping[str, Any] | None = None
    weights: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] | None = None
    preprocessing: Mapping[str, Any] | None = None
    splits: pd.DataFrame | None = None
    model: str | None = None
    history: pd.DataFrame | None = None
    phases: tuple[tuple[str, int, int], ...] | None = None
    best_epoch: int | None = None
    drawn: tuple[Drawn, ...] = ()
    probe: Mapping[str, Any] | None = None
    readings: Readings | None = None
    training_duplicates: int | None = None
    picture: Callable[[str], Thumbnail] | None = None

    def images_an_epoch(self) -> tuple[int, int] | None:
        """How many images each epoch trained on, of how many in training; None unless the batches were limited."""
        config = self.config or {}
        limit = config.get("trainer", {}).get("limit_train_batches")
        if limit is None or self.splits is None or "train" not in set(self.splits["split"]):
            return None
        size = config["data"]["batch_size"]
        images = int(self.splits.loc[self.splits["split"] == "train", "images"].iloc[0])
        batches = -(-images // size)
        used = (min(batches, limit) if isinstance(limit, int) else int(batches * limit)) * size
        return (used, images) if used < images else None
