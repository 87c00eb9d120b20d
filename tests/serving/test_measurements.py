"""Counts, shares and drift, in the text format of Prometheus."""

import math

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from scipy import stats
from served_model import served_model

from medcls.serving.measurements import FEWEST, RECENT, Measurements, Reference

MODEL = served_model()


def samples(measurements: Measurements) -> dict[tuple, float]:
    """Each sample by its name and labels."""
    families = text_string_to_metric_families(measurements.text().decode())
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(200, 2))


def test_requests_and_images_are_counted(logits):
    measurements = Measurements(MODEL)
    measurements.answered("/predict", 200, 0.2)
    measurements.answered("/predict", 422, 0.1)
    for prediction in MODEL.judge(logits):
        measurements.predicted(prediction, 0.01)
    measurements.failed("damaged_image")
    found = samples(measurements)
    assert found["medcls_requests_total", ("path", "/predict"), ("status", "422")] == 1
    assert found["medcls_request_seconds_sum", ("path", "/predict")] == pytest.approx(0.3)
    assert found["medcls_images_total", ("outcome", "predicted")] == 200
    assert found["medcls_images_total", ("outcome", "damaged_image")] == 1
    assert found["medcls_model_info", ("checkpoint", "abc"), ("name", MODEL.name)] == 1


def test_referred_is_what_the_label_set_or_the_limit_refers(logits):
    measurements = Measurements(MODEL)
    assert math.isnan(measurements.referred_share())
    predictions = MODEL.judge(logits)
    for prediction in predictions:
        measurements.predicted(prediction, 0.01)
    undecided = [len(one.prediction_set) != 1 or one.out_of_distribution for one in predictions]
    assert 0 < sum(undecided) < 200
    assert samples(measurements)["medcls_referred_share",] == pytest.approx(np.mean(undecided))


def test_drift_is_the_kolmogorov_smirnov_test_against_val(logits):
    measurements = Measurements(MODEL, Reference.from_logits(MODEL, logits))
    new = logits[:100] + np.array([0, 1])
    predictions = MODEL.judge(new)
    for prediction in predictions[: FEWEST - 1]:
        measurements.predicted(prediction, 0.01)
    assert math.isnan(samples(measurements)["medcls_score_drift_statistic",])
    for prediction in predictions[FEWEST - 1 :]:
        measurements.predicted(prediction, 0.01)
    found = samples(measurements)
    gap = logits[:, 1] - logits[:, 0], new[:, 1] - new[:, 0]  # in the order of the probabilities
    energy = (-np.logaddexp(*values.T) for values in (logits, new))
    for name, expected in (("score", stats.ks_2samp(*gap)), ("ood", stats.ks_2samp(*energy))):
        assert found[f"medcls_{name}_drift_statistic",] == pytest.approx(expected.statistic)
        assert found[f"medcls_{name}_drift_pvalue",] == pytest.approx(expected.pvalue)


def test_only_the_latest_images_count(logits):
    measurements = Measurements(MODEL, Reference.from_logits(MODEL, logits))
    shifted, same = MODEL.judge([[9.0, -9.0]])[0], MODEL.judge(logits)
    for _ in range(RECENT):
        measurements.predicted(shifted, 0.01)
    assert measurements.drift(0)[0] == 1
    for _ in range(RECENT // len(same)):
        for prediction in same:
            measurements.predicted(prediction, 0.01)
    assert samples(measurements)["medcls_recent_images",] == RECENT
    assert measurements.drift(0)[0] == pytest.approx(0)


def test_without_predictions_of_val_there_is_no_drift():
    assert b"drift" not in Measurements(MODEL).text()
