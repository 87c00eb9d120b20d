"""Nested cross-validation: nobody judges what they saw, groups stay together, and nothing is found where nothing is."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medcls.probing.cross_validation import cross_validate, forest_out_of_fold, prior_shift
from medcls.statistics.intervals import intervals
from medcls.statistics.metrics import checked_split

STRENGTHS = (1e-3, 1e-1, 10.0)


def cut(n, folds, repeats, seed=0):
    draw = np.random.default_rng(seed)
    return np.stack([draw.permutation(n) % folds for _ in range(repeats)])


def sample(n=150, d=12, signal=1.0, seed=0):
    draw = np.random.default_rng(seed)
    labels = (draw.random(n) < 0.4).astype(np.int64)
    features = draw.normal(size=(n, d))
    features[:, 0] += signal * labels
    return features.astype(np.float32), labels


def sklearns(features, labels, train, strength):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
    return model.fit(features[train].astype(np.float64), labels[train])


def test_the_choice_and_the_scores_are_those_of_scikit_learn_done_by_hand():
    features, labels = sample()
    folds = cut(len(labels), 4, 1)
    found = cross_validate(features, labels, 2, folds, STRENGTHS)
    for fold in range(4):
        left = np.flatnonzero(folds[0] != fold)
        losses = []
        for strength in STRENGTHS:
            scores = np.empty((len(labels), 2))
            for inner in set(range(4)) - {fold}:
                held = folds[0] == inner
                train = np.flatnonzero((folds[0] != fold) & ~held)
                log = sklearns(features, labels, train, strength).predict_log_proba(features[held])
                scores[held] = softmax(log + prior_shift(labels, np.isin(np.arange(150), train), 2), axis=1)
            losses.append(log_loss(labels[left], scores[left]))
        assert found.strengths[0, fold] == STRENGTHS[int(np.argmin(losses))]
        held = folds[0] == fold
        log = sklearns(features, labels, left, found.strengths[0, fold]).predict_log_proba(features[held])
        expected = softmax(log + prior_shift(labels, folds[0] != fold, 2), axis=1)
        np.testing.assert_allclose(softmax(found.logits[0][held], axis=1), expected, atol=2e-4)
    assert found.strength == STRENGTHS[int(found.losses.argmin())]


def test_no_row_is_judged_by_a_model_that_saw_its_label():
    features, labels = sample(signal=0.5)
    folds = cut(len(labels), 5, 2)
    row = 17
    before = cross_validate(features, labels, 2, folds, STRENGTHS)
    other = labels.copy()
    other[row] = 1 - other[row]
    after = cross_validate(features, other, 2, folds, STRENGTHS)
    margin = [one.logits[..., 1] - one.logits[..., 0] for one in (before, after)]
    for repeat in range(2):
        # The shares of all classes are a constant for all rows of a fold; beyond that, no row of its fold has moved.
        own = folds[repeat] == folds[repeat, row]
        moved = margin[1][repeat, own] - margin[0][repeat, own]
        np.testing.assert_allclose(moved, moved[0], atol=1e-5)
        assert np.ptp(margin[1][repeat, ~own] - margin[0][repeat, ~own]) > 1e-4


def test_the_same_result_again():
    features, labels = sample()
    folds = cut(len(labels), 3, 2)
    first, second = (cross_validate(features, labels, 2, folds, STRENGTHS) for _ in range(2))
    np.testing.assert_array_equal(first.logits, second.logits)


@pytest.mark.parametrize("how", ["logistic", pytest.param("forest", marks=pytest.mark.slow)])
def test_random_labels_are_not_told_apart(how):
    """Of 8 sets without anything to find, the interval lies above 0.5 for three at most, and AUROC is near 0.5."""
    above, areas = 0, []
    for seed in range(8):
        features, labels = sample(n=80, d=100 if how == "logistic" else 4, signal=0.0, seed=seed)
        folds = cut(len(labels), 5, 1, seed)
        if how == "logistic":
            logits = cross_validate(features, labels, 2, folds, (0.0, 1e-4, 1e-2, 1.0)).mean_logits
        else:
            logits = forest_out_of_fold(features, labels, 2, folds).mean(axis=0)
        found = intervals(checked_split(labels, softmax(logits, axis=1), ("a", "b"), "b"), resamples=200)
        area = found["auroc", "b"]
        above += area.low > 0.5
        areas.append(area.estimate)
    assert above <= 3
    assert 0.40 < np.mean(areas) < 0.60


def test_scores_that_know_nothing_lie_at_chance_however_unequal_the_folds_are():
    labels = np.array([0] * 60 + [1] * 60)
    # Fold 0 holds most of class 1, so the others' models have seen few of it.
    folds = np.array([[0] * 10 + [1] * 25 + [2] * 25 + [0] * 40 + [1] * 10 + [2] * 10])
    features = np.zeros((120, 2), np.float32)
    logits = cross_validate(features, labels, 2, folds, (0.0,)).mean_logits
    assert roc_auc_score(labels, logits[:, 1] - logits[:, 0]) == 0.5


def test_a_forest_sees_a_band():
    draw = np.random.default_rng(0)
    numbers = draw.normal(size=(300, 2))
    numbers[draw.random(300) < 0.1, 1] = np.nan
    labels = (np.abs(numbers[:, 0]) > 0.7).astype(np.int64)
    logits = forest_out_of_fold(numbers, labels, 2, cut(300, 4, 1)).mean(axis=0)
    assert roc_auc_score(labels, logits[:, 1] - logits[:, 0]) > 0.97


def test_several_classes():
    draw = np.random.default_rng(0)
    labels = np.arange(150) % 3
    features = draw.normal(size=(150, 6)).astype(np.float32)
    features[:, :3] += 2 * np.eye(3)[labels]
    logits = cross_validate(features, labels, 3, cut(150, 5, 2), STRENGTHS).mean_logits
    assert (logits.argmax(axis=1) == labels).mean() > 0.75
