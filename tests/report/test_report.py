"""The report says all it must, says where it knows nothing, and lets through nothing that should stay hidden."""

import dataclasses
import itertools
import re
import time

import made_study
import numpy as np
import pytest
from html_pages import read
from made_report import BARE, BINARY, NASTY, page_and_card, predictions
from refusals import refused

from medcls.evaluation.assessment import assess
from medcls.evaluation.decision_rules import fit_decision_rules, not_fitted
from medcls.evaluation.folds import over_folds
from medcls.evaluation.predictions import TOOK_PART, Predictions, aggregate, read_csv
from medcls.evaluation.thresholds import NOT_FITTED
from medcls.report.checklists import Item
from medcls.report.limitations import Limitation
from medcls.report.metric_tables import (
    at_half_sheet,
    predictive_values_sheet,
)
from medcls.report.phrases import estimates_of, operating_point, plain_words
from medcls.report.report import keys, metric_sections, notices

pytestmark = pytest.mark.usefixtures("drawn_figures")


def test_every_section_is_there_and_in_order(headline, decision_rules, sources, drawn):
    val = assess(predictions("val"), decision_rules, resamples=100)
    joined = aggregate(headline.table, "mean")
    units = assess(joined, fit_decision_rules(aggregate(val.table, "mean"), calibrate="none"), resamples=100)
    folds = over_folds([predictions("test", n=60, seed=1), predictions("held_out", n=60)], resamples=100)
    limits = [
        Limitation("shift", "Shifted", "Set data.calibration_fraction=0.2.", "serious"),
        Limitation("few_cases", "Few", "x", "mind"),
    ]
    items = [
        Item("CLAIM 2024", "1", "Title", "A study of AI", "It is."),
        Item("CLAIM 2024", "2", "Abstract", "B", None),
    ]
    page, card = page_and_card(
        headline, [val], sources, drawn, patients=units, folds=folds, limitations=limits, checklists=items
    )
    reader = read(page)
    for said in (
        "SYNTHETIC: phantoms", "To find malignant lumps", headline.table.caption(),
        headline.decision_rules.operating_point.label(), "(30 benign, 30 malignant)",
        "2 in 100", "90%", "south <b>", "CLAIM 2024: 1 of 2",
        "train/secret_900.png is there twice", "4 of 5 tensors",
        "data.batch_size=32", "conv Conv2d", "frozen: stem*", "checkpoint c0ffee",
        sources.readings.sentence(), "1 March 2026, 09:05 UTC",
    ):  # fmt: skip
        assert said in reader.text, said
    assert "Not provided" not in reader.text
    headings = [tag for tag, _ in reader.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1" and headings.count("h1") == 1
    assert all(int(after[1]) <= int(before[1]) + 1 for before, after in itertools.pairwise(headings))
    identities = [values["id"] for _, values in reader.tags if "id" in values]
    assert len(identities) == len(set(identities))
    links = {values["href"] for tag, values in reader.tags if tag == "a"}
    assert links <= {f"#{identity}" for identity in identities}
    assert page.index("SYNTHETIC") < page.index("<h1>") < page.index('class="keys"') < page.index('id="metrics"')
    for said in (
        "# lungs: mobilenetv3: model card",
        "**SYNTHETIC: phantoms**",
        "## Out of scope",
        sources.readings.sentence(),
    ):
        assert said in card, said


def test_what_is_not_known_reads_not_provided(headline):
    bare = assess(predictions(), not_fitted(predictions()), resamples=100)
    page, card = page_and_card(bare)
    text = read(page).text
    assert (
        text.count("Not provided.") == 9
    )  # units, subgroups, other splits, folds, figures, splits, audit, items, readings
    for said in ("Images: not provided", "Label sets: not provided"):
        assert said in text
    assert text.count("not provided") >= 5  # network, weights, epochs, device, software
    for said in ("Splits: not provided", "Audit: not provided", "Command: not provided", "evaluated: not provided"):
        assert said in card


def test_the_page_needs_nothing_from_outside(headline, sources, drawn):
    page, _ = page_and_card(headline, sources=sources, drawn=drawn)
    assert not re.search(r"https?://|@import|url\(|<script|src=\"(?!data:)|href=\"(?!#|data:)", page)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page


def test_a_figure_is_embedded_with_its_text_as_alternative(headline, drawn):
    page, _ = page_and_card(headline, drawn=drawn)
    (figure,) = (values for tag, values in read(page).tags if tag == "img")
    assert figure["src"].startswith("data:image/svg+xml;base64,")
    assert (figure["width"], figure["height"]) == ("400", "200")
    assert figure["alt"] == drawn[0].text
    assert 'class="plot wide"' in page


def test_names_cannot_become_tags_or_markdown(several):
    limits = [Limitation("shift", "<i>|", "a `b` <u> [x](y)", "serious")]
    page, card = page_and_card(several, sources=dataclasses.replace(BARE, name="<b> | `n`"), limitations=limits)
    reader = read(page)
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "b", "i", "u"})
    assert NASTY[0] in reader.text and NASTY[1] in reader.text
    assert "<script" not in card and "<u>" not in card
    assert r"\`b\`" in card and r"\[x\]" in card and r"<i>" not in card
    for is_table, lines in itertools.groupby(card.splitlines(), lambda line: line.startswith("|")):
        if is_table:  # a pipe in a name makes no column
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_without_images_there_are_none(headline, sources, drawn):
    page, _ = page_and_card(headline, sources=sources, drawn=drawn, images=False)
    assert "image/jpeg" not in page and "image/svg+xml" in page
    assert "report.images=false" in page
    assert "secret_" in page


@pytest.mark.slow
@pytest.mark.parametrize("classes", [BINARY, NASTY], ids=["binary", "several"])
def test_metric_sections_are_the_same_from_a_file(classes, tmp_path):
    fitted = fit_decision_rules(predictions("val", classes))
    table = predictions(classes=classes)
    table.write_csv(tmp_path / "test.csv")
    again = read_csv(tmp_path / "test.csv", table.positive)

    def sections(of: Predictions) -> str:
        units = assess(aggregate(fitted.calibrate(of), "mean"), not_fitted(of), resamples=100)
        return metric_sections(assess(of, fitted, bands={"site": None}, resamples=100), units)

    once = sections(table)
    assert once == sections(again)
    page, _ = page_and_card(assess(table, fitted, resamples=100))
    assert re.search(r'<section id="metrics">.*?</section>', page, re.DOTALL)
    assert metric_sections(assess(again, fitted, resamples=100)) in page


def test_a_threshold_that_was_not_fitted_is_labelled():
    table = predictions()
    one = assess(table, not_fitted(table), resamples=100)
    page, card = page_and_card(one)
    text = read(page).text
    assert operating_point(one) in text and NOT_FITTED in card
    assert at_half_sheet(one) is None


def test_one_class_only_gives_reasons_and_no_figures(decision_rules):
    table = predictions()
    only = dataclasses.replace(table, rows=table.rows[table.rows["label"] == "malignant"])
    one = assess(only, decision_rules, resamples=100)
    page, card = page_and_card(one)
    text = read(page).text
    assert "undefined" in text and not re.search(r"\bnan\b", page, re.IGNORECASE)
    assert one.metrics.reasons["specificity"] in text
    assert "undefined" in card and not re.search(r"\bnan\b", card)
    assert predictive_values_sheet(one) is None


def test_p51_an_accuracy_stands_beside_the_majority_and_a_banner_above_a_worthless_one():
    table = predictions()
    rare = dataclasses.replace(table, rows=table.rows.assign(label=["malignant", *["benign"] * 119]))
    worthless = assess(rare, not_fitted(rare), resamples=100)
    page, card = page_and_card(worthless)
    banner = next(notice for notice in notices(worthless) if notice.rule == "majority_baseline")
    assert page.index(banner.title) < page.index('class="keys"')
    assert banner.title in card
    assert "99." in plain_words(worthless)[-1] and "benign" in plain_words(worthless)[-1]
    assert plain_words(worthless)[-1] in read(page).text
    for text in (page, card):
        assert text.index("Accuracy") < text.index("Majority baseline")
    good = assess(table, not_fitted(table), resamples=100)
    assert notices(good) == [] and banner.title not in page_and_card(good)[0]


def test_p09_a_figure_of_the_selection_split_is_called_no_test(decision_rules):
    one = assess(predictions("val"), decision_rules, resamples=100)
    page, card = page_and_card(one)
    (banner,) = notices(one)
    assert banner.rule == "no_test" and page.index(banner.title) < page.index('class="keys"')
    for text in (page, card, metric_sections(one)):
        assert TOOK_PART["val"] in text


def test_p33_checkpoints_are_not_mixed(headline):
    other = predictions("val", checkpoint="another")
    with refused("different_checkpoints", "test: c0ffee, val: another"):
        page_and_card(headline, [assess(other, not_fitted(other), resamples=100)])


def test_p52_few_images_have_few_digits_and_a_warning():
    few = predictions(n=40)
    one = assess(few, not_fitted(few), resamples=100)
    assert all(re.fullmatch(r"\d\.\d\d", estimates_of(one)[name].estimate) for name in ("auroc", "accuracy", "brier"))
    assert one.metrics.few_cases_note(BINARY) in read(metric_sections(one)).text
    many = assess(predictions(), not_fitted(predictions()), resamples=100)
    assert re.fullmatch(r"0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)", estimates_of(many)["auroc"].both)
    assert many.metrics.few_cases_note(BINARY) is None


@pytest.mark.slow
def test_a_report_of_100_000_rows_is_made_in_seconds(decision_rules):
    table = predictions(n=100_000)
    one = dataclasses.replace(
        assess(predictions(), decision_rules, resamples=100), table=decision_rules.calibrate(table)
    )  # the intervals, which take longer, are not the report's
    before = time.process_time()
    page_and_card(one, paths=False)
    assert time.process_time() - before < 5


@pytest.mark.wording
def test_a_reason_keeps_the_names_of_its_classes():
    """`.capitalize()` would write "No image of class 'nsclc'"."""
    table = made_study.predictions(n=40, seed=1)
    names = dict(zip(made_study.BINARY, ("COVID", "NSCLC"), strict=True))
    rows = table.rows.assign(label="COVID")
    rows = rows.rename(
        columns={f"{kind}_{old}": f"{kind}_{new}" for kind in ("prob", "logit") for old, new in names.items()}
    )
    one = assess(Predictions(rows, ("COVID", "NSCLC"), "NSCLC"), not_fitted(table), resamples=50)
    assert "No image of class 'NSCLC'" in " ".join(key.note for key in keys(one))


@pytest.mark.wording
def test_patients_with_images_under_both_labels_are_counted_and_said():
    table = made_study.predictions(n=40, seed=1, prevalence=0.5)
    labels = ["ill", "other", "other", "other"] * 10
    groups = [f"p{row // 2}" for row in range(40)]  # every other patient has one image of either
    rows = table.rows.assign(label=labels, group=groups)
    mixed = Predictions(rows, made_study.BINARY, "ill")
    one = assess(mixed, not_fitted(mixed), resamples=50)
    units = assess(aggregate(mixed, "max"), not_fitted(mixed), resamples=50)
    text = read(metric_sections(one, units)).text
    assert (
        "20 patients or exams (10 other, 10 ill). 10 of them have images of both classes and count as class ill" in text
    )
    apart = Predictions(
        table.rows.assign(label=np.repeat(["ill", "other"], 20), group=groups), made_study.BINARY, "ill"
    )
    pure = assess(aggregate(apart, "max"), not_fitted(apart), resamples=50)
    assert "both classes" not in read(metric_sections(assess(apart, not_fitted(apart), resamples=50), pure)).text
