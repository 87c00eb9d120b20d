"""A run folder that is opened for evaluation, and the folds of one cross-validation."""

import dataclasses
import shutil

import pytest
from composed_settings import typed_settings
from omegaconf import OmegaConf
from refusals import refused

from medcls.cli.trained_runs import check_differ_only_in_fold, find_run, open_folds, open_run


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_a_run_has_a_configuration_and_a_checkpoint(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_run("~/run").path == find_run(str(copy)).path == copy
    for missing in ("checkpoints/best.ckpt", "config.yaml"):
        (copy / missing).unlink()
        with refused("not_a_run", str(copy), "checkpoints/best.ckpt"):
            find_run(str(copy))
    (tmp_path / "empty").mkdir()
    for other in (f"{tmp_path}/empty", f"{tmp_path}/nowhere", ""):
        with refused("not_a_run", other):
            find_run(other)
    assert (tmp_path / "empty").is_dir(), "it is left where it is"


def test_an_opened_run_knows_its_splits_and_what_it_was_fitted_on(opened, finished):
    assert opened.splits == {"train", "val", "test"} and opened.images == finished.parent / "images"
    assert opened.name.startswith(opened.config.data.name) and opened.config.model.name in opened.name
    assert (opened.fitted_on, opened.reference_split) == ("val", "val")
    assert opened.split_by["seed"] == 0 and "source" in opened.split_by
    calibrated = dataclasses.replace(opened, splits=opened.splits | {"calibration"})
    assert (calibrated.fitted_on, calibrated.reference_split) == ("calibration", "val")
    probe = dataclasses.replace(opened, splits=frozenset({"train", "test"}))
    assert probe.fitted_on == probe.reference_split == "out_of_fold"


def test_a_report_on_another_split_is_not_replaced(opened, copy):
    with typed_settings("evaluate", f"run={copy}", f"images={copy}/elsewhere") as cfg:
        run = open_run(str(copy), cfg)
    assert run.images == copy / "elsewhere", "they were moved"
    assert [run.has_result_of_another_split(name) for name in ("test", "val", "train")] == [False, True, True]
    (copy / "predictions" / "test.csv").unlink()
    assert [run.has_result_of_another_split(name) for name in ("test", "val", "train")] == [False, False, True]


def test_stored_predictions_are_those_of_this_checkpoint(copy):
    with typed_settings("evaluate", f"run={copy}") as cfg:
        run = open_run(str(copy), cfg)
    assert run.stored("val").split == "val" and run.stored("train") is None
    assert run.predictions_of("val").rows.equals(run.stored("val").rows)
    table = copy / "predictions" / "val.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(run.loaded.checkpoint, "0" * 16), encoding="utf-8")
    assert run.stored("val") is None
    with refused("missing_predictions", "out_of_fold"):
        run.predictions_of("out_of_fold")


def test_a_configuration_of_something_else_is_no_run(copy):
    OmegaConf.save({"data": {"root": "/images"}}, copy / "config.yaml")
    with typed_settings("evaluate", f"run={copy}") as cfg, refused("damaged_configuration", "model, seed"):
        open_run(str(copy), cfg)


def test_runs_that_are_no_folds_of_one_cross_validation_are_refused(finished, copy, tmp_path):
    for runs, kind, names in (
        (f"'{finished}',{tmp_path}/nowhere", "no_such_folder", ("nowhere",)),
        (f"{copy}", "not_a_cross_validation", ("two",)),
        (f"'{finished}',{copy}", "not_a_cross_validation", (str(finished), "data.folds=5")),
    ):
        with typed_settings("evaluate", f"runs=[{runs}]") as cfg, refused(kind, *names):
            open_folds(cfg)


def fold_of(opened, fold: int, **changes):
    config = OmegaConf.create(OmegaConf.to_container(opened.config))
    OmegaConf.update(config, "data.folds", 2)
    OmegaConf.update(config, "data.fold", fold)
    for place, value in changes.items():
        OmegaConf.update(config, place.replace("__", "."), value)
    return dataclasses.replace(opened, config=config)


def test_folds_may_differ_in_their_fold_alone(opened):
    check_differ_only_in_fold([fold_of(opened, 0), fold_of(opened, 1)])
    with refused("not_a_cross_validation", "data.fold", str(opened.folder.path), "optimizer.lr"):
        check_differ_only_in_fold([fold_of(opened, 0), fold_of(opened, 1, optimizer__lr=0.5)])
    with refused("not_a_cross_validation", "seed"):
        check_differ_only_in_fold([fold_of(opened, 0), fold_of(opened, 1, seed=3), fold_of(opened, 1)])


def test_each_fold_is_given_once_and_a_missing_one_is_logged(opened, monkeypatch, tmp_path, caplog):
    members = {"b": fold_of(opened, 1), "a": fold_of(opened, 0), "again": fold_of(opened, 1)}
    for name in members:
        (tmp_path / name).mkdir()
    monkeypatch.setattr("medcls.cli.trained_runs.runs_in", lambda folder: [folder])
    monkeypatch.setattr("medcls.cli.trained_runs.open_run", lambda path, _: members[path.rsplit("/", 1)[1]])

    def opened_in(*names: str):
        with typed_settings("evaluate", f"runs=[{','.join(str(tmp_path / name) for name in names)}]") as cfg:
            return open_folds(cfg)

    assert opened_in("b", "a") == [members["a"], members["b"]] and caplog.messages == []
    with refused("not_a_cross_validation", "1, 1"):
        opened_in("b", "again")
    for name in ("a", "b"):
        OmegaConf.update(members[name].config, "data.folds", 3)
    assert len(opened_in("a", "b")) == 2
    assert len(caplog.messages) == 1 and "2" in caplog.messages[0]
