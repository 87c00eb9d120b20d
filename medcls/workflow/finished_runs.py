"""Finished runs, and tables of other tools: finding, naming and reading them."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medcls.errors import MedclsError, typed
from medcls.runs import records
from medcls.runs.records import Audit, Configuration
from medcls.wording import counted, enumerated

if TYPE_CHECKING:
    from medcls.evaluation.cross_validations import CrossValidation, Fold
    from medcls.evaluation.predictions import Predictions
    from medcls.evaluation.thresholds import OperatingPoint

log = logging.getLogger(__name__)

# Settings that do not change what is trained.
IGNORED = (
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
    """Find runs and tables; a folder of runs stands for all of them.

    Raises
    ------
    MedclsError
        A folder without a run; a run given twice; fewer than two; runs that were not evaluated on this split.
    """
    places = [place for path in named for place in (runs_in(path) if path.is_dir() else [path])]
    seen: dict[Path, Path] = {}
    for place in places:
        if (same := seen.setdefault(table_of(place, split).resolve(), place)) is not place:
            raise MedclsError(
                f"{place} was given twice{'' if same == place else f', also as {same}'}: give each once.",
                kind="run_given_twice",
            )
    if len(places) < 2:
        raise MedclsError(f"{places[0]} alone cannot be compared: give two runs or more.", kind="too_few_runs")
    missing = [place for place in places if not table_of(place, split).is_file()]
    if missing:
        splits = sorted({path.stem for place in missing for path in (place / "predictions").glob("*.csv")})
        raise MedclsError(
            f"{len(missing)} of {len(places)} were not evaluated on {split}"
            + (f" (only on {', '.join(splits)})" if splits else "")
            + f": there is no predictions/{split}.csv. To create it:\n"
            + "\n".join(f"  python -m medcls.evaluate {typed('run', str(place))} split={split}" for place in missing),
            kind="not_evaluated",
        )
    return places


def runs_in(folder: Path) -> list[Path]:
    """Return the folder itself if it is a run, otherwise the runs directly in it; log those that are unfinished.

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
            f"{folder} has no run: a run folder has config.yaml and predictions/.",
            kind="not_a_run",
        )
    unfinished = [path.name for path in below if path not in found and (path / "config.yaml").exists()]
    if unfinished:
        log.warning(
            "left out, since they are unfinished: %s in %s",
            ", ".join(unfinished),
            folder,
            extra={"rule": "unfinished_runs"},
        )
    return found


def table_of(place: Path, split: str) -> Path:
    """Return the path of the predictions of a split; a file is such a table itself."""
    return place / "predictions" / f"{split}.csv" if place.is_dir() else place


def read_table(place: Path, split: str, positive: str | None) -> Predictions:
    """Read the predictions of a split of a run, and check them against its manifest; or read a table.

    Raises
    ------
    MedclsError
        As in `predictions.read_csv`; rows that are missing from the run's table, too many, or changed.
    """
    from medcls.evaluation.predictions import read_csv

    path = table_of(place, split)
    table = read_csv(path, positive)
    if place.is_dir():
        check_against_manifest(table, path, place)
    return table


def check_against_manifest(table: Predictions, path: Path, run: Path) -> None:
    """Refuse predictions of a run that do not have the images, labels and groups of its manifest.

    Folders without a manifest, and splits that are not in it (another site), are not checked.
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
    found, expected = (set(one[keys].itertuples(index=False, name=None)) for one in (table.rows, rows))
    paths, known = {row[0] for row in found}, {row[0] for row in expected}
    faults = {
        "missing": len(known - paths),
        "of images that are not in it": len(paths - known),
        "under another label or group": len({row[0] for row in found - expected} & known),
    }
    if listed := [f"{counted(count, 'row')} {what}" for what, count in faults.items() if count]:
        command = f"  python -m medcls.evaluate {typed('run', str(run))} split={table.split}"
        raise MedclsError(
            f"{path} does not fit the run's manifest.csv ({len(table)} rows, and {counted(len(rows), 'image')} in "
            f"{table.split}): {', '.join(listed)}. The table was cut or changed. "
            + ("Restore it, or run the probe again." if out_of_fold else f"To create it again:\n{command}"),
            kind="not_the_manifest",
        )


def _naturally(path: Path) -> list[tuple[int, str]]:
    """Sort key by which 10 follows 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def images_of(place: Path) -> Path | None:
    """Return the folder of a run's images at the time of training; None if that is no run folder."""
    config = Configuration.read(place)
    return None if config is None else config.images


def positive_of(config: Configuration | None, place: Path, requested: str | None) -> str | None:
    """Return the positive class of a run; None if its configuration has none.

    Raises
    ------
    MedclsError
        Another one was requested.
    """
    own = None if config is None else config.positive_class
    if requested is not None and own is not None and own != requested:
        raise MedclsError(
            f"The positive class of {place} is {own!r}, and positive_class is {requested!r}: leave it out for runs.",
            kind="different_positive_class",
        )
    return own


def cross_validations(named: Sequence[Path], positive: str | None) -> list[CrossValidation]:
    """Find cross-validations: in each folder the runs that differ in fold and seed only.

    A folder whose runs differ in more, such as a sweep over two networks and five folds, has several.

    Raises
    ------
    MedclsError
        Fewer than two; a run that is no fold, was not evaluated on what it held out, or lacks the number of its
        training images.
    """
    from medcls.evaluation.cross_validations import CrossValidation

    found: list[tuple[Path, list[Path]]] = []
    for folder in named:
        if not folder.is_dir():
            raise MedclsError(
                f"{folder} is a file: give the folder of the runs of a cross-validation, such as a sweep.",
                kind="no_such_folder",
            )
        alike: dict[str, list[Path]] = {}
        # The evaluation of a cross-validation may lie beside its folds.
        for place in [one for one in runs_in(folder) if not (one / "folds.csv").is_file()]:
            alike.setdefault(_without_fold_and_seed(place), []).append(place)
        found += [(folder, places) for places in alike.values()]
    if len(found) < 2:
        raise MedclsError(
            f"{', '.join(map(str, named))}: the runs differ in fold and seed only, so this is one cross-validation: "
            'give two, as "cross_validations=[runs/sweepA,runs/sweepB]". Its folds are evaluated together by '
            f"python -m medcls.evaluate {typed('runs', str(named[0]))}",
            kind="too_few_runs",
        )
    missing = [(place, split) for _, places in found for place in places for split in [held_out_split(place)]]
    missing = [(place, split) for place, split in missing if not table_of(place, split).is_file()]
    if missing:
        commands = [f"  python -m medcls.evaluate {typed('run', str(place))} split={split}" for place, split in missing]
        raise MedclsError(
            f"{len(missing)} run(s) were not evaluated on the images that they held out. Evaluate them (a sweep with "
            "evaluate_test=true does this):\n" + "\n".join(commands),
            kind="not_evaluated",
        )
    configurations = [Configuration.read(places[0]) for _, places in found]
    settings = differences([None if config is None else config.without_fold_and_seed() for config in configurations])
    folders = [folder for folder, _ in found]
    # One in each folder is named by the folder; several in a folder are named by their settings.
    one_each = len(set(folders)) == len(folders)
    labels = names(folders) if one_each else [words or f"setting {k}" for k, words in enumerate(settings)]
    if len(set(labels)) < len(labels):
        labels = [f"{folder.name}: {words}" for folder, words in zip(folders, labels, strict=True)]
    return [
        CrossValidation(name, str(folder), tuple(_fold(place, positive) for place in places), words)
        for name, (folder, places), words in zip(labels, found, settings, strict=True)
    ]


def held_out_split(place: Path) -> str:
    """Return the split that a fold held out: `held_out` if the data came with a test split, else `test`."""
    return "held_out" if "held_out" in _images_by_split(place) else "test"


def _fold(place: Path, positive: str | None) -> Fold:
    from medcls.evaluation.cross_validations import Fold

    config, sizes, split = Configuration.read(place), _images_by_split(place), held_out_split(place)
    table = read_table(place, split, positive_of(config, place, positive))
    point = operating_point(place, table)
    images = sum(sizes.get(name, 0) for name in ("train", "val", "calibration"))
    if not images or config is None or config.seed is None:
        raise MedclsError(
            f"{place}: splits.csv has no training image, or config.yaml has no seed: this is no fold.", kind="no_fold"
        )
    threshold = None if point is None else point.threshold
    return Fold(config.seed, config.setting("data.fold"), table, threshold, images, leak(place, split))


def _images_by_split(place: Path) -> dict[str, int]:
    path = place / "splits.csv"
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return {row["split"]: int(row["images"]) for row in csv.DictReader(lines)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MedclsError(
            f"{path} does not have the number of training images ({error!r}): a cross-validation is compared by the "
            "folders that its trainings wrote.",
            kind="no_fold",
        ) from error


def _without_fold_and_seed(place: Path) -> str:
    """Return a run's settings but for those that differ between the runs of one cross-validation."""
    config = Configuration.read(place)
    if config is None:
        raise MedclsError(f"{place} has no config.yaml, which states its fold and seed.", kind="no_fold")
    settings = config.without_fold_and_seed().flat()
    return json.dumps({key: settings[key] for key in settings if not _is_ignored(key)}, sort_keys=True, default=str)


def operating_point(place: Path, table: Predictions) -> OperatingPoint | None:
    """Return the operating point of a run; 0.5, not fitted, if none was fitted with these weights.

    Raises
    ------
    MedclsError
        The file policies.json is damaged.
    """
    from medcls.evaluation.folds import OUT_OF_FOLD
    from medcls.evaluation.thresholds import OperatingPoint, not_fitted

    if table.positive is None:
        return None
    if table.split == OUT_OF_FOLD:  # a probe's operating point is fitted on these rows
        return not_fitted(table)
    path = place / "policies.json"
    if not path.is_file():
        return not_fitted(table)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["operating_point"]
        point = None if stored is None else OperatingPoint.from_plain(stored)
    except (ValueError, KeyError, TypeError) as error:
        raise MedclsError(
            f"The operating point in {path} cannot be read ({error!r}).", kind="damaged_operating_point"
        ) from error
    if point is None or not point.is_fitted:
        return not_fitted(table)
    if point.checkpoint != table.checkpoint or point.positive_class != table.positive:
        log.warning(
            "%s: the operating point was fitted with checkpoint %s for %r, but the predictions are of %s for %r. A "
            "threshold of 0.5 is used instead.",
            place, point.checkpoint or "(none)", point.positive_class, table.checkpoint or "(none)", table.positive,
            extra={"rule": "different_checkpoints"},
        )  # fmt: skip
        return not_fitted(table)
    return point


def leak(place: Path, split: str) -> str:
    """Return the audit's sentence on near duplicates between a split and training; empty if there are none."""
    audit = records.read(place / "audit.json", Audit) if place.is_dir() else None
    finding = None if audit is None else audit.finding(f"leak_{split}")
    return finding.title if finding is not None and finding.level == "error" else ""


def names(places: Sequence[Path]) -> list[str]:
    """Return the shortest distinct names of folders, made of the words in their names.

    For `runs/breast-mobilenetv3-20260101` and `runs/breast-resnet18-20260102` these are `mobilenetv3` and `resnet18`;
    a number becomes `run 3`.
    """
    parts = [place.resolve().parts for place in places]
    depth = next(n for n in range(1, 1 + max(map(len, parts))) if len({one[-n:] for one in parts}) == len(parts))
    if depth > 1:  # folders of the same name in different places
        return ["/".join(one[-depth:]) for one in parts]
    words = [one[-1].split("-") for one in parts]
    while all(len(one) > 1 for one in words) and len({one[0] for one in words}) == 1:
        words = [one[1:] for one in words]
    enough = next(n for n in range(1, 1 + max(map(len, words))) if len({tuple(one[:n]) for one in words}) == len(words))
    shortest = ["-".join(one[:enough]) for one in words]
    return [f"run {name}" if name.isdigit() else name for name in shortest]


def differences(configurations: Sequence[Configuration | None]) -> list[str]:
    """List the settings in which each configuration differs from the others: `model=resnet18, seed=1`."""
    settings = [{} if config is None else config.flat() for config in configurations]
    keys = dict.fromkeys(key for one in settings for key in one)
    vary = [key for key in keys if len({str(one.get(key)) for one in settings if one}) > 1 and not _is_ignored(key)]
    # A group of settings with a name is listed by its name.
    groups = [key.removesuffix("name") for key in vary if key.endswith(".name")]
    vary = [key for key in vary if not any(key.startswith(group) and key != f"{group}name" for group in groups)]
    return [
        enumerated([_short(key, one[key]) for key in sorted(vary) if key in one], MOST_SETTINGS) for one in settings
    ]


def _is_ignored(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in IGNORED)


def _short(key: str, value: object) -> str:
    """`model=resnet18` for `model.name`, `optimizer=SGD` for `optimizer._target_`, else the setting as typed."""
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')}={str(value).rpartition('.')[2]}"
    return f"{key.removesuffix('.name')}={value}"
