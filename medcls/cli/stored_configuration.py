"""A run folder's configuration, read back: nothing is built that medcls does not ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medcls.cli.shipped import configurations, shipped_targets
from medcls.errors import MedclsError
from medcls.runs import stored

# What a run from before there was a setting went by, where today's default is another.
BEFORE = {"exact_batch_norm": False, "positive_class": None}


def check_trust(cfg: DictConfig) -> bool:
    """Whether a run folder may name what medcls does not ship, as it was typed.

    Raises
    ------
    MedclsError
        Neither true nor false.
    """
    trust = cfg.get("trust", False)
    if not isinstance(trust, bool):
        raise MedclsError(f"trust is {trust!r}: give true or false.", kind="bad_value")
    return trust


def read_run_configuration(folder: Path, *, trust: bool) -> DictConfig:
    """A run folder's configuration, of which nothing is built that medcls does not ship.

    Parameters
    ----------
    folder : Path
        The run folder.
    trust : bool
        Let it name what medcls does not ship.

    Raises
    ------
    MedclsError
        The file is no configuration, has references, or asks for what medcls does not ship.
    """
    path = folder / "config.yaml"
    try:
        own = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise MedclsError(
            f"{path} cannot be read as a configuration ({error}).", kind="damaged_configuration"
        ) from error
    if not isinstance(own, DictConfig):
        raise MedclsError(f"{path} is not a configuration.", kind="damaged_configuration")
    described = stored.renamed(OmegaConf.to_container(own, resolve=False))
    stored.refuse_references(described, str(path))
    if not trust:
        stored.check_targets(described, shipped_targets(), str(path))
    own = OmegaConf.create(described)
    _fill(own)
    return own


def _fill(own: DictConfig) -> None:
    """Give the configuration of a run from an earlier version the settings that there were not, as they do nothing."""
    groups = ("data", "model") if "repeats" in own else ("data", "model", "schedule")
    if not all(OmegaConf.is_dict(own.get(group)) for group in groups) or "seed" not in own:
        return  # no run's: whoever reads it says what it lacks
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
                    node[key] = BEFORE.get(key, value)
    if "head" not in own.model:
        own.model.head = None
