import re

import made_study
import pytest
from html_pages import read
from made_report import BINARY, NASTY, predictions

from medcls.evaluation.assessment import assess
from medcls.evaluation.calibration import calibration_line, scores_and_events
from medcls.evaluation.decision_rules import fit_decision_rules, not_fitted
from medcls.evaluation.folds import over_folds
from medcls.evaluation.thresholds import NOT_FITTED
from medcls.report.metric_tables import (
    at_half_sheet,
    calibration_sheet,
    folds_sheet,
    metrics_sheet,
    predictive_values_sheet,
    rejection_sheet,
    sets_sheet,
)
from medcls.report.report import metric_sections
from medcls.statistics.metric_table import MACRO


def test_half_stands_beside_a_fitted_threshold(headline):
    text = read(metric_sections(headline)).text
    fitted, half = at_half_sheet(headline).columns[1:]
    assert f"{headline.metrics.threshold:.3f}" in fitted and "0.5" in half
    assert fitted in text and half in text
    assert NOT_FITTED not in text


def test_p46_rows_of_the_confusion_table_are_the_truth(headline):
    text = metric_sections(headline)
    for name, counts in zip(BINARY, headline.metrics.confusion.tolist(), strict=True):
        assert sum(counts) == 60
        row = re.search(rf'<th scope="row"><bdi>{name}</bdi></th>(<td class="number"><bdi>\d+ \(.*?)</tr>', text)
        found = [int(count) for count in re.findall(r"<bdi>(\d+)", row[1])]
        assert found == [*counts, 60]


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
