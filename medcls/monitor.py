"""Compare predictions of new images with those of val: `python -m medcls.monitor run=RUN predictions=FOLDER_OR_CSV`."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from medcls import __version__
from medcls.cli import monitoring as settings
from medcls.cli.building import plain
from medcls.cli.entry_point import run_command
from medcls.cli.invocation import command_line
from medcls.cli.output_folder import claimed_folder
from medcls.runs.run_folder import RunFolder

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before anything is loaded.
    from medcls.evaluation.monitoring import Monitoring

# Not __name__, which is __main__ when the file runs as a module.
log = logging.getLogger("medcls.monitor")

# Recorded in monitor.json.
SETTINGS = ("run", "predictions", "labels", "period", "date_column", "images", "resamples", "seed")


def main() -> None:
    """Run the command."""
    run_command(run, "monitor")


def run(cfg: DictConfig) -> None:
    """Monitor into the folder that Hydra chose; leave no folder behind if it fails."""
    with claimed_folder() as folder:
        monitor(cfg, folder)


def monitor(cfg: DictConfig, folder: RunFolder) -> None:
    """Compare new predictions with those of a run, and write the page.

    Parameters
    ----------
    cfg : DictConfig
        See `conf/monitor.yaml`.
    folder : RunFolder
        Where the results are written.

    Raises
    ------
    MedclsError
        Wrong settings or tables, before anything is written.
    """
    settings.check_settings(cfg)

    from medcls.csv_escaping import escaped
    from medcls.evaluation.monitoring import monitor as compare
    from medcls.report.monitoring_page import PageContent, monitoring_page
    from medcls.workflow import new_predictions, terminal

    terminal.start_log()
    with terminal.progress("reading the predictions") as progress:
        own, watched, notes = settings.read(cfg, progress)
    found = compare(watched, cfg.resamples, cfg.seed)

    folder.begin("monitor.log")
    made = datetime.now().astimezone()
    origin = {"medcls": __version__, "made": made.isoformat(timespec="seconds")}
    record = {"settings": {name: plain(cfg[name]) for name in SETTINGS}, "notes": notes, "stamps": own.watermarks}
    folder.write_json("monitor.json", origin | record | found.to_plain())
    folder.write_text("periods.csv", escaped(found.periods).to_csv(index=False, lineterminator="\n"))
    with terminal.progress("drawing and writing the page"):
        plots = new_predictions.draw(watched, found, folder, " · ".join(own.watermarks) or None)
        content = PageContent(
            name=Path(str(cfg.run)).name,
            command=command_line("monitor"),
            made=made,
            watermarks=own.watermarks,
            notes=tuple(notes),
            plots=plots,
        )
        page = folder.write_text(folder.monitoring_page.name, monitoring_page(found, content))
    show(found, notes)
    log.info("the page: %s", page)


def show(found: Monitoring, notes: list[str]) -> None:
    """Print the verdict, and what has changed."""
    for note in notes:
        log.warning("%s", note)
    for change in found.changes:
        log.warning("%s", change, extra={"rule": "changed"})
    log.info("%s", found.verdict())


if __name__ == "__main__":
    main()
