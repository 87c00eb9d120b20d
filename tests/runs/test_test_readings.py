"""Whoever reads a test, whether train, evaluate or compare: no later training learns from its images unawares."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from entry_points import FAST, run_main

from medcls import compare, evaluate, train
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split
from medcls.runs.registry import met_in_training

ONE_EPOCH = (*FAST, "positive_class=b", "trainer.max_epochs=1", "evaluate_test=false")


@pytest.fixture
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCLS_STATE", str(tmp_path / "state"))


def finding(run: Path) -> dict:
    found = json.loads((run / "audit.json").read_text(encoding="utf-8"))["findings"]
    return next(one for one in found if one["check"] == "locked_test")


@pytest.mark.slow
@pytest.mark.usefixtures("_fresh")
def test_p14_a_test_that_evaluate_or_compare_read_is_met_in_a_later_training(
    folder: Callable[..., Path], picture: Callable[..., Path], tmp_path: Path
):
    # Two runs of a sweep leave their test alone; evaluate and compare read it.
    root = folder({"a": 20, "b": 20})
    for seed in (0, 1):
        run_main(train.main, *ONE_EPOCH, f"data.root={root}", f"seed={seed}", f"hydra.run.dir={tmp_path}/run{seed}")
        assert finding(tmp_path / f"run{seed}")["level"] == "good"
    run_main(evaluate.main, f"run={tmp_path}/run0")
    for number in range(30):
        picture(root / "a" / f"0{number:02d}_new.png", 5_000 + number, level=90)
    run_main(train.main, *ONE_EPOCH, f"data.root={root}", f"hydra.run.dir={tmp_path}/grown", "data.val_fraction=0.2")
    assert finding(tmp_path / "grown")["level"] == "error"
    assert f"{tmp_path}/run0" in finding(tmp_path / "grown")["title"]
    assert "(locked_test)" in (tmp_path / "grown" / "train.log").read_text(encoding="utf-8")
    # What is compared is read, too: of a table that only compare has seen.
    table = pd.read_csv(tmp_path / "run0" / "predictions" / "test.csv", dtype={"content": str})
    table = table.assign(content=[f"{number:032x}" for number in range(len(table))])
    for name in ("one", "two"):
        table.drop(columns="checkpoint").to_csv(tmp_path / f"{name}.csv", index=False)
    run_main(
        compare.main, f"runs=[{tmp_path}/one.csv,{tmp_path}/two.csv]", "positive_class=b",
        f"hydra.run.dir={tmp_path}/compared",
    )  # fmt: skip
    assert " 2 times" in (tmp_path / "compared" / "comparison.md").read_text(encoding="utf-8")
    manifest = split(from_folders(root, positive="b"))
    seen = manifest.rows["content"].where(manifest.rows["split"] != "train", f"{0:032x}")
    (met, *_) = [one for one in met_in_training(manifest.with_rows(manifest.rows.assign(content=seen)), {})
                 if one.run.endswith("one.csv")]  # fmt: skip
    assert len(met.paths) == (manifest.rows["split"] == "train").sum()
