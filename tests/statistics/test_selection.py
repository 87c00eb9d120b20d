"""What the choice of the best adds, against a simulation."""

import numpy as np
import pytest

from medcls.statistics.selection import excess_of_the_best


@pytest.mark.parametrize("number", [2, 5, 20, 100])
def test_the_excess_is_that_of_the_largest_of_normal_deviates(number):
    largest = 0.05 * np.random.default_rng(number).normal(size=(20_000, number)).max(axis=1)
    assert excess_of_the_best(number, 0.05) == pytest.approx(largest.mean(), rel=0.05)


def test_one_has_none_and_the_error_scales_it():
    assert excess_of_the_best(1, 0.05) == 0
    assert excess_of_the_best(7, 0.2) == pytest.approx(2 * excess_of_the_best(7, 0.1))
