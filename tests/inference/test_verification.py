"""Whether two models predict the same, and how long each takes."""

from collections.abc import Callable

import numpy as np
import pytest

from medcls.evaluation.decision_rules import DecisionRules
from medcls.evaluation.thresholds import OperatingPoint
from medcls.inference.model import Model, ModelDescription
from medcls.inference.verification import Agreement, agreement, agreement_of, milliseconds
from medcls.preprocessing import Preprocessing

SIZE = (4, 4)
AT_075 = DecisionRules(
    None, OperatingPoint("youden", 0.75, "b", split="val", n=50, groups=50, positives=20), None, {}, None
)


def model(
    score: Callable = lambda pixels: np.zeros((len(pixels), 2), np.float32), classes: str = "ab", **more
) -> Model:
    positive, rules = ("b", more.pop("rules", None)) if len(classes) == 2 else (None, None)
    preprocessing = Preprocessing(SIZE, (0.5,), (0.5,))
    return Model(ModelDescription("made", tuple(classes), positive, preprocessing, rules, (), "0" * 8), score, **more)


def logits_of(*probabilities: float) -> np.ndarray:
    """Logits `(n, 2)` of which the second class has these probabilities."""
    p = np.array(probabilities)
    return np.stack([np.zeros_like(p), np.log(p / (1 - p))], axis=1).astype(np.float32)


def test_the_largest_differences_are_found():
    expected = np.array([[1.0, -4.0], [0.0, 0.0]], np.float32)
    found = expected + np.float32([[0.25, 0], [0, -0.5]])
    got = agreement_of(model(), model(), expected, found)
    assert (got.images, got.largest_logit, got.logit_difference) == (2, 4.0, 0.5)
    assert got.probability_difference == pytest.approx(0.5 - 1 / (1 + np.exp(0.5)), abs=1e-6)


@pytest.mark.parametrize(
    ("rules", "before", "after", "same", "close"),
    [
        (AT_075, 0.9, 0.8, 1, 0),
        (AT_075, 0.76, 0.74, 0, 1),  # 0.01 from the threshold, and 0.02 apart
        (AT_075, 0.6, 0.61, 1, 0),
        (AT_075, 0.9, 0.7, 0, 1),
        (None, 0.51, 0.49, 0, 1),
    ],
)
def test_decisions_may_differ_by_rounding_alone(rules, before, after, same, close):
    models = (model(rules=rules), model(rules=rules))
    got = agreement_of(*models, logits_of(before, 0.9), logits_of(after, 0.9))
    assert (got.same_decisions, got.at_the_threshold) == (same + 1, close)
    assert got.is_within(0.21) and not got.is_within(0.005)


def test_another_threshold_is_no_rounding():
    exported = DecisionRules(
        None, OperatingPoint("youden", 0.6, "b", split="val", n=50, groups=50, positives=20), None, {}, None
    )
    logits = logits_of(0.7, 0.9)
    got = agreement_of(model(rules=AT_075), model(rules=exported), logits, logits)
    assert (got.same_decisions, got.at_the_threshold, got.probability_difference) == (1, 0, 0.0)
    assert not got.is_within(1.0)


def test_of_several_classes_the_two_most_probable_decide():
    expected = np.array([[2.0, 1.99, 0.0], [5.0, 0.0, 0.0]], np.float32)
    got = agreement_of(model(classes="abc"), model(classes="abc"), expected, expected + np.float32([-0.02, 0, 0]))
    assert (got.same_decisions, got.at_the_threshold) == (1, 1)


@pytest.mark.parametrize("count", [1, 2, 8, 9])
def test_the_export_gets_the_first_image_alone_and_batches_of_any_size(count):
    sizes: dict[str, list[int]] = {"reference": [], "exported": []}

    def score(name: str) -> Callable:
        def logits(pixels: np.ndarray) -> np.ndarray:
            sizes[name].append(len(pixels))
            return pixels[:, 0, 0, :].astype(np.float32) * np.float32([1, -1])

        return logits

    pixels = [np.full((*SIZE, 1), number, np.uint8) for number in range(count)]
    got = agreement(*(model(score(name), batch_size=4) for name in sizes), pixels)
    assert (got.images, got.largest_logit, got.logit_difference, got.same_decisions) == (count, count - 1, 0.0, count)
    assert sizes["exported"][0] == 1 and max(sizes["reference"] + sizes["exported"]) <= 4
    assert sum(sizes["reference"]) == sum(sizes["exported"]) == count


def test_an_agreement_counts_decisions_that_rounding_cannot_explain():
    base = {"images": 10, "largest_logit": 3.0, "logit_difference": 1e-6, "probability_difference": 1e-7}
    assert Agreement(**base, same_decisions=10, at_the_threshold=0).is_within(1e-5)
    assert Agreement(**base, same_decisions=9, at_the_threshold=1).is_within(1e-5)
    assert not Agreement(**base, same_decisions=9, at_the_threshold=0).is_within(1e-5)
    apart = base | {"probability_difference": 2e-5}
    assert not Agreement(**apart, same_decisions=10, at_the_threshold=0).is_within(1e-5)


def test_times_are_medians_of_rounds_in_turn_after_one_that_does_not_count(monkeypatch):
    calls: list[str] = []
    clock = [0.0]
    monkeypatch.setattr("medcls.inference.verification.time.perf_counter", lambda: clock[0])
    seconds = {"fast": [9.0, 0.001, 0.003, 0.002], "slow": [9.0, 0.02, 0.02, 5.0]}

    def take(name: str) -> Callable:
        def score(_: np.ndarray) -> None:
            clock[0] += seconds[name][calls.count(name)]
            calls.append(name)

        return score

    times = milliseconds([take("fast"), take("slow")], np.zeros((1, *SIZE, 1), np.uint8), rounds=3)
    assert times == pytest.approx([2, 20]) and calls == ["fast", "slow"] * 4
