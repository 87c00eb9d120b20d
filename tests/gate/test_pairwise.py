"""Each configuration with each of another group, in few runs; every experiment and data set to its report."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from covering import covering, each_value, pairs_in, pairs_of, seldom
from entry_points import run_main
from made_sets import SMOKE, class_folders, noise

from medcls import train

TOP = Path(__file__).parents[2]
CONF = TOP / "conf"


def names(folder: Path) -> list[str]:
    found = sorted(path.stem for path in folder.glob("*.yaml"))
    assert found
    return found


def data_of(experiment: str) -> str:
    """The data set of an experiment."""
    defaults = yaml.safe_load((TOP / "experiments" / f"{experiment}.yaml").read_text(encoding="utf-8"))["defaults"]
    return next(entry["override /data"] for entry in defaults if "override /data" in entry)


# Searches train several times: test_experiments.py runs them.
SEARCHES = [name for name in names(TOP / "experiments") if name.startswith("search_")]
EXPERIMENTS = [name for name in names(TOP / "experiments") if name not in SEARCHES]
# One of a data set is enough to cross with the other groups; the others run in test_experiments.py.
CROSSED = [name for name in EXPERIMENTS if name.endswith("_scratch")]
# A data set that such an experiment uses is trained in it; the others by themselves.
DATA = [name for name in names(CONF / "data") if name not in map(data_of, CROSSED)]

FACTORS = {
    "experiments": CROSSED,
    "data/augmentation": names(CONF / "data" / "augmentation"),
    **{group: names(CONF / group) for group in ("loss", "optimizer", "scheduler", "schedule", "logger", "trainer")},
}
# Two processes load their libraries each.
CROSSES = seldom(covering(FACTORS, seed=65), "trainer", "ddp", instead="default")
# Each value of each group in few rows; the other rows, in which every value meets every other, are slow tests.
FEW = [*each_value(CROSSES), *({"data": name} for name in DATA)]
ROWS = [*FEW, *(row for row in CROSSES if row not in FEW)]


def first_of(rows: list[dict[str, str]], named: Callable[[dict[str, str]], str | None]) -> list[dict[str, str]]:
    """The first row of each name."""
    found = [named(row) for row in rows]
    return [
        row for number, row in enumerate(rows) if found[number] is not None and found.index(found[number]) == number
    ]


# An EfficientNet of a tenth of a million weights in few tensors, which timm has for tests.
TINY = "test_efficientnet"
# An experiment has its own network once.
WITH_ITS_NETWORK = first_of(ROWS, lambda row: row.get("experiments"))
# The figures of a report hang on how many classes there are: two or more.
SEVERAL = {"brain_tumor_mri", "joined"}


def made_folder(root: Path) -> list[str]:
    class_folders(root, {"well": 12, "ill": 12})
    return ["positive_class=ill"]


def made_table(root: Path) -> list[str]:
    lines = ["file,diagnosis,patient"]
    for number in range(24):
        noise(root / f"{number}.png", number, 80 + 80 * (number % 2))
        lines.append(f"{number},{('well', 'ill')[number % 2]},{number // 2 if number < 4 else 100 + number}")
    (root / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    return [
        f"data.csv={root}/table.csv", "data.path_template={file}.png", "data.label_column=diagnosis",
        "data.group_column=patient", "positive_class=ill",
    ]  # fmt: skip


def made_breast(root: Path) -> list[str]:
    class_folders(root, {"benign": 10, "malignant": 10, "normal": 6}, "{number}.png")
    return []


def made_brain(root: Path) -> list[str]:
    class_folders(root, {"no": 12, "yes": 12}, "Y{number}.jpg")
    return []


def made_brain_mri(root: Path) -> list[str]:
    kinds = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
    counts = {f"{split}/{kind}": count for split, count in (("Training", 7), ("Testing", 3)) for kind in kinds}
    class_folders(root, counts, "image({number}).jpg")
    return []


def made_chest(root: Path) -> list[str]:
    for split, count in (("train", 10), ("val", 2), ("test", 4)):
        for number in range(count):
            key = {"train": 100, "val": 200, "test": 300}[split] + number
            noise(root / split / "NORMAL" / f"IM-{key:04d}-0001.jpeg", key, 90)
            noise(root / split / "PNEUMONIA" / f"person{key}_bacteria_1.jpeg", 1000 + key, 150)
    return []


def made_skin(root: Path) -> list[str]:
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for number in range(35):
        kind = ("mel", "bcc", "akiec", "nv", "bkl", "df", "vasc")[number % 7]
        noise(root / "HAM10000_images_part_1" / f"ISIC_{number:07d}.jpg", number, 150 if number % 7 < 3 else 90)
        lines.append(f"HAM_{number:07d},ISIC_{number:07d},{kind},histo,{40 + number},male,back")
    (root / "HAM10000_metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    return []


def made_sets(root: Path) -> list[str]:
    kinds = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
    class_folders(root / "brain_tumor_mri", {f"Training/{kind}": 7 for kind in kinds}, seed=1)
    class_folders(root / "breast_cancer", {"benign": 7, "malignant": 7, "normal": 7}, seed=2)
    class_folders(root / "brain_tumor", {"no": 4, "yes": 4}, seed=3)
    made_chest(root / "chest_xray")
    made_skin(root / "skin_cancer")
    return ["data.sets={brain_tumor_mri:{},breast_cancer:{}}", "data.test_fraction=0.2", "data.val_fraction=0.2"]


# Images of noise in the shape of each set; a new file of conf/data needs a line here.
MADE: dict[str, Callable[[Path], list[str]]] = {
    "folder": made_folder,
    "csv": made_table,
    "breast_cancer": made_breast,
    "brain_tumor": made_brain,
    "brain_tumor_mri": made_brain_mri,
    "chest_xray": made_chest,
    "skin_cancer": made_skin,
    "joined": made_sets,
}

# One logit is for two classes.
AS_TWO = {
    "brain_tumor_mri": [
        "data.label_map={tumor: [glioma_tumor, meningioma_tumor, pituitary_tumor], none: [no_tumor]}",
        "positive_class=tumor",
    ]
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sets lie, and weights as of an earlier training: what a schedule freezes must have been loaded."""
    from medcls.models.mobilenetv3 import mobilenetv3_large
    from medcls.models.zoo import timm_network

    base = tmp_path_factory.mktemp("pairwise")
    for name, network in (("mobilenetv3", mobilenetv3_large(1000)), (TINY, timm_network(TINY, 1000))):
        torch.save(network.state_dict(), base / f"{name}.pth")
    return base


def settings_of(row: Mapping[str, str], place: Path) -> list[str]:
    """The settings that train a row, on a set of noise as on the published one."""
    data = data_of(row["experiments"]) if "experiments" in row else row["data"]
    root, typed = place / data, place / f"{data}.txt"
    if not typed.exists():
        typed.write_text("\n".join(MADE[data](root)), encoding="utf-8")
    given = typed.read_text(encoding="utf-8").split()
    as_two = AS_TWO.get(data, []) if row.get("loss") == "binary_cross_entropy" else []
    return [*(f"{group}={value}" for group, value in row.items()), f"data.root={root}", *given, *as_two, *SMOKE]


def classes_of(row: Mapping[str, str]) -> str:
    """How many classes a row's run tells apart."""
    data = data_of(row["experiments"]) if "experiments" in row else row["data"]
    return "several" if data in SEVERAL and row.get("loss") != "binary_cross_entropy" else "two"


DRAWN = first_of(ROWS, classes_of)
cases = [
    pytest.param(
        row,
        marks=() if row in FEW and row.get("trainer") != "ddp" else pytest.mark.slow,
        id="-".join(row.values()),
    )
    for row in ROWS
]


@pytest.mark.parametrize("row", cases)
def test_a_row_trains_to_its_report(place, figures, tmp_path, row):
    if row in DRAWN:
        figures()
    # Nothing else in a row depends on the network.
    network = ["model=mobilenetv3"] if row in WITH_ITS_NETWORK else ["model=timm", f"model.name={TINY}"]
    weights = place / f"{network[-1].split('=')[1]}.pth"
    run = tmp_path / "run"
    run_main(
        train.main, *settings_of(row, place), "data.image_size=32", *network, f"model.weights={weights}",
        f"hydra.run.dir={run}",
    )  # fmt: skip
    manifest = pd.read_csv(run / "manifest.csv")
    for split in ("val", "test"):
        table = pd.read_csv(run / "predictions" / f"{split}.csv")
        assert table["path"].tolist() == manifest.loc[manifest["split"] == split, "path"].tolist()
    assert (run / "report.html").is_file()
    # The course of the training is drawn from the CSV file of its logger.
    logger = row.get("logger", "default")
    assert (run / "figures" / "training.svg").is_file() == (logger != "tensorboard")
    written = {"csv": run / "logs" / "version_0" / "metrics.csv", "tensorboard": run / "tensorboard" / "version_0"}
    for name, file in written.items():
        assert file.exists() or logger not in (name, "default")
    assert (run / "mlflow.json").exists() == (tmp_path / "mlflow.db").exists() == (logger == "mlflow")


def test_every_pair_of_values_is_run_and_every_value_in_the_fast_tests():
    assert pairs_of(FACTORS) <= set().union(*map(pairs_in, ROWS))
    assert all({row[name] for row in FEW if name in row} == set(values) for name, values in FACTORS.items())
    assert {*map(classes_of, FEW)} == {*map(classes_of, ROWS)}
    assert len(FEW) < len(ROWS) / 2


def test_every_file_of_conf_and_experiments_is_run_somewhere_in_this_gate():
    from test_networks import OFFERED

    run = {
        *(f"conf/{group}/{value}" for group in FACTORS if group != "experiments" for value in FACTORS[group]),
        *(f"experiments/{name}" for name in EXPERIMENTS),
        # Searches, by their sweeper: test_experiments.py runs them.
        *(f"experiments/{name}" for name in SEARCHES),
        "conf/hydra/sweeper/search",
        *(f"conf/data/{name}" for name in [*DATA, *map(data_of, CROSSED)]),
        *(f"conf/model/{name}" for name in OFFERED),
        # Where a command begins: test_commands.py runs each.
        *(
            f"conf/{name}"
            for name in (
                "train", "evaluate", "predict", "compare", "audit", "cache", "probe", "explain", "export", "monitor",
            )
        ),
        "conf/serve",
        # Launchers of sweeps: tests/cli/test_sweeps.py runs jobs by each.
        *(f"conf/hydra/launcher/{name}" for name in ("joblib", "submitit_local", "submitit_slurm")),
        # What a training judges with, and an evaluation of a run.
        "conf/evaluation/default", "conf/evaluation/stored",
    }  # fmt: skip
    there = {
        path.relative_to(TOP).with_suffix("").as_posix()
        for folder in ("conf", "experiments")
        for path in (TOP / folder).rglob("*.yaml")
    }
    assert len(there) > 40
    assert there == run
