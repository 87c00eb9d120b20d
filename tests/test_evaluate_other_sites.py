"""Another site's images: raw class names, a single class, another case, files with several frames."""

import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from entry_points import FAST, run_main
from PIL import Image
from refusals import logged, noted, refused_command

from medcls import evaluate, train


def written(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def tree(root: Path, picture, counts: dict[str, int], start: int = 0) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        for image in range(count):
            picture(root / name / f"{image:02d}.png", start + 100 * number + image, level=90 + 30 * number)
    return root


@pytest.fixture(scope="module")
def merged(tmp_path_factory) -> Path:
    """A run as README's first command makes it: three folders merged into two classes, and one image left out."""
    base = tmp_path_factory.mktemp("merged")
    draw = np.random.default_rng(3)
    for level, name in ((80, "normal"), (110, "benign"), (170, "malignant")):
        (base / "images" / name).mkdir(parents=True)
        for number in range(14):
            pixels = np.clip(draw.normal(level, 40, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(base / "images" / name / f"{number:02d}.png")
    run_main(
        train.main, *FAST, f"data.root={base}/images", "positive_class=malignant", "trainer.max_epochs=1",
        "data.label_map={malignant: [malignant], other: [benign, normal]}", "data.exclude=[benign/00.png]",
        "resamples=100", f"hydra.run.dir={base}/run",
    )  # fmt: skip
    return base / "run"


def judged(run: Path, root: Path, out: Path, *more: str) -> pd.DataFrame:
    run_main(
        evaluate.main, f"run={run}", "data=folder", f"data.root={root}", "resamples=100", f"hydra.run.dir={out}", *more
    )
    assert (out / "report.html").is_file() and (out / "report.md").is_file()
    return pd.read_csv(out / "predictions" / "external.csv")


def test_the_runs_own_label_map_reads_the_raw_names_of_another_site(merged, tmp_path, picture, caplog):
    root = tree(tmp_path / "site", picture, {"normal": 5, "Benign": 6, "MALIGNANT": 7}, start=5000)
    table = judged(merged, root, tmp_path / "out")
    assert table["label"].value_counts().to_dict() == {"other": 11, "malignant": 7}
    assert table.set_index("path").loc["Benign/00.png", "label"] == "other"
    assert noted(caplog.messages, "data.label_map", "Benign", "normal", "other")
    assert noted(caplog.messages, "MALIGNANT", "malignant")
    # What it left out by path is another image here.
    assert written(tmp_path / "out")["external"]["values"]["n"] == 18


@pytest.mark.slow
def test_what_the_run_excluded_is_excluded_where_its_own_images_lie(merged, tmp_path, caplog):
    table = judged(merged, merged.parent / "images", tmp_path / "out")
    assert len(table) == 41 and "benign/00.png" not in set(table["path"])
    assert noted(caplog.messages, "1 path", "data.exclude", "benign/00.png")


@pytest.mark.slow
def test_a_label_map_that_is_typed_rules_over_the_runs(merged, tmp_path, picture):
    root = tree(tmp_path / "site", picture, {"normal": 5, "cancer": 5}, start=6000)
    table = judged(merged, root, tmp_path / "out", "data.label_map={malignant: [cancer], other: [normal]}")
    assert table["label"].value_counts().to_dict() == {"malignant": 5, "other": 5}


@pytest.mark.slow
def test_what_is_offered_for_a_class_that_the_run_does_not_know_can_be_typed(merged, tmp_path, picture, monkeypatch):
    root = tree(tmp_path / "site", picture, {"normal": 5, "MALIGNANT": 5, "wart": 3}, start=6500)
    error = refused_command("unknown_class", ("wart",), evaluate.main, f"run={merged}", f"data.root={root}")
    lines = [line for line in str(error).splitlines() if "data.leave_out_unmapped=true" in line]
    (offered,) = (line.strip().partition("    ")[0] for line in lines)
    monkeypatch.setattr("medcls.workflow.reporting.draw", lambda *_, **__: [])
    table = judged(merged, root, tmp_path / "out", *shlex.split(offered))
    assert table["label"].value_counts().to_dict() == {"malignant": 5, "other": 5}


@pytest.mark.parametrize(("only", "there", "undefined"), [
    ("malignant", "sensitivity", "specificity"), ("normal", "specificity", "sensitivity"),
])  # fmt: skip
@pytest.mark.slow
def test_a_site_of_one_class_gets_the_metrics_that_are_defined(
    merged, tmp_path, picture, caplog, only, there, undefined
):
    root = tree(tmp_path / "site", picture, {only: 9}, start=7000)
    judged(merged, root, tmp_path / "out")
    told = written(tmp_path / "out")["external"]
    assert 0 <= told["values"][there] <= 1
    for name in ("auroc", undefined):
        assert told["values"][name] is None and told["reasons"][name]
    assert noted(logged(caplog, "missing_class"), "other" if only == "malignant" else "malignant")
    assert "undefined" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_splits_of_another_site_need_not_hold_every_class(merged, tmp_path, picture):
    root = tree(tmp_path / "site", picture, {"train/malignant": 4, "test/benign": 4}, start=8000)
    assert len(judged(merged, root, tmp_path / "out")) == 8


@pytest.mark.slow
def test_the_frame_of_the_training_is_the_frame_that_is_evaluated(tmp_path):
    def stacks(root: Path, seed: int) -> Path:
        """Files of two pages: the first black in all, the second an image."""
        draw = np.random.default_rng(seed)
        for level, name in ((90, "a"), (160, "b")):
            (root / name).mkdir(parents=True)
            for number in range(12):
                pages = [
                    np.zeros((20, 20), np.uint8),
                    np.clip(draw.normal(level, 40, (20, 20)), 0, 255).astype(np.uint8),
                ]
                first, second = (Image.fromarray(page) for page in pages)
                first.save(root / name / f"{number:02d}.tif", save_all=True, append_images=[second])
        return root

    run_main(
        train.main, *FAST, f"data.root={stacks(tmp_path / 'own', 1)}", "positive_class=b", "trainer.max_epochs=1",
        "data.frame=1", "resamples=100", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    site = stacks(tmp_path / "site", 2)
    table = judged(tmp_path / "run", site, tmp_path / "out")
    assert len(table) == 24 and table["prob_b"].nunique() > 1
    arguments = (f"run={tmp_path}/run", f"data.root={site}", "data.frame=0")
    refused_command("other_preprocessing", ("data.frame=0", "data.frame=1"), evaluate.main, *arguments)
