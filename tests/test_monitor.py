"""The monitor command: a kept run and tables of new predictions, down to the page."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from entry_points import run_main
from refusals import refused_command

from medcls import monitor, predict

KEPT = Path(__file__).parent / "earlier_runs" / "2026-11-30" / "run"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a run, and a table of new predictions."""
    shutil.copytree(KEPT, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("@HERE@", str(tmp_path)), encoding="utf-8")
    metrics = tmp_path / "run" / "metrics.json"
    marked = json.loads(metrics.read_text(encoding="utf-8")) | {"stamps": ["MADE UP"]}
    metrics.write_text(json.dumps(marked), encoding="utf-8")
    new = pd.read_csv(KEPT / "predictions" / "test.csv").drop(columns=["label", "split"])
    new.to_csv(tmp_path / "new.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_a_page_a_record_and_a_table(here, capsys):
    run_main(monitor.main, "run=run", "predictions=new.csv", "resamples=100", "hydra.run.dir=out")
    record = json.loads((here / "out" / "monitor.json").read_text(encoding="utf-8"))
    page = (here / "out" / "monitor.html").read_text(encoding="utf-8")
    assert record["images"] == 15 and record["labelled"] == 0 and record["reference"] == "val"
    assert record["verdict"] in page and "MADE UP" in page
    assert not any(share["is_rate"] for share in record["shares"])
    assert len(pd.read_csv(here / "out" / "periods.csv")) == len(record["periods"])
    assert "://" not in page


def test_labels_bring_the_rates_of_a_run_against_test(here):
    labels = pd.read_csv(KEPT / "predictions" / "test.csv")[["path", "label"]]
    labels.to_csv(here / "labels.csv", index=False)
    run_main(monitor.main, "run=run", "predictions=new.csv", "labels=labels.csv", "resamples=100", "hydra.run.dir=out")
    record = json.loads((here / "out" / "monitor.json").read_text(encoding="utf-8"))
    rates = {share["name"]: share for share in record["shares"] if share["is_rate"]}
    assert set(rates) == {"sensitivity", "specificity"} and record["rates_from"] == "test"
    for share in rates.values():  # the same images
        assert share["here"]["value"] == pytest.approx(share["there"]["value"])


def test_it_reads_what_predict_writes_and_images_that_cannot_be_read_are_counted(here):
    images = shutil.copytree(KEPT.parent / "images", here / "images")
    (images / "damaged.png").write_bytes(b"no image")
    gone = Path(shutil.copy(next(images.rglob("patient*.png")), images / "gone.png"))
    run_main(predict.main, "run=run", "images=images", "output=week.csv")
    arguments = ["run=run", "predictions=week.csv", "images=images", "resamples=100", "hydra.run.dir=out"]
    gone.unlink()  # between the prediction and the monitoring
    run_main(monitor.main, *arguments)
    record = json.loads((here / "out" / "monitor.json").read_text(encoding="utf-8"))
    assert record["images"] == len(pd.read_csv(here / "week.csv")) - 1
    compared = {one["name"]: one["n"] for one in record["distributions"]}
    assert compared["brightness"] == record["images"] - 1 and max(compared.values()) == record["images"]
    assert len(record["notes"]) == 2


@pytest.mark.parametrize(
    ("kind", "named", "arguments"),
    [
        ("missing_setting", "run", ["predictions=new.csv"]),
        ("missing_setting", "predictions", ["run=run"]),
        ("not_a_run", "images", ["run=images", "predictions=new.csv"]),
        ("bad_value", "fortnight", ["run=run", "predictions=new.csv", "period=fortnight"]),
        ("bad_value", "resamples", ["run=run", "predictions=new.csv", "resamples=1"]),
        ("ignored_setting", "reference_images", ["run=run", "predictions=new.csv", "reference_images=run"]),
        ("no_such_file", "old.csv", ["run=run", "predictions=old.csv"]),
        ("missing_column", "date", ["run=run", "predictions=new.csv", "period=day"]),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_left(here, kind, named, arguments):
    (here / "images").mkdir()
    refused_command(kind, (named,), monitor.main, *arguments)
    assert not (here / "monitoring").exists()


def test_a_run_without_val_and_one_with_damaged_rules_are_refused(here):
    (here / "run" / "policies.json").write_text("{", encoding="utf-8")
    refused_command("damaged_decision_rules", ("run",), monitor.main, "run=run", "predictions=new.csv")
    (here / "run" / "predictions" / "val.csv").unlink()
    refused_command("no_reference", ("val.csv",), monitor.main, "run=run", "predictions=new.csv")


def test_a_page_is_not_overwritten(here):
    run_main(monitor.main, "run=run", "predictions=new.csv", "resamples=100", "hydra.run.dir=out")
    refused_command(
        "folder_taken", ("out",), monitor.main, "run=run", "predictions=new.csv", "hydra.run.dir=out", "resamples=100"
    )
