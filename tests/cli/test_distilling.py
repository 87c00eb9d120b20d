"""Which run teaches: that it is there, and of this fold."""

import pytest
from composed_settings import typed_settings
from omegaconf import OmegaConf
from refusals import refused

from medcls.cli.distilling import check_teacher, find_teacher, open_teacher


def train_settings(*typed: str):
    return typed_settings("train", "data.root=/images", *typed)


@pytest.fixture
def folds(tmp_path):
    """A folder of folds: number 1 twice; and a file and a folder beside them that are no runs."""
    for name, fold in (("zero", 0), ("one", 1), ("again", 1), ("alone", None)):
        run = tmp_path / "sweep" / name
        (run / "checkpoints").mkdir(parents=True)
        (run / "checkpoints" / "best.ckpt").touch()
        OmegaConf.save({"data": {"folds": None if fold is None else 3, "fold": fold}}, run / "config.yaml")
    (tmp_path / "sweep" / "notes.txt").touch()
    (tmp_path / "sweep" / "logs").mkdir()
    return tmp_path / "sweep"


def test_the_teacher_is_the_run_that_is_named(folds, monkeypatch):
    monkeypatch.setenv("HOME", str(folds))
    for name in (f"{folds}/one", "~/one"):
        with train_settings(f"teacher={name}", "data.folds=3", "data.fold=2") as cfg:
            assert find_teacher(cfg) == folds / "one"


def test_in_a_folder_of_folds_it_is_the_run_of_this_fold(folds):
    with train_settings(f"teacher={folds}", "data.folds=3", "data.fold=0") as cfg:
        assert find_teacher(cfg) == folds / "zero"


@pytest.mark.parametrize(
    ("typed", "kind", "names"),
    [
        ((), "not_a_run", ("sweep",)),
        (("data.folds=3", "data.fold=2"), "no_teacher_of_this_fold", ("0 runs", "fold 2 of 3")),
        (("data.folds=4", "data.fold=0"), "no_teacher_of_this_fold", ("0 runs",)),
        (("data.folds=3", "data.fold=1"), "no_teacher_of_this_fold", ("2 runs", "again, one")),
    ],
)
def test_a_folder_without_the_one_run_of_this_fold_is_refused(folds, typed, kind, names):
    with train_settings(f"teacher={folds}", *typed) as cfg, refused(kind, *names):
        find_teacher(cfg)


def test_what_is_no_run_does_not_teach(folds):
    (folds / "zero" / "checkpoints" / "best.ckpt").unlink()
    for name in ("zero", "notes.txt", "nowhere"):
        with train_settings(f"teacher={folds}/{name}") as cfg, refused("not_a_run", name):
            find_teacher(cfg)


def test_settings_of_a_teacher_need_one(folds):
    with train_settings() as cfg:
        check_teacher(cfg)
        assert open_teacher(cfg, None, None) == ([], None)
    with train_settings("distillation.temperature=2") as cfg, refused("missing_setting", "teacher="):
        check_teacher(cfg)
    with train_settings("distillation.temperature=2", f"teacher={folds}/one") as cfg:
        check_teacher(cfg)
    for typed in ("distillation.temperature=0", "distillation.share=2", "+distillation.heat=2"):
        with (
            train_settings(typed, f"teacher={folds}/one") as cfg,
            refused("bad_value", typed.lstrip("+").split("=")[0]),
        ):
            check_teacher(cfg)
