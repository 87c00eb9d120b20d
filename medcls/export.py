"""Export a run as one file for other programs: `python -m medcls.export run=RUN format=onnx`."""

from __future__ import annotations

import datetime
import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from medcls.cli.entry_point import run_command
from medcls.cli.exporting import check_settings, checkpoint_of, reported, training_sample, verification_sample
from medcls.cli.importing import import_large
from medcls.cli.trained_runs import find_run, open_run
from medcls.runs.run_folder import RunFolder

# Not __name__, which is __main__ when the file runs as a module.
log = logging.getLogger("medcls.export")


def main() -> None:
    """Run the command."""
    run_command(run, "export")


def run(cfg: DictConfig) -> None:
    """Export into the folder that Hydra chose; leave none behind if the export differs from the checkpoint."""
    from medcls.workflow import terminal

    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    try:
        folder.claim()
        check_settings(cfg)
        find_run(str(cfg.run))  # before anything large is loaded
        folder.refuse_if_taken()
        terminal.start_log(cfg.verbose)
        import_large("torch")
        export_run(cfg, folder)
    except BaseException:
        if not folder.written:
            folder.discard()
        raise
    finally:
        folder.close()


def export_run(cfg: DictConfig, folder: RunFolder) -> None:
    """Export the best checkpoint of a run, compare its predictions with the checkpoint's, and write export.json."""
    from medcls.workflow import bundle, exporting

    trained = open_run(str(cfg.run), cfg)
    checkpoint = checkpoint_of(trained, trust=cfg.trust)
    folder.begin("export.log")
    if cfg.format == "onnx_int8":
        path = folder.path / exporting.FILES[cfg.format]
        training = training_sample(trained, checkpoint.model, cfg.calibration_images)
        record = exporting.export_int8(checkpoint, training, trained.reopen("val"), cfg.auroc_tolerance, path)
    else:
        sample = verification_sample(trained, checkpoint.model, cfg.verify_on)
        if cfg.format == "bundle":
            facts = reported(trained, cfg.licence)
            path, record = bundle.write_bundle(checkpoint, sample, cfg.tolerance, facts, folder.path, zipped=cfg.zip)
        else:
            path = folder.path / exporting.FILES[cfg.format]
            record = exporting.export_file(cfg.format, checkpoint, sample, cfg.tolerance, path)
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    folder.write_json("export.json", {"made": made, **record})
    log.info("export: %s", path)


if __name__ == "__main__":
    main()
