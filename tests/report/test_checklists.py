import dataclasses
import functools
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
    predictions,
    sources,
    study,
)

from medcls.evaluation.decision_rules import fit_decision_rules, not_fitted
from medcls.evaluation.predictions import TOOK_PART, Predictions
from medcls.report.checklists import claim_2024, tripod_ai
from medcls.report.limitations import Limitation
from medcls.report.run_sections import training
from medcls.runs.records import InitialWeights, TeacherRun
from medcls.runs.registry import Readings

STANDARDS = [claim_2024, tripod_ai]
NUMBERS = {
    claim_2024: [str(number) for number in range(1, 45)],
    tripod_ai: [
        *("1", "2", "3a", "3b", "3c", "4", "5a", "5b", "6a", "6b", "6c", "7", "8a", "8b", "8c", "9a", "9b", "9c"),
        *("10", "11", "12a", "12b", "12c", "12d", "12e", "12f", "12g", "13", "14", "15", "16", "17"),
        *("18a", "18b", "18c", "18d", "18e", "18f", "19", "20a", "20b", "20c", "21", "22", "23a", "23b", "24"),
        *("25", "26", "27a", "27b", "27c"),
    ],
}
# What only people can know, whatever a run holds.
OF_PEOPLE = {
    claim_2024: ["2", "4", "5", "13", "14", "15", "16", "17", "18", "21", "31", "34", "41", "44"],
    tripod_ai: [
        *("2", "3a", "3c", "5b", "6a", "6c", "8a", "8b", "8c", "9c", "10", "17", "18a", "18b", "18c", "18d"),
        *("19", "25", "27a", "27b", "27c"),
    ],
}
# What a table of predictions alone can say.
OF_PREDICTIONS = {claim_2024: ["28", "29", "37", "38", "39", "40"], tripod_ai: ["12e", "15", "23a", "26"]}


# What was asked before, of the usual sources.
ANSWERED = {}


@functools.cache
def with_columns():
    """The study with subgroups, so that every item that a run can answer has its source."""
    return with_column("sex", "Clinic_site")


@functools.cache
def with_column(*names):
    columns = {name: np.resize(["F", "M"], 1000) for name in names}
    return assessment(predictions(seed=1, **columns), bands=dict.fromkeys(names)), study()[1]


def answers(standard, headline=None, others=None, of=None):
    usual = study()
    headline = usual[0] if headline is None else headline
    others = usual[1] if others is None else others
    if of is not None:
        return {item.number: item.answer for item in standard(headline, others, of)}
    # Held by its arguments too, so that no other object can come to have their identity.
    key = standard, id(headline), id(others)
    if key not in ANSWERED:
        ANSWERED[key] = headline, others, {item.number: item.answer for item in standard(headline, others, sources())}
    return dict(ANSWERED[key][2])


@pytest.mark.parametrize("standard", STANDARDS)
def test_every_item_of_the_standard_stands_there_once_and_in_order(standard):
    items = standard(*study(), EMPTY)
    assert [item.number for item in items] == NUMBERS[standard]
    assert all(item.topic and item.section for item in items)
    assert len({item.topic for item in items}) == len(items)
    assert len({item.standard for item in items}) == 1


def test_the_standards_have_as_many_items_as_they_say():
    assert len(NUMBERS[claim_2024]) == 44
    assert len(NUMBERS[tripod_ai]) == 52
    assert len({re.sub(r"\D", "", number) for number in NUMBERS[tripod_ai]}) == 27


@pytest.mark.parametrize("standard", STANDARDS)
def test_a_full_run_answers_all_that_people_need_not(standard):
    told = answers(standard, *with_columns())
    assert [number for number, answer in told.items() if answer is None] == OF_PEOPLE[standard]
    assert sum(answer is not None for answer in told.values()) == {claim_2024: 30, tripod_ai: 31}[standard]


def test_sex_is_no_cluster_and_a_site_is_no_fairness():
    """TRIPOD+AI 12d and 23b ask for hospitals and countries, 14 for groups of people."""
    by_sex, by_site = (answers(tripod_ai, *with_column(name)[:1], ()) for name in ("sex", "Clinic_site"))
    assert by_sex["12d"] is by_sex["23b"] is None and by_site["14"] is None
    assert "by sex" in by_sex["14"] and "Not provided" in by_sex["14"]
    assert "by Clinic_site" in by_site["12d"] and "Clinic_site" in by_site["23b"]
    assert all("AUROC" in told["23a"] for told in (by_sex, by_site))
    neither = answers(tripod_ai, study()[0], ())
    assert neither["12d"] is neither["23b"] is neither["14"] is None
    outside = answers(tripod_ai, study()[0], study()[1])
    assert outside["12d"] is not None and outside["23b"] is None


def test_nothing_is_said_of_groups_where_nobody_knows_any():
    lone = assessment(predictions(seed=1, group=""))
    told = answers(claim_2024, lone, (), sources(audit=audit(finding("groups", "warning", groups=None))))
    unaudited = answers(claim_2024, lone, (), sources(audit=None))
    for said in (told["19"], told["35"], unaudited["19"]):
        assert "3,000 images" in said and "not known" in said and not re.search(r"\d groups", said)
    assert told["35"].startswith("5,000 images") and "0 unreadable" in told["35"]


def test_values_that_a_column_lacks_are_counted():
    table = predictions(seed=1, sex=np.resize(["F", "M", "", "F", "M"], 1000))
    told = answers(tripod_ai, assessment(table, bands={"sex": None}), ())["11"]
    assert re.search("sex .*200 images", told, re.IGNORECASE)


def test_a_correction_is_claimed_only_where_one_was_made():
    told = answers(claim_2024)
    assert "Holm" not in told["29"] and "Holm" in answers(claim_2024, *with_columns())["29"]


def test_a_logistic_recalibration_is_named_as_what_it_is():
    fitted = fit_decision_rules(predictions("calibration"), calibrate="logistic")
    told = answers(tripod_ai, assessment(predictions(seed=1), fitted))
    for number in ("12f", "12g", "24"):
        assert "logistic recalibration" in told[number].lower() and "temperature" not in told[number], number


@pytest.mark.wording
def test_names_that_are_numbers_are_quoted():
    """`1,200 0, 800 1` is read as four numbers."""
    table = predictions(seed=1)
    renamed = table.rows.assign(label=table.rows["label"].map({"other": "0", "ill": "1"}))
    new = {
        f"{kind}_{old}": f"{kind}_{new}" for kind in ("prob", "logit") for old, new in (("other", "0"), ("ill", "1"))
    }
    numeric = Predictions(renamed.rename(columns=new), ("0", "1"), "1")
    told = answers(claim_2024, assessment(numeric, not_fitted(numeric), prevalence=None), (), sources(splits=None))
    assert 'classifies an image as "0" or "1".' in told["1"]
    assert re.search(r': [\d,]+ "[01]" predicted as "[01]"', told["39"])
    assert '(700 "0", 300 "1")' in told["37"]


@pytest.mark.parametrize("standard", STANDARDS)
def test_predictions_alone_answer_what_they_show_and_nothing_else(standard):
    table = predictions("", seed=1)
    told = answers(standard, assessment(table, not_fitted(table), prevalence=None), (), EMPTY)
    assert [number for number, answer in told.items() if answer is not None] == OF_PREDICTIONS[standard]


@pytest.mark.parametrize("standard", STANDARDS)
@pytest.mark.parametrize(
    "absent", ["config", "audit", "weights", "environment", "splits", "model", "history", "phases"]
)
def test_any_source_may_be_absent(standard, absent):
    whole = answers(standard, *with_columns())
    lacking = answers(standard, *with_columns(), sources(**{absent: None}))
    assert set(whole) == set(lacking)
    assert all(
        answer is None or "None" not in answer.replace("None is", "").replace("None:", "")
        for answer in lacking.values()
    )


@pytest.mark.parametrize("standard", STANDARDS)
@pytest.mark.parametrize("classes", [BINARY, FOUR])
def test_answers_are_sentences_without_paths(standard, classes):
    headline, others = with_columns() if classes == BINARY else study(FOUR)
    known = sources() if classes == BINARY else sources(splits=None)
    for item in standard(headline, others, known):
        if item.answer is not None:
            assert item.answer.endswith("."), item
            assert item.answer[0].isupper() or item.answer[0].isdigit(), item
            assert "dr.who" not in item.answer
            assert "secret" not in item.answer
            assert "nan" not in item.answer


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("1", "mobilenetv3_large"),
        ("1", "other or ill"),
        ("3", "To tell the ill from the others."),
        ("7", "phantoms, 5,000 images"),
        ("7", "https://example.org/set (CC BY 4.0)"),
        ("8", "1 image"),
        ("9", "96 x 128 pixels (letterbox, bilinear)"),
        ("9", "window -160 to 240"),
        ("11", "salted hashes"),
        ("19", "Train 3,000 images of 3,000 groups"),
        ("19", "test 1,000 images of 1,000 groups"),
        ("19", "stratified"),
        ("20", "5,000 groups"),
        ("22", "Input 3 x 96 x 128; parameters 4,204,594"),
        ("23", "Python 3.11.7, medcls 0.1.0, torch 2.15.0; Linux; CPU."),
        ("24", "310 of 312 tensors"),
        ("24", "SHA-256 abc123"),
        ("24", "last layer (2)"),
        ("25", "optimizer AdamW (lr 0.001)"),
        ("25", "left right 0.5"),
        ("25", "backbone frozen, epochs 0 to 4; all, epochs 5 to 19"),
        ("25", "decay 0.99"),
        ("26", "highest val/auroc: epoch 12"),
        ("26", "5 epochs"),
        ("30", "sex, Clinic_site"),
        ("32", "internal test"),
        ("35", "5,000 images of 5,000 groups, 0 unreadable; 1 image"),
        ("36", "Train: other 2,100 (70.0%), ill 900 (30.0%)"),
        ("36", "By sex (test): F 500, M 500."),
        ("40", "seed 0"),
    ],
)
def test_claim_is_answered_from_its_source(number, said):
    assert said in answers(claim_2024, *with_columns())[number]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("7", "groups, blank"),
        ("9a", "pixels"),
        ("12f", "test"),
        ("12g", "weights c0ffee"),
        ("12g", "softmax"),
        ("12g", "temperature"),
        ("13", "loss cross_entropy"),
        ("15", "probability of class ill"),
        ("15", "threshold"),
        ("18e", "Published at https://example.org/set (CC BY 4.0)."),
        ("18f", "medcls 0.1.0"),
        ("23b", "AUROC by Clinic_site"),
        ("24", "calibration"),
    ],
)
def test_tripod_is_answered_from_its_source(number, said):
    assert said.lower() in answers(tripod_ai, *with_columns())[number].lower()


def test_figures_in_answers_are_the_assessment_s():
    headline, _ = study()
    told = answers(claim_2024)
    for metric in ("sensitivity", "specificity", "npv"):
        assert f"{headline.metrics.values[metric]:.3f} (" in told["38"]
    wrong = headline.metrics.confusion.sum() - np.trace(headline.metrics.confusion)
    assert f"{wrong} of 1,000 images" in told["39"]
    assert re.search(rf"\b{headline.metrics.confusion[0, 1]} other [\w ]+ ill\b", told["39"])


def test_no_more_is_claimed_than_a_run_shows():
    """A split that chose the checkpoint is no test; what was fitted on it was not fitted beforehand."""
    val = assessment(predictions("val", seed=1), fit_decision_rules(predictions("val", seed=1)))
    moved = assessment(predictions("calibration", seed=1, moved=2.0))
    told = answers(claim_2024, val, [moved]) | answers(tripod_ai, val, [moved])
    assert TOOK_PART["val"] in told["32"]
    sound = answers(claim_2024) | answers(tripod_ai)
    assert all(told[number] != sound[number] for number in ("12f", "32", "33"))
    assert told["16"] is None


def test_a_split_that_came_with_the_data_is_told_from_one_that_was_cut():
    came = assessment(predictions(seed=1, given_split="test"))
    cut = answers(claim_2024)["19"]
    said = {answers(claim_2024, came)["19"]}
    locked = config()
    locked["data"]["locked_test"] = "/home/dr.who/runs/first/manifest.csv"
    said.add(answers(claim_2024, of=sources(config=locked))["19"])
    pooled = config()
    pooled["data"]["pool_splits"] = True
    said.add(answers(claim_2024, came, of=sources(config=pooled))["19"])
    assert len(said) == 3 and cut not in said


def test_near_copies_left_in_training_are_told_beside_what_is_disjoint():
    leak = finding("leak_test", "error", "113 of 120 test images have a near copy in training")
    told = answers(claim_2024, of=sources(audit=audit(finding("groups", groups=40), leak)))
    assert leak["title"] in told["20"]


def test_images_without_groups_are_disjoint_at_their_own_level():
    told = answers(claim_2024, of=sources(audit=audit(finding("groups", "warning", groups=None))))
    assert told["20"].startswith("Image level")
    some = answers(claim_2024, of=sources(audit=audit(finding("groups", groups=40, images_without_group=3))))
    assert "3 images" in some["20"]


def test_an_ensemble_and_figures_out_of_fold_are_no_single_network():
    folds = config()
    folds["data"] |= {"folds": 5, "fold": 0}
    table = predictions(seed=1)
    mean = dataclasses.replace(table, rows=table.rows.assign(checkpoint="ensemble"))
    told = answers(claim_2024, assessment(mean, not_fitted(mean), prevalence=None), (), sources(config=folds))
    assert "5 folds" in told["27"]
    assert re.search(r"fold 0 .*of 5", told["19"])
    rows = table.rows.assign(checkpoint="5 networks", split="out_of_fold")
    pooled = dataclasses.replace(table, rows=rows)
    apart = assessment(pooled, not_fitted(pooled), prevalence=None)
    assert "5 networks" in answers(claim_2024, apart, ())["27"]
    assert answers(tripod_ai, apart, ())["12g"] is answers(tripod_ai, apart, ())["22"] is None


@pytest.mark.wording
def test_images_that_are_standardised_by_themselves_are_not_said_to_be_treated_alike():
    fixed = sources().preprocessing
    asked = [answers(claim_2024, of=sources(preprocessing=fixed | more))["9"] for more in ({}, {"standardise": True})]
    assert "the same for every image" in asked[0] and "of each image" not in asked[0]
    assert "of each image" in asked[1] and "the same for every image" not in asked[1]


@pytest.mark.wording
def test_weights_of_every_origin():
    weights = InitialWeights(None, None, None, {}, "nothing loaded", tensors=312, loaded=0)
    assert answers(claim_2024, of=sources(weights=weights))["24"] == "At random: all 312 tensors (seed 0)."
    assert "seed" not in answers(claim_2024, of=sources(weights=weights, config=None))["24"]
    published = dataclasses.replace(weights, source="default", loaded=310, sha256="abc")
    told = answers(claim_2024, of=sources(weights=published))["24"]
    assert "310 of 312 tensors" in told and "SHA-256 abc" in told and "At random" not in told
    kept = answers(claim_2024, of=sources(weights=dataclasses.replace(published, frozen_at_random=("a", "b"))))["24"]
    assert "2 of these were frozen" in kept
    packaged = dataclasses.replace(published, origin="a-package 0.1.0", licence="Apache-2.0")
    assert "(a-package 0.1.0, licence Apache-2.0)" in answers(claim_2024, of=sources(weights=packaged))["24"]


@pytest.mark.wording
def test_weights_and_teacher_of_another_run_and_what_it_had_seen():
    behind = {"run": "/home/anna/runs/A", "name": "lungs, mobilenetv3", "images": 1234, "near_duplicates": 0}
    weights = InitialWeights(
        "runs/A", "best.ckpt", "abc", {}, "310/312", tensors=312, loaded=310, learned_from=[behind]
    )
    told = answers(claim_2024, of=sources(weights=weights))["24"]
    assert "lungs, mobilenetv3" in told and "1,234 images" in told and "no test image" in told and "anna" not in told
    teacher = TeacherRun("/home/anna/runs/A", "lungs, resnet", "c0ffee", "a.loss", {}, images=99, near_duplicates=2)
    taught = answers(claim_2024, of=sources(teacher=teacher))["25"]
    assert "lungs, resnet" in taught and "99 images" in taught and "near duplicates of 2" in taught
    assert "lungs, resnet" not in answers(claim_2024, of=sources())["25"]


def test_how_often_test_was_read_stands_beside_it():
    readings = Readings("key", "test", 1000, 3, 2, "2026-01-01")
    assert readings.sentence() in answers(claim_2024, of=sources(readings=readings))["32"]


def test_warnings_of_the_audit_are_among_the_quality_checks():
    blank = finding("blank", "warning", "3 images are blank")
    assert blank["title"] in answers(tripod_ai, of=sources(audit=audit(blank)))["7"]


def test_images_of_another_site_have_a_source_of_their_own():
    told = answers(
        claim_2024, assessment(predictions("external", seed=2), decision_rules()), (), sources(training_duplicates=2)
    )
    assert "external set" in told["7"]
    assert told["32"] is None
    assert "2 images" in told["33"]


def test_four_classes_are_called_by_the_most_probable():
    told = answers(tripod_ai, *study(FOUR), sources(splits=None))
    assert "4 classes" in told["15"] and "threshold" not in told["15"]


@pytest.mark.parametrize(("limit", "used"), [(4, 128), (0.5, 1504), (1.0, None), (500, None), (None, None)])
def test_where_batches_were_limited_the_images_that_were_used_are_counted(limit, used):
    limited = config()
    limited["trainer"]["limit_train_batches"] = limit
    of = sources(config=limited)
    assert of.images_per_epoch() == (None if used is None else (used, 3000))
    told = answers(claim_2024, study()[0], (), of)["10"]
    assert ("trainer.limit_train_batches" in told) == (used is not None)
    assert used is None or f"{used:,} of the 3,000 images" in told
    assert (len(dict(training(of, paths=True))) > len(dict(training(sources(), paths=True)))) == (used is not None)


@pytest.mark.parametrize(("standard", "number"), [(claim_2024, "40"), (tripod_ai, "26")])
def test_what_a_rule_of_ones_own_found_is_named(standard, number):
    own = Limitation("one_hospital", "All images are of one hospital", "Others may differ.", "serious")
    told = {item.number: item.answer for item in standard(*study(), sources(), [own])}
    assert own.title in told[number] and own.title not in answers(standard)[number]
