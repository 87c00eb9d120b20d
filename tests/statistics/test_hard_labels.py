import numpy as np
import pandas as pd
import pytest
from refusals import refused

from medcls.evaluation.predictions import read_csv
from medcls.plots.curves import PlottedScores, plot_precision_recall, plot_roc
from medcls.statistics.hard_labels import check_scores
from medcls.statistics.metrics import checked_split, classification_metrics

CLASSES = ("other", "melanoma")


def tutorial_002():
    """84 of 117 melanomas called, 302 of 483 others let pass: published as "ROC AUC 0.671"."""
    labels = np.repeat([1, 0], [117, 483])
    called = np.repeat([1.0, 0.0, 0.0, 1.0], [84, 33, 302, 181])
    return labels, np.stack([1 - called, called], axis=1)


def test_p42_tutorial_002_as_a_table_is_told_that_its_roc_auc_is_the_balanced_accuracy(tmp_path):
    labels, hard = tutorial_002()
    rows = {"path": [f"{i}.jpg" for i in range(600)], "label": np.array(CLASSES)[labels]}
    file = tmp_path / "hard.csv"
    pd.DataFrame(rows | {"prob_other": hard[:, 0], "prob_melanoma": hard[:, 1]}).to_csv(file, index=False)
    table = read_csv(file, "melanoma")
    with refused("hard_labels", "AUROC", "0.671", "balanced accuracy", "'melanoma'", "0.7179", "0.6253"):
        classification_metrics(table.labels(), table.probabilities(), table.classes, table.positive)


@pytest.mark.usefixtures("drawn_figures")
@pytest.mark.parametrize(
    "attempt",
    [
        check_scores,
        lambda split: plot_roc(PlottedScores(split, "test")),
        lambda split: plot_precision_recall(PlottedScores(split, "test")),
    ],
    ids=["split", "ROC", "precision"],
)
def test_p42_p43_whatever_needs_scores_refuses_hard_labels(attempt):
    with refused("hard_labels", "0.6716", "balanced accuracy"):
        attempt(checked_split(*tutorial_002(), CLASSES, "melanoma", 0.3))


@pytest.mark.parametrize("dtype", [np.int64, np.bool_])
def test_p42_whole_numbers_are_no_scores(dtype):
    labels, hard = tutorial_002()
    with refused("hard_labels", np.dtype(dtype).name):
        classification_metrics(labels, hard.astype(dtype), CLASSES, "melanoma")


def test_p42_hard_labels_of_several_classes_are_refused():
    labels = np.array([0, 1, 2, 0, 1, 2])
    with refused("hard_labels", "'a'"):
        classification_metrics(labels, np.eye(3)[[0, 1, 2, 1, 1, 0]], ("a", "b", "c"), None)


def test_p42_hard_labels_of_one_class_are_refused_without_a_figure():
    with refused("hard_labels") as error:
        classification_metrics([1, 1], np.eye(2)[[1, 0]], CLASSES, "melanoma")
    assert "nan" not in str(error.value)


def test_extreme_scores_are_scores_as_soon_as_one_value_lies_between():
    labels, hard = tutorial_002()
    hard[0] = 1e-300, 1 - 1e-15
    values = classification_metrics(labels, hard, CLASSES, "melanoma").values
    assert values["sensitivity"] == pytest.approx(0.7179, abs=1e-4)
    assert 0.67 < values["auroc"] < 0.68


def test_a_class_that_a_network_never_thinks_of_makes_no_hard_labels():
    labels = np.array([0, 1, 2, 0, 1, 2])
    scores = np.array([[0.6, 0.4, 0], [0.3, 0.7, 0], [0.5, 0.5, 0], [0.8, 0.2, 0], [0.4, 0.6, 0], [0.1, 0.9, 0]])
    assert classification_metrics(labels, scores, ("a", "b", "c"), None).per_class["c"]["auroc"] == 0.5
    plot_roc(PlottedScores(checked_split(labels, scores, ("a", "b", "c"), None), "test"))
