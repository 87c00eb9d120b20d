"""Duplicates and near duplicates through the commands: what they do to intervals, counts and limitations of a run."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from entry_points import FAST, run_main
from PIL import Image
from refusals import noted

from medcls import compare, evaluate, train
from medcls.evaluation.predictions import read_csv
from medcls.statistics.analytic import BOOTSTRAP_OVER

ONE_EPOCH = (*FAST, "positive_class=ill", "trainer.max_epochs=1")


def texture(number: int) -> np.ndarray:
    """Noise of a few pixels' grain, `(32, 32)`, of 20 to 230."""
    coarse = np.random.default_rng([number, 11]).uniform(20, 230, (8, 8)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)).clip(20, 230)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)).save(path)


def leaking_images(root: Path) -> Path:
    """Random labels: each image of `test/` also in `train/`, a little darker, among others."""
    for number in range(24):
        label = ("ill", "well")[int(np.random.default_rng(number).integers(2)) if number > 3 else number % 2]
        save(root / "test" / label / f"{number:03d}.png", texture(number))
        save(root / "train" / label / f"{number:03d}.png", 0.95 * texture(number) + 8)
    for number in range(24, 64):
        save(root / "train" / ("ill", "well")[number % 2] / f"{number:03d}.png", texture(number))
    return root


def opening(report: Path) -> str:
    """What a report says before its figures are to be believed."""
    text = report.read_text(encoding="utf-8")
    begin = text.index("## Limitations")
    return text[begin : text.index("\n## ", begin)]


def found(run: Path) -> dict[str, dict]:
    """The findings of a run's audit, by their checks."""
    audit = json.loads((run / "audit.json").read_text(encoding="utf-8"))
    return {finding["check"]: finding for finding in audit["findings"]}


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory, _own_places: None) -> Path:
    """A folder of three runs: in one near copies of the test stay in training, in the others they do not."""
    base = tmp_path_factory.mktemp("leaking")
    root = leaking_images(base / "images")
    shutil.copytree(root, base / "duplicates")
    shutil.copytree(root / "test", base / "duplicates" / "train", dirs_exist_ok=True)
    for name, settings in (
        ("left", ()),
        ("taken_out", ("data.keep_near_copies_together=true",)),
        ("exact", (f"data.root={base}/duplicates",)),
    ):
        run_main(train.main, *ONE_EPOCH, f"data.root={root}", *settings, f"hydra.run.dir={base}/{name}")
    return base


@pytest.mark.slow
def test_p01_near_duplicates_in_training_come_first_in_a_report(leaking):
    first = opening(leaking / "left" / "report.md").split("\n- ")[1]
    leak = found(leaking / "left")["leak_test"]
    assert leak["level"] == "error" and re.match(r"\d\d of 24 ", leak["title"])
    assert leak["title"] in first and re.search(r"\bserious\b", first) and re.search(r"\bval\b", first)
    log = (leaking / "left" / "train.log").read_text(encoding="utf-8")
    assert re.search(r"ERROR.* of 24 .*\(leak_test\)", log)


@pytest.mark.parametrize("name", ["taken_out", "exact"])
def test_p02_what_was_taken_out_of_training_is_a_note(leaking, name):
    said, findings = opening(leaking / name / "report.md"), found(leaking / name)
    assert "ERROR" not in (leaking / name / "train.log").read_text(encoding="utf-8")
    assert findings["leaks"]["level"] == "good" and "leak_test" not in findings
    check = "copies_test_train" if name == "exact" else "near_copies_across_splits"
    assert findings[check]["level"] == "information" and findings[check]["title"] not in said


def test_compare_reports_them_before_its_conclusion(leaking, tmp_path, capsys):
    run_main(compare.main, f"runs=[{leaking}/left,{leaking}/taken_out]", f"hydra.run.dir={tmp_path}/one")
    (caution,) = json.loads((tmp_path / "one" / "comparison.json").read_text(encoding="utf-8"))["cautions"]
    assert noted([caution], "left", "of 24")
    page = (tmp_path / "one" / "comparison.md").read_text(encoding="utf-8")
    assert page.index(caution) < page.index("auroc" if "auroc" in page else "AUROC")
    run_main(compare.main, f"runs=[{leaking}/exact,{leaking}/taken_out]", f"hydra.run.dir={tmp_path}/two")
    assert json.loads((tmp_path / "two" / "comparison.json").read_text(encoding="utf-8"))["cautions"] == []


@pytest.fixture(scope="module")
def near_duplicate_pairs(tmp_path_factory: pytest.TempPathFactory, _own_places: None) -> Path:
    """A run on noise in which every image has a brightened twin, kept on one side."""
    base = tmp_path_factory.mktemp("near_duplicate_pairs")
    for number in range(80):
        label = ("ill", "well")[number % 2]
        save(base / "images" / label / f"{number:03d}.png", texture(number))
        save(base / "images" / label / f"{number:03d}_again.png", 0.95 * texture(number) + 8)
    settings = (f"data.root={base}/images", "data.keep_near_copies_together=true", "evaluate_test=true")
    # Of a network whose metrics after an epoch are neither 0 nor 1: those have no bootstrap.
    network = ("model=mobilenetv3_small", "model.name=mobilenetv3_small")
    run_main(train.main, *ONE_EPOCH, *network, *settings, f"hydra.run.dir={base}/run")
    return base / "run"


def read(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]


def the_interval(judged: dict, metric: str) -> dict:
    return next(row for row in judged["intervals"] if row["metric"] == metric and row["class"] in ("ill", ""))


@pytest.mark.slow
def test_near_duplicates_kept_together_are_resampled_together_and_counted_once(near_duplicate_pairs, tmp_path):
    judged, table = read(near_duplicate_pairs), read_csv(near_duplicate_pairs / "predictions" / "test.csv", "ill")
    assert len(table) == 32 and len(set(table.clusters)) == 16
    assert re.findall(r"\d+", judged["caption"]) == ["32", "16", "16", "16"]
    for metric in ("accuracy", "sensitivity", "auroc"):
        method = the_interval(judged, metric)["method"]
        assert BOOTSTRAP_OVER in method and "groups" in method
    assert noted(opening(near_duplicate_pairs / "report.md").splitlines(), "32 images", "16")
    assert noted([found(near_duplicate_pairs)["small_test"]["title"]], "8", "ill")
    # The same from the run, from its table, and, by rows, from a table that knows nothing of it.
    run_main(evaluate.main, f"run={near_duplicate_pairs}", f"hydra.run.dir={tmp_path}/again", "operating_point=youden")
    run_main(evaluate.main, f"predictions={near_duplicate_pairs}/predictions/test.csv", "positive_class=ill",
             f"hydra.run.dir={tmp_path}/table")  # fmt: skip
    shutil.copytree(near_duplicate_pairs, tmp_path / "old")
    for file in ("manifest.csv", "predictions/test.csv", "predictions/val.csv"):
        pd.read_csv(near_duplicate_pairs / file, dtype=str, keep_default_na=False).drop(columns="kept_together").to_csv(
            tmp_path / "old" / file, index=False
        )
    run_main(evaluate.main, f"run={tmp_path}/old")
    expected = the_interval(judged, "auroc")
    assert the_interval(read(tmp_path / "again"), "auroc") == expected
    assert the_interval(read(tmp_path / "table"), "auroc") == expected
    by_rows = the_interval(read(tmp_path / "old"), "accuracy")
    assert "Wilson" in by_rows["method"]
    assert re.findall(r"\d+", read(tmp_path / "old")["caption"]) == ["32", "16", "16"]
