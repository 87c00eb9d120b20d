"""The table of results is what run folders say: measured, gone on with, read and written."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from entry_points import run_main
from made_sets import SMOKE, class_folders

from benchmarks import studies
from benchmarks.study_rows import ROWS, STUDIES, Row
from medcls import compare, evaluate, train

TINY = ("model=timm", "model.name=test_efficientnet", "model.weights=null", "data.image_size=32", *SMOKE)
FOLDS = Row("breast_cancer", "breast_cancer", "careful", "breast_cancer_scratch", TINY, folds=2)
SEEDS = Row("tiny_as_published", "breast_cancer", "as published", "breast_cancer_scratch", TINY, seeds=(0, 1))
# Taught by the folds of the first row, and compared with them.
TAUGHT = Row(
    "breast_cancer_taught", "breast_cancer", "taught", "breast_cancer_scratch", TINY, folds=2, teacher=FOLDS.name,
    against=FOLDS.name,
)  # fmt: skip
MAINS = {"train": train.main, "evaluate": evaluate.main, "compare": compare.main}


class Killed(Exception):
    """Stands for whatever ends a measurement."""


def here(command: str, arguments: list[str]) -> None:
    few = [] if command == "train" else ["resamples=100"]
    run_main(MAINS[command], *arguments, *few)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Two rows, the first killed after its first run; and the folders in the order in which commands wrote to them.

    The second one's first run is the first fold of the first row: it is there already.
    """
    base = tmp_path_factory.mktemp("studies")
    class_folders(base / "data" / "breast_cancer", {"benign": 14, "malignant": 14, "normal": 6}, "{number}.png")
    written = []

    def execute(command: str, arguments: list[str]) -> None:
        folder = Path(arguments[-1].split("=", 1)[1])
        if len(written) == 1 and folder not in written:
            written.append("killed")
            raise Killed
        here(command, arguments)
        written.append(f"{folder.parent.name}/{folder.name}")

    with pytest.raises(Killed):
        studies.measure(FOLDS, base / "data", base / "out", execute)
    studies.measure(FOLDS, base / "data", base / "out", execute)
    shutil.copytree(base / "out" / FOLDS.name / "fold=0", base / "out" / SEEDS.name / "seed=0")
    times = json.loads((base / "out" / FOLDS.name / "times.json").read_text(encoding="utf-8"))
    (base / "out" / SEEDS.name / "times.json").write_text(json.dumps({"seed=0": times["fold=0"]}), encoding="utf-8")
    studies.measure(SEEDS, base / "data", base / "out", execute)
    return base, written


def test_a_row_goes_on_where_it_was_stopped(measured):
    assert measured[1] == [
        "breast_cancer/fold=0", "killed", "breast_cancer/fold=1", "breast_cancer/out_of_fold",
        "tiny_as_published/seed=1",
    ]  # fmt: skip
    count = len(measured[1])
    studies.measure(FOLDS, measured[0] / "data", measured[0] / "out", lambda *_: pytest.fail("nothing is missing"))
    assert len(measured[1]) == count


def test_a_run_that_was_stopped_is_resumed(tmp_path):
    run = tmp_path / SEEDS.name / "seed=0"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").touch()
    commands = []
    studies.measure(SEEDS, tmp_path, tmp_path, lambda *command: commands.append(command))
    assert commands[0] == ("train", [f"resume={run}"])
    assert f"data.locked_test={run / 'manifest.csv'}" in commands[1][1]
    changed = Row(SEEDS.name, SEEDS.study, SEEDS.setting, SEEDS.experiment, (*TINY, "ema=0.9"), seeds=(0, 1))
    with pytest.raises(SystemExit, match=SEEDS.name):
        studies.measure(changed, tmp_path, tmp_path, lambda *_: pytest.fail("these are runs of other settings"))


def test_out_of_fold_numbers_are_those_of_the_cross_validation(measured):
    place = measured[0] / "out" / FOLDS.name
    found = studies.gather(FOLDS, measured[0] / "out")
    folds = pd.read_csv(place / "out_of_fold" / "folds.csv")
    for metric, values in found["metrics"].items():
        row = folds[(folds["fold"] == "pooled") & (folds["metric"] == metric)].iloc[0]
        expected = [row["estimate"], row["low"], row["high"]]
        assert values == [None if np.isnan(value) else pytest.approx(value) for value in expected]
    auroc = folds[folds["metric"] == "auroc"].set_index("fold")["estimate"]
    assert found["each"] == pytest.approx([auroc["0"], auroc["1"]])
    assert found["baseline"] == pytest.approx(20 / 34)
    times = json.loads((place / "times.json").read_text(encoding="utf-8"))
    # The killed command counts as well.
    assert set(times) == {"fold=0", "fold=1", "out_of_fold"} and all(one["seconds"] > 0 for one in times.values())
    assert found["minutes"] == pytest.approx(sum(one["seconds"] for one in times.values()) / 60)
    images = sum((pd.read_csv(place / f"fold={k}" / "manifest.csv")["split"] == "train").sum() for k in (0, 1))
    training = times["fold=0"]["seconds"] + times["fold=1"]["seconds"]
    assert found["images_per_second"] == pytest.approx(images / training)


@pytest.mark.slow
def test_a_row_is_taught_and_compared_fold_by_fold(measured, tmp_path):
    out = measured[0] / "out"
    studies.measure(TAUGHT, measured[0] / "data", out, here)
    found = studies.gather(TAUGHT, out)
    scores = []
    for fold in (0, 1):
        taught, own = (out / name / f"fold={fold}" for name in (TAUGHT.name, FOLDS.name))
        record = json.loads((taught / "teacher.json").read_text(encoding="utf-8"))
        assert record["run"] == str(own) and record["near_duplicates"] == 0
        metrics = [json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"] for run in (taught, own)]
        scores.append([one["values"]["auroc"] for one in metrics])
    expected = float(np.mean([taught - own for taught, own in scores]))
    assert found["difference"]["difference"] == pytest.approx(expected)
    page = studies.results([FOLDS, TAUGHT], studies.collect((FOLDS, TAUGHT), out, tmp_path / "kept.json"))
    measured, unknown = (
        next(line for line in text.splitlines() if line.startswith("- ") and TAUGHT.setting in line)
        for text in (page, studies.results([FOLDS, TAUGHT], {}))
    )
    assert f"{expected:+.3f}" in measured and studies.NOT_MEASURED not in measured
    assert studies.NOT_MEASURED in unknown


def test_what_a_row_needs_is_measured_before_it():
    by_name = {row.name: row for row in ROWS}
    for name, weights, teacher in (
        ("breast_cancer_pretrained", "pretrain_breast_cancer", None),
        ("brain_tumor_distilled", None, "brain_tumor"),
    ):
        row = by_name[name]
        order = [one.name for one in studies.with_needed([row, row], ROWS)]
        assert order == [*row.needed, name] and {weights, teacher} - {None} < set(order)
        settings = studies.runs_of(row, Path("out"))["fold=3"]
        assert (f"model.weights=out/{weights}/seed=0" in settings) == (weights is not None)
        assert (f"teacher=out/{teacher}" in settings) == (teacher is not None)
    for row in ROWS:
        assert set(row.needed) <= set(by_name)
        if row.against is not None:
            other = by_name[row.against]
            assert (row.experiment, row.settings, row.folds) == (other.experiment, other.settings, other.folds)
        if row.teacher is not None:
            assert by_name[row.teacher].folds == row.folds
        # No teacher and no weights from a row of the same images but by its folds.
        assert row.weights is None or studies.STUDIES[by_name[row.weights].study].of_all_sets


def test_seeds_share_their_test_images_and_give_their_mean(measured):
    runs = [measured[0] / "out" / SEEDS.name / f"seed={seed}" for seed in (0, 1)]
    tables = [pd.read_csv(run / "predictions" / "test.csv") for run in runs]
    assert tables[0]["path"].tolist() == tables[1]["path"].tolist()
    found = studies.gather(SEEDS, measured[0] / "out")
    single = [json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]["values"] for run in runs]
    for metric in studies.METRICS:
        estimate, low, high = found["metrics"][metric]
        assert estimate == pytest.approx(np.mean([values[metric] for values in single]))
        assert low is None or 0 <= low <= estimate <= high <= 1
    assert found["each"] == pytest.approx([values["auroc"] for values in single])


def test_one_run_has_the_intervals_of_its_report(measured, tmp_path):
    one = Row(SEEDS.name, SEEDS.study, "one run", SEEDS.experiment, TINY, seeds=(0,))
    found = studies.gather(one, measured[0] / "out")
    metrics = json.loads((measured[0] / "out" / SEEDS.name / "seed=0" / "metrics.json").read_text(encoding="utf-8"))
    auroc = next(row for row in metrics["test"]["intervals"] if row["metric"] == "auroc")
    assert found["metrics"]["auroc"] == [auroc["estimate"], auroc["low"], auroc["high"]]


def test_runs_of_different_test_images_have_no_mean(measured, tmp_path):
    shutil.copytree(measured[0] / "out" / FOLDS.name, tmp_path / SEEDS.name)
    for k in (0, 1):
        (tmp_path / SEEDS.name / f"fold={k}").rename(tmp_path / SEEDS.name / f"seed={k}")
    with pytest.raises(SystemExit, match=SEEDS.name):
        studies.gather(SEEDS, tmp_path)


def test_pages_show_what_was_measured_and_what_was_not(measured, tmp_path):
    rows = (FOLDS, SEEDS, next(row for row in ROWS if row.name == "breast_cancer_scratch"))
    known = studies.collect(rows, measured[0] / "out", tmp_path / "kept.json")
    page = studies.results(rows, known)
    for row in (FOLDS, SEEDS):
        auroc, low, high = known[row.name]["metrics"]["auroc"]
        assert f"{auroc:.3f} ({low:.3f} to {high:.3f})" in page
    scratch = next(line for line in page.splitlines() if line.startswith("| from scratch"))
    assert scratch.count(studies.NOT_MEASURED) == len(studies.METRICS)
    assert f"{STUDIES['breast_cancer'].printed['accuracy']:.3f}" in page
    # What was measured stays where its folders are gone; not under other settings.
    assert studies.collect(rows, tmp_path / "nowhere", tmp_path / "kept.json") == known
    changed = Row(FOLDS.name, FOLDS.study, FOLDS.setting, FOLDS.experiment, (*TINY, "ema=0.9"), folds=2)
    assert studies.NOT_MEASURED in studies.results([changed], known)
    former = f"before\n{studies.BEGINS}FORMER\n{studies.ENDS}after\n"
    readme = studies.with_table(former, studies.readme_table(rows, known))
    assert readme.startswith("before\n") and readme.endswith("after\n") and "FORMER" not in readme
    assert len([line for line in readme.splitlines() if line.startswith("| ")]) == 2 + 2
    with pytest.raises(SystemExit):
        studies.with_table("no place", "table")


def test_the_page_in_the_repository_is_what_the_script_writes():
    known = json.loads(studies.KEPT.read_text(encoding="utf-8")) if studies.KEPT.is_file() else {}
    assert studies.RESULTS.read_text(encoding="utf-8") == studies.results(ROWS, known)
    assert set(known) <= {row.name for row in ROWS}


def test_every_experiment_has_a_row_of_its_own_data():
    experiments = studies.TOP / "experiments"
    assert {row.experiment for row in ROWS} == {
        path.stem for path in experiments.glob("*.yaml") if not path.stem.startswith("search_")
    }
    assert len({row.name for row in ROWS}) == len(ROWS) and {row.study for row in ROWS} == set(STUDIES)
    for row in ROWS:
        defaults = yaml.safe_load((experiments / f"{row.experiment}.yaml").read_text(encoding="utf-8"))["defaults"]
        assert {"override /data": row.study} in defaults
        assert row.folds is not None or row.seeds[0] == 0
