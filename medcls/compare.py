"""Compare runs on the same images, two or a whole sweep: `python -m medcls.compare runs=[runs/A,runs/B]`."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from medcls import __version__
from medcls.cli.building import plain
from medcls.cli.comparison import check_settings, entries, question, read
from medcls.cli.entry_point import run_command
from medcls.runs.run_folder import RunFolder

if TYPE_CHECKING:
    # Everything heavy is imported where it is used, so that a typo is answered before anything is loaded.
    from medcls.evaluation.cross_validations import Repeated
    from medcls.evaluation.model_comparison import ModelComparison

# Run as a module, this file is called __main__; its log belongs to medcls all the same.
log = logging.getLogger("medcls.compare")

# Kept beside the results.
SETTINGS = (
    "runs",
    "cross_validations",
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
    """Compare into the folder that Hydra chose; leave nothing there if there was nothing to compare."""
    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    try:
        folder.claim()
        folder.refuse_if_taken()
        compare(cfg, folder)
    finally:
        folder.close()


def compare(cfg: DictConfig, folder: RunFolder) -> None:
    """One comparison, from tables of predictions to a page.

    Parameters
    ----------
    cfg : DictConfig
        As `conf/compare.yaml` describes it.
    folder : RunFolder
        Where everything goes.

    Raises
    ------
    MedclsError
        What the user can mend, before anything is written.
    """
    check_settings(cfg)
    named = entries(cfg)

    from medcls.csv_escaping import escaped
    from medcls.evaluation.cross_validations import compare_cross_validations
    from medcls.evaluation.model_comparison import compare_models
    from medcls.report.comparison_text import markdown
    from medcls.runs.registry import read_test
    from medcls.workflow import finished_runs, terminal

    terminal.start_log()
    positive = None if cfg.positive_class is None else str(cfg.positive_class)
    found: ModelComparison | Repeated
    if cfg.cross_validations is None:
        models = read(finished_runs.find_runs(named, cfg.split), cfg.split, positive)
        found = compare_models(models, question(cfg, models[0].table.classes))
        # Whoever chooses among classifiers by these images has looked at them once more.
        readings = [
            read_test(one.table, one.place, "compare", root=finished_runs.images_of(Path(one.place))) for one in models
        ]
        if (last := readings[-1]) is not None:
            found = dataclasses.replace(found, notes=(*found.notes, last.sentence()))
    else:
        repeated = finished_runs.cross_validations(named, positive)
        found = compare_cross_validations(repeated, question(cfg, repeated[0].folds[0].table.classes))

    folder.begin("compare.log")
    made = datetime.now().astimezone()
    command = f"python -m medcls.compare {shlex.join(sys.argv[1:])}"
    settings = {name: plain(cfg[name]) for name in SETTINGS}
    origin = {"medcls": __version__, "made": made.isoformat(timespec="seconds"), "settings": settings}
    folder.write_json("comparison.json", origin | found.to_plain())
    folder.write_text("comparison.csv", escaped(found.pairs).to_csv(index=False, lineterminator="\n"))
    layout = markdown(found, f"Made with medcls {__version__} on {made:%Y-%m-%d at %H:%M}", command)
    page = folder.write_text(folder.comparison_page.name, layout)
    show(found)
    log.info("the page: %s", page)


def show(found: ModelComparison | Repeated) -> None:
    """Print the figures, the differences, and what can be concluded of them."""
    from medcls.report.comparison_text import shown_note, tables
    from medcls.workflow import terminal

    for watermark in found.watermarks:
        log.warning("%s", watermark)
    terminal.show_line(f"On {found.caption}")
    for title, table in tables(found).items():
        terminal.show_table(table.drop(columns=["place", "method", "note", "of"], errors="ignore"), title)
    for line in (*found.notes, shown_note(found)):
        if line:
            log.info("%s", line)
    for caution in found.cautions:
        log.warning("%s", caution)
    for sentence in found.conclusions:
        terminal.console.print(f"\n{sentence}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
