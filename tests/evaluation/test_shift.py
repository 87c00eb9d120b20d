import numpy as np
import pytest
from made_study import FOUR, assessment, predictions

from medcls.evaluation.estimates import Estimate
from medcls.evaluation.shift import Difference, class_shares, differences, in_the_large, prevalence_differences, shares


def test_a_difference_is_shown_without_its_intervals():
    below = Estimate(-0.611, -0.7, 0.1)
    assert Difference("slope", below, below, is_of_classifier=False).brief().count("\N{MINUS SIGN}") == 2


def test_another_share_of_cases_alone_is_a_lesser_shift():
    test = assessment(predictions(seed=1, prevalence=0.37), prevalence=0.37)
    fitted = assessment(predictions("calibration", seed=1, prevalence=0.3))
    listed = [one for one in differences(test, fitted) if not one.is_of_classifier]
    (only,) = listed
    assert only.name.endswith(" ill")


def test_a_split_does_not_differ_from_itself_and_a_moved_one_does():
    fitted = assessment(predictions("calibration", seed=1))
    assert differences(fitted, fitted) == []
    moved = differences(assessment(predictions(seed=1, moved=2.0)), fitted)
    assert any(one.is_of_classifier for one in moved)
    assert any(one.name.startswith("probabilities too high") for one in moved)


def test_shares_differ_beyond_chance_and_more_than_slightly():
    """0.40 against 0.30: 2.9 standard errors with 400 independent images each, 1.5 with 100 groups of four."""
    here, there = {"other": 240, "ill": 160}, {"other": 280, "ill": 120}
    (found,) = prevalence_differences(shares(here, 400), shares(there, 400))
    assert found.name.endswith(" ill") and (found.here.value, found.there.value) == (0.4, 0.3)
    assert prevalence_differences(shares(here, 100), shares(there, 100)) == []
    slight = {"other": 272, "ill": 128}
    assert prevalence_differences(shares(slight, 10**6), shares(there, 10**6)) == []


def test_calibration_in_the_large_is_the_mean_probability_less_the_observed_share():
    one = assessment(predictions(seed=1, moved=1.0))
    large, table = in_the_large(one), one.table
    positive = table.probabilities()[:, table.classes.index("ill")]
    observed = (table.rows["label"] == "ill").mean()
    assert large.predicted == pytest.approx(positive.mean()) and large.observed.value == pytest.approx(observed)
    assert large.surplus.value == pytest.approx(positive.mean() - observed) and large.is_off


def test_with_several_classes_it_is_of_the_predicted_class():
    one = assessment(predictions(seed=1, classes=FOUR), prevalence=None)
    correct = one.table.probabilities().argmax(axis=1) == one.table.labels()
    assert in_the_large(one).observed.value == pytest.approx(np.mean(correct))
    assert sum(share.value for share in class_shares(one.table).values()) == pytest.approx(1)
