"""The learning curve: the law is found again, its uncertainty is honest, and a sweep's folders are read."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks import learning_curve
from benchmarks.learning_curve import Curve, read

SIZES = np.array([50.0, 100.0, 200.0, 350.0, 500.0])


def true(sizes: np.ndarray) -> np.ndarray:
    return 1 - (0.05 + 1.2 * sizes**-0.5)


def measured(noise: float, seed: int = 0, folds: int = 5) -> Curve:
    """Folds of which some are harder than others at every size, and which differ at each size too."""
    draw = np.random.default_rng(seed)
    values = true(SIZES) + draw.normal(0, noise, (folds, 1)) + draw.normal(0, noise / 2, (folds, len(SIZES)))
    return Curve(SIZES, values, 0.0)


def test_the_law_is_found_again():
    sizes = np.array([75, 500, 1000])
    fitted, drawn = measured(0.0005).predict(sizes, draws=20)
    assert fitted == pytest.approx(true(sizes), abs=0.002)
    assert drawn.shape == (20, 3)


@pytest.mark.slow
def test_intervals_hold_the_truth():
    """Of the value at twice the images: 95% intervals in 40 simulations."""
    held = 0
    for seed in range(40):
        low, high = np.quantile(measured(0.01, seed).predict([1000], draws=150)[1], [0.025, 0.975])
        held += bool(low <= true(np.array([1000.0]))[0] <= high)
    assert held >= 36


def test_more_noise_widens_the_band():
    width = [np.ptp(np.quantile(measured(noise).predict([1000], draws=60)[1], [0.1, 0.9])) for noise in (0.002, 0.02)]
    assert width[1] > 3 * width[0]


def make_sweep(folder: Path, folds: int = 3) -> Path:
    curve = measured(0.005, folds=folds)
    number = 0
    for fold in range(folds):
        for size, value in zip(SIZES, curve.values[fold], strict=True):
            run = folder / str(number)
            run.mkdir(parents=True)
            settings = {"seed": 0, "data": {"fold": fold, "train_fraction": float(size / 500)}}
            (run / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
            (run / "metrics.json").write_text(json.dumps({"test": {"values": {"auroc": value}}}), encoding="utf-8")
            splits = ["train"] * int(size) + ["unused"] * (500 - int(size)) + ["val"] * 100 + ["test"] * 150
            pd.DataFrame({"split": splits}).to_csv(run / "manifest.csv", index=False)
            number += 1
    return folder


def test_a_sweep_is_read_and_drawn(tmp_path, monkeypatch, capsys, figures):
    sweep = make_sweep(tmp_path / "sweep")
    found = read(sweep, "auroc")
    assert found.sizes.tolist() == SIZES.tolist() and found.held_out == pytest.approx(150 / 600)
    assert found.values == pytest.approx(measured(0.005, folds=3).values)
    figures()
    monkeypatch.setattr(sys, "argv", ["learning_curve", str(sweep), "--draws", "20"])
    learning_curve.main()
    assert "training images" in capsys.readouterr().out
    table = pd.read_csv(sweep / "learning_curve.csv")
    assert table["mean"].tolist() == pytest.approx(found.values.mean(axis=0).tolist())
    assert (table["low"] < table["mean"]).all() and (table["mean"] < table["high"]).all()
    assert "500" in (sweep / "learning_curve.md").read_text(encoding="utf-8")
    assert (sweep / "learning_curve.svg").stat().st_size > 1000


def test_a_sweep_with_gaps_is_refused(tmp_path):
    sweep = make_sweep(tmp_path / "sweep")
    (sweep / "3" / "metrics.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit, match="python -m medcls.evaluate run="):
        read(sweep, "auroc")
    (sweep / "3" / "metrics.json").unlink()
    with pytest.raises(SystemExit, match="python -m medcls.train resume="):
        read(sweep, "auroc")
    (sweep / "3" / "config.yaml").unlink()
    with pytest.raises(SystemExit, match="4"):
        read(sweep, "auroc")
