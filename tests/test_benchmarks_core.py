"""The core benchmarks run on small images, and write the table that they print."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import frozen, inference, predict, seeds, step, training

# What rows are called.
WHOLE, ITS_OWN_PROCESS = "end to end", "channels_last, memory kept, in a process of its own"
FROM_FILES, COMPILED = "medcls, from the files", "medcls, from the cache, bf16 and compiled"
LOOKING = "medcls, scanning the files beforehand"


@pytest.fixture
def measured(folder, tmp_path, monkeypatch, own_cache):
    """Run a benchmark on a few small images; gives its rows by what they are of."""
    root = folder({"a": 24, "b": 24, "c": 24})
    threads = torch.get_num_threads()

    def run(benchmark, *arguments):
        out = tmp_path / "out.json"
        common = ["--images", str(root), "--size", "32", "--out", str(out)]
        monkeypatch.setattr(sys, "argv", [benchmark.__name__, *common, *arguments])
        benchmark.main()
        return {row["what"]: row for row in json.loads(out.read_text(encoding="utf-8"))["rows"]}

    yield run
    torch.set_num_threads(threads)


@pytest.mark.parametrize("path", sorted(Path(training.__file__).parent.rglob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_can_be_imported(path):
    if path.stem == "fastai_learner":
        pytest.importorskip("fastai")
    name = path.relative_to(Path(training.__file__).parent.parent).with_suffix("")
    assert importlib.import_module(".".join(name.parts).removesuffix(".__init__"))


@pytest.mark.slow
def test_training(measured, capsys):
    rows = measured(training, "--epochs", "3", "--batch", "16")
    whole = rows[WHOLE]
    assert whole["against"] == "step alone"
    assert 0 < whole["smallest"] <= whole["ratio"] <= whole["largest"] < 3
    assert WHOLE in capsys.readouterr().out


@pytest.mark.slow
def test_frozen(measured):
    rows = measured(frozen, "--turns", "1", "--epochs", "4", "--batch", "16")
    quick = rows["from features, from the second epoch on"]
    assert quick["ratio"] == pytest.approx(rows["the long way"]["figure"] / quick["figure"])


@pytest.mark.slow
def test_step(measured, monkeypatch):
    monkeypatch.setattr(step, "steps", lambda given_back, *_: 2.0 if given_back else 1.0)
    rows = measured(step, "--pairs", "2", "--turns", "1", "--batch", "8")
    assert rows[ITS_OWN_PROCESS]["ratio"] == 2.0
    assert rows["channels_last, memory kept"]["figure"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("way", ["plain loop", "medcls, from the files", "medcls, from the cache, bf16"])
def test_inference_ways(folder, own_cache, way):
    threads = torch.get_num_threads()
    assert inference.measure(way, folder({"a": 10, "b": 10}), 32)["images/s"] > 0
    torch.set_num_threads(threads)


def test_inference_compares_each_way_with_the_better_plain_loop(measured, monkeypatch):
    speeds = {way: 10.0 * (place + 1) for place, way in enumerate(inference.WAYS)}
    monkeypatch.setattr(inference, "in_its_own_process", lambda way, *_: {"images/s": speeds[way], "scan": 7.0})
    rows = measured(inference, "--turns", "2")
    assert rows[FROM_FILES]["ratio"] == 1.5  # 30 by the better of 10 and 20
    assert set(rows) - set(inference.WAYS) == {LOOKING} and COMPILED not in rows
    assert rows[LOOKING]["figure"] == 7.0


@pytest.mark.slow
def test_two_checkouts_with_the_same_seeds(folder, tmp_path, monkeypatch, capsys):
    here = Path(seeds.__file__).parent.parent
    monkeypatch.chdir(here)
    root = folder({"a": 30, "b": 30})
    settings = [f"data.root={root}", "positive_class=a", "model=mobilenetv3_small", "data.image_size=32"]
    arguments = ["--other", str(here), "--seeds", "3", "--out", str(tmp_path / "seeds.json"), "--", *settings]
    monkeypatch.setattr(sys, "argv", ["seeds", *arguments, "trainer.max_epochs=1"])
    seeds.main()
    rows = json.loads((tmp_path / "seeds.json").read_text(encoding="utf-8"))["rows"]
    difference = next(row for row in rows if row["what"] == "this less other, mean of seeds")
    assert difference["AUROC"] == 0.0  # the same code, seed and images


@pytest.mark.slow
def test_predict_and_a_plain_loop_in_turn(measured):
    rows = measured(predict, "--most", "40", "--turns", "1")
    assert set(rows) == {*predict.WAYS, *(f"{way}, processor time" for way in predict.WAYS)}
    speeds = [rows[way]["figure"] for way in predict.WAYS]
    assert rows["medcls.predict"]["ratio"] == pytest.approx(speeds[1] / speeds[0])
