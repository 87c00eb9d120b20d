"""Monitoring: silent on the same distribution, and not on another."""

import numpy as np
import pandas as pd
import pytest

from medcls.evaluation.monitoring import Rules, Watched, monitor
from medcls.evaluation.predictions import Predictions

RULES = Rules(0.5, 0.3, 1.6)


def predicted(n: int, random: np.random.Generator, split: str, shift: float = 0.0) -> pd.DataFrame:
    """Overlapping scores of a binary task; `shift` moves all of them towards `ill`."""
    ill = random.random(n) < 0.3
    scores = 1 / (1 + np.exp(-random.normal(np.where(ill, 1.5, -1.5) + shift, 1.5)))
    return pd.DataFrame(
        {
            "path": [f"{split}_{number}" for number in range(n)],
            "label": np.where(ill, "ill", "well"),
            "group": "",
            "split": split,
            "prob_ill": scores,
            "prob_well": 1 - scores,
            "ood": random.normal(size=n),
            "checkpoint": "c",
        }
    )


def watched(random: np.random.Generator, n: int = 200, m: int = 150, shift: float = 0.0, periods: int = 4) -> Watched:
    val, test = (Predictions(predicted(m, random, split), ("ill", "well"), "ill") for split in ("val", "test"))
    new = predicted(n, random, "new", shift).assign(period=[f"week {row * periods // n + 1}" for row in range(n)])
    return Watched(val, new, RULES, test, {"brightness": (random.normal(size=n), random.normal(size=m))})


@pytest.mark.slow
def test_the_same_distribution_raises_no_alarm():
    random = np.random.default_rng(0)
    found = [monitor(watched(random), resamples=2) for _ in range(30)]
    assert np.mean([bool(one.changes) for one in found]) <= 0.2


@pytest.mark.slow
@pytest.mark.parametrize(("n", "m"), [(60, 80), (200, 150), (1000, 400)])
def test_at_most_a_tenth_of_pages_raise_a_false_alarm(n, m):
    random = np.random.default_rng(n)
    found = [monitor(watched(random, n, m), resamples=2) for _ in range(150)]
    assert np.mean([bool(one.changes) for one in found]) <= 0.1


@pytest.mark.wording
def test_a_shift_is_found_and_the_rates_come_first():
    found = monitor(watched(np.random.default_rng(1), n=600, shift=1.5), resamples=100)
    moved = {one.name for one in (*found.distributions, *found.shares) if one.has_moved}
    assert {"probability of ill", "predicted ill", "specificity"} <= moved
    assert "brightness" not in moved and "out-of-distribution score" not in moved
    assert found.changes[0].startswith(("sensitivity", "specificity"))
    outside = found.periods[found.periods["outside"]]
    assert len(outside) and (outside["share"] > outside["upper"]).any()
    assert found.rates_from == "test" and found.labelled == 600


@pytest.mark.wording
def test_shares_are_counted_by_hand():
    one = watched(np.random.default_rng(2))
    found = {share.name: share.here for share in monitor(one, resamples=50).shares}
    new = one.new
    positive, flagged = new["prob_ill"] >= 0.5, new["ood"] > 1.6
    single = ((new["prob_ill"] >= 0.3).astype(int) + (new["prob_well"] >= 0.3)) == 1
    ill = new["label"] == "ill"
    assert found["predicted ill"].value == pytest.approx(positive.mean())
    assert found["out of distribution"].value == pytest.approx(flagged.mean())
    assert found["referred to a person"].value == pytest.approx((~single | flagged).mean())
    assert found["sensitivity"].value == pytest.approx(positive[ill].mean()) and found["sensitivity"].n == ill.sum()
    assert found["specificity"].value == pytest.approx(1 - positive[~ill].mean())


def test_without_labels_there_are_no_rates_and_the_verdict_does_not_claim_any():
    one = watched(np.random.default_rng(3))
    found = monitor(Watched(one.reference, one.new.assign(label=""), RULES), resamples=50)
    assert not any(share.is_rate for share in found.shares)
    assert found.labelled == 0 and found.rates_from == ""
    assert len(found.verdict()) > len(monitor(one, resamples=50).verdict())
    with pytest.raises(ValueError, match="Labels"):
        monitor(Watched(one.reference, one.new, RULES), resamples=50)


def test_images_of_a_patient_count_once():
    one = watched(np.random.default_rng(4), n=300, shift=1.0)
    patients = one.new.assign(group=[f"p{row // 30}" for row in range(300)])
    found = monitor(Watched(one.reference, patients, RULES, one.rates_from), resamples=50)
    alone = monitor(Watched(one.reference, one.new, RULES, one.rates_from), resamples=50)
    assert found.independent == 10 and alone.independent == 300
    for few, many in zip(found.shares, alone.shares, strict=True):
        assert few.here.n <= 10 and few.here.high - few.here.low > many.here.high - many.here.low


@pytest.mark.wording
def test_more_than_two_classes():
    random = np.random.default_rng(5)
    names = ("a", "b", "c")

    def table(n: int, split: str) -> pd.DataFrame:
        labels = random.integers(0, 3, n)
        scores = random.dirichlet([1, 1, 1], n) + 1.5 * np.eye(3)[labels]
        probabilities = scores / scores.sum(axis=1, keepdims=True)
        made = {f"prob_{name}": probabilities[:, k] for k, name in enumerate(names)}
        known = {"path": [f"{split}{row}" for row in range(n)], "label": np.array(names)[labels]}
        return pd.DataFrame({**known, "group": "", "split": split, **made, "checkpoint": "c"})

    val = Predictions(table(90, "val"), names, None)
    found = monitor(Watched(val, table(120, "new").assign(period="all"), Rules(None, 0.3, None), val), resamples=50)
    assert [one.name for one in found.distributions] == ["probability of the predicted class"]
    rates = {one.name for one in found.shares if one.is_rate}
    assert rates == {f"sensitivity for {name}" for name in names}
    assert sum(one.here.value for one in found.shares if one.name.startswith("predicted")) == pytest.approx(1)
