"""The command line and the configurations: every file composes, and odd values are quoted or explained."""

import inspect
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from refusals import refused

from medcls.cli import entry_point, overrides, resume, shipped
from medcls.cli.experiments import register_experiments
from medcls.errors import MedclsError
from medcls.runs import stored

ODD = [
    "/images/乳腺癌/数据",
    "/my images/set one",
    "/a=b/c",
    "/a,b",
    "/a[1]/b",
    "/a{1}/b",
    "/a(1)/b",
    "/it's/here",
    "C:\\Users\\me",
    "/100%/#1",
    "/ends/with\\",
    "/two  spaces/here",
    "/$HOME/x,y",
    '/a"b,c',
    "/a\\'b",
]


def read_as(argument: str) -> object:
    """What Hydra makes of an argument that the door has been given."""
    (readable,) = overrides.quote_for_hydra([argument])
    return OverridesParser.create().parse_override(readable).value()


@pytest.mark.parametrize("value", ODD)
def test_a_value_with_odd_characters_works_or_the_exact_form_is_shown(value):
    try:
        overrides.quote_for_hydra([f"data.name={value}"])
    except MedclsError as error:
        # What the message tells to type, taken through a shell's eyes, gives the value back.
        shown = str(error).splitlines()[-1].strip()
        (argument,) = shlex.split(shown)
        assert read_as(argument) == value
    else:
        assert read_as(f"data.name={value}") == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("/images/乳腺癌", "needs_quotes"), ("/a=b", "needs_quotes"), ("/a,b", "several_values"),
        ("/a[1]/b", "needs_quotes"),
    ],
)  # fmt: skip
def test_the_form_is_shown_where_hydra_would_balk(value, kind):
    with refused(kind, f"data.name='{value}'"):
        overrides.quote_for_hydra([f"data.name={value}"])


TEMPLATES = ["{image_id}.jpg", "{folder}/{image_id}.png", "{a:b}", "{image_id}"]
PATTERNS = [r"(person\d+_(?:bacteria|virus)|IM-\d+)", r"IM-\(\d+\)", "1e3", "true", "[0-9]{4}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("data.root", value) for value in ODD]
    + [("data.path_template", value) for value in TEMPLATES]
    + [("data.group_pattern", value) for value in PATTERNS]
    + [("positive_class", "1"), ("resume", "/a=b,c"), ("++data.root", "/a[1]/b")],
)
def test_a_setting_that_is_always_text_is_taken_as_typed(key, value):
    assert read_as(f"{key}={value}") == value


@pytest.mark.parametrize(
    "argument",
    ["data.root=null", "data.root='/a b'", 'data.root="/a,b"', "data.root=${oc.env:HOME}/x", "data.csv=[a.csv,b.csv]"],
)
def test_what_hydra_reads_as_it_was_meant_is_left_to_it(argument):
    assert overrides.quote_for_hydra([argument]) == [argument]


def test_several_values_of_a_text_setting_are_a_sweep_with_m_alone():
    assert overrides.quote_for_hydra(["-m", "data.root=/a,/b"]) == ["-m", "data.root=/a,/b"]
    assert read_as("data.root=/a,/b") == "/a,/b"
    with refused("needs_quotes", "data.path_template='{a}.jpg,{b}.jpg'"):
        overrides.quote_for_hydra(["-m", "data.path_template={a}.jpg,{b}.jpg"])


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


def test_a_sweep_needs_no_help():
    overrides.quote_for_hydra(["-m", "model=mobilenetv3,mobilenetv2", "seed=0,1"])
    with refused("several_values", "model=mobilenetv3,mobilenetv2", " -m"):
        overrides.quote_for_hydra(["model=mobilenetv3,mobilenetv2"])


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


def test_shipped_targets_are_what_the_files_name():
    targets = shipped.shipped_targets()
    assert targets["trainer"] == {"lightning.Trainer"}
    assert "medcls.models.mobilenetv3.mobilenetv3_large" in targets["model.network"]
    with refused("foreign_target", "os.system", "optimizer", "trust=true"):
        stored.check_targets({"optimizer": {"_target_": "os.system"}}, targets, "The configuration")
    stored.check_targets(OmegaConf.to_container(composed(), resolve=False), targets, "The configuration")


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


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("logger=null", ("logger=csv",)),
        ("model=null", ("model=efficientnet_b0, model=efficientnet_lite0, ",)),
        ("data=null", ("data=folder",)),
        ("~logger", ("logger=csv",)),
        ("~data", ("data=folder",)),
        ("trainer=null", ("trainer=default",)),
        ("data/augmentation=null", ("data/augmentation=",)),
        ("model=mobilenetv3,null", ("model=efficientnet_b0",)),
        ("hydra/sweeper=optuna", ("hydra/sweeper=search",)),
    ],
)
def test_removing_a_group_or_a_sweeper_that_is_not_ours_is_refused(argument, names):
    with refused("no_such_choice", f"{argument}:", *names):
        overrides.check_groups(["-m", "data.root=/a", argument, "seed=null"], "train")


def test_a_group_that_is_none_by_default_may_be_null():
    typed = ["experiments=null", "model=mobilenetv2", "~data.name", "resume=null"]
    assert overrides.check_groups(typed, "train") == typed[1:]
    assert overrides.check_groups(["data=null"], "compare") == ["data=null"]  # which has no such group


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -3, 1e-05, 0.1, float("inf"), "", "5", "null", "true", "efficientnet_lite0", "a,b", "[a]",
        r"patient\d+", "${a", "it's", "sensitivity>=0.95", "two\nlines", *ODD, [1, "a b", None], [], {},
        {"malignant": ["mel", "b c"], "other": [], 3: None}, [["a"], {"b": "1"}],
    ],
)  # fmt: skip
def test_a_value_given_in_python_is_read_as_it_is(value):
    assert read_as(overrides.override_of("data.value", value)) == value


def test_numpy_paths_and_tuples_are_given_as_what_they_stand_for():
    given = {"seed": np.int64(3), "lr": np.float32(0.5), "on": np.bool_(True), "root": Path("/a b"), "size": (3, 4)}
    read = {key: read_as(overrides.override_of(key, value)) for key, value in given.items()}
    assert read == {"seed": 3, "lr": 0.5, "on": True, "root": "/a b", "size": [3, 4]}
    assert read_as(overrides.override_of("runs", [Path("/a,b"), Path("c")])) == ["/a,b", "c"]


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", {"a b=": 1}, np.zeros(2), [print]])
def test_a_value_that_cannot_be_typed_is_refused(value):
    with refused("bad_value", "data.value"):
        overrides.override_of("data.value", value)
