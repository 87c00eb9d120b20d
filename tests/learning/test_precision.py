"""Precisions of the trainer: batches have the network's dtype, losses and metrics 32 bits."""

import functools

import pytest
import tiny_run
import torch
from entry_points import FAST, run_main
from refusals import refused

from medcls import train
from medcls.data.module import ImageDataModule, Loading
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split
from medcls.data.transforms import Augmentation
from medcls.learning import losses
from medcls.learning.callbacks import ExactBatchNorm
from medcls.learning.features import FrozenFeatures
from medcls.learning.freezing import FreezeSchedule
from medcls.learning.precision import check_half_precision
from medcls.preprocessing import Preprocessing

TYPES = {"16-true": torch.float16, "bf16-true": torch.bfloat16, "64-true": torch.float64, "bf16-mixed": torch.float32}
THEN_HEAD = [{"epochs": 2, "freeze": []}, {"epochs": None, "freeze": ["backbone"]}]


@pytest.mark.slow
@pytest.mark.parametrize("precision", TYPES)
def test_batches_follow_the_networks_type_and_metrics_do_not(folder, tmp_path, precision):
    """Every way to the network: training, validation, exact statistics, features of what is frozen, prediction."""
    manifest = split(from_folders(folder({"a": 16, "b": 16}), positive="b"))
    preprocessing = Preprocessing(size=24, mean=(0.5,) * 3, std=(0.2,) * 3)
    data = ImageDataModule(manifest, preprocessing, Augmentation(), Loading(batch_size=8, views=1))
    module = tiny_run.classifier(
        classes=manifest.classes,
        loss=losses.cross_entropy([10, 10], [1.0, 3.0]),
        optimizer=functools.partial(torch.optim.SGD, lr=0.02),
    )
    given = set()
    module.network.stem[0].register_forward_pre_hook(lambda _, inputs: given.add(inputs[0].dtype))
    features = FrozenFeatures(data.rows_of, data.views, data.without_images, len(manifest), 10**9)
    callbacks = [FreezeSchedule(THEN_HEAD, "classifier"), features, ExactBatchNorm(data.unaugmented_training())]
    trainer = tiny_run.trainer(
        tmp_path, 3, callbacks, precision=precision, enable_checkpointing=False, deterministic=False
    )
    trainer.fit(module, datamodule=data)
    assert given == {TYPES[precision]}
    assert all(parameter.dtype == TYPES[precision] for parameter in module.network.parameters())
    for name in ("train/loss", "val/loss"):
        assert trainer.callback_metrics[name].dtype == torch.float32
        assert 0 < float(trainer.callback_metrics[name]) < 3


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "64-true"])
def test_each_trains_to_its_report(folder, tmp_path, precision):
    run_main(
        train.main, *FAST, f"data.root={folder({'a': 20, 'b': 20})}", "positive_class=a", "trainer.max_epochs=2",
        f"trainer.precision={precision}", "optimizer=sgd", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert (tmp_path / "run" / "report.html").is_file()


def test_an_eps_that_is_nothing_in_16_bits_is_refused():
    adam = functools.partial(torch.optim.AdamW, lr=0.001)
    with refused("conflicting_settings", "trainer.precision", "AdamW", "1e-08", "bf16-true", "optimizer.eps"):
        check_half_precision("16-true", adam)
    for precision in ("bf16-true", "16-mixed", "32-true"):
        check_half_precision(precision, adam)
    check_half_precision("16-true", functools.partial(torch.optim.AdamW, eps=1e-4))
    check_half_precision("16-true", functools.partial(torch.optim.SGD, lr=0.1))


class WithoutFloat64(torch.Tensor):
    """Stands in for a tensor on Apple's GPUs, which have no float64; on the CPU it is a plain one."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.cpu, torch.Tensor.numpy):
            return func(args[0].as_subclass(torch.Tensor))
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, torch.Tensor) and result.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return result


def test_metrics_are_computed_where_there_is_float64(tmp_path):
    seen = []
    module = tiny_run.classifier(metrics=lambda labels, p: seen.append(p) or {"accuracy": 1.0, "n": len(labels)})

    class OnApple(torch.nn.Module):
        def __init__(self, metric) -> None:
            super().__init__()
            self.metric = metric
            self.update, self.reset = metric.update, metric.reset

        def compute(self) -> torch.Tensor:
            return self.metric.compute().as_subclass(WithoutFloat64)

    with pytest.raises(TypeError, match="MPS"):
        torch.ones(2).as_subclass(WithoutFloat64).double()
    for name in ("_val_logits", "_val_labels", "_val_rows"):
        setattr(module, name, OnApple(getattr(module, name)))
    trainer = tiny_run.trainer(tmp_path, 1, [], enable_checkpointing=False)
    trainer.fit(module, datamodule=tiny_run.TinyData())
    assert seen[-1].dtype == "float64"
    assert seen[-1].sum(1) == pytest.approx(1)
