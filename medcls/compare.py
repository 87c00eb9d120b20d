"""Compare runs on the same images, two or a whole sweep: `python -m medcls.compare runs=[runs/A,runs/B]`."""

from __future__ import annotations

import dataclasses
import logging
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from medcls import __version__
from medcls.cli.building import plain
from medcls.cli.comparison import check_settings, named_paths, question, read_models, read_sweep
from medcls.cli.entry_point import run_command
from medcls.cli.invocation import command_line
from medcls.cli.output_folder import claimed_folder
from medcls.runs.run_folder import RunFolder

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before anything is loaded.
    from medcls.evaluation.comparing import ModelComparison

# Not __name__, which is __main__ when the file runs as a module.
log = logging.getLogger("medcls.compare")

# Recorded in comparison.json.
SETTINGS = (
    "runs",
    "cross_validations",
    "sweep",
    "split",
    "metric",
    "threshold_probability",
    "margin",
    "positive_class",
    "resamples",
    "seed",
)


def main() -> None:
    """Run the command."""
    run_command(run, "compare")


def run(cfg: DictConfig) -> None:
    """Compare into the folder that Hydra chose; leave no folder behind if the comparison fails."""
    with claimed_folder() as folder:
        compare(cfg, folder)


def compare(cfg: DictConfig, folder: RunFolder) -> None:
    """Compare tables of predictions, and write the page.

    Parameters
    ----------
    cfg : DictConfig
        See `conf/compare.yaml`.
    folder : RunFolder
        Where the results are written.

    Raises
    ------
    MedclsError
        Wrong settings or tables, before anything is written.
    """
    check_settings(cfg)
    jobs = [] if cfg.sweep is None else read_sweep(cfg)
    paths = named_paths(cfg)

    from medcls.csv_escaping import escaped
    from medcls.evaluation.cross_validations import compare_cross_validations
    from medcls.evaluation.model_comparison import compare_models
    from medcls.report.comparison_text import markdown
    from medcls.runs.registry import read_test
    from medcls.workflow import finished_runs, sweep_jobs, terminal

    terminal.start_log()
    if jobs:
        sweep_jobs.show(jobs)
    positive = None if cfg.positive_class is None else str(cfg.positive_class)
    if cfg.cross_validations is None:
        models = read_models(finished_runs.find_runs(paths, cfg.split), cfg.split, positive)
        result = compare_models(models, question(cfg, models[0].table.classes))
        # A comparison is one more reading of the test images: it may be used to choose a model.
        readings = [
            read_test(model.table, model.place, "compare", root=finished_runs.images_of(Path(model.place)))
            for model in models
        ]
        if (last := readings[-1]) is not None:
            result = dataclasses.replace(result, notes=(*result.notes, last.sentence()))
    else:
        repeated = finished_runs.cross_validations(paths, positive)
        result = compare_cross_validations(repeated, question(cfg, repeated[0].folds[0].table.classes))

    folder.begin("compare.log")
    made = datetime.now().astimezone()
    command = command_line("compare")
    settings = {name: plain(cfg[name]) for name in SETTINGS}
    origin = {"medcls": __version__, "made": made.isoformat(timespec="seconds"), "settings": settings}
    folder.write_json("comparison.json", origin | result.to_plain())
    folder.write_text("comparison.csv", escaped(result.pairs).to_csv(index=False, lineterminator="\n"))
    layout = markdown(result, f"Made with medcls {__version__} on {made:%Y-%m-%d at %H:%M}", command)
    page = folder.write_text(folder.comparison_page.name, layout)
    show(result)
    log.info("the page: %s", page)


def show(result: ModelComparison) -> None:
    """Print the metrics, their differences and the conclusions."""
    from medcls.report.comparison_text import shown_note, tables
    from medcls.workflow import terminal

    for watermark in result.watermarks:
        log.warning("%s", watermark)
    terminal.show_line(f"On {result.caption}")
    for title, table in tables(result).items():
        terminal.show_table(table.drop(columns=["place", "method", "note", "of"], errors="ignore"), title)
    for line in (*result.notes, shown_note(result)):
        if line:
            log.info("%s", line)
    for caution in result.cautions:
        log.warning("%s", caution)
    for sentence in result.conclusions:
        terminal.console.print(f"\n{sentence}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
