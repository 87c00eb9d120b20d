"""Checkpoints of every format that medcls has written are loaded and predict, or say what to do.

Each folder of `earlier_checkpoints/` is a run as an earlier version wrote it, without what predictions do not need; the
images are those of `earlier_runs/`. `@HERE@` stands where a path of the machine stood.
"""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from entry_points import run_main
from refusals import logged, rules

import medcls
from medcls import evaluate, predict

HERE = Path(__file__).parent
WITHOUT_RULES = HERE / "earlier_checkpoints" / "2026-11-21_without_decision_rules"
KEPT = sorted([*HERE.glob("earlier_checkpoints/*"), *HERE.glob("earlier_runs/*/run")])
IMAGES = next(HERE.glob("earlier_runs/*/images"))


@pytest.fixture
def copied(tmp_path):
    """Copy a kept run and its images, as if it had been trained here."""

    def copy(kept: Path) -> Path:
        run = shutil.copytree(kept, tmp_path / "run")
        shutil.copytree(IMAGES, tmp_path / "images")
        config = run / "config.yaml"
        config.write_text(config.read_text(encoding="utf-8").replace("@HERE@", str(tmp_path)), encoding="utf-8")
        return run

    return copy


def test_there_is_one_of_each_kind():
    assert len(KEPT) >= 4 and WITHOUT_RULES in KEPT


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.parent.name if path.name == "run" else path.name)
def test_it_predicts_what_its_tables_say(kept, copied, tmp_path):
    run = copied(kept)
    run_main(predict.main, f"run={run}", f"images={tmp_path}/images", f"output={tmp_path}/out.csv")
    found = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert len(found) == len(list(IMAGES.rglob("*.png"))) and set(found["error"]) == {""}
    assert set(found["decision"]) <= ({""} if kept == WITHOUT_RULES else {"malignant", "other"})
    found["path"] = [Path(path).relative_to(tmp_path / "images").as_posix() for path in found["path"]]
    for split in ("val", "test"):
        table = run / "predictions" / f"{split}.csv"
        if table.is_file():
            expected = pd.read_csv(table).set_index("path")
            own = found.set_index("path").loc[expected.index]
            for column in ("prob_malignant", "prob_other", "ood"):
                assert np.allclose(own[column].astype(float), expected[column], atol=1e-5), column
            assert set(own["seen_in"]) == {split}


def test_the_checkpoint_alone_predicts_too():
    for kept in KEPT:
        model = medcls.load(kept / "checkpoints" / "best.ckpt")
        assert model.classes == ("malignant", "other") and model.positive == "malignant"
        assert model.predict(next(IMAGES.rglob("*.png"))).name in model.classes


def test_one_without_decision_rules_says_how_to_fit_them(copied, caplog):
    run = copied(WITHOUT_RULES)
    assert medcls.load(run).decision_rules is None
    (advice,) = logged(caplog, "no_decision_rules")
    run_main(evaluate.main, *shlex.split(advice.partition("python -m medcls.evaluate ")[2]), "resamples=100")
    caplog.clear()
    model = medcls.load(run)
    # Its scores are nearly the same for every image, so nothing is fitted, and that is what the rules say.
    assert model.threshold == 0.5 and not model.decision_rules.operating_point.is_fitted
    assert "no_decision_rules" not in rules(caplog)
