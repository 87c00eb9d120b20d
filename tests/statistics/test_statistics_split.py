import numpy as np
import pytest
import sklearn.metrics as sk
from refusals import refused

from medcls.statistics.metrics import checked_split

BINARY = ("benign", "malignant")
THREE = ("covid", "normal", "tb")


def test_each_class_is_set_against_the_rest_and_the_positive_one_alone():
    labels, probabilities = [0, 1, 2, 2], np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]])
    several = checked_split(labels, probabilities, THREE, None).count().one_vs_rest
    assert [counts.name for counts in several] == list(THREE)
    assert [counts.is_case.tolist() for counts in several] == [[True, False, False, False], [False, True, False, False],
                                                              [False, False, True, True]]  # fmt: skip
    assert [counts.scores.tolist() for counts in several] == probabilities.T.tolist()
    (benign,) = checked_split([0, 1], [[0.9, 0.1], [0.3, 0.7]], BINARY, "benign").count().one_vs_rest
    assert (benign.name, benign.is_case.tolist(), benign.scores.tolist()) == ("benign", [True, False], [0.9, 0.3])
    with refused("no_positive_class", "'benign'", "'malignant'"):
        checked_split([0, 1], [[0.9, 0.1], [0.3, 0.7]], BINARY, None)


def test_counts_are_those_of_the_rows_as_often_as_they_weigh():
    rng = np.random.default_rng(0)
    labels, scores, times = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), 60), rng.integers(0, 4, 60)
    split = checked_split(labels, scores, THREE, None)
    counts = split.count(times[None].astype(np.float64))
    rows = np.repeat(np.arange(60), times)
    matrix = sk.confusion_matrix(labels[rows], split.predicted[rows], labels=range(3))
    assert counts.matrix[0].tolist() == matrix.tolist() and counts.n[0] == len(rows)
    for k, one in enumerate(counts.one_vs_rest):
        (tn, fp), (fn, tp) = sk.confusion_matrix(labels[rows] == k, split.predicted[rows] == k, labels=[False, True])
        assert (one.tp[0], one.fn[0], one.fp[0], one.tn[0]) == (tp, fn, fp, tn)


def test_a_row_at_the_threshold_is_predicted_positive():
    scores = np.array([0.1, 0.5, 0.5, 0.9])
    split = checked_split([0, 0, 1, 1], np.stack([1 - scores, scores], axis=1), BINARY, "malignant", 0.5)
    (counts,) = split.count().one_vs_rest
    assert (counts.tp[0], counts.fp[0], counts.cases[0], counts.others[0]) == (2, 1, 2, 2)


@pytest.mark.parametrize(("groups", "count"), [(["a", "a", "b", "c"], 3), (["", "", "b", "c"], 4), (None, 4)])
def test_rows_of_one_group_are_one_independent_row(groups, count):
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    split = checked_split([1, 1, 0, 1], np.stack([1 - scores, scores], axis=1), BINARY, "malignant", groups=groups)
    assert split.group_count() == count and split.is_grouped == (count < 4)
    assert split.group_count(split.labels == 1) == count - 1
    assert split.unit == ("groups" if count < 4 else "rows")


@pytest.mark.parametrize(("labels", "both"), [([0, 0, 0], False), ([1, 1, 1], False), ([0, 0, 1], True)])
def test_p50_a_class_without_cases_or_others_has_not_both(labels, both):
    scores = np.array([0.1, 0.2, 0.3])
    (counts,) = checked_split(labels, np.stack([1 - scores, scores], axis=1), BINARY, "malignant").count().one_vs_rest
    assert counts.has_both[0] == both
