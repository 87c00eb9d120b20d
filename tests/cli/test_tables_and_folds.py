"""A table of predictions of any tool, and folds, which are evaluated as stored."""

import json
import shutil

import pytest
from composed_settings import typed_settings
from made_study import predictions
from refusals import refused

from medcls.cli.tables_and_folds import evaluate_folds, evaluate_table
from medcls.runs.run_folder import RunFolder


@pytest.fixture
def out(tmp_path):
    folder = RunFolder(tmp_path / "out")
    yield folder
    folder.close()


def test_a_table_with_another_of_val_is_evaluated_into_its_folder(tmp_path, out):
    for name in ("val", "test"):
        predictions(name, 60, stamp="MADE UP" if name == "test" else "").write_csv(tmp_path / f"{name}.csv")
    typed = (f"predictions={tmp_path}/test.csv", f"val={tmp_path}/val.csv", "positive_class=ill", "resamples=100")
    with typed_settings("evaluate", *typed, "report.paths=hidden") as cfg:
        evaluate_table(cfg, out)
    metrics = json.loads((out.path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["stamps"] == ["MADE UP"] and metrics["test"]["threshold_fitted"] is True
    assert {"evaluate.log", "report.html", "report.md"} <= {path.name for path in out.path.iterdir()}
    assert "test.csv" not in (out.path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("typed", "kind", "names"),
    [
        (("predictions=nowhere.csv",), "unreadable_table", ("nowhere.csv",)),
        (("predictions=test.csv",), "no_positive_class", ("test.csv", "positive_class")),
        (("predictions=test.csv", "positive_class=il"), "unknown_class", ("'il'",)),
        (("predictions=test.csv", "positive_class=ill", "val=test.csv"), "fitted_on_the_result", ("test/00000.png",)),
        (("predictions=test.csv", "positive_class=ill", "calibrate=logistic"), "nothing_to_fit_on", ("calibrate",)),
        (("predictions=test.csv", "positive_class=ill", "views=0"), "bad_value", ("views",)),
    ],
)
def test_a_table_that_cannot_be_evaluated_leaves_no_folder(tmp_path, monkeypatch, out, typed, kind, names):
    monkeypatch.chdir(tmp_path)
    predictions("test", 30).write_csv(tmp_path / "test.csv")
    with typed_settings("evaluate", *typed) as cfg, refused(kind, *names):
        evaluate_table(cfg, out)
    assert not out.path.exists()


def test_a_table_of_a_run_must_be_of_its_images(finished, tmp_path, out):
    run = shutil.copytree(finished, tmp_path / "run")
    table = run / "predictions" / "test.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(lines[:-1]), encoding="utf-8")
    with (
        typed_settings("evaluate", f"predictions={table}", "positive_class=得病") as cfg,
        refused("not_the_manifest", "1 row"),
    ):
        evaluate_table(cfg, out)
    assert not out.path.exists()


@pytest.mark.parametrize("typed", ["operating_point=f1", "calibrate=none", "views=2", "data.root=/site"])
def test_folds_are_evaluated_as_stored(monkeypatch, out, typed):
    monkeypatch.setattr("medcls.cli.tables_and_folds.open_folds", lambda _: pytest.fail("opened"))
    with typed_settings("evaluate", "runs=[a,b]", typed) as cfg, refused("idle_setting", "runs="):
        evaluate_folds(cfg, out)
    assert not out.path.exists()
