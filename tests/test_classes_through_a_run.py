"""Class names in whole runs: former names of merged classes, the order of numbers, unknown patients."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from entry_points import FAST, run_main
from omegaconf import OmegaConf
from refusals import noted

from medcls import evaluate, train
from medcls.cli.shipped import configurations
from medcls.cli.training import make_loss
from medcls.data import manifest as manifest_module
from medcls.data.manifest import Manifest, in_order
from medcls.models.weights import read_state


@pytest.mark.slow
def test_s10_former_names_of_merged_classes_make_subgroups_in_the_report(folder, tmp_path):
    root = folder({"bcc": 16, "mel": 16, "nv": 30})
    run = tmp_path / "run"
    run_main(
        train.main, *FAST, f"data.root={root}", "positive_class=malignant", "trainer.max_epochs=1",
        "data.label_map={malignant: [bcc, mel], benign: [nv]}", "subgroups={source_label: null}",
        f"hydra.run.dir={run}",
    )  # fmt: skip
    tested = pd.read_csv(run / "predictions" / "test.csv")
    assert set(tested["source_label"]) == {"bcc", "mel", "nv"}
    assert set(tested.loc[tested["label"] == "malignant", "source_label"]) == {"bcc", "mel"}
    assert "source_label" in (run / "report.md").read_text()
    of_groups = json.loads((run / "metrics.json").read_text())["test"]["subgroups"]["source_label"]
    assert {row["group"] for row in of_groups} == {"bcc", "mel", "nv"}
    # A run from before there was the column goes on.
    manifest = pd.read_csv(run / "manifest.csv", dtype=str, keep_default_na=False)
    manifest.drop(columns="source_label").to_csv(run / "manifest.csv", index=False)
    run_main(train.main, f"resume={run}", "trainer.max_epochs=2")
    assert read_state(run / "checkpoints" / "last.ckpt")[1]["classes"] == ["benign", "malignant"]
    # Another site with the raw names: the run's own map applies, and the names are kept.
    site = tmp_path / "site"
    run_main(evaluate.main, f"run={run}", "data=folder", f"data.root={root}", f"hydra.run.dir={site}")
    external = pd.read_csv(site / "predictions" / "external.csv")
    assert external["source_label"].value_counts().to_dict() == {"nv": 30, "bcc": 16, "mel": 16}


@pytest.mark.slow
def test_classes_that_are_numbers_keep_the_order_that_an_earlier_run_gave_them(picture, tmp_path, monkeypatch):
    names = [str(number) for number in range(11)]
    root = tmp_path / "images"
    for number in range(66):
        picture(root / names[number % 11] / f"{number}.png", number)
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(manifest_module, "in_order", lambda labels: tuple(sorted(set(labels))))  # as it was
        run_main(
            train.main, *FAST, f"data.root={root}", "trainer.max_epochs=1", "evaluate_test=false", "monitor=val/loss",
            "monitor_mode=min", f"hydra.run.dir={run}",
        )  # fmt: skip
    before = read_state(run / "checkpoints" / "last.ckpt")[1]["classes"]
    assert before[2] == "10"
    run_main(train.main, f"resume={run}", "trainer.max_epochs=2", "evaluate_test=true")
    assert read_state(run / "checkpoints" / "last.ckpt")[1]["classes"] == before
    table = pd.read_csv(run / "predictions" / "test.csv", dtype={"label": str})
    assert [name.removeprefix("prob_") for name in table if name.startswith("prob_")] == before
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_s11_the_terminal_shows_whether_patients_are_known(folder, tmp_path, capfd, known):
    root = folder({"a": 20, "b": 20}, pattern="p{number:02d}_1.png")
    pattern = [r"data.group_pattern=(p\d+)"] if known else []
    run_main(
        train.main,
        *FAST,
        f"data.root={root}",
        "positive_class=a",
        "preview=true",
        f"hydra.run.dir={tmp_path}/run",
        *pattern,
    )
    said = capfd.readouterr()
    said = said.out + said.err
    assert ("(groups)" in said) == ("data.group_pattern" in said) == (not known)


def test_class_weights_and_the_order_of_classes_are_logged_by_name(caplog):
    rows = pd.DataFrame({"label": [str(n) for n in range(12) for _ in range(n + 1)], "split": "train"})
    manifest = Manifest(Path(), in_order(rows["label"]), rows)
    loss = configurations() / "conf" / "loss" / "cross_entropy.yaml"
    cfg = OmegaConf.create({"loss": OmegaConf.load(loss)})
    cfg.loss.class_weights = "balanced"
    with caplog.at_level("INFO", logger="medcls"):
        made = make_loss(cfg, manifest)
    n = len(rows)
    assert made.weights == pytest.approx([n / (12 * (k + 1)) for k in range(12)])
    assert noted(caplog.messages, "'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11'")
    assert noted(caplog.messages, f"1 {n / 24:.3g}, 2 {n / 36:.3g}, 3 {n / 48:.3g}", f"10 {n / 132:.3g}")
