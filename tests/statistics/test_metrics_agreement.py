"""Every figure against scikit-learn's, and torchmetrics' where scikit-learn has none, on tables of any kind."""

import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from torchmetrics.functional import classification as tm

from medcls.statistics.metrics import (
    classification_metrics,
    predicted_classes,
)
from medcls.statistics.resampling import Ranking

SAME = {"abs": 1e-9, "rel": 1e-9, "nan_ok": True}


@st.composite
def tables(draw, classes, smallest=1):
    """Labels `(n,)` and probabilities `(n, K)`: ties, tiny n, classes without a case, values of 0, 1 and 1e-300."""
    k, n = draw(classes), draw(st.integers(smallest, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    present = rng.choice(k, draw(st.integers(1, k)), replace=False)
    labels = rng.choice(present, n)
    scores = rng.normal(size=(n, k))
    scores[np.arange(n), labels] += draw(st.sampled_from([0.0, 1.0, 5.0]))
    scores = np.round(scores, draw(st.integers(0, 3))) * draw(st.sampled_from([0.0, 0.1, 1.0, 30.0, 900.0]))
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    if np.isin(probabilities, (0, 1)).all():  # one row in between, so that these are scores by the rule
        probabilities[0] = 1 / k
    return labels, probabilities


def named(k):
    return tuple(f"class {i}" for i in range(k))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(table=tables(classes=st.just(2)), first=st.booleans(), threshold=st.sampled_from([None, 0.0, 0.3, 0.5, 1.0]))
def test_binary_figures_agree(table, first, threshold):
    labels, probabilities = table
    classes, positive = named(2), 0 if first else 1
    metrics = classification_metrics(labels, probabilities, classes, classes[positive], threshold)
    truth, scores = (labels == positive).astype(int), probabilities[:, positive]
    called = (scores >= (0.5 if threshold is None else threshold)).astype(int)
    predicted = predicted_classes(probabilities, classes, classes[positive], threshold)
    assert ((predicted == positive) == called).all()
    both, n = 0 < truth.sum() < truth.size, truth.size

    expected = of_one_class(truth, called, scores) | of_all_classes(labels, predicted, probabilities)
    expected |= {"n": n, "prevalence": truth.mean(), "brier": sk.brier_score_loss(truth, scores, labels=[0, 1])}
    expected["balanced_accuracy"] = sk.balanced_accuracy_score(labels, predicted) if both else np.nan
    compare(metrics.values, expected, metrics.reasons)
    np.testing.assert_array_equal(metrics.confusion, sk.confusion_matrix(labels, predicted, labels=[0, 1]))


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(table=tables(classes=st.integers(3, 5)))
def test_figures_of_several_classes_agree(table):
    labels, probabilities = table
    k, n = probabilities.shape[1], labels.size
    classes = named(k)
    metrics = classification_metrics(labels, probabilities, classes, None, ordered=True)
    predicted = probabilities.argmax(axis=1)
    support = np.bincount(labels, minlength=k)

    averaged = ("sensitivity", "specificity", "precision", "npv", "f1", "auroc", "average_precision")
    figures = [of_one_class(labels == c, predicted == c, probabilities[:, c]) for c in range(k)]
    for c in range(k):
        of_class = figures[c] | {"support": support[c], "prevalence": support[c] / n}
        of_class |= against_rest(labels == c, predicted == c, probabilities[:, c])
        compare(metrics.per_class[classes[c]], of_class, metrics.reasons, "", f"/{classes[c]}")
    macro = {name: np.mean([of_class[name] for of_class in figures]) for name in averaged}
    there = support > 0
    weighted = {
        name: np.average(np.array([of_class[name] for of_class in figures])[there], weights=support[there])
        for name in averaged
    }
    compare(metrics.weighted, weighted, metrics.reasons, "weighted/")
    macro["balanced_accuracy"] = sk.balanced_accuracy_score(labels, predicted) if there.all() else np.nan
    macro |= of_all_classes(labels, predicted, probabilities) | {"n": n}
    macro["brier"] = sk.brier_score_loss(labels, probabilities, labels=range(k))
    macro["quadratic_kappa"] = kappa(labels, predicted, k, "quadratic")
    compare(metrics.values, macro, metrics.reasons)
    np.testing.assert_array_equal(metrics.confusion, sk.confusion_matrix(labels, predicted, labels=range(k)))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(table=tables(classes=st.integers(3, 5), smallest=20))
def test_averages_are_scikit_learns_own_where_it_has_every_class(table):
    """Not only our one-against-rest figures averaged once more, but scikit-learn's words `macro` and `weighted`."""
    labels, probabilities = table
    k = probabilities.shape[1]
    metrics = classification_metrics(labels, probabilities, named(k), None)
    predicted = probabilities.argmax(axis=1)
    for average, figures in (("macro", metrics.values), ("weighted", metrics.weighted)):
        precision, recall, f1, _ = sk.precision_recall_fscore_support(
            labels, predicted, labels=range(k), average=average, zero_division=0
        )
        expected = {"precision": precision, "sensitivity": recall, "f1": f1}
        if np.unique(labels).size == k:
            kind = {"average": average, "multi_class": "ovr", "labels": range(k)}
            expected["auroc"] = sk.roc_auc_score(labels, probabilities, **kind)
            expected["average_precision"] = sk.average_precision_score(
                np.eye(k, dtype=int)[labels], probabilities, average=average
            )
        for name, value in expected.items():
            if not np.isnan(figures[name]):
                assert figures[name] == pytest.approx(value, **SAME), (average, name)


@settings(max_examples=100, deadline=None)
@given(table=tables(classes=st.just(2)), level=st.sampled_from([0.0, 0.1234, 0.5432, 0.8371, 0.9517, 1.0]))
def test_fixed_points_agree_with_torchmetrics(table, level):
    labels, probabilities = table
    scores = probabilities[:, 1]
    if set(np.unique(labels)) != {0, 1} or (np.isin(scores, (0, 1)).all() and np.ptp(scores) > 0):
        return
    target, preds = torch.tensor(labels), torch.tensor(scores)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sensitivity, _ = tm.binary_sensitivity_at_specificity(preds, target, level)
        specificity, _ = tm.binary_specificity_at_sensitivity(preds, target, level)
    # torchmetrics gives single precision.
    counts = Ranking.by_score(labels, scores).count(np.ones((1, len(labels))))
    assert counts.sensitivities_at(level)[0] == pytest.approx(float(sensitivity), abs=1e-6)
    if level > 0:  # without any sensitivity to hold the specificity is 1
        assert counts.specificities_at(level)[0] == pytest.approx(float(specificity), abs=1e-6)


def of_one_class(truth, called, scores):
    """What scikit-learn says of one class against the others; NaN where its stand-in, 0 or 1, is no figure (P50)."""
    truth, called = np.asarray(truth, int), np.asarray(called, int)
    positives, n = truth.sum(), truth.size
    both = 0 < positives < n
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        precision, recall, f1, _ = sk.precision_recall_fscore_support(
            truth, called, labels=[0, 1], zero_division=np.nan
        )
        above, below = sk.class_likelihood_ratios(truth, called, labels=[0, 1]) if both else (np.nan, np.nan)
    return {
        "sensitivity": recall[1],
        "specificity": recall[0],
        # Of images of one class each call is right, or each is wrong, whatever the classifier: no figure.
        "precision": precision[1] if both else np.nan,
        "npv": precision[0] if both else np.nan,
        "f1": f1[1] if positives else np.nan,
        "positive_likelihood_ratio": above,
        "negative_likelihood_ratio": below,
        "auroc": sk.roc_auc_score(truth, scores) if both else np.nan,
        "average_precision": sk.average_precision_score(truth, scores) if both else np.nan,
    }


def against_rest(truth, called, scores):
    """Agreement and losses of one class against the others."""
    truth, called = np.asarray(truth, int), np.asarray(called, int)
    figures = of_all_classes(truth, called, np.column_stack([1 - scores, scores]))
    figures = {name: figures[name] for name in ("mcc", "kappa", "log_loss")}
    return figures | {"brier": sk.brier_score_loss(truth, scores, labels=[0, 1])}


def of_all_classes(labels, predicted, probabilities):
    k = probabilities.shape[1]
    one_sided = np.unique(labels).size == 1 or np.unique(predicted).size == 1
    return {
        "accuracy": sk.accuracy_score(labels, predicted),
        "majority_baseline": np.bincount(labels).max() / labels.size,
        "mcc": np.nan if one_sided else sk.matthews_corrcoef(labels, predicted),
        "kappa": kappa(labels, predicted, k, None),
        "log_loss": sk.log_loss(labels, probabilities, labels=range(k)),
    }


def kappa(labels, predicted, k, weights):
    one_class = np.unique(labels).size == 1
    return np.nan if one_class else sk.cohen_kappa_score(labels, predicted, labels=range(k), weights=weights)


def compare(found, expected, reasons, before="", after=""):
    assert set(found) >= set(expected)  # the whole table: test_metric_table.py
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, **SAME), name
        assert np.isnan(found[name]) == bool(reasons.get(f"{before}{name}{after}")), name
