import dataclasses
import re

from html_pages import read
from made_report import page_and_card, predictions

from medcls.evaluation.assessment import assess
from medcls.report.checklists import Item
from medcls.report.limitations import Limitation


def test_without_paths_no_name_is_left(headline, decision_rules, sources, drawn):
    val = assess(predictions("val"), decision_rules, resamples=100)
    limits = [
        Limitation("shift", "train/secret_904.png", "As train/secret_902.png and test/secret_007.png show.", "serious")
    ]
    items = [Item("TRIPOD+AI", "1", "Title", "T", "Read from /home/anna/images of patients, and val/secret_003.png.")]
    for whole in page_and_card(headline, [val], sources, drawn, limitations=limits, checklists=items, paths=False):
        for secret in ("secret", "anna", "images of patients", "patient-", "x1", "w.pt", "medcls.train"):
            assert secret not in whole, secret
    page, _ = page_and_card(headline, [val], sources, drawn, limitations=limits, checklists=items, paths=False)
    text = read(page).text
    assert "(a path)" in text and "image 8" in text and "image 4" in text
    assert "4 of 5 tensors" in text
    shown = {values["alt"] for tag, values in read(page).tags if tag == "img" and "jpeg" in values["src"]}
    assert shown and all(re.fullmatch(r"image \d+", name) for name in shown)


def test_a_subgroup_by_group_hides_its_names_too(decision_rules):
    few = dataclasses.replace(predictions(n=40), rows=predictions(n=40).rows)
    page, card = page_and_card(assess(few, decision_rules, bands={"group": None}, resamples=100), paths=False)
    assert "patient-" not in page + card
    assert "group 1" in read(page).text
