"""Plots of the data and of the training, in the run folder."""

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
    """Writes plots at the end of the first epoch, or when the training fails, since writing them takes long.

    Parameters
    ----------
    figures : mapping of str to Figure
        By file name, as returned by `plot_data`.
    folder : Path
    """

    def __init__(self, figures: Mapping[str, Figure], folder: Path) -> None:
        self._plots, self._folder = dict(figures), folder

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write them, once."""
        write(self._plots, self._folder)
        self._plots = {}

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Write them, since the images may show why the training failed; log errors, which must not hide its own."""
        try:
            self.on_train_epoch_end(trainer, pl_module)
        except OSError as error:
            log.warning("the plots of the data could not be written: %s", error)


def write(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write plots into a folder, each as PNG and SVG."""
    for name, figure in figures.items():
        drawing.save(figure, folder / name)


def plot_data(data: ImageDataModule) -> dict[str, Figure]:
    """Draw `training_images` (as the network sees them, each class at least once) and `data`.

    Parameters
    ----------
    data : ImageDataModule
        Its manifest has splits.
    """
    manifest, preprocessing = data.manifest, data.preprocessing
    labels = manifest.labels
    train = manifest.indices("train")
    by_class = [train[labels[train] == k] for k in range(len(manifest.classes))]

    rows = [int(rows[n]) for n in range(IMAGES_SHOWN) for rows in by_class if n < len(rows)]
    rows = rows[: max(IMAGES_SHOWN, len(manifest.classes))]
    samples = torch.stack([data.training_sample(row) for row in rows])
    shown = pixels_back(normalise(samples, preprocessing), preprocessing).permute(0, 2, 3, 1).numpy()
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
    if flat and preprocessing.window is not None:  # without a window, the audit reports blank images
        log.warning(
            "%d of %d training images drawn at random have a single pixel value: does data.window=%s fit the values in "
            "these files?",
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
    """Read the logged metrics of all versions of the CSV log; a resumed run starts a new version.

    Returns
    -------
    DataFrame
        Columns `epoch`, `step` and one for each metric. Epochs that were repeated after a resume replace the earlier.
    """
    history = pd.DataFrame()
    for path in sorted(logs.glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1])):
        version = _read_log(path)
        if version.empty:  # of a run that was killed before it logged anything
            continue
        if not history.empty:
            history = history[history["step"] < version["step"].min()]
        history = pd.concat([history, version], ignore_index=True)
    # Learning rates are logged by step, before the metrics of their epoch.
    return history if history.empty else history.assign(epoch=history["epoch"].bfill())


def _read_log(path: Path) -> pd.DataFrame:
    """Read one CSV log without an incomplete last line."""
    whole_lines, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return pd.read_csv(io.StringIO(whole_lines)) if whole_lines else pd.DataFrame()


def phases(settings: Sequence[Mapping[str, Any]], epochs: int) -> list[tuple[str, int, int]]:
    """List the freezing phases that a run reached: what is frozen, first epoch, epoch after the last.

    Parameters
    ----------
    settings : sequence of mapping
        `schedule.phases` of the configuration.
    epochs : int
        Number of epochs trained.
    """
    freezing = FreezeSchedule(settings, head="")
    starts = [*freezing.starts(), epochs]
    return [
        (f"frozen: {', '.join(phase.freeze)}" if phase.freeze else "nothing frozen", start, min(end, epochs))
        for phase, start, end in zip(freezing.phases, starts, [*starts[1:], epochs], strict=False)
        if start < epochs
    ]


def plot_training(
    run: RunFolder,
    phase_settings: Sequence[Mapping[str, Any]],
    epochs: int,
    best_epoch: int | None,
    monitor: str,
    watermark: str | None,
) -> None:
    """Draw `training`: losses, metrics, learning rate and phases by epoch, and the epoch of the checkpoint."""
    history = read_history(run.logs)
    if history.empty:
        return
    if (warning := plots.overfitting_warning(history)) is not None:
        log.warning(warning, extra={"rule": "overfitting"})
    scores = history.dropna(subset=monitor).groupby("epoch")[monitor].last()
    caption = f"{len(scores)} epochs, checkpoint selected by {monitor}"
    drawing.save(
        plots.plot_training(history, phases(phase_settings, epochs), monitor, best_epoch, caption, watermark),
        run.figures / "training",
    )
