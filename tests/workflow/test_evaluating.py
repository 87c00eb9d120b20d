import dataclasses

import numpy as np
import pandas as pd
import pytest
from evaluation_settings import evaluation_settings
from made_study import predictions
from refusals import refused

from medcls.evaluation.folds import OUT_OF_FOLD
from medcls.workflow import evaluating
from medcls.workflow.evaluating import Fitted

VAL, TEST = predictions("val", n=200), predictions(n=200, seed=1)


def of_patients(table):
    """Two images of each patient."""
    order = table.rows.sort_values("label", kind="stable").reset_index(drop=True)
    groups = [f"{label}{number // 2}" for number, label in enumerate(order["label"])]
    return dataclasses.replace(table, rows=order.assign(group=groups))


def test_the_last_table_is_the_result_and_all_are_judged_by_the_same_rules():
    options = evaluation_settings()
    fitted = evaluating.fit(VAL, options)
    results = evaluating.evaluate([VAL, TEST], fitted, options)
    assert results.headline.table.split == "test" and results.headline_patients is None
    assert {one.metrics.threshold for one in results.splits} == {fitted.images.threshold}
    assert list(results.to_plain()) == ["checkpoint", "val", "test"]


def test_patients_are_judged_by_rules_of_their_own_which_read_back():
    options = evaluation_settings(aggregate="mean")
    fitted = evaluating.fit(of_patients(VAL), options)
    results = evaluating.evaluate([of_patients(TEST)], fitted, options)
    assert len(results.headline_patients.table) == 100 and results.to_plain()["units"].keys() == {"test"}
    assert fitted.patients.operating_point != fitted.images.operating_point
    assert Fitted.from_plain(fitted.to_plain()) == fitted


def test_rows_out_of_fold_are_judged_by_nothing_fitted():
    options = evaluation_settings()
    pooled = dataclasses.replace(VAL, rows=VAL.rows.assign(split=OUT_OF_FOLD))
    fitted = evaluating.fit(VAL, options)
    one, other = evaluating.evaluate([pooled, TEST], fitted, options).splits
    assert (one.metrics.threshold, other.metrics.threshold) == (0.5, fitted.images.threshold)


@pytest.mark.parametrize(("operating_point", "threshold"), [("youden", 0.5), ("fixed=0.3", 0.3)])
def test_without_rows_to_fit_on_a_threshold_is_taken_if_it_was_chosen_beforehand(operating_point, threshold):
    fitted = evaluating.not_fitted(TEST, evaluation_settings(operating_point=operating_point))
    assert fitted.images.operating_point.threshold == threshold and fitted.images.calibration is None


def test_wrong_settings_are_found_before_a_training():
    rows = pd.concat([VAL.rows, TEST.rows], ignore_index=True)[["path", "label", "group", "split"]]
    evaluating.check_evaluation(rows, VAL.classes, "ill", evaluation_settings(subgroups={"split": None}))
    with refused("unknown_column", "site"):
        evaluating.check_evaluation(rows, VAL.classes, "ill", evaluation_settings(subgroups={"site": None}))


def test_random_scores_are_the_same_each_time():
    rows = TEST.rows[["path", "label", "group", "split"]]
    first, second = (evaluating.random_predictions(rows, "test", TEST.classes, "ill") for _ in range(2))
    assert len(first) == 200 and np.array_equal(first.logits(), second.logits())
