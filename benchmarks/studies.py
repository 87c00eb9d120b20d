"""The results of the studies, from run folders: experiments/RESULTS.md, and the table in README.md.

    python -m benchmarks.studies                              # write experiments/RESULTS.md
    python -m benchmarks.studies --row breast_cancer          # measure a row (or go on with it), then write
    python -m benchmarks.studies --readme                     # write README's table of results too

A row is measured by the commands that it shows, each run in a folder of its own below runs/studies/ROW; what is there
already is not run again. Rows that another one needs (its initial weights, its teachers, what it is compared with) are
measured before it. What is read from these folders is kept in benchmarks/studies.json, from which the pages are
written. Rows are stated in benchmarks/study_rows.py; one whose settings or experiment have changed since is not
measured.
"""

import argparse
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmarks.study_rows import ROWS, STUDIES, Row
from medcls import __version__
from medcls.evaluation.predictions import Predictions, read_csv
from medcls.statistics.intervals import bootstrap_limits
from medcls.statistics.metric_table import BY_IDENTIFIER, MACRO, estimates, with_interval
from medcls.statistics.metrics import checked_split
from medcls.statistics.resampling import bootstrap
from medcls.statistics.split import Split
from medcls.workflow.training_plots import read_history

TOP = Path(__file__).parents[1]
OUT = Path("runs/studies")
KEPT = TOP / "benchmarks" / "studies.json"
RESULTS = TOP / "experiments" / "RESULTS.md"
README = TOP / "README.md"
BEGINS, ENDS = "<!-- results: python -m benchmarks.studies --readme -->\n", "<!-- end of results -->\n"

METRICS = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1", "auroc")
OUT_OF_FOLD = "out_of_fold"
COMPARED = "compared"
NOT_MEASURED = "not measured"

Execute = Callable[[str, Sequence[str]], object]
"""Run `python -m medcls.<first> <rest>`; raises where it fails."""


# ------------------------------------------------------------------ measuring


def in_a_process(command: str, arguments: Sequence[str]) -> None:
    """Run a command as a person would."""
    code = subprocess.run([sys.executable, "-m", f"medcls.{command}", *arguments], check=False).returncode
    if code:
        raise SystemExit(f"medcls.{command} ended with code {code}; the same command goes on with the row.")


def runs_of(row: Row, out: Path) -> dict[str, list[str]]:
    """Give the folder of each run of a row, and the settings that make it."""
    base = [f"experiments={row.experiment}", *row.settings, *_learned_from(row, out)]
    if row.folds is not None:
        return {f"fold={k}": [*base, f"data.folds={row.folds}", f"data.fold={k}"] for k in range(row.folds)}
    first = out / row.name / f"seed={row.seeds[0]}" / "manifest.csv"
    locked = [f"data.locked_test={first}"]
    return {
        f"seed={seed}": [*base, f"seed={seed}", *(locked if number else [])] for number, seed in enumerate(row.seeds)
    }


def _learned_from(row: Row, out: Path) -> list[str]:
    """The settings that name another row's runs."""
    weights = [] if row.weights is None else [f"model.weights={out / row.weights / 'seed=0'}"]
    # The teacher of each fold is the run of the same fold.
    return weights + ([] if row.teacher is None else [f"teacher={out / row.teacher}"])


def with_needed(rows: Iterable[Row], every: Sequence[Row]) -> list[Row]:
    """The rows, each after those that it needs."""
    by_name = {row.name: row for row in every}
    found: dict[str, Row] = {}
    for row in rows:
        found |= {one.name: one for one in with_needed((by_name[name] for name in row.needed), every)}
        found[row.name] = row
    return list(found.values())


def measure(row: Row, data: Path, out: Path, execute: Execute = in_a_process) -> None:
    """Run what is still missing of a row, and write down how long each command took.

    Parameters
    ----------
    data : Path
        The folder of the image sets.
    out : Path
        The row's folder is made in it.
    execute : callable
        What runs a command.

    Raises
    ------
    SystemExit
        The row's folder holds runs of other settings; a command failed.
    """
    place = out / row.name
    file = place / "settings.json"
    former = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else stated(row)
    if former != stated(row) and any(place.glob("*/checkpoints")):
        raise SystemExit(f"{place} holds runs of other settings of {row.name}: move it away first.")
    place.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(stated(row)) + "\n", encoding="utf-8")
    for name, settings in runs_of(row, out).items():
        run = place / name
        if (run / "report.html").is_file():
            continue
        if (run / "checkpoints" / "last.ckpt").is_file():
            command = [f"resume={run}"]
        else:
            command = [*settings, f"data.root={images_of(row, data)}", "evaluate_test=true", f"hydra.run.dir={run}"]
        _timed(place, name, lambda command=command: execute("train", command))
    folder = place / OUT_OF_FOLD
    if row.folds is not None and not (folder / "report.html").is_file():
        runs = ",".join(str(place / name) for name in runs_of(row, out))
        arguments = [f"runs=[{runs}]", f"hydra.run.dir={folder}"]
        _timed(place, OUT_OF_FOLD, lambda: execute("evaluate", arguments))
    compared = place / COMPARED
    if row.against is not None and not (compared / "comparison.json").is_file():
        both = f"cross_validations=[{place},{out / row.against}]"
        _timed(place, COMPARED, lambda: execute("compare", [both, f"hydra.run.dir={compared}"]))


def images_of(row: Row, data: Path) -> Path:
    """The folder of a row's images, in that of the image sets."""
    return data if STUDIES[row.study].of_all_sets else data / row.study


def _timed(place: Path, name: str, work: Callable[[], object]) -> None:
    """Add the time of a command, however it ends, to what it took before."""
    file = place / "times.json"
    times = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    before, started = os.times(), time.perf_counter()
    try:
        work()
    finally:
        after = os.times()
        # Of this process too: a test runs the command in it.
        cpu = sum(after[:4]) - sum(before[:4])
        took = times.get(name, {"seconds": 0.0, "cpu_seconds": 0.0})
        seconds = took["seconds"] + time.perf_counter() - started
        times[name] = {"seconds": seconds, "cpu_seconds": took["cpu_seconds"] + cpu, "processor": processor()}
        file.write_text(json.dumps(times, indent=2) + "\n", encoding="utf-8")


def processor() -> str:
    """What the system calls its processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


# ------------------------------------------------------------------ reading run folders


def gather(row: Row, out: Path) -> dict[str, Any] | None:
    """Read what a row's run folders say; None where one is missing or has no report yet."""
    place = out / row.name
    runs = [place / name for name in runs_of(row, out)]
    needed = [*runs, *([] if row.folds is None else [place / OUT_OF_FOLD])]
    if not all((folder / "report.html").is_file() for folder in needed):
        return None
    if row.against is not None and not (place / COMPARED / "comparison.json").is_file():
        return None
    if row.folds is not None:
        found = _of_folds(place / OUT_OF_FOLD)
    elif len(runs) == 1:
        found = _of_one(runs[0])
    else:
        found = _of_seeds(runs)
    settings = json.loads((place / "settings.json").read_text(encoding="utf-8"))
    if row.against is not None:
        found["difference"] = _compared(place / COMPARED)
    return {**found, **_how(runs, place), "settings": settings, "runs": len(runs), "medcls": __version__}


def stated(row: Row) -> list[str]:
    """What a row is measured with: its settings, and a hash of its experiment's; the same of rows that it needs."""
    file = TOP / "experiments" / f"{row.experiment}.yaml"
    content = json.dumps(yaml.safe_load(file.read_text(encoding="utf-8")), sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    repeats = f"data.folds={row.folds}" if row.folds is not None else f"seed={','.join(map(str, row.seeds))}"
    needed = [f"{name}: {' '.join(stated(one))}" for name in row.needed for one in ROWS if one.name == name]
    return [f"experiments={row.experiment}", f"sha256:{digest}", *row.settings, repeats, *needed]


def _read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def _chosen(table: pd.DataFrame) -> dict[str, list[float | None]]:
    """Of a table of intervals the metrics of the page: of the positive class, or the mean over classes.

    Estimate, low and high of each; None where undefined.
    """
    found = {}
    for metric in METRICS:
        rows = table[table["metric"] == metric]
        one = rows[rows["class"].fillna("") == MACRO] if len(rows) > 1 else rows
        values = one[["estimate", "low", "high"]].astype(float).iloc[0].tolist()
        found[metric] = [value if np.isfinite(value) else None for value in values]
    return found


def _of_split(metrics: Mapping[str, Any], split: str) -> dict[str, Any]:
    return {
        "baseline": metrics[split]["values"]["majority_baseline"],
        "images": metrics[split]["caption"],
        "watermarks": list(metrics["stamps"]),
    }


def _of_one(run: Path) -> dict[str, Any]:
    metrics = _read(run)
    return {**_of_split(metrics, "test"), "metrics": _chosen(pd.DataFrame(metrics["test"]["intervals"])), "each": []}


def _of_folds(folder: Path) -> dict[str, Any]:
    """Each image out of fold, under its own fold's threshold; the AUROC of each fold beside that of all."""
    folds = pd.read_csv(folder / "folds.csv", keep_default_na=False, na_values=[""])
    folds["class"] = folds["class"].fillna("")
    each = [_chosen(table)["auroc"][0] for name, table in folds.groupby("fold") if name not in ("mean", "pooled")]
    pooled = _chosen(folds[folds["fold"] == "pooled"])
    return {**_of_split(_read(folder), OUT_OF_FOLD), "metrics": pooled, "each": each}


def _compared(folder: Path) -> dict[str, Any]:
    """The paired difference of the AUROC over the folds; low, high and p are None where undefined."""
    pairs = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))["comparisons"]
    (pair,) = (one for one in pairs if one["metric"] == "auroc")
    return {name: pair[name] for name in ("difference", "low", "high", "p", "method", "sentence")}


def _of_seeds(runs: Sequence[Path], resamples: int = 2000) -> dict[str, Any]:
    """The mean over runs of each metric; one bootstrap of the test images, the same for all runs, gives its interval.

    So the interval is of a run on other images, not of what another training would have brought: that is to be seen
    from the runs' own values.
    """
    tables = [_test_of(run) for run in runs]
    if any(table.rows["path"].tolist() != tables[0].rows["path"].tolist() for table in tables):
        raise SystemExit(f"{runs[0].parent}: the runs have different test images, and no mean.")
    splits = [_split_of(run, table) for run, table in zip(runs, tables, strict=True)]
    keys = [(metric, name) for metric, name in with_interval(splits[0])]

    def mean(weights: np.ndarray) -> np.ndarray:
        return np.mean([estimates(split, weights) for split in splits], axis=0)

    first = splits[0]
    ones = np.ones((1, len(first.labels)))
    drawn = bootstrap(mean, first.labels, first.groups, resamples, 0)
    groups = first.group_count()
    rows = []
    for number, ((metric, name), estimate) in enumerate(zip(keys, mean(ones)[0], strict=True)):
        if metric.identifier not in METRICS:
            continue
        limits = bootstrap_limits(float(estimate), drawn.values[:, number], metric.bounds(first, name), groups)
        rows.append((metric.identifier, name, float(estimate), *(limits or (np.nan, np.nan))))
    table = pd.DataFrame(rows, columns=["metric", "class", "estimate", "low", "high"])
    at = [number for number, (metric, name) in enumerate(keys) if metric.identifier == "auroc"][-1]
    each = [float(estimates(split, ones)[0, at]) for split in splits]
    return {**_of_split(_read(runs[0]), "test"), "metrics": _chosen(table), "each": each}


def _test_of(run: Path) -> Predictions:
    positive = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["positive_class"]
    return read_csv(run / "predictions" / "test.csv", positive)


def _split_of(run: Path, table: Predictions) -> Split:
    threshold = _read(run)["test"]["threshold"]
    of = table.labels(), table.probabilities(), table.classes, table.positive
    return checked_split(*of, threshold, table.clusters)


def _how(runs: Sequence[Path], place: Path) -> dict[str, Any]:
    """On what machine, how long all commands took, and how many training images went through in each second of that."""
    times = json.loads((place / "times.json").read_text(encoding="utf-8"))
    environment = json.loads((runs[0] / "environment.json").read_text(encoding="utf-8"))
    images = 0
    for run in runs:
        splits = pd.read_csv(run / "manifest.csv", dtype=str)["split"]
        images += int((splits == "train").sum()) * (int(read_history(run / "logs")["epoch"].max()) + 1)
    training = sum(times[run.name]["seconds"] for run in runs)
    device = environment["device"]
    where = times[runs[0].name]["processor"] if device == "CPU" else device
    return {
        "machine": f"{where}, {environment['threads']} threads",
        "minutes": sum(took["seconds"] for took in times.values()) / 60,
        "cpu_minutes": sum(took["cpu_seconds"] for took in times.values()) / 60,
        "images_per_second": images / training,
    }


def collect(rows: Iterable[Row], out: Path, kept: Path) -> dict[str, Any]:
    """Read the folders of all rows; what was read before, and is no longer there, is kept."""
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    found = {row.name: gathered for row in rows if (gathered := gather(row, out)) is not None}
    if found:
        kept.write_text(json.dumps(known | found, indent=2) + "\n", encoding="utf-8")
    return known | found


# ------------------------------------------------------------------ writing


def command_of(row: Row) -> str:
    """What a person types for it."""
    root = "/path/to/sets" if STUDIES[row.study].of_all_sets else f"/path/to/{row.study}"
    settings = [f"experiments={row.experiment}", f"data.root={root}", *row.settings, *_learned_from(row, OUT)]
    if row.folds is not None:
        settings = ["-m", *settings, f"data.folds={row.folds}", f"data.fold={','.join(map(str, range(row.folds)))}"]
    return f"python -m medcls.train {shlex.join(settings)}"


def _cell(values: Sequence[float | None]) -> str:
    estimate, low, high = values
    if estimate is None:
        return "undefined"
    return f"{estimate:.3f}" + ("" if low is None or high is None else f" ({low:.3f} to {high:.3f})")


def _measured(row: Row, known: Mapping[str, Any]) -> dict[str, Any] | None:
    one = known.get(row.name)
    return one if one is not None and one["settings"] == stated(row) else None


def _repeats(row: Row) -> str:
    if row.folds is not None:
        return f"{row.folds} folds"
    return "1 run" if len(row.seeds) == 1 else f"{len(row.seeds)} seeds"


def _result_cells(row: Row, one: Mapping[str, Any] | None) -> list[str]:
    if one is None:
        return [row.setting, _repeats(row), *[NOT_MEASURED] * len(METRICS), ""]
    cells = [_cell(one["metrics"][metric]) for metric in METRICS]
    cells[0] += f", baseline {one['baseline']:.3f}"
    marks = f" [{'; '.join(one['watermarks'])}]" if one["watermarks"] else ""
    each = f"{min(one['each']):.3f} to {max(one['each']):.3f}" if one["each"] else ""
    return [row.setting + marks, _repeats(row), *cells, each]


def _how_cells(row: Row, one: Mapping[str, Any] | None) -> list[str]:
    command = f"`{command_of(row)}`"
    if one is None:
        return [row.setting, row.name, command, NOT_MEASURED, "", "", ""]
    times = f"{one['minutes']:.1f} ({one['cpu_minutes']:.1f})", f"{one['images_per_second']:.1f}"
    return [row.setting, row.name, command, one["machine"], *times, one["images"]]


def _differences(rows: Sequence[Row], known: Mapping[str, Any]) -> list[str]:
    """A line for each row that is compared with another, over the same folds."""
    settings = {row.name: row.setting for row in rows}
    lines = []
    for row in rows:
        if row.against is None:
            continue
        found = f"AUROC of {row.setting}, against {settings[row.against]}, paired by fold: "
        if (one := _measured(row, known)) is None:
            lines.append(f"- {found}{NOT_MEASURED}.")
            continue
        pair = one["difference"]
        limits = "" if pair["low"] is None else f" (95% interval {pair['low']:+.3f} to {pair['high']:+.3f})"
        lines.append(f"- {found}{pair['difference']:+.3f}{limits}; {pair['method']}.")
    return ["\n".join(lines)] if lines else []


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _difference(rows: Sequence[Row], known: Mapping[str, Any]) -> str:
    """What the careful row reached beside the published one; empty where either is not measured."""
    careful = next((row for row in rows if row.name == row.study), None)
    published = next((row for row in rows if "_as_published" in row.name and _measured(row, known)), None)
    if careful is None or published is None or (one := _measured(careful, known)) is None:
        return ""
    other = known[published.name]
    return (
        f" AUROC {_cell(one['metrics']['auroc'])}; {published.setting}: {_cell(other['metrics']['auroc'])}. "
        "The two are not of the same test images."
    )


def results(rows: Sequence[Row], known: Mapping[str, Any]) -> str:
    """Write experiments/RESULTS.md."""
    names = [BY_IDENTIFIER[metric].title for metric in METRICS]
    parts = [
        "# Results of the studies",
        "Written by `python -m benchmarks.studies` from run folders; only the tutorials' printed numbers are typed in. "
        "Measure a row with `make results ROW=NAME`; one that was interrupted goes on.",
        "Intervals are 95%. Folds: each image is judged by the network that had not seen it, at its fold's threshold. "
        "Seeds: the mean over runs on the same test images (the second and third run: `seed=1`, `seed=2`, and "
        "`data.locked_test=FIRST/manifest.csv`); the interval is of other test images, the range over runs shows what "
        "another training brings. A difference that is paired by fold has the corrected interval that `medcls.compare` "
        "gives whole cross-validations. Baseline: the accuracy of always predicting the most frequent class. With "
        "more than two classes sensitivity, specificity, F1 and AUROC are means over classes. Minutes are those of all "
        "commands of a row (in brackets: of processor time, which is less where other work ran beside), images per "
        "second the training images of all epochs by the time of the training commands, start and evaluation included.",
    ]
    for key, study in STUDIES.items():
        own = [row for row in rows if row.study == key]
        if not own:
            continue
        printed = [f"{study.printed[metric]:.3f}" if metric in study.printed else "" for metric in METRICS]
        table = [["tutorial, printed", "1 run", *printed, ""]] if study.printed else []
        table += [_result_cells(row, _measured(row, known)) for row in own]
        how = [_how_cells(row, _measured(row, known)) for row in own]
        parts += [
            f"## {study.title}",
            study.meant if study.of_all_sets else f"The tutorial's numbers. {study.meant}",
            study.changes
            if study.of_all_sets
            else f"What the careful setting changes. {study.changes}{_difference(own, known)}",
            _table(["setting", "runs", *names, "AUROC, lowest to highest run"], table),
            *_differences(own, known),
            _table(["setting", "row", "command", "machine", "minutes (processor)", "images/s", "evaluated"], how),
        ]
    return "\n\n".join(parts) + "\n"


def readme_table(rows: Sequence[Row], known: Mapping[str, Any]) -> str:
    """Write README's table: the measured rows."""
    header = ["images", "setting", "AUROC", "sensitivity", "specificity", "accuracy (baseline)"]
    lines = []
    for row in rows:
        if (one := _measured(row, known)) is not None and not STUDIES[row.study].of_all_sets:
            cells = [_cell(one["metrics"][metric]) for metric in ("auroc", "sensitivity", "specificity")]
            accuracy = f"{one['metrics']['accuracy'][0]:.3f} ({one['baseline']:.3f})"
            lines.append([STUDIES[row.study].title, f"{row.setting}, {_repeats(row)}", *cells, accuracy])
    return _table(header, lines) + "\n"


def with_table(page: str, table: str) -> str:
    """Put README's table between its marks."""
    before, begins, rest = page.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not begins or not ends:
        raise SystemExit(f"README.md has no {BEGINS.strip()} and {ENDS.strip()}: there is no place for the table.")
    return f"{before}{begins}{table}{ends}{after}"


def main() -> None:
    """Measure the rows that are named; write what is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [row.name for row in ROWS]
    parser.add_argument("--row", nargs="+", choices=names, default=[], metavar="ROW", help=", ".join(names))
    parser.add_argument("--data", type=Path, default=os.environ.get("MEDCLS_REAL_DATA") or "data")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--readme", action="store_true", help="write README's table too")
    given = parser.parse_args()
    out = given.out.absolute()
    for row in with_needed((row for row in ROWS if row.name in given.row), ROWS):
        measure(row, given.data.absolute(), out)
    known = collect(ROWS, out, KEPT)
    RESULTS.write_text(results(ROWS, known), encoding="utf-8")
    print(RESULTS)
    if given.readme:
        README.write_text(with_table(README.read_text(encoding="utf-8"), readme_table(ROWS, known)), encoding="utf-8")


if __name__ == "__main__":
    main()
