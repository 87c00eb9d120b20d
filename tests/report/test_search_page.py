"""Numbers on the page of a search."""

import pytest

from medcls.report.search_page import short_setting


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.0010823112345", "0.001082"), ("0.98", "0.98"), ("null", "null"), ("mobilenetv3_small", "mobilenetv3_small"),
        ("128", "128"), ("0.00031234567e-3", "3.123e-07"),
    ],
)  # fmt: skip
def test_a_drawn_number_is_shortened_and_a_chosen_one_is_not(text, shown):
    assert short_setting(text) == shown
