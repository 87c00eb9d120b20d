import subprocess
import sys
import time

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from medcls.errors import MedclsError
from medcls.evaluation.metrics import (
    auroc,
    classification_metrics,
    confusion_matrix,
    metric_names,
    predicted_classes,
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


@settings(max_examples=40, deadline=None)
@given(
    k=st.integers(2, 5),
    n=st.integers(1, 60),
    seed=st.integers(0, 10**6),
    decimals=st.integers(0, 3),
    sharp=st.sampled_from([1, 30]),
)
def test_agrees_with_scikit_learn_where_both_are_defined(k, n, seed, decimals, sharp):
    classes = tuple(f"class {i}" for i in range(k))
    labels, probabilities = random_split(classes, n, seed, decimals)
    probabilities = probabilities**sharp
    probabilities /= probabilities.sum(1, keepdims=True)
    positive = classes[0] if k == 2 else None  # index 0 on purpose: nothing may lean on index 1
    metrics = classification_metrics(labels, probabilities, classes, positive)
    predicted = predicted_classes(probabilities, classes, positive)
    matrix = sk.confusion_matrix(labels, predicted, labels=range(k))
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "majority_baseline": np.bincount(labels).max() / n,
        "n": n,
    }
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        labels, predicted, labels=range(k), zero_division=np.nan
    )
    negatives = n - matrix.sum(1)
    with np.errstate(invalid="ignore"):
        specificity = (negatives - (matrix.sum(0) - matrix.diagonal())) / negatives
    both = np.array([0 < (labels == i).sum() < n for i in range(k)])
    area = [sk.roc_auc_score(labels == i, probabilities[:, i]) if both[i] else np.nan for i in range(k)]
    f1 = np.where(matrix.sum(1) > 0, f1, np.nan)
    take = (lambda values: np.mean(values)) if k > 2 else (lambda values: values[0])
    expected |= {
        "sensitivity": take(recall),
        "specificity": take(specificity),
        "precision": take(precision),
        "f1": take(f1),
        "auroc": take(area),
    }
    expected["balanced_accuracy"] = np.mean(recall)
    if k == 2:
        expected["prevalence"] = np.mean(labels == 0)
    assert metrics.values.keys() == expected.keys() == set(metric_names(classes, positive))
    for name, value in expected.items():
        assert metrics.values[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name
        assert np.isnan(metrics.values[name]) == (name in metrics.reasons), name


def test_per_class_figures_have_their_own_reasons():
    labels, probabilities = random_split(FOUR, 60)
    labels[labels == 3] = 0
    metrics = classification_metrics(labels, probabilities, FOUR, None)
    assert set(metrics.per_class) == set(FOUR)
    assert metrics.per_class["pituitary"]["support"] == 0
    assert np.isnan(metrics.per_class["pituitary"]["auroc"])
    assert "pituitary" in metrics.reasons["auroc/pituitary"]
    assert "pituitary" in metrics.reasons["auroc"], "a macro figure says which class spoils it"
    assert metrics.per_class["glioma"]["auroc"] == sk.roc_auc_score(labels == 0, probabilities[:, 0])
    assert "auroc/glioma" not in metrics.reasons
    assert not any(name.startswith("balanced_accuracy/") for name in metrics.reasons)


def test_p42_auroc_of_hard_labels_is_refused_and_named_the_balanced_accuracy():
    # 84 of 117 melanomas found, 302 of 483 others let pass: published as "ROC AUC 0.671".
    labels = np.repeat([1, 0], [117, 483])
    called = np.concatenate([np.repeat([1, 0], [84, 33]), np.repeat([0, 1], [302, 181])])
    hard = np.stack([1 - called, called], axis=1)
    with pytest.raises(MedclsError, match="hard labels"):
        classification_metrics(labels, hard, ("other", "melanoma"), "melanoma")
    for attempt in (
        lambda: classification_metrics(labels, hard.astype(float), ("other", "melanoma"), "melanoma"),
        lambda: auroc(labels, called.astype(float)),
    ):
        with pytest.raises(MedclsError) as refused:
            attempt()
        assert "0.672, is the balanced accuracy" in str(refused.value)
        assert "sensitivity 0.718" in str(refused.value)
        assert "specificity 0.625" in str(refused.value)


def test_p42_hard_labels_of_several_classes_are_refused_but_one_column_of_zeros_is_not():
    labels, probabilities = random_split(FOUR, 40)
    with pytest.raises(MedclsError, match="hard labels"):
        classification_metrics(labels, np.eye(4)[labels], FOUR, None)
    probabilities[:, 3] = 0.0  # the softmax of a class that the network never thinks of
    probabilities /= probabilities.sum(1, keepdims=True)
    assert classification_metrics(labels, probabilities, FOUR, None).per_class["pituitary"]["auroc"] == 0.5


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
    with pytest.raises(MedclsError, match="threshold"):
        classification_metrics([0, 1], [[0.9, 0.1], [0.2, 0.8]], BINARY, "malignant", threshold)


def test_a_threshold_for_several_classes_is_refused():
    with pytest.raises(MedclsError, match="binary"):
        classification_metrics(*random_split(FOUR, 10), FOUR, None, 0.5)


def test_p46_rows_are_the_true_classes_and_cannot_be_swapped_unseen():
    labels, predicted = np.array([0, 0, 0, 1]), np.array([1, 1, 0, 1])
    matrix = confusion_matrix(labels=labels, predicted=predicted, num_classes=3)
    assert matrix.tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 0]]
    assert matrix.sum(axis=1).tolist() == np.bincount(labels, minlength=3).tolist()
    with pytest.raises(TypeError):
        confusion_matrix(predicted, labels, 3)


def test_p48_the_positive_class_is_named_and_may_stand_first():
    labels, probabilities = random_split(("cancer", "healthy"), 80)
    asked = classification_metrics(labels, probabilities, ("cancer", "healthy"), "cancer").values
    other = classification_metrics(labels, probabilities, ("cancer", "healthy"), "healthy").values
    recall = sk.recall_score(labels, probabilities.argmax(1), pos_label=0)
    assert asked["sensitivity"] == pytest.approx(recall)
    assert other["specificity"] == pytest.approx(recall)
    assert asked["sensitivity"] != asked["specificity"]
    with pytest.raises(MedclsError, match="positive_class"):
        classification_metrics(labels, probabilities, ("cancer", "healthy"), None)
    with pytest.raises(MedclsError, match="Did you mean cancer"):
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
    assert "called 'malignant'" in metrics.reasons["precision"]
    assert metrics.values["f1"] == 0.0, "cases were there and none was found"


@pytest.mark.parametrize(("classes", "positive"), [(BINARY, "malignant"), (FOUR, None)])
def test_p50_an_empty_split_is_all_nan(classes, positive):
    metrics = classification_metrics([], np.zeros((0, len(classes))), classes, positive)
    assert metrics.values["n"] == 0
    assert all(np.isnan(value) for name, value in metrics.values.items() if name != "n")
    assert all("no images" in metrics.reasons[name] for name in metrics.values if name != "n")
    assert metrics.majority_note() is None


def test_p51_an_accuracy_under_the_majority_is_called_out():
    labels = np.repeat([0, 1], [8, 2])
    always = np.tile([0.6, 0.4], (10, 1))
    metrics = classification_metrics(labels, always, BINARY, "malignant")
    assert metrics.values["accuracy"] == metrics.values["majority_baseline"] == 0.8
    assert "does not beat 0.800" in metrics.majority_note()
    better = np.where(labels[:, None] == np.arange(2), 0.9, 0.1)
    assert classification_metrics(labels, better, BINARY, "malignant").majority_note() is None


@pytest.mark.parametrize(
    ("probabilities", "said"),
    [
        ([[0.2, 0.9]], "sum to one"),
        ([[1.5, -0.5]], "outside 0..1"),
        ([[float("nan"), 0.5]], "not finite"),
        ([[0.2, 0.3, 0.5]], r"\(n, 2\)"),
        ([0.2], r"\(n, 2\)"),
        ([[True, False]], "bool"),
    ],
)
def test_what_is_no_probability_is_refused(probabilities, said):
    with pytest.raises(MedclsError, match=said):
        classification_metrics([0], probabilities, BINARY, "malignant")


@pytest.mark.parametrize("labels", [[2], [-1], [0.0], ["benign"], [0, 1], [[0]]])
def test_what_is_no_label_is_refused(labels):
    with pytest.raises(MedclsError):
        classification_metrics(labels, [[0.2, 0.8]], BINARY, "malignant")


def test_single_precision_probabilities_are_taken():
    labels, probabilities = random_split(FOUR, 50)
    single = classification_metrics(labels.astype(np.int32), probabilities.astype(np.float32), FOUR, None)
    assert single.values == pytest.approx(classification_metrics(labels, probabilities, FOUR, None).values, abs=1e-3)


def test_fast_enough_for_every_epoch():
    labels, probabilities = random_split(FOUR, 2000)
    started = time.process_time()
    for _ in range(5):
        classification_metrics(labels, probabilities, FOUR, None)
    assert (time.process_time() - started) / 5 < 0.25


def test_evaluation_loads_neither_torch_nor_lightning():
    code = (
        "import sys, medcls.evaluation.predictions, medcls.evaluation.metrics, medcls.evaluation.plots;"
        "print([m for m in ('torch', 'lightning', 'hydra', 'medcls.data', 'medcls.models') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
