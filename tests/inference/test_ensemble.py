"""An ensemble averages probabilities before calibration, whatever its members' preprocessing and order of classes."""

import dataclasses

import numpy as np
import pytest
from refusals import refused

from medcls.evaluation.decision_rules import fit_decision_rules
from medcls.evaluation.ensembles import ENSEMBLE, mean_of
from medcls.evaluation.predictions import energy, from_logits, probabilities_of
from medcls.inference.ensemble import Ensemble
from medcls.inference.model import Model, ModelDescription
from medcls.preprocessing import Preprocessing

CLASSES = ("a", "b")


def model(slope: float, size: int = 8, channels: int = 3, classes=CLASSES, positive="b") -> Model:
    def score(pixels):
        mean = slope * (pixels.astype(np.float32).mean(axis=(1, 2, 3)) / 255 - 0.5)
        return np.stack([mean * (1 if name == "b" else -0.5) for name in classes], axis=1)

    preprocessing = Preprocessing(size, (0.5,) * channels, (0.2,) * channels)
    return Model(ModelDescription("made", classes, positive, preprocessing, None, (), f"{slope}"), score)


@pytest.fixture
def images() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (12, 9, 3)).astype(np.uint8) // (1 + k % 3) for k in range(9)]


def test_probabilities_and_energies_are_averaged(images):
    members = [model(3), model(-1, size=6), model(2, channels=1)]
    found = Ensemble(members, "three", None).predict(images)
    logits = [np.array([one.logits for one in member.predict(images)]) for member in members]
    mean = np.mean([probabilities_of(one) for one in logits], axis=0)
    assert np.allclose([list(one.probabilities.values()) for one in found], mean)
    assert np.allclose([one.ood for one in found], np.mean([energy(one) for one in logits], axis=0))
    assert [one.name for one in found] == [CLASSES[k] for k in mean.argmax(axis=1)]
    assert {(one.decision, one.prediction_set, one.out_of_distribution) for one in found} == {(None, None, None)}


def test_classes_are_matched_by_name(images):
    one, other = model(3), model(3, classes=("b", "a"))
    found = Ensemble([one, other], "two", None).predict(images)
    expected = one.predict(images)
    for mean, alone in zip(found, expected, strict=True):
        assert mean.probabilities == pytest.approx(alone.probabilities)


def test_an_image_is_decoded_once_for_each_way_of_decoding(images, monkeypatch):
    decoded = []
    real = Model.decode
    monkeypatch.setattr(Model, "decode", lambda self, image: decoded.append(1) or real(self, image))
    Ensemble([model(3), model(1), model(2, size=6), model(2, channels=1)], "four", None).predict(images[0])
    assert len(decoded) == 2


def test_rules_are_those_of_the_mean(images):
    draw = np.random.default_rng(1)
    rows = {"path": [f"{k}" for k in range(60)], "label": ["a", "b"] * 30, "group": "", "split": "calibration"}
    import pandas as pd

    signal = np.where(np.arange(60) % 2, 1.0, -1.0)[:, None] * [-0.5, 0.5]
    tables = [
        from_logits(pd.DataFrame(rows), np.arange(60), signal + draw.normal(size=(60, 2)), CLASSES, "b", f"{k}")
        for k in range(2)
    ]
    rules = fit_decision_rules(mean_of(tables, ENSEMBLE))
    ensemble = Ensemble([model(3), model(1)], "two", rules)
    assert ensemble.threshold == rules.operating_point.threshold and ensemble.ood_limit == rules.ood.limit
    uncalibrated = Ensemble([model(3), model(1)], "two", None).predict(images)
    for one, before in zip(ensemble.predict(images), uncalibrated, strict=True):
        expected = rules.calibration.probabilities(np.log([list(before.probabilities.values())]), CLASSES)[0]
        assert list(one.probabilities.values()) == pytest.approx(expected)
        assert one.decision == ("b" if one.probabilities["b"] >= ensemble.threshold else "a")
        assert one.out_of_distribution == (one.ood > rules.ood.limit)


def test_members_of_other_classes_are_refused():
    with refused("different_classes"):
        Ensemble([model(1), model(1, classes=("a", "c"), positive="c")], "two", None)
    with refused("different_classes"):
        Ensemble([model(1), model(1, positive="a")], "two", None)


def test_watermarks_of_all_members_are_kept():
    one = model(1)
    marked = Model(dataclasses.replace(one.description, watermarks=("SYNTHETIC",)), one._score)
    assert Ensemble([one, marked], "two", None).watermarks == ("SYNTHETIC",)
