"""Predict images with a trained run: `python -m medcls.predict run=RUN images=FOLDER`."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from medcls.cli.entry_point import run_command
from medcls.cli.stored_configuration import check_trust
from medcls.cli.typed_values import texts

if TYPE_CHECKING:
    from medcls.data.sources.named_images import NamedImages
    from medcls.inference.ensemble import Ensemble
    from medcls.inference.model import Model

# Not __name__, which is __main__ when the file runs as a module.
log = logging.getLogger("medcls.predict")

EXAMPLE = "python -m medcls.predict run=RUN images=FOLDER"


def main() -> None:
    """Run the command."""
    run_command(run, "predict")


def run(cfg: DictConfig) -> None:
    """Predict all images into one file (see `conf/predict.yaml`), or continue the file of a stopped command.

    Raises
    ------
    MedclsError
        A setting is missing or wrong, or there is no such run or no image. An image that cannot be read is no error:
        its row has the reason.
    """
    runs = texts(cfg, "run", "a run folder", EXAMPLE)
    named = texts(cfg, "images", "a folder, a file or a pattern", EXAMPLE)

    from medcls.cli.trained_models import choose_work, known_images, load
    from medcls.data.sources.named_images import named_images
    from medcls.inference.stream import predict_files
    from medcls.workflow import predicting, terminal
    from medcls.workflow.prediction_files import PredictionFile, check_format, row_format

    check_format(cfg.format)
    output = Path(HydraConfig.get().runtime.output_dir, f"predictions.{cfg.format}")
    output = output if cfg.output is None else Path(str(cfg.output)).expanduser()
    terminal.start_log(cfg.verbose)
    images = named_images(named)  # before anything large is loaded
    for note in images.notes:
        log.warning(note, extra={"rule": "images_left_out"})
    work = choose_work(runs, cfg.device, cfg.keep_memory)
    model = load(runs, views=cfg.views, device=cfg.device, precision=cfg.precision, trust=check_trust(cfg))
    predicting.log_model(model)
    form = row_format(cfg.format, model.classes, model.checkpoint, model.watermarks)
    with PredictionFile(output, settings(cfg, model, images), form) as file:
        if file.done:
            log.info("continuing after %d of %d images", file.done, len(images), extra={"rule": "continued"})
        remaining = itertools.islice(images, file.done, None)
        batch_size = work.batch_size(model.batch_size, len(images) - file.done)
        splits = known_images([Path(name).expanduser() for name in runs])
        with terminal.progress("predicting") as progress:
            for rows in predict_files(model, remaining, work.threads, splits, batch_size):
                file.append(rows)
                progress(file.done, len(images))
        file.finish()
    limit = None if model.decision_rules is None else model.decision_rules.ood
    flagged = None if limit is None or limit.limit is None else limit.flagged
    predicting.show_counts(file.counts, model.classes, flagged)
    log.info("predictions: %s", output)


def settings(cfg: DictConfig, model: Model | Ensemble, images: NamedImages) -> dict[str, Any]:
    """All that the rows depend on: a file that was begun with other values is not continued."""
    from medcls.data.reading.images import reading_version

    rules = None if model.decision_rules is None else model.decision_rules.to_plain()
    return {
        "checkpoint": model.checkpoint,
        "decision rules": hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:16],
        "format": cfg.format,
        "views": cfg.views,
        "precision": cfg.precision,
        "images": f"{len(images)} ({images.fingerprint()})",
        "reading": reading_version(),
    }


if __name__ == "__main__":
    main()
