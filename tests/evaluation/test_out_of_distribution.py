"""The limit of the energy holds its share, and is fitted on rows that may be fitted on."""

import numpy as np
import pandas as pd
import pytest
from refusals import refused

from medcls.evaluation.decision_rules import DecisionRules, fit_decision_rules
from medcls.evaluation.out_of_distribution import OodLimit, fit_ood_limit
from medcls.evaluation.predictions import from_logits


def table(n: int, seed: int = 0, split: str = "val", groups: int = 0):
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    names = [f"g{k % groups}" if groups else "" for k in range(n)]
    rows = pd.DataFrame(
        {"path": [f"{k}.png" for k in range(n)], "label": [f"c{k}" for k in labels], "group": names, "split": split}
    )
    return from_logits(rows, np.arange(n), draw.normal(size=(n, 2)) * 3, ["c0", "c1"], "c1", "abc")


@pytest.mark.slow
def test_new_images_like_those_of_val_exceed_it_at_the_stated_share():
    """Averaged over draws of val, the share is at most 5%, and at least 5% - 1 / (n + 1)."""
    shares = []
    for seed in range(300):
        limit = fit_ood_limit(table(50, seed)).limit
        new = table(400, 10_000 + seed).rows["ood"]
        shares.append(float((new > limit).mean()))
    error = 3 * np.std(shares) / np.sqrt(len(shares))
    assert 0.05 - 1 / 51 - error <= np.mean(shares) <= 0.05 + error


def test_it_is_the_conformal_quantile():
    val = table(99)
    assert fit_ood_limit(val).limit == np.sort(val.rows["ood"])[94]  # the 95th of 99
    assert fit_ood_limit(val, flagged=0.2).limit == np.sort(val.rows["ood"])[79]


@pytest.mark.parametrize(("n", "groups", "has_limit"), [(18, 0, False), (19, 0, True), (60, 18, False), (60, 19, True)])
def test_too_few_rows_or_groups_give_no_limit(n, groups, has_limit):
    found = fit_ood_limit(table(n, groups=groups))
    assert (found.limit is not None) == has_limit
    assert found.n == (groups or n)


def test_it_is_stored_with_the_decision_rules():
    rules = fit_decision_rules(table(60))
    assert rules.ood == fit_ood_limit(table(60))
    assert DecisionRules.from_plain(rules.to_plain()) == rules
    former = rules.to_plain()
    del former["ood"]
    assert DecisionRules.from_plain(former).ood is None
    assert OodLimit.from_plain(rules.ood.to_plain()) == rules.ood


def test_tables_without_energy_have_none():
    val = table(60)
    val = type(val)(val.rows.drop(columns="ood"), val.classes, val.positive)
    assert fit_ood_limit(val) is None and fit_decision_rules(val).ood is None


def test_test_is_not_fitted_on():
    with refused("fitted_on_the_result"):
        fit_ood_limit(table(60, split="test"))
