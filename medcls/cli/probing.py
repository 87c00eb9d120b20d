"""Settings of a probe: its images and folds, and its frozen networks."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from medcls.cli.building import build, plain
from medcls.cli.data_source import read_source, split_settings
from medcls.cli.shipped import configurations
from medcls.cli.stored_configuration import read_run_configuration
from medcls.cli.training import choose_preprocessing, log_splits
from medcls.errors import MedclsError, nearest

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before torch is loaded.
    import numpy as np
    from torch import nn

    from medcls.data.manifest import Manifest
    from medcls.models.weights import Account
    from medcls.preprocessing import Preprocessing

log = logging.getLogger(__name__)

FOLDS, MOST_REPEATS, PREDICTIONS = 5, 5, 5000

# Settings of a training that have no effect on a probe, and why.
IGNORED = {
    **dict.fromkeys(
        ("val_fraction", "test_fraction", "calibration_fraction", "recut_val", "fold"),
        "all images outside a given test split are predicted out of fold",
    ),
    "train_fraction": "all images outside a given test split are used",
    **dict.fromkeys(("augmentation", "views", "sampler"), "each image is used once, without augmentation"),
}


@dataclasses.dataclass(frozen=True)
class Probed:
    """The frozen network of a probe.

    Parameters
    ----------
    network : Module
        Its last layer is fitted later.
    settings : DictConfig
        Its `model` in `config.yaml`.
    account : Account
        The account of its weights.
    preprocessing : Preprocessing
        The preprocessing of its input.
    """

    network: nn.Module
    settings: DictConfig
    account: Account
    preprocessing: Preprocessing


def check_settings(cfg: DictConfig) -> None:
    """Refuse settings that are wrong for any images, or have no effect.

    Raises
    ------
    MedclsError
        Names the setting.
    """
    from medcls.data.splits.split import SplitSettings
    from medcls.probing.cross_validation import FEWEST_FOLDS

    typed = {override.key_or_group.replace("/", ".") for override in _typed()}
    idle = {name: why for name, why in IGNORED.items() if any(f"{key}.".startswith(f"data.{name}.") for key in typed)}
    if idle:
        raise MedclsError(
            f"{', '.join(f'data.{name}' for name in idle)} would have no effect on a probe: "
            f"{'; '.join(dict.fromkeys(idle.values()))}. Leave it out.",
            kind="idle_setting",
        )
    SplitSettings(copies=cfg.data.copies)
    for name, value, least in (("data.folds", cfg.data.folds, FEWEST_FOLDS), ("repeats", cfg.repeats, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise MedclsError(f"{name} is {value!r}: give a whole number, at least {least}, or null.", kind="bad_value")


def read_images(cfg: DictConfig) -> tuple[Manifest, Manifest]:
    """Read the images: the manifest as it is, and with a given test split set apart. Logs a table of the splits."""
    from medcls.data.splits.split import SplitSettings, set_test_apart

    all_images = read_source(cfg, strict=True)
    names = ("copies", "pool_splits", "keep_near_copies_together", "locked_test")
    settings = split_settings(cfg)
    manifest = set_test_apart(all_images, SplitSettings(**{name: settings[name] for name in names}))
    log_splits(manifest)
    return all_images, manifest


def cut_folds(cfg: DictConfig, manifest: Manifest) -> np.ndarray:
    """The fold of each training row in each repetition, int64 `(R, n)`.

    The folds of the first repetition are those of trainings with the same seed.
    """
    import numpy as np

    from medcls.data.splits.cutting import fold_numbers
    from medcls.data.splits.split import SEEDS, cluster_numbers

    rows = manifest.rows
    free, clusters = (rows["split"] == "train").to_numpy(), cluster_numbers(rows)
    folds = FOLDS if cfg.data.folds is None else cfg.data.folds
    repeats = min(MOST_REPEATS, max(1, PREDICTIONS // int(free.sum()))) if cfg.repeats is None else cfg.repeats
    seeds = [(cfg.seed + 1_000_003 * number) % SEEDS for number in range(repeats)]
    return np.stack([fold_numbers(rows, free, folds, clusters, seed) for seed in seeds])


def choose_networks(cfg: DictConfig) -> list[DictConfig]:
    """The configuration for each network alone.

    Raises
    ------
    MedclsError
        A name is neither a configuration nor a run folder, or is given twice; or `model` is given too.
    """
    if cfg.models is None:
        cfg.model.weights = _weights(cfg.model)
        return [cfg]
    if any(override.key_or_group == "model" for override in _typed()):
        raise MedclsError(
            "models and model were both given, and models names all networks: leave model out.",
            kind="conflicting_settings",
        )
    named = plain(cfg.models)
    named = [str(name) for name in (named if isinstance(named, list) else [named])]
    if not named or len(set(named)) < len(named):
        raise MedclsError(
            f"models is {named}: name at least one network, and each once.", kind="bad_value" if not named else "twice"
        )
    chosen = []
    for name in named:
        part_cfg = cfg.copy()
        part_cfg.models = None
        part_cfg.model = _model_of(name, cfg)
        chosen.append(part_cfg)
    return chosen


def _model_of(name: str, cfg: DictConfig) -> DictConfig:
    """The `model` of a shipped configuration with the typed settings; or of a run, with its weights."""
    folder = Path(name).expanduser()
    if (folder / "config.yaml").is_file():
        own: DictConfig = read_run_configuration(folder, trust=cfg.trust).model
        own.weights = str(folder)
        return own
    names = sorted(path.stem for path in (configurations() / "conf" / "model").glob("*.yaml"))
    if name not in names:
        raise MedclsError(
            f"models: {name!r} is neither a run folder nor one of {', '.join(names)}.{nearest(name, names)}",
            kind="unknown_network",
        )
    typed = [override.input_line or "" for override in _typed() if override.key_or_group.startswith("model.")]
    loader = GlobalHydra.instance().config_loader()
    composed = loader.load_configuration("probe", overrides=[f"model={name}", *typed], run_mode=RunMode.RUN)
    model: DictConfig = OmegaConf.create(plain(composed.model))
    model.weights = _weights(model)
    return model


def _weights(model: DictConfig) -> str | None:
    """The weights as set; if they are not set, those that are packaged for the network."""
    from medcls.models.packaged import PACKAGED

    was_typed = any(override.key_or_group == "model.weights" for override in _typed())
    return "default" if model.weights is None and not was_typed and model.name in PACKAGED else plain(model.weights)


def _typed() -> Sequence[Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))


def build_networks(chosen: Sequence[DictConfig], manifest: Manifest) -> Probed:
    """Build the frozen network, or several joined, and load their weights.

    Raises
    ------
    MedclsError
        Weights were trained on these images, or networks cannot be joined.
    """
    from medcls.models.zoo import last_layer

    probed = _build_networks(chosen, manifest)
    probed.network.requires_grad_(False).get_submodule(last_layer(probed.network)).requires_grad_(True)
    return probed


def _build_networks(chosen: Sequence[DictConfig], manifest: Manifest) -> Probed:
    first = choose_preprocessing(chosen[0])
    if len(chosen) == 1:
        network, account = _build(chosen[0], first, manifest)
        return Probed(network, chosen[0].model, account, first)

    from medcls.models.joined import JoinedNetworks
    from medcls.models.weights import joined

    parts, accounts, described = [], {}, []
    scaling: dict[str, list[list[float]]] = {"factors": [], "offsets": []}
    for part_cfg in chosen:
        if plain(part_cfg.model.head) is not None:
            raise MedclsError(
                "model.head has no effect with several models: the inputs of their last layers are used.",
                kind="conflicting_settings",
            )
        part_cfg.data.image_size = list(first.size)
        own = choose_preprocessing(part_cfg)
        if own.channels != first.channels:
            raise MedclsError(
                f"models: {chosen[0].model.name} takes {first.channels} channel(s), {part_cfg.model.name} "
                f"{own.channels}: all get the same images. Add model.network.in_chans=3 or =1.",
                kind="channels_do_not_fit",
            )
        if first.standardise or own.standardise:
            raise MedclsError(
                "model.preprocessing.standardise=true scales each image differently, so that it cannot be converted to "
                "the scaling of another network: leave it out with several models.",
                kind="conflicting_settings",
            )
        factors, offsets = _convert_scaling(first, own)
        scaling["factors"].append(factors)
        scaling["offsets"].append(offsets)
        network, accounts[str(part_cfg.model.name)] = _build(part_cfg, own, manifest)
        parts.append(network)
        described.append(plain(part_cfg.model.network) | {"num_classes": len(manifest.classes)})
    settings = {
        "name": "+".join(str(part_cfg.model.name) for part_cfg in chosen),
        "network": {
            "_target_": f"{JoinedNetworks.__module__}.{JoinedNetworks.__name__}", "parts": described, **scaling,
        },
        "weights": [plain(part_cfg.model.weights) for part_cfg in chosen],
        "head": None,
        "preprocessing": {"_target_": "medcls.preprocessing.Preprocessing", **first.to_plain()},
    }  # fmt: skip
    network = JoinedNetworks(parts, len(manifest.classes), scaling["factors"], scaling["offsets"])
    return Probed(network, OmegaConf.create(settings), joined(list(accounts.values()), network), first)


def _build(cfg: DictConfig, preprocessing: Preprocessing, manifest: Manifest) -> tuple[nn.Module, Account]:
    from medcls.models.weights import load_weights
    from medcls.models.zoo import replace_head

    learned_from = _learned_from(cfg, manifest)
    network = build(cfg.model.network, num_classes=len(manifest.classes))
    head = plain(cfg.model.head)
    replaced = None if head is None else replace_head(network, len(manifest.classes), **head)
    account = load_weights(
        network, cfg.model.weights, head=replaced, classes=manifest.classes, preprocessing=preprocessing
    )
    log.info("%s: %s", cfg.model.name, account)
    return network, dataclasses.replace(account, learned_from=learned_from)


def _convert_scaling(source: Preprocessing, target: Preprocessing) -> tuple[list[float], list[float]]:
    """Factor and offset of each channel that convert an image scaled for one network to another's scaling."""
    slopes, intercepts = [], []
    for preprocessing in (source, target):
        low, high = preprocessing.range
        slopes.append([(high - low) / std for std in preprocessing.std])
        intercepts.append([(low - mean) / std for mean, std in zip(preprocessing.mean, preprocessing.std, strict=True)])
    factors = [new / old for old, new in zip(*slopes, strict=True)]
    return factors, [new - old * factor for old, new, factor in zip(*intercepts, factors, strict=True)]


def _learned_from(cfg: DictConfig, manifest: Manifest) -> tuple[dict[str, Any], ...]:
    """The run whose weights are loaded; a network that learned from these images is refused.

    Its features would depend on the held-out labels.
    """
    from medcls.workflow.seen_images import OF_A_PROBE, compare_images, run_of

    weights = cfg.model.weights
    run = None if weights in (None, "default") else run_of(weights)
    if run is None:
        return ()
    near_as_same = bool(cfg.data.keep_near_copies_together)
    return (
        compare_images(manifest, run, "model.weights", near_as_same=near_as_same, judging=OF_A_PROBE).to_plain(),
    )  # fmt: skip


def random_tensors(account: Account, network: nn.Module) -> list[str]:
    """The tensors before the last layer that were not loaded, except counters of batch norms."""
    from medcls.models.zoo import last_layer

    last = last_layer(network)
    loaded = set(account.loaded)
    return [
        name
        for name in account.names
        if name not in loaded and name.rpartition(".")[0] != last and not name.endswith("num_batches_tracked")
    ]


def with_watermark_of_random(manifest: Manifest, probed: Probed) -> Manifest:
    """Add a watermark, and log a warning, if the features come from random weights."""
    random = random_tensors(probed.account, probed.network)
    if not random:
        return manifest
    log.warning(
        "%d of the network's %d tensors are random: this probe measures random filters, not a pretrained network. To "
        "load weights: model.weights=default, =/path/to/file or =/path/to/run",
        len(random), len(probed.account.names), extra={"rule": "random_features"},
    )  # fmt: skip
    watermark = "RANDOM FEATURES: the network's weights were never trained"
    return dataclasses.replace(manifest, watermarks=(*manifest.watermarks, watermark))
