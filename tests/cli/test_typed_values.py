"""Values that several commands check in the same way."""

import pytest
from omegaconf import OmegaConf
from refusals import refused

from medcls.cli.typed_values import check_integers, texts


def settings(**values):
    return OmegaConf.create(values)


def test_whole_numbers_from_the_smallest_on_pass():
    check_integers(settings(seed=0, resamples=100, other="x"), {"seed": 0, "resamples": 100})
    check_integers(settings(), {})


@pytest.mark.parametrize("value", [-1, True, False, 1.0, "3", None, [3]])
def test_any_other_value_is_refused_by_name(value):
    with refused("bad_value", "seed", repr(value), "0"):
        check_integers(settings(resamples=100, seed=value), {"resamples": 100, "seed": 0})


@pytest.mark.parametrize(
    ("value", "read"),
    [("a", ["a"]), (["a", "b c"], ["a", "b c"]), (2024, ["2024"]), (["a", 0], ["a", "0"])],
)
def test_one_text_or_several_are_a_list(value, read):
    assert texts(settings(run=value), "run", "a run", "python -m medcls.predict") == read


@pytest.mark.parametrize("value", [None, [], "", ["a", ""], ["a", None], {"a": 1}, 1.5, [["a"]]])
def test_what_is_no_text_is_refused_with_an_example(value):
    with refused("missing_setting", "run", repr(value), "python -m medcls.predict run=RUN"):
        texts(settings(run=value), "run", "a run", "python -m medcls.predict run=RUN")
