import dataclasses

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from scipy.stats import norm, ttest_1samp
from sklearn.metrics import roc_auc_score

from medcls.evaluation.cross_validations import CrossValidation, Fold, compare_cross_validations, corrected_t
from medcls.evaluation.model_comparison import Question
from medcls.evaluation.predictions import Predictions
from medcls.report.comparison_text import folds_table, markdown, tables

CLASSES = ("well", "ill")


def test_the_corrected_test_by_hand():
    """J = 4 differences of mean 0.02 and variance 2/3 of 0.0001; a third as many held out as trained on."""
    differences = np.array([0.01, 0.02, 0.02, 0.03])
    (low, high), p = corrected_t(differences, 1 / 3)
    # (1/4 + 1/3) * 0.0002/3 = 0.000038889, of which the root is 0.0062361; Student's quantile for 3 is 3.1824.
    assert low == pytest.approx(0.02 - 3.1824463 * 0.0062361, abs=1e-7)
    assert high == pytest.approx(0.02 + 3.1824463 * 0.0062361, abs=1e-7)
    assert p == pytest.approx(0.0491, abs=5e-5)  # t = 3.2071 with 3 degrees of freedom
    # Without the overlap of the training images it is the t test.
    assert corrected_t(differences, 0.0)[1] == pytest.approx(ttest_1samp(differences, 0).pvalue)
    assert corrected_t(np.zeros(3), 0.25)[1] == 1 and np.isnan(corrected_t(np.full(3, 0.1), 0.25)[1])


def fold_table(scores, labels, paths, checkpoint="x"):
    rows = pd.DataFrame({"path": paths, "label": np.array(CLASSES)[labels], "group": "", "split": "test"})
    rows = rows.assign(checkpoint=checkpoint, prob_ill=scores, prob_well=1 - np.asarray(scores))
    return Predictions(rows, CLASSES, "ill")


def cross_validation(name, lift, seeds=(0,), folds=5, n=100, noise=0):
    """Networks of one lift; which images a fold holds out hangs on the seed alone."""
    labels, found = np.arange(n) % 2, []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(n)
        for number in range(folds):
            held = np.sort(order[number::folds])
            rng = np.random.default_rng([seed, number, noise])
            scores = norm.cdf(rng.normal(size=len(held)) + lift * (labels[held] - 0.5))
            table = fold_table(scores, labels[held], [f"{k}.png" for k in held])
            found.append(Fold(seed, number, table, 0.4, n - len(held)))
    return CrossValidation(name, f"runs/{name}", tuple(found))


def changed(one, k=0, **changes):
    folds = list(one.folds)
    folds[k] = dataclasses.replace(folds[k], **changes)
    return dataclasses.replace(one, folds=tuple(folds))


def test_folds_are_paired_and_the_mean_difference_is_tested():
    a, b = cross_validation("a", 2.5, noise=1), cross_validation("b", 0.5, noise=2)
    shuffled = dataclasses.replace(b, folds=b.folds[::-1])  # paired by their numbers, not by their order
    found = compare_cross_validations([a, shuffled], Question(("auroc",)))
    areas = [
        [roc_auc_score(fold.table.labels(), fold.table.probabilities()[:, 1]) for fold in one.folds] for one in (a, b)
    ]
    differences = np.subtract(*areas)
    row = found.pairs.iloc[0]
    assert row["difference"] == pytest.approx(differences.mean())
    (low, high), p = corrected_t(differences, 0.25)
    assert (row["low"], row["high"], row["p"]) == pytest.approx((low, high, p))
    assert row["correlation"] == pytest.approx(0.2)
    assert row["verdict"] == "better" and "5 pairs" in found.conclusions[0] and "AUROC 0." in found.conclusions[0]
    assert found.caption.startswith("5 runs") and "100 " in found.caption
    assert "0.20" in found.notes[0]


def test_several_seeds_and_metrics():
    a, b = (cross_validation(name, 1.5, (0, 1, 2), noise=k) for k, name in enumerate("ab"))
    question = Question(("auroc", "brier", "sensitivity", "net_benefit"), threshold_probability=0.2, margin=0.1)
    found = compare_cross_validations([a, b], question)
    assert found.pairs["freedom"].eq(14).all() and len(found.estimates) == 2 * 15 * 4
    fold = a.folds[3]
    called, case = fold.table.probabilities()[:, 1] >= 0.4, fold.table.labels() == 1
    row = found.estimates.query("name == 'a' and metric == 'sensitivity' and seed == 0 and fold == '3'").iloc[0]
    assert row["estimate"] == pytest.approx(called[case].mean())  # at the fold's own operating point
    assert found.pairs["sentence"].str.contains("Holm.* 4 ").all()
    assert len(found.conclusions) == 8 and "margin 0.1" in found.conclusions[4]
    page = markdown(found, "Made", "python -m medcls.compare")
    assert "| AUROC | 0 | 3 | 0." in page and list(tables(found))[-1] in page and "Nadeau" in page
    assert len(tables(found)) == 4 and len(tables(dataclasses.replace(found, margins=None))) == 3
    assert folds_table(found).shape == (60, 6)
    plain = found.to_plain()
    assert len(plain["cross_validations"][0]["figures"]) == 60 and len(plain["against_margin"]) == 4


def test_three_are_compared_each_with_each():
    found = compare_cross_validations(
        [cross_validation(name, 1.0, noise=k) for k, name in enumerate("abc")], Question()
    )
    assert found.pairs[["a", "b"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert (found.pairs["p_holm"] >= found.pairs["p"]).all()
    assert "# 3 cross-validations" in markdown(found, "", "")


def test_the_same_twice_is_not_told_apart():
    a = cross_validation("a", 1.0)
    found = compare_cross_validations([a, dataclasses.replace(a, name="b")], Question())
    assert found.pairs["verdict"].tolist() == ["undecided"] and found.pairs["low"].isna().all()


def test_a_fold_without_a_class_says_nothing():
    a, b = (cross_validation(name, 1.0, noise=k, n=20) for k, name in enumerate("ab"))
    of_one_class = [
        changed(one, table=Predictions(one.folds[0].table.rows.assign(label="well"), CLASSES, "ill")) for one in (a, b)
    ]
    found = compare_cross_validations(of_one_class, Question())
    assert found.pairs["verdict"].tolist() == ["undefined"] and np.isnan(found.pairs["p"][0])


def test_a_leak_of_any_run_is_said_first():
    a, b = (cross_validation(name, 1.0, noise=k) for k, name in enumerate("ab"))
    leak = "3 of 20 test images have a near copy in training"
    found = compare_cross_validations([a, changed(b, 2, leak=leak)], Question())
    (caution,) = found.cautions
    assert "b, fold 2 of seed 0" in caution and leak in caution
    assert caution in markdown(found, "", "").replace("\\", "") and found.to_plain()["cautions"] == [caution]


def test_what_cannot_be_paired_is_refused():
    a, b = cross_validation("a", 1.0), cross_validation("b", 1.0, noise=1)
    with refused("different_folds", "fold 4 of seed 0", "a has 5, b has 4"):
        compare_cross_validations([a, dataclasses.replace(b, folds=b.folds[:4])], Question())
    with refused("different_folds", "fold 0 of seed 0"):
        compare_cross_validations([a, cross_validation("b", 1.0, (7,))], Question())
    moved = changed(b, table=b.folds[1].table)
    with refused("different_images", "a, fold 0 of seed 0"):
        compare_cross_validations([a, moved], Question())
    with refused("run_given_twice", "fold 1 of seed 0"):
        compare_cross_validations([changed(a, number=1), b], Question())
    alone = [dataclasses.replace(one, folds=one.folds[:1]) for one in (a, b)]
    with refused("too_few_runs"):
        compare_cross_validations(alone, Question())
    with refused("unknown_metric", "'acuracy'", "accuracy"):
        compare_cross_validations([a, b], Question(("acuracy",)))


def test_seeds_that_share_their_test_images_are_refused_and_others_are_taken():
    def seeds(name, share, noise):
        return CrossValidation(
            name,
            name,
            tuple(
                dataclasses.replace(cross_validation(name, 1.0, (0 if share else seed,), 5, noise=noise).folds[0],
                                    seed=seed, number=None)
                for seed in range(4)
            ),
        )  # fmt: skip

    with refused("same_test_images", "4", "data.folds=5"):
        compare_cross_validations([seeds("a", True, 0), seeds("b", True, 1)], Question())
    found = compare_cross_validations([seeds("a", False, 0), seeds("b", False, 1)], Question())
    assert found.pairs["freedom"][0] == 3 and any("4 pairs" in note for note in found.notes)
    assert folds_table(found).columns.tolist() == ["metric", "seed", "a", "b", "n"]


@pytest.mark.slow
def test_equal_ways_of_training_are_told_apart_as_rarely_as_promised(capsys):
    """Two classifiers of two exchangeable halves of the features, really trained on overlapping folds."""
    rng, simulations, n, folds = np.random.default_rng(0), 600, 100, 5
    ps = {"corrected": [], "uncorrected": []}
    for _ in range(simulations):
        labels = np.arange(n) % 2
        features = rng.normal(size=(n, 20)) + 0.4 * labels[:, None]
        fold_of = rng.permutation(n) % folds
        differences = []
        for number in range(folds):
            held = fold_of == number
            areas = []
            for half in (slice(0, 10), slice(10, 20)):
                x, y = features[~held, half], labels[~held] - 0.5
                weights = np.linalg.solve(x.T @ x + np.eye(10), x.T @ y)  # ridge
                areas.append(roc_auc_score(labels[held], features[held, half] @ weights))
            differences.append(areas[0] - areas[1])
        ps["corrected"].append(corrected_t(np.array(differences), 1 / (folds - 1))[1])
        ps["uncorrected"].append(ttest_1samp(differences, 0).pvalue)
    rates = {name: np.mean(np.array(of) < 0.05) for name, of in ps.items()}
    with capsys.disabled():
        print("\n" + ", ".join(f"{name}: p < 0.05 in {rate:.3f}" for name, rate in rates.items()))  # noqa: T201
    assert rates["corrected"] <= 0.07 < rates["uncorrected"]
