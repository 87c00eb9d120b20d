import dataclasses
import json

import pytest
from evaluation_settings import evaluation_settings
from made_study import EMPTY, predictions

from medcls.evaluation.predictions import read_csv
from medcls.runs.run_folder import RunFolder
from medcls.workflow import evaluating, result_files


def judged(**settings):
    options, val = evaluation_settings(**settings), predictions("val", n=200)
    fitted = evaluating.fit(val, options)
    return evaluating.evaluate([val, predictions(n=200, seed=1)], fitted, options), fitted, options


def test_metrics_predictions_and_rules_are_written(tmp_path):
    results, fitted, _ = judged()
    result_files.write_results(RunFolder(tmp_path), results, fitted, ("SYNTHETIC",))
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["stamps"] == ["SYNTHETIC"] and {"val", "test"} <= metrics.keys()
    assert json.loads((tmp_path / "policies.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(fitted.to_plain())
    )
    back = read_csv(tmp_path / "predictions" / "test.csv", "ill")
    assert back.probabilities() == pytest.approx(results.headline.table.probabilities(), abs=1e-12)


def test_the_probabilities_of_a_prevalence_that_is_no_longer_stated_are_removed(tmp_path):
    shifted = tmp_path / "predictions" / "test_at_stated_prevalence.csv"
    stated, fitted, _ = judged(prevalence=0.1)
    result_files.write_results(RunFolder(tmp_path), stated, fitted, ())
    assert shifted.is_file()
    plain, fitted, _ = judged()
    result_files.write_results(RunFolder(tmp_path), plain, fitted, ())
    assert not shifted.exists()


def test_a_report_without_paths_names_no_image(tmp_path, monkeypatch):
    monkeypatch.setattr(result_files, "draw", lambda *_, **__: [])  # plots have a test of their own
    results, _, options = judged()
    hidden = dataclasses.replace(options, page=dataclasses.replace(options.page, paths=False))
    for name, settings in (("shown", options), ("hidden", hidden)):
        result_files.write_report(RunFolder(tmp_path / name), results, EMPTY, settings)
    pages = {name: (tmp_path / name / "report.html").read_text(encoding="utf-8") for name in ("shown", "hidden")}
    paths = results.headline.table.rows["path"]
    assert any(path in pages["shown"] for path in paths) and not any(path in pages["hidden"] for path in paths)
