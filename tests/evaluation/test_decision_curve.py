import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from scipy.special import expit, logit

from medcls.evaluation.decision_curve import DEFAULT_THRESHOLDS, benefit_at, decision_curve, say_benefit
from medcls.evaluation.predictions import Predictions
from medcls.statistics.analytic import wilson_limits


def table(scores, events, positive="malignant", groups=""):
    classes = ("benign", "malignant")
    other, scores = classes[positive == classes[0]], np.asarray(scores, np.float64)
    rows = pd.DataFrame({"path": np.arange(len(scores)).astype(str), "label": np.where(events, positive, other)})
    rows = rows.assign(group=groups, split="test", checkpoint="abc")
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
        missed, spared = (~called & events).sum(), (~called & ~events).sum()
        assert row.over_all == pytest.approx(row.model - row.treat_all, abs=1e-12)
        assert row.over_all == pytest.approx((spared * odds - missed) / n, abs=1e-12)
        assert row.low <= row.model <= row.high and row.over_all_low <= row.over_all <= row.over_all_high
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
    with refused("bad_value", "1"):
        decision_curve(table([0.1, 0.9], [0, 1]), [0.5, threshold])


def test_what_has_no_decision_curve():
    with refused("no_rows"):
        decision_curve(table([], []))
    rows = table([0.1, 0.9], [0, 1]).rows.assign(prob_other=0.0)
    with refused("not_binary", "3"):
        decision_curve(Predictions(rows, ("benign", "malignant", "other"), None))


# --- limits


def test_limits_where_no_row_is_a_false_positive_are_those_of_the_share_that_is_found():
    """Treating from 0.5 on, 30 of 100 found and nobody treated in vain: odds of 1."""
    events = np.arange(100) < 30
    row = benefit_at(table(events * 0.98 + 0.01, events), 0.5)
    (low, high), none = wilson_limits(0.3, 100), wilson_limits(0.0, 100)[1]
    assert row["low"] == pytest.approx(0.3 - np.hypot(0.3 - low, none)) and row["high"] == pytest.approx(high)
    # Over treating all: 70 of 100 spared, none missed.
    (low, high) = wilson_limits(0.7, 100)
    assert row["over_all"] == pytest.approx(0.7) and row["over_all_high"] == pytest.approx(high)
    assert row["over_all_low"] == pytest.approx(0.7 - np.hypot(0.7 - low, none))


def test_rows_that_are_copies_of_each_other_are_no_surer():
    rng = np.random.default_rng(0)
    events = rng.random(80) < 0.4
    scores = np.clip(0.3 * events + 0.7 * rng.random(80), 0, 1)
    alone = decision_curve(table(scores, events))
    once = decision_curve(table(scores, events, groups=[f"g{k}" for k in range(80)]))
    many = decision_curve(table(np.repeat(scores, 5), np.repeat(events, 5), groups=np.repeat(range(80), 5).astype(str)))
    np.testing.assert_allclose(alone[["low", "high"]], once[["low", "high"]])
    width, of_duplicates = (each["high"] - each["low"] for each in (alone, many))
    assert (of_duplicates >= 0.99 * width).all() and (of_duplicates <= 1.06 * width).all()
    of_one_group = decision_curve(table(scores, events, groups="g"), [0.3]).iloc[0]
    assert of_one_group["high"] - of_one_group["low"] > 0.5  # one group tells next to nothing


def test_a_threshold_of_1_has_no_odds():
    assert benefit_at(table([0.1, 1.0], [0, 1]), 1.0) is None
    assert benefit_at(table([0.1, 1.0], [0, 1]), 0.0)["over_all"] == 0


# --- what is said


def said(scores, events, threshold, **options):
    return say_benefit(benefit_at(table(scores, events, **options), threshold))


@pytest.mark.wording
def test_good_is_said_only_where_the_limits_say_so():
    rng = np.random.default_rng(1)
    events = np.arange(400) % 4 == 0
    good = np.clip(0.25 + 0.5 * (events - 0.25) + 0.1 * rng.normal(size=400), 0, 1)
    told = said(good, events, 0.3)
    assert re.search(r"0\.3\b.* net benefit of 0\.2", told)
    assert re.search("better .*everybody or nobody", told)
    assert re.search("worse .*nobody or everybody", said(1 - good, events, 0.4))
    half_are_missed = np.where(np.arange(400) % 8 == 0, 0.5, 0.01)
    assert re.search(r"worse .*everybody\.$", said(half_are_missed, events, 0.1))
    assert re.search(r"not show .*everybody\.$", said(good, events, 0.001))


def test_chance_is_not_said_to_do_good():
    """Scores that know nothing, acted on where the prevalence is: neither better nor worse than all or nobody."""
    rng, false, simulations = np.random.default_rng(0), 0, 150
    for _ in range(simulations):
        told = said(rng.random(120) * 0.6, rng.random(120) < 0.3, 0.3)
        false += "more good" in told or "less good" in told
    assert false / simulations <= 0.06


@pytest.mark.slow
@pytest.mark.parametrize(("n", "prevalence", "size"), [(100, 0.3, 1), (400, 0.1, 1), (60, 0.2, 3), (240, 0.3, 6)])
def test_limits_hold_the_truth_as_often_as_promised(n, prevalence, size, capsys):
    """Calibrated scores; groups whose rows share half of their variance."""
    rng, at, simulations = np.random.default_rng(1), [0.05, 0.1, 0.2, 0.3, 0.5, 0.8], 400

    def draw(rows):
        events = np.repeat(rng.random(rows // size) < prevalence, size)
        noise = np.sqrt(0.5) * (np.repeat(rng.normal(size=rows // size), size) + rng.normal(size=rows))
        scores = expit(1.5 * (noise + 1.5 * events) - 1.5**2 / 2 + logit(prevalence))
        groups = "" if size == 1 else np.repeat(range(rows // size), size).astype(str)
        return table(scores, events, groups=groups)

    truth, held = decision_curve(draw(300_000), at), np.zeros((2, len(at)))
    for _ in range(simulations):
        found = decision_curve(draw(n), at)
        for place, (value, low, high) in enumerate(
            (("model", "low", "high"), ("over_all", "over_all_low", "over_all_high"))
        ):
            held[place] += (found[low] <= truth[value]) & (truth[value] <= found[high])
    held /= simulations
    with capsys.disabled():
        print(f"\nnet benefit, {n} rows in {size}s: {held[0].round(3)}, over all: {held[1].round(3)}")  # noqa: T201
    assert (held >= 0.91).all()
