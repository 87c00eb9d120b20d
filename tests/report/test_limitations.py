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
    decision_rules,
    finding,
    history,
    predictions,
    sources,
    study,
)

from medcls.evaluation.calibration import calibration_test
from medcls.evaluation.decision_rules import fit_decision_rules, not_fitted
from medcls.evaluation.predictions import FITTED_TWICE, TOOK_PART, Predictions
from medcls.evaluation.shift import differences
from medcls.evaluation.thresholds import chosen_beforehand
from medcls.report.limitations import OFF, Limitation, limitations
from medcls.report.phrases import operating_point, plain_words
from medcls.report.report import notices
from medcls.report.sources import Sources
from medcls.runs.records import InitialWeights, TeacherRun
from medcls.runs.registry import Readings

ALWAYS = "one_training"


def found(headline=None, others=None, of: Sources | None = None, classes=BINARY):
    usual = study(classes)
    headline = usual[0] if headline is None else headline
    return limitations(headline, usual[1] if others is None else others, sources() if of is None else of)


def rules(listed) -> list[str]:
    return [one.rule for one in listed]


def the_one(listed, rule, *names) -> Limitation:
    """What a rule found: once, and with these names and numbers in its title."""
    mine = [one for one in listed if one.rule == rule and all(name in one.title for name in names)]
    assert len(mine) == 1, [(one.rule, one.title) for one in listed]
    return mine[0]


@pytest.mark.parametrize("classes", [BINARY, FOUR])
def test_a_study_with_nothing_to_hold_against_it_hears_no_false_alarm(classes):
    listed = found(classes=classes, of=sources(splits=None) if classes == FOUR else None)
    assert rules(listed) == ([ALWAYS] if classes == BINARY else ["incomplete_record", ALWAYS])


def test_the_worst_comes_first():
    listed = found(assessment(predictions("val", seed=3)), (), EMPTY)
    levels = [one.level for one in listed]
    assert levels == sorted(levels, reverse=True)
    assert {"serious", "mind"} == set(levels)
    assert listed[0].rule == "no_test"


@pytest.mark.wording
def test_every_limitation_is_a_title_and_sentences():
    table = predictions(n=60, seed=5, prevalence=0.2, moved=2.0)
    for one in found(assessment(table, decision_rules()), of=sources(watermarks=("SYNTHETIC",), audit=None)):
        assert one.title
        assert not one.title.endswith(".")
        assert one.text.endswith((".", "site"))
        assert one.text[0].isupper() or one.text[0].isdigit()
        assert "nan" not in one.title + one.text


@pytest.mark.parametrize("split", ["val", " Val", "train", "calibration"])
def test_p09_a_split_that_took_part_is_no_test(split):
    name = split.strip().casefold()
    said = the_one(found(assessment(predictions(split, seed=1))), "no_test", name, "1,000")
    assert said.level == "serious"
    assert TOOK_PART[name][1:] in said.text


def test_p09_images_of_no_named_split_may_have_trained():
    listed = found(assessment(predictions("", seed=1)))
    assert the_one(listed, "unnamed_split", "1,000").level == "serious"
    assert "one_site" not in rules(listed)


def test_a_table_of_another_tool_tells_nothing_of_its_making():
    said = the_one(found(of=EMPTY), "unknown_origin")
    assert said.level == "serious"
    assert "the splits" in said.text


def test_what_is_missing_from_a_record_is_named():
    said = the_one(found(of=sources(weights=None, history=None)), "incomplete_record", "weights", "training")
    assert "splits" not in said.title and "audit" not in said.title
    assert said.level == "mind"


def test_stamps_are_told():
    assert the_one(found(of=sources(watermarks=("POOLED: the test split",))), "watermark", "POOLED").level == "serious"


def test_p25_what_was_frozen_at_random_is_told():
    none = InitialWeights(None, None, None, {}, "nothing loaded", tensors=312, loaded=0)
    weights = dataclasses.replace(none, frozen_at_random=("blocks.0.weight", "blocks.0.bias"))
    said = the_one(found(of=sources(weights=weights)), "frozen_at_random", "2 of 312")
    assert said.level == "serious" and "freeze_random_weights=true" in said.text
    assert rules(found(of=sources(weights=none))) == [ALWAYS]


def test_p02_near_duplicates_that_a_run_behind_learned_from_are_told():
    none = InitialWeights("runs/A", "best.ckpt", "abc", {}, "312/312", tensors=312, loaded=312)
    taught = TeacherRun("runs/B", "data, network", "c0ffee", "a.loss", {}, images=900, near_duplicates=0)
    for near, rule, level in (
        (0, None, None),
        (3, "learned_from_near_duplicates", "serious"),
        (None, "near_duplicates_unknown", "mind"),
    ):
        behind = {"run": "runs/A", "name": "data, network", "images": 900, "near_duplicates": near}
        for of in (
            sources(weights=dataclasses.replace(none, learned_from=[behind])),
            sources(teacher=dataclasses.replace(taught, near_duplicates=near)),
        ):
            listed = found(of=of)
            if rule is None:
                assert rules(listed) == [ALWAYS]
            else:
                assert the_one(listed, rule, *([] if near is None else ["3"])).level == level


def test_images_of_training_in_an_external_set():
    assert (
        the_one(found(of=sources(training_duplicates=7)), "training_images_in_external_set", "7 of 1,000").level
        == "serious"
    )
    assert rules(found(of=sources(training_duplicates=0))) == [ALWAYS]


def test_p37_overfitting():
    said = the_one(found(of=sources(history=history(train=0.01, val=2.0))), "overfitting")
    assert said.level == "serious"
    assert "epochs" in said.text
    assert rules(found(of=sources(history=history(train=0.4, val=0.45)))) == [ALWAYS]


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
    assert the_one(listed, "copies_test_train", "9 test images").level == "serious"
    assert the_one(listed, "shortcuts_seen").level == "mind"
    assert the_one(listed, "groups_across_splits").level == "serious"
    # Information is no limitation, and of small splits and missing groups the rules speak from the figures.
    assert len(listed) == 4


LEAK = finding("leak_test", "error", "113 of 120 test images have a near copy in training")
AS_IT_CAME = finding("copies_test_train", "error", "9 test images are in training")


def test_p01_what_is_left_in_training_is_the_first_thing_said():
    listed = found(of=sources(audit=audit(AS_IT_CAME, LEAK), watermarks=("SYNTHETIC",)))
    assert (listed[0].title, listed[0].level) == (LEAK["title"], "serious")
    # Of what was taken out of training nothing is said.
    assert "copies_test_train" not in rules(listed)
    settled = found(of=sources(audit=audit(AS_IT_CAME, finding("leaks"))))
    assert rules(settled) == [ALWAYS]


def test_what_is_left_beside_another_split_weighs_less():
    of_val = finding("leak_val", "warning", "3 of 40 val images have a near copy in training")
    assert the_one(found(of=sources(audit=audit(of_val))), "leak_val").level == "mind"
    other = assessment(predictions("external", seed=1))
    assert the_one(found(other, (), sources(audit=audit(LEAK))), "leak_test").level == "mind"
    pooled = assessment(predictions("out_of_fold", seed=1))
    assert the_one(found(pooled, (), sources(audit=audit(LEAK))), "leak_test").level == "serious"


def test_a_test_unlike_val_is_told_with_the_accuracy_at_both_thresholds():
    fitted = fit_decision_rules(predictions("val", seed=0))
    val, test = assessment(predictions("val", seed=0), fitted), assessment(predictions(seed=1, moved=2.0), fitted)
    said = the_one(found(test, [val]), "shift", "Test", "val", "specificity 0.")
    assert said.level == "serious"
    assert fitted.operating_point.label() in said.text
    for accuracy in (one.values["accuracy"] for one in (test.metrics, test.at_half, val.metrics)):
        assert f"{accuracy:.3f}" in said.text
    assert re.search(r"high by 0\.\d+ \(0\.\d+ to 0\.\d+\)", said.text)
    lower = assessment(predictions(seed=1, moved=-2.0), fitted)
    text = the_one(found(lower, [val]), "shift").text
    assert re.search(r"low by 0\.\d+ \(0\.\d+ to 0\.\d+\)", text) and " -0." not in text


def test_an_auroc_that_falls_is_a_shift_and_one_that_rises_is_none():
    good, poor = assessment(predictions(seed=1, signal=2.0)), assessment(predictions("val", seed=0, signal=1.0))
    assert "AUROC" in [one.name for one in differences(poor, good)]
    assert "AUROC" not in [one.name for one in differences(good, poor)]


def test_a_shift_of_four_classes():
    headline = assessment(predictions(classes=FOUR, seed=1, moved=3.0), prevalence=None)
    said = the_one(found(headline, classes=FOUR), "shift", "Test")
    assert re.search(r"sensitivity for class [abcd] 0\.", said.text)
    assert f"{headline.metrics.values['accuracy']:.3f}" in said.text


def test_without_val_the_classes_are_held_against_training():
    table = predictions(seed=1, prevalence=0.5)
    said = the_one(found(assessment(table, prevalence=0.5), ()), "shift_of_classes", "train", "ill 0.500")
    assert said.level == "mind"
    for listed in (found(others=()), found(assessment(table, prevalence=0.5), (), sources(splits=None))):
        assert not {"shift", "shift_of_classes"} & set(rules(listed))


def test_an_external_set_is_held_against_test():
    headline, others = study()
    external = assessment(predictions("external", seed=2, moved=2.0))
    listed = found(headline, [others[0], external])
    assert the_one(listed, "shift", "external set", "test").level == "serious"
    assert the_one(found(external, [others[0]]), "shift", "external set", "calibration")


def test_p51_an_accuracy_that_beats_nothing():
    rare = {"prevalence": 0.05, "signal": 0.6}
    fitted = fit_decision_rules(predictions("calibration", **rare))
    listed = found(assessment(predictions(seed=1, **rare), fitted, prevalence=0.05), ())
    assert the_one(listed, "accuracy_below_baseline", "0.950").level == "serious"
    even = assessment(predictions(seed=1, prevalence=0.5, moved=9.0), prevalence=0.5)
    assert "rare" not in the_one(found(even, ()), "accuracy_below_baseline", "0.500").text
    close = found(assessment(predictions(seed=1, n=200, signal=0.9)))
    assert the_one(close, "accuracy_near_baseline").level == "mind"


def test_an_auroc_that_may_be_chance():
    listed = found(assessment(predictions(seed=4, n=200, signal=0.01)))
    assert the_one(listed, "no_better_than_chance").level == "serious"


def test_scores_the_wrong_way_round_are_worse_than_chance():
    table = predictions(seed=4, n=200)
    swapped = table.with_probabilities(table.probabilities()[:, ::-1])
    listed = found(
        assessment(dataclasses.replace(swapped, rows=swapped.rows.drop(columns=["logit_other", "logit_ill"])))
    )
    assert the_one(listed, "worse_than_chance", "AUROC 0.").level == "serious"
    assert "no_better_than_chance" not in rules(listed)


def test_cases_are_those_who_are_ill():
    table = predictions(seed=1, group=[f"patient {number // 2}" for number in range(1000)])
    ill = table.rows.loc[table.rows["label"] == "ill", "group"].nunique()
    said = the_one(found(assessment(table)), "several_images_of_a_group", "1,000", "500")
    assert re.search(rf"500, {ill} .*\bill\.", said.text)


def test_a_predictive_value_that_nobody_can_tell_is_not_nan():
    table = predictions(seed=1)
    nobody = assessment(
        table, dataclasses.replace(decision_rules(), operating_point=chosen_beforehand(table, "fixed=1"))
    )
    listed = found(dataclasses.replace(nobody, deployment=None))
    said = the_one(listed, "prevalence_of_the_sample", "PPV undefined", "NPV 0.7", "'ill'")
    assert "nan" not in said.title


def of_one_class(name, n, classes=BINARY):
    table = predictions(seed=1, classes=classes, n=400)
    rows = table.rows[table.rows["label"] == name].head(n).reset_index(drop=True)
    return assessment(dataclasses.replace(table, rows=rows), prevalence=None)


@pytest.mark.parametrize(("name", "classes"), [("ill", BINARY), ("other", BINARY), ("d", FOUR)])
def test_of_a_site_with_one_class_nothing_is_said_that_holds_by_construction(name, classes):
    one = of_one_class(name, 20, classes)
    listed = found(one, (), EMPTY)
    for said in ("accuracy", "PPV", ": 0 of ", ", 0 of "):
        assert not [one.title for one in listed if one.rule != "undefined_metrics" and said in one.title]
    why = the_one(listed, "undefined_metrics").text.partition(". ")[0].split("; ")
    assert len(why) == len({reason.casefold() for reason in why}) == (1 if classes == BINARY else 4)
    few = the_one(listed, "few_cases", "30")
    assert few.title.endswith(f": {name} (20)") and "5%" in few.text and "undefined" not in few.text
    assert notices(one) == []
    assert len(plain_words(one)) == 2, "nothing of the predictive value, of a best class or of always answering one"


def test_of_one_image_nobody_asks_which_patients_it_belongs_to():
    assert "unknown_patients" not in rules(found(of_one_class("ill", 1), (), EMPTY))
    table = predictions(seed=1, n=20, group="")
    assert the_one(found(assessment(table), (), EMPTY), "unknown_patients", "20")


def test_p52_few_cases_are_named_with_their_ranges():
    said = the_one(found(assessment(predictions(seed=1, n=80))), "few_cases", "30", "ill (24)")
    assert said.level == "serious"
    assert "4 percentage" in said.text
    assert "sensitivity 0." in said.text
    wide = the_one(found(assessment(predictions(seed=1, n=120))), "wide_intervals")
    assert "sensitivity" in wide.title
    assert "few_cases" not in rules(found(assessment(predictions(seed=1, n=120))))


@pytest.mark.parametrize("n", [80, 120])
def test_a_cross_validation_is_not_advised_to_cross_validate(n):
    of_one_cut, of_folds = (
        [
            one
            for one in found(assessment(predictions(split, seed=1, n=n)))
            if one.rule in ("few_cases", "wide_intervals")
        ]
        for split in ("test", "out_of_fold")
    )
    assert any("data.folds=5" in one.text for one in of_one_cut)
    assert of_folds and not any("data.folds=5" in one.text for one in of_folds)


def test_p17_cases_are_counted_by_group():
    patients = [f"patient {number // 8}" for number in range(200)]
    said = the_one(found(assessment(predictions(seed=1, n=200, group=patients))), "few_cases", "(25)")
    assert "4 percentage" in said.text


def test_p50_a_class_without_a_case_is_told():
    table = predictions(seed=1)
    healthy = dataclasses.replace(table, rows=table.rows[table.rows["label"] == "other"])
    said = the_one(found(assessment(healthy, prevalence=None)), "undefined_metrics", "AUROC", "sensitivity")
    assert "'ill'" in said.text


def readings(total, checkpoints):
    return Readings("key", "test", 1000, total, checkpoints, "2026-01-01")


def test_p53_a_test_that_was_read_before():
    assert rules(found(of=sources(readings=readings(1, 1)))) == [ALWAYS]
    assert the_one(found(of=sources(readings=readings(3, 1))), "repeated_readings", "3", "1 checkpoint").level == "mind"
    assert (
        the_one(found(of=sources(readings=readings(3, 2))), "repeated_readings", "3", "2 checkpoints").level
        == "serious"
    )


def test_probabilities_that_are_too_high():
    said = the_one(found(assessment(predictions(seed=1, moved=1.0)), ()), "probabilities_off", "too high")
    assert "80 in 100" in said.text and "ill" in said.text
    assert the_one(found(assessment(predictions(seed=1, moved=-1.0)), ()), "probabilities_off", "too low")


@pytest.mark.parametrize(("classes", "rule"), [(BINARY, "probabilities_off"), (FOUR, "class_probabilities_off")])
def test_probabilities_that_are_off_in_the_large_while_the_slope_is_right(classes, rule):
    """On few images: the test of slope and intercept together sees nothing yet."""
    table = predictions(seed=1, n=300, classes=classes, moved=0.6)
    fitted = decision_rules(classes, n=300)
    one = assessment(table, fitted, prevalence=None)
    assert calibration_test(one.table).allowing_for(1.0) > OFF / 2
    assert the_one(found(one, (), sources(splits=None)), rule, "too high")


@pytest.mark.parametrize(("power", "lean"), [(3, "extreme"), (0.4, "moderate")])
def test_probabilities_that_are_too_extreme_or_too_timid(power, lean):
    """The classes are equally frequent, so that on the whole nothing is off."""
    table = predictions(seed=1, prevalence=0.5)
    sharpened = table.probabilities() ** power
    sharpened /= sharpened.sum(axis=1, keepdims=True)
    rows = table.rows.drop(columns=["logit_other", "logit_ill"])
    other = dataclasses.replace(table, rows=rows).with_probabilities(sharpened)
    uncalibrated = dataclasses.replace(decision_rules(), calibration=None)
    listed = found(assessment(other, uncalibrated, prevalence=0.5), (), sources(splits=None))
    assert the_one(listed, "calibration_slope", f"too {lean}")


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_slope_below_0_is_not_called_too_extreme_and_promises_no_order(share):
    """The calls of `share` of the images are the wrong way round."""
    table = predictions(seed=1, prevalence=0.5)
    turned = np.arange(len(table)) < share * len(table)
    probabilities = np.where(turned[:, None], table.probabilities()[:, ::-1], table.probabilities())
    rows = table.rows.drop(columns=["logit_other", "logit_ill"])
    other = dataclasses.replace(table, rows=rows).with_probabilities(probabilities)
    uncalibrated = dataclasses.replace(decision_rules(), calibration=None)
    one = assessment(other, uncalibrated, prevalence=0.5)
    said = the_one(found(one, (), sources(splits=None)), "calibration_slope")
    if share == 1:
        assert "ill" in said.title and "too extreme" not in said.title
    assert "in order" not in said.text


def test_probabilities_of_four_classes_that_miss_in_several_ranges():
    table = predictions(seed=1, classes=FOUR, signal=1.0)
    confidence = table.probabilities().max(axis=1, keepdims=True)
    wavy = np.where((confidence * 10).astype(int) % 2 == 0, table.probabilities() ** 1.6, table.probabilities() ** 0.6)
    rows = table.rows.drop(columns=[f"logit_{name}" for name in FOUR])
    other = dataclasses.replace(table, rows=rows).with_probabilities(wavy / wavy.sum(axis=1, keepdims=True))
    uncalibrated = dataclasses.replace(decision_rules(FOUR), calibration=None, conformal=None)
    said = the_one(
        found(assessment(other, uncalibrated, prevalence=None), (), sources(splits=None)), "uneven_probabilities"
    )
    assert re.search(r"\d+ of \d+", said.title)


def test_label_sets_that_break_their_promise():
    said = the_one(found(assessment(predictions(seed=1, moved=3.0))), "label_sets_miss", "90%")
    assert said.level == "serious"
    assert " of 300 for class ill" in said.text


def test_label_sets_that_forget_a_rare_class():
    rare = {"prevalence": 0.06, "signal": 1.0}
    fitted = fit_decision_rules(predictions("calibration", 2000, **rare))
    listed = found(assessment(predictions(seed=1, n=2000, **rare), fitted, prevalence=0.06), ())
    assert the_one(listed, "label_sets_miss_a_class", "class ill")


def test_label_sets_that_settle_little():
    fitted = fit_decision_rules(predictions("calibration", signal=0.5))
    said = the_one(found(assessment(predictions(seed=1, signal=0.5), fitted)), "label_sets_undecided")
    assert said.level == "mind"


@pytest.mark.wording
@pytest.mark.parametrize(("single", "said"), [(0, "None of 6 label sets has"), (1, "1 of 6 label sets has")])
def test_label_sets_of_which_none_or_one_is_an_answer(single, said):
    one = assessment(predictions(seed=1))
    rest = {"n": 6, "covered": 6, "single": single, "single_right": single, "several": 6 - single, "empty": 0}
    counts = dataclasses.replace(one.sets, by_class={"other": (3, 3), "ill": (3, 3)}, **rest)
    assert (
        the_one(found(dataclasses.replace(one, sets=counts)), "label_sets_undecided").title
        == f"{said} exactly one label"
    )


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
    fair = dataclasses.replace(decision_rules(), calibration=None)
    listed = found(assessment(by_sex(5.0), fair, bands={"sex": None}))
    assert the_one(listed, "subgroup_gap", "sex", "AUROC", "in F").level == "serious"
    assert "subgroup_gap" not in rules(found(assessment(by_sex(0.01), fair, bands={"sex": None})))


def test_the_extremes_of_several_groups_that_chance_made_are_left_in_peace():
    """Best against worst of four wards has p = 0.02, were there only these two; there are six pairs."""
    wards = np.random.default_rng(19).choice(list("abcd"), 600)
    one = assessment(predictions(n=600, seed=1, ward=wards), bands={"ward": None})
    assert one.subgroups[0].gap("sensitivity").difference > 0.15
    assert "subgroup_gap" not in rules(found(one))


def test_groups_too_small_to_rank():
    table = predictions(n=300, seed=1, site=[f"site {number % 10}" for number in range(300)])
    said = the_one(found(assessment(table, bands={"site": None})), "subgroups_too_small", "10", "site")
    assert said.level == "mind"


def test_a_threshold_that_was_asked_for_and_declined_says_why():
    """One answer for every image: youden was set, and medcls fitted none."""
    rows = predictions("val", 200).rows
    same = rows.assign(**{name: float(rows[name].mean()) for name in ("logit_other", "logit_ill")})
    same = same.assign(prob_other=0.6, prob_ill=0.4)
    declined = fit_decision_rules(Predictions(same, BINARY, "ill"), "youden")
    one = assessment(predictions(seed=1), declined)
    for text in (the_one(found(one), "unfitted_threshold", "0.5").text, operating_point(one)):
        assert declined.operating_point.warnings[0] in text, text
        assert "operating_point=youden" not in text


def test_p44_a_threshold_that_nobody_chose():
    table = predictions(seed=1)
    listed = found(assessment(table, not_fitted(table), prevalence=None))
    said = the_one(listed, "unfitted_threshold", "0.5")
    assert said.level == "mind" and "operating_point=youden" in said.text
    fixed = fit_decision_rules(predictions("calibration"), "fixed=0.3")
    assert "unfitted_threshold" not in rules(found(assessment(table, fixed)))
    four = predictions(seed=1, classes=FOUR)
    listed = found(assessment(four, not_fitted(four), prevalence=None), classes=FOUR)
    assert "unfitted_threshold" not in rules(listed)


def test_what_was_fitted_on_val_is_weaker_than_it_looks():
    listed = found(assessment(predictions(seed=1), fit_decision_rules(predictions("val"))))
    said = the_one(listed, "fitted_twice", "val, 1,000", "threshold, temperature, label sets")
    assert FITTED_TWICE["val"][1:] in said.text
    logistic = found(assessment(predictions(seed=1), fit_decision_rules(predictions("val"), calibrate="logistic")))
    assert the_one(logistic, "fitted_twice", "threshold, logistic recalibration, label sets")


def test_label_sets_count_independent_cases_and_what_else_is_fitted_counts_images():
    """Each image of val has a twin that was kept with it."""
    twins = predictions("val", 26, group="", kept_together=np.repeat([f"pair {k}" for k in range(13)], 2))
    fitted = fit_decision_rules(twins, coverage=0.95)
    listed = found(assessment(predictions(seed=1), fitted))
    assert the_one(listed, "weak_fit", "label sets", "13 independent cases", "val")
    assert the_one(listed, "weak_fit", "threshold", "26 images", "val")
    assert the_one(listed, "fitted_twice", "val, 26 images", "threshold")
    alone = dataclasses.replace(fitted, operating_point=None, calibration=None)
    listed = found(assessment(predictions(seed=1), alone, prevalence=None))
    assert the_one(listed, "fitted_twice", "val, 13 independent cases", "label sets")


def test_what_was_fitted_on_few_images_is_told_for_each_part():
    listed = found(assessment(predictions(seed=1), fit_decision_rules(predictions("calibration", 40))))
    assert the_one(listed, "weak_fit", "threshold", "40 images", "calibration")
    assert the_one(listed, "weak_fit", "temperature")
    assert "fitted_twice" not in rules(listed)


def test_a_shift_to_a_prevalence_that_stands_on_few_rows_is_weakly_founded():
    few = fit_decision_rules(predictions("calibration", 40))
    assert the_one(found(assessment(predictions(seed=1), few)), "weak_fit", "prevalence", "40 images", "calibration")
    without = found(assessment(predictions(seed=1), few, prevalence=None))
    assert not [one for one in without if one.rule == "weak_fit" and "prevalence" in one.title]


@pytest.mark.slow
def test_ppv_holds_for_one_prevalence():
    table = predictions(seed=1)
    said = the_one(found(assessment(table, prevalence=None)), "prevalence_of_the_sample", "70.0% other, 30.0% ill")
    assert "prevalence=0.1" in said.text
    listed = found(assessment(table, prevalence=0.02))
    assert the_one(listed, "another_prevalence", "98.0% other, 2.0% ill", "PPV 0.")
    listed = found(assessment(predictions(seed=1, classes=FOUR), prevalence=None), classes=FOUR)
    four = the_one(listed, "prevalence_of_the_sample", "PPV", "NPV")
    assert "prevalence='{a: 0.1, ...}'" in four.text


@pytest.mark.slow
def test_p17_images_are_not_patients():
    pairs = [f"patient {number // 2}" for number in range(1000)]
    listed = found(assessment(predictions(seed=1, group=pairs)))
    assert "500" in the_one(listed, "several_images_of_a_group", "1,000", "500").text
    half = found(assessment(predictions(seed=1, group=[*pairs[:600], *[""] * 400])))
    assert the_one(half, "unknown_patients", "400", "1,000")
    said = the_one(half, "several_images_of_a_group", "600", "300").text
    assert "300" in said and "400" in said
    one = found(assessment(predictions(seed=1, group=[*(str(number) for number in range(999)), ""])))
    assert the_one(one, "unknown_patients", "1 of the 1,000")
    assert "several_images_of_a_group" not in rules(one)
    unknown = found(assessment(predictions(seed=1, group="")))
    said = the_one(unknown, "unknown_patients", "1,000").text
    assert all(setting in said for setting in ("data.group_pattern", "data.groups", "data.group_column"))


def test_no_other_site_was_tried():
    assert the_one(found(others=study()[1][:1]), "one_site").level == "mind"
    assert "one_site" not in rules(found(assessment(predictions("external", seed=2)), ()))


def test_one_fold_is_named_and_an_ensemble_is_no_single_training():
    settings = config()
    settings["data"] |= {"folds": 5, "fold": 2}
    assert the_one(found(of=sources(config=settings)), "one_training", "seed 0", "fold 2 of 5")
    table = predictions(seed=1)
    together = dataclasses.replace(table, rows=table.rows.assign(checkpoint="ensemble"))
    unbound = dataclasses.replace(decision_rules(), calibration=None, operating_point=None, conformal=None, prior=None)
    listed = found(assessment(together, unbound, prevalence=None), of=sources(config=settings))
    assert "one_training" not in rules(listed)


def test_figures_out_of_fold_mix_networks():
    table = predictions("out_of_fold", seed=1)
    pooled = dataclasses.replace(table, rows=table.rows.assign(checkpoint="5 networks"))
    listed = found(assessment(pooled, not_fitted(pooled), prevalence=None), ())
    assert the_one(listed, "mixed_networks", "5 networks")
    assert "one_training" not in rules(listed)


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
    listed = limitations(assessment(strange, not_fitted(strange), prevalence=None), (), EMPTY)
    assert the_one(listed, "prevalence_of_the_sample", f"30.0% {odd[1]}")


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_smallest_tables_are_judged_without_a_fault(n):
    table = predictions(n=n, seed=1, prevalence=0.5)
    listed = limitations(assessment(table, not_fitted(table), prevalence=None), (), EMPTY)
    assert the_one(listed, "few_cases", "30")
