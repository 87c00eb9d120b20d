import dataclasses

import numpy as np
import pytest
from made_study import BINARY, FOUR, assessment, predictions
from sklearn.metrics import jaccard_score

from medcls.evaluation.further_metrics import add_metrics
from medcls.report.metric_tables import metrics_sheet
from medcls.statistics.metric_table import Metric, a_case
from medcls.statistics.metrics import predicted_classes
from medcls.statistics.resampling import ratio

JACCARD = Metric(
    "jaccard",
    "Jaccard index",
    "Of the images that are {of} or predicted as {of}, the share that is both.",
    measures="decisions",
    scopes=("class", "mean"),
    function=lambda one: ratio(one.tp, np.where(one.cases > 0, one.tp + one.fp + one.fn, 0)),
    needs=(a_case,),
)


@pytest.mark.parametrize("classes", [BINARY, FOUR])
def test_a_further_metric_stands_in_the_table_with_its_interval(classes):
    one = assessment(predictions(seed=1, classes=classes), prevalence=None)
    more = add_metrics(one, [JACCARD], 200, 0)
    table, threshold = one.table, one.decision_rules.threshold
    predicted = predicted_classes(table.probabilities(), table.classes, table.positive, threshold)
    by_class = dict(zip(classes, jaccard_score(table.labels(), predicted, average=None), strict=True))
    expected = np.mean(list(by_class.values())) if table.positive is None else by_class[table.positive]
    rows = more.intervals[more.intervals["metric"] == "jaccard"].set_index("class")
    row = rows.loc[table.positive or "(macro)"]
    assert row["estimate"] == pytest.approx(expected)
    assert row["low"] < row["estimate"] < row["high"] and row["method"].startswith("bootstrap")
    (shown,) = [row for row in metrics_sheet(more).rows if row[0].text.startswith("Jaccard index")]
    assert shown[1].text == f"{expected:.3f}"
    # The other metrics stay as they are.
    assert len(more.intervals) == len(one.intervals) + (1 if table.positive else len(classes) + 1)
    assert more.intervals.iloc[: len(one.intervals)].equals(one.intervals)


def test_a_further_metric_that_is_undefined_says_why():
    table = predictions(seed=1)
    healthy = dataclasses.replace(table, rows=table.rows[table.rows["label"] == "other"])
    more = add_metrics(assessment(healthy, prevalence=None), [JACCARD], 50, 0)
    (shown,) = [row for row in metrics_sheet(more).rows if row[0].text == "Jaccard index"]
    assert shown[1].text == "undefined" and "'ill'" in shown[4].note
