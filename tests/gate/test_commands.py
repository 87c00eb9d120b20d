"""Every command of README.md and docs/ runs to its end, with made images in the place of the reader's."""

import asyncio
import importlib
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
import torch
from commands import MEDCLS, blocks, inline, lines_of, parts_of, settings
from entry_points import run_main
from made_sets import SMOKE, class_folders, noise
from starlette.types import ASGIApp
from test_networks import CASES
from test_pairwise import FACTORS, TINY

from medcls import audit, cache, compare, evaluate, explain, export, monitor, predict, probe, serve, train
from medcls.runs.sweep_folder import SweepFolder
from medcls.serving.page import NO_TELEMETRY
from medcls.serving.server import address


def serve_once() -> None:
    """Serve as typed, but instead of waiting for clients ask once."""

    def ask(app: ASGIApp, opened: socket.socket) -> None:
        async def talk() -> None:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=address(opened)) as client:
                assert (await client.get("/health")).status_code == 200
                assert (await client.get("/page/")).status_code == 200

        asyncio.run(talk())

    with pytest.MonkeyPatch.context() as patch:
        for name in ("MEDCLS_MOST_PIXELS", "GRADIO_TEMP_DIR", *NO_TELEMETRY):
            patch.setenv(name, "1")  # and set back at the end
        patch.setattr(importlib.import_module("medcls.serving.server"), "serve", ask)
        serve.main()


MAINS: dict[str, Callable[[], None]] = {
    "audit": audit.main,
    "cache": cache.main,
    "compare": compare.main,
    "evaluate": evaluate.main,
    "monitor": monitor.main,
    "explain": explain.main,
    "predict": predict.main,
    "export": export.main,
    "probe": probe.main,
    "serve": serve_once,
    "train": train.main,
}

# Blocks that are no commands, by their first line, and what they are.
SHOWN = {
    "Best checkpoint, with 95% intervals": "what a training prints",
    "runs/NAME/": "what a run folder holds",
    "study/": "what a reader's own package and configurations are",
}

# What is written to be typed and is not run here, and why.
NOT_RUN = {
    "make train": "makes a virtual environment and installs into it; the training it starts is run",
    "make test": "is what runs this test",
    "python3 -m venv .venv": "makes a virtual environment",
    ".venv/bin/python -m pip install --constraint constraints.txt --editable '.[dev]'": "installs from the network",
    ".venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && "
    ".venv/bin/python -m pytest -q -m 'not slow'": "is `make test` by hand",
    "python -m medcls.train --config-dir conf model=two_layers data=names loss=absolute data.root=images "
    "positive_class=ill hydra.run.dir=runs/own": "is run by tests/test_extending.py, with the files that it names",
    "python -m medcls.audit --config-dir conf data=names data.root=images "
    "audit.checks=[mine.checks.low_resolution]": "is run by tests/test_extending.py too",
    "python -m medcls.evaluate run=runs/own trust=true report.rules=[mine.rules.one_hospital] "
    "report.plots=[mine.plots.sorted_probabilities] "
    "report.metrics=[mine.metrics.JACCARD]": "is run by tests/test_extending.py too",
    "srun python -m medcls.train ...": "needs a cluster; tests/cli/test_slurm.py and tests/faults have its variables",
    "python -m venv mlflow": "makes a virtual environment, for MLflow's page",
    "python -m medcls": "lists the commands; tests/test_api.py runs it",
    "python -m medcls train": "is shown as what is refused",
    "python -m medcls.evaluate": "is named; its forms stand in docs/evaluation.md",
    "python -m medcls.predict": "is named; its forms stand in docs/predict.md",
    "python -m medcls.audit ...": "stands for an audit of whatever images; docs/audit.md has a whole one",
    "python -m medcls.train experiments=pretrain_breast_cancer data.root=/path/to/sets": "is run by "
    "test_experiments.py, on sets made for it",
    "python -m medcls.train trainer=ddp data.root=/my/images positive_class=malignant": "is run by tests/test_ddp.py, "
    "with few images",
    "torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 "
    "-m medcls.train trainer=ddp trainer.devices=4 trainer.num_nodes=2 data.root=/my/images "
    "positive_class=malignant": "needs two machines; tests/test_ddp.py runs torchrun on one",
    "srun --kill-on-bad-exit=1 python -m medcls.train trainer=ddp trainer.devices=4 trainer.num_nodes=2 "
    "data.root=/my/images positive_class=malignant": "needs a cluster",
    "python -m benchmarks.ddp": "a benchmark; tests/test_benchmarks_ddp.py runs it",
    "python -m benchmarks.leakage DATA --root ...": "a benchmark of hours, on images that are not here",
    "python -m medcls.export run=runs/NAME format=bundle": "is run by tests/test_export.py, which reads the bundle",
    "python -m medcls.predict run=model.onnx images=FOLDER": "is run by tests/test_export.py, with an export",
    "python -m medcls.train -m hydra/launcher=submitit_slurm data.root=/my/images positive_class=malignant seed=0,1,2 "
    "hydra.launcher.partition=gpu": "needs a cluster; tests/cli/test_sweeps.py submits jobs to programs in its place",
    "model.weights=default": "fetches published weights; tests/models/test_weights.py reads such files",
    "logger=mlflow logger.mlflow.tracking_uri=http://host:5000": "needs a server; tests/workflow/test_tracking.py logs",
    "compile=true": "needs a C++ compiler, and takes minutes",
}

# What another test of this gate runs, with more of them.
RUN_ELSEWHERE = {
    *(f"model={model}" if name is None else f"model={model} model.name={name}" for model, name in CASES),
    *(f"{group}={value}" for group in ("data/augmentation", "schedule") for value in FACTORS[group]),
    "model=efficientnet_lite0 model.weights=default",
}

# What stands in the reader's place, here: other values of what a command names, and what must stand beside it.
INSTEAD = {
    # Few images, and a network of few weights.
    "medcls.explain run=RUN images=/my/images": "medcls.explain run=runs/B images=few",
    "medcls.export run=runs/NAME": "medcls.export run=runs/B",
    ".venv/bin/python": "python",
    "/my/images": "my/images",
    "/other/site": "other/site",
    "/my/BUSI": "my/BUSI",
    "/a/file.pth": "a/file.pth",
    "cross_validations=runs/sweep-...": "cross_validations=runs/folds_of_two",
    "runs/sweep-...": "runs/folds",
    "run=RUN": "run=runs/NAME",
    "images=scan.png": "images=my/images/benign/p0_0.png",
    "scans/**/*.png": "my/images/**/*.png",
    # Of the same classes.
    "run=[runs/A,runs/B]": "run=[runs/NAME,runs/A]",
    # Two tiny networks, one seed and two folds are a sweep too.
    "model=mobilenetv3,mobilenetv2": f"model=timm model.name={TINY},test_resnet",
    "seed=0,1,2": "seed=0",
    "data.folds=5 data.fold=0,1,2,3,4": "data.folds=2 data.fold=0,1",
    # Whatever is trained by the network of the smoke settings needs weights of it.
    "model.weights=runs/NAME": "model.weights=runs/B",
    # A teacher has the classes of its student, and the same test images.
    "teacher=runs/NAME": "teacher=runs/TEACHER",
    # Goes on with a run, and writes into it.
    "resume=runs/NAME": "resume=runs/STOPPED trainer.max_epochs=2",
}
BESIDE = {
    "schedule=head_only data.views=4": ["model.weights=runs/B"],
    "'subgroups={sex: null, age: [40, 60]}'": [
        "data=csv", "data.csv=people.csv", "data.root=images", "data.path_template={image_id}.jpg",
    ],
    "'ordered=[mild, moderate, severe]'": ["data.root=graded", "~positive_class"],
}  # fmt: skip
# How results are told: of a training, and of any evaluation. An evaluation is the shorter of the two.
TOLD = ("operating_point=", "calibrate=", "coverage=", "aggregate=", "prevalence=", "precision_of_", "report.")

# Sweeps that a later command goes on with: where they lie here, how the command that makes them begins, and its runs.
SWEEPS = {
    "runs/networks": ("python -m medcls.train -m model=mobilenetv3,mobilenetv2 data.root", 2),
    "runs/folds": ("python -m medcls.train -m data.folds=5", 2),
    "runs/folds_of_two": ("python -m medcls.train -m model=mobilenetv3,mobilenetv2 data.folds=5", 4),
}


def in_its_place(text: str) -> str:
    for theirs, ours in INSTEAD.items():
        text = text.replace(theirs, ours)
    return text


IN_BLOCKS = [(page, line) for page, block in blocks() if block.splitlines()[0] not in SHOWN for line in lines_of(block)]
TYPED = list(dict.fromkeys(text for _, text in (*IN_BLOCKS, *inline())))
SET = list(dict.fromkeys(text for _, text in settings()))
# Each once, by whatever path and under whatever name of its run it is typed.
RUN = []
for text in TYPED:
    if text not in NOT_RUN and in_its_place(text) not in map(in_its_place, RUN):
        RUN.append(text)
# README's; others go on with what it made.
FIRST = RUN[0]
RUN_SET = [text for text in SET if text not in NOT_RUN and text not in RUN_ELSEWHERE]


def together(texts: list[str]) -> list[list[str]]:
    """Settings of different names in one run, the first value of each, then the second of each, and so on."""
    by_name: dict[str, list[str]] = {}
    for text in texts:
        by_name.setdefault(text.strip("'").split("=")[0], []).append(text)
    return [
        [values[number] for values in by_name.values() if number < len(values)]
        for number in range(max(map(len, by_name.values())))
    ]


OF_EVALUATIONS = [text for text in RUN_SET if text.lstrip("'").startswith(TOLD)]
# What a teacher has learned from depends on the splits, which other settings change.
ALONE = [text for text in RUN_SET if text in BESIDE or text.startswith(("-m", "resume=", "experiments=", "teacher="))]
OF_TRAININGS = [text for text in RUN_SET if text not in OF_EVALUATIONS and text not in ALONE]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader sits: images, tables and runs under the names that the pages use."""
    from medcls.data.sources.phantoms import ensure_phantoms
    from medcls.models.zoo import timm_network

    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        # One patient a pair of images.
        for number in range(32):
            noise(
                Path("my/images", ("benign", "malignant")[number % 2], f"p{number // 4}_{number}.png"),
                number,
                80 + 80 * (number % 2),
            )
        class_folders(Path("other/site"), {"benign": 6, "malignant": 6, "normal": 5}, seed=2)
        class_folders(Path("my/BUSI"), {"benign": 10, "malignant": 10, "normal": 8}, "{number}.png", seed=3)
        class_folders(Path("few"), {"benign": 2, "malignant": 2}, seed=5)
        class_folders(Path("graded"), {"mild": 10, "moderate": 10, "severe": 10}, seed=4)
        ensure_phantoms(Path("data/breast_cancer"), images=60)
        tables(Path("images"))
        Path("a").mkdir()
        torch.save(timm_network(TINY, 1000).state_dict(), "a/file.pth")
        # README's first command; and the same run twice, stopped and not.
        run_main(train.main, *smoke("train", parts_of(FIRST)[1]), "hydra.run.dir=runs/NAME")
        for name in ("A", "STOPPED", "sweep-20260101-120000/0"):
            shutil.copytree("runs/NAME", f"runs/{name}")
        another = ["data=breast_cancer", "optimizer=sgd"]
        run_main(train.main, *smoke("train", another), "hydra.run.dir=runs/B")
        shutil.copytree("runs/B", "runs/sweep-20260101-120000/1")
        own = ["data.root=my/images", "positive_class=malignant", "evaluate_test=false"]
        run_main(train.main, *smoke("train", own), "hydra.run.dir=runs/TEACHER")
        theirs = pd.read_csv("runs/B/predictions/test.csv")[["path", "label", "prob_malignant", "prob_other"]]
        theirs.to_csv("theirs.csv", index=False)
        Path("list.csv").write_text("path\nmy/images/benign/p0_0.png\nmy/images/malignant/p0_1.png\n")
        weeks(Path("weeks"), Path("other/site"))
    return home


def tables(folder: Path) -> None:
    """A table of lesions, and one of people, of the same images."""
    kinds = ("mel", "nv", "bcc", "bkl", "akiec", "df", "mel", "vasc")
    rows = []
    for number in range(40):
        kind = kinds[number % 8]
        noise(folder / f"ISIC_{number}.jpg", 500 + number, 160 if kind in ("mel", "bcc", "akiec") else 90)
        rows.append((f"ISIC_{number}", kind, f"L{number // 2}", ("malignant", "benign")[number % 2], 30 + number))
    table = pd.DataFrame(rows, columns=["image_id", "dx", "lesion_id", "label", "age"])
    table[["image_id", "dx", "lesion_id"]].to_csv("metadata.csv", index=False)
    table["sex"] = np.where(table["age"] % 3 == 0, "female", "male")
    table[["image_id", "label", "age", "sex"]].to_csv("people.csv", index=False)


def weeks(folder: Path, images: Path) -> None:
    """New predictions of the run, a table a week, and the labels of some."""
    val = pd.read_csv("runs/NAME/predictions/val.csv")
    paths = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    folder.mkdir()
    for number in range(2):
        week = val.head(len(paths) // 2).drop(columns="label")
        week["path"] = paths[number::2][: len(week)]
        week.assign(date=f"2026-11-{9 + 7 * number:02d}").to_csv(folder / f"week{number}.csv", index=False)
    pd.DataFrame({"path": paths, "label": val["label"].iloc[0]}).to_csv("labels.csv", index=False)


def smoke(module: str, arguments: list[str]) -> list[str]:
    """The arguments, and what makes them quick where they do not say it themselves."""
    quick = {
        "train": [*SMOKE, "data.image_size=32", "model=timm"],
        "evaluate": ["resamples=100"],
        "compare": ["resamples=100"],
        "monitor": ["resamples=100"],
        "serve": ["port=0"],
        "probe": ["resamples=100", "repeats=1", "data.image_size=32", "data.workers=0", "model=mobilenetv3_small"],
    }.get(module, [])
    if any(argument.startswith("resume=") for argument in arguments):
        quick = []  # a run goes on with its own settings
    if any("search" in argument for argument in arguments if argument.startswith(("experiments=", "hydra/sweeper="))):
        quick.append("hydra.sweeper.n_trials=2")
    given = {argument.split("=")[0] for argument in arguments}
    if "models" in given:
        given.add("model")
    quick = [one for one in quick if one.split("=")[0] not in given]
    return [*arguments, *quick, *([f"model.name={TINY}"] if "model=timm" in quick else [])]


def run_typed(text: str, out: Path) -> Path:
    """Run a command, and give the folder that it made or wrote into."""
    module, arguments = parts_of(in_its_place(text))
    sweep = "-m" in arguments
    where = f"hydra.sweep.dir={out}" if sweep else f"hydra.run.dir={out}"
    told = [] if "--help" in arguments or any(one.startswith("resume=") for one in arguments) else [where]
    run_main(MAINS[module], *smoke(module, arguments), *told)
    return out


@pytest.mark.parametrize(
    "text",
    # Each process of a launcher imports torch.
    [pytest.param(text, marks=pytest.mark.slow) if "hydra/launcher=" in text else text for text in RUN],
)
def test_a_command_runs(home, tmp_path, monkeypatch, capsys, text):
    monkeypatch.chdir(home)
    if text == FIRST:
        assert Path("runs/NAME/report.html").is_file()
        return None
    for place in SWEEPS:
        if text.startswith(SWEEPS[place][0]):
            return swept(place)
        if in_its_place(text).endswith(place):
            swept(place)
    out = run_typed(text, tmp_path / "out")
    module, arguments = parts_of(text)
    if "--help" in arguments:
        assert "data/augmentation" in capsys.readouterr().out
    elif "-m" in arguments:
        check_sweep(out, 2)
        assert {job.state for job in SweepFolder(out).jobs()} == {"done"}
    elif module == "compare":
        assert (out / "comparison.md").is_file()
    elif module == "monitor":
        assert (out / "monitor.html").is_file()
    elif module == "audit":
        assert (out / "audit.html").is_file()
    elif module == "explain":
        assert list(out.glob("heat_maps/**/*.png")) and (out / "heat_maps.csv").is_file()
    elif module == "export":
        assert (out / "export.json").is_file()
    elif module == "serve":
        assert "http://127.0.0.1:" in capsys.readouterr().out
    elif module == "predict":
        assert len(list(out.glob("predictions.*"))) == 1 or any(one.startswith("output=") for one in arguments)
    elif "hydra.sweeper.n_trials=2" in smoke(module, arguments):
        assert (out / "search.html").is_file()
    elif module != "cache":
        own = home / "runs" / "NAME" / "report.html"
        assert (out / "report.html").is_file() or own.stat().st_mtime > (home / "theirs.csv").stat().st_mtime
    return None


@pytest.mark.parametrize("texts", together(OF_EVALUATIONS), ids=" ".join)
def test_settings_of_the_tables_run_in_an_evaluation(home, tmp_path, monkeypatch, texts):
    monkeypatch.chdir(home)
    out = run_typed(f"python -m medcls.evaluate run=runs/B {' '.join(texts)}", tmp_path / "out")
    assert (out / "report.html").is_file()


@pytest.mark.parametrize("texts", [*together(OF_TRAININGS), *([text] for text in ALONE)], ids=" ".join)
def test_settings_of_the_tables_run_in_a_training(home, tmp_path, monkeypatch, texts):
    monkeypatch.chdir(home)
    text = " ".join(texts)
    if text.startswith("-m data.folds=5"):
        return swept("runs/folds")
    beside = BESIDE.get(text, [])
    base = {"data.root": "data.root=/my/images", "positive_class": "positive_class=malignant"}
    for name in [*base]:
        if text.startswith(("resume=", "experiments=")) or any(name == one.lstrip("~").split("=")[0] for one in beside):
            del base[name]
    rest = " ".join(f"'{one}'" for one in beside if not one.startswith("~"))
    out = run_typed(f"python -m medcls.train {' '.join(base.values())} {text} {rest}", tmp_path / "out")
    if text.startswith("-m"):
        check_sweep(out, 2)
    else:
        run = home / "runs" / "STOPPED" if text.startswith("resume=") else out
        assert (run / "report.html").is_file()
    return None


def swept(place: str) -> None:
    """Make a sweep that the pages begin, if it is not there yet, and look at it."""
    begins, runs = SWEEPS[place]
    if not Path(place).exists():
        typed = next(text for text in TYPED if text.startswith(begins))
        run_typed(f"{typed} data.root=/my/images positive_class=malignant", Path(place))
    check_sweep(Path(place), runs)


def check_sweep(sweep: Path, number: int) -> None:
    """Each run of a sweep came to its report."""
    runs = [path.parent for path in sweep.glob("*/config.yaml")]
    assert len(runs) == number
    assert all((run / "report.html").is_file() for run in runs)


def test_whatever_is_written_to_be_typed_is_run_or_says_why_not():
    unknown = [text for text in TYPED if text not in NOT_RUN and not MEDCLS.match(text)]
    assert not unknown, "no command of medcls: say in NOT_RUN why it is not run, or in SHOWN what the block is"
    assert all(parts_of(text)[0] in MAINS for text in RUN)
    assert all("=" in text for text in RUN_SET)
    assert sorted([*OF_EVALUATIONS, *OF_TRAININGS, *ALONE]) == sorted(RUN_SET)
    assert len(RUN) > 12 and len(RUN_SET) > 20
    # Nothing stands in these tables that is not on a page.
    assert set(NOT_RUN) <= {*TYPED, *SET}
    assert set(SHOWN) <= {block.splitlines()[0] for _, block in blocks()}
    assert set(BESIDE) <= set(SET)
    everything = "\n".join([*TYPED, *SET])
    assert all(place in everything for place in INSTEAD)
    assert all(any(text.startswith(begins) for text in TYPED) for begins, _ in SWEEPS.values())
