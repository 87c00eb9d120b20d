"""The benchmark of sweeps, at a small size."""

import json
import sys

import pytest
from entry_points import TINY

from benchmarks import sweeps
from benchmarks.linked_images import link_images


@pytest.mark.slow
def test_both_ways_and_one_job_are_timed(tmp_path, monkeypatch, capsys):
    link_images(tmp_path / "images", 60, 16)
    out = tmp_path / "sweeps.json"
    typed = ["--images", tmp_path / "images", "--positive", "malignant", "--size", 32, "--batch", 8, "--turns", 1]
    typed += ["--folds", 2, "--epochs", 1, "--out", out, "--more", *TINY, "resamples=100", "data.workers=0"]
    monkeypatch.setattr(sys, "argv", ["sweeps", *map(str, typed)])
    sweeps.main()
    rows = {row["what"]: row for row in json.loads(out.read_text(encoding="utf-8"))["rows"]}
    first, second, one, many, best = rows.values()
    assert second["ratio"] == pytest.approx(first["figure"] / second["figure"])
    assert best["figure"] * many["ratio"] == pytest.approx(sweeps.cpu.available_cores())
    assert one["figure"] > 0 and next(iter(sweeps.LAUNCHERS)) in capsys.readouterr().out


def test_a_sweep_with_a_job_that_is_not_done_is_no_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps.subprocess, "run", lambda *arguments, **settings: None)
    with pytest.raises(RuntimeError, match="sweep"):
        sweeps.sweep([], "basic", 2, tmp_path / "sweep")
