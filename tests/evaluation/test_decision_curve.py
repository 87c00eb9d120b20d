import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcls.errors import MedclsError
from medcls.evaluation.decision_curve import DEFAULT_THRESHOLDS, decision_curve
from medcls.evaluation.predictions import Predictions


def table(scores, events, positive="malignant"):
    classes = ("benign", "malignant")
    other, scores = classes[positive == classes[0]], np.asarray(scores, np.float64)
    rows = pd.DataFrame({"path": np.arange(len(scores)).astype(str), "label": np.where(events, positive, other)})
    rows = rows.assign(group="", split="test", checkpoint="abc")
    return Predictions(rows.assign(**{f"prob_{positive}": scores, f"prob_{other}": 1 - scores}), classes, positive)


@pytest.mark.parametrize("cases", [1, 13, 25, 99])
def test_treating_all_is_worth_nothing_at_the_prevalence(cases):
    curve = decision_curve(table(np.linspace(0, 1, 100), np.arange(100) < cases), [cases / 100])
    assert curve["treat_all"][0] == pytest.approx(0, abs=1e-15)
    assert curve["treat_none"][0] == 0


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 50), seed=st.integers(0, 10**6), positive=st.sampled_from(["benign", "malignant"]))
def test_net_benefit_as_defined(n, seed, positive):
    rng = np.random.default_rng(seed)
    scores, events = np.round(rng.random(n), 1), rng.random(n) < 0.4
    thresholds = [0.0, 0.1, 0.3, 0.5, 0.7, 0.95]
    for row in decision_curve(table(scores, events, positive), thresholds).itertuples():
        called = scores >= row.threshold
        tp, fp, odds = (called & events).sum(), (called & ~events).sum(), row.threshold / (1 - row.threshold)
        assert (row.n, row.true_positives, row.false_positives) == (n, tp, fp)
        assert row.model == pytest.approx(tp / n - fp / n * odds, abs=1e-12)
        assert row.treat_all == pytest.approx(events.mean() - (1 - events.mean()) * odds, abs=1e-12)


def test_a_perfect_classifier_is_worth_the_prevalence_and_calling_all_is_treating_all():
    events = np.arange(100) < 30
    assert (decision_curve(table(events * 0.98 + 0.01, events), [0.02, 0.5, 0.98])["model"] == 0.3).all()
    everyone = decision_curve(table(np.full(100, 0.995), events))
    np.testing.assert_allclose(everyone["model"], everyone["treat_all"])
    assert everyone["threshold"].tolist() == list(DEFAULT_THRESHOLDS)


def test_p45_a_threshold_of_0_treats_all():
    curve = decision_curve(table([0.0, 0.2, 0.9], [0, 1, 1]), [0.0])
    assert curve["threshold"].tolist() == [0.0]
    assert curve["model"][0] == curve["treat_all"][0] == pytest.approx(2 / 3)


@pytest.mark.parametrize("threshold", [1.0, -0.1, float("nan")])
def test_thresholds_without_odds_are_refused(threshold):
    with pytest.raises(MedclsError, match="without 1"):
        decision_curve(table([0.1, 0.9], [0, 1]), [0.5, threshold])


def test_what_has_no_decision_curve():
    with pytest.raises(MedclsError, match="needs rows"):
        decision_curve(table([], []))
    rows = table([0.1, 0.9], [0, 1]).rows.assign(prob_other=0.0)
    with pytest.raises(MedclsError, match="binary task; there are 3 classes"):
        decision_curve(Predictions(rows, ("benign", "malignant", "other"), None))
