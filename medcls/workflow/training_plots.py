"""Which figures a run folder gets: the manifest's and the predictions' content, handed to the plots."""

import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from medcls.data.module import ImageDataModule
from medcls.data.reading import images
from medcls.data.splits.split import split_table
from medcls.data.transforms import normalise, pixels_back
from medcls.learning.freezing import FreezeSchedule
from medcls.plots import drawing, plots
from medcls.runs.run_folder import RunFolder

log = logging.getLogger(__name__)

IMAGES_SHOWN = 18
IMAGES_SAMPLED = 20
PIXELS_SAMPLED = 2_000


class WritePlots(lightning.Callback):
    """Writes figures when the first epoch is done, or broken off: to lay them out takes longer than to make them.

    Parameters
    ----------
    figures : mapping of str to Figure
        By file name, as `of_data` gives them.
    folder : Path
        Where they go.
    """

    def __init__(self, figures: Mapping[str, Figure], folder: Path) -> None:
        self._figures, self._folder = dict(figures), folder

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write them, once."""
        write(self._figures, self._folder)
        self._figures = {}

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """What broke off the training may be seen in its images; but it is what is told, whatever else fails."""
        try:
            self.on_train_epoch_end(trainer, pl_module)
        except OSError as error:
            log.warning("the figures of the data could not be written: %s", error)


def write(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write figures into a folder, each as PNG and SVG."""
    for name, figure in figures.items():
        drawing.save(figure, folder / name)


def of_data(data: ImageDataModule) -> dict[str, Figure]:
    """Draw `training_images` (as the network sees them, each class at least once) and `data`; nothing is written.

    Parameters
    ----------
    data : ImageDataModule
        With its manifest split.
    """
    manifest, preprocessing = data.manifest, data.preprocessing
    labels = manifest.labels
    train = manifest.indices("train")
    by_class = [train[labels[train] == k] for k in range(len(manifest.classes))]

    rows = [int(rows[n]) for n in range(IMAGES_SHOWN) for rows in by_class if n < len(rows)]
    rows = rows[: max(IMAGES_SHOWN, len(manifest.classes))]
    seen = torch.stack([data.training_sample(row) for row in rows])
    shown = pixels_back(normalise(seen, preprocessing), preprocessing).permute(0, 2, 3, 1).numpy()
    height, width = preprocessing.size
    images_shown = plots.plot_images(
        [image[..., 0] if image.shape[-1] == 1 else image for image in shown],
        [manifest.classes[labels[row]] for row in rows],
        f"Training images as the network sees them in the first epoch: {height} x {width} pixels, "
        f"{preprocessing.resize}, augmented (n = {len(rows)} of {len(train)})",
        manifest.watermark,
    )

    draw = np.random.default_rng(0)
    before: dict[str, np.ndarray] = {}
    after: dict[str, np.ndarray] = {}
    drawn, flat = 0, 0
    for name, of_class in zip(manifest.classes, by_class, strict=True):
        chosen = draw.choice(of_class, min(len(of_class), IMAGES_SAMPLED), replace=False)
        stored = [
            images.read(manifest.root / manifest.rows["path"][int(row)], preprocessing.decoding) for row in chosen
        ]
        drawn, flat = drawn + len(stored), flat + sum(np.ptp(image.pixels) == 0 for image in stored)
        before[name] = np.concatenate([draw.choice(image.pixels.ravel(), PIXELS_SAMPLED) for image in stored])
        received = normalise(torch.stack([data.training_sample(int(row)) for row in chosen]), preprocessing).numpy()
        after[name] = np.concatenate([draw.choice(image.ravel(), PIXELS_SAMPLED) for image in received])
    if flat and preprocessing.window is not None:  # without one, the audit tells of blank images
        log.warning(
            "%d of %d training images drawn at random are of one value throughout: does data.window=%s lie where the "
            "values are that these files store?",
            flat, drawn, preprocessing.to_plain()["window"],
            extra={"rule": "flat_images"},
        )  # fmt: skip
    columns = {f"{name}: images": name for name in manifest.classes}
    table = split_table(manifest).set_index("split")[list(columns)].rename(columns=columns)
    counts_and_intensities = plots.plot_data(
        table,
        before,
        after,
        manifest.classes,
        f"{len(manifest)} images; intensities of up to {IMAGES_SAMPLED} training images a class",
        manifest.watermark,
    )
    return {"training_images": images_shown, "data": counts_and_intensities}


def read_history(logs: Path) -> pd.DataFrame:
    """What was logged, over all versions of the CSV log: a resumed run begins a new one.

    Returns
    -------
    DataFrame
        Columns `epoch`, `step` and one a metric. An epoch that was repeated after a resume counts as it went then.
    """
    history = pd.DataFrame()
    for path in sorted(logs.glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1])):
        version = _read_log(path)
        if version.empty:  # of a run that was killed before it had logged anything
            continue
        if not history.empty:
            history = history[history["step"] < version["step"].min()]
        history = pd.concat([history, version], ignore_index=True)
    # A learning rate is logged by the step: it belongs to the epoch whose figures come next.
    return history if history.empty else history.assign(epoch=history["epoch"].bfill())


def _read_log(path: Path) -> pd.DataFrame:
    """One CSV log; a last line that was cut off while it was written, which has no end, is left out."""
    whole_lines, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return pd.read_csv(io.StringIO(whole_lines)) if whole_lines else pd.DataFrame()


def phases(settings: Sequence[Mapping[str, Any]], epochs: int) -> list[tuple[str, int, int]]:
    """Name the phases that a run reached: what is frozen, the first epoch, the first one after it.

    Parameters
    ----------
    settings : sequence of mapping
        `schedule.phases` of the configuration.
    epochs : int
        How many the run has behind it.
    """
    freezing = FreezeSchedule(settings, head="")
    starts = [*freezing.starts(), epochs]
    return [
        (f"frozen: {', '.join(phase.freeze)}" if phase.freeze else "all trains", start, min(end, epochs))
        for phase, start, end in zip(freezing.phases, starts, [*starts[1:], epochs], strict=False)
        if start < epochs
    ]


def of_training(
    run: RunFolder,
    phase_settings: Sequence[Mapping[str, Any]],
    epochs: int,
    best_epoch: int | None,
    monitor: str,
    watermark: str | None,
) -> None:
    """Draw `training`: losses, metrics, learning rate and phases by epoch, and which epoch was chosen."""
    history = read_history(run.logs)
    if history.empty:
        return
    if (alarm := plots.overfitting_warning(history)) is not None:
        log.warning(alarm, extra={"rule": "overfitting"})
    scores = history.dropna(subset=monitor).groupby("epoch")[monitor].last()
    caption = f"{len(scores)} epochs, checkpoint chosen by {monitor}"
    drawing.save(
        plots.plot_training(history, phases(phase_settings, epochs), monitor, best_epoch, caption, watermark),
        run.figures / "training",
    )
