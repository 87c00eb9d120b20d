"""Plots of a search, read back from what was drawn."""

import numpy as np
import pytest

from medcls.plots.search_plots import CROSS, plot_history, plot_importance

NUMBERS, VALUES = np.arange(5.0), np.array([0.6, np.nan, 0.8, 0.7, 0.9])


def line(axes, marker):
    return next(one for one in axes.lines if one.get_marker() == marker)


@pytest.mark.parametrize(("maximise", "best"), [(True, [0.6, 0.8, 0.8, 0.9]), (False, [0.6, 0.6, 0.6, 0.6])])
def test_the_best_so_far_passes_over_failed_trials(maximise, best):
    axes = plot_history(NUMBERS, VALUES, "val/auroc", "5 trials", maximise=maximise).axes[0]
    assert line(axes, "o").get_ydata().tolist() == [0.6, 0.8, 0.7, 0.9]
    step = next(one for one in axes.lines if one.get_drawstyle() == "steps-post")
    assert (step.get_xdata().tolist(), step.get_ydata().tolist()) == ([0, 2, 3, 4], best)
    assert line(axes, CROSS).get_xdata().tolist() == [1]


def test_without_a_failure_there_is_no_mark_of_one():
    axes = plot_history(NUMBERS[:1], VALUES[:1], "val/auroc", "1 trial", maximise=True).axes[0]
    assert all(one.get_marker() != CROSS for one in axes.lines)


def test_the_most_important_setting_is_on_top_with_its_share():
    axes = plot_importance({"ema": 0.1, "optimizer.lr": 0.7, "data.augmentation.smallest_area": 0.2}, "12").axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.1, 0.2, 0.7]
    names = [label.get_text().replace("\n", "") for label in axes.get_yticklabels()]
    assert names[0] == "ema" and names[-1] == "optimizer.lr"
    assert {text.get_text() for text in axes.texts} == {"10%", "20%", "70%"}
