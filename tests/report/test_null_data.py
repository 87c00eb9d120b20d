"""Every sentence that a report can say, on data where it must not: nothing leans, nothing has moved, no group differs.

Scores are made so that probabilities are right, train, val, test and another site are drawn alike, and columns say
nothing of label or score. A rule that speaks all the same speaks of chance.
"""

import collections
import functools

import numpy as np
import pandas as pd
import pytest
from made_study import BINARY, FOUR, sources

from medcls.evaluation.assessment import assess
from medcls.evaluation.decision_rules import fit_decision_rules
from medcls.evaluation.predictions import Predictions, probabilities_of
from medcls.report.limitations import limitations

# What is true of such data too: one training was made, few rows say little, and a prevalence was stated.
TRUE = {
    "one_training",
    "weak_fit",
    "label_sets_undecided",
    "few_cases",
    "wide_intervals",
    "another_prevalence",
}

# How often a rule may speak: each is held to 5%. Rules that are one and the same claim stand together.
CLAIMS = {
    "shift": {"shift", "shift_of_classes"},
    "calibration": {"probabilities_off", "calibration_slope", "class_probabilities_off", "uneven_probabilities"},
    "label sets": {"label_sets_miss"},
    "a class of label sets": {"label_sets_miss_a_class"},
    "gap": {"subgroup_gap"},
    "chance": {"no_better_than_chance"},
    "baseline": {"accuracy_below_baseline", "accuracy_near_baseline"},
    "overfitting": {"overfitting"},
    "few groups": {"subgroups_too_small"},
}


def drawn(split, n, seed, classes=BINARY, each=1):
    """Rows with right probabilities; `each` images of one patient, whose label and score go together."""
    rng = np.random.default_rng([seed, len(split)])
    k, patients = len(classes), n // each
    shares = np.array([0.6, 0.4] if k == 2 else [0.4, 0.3, 0.2, 0.1])
    labels = np.repeat(rng.choice(k, patients, p=shares), each)
    seen = np.repeat(rng.normal(size=(patients, k)), each, axis=0)
    seen[np.arange(n), labels] += 2.0
    logits = 2.0 * seen + np.log(shares)
    columns = {"sex": rng.choice(["F", "M"], patients), "site": rng.choice(list("abc"), patients)}
    paths = [f"{split}/{row:05d}" for row in range(n)]
    rows = {"path": paths, "label": np.array(classes)[labels], "group": [f"{split}{row // each}" for row in range(n)]}
    rows |= {name: np.repeat(values, each) for name, values in columns.items()} | {"split": split}
    made = probabilities_of(logits)
    rows |= {f"logit_{name}": logits[:, place] for place, name in enumerate(classes)}
    rows |= {f"prob_{name}": made[:, place] for place, name in enumerate(classes)}
    return Predictions(pd.DataFrame(rows | {"checkpoint": "c0ffee"}), classes, "ill" if k == 2 else None)


def splits_of(classes):
    """A training of the same shares."""
    shares = (0.6, 0.4) if len(classes) == 2 else (0.4, 0.3, 0.2, 0.1)
    row = {"split": "train", "images": 2000, "groups": 2000}
    row |= {f"{name}: images": int(2000 * share) for name, share in zip(classes, shares, strict=True)}
    return pd.DataFrame([row | {f"{name}: share": share for name, share in zip(classes, shares, strict=True)}])


def said_of(seed, n, classes=BINARY, each=1, resamples=200):
    """The rules that speak in one report on such data: val fits, test is the result, another site is beside it."""
    val = drawn("calibration", n, seed, classes, each)
    fitted = fit_decision_rules(val)
    stated = dict(zip(classes, (0.6, 0.4) if len(classes) == 2 else (0.4, 0.3, 0.2, 0.1), strict=True))
    judge = functools.partial(assess, decision_rules=fitted, prevalence=stated, resamples=resamples)
    test = judge(drawn("test", n, seed, classes, each), bands={"sex": None, "site": None})
    others = [judge(val), judge(drawn("external", n, seed, classes, each))]
    known = sources(splits=splits_of(classes))
    return [one.rule for one in limitations(test, others, known)]


def count(seeds, **settings):
    """In how many reports each claim stands, and what else was said."""
    found, rest = collections.Counter(), collections.Counter()
    for seed in seeds:
        rules = said_of(seed, **settings)
        for name, claims in CLAIMS.items():
            found[name] += not claims.isdisjoint(rules)
        rest.update(rule for rule in rules if rule not in TRUE.union(*CLAIMS.values()))
    return found, rest


@pytest.mark.parametrize(("classes", "each"), [(BINARY, 2), (FOUR, 1)])
def test_nothing_is_claimed_of_what_chance_made(classes, each):
    """A few seeds of those of which the slow test takes hundreds."""
    found, rest = count(range(2), n=300 * each, classes=classes, each=each, resamples=100)
    assert not +found, found
    assert set(rest) <= {"several_images_of_a_group"}, rest


@pytest.mark.slow  # a minute of reports each
@pytest.mark.parametrize(
    ("n", "classes", "each"), [(200, BINARY, 1), (500, BINARY, 1), (600, BINARY, 3), (500, FOUR, 1)]
)
def test_no_rule_speaks_of_chance_in_more_than_one_report_in_twenty(n, classes, each):
    runs = 100
    found, _ = count(range(runs), n=n, classes=classes, each=each)
    most = 0.05 + 1.64 * np.sqrt(0.05 * 0.95 / runs)
    # Sets that hold the label of 90% of all images hold that of 78% of the rarest of the four classes.
    true = {"few groups", *(["a class of label sets"] if classes == FOUR else [])}
    assert all(times / runs <= most for name, times in found.items() if name not in true), found
