"""A whole study, made from seeded numbers: nothing in it is to be held against its figures."""

import functools
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from medcls.evaluation.assessment import assess
from medcls.evaluation.decision_rules import fit_decision_rules
from medcls.evaluation.predictions import Predictions, probabilities_of
from medcls.preprocessing import Preprocessing
from medcls.report.sources import Sources
from medcls.runs.records import Audit, Configuration, Environment, InitialWeights

BINARY = ("other", "ill")
FOUR = ("a", "b", "c", "d")


def predictions(split="test", n=1000, seed=0, classes=BINARY, signal=None, prevalence=0.3, moved=0.0, **columns):
    """Rows whose logits are right: `moved` pushes every image towards the last class, as another scanner might."""
    rng = np.random.default_rng([seed, len(split), n])
    k = len(classes)
    signal = (1.5 if k == 2 else 2.5) if signal is None else signal
    shares = np.full(k, (1 - prevalence) / (k - 1))
    shares[-1] = prevalence
    counts = np.round(shares * n).astype(int)
    counts[0] += n - counts.sum()
    labels = rng.permutation(np.repeat(np.arange(k), counts))
    seen = rng.normal(size=(n, k))
    seen[np.arange(n), labels] += signal
    logits = signal * seen + np.log(shares)
    logits[:, -1] += moved
    paths = [f"{split}/{number:05d}.png" for number in range(n)]
    rows = {"path": paths, "label": np.array(classes)[labels], "group": paths, "split": split} | columns
    made = probabilities_of(logits)
    rows |= {f"logit_{name}": logits[:, column] for column, name in enumerate(classes)}
    rows |= {f"prob_{name}": made[:, column] for column, name in enumerate(classes)}
    return Predictions(pd.DataFrame(rows | {"checkpoint": "c0ffee"}), classes, "ill" if "ill" in classes else None)


@functools.cache
def decision_rules(classes=BINARY, split="calibration", n=1000):
    """Fitted on images that selected nothing."""
    return fit_decision_rules(predictions(split, n, classes=classes))


def assessment(table, fitted=None, *, prevalence=0.3, **settings):
    """With few resamples; the prevalence is stated, and the split's own."""
    fitted = decision_rules(table.classes) if fitted is None else fitted
    return assess(table, fitted, prevalence=prevalence, resamples=50, **settings)


@functools.cache
def study(classes=BINARY):
    """The test split, and beside it the images that fitted, and another site's."""
    stated = dict(zip(classes, [0.7 / (len(classes) - 1)] * (len(classes) - 1) + [0.3], strict=True))
    of = [
        assessment(predictions(split, seed=seed, classes=classes), prevalence=stated)
        for split, seed in (("test", 1), ("calibration", 0), ("external", 2))
    ]
    return of[0], tuple(of[1:])


def split_table(classes=BINARY):
    """As `splits.csv` reads."""
    rows = []
    for name, images in (("train", 3000), ("val", 1000), ("test", 1000)):
        counts = dict(zip(classes, (int(0.7 * images), int(0.3 * images)), strict=True))
        by_class = {f"{label}: images": count for label, count in counts.items()}
        shares = {f"{label}: share": count / images for label, count in counts.items()}
        rows.append({"split": name, "images": images, "groups": images, **by_class, **shares})
    return pd.DataFrame(rows)


def finding(check, level="good", title="All is well", text="Nothing to do.", **values):
    """As in `audit.json`."""
    empty = {"table": None, "pairs": [], "images": [], "exclude": []}
    return {"check": check, "level": level, "title": title, "text": text, "values": values, **empty}


def audit(*findings):
    """As `audit.json` reads."""
    data = {"root": "/home/dr.who/images", "images": 5000, "unreadable": 0, "classes": list(BINARY), "positive": "ill"}
    data |= {"fingerprint": "f", "stamps": [], "notes": [], "splits": split_table().to_dict("records")}
    levels = {level: sum(one["level"] == level for one in findings) for level in ("error", "warning")}
    return {"medcls": "0.1.0", "data": data, "levels": levels, "findings": list(findings)}


GROUPS = finding("groups", groups=5000, images_without_group=0)


def history(train=0.5, val=0.5):
    """Twenty epochs with the losses they end at."""
    falling = np.linspace(1, train, 20)
    rising = np.r_[np.linspace(1, 0.5, 10), np.linspace(0.5, val, 10)]
    return pd.DataFrame({"epoch": range(20), "train/loss": falling, "val/loss": rising})


def config():
    """What the checklists read of `config.yaml`."""
    return {
        "seed": 0,
        "positive_class": "ill",
        "monitor": "val/auroc",
        "monitor_mode": "max",
        "early_stopping": 5,
        "ema": 0.99,
        "data": {
            "name": "phantoms",
            "root": "/home/dr.who/images",
            "published": {"page": "https://example.org/set", "licence": "CC BY 4.0"},
            "exclude": ["secret/one.png"],
            "dicom_patients": True,
            "image_size": [96, 128],
            "resize": "letterbox",
            "bits": None,
            "window": [-160, 240],
            "batch_size": 32,
            "sampler": "balanced",
            "train_fraction": 1.0,
            "folds": None,
            "fold": None,
            "pool_splits": False,
            "augmentation": {"_target_": "medcls.data.transforms.Augmentation", "left_right": 0.5, "up_down": 0.0},
        },
        "model": {
            "name": "mobilenetv3_large",
            "head": None,
            "preprocessing": {"_target_": "medcls.models.zoo.torchvision_preprocessing", "name": "mobilenet_v3_large"},
        },
        "loss": {"_target_": "medcls.learning.losses.cross_entropy", "class_weights": None, "label_smoothing": 0.0},
        "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.001},
        "scheduler": {"_target_": "medcls.learning.schedulers.cosine", "_partial_": True, "warmup": 0.05},
        "trainer": {"max_epochs": 20, "precision": "32-true"},
    }


def sources(**changed):
    """Everything that a run folder can tell."""
    known = {
        "name": "phantoms",
        "made": datetime(2026, 1, 1, tzinfo=UTC),
        "purpose": "To tell the ill from the others.",
        "config": config(),
        "audit": audit(GROUPS, finding("blank")),
        "weights": InitialWeights(
            source="/home/dr.who/weights.pth",
            file="/home/dr.who/weights.pth",
            sha256="abc123",
            summary="310/312 tensors loaded",
            tensors=312,
            loaded=310,
            reinitialised={"last layer": ["w", "b"]},
        ),
        "environment": Environment({"medcls": "0.1.0", "torch": "2.15.0"}, "3.11.7", "Linux", "CPU"),
        "preprocessing": Preprocessing(
            size=(96, 128),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            resize="letterbox",
            window=(-160, 240),
        ).to_plain(),
        "splits": split_table(),
        "model": "MobileNetV3 on an input of 3 x 96 x 128\nparameters     4,204,594\nmultiply-adds  72,150,400\n",
        "history": history(),
        "phases": (("backbone frozen", 0, 5), ("all", 5, 20)),
        "best_epoch": 12,
    }
    known |= changed
    if isinstance(known["config"], dict):
        known["config"] = Configuration(known["config"])
    if isinstance(known["audit"], dict):
        known["audit"] = Audit.from_plain(known["audit"])
    return Sources(**known)


EMPTY = Sources(name="a table", made=datetime(2026, 1, 1, tzinfo=UTC))
