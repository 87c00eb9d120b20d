import json
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
from refusals import refused

from medcls.statistics import causes
from medcls.statistics.metrics import (
    classification_metrics,
    metric_names,
)

BINARY = ("benign", "malignant")
FOUR = ("glioma", "meningioma", "none", "pituitary")


def random_split(classes, n, seed=0, decimals=2):
    """Labels and probabilities with ties, which rounding makes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(classes), n)
    scores = rng.normal(size=(n, len(classes)))
    scores[np.arange(n), labels] += 1
    scores = np.exp(np.round(scores, decimals))
    return labels, scores / scores.sum(1, keepdims=True)


def test_per_class_figures_have_their_own_reasons():
    labels, probabilities = random_split(FOUR, 60)
    labels[labels == 3] = 0
    metrics = classification_metrics(labels, probabilities, FOUR, None)
    assert set(metrics.per_class) == set(FOUR)
    assert metrics.per_class["pituitary"]["support"] == 0
    assert np.isnan(metrics.per_class["pituitary"]["auroc"])
    assert "pituitary" in metrics.reasons["auroc/pituitary"]
    assert "pituitary" in metrics.reasons["auroc"], "a macro figure says which class spoils it"
    assert metrics.per_class["glioma"]["auroc"] == pytest.approx(sk.roc_auc_score(labels == 0, probabilities[:, 0]))
    assert "auroc/glioma" not in metrics.reasons
    assert not any(name.startswith("balanced_accuracy/") for name in metrics.reasons)


@pytest.mark.parametrize(("threshold", "sensitivity", "specificity"), [(0.0, 1.0, 0.0), (1.0, 0.5, 1.0)])
def test_p45_zero_and_one_are_thresholds(threshold, sensitivity, specificity):
    labels = np.array([1, 1, 0, 0])
    probabilities = np.array([[0.0, 1.0], [0.4, 0.6], [0.3, 0.7], [0.9, 0.1]])
    metrics = classification_metrics(labels, probabilities, BINARY, "malignant", threshold)
    assert metrics.threshold == threshold
    assert metrics.threshold_fitted
    assert (metrics.values["sensitivity"], metrics.values["specificity"]) == (sensitivity, specificity)


def test_p45_no_threshold_is_said_to_be_unfitted():
    metrics = classification_metrics([0, 1], [[0.5, 0.5], [0.5, 0.5]], BINARY, "malignant")
    assert (metrics.threshold, metrics.threshold_fitted) == (0.5, False)
    assert metrics.values["sensitivity"] == 1.0, "a probability at the threshold is positive"


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), True])
def test_p45_what_is_no_threshold_is_refused(threshold):
    with refused("bad_value", "threshold"):
        classification_metrics([0, 1], [[0.9, 0.1], [0.2, 0.8]], BINARY, "malignant", threshold)


def test_a_threshold_for_several_classes_is_refused():
    with refused("not_binary", "threshold", "4"):
        classification_metrics(*random_split(FOUR, 10), FOUR, None, 0.5)


def test_p46_rows_of_the_confusion_matrix_are_the_true_classes():
    metrics = classification_metrics([0, 0, 0, 1], np.eye(3)[[1, 1, 0, 1]] * 0.8 + 0.2 / 3, FOUR[:3], None)
    assert metrics.confusion.tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 0]]


def test_p48_the_positive_class_is_named_and_may_stand_first():
    labels, probabilities = random_split(("cancer", "healthy"), 80)
    asked = classification_metrics(labels, probabilities, ("cancer", "healthy"), "cancer").values
    other = classification_metrics(labels, probabilities, ("cancer", "healthy"), "healthy").values
    recall = sk.recall_score(labels, probabilities.argmax(1), pos_label=0)
    assert asked["sensitivity"] == pytest.approx(recall)
    assert other["specificity"] == pytest.approx(recall)
    assert asked["sensitivity"] != asked["specificity"]
    with refused("no_positive_class", "positive_class", "'cancer'"):
        classification_metrics(labels, probabilities, ("cancer", "healthy"), None)
    with refused("unknown_class", "'cancr'", "cancer"):
        classification_metrics(labels, probabilities, ("cancer", "healthy"), "cancr")


def test_p49_figures_are_of_the_whole_split_not_means_of_batches():
    labels, probabilities = random_split(BINARY, 50, seed=3)
    whole = classification_metrics(labels, probabilities, BINARY, "malignant").values
    batches = [
        classification_metrics(labels[i : i + 8], probabilities[i : i + 8], BINARY, "malignant").values
        for i in range(0, 50, 8)
    ]
    assert whole["f1"] == pytest.approx(sk.f1_score(labels, probabilities.argmax(1)))
    assert whole["f1"] != pytest.approx(np.mean([batch["f1"] for batch in batches]), abs=1e-3)
    assert whole["n"] == 50


@pytest.mark.parametrize("only", [0, 1])
def test_p50_one_class_gives_nan_and_a_reason(only):
    metrics = classification_metrics([only] * 5, np.full((5, 2), 0.5), BINARY, "malignant")
    for name in ("auroc", "balanced_accuracy", "specificity" if only else "sensitivity"):
        assert np.isnan(metrics.values[name])
        assert BINARY[1] in metrics.reasons[name]
    assert metrics.confusion.shape == (2, 2)
    if not only:  # F1 would be 0 whatever the network says
        assert np.isnan(metrics.values["f1"])


def test_p50_no_call_of_the_positive_class_leaves_precision_undefined():
    metrics = classification_metrics([0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], BINARY, "malignant")
    assert np.isnan(metrics.values["precision"])
    assert metrics.reasons["precision"] == causes.none_predicted("malignant")
    assert metrics.values["f1"] == 0.0, "cases were there and none was found"


@pytest.mark.parametrize(("classes", "positive"), [(BINARY, "malignant"), (FOUR, None)])
def test_p50_an_empty_split_is_all_nan(classes, positive):
    metrics = classification_metrics([], np.zeros((0, len(classes))), classes, positive)
    assert metrics.values["n"] == 0
    assert all(np.isnan(value) for name, value in metrics.values.items() if name != "n")
    assert all(metrics.reasons[name] == causes.NO_IMAGES for name in metrics.values if name != "n")
    assert metrics.majority_note() is None


def test_p51_an_accuracy_under_the_majority_is_called_out():
    labels = np.repeat([0, 1], [8, 2])
    always = np.tile([0.6, 0.4], (10, 1))
    metrics = classification_metrics(labels, always, BINARY, "malignant")
    assert metrics.values["accuracy"] == metrics.values["majority_baseline"] == 0.8
    assert "0.800" in metrics.majority_note()
    better = np.where(labels[:, None] == np.arange(2), 0.9, 0.1)
    assert classification_metrics(labels, better, BINARY, "malignant").majority_note() is None


@pytest.mark.parametrize(("classes", "positive"), [(BINARY, "malignant"), (FOUR, None)])
def test_p52_classes_of_few_cases_are_named_with_their_counts(classes, positive):
    labels = np.r_[np.repeat(np.arange(len(classes)), 30), 0]
    labels[-2] = 0  # the last class is left with 29, the first has 32
    probabilities = np.full((len(labels), len(classes)), 1 / len(classes))
    note = classification_metrics(labels, probabilities, classes, positive).few_cases_note(classes)
    assert f"{classes[-1]} (29)" in note and f"{classes[0]} (" not in note
    labels[-2:] = len(classes) - 1
    assert classification_metrics(labels, probabilities, classes, positive).few_cases_note(classes) is None


@pytest.mark.parametrize(
    ("probabilities", "wrong"),
    [
        ([[0.2, 0.9]], ("not_summing_to_one", "0.2, 0.9")),
        ([[1.5, -0.5]], ("not_probabilities", "1.5, -0.5")),
        ([[float("nan"), 0.5]], ("not_finite", "nan, 0.5")),
        ([[0.2, 0.3, 0.5]], ("wrong_shape", "(n, 2)", "(1, 3)")),
        ([0.2], ("wrong_shape", "(n, 2)", "(1,)")),
        ([[True, False]], ("hard_labels", "bool")),
    ],
)
def test_what_is_no_probability_is_refused(probabilities, wrong):
    with refused(*wrong):
        classification_metrics([0], probabilities, BINARY, "malignant")


@pytest.mark.parametrize("labels", [[2], [-1], [0.0], ["benign"], [0, 1], [[0]]])
def test_what_is_no_label_is_refused(labels):
    with refused("bad_labels"):
        classification_metrics(labels, [[0.2, 0.8]], BINARY, "malignant")


def test_single_precision_probabilities_are_taken():
    labels, probabilities = random_split(FOUR, 50)
    single = classification_metrics(labels.astype(np.int32), probabilities.astype(np.float32), FOUR, None)
    assert single.values == pytest.approx(classification_metrics(labels, probabilities, FOUR, None).values, abs=1e-3)


@pytest.mark.parametrize(("classes", "positive"), [(BINARY, "malignant"), (FOUR, None)])
def test_fast_enough_for_every_epoch(classes, positive):
    labels, probabilities = random_split(classes, 10_000)
    classification_metrics(labels, probabilities, classes, positive)  # scikit-learn's first call loads
    spent = []
    for _ in range(3):
        started = time.process_time()
        classification_metrics(labels, probabilities, classes, positive)
        spent.append(time.process_time() - started)
    assert min(spent) < 0.15  # about a third of that on an idle core


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("classes", "positive"), [(BINARY, "malignant"), (FOUR, None)])
def test_the_names_are_listed_before_anything_is_measured(classes, positive, ordered):
    metrics = classification_metrics(*random_split(classes, 60), classes, positive, ordered=ordered)
    assert tuple(metrics.values) == metric_names(classes, positive, ordered=ordered)
    assert ("quadratic_kappa" in metrics.values) == ordered
    assert json.loads(json.dumps(metrics.to_plain()))["weighted"] == metrics.weighted


def test_quadratic_kappa_forgives_a_neighbouring_grade():
    grades = ("I", "II", "III")
    labels = np.array([0, 1, 2, 0, 1, 2])
    near, far = np.array([1, 1, 2, 0, 1, 2]), np.array([2, 1, 2, 0, 1, 2])
    kappas = [
        classification_metrics(labels, 0.1 + 0.7 * np.eye(3)[called], grades, None, ordered=True).values
        for called in (near, far)
    ]
    assert kappas[0]["quadratic_kappa"] > kappas[0]["kappa"]
    assert kappas[1]["quadratic_kappa"] < kappas[1]["kappa"]


def test_p50_weighted_leaves_out_a_class_without_a_case_but_not_one_never_called():
    labels = np.array([0, 0, 1, 2])
    probabilities = np.array([[0.7, 0.1, 0.1, 0.1], [0.4, 0.2, 0.2, 0.2], [0.1, 0.7, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]])
    metrics = classification_metrics(labels, probabilities, FOUR, None)
    assert np.isnan(metrics.values["sensitivity"])
    assert metrics.weighted["sensitivity"] == pytest.approx((2 * 1 + 1 * 1 + 1 * 0) / 4)
    assert "weighted/sensitivity" not in metrics.reasons
    assert np.isnan(metrics.weighted["precision"])
    assert metrics.reasons["weighted/precision"] == causes.none_predicted("none")


@pytest.mark.parametrize(
    ("probabilities", "name", "said"),
    [
        ([[0.1, 0.9]] * 4, "mcc", "every image was predicted as 'malignant'"),
        ([[0.1, 0.9]] * 4, "npv", "every image was predicted as 'malignant'"),
        ([[0.1, 0.9]] * 4, "negative_likelihood_ratio", "every image of another class was predicted as 'malignant'"),
        ([[0.9, 0.1]] * 4, "positive_likelihood_ratio", "no image was predicted as 'malignant'"),
        ([[0.9, 0.1]] * 2 + [[0.1, 0.9]] * 2, "positive_likelihood_ratio", "so it is infinite"),
    ],
)
def test_p50_what_calls_leave_undefined_is_nan_with_the_reason(probabilities, name, said):
    metrics = classification_metrics([0, 0, 1, 1], probabilities, BINARY, "malignant")
    assert np.isnan(metrics.values[name])
    assert said in metrics.reasons[name]


@pytest.mark.parametrize("only", [0, 1])
def test_p50_one_class_says_nothing_of_rank_or_agreement(only):
    probabilities = np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    metrics = classification_metrics([only] * 3, probabilities, BINARY, "malignant")
    for name in ("mcc", "kappa", "average_precision", "positive_likelihood_ratio", "negative_likelihood_ratio"):
        assert np.isnan(metrics.values[name]), name
        assert "malignant" in metrics.reasons[name] or "benign" in metrics.reasons[name]
    assert metrics.values["brier"] == pytest.approx(np.mean((probabilities[:, 1] - only) ** 2))
    assert metrics.values["log_loss"] == pytest.approx(-np.log(probabilities[:, only]).mean())


def test_rounded_probabilities_of_another_tool_raise_no_warning():
    labels, probabilities = random_split(FOUR, 50)
    rounded = np.round(probabilities, 2)
    assert (np.abs(rounded.sum(1) - 1) > 1e-6).any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classification_metrics(labels, rounded, FOUR, None)


def test_evaluation_loads_neither_torch_nor_lightning():
    code = (
        "import sys, medcls.evaluation.predictions, medcls.statistics.metrics, medcls.plots.plots;"
        "print([m for m in ('torch', 'lightning', 'hydra', 'medcls.data', 'medcls.models') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
