"""Compare runs on the same images, two or a whole sweep: `python -m medcls.compare runs=[runs/A,runs/B]`."""

from __future__ import annotations

import dataclasses
import logging
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from medcls import __version__
from medcls.cli.configuration import open_door, plain
from medcls.errors import MedclsError, nearest
from medcls.runs.run_folder import RunFolder

if TYPE_CHECKING:
    # Everything heavy is imported where it is used, so that a typo is answered before anything is loaded.
    from medcls.evaluation.contest import Contest, Contestant, Question
    from medcls.evaluation.cross_validations import Repeated

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
    """Open the door."""
    open_door(run, "compare")


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

    from medcls.cells import escaped
    from medcls.evaluation.contest import contest
    from medcls.evaluation.cross_validations import compare_cross_validations
    from medcls.report.contest_text import markdown
    from medcls.runs.test_readings import read_test
    from medcls.workflow import finished_runs, terminal

    terminal.start_log()
    positive = None if cfg.positive_class is None else str(cfg.positive_class)
    found: Contest | Repeated
    if cfg.cross_validations is None:
        contestants = read(finished_runs.find_runs(named, cfg.split), cfg.split, positive)
        found = contest(contestants, question(cfg, contestants[0].table.classes))
        # Whoever chooses among classifiers by these images has looked at them once more.
        readings = [
            read_test(one.table, one.place, "compare", root=finished_runs.root_of(Path(one.place)))
            for one in contestants
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


def question(cfg: DictConfig, classes: Sequence[str]) -> Question:
    """By what is compared, of a task with these classes.

    Raises
    ------
    MedclsError
        A margin or a threshold probability that is none.
    """
    from medcls.evaluation.comparing import metrics_of
    from medcls.evaluation.contest import Question
    from medcls.evaluation.decision_curve import acting_from
    from medcls.evaluation.non_inferiority import check_margin

    asked = plain(cfg.metric)
    acted_at = None if cfg.threshold_probability is None else acting_from(plain(cfg.threshold_probability))
    if asked is None:  # a net benefit takes a threshold that nobody else can state
        asked = [metric for metric in metrics_of(classes) if metric != "net_benefit" or acted_at is not None]
    metrics = dict.fromkeys(asked if isinstance(asked, list) else [asked])
    if not metrics:
        raise MedclsError("metric is []: name at least one, as metric=auroc, or leave it out.")
    return Question(tuple(metrics), acted_at, check_margin(plain(cfg.margin)), cfg.resamples, cfg.seed)


def check_settings(cfg: DictConfig) -> None:
    """Refuse settings that mean nothing before anything is read.

    Raises
    ------
    MedclsError
        Names the setting and what it can be.
    """
    for name, least in (("resamples", 100), ("seed", 0)):
        if isinstance(cfg[name], bool) or not isinstance(cfg[name], int) or cfg[name] < least:
            raise MedclsError(f"{name} is {cfg[name]!r}: give a whole number, at least {least}.")
    if not isinstance(cfg.split, str) or not re.fullmatch(r"\w+", cfg.split):
        raise MedclsError(f"split is {cfg.split!r}: give the name of a split, such as test or val.")


def entries(cfg: DictConfig) -> list[Path]:
    """What was named to be compared.

    Raises
    ------
    MedclsError
        Nothing, or what is not there.
    """
    if cfg.runs is not None and cfg.cross_validations is not None:
        raise MedclsError("runs=... and cross_validations=... were both given: compare one or the other.")
    named = plain(cfg.runs if cfg.cross_validations is None else cfg.cross_validations)
    named = [named] if isinstance(named, str) else named
    if not isinstance(named, list) or not named:
        raise MedclsError(
            'Name what to compare, two runs or more: "runs=[runs/A,runs/B]", or a sweep: runs=runs/SWEEP.'
        )
    found = [Path(str(entry)).expanduser() for entry in named]
    for path in found:
        if not path.exists():
            there = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
            raise MedclsError(f"There is no run folder, and no file, {path}.{nearest(path.name, there)}")
    return found


def read(places: Sequence[Path], split: str, positive: str | None) -> list[Contestant]:
    """Each run's predictions with its own operating point; other tools' tables learn groups and split from a run's.

    Raises
    ------
    MedclsError
        A table, a configuration or a threshold that cannot be used.
    """
    from medcls.evaluation.contest import Contestant, known_from
    from medcls.workflow import finished_runs

    configurations = [finished_runs.read_configuration(place) for place in places]
    own = [
        finished_runs.own_positive(settings, place, positive)
        for settings, place in zip(configurations, places, strict=True)
    ]
    # What one run looks for, a table beside it looks for too.
    shared = positive if positive is not None else next((name for name in own if name is not None), None)
    tables = [
        finished_runs.read_table(place, split, shared if settings is None else looked_for)
        for place, settings, looked_for in zip(places, configurations, own, strict=True)
    ]
    known = next((table for place, table in zip(places, tables, strict=True) if place.is_dir()), None)
    if known is not None:
        tables = [
            table if place.is_dir() else known_from(table, known) for place, table in zip(places, tables, strict=True)
        ]
    told = (finished_runs.names(places), finished_runs.differences(configurations))
    return [
        Contestant(
            name,
            str(place),
            table,
            finished_runs.operating_point(place, table),
            settings,
            finished_runs.leak(place, split),
        )
        for place, table, name, settings in zip(places, tables, *told, strict=True)
    ]


def show(found: Contest | Repeated) -> None:
    """Print the figures, the differences, and what can be concluded of them."""
    from medcls.report.contest_text import shown_note, tables
    from medcls.workflow import terminal

    for stamp in found.stamps:
        log.warning("%s", stamp)
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
