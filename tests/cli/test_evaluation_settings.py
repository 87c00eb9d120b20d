"""Settings of an evaluation: which were typed, which go together, and what is taken from the run."""

import dataclasses

import pytest
from composed_settings import typed_settings
from omegaconf import OmegaConf
from refusals import refused

from medcls.cli import evaluation_settings as settings


def test_typed_settings_are_named_without_signs_and_values():
    typed = ("run=RUN", "+data.extra=1", "~data.name", "data=csv", "operating_point=sensitivity>=0.9")
    with typed_settings("evaluate", *typed):
        assert settings.typed_keys() == ["run", "data.extra", "data.name", "data", "operating_point"]
        assert settings.typed_groups() == ["run", "data", "data", "data", "operating_point"]
        assert settings.names_external_images()
    with typed_settings("evaluate"):
        assert settings.typed_keys() == [] and not settings.names_external_images()


@pytest.mark.parametrize(
    ("evaluated", "typed", "names"),
    [
        ("run", ("positive_class=a",), ("positive_class",)),
        ("run", ("val=v.csv", "split=val"), ("val",)),
        ("run", ("data.root=/x", "split=val"), ("split", "another site")),
        ("run", ("data.root=/x", "images=/y"), ("images", "data.root")),
        ("runs", ("split=val",), ("split",)),
        ("runs", ("precision=bf16", "compile=true"), ("precision, compile",)),
        ("predictions", ("images=/y", "views=2"), ("images, views",)),
        ("predictions", ("data.root=/x",), ("data",)),
    ],
)
def test_a_setting_without_effect_is_refused(evaluated, typed, names):
    with typed_settings("evaluate", *typed), refused("idle_setting", *names):
        settings.refuse_ignored_settings(evaluated)


@pytest.mark.parametrize(
    ("evaluated", "typed"),
    [
        ("run", ("split=val", "images=/y", "views=2")),
        ("run", ("data.root=/x", "precision=bf16")),
        ("runs", ("images=/y", "resamples=200")),
        ("predictions", ("val=v.csv", "positive_class=a")),
    ],
)
def test_settings_with_an_effect_pass(evaluated, typed):
    with typed_settings("evaluate", *typed):
        settings.refuse_ignored_settings(evaluated)


def test_only_a_binary_task_has_an_operating_point():
    settings.check_has_threshold(["a", "b"], "a", ["operating_point"])
    settings.check_has_threshold(["a", "b", "c"], None, ["calibrate", "coverage"])
    with refused("idle_setting", "operating_point", " 3 "):
        settings.check_has_threshold(["a", "b", "c"], None, ["operating_point"])


def test_a_split_is_one_that_the_run_has(opened):
    for split in ("train", "val", "test"):
        settings.check_split(split, opened)
    for split in ("held_out", "left_out", "tset", None):
        with refused("unknown_split", f"split={split}", "test, val, train"):
            settings.check_split(split, opened)


def test_a_probe_without_a_test_split_was_judged_out_of_fold(opened):

    with refused("unknown_split", "split=test", "out_of_fold.csv"):
        settings.check_split("test", dataclasses.replace(opened, splits=frozenset({"train"})))


def test_what_was_not_typed_is_as_the_run_had_it():
    own = OmegaConf.create({"calibrate": "none", "operating_point": "f1", "coverage": 0.8})
    with typed_settings("evaluate", "coverage=0.95", "resamples=300", "operating_point=sensitivity>=0.9") as cfg:
        read, refit = settings.read_report_settings(cfg, own)
        assert set(refit) == {"coverage", "operating_point"} and read.resamples == 300
        fitting = read.fitting
        assert (fitting.calibrate, fitting.coverage, fitting.aggregate) == ("none", 0.95, None)
        assert fitting.operating_point.startswith("sensitivity")
    with typed_settings("evaluate") as cfg:
        read, refit = settings.read_report_settings(cfg)
        assert (read.fitting.calibrate, read.fitting.operating_point, refit) == ("temperature", "youden", ())


@pytest.mark.parametrize("views", [0, -1, 1.5, True, "two", None])
def test_views_are_a_whole_number_from_1_on(views):
    with typed_settings("evaluate") as cfg:
        cfg.views = views
        with refused("bad_value", "views", repr(views)):
            settings.read_report_settings(cfg)
