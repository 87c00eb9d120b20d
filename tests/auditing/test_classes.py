import re

import numpy as np
import pytest
from audited import manifest_of, only

from medcls.auditing import classes

# Classes


def test_p38_imbalance_names_the_settings_that_make_up_for_it():
    finding = only(classes.counts(manifest_of(["benign"] * 805 + ["malignant"] * 195)))
    assert finding.level == "warning"
    assert (finding.values["images_benign"], finding.values["images_malignant"]) == (805, 195)
    assert "loss.class_weights=balanced" in finding.text
    assert "data.sampler=balanced" in finding.text
    assert finding.values["majority_baseline"] == 0.805
    assert only(classes.counts(manifest_of(["a"] * 60 + ["b"] * 40))).level == "information"


def test_p04_a_shifted_test_split_is_a_warning():
    # As chest_xray: 74% pneumonia in training, 62.5% in test.
    labels = ["n"] * 1341 + ["p"] * 3875 + ["n"] * 234 + ["p"] * 390
    given = ["train"] * 5216 + ["test"] * 624
    finding = only(classes.prevalence(manifest_of(labels, given_split=given)))
    assert (finding.check, finding.level) == ("prevalence_test", "warning")
    assert finding.values["cohens_w"] == pytest.approx(0.27, abs=0.005)
    even = manifest_of(["n", "p"] * 100, given_split=["train"] * 160 + ["test"] * 40)
    assert only(classes.prevalence(even)).level == "good"
    assert classes.prevalence(manifest_of(["n", "p"])) == []


def test_shares_that_lie_far_apart_are_not_called_about_the_same_because_images_are_few():
    """50.0% of training against 70.4% of 27 test images was "in about the shares of train"."""
    labels = ["a", "b"] * 30 + ["a"] * 19 + ["b"] * 8
    finding = only(classes.prevalence(manifest_of(labels, given_split=["train"] * 60 + ["test"] * 27)))
    assert finding.values["p"] > 0.01 and finding.level == "information"
    assert "50.0%" in finding.title and "70.4%" in finding.title
    numeric = manifest_of(["0", "1"] * 100, given_split=["train"] * 160 + ["test"] * 40)
    assert '"0"' in only(classes.prevalence(numeric)).title


def test_a_large_sample_does_not_turn_a_tiny_shift_into_a_warning():
    labels = ["n"] * 10_000 + ["p"] * 10_000 + ["n"] * 9_700 + ["p"] * 10_300
    finding = only(classes.prevalence(manifest_of(labels, given_split=["train"] * 20_000 + ["test"] * 20_000)))
    assert finding.values["p"] < 0.01
    assert finding.level == "good"


def test_a_class_that_one_given_split_lacks_has_a_finite_effect():
    manifest = manifest_of(["a"] * 50 + ["a", "b"] * 20, given_split=["train"] * 50 + ["test"] * 40)
    assert np.isfinite(only(classes.prevalence(manifest)).values["cohens_w"])


def test_many_classes_are_told_in_one_line():
    labels = [f"class{k:02d}" for k in range(50) for _ in range(k + 1)]
    finding = only(classes.counts(manifest_of(labels)))
    assert finding.values["classes"] == 50 and "class00" in finding.title and "class49" in finding.title
    assert "class25" not in finding.title
    assert len(finding.table) == 50


@pytest.mark.wording
def test_one_case_is_one_case():
    finding = only(classes.small_test(manifest_of(["a", "b", "b"], given_split=["test"] * 3), None))
    assert "with 1 case of class a, " in finding.title


def test_p52_few_test_cases_are_a_warning_with_the_width_of_the_interval():
    given = ["test"] * 42 + ["test"] * 114 + ["train"] * 100
    manifest = manifest_of(["malignant"] * 42 + ["other"] * 114 + ["malignant", "other"] * 50, given_split=given)
    finding = only(classes.small_test(manifest, None))
    assert finding.level == "information"
    assert (finding.values["cases_malignant"], finding.values["cases_needed"]) == (42, 141)
    assert (finding.values["low_malignant"], finding.values["high_malignant"]) == pytest.approx((0.78, 0.96), abs=5e-3)
    assert all(said in finding.title for said in ("42 cases of class malignant", "0.90", "0.78 to 0.96", "141"))
    assert only(classes.small_test(manifest, None, 0.2)).title.endswith("0.96")  # more cases than that takes
    few = manifest_of(["a"] * 29 + ["b"] * 60, given_split=["test"] * 89)
    finding = only(classes.small_test(few, None))
    assert finding.level == "warning"
    assert re.search(r"\b30 cases: a\.", finding.text)
    assert classes.small_test(manifest_of(["a", "b"]), None) == []


def test_p17_copies_and_siblings_do_not_make_test_cases():
    manifest = manifest_of(
        ["a"] * 60 + ["b"] * 60, group=[f"p{i // 3}" for i in range(120)], given_split=["test"] * 120
    )
    assert only(classes.small_test(manifest, None)).values["cases_a"] == 20
