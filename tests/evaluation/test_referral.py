import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from scipy.special import softmax

from medcls.evaluation.predictions import FEW_ROWS, FITTED_TWICE, Predictions
from medcls.evaluation.referral import ConformalSets, count_sets, fit_conformal_sets, rejection_curve

THREE = ("a", "b", "c")


def table(probabilities, labels, classes=THREE, *, split="calibration", groups="", checkpoint="abc"):
    probabilities = np.asarray(probabilities, np.float64)
    rows = pd.DataFrame(
        {"path": np.arange(len(labels)).astype(str), "label": np.array(classes)[np.asarray(labels, int)]}
    )
    rows = rows.assign(group=groups, split=split, checkpoint=checkpoint)
    made = {f"prob_{name}": probabilities[:, k] for k, name in enumerate(classes)}
    return Predictions(rows.assign(**made), classes, classes[1] if len(classes) == 2 else None)


def drawn(rng, n, classes=THREE, sureness=1.5, **columns):
    """Overconfident probabilities: the promise must hold for a bad model too."""
    labels = rng.integers(0, len(classes), n)
    logits = rng.normal(size=(n, len(classes)))
    logits[np.arange(n), labels] += sureness
    return table(softmax(3 * logits, axis=1), labels, classes, **columns)


def binary(scores, events, **columns):
    scores = np.asarray(scores, np.float64)
    return table(np.column_stack([1 - scores, scores]), np.asarray(events, int), ("benign", "malignant"), **columns)


def test_the_rule_is_the_stated_quantile():
    scores = np.arange(1, 10) / 10  # p(true): 0.1 .. 0.9, n = 9
    rows = table(np.column_stack([scores, 1 - scores, 0 * scores]), np.zeros(9))
    # ceil(10 * 0.8) = 8: the 8th smallest of 1 - p, so the 8th largest p.
    assert fit_conformal_sets(rows, 0.8).least == pytest.approx(0.2)
    assert fit_conformal_sets(rows, 0.9).least == pytest.approx(0.1)
    assert fit_conformal_sets(rows, 0.85).least == pytest.approx(0.1)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(10, 80), coverage=st.sampled_from([0.5, 0.55, 0.7, 0.8, 0.9]), seed=st.integers(0, 10**6))
def test_no_stricter_rule_holds_enough_of_the_fitted_rows(n, coverage, seed):
    rows = drawn(np.random.default_rng(seed), n)
    of_truth = rows.probabilities()[np.arange(n), rows.labels()]
    least = fit_conformal_sets(rows, coverage).least
    needed = round((n + 1) * coverage, 9)  # of the n fitted rows; their n + 1st is the new image
    assert (of_truth >= least).sum() >= needed
    assert (of_truth > least).sum() < needed


def test_rounding_does_not_raise_the_rank():
    rng = np.random.default_rng(0)
    rows = drawn(rng, 99)  # 0.55 * 100 = 55.00000000000001
    scores = np.sort(rows.probabilities()[np.arange(99), rows.labels()])
    assert fit_conformal_sets(rows, 0.55).least == scores[99 - 55]


def test_the_fitted_rows_themselves_are_covered_at_least_so_often():
    rows = drawn(np.random.default_rng(1), 200)
    rule = fit_conformal_sets(rows, 0.9)
    counts = count_sets(rows, rule.sets(rows))
    assert counts.covered == 181  # ceil(201 * 0.9)
    assert counts.n == counts.single + counts.several + counts.empty == 200
    assert sum(covered for covered, _ in counts.by_class.values()) == counts.covered
    assert sum(n for _, n in counts.by_class.values()) == 200
    assert counts.single_right <= counts.single


def coverages(rng, repeats, n, coverage, **how):
    held = []
    for _ in range(repeats):
        new = drawn(rng, 200, split="test", **how)
        rule = fit_conformal_sets(drawn(rng, n, **how), coverage)
        held.append(count_sets(new, rule.sets(new)).covered / 200)
    return np.array(held)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "coverage"), [(30, 0.9), (100, 0.8)])
def test_new_images_are_covered_as_promised(n, coverage):
    """Between the coverage and 1 / (n + 1) more, within four standard errors of the mean of the simulation."""
    held = coverages(np.random.default_rng(0), 150, n, coverage)
    error = 4 * held.std() / np.sqrt(len(held))
    assert coverage - error <= held.mean() <= coverage + 1 / (n + 1) + error


@pytest.mark.slow
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize(("n", "sureness"), [(25, 0.5), (100, 1.5), (400, 4.0)])
def test_coverage_by_simulation(n, sureness, coverage):
    held = coverages(np.random.default_rng(1), 1000, n, coverage, sureness=sureness)
    error = 4 * held.std() / np.sqrt(len(held))
    assert error < 0.015
    assert coverage - error <= held.mean() <= coverage + 1 / (n + 1) + error


@pytest.mark.slow
def test_patients_of_many_images_do_not_pass_for_many_patients():
    """Images of one patient share their fate: rows taken as independent would promise too much."""
    rng = np.random.default_rng(2)

    def patients(count, images, split="calibration"):
        labels = rng.integers(0, 2, count).repeat(images)
        shift = rng.normal(size=count).repeat(images)
        scores = softmax(np.column_stack([-shift, shift]) + np.eye(2)[labels] * 2, axis=1)
        return table(scores, labels, ("x", "y"), groups=np.arange(count).repeat(images).astype(str), split=split)

    held = []
    for _ in range(300):
        rule = fit_conformal_sets(patients(12, 10), 0.9)
        assert rule.n == 12
        new = patients(60, 1, split="test")
        held.append(count_sets(new, rule.sets(new)).covered / 60)
    assert np.mean(held) >= 0.9 - 4 * np.std(held) / np.sqrt(len(held))


def test_one_row_of_each_group_is_drawn_by_the_seed():
    rows = drawn(np.random.default_rng(3), 90, groups=np.repeat(np.arange(30), 3).astype(str))
    rule = fit_conformal_sets(rows, 0.8, seed=1)
    assert rule.n == 30 and rule == fit_conformal_sets(rows, 0.8, seed=1)
    assert len({fit_conformal_sets(rows, 0.8, seed=seed).least for seed in range(10)}) > 1


@pytest.mark.parametrize("split", ["test", "Test", "held_out", "external"])
def test_p44_a_conformal_rule_is_not_fitted_on_test(split):
    with refused("fitted_on_the_result", "conformal rule", f"'{split}'"):
        fit_conformal_sets(drawn(np.random.default_rng(0), 60, split=split))


def test_p44_a_conformal_rule_keeps_its_origin_and_goes_nowhere_else():
    rule = fit_conformal_sets(drawn(np.random.default_rng(0), 40, split="val"))
    assert (rule.split, rule.checkpoint, rule.n, rule.coverage) == ("val", "abc", 40, 0.9)
    assert str(FEW_ROWS) in rule.warnings[0] and FITTED_TWICE["val"] in rule.warnings[1]
    assert ConformalSets.from_plain(json.loads(json.dumps(rule.to_plain()))) == rule
    with refused("different_checkpoints", "conformal rule", "abc"):
        rule.sets(drawn(np.random.default_rng(0), 5, checkpoint="def"))


@pytest.mark.parametrize(("n", "promised"), [(8, False), (9, True)])
def test_too_few_rows_for_the_coverage_give_every_label_and_say_so(n, promised):
    rows = drawn(np.random.default_rng(0), n)
    rule = fit_conformal_sets(rows, 0.9)
    told = [warning for warning in rule.warnings if "that takes 9" in warning]
    assert bool(told) is not promised
    assert (rule.least > 0) is promised
    if not promised:
        assert rule.sets(rows).all()


def test_an_empty_set_is_not_made_an_answer():
    sure = np.tile([0.99, 0.01], (60, 1))
    rule = fit_conformal_sets(table(sure, np.zeros(60), ("x", "y")))
    new = table([[0.55, 0.45], [0.99, 0.01]], [0, 0], ("x", "y"), split="test")
    counts = count_sets(new, rule.sets(new))
    assert (counts.empty, counts.single, counts.single_right, counts.covered) == (1, 1, 1, 1)


@pytest.mark.parametrize("coverage", [0, 1, 1.0, 90, -0.1, float("nan")])
def test_a_coverage_that_is_none_is_refused(coverage):
    with refused("bad_value", "coverage"):
        fit_conformal_sets(drawn(np.random.default_rng(0), 60), coverage)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 40), seed=st.integers(0, 10**6), threshold=st.sampled_from([None, 0.0, 0.2, 0.5, 1.0]))
def test_the_rejection_curve_counts_what_is_kept(n, seed, threshold):
    rng = np.random.default_rng(seed)
    scores, events = np.round(rng.random(n), 1), rng.random(n) < 0.4
    limit = 0.5 if threshold is None else threshold
    sureness = np.abs(scores - limit)
    curve = rejection_curve(binary(scores, events, split="test"), threshold)
    assert len(curve) == len(set(sureness))
    for row, degree in zip(curve.itertuples(), sorted(set(sureness)), strict=True):
        kept = sureness >= degree
        called, event = scores[kept] >= limit, events[kept]
        assert (row.kept, row.referred, row.share) == (kept.sum(), n - kept.sum(), pytest.approx(1 - kept.mean()))
        assert (row.right, row.accuracy) == ((called == event).sum(), pytest.approx((called == event).mean()))
        assert (row.cases, row.hits) == (event.sum(), (called & event).sum())
        assert (row.others, row.cleared) == ((~event).sum(), (~called & ~event).sum())
        for share, above, below in ((row.sensitivity, row.hits, row.cases), (row.specificity, row.cleared, row.others)):
            assert np.isnan(share) if below == 0 else share == pytest.approx(above / below)


def test_the_first_line_refers_nobody_and_the_least_sure_go_first():
    curve = rejection_curve(binary([0.5, 0.45, 0.1, 0.9, 0.2], [0, 1, 0, 1, 0], split="test"))
    assert curve["referred"].tolist() == [0, 1, 2, 3]
    assert curve["accuracy"].tolist() == [0.6, 0.75, 1.0, 1.0]


def test_sureness_is_the_distance_to_the_operating_point():
    curve = rejection_curve(binary([0.21, 0.5, 0.9], [0, 1, 1], split="test"), 0.2)
    assert curve["right"].tolist() == [2, 2, 1]


def test_p45_a_threshold_of_0_is_used():
    curve = rejection_curve(binary([0.0, 0.3, 0.6], [1, 1, 1], split="test"), 0.0)
    assert curve["sensitivity"].tolist() == [1.0, 1.0, 1.0]
    assert curve["referred"].tolist() == [0, 1, 2]


def test_with_more_classes_the_largest_probability_is_the_sureness():
    rows = table([[0.4, 0.3, 0.3], [0.1, 0.9, 0.0], [0.2, 0.2, 0.6]], [1, 1, 2], split="test")
    curve = rejection_curve(rows)
    assert curve["accuracy"].tolist() == [pytest.approx(2 / 3), 1.0, 1.0]
    assert "sensitivity" not in curve
    with refused("not_binary", "3"):
        rejection_curve(rows, 0.5)


def test_without_rows_the_curve_is_empty():
    assert len(rejection_curve(table(np.zeros((0, 3)), []))) == 0
