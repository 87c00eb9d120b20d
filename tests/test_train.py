"""Whole runs of the train command on small images: the run folder and its numbers."""

import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from entry_points import FAST, run_main
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from refusals import logged, noted, refused, refused_command, rules

from medcls import evaluate, train
from medcls.cli import training
from medcls.data.reading.images import read, resize
from medcls.evaluation.predictions import FITTED_TWICE, TOOK_PART, read_csv
from medcls.inference.load import load, weights_hash
from medcls.learning.classifier import Classifier
from medcls.models.weights import read_state
from medcls.statistics.metrics import classification_metrics


def test_the_run_folder_holds_what_the_design_names(finished):
    names = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    expected = {
        "config.yaml", "manifest.csv", "weights.json", "environment.json", "metrics.json", "model.txt", "train.log",
        "splits.csv", "audit.json", "policies.json", "report.html", "report.md", "seen_images.npz",
        "checkpoints/best.ckpt", "checkpoints/last.ckpt", "predictions/val.csv", "predictions/test.csv",
        *(
            f"figures/{figure}.{ending}"
            for figure in [
                "training_images", "data", "training", "confusion_val", "confusion_test", "roc_val", "roc_test",
                "precision_recall_test", "reliability_test", "decision_test", "rejection_test", "scores_test",
            ]
            for ending in ("png", "svg")
        ),
        "logs/version_0/metrics.csv",
    }  # fmt: skip
    assert expected <= names
    assert {name for name in names - expected if not name.startswith(("tensorboard/", "logs/"))} == set()


def test_p34_p35_checkpoints_have_two_names_and_load_as_plain_data(finished):
    for name in ("best.ckpt", "last.ckpt"):
        checkpoint = torch.load(finished / "checkpoints" / name, weights_only=True)
        described = checkpoint["medcls"]
        assert described["classes"] == ["得病", "正常"]
        assert described["positive"] == "得病"
        assert described["preprocessing"]["size"] == [32, 32]
        assert described["network"]["_target_"].startswith("medcls.")
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_p32_p33_the_best_checkpoint_is_evaluated_and_its_hash_recorded(finished):
    written = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))
    best = weights_hash(read_state(finished / "checkpoints" / "best.ckpt")[0])
    assert written["checkpoint"] == best
    for split in ("val", "test"):
        assert set(pd.read_csv(finished / "predictions" / f"{split}.csv")["checkpoint"]) == {best}
    history = pd.concat(pd.read_csv(path) for path in finished.glob("logs/*/metrics.csv"))
    scores = history.dropna(subset="val/auroc").set_index("epoch")["val/auroc"]
    assert written["val"]["values"]["auroc"] == pytest.approx(scores.max(), abs=1e-6)
    assert torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == scores.idxmax()


def test_p47_metrics_follow_from_the_predictions_and_the_stored_policies_alone(finished):
    written = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))
    point = json.loads((finished / "policies.json").read_text(encoding="utf-8"))["operating_point"]
    for split in ("val", "test"):
        table = read_csv(finished / "predictions" / f"{split}.csv", "得病")
        again = classification_metrics(
            table.labels(), table.probabilities(), table.classes, "得病", threshold=point["threshold"]
        )
        # JSON has no NaN: an undefined figure is null there, and its reason stands beside it.
        undefined = {name for name, value in written[split]["values"].items() if value is None}
        assert undefined <= set(written[split]["reasons"])
        expected = {name: float("nan") if value is None else value for name, value in written[split]["values"].items()}
        assert again.values == pytest.approx(expected, nan_ok=True)
        manifest = pd.read_csv(finished / "manifest.csv", dtype=str, keep_default_na=False)
        assert table.rows["path"].tolist() == manifest.loc[manifest["split"] == split, "path"].tolist()
        assert table.rows["label"].tolist() == [path.split("/")[0] for path in table.rows["path"]]


def test_p44_policies_are_fitted_on_val_and_travel_in_the_checkpoint(finished):
    written = json.loads((finished / "policies.json").read_text(encoding="utf-8"))
    carried = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)["medcls"]["policies"]
    assert written == carried
    for part in ("calibration", "operating_point", "conformal"):
        assert written[part]["split"] == "val"
        assert any(FITTED_TWICE["val"] in warning for warning in written[part]["warnings"])
    checkpoint = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))["checkpoint"]
    assert {written[part]["checkpoint"] for part in ("calibration", "operating_point", "conformal")} == {checkpoint}


@pytest.mark.slow
def test_the_calibration_split_selects_nothing(folder, tmp_path):
    images = folder({"ill": 40, "well": 40})
    run_main(
        train.main, *FAST, f"data.root={images}", "positive_class=ill", "trainer.max_epochs=1",
        "data.calibration_fraction=0.2", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    written = json.loads((tmp_path / "run" / "policies.json").read_text(encoding="utf-8"))
    assert {written[part]["split"] for part in ("calibration", "operating_point", "conformal")} == {"calibration"}
    warnings = written["operating_point"]["warnings"]
    assert not any(twice in warning for warning in warnings for twice in FITTED_TWICE.values())


def test_p09_a_metric_on_the_selection_split_is_marked(finished):
    written = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))
    assert TOOK_PART["val"] in written["val"]["caption"]
    assert not any(part in written["test"]["caption"] for part in TOOK_PART.values())


def test_p36_the_first_learning_rate_is_logged(finished):
    lines = (finished / "train.log").read_text(encoding="utf-8").splitlines()
    history = pd.concat(pd.read_csv(path) for path in finished.glob("logs/*/metrics.csv"))
    column = next(name for name in history.columns if name.startswith("lr"))
    first = history.dropna(subset=column).iloc[0][column]
    assert noted([line for line in lines if "learning rate:" in line], f"{first:.3g}")


def test_p61_the_configuration_is_resolved_and_has_the_images_path(finished):
    cfg = OmegaConf.load(finished / "config.yaml")
    assert OmegaConf.to_yaml(cfg) == OmegaConf.to_yaml(cfg, resolve=True)
    assert "${" not in (finished / "config.yaml").read_text(encoding="utf-8")


def test_the_log_begins_with_the_hardware(finished):
    lines = (finished / "train.log").read_text(encoding="utf-8").splitlines()
    assert "device:" in lines[0]
    assert any("weights:" in line and "model.weights=" in line for line in lines)


@pytest.mark.slow
def test_weights_of_a_finished_run_start_another(finished, tmp_path):
    root = OmegaConf.load(finished / "config.yaml").data.root
    run_main(
        train.main, *FAST, f"data.root={root}", "positive_class='得病'", "trainer.max_epochs=1", "evaluate_test=false",
        f"model.weights={finished}", "schedule=head_only", f"hydra.run.dir={tmp_path}/second",
    )  # fmt: skip
    account = json.loads((tmp_path / "second" / "weights.json").read_text(encoding="utf-8"))
    assert account["loaded"] == account["tensors"]
    assert not (tmp_path / "second" / "predictions" / "test.csv").exists()
    # Only the head has moved.
    before = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    after = torch.load(tmp_path / "second" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    moved = {name for name in before if name.startswith("network.") and not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("network.classifier.") for name in moved)


def test_a_second_run_into_the_same_folder_is_refused(finished):
    refused_command("folder_taken", (f"resume={finished}",), train.main, "data.root=x", f"hydra.run.dir={finished}")
    assert (finished / "checkpoints" / "best.ckpt").exists()


@pytest.mark.slow
def test_preview_plots_the_data_and_trains_nothing(folder, tmp_path):
    root = folder({"a": 10, "b": 10})
    run_main(
        train.main, *FAST, f"data.root={root}", "positive_class=a", "preview=true", f"hydra.run.dir={tmp_path}/preview"
    )
    names = {path.name for path in (tmp_path / "preview").rglob("*") if path.is_file()}
    assert {"training_images.png", "data.png"} <= names
    assert not any(name.endswith(".ckpt") for name in names)


@pytest.mark.slow
def test_a_sweep_leaves_test_alone_and_returns_the_monitored_metric(folder, tmp_path, monkeypatch):
    root = folder({"a": 12, "b": 12})
    returned = []
    real = train.train
    monkeypatch.setattr(train, "train", lambda *args, **kwargs: returned.append(real(*args, **kwargs)) or returned[-1])
    run_main(
        train.main, "-m", *FAST, f"data.root={root}", "positive_class=a", "trainer.max_epochs=1", "seed=0,1",
        f"hydra.sweep.dir={tmp_path}/sweep",
    )  # fmt: skip
    runs = sorted(path.parent for path in (tmp_path / "sweep").glob("*/metrics.json"))
    assert len(runs) == 2
    # Resuming a run of a sweep does not open test either.
    run_main(train.main, f"resume={runs[0]}")
    returned.pop()
    for run, value in zip(runs, returned, strict=True):
        assert not (run / "predictions" / "test.csv").exists()
        written = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        assert written["val"]["values"]["auroc"] == pytest.approx(value, abs=1e-6)


@pytest.mark.slow
def test_three_classes_need_no_positive_class(folder, tmp_path):
    root = folder({"train/a": 9, "train/b": 9, "train/c": 9, "test/a": 3, "test/b": 3, "test/c": 3})
    run_main(
        train.main, *FAST, f"data.root={root}", "trainer.max_epochs=1", "loss=focal", f"hydra.run.dir={tmp_path}/run"
    )
    written = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert set(written["test"]["per_class"]) == {"a", "b", "c"}
    assert np.array(written["test"]["confusion"]).sum(axis=1).tolist() == [3, 3, 3]


@pytest.mark.slow
def test_one_logit_gives_two_columns(folder, tmp_path):
    root = folder({"a": 12, "b": 12})
    run_main(
        train.main, *FAST, f"data.root={root}", "positive_class=a", "trainer.max_epochs=1",
        "loss=binary_cross_entropy",
        "model.head={pooling: max, dropout: 0.4, hidden: 16}", "ema=0.9", "exact_batch_norm=true",
        "early_stopping=3", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    table = read_csv(tmp_path / "run" / "predictions" / "test.csv", "a")
    assert table.rows["logit_b"].eq(0).all()
    assert np.allclose(table.probabilities().sum(axis=1), 1)


@pytest.mark.slow
def test_per_image_standardisation_is_the_same_in_training_and_evaluation(folder, tmp_path):
    run = tmp_path / "run"
    root = folder({"a": 20, "b": 20})
    run_main(
        train.main, *FAST, f"data.root={root}", "positive_class=b", "trainer.max_epochs=1", f"hydra.run.dir={run}",
        "model.network.in_chans=1", "model.preprocessing.standardise=true", "model.head={pooling: max, dropout: 0.4}",
    )  # fmt: skip
    loaded = load(run / "checkpoints" / "best.ckpt", lambda described: instantiate(dict(described)))
    assert loaded.preprocessing.standardise
    table = pd.read_csv(run / "predictions" / "test.csv")
    how = loaded.preprocessing.interpolation
    for row in table.to_dict("records"):
        grey = resize(read(root / row["path"], loaded.preprocessing.decoding).pixels, (32, 32), "squash", how)
        pixels = torch.from_numpy(grey[..., 0] / 255.0)
        pixels = ((pixels - pixels.mean()) / pixels.std(correction=0)).float()
        with torch.no_grad():
            logits = loaded.network(pixels[None, None])[0]
        assert logits.tolist() == pytest.approx([row["logit_a"], row["logit_b"]], abs=1e-4)
    before = (run / "predictions" / "test.csv").read_bytes()
    run_main(evaluate.main, f"run={run}", "resamples=100")
    assert (run / "predictions" / "test.csv").read_bytes() == before


def test_p25_a_published_protocol_without_its_weights_runs_where_its_name_is_typed_and_is_reported(folder, tmp_path):
    """The skin-cancer tutorial: everything but a single logit frozen, RMSprop, the best by validation loss, 0.23."""
    run = tmp_path / "run"
    run_main(
        train.main, *FAST, f"data.root={folder({'a': 20, 'b': 20})}", "positive_class=b", "trainer.max_epochs=2",
        f"hydra.run.dir={run}", "schedule=head_only", "freeze_random_weights=true", "loss=binary_cross_entropy",
        "optimizer=rmsprop", "optimizer.momentum=0", "optimizer.weight_decay=0", "monitor=val/loss",
        "monitor_mode=min", "operating_point=fixed=0.23", "calibrate=none",
    )  # fmt: skip
    weights = json.loads((run / "weights.json").read_text(encoding="utf-8"))
    frozen = weights["frozen_at_random"]
    assert set(frozen) < set(weights["random"]) and not any(name.startswith("classifier.") for name in frozen)
    states = [read_state(run / "checkpoints" / f"{name}.ckpt")[0] for name in ("best", "last")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in frozen)
    report = (run / "report.md").read_text(encoding="utf-8")
    assert f"{len(frozen)} of {weights['tensors']} tensors" in report
    assert json.loads((run / "policies.json").read_text(encoding="utf-8"))["operating_point"]["threshold"] == 0.23


def test_p02_pooled_splits_are_named_wherever_results_are(folder, tmp_path):
    """The MRI tutorial: Training and Testing pooled, a tenth for test, a tenth of the rest for val."""
    run = tmp_path / "run"
    root = folder({f"{part}/{name}": count for part, count in (("Training", 30), ("Testing", 10)) for name in "abc"})
    run_main(
        train.main, *FAST, f"data.root={root}", "data.pool_splits=true", "data.test_fraction=0.1",
        "data.val_fraction=0.1", "monitor=val/accuracy", "scheduler=plateau", "scheduler.patience=1",
        "model.head={pooling: avg, dropout: 0.5}", "trainer.max_epochs=1", f"hydra.run.dir={run}",
    )  # fmt: skip
    manifest = pd.read_csv(run / "manifest.csv")
    assert manifest["split"].value_counts().to_dict() == {"train": 97, "test": 12, "val": 11}
    assert set(manifest.loc[manifest["split"] == "test", "path"].str.split("/").str[0]) == {"Training", "Testing"}
    watermark = "POOLED: the test split that came with the data was re-split"
    assert json.loads((run / "metrics.json").read_text(encoding="utf-8"))["stamps"] == [watermark]
    assert torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["medcls"]["stamps"] == [watermark]
    for page in ("report.md", "report.html"):
        assert watermark in (run / page).read_text(encoding="utf-8")


def test_exact_statistics_are_of_images_as_the_network_sees_them(folder, tmp_path, monkeypatch):
    # Normalised twice on their way, the images would be all but constant, and the statistics worthless.
    root = folder({"a": 24, "b": 24})
    seen = []
    real = Classifier.forward
    monkeypatch.setattr(
        Classifier, "forward", lambda self, images: seen.append(images.std().item()) or real(self, images)
    )
    run_main(
        train.main, *FAST, f"data.root={root}", "positive_class=a", "trainer.max_epochs=1", "exact_batch_norm=true",
        f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert len(seen) >= 8
    assert min(seen) > 0.3
    history = pd.read_csv(tmp_path / "run" / "logs" / "version_0" / "metrics.csv")
    assert history["val/loss"].max() < 5


def test_nan_loss_stops_and_keeps_the_last_good_checkpoint(folder, tmp_path):
    root = folder({"a": 20, "b": 20})
    refused_command(
        "loss_not_finite", ("step", "1e+12", "optimizer.lr"), train.main, *FAST, f"data.root={root}",
        "positive_class=a", "trainer.max_epochs=60", "optimizer=sgd", "optimizer.lr=1e12", "scheduler=none",
        f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.slow
def test_resume_refuses_other_settings_and_changed_images(finished, tmp_path):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    for argument, kind, name in (
        ("optimizer.lr=0.1", "not_changed_on_resume", "optimizer.lr"),
        ("model=mobilenetv2", "not_changed_on_resume", " model "),
        ("-m", "resume_of_a_sweep", "-m"),
    ):
        refused_command(kind, (name,), train.main, f"resume={copy}", argument)
    images = Path(shutil.copytree(OmegaConf.load(copy / "config.yaml").data.root, tmp_path / "images"))
    (images / "正常" / "00.png").unlink()
    moved = (f"resume={copy}", f"data.root={images}")
    refused_command("images_changed", ("正常/00.png",), train.main, *moved)
    (images / "正常").rename(images / "健康")
    refused_command("classes_changed", ("得病, 正常", "健康, 得病"), train.main, *moved)


@pytest.mark.slow
def test_resume_from_another_folder_and_for_longer(folder, tmp_path, monkeypatch):
    root = folder({"a": 12, "[old]": 12})
    monkeypatch.chdir(root.parent)
    run_main(
        train.main, *FAST, f"data.root={root.name}", "positive_class=a", "trainer.max_epochs=1", "monitor=val/loss",
        "monitor_mode=min", f"hydra.run.dir={tmp_path}/run one",
    )  # fmt: skip
    monkeypatch.chdir("/")
    # As a run has it that was begun before there was this setting.
    config = tmp_path / "run one" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("compile: false\n", ""), encoding="utf-8")
    run_main(train.main, f"resume={tmp_path}/run one", "trainer.max_epochs=2")
    assert OmegaConf.load(tmp_path / "run one" / "config.yaml").trainer.max_epochs == 2
    assert torch.load(tmp_path / "run one" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.slow
def test_phantoms_are_logged_and_have_a_watermark(tmp_path, monkeypatch, caplog):
    from medcls.data.sources import phantoms

    real = phantoms.ensure_phantoms
    monkeypatch.setattr(phantoms, "ensure_phantoms", lambda root: real(root, images=60))
    monkeypatch.chdir(tmp_path)
    run_main(train.main, *FAST, "data=breast_cancer", "trainer.max_epochs=1", "hydra.run.dir=run")
    log_text = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    assert "phantoms_made" in rules(caplog)
    assert "SYNTHETIC" in log_text
    assert "SYNTHETIC" in (tmp_path / "run" / "metrics.json").read_text(encoding="utf-8")
    for table in ("manifest.csv", "predictions/test.csv"):
        assert pd.read_csv(tmp_path / "run" / table)["stamp"].str.contains("SYNTHETIC").all()
    manifest = pd.read_csv(tmp_path / "run" / "manifest.csv")
    assert (manifest.groupby("group")["split"].nunique() == 1).all()


def test_p60_resume_builds_nothing_that_medcls_does_not_ship(finished, tmp_path):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    cfg = OmegaConf.load(copy / "config.yaml")
    cfg.optimizer = {"_target_": "os.system", "command": "false"}
    OmegaConf.save(cfg, copy / "config.yaml")
    refused_command("foreign_target", ("os.system", "trust=true"), train.main, f"resume={copy}")


@pytest.mark.slow
def test_p40_the_same_seed_gives_the_same_weights(folder, tmp_path):
    root = folder({"a": 12, "b": 12})
    states = []
    for name, seed, workers in (("one", 3, 0), ("two", 3, 1), ("other", 4, 0)):
        run_main(
            train.main, *FAST[:-1], f"data.workers={workers}", f"data.root={root}", "positive_class=a", f"seed={seed}",
            "trainer.max_epochs=1", "evaluate_test=false", f"hydra.run.dir={tmp_path}/{name}",
        )  # fmt: skip
        states.append(torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    same = [torch.equal(states[0][name], states[1][name]) for name in states[0]]
    assert all(same)
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_p40_nothing_is_silenced():
    import warnings

    from medcls.workflow import terminal

    with warnings.catch_warnings(record=True):
        terminal.start_log()
    assert logging.getLogger("medcls").isEnabledFor(logging.INFO)
    assert not any(rule[0] == "ignore" and rule[1] is None and rule[2] is Warning for rule in warnings.filters)


def test_errors_are_ours():
    with refused("bad_value", "seed", "'abc'"):
        training.seed("abc")


def test_train_log_has_what_the_terminal_does_not_show(finished):
    log = (finished / "train.log").read_text(encoding="utf-8")
    detail = ("threads: ", "cache: ", "learning rate: ", ":\nphase 1, ", "exact_batch_norm: true")
    told = ("model.weights=default", "operating point: ", "report: ", "data.group_pattern")
    assert all(line in log for line in (*detail, *told))
    by_level = {line: "DEBUG" if line in detail else "" for line in (*detail, *told)}
    for line, level in by_level.items():
        begins = log.rindex("\n", 0, log.index(line)) if "\n" in log[: log.index(line)] else 0
        assert (" DEBUG " in log[begins : log.index(line)]) == bool(level)


def test_a_short_training_gets_exact_batch_norm_statistics_and_logs_it(finished):
    text = (finished / "train.log").read_text(encoding="utf-8")
    assert re.search(r"exact_batch_norm: true\D+15\D+500\D", text)
    assert OmegaConf.load(finished / "config.yaml").exact_batch_norm is True


def test_one_answer_for_every_image_is_reported_and_nothing_is_fitted_on_it(folder, tmp_path, caplog):
    """With few steps, running statistics lag behind the weights, and the evaluated network is a constant."""
    run_main(
        train.main, *FAST, f"data.root={folder({'a': 30, 'b': 30})}", "positive_class=a", "trainer.max_epochs=2",
        "exact_batch_norm=false", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    said = logged(caplog, "one_answer")
    assert noted(said, "val") and noted(said, "test")
    decision_rules = json.loads((tmp_path / "run" / "policies.json").read_text(encoding="utf-8"))
    assert decision_rules["calibration"] is None
    assert (decision_rules["operating_point"]["policy"], decision_rules["operating_point"]["threshold"]) == (
        "not fitted",
        0.5,
    )
    card = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert any(sentence in card for sentence in said)


def test_exact_batch_norm_is_true_false_or_null(folder, tmp_path):
    refused_command(
        "bad_value", ("exact_batch_norm", "'maybe'"), train.main, *FAST, f"data.root={folder({'a': 12, 'b': 12})}",
        "positive_class=a", "exact_batch_norm=maybe", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("exact", ["null", "false"])
def test_a_bright_blob_is_found_in_thirty_steps_with_exact_statistics_alone(tmp_path, caplog, exact):
    """The same training but for the statistics: a classifier, or a constant that is said to be one."""
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    for number in range(240):
        label = ("plain", "blob")[number % 2]
        pixels = draw.normal(110, 30, (64, 64, 3))
        row, column = draw.uniform(16, 48, 2)
        if label == "blob":
            pixels += 90 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 72)[:, :, None]
        (tmp_path / "images" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "images" / label / f"{number:03d}.png")
    run_main(
        train.main, "model=mobilenetv3_small", f"data.root={tmp_path}/images", "positive_class=blob",
        "data.image_size=64", "trainer.max_epochs=5", f"exact_batch_norm={exact}", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    auroc = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["test"]["values"]["auroc"]
    assert ("one_answer" in rules(caplog)) == (exact == "false")
    if exact == "null":
        assert auroc > 0.8
