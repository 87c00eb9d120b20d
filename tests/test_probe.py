"""The command `medcls.probe`: a run folder that other commands read, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from entry_points import FAST, TINY, run_main
from made_sets import class_folders, noise
from scipy.special import softmax

from medcls import compare, evaluate, probe, train
from medcls.data.manifest import read_rows
from medcls.data.sources.folders import from_folders

PROBE = (
    *TINY,
    "data.image_size=32",
    "data.workers=0",
    "resamples=100",
    "repeats=2",
    "data.folds=3",
)


def images(base: Path) -> None:
    """Two classes told by brightness, four images a patient; and the same with a test split of its own."""
    for number in range(48):
        label = ("ill", "well")[number // 4 % 2]
        # Both kinds overlap, so that there is something to be judged.
        noise(base / "one" / label / f"p{number // 4}_{number}.png", number, 105 + 12 * (number // 4 % 2) + number % 4)
    for split, first, count in (("train", 100, 24), ("test", 200, 12)):
        for number in range(first, first + count):
            label = ("ill", "well")[number % 2]
            noise(base / "two" / split / label / f"{number}.png", number, 105 + 12 * (number % 2))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and a probe of either set: `one` without a test split, `two` with one."""
    base = tmp_path_factory.mktemp("probed")
    images(base)
    group = "data.group_pattern='(p[0-9]+)_'"
    run_probe("one", base, group, f"hydra.run.dir={base}/run_one")
    run_probe("two", base, f"hydra.run.dir={base}/run_two")
    return base


def run_probe(name: str, base: Path, *more: str, exit_code: int = 0) -> None:
    several = any(setting.startswith("models=") for setting in more)
    usual = [setting for setting in PROBE if not (several and setting in TINY)]
    run_main(probe.main, *usual, f"data.root={base}/{name}", "positive_class=ill", *more, exit_code=exit_code)


def predictions(run: Path, split: str) -> pd.DataFrame:
    return pd.read_csv(run / "predictions" / f"{split}.csv", keep_default_na=False)


def test_without_a_test_split_every_image_is_judged_out_of_fold(made):
    run = made / "run_one"
    table, rows = predictions(run, "out_of_fold"), read_rows(run / "manifest.csv")
    assert sorted(table["path"]) == sorted(rows["path"]) and set(rows["split"]) == {"train"}
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == {"stamps", "checkpoint", "out_of_fold"}
    assert metrics["checkpoint"] == table["checkpoint"].iloc[0]
    # Its own threshold was fitted on these rows, and judges none of them.
    point = metrics["out_of_fold"]["policies"]["operating_point"] if "policies" in metrics["out_of_fold"] else None
    assert point is None or not point["is_fitted"]
    assert json.loads((run / "policies.json").read_text(encoding="utf-8"))["operating_point"]["split"] == "out_of_fold"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert json.loads((run / "probe.json").read_text(encoding="utf-8"))["statements"]["shortcuts"] in page


@pytest.mark.slow
def test_flipped_labels_are_suspected_and_their_list_leaves_them_out(tmp_path):
    draw = np.random.default_rng(0)
    for number in range(60):
        label, bright = ("ill", "well")[number % 2], number % 2
        if number in (7, 20):  # labelled wrongly
            bright = 1 - bright
        noise(tmp_path / "some" / label / f"{number}.png", number, 90 + 80 * bright + int(draw.integers(10)))
    run_probe("some", tmp_path, f"hydra.run.dir={tmp_path}/run")
    found = pd.read_csv(tmp_path / "run" / "label_errors.csv")
    assert set(found["path"].head(2)) == {"well/7.png", "ill/20.png"}
    assert (found["label"] != found["suggested"]).all()
    page = (tmp_path / "run" / "label_errors.html").read_text(encoding="utf-8")
    assert all(path in page for path in found["path"].head(100))
    leave_out = f"data.exclude_file={tmp_path}/run/label_errors.txt"
    run_probe("some", tmp_path, leave_out, f"hydra.run.dir={tmp_path}/without")
    rows = read_rows(tmp_path / "without" / "manifest.csv")
    assert len(rows) == 60 - len(found) and not set(rows["path"]) & set(found["path"])


@pytest.mark.slow
@pytest.mark.real
def test_flipped_labels_of_chest_xrays_are_among_the_first(real_data, tmp_path):
    """Of 5% of the labels, flipped on purpose, at least 60% are among the first 8% by margin; in fact nine tenths."""
    root = real_data / "chest_xray" / "train"
    rows = from_folders(root, positive="PNEUMONIA").rows
    paths, labels = rows["path"].tolist(), rows["label"].to_numpy(dtype=str)
    # One image of two labels would stop the command, so none that has a duplicate is flipped.
    alone = np.flatnonzero(~rows["content"].duplicated(keep=False))
    flipped = np.random.default_rng(0).permutation(alone)[: len(paths) // 20]
    other = {"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"}
    labels[flipped] = [other[label] for label in labels[flipped]]
    pd.DataFrame({"path": paths, "label": labels}).to_csv(tmp_path / "flipped.csv", index=False)
    pattern = r"data.group_pattern='(person\d+_(?:bacteria|virus)|NORMAL2-IM-\d+|IM-\d+)'"
    run_main(
        probe.main, "data=csv", f"data.csv={tmp_path}/flipped.csv", f"data.root={root}", "positive_class=PNEUMONIA",
        "data.image_size=96", "resamples=100", pattern, f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    table = predictions(tmp_path / "run", "out_of_fold")
    given = np.where(table["label"] == "PNEUMONIA", table["prob_PNEUMONIA"], table["prob_NORMAL"])
    first = table["path"].iloc[np.argsort(given, kind="stable")[: round(0.08 * len(table))]]
    assert np.isin(np.array(paths)[flipped], first).mean() > 0.85


def test_a_given_test_split_is_judged_once_by_the_final_network(made):
    run = made / "run_two"
    rows = read_rows(run / "manifest.csv")
    test = predictions(run, "test")
    assert sorted(test["path"]) == sorted(rows.loc[rows["split"] == "test", "path"])
    assert not set(predictions(run, "out_of_fold")["path"]) & set(test["path"])
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert {"out_of_fold", "test"} < set(metrics)


def test_evaluate_predicts_with_the_checkpoint_what_the_probe_said(made, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(made / "run_two", run)
    before = predictions(run, "test")
    run_main(evaluate.main, f"run={run}", "split=test", "resamples=100")
    after = predictions(run, "test")
    np.testing.assert_allclose(after["prob_ill"], before["prob_ill"], atol=1e-5)
    np.testing.assert_allclose(after["logit_ill"], before["logit_ill"], atol=1e-4)
    said = json.loads((run / "probe.json").read_text(encoding="utf-8"))["statements"]
    assert said["shortcuts"] in (run / "report.html").read_text(encoding="utf-8")


def test_evaluate_judges_another_site(made, tmp_path):
    class_folders(tmp_path / "site", {"ill": 8, "well": 8}, seed=9)
    out = tmp_path / "out"
    run_main(
        evaluate.main, f"run={made}/run_one", f"data.root={tmp_path}/site", "resamples=100", f"hydra.run.dir={out}"
    )
    assert {"out_of_fold", "external"} < set(json.loads((out / "metrics.json").read_text(encoding="utf-8")))


def test_a_probe_without_a_test_has_no_split_to_evaluate(made, capsys):
    run_main(evaluate.main, f"run={made}/run_one", "split=test", exit_code=2)
    assert "out_of_fold.csv" in capsys.readouterr().err


def test_its_training_images_are_judged_in_a_folder_of_their_own(made, tmp_path):
    before = (made / "run_one" / "report.html").read_bytes()
    run_main(evaluate.main, f"run={made}/run_one", "split=train", "resamples=100", f"hydra.run.dir={tmp_path}/out")
    assert (tmp_path / "out" / "report.html").is_file()
    assert (made / "run_one" / "report.html").read_bytes() == before


def test_probes_are_compared_out_of_fold(made, tmp_path):
    group = "data.group_pattern='(p[0-9]+)_'"
    run_probe("one", made, group, "seed=1", f"hydra.run.dir={tmp_path}/other")
    out = tmp_path / "comparison"
    run_main(
        compare.main, f"runs=[{made}/run_one,{tmp_path}/other]", "split=out_of_fold", "resamples=100",
        f"hydra.run.dir={out}",
    )  # fmt: skip
    assert (out / "comparison.md").is_file()


def test_a_probe_is_not_resumed(made):
    run_main(train.main, f"resume={made}/run_one", exit_code=2)


def test_the_checkpoint_is_the_network_with_the_regression_as_its_last_layer(made):
    content = torch.load(made / "run_two" / "checkpoints" / "best.ckpt", weights_only=True)
    assert content["medcls"]["classes"] == ["ill", "well"]
    layers = [name for name in content["state_dict"] if name.startswith("network.classifier") and "weight" in name]
    weights = content["state_dict"][layers[-1]]
    assert weights.shape[0] == 2 and torch.equal(weights[0], -weights[1])


def test_features_are_computed_once(made, tmp_path, caplog):
    import logging

    with caplog.at_level(logging.INFO, "medcls"):
        run_probe("two", made, f"hydra.run.dir={tmp_path}/again")
    line = [record for record in caplog.records if getattr(record, "rule", "") == "features_ready"][-1]
    assert line.args[2] == 36  # all were kept
    for split in ("out_of_fold", "test", "shortcuts"):
        first, second = predictions(made / "run_two", split), predictions(tmp_path / "again", split)
        pd.testing.assert_frame_equal(first, second)


def test_random_weights_are_said_and_stamped(made, caplog):
    watermarks = json.loads((made / "run_one" / "metrics.json").read_text(encoding="utf-8"))["stamps"]
    assert any(watermark.startswith("RANDOM FEATURES") for watermark in watermarks)


@pytest.mark.slow
def test_two_networks_side_by_side(made, tmp_path):
    out = tmp_path / "run"
    run_probe("two", made, "models=[mobilenetv3_small,mobilenetv2]", f"hydra.run.dir={out}")
    before = predictions(out, "test")
    assert json.loads((out / "probe.json").read_text(encoding="utf-8"))["features"] == 1024 + 1280
    run_main(evaluate.main, f"run={out}", "split=test", "resamples=100")
    np.testing.assert_allclose(predictions(out, "test")["prob_ill"], before["prob_ill"], atol=1e-5)


def test_random_labels_claim_nothing(tmp_path):
    draw = np.random.default_rng(3)
    for number in range(60):
        noise(tmp_path / "none" / ("ill", "well")[int(draw.random() < 0.5)] / f"{number}.png", number, 120)
    run_probe("none", tmp_path, f"hydra.run.dir={tmp_path}/run")
    record = json.loads((tmp_path / "run" / "probe.json").read_text(encoding="utf-8"))
    assert record["difference"]["verdict"] == "undecided"
    intervals = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["out_of_fold"]["intervals"]
    (auroc,) = [row for row in intervals if row["metric"] == "auroc"]
    assert auroc["low"] <= 0.5 <= auroc["high"]
    scores = predictions(tmp_path / "run", "out_of_fold")
    assert softmax(scores[["logit_ill", "logit_well"]].to_numpy(), axis=1)[:, 0].std() < 0.3
    assert pd.read_csv(tmp_path / "run" / "label_errors.csv").empty
    page = (tmp_path / "run" / "label_errors.html").read_text(encoding="utf-8")
    assert "AUROC" in page and "<table" not in page and "<figure" not in page


WRONG: dict[str, tuple[str, ...]] = {
    "one fold": ("data.folds=1",),
    "too few folds": ("data.folds=2",),
    "no repetition": ("repeats=0",),
    "a fraction": ("data.val_fraction=0.1",),
    "views": ("data.views=4",),
    "an augmentation": ("data/augmentation=xray",),
    "an unknown network": ("models=[mobilenetv3_small,mobilenetv4]",),
    "the same network twice": ("models=[mobilenetv2,mobilenetv2]",),
    "more folds than groups": ("data.folds=30",),
    "no network": ("models=[]",),
    "a network twice over": ("models=[mobilenetv2]", "model=mobilenetv3"),
    "logits by convolutions": ("model=torchvision", "model.name=squeezenet1_1", "data.image_size=64"),
    "a policy": ("operating_point=best",),
}


@pytest.mark.parametrize("settings", WRONG.values(), ids=WRONG)
def test_wrong_settings_end_with_a_sentence_and_leave_nothing(made, tmp_path, capsys, settings):
    given = {each.split("=")[0].replace("models", "model") for each in settings}
    kept = [one for one in PROBE if one.split("=")[0] not in given and not ("model" in given and one in TINY)]
    out = tmp_path / "run"
    run_main(
        probe.main, *kept, f"data.root={made}/one", "positive_class=ill", *settings, f"hydra.run.dir={out}", exit_code=2
    )
    said = capsys.readouterr().err
    assert said.strip() and "Traceback" not in said
    assert not out.exists()


@pytest.mark.slow
def test_features_of_a_network_that_learned_these_images_are_refused(made, tmp_path, capsys):
    run = tmp_path / "trained"
    run_main(
        train.main, *FAST, f"data.root={made}/one", "positive_class=ill", "trainer.max_epochs=1", "resamples=100",
        f"hydra.run.dir={run}",
    )  # fmt: skip
    for how in ((f"models=[{run}]",), (f"model.weights={run}",)):
        run_probe("one", made, *how, f"hydra.run.dir={tmp_path}/no", exit_code=2)
        said = capsys.readouterr().err
        assert "medcls.evaluate" in said and str(run) in said
    # Of other images it may be taken.
    run_probe("two", made, f"models=[{run}]", f"hydra.run.dir={tmp_path}/yes")
    watermarks = json.loads((tmp_path / "yes" / "metrics.json").read_text(encoding="utf-8"))["stamps"]
    assert not any(watermark.startswith("RANDOM") for watermark in watermarks)
