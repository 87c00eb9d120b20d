"""Benchmarks of start-up, memory, growth and decoding, at small sizes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from refusals import noted, refused_command

from benchmarks import decoding, growth, linked_images, memory, start_up, watched
from medcls import audit
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split


def test_linked_images_become_a_manifest_of_two_classes(tmp_path):
    linked_images.link_images(tmp_path / "images", 60, 16, sources=10)
    manifest = split(from_folders(tmp_path / "images", positive="malignant", remember=False))
    assert len(manifest) == 60 and set(manifest.rows["label"]) == {"benign", "malignant"}
    assert manifest.rows["content"].nunique() == 20
    assert all((manifest.rows["split"] == name).any() for name in ("train", "val", "test"))


@pytest.mark.slow
def test_a_watched_training_reports_its_first_step(tmp_path):
    linked_images.link_images(tmp_path / "images", 60, 16)
    settings = start_up.settings_for(tmp_path / "images", "malignant", 32, 8)
    seen = watched.watch(
        [*settings, *memory.few_steps(1, 3), "data.workers=0"], tmp_path / "place", until="end of fit", environment={}
    )
    assert 0 < seen["start"] < 60 and 0 < seen["imports"] < 60
    assert abs(sum(seen["stages"].values()) - seen["start"]) < 1e-6
    assert set(watched.STAGES) < set(seen["stages"])
    assert len(seen["resident"]) == 4 and 0 < max(seen["resident"]) < seen["peak"]
    assert list((tmp_path / "place").glob("run */figures/training_images.png"))


def test_a_training_that_fails_is_no_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "false")
    (tmp_path / "answer.json").write_text("{}")  # of an earlier one
    with pytest.raises(RuntimeError, match=r"\b1\b"):
        watched.watch([], tmp_path, until="first step", environment={})


def test_a_command_with_another_exit_code_is_no_measurement():
    with pytest.raises(RuntimeError, match=r"\b2\b.*\b0\b"):
        start_up.answer("cache", "cleer=true", 0)


@pytest.mark.slow
def test_the_table_of_commands(tmp_path, monkeypatch, capsys):
    out = tmp_path / "start_up.json"
    arguments = ["--commands", "cache", "--turns", "1", "--starts", "0", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["start_up", *arguments])
    start_up.main()
    rows = json.loads(out.read_text())["rows"]
    assert [row["what"] for row in rows] == ["cache --help", "cache --cfg job", "cache cleer=true"]
    assert all(row["figure"] > 0 and row["ratio"] > 1 for row in rows)
    assert "cache --help" in capsys.readouterr().out


def test_only_what_grows_too_much_is_reported():
    rows = [
        {"what": "peak", "figure": 900.0},
        {"what": "growth over images", "figure": 30.5, "most": 30.0},
        {"what": "growth over epochs", "figure": -3.0, "most": 8.0},
    ]
    (said,) = memory.too_much(rows)
    assert noted([said], rows[1]["what"], "30.5 MiB", "30.0 MiB")


def test_the_memory_benchmark_fails_where_too_much_is_kept(tmp_path, monkeypatch, capsys):
    resident = [500.0, 600.0, 600.0, 601.0, 700.0]  # a hundred MiB in the last epoch
    monkeypatch.setattr(memory, "watch", lambda *_, **__: {"resident": resident})
    out = tmp_path / "memory.json"
    monkeypatch.setattr("sys.argv", ["memory", "--parts", "epochs", "--epochs", "4", "--out", str(out)])
    with pytest.raises(SystemExit, match=r"\b2\b.*\b4\b.*100\.0 MiB"):
        memory.main()
    assert noted(capsys.readouterr().out.splitlines(), "2", "4", "100.00") and out.is_file()
    resident[-1] = 602.0
    memory.main()


def test_growth_compares_each_number_of_images_with_the_smallest(monkeypatch):
    stages = dict.fromkeys(["reading the manifest", "splitting", "rehearsing the report", "the audit"], 0.25)
    monkeypatch.setattr(growth, "link_images", lambda *_: None)

    def watch(settings, place, **_):
        return {"start": int(place.name) / 10, "stages": stages}

    monkeypatch.setattr(growth, "watch", watch)
    rows = {row["what"]: row for row in growth.more_images([10, 40], size=32, batch=8, turns=2)}
    few, many, each = "10 images: to the first step", "40 images: to the first step", "40 images: of it an image"
    assert rows[many] == {
        "what": many, "figure": 4.0, "unit": "s", "against": few, "ratio": 4.0, "smallest": 4.0, "largest": 4.0,
    }  # fmt: skip
    assert rows[each]["figure"] == pytest.approx(1e5)


def test_decoding_compares_the_same_work(tmp_path, monkeypatch):
    grey = decoding.speckle_image(48, 0)
    for name, (ending, write, bare) in decoding.FORMATS.items():
        path = tmp_path / f"x{ending}"
        write(grey, path)
        least, full = bare(path, (16, 12)), decoding.fully(path, (16, 12))
        assert least.shape == full.shape == (16, 12, 3)
        off = np.abs(least.astype(int) - full).max()
        assert off == 0 if name != "DICOM" else off < 24  # where percentiles, and not extremes, are black and white
    Image.open(tmp_path / "x.jpg").verify()
    out = tmp_path / "decoding.json"
    arguments = ["--formats", "PNG", "DICOM", "--sizes", "32", "--files", "2", "--pairs", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["decoding", *arguments])
    decoding.main()
    assert len(json.loads(out.read_text())["rows"]) == 8


LARGE = ("torch", "lightning", "sklearn", "matplotlib")


def loaded_by(command: str, *typed: str, looked_for: tuple[str, ...] = LARGE) -> str:
    """Which modules a command has loaded by the time that it has answered."""
    code = (
        f"import sys; from medcls import {command}\n"
        f"sys.argv = ['medcls.{command}', *{typed!r}]\n"
        f"try: {command}.main()\n"
        "except SystemExit: pass\n"
        f"print('LOADED', [name for name in {looked_for!r} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ended.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "typed"), [*start_up.TYPOS.items(), *(("train", typed) for typed in start_up.TYPED)]
)
def test_no_command_loads_anything_large_before_its_configuration_is_checked(command, typed):
    assert loaded_by(command, *typed.split(), looked_for=(*LARGE, "pandas", "numpy")) == "LOADED []"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "typed"),
    [
        ("train", "data.root=/no/such/folder"),
        ("train", "seed=1"),  # and no data.root
        ("audit", "data.root=/no/such/folder"),
        ("evaluate", "run=/no/such/run"),
        ("compare", "runs=/no/such/run"),
    ],
)
def test_a_mistyped_place_is_answered_before_anything_large_is_loaded(command, typed, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(tmp_path)
    assert loaded_by(command, typed) == "LOADED []"


def test_a_mistyped_folder_gets_a_suggestion(tmp_path):
    (tmp_path / "chest_xray").mkdir()
    arguments = (f"data.root={tmp_path}/chest_xry", f"hydra.run.dir={tmp_path}/run")
    refused_command("no_such_folder", ("chest_xry", " chest_xray?"), audit.main, *arguments)


def test_large_imports_leave_the_collector_as_it_was():
    code = (
        "import atexit, gc, sys; from medcls.cli.importing import import_large\n"
        "atexit.register(lambda: print(gc.get_freeze_count()))\n"
        "frozen = gc.get_freeze_count(); import_large('sqlite3'); assert gc.isenabled()\n"
        "assert gc.get_freeze_count() > frozen and 'sqlite3' in sys.modules\n"
        "gc.unfreeze(); import_large('sqlite3'); assert gc.get_freeze_count() == 0\n"
        "import_large('wave')\n"
        "gc.disable(); import_large('csv'); assert not gc.isenabled()\n"
        "gc.enable()\n"
        "try: import_large('no_such_module')\n"
        "except ImportError: assert gc.isenabled()\n"
        "else: raise AssertionError"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout == "0\n", "frozen at the end"
