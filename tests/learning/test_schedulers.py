import functools
import math

import numpy as np
import pytest
import tiny_run
import torch
from refusals import refused

from medcls.learning import schedulers
from medcls.learning.schedulers import learning_rates

ADAM = functools.partial(torch.optim.Adam, lr=0.1)


def rates(name: str, steps: int = 20, each: int = 5, multipliers=(1.0,)) -> np.ndarray:
    return learning_rates(ADAM, tiny_run.SCHEDULERS[name], steps=steps, steps_per_epoch=each, multipliers=multipliers)


@pytest.mark.parametrize("name", tiny_run.SCHEDULERS)
def test_each_group_keeps_its_multiple_throughout(name: str) -> None:
    drawn = rates(name, multipliers=(0.1, 1.0))
    assert drawn.shape == (20, 2)
    np.testing.assert_allclose(drawn[:, 0], drawn[:, 1] * 0.1, rtol=1e-9)
    assert (drawn > 0).all()
    assert drawn[:, 1].max() <= 0.1 * (1 + 1e-9)


@pytest.mark.parametrize("name", tiny_run.SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
def test_short_runs(name: str, steps: int) -> None:
    assert np.isfinite(rates(name, steps=steps, each=1)).all()


def test_p36_the_first_value_is_what_was_asked_for() -> None:
    """The tutorial's formula was 50 epochs off: it began at 6.05e-4 and read as 1e-3."""
    assert rates("none")[0, 0] == 0.1
    assert rates("exponential")[0, 0] == 0.1
    no_warmup = functools.partial(schedulers.cosine, warmup=0.0, floor=0.01)
    drawn = learning_rates(ADAM, no_warmup, steps=20, steps_per_epoch=5)[:, 0]
    assert drawn[0] == pytest.approx(0.1)
    assert drawn[-1] == pytest.approx(0.001)
    assert (np.diff(drawn) < 0).all()


def test_cosine_rises_then_falls_along_the_formula() -> None:
    drawn = learning_rates(
        ADAM, functools.partial(schedulers.cosine, warmup=0.25, floor=0.2), steps=20, steps_per_epoch=5
    )[:, 0]
    np.testing.assert_allclose(drawn[:5], [0.02, 0.04, 0.06, 0.08, 0.1])
    step = 12
    expected = 0.1 * (0.2 + 0.8 * (1 + math.cos(math.pi * (step - 5) / 14)) / 2)
    assert drawn[step] == pytest.approx(expected)
    assert drawn[-1] == pytest.approx(0.02)


def test_exponential_moves_by_the_epoch() -> None:
    np.testing.assert_allclose(rates("exponential")[:, 0], np.repeat([0.1, 0.05, 0.025, 0.0125], 5))


def test_one_cycle_peaks_at_the_rate_as_set() -> None:
    drawn = learning_rates(
        ADAM, functools.partial(schedulers.one_cycle, warmup=0.3, start=0.04, floor=0.001), steps=99, steps_per_epoch=9
    )[:, 0]
    assert drawn[0] == pytest.approx(0.004)
    assert drawn.max() == pytest.approx(0.1)
    # One step is left over (see one_cycle), so the very end is only all but reached.
    assert drawn[-1] == pytest.approx(0.0001, rel=1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        functools.partial(schedulers.cosine, warmup=1.0),
        functools.partial(schedulers.cosine, floor=-0.1),
        functools.partial(schedulers.exponential, gamma=0),
        functools.partial(schedulers.plateau, monitor="val/loss", mode="minimum"),
        functools.partial(schedulers.one_cycle, start=0),
        functools.partial(schedulers.plateau, monitor="val/loss", mode="min", patience=-1),
    ],
)
def test_what_makes_no_sense_is_refused(wrong) -> None:
    name, value = list(wrong.keywords.items())[-1]
    with refused("bad_value", f"scheduler.{name}", repr(value)):
        learning_rates(ADAM, wrong, steps=10, steps_per_epoch=5)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (schedulers.cosine, ("warmup", "floor")),
        (schedulers.exponential, ("gamma",)),
        (functools.partial(schedulers.plateau, monitor="val/loss", mode="min"), ("factor", "patience", "floor")),
        (schedulers.one_cycle, ("warmup", "start", "floor")),
    ],
)
@pytest.mark.parametrize("value", ["abc", "0.5", None, float("nan")])
def test_what_is_no_number_is_refused_by_its_name(make, names, value) -> None:
    for name in names:
        with refused("bad_value", f"scheduler.{name}", repr(value)):
            learning_rates(ADAM, functools.partial(make, **{name: value}), steps=10, steps_per_epoch=5)


@pytest.mark.parametrize("setting", [{"lr": "abc"}, {"lr": None}, {"lr": 0.1, "weight_decay": "abc"}])
def test_an_optimizers_settings_are_shown_where_it_does_not_take_them(setting: dict) -> None:
    wrong = functools.partial(torch.optim.AdamW, **setting)
    name, value = list(setting.items())[-1]
    with refused("bad_value", f"optimizer.{name}={value}"):
        learning_rates(wrong, schedulers.constant, steps=10, steps_per_epoch=5)


def stepped(name: str, steps: int, each: int) -> list[list[float]]:
    """The rates of a training loop that leaves nothing out."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1 * 0.1, 0.1)]
    optimizer = ADAM(groups)
    config = tiny_run.SCHEDULERS[name](optimizer, steps, each)
    seen = []
    for step in range(1, steps + 1):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        if config["interval"] == "step" and step % config.get("frequency", 1) == 0:
            config["scheduler"].step(*([-float(step)] if name == "plateau" else []))
        if config["interval"] == "epoch" and step % each == 0:
            config["scheduler"].step()
    return seen


@pytest.mark.parametrize("name", tiny_run.SCHEDULERS)
@pytest.mark.parametrize(("steps", "each"), [(20, 5), (21, 7), (3, 3), (17, 5)])
def test_the_walk_is_a_training_loops(name: str, steps: int, each: int) -> None:
    np.testing.assert_array_equal(rates(name, steps, each, multipliers=(0.1, 1.0)), stepped(name, steps, each))


@pytest.mark.filterwarnings("error")  # torch's, of a scheduler that moves before its optimizer
@pytest.mark.parametrize("name", tiny_run.SCHEDULERS)
def test_a_long_run_is_walked_through_without_its_optimizer_steps(name: str) -> None:
    """An optimizer step takes forty times what the move of a schedule takes: minutes before a long run."""
    taken = []

    class Counting(torch.optim.Adam):
        def step(self, closure=None):
            taken.append(1)
            return super().step(closure)

    optimizer = functools.partial(Counting, lr=0.1)
    drawn = learning_rates(optimizer, tiny_run.SCHEDULERS[name], steps=20_000, steps_per_epoch=1000)
    assert drawn.shape == (20_000, 1)
    assert len(taken) <= 1


def test_plateau_falls_once_an_epoch_and_not_below_its_floor(tmp_path) -> None:
    seen = []

    class Watch(tiny_run.lightning.Callback):
        def on_train_epoch_start(self, trainer, pl_module) -> None:
            seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    # Nothing is ever better than the first: the rate halves after each later epoch, down to a fifth.
    never = functools.partial(schedulers.plateau, monitor="val/n", mode="max", factor=0.5, patience=0, floor=0.2)
    module = tiny_run.classifier(scheduler=never, multipliers={"backbone": 0.1})
    trainer = tiny_run.trainer(tmp_path, 6, [Watch()], enable_checkpointing=False, accumulate_grad_batches=4)
    trainer.fit(module, datamodule=tiny_run.TinyData())
    np.testing.assert_allclose([lr for _, lr in seen], [0.02, 0.02, 0.01, 0.005, 0.004, 0.004])
    np.testing.assert_allclose([lr for lr, _ in seen], [0.1 * lr for _, lr in seen])


@pytest.mark.parametrize("name", ["cosine", "one_cycle", "exponential"])
def test_the_drawing_is_what_training_does(tmp_path, name: str) -> None:
    seen = []

    class Watch(tiny_run.lightning.Callback):
        def on_train_batch_start(self, trainer, *rest) -> None:
            seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    tiny_run.run(tmp_path, epochs=3, scheduler=name, multipliers={"head": 2.0}, more=(Watch(),))
    steps = math.ceil(tiny_run.TRAIN_ROWS / tiny_run.BATCH)
    drawn = learning_rates(
        functools.partial(torch.optim.AdamW, lr=0.02),
        tiny_run.SCHEDULERS[name],
        steps=3 * steps,
        steps_per_epoch=steps,
        multipliers=(2.0, 1.0),
    )
    np.testing.assert_array_equal(seen, drawn)
