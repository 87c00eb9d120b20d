"""Settings of a monitoring, and the tables, labels and dates that they name."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from composed_settings import typed_settings
from refusals import refused

from medcls.cli.monitoring import check_settings, read

KEPT = Path(__file__).parents[1] / "earlier_runs" / "2026-11-30" / "run"
NAMED = ("run=run", "predictions=new.csv")


@pytest.mark.parametrize(
    ("typed", "kind", "names"),
    [
        (("run=run",), "missing_setting", ("predictions",)),
        (("predictions=new.csv",), "missing_setting", ("run ",)),
        ((*NAMED, "period=wek"), "bad_value", ("'wek'", "week?")),
        ((*NAMED, "period=null"), "bad_value", ("period",)),
        ((*NAMED, "resamples=99"), "bad_value", ("resamples", "100")),
        ((*NAMED, "seed=-1"), "bad_value", ("seed",)),
        ((*NAMED, "reference_images=x"), "ignored_setting", ("reference_images",)),
    ],
)
def test_a_setting_that_is_missing_wrong_or_without_effect_is_refused(typed, kind, names):
    with typed_settings("monitor", *typed) as cfg, refused(kind, *names):
        check_settings(cfg)


def test_settings_that_go_together_pass():
    with typed_settings("monitor", *NAMED, "period=week", "images=a", "reference_images=b") as cfg:
        check_settings(cfg)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with `run`, and `new.csv` with predictions of 15 images on 3 days."""
    shutil.copytree(KEPT, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("@HERE@", str(tmp_path)), encoding="utf-8")
    new = pd.read_csv(KEPT / "predictions" / "test.csv").drop(columns=["label", "split"])
    new = new.assign(date=[f"2026-03-0{1 + number % 3}" for number in range(len(new))])
    new.to_csv(tmp_path / "new.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def nothing(_done: int, _total: int) -> None:
    """Show no progress."""


def test_the_periods_are_files_or_dates(here):
    for period, names in (
        ("file", {"new"}),
        ("day", {"2026-03-01", "2026-03-02", "2026-03-03"}),
    ):
        with typed_settings("monitor", *NAMED, f"period={period}") as cfg:
            run, watched, notes = read(cfg, nothing)
        assert len(watched.new) == 15 and set(watched.new["period"]) == names
        assert watched.reference is run.reference and watched.statistics == {} and notes == []
    with typed_settings("monitor", *NAMED, "period=day", "date_column=when") as cfg, refused("missing_column", "when"):
        read(cfg, nothing)


def test_labels_join_the_images_that_they_name_and_others_are_noted(here):
    labels = pd.read_csv(KEPT / "predictions" / "test.csv")[["path", "label"]]
    pd.concat([labels[:10], pd.DataFrame({"path": ["other.png"], "label": labels["label"][:1]})]).to_csv(
        "labels.csv", index=False
    )
    with typed_settings("monitor", *NAMED, "labels=labels.csv") as cfg:
        _, watched, notes = read(cfg, nothing)
    assert (watched.new["label"] != "").sum() == 10 and len(notes) >= 1
    labels.assign(label="unheard of").to_csv("labels.csv", index=False)
    with typed_settings("monitor", *NAMED, "labels=labels.csv") as cfg, refused("unknown_label", "unheard of"):
        read(cfg, nothing)
