"""Stored configurations may come from anyone: nothing in them runs code or leads out of the run folder."""

import pytest
from refusals import refused

from medcls.runs.stored import (
    check_targets,
    kind,
    refuse_links_out,
    refuse_references,
    refuse_ways_out,
    renamed,
    targets,
    texts,
)


@pytest.mark.parametrize(
    "loggers",
    [
        {"csv": {"name": "../../x"}},
        {"csv": {"name": "/x"}},
        {"csv": {"version": "a/../../../x"}},
        {"csv": {"prefix": "..\\x"}},
        {"tensorboard": {"sub_dir": "C:\\x"}},
        {"tensorboard": {"deeper": [{"name": ".."}]}},
    ],
)
def test_p60_loggers_stay_in_the_run_folder(loggers):
    with refused("outside_the_run_folder", "logger."):
        refuse_ways_out(loggers)
    refuse_ways_out({"csv": {"name": "logs", "version": "a..b/c"}})


def test_targets_of_earlier_versions_get_their_present_names():
    old = {
        "data": {"source": {"_target_": "medcls.data.folders.from_folders", "root": "medcls.data.folders.from_folders"}}
    }
    (source,) = renamed([old])[0]["data"].values()
    assert source == {
        "_target_": "medcls.data.sources.folders.from_folders", "root": "medcls.data.folders.from_folders"
    }  # fmt: skip
    assert old["data"]["source"]["_target_"] == "medcls.data.folders.from_folders", "the argument is not changed"
    assert renamed(None) is None and renamed({"_target_": 3, "a": (1,)}) == {"_target_": 3, "a": (1,)}


def test_every_text_and_every_target_is_found_with_its_setting():
    node = {"a": {"b": ["x", {"_target_": "t.one", 3: None}]}, "report": {"rules": ["t.two"], "other": ["t.no"]}}
    assert list(targets(node)) == [("a.b.1", "t.one"), ("report.rules", "t.two")]
    assert ("a.b.0", "x") in list(texts(node)) and ("a.b.1.3", "3") in list(texts(node)), "keys too"
    assert list(texts(5)) == list(targets("t.one")) == []
    assert list(targets({"_target_": ["t"]})) == [("", "['t']")]


@pytest.mark.parametrize(
    ("place", "setting"),
    [
        ("logger.csv", "logger.*"),
        ("logger", "logger"),
        ("logger.csv.formatter", "logger.csv.formatter"),
        ("model.network.parts.12", "model.network"),
        ("model.network.parts.x", "model.network.parts.x"),
        ("model.network.parts.1.head", "model.network.parts.1.head"),
        ("", ""),
    ],
)
def test_what_is_free_in_a_setting_is_left_out_of_it(place, setting):
    assert kind(place) == setting


def test_a_target_is_allowed_for_its_own_setting_alone():
    shipped = {"loss": {"t.loss"}, "logger.*": ["t.csv"], "report.rules": ["t.rule"]}
    node = {"loss": {"_target_": "t.loss"}, "logger": {"mine": {"_target_": "t.csv"}}, "report": {"rules": ["t.rule"]}}
    check_targets(node, shipped, "config.yaml")
    check_targets({}, {}, "config.yaml")
    wrong = {"optimizer": {"_target_": "t.loss"}, "report": {"rules": ["os.mkdir"]}}
    with refused("foreign_target", "config.yaml", "t.loss (optimizer)", "os.mkdir (report.rules)", "trust=true"):
        check_targets(wrong, shipped, "config.yaml")


def test_references_are_named_with_their_settings_once():
    refuse_references({"a": "$ {x} $x {x}", "b": [1, None, True]}, "config.yaml")
    node = {"a": ["x", "${b}"], "c": {"${d}": "${e}"}}
    with refused("reference_in_configuration", "config.yaml", "a.1", "c.${d}") as found:
        refuse_references(node, "config.yaml")
    assert str(found.value).count("c.${d}") == 1
    with refused("reference_in_configuration", "config.yaml"):
        refuse_references("${oc.env:HOME}", "config.yaml")


def test_links_within_a_folder_are_allowed_and_those_out_of_it_only_with_trust(tmp_path):
    run = tmp_path / "run"
    (run / "logs").mkdir(parents=True)
    (run / "logs" / "real").touch()
    (run / "link").symlink_to(run / "logs" / "real")
    (run / "logs" / "up").symlink_to("..")
    (run / "loop").symlink_to("loop")
    refuse_links_out(run, trust=False)
    linked = tmp_path / "linked"
    linked.symlink_to(run)
    refuse_links_out(linked, trust=False)
    for target in (tmp_path, tmp_path / "not there yet", tmp_path / "run2"):
        (run / "logs" / "out").symlink_to(target)
        with refused("outside_the_run_folder", str(run / "logs" / "out"), str(target), "trust=true"):
            refuse_links_out(run, trust=False)
        refuse_links_out(run, trust=True)
        (run / "logs" / "out").unlink()
