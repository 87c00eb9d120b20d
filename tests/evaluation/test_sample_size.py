import math

import numpy as np
import pytest
from interval_tables import intervals
from refusals import refused

from medcls.evaluation.sample_size import cases_needed, check_half_width
from medcls.statistics.analytic import rows_for, wilson_limits

CLASSES = ("well", "ill")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("half", [0.01, 0.05, 0.2, 0.4])
def test_so_many_rows_have_just_this_width(share, half):
    low, high = wilson_limits(share, rows_for(share, half))
    assert (high - low) / 2 == pytest.approx(half, abs=1e-9)


def test_a_width_that_no_row_has_needs_none():
    assert rows_for(0.9, 0.5) == 0
    assert rows_for(0.5, 0.499) > 0


def needed(hits, cases, others, half_width=0.05, size=1, resamples=200):
    """Of so many found of so many, in groups of a size whose rows are called alike."""
    labels = np.repeat([1, 0], [cases, others])
    called = np.r_[np.arange(cases) < hits, np.zeros(others, bool)]
    scores = np.where(called, 0.9, 0.1)
    names = [f"p{row // size}" for row in range(len(labels))]
    groups = None if size == 1 else names
    found = intervals(labels, np.column_stack([1 - scores, scores]), CLASSES, "ill", groups, resamples=resamples)
    return cases_needed(
        found, half_width, len(labels), {"ill": len(set(names[:cases])), "well": len(set(names[cases:]))}
    )


@pytest.mark.wording
def test_how_many_more_is_said_with_its_setting():
    found = needed(72, 80, 120)
    assert found.needed == math.ceil(rows_for(0.9, 0.05)) == 141 and found.more == 61
    assert found.sentence() == (
        "The sensitivity for class ill, 0.900 of 80 images, is known to \N{PLUS-MINUS SIGN}0.067. To know it to "
        "\N{PLUS-MINUS SIGN}0.05 (precision_of_sensitivity) takes about 141 images of class ill, 61 more, if it stays "
        "about the same; with 40% of all images as here, that is 153 more in all."
    )
    # With so many, the interval is as narrow as was asked.
    enough = needed(135, 150, 120)
    assert enough.more == 0 and enough.half_width <= 0.05
    assert "within the \N{PLUS-MINUS SIGN}0.05 of precision_of_sensitivity" in enough.sentence()


@pytest.mark.wording
def test_images_of_one_patient_count_for_less():
    alone, together = needed(72, 80, 120), needed(72, 80, 120, size=4)
    assert together.independent == pytest.approx(20, rel=0.35) and together.needed > 2.5 * alone.needed
    assert "the 80 here count as about" in together.sentence() and "count as" not in alone.sentence()


def test_images_that_stand_alone_count_in_full_beside_groups_of_the_other_class():
    labels = np.repeat([1, 0], [10, 12])
    scores = np.r_[[0.9] * 8, [0.1] * 2, [0.1] * 12]
    groups = [*[""] * 10, *(f"p{row // 3}" for row in range(12))]
    found = intervals(labels, np.column_stack([1 - scores, scores]), CLASSES, "ill", groups, resamples=200)
    needed = cases_needed(found, 0.05, 22, {"ill": 10, "well": 4})
    assert needed.of_class == "ill" and needed.independent == 10
    assert needed.needed == math.ceil(rows_for(0.8, 0.05))


def test_of_several_classes_the_one_that_lacks_most():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [200, 60, 30])
    scores = rng.dirichlet(np.ones(3), 290) + 2 * np.eye(3)[labels] * (rng.random(290) < 0.8)[:, None]
    scores /= scores.sum(axis=1, keepdims=True)
    found = cases_needed(
        intervals(labels, scores, ("a", "b", "c"), None, resamples=50), 0.05, 290, dict(a=200, b=60, c=30)
    )
    assert found.of_class == "c" and found.images == 30


def test_without_a_case_nothing_is_said():
    labels, scores = np.zeros(20, int), np.full(20, 0.3)
    found = intervals(labels, np.column_stack([1 - scores, scores]), CLASSES, "ill", resamples=20)
    assert cases_needed(found, 0.05, 20, {"well": 20, "ill": 0}) is None


@pytest.mark.parametrize("value", [0, 0.5, -0.1, "0.05", True, None])
def test_half_a_width_is_a_number(value):
    with refused("bad_value", "precision_of_sensitivity"):
        check_half_width(value)
