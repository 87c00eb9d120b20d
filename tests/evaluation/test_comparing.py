import itertools
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from scipy.stats import binomtest, norm
from scipy.stats import t as student
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, matthews_corrcoef

from medcls.evaluation.comparing import COMPARED, Evidence, Question, compare_all, conclusion, metrics_of, verdict
from medcls.evaluation.predictions import TOOK_PART, Predictions
from medcls.statistics.analytic import FEW_FOR_DELONG, delong, holm
from medcls.statistics.metric_table import BY_IDENTIFIER
from medcls.statistics.paired_tests import BY_GROUP, BY_ROW, DELONG_PAIRED
from medcls.statistics.resampling import Ranking, bootstrap, group_numbers

CLASSES = ("malignant", "benign")
THREE = ("a", "b", "c")


def predictions(scores, labels, classes=CLASSES, groups=None, split="test"):
    """Of the probabilities of the first class, or of a whole table of them."""
    scores = np.asarray(scores, np.float64)
    table = np.column_stack([scores, 1 - scores]) if scores.ndim == 1 else scores
    rows = pd.DataFrame(
        {
            "path": [f"{row}.png" for row in range(len(labels))],
            "label": [classes[label] for label in labels],
            "group": groups if groups is not None else [""] * len(labels),
            "split": split,
            "checkpoint": "hash",
        }
    )
    for k, name in enumerate(classes):
        rows[f"prob_{name}"] = table[:, k]
    return Predictions(rows, classes, classes[0] if len(classes) == 2 else None)


def two_models(n, seed=0, first=1.5, second=1.5, groups=None, decimals=6, **options):
    """Two models whose scores resemble each other; class 0 is the positive one."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2 if groups is None else (pd.factorize(np.asarray(groups))[0] % 2)
    shared = rng.normal(size=n)
    made = []
    for lift in (first, second):
        raw = 0.7 * shared + 0.7 * rng.normal(size=n) + lift * (labels == 0) - lift / 2
        made.append(predictions(np.round(norm.cdf(raw), decimals), labels, groups=groups, **options))
    return made


def asked(metrics, resamples=2000, seed=0, threshold_probability=None):
    return Question(tuple(metrics), threshold_probability, resamples=resamples, seed=seed)


def compare(first, second, metric, thresholds=(None, None), names=("A", "B"), **options):
    """The row of one pair by one metric."""
    points = {name: at for name, at in zip(names, thresholds, strict=True) if at is not None}
    found = compare_all(dict(zip(names, (first, second), strict=True)), asked([metric], **options), points)
    return SimpleNamespace(**found.to_dict("records")[0])


def said_in(sentence, pattern):
    """Whether names and numbers stand in a sentence, in this order."""
    return re.search(pattern, sentence) is not None


# --- by formula


def test_paired_delong_is_its_formula():
    a, b = two_models(400, second=1.2, decimals=2)
    found = compare(a, b, "auroc")
    cases = (a.labels() == 0).astype(int)
    areas, covariance = delong(cases, np.stack([a.probabilities()[:, 0], b.probabilities()[:, 0]]))
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.method == DELONG_PAIRED and found.n == 400
    assert (found.first, found.second) == pytest.approx(tuple(areas))
    assert found.p == pytest.approx(2 * norm.sf(abs(areas[0] - areas[1]) / error))
    assert (found.low, found.high) == pytest.approx(
        (found.difference - norm.ppf(0.975) * error, found.difference + norm.ppf(0.975) * error)
    )


def test_mcnemar_counts_the_discordant_rows_alone():
    labels = np.zeros(100, int)
    first, second = np.full(100, 0.9), np.full(100, 0.9)
    second[:9], first[9:11] = 0.1, 0.1  # the first alone is right on 9, the second alone on 2
    found = compare(predictions(first, labels), predictions(second, labels), "accuracy")
    assert found.p == pytest.approx(binomtest(2, 11, 0.5).pvalue)
    assert found.difference == pytest.approx(0.07) and "McNemar" in found.method and "exact" in found.method
    # Bonett and Price 2012, by hand: (9 + 1) and (2 + 1) of 102.
    up, down = 10 / 102, 3 / 102
    half = norm.ppf(0.975) * np.sqrt((up + down - (up - down) ** 2) / 102)
    assert (found.low, found.high) == pytest.approx((up - down - half, up - down + half))


def test_sensitivity_and_specificity_count_their_own_rows():
    a, b = two_models(200, second=0.5)
    labels = a.labels()
    for metric, rows, name in (("sensitivity", labels == 0, "malignant"), ("specificity", labels == 1, "benign")):
        found = compare(a, b, metric, thresholds=(0.4, 0.6))
        called = [(a.probabilities()[:, 0] >= 0.4), (b.probabilities()[:, 0] >= 0.6)]
        right = [(one == (labels == 0))[rows].mean() for one in called]
        assert (found.first, found.second, found.n) == (*right, 100)
        assert "100 " in found.rows and f"'{name}'" in found.rows


def test_two_equal_models_differ_by_nothing_but_not_for_certain():
    a, _ = two_models(100)
    for metric in ("auroc", "accuracy", "sensitivity"):
        found = compare(a, a, metric, resamples=200)
        assert found.difference == 0 and found.p == 1 and found.low < 0 < found.high, metric
        assert found.verdict == "undecided"


def test_perfect_models_get_another_method_named():
    labels = np.repeat([0, 1], 40)
    perfect = predictions(np.where(labels == 0, 0.9, 0.1), labels)
    found = compare(perfect, perfect, "auroc", resamples=200)
    assert "Newcombe" in found.method and -0.2 < found.low < 0 < found.high < 0.2


def test_few_rows_are_compared_by_permutation():
    a, b = two_models(2 * FEW_FOR_DELONG - 2)
    assert compare(a, b, "auroc", resamples=200).method.startswith(BY_ROW)
    a, b = two_models(2 * FEW_FOR_DELONG)
    assert compare(a, b, "auroc", resamples=200).method == DELONG_PAIRED


# --- by group


def groups_of(n, size):
    return [f"p{row // size}" for row in range(n)]


@pytest.mark.parametrize("metric", ["auroc", "accuracy", "sensitivity", "specificity"])
def test_repeated_groups_rule_out_the_formulas(metric):
    a, b = two_models(120, groups=groups_of(120, 3))
    found = compare(a, b, metric, resamples=300)
    assert found.method.startswith(BY_GROUP) and "bootstrap" in found.method
    assert found.rows.endswith("40 groups" if metric in ("auroc", "accuracy") else "20 groups")
    assert found == compare(a, b, metric, resamples=300)
    assert found.low < found.difference < found.high


@pytest.mark.parametrize("metric", ["auroc", "accuracy"])
def test_copies_in_a_group_add_no_certainty(metric):
    """Five copies of each row, as one patient: the p-value and the interval stay those of the single rows."""
    a, b = two_models(120, first=1.9, second=1.3, seed=4)
    alone = compare(a, b, metric)
    copied = [
        predictions(np.repeat(one.probabilities()[:, 0], 5), np.repeat(one.labels(), 5), groups=groups_of(600, 5))
        for one in (a, b)
    ]
    found = compare(*copied, metric)
    assert found.difference == pytest.approx(alone.difference)
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.12)
    assert found.p == pytest.approx(alone.p, abs=0.04)
    as_rows = [predictions(one.probabilities()[:, 0], one.labels()) for one in copied]
    assert compare(*as_rows, metric).p < 0.4 * alone.p


def test_permutation_equals_the_list_of_all_permutations():
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 1])
    groups = ["x", "x", "y", "y", "z", "z", "u", "v"]
    rng = np.random.default_rng(3)
    scores = rng.uniform(0.1, 0.9, (2, 8)).round(2)
    scores[0] += 0.3 * (labels == 0) - 0.15
    a, b = (predictions(np.clip(row, 0, 1), labels, groups=groups) for row in scores)
    ranks = np.stack([pd.Series(one.probabilities()[:, 0]).rank().to_numpy() for one in (a, b)])
    number = pd.factorize(np.array(groups))[0]
    ones = np.ones((1, 8))
    differences = []
    for swap in itertools.product([False, True], repeat=5):
        changed = np.array(swap)[number]
        mixed = np.where(changed, ranks[::-1], ranks)
        areas = [Ranking.by_score((labels == 0).astype(int), row).count(ones).areas()[0] for row in mixed]
        differences.append(areas[0] - areas[1])
    observed = compare(a, b, "auroc", resamples=20_000)
    exact = np.mean(np.abs(differences) >= abs(observed.difference) - 1e-12)
    assert observed.p == pytest.approx(exact, abs=0.015)


def test_permutation_of_shares_equals_the_list_of_all_permutations():
    labels = np.zeros(12, int)
    groups = groups_of(12, 2)
    first, second = np.full(12, 0.9), np.full(12, 0.9)
    second[[0, 1, 2, 4]], first[[6, 8]] = 0.1, 0.1
    found = compare(
        predictions(first, labels, groups=groups),
        predictions(second, labels, groups=groups),
        "accuracy",
        resamples=20_000,
    )
    of_group = np.array([2, 1, 1, -1, -1, 0])
    every = [abs(np.dot(signs, of_group)) >= 2 for signs in itertools.product([-1, 1], repeat=6)]
    assert found.p == pytest.approx(np.mean(every), abs=0.015)


def test_other_scales_do_not_matter_to_the_permutation():
    """A model whose probabilities are all small ranks as well as before, and the test must not see otherwise."""
    a, b = two_models(90, groups=groups_of(90, 3), second=1.0)
    small = predictions(b.probabilities()[:, 0] * 0.01, b.labels(), groups=groups_of(90, 3))
    assert compare(a, small, "auroc", resamples=300).p == compare(a, b, "auroc", resamples=300).p


def test_more_classes_are_compared_by_their_mean_area():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 150)
    tables = []
    for lift in (2.5, 0.5):
        raw = rng.normal(size=(150, 3))
        raw[np.arange(150), labels] += lift
        tables.append(predictions(np.exp(raw) / np.exp(raw).sum(1, keepdims=True), labels, THREE))
    found = compare(*tables, "auroc", resamples=300)
    assert found.method.startswith(BY_ROW) and found.low > 0 and found.p < 0.01
    assert compare(*tables, "accuracy").method.startswith("McNemar")
    with refused("not_binary", "3", "sensitivity", ", ".join(metrics_of(THREE))):
        compare(*tables, "sensitivity")


# --- what is no share and no area


@pytest.mark.parametrize("groups", [None, groups_of(150, 3)])
def test_metrics_are_those_of_scikit_learn_and_of_their_definition(groups):
    n, points, acted_at = 150, (0.4, 0.6), 0.2
    a, b = two_models(n, 3, first=1.5, second=0.8, groups=groups, decimals=2)
    truth = a.labels() == 0
    for metric, function in {
        "average_precision": lambda scores, at: average_precision_score(truth, scores),
        "f1": lambda scores, at: f1_score(truth, scores >= at),
        "mcc": lambda scores, at: matthews_corrcoef(truth, scores >= at),
        "brier": lambda scores, at: brier_score_loss(truth, scores),
        "net_benefit": lambda scores, at: np.mean(
            (scores >= acted_at) * np.where(truth, 1, -acted_at / (1 - acted_at))
        ),
    }.items():
        found = compare(a, b, metric, points, resamples=300, threshold_probability=acted_at)
        both = [function(table.probabilities()[:, 0], at) for table, at in zip((a, b), points, strict=True)]
        assert (found.first, found.second) == pytest.approx(tuple(both)), metric
        assert found.low < found.difference < found.high and 0 < found.p <= 1, metric
        assert ("groups" in found.method) == (groups is not None), (metric, found.method)
        assert found.freedom == (49 if groups else np.inf)


def test_the_paired_bootstrap_resamples_both_alike():
    """Held against the same resamples drawn one by one."""
    groups = groups_of(60, 3)
    a, b = two_models(60, 1, second=0.5, groups=groups)
    found = compare(a, b, "f1", resamples=100, seed=4)
    drawn = []  # first, how wide the answer is

    def keep(weights):
        drawn.append(weights.copy())
        return weights[:, :1]

    bootstrap(keep, a.labels(), group_numbers(groups, 60), 100, 4)
    of_both = []
    for table in (a, b):
        weights, case, called = np.concatenate(drawn[1:]), table.labels() == 0, table.probabilities()[:, 0] >= 0.5
        of_both.append(2 * (weights @ (case & called)) / (weights @ case + weights @ called))
    error = np.std(np.subtract(*of_both)) * np.sqrt(20 / 19)
    assert found.high - found.difference == pytest.approx(student.ppf(0.975, 19) * error)
    assert found.p == pytest.approx(2 * student.sf(abs(found.difference) / error, 19))


def test_several_classes_are_compared_by_what_they_have():
    rng = np.random.default_rng(0)
    labels, n = np.arange(150) % 3, 150
    made = []
    for lift in (1.5, 0.7):
        raw = rng.normal(size=(n, 3)) + lift * np.eye(3)[labels]
        made.append(predictions(np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True), labels, THREE))
    assert set(COMPARED) - set(metrics_of(THREE)) == {"sensitivity", "specificity", "net_benefit"}
    found = compare_all(dict(zip("ab", made, strict=True)), asked(metrics_of(THREE), 300)).set_index("metric")
    called = made[0].probabilities().argmax(axis=1)
    assert found.loc["f1", "first"] == pytest.approx(f1_score(labels, called, average="macro"))
    assert found.loc["mcc", "first"] == pytest.approx(matthews_corrcoef(labels, called))
    squares = ((made[0].probabilities() - np.eye(3)[labels]) ** 2).sum(axis=1).mean()
    assert found.loc["brier", "first"] == pytest.approx(squares)
    with refused("not_binary", "3", "net benefit"):
        compare(*made, "net_benefit", threshold_probability=0.2)


def test_a_lower_brier_score_is_the_better_one():
    a, b = two_models(400, first=2.5, second=0.3)
    found = compare(a, b, "brier", names=("big", "small"), resamples=500)
    assert found.difference < 0 and found.p < 0.01
    assert found.verdict == "better"
    assert compare(b, a, "brier", resamples=500).verdict == "worse"
    a, b = two_models(60, 1)
    found = compare(a, b, "brier", resamples=500)
    assert said_in(found.sentence, f"better .*{-found.low:.3f} .*worse .*{found.high:.3f}")


def test_a_net_benefit_needs_the_probability_at_which_a_person_acts():
    a, b = two_models(60)
    with refused("missing_setting", "threshold_probability=0.1"):
        compare(a, b, "net_benefit")
    for value in (1.0, -0.1, True, "0.1"):
        with refused("bad_value", "threshold_probability", repr(value)):
            compare(a, b, "net_benefit", threshold_probability=value)


@pytest.mark.parametrize("metric", COMPARED)
@pytest.mark.parametrize("groups", [None, groups_of(80, 4)])
def test_the_same_answers_twice_are_not_told_apart(metric, groups):
    a, _ = two_models(80, groups=groups)
    found = compare(a, a, metric, resamples=100, threshold_probability=0.2)
    assert (found.difference, found.p, found.verdict) == (0, 1, "undecided")


def test_a_correlation_without_two_kinds_of_calls_says_nothing():
    a, b = two_models(40)
    found = compare(a, b, "mcc", (1.0, None), resamples=100)
    assert np.isnan(found.difference) and found.verdict == "undefined"


# --- what is said


def test_a_difference_that_stands_is_said_with_its_limits():
    a, b = two_models(600, first=2.5, second=0.8)
    found = compare(a, b, "auroc", names=("big", "small"))
    assert found.verdict == "better" and "p < 0.001" in found.sentence
    turned = compare(b, a, "auroc", names=("small", "big"))
    assert turned.verdict == "worse"
    for sentence in (found.sentence, turned.sentence):
        assert said_in(sentence, "600 images.* big .*small.* AUROC 0[.]")


def test_no_difference_is_not_said_to_be_equality():
    a, b = two_models(156)
    found = compare(a, b, "auroc")
    assert found.verdict == "undecided"
    assert said_in(found.sentence, f"156 images.* better .*{found.high:.3f} .*worse .*{-found.low:.3f}")


@pytest.mark.parametrize(("limits", "p"), [((-0.001, 0.1), 0.01), ((0.001, 0.1), 0.06)])
def test_interval_and_test_must_agree_before_one_is_called_better(limits, p):
    row = {"metric": "auroc", "a": "A", "b": "B", "first": 0.9, "second": 0.85, "difference": 0.05, "rows": "80 images"}
    row |= {"low": limits[0], "high": limits[1], "p_holm": p}
    assert verdict(row) == "undecided"
    assert verdict(row | {"low": 0.001, "high": 0.1, "p_holm": 0.01}) == "better"
    sentence = conclusion(row, Evidence())
    if limits[0] > 0:
        turned = conclusion(row | {"difference": -0.05, "low": -0.1, "high": -0.001}, Evidence())
        assert said_in(sentence, r"0 in \w+ of A\b") and said_in(turned, r"0 in \w+ of B\b")
    else:
        assert said_in(sentence, "A .*better .*0.100 .*worse .*0.001")


def test_p52_images_that_took_part_are_no_test():
    a, b = two_models(200, split="val")
    assert TOOK_PART["val"] in compare(a, b, "auroc").sentence
    assert TOOK_PART["val"] not in compare(*two_models(200), "auroc").sentence


def test_one_class_only_says_nothing():
    a = predictions(np.linspace(0.1, 0.9, 20), np.zeros(20, int))
    found = compare(a, a, "auroc")
    assert np.isnan([found.difference, found.low, found.high, found.p]).all() and found.verdict == "undefined"
    found = compare(a, a, "specificity")
    assert np.isnan(found.p) and found.n == 0 and found.verdict == "undefined"


# --- the same rows


def test_rows_are_paired_by_path_in_any_order():
    a, b = two_models(100, second=1.0)
    mixed = Predictions(b.rows.sample(frac=1, random_state=0), b.classes, b.positive)
    for metric in ("auroc", "accuracy"):
        assert compare(a, b, metric, resamples=100) == compare(a, mixed, metric, resamples=100)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda rows: rows.iloc[1:], ("different_images", "'0.png'", "A has 20, B has 19")),
        (
            lambda rows: rows.assign(path=["x.png", *rows["path"][1:]]),
            ("different_images", "'0.png'", "A has 20, B has 20"),
        ),
        (lambda rows: rows.assign(label=["benign", *rows["label"][1:]]), ("rows_disagree", "label", "'0.png'")),
        (lambda rows: rows.assign(group=["p", *rows["group"][1:]]), ("rows_disagree", "group", "'0.png'")),
    ],
)
def test_other_rows_are_refused(change, wrong):
    a, b = two_models(20)
    with refused(*wrong):
        compare(a, Predictions(change(b.rows), b.classes, b.positive), "auroc")


def test_classes_may_stand_in_another_order():
    a, b = two_models(100, second=1.0)
    turned = Predictions(b.rows, b.classes[::-1], b.positive)
    for metric in COMPARED:
        found = compare(a, b, metric, resamples=100, threshold_probability=0.3)
        turned_round = compare(a, turned, metric, resamples=100, threshold_probability=0.3)
        assert vars(found) == pytest.approx(vars(turned_round)), metric


def test_p42_hard_labels_have_no_area_to_compare():
    a, _ = two_models(40)
    hard = a.with_probabilities(np.round(a.probabilities()))
    with refused("hard_labels"):
        compare(a, hard, "auroc")
    assert compare(a, hard, "accuracy").difference == 0


def test_another_positive_class_or_metric_is_refused():
    a, b = two_models(20)
    with refused("different_classes", "positive: malignant", "positive: benign"):
        compare(a, Predictions(b.rows, b.classes, "benign"), "auroc")
    with refused("unknown_metric", "'acuracy'", "accuracy"):
        compare(a, b, "acuracy")


# --- many


def test_holm_of_the_textbook():
    # 0.01 * 4, 0.02 * 3 (not below the one before), 0.03 * 2, 0.04 * 1
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.02])), [0.04, 0.06, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.001, 0.9])), [1.0, np.nan, 0.003, 1.0])
    assert holm(np.array([])).size == 0


def test_holm_rejects_what_its_steps_reject():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.uniform(0, 0.2, rng.integers(1, 8))
        rejected = np.zeros(len(p), bool)
        for step, index in enumerate(np.argsort(p)):
            if p[index] > 0.05 / (len(p) - step):
                break
            rejected[index] = True
        np.testing.assert_array_equal(holm(p) <= 0.05, rejected)


def test_sentences_of_a_sweep_stand_on_the_corrected_p_value():
    a, b = two_models(300, first=1.8, second=1.45, seed=1)
    c, d = two_models(300, first=1.75, second=1.7, seed=2)
    alone = compare(a, b, "auroc", names=("a", "b"))
    found = compare_all({"a": a, "b": b, "c": c, "d": d}, Question()).set_index(["a", "b"])
    assert len(found) == 6
    np.testing.assert_allclose(found["p_holm"], holm(found["p"].to_numpy()))
    assert found.loc[("a", "b"), "p"] == alone.p and found["sentence"].str.contains("Holm.* 6").all()
    kept = found["p_holm"] < 0.05
    assert found.loc[kept, "verdict"].isin(["better", "worse"]).all()
    lost = (found["p"] < 0.05) & ~kept
    assert lost.any(), found[["p", "p_holm"]]  # else this test shows nothing
    assert (found.loc[lost, "verdict"] == "undecided").all()


@pytest.mark.parametrize("groups", [None, groups_of(60, 3)])
@pytest.mark.parametrize("resampled", [True, False])
def test_a_pair_among_many_gets_what_it_gets_alone(groups, resampled):
    metrics = [
        name for name in COMPARED if (getattr(BY_IDENTIFIER.get(name), "compared", "") == "bootstrap") == resampled
    ]
    made = [table for seed in (1, 2) for table in two_models(60, seed, second=1.0, groups=groups)][:3]
    tables = dict(zip("abc", made, strict=True))
    points = {"a": 0.4, "c": 0.7}
    for begin in range(0, len(metrics), 3):  # the more at once, the more permutations each takes
        some = metrics[begin : begin + 3]
        count = 3 * len(some)
        draws = {"resamples": 100 * count, "threshold_probability": 0.3}  # as many as the permutations of so many
        found = compare_all(tables, asked(some, **draws), points)
        assert len(found) == count
        for told in found.to_dict("records"):
            alone = compare(
                tables[told["a"]],
                tables[told["b"]],
                told["metric"],
                (points.get(told["a"]), points.get(told["b"])),
                **draws,
            )
            for name in ("first", "second", "difference", "low", "high", "p"):
                assert told[name] == pytest.approx(getattr(alone, name)), (told["metric"], name)
            assert (told["method"], told["rows"], told["n"]) == (alone.method, alone.rows, alone.n)


def test_a_clear_difference_by_group_outlives_many_comparisons():
    """Of 2,000 permutations the smallest p-value is 0.0005: times 105 it would always be above 0.05."""
    tables = {}
    for seed in range(15):
        tables[f"m{seed}"] = two_models(240, seed, first=0.2 * seed, groups=groups_of(240, 2))[0]
    found = compare_all(tables, Question())
    assert len(found) == 105 and found["method"].str.startswith(BY_GROUP).all()
    assert found["p_holm"].min() < 0.02
    assert found["verdict"].isin(["better", "worse"]).any()


def test_only_comparisons_that_exist_are_corrected_for():
    a, b = two_models(40)
    one_class = {
        name: Predictions(table.rows[table.rows["label"] == "malignant"], table.classes, table.positive)
        for name, table in (("a", a), ("b", b))
    }
    found = compare_all(one_class, asked(["auroc", "sensitivity"])).set_index("metric")
    assert np.isnan(found.loc["auroc", "p"]) and np.isnan(found.loc["auroc", "p_holm"])
    assert found.loc["sensitivity", "p_holm"] == found.loc["sensitivity", "p"]
    assert "Holm" not in found.loc["sensitivity", "sentence"]


@pytest.mark.slow
def test_no_difference_is_found_as_rarely_as_promised(capsys):
    """Two equal models are called different, and one of them better, in about 5% of all pairs, by any metric."""
    simulations, lines = 200, []
    kinds = (("200 rows", None), ("67 patients of 3 rows", groups_of(201, 3)), ("20 patients of 4", groups_of(80, 4)))
    for name, groups in kinds:
        n = 200 if groups is None else len(groups)
        found = pd.concat(
            [
                compare_all(
                    dict(zip("AB", two_models(n, seed, groups=groups), strict=True)),
                    asked(COMPARED, 300, threshold_probability=0.3),
                )
                for seed in range(simulations)
            ]
        )
        # The sentences of each metric stand on the corrected p-value: a false one of all nine is as rare.
        false = found.groupby(np.repeat(range(simulations), len(COMPARED)))["sentence"].apply(
            lambda told: told.str.contains("is better than").any()
        )
        lines.append(f"{name}: any of nine sentences calls one better in {false.mean():.3f}")
        assert false.mean() <= 0.08, lines[-1]
        for metric, of in found.groupby("metric"):
            spoke, held = (of["p"] < 0.05).mean(), ((of["low"] <= 0) & (of["high"] >= 0)).mean()
            lines.append(f"{name}, {metric}: p < 0.05 in {spoke:.3f}, interval holds 0 in {held:.3f}")
            # McNemar's exact test is cautious, by so much that it has no lower bound here.
            assert spoke <= 0.08 and 0.92 <= held <= 0.99, lines[-1]
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201
