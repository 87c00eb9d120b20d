"""Logistic regression against scikit-learn's own pipeline."""

import numpy as np
import pytest
from refusals import refused
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medcls.probing.logistic import STRENGTHS, fit, fit_path, log_losses


def blobs(classes, n=120, d=30, seed=0):
    draw = np.random.default_rng(seed)
    labels = draw.integers(classes, size=n)
    labels[:classes] = range(classes)
    # Scales from a thousandth to a thousand, a constant one, and means far from 0.
    scales = 10.0 ** draw.uniform(-3, 3, size=d)
    features = (draw.normal(size=(n, d)) + 0.7 * labels[:, None] * (np.arange(d) < 5)) * scales + 40 * scales
    features[:, -1] = 3.0
    return features, labels


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("strength", [1e-4, 1e-2, 1.0])
def test_the_folded_layer_gives_the_pipelines_probabilities(classes, strength):
    features, labels = blobs(classes)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)).fit(features, labels)
    probabilities = softmax(fit(features, labels, classes, strength).logits(features), axis=1)
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(features), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_path_of_strengths_ends_where_single_fits_do(classes):
    features, labels = blobs(classes)
    path = list(fit_path(features.astype(np.float32), labels, classes))
    assert len(path) == len(STRENGTHS)
    for strength, one in zip(STRENGTHS, path, strict=True):
        alone = fit(features, labels, classes, strength)
        probabilities = [softmax(layer.logits(features), axis=1) for layer in (one, alone)]
        np.testing.assert_allclose(*probabilities, atol=5e-3)  # of 32 bits, from another start, to the same tolerance


def test_log_losses_are_minus_the_log_of_the_labels_probability():
    logits = np.log(np.array([[[0.2, 0.8], [0.5, 0.5]], [[0.9, 0.1], [0.25, 0.75]]]))
    found = log_losses(logits, np.array([1, 0]))
    np.testing.assert_allclose(found, -np.log([[0.8, 0.5], [0.1, 0.25]]))


def test_a_class_without_a_row_is_refused():
    features, labels = blobs(3)
    with refused("too_few_images"):
        fit(features[labels < 2], labels[labels < 2], 3, 1.0)
