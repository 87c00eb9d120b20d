"""The effect of leakage on test metrics: the same network and images, with splits that leak and splits that do not.

`python -m benchmarks.leakage skin_cancer --root /path/to/skin_cancer`. medcls refuses splits that leak, so they are
made here. A fifth of the images is test; the network is trained on the others for a fixed number of epochs, and its
last weights are evaluated, so that nothing is selected.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from scipy.stats import t
from sklearn.model_selection import StratifiedGroupKFold

from medcls import hardware
from medcls.cli.building import build
from medcls.cli.experiments import register_experiments
from medcls.cli.shipped import configurations
from medcls.cli.training import choose_preprocessing, make_classifier, make_loaders
from medcls.data.manifest import Manifest
from medcls.data.splits.near_duplicates import near_duplicate_sets
from medcls.data.splits.split import cluster_numbers
from medcls.inference.load import ClassLogits
from medcls.inference.predict import Predictor
from medcls.learning.callbacks import SeedEachEpoch
from medcls.statistics.metrics import classification_metrics

EXTRA = {"skin_cancer": ["data.image_size=64", "data.batch_size=64"], "brain_tumor": ["data.image_size=96"]}


def ways_to_cut(manifest: Manifest) -> dict[str, np.ndarray]:
    """The images that each kind of split keeps together, by cluster: int64 `(n,)`."""
    alone = manifest.rows.assign(group="", content="")
    ways = {
        "each image by itself": cluster_numbers(alone),
        "exact copies together": cluster_numbers(manifest.rows.assign(group="")),
    }
    if manifest.rows["group"].astype(bool).any():
        ways["groups together"] = cluster_numbers(manifest.rows)
    else:
        ways["near copies together"] = cluster_numbers(manifest.rows, near_duplicate_sets(manifest.rows, manifest.scan))
    return ways


def cut(manifest: Manifest, units: np.ndarray, seed: int) -> Manifest:
    """A stratified fifth becomes test, the rest train."""
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    _, test = next(folds.split(np.zeros(len(manifest)), manifest.labels, units))
    split = np.full(len(manifest), "train", dtype=object)
    split[test] = "test"
    return manifest.with_rows(manifest.rows.assign(split=split))


def leaked(manifest: Manifest, units: np.ndarray) -> float:
    """Share of the test images that have an image of their group in training."""
    return float(np.isin(units[manifest.indices("test")], units[manifest.indices("train")]).mean())


def train_and_score(cfg: DictConfig, manifest: Manifest, machine: hardware.Hardware) -> dict[str, float]:
    """Train for the configured epochs; AUROC and accuracy on test."""
    lightning.seed_everything(cfg.seed, verbose=False)
    preprocessing = choose_preprocessing(cfg)
    data = make_loaders(cfg, manifest, preprocessing, machine)
    classifier, freezing, _ = make_classifier(cfg, manifest, preprocessing, lambda *_: {"auroc": 0.5}, "a benchmark")
    trainer = lightning.Trainer(
        max_epochs=cfg.trainer.max_epochs,
        limit_val_batches=0,
        callbacks=[SeedEachEpoch(cfg.seed), freezing],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(classifier, datamodule=data)
    device = trainer.strategy.root_device
    network = ClassLogits(classifier.network, len(manifest.classes), classifier.positive)
    logits, rows = Predictor(network, device)(data.rows_of("test", device=device))
    scores = torch.softmax(torch.from_numpy(logits).double(), 1).numpy()
    values = classification_metrics(manifest.labels[rows], scores, manifest.classes, manifest.positive).values
    return {name: float(values[name]) for name in ("auroc", "accuracy")}


def main() -> None:
    """Cut, train and score in turn; print and write every run, and the mean gain over the strictest way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", choices=sorted(EXTRA))
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    given, overrides = parser.parse_known_args()
    register_experiments()
    with initialize_config_dir(str((configurations() / "conf").absolute()), version_base="1.3"):
        cfg = compose("train", [f"data={given.data}", f"data.root={given.root}", *EXTRA[given.data], *overrides])
    cfg.trainer.max_epochs = given.epochs
    machine = hardware.choose(cfg.data.workers)
    manifest = build(cfg.data.source, positive=cfg.positive_class)
    ways = ways_to_cut(manifest)
    strictest = list(ways.values())[-1]
    runs = []
    for repeat in range(given.repeats):
        cfg.seed = repeat
        for way, units in ways.items():
            divided = cut(manifest, units, repeat)
            run = {"way": way, "repeat": repeat, "leaked": leaked(divided, strictest)} | train_and_score(
                cfg, divided, machine
            )
            runs.append(run)
            print(json.dumps(run), flush=True)
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / f"leakage_{given.data}.json").write_text(json.dumps(runs, indent=2))
    print(summary(pd.DataFrame(runs), list(ways)).to_string(index=False, float_format="%.3f"))


def summary(runs: pd.DataFrame, ways: Sequence[str]) -> pd.DataFrame:
    """Mean of each way, and the paired difference to the last, strictest one with its 95% t interval."""
    table = []
    for way in ways:
        own = runs[runs["way"] == way].set_index("repeat")
        line = {"way": way, "leaked": own["leaked"].mean()}
        for name in ("auroc", "accuracy"):
            gain = own[name] - runs[runs["way"] == ways[-1]].set_index("repeat")[name]
            half = t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.nan
            line |= {name: own[name].mean(), f"{name} gain": gain.mean(), "+-" + name: half}
        table.append(line)
    return pd.DataFrame(table)


if __name__ == "__main__":
    main()
