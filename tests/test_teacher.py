"""`teacher=RUN` and `model.weights=RUN` through the command: refused, resumed, recorded, reported."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from entry_points import run_main
from made_sets import SMOKE, class_folders
from refusals import refused_command

from medcls import evaluate, train
from medcls.inference.load import weights_hash
from medcls.models.weights import read_state

TINY = ("model=timm", "model.name=test_efficientnet", "data.image_size=32", *SMOKE, "positive_class=b")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and a teacher of them at another size and with its classes in another order of outputs."""
    home = tmp_path_factory.mktemp("taught")
    class_folders(home / "images", {"a": 24, "b": 24})
    run_main(train.main, *TINY, f"data.root={home}/images", "data.image_size=40", f"hydra.run.dir={home}/teacher")
    return home


def taught(home: Path, *settings: str) -> list[str]:
    return [*TINY, f"data.root={home}/images", f"teacher={home}/teacher", *settings]


def weights_of(run: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return read_state(run / "checkpoints" / name)[0]


@pytest.mark.slow
def test_a_student_is_recorded_and_reported_as_one(home, tmp_path):
    run_main(train.main, *taught(home, "loss=binary_cross_entropy"), f"hydra.run.dir={tmp_path}/student")
    record = json.loads((tmp_path / "student" / "teacher.json").read_text(encoding="utf-8"))
    assert record["run"] == f"{home}/teacher"
    assert record["checkpoint"] == weights_hash(weights_of(home / "teacher", "best.ckpt"))
    assert record["settings"] == {"temperature": 4.0, "share": 0.5} and record["near_duplicates"] == 0
    rows = pd.read_csv(home / "teacher" / "manifest.csv")
    assert record["images"] == int(rows["split"].isin(["train", "val"]).sum())
    for page in ("report.md", "report.html"):
        text = (tmp_path / "student" / page).read_text(encoding="utf-8")
        assert f"{home}/teacher" in text and record["checkpoint"] in text and "soft_targets" in text
    run_main(evaluate.main, f"run={tmp_path}/student", "report.paths=hidden", "report.images=false", "resamples=100")
    hidden = (tmp_path / "student" / "report.md").read_text(encoding="utf-8")
    assert str(home) not in hidden and record["checkpoint"] in hidden


@pytest.mark.slow
@pytest.mark.parametrize("views", ["data.views=2", "data.views=null"])
def test_a_resumed_student_ends_where_one_that_was_not_stopped_does(home, tmp_path, views):
    settings = taught(home, views, "scheduler=none", "exact_batch_norm=false", "evaluate_test=false")
    run_main(train.main, *settings, "trainer.max_epochs=3", f"hydra.run.dir={tmp_path}/through")
    run_main(train.main, *settings, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/stopped")
    moved = shutil.copytree(home / "teacher", tmp_path / "moved")
    run_main(train.main, f"resume={tmp_path}/stopped", "trainer.max_epochs=3", f"teacher={moved}")
    through, stopped = weights_of(tmp_path / "through"), weights_of(tmp_path / "stopped")
    assert all(torch.equal(through[name], stopped[name]) for name in through)


@pytest.mark.slow
def test_a_resume_with_another_teacher_is_refused(home, tmp_path):
    run = tmp_path / "student"
    run_main(train.main, *taught(home, "evaluate_test=false"), f"hydra.run.dir={run}")
    other = [*TINY, f"data.root={home}/images", "optimizer=sgd", f"hydra.run.dir={tmp_path}/other"]
    run_main(train.main, *other)
    was = json.loads((run / "teacher.json").read_text(encoding="utf-8"))["checkpoint"]
    resume = (f"resume={run}", "trainer.max_epochs=2", f"teacher={tmp_path}/other")
    refused_command("of_another_run", (was, f"{tmp_path}/other"), train.main, *resume)


def test_p02_whoever_has_seen_the_test_images_neither_teaches_nor_gives_weights(home, tmp_path):
    for setting in ("teacher", "model.weights"):
        settings = [*TINY, f"data.root={home}/images", f"{setting}={home}/teacher", f"hydra.run.dir={tmp_path}/no"]
        refused_command("trained_on_these_images", (f"{home}/teacher",), train.main, *settings, "seed=5")
        assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_p02_what_a_run_has_seen_it_passes_on_to_those_that_learn_from_it(home, tmp_path):
    settings = [*TINY, f"data.root={home}/images", f"model.weights={home}/teacher"]
    run_main(train.main, *settings, "evaluate_test=false", f"hydra.run.dir={tmp_path}/next")
    account = json.loads((tmp_path / "next" / "weights.json").read_text(encoding="utf-8"))
    assert account["learned_from"][0]["run"] == f"{home}/teacher"
    assert "timm" in (tmp_path / "next" / "report.md").read_text(encoding="utf-8")
    class_folders(tmp_path / "others", {"a": 24, "b": 24}, seed=9)
    first = [*TINY, f"data.root={tmp_path}/others", f"model.weights={tmp_path}/next", "evaluate_test=false"]
    run_main(train.main, *first, f"hydra.run.dir={tmp_path}/far")
    shutil.rmtree(tmp_path / "next")
    again = [*TINY, f"data.root={home}/images", "seed=5", f"hydra.run.dir={tmp_path}/no"]
    refused_command("trained_on_these_images", (f"{tmp_path}/far",), train.main, *again, f"teacher={tmp_path}/far")
    # And an evaluation on another site counts the images of all of them.
    out = tmp_path / "evaluated"
    run_main(
        evaluate.main, f"run={tmp_path}/far", "data=folder", f"data.root={home}/images", "resamples=100",
        f"hydra.run.dir={out}",
    )  # fmt: skip
    learned = pd.read_csv(home / "teacher" / "manifest.csv")["split"].isin(["train", "val"]).sum()
    assert f"{learned} of 48" in (out / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_each_fold_is_taught_by_the_run_of_the_same_fold(home, tmp_path):
    folds = ["data.folds=3", "evaluate_test=false"]
    for fold in (0, 1):
        one = [*TINY, f"data.root={home}/images", *folds, f"data.fold={fold}", f"hydra.run.dir={tmp_path}/sweep/{fold}"]
        run_main(train.main, *one)
    (tmp_path / "sweep" / "out_of_fold" / "predictions").mkdir(parents=True)
    base = [*TINY, f"data.root={home}/images", *folds]
    run = tmp_path / "student"
    run_main(train.main, *base, "data.fold=1", f"teacher={tmp_path}/sweep", f"hydra.run.dir={run}")
    assert json.loads((run / "teacher.json").read_text(encoding="utf-8"))["run"] == f"{tmp_path}/sweep/1"
    no = f"hydra.run.dir={tmp_path}/no"
    for kind, names, settings in (
        ("no_teacher_of_this_fold", ("2 of 3",), ["data.fold=2", f"teacher={tmp_path}/sweep"]),
        ("trained_on_these_images", (f"{tmp_path}/sweep/0",), ["data.fold=1", f"teacher={tmp_path}/sweep/0"]),
    ):
        refused_command(kind, names, train.main, *base, *settings, no)
    single = [*TINY, f"data.root={home}/images", f"teacher={tmp_path}/sweep"]
    refused_command("not_a_run", (f"{tmp_path}/sweep",), train.main, *single, no)


def test_settings_of_a_teacher_that_cannot_be_are_refused_before_an_image_is_read(home, tmp_path):
    (tmp_path / "empty").mkdir()
    base = [*TINY, f"data.root={tmp_path}/empty", f"hydra.run.dir={tmp_path}/no"]
    for kind, names, settings in (
        ("not_a_run", ("/no/such/run",), ["teacher=/no/such/run"]),
        ("missing_setting", ("teacher=",), ["distillation.share=0.9"]),
        ("bad_value", ("distillation.share",), [f"teacher={home}/teacher", "distillation.share=0"]),
        ("bad_value", ("distillation.heat",), [f"teacher={home}/teacher", "+distillation.heat=2"]),
    ):
        refused_command(kind, names, train.main, *base, *settings)
    class_folders(tmp_path / "three", {"a": 12, "b": 12, "c": 12})
    other = [*TINY[:-1], f"data.root={tmp_path}/three", f"teacher={home}/teacher", f"hydra.run.dir={tmp_path}/no"]
    refused_command("different_classes", ("c",), train.main, *other)
