"""The results in a folder as objects: read when they are asked for, and named where they are missing."""

import dataclasses
import json
import os

import pandas as pd
import pytest
from html_pages import read
from made_manifests import manifest_of
from omegaconf import OmegaConf
from refusals import refused

from medcls.auditing.findings import Finding
from medcls.auditing.record import record
from medcls.cli.python_results import Audit, Evaluation, Page, Run


def row(metric: str, of: str = "", estimate: float | None = 0.8, **more) -> dict:
    """A row of metrics.json."""
    return {
        "metric": metric, "class": of, "estimate": estimate, "low": 0.5, "high": None, "method": "Wilson", "n": 9,
        "note": "", **more,
    }  # fmt: skip


@pytest.fixture
def results(tmp_path):
    """A folder with metrics of two splits of a binary task, and predictions of one."""
    rows = [row("auroc", "ill"), row("sensitivity", "ill", None, note="no case"), row("specificity", "ill")]
    split = {"per_class": {}, "values": {"n": 9, "majority_baseline": 0.5}, "intervals": rows, "threshold": 0.5}
    split |= {"threshold_fitted": True, "caption": "val & <test>"}
    metrics = {"checkpoint": "abc", "val": split, "test": split, "stamps": ["MADE <UP>"], "units": {"test": split}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    table = pd.DataFrame(
        {"path": ["007.png", "NA"], "label": ["ill", "well"], "prob_ill": [0.9, 0.2], "prob_well": [0.1, 0.8]}
    )
    (tmp_path / "predictions").mkdir()
    table.assign(split="test").to_csv(tmp_path / "predictions" / "test.csv", index=False)
    return tmp_path


def test_every_metric_is_a_row_and_the_split_that_opens_the_report_comes_first(results):
    metrics = Evaluation(results).metrics
    assert metrics["split"].tolist() == ["test"] * 3 + ["val"] * 3
    assert metrics.columns[:4].tolist() == ["split", "metric", "class", "estimate"]
    assert metrics["estimate"].isna().tolist() == [False, True, False] * 2 and metrics["high"].dtype == float


def test_predictions_are_read_as_text_and_numbers(results):
    table = Evaluation(results).predictions()
    assert table["path"].tolist() == ["007.png", "NA"] and table["prob_ill"].tolist() == [0.9, 0.2]
    with refused("not_evaluated", "val", "test"):
        Evaluation(results).predictions("val")
    (results / "predictions" / "test.csv").unlink()
    with refused("not_evaluated", "test", "none"):
        Evaluation(results).predictions()


def test_results_are_shown_escaped(results):
    card = read(Evaluation(results)._repr_html_())
    assert "MADE <UP>" in card.text and {tag for tag, _ in card.tags}.isdisjoint({"up", "test", "script"})


@pytest.mark.parametrize(
    ("kind", "needed"), [(Evaluation, "metrics.json"), (Run, "config.yaml"), (Audit, "audit.json")]
)
def test_a_folder_without_results_is_none(tmp_path, monkeypatch, kind, needed):
    monkeypatch.setenv("HOME", str(tmp_path))
    for place in (tmp_path, "~/nowhere", ""):
        with refused("no_results"):
            kind(place)
    (tmp_path / needed).write_text("{}")
    found = kind("~")
    assert os.fspath(found) == str(tmp_path) == str(found.report).rpartition("/")[0]
    assert repr(found) == f"{kind.__name__}({str(tmp_path)!r})"


def test_results_that_were_removed_meanwhile_are_named(results):
    for name, text in (("config.yaml", "data: {name: x}\nmodel: {name: y}\n"), ("audit.json", "{}")):
        (results / name).write_text(text)
    run, evaluation, audit = Run(results), Evaluation(results), Audit(results)
    for name in ("config.yaml", "audit.json", "metrics.json"):
        (results / name).unlink()
    with refused("no_such_file", "config.yaml"):
        _ = run.config
    with refused("no_such_file", "audit.json"):
        _ = audit.findings
    for found in (run, evaluation):
        with refused("not_evaluated", "medcls.evaluate("):
            _ = found.metrics


def test_a_run_has_its_settings_by_dotted_names(results):
    OmegaConf.save(
        {"data": {"name": "set"}, "model": {"name": "net"}, "positive_class": "ill", "lr": 0.1}, results / "config.yaml"
    )
    run = Run(results)
    assert run.config["data.name"] == "set" and run.config["lr"] == 0.1
    assert "set, net" in read(run._repr_html_()).text and len(run.predictions("test")) == 2


def test_findings_are_rows_and_errors_are_counted(tmp_path):
    found = [Finding("leaks", "error", "Two <b>", "t", exclude=("a.png",)), Finding("size", "good", "Fine")]
    manifest = dataclasses.replace(manifest_of(["a", "b"]), watermarks=("MADE UP",))
    (tmp_path / "audit.json").write_text(json.dumps(record(manifest, found)))
    audit = Audit(tmp_path)
    assert audit.errors == 1 and audit.findings["check"].tolist() == ["leaks", "size"]
    shown = read(audit._repr_html_())
    assert "Two <b>" in shown.text and "Fine" not in shown.text and "MADE UP" in shown.text


def test_a_page_is_a_path_that_opens_in_the_browser(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or len(opened) == 1)
    page = Page(tmp_path / "re port.html")
    with refused("no_such_file", "re port.html"):
        page.open()
    page.path.touch()
    page.open()
    assert opened == [page.path.as_uri()] and "re%20port" in opened[0]
    assert os.fspath(page) == str(page) == str(page.path) and repr(page) == f"Page({str(page)!r})"
    with refused("no_browser", str(page)):
        page.open()
