"""`python -m medcls.predict`: a row for each image, whatever it is, and nothing lost when it is stopped."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from entry_points import run_main
from refusals import logged, refused_command, rules

from medcls import predict
from medcls.evaluation.ensembles import mean_of
from medcls.evaluation.predictions import read_csv
from medcls.inference import stream
from medcls.inference.model import Model

CLASSES = ("得病", "正常")


@pytest.fixture
def images(finished) -> Path:
    return finished.parent / "images"


def predicted(out: Path, run, images, *more: str) -> pd.DataFrame:
    run_main(predict.main, f"run={run}", f"images={images}", f"output={out}", *more)
    assert not list(out.parent.glob("*.part*"))
    return pd.read_csv(out, keep_default_na=False)


def test_p59_every_image_has_its_row_and_it_is_what_evaluate_writes(finished, images, tmp_path):
    table = predicted(tmp_path / "out.csv", finished, images).set_index("path")
    assert sorted(table.index) == sorted(map(str, images.rglob("*.png"))) and len(table) == 60
    for split in ("val", "test"):
        evaluated = pd.read_csv(finished / "predictions" / f"{split}.csv")
        own = table.loc[[str(images / path) for path in evaluated["path"]]]
        for column in (*(f"prob_{name}" for name in CLASSES), "ood"):
            assert np.allclose(own[column].astype(float), evaluated[column], atol=1e-5)
        assert set(own["seen_in"]) == {split}
    assert set(table["error"]) == {""} and set(table["decision"]) == set(CLASSES)
    assert all(set(json.loads(cell)) <= set(CLASSES) for cell in table["prediction_set"])


def test_p57_there_are_probabilities_a_decision_and_ways_to_abstain(finished, images, tmp_path):
    table = predicted(tmp_path / "out.csv", finished, images / "得病" / "00.png")
    columns = [
        "path",
        "predicted",
        "prob_得病",
        "prob_正常",
        "decision",
        "prediction_set",
        "out_of_distribution",
        "ood",
    ]
    assert list(table.columns) == [*columns, "seen_in", "error", "error_kind", "checkpoint"]
    assert float(table["prob_得病"].iloc[0]) + float(table["prob_正常"].iloc[0]) == pytest.approx(1)


def test_p58_files_that_cannot_be_read_have_a_row_with_the_reason(finished, images, tmp_path, caplog):
    folder = shutil.copytree(images / "正常", tmp_path / "new")
    good = len(list(folder.iterdir()))
    (folder / "text.png").write_text("no image")
    (folder / "empty.png").touch()
    (folder / "=1+1.png").write_bytes((folder / "00.png").read_bytes()[:200])
    (folder / "link.png").symlink_to(folder / "nowhere")
    (folder / "notes.txt").touch()
    table = predicted(tmp_path / "out.csv", finished, folder).set_index("path")
    kinds = {Path(path).name: kind for path, kind in table["error_kind"].items() if kind}
    expected = {"text.png": "not_an_image", "empty.png": "not_an_image", "=1+1.png": "damaged_image"}
    assert kinds == expected | {"link.png": "no_such_file"}
    bad = table[table["error_kind"] != ""]
    assert (bad["error"] != "").all() and set(bad["predicted"]) == {""} == set(bad["prob_得病"])
    assert (table["predicted"] != "").sum() == good
    assert {"unreadable_images", "images_left_out"} <= set(rules(caplog))
    assert "4 of" in logged(caplog, "unreadable_images")[0]


def test_what_a_spreadsheet_would_compute_is_escaped(finished, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(images / "正常" / "00.png", "=cmd.png")
    shutil.copy(images / "正常" / "00.png", "-2.png")
    run_main(predict.main, f"run={finished}", "images=*.png")
    with Path("predictions.csv").open(encoding="utf-8", newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["path", "'-2.png", "'=cmd.png"]


def test_objects_a_line_say_the_same(finished, images, tmp_path):
    table = predicted(tmp_path / "out.csv", finished, images / "得病")
    run_main(
        predict.main, f"run={finished}", f"images={images}/得病", "format=jsonl", f"hydra.run.dir={tmp_path / 'other'}"
    )
    lines = (tmp_path / "other" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["path"] for row in rows] == table["path"].tolist()
    assert [row["probabilities"]["得病"] for row in rows] == pytest.approx(table["prob_得病"].astype(float).tolist())
    assert [row["prediction_set"] for row in rows] == [json.loads(cell) for cell in table["prediction_set"]]
    assert rows[0]["error"] is None and rows[0]["out_of_distribution"] is None


def test_a_table_names_images_beside_it(finished, images, tmp_path):
    shutil.copy(images / "得病" / "00.png", tmp_path)
    (tmp_path / "list.csv").write_text("path\n00.png\nmissing.png\n00.png\n", encoding="utf-8")
    table = predicted(tmp_path / "out.csv", finished, tmp_path / "list.csv")
    assert table["path"].tolist() == ["00.png", "missing.png"]
    assert table["error_kind"].tolist() == ["", "no_such_file"]


@pytest.fixture
def stop_after(monkeypatch):
    """Let the command be stopped after so many batches."""
    real = stream.predict_batch

    def stop(batches: int) -> None:
        left = iter(range(batches))

        def predict_batch(*given):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return real(*given)

        monkeypatch.setattr(stream, "predict_batch", predict_batch)

    yield stop
    monkeypatch.setattr(stream, "predict_batch", real)


def in_small_batches(monkeypatch) -> None:
    real = Model.__init__
    monkeypatch.setattr(
        Model, "__init__", lambda self, *a, **k: (real(self, *a, **k), setattr(self, "batch_size", 8))[0]
    )


def test_a_stopped_command_is_continued_and_gives_the_same_file(
    finished, images, tmp_path, monkeypatch, stop_after, caplog
):
    in_small_batches(monkeypatch)
    expected = predicted(tmp_path / "all.csv", finished, images)
    out = tmp_path / "out.csv"
    arguments = (f"run={finished}", f"images={images}", f"output={out}")
    stop_after(3)
    run_main(predict.main, *arguments, exit_code=130)
    part, state = tmp_path / "out.csv.part", tmp_path / "out.csv.part.json"
    done = json.loads(state.read_text(encoding="utf-8"))["done"]
    assert 8 <= done <= 24 and not out.exists()
    # Half a chunk that a killed process left is not taken for rows.
    with part.open("ab") as file:
        file.write(b"images/half,malig")
    refused_command("other_settings", ("views",), predict.main, *arguments, "views=2")
    monkeypatch.undo()
    caplog.clear()
    run_main(predict.main, *arguments)
    assert "continued" in rules(caplog)
    found = pd.read_csv(out, keep_default_na=False)
    assert found["path"].tolist() == expected["path"].tolist()
    probabilities = [f"prob_{name}" for name in CLASSES]
    assert np.allclose(found[probabilities], expected[probabilities], atol=1e-6)
    assert not part.exists() and not state.exists()
    refused_command("output_exists", (str(out),), predict.main, *arguments)


def test_other_images_are_not_appended_to_a_file(finished, images, tmp_path, monkeypatch, stop_after):
    in_small_batches(monkeypatch)
    folder = shutil.copytree(images, tmp_path / "images")
    arguments = (f"run={finished}", f"images={folder}", f"output={tmp_path}/out.csv")
    stop_after(3)
    run_main(predict.main, *arguments, exit_code=130)
    shutil.copy(folder / "得病" / "00.png", folder / "得病" / "another.png")
    refused_command("other_settings", ("out.csv.part",), predict.main, *arguments)


def test_a_command_that_predicted_nothing_leaves_nothing(finished, images, tmp_path, stop_after):
    stop_after(0)
    run_main(predict.main, f"run={finished}", f"images={images}", f"output={tmp_path}/x/out.csv", exit_code=130)
    assert not list((tmp_path / "x").iterdir())


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("missing_setting", ["images=."]),
        ("missing_setting", ["run=RUN"]),
        ("bad_value", ["run=RUN", "images=.", "format=xml"]),
        ("no_such_file", ["run=RUN", "images=nowhere"]),
        ("no_images", ["run=RUN", "images=no/*.png"]),
        ("no_images", ["run=RUN", "images=empty"]),
        ("not_a_run", ["run=empty", "images=IMAGES"]),
        ("bad_value", ["run=RUN", "images=IMAGES", "views=0"]),
        ("bad_value", ["run=RUN", "images=IMAGES", "precision=half"]),
        ("no_such_device", ["run=RUN", "images=IMAGES", "device=abacus"]),
        ("run_given_twice", ["run=[RUN,RUN]", "images=IMAGES"]),
    ],
)
def test_wrong_settings_are_refused_and_nothing_is_written(finished, images, tmp_path, monkeypatch, kind, arguments):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    typed = [one.replace("RUN", str(finished)).replace("IMAGES", str(images)) for one in arguments]
    refused_command(kind, (), predict.main, *typed)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_several_runs_are_averaged(finished, images, tmp_path, another_run, caplog):
    table = predicted(tmp_path / "out.csv", f"[{finished},{another_run}]", images).set_index("path")
    members = [read_csv(run / "predictions" / "val.csv", "得病") for run in (finished, another_run)]
    for member in members:
        assert member.checkpoint in table["checkpoint"].iloc[0]
    both = sorted(set(members[0].rows["path"]) & set(members[1].rows["path"]))
    members = [type(one)(one.rows[one.rows["path"].isin(both)], one.classes, one.positive) for one in members]
    expected = mean_of(members, "ensemble").rows
    own = table.loc[[str(images / path) for path in expected["path"]]]
    for column in (*(f"prob_{name}" for name in CLASSES), "ood"):
        assert np.allclose(own[column].astype(float), expected[column], atol=1e-5)
    # Neither run's operating point belongs to the mean.
    assert set(table["decision"]) == {""} == set(table["prediction_set"])
    assert "no_decision_rules" in rules(caplog)


@pytest.fixture(scope="module")
def another_run(tmp_path_factory, finished) -> Path:
    """A run of the same images with another seed and size."""
    from entry_points import FAST

    from medcls import train

    folder = tmp_path_factory.mktemp("another") / "run"
    run_main(
        train.main, *FAST, f"data.root={finished.parent}/images",
        "positive_class='得病'", "trainer.max_epochs=1", "data.image_size=40", "seed=1", f"hydra.run.dir={folder}",
    )  # fmt: skip
    return folder


def test_views_are_averaged_and_do_not_depend_on_the_images_beside(finished, images, tmp_path):
    table = predicted(tmp_path / "all.csv", finished, images, "views=3").set_index("path")
    alone = predicted(tmp_path / "one.csv", finished, images / "得病" / "05.png", "views=3").set_index("path")
    plain = predicted(tmp_path / "plain.csv", finished, images).set_index("path")
    assert float(table.loc[alone.index[0], "prob_得病"]) == pytest.approx(float(alone["prob_得病"].iloc[0]), abs=1e-6)
    assert (table["prob_得病"].astype(float) - plain["prob_得病"].astype(float)).abs().max() > 1e-4
    assert set(table["decision"]) == {""}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(finished, tmp_path):
    """Peak memory of 300 and of 6,000 images, each in its own process."""
    draw = np.random.default_rng(0)
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(draw.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(folder / "0.png")
    peaks = []
    for count in (300, 6000):
        for number in range(1, count):
            if not (folder / f"{number}.png").exists():
                (folder / f"{number}.png").hardlink_to(folder / "0.png")
        code = (
            "import resource, sys; from medcls import predict; predict.main();"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)"
        )
        arguments = [f"run={finished}", f"images={folder}", f"output={tmp_path}/{count}.csv"]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        peaks.append(int(done.stderr.split()[-1]))
        assert sum(1 for _ in (tmp_path / f"{count}.csv").open(encoding="utf-8")) == count + 1
    assert peaks[1] - peaks[0] < 25
