import dataclasses
import typing

import pytest

from medcls.auditing.findings import LEVELS, Finding, Level


def test_levels_are_listed_from_the_worst():
    assert typing.get_args(Level) == LEVELS and LEVELS[0] == "error" and LEVELS[-1] == "good"


def test_findings_share_no_values_and_cannot_be_changed():
    first, second = Finding("blank", "good", "None"), Finding("blank", "good", "None")
    assert first == second and first.values is not second.values
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.level = "error"
