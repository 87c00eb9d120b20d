import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interval_tables import intervals
from refusals import refused
from scipy.optimize import minimize
from scipy.special import expit, logit, softmax
from scipy.stats import norm
from sklearn.metrics import log_loss

from medcls.evaluation.calibration import (
    COLDEST,
    ERROR_GROUPS,
    HOTTEST,
    LINE,
    Calibration,
    _ResampledLine,
    calibration_error,
    calibration_estimates,
    calibration_line,
    calibration_test,
    curve_of,
    fit_temperature,
    reliability_table,
    shift_prior,
)
from medcls.evaluation.predictions import FEW_ROWS, FITTED_TWICE, Predictions, from_logits
from medcls.statistics import causes
from medcls.statistics.analytic import BOOTSTRAP_OVER, wilson_limits

BINARY = ("benign", "malignant")
FOUR = ("glioma", "meningioma", "none", "pituitary")


def drawn(n, temperature=1.0, classes=BINARY, *, split="calibration", seed=0, spread=2.0, checkpoint="abc"):
    """Rows whose labels are drawn from `softmax(logits / temperature)`: that temperature is the truth."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (n, len(classes)))
    shares = softmax(logits / temperature, axis=1)
    labels = (shares.cumsum(1) < rng.random((n, 1))).sum(1)
    rows = pd.DataFrame({"path": np.arange(n).astype(str), "label": np.array(classes)[labels], "group": ""})
    positive = classes[-1] if len(classes) == 2 else None
    return from_logits(rows.assign(split=split), np.arange(n), logits, classes, positive, checkpoint)


def of_scores(scores, events, groups="", split="val"):
    rows = pd.DataFrame({"path": np.arange(len(scores)).astype(str), "label": np.where(events, *BINARY[::-1])})
    rows = rows.assign(group=groups, split=split, prob_benign=1 - np.asarray(scores), prob_malignant=scores)
    return Predictions(rows.assign(checkpoint="abc"), BINARY, "malignant")


@pytest.mark.parametrize("classes", [BINARY, FOUR])
@pytest.mark.parametrize("truth", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(classes, truth):
    table = drawn(20_000, truth, classes, spread=4.0)
    calibration = fit_temperature(table)
    assert calibration.temperature == pytest.approx(truth, rel=0.06)
    assert (calibration.n, calibration.split, calibration.checkpoint) == (20_000, "calibration", "abc")
    assert calibration.warnings == ()


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(n=st.integers(20, 80), seed=st.integers(0, 10**6), k=st.integers(2, 5))
def test_no_temperature_has_a_lower_loss(n, seed, k):
    table = drawn(n, 2.0, tuple("abcde"[:k]), seed=seed)
    calibration = fit_temperature(table)
    labels = table.labels()

    def loss(temperature):
        return log_loss(labels, softmax(table.logits() / temperature, axis=1), labels=range(k))

    assert calibration.before == pytest.approx(loss(1.0), rel=1e-9)
    assert calibration.after == pytest.approx(loss(calibration.temperature), rel=1e-9)
    if not any("stays 1" in warning for warning in calibration.warnings):
        assert calibration.after <= min(map(loss, np.geomspace(0.1, 100, 40))) + 1e-9


def test_calibrated_probabilities_are_nearer_and_ranked_alike():
    val, test = drawn(2000, 3.0, seed=1), drawn(2000, 3.0, seed=2, split="test")
    calibration = fit_temperature(val)
    after = calibration.apply(test)
    errors = [log_loss(test.labels(), table.probabilities()[:, 1]) for table in (test, after)]
    assert errors[1] < errors[0] - 0.05
    assert (np.argsort(after.probabilities()[:, 1]) == np.argsort(test.probabilities()[:, 1])).all()
    assert (after.logits() == test.logits()).all()
    # Applied once or twice, or fitted on what it was applied to: the logits are the source.
    assert (calibration.apply(after).probabilities() == after.probabilities()).all()
    assert fit_temperature(calibration.apply(val)) == calibration


def test_a_temperature_of_1_changes_no_bit():
    table = drawn(50)
    same = Calibration(1.0, "val", "abc", 50, 0.0, 0.0).apply(table)
    assert same.probabilities().tobytes() == table.probabilities().tobytes()


@pytest.mark.parametrize("classes", [BINARY, FOUR])
def test_probabilities_stand_in_where_there_are_no_logits(classes):
    table = drawn(300, 2.0, classes)
    bare = Predictions(table.rows.drop(columns=[f"logit_{name}" for name in classes]), table.classes, table.positive)
    assert fit_temperature(bare).temperature == pytest.approx(fit_temperature(table).temperature, rel=1e-6)
    applied = [fit_temperature(table).apply(one).probabilities() for one in (table, bare)]
    np.testing.assert_allclose(*applied, rtol=1e-9)


@pytest.mark.parametrize("split", ["test", "Test", "held_out", "external"])
def test_p44_a_temperature_is_not_fitted_on_test(split):
    with refused("fitted_on_the_result", f"'{split}'"):
        fit_temperature(drawn(60, split=split))


def test_p44_a_temperature_keeps_its_origin_and_goes_nowhere_else():
    calibration = fit_temperature(drawn(40, split="val"))
    assert str(FEW_ROWS) in calibration.warnings[0] and FITTED_TWICE["val"] in calibration.warnings[1]
    assert Calibration.from_plain(json.loads(json.dumps(calibration.to_plain()))) == calibration
    with refused("different_checkpoints", "temperature", "abc", "def"):
        calibration.apply(drawn(40, split="test", checkpoint="def"))


def test_separated_rows_show_nothing_of_calibration():
    logits = np.array([[2.0, -1.0], [0.1, 0.0], [-1.0, 3.0]] * 20)
    rows = pd.DataFrame({"path": np.arange(60).astype(str), "label": np.array(BINARY)[[0, 0, 1] * 20]})
    table = from_logits(rows.assign(group="", split="val"), np.arange(60), logits, BINARY, "malignant", "abc")
    calibration = fit_temperature(table)
    assert calibration.temperature == 1.0 and calibration.before == calibration.after
    assert "temperature" in calibration.warnings[-1] and "1." in calibration.warnings[-1]


def test_the_end_of_the_range_is_told():
    table = drawn(400, 1.0, seed=3)
    noise = table.rows.assign(label=np.array(BINARY)[1 - table.logits().argmax(1)])  # worse than chance
    calibration = fit_temperature(Predictions(noise, BINARY, "malignant"))
    assert calibration.temperature == pytest.approx(100, rel=0.001)
    assert f"{COLDEST:g} to {HOTTEST:g}" in calibration.warnings[-1]


def test_reliability_counts_every_row_once():
    rng = np.random.default_rng(0)
    scores = np.round(rng.random(500), 2)
    events = rng.random(500) < scores
    bins = reliability_table(of_scores(scores, events), 10)
    assert bins["n"].sum() == 500 and bins["events"].sum() == events.sum()
    for row in bins.itertuples():
        inside = (scores >= row.lower) & (scores <= row.upper)
        assert row.n == inside.sum() and row.events == events[inside].sum()
        assert row.predicted == pytest.approx(scores[inside].mean())
        assert (row.low, row.high) == pytest.approx(wilson_limits(row.events / row.n, row.n))
    assert reliability_table(of_scores(scores, events))["n"].between(40, 60).all()


def test_equal_scores_are_never_parted():
    scores = np.array([0.2] * 30 + [0.2001] + [0.9] * 9)
    bins = reliability_table(of_scores(scores, scores > 0.5), 5)
    assert bins["n"].tolist() == [30, 1, 9] or bins["n"].tolist() == [31, 9] or bins["n"].tolist() == [30, 10]
    assert reliability_table(of_scores(np.full(20, 0.3), np.arange(20) < 6), 10)["n"].tolist() == [20]


def test_repeated_groups_widen_the_limits():
    scores, events = np.full(40, 0.5), np.arange(40) % 2
    alone = reliability_table(of_scores(scores, events)).iloc[0]
    paired = reliability_table(of_scores(scores, events, np.repeat(np.arange(20), 2).astype(str))).iloc[0]
    assert (alone.groups, paired.groups, paired.n) == (40, 20, 40)
    assert (paired.low, paired.high) == pytest.approx(wilson_limits(0.5, 20))
    assert paired.high - paired.low > alone.high - alone.low


def test_with_more_classes_the_confidence_is_held_against_being_right():
    table = drawn(400, 1.0, FOUR)
    bins = reliability_table(table, 4)
    right = table.probabilities().argmax(1) == table.labels()
    assert bins["events"].sum() == right.sum()
    assert bins["lower"].min() == table.probabilities().max(1).min()


def error(scores, events, groups=None, bins=15):
    groups = np.arange(len(scores)) if groups is None else groups
    return calibration_error(np.asarray(scores), np.asarray(events, np.int64), groups, bins)


@pytest.mark.parametrize("each", [1, 3])
def test_the_calibration_error_is_right_in_the_mean_of_squares_for_a_perfect_model_and_for_another(each):
    """Each patient has `each` images with the same label: noise that a correction by rows would take for an error."""
    rng = np.random.default_rng(5)
    perfect, tilted, plain = [], [], []
    for _ in range(400):
        scores = rng.beta(1, 2, 200)
        drawn = rng.random(200)
        often, patients = np.repeat(scores, each), np.repeat(np.arange(200), each)
        perfect.append(_signed(often, np.repeat(drawn < scores, each), patients))
        tilted.append(_signed(often, np.repeat(drawn < 0.7 * scores, each), patients))
        plain.append(_signed(often, np.repeat(drawn < scores, each), patients, corrected=False))
    assert np.mean(perfect) == pytest.approx(0, abs=4 * np.std(perfect) / 20)
    truth = 0.09 * np.mean(rng.beta(1, 2, 100_000) ** 2)
    assert np.mean(tilted) == pytest.approx(
        truth, abs=4 * np.std(tilted) / 20 + 0.0003
    )  # within bins p varies a little
    assert np.mean(plain) > 0.005, "without the correction a perfect model shows an error"


def _signed(scores, events, groups, *, corrected=True):
    """The mean of squares by hand, before it is held at 0."""
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, 15)
    gaps = np.array([(events[part] - scores[part]).mean() for part in parts])
    total = 0.0
    for part, gap in zip(parts, gaps, strict=True):
        patients, place = np.unique(groups[part], return_inverse=True)
        residual = np.bincount(place, weights=events[part] - scores[part] - gap)
        noise = len(patients) / (len(patients) - 1) * (residual**2).sum() / len(part) ** 2
        total += len(part) / len(scores) * (gap**2 - (noise if corrected else 0))
    return total


def test_the_calibration_error_agrees_with_its_formula():
    rng = np.random.default_rng(6)
    scores = rng.random(300)
    events = rng.random(300) < np.clip(scores * 1.3 - 0.1, 0, 1)
    by_hand = _signed(scores, events, np.arange(300))
    assert error(scores, events) == pytest.approx(np.sqrt(by_hand), rel=1e-9)
    assert error(np.full(40, 0.5), np.arange(40) % 2) == 0
    assert np.isnan(error([], []))
    with refused("bad_value", "0 bins"):
        error(scores, events, bins=0)


def test_the_calibration_error_of_few_groups_sees_what_is_off_or_is_undefined():
    """Fifteen bins of 20 rows have one or two rows each: what is left of them after the correction is 0 or noise."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.6, 0.9, (200, 20))
    off = np.array([error(row, rng.random(20) < row - 0.5) for row in scores])
    assert (off > 0.2).mean() > 0.97
    assert np.isnan(error(rng.random(19), np.arange(19) % 2)) and not np.isnan(error(rng.random(20), np.arange(20) % 2))


def test_a_calibration_error_of_few_of_the_rows_is_undefined_with_the_reason():
    """The third of the rows with many groups stands in one bin; the rest are long runs of one group each."""
    scores = np.concatenate([np.full(30, 0.05), np.repeat(np.linspace(0.1, 0.9, 6), 200)])
    groups = np.concatenate([np.arange(30), np.repeat(np.arange(30, 36), 200)])
    events = np.random.default_rng(0).random(len(scores)) < scores
    assert np.isnan(error(scores, events, groups))
    found = calibration_estimates(of_scores(scores, events, groups.astype(str)), resamples=20)
    said = found.set_index("metric").loc["calibration_error"]
    assert np.isnan(said["estimate"]) and "group" in said["note"]
    few = calibration_estimates(of_scores(scores[:19], np.arange(19) % 2), resamples=20).set_index("metric")
    assert str(ERROR_GROUPS) in few.loc["calibration_error", "note"]


@settings(max_examples=25, deadline=None)
@given(n=st.integers(30, 200), seed=st.integers(0, 10**6), spread=st.sampled_from([0.3, 2.0, 8.0]))
def test_the_calibration_line_is_the_maximum_of_the_likelihood(n, seed, spread):
    rng = np.random.default_rng(seed)
    predicted = expit(rng.normal(0, spread, n))
    events = (rng.random(n) < expit(0.4 * logit(predicted) - 0.5)).astype(np.int64)
    line = calibration_line(predicted, events)
    if line.reason:
        return
    odds = logit(predicted)

    def score(slope, intercept):  # the gradient of the log likelihood: 0 at its maximum
        residual = events - expit(intercept + slope * odds)
        return np.array([residual.sum(), (residual * odds).sum()]) / n

    np.testing.assert_allclose(score(line.slope, line.intercept), 0, atol=1e-7)
    assert (events - expit(odds + line.in_the_large)).mean() == pytest.approx(0, abs=1e-9)


def test_the_calibration_line_finds_what_made_the_events():
    rng = np.random.default_rng(1)
    odds = rng.normal(0, 2, 60_000)
    events = (rng.random(60_000) < expit(0.5 * odds - 1)).astype(np.int64)
    line = calibration_line(expit(odds), events)
    assert (line.slope, line.intercept) == (pytest.approx(0.5, abs=0.03), pytest.approx(-1, abs=0.05))
    fine = calibration_line(expit(odds), (rng.random(60_000) < expit(odds)).astype(np.int64))
    assert (fine.slope, fine.intercept, fine.in_the_large) == pytest.approx((1, 0, 0), abs=0.06)
    by_scipy = minimize(lambda w: np.logaddexp(0, -(2 * events - 1) * (w[0] * odds + w[1])).mean(), [1, 0]).x
    assert (line.slope, line.intercept) == pytest.approx(tuple(by_scipy), abs=1e-3)


def test_a_line_through_nothing_is_nan_with_the_reason():
    scores = np.array([0.1, 0.2, 0.6, 0.9])
    for events, said in (([0, 0, 0, 0], causes.ONE_CLASS), ([0, 0, 1, 1], "separated"), ([1, 1, 0, 0], "separated")):
        line = calibration_line(scores, np.array(events))
        assert np.isnan(line.slope) and np.isnan(line.intercept) and said in line.reason
    flat = calibration_line(np.full(4, 0.5), np.array([1, 0, 0, 0]))
    assert flat.reason == causes.SAME_PROBABILITY and flat.in_the_large == pytest.approx(logit(0.25))
    nearly = calibration_line(0.3 + 1e-9 * np.arange(4), np.array([1, 0, 0, 1]))
    assert "nearly" in nearly.reason and np.isnan([nearly.slope, nearly.intercept]).all()
    assert calibration_line(np.zeros(0), np.zeros(0, np.int64)).reason == causes.NO_ROWS
    assert calibration_line(np.array([0.0, 1.0, 0.0, 1.0, 0.5]), np.array([1, 1, 0, 0, 1])).slope == pytest.approx(
        0, abs=1e-6
    )


@pytest.mark.parametrize("classes", [BINARY, FOUR])
def test_reweighted_probabilities_are_true_at_the_other_prevalence(classes):
    rng = np.random.default_rng(0)
    k = len(classes)
    old, new = np.arange(1.0, k + 1) / sum(range(1, k + 1)), np.full(k, 0.1)
    new[0] = 1 - 0.1 * (k - 1)
    # One measurement whose density is known for each class, so that both posteriors are.
    x = rng.normal(0, 3, 200)[:, None]
    density = np.exp(-((x - np.arange(k)) ** 2) / 2)
    before, after = density * old, density * new
    before, after = before / before.sum(1, keepdims=True), after / after.sum(1, keepdims=True)
    rows = pd.DataFrame({"path": np.arange(200).astype(str), "label": classes[0], "group": "", "split": "test"})
    rows = rows.assign(**{f"prob_{name}": before[:, i] for i, name in enumerate(classes)}, checkpoint="abc")
    table = Predictions(rows, classes, classes[1] if k == 2 else None)
    shifted = shift_prior(table, dict(zip(classes, old, strict=True)), dict(zip(classes, new, strict=True)))
    np.testing.assert_allclose(shifted.probabilities(), after, rtol=1e-9)
    rest = dict(zip(classes[1:], new[1:], strict=True))  # one class may be left out
    np.testing.assert_allclose(
        shift_prior(table, dict(zip(classes[1:], old[1:], strict=True)), rest).probabilities(), after, rtol=1e-9
    )


def test_the_same_prevalence_changes_nothing():
    table, shares = drawn(50), {"malignant": 0.3}
    np.testing.assert_allclose(shift_prior(table, shares, shares).probabilities(), table.probabilities(), rtol=1e-12)


@pytest.mark.parametrize(
    ("trained", "deployed", "wrong"),
    [
        ({"malignant": 0.5}, {"malignent": 0.1}, ("unknown_class", "deployed", "'malignent'", "malignant")),
        ({}, {"malignant": 0.1}, ("missing_class", "trained", "benign, malignant")),
        ({"malignant": 0.5}, {"malignant": 1.2}, ("bad_value", "benign -0.2, malignant 1.2")),
        ({"malignant": 0.5}, {"malignant": float("nan")}, ("bad_value", "malignant nan")),
        ({"malignant": 0.5}, {"malignant": 0.4, "benign": 0.4}, ("bad_value", "benign 0.4, malignant 0.4")),
        ({"malignant": 0.0}, {"malignant": 0.1}, ("class_without_images", "trained", "'malignant'")),
    ],
)
def test_a_prevalence_that_is_none_is_refused(trained, deployed, wrong):
    with refused(*wrong):
        shift_prior(drawn(10), trained, deployed)


# --- calibration figures with their intervals


def test_calibration_figures_are_those_of_their_functions_in_the_columns_of_the_intervals():
    rng = np.random.default_rng(0)
    odds = rng.normal(size=400)
    table = of_scores(expit(odds), rng.random(400) < expit(0.5 + 0.7 * odds))
    found = calibration_estimates(table, resamples=200)
    metrics = intervals(table.labels(), table.probabilities(), table.classes, table.positive, resamples=2)
    assert list(found.columns) == list(metrics.columns)
    predicted, events = table.probabilities()[:, 1], table.labels()
    line, curve = calibration_line(predicted, events), curve_of(table)
    expected = [line.slope, line.intercept, line.in_the_large, curve.ici, curve.e50, curve.e90]
    expected += [error(predicted, events), calibration_test(table).p]
    assert found["estimate"].tolist() == expected
    assert found["metric"].tolist() == [*LINE, "ici", "e50", "e90", "calibration_error", "calibration_test"]
    assert set(found["class"]) == {table.positive}
    of_line = found[:3]
    assert (of_line["low"] < of_line["estimate"]).all() and (of_line["estimate"] < of_line["high"]).all()
    assert of_line["method"].str.startswith(f"{BOOTSTRAP_OVER} rows").all() and (found["n"] == 400).all()
    assert calibration_estimates(table, resamples=200).equals(found)
    assert not calibration_estimates(table, resamples=200, seed=1).equals(found)


def test_what_is_never_below_0_has_no_interval_that_could_not_hold_0():
    found = calibration_estimates(drawn(300), resamples=50).set_index("metric")
    for metric in ("ici", "e50", "e90", "calibration_error", "calibration_test"):
        assert np.isnan(found.loc[metric, ["low", "high"]].astype(float)).all(), metric
    assert re.search(r"0\.0\d\d", found.loc["ici", "note"]), "what a perfectly calibrated model would show"
    assert "chi-squared" in found.loc["calibration_test", "method"]


def test_one_newton_step_spreads_as_refitted_lines_do():
    rng = np.random.default_rng(1)
    odds = rng.normal(-1, 1.5, size=300)
    predicted, events = expit(odds), (rng.random(300) < expit(0.6 * odds)).astype(np.int64)
    weights = rng.multinomial(300, np.full(300, 1 / 300), size=400).astype(np.float64)
    stepped = _ResampledLine.fit(predicted, events).values(weights)
    refitted = np.array(
        [
            calibration_line(np.repeat(predicted, times), np.repeat(events, times)).values
            for times in weights.astype(int)
        ]
    )
    np.testing.assert_allclose(stepped.std(axis=0), refitted.std(axis=0), rtol=0.1)
    for column in range(3):
        assert np.corrcoef(stepped[:, column], refitted[:, column])[0, 1] > 0.97


def test_copies_in_one_group_do_not_narrow_calibration_figures():
    rng = np.random.default_rng(2)
    odds = rng.normal(size=150)
    scores, events = expit(odds), rng.random(150) < expit(odds)
    once = calibration_estimates(of_scores(scores, events), resamples=500)
    groups = [f"p{row // 4}" for row in range(600)]
    often = calibration_estimates(of_scores(np.repeat(scores, 4), np.repeat(events, 4), groups), resamples=500)
    np.testing.assert_allclose(often["high"] - often["low"], once["high"] - once["low"], rtol=0.02)
    assert often["method"][:3].str.startswith(f"{BOOTSTRAP_OVER} groups").all()
    p = [found.set_index("metric").loc["calibration_test", "estimate"] for found in (once, often)]
    assert p[1] == pytest.approx(p[0], rel=0.35), "copies of rows are no evidence"


def of_patients(n, each, classes, seed, temperature=1.0):
    """Images of one patient have logits and labels alike, and each label is as probable as its softmax says."""
    rng = np.random.default_rng(seed)
    k = len(classes)
    logits = np.repeat(rng.normal(size=(n // each, k)), each, axis=0) - np.arange(k)
    alike = (
        np.repeat(rng.normal(size=n // each), each) * 0.8 + rng.normal(size=n) * 0.6 if each > 1 else rng.normal(size=n)
    )
    labels = (softmax(logits / temperature, axis=1).cumsum(1) < norm.cdf(alike)[:, None]).sum(1)
    groups = [f"p{row // each}" for row in range(n)] if each > 1 else ""
    rows = pd.DataFrame({"path": np.arange(n).astype(str), "label": np.array(classes)[labels], "group": groups})
    return from_logits(rows.assign(split="val"), np.arange(n), logits, classes, classes[-1] if k == 2 else None, "abc")


@pytest.mark.slow
@pytest.mark.parametrize(("n", "each", "classes"), [(200, 1, BINARY), (300, 3, BINARY), (300, 1, FOUR)])
def test_the_test_of_calibration_keeps_its_5_percent(n, each, classes):
    p = np.array([calibration_test(of_patients(n, each, classes, seed)).p for seed in range(200)])
    assert 0.01 <= (p < 0.05).mean() <= 0.09  # 0.05, give or take 2.6 standard errors of 200 simulations
    assert calibration_test(of_patients(900, each, classes, 0, temperature=4.0)).p < 0.001


def test_the_test_of_calibration_is_raos_score_test():
    """By hand for two classes: the score of intercept and slope at 0 and 1, and its information."""
    table = drawn(250, 1.4)
    predicted, events = table.probabilities()[:, 1], table.labels()
    columns = np.column_stack([np.ones(250), logit(predicted)])
    score = columns.T @ (events - predicted)
    information = (columns * (predicted * (1 - predicted))[:, None]).T @ columns
    test = calibration_test(table)
    assert test.statistic == pytest.approx(float(score @ np.linalg.solve(information, score)), rel=1e-9)
    assert test.method.endswith(f"chi-squared {test.statistic:.2f}, df 2")


@pytest.mark.slow
def test_what_was_fitted_on_few_rows_is_allowed_for():
    """A temperature fitted on as many rows as are tested varies as much as the test does."""
    p, allowed = [], []
    for seed in range(150):
        val, test = drawn(300, seed=seed), drawn(300, seed=seed + 1000, split="test")
        of_test = calibration_test(fit_temperature(val).apply(test))
        p.append(of_test.p)
        allowed.append(of_test.allowing_for(1.0))
        assert of_test.allowing_for(0.0) == of_test.p
    assert np.mean(np.array(allowed) < 0.02) < 0.05 < np.mean(np.array(p) < 0.02) + 0.03
    assert np.isnan(calibration_test(of_scores([], [])).allowing_for(1.0))


def test_a_test_of_equal_probabilities_has_one_degree_of_freedom():
    flat = calibration_test(of_scores(np.full(100, 0.3), np.arange(100) < 45))
    assert "df 1" in flat.method and flat.p == pytest.approx(0.00106, rel=0.02)  # z of 15 over the root of 21
    assert np.isnan(calibration_test(of_scores([], [])).p)


def test_p50_calibration_figures_without_a_class_are_nan_with_the_reason():
    found = calibration_estimates(of_scores(np.linspace(0.1, 0.9, 30), np.zeros(30)), resamples=20).set_index("metric")
    for metric in LINE:
        assert np.isnan(found.loc[metric, ["estimate", "low", "high"]].astype(float)).all()
        assert found.loc[metric, "note"] == causes.ONE_CLASS
    assert found.loc["calibration_error", "estimate"] > 0
    assert np.isnan(found.loc["ici", "estimate"]) and found.loc["ici", "note"] == causes.ONE_CLASS
    separated = calibration_estimates(of_scores(np.linspace(0.1, 0.9, 30), np.arange(30) > 14), resamples=20)
    assert "separated" in separated["note"][0] and not np.isnan(separated["low"][2])
    empty = calibration_estimates(of_scores([], []))
    assert empty["estimate"].isna().all() and (empty["note"] == causes.NO_IMAGES).all()


def test_with_more_classes_each_has_its_line():
    table = drawn(300, classes=FOUR, split="test")
    found = calibration_estimates(table, resamples=50)
    assert found["class"].tolist() == [*np.repeat(FOUR, 3), *[""] * 5]
    line = calibration_line(table.probabilities()[:, 3], (table.labels() == 3).astype(np.int64))
    assert tuple(found["estimate"][9:12]) == line.values
