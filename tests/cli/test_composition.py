"""The command line and the configurations: every file composes, and odd values are quoted or explained."""

import inspect
import subprocess
import sys
from collections.abc import Iterator

import composed_settings
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from medcls.cli import entry_point, resume, shipped
from medcls.cli.experiments import register_experiments


def test_a_template_reaches_the_configuration_as_typed_at_a_shell():
    command = (
        f"{sys.executable} -m medcls.train data=csv data.csv=metadata.csv data.root=images "
        "data.path_template='{image_id}.jpg' data.label_column=dx data.group_column=lesion_id "
        "data.label_map='{malignant: [mel, bcc, akiec], benign: [nv, bkl, df, vasc]}' data.where='{sex: [female]}' "
        "--cfg job --resolve"
    )
    answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    source = OmegaConf.create(answer.stdout).data.source
    assert source.path_template == "{image_id}.jpg"
    assert source.label_map.malignant == ["mel", "bcc", "akiec"]
    assert source.where == {"sex": ["female"]}


def test_sweep_may_be_asked_for_between_two_settings(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", "data.folds=3", "--multirun", "data.fold=0,1,2", "--cfg", "job"])
    taken = []
    monkeypatch.setattr(entry_point.hydra, "main", lambda **_: lambda _: lambda: taken.extend(sys.argv[1:]))
    entry_point.run_command(print, "train")
    read = get_args_parser().parse_args(taken)  # exits where it does not recognise one
    assert (read.multirun, read.overrides) == (True, ["data.folds=3", "data.fold=0,1,2"])


@pytest.mark.parametrize("csv", ["/old/images/metadata.csv", ["/old/images/metadata.csv"]])
def test_a_resumed_run_finds_its_table_where_the_images_have_gone(tmp_path, csv):
    own = {"data": {"root": "/old/images", "csv": csv, "source": {"csv": csv}}}
    own |= {"model": {}, "schedule": {}, "trainer": {}, "seed": 0}
    OmegaConf.save(own, tmp_path / "config.yaml")
    cfg = OmegaConf.create({"resume": str(tmp_path), "data": {"root": "/new", "csv": "/tables/other.csv"}})
    moved = resume.resumed_configuration(cfg, ["data.root=/new"]).data
    assert moved.source.csv == moved.csv == ("/new/metadata.csv" if isinstance(csv, str) else ["/new/metadata.csv"])
    assert resume.resumed_configuration(cfg, ["data.root=/new", "data.csv=x"]).data.source.csv == "/tables/other.csv"


def files(group: str) -> list[str]:
    root = shipped.configurations()
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in (root / group).rglob("*.yaml"))


def composed(*overrides: str) -> DictConfig:
    register_experiments()
    with initialize_config_dir(str(shipped.configurations() / "conf"), version_base="1.3"):
        return compose("train", [*overrides])


def targets(node: object) -> Iterator[dict]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


# What the door adds where it builds, by target: the signature must take it.
GIVEN = {
    "medcls.data.sources.folders.from_folders": {"positive", "progress"},
    "medcls.data.sources.download.fetch": {"target", "progress"},
    "medcls.data.sources.tables.from_csv": {"positive", "progress"},
    "lightning.Trainer": {"callbacks", "logger", "plugins", "default_root_dir"},
    "lightning.pytorch.loggers.CSVLogger": {"save_dir"},
    "lightning.pytorch.loggers.TensorBoardLogger": {"save_dir"},
    "medcls.workflow.tracking.MlflowLogger": {"save_dir"},
}
GIVEN_BY_PREFIX = {
    "medcls.models.mobilenetv3.": {"num_classes"},
    "medcls.models.zoo.torchvision_network": {"num_classes"},
    "medcls.models.zoo.timm_network": {"num_classes"},
    "medcls.learning.losses.": {"class_counts"},
    "medcls.learning.schedulers.": {"optimizer", "steps", "steps_per_epoch"},
    "torch.optim.": {"params"},
}


def check_binds(node: dict) -> None:
    target = node["_target_"]
    given = GIVEN.get(target, set()) | {
        name for prefix, names in GIVEN_BY_PREFIX.items() if target.startswith(prefix) for name in names
    }
    settings = {name for name in node if name not in ("_target_", "_partial_", "_convert_")}
    assert not settings & given, f"{target}: {settings & given} come from the door"
    signature = inspect.signature(get_object(target))
    assert not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()) or not target.startswith("medcls.")
    signature.bind(**dict.fromkeys(settings | given))


CONF = [name for name in files("conf") if name.count("/") == 2]
EXPERIMENTS = files("experiments")


def test_every_configuration_file_was_found():
    groups = {name.split("/")[1] for name in CONF}
    assert groups == {"data", "model", "loss", "optimizer", "scheduler", "schedule", "trainer", "logger", "evaluation"}
    assert len(CONF) >= 30
    assert len(EXPERIMENTS) >= 4


@pytest.mark.parametrize("name", CONF)
def test_every_configuration_composes_and_binds(name):
    _, group, option = name.split("/")
    plain = OmegaConf.to_container(composed(f"{group}={option}"), resolve=True)
    found = list(targets(plain))
    assert len(found) >= 7
    for node in found:
        check_binds(node)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_binds_and_states_its_result(name):
    option = name.split("/")[1]
    cfg = composed(f"experiments={option}")
    for node in targets(OmegaConf.to_container(cfg, resolve=True)):
        check_binds(node)
    text = (shipped.configurations() / f"{name}.yaml").read_text(encoding="utf-8")
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert f"experiments={option}" in header, "the header gives the command"
    assert "core" in header, "the header says on what machine"
    assert "AUROC" in header, "the header says what to expect"
    assert "hydra.mode" not in text


def test_experiments_win_over_the_groups():
    assert composed("experiments=breast_cancer_scratch").data.name == "breast_cancer"
    assert composed("experiments=breast_cancer_scratch", "trainer.max_epochs=3").trainer.max_epochs == 3


def test_help_names_the_command_and_lists_our_groups_and_no_others(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["medcls.train", "--help"])
    with pytest.raises(SystemExit) as end:
        entry_point.run_command(lambda cfg: None, "train")
    assert not end.value.code
    header, *groups = capsys.readouterr().out.split("== Config ==")[0].splitlines()
    assert "python -m medcls.train" in header
    listed = {line.split(":")[0] for line in groups if ":" in line}
    assert listed == {
        "data", "data/augmentation", "evaluation", "experiments", "logger", "loss", "model", "optimizer", "schedule",
        "scheduler", "trainer",
    }  # fmt: skip


def test_settings_that_tests_compose_are_those_that_hydra_composes():
    typed = ["data=csv", "data.root=/x", "~data.name", "+data.extra=1", "model.weights=null", "hydra.run.dir=/out"]
    with initialize_config_dir(str(shipped.configurations() / "conf"), version_base="1.3"):
        expected = compose("train", typed, return_hydra_config=True)
    found = composed_settings.composed("train", *typed)
    for cfg in (expected, found):
        cfg.hydra = {"run": cfg.hydra.run, "task": cfg.hydra.overrides.task}
    assert found == expected
