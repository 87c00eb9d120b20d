import itertools
import math

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm, quantile_test

from medcls.statistics import causes
from medcls.statistics.analytic import (
    DELONG,
    FEW_FOR_DELONG,
    NEWCOMBE,
    WILSON,
    auroc_interval,
    delong,
    f1_limits,
    likelihood_ratio_limits,
    mean_limits,
    newcombe_limits,
    order_statistics,
    wilson,
    wilson_limits,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 10), (84, 117), (1, 100_000)])
def test_wilson_equals_scipy(successes, n):
    expected = binomtest(successes, n).proportion_ci(0.95, "wilson")
    found = wilson(successes, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.method == WILSON and found.n == n and 0 <= found.low <= found.estimate <= found.high <= 1


def test_wilson_of_the_example_of_its_source():
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662, and 0 of 20 gives 0 to 0.1611.
    assert wilson_limits(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_limits(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


def test_nothing_to_count_is_nan_with_the_reason():
    found = wilson(0, 0, causes.no_image_of("x"))
    assert np.isnan([found.estimate, found.low, found.high]).all() and found.note == causes.no_image_of("x")


def naive_delong(labels, scores):
    """DeLong et al. 1988 as it is written: every pair, one by one."""
    kernels = []
    for row in scores:
        cases, others = row[labels == 1], row[labels == 0]
        kernel = np.zeros((len(cases), len(others)))
        for i, j in itertools.product(range(len(cases)), range(len(others))):
            kernel[i, j] = 1.0 if cases[i] > others[j] else 0.5 if cases[i] == others[j] else 0.0
        kernels.append(kernel)
    areas = np.array([kernel.mean() for kernel in kernels])
    m, n = kernels[0].shape
    covariance = np.zeros((len(scores), len(scores)))
    for r, s in itertools.product(range(len(scores)), repeat=2):
        v10 = [(kernels[q].mean(axis=1) - areas[q]) for q in (r, s)]
        v01 = [(kernels[q].mean(axis=0) - areas[q]) for q in (r, s)]
        covariance[r, s] = (v10[0] * v10[1]).sum() / (m - 1) / m + (v01[0] * v01[1]).sum() / (n - 1) / n
    return areas, covariance


@settings(max_examples=60, deadline=None)
@given(m=st.integers(2, 25), n=st.integers(2, 25), seed=st.integers(0, 10**6), decimals=st.integers(0, 4))
def test_delong_equals_the_naive_double_loop_ties_included(m, n, seed, decimals):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.r_[np.ones(m, int), np.zeros(n, int)])
    scores = np.round(rng.normal(size=(3, m + n)) + labels, decimals)
    areas, covariance = delong(labels, scores)
    expected_areas, expected = naive_delong(labels, scores)
    np.testing.assert_allclose(areas, expected_areas, rtol=0, atol=1e-10)
    np.testing.assert_allclose(covariance, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(areas, [sk.roc_auc_score(labels, row) for row in scores], rtol=0, atol=1e-10)


def newcombe_by_polynomial(area, m, n):
    """Method 5 as the quartic equation that its definition becomes, solved for its two real roots within 0..1."""
    theta, half, z2 = np.polynomial.Polynomial([0, 1]), (m + n) / 2, norm.ppf(0.975) ** 2
    both = (2 - theta) * (1 + theta)
    variance = theta * (1 - theta) * ((2 * half - 1) * both - 3 * (half - 1))
    roots = (m * n * (theta - area) ** 2 * both - z2 * variance).roots()
    real = np.sort(roots[np.abs(roots.imag) < 1e-9].real)
    return real[(real > -1e-9) & (real < 1 + 1e-9)]


@pytest.mark.parametrize(("area", "m", "n"), [(0.8, 20, 30), (0.97, 5, 200), (0.5, 3, 3), (0.7, 117, 483), (0.9, 1, 1)])
def test_newcombe_solves_its_equation(area, m, n):
    low, high = newcombe_limits(area, m, n)
    roots = newcombe_by_polynomial(area, m, n)
    assert (low, high) == pytest.approx((roots.min(), roots.max()), abs=1e-7)
    assert 0 < low < area < high < 1


@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 3), (10, 100), (5000, 5000), (10**6, 10**6)])
def test_newcombe_has_limits_at_one_and_zero(m, n):
    low, high = newcombe_limits(1.0, m, n)
    assert high == 1 and 0 < low < 1
    assert newcombe_limits(0.0, m, n) == pytest.approx((0.0, 1 - low))


def test_an_area_of_one_gets_another_method_named():
    labels, scores = np.repeat([0, 1], 50), np.linspace(0, 1, 100)
    found = auroc_interval(labels, scores)
    assert (found.estimate, found.high, found.method) == (1, 1, NEWCOMBE)
    assert 0.9 < found.low < 0.99 and found.note


@pytest.mark.parametrize(("cases", "method"), [(FEW_FOR_DELONG - 1, NEWCOMBE), (FEW_FOR_DELONG, DELONG)])
def test_tiny_classes_get_another_method_named(cases, method):
    rng = np.random.default_rng(0)
    labels = np.r_[np.ones(cases, int), np.zeros(200, int)]
    found = auroc_interval(labels, rng.normal(size=len(labels)) + labels)
    assert found.method == method and 0 < found.low < found.estimate < found.high < 1
    assert (str(cases) in found.note) == (method == NEWCOMBE)


def test_equal_scores_are_no_certain_half():
    found = auroc_interval(np.repeat([0, 1], 50), np.full(100, 0.3))
    assert found.estimate == 0.5 and found.method == NEWCOMBE and found.high - found.low > 0.1


def test_f1_limits_are_wilsons_of_the_jaccard_share():
    tp, fp, fn = 30, 10, 20
    f1 = 2 * tp / (2 * tp + fp + fn)
    low, high = wilson_limits(tp / (tp + fp + fn), tp + fp + fn)
    assert f1_limits(f1, tp + fp + fn) == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))
    assert f1_limits(0.0, 10)[0] == 0 and f1_limits(1.0, 10)[1] == 1


def test_mean_limits_by_hand():
    # Lower distances 0.1 and 0.05, upper 0.1 and 0: half of their hypotenuse to either side of 0.85.
    low, high = mean_limits((0.8, 0.9), (0.7, 0.9), (0.85, 0.9))
    assert (low, high) == pytest.approx((0.85 - np.hypot(0.1, 0.05) / 2, 0.9))
    # A second figure that is certain leaves half the width of the first.
    assert mean_limits((0.8, 1.0), (0.6, 0.9), (1.0, 1.0)) == pytest.approx((0.8, 0.95))


def test_likelihood_ratio_limits_of_the_example_of_their_source():
    # Simel, Samsa and Matchar 1991: sensitivity 0.8 of 100 and specificity 0.7 of 100, LR+ 2.67 (1.9 to 3.7) and
    # LR- 0.29 (0.19 to 0.43); here to four digits by hand.
    error = np.sqrt(1 / 80 - 1 / 100 + 1 / 30 - 1 / 100)
    ratio = 0.8 / 0.3
    expected = (ratio * np.exp(-1.959963984540054 * error), ratio * np.exp(1.959963984540054 * error))
    assert likelihood_ratio_limits(0.8, 0.3, 100, 100) == pytest.approx(expected)
    assert expected == pytest.approx((1.94, 3.66), abs=0.01)


@pytest.mark.parametrize(
    ("of_cases", "of_others", "cases", "others"),
    [(1.0, 0.2, 5, 20), (1.0, 1.0, 5, 9), (0.0, 0.7, 100, 100), (0.9, 1.0, 10, 10), (1.0, 1 / 60, 60, 60)],
)
def test_a_rate_of_0_or_1_is_not_certain_in_a_likelihood_ratio(of_cases, of_others, cases, others):
    low, high = likelihood_ratio_limits(of_cases, of_others, cases, others)
    assert 0 <= low <= of_cases / of_others < high and (low > 0) == (of_cases > 0)
    for limit, own, other in ((low, 0, 1), (high, 1, 0)):  # the equation that MOVER solves
        from_cases = of_cases - wilson_limits(of_cases, cases)[own]
        from_others = limit * (of_others - wilson_limits(of_others, others)[other])
        assert (of_cases - limit * of_others) ** 2 == pytest.approx(from_cases**2 + from_others**2, abs=1e-9)


def test_a_likelihood_ratio_of_0_has_no_negative_lower_limit():
    low, high = likelihood_ratio_limits(0.0, 1 / 20, 10, 20)
    assert math.copysign(1, low) == 1 and low == 0 < high


@pytest.mark.parametrize("share", [0.05, 0.1, 0.9])
@pytest.mark.parametrize("n", [1, 10, 36, 72, 200])
def test_order_statistics_equal_scipy(n, share):
    first, second = order_statistics(n, share)
    values = np.arange(1.0, n + 1)
    expected = quantile_test(values, q=0, p=share).confidence_interval(0.95)
    assert (first or np.nan, second if second <= n else np.nan) == pytest.approx(tuple(expected), nan_ok=True)


def wilson_coverage(p, n):
    """Exact, by summing over all outcomes."""
    successes = np.arange(n + 1)
    limits = np.array([wilson_limits(count / n, n) for count in successes])
    return binom.pmf(successes, n, p)[(limits[:, 0] <= p) & (p <= limits[:, 1])].sum()


def area_coverage(area, cases, others, simulations, seed=0):
    """Normal scores of equal spread, whose AUROC is known."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [cases, others])
    hits = 0
    for _ in range(simulations):
        scores = rng.normal(size=cases + others) + labels * np.sqrt(2) * norm.ppf(area)
        found = auroc_interval(labels, scores)
        hits += found.low <= area <= found.high
    return hits / simulations


def test_wilson_covers_what_it_promises():
    """Exact, without simulation: 93% to 97% from 100 rows on and for proportions from 0.1 to 0.9."""
    for n in (100, 117, 250, 500, 1000):
        for p in np.arange(0.1, 0.95, 0.1):
            assert 0.93 <= wilson_coverage(p, n) <= 0.97, (n, p)


@pytest.mark.slow
def test_the_area_covers_what_it_promises(capsys):
    """AUROC 0.7 to 0.95 with 100 rows a class or more: 93% to 97%, give or take two standard errors; else tabulated."""
    areas, simulations = (0.6, 0.7, 0.8, 0.9, 0.95, 0.99), 1500
    slack = 2 * np.sqrt(0.95 * 0.05 / simulations)
    lines, missed = [], []
    for cases, others in ((5, 50), (20, 20), (30, 300), (100, 100), (100, 1000), (300, 300)):
        row = {area: area_coverage(area, cases, others, simulations) for area in areas}
        lines.append(f"AUROC, {cases} against {others}: " + " ".join(f"{area}:{row[area]:.3f}" for area in areas))
        if min(cases, others) >= 100:
            missed += [(cases, others, area) for area in areas[1:5] if not abs(row[area] - 0.95) <= 0.02 + slack]
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201
    assert not missed
