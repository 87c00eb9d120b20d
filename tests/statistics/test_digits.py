import numpy as np
import pytest

from medcls.statistics import digits


def test_a_threshold_between_probabilities_that_are_near_each_other_has_more_digits():
    scores = 0.49996 + 1e-6 * np.arange(60)
    assert digits.of_threshold(0.4999895, scores) == 5 and digits.of_threshold(0.5, np.linspace(0, 1, 200)) == 3
    assert digits.of_probabilities(scores) == 6 and digits.of_probabilities(np.linspace(0, 1, 9)) == 3
    assert digits.of_probabilities(np.full(5, 0.3)) == digits.of_probabilities(np.empty(0)) == 3


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.000"), (1.0, "1.000"), (0.5, "0.500"), (0.0000004, "0.0000004"), (0.99999, "0.99999")]
)
def test_what_is_not_quite_0_or_1_is_not_rounded_to_it(value, shown):
    assert digits.probability(value) == shown


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [(13 / 16, 3, "0.813"), (1 / 80, 3, "0.013"), (-13 / 16, 3, "-0.813"), (2.5, 0, "3"), (0.81249, 3, "0.812")],
)
def test_a_half_is_rounded_away_from_zero(value, decimals, shown):
    assert digits.rounded(value, decimals) == shown


def test_a_share_in_percent_is_rounded_alike():
    assert digits.percentage(1 / 8) == "13%" and digits.percentage(0.285, 1) == "28.5%"
    assert digits.percentage(1.0) == "100%" and digits.rounded(float("nan")) == "NaN"
