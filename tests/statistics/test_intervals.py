import time

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from interval_tables import intervals
from scipy.special import expit, logit
from scipy.stats import norm

from medcls.statistics import analytic, causes
from medcls.statistics.analytic import (
    BOOTSTRAP_OVER,
    DELONG,
    MOVER_RATIO,
    ONCE,
    ORDER_STATISTICS,
    WILSON,
    likelihood_ratio_limits,
    t_factor,
    wilson_limits,
)
from medcls.statistics.intervals import FEW_FOR_BOOTSTRAP, bootstrap_limits
from medcls.statistics.metric_table import MACRO, METRICS
from medcls.statistics.metrics import classification_metrics
from medcls.statistics.resampling import Ranking

BINARY = ("malignant", "benign")  # the positive class comes first on purpose: nothing may lean on index 1
THREE = ("a", 'b, "c"', "<script>")


def random_split(k, n, seed, decimals=3, lift=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    scores = rng.normal(size=(n, k))
    scores[np.arange(n), labels] += lift
    scores = np.exp(np.round(scores, decimals))
    return labels, scores / scores.sum(1, keepdims=True)


def table(k, n, seed=0, groups=None, resamples=200, **options):
    labels, probabilities = random_split(k, n, seed, **options)
    classes = BINARY if k == 2 else THREE
    found = intervals(
        labels, probabilities, classes, classes[0] if k == 2 else None, groups, resamples=resamples, seed=seed
    )
    return found.set_index(["metric", "class"])


# --- by formula


def test_a_positive_likelihood_ratio_knows_that_5_of_5_is_uncertain():
    low, high = likelihood_ratio_limits(1.0, 0.2, 5, 20)
    assert low < wilson_limits(1.0, 5)[0] / 0.2 < 5 < high
    grouped = np.repeat(np.arange(25), 2)
    labels = (grouped >= 5).astype(int)  # five patients of the positive class, all called
    scores = np.where(labels == 0, 0.9, np.where(grouped % 5 == 0, 0.8, 0.1))
    found = intervals(
        labels, np.column_stack([scores, 1 - scores]), BINARY, BINARY[0], [f"p{one}" for one in grouped], resamples=200
    ).set_index("metric")
    row = found.loc["positive_likelihood_ratio"]
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    assert ONCE in row["method"] and "0 or 1" in row["note"]
    row = found.loc["balanced_accuracy"]
    assert "MOVER" in row["method"] and row["low"] < (wilson_limits(1.0, 5)[0] + 0.8) / 2


def test_constant_scores_are_no_certain_likelihood_ratio():
    labels = np.repeat([0, 1], 20)
    found = intervals(labels, np.full((40, 2), 0.5), BINARY, BINARY[0], resamples=50).set_index("metric")
    row = found.loc["positive_likelihood_ratio"]
    assert row["estimate"] == 1 and 0.7 < row["low"] < 0.9 and 1.1 < row["high"] < 1.3


@pytest.mark.parametrize(("cases", "others", "few"), [(20, 200, "specificity"), (200, 20, "sensitivity")])
def test_a_held_rate_of_few_has_limits_by_order_statistics(cases, others, few):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [cases, others])
    scores = expit(rng.normal(size=cases + others) + 2 * (labels == 0))
    found = intervals(labels, np.column_stack([scores, 1 - scores]), BINARY, BINARY[0], resamples=50)
    for row in found[found["metric"].str.contains("_at_")].itertuples():
        assert (row.method == ORDER_STATISTICS) == row.metric.startswith(few)
        assert 0 <= row.low < row.estimate < row.high <= 1
        assert ("20 images" in row.note) == row.metric.startswith(few)


@pytest.mark.wording
def test_a_single_group_that_sets_the_threshold_is_told_in_the_singular():
    labels, groups = np.repeat([0, 1], [3, 30]), ["p"] * 3 + [f"q{k}" for k in range(30)]
    scores = expit(np.random.default_rng(0).normal(size=33) + 2 * (labels == 0))
    found = intervals(labels, np.column_stack([scores, 1 - scores]), BINARY, BINARY[0], groups, resamples=50)
    notes = found.loc[found["metric"].str.startswith("specificity_at_"), "note"]
    assert len(notes) and notes.str.contains("1 group set the threshold").all()


def test_a_bootstrap_of_few_groups_has_wider_limits_and_says_so():
    values = np.random.default_rng(0).normal(0.6, 0.05, 400)
    plain, few = bootstrap_limits(0.6, values), bootstrap_limits(0.6, values, groups=20)
    assert logit(few[1]) - logit(0.6) == pytest.approx((logit(plain[1]) - logit(0.6)) * t_factor(20) / analytic.Z)
    assert t_factor(20) == pytest.approx(2.0930 * np.sqrt(20 / 19), abs=1e-3)
    assert t_factor(10**6) == pytest.approx(analytic.Z, abs=1e-4) and t_factor(None) == analytic.Z
    for groups, said in ((28, True), (32, False)):
        found = table(2, 3 * groups, seed=1, groups=[f"p{row // 3}" for row in range(3 * groups)], resamples=50)
        found = found[found["method"].str.startswith("bootstrap")]
        assert len(found) > 10 and found["note"].str.contains(f"fewer than {FEW_FOR_BOOTSTRAP}").all() == said
        assert found["note"].str.startswith(f"{groups} groups").all()


# --- the table


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    k=st.sampled_from([2, 3]),
    n=st.integers(0, 40),
    seed=st.integers(0, 10**6),
    decimals=st.integers(0, 2),
    lift=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_estimates_are_those_of_the_metrics(k, n, seed, decimals, lift):
    labels, probabilities = random_split(k, n, seed, decimals, lift)
    classes = BINARY if k == 2 else THREE
    positive = classes[0] if k == 2 else None
    expected = classification_metrics(labels, probabilities, classes, positive)
    found = intervals(labels, probabilities, classes, positive, resamples=2)
    shared = 0
    for row in found.itertuples():
        name = row[2]
        values = expected.per_class.get(name, expected.values)
        if row.metric in values:
            shared += 1
            assert row.estimate == pytest.approx(values[row.metric], abs=1e-9, nan_ok=True), (row.metric, name)
            if np.isnan(row.estimate):
                key = f"{row.metric}/{name}" if name in expected.per_class else row.metric
                assert row.note == expected.reasons[key]
        assert (row.note != "") or not np.isnan(row.low), (row.metric, name)
        assert np.isnan(row.low) or row.low - 1e-12 <= row.estimate <= row.high + 1e-12, (row.metric, name)
    assert shared >= (7 if k == 2 else 20)


def test_every_figure_of_the_metrics_has_an_interval():
    labels, probabilities = random_split(3, 90, 0)
    expected = classification_metrics(labels, probabilities, THREE, None, ordered=True)
    found = intervals(labels, probabilities, THREE, None, resamples=50, ordered=True)
    names = set(found[["metric", "class"]].itertuples(index=False, name=None))
    for name in THREE:
        assert {(metric, name) for metric in expected.per_class[name]} - names == {
            ("support", name),
            ("prevalence", name),
        }
    of_all = {metric for metric in expected.values if (metric, "") not in names and (metric, MACRO) not in names}
    assert of_all == {"n", "majority_baseline"}
    found = found.set_index(["metric", "class"])
    assert found.loc[("quadratic_kappa", ""), "estimate"] == pytest.approx(expected.values["quadratic_kappa"], abs=1e-9)


@pytest.mark.parametrize("groups", [None, [f"p{row // 2}" for row in range(200)]])
def test_a_rate_at_a_held_rate_is_that_of_the_metrics_with_an_interval(groups):
    labels, probabilities = random_split(2, 200, 0)
    found = intervals(labels, probabilities, BINARY, BINARY[0], groups, resamples=200).set_index("metric")
    counts = Ranking.by_score((labels == 0).astype(np.int64), probabilities[:, 0]).count(np.ones((1, 200)))
    for share in (0.9, 0.95):
        for name, function in (
            ("sensitivity_at_specificity", counts.sensitivities_at),
            ("specificity_at_sensitivity", counts.specificities_at),
        ):
            row = found.loc[f"{name}_{share:g}"]
            assert row["estimate"] == function(share)[0]
            assert 0 < row["low"] < row["estimate"] < row["high"] < 1 and "bootstrap" in row["method"]


def test_a_likelihood_ratio_that_is_infinite_is_undefined_and_one_of_nothing_has_a_wide_limit():
    labels = np.repeat([0, 1], 40)
    scores = np.where(labels == 0, 0.9, 0.1)
    scores[:4] = 0.2
    for groups in (None, [f"p{row // 2}" for row in range(80)]):
        found = intervals(labels, np.column_stack([scores, 1 - scores]), BINARY, BINARY[0], groups, resamples=200)
        found = found.set_index("metric")
        infinite = found.loc["positive_likelihood_ratio"]
        assert np.isnan(infinite["estimate"]) and infinite["note"] == causes.no_other_predicted(BINARY[0])
        wrong = np.where(labels == 0, 0.1, 0.9)
        found = intervals(labels, np.column_stack([wrong, 1 - wrong]), BINARY, BINARY[0], groups, resamples=200)
        nothing = found.set_index("metric").loc["positive_likelihood_ratio"]
        assert nothing["estimate"] == nothing["low"] == 0 and 0 < nothing["high"] < 1
        assert nothing["method"].startswith(MOVER_RATIO)


def test_one_false_alarm_leaves_a_wide_interval_for_the_likelihood_ratio():
    """Without the resamples that have no false alarm, whose ratio is infinite, it would look far too sure."""
    labels = np.repeat([0, 1], 60)
    scores = np.where(labels == 0, 0.9, 0.1)
    scores[[0, 1, 60]] = [0.2, 0.2, 0.8]
    table = np.column_stack([scores, 1 - scores])
    alone = intervals(labels, table, BINARY, BINARY[0], resamples=2000).set_index("metric")
    pairs = intervals(labels, table, BINARY, BINARY[0], ["x", "x", *[""] * 118], resamples=2000).set_index("metric")
    for found in (alone, pairs):
        low, high = found.loc["positive_likelihood_ratio", ["low", "high"]]
        assert 35 < high / low < 90


def test_estimates_equal_scikit_learn():
    labels, probabilities = random_split(3, 400, 1, decimals=1)
    found = intervals(labels, probabilities, THREE, None, resamples=2).set_index(["metric", "class"])["estimate"]
    called = probabilities.argmax(1)
    for k, name in enumerate(THREE):
        assert found["npv", name] == pytest.approx(((called != k) & (labels != k)).sum() / (called != k).sum())
        area = sk.average_precision_score(labels == k, probabilities[:, k])
        assert found["average_precision", name] == pytest.approx(area, abs=1e-9)
    assert found["auroc", MACRO] == pytest.approx(sk.roc_auc_score(labels, probabilities, multi_class="ovr"), abs=1e-9)
    assert found["mcc", ""] == pytest.approx(sk.matthews_corrcoef(labels, called), abs=1e-9)
    assert found["log_loss", ""] == pytest.approx(sk.log_loss(labels, probabilities), abs=1e-9)
    assert found["brier", ""] == pytest.approx(((probabilities - np.eye(3)[labels]) ** 2).sum(1).mean(), abs=1e-9)


def test_rows_alone_get_formulas_and_repeated_groups_a_bootstrap():
    alone = table(2, 300)
    assert alone.loc[("sensitivity", BINARY[0]), "method"] == WILSON
    assert alone.loc[("auroc", BINARY[0]), "method"] == DELONG
    assert alone.loc[("mcc", ""), "method"].startswith(f"{BOOTSTRAP_OVER} rows")
    together = table(2, 300, groups=[f"patient {row // 3}" for row in range(300)])
    assert together["method"].str.startswith(f"{BOOTSTRAP_OVER} groups").all()
    assert together["note"].str.contains("100 groups").all()
    np.testing.assert_array_equal(alone["estimate"], together["estimate"])
    one_pair = table(2, 300, groups=["x", "x", *[""] * 298])
    assert one_pair["method"].str.startswith(f"{BOOTSTRAP_OVER} groups").all()
    assert one_pair["note"].str.contains("299 groups").all()
    each_its_own = table(2, 300, groups=[f"patient {row}" for row in range(300)])
    assert each_its_own.equals(alone)


def test_copies_of_rows_in_one_group_do_not_narrow_the_interval():
    labels, probabilities = random_split(2, 120, 3)
    once = intervals(labels, probabilities, BINARY, BINARY[0], resamples=1000).set_index("metric")
    five = intervals(
        np.repeat(labels, 5),
        np.repeat(probabilities, 5, axis=0),
        BINARY,
        BINARY[0],
        [f"p{row // 5}" for row in range(600)],
        resamples=1000,
    ).set_index("metric")
    widths = [found["high"] - found["low"] for found in (once, five)]
    assert (widths[1] / widths[0]).between(0.85, 1.15).all()


def test_the_same_seed_gives_the_same_table():
    groups = [f"p{row // 2}" for row in range(100)]
    assert table(3, 100, 5, groups).equals(table(3, 100, 5, groups))
    labels, probabilities = random_split(3, 100, 5)
    other = intervals(labels, probabilities, THREE, None, groups, resamples=200, seed=6)
    assert not other.set_index(["metric", "class"]).equals(table(3, 100, 5, groups))


@pytest.mark.parametrize("groups", [None, [f"p{row // 2}" for row in range(60)]])
@pytest.mark.parametrize("k", [2, 3])
def test_a_perfect_classifier_has_no_certain_figure(k, groups):
    labels = np.arange(60) // 2 % k
    probabilities = np.full((60, k), 0.1 / (k - 1))
    probabilities[np.arange(60), labels] = 0.9
    classes = BINARY if k == 2 else THREE
    found = intervals(labels, probabilities, classes, BINARY[0] if k == 2 else None, groups, resamples=50)
    graded = [metric.identifier for metric in METRICS if metric.measures == "probabilities"]
    found = found[~found["metric"].isin([*graded, "positive_likelihood_ratio"])]
    of_errors = found["metric"] == "negative_likelihood_ratio"
    assert (found.loc[of_errors, "estimate"] == 0).all() and (found.loc[of_errors, "high"] > 0.05).all()
    found = found[~of_errors]
    assert (found["estimate"] == 1).all()
    told = found["low"].notna()
    assert (found.loc[told, "low"] < 0.97).all() and (found.loc[told, "high"] == 1).all()
    resampled = [metric.identifier for metric in METRICS if metric.interval == "bootstrap" and "class" in metric.scopes]
    without = {(metric, name) for metric in set(resampled) - set(graded) for name in found["class"] if name} | (
        {("mcc", ""), ("kappa", "")} if k == 3 else set()
    )
    assert set(found.loc[~told, ["metric", "class"]].itertuples(index=False, name=None)) == without
    assert (found.loc[~told, "method"] == "none").all() and found.loc[~told, "note"].ne("").all()
    if groups:
        once = found["method"].str.contains(ONCE)
        assert once.sum() >= 7 and (found.loc[told, "method"] != WILSON).all()
        # 30 groups, each of two equal rows, say as much as 30 rows.
        accuracy = found.set_index("metric").loc["accuracy"]
        assert (accuracy["low"], accuracy["high"]) == pytest.approx(wilson_limits(1.0, 30))


def test_p50_one_class_only_is_nan_with_the_reason():
    _, probabilities = random_split(2, 30, 0)
    found = intervals(np.zeros(30, int), probabilities, BINARY, BINARY[0], resamples=50).set_index("metric")
    for metric in ("specificity", "auroc", "average_precision", "balanced_accuracy"):
        assert np.isnan(found.loc[metric, "estimate"]) and found.loc[metric, "note"] == causes.no_image_but_of(
            "malignant"
        ), metric
    assert np.isnan(found.loc["mcc", "estimate"]) and found.loc["accuracy", "method"] == WILSON
    assert found.loc["specificity", "n"] == 0 and found.loc["sensitivity", "n"] == 30


def test_p50_f1_without_a_case_is_undefined_whatever_is_called():
    _, probabilities = random_split(2, 30, 0)
    found = intervals(np.ones(30, int), probabilities, BINARY, BINARY[0], resamples=50).set_index("metric")
    assert np.isnan(found.loc["f1", "estimate"]) and found.loc["f1", "note"] == causes.no_image_of("malignant")


@pytest.mark.parametrize("only", [0, 1])
def test_p50_of_one_class_ppv_and_npv_are_undefined_as_in_the_metrics(only):
    """They are 0 or 1 by construction, whatever the classifier."""
    _, probabilities = random_split(2, 30, 0)
    labels = np.full(30, only)
    expected = classification_metrics(labels, probabilities, BINARY, BINARY[0])
    found = intervals(labels, probabilities, BINARY, BINARY[0], resamples=20).set_index("metric")
    assert expected.confusion[only].all() and expected.of_one_class and expected.majority_note() is None
    for name in ("precision", "npv"):
        assert np.isnan(expected.values[name]) and np.isnan(found.loc[name, "estimate"])
        assert found.loc[name, "note"] == expected.reasons[name] == expected.why([name, name])
        assert expected.reasons[name] == (causes.no_image_of if only else causes.no_image_but_of)(BINARY[0])


def test_a_class_may_be_called_macro():
    labels, probabilities = random_split(3, 60, 0)
    found = intervals(labels, probabilities, ("macro", "micro", "none"), None, resamples=50)
    known = [metric for metric in METRICS if metric.interval != "none" and not metric.ordered]
    count = {of: sum(of in metric.scopes for metric in known) for of in ("class", "mean", "all")}
    rows = 3 * count["class"] + count["mean"] + count["all"]
    assert len(found) == len(found.drop_duplicates(["metric", "class"])) == rows
    assert found.set_index(["metric", "class"]).loc[("sensitivity", "macro"), "n"] == (labels == 0).sum()


def test_p50_of_each_class_the_reason_is_that_of_the_metrics():
    labels, _ = random_split(3, 30, 0)
    always = np.tile([0.6, 0.3, 0.1], (30, 1))
    expected = classification_metrics(labels, always, THREE, None)
    found = intervals(labels, always, THREE, None, resamples=20).set_index(["metric", "class"])
    for name in THREE:
        for metric in ("mcc", "positive_likelihood_ratio", "negative_likelihood_ratio"):
            reason = expected.reasons.get(f"{metric}/{name}", "")
            assert np.isnan(found.loc[(metric, name), "estimate"]) == (reason != "")
            assert not reason or found.loc[(metric, name), "note"] == reason
    assert expected.reasons["mcc/a"] == causes.all_predicted("a")


def test_macro_is_undefined_for_the_reason_of_its_class():
    labels, probabilities = random_split(3, 60, 0)
    found = intervals(np.where(labels == 2, 0, labels), probabilities, THREE, None, resamples=50)
    found = found.set_index(["metric", "class"])
    assert np.isnan(found.loc[("sensitivity", MACRO), "estimate"])
    assert found.loc[("sensitivity", MACRO), "note"] == causes.no_image_of("<script>")
    assert found.loc[("balanced_accuracy", ""), "note"] == causes.no_image_of("<script>")


def test_an_empty_split_is_all_nan():
    found = intervals([], np.empty((0, 2)), BINARY, BINARY[0])
    assert found[["estimate", "low", "high"]].isna().all(axis=None) and (found["note"] == causes.NO_IMAGES).all()


def test_p45_zero_is_a_threshold():
    labels, probabilities = random_split(2, 50, 0)
    found = intervals(labels, probabilities, BINARY, BINARY[0], threshold=0.0, resamples=50).set_index("metric")
    assert found.loc["sensitivity", "estimate"] == 1 and found.loc["specificity", "estimate"] == 0
    assert found.loc["npv", "note"] == causes.all_predicted("malignant")


def test_few_groups_are_said_to_be_few():
    found = table(2, 60, groups=[f"p{row // 10}" for row in range(60)])
    # Of these six groups one has no row of the positive class.
    found = found[~found.index.get_level_values("metric").str.contains("_at_")]
    assert found["note"].str.contains("6 groups; only 5 of one class").all()
    assert not table(2, 300, groups=[f"p{row // 3}" for row in range(300)])["note"].str.contains("only").any()


def test_bootstrap_limits_stay_within_their_bounds():
    values = np.random.default_rng(0).normal(0.98, 0.02, 2000)
    low, high = bootstrap_limits(0.98, values)
    assert 0 < low < 0.98 < high < 1
    low, high = bootstrap_limits(0.3, values, (0, np.inf))
    assert low == pytest.approx(0.3 * np.exp(-analytic.Z * values.std() / 0.3))
    assert bootstrap_limits(0.5, np.full(100, 0.5)) is None
    assert bootstrap_limits(0.5, np.r_[np.full(60, np.nan), values[:40]]) is None


def test_two_thousand_resamples_of_ten_thousand_rows_are_quick():
    labels, probabilities = random_split(2, 10_000, 0)
    started = time.process_time()
    intervals(labels, probabilities, BINARY, BINARY[0], [f"p{row // 2}" for row in range(10_000)])
    assert time.process_time() - started < 10


# --- coverage: how often the interval holds the truth


def grouped_coverage(patients, sensitivity, simulations, resamples=500, seed=0):
    """Patients with one to three rows each that resemble each other; sensitivity and AUROC by their bootstrap."""
    rng = np.random.default_rng(seed)
    shift = np.sqrt(2) * norm.ppf(0.9)
    cut = shift - norm.ppf(sensitivity)
    hits = np.zeros(2)
    for number in range(simulations):
        rows = rng.integers(1, 4, 2 * patients)
        patient = np.repeat(np.arange(2 * patients), rows)
        labels = 1 - patient % 2  # class 0 is the positive one
        noise = np.sqrt(0.5) * (rng.normal(size=2 * patients)[patient] + rng.normal(size=len(patient)))
        score = expit(noise + shift * (labels == 0) - cut)
        found = intervals(
            labels,
            np.column_stack([score, 1 - score]),
            BINARY,
            BINARY[0],
            [f"p{one}" for one in patient],
            resamples=resamples,
            seed=number,
        ).set_index("metric")
        truths = {"sensitivity": sensitivity, "auroc": 0.9}
        hits += [found.loc[name, "low"] <= truth <= found.loc[name, "high"] for name, truth in truths.items()]
    return hits / simulations


@pytest.mark.slow
def test_a_held_rate_of_few_covers_what_it_promises(capsys):
    """Specificity at a sensitivity of 0.9 and 0.95 where few cases set the threshold: never under 95%."""
    lines, missed, simulations = [], [], 300
    for area in (0.85, 0.95):
        shift = np.sqrt(2) * norm.ppf(area)
        for cases in (5, 10, 20, 40):
            rng, labels, hits = np.random.default_rng(cases), np.repeat([0, 1], [cases, 100]), np.zeros(2)
            for _ in range(simulations):
                score = expit(rng.normal(size=cases + 100) + shift * (labels == 0))
                found = intervals(labels, np.column_stack([score, 1 - score]), BINARY, BINARY[0], resamples=2)
                found = found.set_index("metric")
                for place, held in enumerate((0.9, 0.95)):
                    row = found.loc[f"specificity_at_sensitivity_{held:g}"]
                    hits[place] += row["low"] <= norm.cdf(shift - norm.ppf(held)) <= row["high"]
            covers = hits / simulations
            lines.append(f"AUROC {area}, {cases} cases: specificity at 0.9 {covers[0]:.3f}, at 0.95 {covers[1]:.3f}")
            slack = 2 * np.sqrt(0.95 * 0.05 / simulations)
            missed += [lines[-1] for cover in covers if cover < 0.95 - slack]
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201
    assert not missed


@pytest.mark.slow
def test_the_bootstrap_over_patients_covers_what_it_promises(capsys):
    """With 100 patients a class 93% to 97%, give or take two standard errors; with fewer tabulated."""
    lines, missed = [], []
    for patients, simulations in ((10, 150), (20, 150), (100, 300)):
        for sensitivity in (0.7, 0.9):
            covers = grouped_coverage(patients, sensitivity, simulations, resamples=300)
            lines.append(
                f"{patients} patients a class: sensitivity {sensitivity} {covers[0]:.3f}, AUROC {covers[1]:.3f}"
            )
            if patients >= 100:
                slack = 2 * np.sqrt(0.95 * 0.05 / simulations)
                missed += [lines[-1] for cover in covers if not abs(cover - 0.95) <= 0.02 + slack]
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201
    assert not missed
