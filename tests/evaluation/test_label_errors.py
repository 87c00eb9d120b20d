"""Confident learning: counts by hand, labels flipped on purpose found again, and clean labels left alone."""

import numpy as np
import pandas as pd
import pytest
from refusals import refused

from medcls.evaluation.label_errors import confident_joint, label_errors, prune_by_noise_rate
from medcls.evaluation.predictions import from_logits


def table(labels, logits, split="out_of_fold"):
    names = ("a", "b", "c")[: logits.shape[1]]
    rows = pd.DataFrame({"path": [f"{n}.png" for n in range(len(labels))], "label": np.array(names)[labels],
                         "group": "", "split": split})  # fmt: skip
    return from_logits(rows, np.arange(len(labels)), logits, names, "b" if len(names) == 2 else None, "x")


def scores(n, classes, separation=4.0, seed=0):
    draw = np.random.default_rng(seed)
    true = draw.integers(classes, size=n)
    return true, draw.normal(size=(n, classes)) + separation * np.eye(classes)[true]


def test_the_joint_is_the_papers_formula():
    labels = np.array([0, 0, 0, 1, 1])
    # Means of the own class: 0.7 and 0.75. Rows 0 and 1 are confidently 0; row 2 is confidently 1; of rows 3 and 4 only
    # row 3 is confident.
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.25, 0.75], [0.1, 0.9], [0.4, 0.6]])
    joint = confident_joint(labels, probabilities)
    np.testing.assert_allclose(joint, [[2, 1], [0, 2]])


@pytest.mark.parametrize("classes", [2, 3])
def test_flipped_labels_are_found_again(classes):
    true, logits = scores(1500, classes)
    draw = np.random.default_rng(1)
    flipped = draw.permutation(len(true))[:75]
    labels = true.copy()
    labels[flipped] = (true[flipped] + 1) % classes
    found = label_errors(table(labels, logits))
    listed = [int(path.removesuffix(".png")) for path in found.rows["path"]]
    assert 50 <= len(listed) <= 110
    assert np.isin(flipped, listed).mean() > 0.8
    right = np.array(["a", "b", "c"])[true[listed]] == found.rows["suggested"]
    assert right[np.isin(listed, flipped)].mean() > 0.95
    assert found.joint.to_numpy().sum() == pytest.approx(1500)
    # From class 0 to class 1 a third (half) of them.
    assert found.joint.loc["b", "a"] == pytest.approx(75 / classes, rel=0.5)


def test_labels_that_are_right_are_left_alone():
    true, logits = scores(1000, 2, separation=8.0)
    assert label_errors(table(true, logits)).rows.empty


def test_the_surest_stand_first():
    true, logits = scores(400, 2)
    labels = true.copy()
    labels[:20] = 1 - labels[:20]
    found = label_errors(table(labels, logits)).rows
    margin = found["probability_of_suggested"] - found["probability_of_label"]
    assert margin.is_monotonic_decreasing and (margin > 0).all()


def test_a_class_without_a_row_takes_part_in_nothing():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.7, 0.2, 0.1]])
    joint = confident_joint(np.array([0, 1, 0]), probabilities)
    assert joint[2].sum() == joint[:, 2].sum() == 0 and joint.sum() == pytest.approx(3)
    assert prune_by_noise_rate(np.array([0, 1, 0]), probabilities, joint) == {}


def test_rows_that_trained_are_refused():
    true, logits = scores(50, 2)
    with refused("not_out_of_fold", "train"):
        label_errors(table(true, logits, "train"))


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_that_know_nothing_suspect_no_label(classes):
    """Of 20 sets without anything to find, at most one lists images, as its interval lies above 0.5 by chance."""
    suspected = 0
    for seed in range(20):
        true, logits = scores(120, classes, separation=0.0, seed=seed)
        found = label_errors(table(true, logits))
        suspected += not found.rows.empty
        assert found.rows.empty == bool(found.unknown)
    assert suspected <= 1


def test_labels_of_one_class_are_not_judged():
    _, logits = scores(30, 2)
    found = label_errors(table(np.zeros(30, int), logits))
    assert found.rows.empty and "nan" not in found.sentence() and found.unknown
