import functools
from pathlib import Path

import lightning
import numpy as np
import pytest
import tiny_run
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from refusals import refused
from tiny_run import BATCH, TRAIN_ROWS, VAL_ROWS, TinyData, TinyNet, classifier
from torch import nn

from medcls.learning.checkpoints import checkpoints
from medcls.learning.losses import binary_cross_entropy, cross_entropy
from medcls.statistics.metric_table import BETTER


def fit(folder: Path, module, callbacks=(), epochs: int = 1, data=None, **settings) -> lightning.Trainer:
    trainer = tiny_run.trainer(folder, epochs, list(callbacks), **({"enable_checkpointing": False} | settings))
    trainer.fit(module, datamodule=data or TinyData())
    return trainer


# ---------------------------------------------------------------------- names that can be monitored


def test_p31_an_unknown_monitor_is_refused_with_the_names_there_are() -> None:
    """The tutorial's early stopping watches val_acc, which nothing logs."""
    module = classifier()
    with refused("unknown_metric", "monitor=val_acc", *module.metric_names()):
        module.check_monitor("val_acc", "max", BETTER)
    module.check_monitor("val/accuracy", "max", BETTER)
    module.check_monitor("val/loss", "min", BETTER)


@pytest.mark.parametrize(
    ("monitor", "mode", "line"),
    [
        ("val/loss", "max", "monitor_mode=min"),
        ("train/loss", "max", "monitor_mode=min"),
        ("val/accuracy", "min", "monitor_mode=max"),
        ("train/accuracy", "min", "monitor_mode=max"),
    ],
)
def test_p32_the_wrong_end_of_a_metric_is_refused_with_the_line_to_type(monitor: str, mode: str, line: str) -> None:
    """monitor=val/loss beside the mode of another metric would score the worst epoch as the best."""
    with refused("conflicting_settings", f"monitor={monitor}", f" {line}."):
        classifier().check_monitor(monitor, mode, BETTER)


@pytest.mark.parametrize("name", ["n", "prevalence", "majority_baseline"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_p32_a_constant_cannot_select(name: str, mode: str) -> None:
    module = classifier(metrics=lambda labels, probabilities: {name: 0.5, "accuracy": 0.5})
    with refused("constant_metric", f"monitor=val/{name}", "val/loss, val/accuracy"):
        module.check_monitor(f"val/{name}", mode, BETTER)


@pytest.mark.parametrize("mode", ["lowest", None, True])
def test_a_mode_that_does_not_exist_is_refused(mode) -> None:
    with refused("bad_value", "monitor_mode", repr(mode)):
        classifier().check_monitor("val/loss", mode, BETTER)


def test_p31_metric_names_are_those_that_are_logged(tmp_path: Path) -> None:
    module = classifier()
    trainer = fit(tmp_path, module)
    assert set(trainer.callback_metrics) == set(module.metric_names())


# ---------------------------------------------------------------------- one logit, channels_last


@pytest.mark.parametrize("positive", [0, 1])
def test_one_logit_is_the_positive_classes(positive: int) -> None:
    module = classifier(network=TinyNet(1), loss=binary_cross_entropy([11, 11]), positive=positive).eval()
    images = torch.randn(3, 3, 8, 8)
    logits = module(images)
    assert logits.shape == (3, 2)
    z = module.network(images)[:, 0]
    torch.testing.assert_close(logits.softmax(1)[:, positive], torch.sigmoid(z))
    assert (logits[:, 1 - positive] == 0).all()


@pytest.mark.parametrize("positive", [0, 1])
def test_training_on_one_logit_learns_the_right_direction(tmp_path: Path, positive: int) -> None:
    module = classifier(network=TinyNet(1), loss=binary_cross_entropy([11, 11]), positive=positive)
    trainer = fit(tmp_path, module, epochs=12)
    assert trainer.callback_metrics["val/accuracy"] > 0.8


def test_one_logit_without_a_positive_class_is_refused() -> None:
    with refused("missing_setting", "positive_class"):
        classifier(network=TinyNet(1), loss=binary_cross_entropy([11, 11]), positive=None)


def test_network_and_images_are_channels_last() -> None:
    module = classifier()
    assert module.network.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    seen = []
    module.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module(torch.randn(2, 3, 8, 8))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


# ---------------------------------------------------------------------- figures of the whole split


@pytest.mark.parametrize("weights", [None, [1.0, 4.0]])
def test_p41_losses_are_weighted_by_samples(tmp_path: Path, weights) -> None:
    """The mean of batch means would count an image of the short last batch for more."""
    module = classifier(
        network=TinyNet().eval(),
        loss=cross_entropy([11, 11], weights),
        optimizer=functools.partial(torch.optim.SGD, lr=0.0),
    )
    for dropout in module.modules():
        if isinstance(dropout, nn.Dropout):
            dropout.p = 0.0
        if isinstance(dropout, nn.BatchNorm2d):
            dropout.track_running_stats = False
            dropout.running_mean = dropout.running_var = None  # batch statistics, in train and eval alike

    data = TinyData()
    trainer = fit(tmp_path, module, data=data)
    for split, loader, rows in (
        ("train", data.train_dataloader(), TRAIN_ROWS),
        ("val", data.val_dataloader(), VAL_ROWS),
    ):
        assert rows % BATCH
        batches = list(loader)
        logits = torch.cat([module(images) for images, _, _ in batches])
        labels = torch.cat([labels for _, labels, _ in batches])
        whole = module.loss(logits, labels)
        assert trainer.callback_metrics[f"{split}/loss"].item() == pytest.approx(whole.item(), rel=1e-5)
        of_batches = np.mean([module.loss(module(images), labels).item() for images, labels, _ in batches])
        assert of_batches != pytest.approx(whole.item(), rel=1e-4), "the mistake must show in this data"
        accuracy = (logits.argmax(1) == labels).float().mean()
        assert trainer.callback_metrics[f"{split}/accuracy"].item() == pytest.approx(accuracy.item())


def test_metrics_see_each_row_of_the_split_once_in_one_call(tmp_path: Path) -> None:
    calls = []

    def metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
        calls.append((labels, probabilities))
        return {"seen": float(len(labels))}

    class Twice(TinyData):
        def val_dataloader(self):
            loader = super().val_dataloader()
            loader.sampler.rows = [*range(22, 33), 22, 23]  # padded, as a distributed sampler pads
            return loader

    module = classifier(metrics=metrics)
    trainer = fit(tmp_path, module, data=Twice())
    assert trainer.callback_metrics["val/seen"] == VAL_ROWS
    labels, probabilities = calls[-1]
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, np.arange(22, 33) % 2)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)


def test_prediction_is_exact(tmp_path: Path) -> None:
    module = classifier()
    data = TinyData()
    fit(tmp_path, module, data=data)
    trainer = tiny_run.trainer(tmp_path, 1, [], enable_checkpointing=False)
    passes = [trainer.predict(module, dataloaders=data.val_dataloader()) for _ in range(2)]
    logits, rows = (torch.cat([batch[part] for batch in passes[0]]) for part in (0, 1))
    assert rows.tolist() == list(range(22, 33))
    assert torch.equal(logits, torch.cat([batch[0] for batch in passes[1]]))
    alone = module.eval()(data.val_dataloader().dataset[(0, 25)][0][None])
    torch.testing.assert_close(alone[0], logits[3])


# ---------------------------------------------------------------------- optimizer groups


def test_all_parameters_enter_once_in_named_groups(tmp_path: Path) -> None:
    module = classifier(multipliers={"stem.*": 0.01, "backbone": 0.1})
    module.network.stem.requires_grad_(False)
    logger = CSVLogger(tmp_path, name="logs")
    trainer = fit(tmp_path, module, [LearningRateMonitor()], logger=logger, log_every_n_steps=1)
    groups = {group["name"]: group for group in trainer.optimizers[0].param_groups}
    assert {name: group["lr"] for name, group in groups.items()} == pytest.approx(
        {"stem.*": 0.02 * 0.01, "backbone": 0.02 * 0.1, "rest": 0.02}
    )
    given = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(given) == sorted(id(p) for p in module.network.parameters())
    assert "lr-AdamW/backbone" in Path(logger.log_dir, "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("multipliers", "kind", "names"),
    [
        ({"stam.*": 0.1}, "pattern_matches_nothing", ("'stam.*'", " stem.*,")),
        ({"backbone": 0.0}, "bad_value", ("schedule.learning_rate_multipliers", "backbone", "0.0")),
        ({"backbone": "abc"}, "bad_value", ("schedule.learning_rate_multipliers", "backbone", "'abc'")),
        ({"backbone": "0.1"}, "bad_value", ("schedule.learning_rate_multipliers", "backbone", "'0.1'")),
        ({"backbone": None}, "bad_value", ("schedule.learning_rate_multipliers", "backbone", "None")),
        ({"backbone": float("inf")}, "bad_value", ("schedule.learning_rate_multipliers", "backbone", "inf")),
        ({"backbone": 0.1, "stem.*": 0.5}, "pattern_matches_nothing", ("learning_rate_multipliers", "'stem.*'")),
    ],
)
def test_multipliers_that_do_nothing_are_refused(multipliers: dict, kind: str, names: tuple[str, ...]) -> None:
    with refused(kind, *names):
        classifier(multipliers=multipliers)


# ---------------------------------------------------------------------- a loss that is not a number


class Poison(lightning.Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, 1):
            batch[0].fill_(float("nan"))


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    module = classifier()
    kept = checkpoints(tmp_path / "checkpoints", "val/loss", "min")
    best = tmp_path / "checkpoints" / "best.ckpt"
    before = []

    class Read(lightning.Callback):
        def on_train_epoch_start(self, trainer, pl_module) -> None:
            if trainer.current_epoch == 1:
                before.append(best.read_bytes())

    saved = (str(best), str(best.with_name("last.ckpt")))
    with refused("loss_not_finite", "nan", "epoch 1", "step 7", " 0.02", *saved):
        fit(tmp_path, module, [Poison(1), Read(), *kept], epochs=3, enable_checkpointing=True)
    assert [best.read_bytes()] == before
    tiny_run.classifier().load_state_dict(torch.load(best, weights_only=True)["state_dict"])
    state = torch.load(best, weights_only=True)["state_dict"]
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    # Nor did any of it reach the weights.
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())


def test_a_first_loss_of_nan_reports_that_nothing_was_written(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path / "checkpoints", "val/loss", "min")
    with refused("loss_not_finite", "epoch 0", "step 1") as caught:
        fit(tmp_path, classifier(), [Poison(0), *kept], enable_checkpointing=True)
    assert ".ckpt" not in str(caught.value)


def test_weights_that_went_bad_in_the_last_step_do_not_reach_a_checkpoint(tmp_path: Path) -> None:
    class Break(lightning.Callback):
        def on_train_epoch_end(self, trainer, pl_module) -> None:
            raise AssertionError("validation let it pass")

        def on_validation_start(self, trainer, pl_module) -> None:
            nn.init.constant_(pl_module.network.classifier[1].weight, float("nan"))

    with refused("loss_not_finite", "validation"):
        fit(tmp_path, classifier(), [Break()])


# ---------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("ema", [False, True])
def test_both_checkpoints_load_as_weights_only_with_their_description(tmp_path: Path, ema: bool) -> None:
    callbacks = [*checkpoints(tmp_path, "val/loss", "min"), lightning.pytorch.callbacks.EarlyStopping("val/loss")]
    callbacks += [EMAWeightAveraging(decay=0.9)] if ema else []
    fit(tmp_path, classifier(), callbacks, epochs=2, enable_checkpointing=True)
    assert sorted(path.name for path in tmp_path.glob("*.ckpt*")) == ["best.ckpt", "last.ckpt"]
    for name in ("best.ckpt", "last.ckpt"):
        told = torch.load(tmp_path / name, weights_only=True)["medcls"]
        assert told == {
            "classes": ["benign", "malignant"],
            "positive_class": "malignant",
            "preprocessing": {"size": [8, 8]},
        }


def test_p32_best_holds_the_weights_of_the_best_epoch(tmp_path: Path) -> None:
    """The tutorials save the best and score the last."""
    scores = []

    class Watch(lightning.Callback):
        def on_train_epoch_end(self, trainer, pl_module) -> None:
            state = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}
            scores.append((trainer.callback_metrics["val/loss"].item(), state))

    uphill = functools.partial(torch.optim.SGD, lr=0.1, maximize=True)  # so that the last epoch is not the best
    fit(
        tmp_path,
        classifier(optimizer=uphill),
        [Watch(), *checkpoints(tmp_path, "val/loss", "min")],
        epochs=4,
        enable_checkpointing=True,
    )
    best = min(scores, key=lambda pair: pair[0])
    assert best[0] < scores[-1][0], "the mistake must show"
    state = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(state[name], tensor) for name, tensor in best[1].items())


def test_p32_an_early_best_stays_the_early_one(tmp_path: Path) -> None:
    """The best epoch is forced to be the second of four."""
    values = iter([0.5, 0.9, 0.8, 0.7])
    module = classifier(metrics=lambda labels, probabilities: {"forced": next(values)})
    weights = []

    class Watch(lightning.Callback):
        def on_train_epoch_end(self, trainer, pl_module) -> None:
            weights.append({name: tensor.clone() for name, tensor in pl_module.state_dict().items()})

    fit(
        tmp_path,
        module,
        [Watch(), *checkpoints(tmp_path, "val/forced", "max")],
        epochs=4,
        enable_checkpointing=True,
    )
    best, last = (torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert (best["epoch"], last["epoch"]) == (1, 3)
    for checkpoint, epoch in ((best, 1), (last, 3)):
        assert all(torch.equal(checkpoint["state_dict"][name], tensor) for name, tensor in weights[epoch].items())
    assert not torch.equal(best["state_dict"]["network.stem.0.weight"], last["state_dict"]["network.stem.0.weight"])


def test_a_checkpoint_of_other_classes_is_refused(tmp_path: Path) -> None:
    tiny_run.run(tmp_path, epochs=1)
    other = classifier(classes=("benign", "normal"))
    trainer = tiny_run.trainer(tmp_path, 2, [], enable_checkpointing=False)
    with refused("different_classes", "benign, malignant", "benign, normal"):
        trainer.fit(other, datamodule=TinyData(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")


def test_a_description_with_objects_in_it_is_refused() -> None:
    with pytest.raises(TypeError, match="plain data"):
        classifier(description={"where": Path(".")})


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_and_its_checkpoint_has_the_same_names(tmp_path: Path) -> None:
    saved = {}
    for compiled in (False, True):
        # Without dropout: compiled, it draws other numbers.
        torch.manual_seed(0)
        module = classifier(network=_without_dropout(TinyNet()), optimizer=functools.partial(torch.optim.SGD, lr=0.02))
        if compiled:
            module.compile_network()
        trainer = fit(tmp_path / str(compiled), module, epochs=2)
        trainer.save_checkpoint(tmp_path / f"{compiled}.ckpt")
        saved[compiled] = torch.load(tmp_path / f"{compiled}.ckpt", weights_only=True)["state_dict"]
    assert saved[True].keys() == saved[False].keys()
    for name, tensor in saved[False].items():
        assert torch.allclose(saved[True][name].float(), tensor.float(), rtol=1e-3, atol=1e-4), name


def _without_dropout(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network
