"""Drift: the distance against scipy's, limits that hold, and no drift in equal samples."""

import numpy as np
import pytest
from scipy.stats import betabinom, chi2, ks_2samp, norm

from medcls.statistics.drift import BINS, THREE_SIGMA, control_limits, drift


def truth(mean: float, deviation: float) -> tuple[float, float]:
    """Distance and population stability of a normal distribution against the standard one."""
    at = np.linspace(-8, 8, 40_001)
    share = np.diff(norm.cdf(norm.ppf(np.linspace(0, 1, 11)), mean, deviation))
    return np.abs(norm.cdf(at) - norm.cdf(at, mean, deviation)).max(), ((share - 0.1) * np.log(share / 0.1)).sum()


def test_the_distance_is_that_of_scipy():
    random = np.random.default_rng(0)
    values, reference = random.normal(0.4, 1, 70).round(1), random.normal(size=45).round(1)  # with ties
    found = drift(values, reference, resamples=100)
    assert found.distance == pytest.approx(ks_2samp(values, reference).statistic, abs=1e-12)
    assert found.p_value == pytest.approx(ks_2samp(values, reference, method="asymp").pvalue, rel=0.35)
    assert (found.n, found.reference_n) == (70, 45)


def test_the_stability_index_is_the_sum_over_tenths():
    random = np.random.default_rng(1)
    reference, values = random.normal(size=40_000), random.normal(0.5, 1, 40_000)
    assert drift(values, reference, resamples=100).stability == pytest.approx(truth(0.5, 1)[1], rel=0.1)


def test_an_image_and_its_duplicates_count_once():
    random = np.random.default_rng(2)
    values, reference = random.normal(size=40), random.normal(size=50)
    alone = drift(values, reference, resamples=400)
    groups = [str(number) for number in range(40)] * 10
    tenfold = drift(np.tile(values, 10), reference, groups=groups, resamples=400)
    assert tenfold.n == 40 and tenfold.p_value == pytest.approx(alone.p_value)
    assert tenfold.stability_high == pytest.approx(alone.stability_high, rel=0.35)


def test_constant_values_and_an_empty_sample():
    assert drift(np.ones(20), np.ones(30), resamples=100).distance == 0
    with pytest.raises(ValueError, match="values"):
        drift([], [1.0])


def test_equal_samples_do_not_drift():
    random = np.random.default_rng(3)
    found = [drift(random.normal(size=80), random.normal(size=120), resamples=50) for _ in range(200)]
    assert np.mean([one.p_value < 0.05 for one in found]) <= 0.08
    # By its distribution under equal samples, without its mean, which is subtracted.
    by_chance = (1 / 80 + 1 / 120) * (chi2.ppf(0.95, BINS - 1) - (BINS - 1))
    assert np.mean([one.stability > by_chance for one in found]) <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "deviation"), [(0, 1), (0.3, 1), (0.8, 1), (0, 1.5)])
@pytest.mark.parametrize(("n", "m"), [(50, 100), (200, 200), (1000, 500)])
def test_limits_hold_the_truth(mean, deviation, n, m):
    random = np.random.default_rng(n)
    distance, stability = truth(mean, deviation)
    found = [drift(random.normal(mean, deviation, n), random.normal(size=m), resamples=300) for _ in range(200)]
    assert np.mean([one.distance_low <= distance <= one.distance_high for one in found]) >= 0.93
    assert np.mean([one.stability_low <= stability <= one.stability_high for one in found]) >= 0.93


@pytest.mark.parametrize(("n", "events", "trials"), [(20, 45, 50), (300, 80, 100), (5, 0, 30)])
def test_control_limits_hold_periods_of_the_same_process(n, events, trials):
    low, high = control_limits(n, events, trials)
    expected = betabinom(n, events + 0.5, trials - events + 0.5)
    assert expected.cdf(high * n) - expected.cdf(low * n - 1) >= 1 - THREE_SIGMA
    assert 0 <= low <= high <= 1


def test_a_reference_of_few_rows_widens_the_limits():
    few, many = control_limits(100, 9, 10), control_limits(100, 900, 1000)
    assert few[0] < many[0]
