import json
import re
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from refusals import refused
from scipy.special import expit, logit
from scipy.stats import binom, norm

from medcls.evaluation import thresholds
from medcls.evaluation.predictions import FITTED_TWICE, Predictions
from medcls.evaluation.thresholds import NOT_FITTED, OperatingPoint, fit_operating_point, not_fitted, parse_criterion
from medcls.statistics.resampling import Bootstrap

FITTED = ("youden", "f1", "sensitivity>=0.9", "specificity>=0.9", "cost=4")


def table(scores, labels, *, split="calibration", groups=None, positive="malignant", checkpoint="abc"):
    """A binary table; `scores` and `labels` (1 for a case) are of the positive class, whichever it is."""
    classes, scores = ("benign", "malignant"), np.asarray(scores, np.float64)
    other = classes[positive == classes[0]]
    rows = pd.DataFrame({"path": np.arange(len(scores)).astype(str), "label": np.where(labels, positive, other)})
    rows = rows.assign(group="" if groups is None else groups, split=split, checkpoint=checkpoint)
    return Predictions(rows.assign(**{f"prob_{positive}": scores, f"prob_{other}": 1 - scores}), classes, positive)


def random_rows(n, seed=0, decimals=3):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3 == 0
    return np.round(1 / (1 + np.exp(-rng.normal(size=n) - 2 * labels)), decimals), labels


def decided(point, rows):
    return rows.to_split(point.threshold).predicted


def counts(scores, labels, threshold):
    called = scores >= threshold
    return (called & labels).sum(), (called & ~labels).sum(), (~called & labels).sum(), (~called & ~labels).sum()


def brute_force(policy, scores, labels):
    """The best (sensitivity, specificity) by trying everything, in the order of preference the docstring states."""
    best = None
    for threshold in [*np.unique(scores), *([1.0] if scores.max() < 1 else [])]:
        tp, fp, fn, tn = counts(scores, labels, threshold)
        merit = {
            "youden": round(tp / (tp + fn) + tn / (tn + fp), 12),
            "f1": round(2 * tp / (2 * tp + fp + fn), 12),
            "sensitivity>=0.9": tn if tp / (tp + fn) >= 0.9 else -1,
            "specificity>=0.9": tp if tn / (tn + fp) >= 0.9 else -1 - fp,
            "cost=4": -(4 * fn + fp),
        }[policy]
        best = max(best or (merit, tp, -fp), (merit, tp, -fp))
    return best[1], -best[2]


@settings(max_examples=60, deadline=None)
@given(
    policy=st.sampled_from(FITTED),
    n=st.integers(2, 40),
    seed=st.integers(0, 10**6),
    decimals=st.integers(0, 3),
    positive=st.sampled_from(["benign", "malignant"]),
)
def test_no_threshold_serves_the_policy_better(policy, n, seed, decimals, positive):
    scores, labels = random_rows(n, seed, decimals)
    assume(not np.isin(scores, (0, 1)).all())  # hard labels are refused
    point = fit_operating_point(table(scores, labels, positive=positive), policy, resamples=2)
    tp, fp, _, _ = counts(scores, labels, point.threshold)
    assert (tp, fp) == brute_force(policy, scores, labels)
    assert (point.n, point.positives, point.positive_class) == (n, labels.sum(), positive)
    assert point.groups == n and point.criterion == policy


@pytest.mark.parametrize("policy", FITTED)
def test_the_threshold_lies_midway_between_scores_that_occur(policy):
    point = fit_operating_point(table([0.1, 0.2, 0.4, 0.8, 0.9], [0, 0, 0, 1, 1]), policy)
    assert point.threshold == pytest.approx(0.6)


def test_neighbouring_floats_are_parted_all_the_same():
    low = 0.7
    high = np.nextafter(low, 1)
    point = fit_operating_point(table([low, low, high, high], [0, 0, 1, 1]), "youden")
    assert point.threshold == high
    assert decided(point, table([low, high], [0, 1])).tolist() == [0, 1]


@pytest.mark.parametrize("split", ["test", "Test", "held_out", "external"])
@pytest.mark.parametrize("policy", ["fixed", *FITTED])
def test_p44_an_operating_point_is_not_fitted_on_test(split, policy):
    with refused("fitted_on_the_result", "operating point", f"'{split}'"):
        fit_operating_point(table(*random_rows(60), split=split), policy)


def test_p44_it_says_where_it_comes_from():
    point = fit_operating_point(table(*random_rows(60), split="val"), "youden")
    assert (point.split, point.checkpoint, point.n, point.positives) == ("val", "abc", 60, 20)
    assert all(
        said in point.label() for said in ("Youden's J", "val", "n = 60", f"{point.low:.3f} to {point.high:.3f}")
    )
    assert FITTED_TWICE["val"] in point.warnings[0]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_p45_both_ends_are_thresholds(value):
    rows = table([0.0, 0.5, 1.0], [0, 1, 1])
    point = fit_operating_point(rows, f"fixed={value}")
    assert point.threshold == value and point.low is None
    assert decided(point, rows).tolist() == ([1, 1, 1] if value == 0 else [0, 0, 1])
    again = OperatingPoint.from_plain(json.loads(json.dumps(point.to_plain())))
    assert again == point and again.threshold == value
    assert again.label().startswith(f"{value:g} (fixed")


@pytest.mark.wording
def test_p45_a_fitted_threshold_may_be_0_or_1():
    everything = fit_operating_point(table([0.1, 0.2, 0.3, 0.4], [1, 0, 1, 0]), "sensitivity>=1")
    assert everything.threshold == 0.0
    assert "every row positive" in " ".join(everything.warnings)
    nothing = fit_operating_point(table([0.1, 0.2, 0.3, 0.4], [1, 0, 1, 0]), "specificity>=1")
    assert nothing.threshold == 1.0
    assert "no row positive" in " ".join(nothing.warnings)
    assert decided(nothing, table([0.1, 0.4], [0, 1])).tolist() == [0, 0]


def test_a_target_out_of_reach_gives_the_nearest_and_says_so():
    rows = table([1.0, 1.0, 0.6, 0.5, 0.2, 0.1], [1, 0, 1, 0, 0, 0])
    point = fit_operating_point(rows, "specificity>=0.9")
    assert counts(rows.probabilities()[:, 1], rows.labels() == 1, point.threshold)[1] == 1
    assert re.search(r"0\.9\b.* 0\.750", " ".join(point.warnings))
    fine = fit_operating_point(rows, "specificity>=0.75")
    assert len(fine.warnings) < len(point.warnings)


@pytest.mark.parametrize("policy", FITTED)
def test_equal_scores_tell_nothing_apart(policy):
    point = fit_operating_point(table(np.full(60, 0.3), np.arange(60) < 30), policy)
    assert point.warnings
    assert point.threshold in (0.0, 1.0)


def test_calling_nobody_is_no_choice_where_a_score_is_1():
    scores, labels = np.array([1.0] * 3 + [0.9] * 5 + [0.1] * 50), np.array([0] * 3 + [1] * 5 + [0] * 50) == 1
    point = fit_operating_point(table(scores, labels), "cost=0.1")
    assert counts(scores, labels, point.threshold)[:2] == (5, 3)  # costs 3, where threshold 1 costs 3.5


def test_p45_a_score_of_0_is_called_at_threshold_0():
    point = fit_operating_point(table([0.0, 0.2, 0.3, 0.4], [1, 0, 1, 0]), "sensitivity>=1")
    assert point.threshold == 0.0 and decided(point, table([0.0, 0.9], [0, 1])).tolist() == [1, 1]


def test_few_rows_warn_and_tell_the_interval():
    point = fit_operating_point(table(*random_rows(49)), "youden")
    assert "49 rows" in point.warnings[0]
    assert f"{point.low:.3f} to {point.high:.3f}" in point.warnings[-1]
    assert not fit_operating_point(table(*random_rows(60)), "youden").warnings


@pytest.mark.parametrize("policy", FITTED)
def test_each_resample_is_fitted_as_its_rows_would_be(policy, monkeypatch):
    scores, labels = random_rows(40, decimals=2)
    weights = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), 30).astype(np.float64)
    found = []

    def once(statistic, *_):
        found.extend(statistic(weights)[:, 0])
        return Bootstrap(np.zeros((2, 1)), 0)

    monkeypatch.setattr(thresholds, "bootstrap", once)
    fit_operating_point(table(scores, labels), policy)
    resamples = [np.repeat(np.arange(40), times.astype(int)) for times in weights]
    for threshold, rows in zip(list(found), resamples, strict=True):
        assert threshold == fit_operating_point(table(scores[rows], labels[rows]), policy).threshold


def test_the_interval_is_seeded():
    rows = table(*random_rows(80))
    point = fit_operating_point(rows, "youden", resamples=7, seed=4)
    assert point == fit_operating_point(rows, "youden", resamples=7, seed=4)
    assert point != fit_operating_point(rows, "youden", resamples=7, seed=5)
    assert point.low <= point.threshold <= point.high


def test_the_interval_is_by_group():
    scores, labels = random_rows(20, seed=5)
    repeated = np.repeat(np.arange(20).astype(str), 8)
    grouped = fit_operating_point(table(np.repeat(scores, 8), np.repeat(labels, 8), groups=repeated), "youden")
    alone = fit_operating_point(table(scores, labels), "youden")
    blind = fit_operating_point(table(np.repeat(scores, 8), np.repeat(labels, 8)), "youden")
    assert (grouped.groups, grouped.n) == (20, 160)
    assert grouped.threshold == alone.threshold == blind.threshold
    assert (grouped.low, grouped.high) == (alone.low, alone.high)
    assert blind.high - blind.low < grouped.high - grouped.low


def test_one_group_has_no_interval_and_lost_classes_are_redrawn():
    one = fit_operating_point(table(*random_rows(60), groups="p1"), "youden")
    assert one.low is None and "one group" in one.warnings[-1]
    rare = fit_operating_point(table([0.9, *np.linspace(0.1, 0.5, 59)], np.arange(60) < 1), "youden")
    assert rare.redrawn > 100


@pytest.mark.parametrize(("label", "name"), [(0, "of 'malignant'"), (1, "but 'malignant'")])
def test_one_class_alone_cannot_be_fitted(label, name):
    rows = table(np.linspace(0, 1, 60), np.full(60, label))
    with refused("class_without_images", name):
        fit_operating_point(rows, "youden")
    assert fit_operating_point(rows, "fixed=0.3").threshold == 0.3


def test_half_without_a_policy_is_labelled_not_fitted():
    point = not_fitted(table(*random_rows(10)))
    assert point.label() == f"0.5 ({NOT_FITTED})"
    assert OperatingPoint.from_plain(point.to_plain()) == point
    assert fit_operating_point(table(*random_rows(60)), "fixed").label() != point.label()


def test_more_classes_have_no_operating_point():
    rows = table(*random_rows(6)).rows
    rows = rows.assign(prob_other=0.0)
    many = Predictions(rows, ("benign", "malignant", "other"), None)
    for ask in (lambda: fit_operating_point(many, "youden"), lambda: not_fitted(many)):
        with refused("not_binary", "3"):
            ask()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("yuden", "mean youden"),
        ("", "sensitivity>=0.95"),
        ("sensitivity", "mean sensitivity>=0.95"),
        ("sensitivity>=95%", "'95%'"),
        ("sensitivity>=95", "'95'"),
        ("specificity>=0", "'0'"),
        ("cost=0", "'0'"),
        ("cost=inf", "'inf'"),
        ("fixed=1.2", "'1.2'"),
        ("fixed=nan", "'nan'"),
        ("fixed=-0.1", "'-0.1'"),
    ],
)
def test_a_policy_that_is_none_is_refused(text, name):
    with refused("bad_value", repr(text), name):
        parse_criterion(text)


def test_policies_are_read_as_typed():
    assert (parse_criterion("sensitivity >= 0.95").kind, parse_criterion("sensitivity >= 0.95").value) == (
        "sensitivity",
        0.95,
    )
    assert parse_criterion("fixed=0").value == 0.0
    assert parse_criterion("fixed").value == 0.5
    assert parse_criterion("cost=12").value == 12


@pytest.mark.slow
def test_ten_thousand_rows_in_seconds():
    rng = np.random.default_rng(0)
    labels = rng.random(10_000) < 0.3
    start = time.perf_counter()
    fit_operating_point(table(1 / (1 + np.exp(-rng.normal(size=10_000) - labels)), labels), "youden", resamples=2000)
    assert time.perf_counter() - start < 20


# --- a target, and how sure one wants to be of it


def surely(cases, policy):
    """How many of so many cases with distinct scores a policy leaves under its threshold, and the point itself."""
    scores = np.r_[np.linspace(0.2, 0.9, cases), np.linspace(0.2, 0.9, cases) + 1e-3 / cases]
    labels = np.r_[np.ones(cases), np.zeros(cases)]
    point = fit_operating_point(table(scores, labels), policy, resamples=2)
    return int((scores[:cases] < point.threshold).sum()), point


@pytest.mark.parametrize(("cases", "left"), [(45, 0), (76, 0), (77, 1), (200, 5)])
def test_a_target_with_confidence_leaves_what_order_statistics_allow(cases, left):
    found, point = surely(cases, "sensitivity>=0.95@90%")
    assert found == left
    # One more under the threshold, and the target would be met with less than 90% confidence.
    assert binom.sf(left, cases, 0.05) >= 0.9 > binom.sf(left + 1, cases, 0.05)
    assert not point.is_unsure
    assert "sensitivity of 0.95" in point.promise and "90%" in point.promise


def test_too_few_cases_for_the_confidence_are_told_how_many_it_takes():
    left, point = surely(44, "sensitivity>=0.95@90%")
    assert left == 0
    assert point.is_unsure and point.target.least_cases == 45
    assert any(re.search("sensitivity>=0.95@90%.* 44 .* 45", line) for line in point.warnings)
    assert re.search(r"90%.* 0\.95.* 44 .* 89\.5%.* 0\.000.*malignant", point.promise)
    few = fit_operating_point(table(*random_rows(30)), "specificity>=0.9@95%", resamples=2)
    assert few.target.least_cases == 29 and any(re.search("20 .*malignant.* 29", line) for line in few.warnings)


def test_a_threshold_that_calls_nothing_says_so():
    scores = np.r_[np.linspace(0.1, 0.5, 8), np.linspace(0.6, 0.9, 8)]
    point = fit_operating_point(table(scores, np.r_[np.ones(8), np.zeros(8)]), "specificity>=0.9@90%", resamples=2)
    assert point.threshold == 1
    assert re.search(r"57%.* 1\.000.*malignant", point.promise)
    assert OperatingPoint.from_plain(point.to_plain()) == point and point.is_unsure


def test_p03_images_of_one_patient_count_as_one_case_of_a_target():
    scores = np.r_[np.linspace(0.2, 0.9, 200), np.linspace(0.01, 0.19, 10)]
    labels = np.r_[np.ones(200), np.zeros(10)]
    groups = [f"p{row // 5}" for row in range(210)]
    point = fit_operating_point(table(scores, labels, groups=groups), "sensitivity>=0.95@90%", resamples=2)
    assert any("40 independent cases" in line for line in point.warnings)


def test_a_specificity_with_confidence_is_the_mirror_of_a_sensitivity():
    scores = np.r_[np.linspace(0.1, 0.8, 200) - 1e-3, np.linspace(0.1, 0.8, 200)]
    labels = np.r_[np.ones(200), np.zeros(200)]
    point = fit_operating_point(table(scores, labels), "specificity>=0.95@90%", resamples=2)
    assert ((scores >= point.threshold) & (labels == 0)).sum() == 5
    assert ((scores >= point.threshold) & (labels == 1)).sum() == 5


@pytest.mark.parametrize(
    "text",
    [
        "sensitivity>=0.95@",
        "sensitivity>=0.95@90",
        "sensitivity>=1@90%",
        "specificity>=0.9@100%",
        "youden@90%",
        "sensitivity>=0.95@9%",
    ],
)
def test_a_confidence_that_is_none_is_refused(text):
    with refused("bad_value", "0.95@90%"):
        parse_criterion(text)


def test_a_plain_target_says_how_often_it_is_met():
    point = fit_operating_point(table(*random_rows(90)), "sensitivity >= 0.9", resamples=2)
    assert "sensitivity>=0.9@90%" in point.promise
    for policy in ("youden", "fixed=0.3", "cost=5"):
        assert fit_operating_point(table(*random_rows(90)), policy, resamples=2).promise == ""
    assert not_fitted(table(*random_rows(9))).promise == ""


@pytest.mark.slow
def test_a_target_with_confidence_is_met_as_often_as_it_says(capsys):
    """Normal scores, so that the sensitivity and specificity of a threshold are known; 400 simulations each."""
    lines, missed = [], []
    for policy, sure in (("sensitivity>=0.95@90%", 0.9), ("specificity>=0.9@80%", 0.8), ("sensitivity>=0.95", None)):
        target = parse_criterion(policy).value
        for n in (50, 100, 300):
            draw, met = np.random.default_rng(n), 0
            for _ in range(400):
                labels = np.repeat([1, 0], n)
                latent = draw.normal(size=2 * n) + 2 * labels
                cut = logit(fit_operating_point(table(expit(latent), labels), policy, resamples=2).threshold)
                met += (norm.sf(cut - 2) if policy.startswith("sensitivity") else norm.cdf(cut)) >= target
            lines.append(f"{policy}, {n} cases and others: met in {met / 400:.3f}")
            slack = 2 * np.sqrt(0.9 * 0.1 / 400)
            if (sure is None and not 0.3 < met / 400 < 0.7) or (sure is not None and met / 400 < sure - slack):
                missed.append(lines[-1])
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201
    assert not missed


def test_a_threshold_that_was_given_is_shown_as_it_was_given():
    scores = 0.49996 + 1e-6 * np.arange(60)
    point = fit_operating_point(table(scores, np.arange(60) >= 30), "fixed=0.4999", resamples=2)
    assert point.label().startswith("0.4999 ")
