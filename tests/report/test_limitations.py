import dataclasses
import re

import numpy as np
import pytest
from made_study import (
    BINARY,
    EMPTY,
    FOUR,
    assessment,
    audit,
    config,
    finding,
    history,
    policies,
    predictions,
    sources,
    study,
)

from medcls.evaluation.estimates import Estimate
from medcls.evaluation.policies import fit_policies, not_fitted
from medcls.evaluation.predictions import Predictions
from medcls.evaluation.shift import Difference, differences
from medcls.evaluation.thresholds import chosen_beforehand
from medcls.report.limitations import Limitation, limitations
from medcls.report.report import notices
from medcls.report.sources import Sources
from medcls.report.telling import operating_point, plain_words
from medcls.runs.ledger import Readings

ALWAYS = "One training, with seed 0"


def found(headline=None, others=None, of: Sources | None = None, classes=BINARY):
    usual = study(classes)
    headline = usual[0] if headline is None else headline
    return limitations(headline, usual[1] if others is None else others, sources() if of is None else of)


def the_one(listed, words) -> Limitation:
    mine = [one for one in listed if words in one.title]
    assert len(mine) == 1, [one.title for one in listed]
    return mine[0]


def silent(listed, words) -> bool:
    return not [one.title for one in listed if words in one.title]


@pytest.mark.parametrize("classes", [BINARY, FOUR])
def test_a_study_with_nothing_to_hold_against_it_hears_no_false_alarm(classes):
    listed = found(classes=classes, of=sources(splits=None) if classes == FOUR else None)
    expected = [ALWAYS] if classes == BINARY else ["Missing from the run's record: the splits", ALWAYS]
    assert [one.title for one in listed] == expected


def test_the_worst_comes_first():
    listed = found(assessment(predictions("val", seed=3)), (), EMPTY)
    levels = [one.level for one in listed]
    assert levels == sorted(levels, reverse=True)
    assert {"serious", "mind"} == set(levels)
    assert listed[0].title.startswith("The figures are of val")


def test_every_limitation_is_a_title_and_sentences():
    table = predictions(n=60, seed=5, prevalence=0.2, moved=2.0)
    for one in found(assessment(table, policies()), of=sources(stamps=("SYNTHETIC",), audit=None)):
        assert one.title
        assert not one.title.endswith(".")
        assert one.text.endswith((".", "site"))
        assert one.text[0].isupper() or one.text[0].isdigit()
        assert "nan" not in one.title + one.text


@pytest.mark.parametrize(
    ("split", "why"),
    [
        ("val", "also chose the checkpoint"),
        (" Val", "also chose the checkpoint"),
        ("train", "fitted to these very"),
        ("calibration", "fitted"),
    ],
)
def test_p09_a_split_that_took_part_is_no_test(split, why):
    listed = found(assessment(predictions(split, seed=1)))
    said = the_one(listed, "which is no test")
    assert said.level == "serious"
    assert why in said.text
    assert "(1,000 images)" in said.title


def test_p09_images_of_no_named_split_may_have_trained():
    listed = found(assessment(predictions("", seed=1)))
    assert the_one(listed, "Nothing says which 1,000 images these are").level == "serious"
    assert silent(listed, "another site")


def test_a_table_of_another_tool_tells_nothing_of_its_making():
    said = the_one(found(of=EMPTY), "Nothing is known of how this classifier was made")
    assert said.level == "serious"
    assert "the splits" in said.text


def test_what_is_missing_from_a_record_is_named():
    said = the_one(found(of=sources(weights=None, history=None)), "Missing from the run's record")
    assert said.title.endswith("where the weights came from, the course of the training")
    assert said.level == "mind"


def test_stamps_are_told():
    assert the_one(found(of=sources(stamps=("POOLED: the test split",))), "POOLED").level == "serious"


def test_images_of_training_in_an_external_set():
    assert the_one(found(of=sources(training_copies=7)), "7 of 1,000 images of the external set").level == "serious"
    assert silent(found(of=sources(training_copies=0)), "external set")


def test_p37_overfitting():
    said = the_one(found(of=sources(history=history(train=0.01, val=2.0))), "Overfitting")
    assert said.level == "serious"
    assert "epochs" in said.text
    assert silent(found(of=sources(history=history(train=0.4, val=0.45))), "Overfitting")


def test_errors_and_warnings_of_the_audit_in_its_own_words():
    audited = audit(
        finding("copies_test_train", "error", "9 test images are in training"),
        finding("shortcuts_seen", "warning", "The label can be told from the border"),
        finding("outliers", "information", "14 outliers"),
        finding("small_test", "warning", "A small test split"),
        finding("groups_across_splits", "error", "3 groups stand in two splits"),
        finding("groups", "warning", "Nothing says which images belong to one patient"),
    )
    listed = found(of=sources(audit=audited))
    assert the_one(listed, "9 test images").level == "serious"
    assert the_one(listed, "told from the border").level == "mind"
    assert the_one(listed, "3 groups stand in two splits").level == "serious"
    # Information is no limitation, and of small splits and missing groups the rules speak from the figures.
    assert len(listed) == 4


LEAK = finding("leak_test", "error", "113 of 120 test images have a near copy in training")
AS_IT_CAME = finding("copies_test_train", "error", "9 test images are in training")


def test_p01_what_is_left_in_training_is_the_first_thing_said():
    listed = found(of=sources(audit=audit(AS_IT_CAME, LEAK), stamps=("SYNTHETIC",)))
    assert (listed[0].title, listed[0].level) == (LEAK["title"], "serious")
    # Of what was taken out of training nothing is said.
    assert silent(listed, "9 test images")
    settled = found(of=sources(audit=audit(AS_IT_CAME, finding("leaks"))))
    assert [one.title for one in settled] == [ALWAYS]


def test_what_is_left_beside_another_split_weighs_less():
    of_val = finding("leak_val", "warning", "3 of 40 val images have a near copy in training")
    assert the_one(found(of=sources(audit=audit(of_val))), "3 of 40 val").level == "mind"
    other = assessment(predictions("external", seed=1))
    assert the_one(found(other, (), sources(audit=audit(LEAK))), "113 of 120").level == "mind"
    pooled = assessment(predictions("out_of_fold", seed=1))
    assert the_one(found(pooled, (), sources(audit=audit(LEAK))), "113 of 120").level == "serious"


def test_a_test_unlike_val_is_told_with_the_accuracy_at_both_thresholds():
    fitted = fit_policies(predictions("val", seed=0))
    val, test = assessment(predictions("val", seed=0), fitted), assessment(predictions(seed=1, moved=2.0), fitted)
    said = the_one(found(test, [val]), "Test is shifted against val: ")
    assert said.level == "serious"
    assert "specificity 0." in said.title
    assert f"the accuracy on test is {test.metrics.values['accuracy']:.3f}" in said.text
    assert f"at a threshold of 0.5 it is {test.at_half.values['accuracy']:.3f}" in said.text
    assert f"on val it is {val.metrics.values['accuracy']:.3f}" in said.text
    assert "fitted on val, n = 1000" in said.text
    assert "probabilities too high by 0." in said.text
    lower = assessment(predictions(seed=1, moved=-2.0), fitted)
    text = the_one(found(lower, [val]), "Test is shifted against val: ").text
    assert re.search(r"probabilities too low by 0\.\d+ \(0\.\d+ to 0\.\d+\)", text) and " -0." not in text


def test_an_auroc_that_falls_is_a_shift_and_one_that_rises_is_none():
    good, poor = assessment(predictions(seed=1, signal=2.0)), assessment(predictions("val", seed=0, signal=1.0))
    assert "AUROC" in [one.name for one in differences(poor, good)]
    assert "AUROC" not in [one.name for one in differences(good, poor)]


def test_a_shift_of_four_classes():
    headline = assessment(predictions(classes=FOUR, seed=1, moved=3.0), prevalence=None)
    said = the_one(found(headline, classes=FOUR), "Test is shifted")
    assert "sensitivity for " in said.text
    assert "The accuracy on test is" in said.text


def test_another_share_of_cases_alone_is_a_lesser_shift():
    test = assessment(predictions(seed=1, prevalence=0.37), prevalence=0.37)
    fitted = assessment(predictions("calibration", seed=1, prevalence=0.3))
    listed = [one for one in differences(test, fitted) if not one.of_calls]
    assert [one.name for one in listed] == ["share of ill"]


def test_without_val_the_classes_are_held_against_training():
    table = predictions(seed=1, prevalence=0.5)
    said = the_one(found(assessment(table, prevalence=0.5), ()), "Test is shifted against train: share of ill 0.500")
    assert said.level == "mind"
    assert silent(found(others=()), "shifted")
    assert silent(found(assessment(table, prevalence=0.5), (), sources(splits=None)), "shifted")


def test_an_external_set_is_held_against_test():
    headline, others = study()
    external = assessment(predictions("external", seed=2, moved=2.0))
    assert (
        the_one(found(headline, [others[0], external]), "The external set is shifted against test").level == "serious"
    )
    assert the_one(found(external, [others[0]]), "The external set is shifted against calibration")


def test_p51_an_accuracy_that_beats_nothing():
    rare = {"prevalence": 0.05, "signal": 0.6}
    fitted = fit_policies(predictions("calibration", **rare))
    listed = found(assessment(predictions(seed=1, **rare), fitted, prevalence=0.05), ())
    assert the_one(listed, "does not beat always naming the most frequent class, 0.950").level == "serious"
    even = assessment(predictions(seed=1, prevalence=0.5, moved=9.0), prevalence=0.5)
    assert "rare" not in the_one(found(even, ()), "does not beat always naming the most frequent class, 0.500").text
    close = found(assessment(predictions(seed=1, n=200, signal=0.9)))
    assert the_one(close, "is not shown to beat").level == "mind"


def test_an_auroc_that_may_be_chance():
    assert the_one(found(assessment(predictions(seed=4, n=200, signal=0.01))), "better than chance").level == "serious"


def test_scores_the_wrong_way_round_are_worse_than_chance():
    table = predictions(seed=4, n=200)
    swapped = table.with_probabilities(table.probabilities()[:, ::-1])
    listed = found(
        assessment(dataclasses.replace(swapped, rows=swapped.rows.drop(columns=["logit_other", "logit_ill"])))
    )
    said = the_one(listed, "Worse than chance: AUROC 0.")
    assert said.level == "serious" and "columns of the probabilities, are probably swapped" in said.text
    assert silent(listed, "Not shown to be better than chance")


def test_cases_are_those_who_are_ill():
    table = predictions(seed=1, group=[f"patient {number // 2}" for number in range(1000)])
    ill = table.rows.loc[table.rows["label"] == "ill", "group"].nunique()
    said = the_one(found(assessment(table)), "1,000 images of only 500 groups")
    assert f"Report the number of groups, 500, {ill} of them ill." in said.text
    assert "as the number of cases" not in said.text


def test_a_predictive_value_that_nobody_can_tell_is_not_nan():
    table = predictions(seed=1)
    nobody = assessment(table, dataclasses.replace(policies(), operating_point=chosen_beforehand(table, "fixed=1")))
    said = the_one(found(dataclasses.replace(nobody, deployment=None)), "PPV undefined and NPV 0.7")
    assert "no image was called 'ill'" in said.title


def of_one_class(name, n, classes=BINARY):
    table = predictions(seed=1, classes=classes, n=400)
    rows = table.rows[table.rows["label"] == name].head(n).reset_index(drop=True)
    return assessment(dataclasses.replace(table, rows=rows), prevalence=None)


@pytest.mark.parametrize(("name", "classes"), [("ill", BINARY), ("other", BINARY), ("d", FOUR)])
def test_of_a_site_with_one_class_nothing_is_said_that_holds_by_construction(name, classes):
    one = of_one_class(name, 20, classes)
    listed = found(one, (), EMPTY)
    for words in ("accuracy", "PPV", ": 0 of ", ", 0 of "):
        assert silent([line for line in listed if "Undefined" not in line.title], words)
    why = the_one(listed, "Undefined").text.partition(". ")[0].split("; ")
    assert len(why) == len({reason.casefold() for reason in why}) == (1 if classes == BINARY else 4)
    few = the_one(listed, "Fewer than 30 cases")
    assert few.title.endswith(f": 20 of {name}") and "by up to 5%" in few.text and "undefined" not in few.text
    assert notices(one) == []
    said = " ".join(plain_words(one))
    assert "times in 100" not in said and "always answering" not in said


def test_of_one_image_nobody_asks_which_patients_it_belongs_to():
    assert silent(found(of_one_class("ill", 1), (), EMPTY), "belong to one patient")
    table = predictions(seed=1, n=20, group="")
    assert the_one(found(assessment(table), (), EMPTY), "belong to one patient")


def test_p52_few_cases_are_named_with_their_ranges():
    said = the_one(found(assessment(predictions(seed=1, n=80))), "Fewer than 30 cases of a class: 24 of ill")
    assert said.level == "serious"
    assert "by up to 4%" in said.text
    assert "sensitivity 0." in said.text
    wide = the_one(found(assessment(predictions(seed=1, n=120))), "known only roughly")
    assert "sensitivity" in wide.title
    assert silent(found(assessment(predictions(seed=1, n=120))), "Fewer than")


@pytest.mark.parametrize("n", [80, 120])
def test_a_cross_validation_is_not_advised_to_cross_validate(n):
    of_one_cut, of_folds = (
        [
            one
            for one in found(assessment(predictions(split, seed=1, n=n)))
            if "interval" in one.text or "ranges" in one.text
        ]
        for split in ("test", "out_of_fold")
    )
    assert any("data.folds=5" in one.text for one in of_one_cut)
    assert of_folds and not any("data.folds=5" in one.text for one in of_folds)
    assert any("has judged every image that there is" in one.text for one in of_folds)


def test_p17_cases_are_counted_by_group():
    patients = [f"patient {number // 8}" for number in range(200)]
    said = the_one(
        found(assessment(predictions(seed=1, n=200, group=patients))), "Fewer than 30 cases of a class: 25 of "
    )
    assert "by up to 4%" in said.text


def test_p50_a_class_without_a_case_is_told():
    table = predictions(seed=1)
    healthy = dataclasses.replace(table, rows=table.rows[table.rows["label"] == "other"])
    said = the_one(found(assessment(healthy, prevalence=None)), "Undefined: AUROC, sensitivity")
    assert "no image of class 'ill'" in said.text.lower()


def readings(total, checkpoints):
    return Readings("key", "test", 1000, total, total, checkpoints, "2026-01-01", "2026-01-02")


def test_p53_a_test_that_was_read_before():
    assert [one.title for one in found(of=sources(readings=readings(1, 1)))] == [ALWAYS]
    assert the_one(found(of=sources(readings=readings(3, 1))), "3 times, of 1 checkpoint").level == "mind"
    assert the_one(found(of=sources(readings=readings(3, 2))), "3 times, of 2 checkpoints").level == "serious"


def test_probabilities_that_are_too_high():
    said = the_one(found(assessment(predictions(seed=1, moved=1.0)), ()), "Probabilities are too high on the whole")
    assert "80 in 100 such images are ill" in said.text
    assert the_one(found(assessment(predictions(seed=1, moved=-1.0)), ()), "Probabilities are too low on the whole")


@pytest.mark.parametrize(("power", "lean"), [(3, "extreme"), (0.4, "timid")])
def test_probabilities_that_are_too_extreme_or_too_timid(power, lean):
    """The classes are equally frequent, so that on the whole nothing is off."""
    table = predictions(seed=1, prevalence=0.5)
    sharpened = table.probabilities() ** power
    sharpened /= sharpened.sum(axis=1, keepdims=True)
    rows = table.rows.drop(columns=["logit_other", "logit_ill"])
    other = dataclasses.replace(table, rows=rows).with_probabilities(sharpened)
    uncalibrated = dataclasses.replace(policies(), calibration=None)
    said = the_one(found(assessment(other, uncalibrated, prevalence=0.5), (), sources(splits=None)), "Probabilities")
    assert said.title.startswith(f"Probabilities are too {lean}: the calibration slope is ")


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_slope_below_0_is_not_called_too_extreme_and_promises_no_order(share):
    """The calls of `share` of the images are the wrong way round."""
    table = predictions(seed=1, prevalence=0.5)
    turned = np.arange(len(table)) < share * len(table)
    probabilities = np.where(turned[:, None], table.probabilities()[:, ::-1], table.probabilities())
    rows = table.rows.drop(columns=["logit_other", "logit_ill"])
    other = dataclasses.replace(table, rows=rows).with_probabilities(probabilities)
    uncalibrated = dataclasses.replace(policies(), calibration=None)
    one = assessment(other, uncalibrated, prevalence=0.5)
    listed = [said for said in found(one, (), sources(splits=None)) if "slope" in said.title]
    if share == 1:
        assert listed[0].title.startswith("Higher probabilities do not go with more images of ill: the calibration")
    assert listed and all("put images in order" not in said.text for said in listed)
    assert all("Do not use them as risks." in said.text for said in listed)


def test_probabilities_of_four_classes_that_miss_in_several_ranges():
    table = predictions(seed=1, classes=FOUR, signal=1.0)
    confidence = table.probabilities().max(axis=1, keepdims=True)
    wavy = np.where((confidence * 10).astype(int) % 2 == 0, table.probabilities() ** 1.6, table.probabilities() ** 0.6)
    rows = table.rows.drop(columns=[f"logit_{name}" for name in FOUR])
    other = dataclasses.replace(table, rows=rows).with_probabilities(wavy / wavy.sum(axis=1, keepdims=True))
    uncalibrated = dataclasses.replace(policies(FOUR), calibration=None, conformal=None)
    said = the_one(found(assessment(other, uncalibrated, prevalence=None), (), sources(splits=None)), "Probabilities")
    assert "miss what came true in" in said.title
    assert "such calls are right" in said.text


def test_label_sets_that_break_their_promise():
    said = the_one(found(assessment(predictions(seed=1, moved=3.0))), "Label sets promise 90% and hold")
    assert said.level == "serious"
    assert " of 300 ill" in said.text


def test_label_sets_that_forget_a_rare_class():
    rare = {"prevalence": 0.06, "signal": 1.0}
    fitted = fit_policies(predictions("calibration", 2000, **rare))
    said = the_one(found(assessment(predictions(seed=1, n=2000, **rare), fitted, prevalence=0.06), ()), "% of ill")
    assert "over all classes together" in said.text


def test_label_sets_that_settle_little():
    fitted = fit_policies(predictions("calibration", signal=0.5))
    said = the_one(found(assessment(predictions(seed=1, signal=0.5), fitted)), "label sets name one label")
    assert said.level == "mind"


@pytest.mark.parametrize(("single", "said"), [(0, "None of 6 label sets names"), (1, "Only 1 of 6 label sets names")])
def test_label_sets_of_which_none_or_one_is_an_answer(single, said):
    one = assessment(predictions(seed=1))
    rest = {"n": 6, "covered": 6, "single": single, "single_right": single, "several": 6 - single, "empty": 0}
    counts = dataclasses.replace(one.sets, by_class={"other": (3, 3), "ill": (3, 3)}, **rest)
    assert the_one(found(dataclasses.replace(one, sets=counts)), "one label").title == f"{said} one label"


def test_figures_in_sentences_have_the_minus_of_the_tables():
    below = Estimate(-0.611, -0.7, 0.1)
    assert str(below) == "\N{MINUS SIGN}0.611 (\N{MINUS SIGN}0.700 to 0.100)"
    assert Difference("slope", below, below, of_calls=False).brief().count("\N{MINUS SIGN}") == 2
    assert below.turned() == Estimate(0.611, -0.1, 0.7)


def by_sex(moved):
    table = predictions(seed=1)
    sex = np.resize(["F", "M"], len(table))
    scores = table.logits().copy()
    rng = np.random.default_rng(0)
    scores[sex == "M"] += rng.normal(scale=moved, size=scores[sex == "M"].shape)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    noisy = table.with_probabilities(odds / odds.sum(axis=1, keepdims=True))
    rows = noisy.rows.drop(columns=["logit_other", "logit_ill"]).assign(sex=sex)
    return dataclasses.replace(noisy, rows=rows)


def test_a_group_that_fares_worse():
    fair = dataclasses.replace(policies(), calibration=None)
    listed = found(assessment(by_sex(5.0), fair, bands={"sex": None}))
    said = the_one(listed, "By sex, AUROC is")
    assert said.level == "serious"
    assert "in F and" in said.title
    assert silent(found(assessment(by_sex(0.01), fair, bands={"sex": None})), "By sex")


def test_the_extremes_of_several_groups_that_chance_made_are_left_in_peace():
    """Best against worst of four wards has p = 0.02, were there only these two; there are six pairs."""
    wards = np.random.default_rng(19).choice(list("abcd"), 600)
    one = assessment(predictions(n=600, seed=1, ward=wards), bands={"ward": None})
    assert one.subgroups[0].gap("sensitivity").difference > 0.15
    assert silent(found(one), "By ward")


def test_groups_too_small_to_rank():
    table = predictions(n=300, seed=1, site=[f"site {number % 10}" for number in range(300)])
    said = the_one(found(assessment(table, bands={"site": None})), "Too few images to compare 10 groups by site")
    assert said.level == "mind"


def test_a_threshold_that_was_asked_for_and_declined_says_why():
    """One answer for every image: youden was set, and medcls fitted none."""
    rows = predictions("val", 200).rows
    same = rows.assign(**{name: float(rows[name].mean()) for name in ("logit_other", "logit_ill")})
    same = same.assign(prob_other=0.6, prob_ill=0.4)
    declined = fit_policies(Predictions(same, BINARY, "ill"), "youden")
    one = assessment(predictions(seed=1), declined)
    for text in (the_one(found(one), "The threshold is 0.5, not fitted").text, operating_point(one)):
        assert "Nearly the same answer for every image of val" in text, text
        assert "Nobody chose" not in text and "operating_point=youden" not in text


def test_p44_a_threshold_that_nobody_chose():
    table = predictions(seed=1)
    listed = found(assessment(table, not_fitted(table), prevalence=None))
    assert the_one(listed, "The threshold is 0.5, not fitted").level == "mind"
    assert "Nobody chose it" in the_one(listed, "The threshold is 0.5").text
    fixed = fit_policies(predictions("calibration"), "fixed=0.3")
    assert silent(found(assessment(table, fixed)), "threshold is")
    four = predictions(seed=1, classes=FOUR)
    assert silent(found(assessment(four, not_fitted(four), prevalence=None), classes=FOUR), "threshold is")


def test_what_was_fitted_on_val_is_weaker_than_it_looks():
    listed = found(assessment(predictions(seed=1), fit_policies(predictions("val"))))
    said = the_one(listed, "Fitted on images that were used before (val, 1,000 images)")
    assert said.title.endswith("threshold, temperature, label sets")
    assert "chose the checkpoint" in said.text
    logistic = found(assessment(predictions(seed=1), fit_policies(predictions("val"), calibrate="logistic")))
    assert the_one(logistic, "used before").title.endswith("threshold, logistic recalibration, label sets")


def test_label_sets_count_independent_cases_and_what_else_is_fitted_counts_images():
    """Each image of val has a twin that was kept with it."""
    twins = predictions("val", 26, group="", kept_together=np.repeat([f"pair {k}" for k in range(13)], 2))
    fitted = fit_policies(twins, coverage=0.95)
    listed = found(assessment(predictions(seed=1), fitted))
    assert "fitted on 13 independent cases of val" in the_one(listed, "Weakly founded: the label sets").title
    assert "fitted on 26 images of val" in the_one(listed, "Weakly founded: the threshold").title
    assert "(val, 26 images): threshold," in the_one(listed, "used before").title
    alone = dataclasses.replace(fitted, operating_point=None, calibration=None)
    said = the_one(found(assessment(predictions(seed=1), alone, prevalence=None)), "used before")
    assert "(val, 13 independent cases): label sets" in said.title


def test_what_was_fitted_on_few_images_is_told_for_each_part():
    listed = found(assessment(predictions(seed=1), fit_policies(predictions("calibration", 40))))
    assert "40 images of calibration" in the_one(listed, "Weakly founded: the threshold").title
    assert the_one(listed, "Weakly founded: the temperature")
    assert silent(listed, "used before")


def test_a_shift_to_a_prevalence_that_stands_on_few_rows_is_weakly_founded():
    few = fit_policies(predictions("calibration", 40))
    said = the_one(found(assessment(predictions(seed=1), few)), "Weakly founded: the shift to the stated prevalence")
    assert "40 images of calibration" in said.title
    assert silent(found(assessment(predictions(seed=1), few, prevalence=None)), "shift to the stated")


@pytest.mark.slow
def test_ppv_holds_for_one_prevalence():
    table = predictions(seed=1)
    said = the_one(found(assessment(table, prevalence=None)), "hold where the images are 70.0% other, 30.0% ill")
    assert "prevalence=0.1" in said.text
    other = the_one(
        found(assessment(table, prevalence=0.02)), "The stated prevalence is another, 98.0% other, 2.0% ill"
    )
    assert "PPV 0." in other.title
    four = the_one(found(assessment(predictions(seed=1, classes=FOUR), prevalence=None), classes=FOUR), "PPV and NPV")
    assert "prevalence='{a: 0.1, ...}'" in four.text


@pytest.mark.slow
def test_p17_images_are_not_patients():
    pairs = [f"patient {number // 2}" for number in range(1000)]
    listed = found(assessment(predictions(seed=1, group=pairs)))
    assert "Report the number of groups, 500, " in the_one(listed, "1,000 images of only 500 groups").text
    half = found(assessment(predictions(seed=1, group=[*pairs[:600], *[""] * 400])))
    assert "each of them is taken" in the_one(half, "Nothing says which patient 400 of the 1,000 images are of").text
    said = the_one(half, "600 images of only 300 groups").text
    assert "the number of groups, 300, and of images without one, 400." in said
    one = found(assessment(predictions(seed=1, group=[*(str(number) for number in range(999)), ""])))
    assert "Here it is taken" in the_one(one, "Nothing says which patient 1 of the 1,000 images is of").text
    assert silent(one, "of only")
    unknown = found(assessment(predictions(seed=1, group="")))
    said = the_one(unknown, "belong to one patient").text
    assert "each is taken as of another patient" in said
    assert "data.group_pattern, data.groups or, in a table, data.group_column" in said


def test_no_other_site_was_tried():
    assert the_one(found(others=study()[1][:1]), "another site").level == "mind"
    assert silent(found(assessment(predictions("external", seed=2)), ()), "another site")


def test_one_fold_is_named_and_an_ensemble_is_no_single_training():
    settings = config()
    settings["data"] |= {"folds": 5, "fold": 2}
    assert the_one(found(of=sources(config=settings)), "One training, with seed 0, of fold 2 of 5")
    table = predictions(seed=1)
    together = dataclasses.replace(table, rows=table.rows.assign(checkpoint="ensemble"))
    unbound = dataclasses.replace(policies(), calibration=None, operating_point=None, conformal=None, prior=None)
    assert silent(found(assessment(together, unbound, prevalence=None), of=sources(config=settings)), "One training")


def test_figures_out_of_fold_mix_networks():
    table = predictions("out_of_fold", seed=1)
    pooled = dataclasses.replace(table, rows=table.rows.assign(checkpoint="5 networks"))
    listed = found(assessment(pooled, not_fitted(pooled), prevalence=None), ())
    assert the_one(listed, "The figures mix 5 networks")
    assert silent(listed, "One training")


def test_names_of_classes_stand_as_they_are():
    """Escaping is the page's task; a rule must neither choke on a name nor change it."""
    odd = ('<script>alert("x")</script>', "肺炎, {0} %s")
    table = predictions(seed=1)
    renamed = table.rows.assign(label=table.rows["label"].map(dict(zip(BINARY, odd, strict=True))))
    renamed = renamed.rename(
        columns={
            f"{kind}_{old}": f"{kind}_{new}" for kind in ("prob", "logit") for old, new in zip(BINARY, odd, strict=True)
        }
    )
    strange = dataclasses.replace(table, rows=renamed, classes=odd, positive=odd[1])
    said = the_one(limitations(assessment(strange, not_fitted(strange), prevalence=None), (), EMPTY), "hold where")
    assert f"30.0% {odd[1]}" in said.title


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_smallest_tables_are_judged_without_a_fault(n):
    table = predictions(n=n, seed=1, prevalence=0.5)
    listed = limitations(assessment(table, not_fitted(table), prevalence=None), (), EMPTY)
    assert the_one(listed, "Fewer than 30 cases of a class")
