"""Draw what a network's predictions depend on: `python -m medcls.explain run=RUN images=FOLDER`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from medcls.cli.entry_point import run_command
from medcls.cli.importing import import_large
from medcls.cli.output_folder import claimed_folder
from medcls.cli.stored_configuration import check_trust
from medcls.cli.typed_values import texts
from medcls.errors import MedclsError
from medcls.runs.run_folder import RunFolder

# Not __name__, which is __main__ when the file runs as a module.
log = logging.getLogger("medcls.explain")

EXAMPLE = "python -m medcls.explain run=RUN images=FOLDER"


def main() -> None:
    """Run the command."""
    run_command(run, "explain")


def run(cfg: DictConfig) -> None:
    """Explain into the folder that Hydra chose; leave no folder behind if nothing was drawn."""
    with claimed_folder() as folder:
        try:
            explain(cfg, folder)
        except BaseException:
            if not folder.written:
                folder.discard()
            raise


def explain(cfg: DictConfig, folder: RunFolder) -> None:
    """Draw a heat map of each image, and write a table of them (see `conf/explain.yaml`).

    An image that cannot be read is no error: its row has the reason.

    Raises
    ------
    MedclsError
        A setting is missing or wrong, there is no such run or no image, or the network has no heat map.
    """
    place, named = check_settings(cfg)

    from medcls.data.sources.named_images import named_images
    from medcls.workflow import terminal

    terminal.start_log(cfg.verbose)
    images = named_images(named)  # before anything large is loaded
    for note in images.notes:
        log.warning(note, extra={"rule": "images_left_out"})
    for name in named:
        folder.refuse_within(name, "images")
    import_large("lightning")

    from medcls.cli.trained_models import choose_device, load_checkpoint
    from medcls.inference.model import Model
    from medcls.inference.network_scores import NetworkScores
    from medcls.workflow import explaining, predicting

    loaded, description = load_checkpoint(place, trust=check_trust(cfg))
    scores = NetworkScores(loaded.network, loaded.preprocessing, choose_device(cfg.device))
    model = Model(description, scores)
    asked = explaining.Asked(cfg.class_name, cfg.method, cfg.layer, cfg.window)
    asked.check(model.classes)
    folder.begin("explain.log")
    predicting.log_model(model)
    rows: list[dict[str, Any]] = []
    try:
        with terminal.progress("drawing heat maps") as progress:
            for image in explaining.files_of(images):
                rows.append(explaining.explain_file(model, loaded.network, image, asked, folder.path))
                progress(len(rows), len(images))
    finally:
        if rows:
            folder.write_text("heat_maps.csv", explaining.table(rows))
    explaining.log_results(rows, folder.path)


def check_settings(cfg: DictConfig) -> tuple[Path, list[str]]:
    """The run, and what names the images.

    Raises
    ------
    MedclsError
        A setting is missing, has no effect, or names what has no network.
    """
    run, *others = texts(cfg, "run", "a run folder", EXAMPLE)
    named = texts(cfg, "images", "a folder, a file or a pattern", EXAMPLE)
    if others:
        raise MedclsError(f"run is a list: give one run folder, as {EXAMPLE}.", kind="missing_setting")
    place = Path(run).expanduser()
    if place.suffix.lower() == ".onnx":
        raise MedclsError(
            f"{place} is an export, which has no layers to look at: give the run folder that it was exported from.",
            kind="needs_a_run",
        )
    idle = {"grad_cam": "window", "occlusion": "layer"}.get(str(cfg.method))
    if idle is not None and cfg[idle] is not None:
        raise MedclsError(f"{idle} has no effect with method={cfg.method}: leave it out.", kind="idle_setting")
    return place, named


if __name__ == "__main__":
    main()
