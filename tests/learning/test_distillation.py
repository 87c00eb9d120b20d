"""Distillation: the published formula, of the training images alone, the same after a resume."""

from pathlib import Path

import numpy as np
import pytest
import tiny_run
import torch
from refusals import refused
from test_resume import compare
from tiny_run import CLASSES, TRAIN_ROWS, VAL_ROWS
from torch.nn import functional

from medcls.learning.distillation import Teaching, soft_targets
from medcls.learning.losses import binary_cross_entropy, cross_entropy, focal

COUNTS = [30, 10]
LABELS = torch.tensor([0, 1, 1, 0, 1])


def logits(seed: int, columns: int = 2) -> torch.Tensor:
    return torch.randn(5, columns, generator=torch.Generator().manual_seed(seed)) * 2


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20])
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_it_is_the_published_formula_to_the_last_bit(temperature, share):
    student, teacher = logits(1), logits(2)
    of_student, of_teacher = (functional.log_softmax(one / temperature, dim=1) for one in (student, teacher))
    divergence = (of_teacher.exp() * (of_teacher - of_student)).sum(dim=1)
    expected = (1 - share) * functional.cross_entropy(student, LABELS) + share * (temperature**2 * divergence).mean()
    found = soft_targets(temperature, share)(cross_entropy(COUNTS), student, LABELS, teacher)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    exact = functional.kl_div(of_student, of_teacher, reduction="none", log_target=True).sum(dim=1)
    labels = functional.cross_entropy(student, LABELS, torch.ones(2), reduction="none").sum() / 5
    assert torch.equal(found, (1 - share) * labels + share * (temperature**2 * exact).mean())


@pytest.mark.parametrize("weights", [[1.0, 3.0], "balanced"])
@pytest.mark.parametrize("make", [cross_entropy, binary_cross_entropy, focal])
def test_an_image_has_the_same_class_weight_in_both_parts(make, weights):
    student, teacher = logits(1), logits(2)
    student[:, 0] = 0  # as a single logit is expanded
    loss = make(COUNTS, class_weights=weights)
    of_class = torch.tensor(loss.weights)[LABELS]
    divergence = soft_targets(2.0).per_image(student, teacher)
    expected = 0.7 * loss(student, LABELS) + 0.3 * (of_class * divergence).sum() / of_class.sum()
    assert soft_targets(2.0, 0.3)(loss, student, LABELS, teacher).item() == pytest.approx(expected.item(), rel=1e-6)


def test_gradients_keep_their_size_at_high_temperatures():
    """Hinton et al. 2015, equation 4: of logits without a mean, (student - teacher) / classes, whatever the T."""
    student, teacher = (one - one.mean(1, keepdim=True) for one in (logits(1, 3).double(), logits(2, 3).double()))
    for temperature in (1000.0, 10000.0):
        own = student.clone().requires_grad_()
        soft_targets(temperature).per_image(own, teacher).sum().backward()
        torch.testing.assert_close(own.grad, (student - teacher) / 3, rtol=0.05, atol=1e-3)


def test_a_student_that_agrees_has_nothing_to_learn():
    student = logits(1).requires_grad_()
    loss = soft_targets(3.0, 1.0)(cross_entropy(COUNTS), student, LABELS, student.detach() + 5.0)
    loss.backward()
    assert abs(loss.item()) < 1e-6 and student.grad.abs().max() < 1e-6


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0), ("temperature", float("inf")), ("share", 0), ("share", 1.1)]
)
def test_impossible_settings_are_refused(name, value):
    with refused("bad_value", f"distillation.{name}"):
        soft_targets(**{name: value})


class Made:
    """A teacher whose logits are a function of (epoch, row); notes the epochs that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, epoch: int, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(epoch)
        made = [np.random.default_rng([epoch % 2, row]).normal(size=len(CLASSES)) for row in range(TRAIN_ROWS)]
        rows = np.arange(TRAIN_ROWS)[::-1].copy()
        return np.array(made, dtype=np.float32)[rows], rows


def taught(outputs: Made, views: int | None, share: float = 0.5) -> tuple[Teaching]:
    return (Teaching(soft_targets(2.0, share), outputs, views, TRAIN_ROWS + VAL_ROWS),)


def test_fixed_views_are_taught_once_others_in_each_epoch(tmp_path: Path):
    for views, expected in ((2, [0, 1]), (None, [0, 1, 2, 3])):
        outputs = Made()
        module = tiny_run.run(tmp_path / str(views), more=taught(outputs, views))
        assert outputs.asked == expected
        assert module.taught is None


def test_what_is_trained_on_is_the_loss_with_the_teacher_and_val_is_without():
    module = tiny_run.classifier().eval()
    images, labels, rows = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 0, 1]), torch.tensor([3, 0, 2, 1])
    table = torch.randn(5, 2)
    module.taught = table, soft_targets(2.0, 0.5)
    with torch.no_grad():
        own = module(images)
        expected = soft_targets(2.0, 0.5)(module.loss, own, labels, table[[3, 0, 2, 1]])
        assert torch.equal(module.training_step((images, labels, rows), 0), expected)
        module.validation_step((images, labels, rows), 0)
    assert torch.equal(module._val_logits.compute(), own)


def test_rows_that_are_not_trained_on_have_no_teacher(tmp_path: Path):
    class FewRows(Made):
        def __call__(self, epoch: int, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
            logits, rows = super().__call__(epoch, device)
            return logits[1:], rows[1:]

    with refused("loss_not_finite"):
        tiny_run.run(tmp_path, more=taught(FewRows(), None))


@pytest.mark.parametrize("views", [2, pytest.param(None, marks=pytest.mark.slow)])
def test_a_resumed_student_is_bit_identical(tmp_path: Path, views: int | None):
    compare(tmp_path, more=taught(Made(), views), scheduler="cosine")


def test_a_student_of_another_share_is_another_network(tmp_path: Path):
    one, other = (tiny_run.run(tmp_path / str(s), epochs=1, more=taught(Made(), 2, s)) for s in (0.5, 0.9))
    assert not torch.equal(one.network.classifier[1].weight, other.network.classifier[1].weight)
