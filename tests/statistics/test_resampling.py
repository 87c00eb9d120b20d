import time
import tracemalloc

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from medcls.statistics.resampling import (
    Ranking,
    any_repeated,
    bootstrap,
    group_numbers,
    weighted_confusion,
)


def roc_points(labels, scores):
    """Sensitivity and specificity at every threshold of scikit-learn's curve, counted."""
    negatives = int((labels == 0).sum())
    false, true, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    return true, (negatives - np.rint(false * negatives)) / negatives


def sensitivity_at(labels, scores, specificity):
    reached, held = roc_points(labels, scores)
    return reached[held >= specificity].max()


def specificity_at(labels, scores, sensitivity):
    held, reached = roc_points(labels, scores)
    return reached[held >= sensitivity].max()


def mean_of(values):
    return lambda weights: (weights @ values / weights.sum(axis=1))[:, None]


def test_rows_without_a_group_stand_alone():
    numbers = group_numbers(["x", "", "y", "x", ""], 5)
    assert numbers.tolist() == [0, 1, 2, 0, 3]
    assert any_repeated(numbers) and not any_repeated(group_numbers(["", "", "x"], 3))
    assert group_numbers(None, 3).tolist() == [0, 1, 2]
    with refused("wrong_shape", "3", "2"):
        group_numbers(["x", "y"], 3)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 40), seed=st.integers(0, 10**6), decimals=st.integers(0, 3))
def test_weights_mean_the_same_as_repeated_rows(n, seed, decimals):
    rng = np.random.default_rng(seed)
    labels = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    scores = np.round(rng.normal(size=n) + labels, decimals)
    predicted = (scores > 0.5).astype(np.int64)
    times = np.r_[np.ones((2, 2)), rng.integers(0, 4, (n - 2, 2))].T
    both = Ranking.by_score(labels, scores).count(times.astype(np.float64))
    areas, precisions = both.areas(), both.average_precisions()
    matrices = weighted_confusion(times.astype(np.float64), labels, predicted, 2)
    for row, counts in enumerate(times.astype(int)):
        y, s, p = (np.repeat(values, counts) for values in (labels, scores, predicted))
        assert areas[row] == pytest.approx(sk.roc_auc_score(y, s), abs=1e-10)
        assert precisions[row] == pytest.approx(sk.average_precision_score(y, s), abs=1e-10)
        np.testing.assert_array_equal(matrices[row], sk.confusion_matrix(y, p, labels=[0, 1]))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 40),
    seed=st.integers(0, 10**6),
    decimals=st.integers(0, 3),
    share=st.sampled_from([0.1, 0.2, 0.3, 0.7, 0.9, 0.95, 1.0]),
)
def test_rates_at_a_held_rate_are_those_of_repeated_rows(n, seed, decimals, share):
    rng = np.random.default_rng(seed)
    labels = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    scores = np.round(rng.normal(size=n) + labels, decimals) / 7 + 0.123
    times = np.r_[np.ones((2, 3)), rng.integers(0, 4, (n - 2, 3))].T
    counts = Ranking.by_score(labels, scores).count(times.astype(np.float64))
    found = zip(times.astype(int), counts.sensitivities_at(share), counts.specificities_at(share), strict=True)
    for row, sensitivity, specificity in found:
        y, s = np.repeat(labels, row), np.repeat(scores, row)
        assert sensitivity == pytest.approx(sensitivity_at(y, s, share), abs=1e-12)
        assert specificity == pytest.approx(specificity_at(y, s, share), abs=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.14, 0.28, 0.8, 0.9, 0.95])
def test_a_held_rate_is_counted_whatever_the_last_digit_of_its_product(share):
    for n in range(1, 61):
        labels, scores = np.repeat([0, 1], n), np.r_[np.arange(n), np.arange(n) + 0.5] / n
        counts = Ranking.by_score(labels, scores).count(np.ones((1, 2 * n)))
        assert counts.sensitivities_at(share)[0] == sensitivity_at(labels, scores, share), n
        assert counts.specificities_at(share)[0] == specificity_at(labels, scores, share), n


def test_a_held_rate_is_the_best_of_at_least_the_stated_one():
    labels = np.array([0] * 10 + [1] * 5)
    scores = np.array([0.0, 0.1, 0.1, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.8, 0.35, 0.45, 0.6, 0.7, 0.9])
    counts = Ranking.by_score(labels, scores).count(np.ones((1, 15)))
    assert [counts.sensitivities_at(share)[0] for share in (0.9, 1.0, 0.0)] == [3 / 5, 1 / 5, 1.0]
    assert [counts.specificities_at(share)[0] for share in (0.8, 0.81)] == [8 / 10, 6 / 10], "not the nearest"


def test_a_class_without_weight_has_no_area():
    counts = Ranking.by_score(np.array([0, 1]), np.arange(2.0)).count(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    areas, precisions = counts.areas(), counts.average_precisions()
    assert np.isnan(areas[:2]).all() and np.isnan(precisions[:2]).all()
    assert areas[2] == precisions[2] == 1


def test_standard_error_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(0).normal(size=200)
    labels = np.arange(200) % 2
    found = bootstrap(mean_of(values), labels, np.arange(200), 4000, 0)
    assert found.values.std() == pytest.approx(values.std() / np.sqrt(200), rel=0.05)
    assert found.redrawn == 0 and found.values.shape == (4000, 1)


def test_groups_are_drawn_whole():
    values, groups = np.repeat(np.random.default_rng(0).normal(size=50), 4), np.repeat(np.arange(50), 4)
    found = bootstrap(mean_of(values), np.tile([0, 1], 100), groups, 4000, 0)
    assert found.values.std() == pytest.approx(values.std() / np.sqrt(50), rel=0.05)
    # No group is torn: within each, all weights are equal.
    torn = bootstrap(lambda weights: np.ptp(weights.reshape(-1, 50, 4), axis=2), np.tile([0, 1], 100), groups, 10, 0)
    assert (torn.values == 0).all()


def test_the_order_of_groups_in_the_table_does_not_need_to_be_sorted():
    groups = np.array([2, 0, 1, 2, 0, 1])
    torn = bootstrap(lambda weights: weights[:, :3] - weights[:, 3:], np.array([0, 1, 0, 1, 0, 1]), groups, 20, 0)
    assert (torn.values == 0).all()


def test_a_resample_that_lost_a_class_is_redrawn_and_counted():
    labels = np.r_[1, np.zeros(9, int)]
    found = bootstrap(lambda weights: weights[:, :1], labels, np.arange(10), 2000, 0)
    assert (found.values >= 1).all() and len(found.values) == 2000
    # Each draw of ten leaves the one case out with the chance 0.9 ** 10.
    lost = 0.9**10
    assert found.redrawn == pytest.approx(2000 * lost / (1 - lost), rel=0.1)


def test_classes_that_hang_on_one_group_each_do_not_search_for_ever():
    found = bootstrap(lambda weights: weights[:, :1], np.arange(30), np.arange(30), 100, 0)
    assert np.isnan(found.values).all() and found.values.shape == (100, 1) and found.redrawn >= 1000


def test_the_same_seed_gives_the_same_resamples():
    def draw(seed):
        return bootstrap(lambda weights: weights, np.arange(20) % 2, np.arange(20), 50, seed).values

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()


def test_no_rows_or_no_resamples_are_no_bootstrap():
    for labels, resamples in ((np.arange(4) % 2, 1), (np.arange(0), 100)):
        with refused("bad_value", f"{resamples} resamples", f"{len(labels)} rows"):
            bootstrap(lambda weights: weights, labels, np.arange(len(labels)), resamples, 0)


def test_memory_stays_bounded_with_many_rows():
    n = 100_000
    labels, scores = np.arange(n) % 2, np.random.default_rng(0).normal(size=n)
    tracemalloc.start()
    started = time.process_time()
    ranking = Ranking.by_score(labels, scores)
    bootstrap(lambda weights: ranking.count(weights).areas()[:, None], labels, np.arange(n), 20, 0)
    assert tracemalloc.get_traced_memory()[1] < 100e6 and time.process_time() - started < 10
    tracemalloc.stop()
