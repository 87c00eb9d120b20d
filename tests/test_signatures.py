"""What a signature takes, as a person types values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from refusals import refused

from medcls.signatures import check_fits, is_a


def target(
    rate: float,
    steps: int = 1,
    mode: Literal["min", "max"] = "min",
    names: Sequence[str] | None = None,
    table: Mapping[str, float] | None = None,
    place: str | Path = ".",
    on: bool = False,
) -> str:
    """Stands for whatever can be named in a configuration."""
    return "built"


def test_types_are_read_as_a_person_types_values():
    assert is_a(3, float) and is_a([1, 2], tuple[int, int]) and is_a("x", Path) and is_a({}, Mapping[str, int])
    assert not is_a(True, int) and not is_a("ab", Sequence[str]) and not is_a(["a"], Sequence[int])
    assert is_a(object(), int), "what is built is not looked into"


def test_settings_are_held_against_a_signature():
    check_fits(target, {"rate": 1.0, "steps": 3}, "head")
    with refused("bad_value", "head.poolin", "target"):
        check_fits(target, {"rate": 1.0, "poolin": 3}, "head")
