import dataclasses

from medcls.evaluation.interval_table import interval_table
from medcls.statistics.analytic import Interval


def test_one_row_a_metric_in_the_order_given():
    given = {
        ("auroc", "ill"): Interval(0.9, 0.8, 0.95, "DeLong", 40),
        ("accuracy", ""): Interval(0.7, 0.6, 0.8, "x", 9),
    }
    table = interval_table(given)
    assert list(table.columns) == ["metric", "class", *(field.name for field in dataclasses.fields(Interval))]
    assert list(zip(table["metric"], table["class"], strict=True)) == list(given)
    assert table.iloc[0].tolist()[2:] == [0.9, 0.8, 0.95, "DeLong", 40, ""]


def test_no_interval_gives_a_table_with_its_columns():
    assert len(interval_table({})) == 0 and "method" in interval_table({})
