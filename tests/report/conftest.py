"""What tests of the report share."""

import pandas as pd
import pytest
from made_report import MADE, NASTY, predictions

from medcls.evaluation.assessment import Assessment, assess
from medcls.evaluation.decision_rules import DecisionRules, fit_decision_rules
from medcls.report.pages.parts import Thumbnail
from medcls.report.sources import Drawn, Sources
from medcls.runs.records import Audit, AuditFinding, Configuration, Environment, InitialWeights
from medcls.runs.registry import Readings


@pytest.fixture(scope="module")
def decision_rules() -> DecisionRules:
    return fit_decision_rules(predictions("val"))


@pytest.fixture(scope="module")
def headline(decision_rules) -> Assessment:
    return assess(predictions(), decision_rules, bands={"site": None}, prevalence=0.02, resamples=100)


@pytest.fixture(scope="module")
def several() -> Assessment:
    fitted = fit_decision_rules(predictions("val", NASTY))
    return assess(predictions(classes=NASTY), fitted, bands={"site": None}, resamples=100)


@pytest.fixture
def sources(tmp_path) -> Sources:
    root = "/home/anna/images of patients"
    finding = {
        "check": "exact_copies",
        "level": "error",
        "title": "train/secret_900.png is there twice",
        "text": "Also as /mnt/scan/x1: set data.copies=drop_from_train.",
        "values": {},
        "table": [{"path": "train/secret_901.png", "n": 2}],
        "pairs": [{"first": "train/secret_902.png", "second": "train/secret_903.png", "caption": "same"}],
        "images": ["train/secret_904.png"],
        "exclude": [],
    }
    return Sources(
        name="lungs: mobilenetv3",
        made=MADE,
        command=f"python -m medcls.train data.root='{root}'",
        purpose="To find malignant lumps before a radiologist looks.",
        watermarks=("SYNTHETIC: phantoms",),
        config=Configuration({"data": {"root": root, "batch_size": 32}, "seed": 0, "weights": None}),
        audit=Audit(
            root,
            1320,
            0,
            (),
            tuple(AuditFinding.from_plain(one) for one in (finding | {"level": "good", "check": "groups"}, finding)),
        ),
        weights=InitialWeights(
            source="/home/anna/w.pt",
            file="/home/anna/w.pt",
            sha256=None,
            reinitialised={},
            summary="4 of 5 tensors from /home/anna/w.pt",
            tensors=5,
            loaded=4,
        ),
        environment=Environment({"torch": "2.11"}, "3.11", "Linux", "CPU"),
        splits=pd.DataFrame(
            {
                "split": ["train", "test"],
                "images": [1200, 120],
                "groups": [600, 60],
                "benign: images": [600, 60],
                "benign: share": [0.5, 0.5],
                "malignant: images": [600, 60],
                "malignant: share": [0.5, 0.5],
            }
        ),
        model="layer type\n-----\nconv Conv2d\n\nnet on an input of 3 x 8 x 8\nparameters     1,234\n",
        history=pd.DataFrame({"epoch": [0, 1, 2]}),
        phases=(("frozen: stem*", 0, 2), ("all trains", 2, 3)),
        best_epoch=1,
        readings=Readings("key", "test", 120, 3, 2, "2026-01-01"),
        training_duplicates=2,
        thumbnail=lambda path: Thumbnail("data:image/jpeg;base64,AAAA", 16, 12),
    )


@pytest.fixture
def drawn(tmp_path) -> list[Drawn]:
    svg = tmp_path / "roc.svg"
    svg.write_text('<svg viewBox="0 0 400 200" xmlns="http://www.w3.org/2000/svg"/>')
    return [Drawn("roc_test", "ROC <curve>", "Of test/secret_000.png and 119 more.", svg)]
