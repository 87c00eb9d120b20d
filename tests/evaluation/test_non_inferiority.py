import numpy as np
import pandas as pd
import pytest
from refusals import refused
from scipy.stats import norm

from medcls.evaluation.comparing import Question, compare_all, holm
from medcls.evaluation.non_inferiority import against_margin, check_margin
from medcls.evaluation.predictions import Predictions


def pair(difference, half, metric="auroc", freedom=np.inf):
    """One comparison as `compare_all` gives it."""
    line = {"metric": metric, "a": "new", "b": "old", "difference": difference, "freedom": freedom}
    return pd.DataFrame([line | {"low": difference - half, "high": difference + half}])


def only(table):
    (found,) = table.to_dict("records")
    return found


def test_the_interval_decides_and_the_sentence_says_it():
    found = only(against_margin(pair(-0.01, 0.03), 0.05))
    assert (found["gain"], found["worst"], found["best"]) == pytest.approx((-0.01, -0.04, 0.02))
    assert found["p"] == pytest.approx(norm.sf((-0.01 + 0.05) / (0.03 / norm.ppf(0.975))))
    assert found["verdict"] == "not_inferior"
    assert all(said in found["sentence"] for said in ("AUROC", "margin 0.05", "worse", "0.040", "p = 0.004"))
    better = only(against_margin(pair(0.05, 0.03), 0.05))
    assert better["verdict"] == "not_inferior" and "better" in better["sentence"] and "0.020" in better["sentence"]


def test_what_is_not_shown_is_not_said_to_be_inferior():
    found = only(against_margin(pair(0.0, 0.06), 0.05))
    assert found["p"] > 0.025
    assert found["verdict"] == "not_shown" and "0.060" in found["sentence"]
    found = only(against_margin(pair(-0.2, 0.06), 0.05))
    assert found["verdict"] == "inferior" and "0.140" in found["sentence"]


def test_p_and_interval_say_the_same_with_few_groups_too():
    for gain in np.linspace(-0.06, 0.04, 41):
        found = only(against_margin(pair(gain, 0.04, freedom=6), 0.05))
        assert (found["p"] < 0.025) == (found["worst"] > -0.05)


def test_a_lower_brier_score_is_a_gain():
    found = only(against_margin(pair(0.02, 0.01, "brier"), 0.05))
    assert (found["gain"], found["worst"], found["best"]) == pytest.approx((-0.02, -0.03, -0.01))
    assert found["verdict"] == "not_inferior"
    assert only(against_margin(pair(0.2, 0.01, "brier"), 0.05))["verdict"] == "inferior"


def test_several_claims_are_corrected_for():
    pairs = pd.concat([pair(-0.01, 0.039), pair(-0.01, 0.039, "accuracy")], ignore_index=True)
    alone, both = only(against_margin(pairs.iloc[:1], 0.05)), against_margin(pairs, 0.05)
    assert alone["p"] < 0.025 and alone["verdict"] == "not_inferior"
    assert both["p_holm"].tolist() == holm(both["p"].to_numpy()).tolist() and both["p_holm"].min() > 0.025
    assert both["verdict"].eq("not_shown").all() and both["sentence"].str.contains("Holm.* 2 ").all()


def test_without_an_interval_nothing_is_told():
    found = only(against_margin(pair(0.0, np.nan), 0.05))
    assert np.isnan(found["p"]) and found["verdict"] == "no_interval"


@pytest.mark.parametrize("margin", [0, 1, -0.05, "0.05", True, [0.05]])
def test_a_margin_is_a_number_of_the_metrics_unit(margin):
    with refused("bad_value", "margin"):
        check_margin(margin)


def test_a_margin_needs_two():
    Question(margin=0.05).check(["a", "b"], ("well", "ill"))
    Question().check(["a", "b", "c"], ("well", "ill"))
    with refused("not_two_runs", "margin=", "3: a, b, c"):
        Question(margin=0.05).check(["a", "b", "c"], ("well", "ill"))


def models(rng, n, lifts, groups):
    """Two models whose scores resemble each other."""
    size = 1 if groups is None else groups
    labels = np.repeat(np.arange(n // size) % 2, size)
    shared, tables = rng.normal(size=n), []
    for lift in lifts:
        scores = norm.cdf(0.7 * shared + 0.7 * rng.normal(size=n) + lift * (labels - 0.5))
        rows = pd.DataFrame({"path": [f"{k}.png" for k in range(n)], "label": np.where(labels, "ill", "well")})
        rows["group"] = [f"p{k // size}" if groups else "" for k in range(n)]
        rows = rows.assign(split="test", checkpoint="x", prob_ill=scores, prob_well=1 - scores)
        tables.append(Predictions(rows, ("well", "ill"), "ill"))
    return dict(zip(("new", "old"), tables, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("groups", [None, 4])
def test_one_that_is_worse_by_the_margin_is_called_not_inferior_in_a_fortieth(groups, capsys):
    """At the edge of what is inferior, where the test is to err in 2.5%."""
    rng, simulations = np.random.default_rng(0), 400
    lifts = (1.2, 1.5)  # shifts of scores with standard deviation 0.99
    margin = float(norm.cdf(1.5 / np.sqrt(2 * 0.98)) - norm.cdf(1.2 / np.sqrt(2 * 0.98)))
    verdicts = [
        only(against_margin(compare_all(models(rng, 200, lifts, groups), Question(resamples=300)), margin))["verdict"]
        for _ in range(simulations)
    ]
    false = np.mean([one == "not_inferior" for one in verdicts])
    with capsys.disabled():
        print(f"\nnot inferior though worse by the margin ({groups or 1} rows a group): {false:.3f}")  # noqa: T201
    assert false <= 0.05
    assert np.mean([one == "inferior" for one in verdicts]) <= 0.05
