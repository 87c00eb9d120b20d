"""Runs, checkpoints and exports are loaded for predictions; images that a run has seen are known."""

import shutil
import subprocess

import pytest
import torch
from made_manifests import manifest_of
from refusals import logged, refused

import medcls
from medcls.cli.trained_models import Work, choose_device, choose_work, known_images, load_checkpoint
from medcls.evaluation.decision_rules import DecisionRules
from medcls.inference.model import Model


@pytest.fixture(scope="module")
def model(finished) -> Model:
    return medcls.load(finished)


def test_p60_a_checkpoint_that_holds_code_is_refused(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run")
    checkpoint = torch.load(copy / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save(checkpoint | {"code": subprocess.Popen}, copy / "checkpoints" / "best.ckpt")
    with refused("unsafe_file"):
        medcls.load(copy)


def test_the_checkpoint_alone_is_enough(finished, model, tmp_path):
    file = shutil.copy(finished / "checkpoints" / "best.ckpt", tmp_path)
    alone = medcls.load(file)
    assert alone.decision_rules == model.decision_rules and alone.decision_rules.ood.n == 10
    path = finished.parent / "images" / "得病" / "02.png"
    assert alone.predict(path) == model.predict(path)


def test_runs_of_earlier_versions_get_their_limit_from_the_predictions_of_val(finished, model, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run")
    best = copy / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(best, weights_only=True)
    del checkpoint["medcls"]["policies"]["ood"]
    torch.save(checkpoint, best)
    assert medcls.load(copy).decision_rules.ood == model.decision_rules.ood
    (copy / "predictions" / "val.csv").unlink()
    assert medcls.load(copy).decision_rules.ood is None
    assert isinstance(DecisionRules.from_plain(checkpoint["medcls"]["policies"]), DecisionRules)


def test_no_run_is_refused(tmp_path):
    with refused("not_a_run"):
        medcls.load(tmp_path)


@pytest.mark.parametrize(
    ("threads", "share", "largest", "images", "size"),
    [
        (1, 1, 64, 100, 64),
        (4, 1, 64, 100, 25),
        (4, 4, 64, 100, 16),
        (8, 4, 2, 100, 1),
        (4, 1, 64, 3, 1),
        (4, 1, 64, 0, 1),
    ],
)
def test_few_images_are_shared_out_among_the_threads(threads, share, largest, images, size):
    assert Work(threads, share).batch_size(largest, images) == size


@pytest.mark.parametrize("views", [0, -1, 1.0, True, "2"])
def test_views_are_a_whole_number_from_1_on(views):
    with refused("bad_value", "views", repr(views)):
        medcls.load("anywhere", views=views)


def test_runs_are_named_and_each_once(finished, tmp_path):
    with refused("not_a_run"):
        medcls.load([])
    (tmp_path / "link").symlink_to(finished)
    with refused("run_given_twice", str(finished), "link"):
        medcls.load([finished, tmp_path / "link"])


def test_several_views_need_the_augmentation_of_a_run_folder(finished, tmp_path):
    for file in ("model.onnx", "model.ONNX"):
        with refused("needs_a_run", "views=2", file):
            medcls.load(tmp_path / file, views=2)
    with refused("needs_a_run", "views=2", "best.ckpt"):
        medcls.load(finished / "checkpoints" / "best.ckpt", views=2)


def test_the_mean_of_views_has_no_rules_that_were_fitted_on_one(finished, caplog):
    mean = medcls.load(finished, views=2)
    assert mean.decision_rules is None and "2 views" in mean.name and logged(caplog, "no_decision_rules")
    image = finished.parent / "images" / "得病" / "02.png"
    assert mean.predict(image).probabilities != medcls.load(finished).predict(image).probabilities


def test_a_device_is_one_of_this_machine():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device(None).type in ("cpu", "cuda")
    for name in ("gpu", "cuda:99", ""):
        with refused("no_such_device", f"device={name}"):
            choose_device(name)


def test_the_splits_of_known_images_are_those_of_the_runs_that_learned_most_from_them(tmp_path):
    """Where runs differ, training comes before val, and val before test."""
    for name, splits in (("one", ["train", "val", "test", "left_out"]), ("two", ["val", "train", "test", "unused"])):
        rows = manifest_of(["a", "b"] * 2, contents=[f"{number:032x}" for number in range(4)]).rows.assign(split=splits)
        rows.loc[3, "content"] = "" if name == "one" else rows.loc[3, "content"]
        (tmp_path / name).mkdir()
        rows.to_csv(tmp_path / name / "manifest.csv", index=False)
    keys = [bytes.fromhex(f"{number:032x}") for number in range(4)]
    assert known_images([tmp_path / "one"]) == dict(zip(keys, ["train", "val", "test"], strict=False))
    assert known_images([tmp_path / "two", tmp_path / "one"]) == dict(
        zip(keys, ["train", "train", "test"], strict=False)
    )
    (tmp_path / "model.onnx").touch()
    assert known_images([tmp_path / "model.onnx", tmp_path / "nowhere"]) == {}


def test_a_checkpoint_of_another_run_is_refused(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run")
    manifest = copy / "manifest.csv"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace(",train,", ",val,", 1), encoding="utf-8")
    with refused("of_another_run"):
        load_checkpoint(copy)


def test_each_thread_predicts_on_an_export_without_torch():
    work = choose_work(["a.onnx", "b.ONNX"], None, keep_memory=True)
    assert work.threads >= 1 and work.share > 1
