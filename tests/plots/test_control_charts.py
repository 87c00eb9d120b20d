"""Plots of a monitoring, read back from what was drawn."""

import numpy as np
import pandas as pd

from medcls.plots.control_charts import MOST_LABELS, plot_control_chart, plot_distribution


def chart(periods: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "period": [f"2026-{week:02d}" for week in range(1, periods + 1)],
            "share": np.linspace(0.2, 0.9, periods),
            "low": np.linspace(0.1, 0.8, periods),
            "high": np.linspace(0.3, 1.0, periods),
            "lower": 0.15,
            "upper": 0.6,
            "centre": 0.4,
            "outside": np.linspace(0.2, 0.9, periods) > 0.6,
        }
    )


def test_a_period_outside_the_limits_is_marked():
    rows = chart(8)
    axes = plot_control_chart(rows, "Sensitivity", "test", "80 images").axes[0]
    marked = [line for line in axes.lines if line.get_marker() == "D"]
    assert [len(line.get_xdata()) for line in marked] == [int(rows["outside"].sum())]
    assert (marked[0].get_ydata() > 0.6).all()


def test_the_names_of_many_periods_do_not_crowd():
    axes = plot_control_chart(chart(60), "Sensitivity", "test", "600 images").axes[0]
    assert 2 <= len(axes.get_xticks()) <= MOST_LABELS


def test_a_distribution_is_drawn_as_shares_of_each_sample():
    random = np.random.default_rng(0)
    axes = plot_distribution(random.random(500), random.random(50), "Score", "val", "caption").axes[0]
    heights = [patch.get_data().values.sum() for patch in axes.patches]
    np.testing.assert_allclose(heights, [1, 1])
