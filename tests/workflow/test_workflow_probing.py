import pytest

from medcls.workflow.probing import what_images_add

ROW = {"first": 0.9, "second": 0.6, "difference": 0.3, "low": 0.2, "high": 0.4, "p": 0.0004, "rows": "80 images"}


@pytest.mark.parametrize("verdict", ["better", "worse", "undecided"])
def test_images_are_held_against_shortcuts_with_interval_and_p(verdict):
    text = what_images_add(ROW | {"verdict": verdict}, ("brightness", "image size"))
    assert all(part in text for part in ("0.900", "0.600", "+0.300", "+0.200 to +0.400", "p < 0.001", "80 images"))
    assert "brightness, image size" in text


def test_an_undefined_difference_has_no_interval():
    nan = float("nan")
    row = ROW | {"difference": nan, "low": nan, "high": nan, "verdict": "undefined"}
    text = what_images_add(row, ("brightness",))
    assert "nan" not in text and "interval" not in text
