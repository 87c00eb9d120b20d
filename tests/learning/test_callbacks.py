from pathlib import Path

import lightning
import pytest
import tiny_run
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from tiny_run import THAW_AFTER_2, TinyData

from medcls.learning.callbacks import FEW_STEPS, ExactBatchNorm, SeedEachEpoch, statistics_lag
from medcls.learning.checkpoints import checkpoints


def draws(folder: Path, seed: int) -> list[float]:
    seen = []

    class Watch(lightning.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            if batch_idx == 0:
                seen.append(torch.rand(()).item())

    callbacks = [SeedEachEpoch(seed), Watch()]
    tiny_run.trainer(folder, 3, callbacks, enable_checkpointing=False).fit(tiny_run.classifier(), datamodule=TinyData())
    return seen


def test_p40_dropout_is_a_function_of_seed_and_epoch(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = draws(tmp_path, 5)
    torch.manual_seed(2)
    torch.rand(17)
    assert draws(tmp_path, 5) == first
    assert len(set(first)) == 3
    assert not set(draws(tmp_path, 6)) & set(first)


def expected_statistics(network: torch.nn.Module, batches) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over batches of the first norm's input mean and unbiased variance: no other layer is before it."""
    outputs = [network.stem[0](images) for images, _, _ in batches]
    means = torch.stack([out.mean((0, 2, 3)) for out in outputs])
    variances = torch.stack([out.var((0, 2, 3)) for out in outputs])
    return means.mean(0), variances.mean(0)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("ema", [False, True], ids=["raw", "ema"])
def test_statistics_of_the_checkpoint_are_those_of_its_weights(tmp_path: Path, ema: bool, order: str) -> None:
    data = TinyData()
    averaging = [EMAWeightAveraging(decay=0.9)] if ema else []
    exact = [ExactBatchNorm(data.unaugmented())]
    callbacks = [*exact, *averaging] if order == "before" else [*averaging, *exact]
    module = tiny_run.classifier()
    tiny_run.trainer(tmp_path, 2, [*callbacks, *checkpoints(tmp_path, "val/loss", "min")]).fit(module, datamodule=data)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    fresh = tiny_run.classifier()
    fresh.load_state_dict(saved["state_dict"])
    mean, variance = expected_statistics(fresh.network, data.unaugmented())
    torch.testing.assert_close(fresh.network.stem[1].running_mean, mean)
    torch.testing.assert_close(fresh.network.stem[1].running_var, variance)
    # And training goes on with the momentum it had.
    assert {m.momentum for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}
    if ema:
        raw = saved["current_model_state"]["network.stem.1.running_mean"]
        assert not torch.allclose(raw, mean), "the averaged network has statistics of its own"


def test_running_statistics_would_have_been_others(tmp_path: Path) -> None:
    """What the callback is for: without it the statistics lag behind the weights."""
    data = TinyData()
    module = tiny_run.run(tmp_path, epochs=2)
    mean, _ = expected_statistics(module.network, data.unaugmented())
    assert not torch.allclose(module.network.stem[1].running_mean, mean, atol=1e-3)


def test_frozen_norms_do_not_change_until_they_train(tmp_path: Path) -> None:
    seen = []

    class Watch(lightning.Callback):
        def on_train_epoch_end(self, trainer, pl_module) -> None:
            seen.append(pl_module.network.stem[1].running_mean.clone())

    tiny_run.run(tmp_path, epochs=3, phases=THAW_AFTER_2, exact=True, more=(Watch(),))
    assert torch.equal(seen[0], torch.zeros(4))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


@pytest.mark.parametrize(
    ("network", "steps", "lags"),
    [
        (tiny_run.TinyNet(), FEW_STEPS - 1, True),
        (tiny_run.TinyNet(), FEW_STEPS, False),
        (torch.nn.Linear(2, 2), 10, False),
        (torch.nn.BatchNorm2d(4, track_running_stats=False), 10, False),
    ],
)
def test_statistics_lag_behind_where_there_are_some_and_steps_are_few(network, steps, lags) -> None:
    assert statistics_lag(network, steps) == lags


def test_the_pass_draws_nothing_from_dropout(tmp_path: Path) -> None:
    modes = []
    module = tiny_run.classifier()
    module.network.stem[3].register_forward_hook(lambda m, _, __: modes.append((m.training, torch.is_grad_enabled())))
    exact = ExactBatchNorm(TinyData().unaugmented())
    tiny_run.trainer(tmp_path, 1, [exact], enable_checkpointing=False).fit(module, datamodule=TinyData())
    assert modes.count((True, True)) == 6  # training batches
    assert modes.count((False, False)) == 6 + 3  # the pass and validation


def test_an_average_of_frozen_weights(tmp_path: Path) -> None:
    """Averaging equal numbers rounds: Lightning's average may leave a frozen weight by the last bit, no more."""
    tiny_run.run(tmp_path, epochs=2, phases=[{"epochs": None, "freeze": ["backbone"]}], ema=True)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    for name, tensor in saved["state_dict"].items():
        if ".stem." in name and tensor.is_floating_point():
            torch.testing.assert_close(tensor, saved["current_model_state"][name], rtol=1e-6, atol=1e-7)
