import pandas as pd
import pytest

from medcls.runs.run_folder import RunFolder
from medcls.workflow.scoring import result_split, what_is_there


@pytest.mark.parametrize(
    ("splits", "evaluate_test", "expected"),
    [
        ({"train", "val", "test"}, True, "test"),
        ({"train", "val", "test"}, False, "val"),
        ({"train", "val", "held_out", "test"}, True, "held_out"),  # test is left to the ensemble of folds
        ({"train", "val", "held_out", "test"}, False, "val"),
    ],
)
def test_the_split_that_opens_the_report(splits, evaluate_test, expected):
    assert result_split(splits, evaluate_test=evaluate_test) == expected


def test_a_failed_evaluation_names_the_command_that_repeats_it(tmp_path):
    class Splits:
        rows = pd.DataFrame({"split": ["train", "val", "test"]})

    text = what_is_there(RunFolder(tmp_path / "a run"), Splits(), True, ValueError("full disk"))
    assert "medcls.evaluate" in text and "split=test" in text and str(tmp_path) in text
