import pytest
import torch
from refusals import refused
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from medcls.learning.losses import binary_cross_entropy, cross_entropy, focal, in_class_order

COUNTS = [30, 10]
LABELS = torch.tensor([0, 1, 1, 0, 1])


def logits(columns: int = 2) -> torch.Tensor:
    return torch.randn(5, columns, generator=torch.Generator().manual_seed(1)) * 2


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [1.0, 3.0]])
def test_cross_entropy_is_torchs(weights: list | None, smoothing: float) -> None:
    expected = functional.cross_entropy(
        logits(), LABELS, None if weights is None else torch.tensor(weights), label_smoothing=smoothing
    )
    assert cross_entropy(COUNTS, weights, smoothing)(logits(), LABELS).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, "balanced", [1.0, 3.0]])
def test_one_logit_and_two_give_the_same_loss(weights: list | str | None, smoothing: float, positive: int) -> None:
    spread = logits().clone()
    spread[:, 1 - positive] = 0  # as Classifier.forward spreads one logit
    two, one = (make(COUNTS, weights, smoothing)(spread, LABELS) for make in (cross_entropy, binary_cross_entropy))
    assert one.item() == pytest.approx(two.item(), rel=1e-6)


def test_binary_cross_entropy_against_the_formula() -> None:
    z = logits()[:, 1]
    expected = functional.binary_cross_entropy(torch.sigmoid(z), LABELS.float())
    spread = torch.stack([torch.zeros_like(z), z], 1)
    assert binary_cross_entropy(COUNTS)(spread, LABELS).item() == pytest.approx(expected.item(), rel=1e-5)


def test_focal_is_torchvisions_for_two_classes() -> None:
    z = logits()[:, 1] - logits()[:, 0]
    expected = sigmoid_focal_loss(z, LABELS.float(), alpha=-1, gamma=2, reduction="mean")
    assert focal(COUNTS, gamma=2)(logits(), LABELS).item() == pytest.approx(expected.item(), rel=1e-5)
    assert focal(COUNTS, gamma=0)(logits(), LABELS).item() == pytest.approx(
        cross_entropy(COUNTS)(logits(), LABELS).item(), rel=1e-6
    )


def test_focal_has_finite_gradients_where_an_image_is_certain() -> None:
    certain = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    focal(COUNTS, gamma=0.5)(certain, torch.tensor([0, 0])).backward()
    assert torch.isfinite(certain.grad).all()


def test_p39_balanced_weights_come_from_the_counts() -> None:
    balanced = cross_entropy([30, 10], "balanced")
    assert balanced.weights == pytest.approx((40 / 60, 40 / 20))
    # A whole split with these counts: each class has the same share of the loss, and the mean weight is 1.
    labels = torch.tensor([0] * 30 + [1] * 10)
    assert balanced.total_weight(labels).item() == pytest.approx(40)


def test_p39_counts_that_cannot_be_balanced() -> None:
    with refused("class_without_images", "loss.class_weights=balanced", "[30, 0]"):
        cross_entropy([30, 0], "balanced")


@pytest.mark.parametrize("make", [cross_entropy, focal])
@pytest.mark.parametrize("weights", [None, "balanced"])
def test_batches_weighted_by_their_total_weight_average_to_the_split(make, weights) -> None:
    loss = make(COUNTS, class_weights=weights)
    parts = [slice(0, 3), slice(3, 5)]
    total = sum(loss(logits()[p], LABELS[p]) * loss.total_weight(LABELS[p]) for p in parts)
    assert (total / loss.total_weight(LABELS)).item() == pytest.approx(loss(logits(), LABELS).item(), rel=1e-6)


@pytest.mark.parametrize("make", [cross_entropy, binary_cross_entropy, focal])
@pytest.mark.parametrize(
    "wrong",
    [{"class_weights": "balance"}, {"class_weights": [1.0]}, {"class_weights": [1.0, 0.0]}, {"label_smoothing": 1.0}],
)
def test_what_makes_no_sense_is_refused(make, wrong) -> None:
    with refused("bad_value", f"loss.{next(iter(wrong))}"):
        make(COUNTS, **wrong)


@pytest.mark.parametrize("value", ["abc", "0.5", None, float("nan")])
def test_what_is_no_number_is_refused_by_its_name(value) -> None:
    with refused("bad_value", "loss.gamma", repr(value)):
        focal(COUNTS, gamma=value)
    for make in (cross_entropy, binary_cross_entropy, focal):
        with refused("bad_value", "loss.label_smoothing", repr(value)):
            make(COUNTS, label_smoothing=value)
        with refused("bad_value", "loss.class_weights", repr(value)):
            make(COUNTS, class_weights=[1.0, value])


@pytest.mark.parametrize("value", ["abc", 2.0, {"benign": 1.0, "malignant": 2.0}])
def test_class_weights_that_are_no_list_are_refused(value) -> None:
    with refused("bad_value", "loss.class_weights", repr(value)):
        cross_entropy(COUNTS, class_weights=value)


def test_weights_by_name_come_in_the_order_of_the_classes() -> None:
    classes = ("benign", "malignant")
    assert in_class_order({"malignant": 5, "benign": 1}, classes) == [1, 5]
    assert in_class_order({0: 1.5, 1: 2}, ("0", "1")) == [1.5, 2]
    for other in (None, "balanced", [1.0, 2.0]):
        assert in_class_order(other, classes) is other
    with refused("unknown_class", "loss.class_weights", "'malignent'", "malignant?"):
        in_class_order({"benign": 1, "malignent": 5}, classes)
    with refused("bad_value", "loss.class_weights", " malignant:"):
        in_class_order({"benign": 1}, classes)


@pytest.mark.parametrize("make", [cross_entropy, binary_cross_entropy, focal])
def test_the_loss_has_32_bits_for_any_default_dtype(make) -> None:
    """`trainer.precision=16-true` and `64-true` change the default type for the time of a step."""
    given = logits()
    expected = make(COUNTS, class_weights=[1.0, 3.0])(given, LABELS)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            for weights in ([1.0, 3.0], None):
                loss = make(COUNTS, class_weights=weights)
                assert loss(given.to(dtype), LABELS).dtype == loss.total_weight(LABELS).dtype == torch.float32
            assert torch.equal(make(COUNTS, class_weights=[1.0, 3.0])(given, LABELS), expected)
        finally:
            torch.set_default_dtype(before)


def test_outputs() -> None:
    assert cross_entropy([1, 1, 1]).outputs(3) == 3
    assert binary_cross_entropy(COUNTS).outputs(2) == 1
    with refused("not_binary", "loss=binary_cross_entropy", " 3:", "loss=cross_entropy"):
        binary_cross_entropy([1, 1, 1]).outputs(3)
    with refused("bad_value", "loss.class_weights", " 2 ", " 3 "):
        cross_entropy(COUNTS, [1.0, 2.0]).outputs(3)


def test_half_precision_logits_are_computed_in_float32() -> None:
    assert cross_entropy(COUNTS)(logits().bfloat16(), LABELS).dtype == torch.float32
