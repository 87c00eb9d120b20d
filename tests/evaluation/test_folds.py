import numpy as np
import pandas as pd
import pytest
from interval_tables import intervals
from refusals import refused

from medcls.evaluation.folds import MEAN, POOLED, over_folds
from medcls.evaluation.predictions import Predictions

CLASSES = ("malignant", "benign")


def fold(number, n=80, groups=None, shift=0.0):
    rng = np.random.default_rng(number)
    labels = rng.integers(0, 2, n)
    score = 1 / (1 + np.exp(-(rng.normal(size=n) + 1.5 * (labels == 0) - 0.75 + shift)))
    rows = pd.DataFrame(
        {
            "path": [f"{number}/{row}.png" for row in range(n)],
            "label": [CLASSES[label] for label in labels],
            "group": groups or [""] * n,
            "split": "test",
            "prob_malignant": score,
            "prob_benign": 1 - score,
            "checkpoint": f"hash{number}",
        }
    )
    return Predictions(rows, CLASSES, CLASSES[0])


def test_each_fold_then_the_mean_then_the_pooled_rows():
    folds = [fold(0), fold(1), fold(2)]
    found = over_folds(folds, resamples=100)
    assert found["fold"].unique().tolist() == ["0", "1", "2", MEAN, POOLED]
    for number, one in enumerate(folds):
        expected = intervals(one.labels(), one.probabilities(), CLASSES, CLASSES[0], resamples=100)
        mine = found[found["fold"] == str(number)].drop(columns=["fold", "sd"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, expected)
    areas = found[found["metric"] == "auroc"].set_index("fold")
    assert areas.loc[MEAN, "estimate"] == pytest.approx(areas["estimate"][:3].mean())
    assert areas.loc[MEAN, "sd"] == pytest.approx(areas["estimate"][:3].std())


def test_p42_hard_labels_are_refused():
    hard = fold(1)
    hard = hard.with_probabilities(np.eye(2)[hard.labels()])
    with refused("hard_labels"):
        over_folds([fold(0), hard], resamples=100)


def test_a_standard_deviation_over_folds_is_no_interval():
    found = over_folds([fold(0), fold(1)], resamples=100).set_index("fold")
    assert found.loc[MEAN, ["low", "high"]].isna().all(axis=None)
    assert (
        found.loc[MEAN, "method"].str.contains("2 folds").all() and found.loc[MEAN, "note"].str.startswith("sd").all()
    )
    assert found.loc[MEAN, "sd"].notna().all() and found.drop(MEAN)["sd"].isna().all()


def test_pooled_rows_are_marked_as_mixing_models():
    found = over_folds([fold(0), fold(1, shift=2.0)], resamples=100)
    pooled = found[found["fold"] == POOLED]
    assert pooled["note"].str.contains("2 networks").all()
    assert (pooled.set_index("metric")["n"].loc[["accuracy", "auroc"]] == 160).all()


def test_pooled_calls_are_those_of_each_folds_own_threshold():
    folds, points = [fold(0), fold(1)], [0.0, 1.0]
    found = over_folds(folds, points, resamples=100).set_index(["fold", "metric"])["estimate"]
    cases = [int((one.labels() == 0).sum()) for one in folds]
    assert found["0", "sensitivity"] == 1 and found["1", "sensitivity"] == 0
    assert found[POOLED, "sensitivity"] == pytest.approx(cases[0] / sum(cases))


def test_groups_that_repeat_in_any_fold_rule_the_pooled_rows():
    found = over_folds([fold(0), fold(1, groups=[f"p{row // 2}" for row in range(80)])], resamples=100)
    by_formula = found["method"] == "Wilson"
    assert by_formula[found["fold"] == "0"].any() and not by_formula[found["fold"].isin(["1", POOLED])].any()


@pytest.mark.parametrize(
    ("folds", "points", "kind"),
    [
        ([fold(0)], None, "bad_number_of_folds"),
        ([fold(0), fold(1)], [0.5], "bad_number_of_folds"),
        ([fold(0), fold(0)], None, "image_in_two_folds"),
        ([fold(0), Predictions(fold(1).rows, CLASSES, "benign")], None, "different_classes"),
    ],
)
def test_what_is_no_cross_validation_is_refused(folds, points, kind):
    with refused(kind):
        over_folds(folds, points, resamples=100)
