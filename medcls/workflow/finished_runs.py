"""Run folders, and tables of other tools, as a command names them: found, told apart, and read for what they say."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from medcls.errors import MedclsError, typed
from medcls.runs.run_folder import read_json
from medcls.wording import counted, enumerated

if TYPE_CHECKING:
    from medcls.evaluation.cross_validations import CrossValidation, Fold
    from medcls.evaluation.predictions import Predictions
    from medcls.evaluation.thresholds import OperatingPoint

log = logging.getLogger(__name__)

# Where runs differ in nothing else, these say nothing of what was trained.
NOT_TOLD = (
    "data.root",
    "data.csv",
    "data.source",
    "data.workers",
    "resume",
    "evaluate_test",
    "trust",
    "keep_memory",
    "verbose",
)

MOST_SETTINGS = 6


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
        if (twin := seen.setdefault(table_of(place, split).resolve(), place)) is not place:
            raise MedclsError(
                f"{place} was named twice{'' if twin == place else f', also as {twin}'}: name each once.",
                kind="run_given_twice",
            )
    if len(places) < 2:
        raise MedclsError(f"{places[0]} alone cannot be compared: name two runs or more.", kind="too_few_runs")
    missing = [place for place in places if not table_of(place, split).is_file()]
    if missing:
        there = sorted({path.stem for place in missing for path in (place / "predictions").glob("*.csv")})
        raise MedclsError(
            f"{len(missing)} of {len(places)} were not evaluated on {split}"
            + (f" (but on {', '.join(there)})" if there else "")
            + f": they have no predictions/{split}.csv. Make it:\n"
            + "\n".join(f"  python -m medcls.evaluate {typed('run', str(place))} split={split}" for place in missing),
            kind="not_evaluated",
        )
    return places


def runs_in(folder: Path) -> list[Path]:
    """The folder itself where it is a run, else the runs right below it; those that never finished are named.

    Raises
    ------
    MedclsError
        There is no run.
    """
    if (folder / "config.yaml").is_file() or (folder / "predictions").is_dir():
        return [folder]
    below = sorted((path for path in folder.iterdir() if path.is_dir()), key=_naturally)
    found = [path for path in below if (path / "predictions").is_dir()]
    if not found:
        raise MedclsError(
            f"{folder} holds no run: a run folder has config.yaml and predictions/, a folder of runs such folders.",
            kind="not_a_run",
        )
    unfinished = [path.name for path in below if path not in found and (path / "config.yaml").exists()]
    if unfinished:
        log.warning(
            "left out, because they never finished: %s in %s",
            ", ".join(unfinished),
            folder,
            extra={"rule": "unfinished_runs"},
        )
    return found


def table_of(place: Path, split: str) -> Path:
    """Where a run keeps its predictions of a split; a file is such a table itself."""
    return place / "predictions" / f"{split}.csv" if place.is_dir() else place


def read_table(place: Path, split: str, positive: str | None) -> Predictions:
    """A run's predictions of a split, which must be those of its manifest; or a table as it is.

    Raises
    ------
    MedclsError
        As `predictions.read_csv`; rows that are missing from the run's table, too many, or changed.
    """
    from medcls.evaluation.predictions import read_csv

    path = table_of(place, split)
    table = read_csv(path, positive)
    if place.is_dir():
        check_against_manifest(table, path, place)
    return table


def check_against_manifest(table: Predictions, path: Path, run: Path) -> None:
    """Refuse a run's predictions where they are not of the images, labels and groups of its manifest.

    Folders without a manifest, and splits that it does not name, as of another site, have nothing to be held against.

    Raises
    ------
    MedclsError
        Says how many rows are missing, too many or changed.
    """
    from medcls.data.manifest import read_rows
    from medcls.evaluation.folds import OUT_OF_FOLD

    if not (run / "manifest.csv").is_file():
        return
    rows = read_rows(run / "manifest.csv")
    out_of_fold = table.split == OUT_OF_FOLD
    rows = rows[rows["split"] == ("train" if out_of_fold else table.split)]
    if rows.empty:
        return
    keys = ["path", "label", "group"]
    here, wanted = (set(one[keys].itertuples(index=False, name=None)) for one in (table.rows, rows))
    paths, known = {row[0] for row in here}, {row[0] for row in wanted}
    faults = {
        "missing": len(known - paths),
        "of images that are not in it": len(paths - known),
        "under another label or group": len({row[0] for row in here - wanted} & known),
    }
    if said := [f"{counted(count, 'row')} {what}" for what, count in faults.items() if count]:
        raise MedclsError(
            f"{path} does not fit the run's manifest.csv ({len(table)} rows, and {counted(len(rows), 'image')} in "
            f"{table.split}): {', '.join(said)}. It was cut or changed. "
            + (
                "Bring it back, or probe anew."
                if out_of_fold
                else f"Make it anew:\n  python -m medcls.evaluate {typed('run', str(run))} split={table.split}"
            ),
            kind="not_the_manifest",
        )


def _naturally(path: Path) -> list[tuple[int, str]]:
    """The order in which 10 follows 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def read_configuration(place: Path) -> dict[str, Any] | None:
    """A run's resolved configuration, for what it says; nothing is built from it. None where there is none.

    Raises
    ------
    MedclsError
        The file is no configuration.
    """
    path = place / "config.yaml"
    if not path.is_file():
        return None
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MedclsError(
            f"{path} cannot be read as a configuration ({error}).", kind="damaged_configuration"
        ) from error
    if not isinstance(settings, dict):
        raise MedclsError(f"{path} is not a configuration.", kind="damaged_configuration")
    return settings


def root_of(place: Path) -> Path | None:
    """Where a run's images lay when it was trained; None where that is no run folder."""
    settings = read_configuration(place) or {}
    data = settings.get("data")
    root = data.get("root") if isinstance(data, dict) else None
    return None if root is None else Path(str(root))


def own_positive(settings: Mapping[str, Any] | None, place: Path, asked: str | None) -> str | None:
    """The class that a run looks for; None where it says nothing of that.

    Raises
    ------
    MedclsError
        Another one was asked for.
    """
    own = None if settings is None else settings.get("positive_class")
    if asked is not None and own is not None and str(own) != asked:
        raise MedclsError(
            f"{place} looks for {str(own)!r}, and positive_class is {asked!r}: leave it out for runs.",
            kind="different_positive_class",
        )
    return None if own is None else str(own)


def cross_validations(named: Sequence[Path], positive: str | None) -> list[CrossValidation]:
    """The cross-validations that were meant: of each folder the runs that differ in fold and seed alone.

    A folder whose runs differ in more, as of a sweep over two networks and five folds, holds several.

    Raises
    ------
    MedclsError
        Fewer than two; a run that is no fold, was not evaluated on what it held out, or does not say how many images
        it was trained on.
    """
    from medcls.evaluation.cross_validations import CrossValidation

    found: list[tuple[Path, list[Path]]] = []
    for folder in named:
        if not folder.is_dir():
            raise MedclsError(
                f"{folder} is a file: name the folder of a cross-validation's runs, as of a sweep.",
                kind="no_such_folder",
            )
        alike: dict[str, list[Path]] = {}
        for place in runs_in(folder):
            alike.setdefault(_but_for_fold_and_seed(place), []).append(place)
        found += [(folder, places) for places in alike.values()]
    if len(found) < 2:
        raise MedclsError(
            f"{', '.join(map(str, named))}: the runs there differ in nothing but fold and seed, so there is one "
            'cross-validation: name two, as "cross_validations=[runs/sweepA,runs/sweepB]".',
            kind="too_few_runs",
        )
    missing = [(place, split) for _, places in found for place in places for split in [held_out_split(place)]]
    missing = [(place, split) for place, split in missing if not table_of(place, split).is_file()]
    if missing:
        commands = [f"  python -m medcls.evaluate {typed('run', str(place))} split={split}" for place, split in missing]
        raise MedclsError(
            f"{len(missing)} run(s) were not evaluated on the images that they held out. Evaluate them (a sweep with "
            "evaluate_test=true does so itself):\n" + "\n".join(commands),
            kind="not_evaluated",
        )
    configurations = [read_configuration(places[0]) for _, places in found]
    told = differences([None if one is None else _without_fold_and_seed(one) for one in configurations])
    folders = [folder for folder, _ in found]
    # One of each folder goes by the folder's name; of several in a folder each goes by its settings.
    by_folder = len(set(folders)) == len(folders)
    called = names(folders) if by_folder else [words or f"setting {k}" for k, words in enumerate(told)]
    if len(set(called)) < len(called):
        called = [f"{folder.name}: {words}" for folder, words in zip(folders, called, strict=True)]
    return [
        CrossValidation(name, str(folder), tuple(_fold(place, positive) for place in places), words)
        for name, (folder, places), words in zip(called, found, told, strict=True)
    ]


def held_out_split(place: Path) -> str:
    """What a fold calls the images that it held out: `held_out` where the data came with a test split, else `test`."""
    return "held_out" if "held_out" in _images_of_splits(place) else "test"


def _fold(place: Path, positive: str | None) -> Fold:
    from medcls.evaluation.cross_validations import Fold

    settings, sizes = read_configuration(place) or {}, _images_of_splits(place)
    table = read_table(place, held_out_split(place), own_positive(settings, place, positive))
    point = operating_point(place, table)
    fold = (settings.get("data") or {}).get("fold")
    others = sum(sizes.get(name, 0) for name in ("train", "val", "calibration"))
    if not others or not isinstance(settings.get("seed"), int):
        raise MedclsError(
            f"{place}: splits.csv counts no training image, or config.yaml has no seed: it is no fold.", kind="no_fold"
        )
    threshold = None if point is None else point.threshold
    return Fold(settings["seed"], fold, table, threshold, others, leak(place, held_out_split(place)))


def _images_of_splits(place: Path) -> dict[str, int]:
    """How many images each split of a run has."""
    path = place / "splits.csv"
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return {row["split"]: int(row["images"]) for row in csv.DictReader(lines)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MedclsError(
            f"{path} does not say how many images this run was trained on ({error!r}): a cross-validation is compared "
            "from the folders that its trainings wrote.",
            kind="no_fold",
        ) from error


def _but_for_fold_and_seed(place: Path) -> str:
    """A run's settings without what differs between the runs of one cross-validation."""
    settings = read_configuration(place)
    if settings is None:
        raise MedclsError(f"{place} has no config.yaml, which says of which fold and seed it is.", kind="no_fold")
    flat = _flat(_without_fold_and_seed(settings))
    kept = {key: value for key, value in flat.items() if not _is_not_told(key)}
    return json.dumps(kept, sort_keys=True, default=str)


def _without_fold_and_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    data = {name: value for name, value in (settings.get("data") or {}).items() if name != "fold"}
    return {name: value for name, value in settings.items() if name not in ("seed", "data")} | {"data": data}


def operating_point(place: Path, table: Predictions) -> OperatingPoint | None:
    """From where on a run calls the positive class; 0.5, not fitted, where nothing was fitted with these weights.

    Raises
    ------
    MedclsError
        The run's policies cannot be read.
    """
    from medcls.evaluation.folds import OUT_OF_FOLD
    from medcls.evaluation.thresholds import OperatingPoint, not_fitted

    if table.positive is None:
        return None
    if table.split == OUT_OF_FOLD:  # a probe fits on these rows what it stores
        return not_fitted(table)
    path = place / "policies.json"
    if not path.is_file():
        return not_fitted(table)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["operating_point"]
        point = None if stored is None else OperatingPoint.from_plain(stored)
    except (ValueError, KeyError, TypeError) as error:
        raise MedclsError(
            f"{path} holds no operating point that can be read ({error!r}).", kind="damaged_operating_point"
        ) from error
    if point is None or not point.is_fitted:
        return not_fitted(table)
    if point.checkpoint != table.checkpoint or point.positive_class != table.positive:
        log.warning(
            "%s: its operating point was fitted with checkpoint %s for %r; the predictions come from %s and look for "
            "%r. Instead 0.5 is used, not fitted.",
            place, point.checkpoint or "(none)", point.positive_class, table.checkpoint or "(none)", table.positive,
            extra={"rule": "different_checkpoints"},
        )  # fmt: skip
        return not_fitted(table)
    return point


def leak(place: Path, split: str) -> str:
    """How many images of a split have a near copy in a run's training, in its audit's words; empty where none has."""
    record = read_json(place / "audit.json") if place.is_dir() else None
    found = record.get("findings", []) if isinstance(record, dict) else []
    return next((str(one["title"]) for one in found if one["check"] == f"leak_{split}" and one["level"] == "error"), "")


def names(places: Sequence[Path]) -> list[str]:
    """The shortest names that tell the folders apart, in the words that their names are made of.

    Of `runs/breast-mobilenetv3-20260101` and `runs/breast-resnet18-20260102` these are `mobilenetv3` and `resnet18`;
    a bare number is called `run 3`.
    """
    parts = [place.resolve().parts for place in places]
    depth = next(n for n in range(1, 1 + max(map(len, parts))) if len({one[-n:] for one in parts}) == len(parts))
    if depth > 1:  # folders of the same name in different places
        return ["/".join(one[-depth:]) for one in parts]
    words = [one[-1].split("-") for one in parts]
    while all(len(one) > 1 for one in words) and len({one[0] for one in words}) == 1:
        words = [one[1:] for one in words]
    enough = next(n for n in range(1, 1 + max(map(len, words))) if len({tuple(one[:n]) for one in words}) == len(words))
    found = ["-".join(one[:enough]) for one in words]
    return [f"run {name}" if name.isdigit() else name for name in found]


def differences(configurations: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """In what each configuration differs from the others, in as few words as it takes: `model=resnet18, seed=1`."""
    flat = [{} if config is None else _flat(config) for config in configurations]
    keys = dict.fromkeys(key for one in flat for key in one)
    vary = [key for key in keys if len({str(one.get(key)) for one in flat if one}) > 1]
    vary = [key for key in vary if not _is_not_told(key)]
    # A group of settings that goes by a name is told by it.
    named = [key.removesuffix("name") for key in vary if key.endswith(".name")]
    vary = [key for key in vary if not any(key.startswith(group) and key != f"{group}name" for group in named)]
    return [enumerated([_told(key, one[key]) for key in sorted(vary) if key in one], MOST_SETTINGS) for one in flat]


def _is_not_told(key: str) -> bool:
    return any(key == told or key.startswith(f"{told}.") for told in NOT_TOLD)


def _told(key: str, value: object) -> str:
    """`model=resnet18` of `model.name`, `optimizer=SGD` of `optimizer._target_`, else the setting as it is typed."""
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')}={str(value).rpartition('.')[2]}"
    return f"{key.removesuffix('.name')}={value}"


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """`{"data": {"folds": 5}}` as `{"data.folds": 5}`."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat
