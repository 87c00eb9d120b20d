"""Run folders that somebody else made to do harm: none is followed, whatever file of it asks.

The harm is a marker: a folder that would be made. Nothing here would do more.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from refusals import refused, refused_command

from medcls import evaluate, train
from medcls.cli.building import build_network, build_own_network
from medcls.cli.data_source import read_source
from medcls.cli.resume import resumed_configuration
from medcls.cli.shipped import shipped_targets
from medcls.cli.stored_configuration import read_run_configuration
from medcls.runs.stored import check_targets, refuse_links_out, refuse_references


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "marker"


def hidden(marker: Path) -> dict[str, Any]:
    """Ways to have a folder made by whoever reads, resolves or builds a value."""
    call = f"_target_: os.mkdir, path: {marker}"
    node = {"_target_": "os.mkdir", "path": str(marker)}
    return {
        "a target": node,
        "a target in a list": [node],
        "a target deep within": {"a": {"b": [{"c": node}]}},
        "a partial": node | {"_partial_": True},
        "positional": {"_target_": "os.mkdir", "_args_": [str(marker)]},
        "by hydra": {"_target_": "hydra.utils.call", "config": node},
        "a reference that makes it": "${oc.create:{" + call + "}}",
        "a reference in a key": {"${oc.create:{" + call + "}}": 1},
        "a reference within a text": "a ${oc.create:{" + call + "}} b",
        "a reference that decodes": f"${{oc.decode:'{{{call}}}'}}",
        "a reference to elsewhere": "${elsewhere}",
        "a reference within a reference": "${oc.create:${elsewhere}}",
        "the environment": "${oc.env:HOME}",
        "a target made of a reference": {"_target_": "${oc.decode:os.mkdir}", "path": str(marker)},
        "a target of a data set's": {"_target_": "medcls.data.sources.phantoms.ensure_phantoms", "root": str(marker)},
        "a target shipped for another place": {"_target_": "lightning.Trainer", "default_root_dir": str(marker)},
    }


FORMS = list(hidden(Path("x")))


def kind_of(value: Any) -> str:
    """References are looked for first."""
    return "reference_in_configuration" if "${" in str(value) else "foreign_target"


# Where a run builds, or only looks.
PLACES = (
    "model.network",
    "data.augmentation",
    "loss",
    "optimizer",
    "trainer.profiler",
    "logger.other",
    "report.purpose",
)


def put(run: Path, place: str, value: Any, marker: Path) -> None:
    """Write a value into a run's configuration, as somebody with an editor does."""
    cfg = OmegaConf.load(run / "config.yaml")
    OmegaConf.update(cfg, place, value, merge=False, force_add=True)
    OmegaConf.update(cfg, "elsewhere", hidden(marker)["a target"], force_add=True)
    cfg.trust = True  # a folder cannot say itself that it is to be trusted
    OmegaConf.save(cfg, run / "config.yaml")


@pytest.mark.parametrize("form", FORMS)
def test_p60_no_configuration_of_a_run_folder_runs_code(run, marker, form):
    put(run, PLACES[FORMS.index(form) % len(PLACES)], hidden(marker)[form], marker)
    kind = kind_of(hidden(marker)[form])
    with refused(kind, f"{run}/config.yaml"):
        read_run_configuration(run, trust=False)
    with refused(kind, f"{run}/config.yaml"):
        resumed_configuration(OmegaConf.create({"resume": str(run), "trust": False}), [])
    assert not marker.exists()


@pytest.mark.parametrize("place", PLACES)
def test_p60_nothing_is_hidden_in_any_place(marker, place):
    for form, value in hidden(marker).items():
        settings = OmegaConf.create()
        OmegaConf.update(settings, place, value, force_add=True)
        plain = OmegaConf.to_container(settings, resolve=False)
        with refused(kind_of(value), form, place):
            held_against(plain, form)


def held_against(plain: Any, form: str) -> None:
    refuse_references(plain, form)
    check_targets(plain, shipped_targets(), form)


@pytest.mark.parametrize("form", FORMS)
def test_p60_no_description_in_a_checkpoint_runs_code(marker, form):
    value = hidden(marker)[form]
    for described in (value, {"_target_": "medcls.models.mobilenetv3.mobilenetv3_small", "num_classes": 2, "x": value}):
        if not isinstance(described, dict):
            continue
        with refused(kind_of(described)):
            build_network(described, trust=False)
    assert not marker.exists()


def test_p60_references_are_refused_even_in_what_is_trusted(run, marker):
    put(run, "loss", "${oc.create:{_target_: os.mkdir}}", marker)
    with refused("reference_in_configuration", f"{run}/config.yaml", "loss"):
        read_run_configuration(run, trust=True)
    with refused("reference_in_configuration", "_target_"):
        build_network({"_target_": "${oc.create:1}"}, trust=True)


@pytest.mark.parametrize(
    ("main", "name", "arguments", "kind"),
    [
        (train.main, "config.yaml", ("resume=RUN", "trainer.max_epochs=4"), "reference_in_configuration"),
        (evaluate.main, "config.yaml", ("run=RUN", "views=2"), "reference_in_configuration"),
        (evaluate.main, "best.ckpt", ("run=RUN",), "foreign_target"),
        (train.main, "best.ckpt", ("resume=RUN",), "of_another_run"),
    ],
)
def test_p60_a_hostile_run_folder_is_refused_by_the_commands(run, marker, capsys, main, name, arguments, kind):
    node = {"_target_": "os.mkdir", "path": str(marker)}
    if name == "config.yaml":
        put(run, "data.augmentation", "${oc.create:{_target_: os.mkdir, path: " + str(marker) + "}}", marker)
    else:
        content = torch.load(run / "checkpoints" / name, weights_only=True)
        content["medcls"]["network"] = node
        torch.save(content, run / "checkpoints" / name)
        (run / "report.html").unlink()  # so that a resume scores it
    named = "data.augmentation" if name == "config.yaml" else "os.mkdir"
    refused_command(kind, (named,), main, *(part.replace("RUN", str(run)) for part in arguments))
    assert "Traceback" not in capsys.readouterr().err
    assert not marker.exists()


@pytest.mark.slow
def test_p60_a_pickle_is_no_checkpoint(run, marker, folder, capsys):
    class Harm:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            import os

            return os.mkdir, (str(marker),)

    for name in ("best.ckpt", "last.ckpt"):
        path = run / "checkpoints" / name
        content = torch.load(path, weights_only=True)
        torch.save(content | {"harm": Harm()}, path)
    root = [f"data.root={folder({'a': 12, 'b': 12})}", "positive_class=a"]
    for main, argument, name, more in (
        (evaluate.main, "run", "best.ckpt", []),
        (train.main, "resume", "last.ckpt", []),
        (train.main, "model.weights", "best.ckpt", root),
    ):
        refused_command("unsafe_file", (name,), main, f"{argument}={run}", *more)
        assert "Traceback" not in capsys.readouterr().err
    assert not marker.exists()


def test_p60_the_network_that_training_scores_is_built_by_its_own_settings():
    own = OmegaConf.create({"_target_": "medcls.models.mobilenetv3.mobilenetv3_small"})
    with refused("of_another_run", "os.mkdir", "mobilenetv3_small", "checkpoints/best.ckpt"):
        build_own_network({"_target_": "os.mkdir", "path": "x", "num_classes": 2}, own)


@pytest.mark.slow
def test_p60_links_out_of_a_run_folder_are_not_written_through(run, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    (run / "train.log").unlink()
    (run / "train.log").symlink_to(outside)
    (run / "evaluate.log").symlink_to(outside)
    for main, argument in ((train.main, "resume"), (evaluate.main, "run")):
        refused_command("outside_the_run_folder", (f"{run}/", str(outside)), main, f"{argument}={run}")
    assert outside.read_text() == "mine"
    refuse_links_out(run, trust=True)
    inside = tmp_path / "other"
    (inside / "a").mkdir(parents=True)
    (inside / "b").symlink_to(inside / "a")
    refuse_links_out(inside, trust=False)


def test_p60_a_resume_fetches_and_makes_no_images(run, tmp_path, monkeypatch):
    cfg = OmegaConf.load(run / "config.yaml")
    cfg.data.download = True
    cfg.data.published.files = [{"name": "a.zip", "url": "file:///etc/hostname", "checksum": None, "bytes": 1}]
    cfg.data.root = cfg.data.source.phantoms_at = str(tmp_path / "nothing here")
    OmegaConf.save(cfg, run / "config.yaml")
    with refused("no_such_folder", f"{tmp_path}/nothing here", "data.root="):
        read_source(resumed_configuration(OmegaConf.create({"resume": str(run), "trust": False}), []), strict=True)
    assert not (tmp_path / "nothing here").exists()
