import numpy as np
import pytest
from interval_tables import intervals
from refusals import refused
from scipy.special import expit, logit
from scipy.stats import norm

from medcls.evaluation.predictive_values import MERCALDO, predictive_values, predictive_values_at
from medcls.statistics.analytic import BOOTSTRAP_OVER, WILSON, Z
from medcls.statistics.metrics import classification_metrics

CLASSES = ("well", "ill")


def made(hits, cases, quiet, others, groups=None, resamples=100):
    """The table of intervals of so many found of so many."""
    labels = np.repeat([1, 0], [cases, others])
    called = np.r_[np.arange(cases) < hits, np.arange(others) >= quiet]
    scores = np.where(called, 0.9, 0.1) + np.linspace(0, 0.01, len(called))
    return intervals(labels, np.column_stack([1 - scores, scores]), CLASSES, "ill", groups, resamples=resamples)


def test_predictive_values_follow_the_stated_prevalence():
    # Altman and Bland 1994: sensitivity 0.90 and specificity 0.63, PPV 0.88 and NPV 0.68 at a prevalence of 0.75,
    # 0.45 and 0.95 at 0.25.
    assert predictive_values_at(0.75, 0.90, 0.63) == pytest.approx((0.88, 0.68), abs=0.005)
    assert predictive_values_at(0.25, 0.90, 0.63) == pytest.approx((0.45, 0.95), abs=0.005)
    for labels in (np.repeat([0, 1], [30, 10]), np.repeat([0, 1], [8, 40])):
        probabilities = np.linspace(0.1, 0.9, labels.size)
        values = classification_metrics(labels, np.stack([1 - probabilities, probabilities], 1), CLASSES, "ill")
        same = values.values
        again = predictive_values_at(same["prevalence"], same["sensitivity"], same["specificity"])
        assert again == pytest.approx((same["precision"], same["npv"]))
    assert np.isnan(predictive_values_at(0.2, 0.0, 1.0)[0])
    assert np.isnan(predictive_values_at(0.2, float("nan"), 1.0)).all()
    for prevalence in (0, 1, -0.1, 1.2, float("nan"), True):
        with refused("bad_value", "prevalence"):
            predictive_values_at(prevalence, 0.9, 0.9)


def test_limits_are_those_of_mercaldo():
    """logit(PPV) with the variance (1 - se) / (se n1) + sp / ((1 - sp) n0), and of the NPV the other way round."""
    found = predictive_values(0.03, made(84, 100, 150, 200), "ill")
    se, sp, prior = 0.84, 0.75, 0.03
    ppv, npv = predictive_values_at(prior, se, sp)
    half = Z * np.sqrt((1 - se) / (se * 100) + sp / ((1 - sp) * 200))
    assert found.precision.estimate == pytest.approx(ppv) and found.precision.method == MERCALDO
    limits = expit(logit(ppv) - half), expit(logit(ppv) + half)
    assert (found.precision.low, found.precision.high) == pytest.approx(limits)
    half = Z * np.sqrt(se / ((1 - se) * 100) + (1 - sp) / (sp * 200))
    limits = expit(logit(npv) - half), expit(logit(npv) + half)
    assert (found.npv.low, found.npv.high) == pytest.approx(limits)
    assert found.npv.n == 300


def test_where_no_call_is_false_the_limits_of_both_rates_stand_in():
    found = predictive_values(0.1, made(18, 20, 30, 30), "ill")
    assert (found.precision.estimate, found.precision.high) == (1, 1)
    assert 0.3 < found.precision.low < 0.6 and WILSON in found.precision.method
    everything_found = predictive_values(0.1, made(20, 20, 25, 30), "ill").npv
    assert everything_found.estimate == everything_found.high == 1 and everything_found.low < 0.99


def test_what_is_never_said_has_no_predictive_value():
    found = predictive_values(0.1, made(0, 20, 30, 30), "ill")
    assert np.isnan(found.precision.estimate) and found.precision.note
    assert found.npv.estimate == pytest.approx(0.9)


def test_rows_of_one_patient_are_resampled_together():
    labels = np.repeat([1, 0], [30, 60])
    groups = [f"p{row // 3}" for row in range(90)]
    found = predictive_values(0.1, made(24, 30, 45, 60, groups=groups, resamples=400), "ill")
    alone = predictive_values(0.1, made(24, 30, 45, 60), "ill")
    assert f"{BOOTSTRAP_OVER} groups" in found.precision.method and len(labels) == 90
    assert found.precision.estimate == pytest.approx(alone.precision.estimate)
    assert found.precision.high - found.precision.low > 1.3 * (alone.precision.high - alone.precision.low)


@pytest.mark.slow
@pytest.mark.parametrize(("cases", "others"), [(30, 100), (100, 300)])
@pytest.mark.parametrize("prevalence", [0.02, 0.3])
def test_limits_hold_the_truth_as_often_as_promised(cases, others, prevalence, capsys):
    rng, simulations, threshold = np.random.default_rng(0), 400, 0.4
    truth = predictive_values_at(prevalence, norm.cdf(1.5 - threshold), norm.cdf(threshold))
    held = np.zeros(2)
    for _ in range(simulations):
        hits, quiet = rng.binomial(cases, norm.cdf(1.5 - threshold)), rng.binomial(others, norm.cdf(threshold))
        found = predictive_values(prevalence, made(hits, cases, quiet, others, resamples=2), "ill")
        held += [one.low <= value <= one.high for one, value in zip((found.precision, found.npv), truth, strict=True)]
    held /= simulations
    with capsys.disabled():
        print(f"\n{cases} against {others}, prevalence {prevalence}: PPV and NPV held in {held}")  # noqa: T201
    assert (held >= 0.92).all()
