import re

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from medcls.statistics import causes
from medcls.statistics.analytic import wilson_limits
from medcls.statistics.bands import (
    FEW_FOR_BAND,
    GRID,
    precision_band,
    precision_steps,
    sensitivity_band,
    threshold_counts,
    why_no_band,
)
from medcls.statistics.metrics import checked_split
from medcls.statistics.resampling import bootstrap
from medcls.statistics.split import OneVsRest

BINARY = ("benign", "malignant")


def one_class(cases, scores, groups=None) -> OneVsRest:
    """Malignant against benign."""
    scores = np.asarray(scores, np.float64)
    split = checked_split(cases, np.stack([1 - scores, scores], axis=1), BINARY, "malignant", groups=groups)
    return split.count().one_vs_rest[0]


def made_up(n=80, seed=0, pull=0.3, groups=None, decimals=6) -> OneVsRest:
    cases = np.arange(n) % 2
    scores = np.round(np.random.default_rng(seed).uniform(0, 1 - pull, n) + pull * cases, decimals)
    return one_class(cases, scores, groups)


# --- what is reached


def test_counts_are_those_of_the_roc_curve():
    one = made_up(60, decimals=1)
    tp, fp = threshold_counts(one)
    false, true, _ = roc_curve(one.is_case, one.scores, drop_intermediate=False)
    assert tp / tp[-1] == pytest.approx(true)
    assert fp / fp[-1] == pytest.approx(false)
    assert np.trapezoid(tp / 30, fp / 30) == pytest.approx(roc_auc_score(one.is_case, one.scores))


@pytest.mark.parametrize("decimals", [1, 6])
def test_the_area_below_the_precision_steps_is_the_average_precision(decimals):
    one = made_up(61, seed=9, decimals=decimals)
    recall, precision = precision_steps(one)
    area = average_precision_score(one.is_case, one.scores)
    assert np.trapezoid(precision, recall) == pytest.approx(area, abs=1e-12)
    assert (recall[0], recall[-1]) == (0, 1)


# --- bands


def test_the_sensitivity_band_holds_the_curve_and_the_percentiles_of_a_plain_bootstrap():
    cases = np.arange(50) % 2
    one = one_class(cases, np.round(np.random.default_rng(2).uniform(0.2, 0.7, 50) + 0.1 * cases, 1))
    levels = np.unique(one.scores)
    assert set(one.is_case[one.scores == levels[-1]]) == {True}
    assert set(one.is_case[one.scores == levels[-2]]) == {False, True}, "a curve with a corner at every step"
    low, high = sensitivity_band(one, 200, 5)
    curve = np.interp(GRID, *roc_curve(one.is_case, one.scores)[:2])
    assert (low <= curve + 1e-12).all()
    assert (curve <= high + 1e-12).all()

    def plainly(weights):
        drawn = [np.repeat(np.arange(50), times.astype(int)) for times in weights]
        return np.stack([np.interp(GRID, *roc_curve(cases[rows], one.scores[rows])[:2]) for rows in drawn])

    values = bootstrap(plainly, one.is_case.astype(int), one.split.groups, 200, 5).values
    percentiles = np.quantile(values, [0.025, 0.975], axis=0)
    wilson = np.array([wilson_limits(value, 25) for value in curve]).T
    assert low == pytest.approx(np.minimum(percentiles[0], wilson[0]), abs=1e-9)
    assert high == pytest.approx(np.maximum(percentiles[1], wilson[1]), abs=1e-9)


def test_the_precision_band_holds_the_precision_at_each_sensitivity():
    one = made_up(seed=4)
    low, high = precision_band(one, 200)
    tp, fp = threshold_counts(one)
    needed = np.maximum(np.ceil(GRID * one.cases[0] - 1e-9), 1)
    at = [next(h / (h + a) for h, a in zip(tp, fp, strict=True) if h >= least) for least in needed]
    assert (low <= np.array(at) + 1e-9).all()
    assert (at <= high + 1e-9).all()
    assert (high - low).mean() < 0.6


def test_a_perfect_curve_is_not_certain():
    scores = np.r_[np.linspace(0.1, 0.4, 15), np.linspace(0.6, 0.9, 15)]
    cases = [0] * 15 + [1] * 15
    low, high = sensitivity_band(one_class(cases, scores), 100)
    assert low == pytest.approx(np.full(201, wilson_limits(1.0, 15)[0]))
    assert high == pytest.approx(np.ones(201))
    cases, scores = np.repeat(cases, 2), np.repeat(scores, 2)
    grouped = one_class(cases, scores, [f"patient {row // 3}" for row in range(60)])
    low, _ = sensitivity_band(grouped, 100)
    assert low == pytest.approx(np.full(201, wilson_limits(1.0, 10)[0])), "ten patients, not thirty images"
    low, _ = precision_band(grouped, 100)
    called = np.ceil(np.maximum(np.ceil(GRID * 30 - 1e-9), 1) / 2) * 2  # two images have each score
    behind = np.ceil(called / 3)  # patients among the called
    assert low == pytest.approx([wilson_limits(1.0, patients)[0] for patients in behind])


@pytest.mark.parametrize("band", [sensitivity_band, precision_band])
def test_p03_images_of_one_patient_count_as_one_in_the_band(band):
    few = made_up(40, seed=1, pull=0.1)
    cases, scores = np.repeat(few.is_case.astype(int), 6), np.repeat(few.scores, 6)

    def width(groups):
        low, high = band(one_class(cases, scores, groups), 300)
        return float((high - low).mean())

    assert width([f"patient {row // 6}" for row in range(240)]) > 1.5 * width(None)


@pytest.mark.parametrize("band", [sensitivity_band, precision_band])
def test_rows_of_one_group_have_no_band(band):
    one = made_up(40, groups=["one patient"] * 40)
    assert band(one) is None and why_no_band(one) == causes.ONE_GROUP


@pytest.mark.parametrize("band", [sensitivity_band, precision_band])
def test_few_cases_have_no_band_and_a_reason(band):
    ten = one_class([1] + [0] * 9, [0.9, 0.8, 0.6, 0.5, 0.4, 0.4, 0.3, 0.2, 0.2, 0.1])
    assert band(ten) is None
    assert re.findall(r"\d+", why_no_band(ten)) == ["10", "1", "9"] and "images" in why_no_band(ten)
    patients = one_class([1] * 40 + [0] * 40, np.linspace(0.1, 0.9, 80), [f"p{row // 5}" for row in range(80)])
    assert band(patients) is None
    assert re.findall(r"\d+", why_no_band(patients)) == ["10", "8", "8"] and "groups" in why_no_band(patients)
    enough = made_up(2 * FEW_FOR_BAND)
    assert band(enough, 50) is not None and why_no_band(enough) == ""


@pytest.mark.parametrize("band", [sensitivity_band, precision_band])
def test_a_band_is_that_of_its_seed(band):
    first, again, other = (band(made_up(), 50, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_band_of_many_scores_is_that_of_all_thresholds(monkeypatch):
    one = made_up(4000, seed=3)
    thinned = sensitivity_band(one, 200)
    monkeypatch.setattr("medcls.statistics.bands._STEPS", 10_000)
    everything = sensitivity_band(one, 200)
    assert np.abs(np.subtract(thinned, everything)).max() < 0.005
    assert np.abs(np.subtract(thinned, everything)).max() > 0, "other thresholds were looked at"
