"""Read the configuration of a run folder safely: it may only name targets that medcls ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medcls.cli.shipped import configurations, shipped_targets
from medcls.errors import MedclsError
from medcls.runs import stored

# What earlier versions did before a setting existed, where its default today is different.
FORMER_DEFAULTS = {"exact_batch_norm": False, "positive_class": None}


def check_trust(cfg: DictConfig) -> bool:
    """Whether a run folder may name targets that medcls does not ship, as typed.

    Raises
    ------
    MedclsError
        `trust` is neither true nor false.
    """
    trust = cfg.get("trust", False)
    if not isinstance(trust, bool):
        raise MedclsError(f"trust is {trust!r}: give true or false.", kind="bad_value")
    return trust


def read_run_configuration(folder: Path, *, trust: bool) -> DictConfig:
    """Read a run folder's configuration; settings that it lacks get the behaviour of the version that wrote it.

    Parameters
    ----------
    folder : Path
        The run folder.
    trust : bool
        Allow targets that medcls does not ship.

    Raises
    ------
    MedclsError
        The file is not a configuration, has references, or names a target that is not allowed.
    """
    path = folder / "config.yaml"
    try:
        loaded = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise MedclsError(
            f"{path} cannot be read as a configuration ({error}).", kind="damaged_configuration"
        ) from error
    if not isinstance(loaded, DictConfig):
        raise MedclsError(f"{path} is not a configuration.", kind="damaged_configuration")
    described = stored.renamed(OmegaConf.to_container(loaded, resolve=False))
    stored.refuse_references(described, str(path))
    if not trust:
        stored.check_targets(described, shipped_targets(), str(path))
    own: DictConfig = OmegaConf.create(described)
    _add_missing_settings(own)
    return own


def _add_missing_settings(own: DictConfig) -> None:
    """Add the settings that did not exist when the run was made, with values that have no effect."""
    groups = ("data", "model") if "repeats" in own else ("data", "model", "schedule")
    if not all(OmegaConf.is_dict(own.get(group)) for group in groups) or "seed" not in own:
        return  # not a run's configuration: the caller reports what is missing
    conf = configurations() / "conf"
    files: dict[str, tuple[str, ...]] = {"data": ("data/folder",)}
    if "repeats" in own:  # a probe's
        files[""] = ("probe", "evaluation/default")
    else:
        files |= {"": ("train", "evaluation/default"), "schedule": ("schedule/none",)}
    for group, names in files.items():
        node = own[group] if group else own
        for name in names:
            shipped: Any = OmegaConf.to_container(OmegaConf.load(conf / f"{name}.yaml"))
            for key, value in shipped.items():
                if key not in node and key not in ("defaults", "hydra", "source", "published", "augmentation"):
                    node[key] = FORMER_DEFAULTS.get(key, value)
    if "head" not in own.model:
        own.model.head = None
