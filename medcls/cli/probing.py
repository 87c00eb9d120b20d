"""What a probe is asked: which images, cut how often, and by which frozen networks they are seen."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
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
from medcls.wording import counted

if TYPE_CHECKING:
    # Everything heavy is imported where it is used, so that a typo is answered before torch is loaded.
    import numpy as np
    from torch import nn

    from medcls.data.manifest import Manifest
    from medcls.models.weights import Account
    from medcls.preprocessing import Preprocessing

log = logging.getLogger(__name__)

FOLDS, MOST_REPEATS, PREDICTIONS = 5, 5, 5000

# What a training is cut or fed by, and a probe is not.
IGNORED = {
    **dict.fromkeys(
        ("val_fraction", "test_fraction", "calibration_fraction", "recut_val", "fold"),
        "all images that are no given test are judged out of fold",
    ),
    "train_fraction": "all images that are no given test are used",
    **dict.fromkeys(("augmentation", "views", "sampler"), "each image is seen once, as it is"),
}


@dataclasses.dataclass(frozen=True)
class Probed:
    """The frozen network of a probe.

    Parameters
    ----------
    network : Module
        With a last layer that is still to be fitted.
    settings : DictConfig
        What `config.yaml` says of it under `model`.
    account : Account
        Where its weights are from.
    preprocessing : Preprocessing
        What its input must have gone through.
    """

    network: nn.Module
    settings: DictConfig
    account: Account
    preprocessing: Preprocessing


def check_settings(cfg: DictConfig) -> None:
    """Refuse what makes no sense whatever the images are, and what would change nothing.

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
            f"{', '.join(f'data.{name}' for name in idle)} would change nothing in a probe: "
            f"{'; '.join(dict.fromkeys(idle.values()))}. Leave it out.",
            kind="idle_setting",
        )
    SplitSettings(copies=cfg.data.copies)
    for name, value, least in (("data.folds", cfg.data.folds, FEWEST_FOLDS), ("repeats", cfg.repeats, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise MedclsError(f"{name} is {value!r}: give a whole number, at least {least}, or null.", kind="bad_value")


def read_images(cfg: DictConfig) -> tuple[Manifest, Manifest]:
    """The images as they are, and the same with a given test split apart; what was done to them is said."""
    from medcls.data.splits.split import SplitSettings, set_test_apart

    all_images = read_source(cfg, strict=True)
    names = ("copies", "pool_splits", "keep_near_copies_together", "locked_test")
    settings = split_settings(cfg)
    manifest = set_test_apart(all_images, SplitSettings(**{name: settings[name] for name in names}))
    log_splits(manifest)
    return all_images, manifest


def cut_folds(cfg: DictConfig, manifest: Manifest) -> np.ndarray:
    """The fold of each training row in each repetition, int64 `(R, n)`.

    The first repetition is cut as the folds of trainings with the same seed are.
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
    """The settings of each network, as the whole configuration would be with that one alone.

    Raises
    ------
    MedclsError
        A name that is neither a configuration nor a run folder; the same one twice; one network by `model` as well.
    """
    if cfg.models is None:
        cfg.model.weights = _weights(cfg.model)
        return [cfg]
    if any(override.key_or_group == "model" for override in _typed()):
        raise MedclsError(
            "models and model were both given, and models names all networks there are to be: leave model out.",
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
        single = cfg.copy()
        single.models = None
        single.model = _model_of(name, cfg)
        chosen.append(single)
    return chosen


def _model_of(name: str, cfg: DictConfig) -> DictConfig:
    """The `model` of a shipped configuration, with what was typed of models; or a run's own, with its weights."""
    folder = Path(name).expanduser()
    if (folder / "config.yaml").is_file():
        own: DictConfig = read_run_configuration(folder, trust=cfg.trust).model
        own.weights = str(folder)
        return own
    known_names = sorted(path.stem for path in (configurations() / "conf" / "model").glob("*.yaml"))
    if name not in known_names:
        raise MedclsError(
            f"models: {name!r} is neither a run folder nor one of {', '.join(known_names)}.{nearest(name, known_names)}",
            kind="unknown_network",
        )
    typed = [override.input_line or "" for override in _typed() if override.key_or_group.startswith("model.")]
    loader = GlobalHydra.instance().config_loader()
    composed = loader.load_configuration("probe", overrides=[f"model={name}", *typed], run_mode=RunMode.RUN)
    model = OmegaConf.create(plain(composed.model))
    model.weights = _weights(model)
    return model


def _weights(model: DictConfig) -> str | None:
    """The weights that were named; where nothing was said of them, those that come as a package for the network."""
    from medcls.models.packaged import PACKAGED

    was_typed = any(override.key_or_group == "model.weights" for override in _typed())
    return "default" if model.weights is None and not was_typed and model.name in PACKAGED else plain(model.weights)


def _typed() -> Sequence[Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))


def build_networks(chosen: Sequence[DictConfig], manifest: Manifest) -> Probed:
    """Build the frozen network, or several side by side, each with its weights accounted for.

    Raises
    ------
    MedclsError
        Weights that a run fitted to these very images; networks that cannot be joined.
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
    for single in chosen:
        if plain(single.model.head) is not None:
            raise MedclsError(
                "model.head means nothing beside several models: what stands before their last layers is read.",
                kind="conflicting_settings",
            )
        single.data.image_size = list(first.size)
        own = choose_preprocessing(single)
        if own.channels != first.channels:
            raise MedclsError(
                f"models: {chosen[0].model.name} takes {first.channels} channel(s), {single.model.name} {own.channels}: "
                "they see the same images. Add model.network.in_chans=3 or =1.",
                kind="channels_do_not_fit",
            )
        if first.standardise or own.standardise:
            raise MedclsError(
                "model.preprocessing.standardise=true brings each image to a scaling of its own, from which no other "
                "network's follows: leave it out beside several models.",
                kind="conflicting_settings",
            )
        factors, offsets = _from_one_scaling_to_another(first, own)
        scaling["factors"].append(factors)
        scaling["offsets"].append(offsets)
        network, accounts[str(single.model.name)] = _build(single, own, manifest)
        parts.append(network)
        described.append(plain(single.model.network) | {"num_classes": len(manifest.classes)})
    settings = {
        "name": "+".join(str(single.model.name) for single in chosen),
        "network": {
            "_target_": f"{JoinedNetworks.__module__}.{JoinedNetworks.__name__}", "parts": described, **scaling,
        },
        "weights": [plain(single.model.weights) for single in chosen],
        "head": None,
        "preprocessing": {"_target_": "medcls.preprocessing.Preprocessing", **first.to_plain()},
    }  # fmt: skip
    network = JoinedNetworks(parts, len(manifest.classes), scaling["factors"], scaling["offsets"])
    return Probed(network, OmegaConf.create(settings), joined(list(accounts.values()), network), first)


def _build(cfg: DictConfig, preprocessing: Preprocessing, manifest: Manifest) -> tuple[nn.Module, Account]:
    from medcls.models.weights import load_weights
    from medcls.models.zoo import replace_head

    _refuse_own_images(cfg.model.weights, manifest)
    network = build(cfg.model.network, num_classes=len(manifest.classes))
    head = plain(cfg.model.head)
    replaced = None if head is None else replace_head(network, len(manifest.classes), **head)
    account = load_weights(
        network, cfg.model.weights, head=replaced, classes=manifest.classes, preprocessing=preprocessing
    )
    log.info("%s: %s", cfg.model.name, account)
    return network, account


def _from_one_scaling_to_another(single: Preprocessing, other: Preprocessing) -> tuple[list[float], list[float]]:
    """Factor and offset of each channel that bring an image scaled for one network to another's scaling."""
    slopes, starts = [], []
    for own in (single, other):
        low, high = own.range
        slopes.append([(high - low) / std for std in own.std])
        starts.append([(low - mean) / std for mean, std in zip(own.mean, own.std, strict=True)])
    factors = [to / of for of, to in zip(*slopes, strict=True)]
    return factors, [to - of * factor for of, to, factor in zip(*starts, factors, strict=True)]


def _refuse_own_images(weights: str | None, manifest: Manifest) -> None:
    """Refuse features of a network that was fitted to these very images: they know the labels that are held out.

    Raises
    ------
    MedclsError
        Says how many they are.
    """
    from medcls.data.manifest import read_rows
    from medcls.models.weights import find_weights

    if weights in (None, "default"):
        return
    record = find_weights(weights).parent.parent / "manifest.csv"
    if not record.is_file():
        return
    rows = read_rows(record)
    learned = set(rows.loc[rows["split"].isin(("train", "val", "calibration")), "content"]) - {""}
    if shared := int(manifest.rows["content"].isin(learned).sum()):
        raise MedclsError(
            f"{weights} was trained with {counted(shared, 'image')} of these {len(manifest)}: its features know their "
            "labels, and metrics out of fold would be of images that were seen. Take a network that was trained on "
            f"other images, or judge the run by its own test: python -m medcls.evaluate run={record.parent}",
            kind="trained_on_these_images",
        )


def random_tensors(account: Account, network: nn.Module) -> list[str]:
    """The tensors before the last layer that no weights were loaded into; counters of batch norms aside."""
    from medcls.models.zoo import last_layer

    last = last_layer(network)
    loaded = set(account.loaded)
    return [
        name
        for name in account.names
        if name not in loaded and name.rpartition(".")[0] != last and not name.endswith("num_batches_tracked")
    ]


def with_watermark_of_random(manifest: Manifest, probed: Probed) -> Manifest:
    """Say, and let a watermark say, that features come from random weights; nothing where they do not."""
    random = random_tensors(probed.account, probed.network)
    if not random:
        return manifest
    log.warning(
        "%d of the network's %d tensors are random, so the features were never learned from any image: this probe "
        "says what random filters see, not what a pretrained network does. model.weights=default, =/path/to/file or "
        "=/path/to/run brings weights",
        len(random), len(probed.account.names), extra={"rule": "random_features"},
    )  # fmt: skip
    watermark = "RANDOM FEATURES: the network's weights were never trained"
    return dataclasses.replace(manifest, watermarks=(*manifest.watermarks, watermark))


def described(probed: Probed, manifest: Manifest, run: str) -> Mapping[str, Any]:
    """What travels in the checkpoint beside the weights."""
    from medcls import __version__

    return {
        "medcls": __version__,
        "network": plain(probed.settings.network) | {"num_classes": len(manifest.classes)},
        "head": plain(probed.settings.head),
        "classes": list(manifest.classes),
        "positive": manifest.positive,
        "preprocessing": probed.preprocessing.to_plain(),
        "manifest": manifest.fingerprint(),
        "run": run,
        "stamps": list(manifest.watermarks),
    }
