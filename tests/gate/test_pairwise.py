"""Each configuration with each of another group, in few runs; every experiment and data set to its report."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from covering import covering, pairs_in, pairs_of
from doors import run_door
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


EXPERIMENTS = names(TOP / "experiments")
# A data set that an experiment uses is trained in it; the others by themselves.
DATA = [name for name in names(CONF / "data") if name not in map(data_of, EXPERIMENTS)]

FACTORS = {
    "what": [*(f"experiments={name}" for name in EXPERIMENTS), *(f"data={name}" for name in DATA)],
    "data/augmentation": names(CONF / "data" / "augmentation"),
    **{group: names(CONF / group) for group in ("loss", "optimizer", "scheduler", "schedule", "logger", "trainer")},
}
# What happens to which images is seen in their preview: the pairs of these two that no row has are run as such.
SEEN = frozenset({"what", "data/augmentation"})
ROWS = covering(FACTORS, apart=[SEEN], seed=1)
# The figures of a report hang on its images alone: they are drawn in the first row of each set.
DRAWN = [row for number, row in enumerate(ROWS) if row["what"] not in {other["what"] for other in ROWS[:number]}]
PREVIEWS = sorted(map(sorted, pairs_of({name: FACTORS[name] for name in SEEN}) - set().union(*map(pairs_in, ROWS))))


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


# Images of noise in the shape of each set; a new file of conf/data needs a line here.
MADE: dict[str, Callable[[Path], list[str]]] = {
    "folder": made_folder,
    "csv": made_table,
    "breast_cancer": made_breast,
    "brain_tumor": made_brain,
    "brain_tumor_mri": made_brain_mri,
    "chest_xray": made_chest,
    "skin_cancer": made_skin,
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
    from medcls.models.mobilenetv3 import mobilenetv3_large, mobilenetv3_small

    base = tmp_path_factory.mktemp("pairwise")
    for name, network in (("mobilenetv3", mobilenetv3_large), ("mobilenetv3_small", mobilenetv3_small)):
        torch.save(network(num_classes=1000).state_dict(), base / f"{name}.pth")
    return base


def settings_of(what: str, place: Path, *, two_classes: bool = False) -> list[str]:
    """The settings that train on a set of noise as on the published one."""
    group, name = what.split("=")
    data = data_of(name) if group == "experiments" else name
    root, typed = place / data, place / f"{data}.txt"
    if not typed.exists():
        typed.write_text("\n".join(MADE[data](root)), encoding="utf-8")
    told = typed.read_text(encoding="utf-8").split()
    as_two = AS_TWO.get(data, []) if two_classes else []
    return [what, f"data.root={root}", *told, *as_two, "data.image_size=32", *SMOKE]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(value.split("=")[-1] for value in row.values()))
def test_a_row_trains_to_its_report(place, figures, tmp_path, row):
    # Whatever a row holds hangs on no network; an experiment is trained as it stands once.
    model = "mobilenetv3_small"
    if row in DRAWN:
        figures()
        model = "mobilenetv3"
    groups = {name: value for name, value in row.items() if name != "what"}
    run_door(
        train.main, *settings_of(row["what"], place, two_classes=row["loss"] == "binary_cross_entropy"),
        *(f"{name}={value}" for name, value in groups.items()), f"model={model}", f"model.weights={place}/{model}.pth",
        f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    run = tmp_path / "run"
    manifest = pd.read_csv(run / "manifest.csv")
    for split in ("val", "test"):
        table = pd.read_csv(run / "predictions" / f"{split}.csv")
        assert table["path"].tolist() == manifest.loc[manifest["split"] == split, "path"].tolist()
    assert (run / "report.html").is_file()
    # The course of the training is drawn from the CSV file of its logger.
    assert (run / "figures" / "training.svg").is_file() == (row["logger"] != "tensorboard")
    written = {"csv": run / "logs" / "version_0" / "metrics.csv", "tensorboard": run / "tensorboard" / "version_0"}
    for logger, file in written.items():
        assert file.exists() or row["logger"] not in (logger, "default")


@pytest.mark.parametrize("pair", PREVIEWS, ids=lambda pair: "-".join(value.split("=")[-1] for _, value in pair))
def test_the_rest_of_sets_and_augmentations_are_previewed(place, tmp_path, pair):
    seen = dict(pair)
    run_door(
        train.main, *settings_of(seen["what"], place), f"data/augmentation={seen['data/augmentation']}", "preview=true",
        f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert (tmp_path / "run" / "figures" / "training_images.png").is_file()


def test_every_pair_of_values_is_run():
    met = set().union(*map(pairs_in, ROWS), {frozenset(map(tuple, pair)) for pair in PREVIEWS})
    assert pairs_of(FACTORS) <= met
    # What no pair shows: a factor of one value.
    assert all({row[name] for row in ROWS} == set(values) for name, values in FACTORS.items())


def test_every_file_of_conf_and_experiments_is_run_somewhere_in_this_gate():
    from test_networks import OFFERED

    run = {
        *(f"conf/{group}/{value}" for group in FACTORS if group != "what" for value in FACTORS[group]),
        *(f"experiments/{name}" for name in EXPERIMENTS),
        *(f"conf/data/{name}" for name in [*DATA, *map(data_of, EXPERIMENTS)]),
        *(f"conf/model/{name}" for name in OFFERED),
        # Where a command begins: test_commands.py runs each.
        *(f"conf/{name}" for name in ("train", "evaluate", "compare", "audit", "cache")),
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
