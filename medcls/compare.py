"""Compare runs on the same images, two or a whole sweep: `python -m medcls.compare runs=[runs/A,runs/B]`."""

from __future__ import annotations

import json
import logging
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from medcls import __version__
from medcls.configuration import open_door, plain
from medcls.errors import MedclsError, nearest, typed
from medcls.run_folder import RunFolder

if TYPE_CHECKING:
    # Everything heavy is imported where it is used, so that a typo is answered before anything is loaded.
    from medcls.evaluation.contest import Contest, Contestant
    from medcls.evaluation.predictions import Predictions
    from medcls.evaluation.thresholds import OperatingPoint

# Run as a module, this file is called __main__; its log belongs to medcls all the same.
log = logging.getLogger("medcls.compare")

# Where a sweep's runs differ in nothing else, these say nothing of them.
NOT_TOLD = ("hydra", "data.root", "data.csv", "data.source", "data.workers", "resume", "evaluate_test", "trust")


def main() -> None:
    """Open the door."""
    open_door(run, "compare")


def run(cfg: DictConfig) -> None:
    """Compare into the folder that Hydra chose; leave nothing there if there was nothing to compare."""
    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    try:
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

    from medcls import terminal
    from medcls.evaluation.comparing import metrics_of
    from medcls.evaluation.contest import contest
    from medcls.evaluation.contest_text import markdown

    terminal.start_log()
    positive = None if cfg.positive_class is None else str(cfg.positive_class)
    contestants = read(find_runs(named, cfg.split), cfg.split, positive)
    metrics = metrics_of(contestants[0].table.classes) if cfg.metric is None else [cfg.metric]
    found = contest(contestants, metrics, cfg.resamples, cfg.seed)

    folder.begin("compare.log")
    made = datetime.now().astimezone()
    command = f"python -m medcls.compare {shlex.join(sys.argv[1:])}"
    settings = {name: plain(cfg[name]) for name in ("runs", "split", "metric", "positive_class", "resamples", "seed")}
    origin = {"medcls": __version__, "made": made.isoformat(timespec="seconds"), "settings": settings}
    folder.write_json("comparison.json", origin | found.to_plain())
    folder.write_text("comparison.csv", found.pairs.to_csv(index=False, lineterminator="\n"))
    layout = markdown(found, f"Made with medcls {__version__} on {made:%Y-%m-%d at %H:%M}", command)
    page = folder.write_text(folder.comparison_page.name, layout)
    show(found)
    log.info("the page: %s", page)


def check_settings(cfg: DictConfig) -> None:
    """Refuse settings that mean nothing before anything is read.

    Raises
    ------
    MedclsError
        Names the setting and what it can be.
    """
    metrics = ("auroc", "accuracy", "sensitivity", "specificity")
    if cfg.metric not in (None, *metrics):
        raise MedclsError(
            f"metric is {cfg.metric!r}: give {', '.join(metrics)}, or null for all that the task has."
            f"{nearest(str(cfg.metric), metrics)}"
        )
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
    named = plain(cfg.runs)
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


def find_runs(named: Sequence[Path], split: str) -> list[Path]:
    """The run folders and tables that were meant: a folder of runs stands for all of them.

    Raises
    ------
    MedclsError
        A folder without a run; the same one twice; fewer than two; runs that were not evaluated on this split.
    """
    places = [place for path in named for place in (runs_in(path) if path.is_dir() else [path])]
    seen: dict[Path, Path] = {}
    for place in places:
        if (twin := seen.setdefault(place.resolve(), place)) is not place:
            raise MedclsError(f"{place} was named twice{'' if twin == place else f', also as {twin}'}: name each once.")
    if len(places) < 2:
        raise MedclsError(f"{places[0]} alone cannot be compared: name two runs or more.")
    missing = [place for place in places if place.is_dir() and not table_of(place, split).is_file()]
    if missing:
        there = sorted({path.stem for place in missing for path in (place / "predictions").glob("*.csv")})
        raise MedclsError(
            f"{len(missing)} of {len(places)} were not evaluated on {split}"
            + (f" (but on {', '.join(there)})" if there else "")
            + f": they have no predictions/{split}.csv. Make it:\n"
            + "\n".join(f"  python -m medcls.evaluate {typed('run', str(place))} split={split}" for place in missing)
        )
    return places


def runs_in(folder: Path) -> list[Path]:
    """The folder itself where it is a run, else the runs right below it; those that never finished are named.

    Raises
    ------
    MedclsError
        There is no run.
    """
    if is_run(folder):
        return [folder]
    below = sorted((path for path in folder.iterdir() if path.is_dir()), key=_naturally)
    found = [path for path in below if (path / "predictions").is_dir()]
    if not found:
        raise MedclsError(
            f"{folder} holds no run: a run folder has config.yaml and predictions/, a folder of runs such folders."
        )
    unfinished = [path.name for path in below if path not in found and (path / "config.yaml").exists()]
    if unfinished:
        log.warning("left out, because they never finished: %s in %s", ", ".join(unfinished), folder)
    return found


def is_run(folder: Path) -> bool:
    """Tell a run folder from a folder of runs."""
    return (folder / "config.yaml").is_file() or (folder / "predictions").is_dir()


def table_of(place: Path, split: str) -> Path:
    """Where a run keeps its predictions of a split."""
    return place / "predictions" / f"{split}.csv"


def _naturally(path: Path) -> list[tuple[int, str]]:
    """The order in which 10 follows 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def read(places: Sequence[Path], split: str, positive: str | None) -> list[Contestant]:
    """Each run's predictions with its own operating point; other tools' tables learn groups and split from a run's.

    Raises
    ------
    MedclsError
        A table, a configuration or a threshold that cannot be used.
    """
    from medcls.evaluation.contest import Contestant, known_from
    from medcls.evaluation.predictions import read_csv

    configurations = [read_configuration(place) for place in places]
    looked_for = [
        positive if settings is None else own_positive(settings, place, positive)
        for settings, place in zip(configurations, places, strict=True)
    ]
    tables = [
        read_csv(table_of(place, split) if place.is_dir() else place, look)
        for place, look in zip(places, looked_for, strict=True)
    ]
    known = next((table for place, table in zip(places, tables, strict=True) if place.is_dir()), None)
    if known is not None:
        tables = [
            table if place.is_dir() else known_from(table, known) for place, table in zip(places, tables, strict=True)
        ]
    told = differences(configurations)
    return [
        Contestant(name, str(place), table, operating_point(place, table), settings)
        for name, place, table, settings in zip(names(places), places, tables, told, strict=True)
    ]


def read_configuration(place: Path) -> DictConfig | None:
    """A run's configuration, for what it says; nothing is built from it. None where there is none.

    Raises
    ------
    MedclsError
        The file is no configuration.
    """
    path = place / "config.yaml"
    if not path.is_file():
        return None
    import yaml

    try:
        config = OmegaConf.load(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MedclsError(f"{path} cannot be read as a configuration ({error}).") from error
    if not isinstance(config, DictConfig):
        raise MedclsError(f"{path} is not a configuration.")
    return config


def own_positive(config: DictConfig, place: Path, asked: str | None) -> str | None:
    """The class that a run looks for.

    Raises
    ------
    MedclsError
        Another one was asked for.
    """
    own = config.get("positive_class")
    if asked is not None and own is not None and str(own) != asked:
        raise MedclsError(f"{place} looks for {str(own)!r}, and positive_class is {asked!r}: leave it out for runs.")
    return None if own is None else str(own)


def operating_point(place: Path, table: Predictions) -> OperatingPoint | None:
    """From where on a run calls the positive class; 0.5, not fitted, where nothing was fitted with these weights.

    Raises
    ------
    MedclsError
        The run's policies cannot be read.
    """
    from medcls.evaluation.thresholds import OperatingPoint, not_fitted

    if table.positive is None:
        return None
    path = place / "policies.json"
    if not path.is_file():
        return not_fitted(table)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["operating_point"]
        point = None if stored is None else OperatingPoint.from_plain(stored)
    except (ValueError, KeyError, TypeError) as error:
        raise MedclsError(f"{path} holds no operating point that can be read ({error!r}).") from error
    if point is None:
        return not_fitted(table)
    if point.checkpoint != table.checkpoint or point.positive_class != table.positive:
        log.warning(
            "%s: its operating point was fitted with checkpoint %s for %r; the predictions come from %s and look for "
            "%r. Instead 0.5 is used, not fitted.",
            place, point.checkpoint or "(none)", point.positive_class, table.checkpoint or "(none)", table.positive,
        )  # fmt: skip
        return not_fitted(table)
    return point


def names(places: Sequence[Path]) -> list[str]:
    """The shortest names that tell the folders apart, in the words that their names are made of.

    Of `runs/breast-mobilenetv3-20260101` and `runs/breast-resnet18-20260102` these are `mobilenetv3` and `resnet18`;
    a bare number is called `run 3`.
    """
    parts = [_words(place) for place in places]
    if len({tuple(one[-1]) for one in parts}) == len(parts):
        words = [one[-1] for one in parts]
    else:  # folders of the same name in different places
        depth = next(
            n for n in range(2, 1 + max(map(len, parts))) if len({str(one[-n:]) for one in parts}) == len(parts)
        )
        words = [[word for part in one[-depth:] for word in part] for one in parts]
    shared = 0
    while all(len(one) > shared + 1 for one in words) and len({one[shared] for one in words}) == 1:
        shared += 1
    words = [one[shared:] for one in words]
    enough = next(n for n in range(1, 1 + max(map(len, words))) if len({tuple(one[:n]) for one in words}) == len(words))
    found = ["-".join(one[:enough]) for one in words]
    return [f"run {name}" if name.isdigit() else name for name in found]


def _words(place: Path) -> list[list[str]]:
    """The words of each part of a path."""
    path = place.resolve()
    return [part.split("-") for part in (path if place.is_dir() else path.with_suffix("")).parts]


def differences(configurations: Sequence[DictConfig | None]) -> list[str]:
    """In what each configuration differs from the others, in as few words as it takes: `model=resnet18, seed=1`."""
    flat = [{} if config is None else _flat(plain(config)) for config in configurations]
    keys = dict.fromkeys(key for one in flat for key in one)
    vary = [key for key in keys if len({str(one.get(key)) for one in flat if one}) > 1]
    vary = [key for key in vary if not any(key == told or key.startswith(f"{told}.") for told in NOT_TOLD)]
    # A group of settings that goes by a name is told by it.
    named = [key.removesuffix(".name") for key in vary if key.endswith(".name")]
    vary = [key for key in vary if not any(key.startswith(f"{group}.") for group in named)] + named
    return [
        ", ".join(f"{key}={one.get(f'{key}.name' if key in named else key)}" for key in sorted(vary)) if one else ""
        for one in flat
    ]


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """`{"data": {"folds": 5}}` as `{"data.folds": 5}`."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat


def show(found: Contest) -> None:
    """Print the figures, the differences, and what can be concluded of them."""
    from medcls import terminal
    from medcls.evaluation.contest_text import figures_table, pairs_table, runs_table, shown_note

    for stamp in found.stamps:
        log.warning("%s", stamp)
    terminal.show_table(runs_table(found).drop(columns="place"), f"On {found.caption}")
    terminal.show_table(figures_table(found).drop(columns=["method", "note"], errors="ignore"), "Each on its own")
    terminal.show_table(pairs_table(found).drop(columns=["method", "of"]), "Against each other")
    for line in (*found.notes, shown_note(found)):
        if line:
            log.info("%s", line)
    for sentence in found.conclusions:
        terminal.console.print(f"\n{sentence}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
