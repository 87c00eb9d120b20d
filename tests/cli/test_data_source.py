"""The images that a configuration names: paths that hold from any folder, and the settings of source and split."""

import dataclasses

import pytest
from composed_settings import typed_settings
from made_sets import class_folders
from omegaconf import OmegaConf, open_dict
from refusals import refused

from medcls.cli.data_source import make_paths_absolute, read_source, source_settings, split_settings
from medcls.data.splits.split import SplitSettings


def test_paths_are_absolute_wherever_the_command_was_typed(tmp_path, monkeypatch):
    class_folders(tmp_path / "images", {"a": 1, "b": 1})
    (tmp_path / "table.csv").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    typed = ("data=csv", "data.root=images", "data.csv=table.csv", "data.exclude_file=~/list.txt", "teacher=runs/x")
    with typed_settings("train", *typed) as cfg:
        make_paths_absolute(cfg)
        assert cfg.data.root == cfg.data.source.root == f"{tmp_path}/images"
        assert (cfg.data.csv, cfg.data.exclude_file) == (f"{tmp_path}/table.csv", f"{tmp_path}/list.txt")
        assert cfg.teacher == f"{tmp_path}/runs/x" and cfg.data.locked_test is None
    # These the source looks for among the images.
    for csv, read in (("data.csv=other.csv", "other.csv"), ("data.csv=[a.csv,table.csv]", ["a.csv", "table.csv"])):
        with typed_settings("train", "data=csv", "data.root=images", csv) as cfg:
            make_paths_absolute(cfg)
            assert cfg.data.csv == read


def test_a_folder_that_is_not_there_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    class_folders(tmp_path / "images", {"a": 1})
    monkeypatch.chdir(tmp_path)
    with typed_settings("train", "data.root=null") as cfg, refused("no_images_named", "data.root="):
        make_paths_absolute(cfg)
    for root, near in (("image", "images?"), ("nowhere/images", "nowhere/images")):
        with typed_settings("train", f"data.root={root}") as cfg, refused("no_such_folder", "data.root", root, near):
            make_paths_absolute(cfg)


def test_a_folder_that_will_be_made_need_not_be_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with typed_settings("train", "data=breast_cancer") as cfg:
        make_paths_absolute(cfg)  # phantoms are made in it
    with (
        typed_settings("train", "data=breast_cancer", "data.root=elsewhere") as cfg,
        refused("no_such_folder", "elsewhere"),
    ):
        make_paths_absolute(cfg)
    with typed_settings("train", "data=brain_tumor", "data.root=elsewhere", "data.download=true") as cfg:
        make_paths_absolute(cfg)
    assert list(tmp_path.iterdir()) == []


def test_the_source_is_read_with_the_positive_class_as_text(tmp_path):
    root = class_folders(tmp_path / "images", {"0": 2, "1": 3})
    with typed_settings("train", f"data.root={root}", "data.workers=0") as cfg:
        cfg.positive_class = 1
        manifest = read_source(cfg, strict=True)
        assert (manifest.positive, manifest.class_counts("")) == ("1", (2, 3))
        cfg.positive_class = None
        with refused("missing_setting", "positive_class"):
            read_source(cfg, strict=True)
        assert len(read_source(cfg, strict=False)) == 5
        merged = read_source(cfg, strict=False, judged_by=lambda found: ({name: "one" for name in found}, ["a note"]))
        assert merged.classes == ("one",) and "a note" in merged.notes


def test_a_resume_neither_downloads_nor_makes_images(tmp_path, monkeypatch):
    monkeypatch.setattr("medcls.cli.data_source.build", lambda *_, **__: pytest.fail("built"))
    typed = (f"data.root={tmp_path}/gone", "data.download=true", f"resume={tmp_path}")
    with typed_settings("train", *typed) as cfg, refused("no_such_folder", f"{tmp_path}/gone", "data.root="):
        read_source(cfg, strict=True)
    assert list(tmp_path.iterdir()) == []


def test_the_settings_of_a_split_are_its_fields_and_the_seed():
    with typed_settings("train", "data.root=/x", "data.folds=4", "data.fold=2", "seed=7", "data.copies=error") as cfg:
        settings = split_settings(cfg)
        assert SplitSettings(**settings) == SplitSettings(seed=7, folds=4, fold=2, copies="error")
        assert settings.keys() == {field.name for field in dataclasses.fields(SplitSettings)}
        with open_dict(cfg.data):
            del cfg.data["calibration_fraction"]  # as in a run of an earlier version
        assert split_settings(cfg).keys() == settings.keys() - {"calibration_fraction"}


def test_where_images_are_and_whether_they_are_cached_makes_no_other_data_set(tmp_path):
    settings = []
    for root, cache, pattern in (("/x", "true", "p1"), ("/y", "false", "p1"), ("/x", "true", "p2")):
        with typed_settings(
            "train", f"data.root={root}", f"data.cache={cache}", f"data.group_pattern={pattern}"
        ) as cfg:
            settings.append(source_settings(cfg))
    assert settings[0] == settings[1] != settings[2]
    assert settings[0]["source"]["_target_"].endswith("from_folders")
    assert not OmegaConf.is_config(settings[0]["source"])
