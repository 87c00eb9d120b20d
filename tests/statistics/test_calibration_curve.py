import time

import numpy as np
import pytest
from scipy.special import expit, logit

from medcls.statistics import causes
from medcls.statistics.calibration_curve import calibration_curve


def drawn(n, seed=0, each=1, truth=lambda p: p):
    """Predictions, and events that come true as often as `truth` says; images of one patient say the same."""
    rng = np.random.default_rng(seed)
    predicted = np.repeat(expit(rng.normal(-0.5, 1.3, n // each)), each)
    events = (np.repeat(rng.random(n // each), each) < truth(predicted)).astype(np.int64)
    return predicted, events, np.repeat(np.arange(n // each), each)


def bent(p):
    """No line of the log odds: right in the middle, and wrong on either side."""
    return np.clip(p + 0.15 * np.sin(2 * np.pi * p), 0.01, 0.99)


def test_the_curve_finds_a_bend_and_its_distance():
    predicted, events, groups = drawn(40_000, truth=bent)
    curve = calibration_curve(predicted, events, groups)
    inner = (curve.predicted > 0.05) & (curve.predicted < 0.9)
    assert np.abs(curve.observed - bent(curve.predicted))[inner].max() < 0.03
    distance = np.abs(bent(predicted) - predicted)
    assert curve.ici == pytest.approx(distance.mean(), abs=0.01)
    assert curve.e50 == pytest.approx(np.median(distance), abs=0.015)
    assert curve.e90 == pytest.approx(np.quantile(distance, 0.9), abs=0.015)
    assert curve.ici > 5 * curve.perfect[0]


def test_a_perfect_model_lies_as_far_off_as_its_note_says():
    found = [calibration_curve(*drawn(300, seed)) for seed in range(60)]
    seen = np.mean([(one.ici, one.e50, one.e90) for one in found], axis=0)
    said = np.mean([one.perfect for one in found], axis=0)
    np.testing.assert_allclose(said, seen, rtol=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("each", [1, 4])
def test_the_band_holds_the_truth(each):
    at = np.array([0.1, 0.3, 0.5, 0.7])
    held = []
    for seed in range(100):
        curve = calibration_curve(*drawn(300 * each, seed, each))
        low, high = (np.interp(at, curve.predicted, limit) for limit in (curve.low, curve.high))
        held.append((low <= at) & (at <= high))
    assert np.mean(held) > 0.915  # 0.95, less 2 standard errors of 100 simulations whose points go together


def test_copies_do_not_narrow_the_band():
    predicted, events, groups = drawn(200)
    once = calibration_curve(predicted, events, groups)
    often = calibration_curve(*(np.repeat(column, 5) for column in (predicted, events, groups)))
    np.testing.assert_allclose(often.high - often.low, once.high - once.low, atol=0.02)


def test_few_cases_bend_no_curve():
    rng = np.random.default_rng(0)
    predicted = expit(rng.normal(-3, 1, 200))
    events = np.zeros(200, np.int64)
    events[np.argsort(-predicted)[[0, 3, 9, 20]]] = 1
    curve = calibration_curve(predicted, events, np.arange(200))
    slope = np.diff(logit(curve.observed)) / np.diff(logit(curve.predicted))
    np.testing.assert_allclose(slope, slope[0], rtol=1e-6)


def test_separated_rows_and_equal_scores_have_a_finite_curve_or_none():
    apart = calibration_curve(np.linspace(0.01, 0.99, 60), (np.arange(60) > 29).astype(np.int64), np.arange(60))
    assert np.isfinite(apart.observed).all() and np.isfinite(apart.ici)
    flat = calibration_curve(np.full(30, 0.4), np.arange(30) % 2, np.arange(30))
    assert flat.reason == causes.SAME_PROBABILITY and np.isnan(flat.ici) and not len(flat.predicted)
    ends = calibration_curve(np.array([0.0, 1.0, 0.0, 1.0, 0.5, 0.3]), np.array([0, 1, 1, 0, 1, 0]), np.arange(6))
    assert np.isfinite(ends.observed).all()
    for events, groups, said in (
        (np.zeros(9), np.arange(9), "one class"),
        (np.arange(9) % 2, np.zeros(9), "one group"),
    ):
        none = calibration_curve(np.linspace(0.1, 0.9, 9), events.astype(np.int64), groups.astype(np.int64))
        assert said in none.reason
    nothing = np.zeros(0, np.int64)
    assert calibration_curve(np.zeros(0), nothing, nothing).reason == causes.NO_ROWS


def test_a_hundred_thousand_rows_take_seconds():
    rows = drawn(100_000)
    start = time.process_time()
    calibration_curve(*rows)
    assert time.process_time() - start < 5
