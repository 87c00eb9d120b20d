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
from test_endings import ended

from medcls import evaluate, train
from medcls.cli.building import build_network, build_own_network
from medcls.cli.data_source import read_source
from medcls.cli.resume import resumed
from medcls.cli.shipped import shipped_targets
from medcls.cli.stored_configuration import read_own
from medcls.errors import MedclsError
from medcls.runs.stored import check_targets, refuse_links_out, refuse_references, refuse_ways_out


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
    with pytest.raises(MedclsError, match=r"config.yaml .*(references|which medcls does not ship)"):
        read_own(run, trust=False)
    with pytest.raises(MedclsError, match=r"config.yaml .*(references|which medcls does not ship)"):
        resumed(OmegaConf.create({"resume": str(run), "trust": False}), [])
    assert not marker.exists()


@pytest.mark.parametrize("place", PLACES)
def test_p60_nothing_is_hidden_in_any_place(marker, place):
    for form, value in hidden(marker).items():
        settings = OmegaConf.create()
        OmegaConf.update(settings, place, value, force_add=True)
        plain = OmegaConf.to_container(settings, resolve=False)
        with pytest.raises(MedclsError, match=r"references|which medcls does not ship"):
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
        with pytest.raises(MedclsError, match=r"references|which medcls does not ship"):
            build_network(described, trust=False)
    assert not marker.exists()


def test_p60_references_are_refused_even_in_what_is_trusted(run, marker):
    put(run, "loss", "${oc.create:{_target_: os.mkdir}}", marker)
    with pytest.raises(MedclsError, match=r"has references \(\$\{\.\.\.\}\) at loss.*it is not read"):
        read_own(run, trust=True)
    with pytest.raises(MedclsError, match="has references"):
        build_network({"_target_": "${oc.create:1}"}, trust=True)


@pytest.mark.parametrize(
    ("main", "name", "arguments"),
    [
        (train.main, "config.yaml", ("resume=RUN", "trainer.max_epochs=4")),
        (evaluate.main, "config.yaml", ("run=RUN", "views=2")),
        (evaluate.main, "best.ckpt", ("run=RUN",)),
        (train.main, "best.ckpt", ("resume=RUN",)),
    ],
)
def test_p60_a_hostile_run_folder_is_refused_by_the_commands(run, marker, monkeypatch, capsys, main, name, arguments):
    node = {"_target_": "os.mkdir", "path": str(marker)}
    if name == "config.yaml":
        put(run, "data.augmentation", "${oc.create:{_target_: os.mkdir, path: " + str(marker) + "}}", marker)
    else:
        content = torch.load(run / "checkpoints" / name, weights_only=True)
        content["medcls"]["network"] = node
        torch.save(content, run / "checkpoints" / name)
        (run / "report.html").unlink()  # so that a resume scores it
    code, said = ended(main, monkeypatch, capsys, *(part.replace("RUN", str(run)) for part in arguments))
    assert code == 2 and "Traceback" not in said
    assert any(words in said for words in ("has references", "which medcls does not ship", "of another network")), said
    assert not marker.exists()


@pytest.mark.slow
def test_p60_a_pickle_is_no_checkpoint(run, marker, monkeypatch, capsys):
    class Harm:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            import os

            return os.mkdir, (str(marker),)

    for name in ("best.ckpt", "last.ckpt"):
        path = run / "checkpoints" / name
        content = torch.load(path, weights_only=True)
        torch.save(content | {"harm": Harm()}, path)
    for main, argument in ((evaluate.main, "run"), (train.main, "resume"), (train.main, "model.weights")):
        more = ["data.root=x", "positive_class=a"] if argument == "model.weights" else []
        code, said = ended(main, monkeypatch, capsys, f"{argument}={run}", *more)
        assert code == 2 and "Traceback" not in said
    assert not marker.exists()


def test_p60_the_network_that_training_scores_is_built_by_its_own_settings():
    own = OmegaConf.create({"_target_": "medcls.models.mobilenetv3.mobilenetv3_small"})
    with pytest.raises(MedclsError, match="of another network"):
        build_own_network({"_target_": "os.mkdir", "path": "x", "num_classes": 2}, own)


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
    with pytest.raises(MedclsError, match=r"logger\..*leads out of the run folder"):
        refuse_ways_out(loggers)
    refuse_ways_out({"csv": {"name": "logs", "version": "a..b/c"}})


@pytest.mark.slow
def test_p60_links_out_of_a_run_folder_are_not_written_through(run, tmp_path, monkeypatch, capsys):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    (run / "train.log").unlink()
    (run / "train.log").symlink_to(outside)
    (run / "evaluate.log").symlink_to(outside)
    for main, argument in ((train.main, "resume"), (evaluate.main, "run")):
        code, said = ended(main, monkeypatch, capsys, f"{argument}={run}")
        assert code == 2 and f"is a link to {outside}, out of the run folder" in said
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
    with pytest.raises(MedclsError, match=r"images of the run are not in .*nothing here.*data.root=/new/place"):
        read_source(resumed(OmegaConf.create({"resume": str(run), "trust": False}), []), strict=True)
    assert not (tmp_path / "nothing here").exists()


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.mkdir [x]", "- 1", "a: ${", "\xff"])
def test_a_configuration_that_is_none_is_said_in_a_sentence(tmp_path, text):
    (tmp_path / "config.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(MedclsError, match=r"config.yaml (cannot be read as|is not) a configuration"):
        read_own(tmp_path, trust=False)
