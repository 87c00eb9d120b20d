"""The report says all it must, says where it knows nothing, and lets through nothing that should stay hidden."""

import dataclasses
import itertools
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import made_study
import numpy as np
import pandas as pd
import pytest
from html_pages import read
from refusals import refused

from medcls.evaluation.assessment import Assessment, assess
from medcls.evaluation.calibration import calibration_line, scores_and_events
from medcls.evaluation.decision_rules import DecisionRules, fit_decision_rules, not_fitted
from medcls.evaluation.folds import over_folds
from medcls.evaluation.predictions import TOOK_PART, Predictions, aggregate, from_logits, read_csv
from medcls.evaluation.thresholds import NOT_FITTED
from medcls.report.checklists import Item
from medcls.report.limitations import Limitation
from medcls.report.metric_tables import (
    at_half_sheet,
    calibration_sheet,
    folds_sheet,
    metrics_sheet,
    predictive_values_sheet,
    rejection_sheet,
    sets_sheet,
)
from medcls.report.pages.names import Names
from medcls.report.pages.parts import Thumbnail
from medcls.report.phrases import estimates_of, formatted, isolated, operating_point, plain_words
from medcls.report.report import LOOKED_AT, keys, look_at, metric_sections, notices, report
from medcls.report.sources import Drawn, Sources
from medcls.runs.registry import Readings
from medcls.statistics.metric_table import MACRO

pytestmark = pytest.mark.usefixtures("drawn_figures")

BINARY = ("benign", "malignant")
NASTY = ("<script>alert(1)</script>", '恶性, "q" | `x`', "שלום")
MADE = datetime(2026, 3, 1, 9, 5, tzinfo=UTC)
BARE = Sources("other.csv", MADE)


def predictions(
    split: str = "test", classes: Sequence[str] = BINARY, n: int = 120, seed: int = 0, checkpoint: str = "c0ffee"
) -> Predictions:
    """Rows of two in a group, with a column of sites; better than chance."""
    draw = np.random.default_rng([seed, len(split)])
    labels = np.arange(n) % len(classes)
    logits = draw.normal(size=(n, len(classes)))
    logits[np.arange(n), labels] += 1.5
    rows = pd.DataFrame(
        {
            "path": [f"{split}/secret_{i:03d}.png" for i in range(n)],
            "label": [classes[k] for k in labels],
            "group": [f"patient-{split}-{i // (2 * len(classes))}-{labels[i]}" for i in range(n)],
            "split": split,
            "site": draw.choice(["north", "south <b>"], n),
        }
    )
    return from_logits(rows, range(n), logits, classes, classes[1] if len(classes) == 2 else None, checkpoint)


@pytest.fixture(scope="module")
def decision_rules() -> DecisionRules:
    return fit_decision_rules(predictions("val"))


@pytest.fixture(scope="module")
def headline(decision_rules) -> Assessment:
    return assess(predictions(), decision_rules, bands={"site": None}, prevalence=0.02, resamples=100)


@pytest.fixture(scope="module")
def several() -> Assessment:
    fitted = fit_decision_rules(predictions("val", NASTY))
    return assess(predictions(classes=NASTY), fitted, bands={"site": None}, resamples=100)


@pytest.fixture
def sources(tmp_path) -> Sources:
    root = "/home/anna/images of patients"
    finding = {
        "check": "exact_copies",
        "level": "error",
        "title": "train/secret_900.png is there twice",
        "text": "Also as /mnt/scan/x1: set data.copies=drop_from_train.",
        "values": {},
        "table": [{"path": "train/secret_901.png", "n": 2}],
        "pairs": [{"first": "train/secret_902.png", "second": "train/secret_903.png", "caption": "same"}],
        "images": ["train/secret_904.png"],
        "exclude": [],
    }
    return Sources(
        name="lungs: mobilenetv3",
        made=MADE,
        command=f"python -m medcls.train data.root='{root}'",
        purpose="To find malignant lumps before a radiologist looks.",
        watermarks=("SYNTHETIC: phantoms",),
        config={"data": {"root": root, "batch_size": 32}, "seed": 0, "weights": None},
        audit={"data": {"root": root}, "findings": [finding | {"level": "good", "check": "groups"}, finding]},
        weights={
            "summary": "4 of 5 tensors from /home/anna/w.pt",
            "file": "/home/anna/w.pt",
            "loaded": 4,
            "tensors": 5,
        },
        environment={"python": "3.11", "platform": "Linux", "device": "CPU", "packages": {"torch": "2.11"}},
        splits=pd.DataFrame(
            {
                "split": ["train", "test"],
                "images": [1200, 120],
                "groups": [600, 60],
                "benign: images": [600, 60],
                "benign: share": [0.5, 0.5],
                "malignant: images": [600, 60],
                "malignant: share": [0.5, 0.5],
            }
        ),
        model="layer type\n-----\nconv Conv2d\n\nnet on an input of 3 x 8 x 8\nparameters     1,234\n",
        history=pd.DataFrame({"epoch": [0, 1, 2]}),
        phases=(("frozen: stem*", 0, 2), ("all trains", 2, 3)),
        best_epoch=1,
        readings=Readings("key", "test", 120, 3, 3, 2, "2026-01-01", "2026-03-01"),
        training_duplicates=2,
        picture=lambda path: Thumbnail("data:image/jpeg;base64,AAAA", 16, 12),
    )


@pytest.fixture
def drawn(tmp_path) -> list[Drawn]:
    svg = tmp_path / "roc.svg"
    svg.write_text('<svg viewBox="0 0 400 200" xmlns="http://www.w3.org/2000/svg"/>')
    return [Drawn("roc_test", "ROC <curve>", "Of test/secret_000.png and 119 more.", svg)]


def told_of(headline, others=(), sources=BARE, drawn=(), **settings):
    given = {"limitations": [], "checklists": []} | settings
    return report(headline, others, sources, figures=drawn, **given)


# The page as a whole


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
    page, card = told_of(
        headline, [val], sources, drawn, units=units, folds=folds, limitations=limits, checklists=items
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
    page, card = told_of(bare)
    text = read(page).text
    assert (
        text.count("Not provided.") == 9
    )  # units, subgroups, other splits, folds, figures, splits, audit, items, readings
    for said in ("Pictures: not provided", "Label sets: not provided"):
        assert said in text
    assert text.count("not provided") >= 5  # network, weights, epochs, device, software
    for said in ("Splits: not provided", "Audit: not provided", "Command: not provided", "evaluated: not provided"):
        assert said in card


def test_the_page_needs_nothing_from_outside(headline, sources, drawn):
    page, _ = told_of(headline, sources=sources, drawn=drawn)
    assert not re.search(r"https?://|@import|url\(|<script|src=\"(?!data:)|href=\"(?!#|data:)", page)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page


def test_a_figure_is_embedded_with_its_text_as_alternative(headline, drawn):
    page, _ = told_of(headline, drawn=drawn)
    (figure,) = (values for tag, values in read(page).tags if tag == "img")
    assert figure["src"].startswith("data:image/svg+xml;base64,")
    assert (figure["width"], figure["height"]) == ("400", "200")
    assert figure["alt"] == drawn[0].text
    assert 'class="plate wide"' in page


def test_names_cannot_become_tags_or_markdown(several):
    limits = [Limitation("shift", "<i>|", "a `b` <u> [x](y)", "serious")]
    page, card = told_of(several, sources=dataclasses.replace(BARE, name="<b> | `n`"), limitations=limits)
    reader = read(page)
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "b", "i", "u"})
    assert NASTY[0] in reader.text and NASTY[1] in reader.text
    assert "<script" not in card and "<u>" not in card
    assert r"\`b\`" in card and r"\[x\]" in card and r"<i>" not in card
    for is_table, lines in itertools.groupby(card.splitlines(), lambda line: line.startswith("|")):
        if is_table:  # a pipe in a name makes no column
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_a_name_from_the_right_is_kept_apart():
    assert isolated("malignant") == "malignant"
    assert isolated(NASTY[2]) == f"\N{FIRST STRONG ISOLATE}{NASTY[2]}\N{POP DIRECTIONAL ISOLATE}"


# What can be left out


def test_without_paths_no_name_is_left(headline, decision_rules, sources, drawn):
    val = assess(predictions("val"), decision_rules, resamples=100)
    limits = [
        Limitation("shift", "train/secret_904.png", "As train/secret_902.png and test/secret_007.png show.", "serious")
    ]
    items = [Item("TRIPOD+AI", "1", "Title", "T", "Read from /home/anna/images of patients, and val/secret_003.png.")]
    for whole in told_of(headline, [val], sources, drawn, limitations=limits, checklists=items, paths=False):
        for secret in ("secret", "anna", "images of patients", "patient-", "x1", "w.pt", "medcls.train"):
            assert secret not in whole, secret
    page, _ = told_of(headline, [val], sources, drawn, limitations=limits, checklists=items, paths=False)
    text = read(page).text
    assert "(a path)" in text and "image 8" in text and "image 4" in text
    assert "4 of 5 tensors" in text
    shown = {values["alt"] for tag, values in read(page).tags if tag == "img" and "jpeg" in values["src"]}
    assert shown and all(re.fullmatch(r"image \d+", name) for name in shown)


def test_a_subgroup_by_group_hides_its_names_too(decision_rules):
    few = dataclasses.replace(predictions(n=40), rows=predictions(n=40).rows)
    page, card = told_of(assess(few, decision_rules, bands={"group": None}, resamples=100), paths=False)
    assert "patient-" not in page + card
    assert "group 1" in read(page).text


def test_without_images_there_are_none(headline, sources, drawn):
    page, _ = told_of(headline, sources=sources, drawn=drawn, images=False)
    assert "image/jpeg" not in page and "image/svg+xml" in page
    assert "report.images=false" in page
    assert "secret_" in page


# What follows from the predictions alone


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
    page, _ = told_of(assess(table, fitted, resamples=100))
    assert re.search(r'<section id="metrics">.*?</section>', page, re.DOTALL)
    assert metric_sections(assess(again, fitted, resamples=100)) in page


def test_a_threshold_that_nobody_fitted_is_called_so():
    table = predictions()
    one = assess(table, not_fitted(table), resamples=100)
    page, card = told_of(one)
    text = read(page).text
    assert operating_point(one) in text and NOT_FITTED in card
    assert at_half_sheet(one) is None


def test_half_stands_beside_a_fitted_threshold(headline):
    text = read(metric_sections(headline)).text
    fitted, half = at_half_sheet(headline).columns[1:]
    assert f"{headline.metrics.threshold:.3f}" in fitted and "0.5" in half
    assert fitted in text and half in text
    assert NOT_FITTED not in text


def test_one_class_only_gives_reasons_and_no_figures(decision_rules):
    table = predictions()
    only = dataclasses.replace(table, rows=table.rows[table.rows["label"] == "malignant"])
    one = assess(only, decision_rules, resamples=100)
    page, card = told_of(one)
    text = read(page).text
    assert "undefined" in text and not re.search(r"\bnan\b", page, re.IGNORECASE)
    assert one.metrics.reasons["specificity"] in text
    assert "undefined" in card and not re.search(r"\bnan\b", card)
    assert predictive_values_sheet(one) is None


def test_p46_rows_of_the_confusion_table_are_the_truth(headline):
    text = metric_sections(headline)
    for name, counts in zip(BINARY, headline.metrics.confusion.tolist(), strict=True):
        assert sum(counts) == 60
        row = re.search(rf'<th scope="row"><bdi>{name}</bdi></th>(<td class="number"><bdi>\d+ \(.*?)</tr>', text)
        found = [int(count) for count in re.findall(r"<bdi>(\d+)", row[1])]
        assert found == [*counts, 60]


def test_p51_an_accuracy_stands_beside_the_majority_and_a_banner_above_a_worthless_one():
    table = predictions()
    rare = dataclasses.replace(table, rows=table.rows.assign(label=["malignant", *["benign"] * 119]))
    worthless = assess(rare, not_fitted(rare), resamples=100)
    page, card = told_of(worthless)
    banner = next(notice for notice in notices(worthless) if notice.rule == "majority_baseline")
    assert page.index(banner.title) < page.index('class="keys"')
    assert banner.title in card
    assert "99." in plain_words(worthless)[-1] and "benign" in plain_words(worthless)[-1]
    assert plain_words(worthless)[-1] in read(page).text
    for text in (page, card):
        assert text.index("Accuracy") < text.index("Majority baseline")
    good = assess(table, not_fitted(table), resamples=100)
    assert notices(good) == [] and banner.title not in told_of(good)[0]


def test_p09_a_figure_of_the_selection_split_is_called_no_test(decision_rules):
    one = assess(predictions("val"), decision_rules, resamples=100)
    page, card = told_of(one)
    (banner,) = notices(one)
    assert banner.rule == "no_test" and page.index(banner.title) < page.index('class="keys"')
    for text in (page, card, metric_sections(one)):
        assert TOOK_PART["val"] in text


def test_p33_checkpoints_are_not_mixed(headline):
    other = predictions("val", checkpoint="another")
    with refused("different_checkpoints", "test: c0ffee, val: another"):
        told_of(headline, [assess(other, not_fitted(other), resamples=100)])


def test_p52_few_images_have_few_digits_and_a_warning():
    few = predictions(n=40)
    one = assess(few, not_fitted(few), resamples=100)
    assert all(re.fullmatch(r"\d\.\d\d", estimates_of(one)[name].estimate) for name in ("auroc", "accuracy", "brier"))
    assert one.metrics.few_cases_note(BINARY) in read(metric_sections(one)).text
    many = assess(predictions(), not_fitted(predictions()), resamples=100)
    assert re.fullmatch(r"0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)", estimates_of(many)["auroc"].both)
    assert many.metrics.few_cases_note(BINARY) is None


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("auroc", 0.91049, "0.910"),
        ("auroc", 1.0, "1.000"),
        ("auroc", 0.99999, ">0.999"),
        ("brier", 1e-9, "<0.001"),
        ("auroc", 0.0, "0.000"),
        ("mcc", -0.25, "−0.250"),
        ("log_loss", 3.3, "3.300"),
        ("positive_likelihood_ratio", 32.26, "32.3"),
        ("auroc", float("nan"), "undefined"),
    ],
)
def test_figures_are_rounded_without_lying(metric, value, text):
    assert formatted(metric, value, 3) == text


@pytest.mark.wording
def test_words_and_figures_say_the_same(headline, several):
    values = headline.metrics.values
    said = " ".join(plain_words(headline))
    assert f"about {round(100 * values['sensitivity'])} are found (95% interval" in said
    assert f"about {round(100 * values['specificity'])} are rightly left alone" in said
    assert f"right about {round(100 * values['precision'])} times in 100" in said
    assert "of which 50% are malignant" in said
    said = " ".join(plain_words(several))
    assert f"about {round(100 * several.metrics.values['balanced_accuracy'])} of 100" in said
    best = max(several.metrics.per_class, key=lambda name: several.metrics.per_class[name]["sensitivity"])
    assert f"{isolated(best)} is found most often" in said


def test_every_metric_is_told_once(headline, several):
    for one in (headline, several):
        rows = metrics_sheet(one).rows
        names = {metric for metric, name in zip(one.intervals["metric"], one.intervals["class"], strict=True)
                 if name in (one.table.positive or MACRO, "")}  # fmt: skip
        assert len(rows) == len((names | set(one.metrics.values)) - {"n"})
        assert len({row[0].text for row in rows}) == len(rows)


def test_folds_stand_beside_their_mean_and_the_pooled_figure(headline):
    table = over_folds([predictions("test", n=60, seed=1), predictions("held_out", n=60)], resamples=100)
    sheet = folds_sheet(table, headline)
    assert sheet.columns == ("", "Fold 0", "Fold 1", "Mean", "Pooled (95% interval)")
    found = {row[0].text: row[1:] for row in sheet.rows}
    of = table[(table["metric"] == "auroc") & (table["class"] == "malignant")].set_index("fold")
    first, second, mean, pooled = found["AUROC"]
    assert [first.text, second.text] == [f"{of.loc[fold, 'estimate']:.3f}" for fold in ("0", "1")]
    assert (mean.text, mean.note) == (f"{of.loc['mean', 'estimate']:.3f}", f"sd {of.loc['mean', 'sd']:.3f}")
    assert pooled.text == f"{of.loc['pooled', 'estimate']:.3f}" and "to" in pooled.note
    assert "0.500" in next(row[0].note for row in sheet.rows if row[0].text == "Accuracy")


def test_calibration_before_and_after(headline):
    sheet = calibration_sheet(headline)
    assert len(sheet.columns) == 3 and sheet.columns[2].endswith("temperature")
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in sheet.rows}
    low = f"{headline.calibration['low'][0]:.3f}".replace("-", "\N{MINUS SIGN}")
    assert sheet.rows[0][0].text == "Slope" and sheet.rows[0][2].note.startswith(f"{low}\xa0to")
    line = calibration_line(*scores_and_events(headline.table))
    assert rows["Slope"][1] == f"{line.slope:.3f}"
    assert float(rows["Slope"][0]) == pytest.approx(
        line.slope / headline.decision_rules.calibration.temperature, abs=6e-4
    )
    as_it_is = assess(predictions(), not_fitted(predictions()), resamples=100)
    assert len(calibration_sheet(as_it_is).columns) == 2


def test_calibration_of_several_classes_names_the_class_of_each_line():
    table = made_study.predictions(n=200, seed=1, classes=made_study.FOUR)
    sheet = calibration_sheet(assess(table, not_fitted(table), resamples=50))
    names = [row[0].text for row in sheet.rows]
    assert names[:4] == [f"Slope, {name}" for name in made_study.FOUR]
    assert names[-4:-1] == ["ICI", "E50", "E90"] and names[-5].endswith(", p") and len(names) == 4 * 3 + 5
    assert len({row[1].text for row in sheet.rows[:4]}) == 4


def test_label_sets_and_referral_count_the_same_images(headline):
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in sets_sheet(headline).rows}
    counts = headline.sets
    assert [f"{counts.covered} of 120", f"{counts.covered / 120:.1%}"] in list(rows.values())
    assert [
        next(row for title, row in rows.items() if title.endswith(f" {name}"))[0].split()[-1] for name in BINARY
    ] == ["60", "60"]
    first, *_, last = rejection_sheet(headline).rows
    assert first[0].text == "0 (0%)" and first[1].text == f"{headline.metrics.values['accuracy']:.3f}"
    assert last[0].text == "60 (50%)"


def test_predictive_values_follow_the_stated_prevalence(headline):
    fitted = fit_decision_rules(predictions("val", NASTY))
    stated = dict(zip(NASTY, (0.9, 0.08, 0.02), strict=True))
    one = assess(predictions(classes=NASTY), fitted, prevalence=stated, resamples=100)
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in predictive_values_sheet(one).rows}
    called = one.metrics.confusion / one.metrics.confusion.sum(axis=1, keepdims=True)
    for k, name in enumerate(NASTY):
        by_bayes = stated[name] * called[k, k] / sum(stated[other] * called[j, k] for j, other in enumerate(NASTY))
        here = one.metrics.per_class[name]["precision"]
        assert rows[name] == ["33.3%", f"{here:.3f}", f"{stated[name]:.1%}", f"{by_bayes:.3f}"]
    rows = [[cell.text for cell in row] for row in predictive_values_sheet(headline).rows if row[0].note]
    assert [f"{headline.deployment.precision:.3f}", f"{headline.deployment.npv:.3f}"] in [row[1:] for row in rows]
    assert f"{headline.metrics.values['precision']:.3f}" in [row[1] for row in rows if row[0] == "50 in 100"]


# Images to look at


def test_errors_are_the_surest_first_and_the_least_certain_lie_at_the_threshold(headline):
    errors, unsure = look_at(headline, BARE, Names({}), images=True)
    table, threshold = headline.table, headline.metrics.threshold
    scores = pd.Series(table.probabilities()[:, 1], index=table.rows["path"])
    wrong = (scores >= threshold) != (table.rows["label"] == "malignant").to_numpy()
    distance = (scores - threshold).abs()
    assert [one.name for one in errors] == list(distance[wrong].sort_values(ascending=False).index[:LOOKED_AT])
    assert [one.name for one in unsure] == list(distance.sort_values().index[:LOOKED_AT])
    assert re.fullmatch(r"(benign, \w+ malignant|malignant, \w+ benign): .* of malignant [\d.]+", errors[0].caption)


def test_with_several_classes_the_called_one_says_how_sure(several):
    errors, unsure = look_at(several, BARE, Names({}), images=True)
    largest = pd.Series(several.table.probabilities().max(axis=1), index=several.table.rows["path"])
    right = several.table.probabilities().argmax(axis=1) == several.table.labels()
    assert errors[0].name == largest[~right].idxmax()
    assert unsure[0].name == largest.idxmin()


def test_a_picture_that_cannot_be_shown_says_why(headline, sources):
    broken = dataclasses.replace(sources, picture=lambda path: Thumbnail(reason="damaged"))
    assert "damaged" in read(told_of(headline, sources=broken)[0]).text


@pytest.mark.wording
def test_no_error_is_said_to_be_none(decision_rules):
    table = predictions()
    logits = np.where(np.eye(2)[table.labels()] > 0, 4.0, -4.0) + np.random.default_rng(0).normal(size=(len(table), 2))
    perfect = from_logits(
        table.rows[["path", "label", "group", "split"]], range(len(table)), logits, BINARY, "malignant", "c0ffee"
    )
    page, _ = told_of(assess(perfect, decision_rules, resamples=100))
    assert "None: every image was called rightly." in read(page).text


@pytest.mark.slow
def test_a_report_of_100_000_rows_is_made_in_seconds(decision_rules):
    table = predictions(n=100_000)
    one = dataclasses.replace(
        assess(predictions(), decision_rules, resamples=100), table=decision_rules.calibrate(table)
    )  # the intervals, which take longer, are not the report's
    before = time.process_time()
    told_of(one, paths=False)
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
    assert "20 patients or exams (10 other, 10 ill). 10 of them have images under both labels and count as ill" in text
    apart = Predictions(
        table.rows.assign(label=np.repeat(["ill", "other"], 20), group=groups), made_study.BINARY, "ill"
    )
    pure = assess(aggregate(apart, "max"), not_fitted(apart), resamples=50)
    assert "both labels" not in read(metric_sections(assess(apart, not_fitted(apart), resamples=50), pure)).text


@pytest.mark.wording
def test_class_names_that_are_numbers_are_quoted_in_sentences():
    table = made_study.predictions(n=100, seed=1)
    names = dict(zip(made_study.BINARY, ("0", "1"), strict=True))
    rows = table.rows.assign(label=table.rows["label"].map(names))
    rows = rows.rename(
        columns={f"{kind}_{old}": f"{kind}_{new}" for kind in ("prob", "logit") for old, new in names.items()}
    )
    numeric = Predictions(rows, ("0", "1"), "1")
    assert numeric.caption().startswith('test, n = 100 images (70 "0", 30 "1")')
    said = " ".join(plain_words(assess(numeric, not_fitted(numeric), resamples=50)))
    assert 'images of "1" like these' in said and 'not "1"' in said and "images of 1 " not in said
