import math

import pandas as pd
import pytest
from made_study import assessment, predictions

from medcls.evaluation.estimates import Estimate, estimate, pick, split_name, stated


def test_estimates_in_sentences_have_the_minus_of_the_tables():
    below = Estimate(-0.611, -0.7, 0.1)
    assert str(below) == "\N{MINUS SIGN}0.611 (\N{MINUS SIGN}0.700 to 0.100)"
    assert below.negated() == Estimate(0.611, -0.1, 0.7)
    assert str(Estimate(0.5, math.nan, math.nan)) == "0.500" and str(Estimate(*[math.nan] * 3)) == "undefined"


def test_the_last_row_of_a_class_is_picked():
    rows = [("auroc", "a", 0.6, 0.5, 0.7), ("auroc", "(macro)", 0.8, 0.7, 0.9), ("accuracy", "", 0.4, 0.3, 0.5)]
    table = pd.DataFrame(rows, columns=["metric", "class", "estimate", "low", "high"])
    assert pick(table, "auroc", ("(macro)", "")) == Estimate(0.8, 0.7, 0.9)
    assert pick(table, "accuracy", ("(macro)", "")) == Estimate(0.4, 0.3, 0.5)


def test_without_a_class_an_estimate_is_that_of_the_whole_split():
    one = assessment(predictions(seed=1, n=200))
    assert estimate(one, "sensitivity") == estimate(one, "sensitivity", "ill")
    assert estimate(one, "accuracy").value == pytest.approx(one.metrics.values["accuracy"])
    assert stated(one, "auroc", "accuracy") == f"AUROC {estimate(one, 'auroc')}, accuracy {estimate(one, 'accuracy')}"


def test_splits_have_names_for_sentences():
    assert split_name("test") == "test"
    assert len({split_name(name) for name in ("", "held_out", "out_of_fold", "external")}) == 4
    assert not any("_" in split_name(name) for name in ("held_out", "out_of_fold"))
