"""What is read back of a run that has ended."""

import json
import logging

import pandas as pd
import pytest
from refusals import rules

from medcls.evaluation.predictions import from_logits
from medcls.evaluation.thresholds import OperatingPoint, not_fitted
from medcls.workflow.finished_runs import operating_point


@pytest.fixture
def table():
    rows = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["other", "ill"], "group": "", "split": "test"})
    return from_logits(rows, [0, 1], [[1.0, 0.0], [0.0, 1.0]], ("other", "ill"), "ill", "c0ffee")


def stored(folder, point):
    (folder / "policies.json").write_text(json.dumps({"operating_point": point.to_plain()}), encoding="utf-8")


def test_a_point_that_was_declined_is_of_no_checkpoint_and_none_is_missed(tmp_path, table, caplog):
    """Nothing was fitted, so nothing can have been fitted with other weights."""
    declined = OperatingPoint("not fitted", 0.5, "ill", warnings=("Nearly the same answer for every image.",))
    stored(tmp_path, declined)
    with caplog.at_level(logging.WARNING):
        assert operating_point(tmp_path, table) == not_fitted(table)
    assert not caplog.messages


def test_a_point_of_other_weights_is_still_warned_of(tmp_path, table, caplog):
    stored(tmp_path, OperatingPoint("youden", 0.3, "ill", checkpoint="other"))
    with caplog.at_level(logging.WARNING):
        assert operating_point(tmp_path, table) == not_fitted(table)
    assert rules(caplog) == ["different_checkpoints"] and "other" in caplog.text
