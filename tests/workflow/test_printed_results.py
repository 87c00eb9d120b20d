import dataclasses
import logging

import pytest
from evaluation_settings import evaluation_settings
from made_study import predictions
from refusals import rules
from rich.console import Console

from medcls.workflow import evaluating, printed_results, terminal


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setattr(terminal, "console", Console(width=200))


def judged(test=None):
    options, val = evaluation_settings(), predictions("val", n=200)
    test = predictions(n=200, seed=1) if test is None else test
    return evaluating.evaluate([val, test], evaluating.fit(val, options), options)


def test_each_split_is_a_column_and_the_operating_point_stands_below(capsys, caplog):
    results = judged()
    with caplog.at_level(logging.INFO):
        printed_results.show(results, None)
    out = capsys.readouterr().out
    auroc = results.headline.intervals.query("metric == 'auroc'").iloc[0]
    assert f"{auroc['estimate']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})" in out
    assert "val" in out and "test" in out and "majority_baseline" in out
    assert results.headline.decision_rules.operating_point.label() in caplog.text


def test_scores_the_wrong_way_round_are_a_warning(caplog):
    table = predictions(n=200, seed=1)
    swapped = table.rows.assign(logit_ill=table.rows["logit_other"], logit_other=table.rows["logit_ill"])
    swapped = swapped.assign(prob_ill=table.rows["prob_other"], prob_other=table.rows["prob_ill"])
    with caplog.at_level(logging.WARNING):
        printed_results.show(judged(dataclasses.replace(table, rows=swapped)), None)
    assert "worse_than_chance" in rules(caplog)


def test_the_effect_of_another_precision_is_the_change_of_each_metric(capsys):
    results = judged()
    one = results.headline.table
    shifted = one.with_probabilities(one.probabilities() * 0.98 + 0.01)
    printed_results.show_effect(one, shifted, evaluating.not_fitted(one, evaluation_settings()).images, "bf16")
    lines = capsys.readouterr().out.splitlines()
    (auroc,) = [line for line in lines if "auroc" in line]
    assert "+0.0000" in auroc, "a monotone change keeps the ranking"
    assert any("bf16" in line for line in lines)
