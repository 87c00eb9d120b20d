"""What a report is made of besides predictions: the records of a run folder."""

import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from medcls.report.pages.parts import Thumbnail
from medcls.runs.records import Audit, Configuration, Environment, InitialWeights, Probe, TeacherRun
from medcls.runs.registry import Readings


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A plot on disk.

    Parameters
    ----------
    name : str
        File name without suffix, such as `roc_test`.
    title : str
    text : str
        What it shows, in a sentence or two.
    svg : Path
    """

    name: str
    title: str
    text: str
    svg: Path


@dataclasses.dataclass(frozen=True)
class Sources:
    """What is known about a run besides its predictions. None stands for "not provided".

    Parameters
    ----------
    name : str
        Title of the report.
    made : datetime
        With time zone.
    command : str or None
        The command line.
    purpose : str or None
        What the classifier is for, in the user's words.
    watermarks : tuple of str
        Shown on every page and plot made from these images (synthetic, pooled).
    config : Configuration or None
    audit : Audit or None
    weights : InitialWeights or None
    environment : Environment or None
    preprocessing : mapping or None
        As given by `Preprocessing.to_plain`.
    splits : DataFrame or None
        The file `splits.csv`.
    model : str or None
        The file `model.txt`.
    history : DataFrame or None
        Logged metrics by epoch.
    phases : tuple of (str, int, int), or None
        Freezing phases: what is frozen, first epoch, epoch after the last.
    best_epoch : int or None
        Counted from 0.
    drawn : tuple of Drawn
        Plots of the training.
    probe : Probe or None
        Of a linear probe.
    teacher : TeacherRun or None
        Of a run that was taught by another.
    readings : Readings or None
        How often these test images have been evaluated.
    training_duplicates : int or None
        Number of images of an external set that are also in the run.
    thumbnail : callable, or None
        From a path of the predictions to a thumbnail.
    heat_map : callable, or None
        From a path and the name of a class to the image under the network's heat map for that class.
    """

    name: str
    made: datetime
    command: str | None = None
    purpose: str | None = None
    watermarks: tuple[str, ...] = ()
    config: Configuration | None = None
    audit: Audit | None = None
    weights: InitialWeights | None = None
    environment: Environment | None = None
    preprocessing: Mapping[str, Any] | None = None
    splits: pd.DataFrame | None = None
    model: str | None = None
    history: pd.DataFrame | None = None
    phases: tuple[tuple[str, int, int], ...] | None = None
    best_epoch: int | None = None
    drawn: tuple[Drawn, ...] = ()
    probe: Probe | None = None
    teacher: TeacherRun | None = None
    readings: Readings | None = None
    training_duplicates: int | None = None
    thumbnail: Callable[[str], Thumbnail] | None = None
    heat_map: Callable[[str, str], Thumbnail] | None = None

    def setting(self, name: str) -> Any:  # noqa: ANN401 - settings have any type
        """Return a setting of the run by its dotted name; None if it is unknown."""
        return None if self.config is None else self.config.setting(name)

    def images_per_epoch(self) -> tuple[int, int] | None:
        """Return how many of the training images each epoch used; None unless the batches were limited."""
        limit = self.setting("trainer.limit_train_batches")
        if limit is None or self.splits is None or "train" not in set(self.splits["split"]):
            return None
        size = self.setting("data.batch_size")
        images = int(self.splits.loc[self.splits["split"] == "train", "images"].iloc[0])
        batches = -(-images // size)
        used = (min(batches, limit) if isinstance(limit, int) else int(batches * limit)) * size
        return (used, images) if used < images else None
