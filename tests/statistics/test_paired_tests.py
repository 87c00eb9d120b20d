import numpy as np
import pytest
from refusals import refused
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from medcls.statistics.metric_table import BY_IDENTIFIER, METRICS
from medcls.statistics.metrics import checked_split
from medcls.statistics.paired_tests import Draws, PairedAreas, PairedRows, PairedTests
from medcls.statistics.resampling import group_numbers


def test_a_pair_of_equal_classifiers_has_no_difference_by_any_metric():
    rng = np.random.default_rng(0)
    labels, scores = np.arange(60) % 2, rng.dirichlet(np.ones(2), 60)
    split = checked_split(labels, scores, ("a", "b"), "b")
    tests = PairedTests([split, split], [(0, 1)], Draws(100, 100, 0))
    for metric in (metric for metric in METRICS if metric.compared):
        values, (found,) = tests.compare(metric)
        assert values[0] == values[1] and found.p == 1, metric.identifier


@pytest.mark.parametrize("positive", ["b", None])
def test_hard_labels_have_decisions_and_no_ranking(positive):
    classes = ("a", "b") if positive else ("a", "b", "c")
    split = checked_split(np.arange(60) % len(classes), np.eye(len(classes))[np.arange(60) % 2], classes, positive)
    tests = PairedTests([split, split], [(0, 1)], Draws(100, 100, 0))
    assert tests.compare(BY_IDENTIFIER["accuracy"])[1][0].p == 1
    with refused("hard_labels"):
        tests.compare(BY_IDENTIFIER["auroc"])


@pytest.mark.parametrize("k", [2, 3])
def test_signs_of_contributions_give_the_areas_after_any_change_of_sides(k):
    """Held against the ranks that changed sides, ranked anew and counted: with ties, groups and several classes."""
    rng = np.random.default_rng(5)
    n = 60
    labels, groups = rng.integers(0, k, n), [f"p{g}" for g in rng.integers(0, 25, n)]
    labels[:k] = range(k)
    scores = np.stack([np.round(rng.dirichlet(np.ones(k), n), 1).T for _ in range(2)])
    rows = PairedRows(labels, group_numbers(groups, n))
    cases = np.stack([labels == c for c in ((0,) if k == 2 else range(k))]).astype(int)
    scores = scores[:, : len(cases)]
    contributions = PairedAreas(rows, scores, cases).contributions([(0, 1)])[0]
    ranks = rankdata(scores, axis=2)
    for _ in range(20):
        signs = rng.choice((-1.0, 1.0), contributions.size)
        mixed = np.where((signs < 0)[rows.groups], ranks[::-1], ranks)
        areas = [[roc_auc_score(case, row) for case, row in zip(cases, side, strict=True)] for side in mixed]
        assert signs @ contributions == pytest.approx(np.mean(areas[0]) - np.mean(areas[1]), abs=1e-12)
