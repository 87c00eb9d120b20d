"""What a server accepts, and the names that it repeats."""

import dataclasses

import pytest
from refusals import refused

from medcls.serving.limits import LONGEST_NAME, Limits, display_name


@pytest.mark.parametrize(
    ("value", "field"),
    [(0, "files"), (1.5, "files"), (True, "files"), (-1, "file_mib"), ("50", "megapixels"), (float("inf"), "seconds")],
)
def test_limits_are_numbers_above_zero(value, field):
    with refused("bad_value", field):
        Limits(**{field: value})


def test_there_is_a_limit_for_everything_and_each_may_be_set():
    for field in dataclasses.fields(Limits):
        assert getattr(Limits(**{field.name: 3}), field.name) == 3
    assert Limits(file_mib=1, request_mib=2, megapixels=0.5).file_bytes == 2**20
    assert Limits(megapixels=0.5).pixels == 500_000


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a.png", "a.png"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\a.png", "a.png"),
        ("C:\\a.png", "a.png"),
        ("..", "image"),
        ("/", "image"),
        ("", "image"),
        (None, "image"),
        ("正常.png", "正常.png"),
    ],
)
def test_a_name_has_no_folders(name, shown):
    assert display_name(name) == shown


def test_a_name_is_short_and_can_be_printed():
    assert len(display_name("a" * 5000)) <= LONGEST_NAME
    assert display_name("a\nb\x00\u202egnp.png").isprintable()
